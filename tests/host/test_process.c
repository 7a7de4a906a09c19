/* SPDX-License-Identifier: MIT */
/*
 * The library as a guest in a process (docs/threading.md): fork, exit in the middle of an eval, signals, what
 * is printed, floating-point settings, locale. The cases with children that start threads are not for an
 * emulator.
 */
#include "../api/support.h"
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "moe/study.h"

enum { N = 24 };

static moe_token id[N];

static moe_session *session_on(moe_model *m, int threads)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = threads;
    return make_session(m, o);
}

static void nap(long ns)
{
    const struct timespec t = {0, ns};
    nanosleep(&t, NULL);
}

/* The child's exit status; -1 if it was killed or takes longer than 20 seconds. */
static int wait_for(pid_t pid)
{
    int status = 0;
    for (int i = 0; i < 2000; i++) {
        const pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        nap(10000000);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

/* 1, and says so, where meson runs tests by an emulator (it then sets this variable). */
static int no_threads_after_fork(const char *name)
{
    if (!getenv("MESON_EXE_WRAPPER")) return 0;
    printf("# skipped: %s: qemu-user 7.2 fails when a forked child starts a thread\n", name);
    return 1;
}

/* ---- fork ---- */

/* In the child; the exit status tells what went wrong. */
static int child_of(moe_model *m, moe_session *s, const float *want, size_t n)
{
    const float *x;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_session *own;
    if (moe_session_eval(s, id, 1) != MOE_E_STATE) return 1;
    if (!strstr(moe_last_error(), "fork")) return 2;
    if (moe_session_warm_up(s) != MOE_E_STATE) return 3;
    if (moe_session_logits(s, 0, &x, NULL) != MOE_OK || memcmp(x, want, n * sizeof *x) != 0) return 4;
    moe_session_free(s);
    o.n_ctx = 64; /* models go on being of use, and new sessions have new threads */
    o.n_threads = 2;
    if (moe_session_create(&own, m, &o) != MOE_OK) return 5;
    if (moe_session_eval(own, id, N) != MOE_OK) return 6;
    if (moe_session_logits(own, 0, &x, NULL) != MOE_OK || memcmp(x, want, n * sizeof *x) != 0) return 7;
    moe_session_free(own);
    moe_model_release(m);
    return 0;
}

static void a_child_may_release_but_not_evaluate(void **state)
{
    (void)state;
    if (!moe_has_feature("pool")) return; /* OpenMP's threads are not the library's */
    if (no_threads_after_fork(__func__)) return;
    moe_model *m = open_model(WORK_MODEL, 0);
    const size_t n = vocab_of(m);
    float *want = malloc(n * sizeof *want);
    const float *x;
    fill_tokens(m, id, N, 3);
    moe_session *s = session_on(m, 3);
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(want, x, n * sizeof *x);
    for (int i = 0; i < 5; i++) {
        fflush(NULL);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) _exit(child_of(m, s, want, n));
        assert_int_equal(wait_for(pid), 0);
        moe_session_reset(s); /* the parent goes on as if nothing had been */
        assert_ok(moe_session_eval(s, id, N));
        assert_ok(moe_session_logits(s, 0, &x, NULL));
        assert_memory_equal(x, want, n * sizeof *x);
    }
    free(want);
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- exit ---- */

static void *evaluate_for_ever(void *arg)
{
    moe_session *s = arg;
    for (;;) {
        if (moe_session_eval(s, id, N) != MOE_OK) _exit(9);
        moe_session_reset(s);
    }
    return NULL;
}

static void exit_during_an_eval(void **state)
{
    (void)state;
    if (no_threads_after_fork(__func__)) return;
    for (int i = 0; i < 16; i++) {
        fflush(NULL);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            pthread_t t;
            moe_model *m = NULL;
            moe_session *s = NULL;
            moe_session_options o = MOE_SESSION_OPTIONS_INIT;
            o.n_ctx = 64;
            o.n_threads = 1 + i % 3;
            for (int k = 0; k < N; k++) id[k] = k;
            if (moe_model_open(&m, WORK_MODEL, NULL) != MOE_OK || moe_session_create(&s, m, &o) != MOE_OK)
                _exit(8);
            if (pthread_create(&t, NULL, evaluate_for_ever, s)) _exit(7);
            nap(3000000 + 700000 * i);
            close(1); /* the test's own output is not this process's to flush */
            close(2);
            exit(0);
        }
        assert_int_equal(wait_for(pid), 0);
    }
}

/* ---- signals, output ---- */

typedef struct signals {
    struct sigaction action[64];
    sigset_t mask;
} signals;

static void look_at_signals(signals *out)
{
    memset(out, 0, sizeof *out);
    for (int i = 1; i < 64; i++) (void)sigaction(i, NULL, &out->action[i]);
    pthread_sigmask(SIG_SETMASK, NULL, &out->mask);
}

static void assert_same_signals(const signals *a, const signals *b)
{
    for (int i = 1; i < 64; i++) {
        assert_ptr_equal((void *)(uintptr_t)a->action[i].sa_handler,
                         (void *)(uintptr_t)b->action[i].sa_handler);
        assert_int_equal(sigismember(&a->mask, i), sigismember(&b->mask, i));
    }
}

/* Everything, failures too; the line of what went wrong, 0 = nothing (nothing may be printed meanwhile). */
#define MUST(expr)                                                                                           \
    do {                                                                                                     \
        if (!(expr)) return __LINE__;                                                                        \
    } while (0)
static int use_all(void)
{
    const library lib = linked_library();
    moe_model *m = NULL;
    moe_session *s;
    moe_router *all;
    moe_profile *p;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_quantize_options q = MOE_QUANTIZE_OPTIONS_INIT;
    MUST(work(&lib, 3) != 0);
    MUST(moe_model_open(&m, "no such file", NULL) == MOE_E_NOTFOUND);
    MUST(moe_model_open(&m, "meson.build", NULL) == MOE_E_FORMAT);
    MUST(moe_model_open(&m, WORK_MODEL, NULL) == MOE_OK);
    o.n_ctx = 64;
    o.n_threads = 2;
    MUST(moe_session_create(&s, m, &o) == MOE_OK);
    for (int i = 0; i < N; i++) id[i] = i;
    MUST(moe_profile_create(&p, m, NULL) == MOE_OK);
    MUST(moe_session_set_profile(s, p) == MOE_OK);
    MUST(moe_session_router(s, MOE_ALL_LAYERS, &all) == MOE_OK);
    MUST(moe_router_set_named(all, "threshold:t=0.3,kmax=2") == MOE_OK);
    MUST(moe_router_set_named(all, "nonsense") == MOE_E_INVALID);
    MUST(moe_session_eval(s, id, N) == MOE_OK);
    MUST(moe_session_eval(s, id, 0) == MOE_E_INVALID);
    q.recipe = "nonsense";
    MUST(moe_quantize(WORK_MODEL, "/tmp/none/none.gguf", &q) == MOE_E_INVALID);
    moe_session_free(s);
    moe_profile_free(p);
    moe_model_release(m);
    return 0;
}

static void signals_and_output_stay_the_hosts(void **state)
{
    (void)state;
    signals before, after;
    char name[] = "/tmp/libmoe-said-XXXXXX";
    const int file = mkstemp(name);
    assert_true(file >= 0);
    unlink(name);
    fflush(NULL);
    const int out = dup(1), err = dup(2);
    look_at_signals(&before);
    assert_true(dup2(file, 1) == 1 && dup2(file, 2) == 2);
    const int fault = use_all();
    fflush(NULL);
    dup2(out, 1);
    dup2(err, 2);
    if (fault) fail_msg("line %d: %s", fault, moe_last_error());
    look_at_signals(&after);
    assert_same_signals(&before, &after);
    assert_int_equal(lseek(file, 0, SEEK_END), 0); /* not a byte */
    close(file);
    close(out);
    close(err);
}

/* Signals for the process reach the host's threads, never the library's. */
static pthread_t main_thread;
static volatile sig_atomic_t n_signals, n_elsewhere;

static void on_signal(int number)
{
    (void)number;
    n_signals++;
    if (!pthread_equal(pthread_self(), main_thread)) n_elsewhere++;
}

static void handlers_run_on_the_hosts_threads(void **state)
{
    (void)state;
    if (!moe_has_feature("pool")) return; /* OpenMP's threads are not the library's */
    struct sigaction act = {.sa_handler = on_signal}, old;
    moe_model *m = open_model(WORK_MODEL, 0);
    moe_session *s = session_on(m, 4);
    main_thread = pthread_self();
    sigaction(SIGUSR1, &act, &old);
    for (int i = 0; i < 50; i++) {
        kill(getpid(), SIGUSR1);
        moe_session_reset(s);
        assert_ok(moe_session_eval(s, id, N));
    }
    sigaction(SIGUSR1, &old, NULL);
    assert_true(n_signals > 0);
    assert_int_equal(n_elsewhere, 0);
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- floating point ---- */

static void floating_point_stays_the_hosts(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    moe_model *m = open_model(WORK_MODEL, 0);
    const size_t n = vocab_of(m);
    float *want = malloc(n * sizeof *want);
    for (int threads = 1; threads <= 3; threads++)
        for (int i = 0; i < 4; i++) {
            const float *x;
            fesetround(modes[i]);
            moe_session *s = session_on(m, threads);
            feclearexcept(FE_ALL_EXCEPT);
            feraiseexcept(FE_DIVBYZERO); /* one that is set stays set, the others stay clear */
            const int st = moe_session_eval(s, id, N);
            const int mode = fegetround(), flags = fetestexcept(FE_ALL_EXCEPT);
            assert_ok(moe_session_warm_up(s));
            assert_int_equal(fegetround(), mode);
            fesetround(FE_TONEAREST);
            assert_ok(st);
            assert_int_equal(mode, modes[i]);
            assert_int_equal(flags, FE_DIVBYZERO);
            assert_ok(moe_session_logits(s, 0, &x, NULL));
            if (threads == 1 && i == 0) memcpy(want, x, n * sizeof *x);
            assert_memory_equal(x, want, n * sizeof *x); /* whatever the host rounds like */
            moe_session_free(s);
        }
    feclearexcept(FE_ALL_EXCEPT);
    free(want);
    moe_model_release(m);
}

/* A whole use of the library, from opening to a token and a statistic: `bits` bytes of results. */
static size_t use_floats(uint8_t *bits, const char *rule)
{
    const float *x;
    size_t n;
    moe_model *m = open_model(WORK_MODEL, 0);
    moe_session *s = session_on(m, 2);
    moe_router *all;
    moe_sampler *p = NULL;
    moe_token top[8], picked[20];
    float logprob[8];
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &all));
    assert_ok(moe_router_set_named(all, rule));
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_logits(s, 0, &x, &n));
    memcpy(bits, x, n * sizeof *x);
    n *= sizeof *x;
    assert_ok(moe_model_tensor_read(m, 0, 0, 256, (float *)(void *)(bits + n)));
    n += 256 * sizeof *x;
    assert_ok(moe_session_logprobs(s, 0, 8, top, logprob));
    memcpy(bits + n, logprob, sizeof logprob);
    n += sizeof logprob;
    assert_ok(moe_sampler_create(&p, NULL));
    assert_ok(moe_sampler_add_named(p, "temp:t=1.3;top-p:p=0.9;dist"));
    for (int i = 0; i < 20; i++) assert_ok(moe_sampler_pick(p, s, 0, &picked[i]));
    memcpy(bits + n, picked, sizeof picked);
    n += sizeof picked;
    moe_sampler_free(p);
    moe_session_free(s);
    moe_model_release(m);
    return n;
}

