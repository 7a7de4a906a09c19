/* SPDX-License-Identifier: MIT */
/* Sampling from a session: picks, log-probabilities, and what happens before there are logits. */
#include "support.h"

#include <math.h>

#define CHAIN "penalties:repeat=1.1;top-k:k=40;top-p:p=0.95;temp:t=0.8;dist:seed=7"

/* The chain over a session's row picks as it does over the row itself; generation repeats with the seed. */
static void test_generate(void **state)
{
    (void)state;
    enum { N = 40 };
    moe_token first[N], id;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_model *m = open_model(test_models[i], 0);
        moe_session *s = make_session(m, (moe_session_options)MOE_SESSION_OPTIONS_INIT);
        moe_sampler *p, *q;
        assert_ok(moe_sampler_create(&p, NULL));
        assert_ok(moe_sampler_create(&q, NULL));
        assert_ok(moe_sampler_add_named(p, CHAIN));
        assert_ok(moe_sampler_add_named(q, CHAIN));
        for (int run = 0; run < 2; run++) {
            moe_token prompt[5];
            fill_tokens(m, prompt, 5, 1);
            moe_session_reset(s);
            assert_ok(moe_sampler_reset(p));
            assert_ok(moe_sampler_reset(q));
            assert_ok(moe_session_eval(s, prompt, 5));
            for (size_t t = 0; t < N; t++) {
                const float *row;
                size_t n;
                assert_ok(moe_session_logits(s, 0, &row, &n));
                assert_int_equal(n, vocab_of(m));
                assert_ok(moe_sampler_pick_logits(q, row, n, &id));
                if (run == 0) assert_ok(moe_sampler_pick(p, s, 0, &first[t]));
                assert_int_equal(id, first[t]);
                assert_ok(moe_sampler_accept(p, id));
                assert_ok(moe_sampler_accept(q, id));
                assert_ok(moe_session_eval(s, &id, 1));
            }
        }
        moe_sampler_free(p);
        moe_sampler_free(q);
        moe_session_free(s);
        moe_model_release(m);
    }
}

static void test_logprobs(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[1], 0);
    moe_session *s = make_session(m, (moe_session_options)MOE_SESSION_OPTIONS_INIT);
    const size_t n = vocab_of(m);
    moe_token *id = malloc(n * sizeof *id), prompt[7];
    float *lp = malloc(n * sizeof *lp), one;
    const float *row;
    size_t n_row;
    assert_true(id && lp);
    fill_tokens(m, prompt, 7, 3);
    assert_ok(moe_session_eval(s, prompt, 7));
    assert_ok(moe_session_logprobs(s, 0, n, id, lp));
    assert_ok(moe_session_logits(s, 0, &row, &n_row));
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp(lp[i]);
        assert_ok(moe_session_logprob(s, 0, id[i], &one));
        assert_true(one == lp[i]);
        if (i > 0) {
            const float x = row[id[i]], better = row[id[i - 1]];
            assert_true(x < better || (x == better && id[i] > id[i - 1]));
        }
        /* Differences of log-probabilities are those of the logits. */
        assert_true(fabs((lp[i] - lp[0]) - ((double)row[id[i]] - row[id[0]])) < 1e-4);
    }
    assert_true(fabs(sum - 1) < 1e-5);
    moe_token best;
    float best_lp;
    assert_ok(moe_session_logprobs(s, 0, 1, &best, &best_lp));
    assert_true(best == id[0] && best_lp == lp[0]);
    assert_ok(moe_session_logprobs(s, 0, 0, NULL, NULL));

    assert_refused(moe_session_logprobs(s, 0, n + 1, id, lp), MOE_E_RANGE, "vocabulary");
    assert_refused(moe_session_logprob(s, 0, (moe_token)n, &one), MOE_E_RANGE, "token");
    assert_refused(moe_session_logprob(s, 0, -1, &one), MOE_E_RANGE, "token");
    assert_refused(moe_session_logprobs(s, 0, 3, NULL, lp), MOE_E_INVALID, "ids");
    assert_true(moe_session_logprobs(s, 5, 1, id, lp) < 0); /* no such row */
    free(id);
    free(lp);
    moe_session_free(s);
    moe_model_release(m);
}

static void test_before_logits(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[1], 0);
    moe_session *s = make_session(m, (moe_session_options)MOE_SESSION_OPTIONS_INIT);
    moe_sampler *p;
    moe_token id = 1;
    float lp;
    assert_ok(moe_sampler_create(&p, NULL));
    assert_true(moe_sampler_pick(p, s, 0, &id) < 0);
    assert_int_equal(id, MOE_TOKEN_NONE);
    assert_true(moe_last_error()[0] != '\0');
    assert_true(moe_session_logprob(s, 0, 0, &lp) < 0);
    assert_int_equal(moe_sampler_pick(p, NULL, 0, &id), MOE_E_INVALID);
    moe_sampler_free(p);
    moe_session_free(s);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_before_logits),
    };
    return cmocka_run_group_tests_name("sampling", tests, NULL, NULL);
}
