/* SPDX-License-Identifier: MIT */
/*
 * Experts called one by one: applied to rows, read, computed by functions; what is asked of the store; what
 * handles tell and refuse.
 */
#include "experts.h"

/* ---- moe_expert_apply and moe_expert_read ---- */

static void apply_agrees_with_the_formula(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        moe_model *m = open_model(models[i], 0);
        moe_session *s = session_with(m, 2, MOE_SESSION_EXACT_ACT);
        const moe_model_info info = info_of(s);
        for (uint32_t l = 0; l < info.n_layers; l += 2) {
            moe_expert_info e = MOE_EXPERT_INFO_INIT;
            if (!is_moe(s, l)) continue;
            moe_expert *h = expert_of(s, l, l % info.n_experts);
            float x[5 * MAX_DIM], y[5 * MAX_DIM];
            assert_ok(moe_expert_get_info(h, &e));
            read_all(h);
            for (uint32_t d = 0; d < 5 * e.dim; d++) x[d] = (float)((d * 37 + l) % 101) / 50.0f - 1.0f;
            assert_ok(moe_expert_apply(h, x, 5, y));
            for (size_t r = 0; r < 5; r++) {
                double want[MAX_DIM], most = 0;
                ffn_double(&e, x + r * e.dim, want);
                for (size_t d = 0; d < e.dim; d++) most = fmax(most, fabs(want[d]));
                for (size_t d = 0; d < e.dim; d++)
                    assert_true(fabs(want[d] - (double)y[r * e.dim + d]) <= 1e-5 * most);
            }
            float alone[MAX_DIM];
            assert_ok(moe_expert_apply(h, x + 3 * e.dim, 1, alone));
            assert_memory_equal(alone, y + 3 * e.dim, e.dim * sizeof *y);
            assert_ok(moe_expert_apply(h, x, 5, x)); /* in place */
            assert_memory_equal(x, y, 5 * e.dim * sizeof *y);
        }
        moe_session_free(s);
        moe_model_release(m);
    }
}

/* More rows than pairs in flight. */
static void apply_in_tiles(void **state)
{
    (void)state;
    moe_model *m = open_model("tests/golden/data/qwen2moe-dense.gguf", 0);
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_batch_max = o.n_ctx = 5000; /* 4096 pairs at most */
    o.n_threads = 2;
    moe_session *s = make_session(m, o);
    const size_t dim = info_of(s).dim;
    float *x = malloc(5000 * dim * sizeof *x), *y = malloc(5000 * dim * sizeof *y), one[MAX_DIM];
    assert_true(x && y);
    for (size_t i = 0; i < 5000 * dim; i++) x[i] = (float)(i % 97) / 97.0f;
    moe_expert *e = expert_of(s, 1, 2);
    assert_ok(moe_expert_apply(e, x, 5000, y));
    for (size_t r = 0; r < 5000; r += 833) {
        assert_ok(moe_expert_apply(e, x + r * dim, 1, one));
        assert_memory_equal(one, y + r * dim, dim * sizeof *y);
    }
    assert_refused(moe_expert_apply(e, x, 5001, y), MOE_E_INVALID, "5001 rows");
    assert_refused(moe_expert_apply(e, x, 0, y), MOE_E_INVALID, "0 rows");
    assert_int_equal(moe_expert_apply(e, NULL, 1, y), MOE_E_INVALID);
    free(x);
    free(y);
    moe_session_free(s);
    moe_model_release(m);
}

