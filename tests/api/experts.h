/* SPDX-License-Identifier: MIT */
/*
 * What the tests of experts share: handles, a fixed prompt, what a layer saw and did, an expert's weights and
 * its formula in double precision.
 */
#ifndef MOE_TESTS_API_EXPERTS_H
#define MOE_TESTS_API_EXPERTS_H

#include <math.h>

#include "support.h"

#define DEMO    "examples/models/demo.gguf"
#define N       23u /* tokens of the prompt */
#define MAX_DIM 256u
#define MAX_K   16u
#define N_LAYER 8u

/* Models whose MoE block is the routed experts and nothing else. */
static const char *const models[] = {"tests/golden/data/qwen3moe.gguf", "tests/golden/data/granitemoe.gguf",
                                     "tests/golden/data/olmoe.gguf", DEMO};
#define N_MODELS (sizeof models / sizeof models[0])

/* ---- what a layer saw and did ---- */

typedef struct pair {
    uint32_t expert;
    float weight;
} pair;

typedef struct layer_log {
    size_t n_rows, dim;
    float x[N * MAX_DIM], y[N * MAX_DIM]; /* [n_rows][dim] input and result of the block */
    uint32_t n_pairs[N];
    pair p[N][MAX_K];
    uint64_t n_distinct; /* experts with a pair of weight, summed over sub-batches */
} layer_log;

static layer_log seen[N_LAYER];

static inline int see_hidden(const moe_layer_event *e, void *user)
{
    layer_log *log = &((layer_log *)user)[e->layer];
    log->dim = e->dim;
    for (uint32_t i = 0; i < e->n_rows; i++) {
        float *to = e->where == MOE_AT_ROUTER ? log->x : log->y;
        memcpy(to + (size_t)e->pos[i] * e->dim, e->hidden + (size_t)i * e->dim, e->dim * sizeof(float));
    }
    return 0;
}

static inline int see_routes(const moe_route_view *v, void *user)
{
    layer_log *log = &((layer_log *)user)[v->layer];
    uint8_t used[64] = {0};
    for (uint32_t i = 0; i < v->n_rows; i++) {
        const size_t row = (size_t)v->pos[i];
        log->n_pairs[row] = 0;
        for (uint32_t p = v->offset[i]; p < v->offset[i + 1]; p++) {
            assert_true(log->n_pairs[row] < MAX_K);
            log->p[row][log->n_pairs[row]++] = (pair){v->expert[p], v->weight[p]};
            if (v->expert[p] == MOE_EXPERT_NONE || v->weight[p] == 0) continue;
            log->n_distinct += !used[v->expert[p]];
            used[v->expert[p]] = 1;
        }
        if (row + 1 > log->n_rows) log->n_rows = row + 1;
    }
    return 0;
}

/* ---- small things ---- */

static inline moe_router *router_of(moe_session *s, uint32_t layer)
{
    moe_router *r;
    assert_ok(moe_session_router(s, layer, &r));
    return r;
}

static inline moe_expert *expert_of(moe_session *s, uint32_t layer, uint32_t index)
{
    moe_expert *e;
    assert_ok(moe_router_expert(router_of(s, layer), index, &e));
    return e;
}

static inline moe_model_info info_of(moe_session *s)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    assert_ok(moe_model_get_info(moe_session_model(s), &info));
    return info;
}

static inline moe_session *session_with(moe_model *m, int threads, uint32_t flags)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = threads;
    o.flags = flags;
    o.n_output_max = N;
    return make_session(m, o);
}

/* Logits of all rows of a fixed prompt in pieces; the sequence is empty before and after. The caller frees
 * them. */
static inline float *run(moe_session *s, size_t piece)
{
    moe_token id[N];
    uint8_t want[N];
    const size_t vocab = vocab_of(moe_session_model(s));
    float *logits = malloc(N * vocab * sizeof *logits);
    assert_non_null(logits);
    memset(want, MOE_WANT_LOGITS, sizeof want);
    fill_tokens(moe_session_model(s), id, N, 5);
    for (size_t at = 0; at < N; at += piece) {
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = N - at < piece ? N - at : piece;
        b.token = id + at;
        b.want = want;
        assert_ok(moe_session_eval_batch(s, &b));
        for (size_t i = 0; i < b.n_tokens; i++) {
            const float *row;
            assert_ok(moe_session_logits(s, i, &row, NULL));
            memcpy(logits + (at + i) * vocab, row, vocab * sizeof *row);
        }
    }
    moe_session_reset(s);
    return logits;
}

