/* SPDX-License-Identifier: MIT */
/*
 * Experts with other weights: what moe_weights accepts, who owns what, and that a session with replaced
 * experts computes what a model file with those weights computes, to the bit, whatever the types.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "../alloc/faulty.h"
#include "../check.h"
#include "base/status.h"
#include "expert/slots.h"
#include "expert_model.h"
#include "run/session.h"

#define N 9 /* tokens */

static xm_types all_of(int type) { return (xm_types){{{type, type, type}, {type, type, type}}}; }

/* A model in memory, with its file. */
typedef struct held {
    bytes file;
    moe_model *m;
} held;

static void hold(held *h, const xm_types *types, const moe_allocator *a)
{
    h->file = expert_model(types);
    const moe_file f = bytes_file(1);
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.allocator = a;
    assert_ok(moe_model_open_file(&h->m, &f, &h->file, &o));
}

static void let_go(held *h)
{
    moe_model_release(h->m);
    bytes_free(&h->file);
}

static moe_session *session_of(moe_model *m, uint32_t flags, int n_threads)
{
    moe_session *s;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 64;
    o.flags = flags;
    o.n_threads = n_threads;
    o.n_output_max = N;
    assert_ok(moe_session_create(&s, m, &o));
    return s;
}

static moe_expert *expert_of(moe_session *s, uint32_t layer, uint32_t index)
{
    moe_router *r;
    moe_expert *e;
    assert_ok(moe_session_router(s, layer, &r));
    assert_ok(moe_router_expert(r, index, &e));
    return e;
}

/* Logits of all rows of a fixed prompt, from an empty sequence. */
static void run(moe_session *s, float *logits)
{
    moe_token id[N];
    uint8_t want[N];
    for (int i = 0; i < N; i++) {
        id[i] = (i * 7 + 3) % XM_VOCAB;
        want[i] = MOE_WANT_LOGITS;
    }
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = N;
    b.token = id;
    b.want = want;
    moe_session_reset(s);
    assert_ok(moe_session_eval_batch(s, &b));
    for (size_t i = 0; i < N; i++) {
        const float *row;
        assert_ok(moe_session_logits(s, i, &row, NULL));
        memcpy(logits + i * XM_VOCAB, row, XM_VOCAB * sizeof *row);
    }
}

/* Routing weights scale the experts' inputs. */
static void scale_inputs(moe_session *s)
{
    moe_router *all, *r;
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &all));
    assert_ok(moe_session_router(s, 0, &r));
    assert_ok(moe_router_get_spec(r, MOE_SPEC_CURRENT, &spec));
    spec.flags |= MOE_ROUTE_ON_INPUT;
    assert_ok(moe_router_set_spec(all, &spec));
}

static void run_model(const xm_types *types, uint32_t flags, int on_input, float *logits)
{
    held h;
    hold(&h, types, NULL);
    moe_session *s = session_of(h.m, flags, 1);
    if (on_input) scale_inputs(s);
    run(s, logits);
    moe_session_free(s);
    let_go(&h);
}

/* Weights as the model of those types has them, borrowed from `data` or copied. */
static moe_weights *bring(moe_model *m, uint32_t layer, uint32_t expert, const int type[3], uint32_t flags,
                          float (*data)[XM_MATRIX])
{
    moe_expert_weights w = MOE_EXPERT_WEIGHTS_INIT;
    moe_weights *out;
    w.flags = flags;
    w.dim = w.dim_ff = XM_DIM;
    w.type_gate = type[0], w.type_up = type[1], w.type_down = type[2];
    w.gate_bytes = xm_data(layer, expert, MOE_EXPERT_GATE, type[0], data[0]);
    w.up_bytes = xm_data(layer, expert, MOE_EXPERT_UP, type[1], data[1]);
    w.down_bytes = xm_data(layer, expert, MOE_EXPERT_DOWN, type[2], data[2]);
    w.gate = data[0], w.up = data[1], w.down = data[2];
    assert_ok(moe_weights_create(&out, m, &w));
    return out;
}

static float some_data[3][XM_MATRIX];

