/* SPDX-License-Identifier: MIT */
/* A router on its own, set up by text, for the tests of route/. */
#ifndef ROUTE_RIG_H
#define ROUTE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "route/router.h"

#define MAX_N    512
#define MAX_ROWS 256
#define COUNT(a) (sizeof(a) / sizeof(a)[0])

typedef struct rig {
    moe__allocator alloc;
    moe__kernels kernels;
    moe__router router;
    float scratch[8 * MAX_N];
    /* what came out */
    uint32_t n, id[MAX_N];
    float w[MAX_N];
} rig;

static rig g;

/* A router whose model has n experts and n_null null experts; its own recipe is softmax, top-2, raw. */
static inline void rig_model(uint32_t n, uint32_t n_null)
{
    const moe__router_shape shape = {
        .layer = 3, .n = n, .n_null = n_null, .n_seq_max = 4, .n_vocab = 8, .dim = 1};
    const moe_route_spec native = {.size = sizeof native,
                                   .score = MOE_SCORE_SOFTMAX,
                                   .select = MOE_SELECT_TOPK,
                                   .weight = MOE_WEIGHT_RAW,
                                   .top_k = n < 2 ? n : 2,
                                   .scale = 1,
                                   .n_null = n_null};
    moe__router_finish(&g.router);
    assert_int_equal(moe__router_init(&g.router, &g.alloc, &g.kernels, &shape, &native), MOE_OK);
}

static inline int rig_try(const char *text)
{
    uint32_t *ids;
    moe_route_spec spec;
    moe__clear_error();
    int st = moe__spec_parse(&spec, &ids, &g.alloc, text, &g.router.recipe.spec, &g.router.native);
    if (st < 0) return st;
    st = moe__router_set_spec(&g.router, &spec);
    moe__free(&g.alloc, ids);
    return st;
}

static inline void rig_set(const char *text)
{
    if (rig_try(text) != MOE_OK) fail_msg("%s: %s", text, moe__last_error());
}

/* A model of n experts, steering gone, and a recipe. */
static inline void rig_use(uint32_t n, const char *text)
{
    rig_model(n, 0);
    rig_set(text);
}

/* The model's own recipe is this one from now on. */
static inline void rig_native(const char *text)
{
    rig_set(text);
    g.router.native = g.router.recipe.spec;
}

static inline int rig_steer(moe__steer_fn fn, const void *arg)
{
    moe__steer next;
    moe__clear_error();
    MOE_TRY(moe__router_edit_steer(&g.router, fn, arg, &next));
    moe__router_swap_steer(&g.router, &next);
    moe__router_free_steer(&g.router, &next);
    return MOE_OK;
}

static int rig_fn_use(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    return moe__steer_set_use(s, shape, arg);
}

static inline void rig_use_of(const uint8_t *use) { assert_int_equal(rig_steer(rig_fn_use, use), MOE_OK); }

typedef struct rig_values_arg {
    int kind;
    const float *values;
} rig_values_arg;

static int rig_fn_values(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    const rig_values_arg *v = arg;
    return moe__steer_set_values(s, shape, v->kind, v->values);
}

static inline void rig_values(int kind, const float *values)
{
    const rig_values_arg v = {kind, values};
    assert_int_equal(rig_steer(rig_fn_values, &v), MOE_OK);
}

static int rig_fn_override(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    moe__steer_clear_overrides(s, shape);
    return moe__steer_add_override(s, shape, arg);
}

/* The row's logits or scores are these from now on. */
static inline void rig_override(int kind, const float *row)
{
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    o.kind = kind;
    o.row = row;
    assert_int_equal(rig_steer(rig_fn_override, &o), MOE_OK);
}

static inline void rig_scores(const float *s) { rig_override(MOE_OVERRIDE_SCORES, s); }

static inline int rig_row_at(const float *logits, moe_token token, moe_pos pos, moe_seq seq)
{
    const moe__route_at at = {token, pos, seq};
    moe__clear_error();
    return moe__router_row(&g.router, logits, NULL, &at, g.id, g.w, &g.n, g.scratch);
}