static inline int same(moe_session *s, const float *a, const float *b)
{
    return memcmp(a, b, N * vocab_of(moe_session_model(s)) * sizeof *a) == 0;
}

/* Both give the same logits, to the bit, or both do not. */
static inline void check_same(moe_session *a, moe_session *b, int equal)
{
    float *x = run(a, N), *y = run(b, N);
    if (same(a, x, y) != equal) fail_msg("the sessions %s", equal ? "differ" : "do not differ");
    free(x);
    free(y);
}

/* An expert's own three matrices as f32; room for MAX_DIM^2 in each. */
static float mat[3][MAX_DIM * MAX_DIM];

static inline void read_all(moe_expert *e)
{
    for (int w = 0; w < 3; w++) {
        size_t n;
        assert_ok(moe_expert_read(e, w, mat[w], MAX_DIM * MAX_DIM, &n));
    }
}

/* `mat` as weights. */
static inline moe_weights *weights_of_mat(moe_expert *e, moe_model *m, uint32_t flags)
{
    moe_expert_info info = MOE_EXPERT_INFO_INIT;
    moe_expert_weights w = MOE_EXPERT_WEIGHTS_INIT;
    moe_weights *out;
    assert_ok(moe_expert_get_info(e, &info));
    w.flags = flags;
    w.dim = info.dim;
    w.dim_ff = info.dim_ff;
    w.type_gate = w.type_up = w.type_down = MOE_TYPE_F32;
    w.gate = mat[0], w.up = mat[1], w.down = mat[2];
    w.gate_bytes = w.up_bytes = w.down_bytes = (uint64_t)info.dim * info.dim_ff * sizeof(float);
    assert_ok(moe_weights_create(&out, m, &w));
    return out;
}

/* Replaces an expert by itself with the down matrix times `factor`. */
static inline void replace_scaled(moe_session *s, uint32_t layer, uint32_t index, float factor)
{
    moe_expert *e = expert_of(s, layer, index);
    read_all(e);
    for (size_t i = 0; i < MAX_DIM * MAX_DIM; i++) mat[MOE_EXPERT_DOWN][i] *= factor;
    moe_weights *w = weights_of_mat(e, moe_session_model(s), 0);
    assert_ok(moe_expert_replace(e, w));
    moe_weights_release(w);
}

/* The formula in double precision: down(silu(gate x) * up x). */
static inline void ffn_double(const moe_expert_info *info, const float *x, double *y)
{
    static double mid[MAX_DIM];
    for (size_t f = 0; f < info->dim_ff; f++) {
        double g = 0, u = 0;
        for (size_t d = 0; d < info->dim; d++) {
            g += (double)mat[MOE_EXPERT_GATE][f * info->dim + d] * (double)x[d];
            u += (double)mat[MOE_EXPERT_UP][f * info->dim + d] * (double)x[d];
        }
        mid[f] = g / (1 + exp(-g)) * u;
    }
    for (size_t d = 0; d < info->dim; d++) {
        y[d] = 0;
        for (size_t f = 0; f < info->dim_ff; f++)
            y[d] += (double)mat[MOE_EXPERT_DOWN][d * info->dim_ff + f] * mid[f];
    }
}

static inline int is_moe(moe_session *s, uint32_t layer)
{
    moe_router *r;
    return moe_session_router(s, layer, &r) == MOE_OK;
}

/* Logs what every layer sees and does. */
static inline void watch(moe_session *s)
{
    assert_ok(moe_session_on_layer(s, MOE_ALL_LAYERS, MOE_AT_ROUTER, see_hidden, seen));
    assert_ok(moe_session_on_layer(s, MOE_ALL_LAYERS, MOE_AT_EXPERTS, see_hidden, seen));
    assert_ok(moe_session_observe(s, see_routes, seen));
}

static inline void unwatch(moe_session *s)
{
    assert_ok(moe_session_on_layer(s, MOE_ALL_LAYERS, MOE_AT_ROUTER, NULL, NULL));
    assert_ok(moe_session_on_layer(s, MOE_ALL_LAYERS, MOE_AT_EXPERTS, NULL, NULL));
    assert_ok(moe_session_observe(s, NULL, NULL));
}

/* An expert of the program's own: y = 3 x + 1/8. */
static inline int affine(const moe_expert_call *c, void *user)
{
    (void)user;
    for (uint32_t i = 0; i < c->n_rows; i++)
        for (uint32_t d = 0; d < c->dim; d++) c->y[i * c->dim + d] = 3 * c->x[i * c->dim + d] + 0.125f;
    return 0;
}

#endif
