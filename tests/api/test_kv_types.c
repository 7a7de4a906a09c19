/* SPDX-License-Identifier: MIT */
/*
 * The types of the KV cache, keys and values each: the same bits whatever the threads, the split, the company
 * and the instruction set, in contexts that are longer than one chunk of attention (512 positions) and end
 * anywhere in it; copied, cut, saved and loaded; and no further from an f32 cache than the type explains.
 */
#include <math.h>

#include "stream.h"

#define N 600u /* tokens */

/* Heads of 64, two for each KV head. */
static const char demo[] = "examples/models/demo.gguf";

typedef struct kinds {
    int32_t k, v;
    double far; /* relative distance of logits to those of an f32 cache, at most */
} kinds;
static const kinds types[] = {
    {MOE_TYPE_F16, MOE_TYPE_F16, 0.03},   {MOE_TYPE_BF16, MOE_TYPE_BF16, 0.03},
    {MOE_TYPE_Q8_0, MOE_TYPE_Q8_0, 0.03}, {MOE_TYPE_Q4_0, MOE_TYPE_Q4_0, 0.2},
    {MOE_TYPE_Q8_0, MOE_TYPE_Q4_0, 0.2},  {MOE_KV_F32, MOE_TYPE_Q8_0, 0.03},
};
#define N_TYPES (sizeof types / sizeof types[0])

static moe_session *session(moe_model *m, kinds t, int32_t n_threads, uint32_t n_batch)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.kv_type_k = t.k;
    o.kv_type_v = t.v;
    o.n_ctx = 1536;
    o.n_seq_max = 3;
    o.n_threads = n_threads;
    o.n_batch_max = n_batch;
    return make_session(m, o);
}

typedef struct reference {
    moe_model *m;
    size_t vocab;
    moe_token id[N];
    float *before, *last; /* logits of token 530 and of the last one */
} reference;

static void keep(const moe_session *s, float *dst, size_t n)
{
    const float *x;
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(dst, x, n * sizeof *dst);
}

static void same(const moe_session *s, const float *want, size_t n)
{
    const float *x;
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    assert_memory_equal(x, want, n * sizeof *want);
}

static reference make_reference(kinds t)
{
    reference r = {.m = open_model(demo, 0)};
    r.vocab = vocab_of(r.m);
    fill_tokens(r.m, r.id, N, 5);
    r.before = malloc(r.vocab * sizeof(float));
    r.last = malloc(r.vocab * sizeof(float));
    assert_true(r.before && r.last);
    moe_session *s = session(r.m, t, 1, 0);
    assert_ok(moe_session_eval(s, r.id, 530));
    keep(s, r.before, r.vocab);
    assert_ok(moe_session_eval(s, r.id + 530, N - 530));
    keep(s, r.last, r.vocab);
    moe_session_free(s);
    return r;
}

static void end_reference(reference *r)
{
    free(r->before);
    free(r->last);
    moe_model_release(r->m);
}

/* Other threads, other splits, the last tokens one by one. */
static void in_pieces(const reference *r, kinds t)
{
    moe_session *s = session(r->m, t, 3, 37);
    assert_ok(moe_session_eval(s, r->id, 530));
    same(s, r->before, r->vocab);
    for (size_t i = 530; i < 540; i++) assert_ok(moe_session_eval(s, r->id + i, 1));
    assert_ok(moe_session_eval(s, r->id + 540, N - 540));
    same(s, r->last, r->vocab);
    moe_session_free(s);
    s = session(r->m, t, 2, 0); /* all but one at once, then that one: it is cut into chunks */
    assert_ok(moe_session_eval(s, r->id, N - 1));
    assert_ok(moe_session_eval(s, r->id + N - 1, 1));
    same(s, r->last, r->vocab);
    moe_session_free(s);
}

/* Two sequences in one batch, token by token in turn; then a copy that goes on by itself, and a cut. */
static void in_company(const reference *r, kinds t)
{
    enum { PAIRS = 60 };
    moe_token other[PAIRS], id[2 * PAIRS];
    moe_seq seq[2 * PAIRS];
    moe_session *s = session(r->m, t, 2, 0);
    fill_tokens(r->m, other, PAIRS, 77);
    assert_ok(moe_session_eval(s, r->id, 530));
    assert_ok(moe_session_seq_copy(s, 0, 2));
    for (size_t i = 0; i < PAIRS; i++) {
        id[2 * i] = other[i];
        seq[2 * i] = i % 2 ? 1 : 2;
        id[2 * i + 1] = r->id[530 + i];
        seq[2 * i + 1] = 0;
    }
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 2 * PAIRS;
    b.token = id;
    b.seq = seq;
    uint8_t want[2 * PAIRS] = {0};
    b.want = want;
    assert_ok(moe_session_eval_batch(s, &b));
    assert_ok(moe_session_eval(s, r->id + 530 + PAIRS, N - 530 - PAIRS));
    same(s, r->last, r->vocab);
    assert_ok(moe_session_seq_truncate(s, 0, 520));
    assert_ok(moe_session_eval(s, r->id + 520, 10));
    same(s, r->before, r->vocab);
    moe_session_free(s);
}