static void replace_all(moe_session *s, const xm_types *types)
{
    for (uint32_t l = 0; l < XM_LAYERS; l++)
        for (uint32_t e = 0; e < XM_EXPERTS; e++) {
            moe_weights *w = bring(moe_session_model(s), l, e, types->type[l], 0, some_data);
            assert_ok(moe_expert_replace(expert_of(s, l, e), w));
            moe_weights_release(w);
        }
}

/* ---- what is accepted ---- */

static void bad_weights_are_refused(void **state)
{
    (void)state;
    held h;
    const xm_types types = all_of(MOE_TYPE_Q8_0);
    hold(&h, &types, NULL);
    moe_expert_weights good = MOE_EXPERT_WEIGHTS_INIT, w;
    moe_weights *out = (moe_weights *)&good;
    good.dim = good.dim_ff = XM_DIM;
    good.type_gate = good.type_up = good.type_down = MOE_TYPE_F32;
    good.gate = some_data[0], good.up = some_data[1], good.down = some_data[2];
    good.gate_bytes = good.up_bytes = good.down_bytes = sizeof some_data[0];
    memset(some_data, 0, sizeof some_data);
#define REFUSED(change, status, text)                                                                        \
    do {                                                                                                     \
        w = good;                                                                                            \
        change;                                                                                              \
        assert_refused(moe_weights_create(&out, h.m, &w), status, text);                                     \
        assert_null(out);                                                                                    \
    } while (0)
    REFUSED(w.size = 0, MOE_E_INVALID, "moe_expert_weights");
    REFUSED(w.flags = 2, MOE_E_INVALID, "flags 0x2");
    REFUSED(w.dim = 128, MOE_E_INVALID, "dim 128: expected the model's 256");
    REFUSED(w.dim_ff = 512, MOE_E_INVALID, "dim_ff 512");
    REFUSED(w.type_gate = 77, MOE_E_UNSUPPORTED, "type_gate 77");
    REFUSED(w.type_up = -1, MOE_E_UNSUPPORTED, "type_up -1");
    REFUSED(w.up = NULL, MOE_E_INVALID, "up is NULL");
    REFUSED(w.down_bytes -= 4, MOE_E_INVALID, "down_bytes 262140");
    REFUSED(w.type_gate = MOE_TYPE_F16, MOE_E_INVALID, "gate_bytes 262144");
    REFUSED((w.flags = MOE_WEIGHTS_BORROW, w.gate = (char *)some_data[0] + 1), MOE_E_INVALID, "aligned");
    some_data[2][XM_DIM + 5] = NAN;
    REFUSED((void)0, MOE_E_NUMERIC, "down: row 1, element 5");
    some_data[2][XM_DIM + 5] = 0;
    some_data[1][XM_MATRIX - 1] = -INFINITY;
    REFUSED((void)0, MOE_E_NUMERIC, "up: row 255, element 255");
    some_data[1][XM_MATRIX - 1] = 0;
    /* a scale that is not finite, in every type */
    for (size_t i = 0; i < moe__type_count(); i++) {
        const moe__type *t = moe__type_at(i);
        w = good;
        w.type_up = t->id;
        w.up_bytes = moe__type_bytes(t, XM_MATRIX);
        assert_ok(moe_weights_create(&out, h.m, &w));
        moe_weights_release(out);
        memset((char *)some_data[1] + w.up_bytes - t->block_bytes, 0xff, t->block_bytes);
        assert_refused(moe_weights_create(&out, h.m, &w), MOE_E_NUMERIC, "up: row 255");
        memset(some_data[1], 0, sizeof some_data[1]);
    }
    assert_int_equal(moe_weights_create(NULL, h.m, &good), MOE_E_INVALID);
    assert_int_equal(moe_weights_create(&out, NULL, &good), MOE_E_INVALID);
    assert_int_equal(moe_weights_create(&out, h.m, NULL), MOE_E_INVALID);
    let_go(&h);
}

/* ---- who owns what ---- */

