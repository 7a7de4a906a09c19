/* SPDX-License-Identifier: MIT */
/*
 * moe_session_warm_up(): all weights are counted, nothing changes, it can be stopped; and sessions whose
 * threads give way (MOE_SESSION_LOW_PRIORITY): the same bits, a nice value that the system confirms.
 */
#include "support.h"

#include <time.h>

#ifdef _WIN32
#include <windows.h>
#include <tlhelp32.h>
#else
#include <dirent.h>
#include <sys/resource.h>
#endif

#define N 24u

static moe_token id[N];

typedef struct reports {
    unsigned n, stop_at; /* calls so far; the one that says stop, 0 = none */
    uint64_t done, total;
    moe_session *s; /* to be asked, and interrupted by the first report */
    int interrupt;
} reports;

static int on_progress(const moe_progress *p, void *user)
{
    reports *r = user;
    if (p->stage != MOE_PROGRESS_WARM_UP) return 0;
    assert_true(p->done > r->done || r->n == 0);
    assert_true(p->done <= p->total);
    r->done = p->done;
    r->total = p->total;
    r->n++;
    if (r->s) {
        assert_int_equal(moe_session_seq_len(r->s, 0), 0); /* may be read */
        assert_refused(moe_session_warm_up(r->s), MOE_E_STATE, "only read");
        assert_refused(moe_session_eval(r->s, id, 1), MOE_E_STATE, "only read");
        if (r->interrupt) moe_session_interrupt(r->s);
    }
    return r->n == r->stop_at;
}

static moe_session *session_of(moe_model *m, int threads, uint32_t flags, reports *r)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = threads;
    o.flags = flags;
    o.progress = r ? on_progress : NULL;
    o.progress_user = r;
    return make_session(m, o);
}

static void logits_of(moe_session *s, float *dst, size_t n)
{
    const float *x;
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(dst, x, n * sizeof *x);
}

static void all_weights_are_read_and_nothing_changes(void **state)
{
    (void)state;
    static const uint32_t flags[] = {0, MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT};
    for (size_t i = 0; i < N_TEST_MODELS; i++)
        for (size_t f = 0; f < 3; f++)
            for (int threads = 1; threads <= 3; threads++) {
                moe_model *m = open_model(test_models[i], flags[f]);
                const size_t n = vocab_of(m);
                float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
                reports r = {0};
                moe_memory mem = MOE_MEMORY_INIT;
                moe_stats stats = MOE_STATS_INIT, before = MOE_STATS_INIT;
                fill_tokens(m, id, N, 5);
                moe_session *plain = session_of(m, 1, 0, NULL), *s = session_of(m, threads, 0, &r);
                assert_ok(moe_model_get_memory(m, NULL, &mem));
                logits_of(plain, want, n);
                r.s = s;
                assert_ok(moe_session_warm_up(s));
                /* Norms, biases and routers are copied at open; all else is there. */
                assert_true(r.n > 0 && r.done == r.total);
                assert_true(r.total <= mem.dense + mem.experts);
                assert_true(r.total > (mem.dense + mem.experts) * 9 / 10);
                assert_ok(moe_session_get_stats(s, &stats));
                before.size = stats.size;
                assert_memory_equal(&stats, &before, sizeof stats);
                r.s = NULL;
                logits_of(s, got, n);
                assert_memory_equal(got, want, n * sizeof *got);
                r = (reports){0};
                assert_ok(moe_session_warm_up(s)); /* later is fine too, and results stay */
                const float *x;
                assert_ok(moe_session_logits(s, 0, &x, NULL));
                assert_memory_equal(x, want, n * sizeof *x);
                assert_int_equal(moe_session_seq_len(s, 0), N);
                free(want);
                free(got);
                moe_session_free(plain);
                moe_session_free(s);
                moe_model_release(m);
            }
}

static void it_can_be_stopped(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    reports r = {.stop_at = 1};
    moe_session *s = session_of(m, 2, 0, &r);
    fill_tokens(m, id, N, 5);
    assert_refused(moe_session_warm_up(NULL), MOE_E_INVALID, "argument");
    assert_refused(moe_session_warm_up(s), MOE_E_ABORTED, "progress");
    moe_session_interrupt(s);
    r = (reports){0};
    assert_refused(moe_session_warm_up(s), MOE_E_ABORTED, "interrupted");
    assert_int_equal(r.n, 0);
    assert_ok(moe_session_warm_up(s)); /* the request is used up */
    assert_int_equal(r.done, r.total);
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = N;
    b.token = id;
    assert_ok(moe_session_eval_begin(s, &b));
    assert_refused(moe_session_warm_up(s), MOE_E_STATE, "in slices");
    assert_ok(moe_session_eval_cancel(s));
    moe_session_free(s);
    moe_model_release(m);
}