static void reading_what_is_in_use(void **state)
{
    (void)state;
    moe_model *m = open_model(models[0], 0);
    moe_session *s = session_with(m, 1, 0);
    moe_expert *e = expert_of(s, 1, 2);
    const size_t all = (size_t)48 * 16;
    size_t n = 0, place;
    float own[48 * 16], got[48 * 16];
    assert_refused(moe_expert_read(e, MOE_EXPERT_UP, NULL, 0, &n), MOE_E_BUFFER, "needed 768");
    assert_int_equal(n, all);
    assert_refused(moe_expert_read(e, MOE_EXPERT_UP, own, all - 1, &n), MOE_E_BUFFER, "767");
    assert_refused(moe_expert_read(e, 3, own, all, &n), MOE_E_INVALID, "matrix 3");
    assert_refused(moe_expert_read(e, -1, own, all, &n), MOE_E_INVALID, "matrix -1");
    assert_refused(moe_expert_read(expert_of(s, MOE_ALL_LAYERS, 2), MOE_EXPERT_UP, own, all, &n), MOE_E_STATE,
                   "all layers");
    assert_ok(moe_expert_read(e, MOE_EXPERT_UP, own, all, &n));
    assert_int_equal(n, all);
    assert_ok(moe_model_tensor_find(m, "blk.1.ffn_up_exps.weight", &place));
    assert_ok(moe_model_tensor_read(m, place, 2 * all, all, got));
    assert_memory_equal(own, got, sizeof own);
    assert_ok(moe_expert_redirect(e, 0, 7));
    assert_ok(moe_model_tensor_find(m, "blk.0.ffn_down_exps.weight", &place));
    assert_ok(moe_model_tensor_read(m, place, 7 * all, all, own));
    assert_ok(moe_expert_read(e, MOE_EXPERT_DOWN, got, all, &n));
    assert_memory_equal(own, got, sizeof own);
    replace_scaled(s, 1, 2, 4);
    assert_ok(moe_expert_read(e, MOE_EXPERT_DOWN, got, all, &n));
    for (size_t i = 0; i < all; i++) assert_true(got[i] == 4 * own[i]);
    assert_ok(moe_expert_replace_fn(e, affine, NULL));
    assert_refused(moe_expert_read(e, MOE_EXPERT_DOWN, got, all, &n), MOE_E_NOTFOUND, "function");
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- functions ---- */

/* Weights of one expert, and what its function saw. */
typedef struct stand_in {
    moe_session *s;
    moe_expert_info info;
    float w[3][48 * 16];
    uint32_t n_calls, n_rows, next; /* next: position that may come */
    int check;
    int result;    /* returned */
    int poison;    /* leaves a NaN */
    int forget;    /* leaves the last row alone */
    int interfere; /* tries to change the session */
} stand_in;

static int ffn_function(const moe_expert_call *c, void *user)
{
    stand_in *f = user;
    const uint32_t dim = f->info.dim, ff = f->info.dim_ff;
    assert_int_equal(c->size, sizeof *c);
    assert_int_equal(c->layer, f->info.layer);
    assert_int_equal(c->index, f->info.index);
    assert_int_equal(c->dim, dim);
    assert_true(c->n_rows > 0);
    f->n_calls++;
    f->n_rows += c->n_rows;
    for (uint32_t i = 0; i < c->n_rows; i++) {
        moe_token id[N];
        fill_tokens(moe_session_model(f->s), id, N, 5);
        if (f->check) {
            assert_true((uint32_t)c->pos[i] >= f->next); /* ascending, each once */
            f->next = (uint32_t)c->pos[i] + 1;
            assert_int_equal(c->token[i], id[c->pos[i]]);
            assert_int_equal(c->seq[i], 0);
        }
        memcpy(mat[0], f->w[0], sizeof f->w[0]);
        memcpy(mat[1], f->w[1], sizeof f->w[1]);
        memcpy(mat[2], f->w[2], sizeof f->w[2]);
        double y[MAX_DIM];
        ffn_double(&f->info, c->x + (size_t)i * dim, y);
        if (f->forget && i + 1 == c->n_rows) continue;
        for (uint32_t d = 0; d < dim; d++) c->y[(size_t)i * dim + d] = (float)y[d];
    }
    (void)ff;
    if (f->poison) c->y[(size_t)(c->n_rows - 1) * dim + 3] = -INFINITY;
    if (f->interfere) {
        moe_expert_info info = MOE_EXPERT_INFO_INIT;
        float x[MAX_DIM];
        size_t n;
        moe_expert *e = expert_of(f->s, f->info.layer, f->info.index);
        assert_refused(moe_expert_restore(e), MOE_E_STATE, "may only read");
        assert_int_equal(moe_expert_replace_fn(e, affine, NULL), MOE_E_STATE);
        assert_int_equal(moe_expert_redirect(e, 0, 0), MOE_E_STATE);
        assert_int_equal(moe_expert_set_use(e, MOE_USE_BAN), MOE_E_STATE);
        assert_int_equal(moe_expert_set_value(e, MOE_EDIT_GAIN, 2), MOE_E_STATE);
        assert_int_equal(moe_expert_apply(e, c->x, 1, x), MOE_E_STATE);
        assert_ok(moe_expert_get_info(e, &info)); /* reading is fine */
        assert_int_equal(moe_expert_read(expert_of(f->s, f->info.layer, 0), MOE_EXPERT_UP, NULL, 0, &n),
                         MOE_E_BUFFER);
    }
    return f->result;
}

static void make_stand_in(stand_in *f, moe_session *s, uint32_t layer, uint32_t index)
{
    memset(f, 0, sizeof *f);
    f->s = s;
    f->info = (moe_expert_info)MOE_EXPERT_INFO_INIT;
    moe_expert *e = expert_of(s, layer, index);
    assert_ok(moe_expert_get_info(e, &f->info));
    read_all(e);
    for (int w = 0; w < 3; w++) memcpy(f->w[w], mat[w], sizeof f->w[w]);
}

static void a_function_that_does_the_same(void **state)
{
    (void)state;
    moe_model *m = open_model(models[0], 0);
    moe_session *s = session_with(m, 2, 0), *plain = session_with(m, 1, 0);
    stand_in f[3];
    for (uint32_t i = 0; i < 3; i++) {
        make_stand_in(&f[i], s, i, 2 * i);
        f[i].check = 1;
        assert_ok(moe_expert_replace_fn(expert_of(s, i, 2 * i), ffn_function, &f[i]));
    }
    memset(seen, 0, sizeof seen);
    watch(plain);
    float *want = run(plain, N), *got = run(s, N), most = 0;
    const size_t n = N * vocab_of(m);
    for (size_t i = 0; i < n; i++) most = fmaxf(most, fabsf(want[i]));
    for (size_t i = 0; i < n; i++) assert_true(fabsf(want[i] - got[i]) <= 1e-5f * most);
    for (uint32_t i = 0; i < 3; i++) { /* as many rows as were routed there */
        uint32_t n_rows = 0;
        for (size_t row = 0; row < N; row++)
            for (uint32_t p = 0; p < seen[i].n_pairs[row]; p++) n_rows += seen[i].p[row][p].expert == 2 * i;
        assert_int_equal(f[i].n_calls, n_rows > 0);
        assert_int_equal(f[i].n_rows, n_rows);
        assert_true(n_rows > 0);
    }
    free(got);
    for (uint32_t i = 0; i < 3; i++) f[i].n_calls = f[i].next = 0;
    got = run(s, 8);
    assert_true(f[0].n_calls > 1 && f[0].n_calls <= 3); /* three sub-batches */
    free(got);
    /* dropped: not called; the others are as before */
    for (uint32_t i = 0; i < 3; i++) f[i].n_calls = f[i].next = 0;
    assert_ok(moe_expert_set_use(expert_of(s, 0, 0), MOE_USE_DROP));
    assert_ok(moe_expert_set_value(expert_of(s, 1, 2), MOE_EDIT_GAIN, 0));
    assert_ok(moe_expert_set_use(expert_of(s, 2, 4), MOE_USE_BAN));
    free(run(s, N));
    for (uint32_t i = 0; i < 3; i++) assert_int_equal(f[i].n_calls, 0);
    free(want);
    moe_session_free(s);
    moe_session_free(plain);
    moe_model_release(m);
}

static void functions_that_fail(void **state)
{
    (void)state;
    moe_model *m = open_model(models[0], 0);
    moe_session *s = session_with(m, 2, 0), *plain = session_with(m, 1, 0);
    stand_in f;
    moe_token id[N];
    float x[2 * MAX_DIM] = {0}, y[2 * MAX_DIM];
    fill_tokens(m, id, N, 5);
    make_stand_in(&f, s, 1, 3);
    moe_expert *e = expert_of(s, 1, 3);
    assert_ok(moe_expert_replace_fn(e, ffn_function, &f));
    assert_ok(moe_session_eval(s, id, 4));
    const size_t len = moe_session_seq_len(s, 0);
    f.result = -77;
    assert_refused(moe_session_eval(s, id, N), -77, "layer 1: the function of expert 3");
    assert_int_equal(moe_expert_apply(e, x, 2, y), -77);
    f.result = MOE_E_IO;
    assert_int_equal(moe_session_eval(s, id, N), MOE_E_IO);
    f.result = 5;
    assert_refused(moe_session_eval(s, id, N), MOE_E_ABORTED, "expert 3");
    assert_int_equal(moe_expert_apply(e, x, 2, y), MOE_E_ABORTED);
    f.result = 0;
    f.poison = 1;
    assert_refused(moe_session_eval(s, id, N), MOE_E_CALLBACK, "element 3 that is not finite");
    assert_refused(moe_expert_apply(e, x, 2, y), MOE_E_CALLBACK, "row 1, element 3");
    f.poison = 0;
    f.forget = 1;
    assert_refused(moe_session_eval(s, id, N), MOE_E_CALLBACK, "not finite");
    assert_refused(moe_expert_apply(e, x, 2, y), MOE_E_CALLBACK, "row 1, element 0");
    f.forget = 0;
    f.interfere = 1;
    assert_ok(moe_expert_apply(e, x, 2, y));
    assert_int_equal(moe_session_seq_len(s, 0), len);
    moe_session_reset(s);
    assert_ok(moe_session_eval(s, id, N));
    moe_session_reset(s);
    assert_ok(moe_expert_restore(e)); /* nothing of all that is left */
    check_same(s, plain, 1);
    assert_refused(moe_expert_replace_fn(e, NULL, NULL), MOE_E_INVALID, "fn");
    moe_session_free(s);
    moe_session_free(plain);
    moe_model_release(m);
}

/* ---- what is asked of the store ---- */

static uint64_t acquired(moe_session *s, uint64_t *bytes, uint64_t *pairs)
{
    moe_stats st = MOE_STATS_INIT;
    moe_session_reset_stats(s);
    memset(seen, 0, sizeof seen);
    watch(s);
    free(run(s, 8));
    unwatch(s);
    assert_ok(moe_session_get_stats(s, &st));
    if (bytes) *bytes = st.expert_bytes;
    if (pairs) *pairs = st.pairs;
    return st.experts;
}

static uint64_t distinct(moe_session *s)
{
    uint64_t n = 0;
    for (uint32_t l = 0; l < info_of(s).n_layers; l++) n += seen[l].n_distinct;
    return n;
}

static void unused_experts_are_never_acquired(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        moe_model *m = open_model(models[i], 0);
        moe_session *s = session_with(m, 2, 0);
        const moe_model_info info = info_of(s);
        moe_expert_info one = MOE_EXPERT_INFO_INIT;
        uint64_t bytes, pairs, k = 0;
        assert_ok(moe_expert_get_info(expert_of(s, info.n_layers - 1, 0), &one));
        const uint64_t native = acquired(s, &bytes, &pairs);
        assert_int_equal(native, distinct(s));
        assert_int_equal(bytes, native * one.bytes);
        for (uint32_t l = 0; l < info.n_layers; l++)
            for (size_t row = 0; row < N; row++) k += seen[l].n_pairs[row];
        assert_int_equal(pairs, k);
        /* only expert 1 is left, the rest is dropped, of gain 0, or banned */
        for (uint32_t e = 0; e < info.n_experts; e++) {
            moe_expert *h = expert_of(s, MOE_ALL_LAYERS, e);
            if (e == 1) continue;
            if (e % 3 == 0) assert_ok(moe_expert_set_use(h, MOE_USE_DROP));
            if (e % 3 == 1) assert_ok(moe_expert_set_value(h, MOE_EDIT_GAIN, 0));
            if (e % 3 == 2) assert_ok(moe_expert_set_use(h, MOE_USE_BAN));
        }
        assert_true(acquired(s, NULL, &pairs) <= (uint64_t)info.n_layers * 3); /* three sub-batches */
        uint64_t ones = 0;
        for (uint32_t l = 0; l < info.n_layers; l++)
            for (size_t row = 0; row < N; row++)
                for (uint32_t p = 0; p < seen[l].n_pairs[row]; p++) ones += seen[l].p[row][p].expert == 1;
        assert_int_equal(pairs, ones);
        assert_true(ones > 0);
        assert_ok(moe_expert_set_use(expert_of(s, MOE_ALL_LAYERS, 1), MOE_USE_DROP));
        assert_int_equal(acquired(s, &bytes, &pairs), 0);
        assert_int_equal(bytes + pairs, 0);
        /* brought weights and functions are not the store's */
        assert_ok(moe_router_reset(router_of(s, MOE_ALL_LAYERS)));
        for (uint32_t l = 0; l < info.n_layers; l++)
            for (uint32_t e = 0; is_moe(s, l) && e < info.n_experts; e++) {
                if (e % 2) replace_scaled(s, l, e, 0.9f);
                if (e % 2 == 0) assert_ok(moe_expert_replace_fn(expert_of(s, l, e), affine, NULL));
            }
        assert_int_equal(acquired(s, NULL, &pairs), 0);
        assert_int_equal(pairs, k);
        for (uint32_t e = 0; e < info.n_experts; e++)
            assert_ok(moe_expert_redirect(expert_of(s, MOE_ALL_LAYERS, e), MOE_ALL_LAYERS, 0));
        const uint64_t redirected = acquired(s, NULL, NULL);
        assert_int_equal(redirected, distinct(s));
        moe_session_free(s);
        moe_model_release(m);
    }
}