static void copied_and_borrowed_data(void **state)
{
    (void)state;
    static float data[3][XM_MATRIX];
    const int type[3] = {MOE_TYPE_Q8_0, MOE_TYPE_F16, MOE_TYPE_Q4_0};
    const xm_types types = all_of(MOE_TYPE_Q8_0);
    held h;
    faulty f;
    faulty_init(&f);
    hold(&h, &types, &f.hook);
    const size_t before = atomic_load(&f.n_live);
    moe_weights *copy = bring(h.m, 0, 1, type, 0, data);
    moe_weights *borrowed = bring(h.m, 0, 1, type, MOE_WEIGHTS_BORROW, data);
    for (int i = 0; i < 3; i++) {
        assert_ptr_equal(borrowed->mat[i].data, data[i]);
        assert_ptr_not_equal(copy->mat[i].data, data[i]);
        assert_int_equal((uintptr_t)copy->mat[i].data % MOE_ALIGN, 0);
        assert_memory_equal(copy->mat[i].data, data[i],
                            (size_t)moe__type_bytes(moe__type_get(type[i]), XM_MATRIX));
    }
    assert_int_equal(atomic_load(&f.n_live) - before, 3); /* two handles, one block */
    assert_int_equal(copy->bytes, 65536 / 32 * 34 + 65536 * 2 + 65536 / 32 * 18);
    /* a borrowed change is seen, a change of what was copied is not */
    moe_session *s = session_of(h.m, 0, 1);
    float a[N * XM_VOCAB], b[N * XM_VOCAB];
    moe_expert *e = expert_of(s, 0, 1);
    assert_ok(moe_expert_replace(e, copy));
    run(s, a);
    data[1][7] = 0;
    run(s, b);
    assert_memory_equal(a, b, sizeof a);
    assert_ok(moe_expert_replace(e, borrowed));
    run(s, b);
    memset(data[1], 0, sizeof data[1]);
    run(s, a);
    assert_true(memcmp(a, b, sizeof a) != 0);
    moe_session_free(s);
    moe_weights_release(copy);
    moe_weights_release(borrowed);
    assert_int_equal(atomic_load(&f.n_live), before);
    let_go(&h);
    assert_int_equal(atomic_load(&f.n_live), 0);
    assert_int_equal(atomic_load(&f.n_wrong), 0);
}