/* Between rounds an interrupt that came meanwhile is noticed: needs weights of several rounds. */
static void an_interrupt_stops_between_rounds(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    reports r = {.interrupt = 1};
    moe_session *s = session_of(m, 2, 0, &r);
    r.s = s;
    const int st = moe_session_warm_up(s);
    /* the matrices of a small model do not touch one another: some rounds */
    assert_int_equal(st, MOE_E_ABORTED);
    assert_true(r.n >= 1 && r.done < r.total);
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- threads that give way ---- */

#ifdef _WIN32 /* priorities of threads, of which a lower number is less; the calling thread keeps its own */
#define COUNTS_THREADS 1

static int own_priority(void) { return GetThreadPriority(GetCurrentThread()); }

static int less_urgent(int than) { return than - 1; }

/* Threads of this process whose priority is `want`. */
static int threads_at(int want)
{
    int n = 0;
    THREADENTRY32 e = {.dwSize = sizeof e};
    const HANDLE all = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    if (all == INVALID_HANDLE_VALUE) return -1;
    for (BOOL more = Thread32First(all, &e); more; more = Thread32Next(all, &e)) {
        const HANDLE t = e.th32OwnerProcessID == GetCurrentProcessId()
                             ? OpenThread(THREAD_QUERY_INFORMATION, FALSE, e.th32ThreadID)
                             : NULL;
        if (!t) continue;
        n += GetThreadPriority(t) == want;
        CloseHandle(t);
    }
    CloseHandle(all);
    return n;
}
#else
#ifdef __linux__
#define COUNTS_THREADS 1
#else
#define COUNTS_THREADS 0
#endif

static int own_priority(void) { return getpriority(PRIO_PROCESS, 0); }

static int less_urgent(int than) { return than + 10 > 19 ? 19 : than + 10; }

/* Threads of this process whose nice value is `want`. */
static int threads_at(int want)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/task");
    if (!dir) return -1;
    for (struct dirent *e; (e = readdir(dir));) {
        const long tid = strtol(e->d_name, NULL, 10);
        if (tid > 0 && getpriority(PRIO_PROCESS, (id_t)tid) == want) n++;
    }
    closedir(dir);
    return n;
}
#endif

/* The same, waiting until there are n: a thread that has no part in the first run may begin later. */
static int threads_come_to(int want, int n)
{
    const time_t end = time(NULL) + 10;
    int found;
    while ((found = threads_at(want)) != n && time(NULL) < end) continue;
    return found;
}

static void threads_that_give_way(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    const size_t n = vocab_of(m);
    const int host = own_priority(), low = less_urgent(host);
    float *want = malloc(n * sizeof *want), *got = malloc(n * sizeof *got);
    moe_session_info info = MOE_SESSION_INFO_INIT;
    fill_tokens(m, id, N, 5);
    moe_session *plain = session_of(m, 3, 0, NULL);
    logits_of(plain, want, n);
    const int before = threads_at(low);
    moe_session *s = session_of(m, 3, MOE_SESSION_LOW_PRIORITY, NULL);
    logits_of(s, got, n);
    assert_memory_equal(got, want, n * sizeof *got);
    assert_ok(moe_session_get_info(s, &info));
    assert_int_equal(info.flags, MOE_SESSION_LOW_PRIORITY);
    assert_int_equal(own_priority(), host);
    if (COUNTS_THREADS && moe_has_feature("pool") && low != host && before == 0) {
        assert_int_equal(threads_come_to(low, 2), 2);
        assert_ok(moe_session_set_threads(s, 4)); /* the new ones too */
        logits_of(s, got, n);
        assert_int_equal(threads_come_to(low, 3), 3);
    }
    moe_session_free(s);
    moe_session_free(plain);
    free(want);
    free(got);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_weights_are_read_and_nothing_changes),
        cmocka_unit_test(it_can_be_stopped),
        cmocka_unit_test(an_interrupt_stops_between_rounds),
        cmocka_unit_test(threads_that_give_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