/* Not even what is computed on the host's own thread depends on how the host rounds. */
static void rounding_changes_no_result(void **state)
{
    (void)state;
    static const int modes[] = {FE_TONEAREST, FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
    static const char *const rules[] = {"topk:k=2", "expertchoice:c=2"};
    static uint8_t want[1 << 20], got[1 << 20];
    for (int r = 0; r < 2; r++)
        for (int i = 0; i < 4; i++) {
            fesetround(modes[i]);
            const size_t n = use_floats(got, rules[r]);
            const int mode = fegetround();
            fesetround(FE_TONEAREST);
            assert_int_equal(mode, modes[i]);
            if (i == 0) memcpy(want, got, n);
            assert_memory_equal(got, want, n);
        }
}

/* ---- locale ---- */

typedef struct text {
    char s[16384];
    size_t n;
} text;

static int append(const void *data, size_t n, void *user)
{
    text *t = user;
    if (n > sizeof t->s - t->n) return -1;
    memcpy(t->s + t->n, data, n);
    t->n += n;
    return 0;
}

/* All that turns numbers into text and back. */
static uint64_t words_and_numbers(text *t)
{
    const library lib = linked_library();
    moe_model *m = open_model(WORK_MODEL, 0);
    moe_session *s = session_on(m, 1);
    moe_router *all;
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &all));
    assert_ok(moe_router_set_named(all, "threshold:t=0.25,kmax=3"));
    t->n = 0;
    assert_ok(moe_session_save_steering(s, append, t));
    assert_ok(moe_router_reset(all));
    assert_ok(moe_session_load_steering(s, t->s, t->n));
    moe_session_free(s);
    moe_model_release(m);
    return work(&lib, 1);
}

