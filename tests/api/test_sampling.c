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

/* One call does what the five do: the same tokens, text, kinds, and the same session behind it. */
static void test_next(void **state)
{
    (void)state;
    enum { N = 60 };
    for (int seq = 0; seq < 2; seq++) {
        moe_model *m = open_model("examples/models/demo.gguf", 0);
        const moe_tokenizer *tok;
        moe_session_options o = MOE_SESSION_OPTIONS_INIT;
        o.n_seq_max = 2;
        moe_session *s = make_session(m, o), *one = make_session(m, o);
        moe_sampler *p, *q;
        char text[256], whole[256];
        moe_stream a = MOE_STREAM_INIT, b = MOE_STREAM_INIT;
        moe_next n = MOE_NEXT_INIT;
        moe_token prompt[5], id, last;
        size_t len;
        const moe_seq seqs[5] = {seq, seq, seq, seq, seq};
        moe_batch batch = MOE_BATCH_INIT;
        assert_ok(moe_model_tokenizer(m, &tok));
        assert_ok(moe_sampler_create(&p, NULL));
        assert_ok(moe_sampler_add_named(p, CHAIN));
        assert_ok(moe_sampler_clone(&q, p));
        fill_tokens(m, prompt, 5, 1);
        batch.n_tokens = 5;
        batch.token = prompt;
        batch.seq = seqs;
        assert_ok(moe_session_eval_batch(s, &batch));
        assert_ok(moe_session_eval_batch(one, &batch));
        n.seq = seq;
        n.stream = &b;
        n.text = text;
        n.cap = sizeof text;
        batch.n_tokens = 1;
        batch.token = &last;
        for (int i = 0; i < N; i++) {
            if (i > 0) assert_ok(moe_session_eval_batch(s, &batch));
            assert_ok(moe_sampler_pick(p, s, 0, &id));
            assert_ok(moe_sampler_accept(p, id));
            assert_ok(moe_session_next(one, q, &n));
            assert_int_equal(n.id, id);
            assert_int_equal(n.attr, moe_tokenizer_attr(tok, id));
            len = 0;
            if (!(n.attr & MOE_ATTR_END))
                assert_ok(moe_tokenizer_stream(tok, &a, id, whole, sizeof whole, &len));
            assert_int_equal(n.len, len);
            assert_memory_equal(text, whole, len);
            assert_int_equal(text[len], 0);
            assert_memory_equal(&a, &b, sizeof a);
            last = id;
        }
        assert_int_equal(moe_session_seq_len(s, seq), 5 + N - 1);
        assert_int_equal(moe_session_seq_len(one, seq), 5 + N - 1);
        assert_int_equal(moe_session_seq_len(one, 1 - seq), 0);
        moe_sampler_free(p);
        moe_sampler_free(q);
        moe_session_free(s);
        moe_session_free(one);
        moe_model_release(m);
    }
}

/* A failure at each of the steps, after which the same call goes on: tokens and text are those of an
 * undisturbed run. */
static int fails_once(moe_candidates *c, void *user)
{
    int *left = user;
    (void)c;
    return (*left)-- == 1 ? -77 : 0;
}

static void test_next_again(void **state)
{
    (void)state;
    enum { N = 12 };
    moe_model *m = open_model("examples/models/demo.gguf", 0);
    moe_session *s = make_session(m, (moe_session_options)MOE_SESSION_OPTIONS_INIT);
    moe_token prompt[4], want[N];
    char texts[N][64], text[64];
    fill_tokens(m, prompt, 4, 2);
    for (int disturbed = 0; disturbed < 2; disturbed++) {
        moe_sampler *p;
        moe_stream stream = MOE_STREAM_INIT;
        moe_next n = MOE_NEXT_INIT;
        int fail_in = 0;
        n.stream = &stream;
        n.text = text;
        assert_ok(moe_sampler_create(&p, NULL));
        assert_ok(moe_sampler_add_custom(p, fails_once, &fail_in));
        assert_ok(moe_sampler_add_named(p, "penalties:repeat=1.3;dist:seed=9"));
        moe_session_reset(s);
        assert_int_equal(moe_session_next(s, p, &n), MOE_E_RANGE); /* no logits yet */
        assert_int_equal(n.id, MOE_TOKEN_NONE);
        assert_ok(moe_session_eval(s, prompt, 4));
        for (int i = 0; i < N; i++) {
            const int at = (int)moe_session_seq_len(s, 0);
            n.cap = sizeof text;
            if (disturbed && i > 0) {
                const moe_token before = n.id;
                moe_session_interrupt(s); /* the eval */
                assert_int_equal(moe_session_next(s, p, &n), MOE_E_ABORTED);
                assert_int_equal(n.id, before);
                assert_int_equal(moe_session_seq_len(s, 0), at);
            }
            if (disturbed) {
                fail_in = 1; /* the pick, behind the eval */
                assert_true(moe_session_next(s, p, &n) < 0);
                assert_int_equal(n.id, MOE_TOKEN_NONE);
                assert_int_equal(moe_session_seq_len(s, 0), at + (i > 0));
                n.cap = 0; /* the text, behind all others */
                const int status = moe_session_next(s, p, &n);
                assert_true(status == MOE_E_BUFFER || (status == MOE_OK && n.len == 0));
                if (status == MOE_E_BUFFER) {
                    assert_true(n.len > 0 && n.len < sizeof text);
                    n.cap = n.len; /* no room for the zero */
                    assert_int_equal(moe_session_next(s, p, &n), MOE_E_BUFFER);
                    n.cap = n.len + 1;
                    assert_ok(moe_session_next(s, p, &n));
                } else {
                    text[0] = '\0';
                }
            } else {
                assert_ok(moe_session_next(s, p, &n));
            }
            if (disturbed) {
                assert_int_equal(n.id, want[i]);
                assert_string_equal(text, texts[i]);
            }
            want[i] = n.id;
            strcpy(texts[i], text);
        }
        moe_sampler_free(p);
    }
    moe_sampler *p;
    moe_next n = MOE_NEXT_INIT;
    assert_ok(moe_sampler_create(&p, NULL));
    assert_ok(moe_session_next(s, p, &n)); /* without text */
    assert_int_equal(n.len, 0);
    assert_refused(moe_session_next(NULL, p, &n), MOE_E_INVALID, "s != NULL");
    assert_refused(moe_session_next(s, NULL, &n), MOE_E_INVALID, "p != NULL");
    assert_refused(moe_session_next(s, p, NULL), MOE_E_INVALID, "io != NULL");
    n.flags = 1;
    assert_refused(moe_session_next(s, p, &n), MOE_E_INVALID, "flags");
    n.flags = 0;
    n.cap = 5;
    assert_refused(moe_session_next(s, p, &n), MOE_E_INVALID, "text");
    n.cap = 0;
    n.seq = 7;
    assert_int_equal(moe_session_next(s, p, &n), MOE_E_RANGE);
    n.size = 3;
    assert_refused(moe_session_next(s, p, &n), MOE_E_INVALID, "moe_next");
    moe_sampler_free(p);
    moe_session_free(s);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generate),      cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_before_logits), cmocka_unit_test(test_next),
        cmocka_unit_test(test_next_again),
    };
    return cmocka_run_group_tests_name("sampling", tests, NULL, NULL);
}