/* ---- handles and refusals ---- */

static void what_an_expert_tells(void **state)
{
    (void)state;
    moe_model *m = open_model(DEMO, 0);
    moe_session *s = session_with(m, 1, 0);
    moe_expert_info i = MOE_EXPERT_INFO_INIT;
    moe_expert *e = expert_of(s, 3, 7);
    moe_router_info router = MOE_ROUTER_INFO_INIT;
    assert_ok(moe_expert_get_info(e, &i));
    assert_int_equal(i.layer, 3);
    assert_int_equal(i.index, 7);
    assert_int_equal(i.type_gate, MOE_TYPE_Q6_K);
    assert_int_equal(i.dim, 256);
    assert_int_equal(i.dim_ff, 256);
    assert_int_equal(i.bytes, 3 * 256 * 210);
    assert_int_equal(i.source, MOE_SOURCE_OWN);
    assert_int_equal(i.use, MOE_USE_FREE);
    assert_true(i.logit_bias == 0 && i.select_bias == 0 && i.pre == 1 && i.post == 1 && i.gain == 1);
    assert_refused(moe_expert_get_info(expert_of(s, MOE_ALL_LAYERS, 7), &i), MOE_E_STATE, "all layers");
    moe_expert *all = expert_of(s, MOE_ALL_LAYERS, 7);
    for (int kind = MOE_EDIT_LOGIT_BIAS; kind <= MOE_EDIT_GAIN; kind++)
        assert_ok(moe_expert_set_value(all, kind, (float)kind / 4));
    assert_ok(moe_expert_set_use(all, MOE_USE_DROP));
    assert_ok(moe_expert_redirect(all, 2, 7));
    assert_ok(moe_expert_get_info(e, &i));
    assert_true(i.logit_bias == .25f && i.select_bias == .5f && i.pre == .75f && i.post == 1 &&
                i.gain == 1.25f);
    assert_int_equal(i.use, MOE_USE_DROP);
    assert_int_equal(i.source, MOE_SOURCE_REDIRECT);
    assert_int_equal(i.src_layer, 2);
    assert_int_equal(i.src_index, 7);
    assert_ok(moe_expert_get_info(expert_of(s, 2, 7), &i)); /* itself */
    assert_int_equal(i.source, MOE_SOURCE_OWN);
    assert_ok(moe_expert_get_info(expert_of(s, 3, 6), &i)); /* a neighbour */
    assert_int_equal(i.source + i.use, 0);
    assert_true(i.gain == 1 && i.logit_bias == 0);
    replace_scaled(s, 3, 7, 1);
    assert_ok(moe_expert_get_info(e, &i));
    assert_int_equal(i.source, MOE_SOURCE_WEIGHTS);
    assert_int_equal(i.type_down, MOE_TYPE_F32);
    assert_int_equal(i.bytes, 3 * 256 * 1024);
    assert_int_equal(i.src_layer + i.src_index, 0);
    assert_ok(moe_expert_replace_fn(e, affine, NULL));
    assert_ok(moe_expert_get_info(e, &i));
    assert_int_equal(i.source, MOE_SOURCE_FUNCTION);
    assert_int_equal(i.bytes, 0);
    assert_ok(moe_expert_restore(all)); /* uses and numbers stay */
    assert_ok(moe_expert_get_info(e, &i));
    assert_int_equal(i.source, MOE_SOURCE_OWN);
    assert_int_equal(i.use, MOE_USE_DROP);
    assert_true(i.gain == 1.25f);
    assert_ok(moe_router_reset(router_of(s, MOE_ALL_LAYERS)));
    assert_ok(moe_expert_redirect(e, 2, 7));
    assert_ok(moe_router_get_info(router_of(s, 3), &router));
    assert_int_equal(router.flags & MOE_ROUTER_NATIVE, 0);
    assert_ok(moe_expert_restore(e));
    assert_ok(moe_router_get_info(router_of(s, 3), &router));
    assert_int_equal(router.flags & MOE_ROUTER_NATIVE, MOE_ROUTER_NATIVE);
    moe_session_free(s);
    moe_model_release(m);
}