static void saved(const reference *r, kinds t)
{
    moe_session *s = session(r->m, t, 1, 0), *u = session(r->m, t, 2, 0);
    assert_ok(moe_session_eval(s, r->id, 530));
    stream f = save_all(s);
    assert_ok(load_all(u, &f));
    same(u, r->before, r->vocab);
    assert_ok(moe_session_eval(u, r->id + 530, N - 530));
    same(u, r->last, r->vocab);
    moe_session_free(u);
    u = session(r->m, (kinds){t.k, t.v == MOE_TYPE_F16 ? MOE_TYPE_BF16 : MOE_TYPE_F16, 0}, 1, 0);
    assert_refused(load_all(u, &f), MOE_E_STATE, "value type");
    moe_session_free(u);
    moe_session_free(s);
    free(f.data);
}

static void same_bits(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        reference r = make_reference(types[i]);
        in_pieces(&r, types[i]);
        in_company(&r, types[i]);
        saved(&r, types[i]);
        end_reference(&r);
    }
}

static void near_f32(void **state)
{
    (void)state;
    reference exact = make_reference((kinds){MOE_KV_F32, MOE_KV_F32, 0});
    for (size_t i = 0; i < N_TYPES; i++) {
        reference r = make_reference(types[i]);
        double diff = 0, norm = 0;
        for (size_t j = 0; j < r.vocab; j++) {
            const double d = (double)r.last[j] - (double)exact.last[j];
            diff += d * d;
            norm += (double)exact.last[j] * (double)exact.last[j];
        }
        if (sqrt(diff / norm) > types[i].far)
            fail_msg("keys %d, values %d: relative distance %g", types[i].k, types[i].v, sqrt(diff / norm));
        if (types[i].v != MOE_TYPE_F16) assert_true(diff > 0); /* the type is in use */
        end_reference(&r);
    }
    end_reference(&exact);
}

/* Plain C and the best instruction set. */
static void every_instruction_set(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TYPES; i++) {
        float *x = NULL;
        for (int best = 0; best < 2; best++) {
            moe_model_options o = MOE_MODEL_OPTIONS_INIT;
            moe_model *m = NULL;
            moe_token id[24];
            o.isa_max = best ? NULL : "ref";
            assert_ok(moe_model_open(&m, demo, &o));
            moe_session *s = session(m, types[i], 2, 0);
            const size_t vocab = vocab_of(m);
            fill_tokens(m, id, 24, 3);
            assert_ok(moe_session_eval(s, id, 23));
            assert_ok(moe_session_eval(s, id + 23, 1));
            if (!best) {
                x = malloc(vocab * sizeof *x);
                assert_non_null(x);
                keep(s, x, vocab);
            } else {
                same(s, x, vocab);
            }
            moe_session_free(s);
            moe_model_release(m);
        }
        free(x);
    }
}

/* Heads of 16: blocks of 32 do not fit. */
static void heads_that_do_not_fit(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[1], 0);
    moe_session *s = NULL;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_memory plan = MOE_MEMORY_INIT;
    o.kv_type_v = MOE_TYPE_Q8_0;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_UNSUPPORTED, "kv_type_v Q8_0 has blocks of 32");
    assert_refused(moe_model_get_memory(m, &o, &plan), MOE_E_UNSUPPORTED, "kv_type_v");
    moe_model_release(m);
}

/* Bytes of a cache are those of its types: 34 for 32 elements of q8_0, 18 of q4_0. */
static void memory_by_type(void **state)
{
    (void)state;
    moe_model *m = open_model(demo, 0);
    uint64_t kv[3];
    static const int32_t type[3] = {MOE_TYPE_F16, MOE_TYPE_Q8_0, MOE_TYPE_Q4_0};
    for (int i = 0; i < 3; i++) {
        moe_session_options o = MOE_SESSION_OPTIONS_INIT;
        moe_memory plan = MOE_MEMORY_INIT;
        o.n_ctx = 1 << 16;
        o.kv_type_k = o.kv_type_v = type[i];
        assert_ok(moe_model_get_memory(m, &o, &plan));
        kv[i] = plan.kv;
    }
    assert_true(fabs((double)kv[1] / (double)kv[0] - 34.0 / 64) < 0.01);
    assert_true(fabs((double)kv[2] / (double)kv[0] - 18.0 / 64) < 0.01);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits),
        cmocka_unit_test(near_f32),
        cmocka_unit_test(every_instruction_set),
        cmocka_unit_test(heads_that_do_not_fit),
        cmocka_unit_test(memory_by_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