/* Makes a locale of our own where the system has none with a decimal comma; needs the C library's sources of
 * it. */
static const char *comma_locale(void)
{
    static const char *const installed[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "it_IT.utf8",
                                            "es_ES.utf8"};
    char folder[] = "/tmp/libmoe-locale-XXXXXX", command[256];
    const char *got = NULL;
    for (size_t i = 0; !got && i < sizeof installed / sizeof *installed; i++)
        got = setlocale(LC_ALL, installed[i]);
    if (got || !mkdtemp(folder)) return got;
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1", folder);
    if (system(command) == 0) {
        setenv("LOCPATH", folder, 1);
        got = setlocale(LC_ALL, "de_DE.UTF-8");
    }
    snprintf(command, sizeof command, "rm -rf %s", folder);
    if (system(command)) print_message("%s stays\n", folder);
    return got;
}

static void the_locale_does_not_matter(void **state)
{
    (void)state;
    static text plain, other;
    char said[32];
    const uint64_t want = words_and_numbers(&plain);
    assert_true(want != 0 && strstr(plain.s, "0.25"));
    if (!comma_locale()) {
        print_message("no locale with a decimal comma here: nothing to see\n");
        return;
    }
    assert_true(words_and_numbers(&other) == want);
    snprintf(said, sizeof said, "%.2f", 0.25); /* the host's own text has the comma */
    assert_string_equal(said, "0,25");
    setlocale(LC_ALL, "C");
    assert_int_equal(plain.n, other.n);
    assert_memory_equal(plain.s, other.s, plain.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_may_release_but_not_evaluate),
        cmocka_unit_test(exit_during_an_eval),
        cmocka_unit_test(signals_and_output_stay_the_hosts),
        cmocka_unit_test(handlers_run_on_the_hosts_threads),
        cmocka_unit_test(floating_point_stays_the_hosts),
        cmocka_unit_test(rounding_changes_no_result),
        cmocka_unit_test(the_locale_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