static void refusals_change_nothing(void **state)
{
    (void)state;
    moe_model *m = open_model("tests/golden/data/qwen2moe-dense.gguf", 0), *other = open_model(models[0], 0);
    moe_session *s = session_with(m, 1, 0), *plain = session_with(m, 1, 0), *t = session_with(other, 1, 0);
    moe_expert *e = expert_of(s, 1, 2), *all = expert_of(s, MOE_ALL_LAYERS, 2);
    assert_refused(moe_expert_redirect(e, 9, 0), MOE_E_RANGE, "layer 9");
    assert_refused(moe_expert_redirect(e, 0, 0), MOE_E_NOTFOUND, "dense");
    assert_refused(moe_expert_redirect(all, 1, 6), MOE_E_RANGE, "expert 6");
    assert_refused(moe_expert_set_use(e, 99), MOE_E_INVALID, "99");
    assert_refused(moe_expert_set_use(all, -1), MOE_E_INVALID, "-1");
    assert_refused(moe_expert_set_use(all, 1000), MOE_E_INVALID, "1000");
    assert_refused(moe_expert_set_value(e, 0, 1), MOE_E_INVALID, "kind 0");
    assert_refused(moe_expert_set_value(e, 6, 1), MOE_E_INVALID, "kind 6");
    assert_refused(moe_expert_set_value(all, MOE_EDIT_GAIN, NAN), MOE_E_NUMERIC, "finite");
    assert_refused(moe_expert_set_value(all, MOE_EDIT_PRE, INFINITY), MOE_E_NUMERIC, "finite");
    assert_refused(moe_expert_replace(e, NULL), MOE_E_INVALID, "w");
    moe_expert *foreign = expert_of(t, 0, 0);
    read_all(foreign);
    moe_weights *w = weights_of_mat(foreign, other, 0);
    assert_refused(moe_expert_replace(e, w), MOE_E_INVALID, "48 wide");
    assert_refused(moe_expert_replace(all, w), MOE_E_INVALID, "16 inside");
    moe_weights_release(w);
    assert_int_equal(moe_expert_get_info(NULL, NULL), MOE_E_INVALID);
    assert_int_equal(moe_expert_restore(NULL), MOE_E_INVALID);
    assert_int_equal(moe_expert_redirect(NULL, 0, 0), MOE_E_INVALID);
    for (uint32_t i = 0; i < 5; i++) assert_ok(moe_expert_set_use(expert_of(s, 1, i), MOE_USE_BAN));
    assert_refused(moe_expert_set_use(expert_of(s, 1, 5), MOE_USE_BAN), MOE_E_INVALID, "");
    for (uint32_t i = 0; i < 5; i++) assert_ok(moe_expert_set_use(expert_of(s, 1, i), MOE_USE_FREE));
    check_same(s, plain, 1);
    moe_session_free(s);
    moe_session_free(plain);
    moe_session_free(t);
    moe_model_release(m);
    moe_model_release(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(apply_agrees_with_the_formula), cmocka_unit_test(apply_in_tiles),
        cmocka_unit_test(reading_what_is_in_use),        cmocka_unit_test(a_function_that_does_the_same),
        cmocka_unit_test(functions_that_fail),           cmocka_unit_test(unused_experts_are_never_acquired),
        cmocka_unit_test(what_an_expert_tells),          cmocka_unit_test(refusals_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
