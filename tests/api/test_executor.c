/* SPDX-License-Identifier: MIT */
/* A caller's executor instead of own threads: the same logits to the bit, and faults leave no trace. */
#include "support.h"

#include <pthread.h>

#define MAX_TASKS 8

typedef struct host {
    int n_calls, refuse_at; /* the call that is refused; 0: none */
} host;

typedef struct job {
    pthread_t thread;
    void (*task)(void *arg, uint32_t i);
    void *arg;
    uint32_t i;
} job;

static void *job_main(void *p)
{
    job *j = p;
    j->task(j->arg, j->i);
    return NULL;
}

static int run(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    host *h = user;
    job jobs[MAX_TASKS];
    if (++h->n_calls == h->refuse_at) return -5;
    assert_true(n <= MAX_TASKS);
    for (uint32_t i = 0; i < n; i++) {
        jobs[i] = (job){.task = task, .arg = arg, .i = i};
        assert_int_equal(pthread_create(&jobs[i].thread, NULL, job_main, &jobs[i]), 0);
    }
    for (uint32_t i = 0; i < n; i++) pthread_join(jobs[i].thread, NULL);
    return 0;
}

static moe_session *hosted(moe_model *m, host *h, int n_threads)
{
    const moe_executor ex = {sizeof ex, run, h};
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = n_threads;
    if (h) o.executor = &ex; /* copied */
    return make_session(m, o);
}

static float *logits_of(moe_session *s, size_t n)
{
    const float *row;
    size_t len;
    float *copy = malloc(n * sizeof *copy);
    assert_ok(moe_session_logits(s, 0, &row, &len));
    assert_true(copy && len == n);
    return memcpy(copy, row, n * sizeof *copy);
}

static void test_same_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_model *m = open_model(test_models[i], 0);
        const size_t n = vocab_of(m);
        moe_token prompt[33];
        fill_tokens(m, prompt, 33, 5);
        moe_session *plain = hosted(m, NULL, 1);
        assert_ok(moe_session_eval(plain, prompt, 33));
        float *want = logits_of(plain, n);
        for (int n_threads = 1; n_threads <= 5; n_threads++) {
            host h = {0, 0};
            moe_session *s = hosted(m, &h, n_threads);
            moe_session_info info = MOE_SESSION_INFO_INIT;
            assert_ok(moe_session_get_info(s, &info));
            assert_int_equal(info.n_threads, n_threads);
            assert_ok(moe_session_eval(s, prompt, 30));
            assert_ok(moe_session_eval(s, prompt + 30, 3));
            float *got = logits_of(s, n);
            assert_memory_equal(got, want, n * sizeof *got);
            assert_true(n_threads == 1 ? h.n_calls == 0 : h.n_calls >= 2);
            free(got);
            moe_session_free(s);
        }
        free(want);
        moe_session_free(plain);
        moe_model_release(m);
    }
}

/* Whichever of its calls the executor refuses: the eval fails, the session is as before and goes on. */
static void test_refusal(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    const size_t n = vocab_of(m);
    host h = {0, 0};
    moe_token prompt[20];
    fill_tokens(m, prompt, 20, 9);
    moe_session *s = hosted(m, &h, 3);
    assert_ok(moe_session_eval(s, prompt, 20));
    float *want = logits_of(s, n);
    const int n_calls = h.n_calls;
    for (int at = 1; at <= n_calls; at++) {
        moe_session_reset(s);
        h = (host){0, at};
        assert_refused(moe_session_eval(s, prompt, 20), MOE_E_CALLBACK, "executor");
        assert_int_equal(moe_session_seq_len(s, 0), 0);
        h = (host){0, 0};
        assert_ok(moe_session_eval(s, prompt, 20));
        float *got = logits_of(s, n);
        assert_memory_equal(got, want, n * sizeof *got);
        free(got);
    }
    free(want);
    moe_session_free(s);

    const moe_executor none = {sizeof none, NULL, NULL};
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.executor = &none;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_INVALID, "run is NULL");
    assert_null(s);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_logits),
        cmocka_unit_test(test_refusal),
    };
    return cmocka_run_group_tests_name("executor", tests, NULL, NULL);
}