/* Model, sessions and weights go in every order. */
static void references_in_any_order(void **state)
{
    (void)state;
    static const int order[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const int type[3] = {MOE_TYPE_F32, MOE_TYPE_F32, MOE_TYPE_F32};
    const xm_types types = all_of(MOE_TYPE_Q4_0);
    for (int round = 0; round < 6; round++) {
        held h;
        faulty f;
        faulty_init(&f);
        hold(&h, &types, &f.hook);
        moe_session *s = session_of(h.m, 0, 1), *other = session_of(h.m, 0, 1);
        moe_weights *w = bring(h.m, 1, 2, type, 0, some_data);
        assert_ptr_equal(moe_weights_retain(w), w);
        moe_weights_release(w);
        assert_ok(moe_expert_replace(expert_of(s, 0, 0), w));
        assert_ok(moe_expert_replace(expert_of(s, 1, 3), w));
        assert_ok(moe_expert_replace(expert_of(s, 1, 3), w)); /* over itself */
        assert_ok(moe_expert_replace(expert_of(other, MOE_ALL_LAYERS, 2), w));
        assert_int_equal(atomic_load(&w->refs), 5);
        assert_ok(moe_session_copy_routing(other, s));
        assert_int_equal(atomic_load(&w->refs), 5);
        for (int i = 0; i < 3; i++) {
            if (order[round][i] == 0) moe_model_release(h.m);
            if (order[round][i] == 1) {
                moe_session_free(s);
                moe_session_free(other);
            }
            if (order[round][i] == 2) moe_weights_release(w);
        }
        assert_int_equal(atomic_load(&f.n_live), 0);
        assert_int_equal(atomic_load(&f.n_wrong), 0);
        bytes_free(&h.file);
    }
    assert_null(moe_weights_retain(NULL));
    moe_weights_release(NULL);
}

/* ---- slots ---- */

static int nothing(const moe_expert_call *c, void *user)
{
    (void)c;
    (void)user;
    return 0;
}

static void slots_count_what_they_hold(void **state)
{
    (void)state;
    const int type[3] = {MOE_TYPE_Q8_0, MOE_TYPE_Q4_K, MOE_TYPE_F32};
    const xm_types types = {
        {{MOE_TYPE_F32, MOE_TYPE_F16, MOE_TYPE_F32}, {MOE_TYPE_Q6_K, MOE_TYPE_Q6_K, MOE_TYPE_Q4_0}}};
    held h;
    hold(&h, &types, NULL);
    moe__slots *all, *copy;
    moe_weights *w = bring(h.m, 0, 0, type, 0, some_data);
    const moe__expert_slot weights = {.source = MOE_SOURCE_WEIGHTS, .w = w},
                           other = {.source = MOE_SOURCE_REDIRECT, .layer = 1, .index = 3},
                           function = {.source = MOE_SOURCE_FUNCTION, .fn = nothing};
    assert_ok(moe__slots_create(&all, h.m));
    assert_ok(moe__slots_ready(all, 0, h.m));
    moe__slots_set(all, 0, 2, &function, h.m, 0);
    moe__slots_set(all, 0, 1, &weights, h.m, 0);
    moe__slots_set(all, 0, 0, &function, h.m, 0);
    assert_int_equal(all[0].n_replaced, 3);
    assert_int_equal(all[0].n_fn, 2);
    assert_int_equal(all[0].slot[0].side, 0);
    assert_int_equal(all[0].slot[2].side, 1);
    assert_int_equal(all[0].formats, MOE_ACT_BIT(MOE_ACT_Q8_32) | MOE_ACT_BIT(MOE_ACT_Q8_256));
    assert_int_equal(atomic_load(&w->refs), 2);
    moe__slots_set(all, 0, 0, &other, h.m, 0);
    assert_int_equal(all[0].slot[2].side, 0);
    assert_ptr_equal(moe__slot_matrix(&all[0].slot[0], h.m, 0, MOE_EXPERT_DOWN),
                     &h.m->layers[1].mat[ROLE_DOWN_EXPS]);
    assert_null(moe__slot_matrix(&all[0].slot[2], h.m, 0, MOE_EXPERT_UP));
    assert_ptr_equal(moe__slot_matrix(&all[0].slot[3], h.m, 0, MOE_EXPERT_UP),
                     &h.m->layers[0].mat[ROLE_UP_EXPS]);
    assert_ok(moe__slots_copy(&copy, all, h.m));
    assert_int_equal(atomic_load(&w->refs), 3);
    assert_int_equal(copy[0].n_replaced, 3);
    assert_null(copy[1].slot);
    moe__slots_update(copy, 0, h.m, 1); /* exact sessions read f32 */
    assert_int_equal(copy[0].formats, MOE_ACT_BIT(MOE_ACT_F32));
    moe__slots_free(copy, h.m);
    moe__slots_restore(all, 0, 1, h.m, 0);
    assert_int_equal(atomic_load(&w->refs), 1);
    assert_int_equal(all[0].formats, MOE_ACT_BIT(MOE_ACT_Q8_256)); /* the redirection's */
    moe__slots_restore(all, 0, 0, h.m, 0);
    moe__slots_restore(all, 0, 2, h.m, 0);
    assert_null(all[0].slot); /* nothing replaced, nothing held */
    moe__slots_reset(all, 1, h.m);
    moe__slots_free(all, h.m);
    assert_ok(moe__slots_copy(&copy, NULL, h.m));
    assert_null(copy);
    moe__slots_restore(NULL, 0, 0, h.m, 0);
    moe_weights_release(w);
    let_go(&h);
}

/* ---- the same as a file ---- */

/* A session of model `from` whose experts are replaced by those of model `to` computes what `to` does. */
static void check_replaced(const xm_types *from, const xm_types *to, uint32_t flags, int on_input)
{
    float want[N * XM_VOCAB], got[N * XM_VOCAB], before[N * XM_VOCAB];
    held h;
    run_model(to, flags, on_input, want);
    hold(&h, from, NULL);
    moe_session *s = session_of(h.m, flags, 1);
    if (on_input == 1) scale_inputs(s);
    run(s, before);
    replace_all(s, to);
    if (on_input == 2) scale_inputs(s);
    run(s, got);
    assert_memory_equal(got, want, sizeof got);
    assert_true(memcmp(before, want, sizeof want) != 0);
    /* what a copy of the routing, more threads and single tokens give */
    moe_session *twin = session_of(h.m, flags, 2);
    assert_ok(moe_session_copy_routing(twin, s));
    run(twin, got);
    assert_memory_equal(got, want, sizeof got);
    moe_session_free(twin);
    for (uint32_t l = 0; l < XM_LAYERS; l++)
        for (uint32_t e = 0; e < XM_EXPERTS; e++) assert_ok(moe_expert_restore(expert_of(s, l, e)));
    assert_null(s->experts.slots[0].slot);
    run(s, got);
    if (on_input != 2) assert_memory_equal(got, before, sizeof got);
    moe_session_free(s);
    let_go(&h);
}

static void replaced_experts_equal_a_file(void **state)
{
    (void)state;
    const xm_types f32 = all_of(MOE_TYPE_F32), q8 = all_of(MOE_TYPE_Q8_0);
    for (size_t i = 0; i < moe__type_count(); i++) { /* formats that the model has no rows in */
        const xm_types to = all_of(moe__type_at(i)->id);
        if (moe__type_at(i)->id != MOE_TYPE_F32) check_replaced(&f32, &to, 0, 0);
        if (moe__type_at(i)->act == MOE_ACT_Q8_256) check_replaced(&q8, &to, 0, 0);
    }
    const xm_types q6 = all_of(MOE_TYPE_Q6_K), mixed = {{{MOE_TYPE_Q4_K, MOE_TYPE_F16, MOE_TYPE_Q5_0},
                                                         {MOE_TYPE_Q8_0, MOE_TYPE_Q2_K, MOE_TYPE_IQ4_XS}}};
    check_replaced(&q6, &f32, 0, 0);
    check_replaced(&mixed, &q6, 0, 0);
    check_replaced(&q8, &mixed, MOE_SESSION_EXACT_ACT, 0);
    for (int on_input = 0; on_input <= 2; on_input++) { /* 1: before the experts are replaced, 2: after */
        check_replaced(&q6, &q8, 0, on_input);
        check_replaced(&q6, &mixed, 0, on_input);
        check_replaced(&f32, &mixed, 0, on_input);
    }
}

/* Redirecting to an expert is the same as bringing its weights, also where the other layer has other types.
 */
static void redirected_experts_equal_replaced_ones(void **state)
{
    (void)state;
    const xm_types types = {
        {{MOE_TYPE_Q8_0, MOE_TYPE_F32, MOE_TYPE_Q4_0}, {MOE_TYPE_Q6_K, MOE_TYPE_Q4_K, MOE_TYPE_Q6_K}}};
    float a[N * XM_VOCAB], b[N * XM_VOCAB];
    held h;
    hold(&h, &types, NULL);
    for (uint32_t flags = 0; flags <= MOE_SESSION_EXACT_ACT; flags += MOE_SESSION_EXACT_ACT)
        for (uint32_t l = 0; l < XM_LAYERS; l++) {
            moe_session *s = session_of(h.m, flags, 1), *t = session_of(h.m, flags, 2);
            moe_weights *w = bring(h.m, l, 3, types.type[l], 0, some_data);
            assert_ok(moe_expert_redirect(expert_of(s, MOE_ALL_LAYERS, 0), l, 3));
            assert_ok(moe_expert_redirect(expert_of(s, 1 - l, 2), l, 3));
            assert_ok(moe_expert_replace(expert_of(t, MOE_ALL_LAYERS, 0), w));
            assert_ok(moe_expert_replace(expert_of(t, 1 - l, 2), w));
            run(s, a);
            run(t, b);
            assert_memory_equal(a, b, sizeof a);
            moe_weights_release(w);
            moe_session_free(s);
            moe_session_free(t);
        }
    let_go(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_weights_are_refused),
        cmocka_unit_test(copied_and_borrowed_data),
        cmocka_unit_test(references_in_any_order),
        cmocka_unit_test(slots_count_what_they_hold),
        cmocka_unit_test(replaced_experts_equal_a_file),
        cmocka_unit_test(redirected_experts_equal_replaced_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