static inline int rig_row(const float *logits) { return rig_row_at(logits, 0, 0, 0); }

/* All rows of a batch; offset [n_rows + 1]. */
typedef struct rig_batch {
    uint32_t offset[MAX_ROWS + 1];
    uint32_t *id;
    float *w;
} rig_batch;

static inline void rig_batch_free(rig_batch *b)
{
    free(b->id);
    free(b->w);
}

static inline int rig_rows_at(rig_batch *out, const float *logits, uint32_t n_rows, const moe_token *token,
                              const moe_pos *pos, const moe_seq *seq)
{
    const moe__router *r = &g.router;
    const size_t cells = (size_t)n_rows * r->n_cols, pairs = (size_t)n_rows * r->max_k;
    float *buf = malloc(3 * cells * sizeof *buf);
    uint32_t *order = malloc((pairs + r->shape.n) * sizeof *order);
    out->id = malloc(pairs * sizeof *out->id);
    out->w = malloc(pairs * sizeof *out->w);
    assert_true(buf && order && out->id && out->w && n_rows <= MAX_ROWS);
    const moe__route_batch b = {.logits = logits,
                                .token = token,
                                .pos = pos,
                                .seq = seq,
                                .n_rows = n_rows,
                                .offset = out->offset,
                                .expert = out->id,
                                .weight = out->w,
                                .z = buf,
                                .s = buf + cells,
                                .q = buf + 2 * cells,
                                .order = order,
                                .scratch = g.scratch};
    moe__clear_error();
    const int st = moe__router_batch(r, &b);
    free(buf);
    free(order);
    return st;
}

/* At positions 0 and up; seq may be NULL: all of sequence 0. */
static inline int rig_rows(rig_batch *out, const float *logits, uint32_t n_rows, const moe_seq *seq)
{
    moe_token token[MAX_ROWS] = {0};
    moe_pos pos[MAX_ROWS];
    moe_seq seqs[MAX_ROWS] = {0};
    for (uint32_t i = 0; i < n_rows && i < MAX_ROWS; i++) pos[i] = (moe_pos)i;
    return rig_rows_at(out, logits, n_rows, token, pos, seq ? seq : seqs);
}

static inline void near(float found, double want)
{
    if (!(fabs((double)found - want) <= 1e-6)) fail_msg("expected %.6f, found %.8f", want, (double)found);
}

/* The last row has exactly these experts, in this order, with these weights. */
static inline void expect(uint32_t n, const uint32_t *id, const double *w)
{
    if (g.n != n) fail_msg("expected %u experts, found %u", n, g.n);
    for (uint32_t i = 0; i < n; i++) {
        if (g.id[i] != id[i]) fail_msg("expert %u: expected %u, found %u", i, id[i], g.id[i]);
        near(g.w[i], w[i]);
    }
}

#define IDS(...)     ((const uint32_t[]){__VA_ARGS__})
#define WEIGHTS(...) ((const double[]){__VA_ARGS__})

/* One row by a text on a fresh model. */
static inline void check_row(const char *text, const float *logits, uint32_t n_experts, uint32_t n,
                             const uint32_t *id, const double *w)
{
    rig_use(n_experts, text);
    if (rig_row(logits) != MOE_OK) fail_msg("%s: %s", text, moe__last_error());
    expect(n, id, w);
}

static inline int rig_setup(void **state)
{
    (void)state;
    if (moe__allocator_init(&g.alloc, NULL) < 0) return -1;
    return moe__kernels_init(&g.kernels, NULL);
}

static inline int rig_teardown(void **state)
{
    (void)state;
    moe__router_finish(&g.router);
    return 0;
}

/* Uniform in [0, 1), the same on every system. */
static inline double rig_noise(void)
{
    static uint64_t x = 88172645463325252u;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (double)(x >> 11) * 0x1p-53;
}

static inline void rig_random(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(6 * rig_noise() - 3);
}

#endif
