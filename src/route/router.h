/* SPDX-License-Identifier: MIT */
/*
 * Routing one row: score -> select -> weight -> scale, each a row of a table (route/score.c, select.c,
 * weight.c). Router logits come in, experts in order of rank and their weights come out.
 */
#ifndef MOE_ROUTE_ROUTER_H
#define MOE_ROUTE_ROUTER_H

#include "kernel/kernel.h"
#include "moe/moe.h"

/* score [n] of logits [n] */
typedef void (*moe__score_fn)(const moe__kernels *k, float *score, const float *logits, uint32_t n);
/* The k best of score [n]: falling, ties to the lower index, NaN last. id and value [k]. */
typedef void (*moe__select_fn)(const float *score, uint32_t n, uint32_t k, uint32_t *id, float *value);
/* Selected scores [k] -> weights, in place. */
typedef void (*moe__weight_fn)(const moe__kernels *k, float *w, uint32_t n);

typedef struct moe__router {
    moe__score_fn score;
    moe__select_fn select;
    moe__weight_fn weight;
    uint32_t n, top_k; /* experts, and how many a row takes */
    float scale;
} moe__router;

/* Compiles a recipe; E_INVALID names the member that is wrong. */
int moe__router_init(moe__router *r, const moe_route_spec *spec, uint32_t n_experts);
/* One row. scratch [n]. E_NUMERIC if a weight is not finite (the message does not know the row). */
int moe__router_row(const moe__router *r, const moe__kernels *k, const float *logits, uint32_t *id, float *w,
                    float *scratch);

/* Tables, indexed by MOE_SCORE_*, MOE_SELECT_*, MOE_WEIGHT_*; NULL where there is nothing. */
moe__score_fn moe__score_find(int score);
moe__select_fn moe__select_find(int select);
moe__weight_fn moe__weight_find(int weight);

#endif
