/* SPDX-License-Identifier: MIT */
/* Teams, barriers and chunk counters in the build's thread layer and with callers' executors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fenv.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif
#ifndef _WIN32
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "base/os.h"
#include "base/os_thread.h"
#include "base/parallel_impl.h"
#include "base/status.h"

#define MAX_N    8u
#define N_ROUNDS 300u
#define N_RUNS   1000u
#define N_CHUNKS 1000u

static moe__allocator heap;

static int setup(void **state)
{
    (void)state;
    return moe__allocator_init(&heap, NULL);
}

/* ---- an executor as a host would write it: threads made for each run */

typedef struct job {
    moe__thread thread;
    void (*task)(void *arg, uint32_t i);
    void *arg;
    uint32_t i;
} job;

static void job_main(void *p)
{
    job *j = p;
    j->task(j->arg, j->i);
}

static int host_run(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    job jobs[MAX_N];
    ++*(int *)user;
    for (uint32_t i = 0; i < n; i++) {
        jobs[i] = (job){.task = task, .arg = arg, .i = i};
        assert_int_equal(moe__thread_start(&jobs[i].thread, job_main, &jobs[i]), 0);
    }
    for (uint32_t i = 0; i < n; i++) moe__thread_join(&jobs[i].thread);
    return 0;
}

static int refuse(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    (void)n;
    (void)task;
    (void)arg;
    (void)user;
    return -77;
}

static int run_none(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    (void)n;
    (void)task;
    (void)arg;
    (void)user;
    return 0;
}

/* ---- the work: plain (not atomic) cells that only the barriers protect */

typedef struct work {
    moe__chunks chunks;
    uint32_t n_rounds, n_seen;
    uint32_t cell[MAX_N], sum[MAX_N];
    uint32_t taken[N_CHUNKS]; /* how often each chunk was taken, all rounds */
    uint32_t n_bad[MAX_N];
} work;

static void do_work(moe__member *m, void *arg)
{
    work *w = arg;
    if (m->index == 0) w->n_seen = m->n;
    for (uint32_t r = 0; r < w->n_rounds; r++) {
        w->cell[m->index] = r * 31u + m->index;
        if (m->index == r % m->n) moe__chunks_reset(&w->chunks);
        moe__barrier_wait(m);
        uint32_t sum = 0; /* every member reads what all the others wrote */
        for (uint32_t i = 0; i < m->n; i++) sum += w->cell[i];
        if (sum != r * 31u * m->n + m->n * (m->n - 1) / 2) w->n_bad[m->index]++;
        for (size_t c; (c = moe__chunks_take(&w->chunks)) < N_CHUNKS;) w->taken[c]++;
        w->sum[m->index] += sum;
        moe__barrier_wait(m);
    }
}

static void check_work(moe__team *t, uint32_t n_runs, uint32_t n_rounds)
{
    work w;
    memset(&w, 0, sizeof w);
    w.n_rounds = n_rounds;
    for (uint32_t i = 0; i < n_runs; i++) {
        memset(w.sum, 0, sizeof w.sum); /* how many take part may change from run to run */
        assert_int_equal(moe__team_run(t, do_work, &w), MOE_OK);
        assert_true(w.n_seen >= 1 && w.n_seen <= moe__team_size(t));
        for (uint32_t k = 1; k < w.n_seen; k++) assert_int_equal(w.sum[k], w.sum[0]);
    }
    for (uint32_t i = 0; i < MAX_N; i++) assert_int_equal(w.n_bad[i], 0);
    for (uint32_t i = 0; i < N_CHUNKS; i++) assert_int_equal(w.taken[i], n_runs * n_rounds);
}

static int serial_build(void) { return strcmp(moe__parallel_name(), "serial") == 0; }

static void test_sizes(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= MAX_N; n++) {
        moe__team *t;
        assert_int_equal(moe__team_create(&t, &heap, n, NULL), MOE_OK);
        assert_int_equal(moe__team_size(t), serial_build() ? 1 : n);
        check_work(t, 3, N_ROUNDS);
        check_work(t, 30, 2);
        t->n_most = t->n_now = t->n; /* more than there are CPUs */
        check_work(t, 3, N_ROUNDS);
        check_work(t, 30, 2);
        moe__team_free(t);
    }
}

static void pass_time(uint64_t ns)
{
    const uint64_t begin = moe__os_now_ns();
    while (moe__os_now_ns() - begin < ns) {}
}

