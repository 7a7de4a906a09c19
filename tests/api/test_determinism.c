/* SPDX-License-Identifier: MIT */
/*
 * The same bits whatever the thread count, the batch split, the store, prefix reuse, and whether a sequence
 * runs alone or in company. One reference (1 thread, one batch) against every other way of computing the same
 * thing; memcmp, no tolerance.
 */
#include "support.h"

#define N 70u /* tokens: more than a KV page, no multiple of anything */

typedef struct reference {
    moe_model *m;
    size_t vocab;
    moe_token id[N];
    float *logits; /* [N][vocab] */
} reference;

static uint8_t all_rows[N];

static moe_session_options wide(void)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_output_max = N;
    o.n_threads = 1;
    return o;
}

static void eval_rows(moe_session *s, const moe_token *id, size_t n)
{
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = n;
    b.token = id;
    b.want = all_rows;
    assert_ok(moe_session_eval_batch(s, &b));
}

static reference make_reference(const char *path, const moe_session_options *o)
{
    reference r = {.m = open_model(path, 0)};
    memset(all_rows, MOE_WANT_LOGITS, sizeof all_rows);
    r.vocab = vocab_of(r.m);
    fill_tokens(r.m, r.id, N, 7);
    r.logits = malloc(N * r.vocab * sizeof(float));
    assert_non_null(r.logits);
    moe_session *s = make_session(r.m, *o);
    eval_rows(s, r.id, N);
    for (size_t i = 0; i < N; i++) {
        const float *x;
        assert_ok(moe_session_logits(s, i, &x, NULL));
        memcpy(r.logits + i * r.vocab, x, r.vocab * sizeof(float));
    }
    moe_session_free(s);
    return r;
}

static void end_reference(reference *r)
{
    free(r->logits);
    moe_model_release(r->m);
}

/* Row `row` of the session's results is row `pos` of the reference. */
static void same_row(const reference *r, const moe_session *s, size_t row, size_t pos)
{
    const float *x;
    assert_ok(moe_session_logits(s, row, &x, NULL));
    assert_memory_equal(x, r->logits + pos * r->vocab, r->vocab * sizeof(float));
}

static void same_in_pieces(const reference *r, moe_model *m, moe_session_options o, size_t piece)
{
    moe_session *s = make_session(m, o);
    for (size_t i = 0; i < N; i += piece) {
        const size_t n = N - i < piece ? N - i : piece;
        eval_rows(s, r->id + i, n);
        for (size_t j = 0; j < n; j++) same_row(r, s, j, i + j);
    }
    moe_session_free(s);
}

static void threads_and_splits(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_session_options o = wide();
        reference r = make_reference(test_models[i], &o);
        for (int threads = 1; threads <= 5; threads++) {
            o.n_threads = threads;
            o.n_batch_max = threads == 4 ? 3 : 0;
            same_in_pieces(&r, r.m, o, N);
            same_in_pieces(&r, r.m, o, 17);
        }
        o.n_threads = 2;
        same_in_pieces(&r, r.m, o, 1);
        end_reference(&r);
    }
}

static void f32_cache_is_deterministic_too(void **state)
{
    (void)state;
    moe_session_options o = wide();
    o.kv_type_k = o.kv_type_v = MOE_KV_F32;
    reference r = make_reference(test_models[1], &o);
    o.n_threads = 3;
    same_in_pieces(&r, r.m, o, 13);
    end_reference(&r);
}

static void stores_agree(void **state)
{
    (void)state;
    static const uint32_t flags[] = {MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT,
                                     MOE_OPEN_NO_MMAP | MOE_OPEN_RESIDENT};
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        const moe_session_options o = wide();
        reference r = make_reference(test_models[i], &o);
        for (size_t f = 0; f < 3; f++) {
            moe_model *m = open_model(test_models[i], flags[f]);
            same_in_pieces(&r, m, o, N);
            moe_model_release(m);
        }
        end_reference(&r);
    }
}

static void prefix_reuse(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_session_options o = wide();
        o.n_seq_max = 3;
        reference r = make_reference(test_models[i], &o);
        moe_session *s = make_session(r.m, o);
        eval_rows(s, r.id, 40);
        /* another continuation on a copy must not disturb the original, and the other way round */
        assert_ok(moe_session_seq_copy(s, 0, 2));
        moe_token other[20];
        moe_seq two[20];
        fill_tokens(r.m, other, 20, 99);
        for (int j = 0; j < 20; j++) two[j] = 2;
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = 20;
        b.token = other;
        b.seq = two;
        assert_ok(moe_session_eval_batch(s, &b));
        assert_ok(moe_session_seq_copy(s, 0, 1));
        eval_rows(s, r.id + 40, N - 40);
        for (size_t j = 40; j < N; j++) same_row(&r, s, j - 40, j);
        /* cut back into the middle of a page and go on again */
        assert_ok(moe_session_seq_truncate(s, 0, 5));
        eval_rows(s, r.id + 5, N - 5);
        for (size_t j = 5; j < N; j++) same_row(&r, s, j - 5, j);
        moe_seq one[N];
        for (size_t j = 0; j < N; j++) one[j] = 1;
        b.n_tokens = N - 40;
        b.token = r.id + 40;
        b.seq = one;
        b.want = all_rows;
        assert_ok(moe_session_eval_batch(s, &b));
        for (size_t j = 40; j < N; j++) same_row(&r, s, j - 40, j);
        moe_session_free(s);
        end_reference(&r);
    }
}

static void alone_or_in_company(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_session_options o = wide();
        reference r = make_reference(test_models[i], &o);
        o.n_seq_max = 3;
        o.n_ctx = 512;
        o.n_output_max = 3 * N;
        o.n_batch_max = 50;
        o.n_threads = 2;
        moe_session *s = make_session(r.m, o);
        moe_token id[3 * N];
        moe_seq seq[3 * N];
        uint8_t want[3 * N];
        for (size_t j = 0; j < 3 * N;
             j++) { /* sequence 1 is the one that we know; its neighbours are noise */
            seq[j] = (moe_seq)(j % 3);
            id[j] = j % 3 == 1 ? r.id[j / 3] : (moe_token)((j * 31 + 5) % r.vocab);
            want[j] = j % 3 == 1 ? MOE_WANT_LOGITS : 0;
        }
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = 3 * N;
        b.token = id;
        b.seq = seq;
        b.want = want;
        assert_ok(moe_session_eval_batch(s, &b));
        for (size_t j = 0; j < N; j++) same_row(&r, s, j, j);
        moe_session_free(s);
        end_reference(&r);
    }
}

/* Q8_0 and MXFP4 rows of 32, made from an F32 model: integer kernels in several tilings. */
static void quantised_models(void **state)
{
    (void)state;
    static const char *const recipes[] = {"Q8_0", "Q4_0", "MXFP4", "BF16"};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        moe_quantize_options q = MOE_QUANTIZE_OPTIONS_INIT;
        snprintf(path, sizeof path, "test-determinism-%zu.gguf", i);
        q.recipe = recipes[i];
        assert_ok(moe_quantize(test_models[1], path, &q));
        moe_session_options o = wide();
        reference r = make_reference(path, &o);
        o.n_threads = 3;
        same_in_pieces(&r, r.m, o, N);
        same_in_pieces(&r, r.m, o, 19);
        same_in_pieces(&r, r.m, o, 1);
        end_reference(&r);
        remove(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_and_splits),  cmocka_unit_test(f32_cache_is_deterministic_too),
        cmocka_unit_test(stores_agree),        cmocka_unit_test(prefix_reuse),
        cmocka_unit_test(alone_or_in_company), cmocka_unit_test(quantised_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