/* Member 1 has lost its CPU, as it were; the others wait for it. */
typedef struct straggler {
    uint32_t n_seen;
    int slow;
} straggler;

static void straggle(moe__member *m, void *arg)
{
    straggler *s = arg;
    if (m->index == 0) s->n_seen = m->n;
    if (m->index == 1 && s->slow) pass_time(3000000);
    moe__barrier_wait(m);
}

/* Members that keep the others waiting sit out, and are tried again later. */
static void test_stragglers(void **state)
{
    (void)state;
    moe__team *t;
    straggler s = {0, 1};
    assert_int_equal(moe__team_create(&t, &heap, 2, NULL), MOE_OK);
    if (strcmp(moe__parallel_name(), "pool") != 0 || t->n_most < 2) {
        moe__team_free(t);
        printf("# skipped: %s: needs the pool and two CPUs\n", __func__);
        return;
    }
    for (int i = 0; i < 100 && s.n_seen != 1; i++) assert_int_equal(moe__team_run(t, straggle, &s), MOE_OK);
    assert_int_equal(s.n_seen, 1);
    s.slow = 0;
    for (int i = 0; i < 10000 && s.n_seen != 2; i++) {
        pass_time(1000000);
        assert_int_equal(moe__team_run(t, straggle, &s), MOE_OK);
    }
    assert_int_equal(s.n_seen, 2);
    moe__team_free(t);
}

static void count_member(moe__member *m, void *arg)
{
    uint32_t *seen = arg; /* each member has its own cell */
    if (m->index < m->n) seen[m->index]++;
}

/* Many short runs, and pauses between them so that the threads fall asleep. */
static void test_many_runs(void **state)
{
    (void)state;
    for (uint32_t n = 2; n <= 3; n++) {
        moe__team *t;
        uint32_t seen[MAX_N] = {0};
        assert_int_equal(moe__team_create(&t, &heap, n, NULL), MOE_OK);
        for (uint32_t i = 0; i < N_RUNS; i++) {
            assert_int_equal(moe__team_run(t, count_member, seen), MOE_OK);
#ifndef _WIN32
            if (i % 100 == 0) nanosleep(&(struct timespec){0, 2000000}, NULL);
#endif
        }
        for (uint32_t i = 0; i < moe__team_size(t); i++) assert_true(seen[i] <= N_RUNS);
        assert_int_equal(seen[0], N_RUNS);
        moe__team_free(t);
    }
}

/* Threads that sat out a run come late to the next one, or in between. */
static void test_changing_members(void **state)
{
    (void)state;
    moe__team *t;
    uint32_t seen[MAX_N] = {0}, want[MAX_N] = {0}, noise = 1;
    assert_int_equal(moe__team_create(&t, &heap, 6, NULL), MOE_OK);
    if (serial_build()) {
        moe__team_free(t);
        printf("# skipped: %s: needs threads\n", __func__);
        return;
    }
    for (uint32_t i = 0; i < 10 * N_RUNS; i++) {
        noise = noise * 1664525u + 1013904223u;
        t->n_most = t->n_now = 2 + (noise >> 16) % 5;
        for (uint32_t k = 0; k < t->n_now; k++) want[k]++;
        assert_int_equal(moe__team_run(t, count_member, seen), MOE_OK);
    }
    if (strcmp(moe__parallel_name(), "pool") == 0) assert_memory_equal(seen, want, sizeof seen);
    moe__team_free(t);
}

static void test_executor(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= MAX_N; n++) {
        int calls = 0;
        const moe_executor ex = {sizeof ex, host_run, &calls};
        moe__team *t;
        assert_int_equal(moe__team_create(&t, &heap, n, &ex), MOE_OK);
        assert_int_equal(moe__team_size(t), n);
        check_work(t, 20, 20);
        assert_int_equal(calls, n == 1 ? 0 : 20); /* one member runs inline */
        moe__team_free(t);
    }
}

static void test_executor_faults(void **state)
{
    (void)state;
    uint32_t seen[MAX_N] = {0};
    moe_executor ex = {sizeof ex, refuse, NULL};
    moe__team *t;
    assert_int_equal(moe__team_create(&t, &heap, 4, &ex), MOE_OK);
    assert_int_equal(moe__team_run(t, count_member, seen), MOE_E_CALLBACK);
    assert_non_null(strstr(moe__last_error(), "-77"));
    for (uint32_t i = 0; i < MAX_N; i++) assert_int_equal(seen[i], 0);
    moe__team_free(t);

    ex.run = run_none;
    assert_int_equal(moe__team_create(&t, &heap, 4, &ex), MOE_OK);
    assert_int_equal(moe__team_run(t, count_member, seen), MOE_E_CALLBACK);
    assert_non_null(strstr(moe__last_error(), "0 of 4"));
    moe__team_free(t);

    ex.run = NULL;
    assert_int_equal(moe__team_create(&t, &heap, 4, &ex), MOE_E_INVALID);
    assert_null(t);
    ex.size = 1;
    assert_int_equal(moe__team_create(&t, &heap, 4, &ex), MOE_E_INVALID);
    assert_int_equal(moe__team_create(&t, &heap, MOE_TEAM_MAX + 1, NULL), MOE_E_INVALID);
}

/* ---- memory */

typedef struct tally {
    size_t n, n_blocks;
    int refuse;
} tally;

static void *tally_alloc(size_t n, size_t align, void *user)
{
    tally *t = user;
    if (t->refuse) return NULL;
    t->n += n;
    t->n_blocks++;
    return aligned_alloc(align, (n + align - 1) / align * align);
}

static void tally_free(void *p, size_t n, void *user)
{
    tally *t = user;
    t->n -= n;
    t->n_blocks--;
    free(p);
}

static void test_memory(void **state)
{
    (void)state;
    tally count = {0, 0, 0};
    const moe_allocator hook = {sizeof hook, tally_alloc, tally_free, &count};
    moe__allocator a;
    assert_int_equal(moe__allocator_init(&a, &hook), MOE_OK);
    for (uint32_t n = 0; n <= MAX_N; n++) {
        moe__team *t;
        uint32_t seen[1024] = {0};
        assert_int_equal(moe__team_create(&t, &a, n, NULL), MOE_OK);
        assert_int_equal(count.n, moe__team_bytes(n));
        count.refuse = 1; /* a run takes nothing */
        assert_int_equal(moe__team_run(t, count_member, seen), MOE_OK);
        count.refuse = 0;
        moe__team_free(t);
        assert_int_equal(count.n, 0);
        assert_int_equal(count.n_blocks, 0);
    }
    moe__team *t;
    count.refuse = 1;
    assert_int_equal(moe__team_create(&t, &a, 2, NULL), MOE_E_NOMEM);
    assert_null(t);
    moe__team_free(NULL);
}

/* ---- surroundings */

static void test_cpu_count(void **state)
{
    (void)state;
    moe__team *t;
    assert_true(moe__cpu_count() >= 1);
    assert_int_equal(moe__team_create(&t, &heap, 0, NULL), MOE_OK);
    if (!serial_build()) assert_int_equal(moe__team_size(t), moe__cpu_count());
    moe__team_free(t);
}

static void read_rounding(moe__member *m, void *arg) { ((int *)arg)[m->index] = fegetround(); }

/* Members compute in the default environment; the host's comes back. */
static void test_float_environment(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 3; n += 2) {
        int mode[MAX_N], want = FE_UPWARD;
        moe__team *t;
        assert_int_equal(moe__team_create(&t, &heap, n, NULL), MOE_OK);
        for (uint32_t i = 0; i < MAX_N; i++) mode[i] = FE_TONEAREST;
        assert_int_equal(fesetround(want), 0);
        const int st = moe__team_run(t, read_rounding, mode);
        const int after = fegetround();
        fesetround(FE_TONEAREST);
        assert_int_equal(st, MOE_OK);
        assert_int_equal(after, want);
        for (uint32_t i = 0; i < MAX_N; i++) assert_int_equal(mode[i], FE_TONEAREST);
        moe__team_free(t);
    }
}

#if defined(__x86_64__)
static void halve_tiny(moe__member *m, void *arg)
{
    volatile float x = FLT_MIN;
    ((float *)arg)[m->index] = x / 2;
}

/* A host library built with fast-math may have set flush-to-zero: results do not change with it. */
static void test_flush_to_zero(void **state)
{
    (void)state;
    float half[MAX_N] = {1, 1, 1, 1, 1, 1, 1, 1};
    moe__team *t;
    const unsigned host = _mm_getcsr();
    assert_int_equal(moe__team_create(&t, &heap, 2, NULL), MOE_OK);
    _mm_setcsr(host | 0x8040u);
    const int st = moe__team_run(t, halve_tiny, half);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(host);
    assert_int_equal(st, MOE_OK);
    assert_int_equal(after & 0x8040u, 0x8040u);
    for (uint32_t i = 0; i < moe__team_size(t); i++) assert_true(half[i] > 0);
    moe__team_free(t);
}
#endif

#ifdef _OPENMP
/* Regions nested in the host's get one thread each; two teams at once. */
static void test_nested(void **state)
{
    (void)state;
    uint32_t n_bad = 0;
    moe__team *t[2];
    static work w[2];
    for (int i = 0; i < 2; i++) assert_int_equal(moe__team_create(&t[i], &heap, 3, NULL), MOE_OK);
    memset(w, 0, sizeof w);
#pragma omp parallel for num_threads(2) reduction(+ : n_bad)
    for (int i = 0; i < 2; i++) {
        w[i].n_rounds = N_ROUNDS;
        if (moe__team_run(t[i], do_work, &w[i]) != MOE_OK) n_bad++;
        for (uint32_t c = 0; c < N_CHUNKS; c++) n_bad += w[i].taken[c] != N_ROUNDS;
        for (uint32_t k = 0; k < MAX_N; k++) n_bad += w[i].n_bad[k];
    }
    assert_int_equal(n_bad, 0);
    for (int i = 0; i < 2; i++) {
        check_work(t[i], 2, 10);
        assert_int_equal(moe__team_size(t[i]), 3);
        moe__team_free(t[i]);
    }
}
#endif

#ifndef _WIN32
static void note_mask(void *mask) { pthread_sigmask(SIG_SETMASK, NULL, mask); }

/* Signals for the process go to the host's threads, faults of a thread to whoever handles them. */
static void test_signal_mask(void **state)
{
    (void)state;
    static const int host[] = {SIGINT, SIGTERM, SIGUSR1, SIGALRM, SIGCHLD},
                     own[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS};
    moe__thread t;
    sigset_t mask, before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(moe__thread_start(&t, note_mask, &mask), 0);
    moe__thread_join(&t);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) {
        assert_true(sigismember(&mask, host[i]));
        assert_int_equal(sigismember(&after, host[i]), sigismember(&before, host[i]));
    }
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++) assert_false(sigismember(&mask, own[i]));
}
#endif

#if !defined(_WIN32) && !defined(__SANITIZE_THREAD__)
/*
 * The child has none of the parent's threads: it gets a status instead of waiting for ever, and may make a
 * team of its own.
 */
static void test_fork(void **state)
{
    (void)state;
    uint32_t seen[MAX_N] = {0};
    moe__team *t;
    const int pool = strcmp(moe__parallel_name(), "pool") == 0;
    if (getenv("MESON_EXE_WRAPPER")) { /* set where meson runs tests by an emulator */
        printf("# skipped: test_fork: qemu-user 7.2 fails when a forked child starts a thread\n");
        return;
    }
    assert_int_equal(moe__team_create(&t, &heap, 2, NULL), MOE_OK);
    t->n_most = t->n_now = t->n; /* with one CPU too */
    assert_int_equal(moe__team_run(t, count_member, seen), MOE_OK);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        moe__team *own;
        int bad = moe__team_run(t, count_member, seen) != (serial_build() ? MOE_OK : MOE_E_STATE);
        moe__team_free(t);
        if (!pool) _exit(bad); /* GNU OpenMP itself does not survive fork */
        bad |= moe__team_create(&own, &heap, 2, NULL) != MOE_OK;
        own->n_most = own->n_now = own->n;
        bad |= moe__team_run(own, count_member, seen) != MOE_OK;
        moe__team_free(own);
        _exit(bad || seen[0] != 2 || seen[1] != 2);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(moe__team_run(t, count_member, seen), MOE_OK);
    moe__team_free(t);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_stragglers),
        cmocka_unit_test(test_many_runs),
        cmocka_unit_test(test_changing_members),
        cmocka_unit_test(test_executor),
        cmocka_unit_test(test_executor_faults),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_cpu_count),
        cmocka_unit_test(test_float_environment),
#if defined(__x86_64__)
        cmocka_unit_test(test_flush_to_zero),
#endif
#ifdef _OPENMP
        cmocka_unit_test(test_nested),
#endif
#ifndef _WIN32
        cmocka_unit_test(test_signal_mask),
#endif
#if !defined(_WIN32) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(test_fork),
#endif
    };
    return cmocka_run_group_tests_name("parallel", tests, setup, NULL);
}
