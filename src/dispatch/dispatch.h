/* SPDX-License-Identifier: MIT */
/*
 * From rows with their experts to experts with their rows, and back. Work is done in tiles of rows, so that
 * at most max_pairs (row, expert) pairs are in flight, whatever k is. Inside a tile, pairs are sorted by
 * expert; each expert then works on its rows at once; results are combined per row in order of rank, so the
 * sum never depends on who computed what when.
 *
 * A pair whose weight or gain is 0 is not in flight: its expert is neither asked for nor computed.
 */
#ifndef MOE_DISPATCH_DISPATCH_H
#define MOE_DISPATCH_DISPATCH_H

#include <stddef.h>
#include <stdint.h>

#include "base/carve.h"
#include "expert/slots.h"
#include "kernel/kernel.h"

/* The routing of a sub-batch, compressed rows: row t has pairs offset[t] .. offset[t+1]-1 in order of rank.
 */
typedef struct moe__routes {
    uint32_t *offset; /* [n_rows+1] */
    uint32_t *expert; /* MOE_EXPERT_NONE: no expert */
    float *weight;
} moe__routes;

/* The pairs of one expert in a tile: slots first .. first+n-1. */
typedef struct moe__group {
    uint32_t expert, first, n;
    uint32_t rank; /* best rank among its pairs */
    float weight;  /* largest weight among them */
} moe__group;

/* What a layer of a session adds to its routing. All zero: nothing. */
typedef struct moe__mix {
    const float *gain;            /* [n_experts] factors on the experts' outputs; NULL: 1 */
    int on_input;                 /* weights scale the experts' inputs, not their outputs */
    const moe__expert_slot *slot; /* [n_experts] those with a function are not in flight, their results are in
                              `side`; NULL: none */
    const float *side;            /* [functions][side_rows][dim] results by row of the sub-batch */
    size_t side_rows;
} moe__mix;

typedef struct moe__dispatch {
    uint32_t max_pairs, n_experts;
    moe__mix mix;         /* set before a plan */
    uint32_t row, n_rows; /* the tile: rows row .. row+n_rows-1 */
    uint32_t n_pairs, n_groups;
    uint32_t *slot;    /* [max_pairs] slot of the tile's p-th pair, MOE_EXPERT_NONE if it has no expert */
    uint32_t *col;     /* [max_pairs] row of the pair in a slot */
    uint32_t *pair;    /* [max_pairs] the pair in a slot, as an index of the routes */
    moe__group *group; /* [n_experts], ascending experts */
    uint32_t *count;   /* [n_experts] */
} moe__dispatch;

void moe__dispatch_carve(moe__dispatch *d, moe__carve *c, uint32_t max_pairs, uint32_t n_experts);
/* Plans the tile that starts at `row` of `n_rows` rows: as many rows as fit (at least one: k never exceeds
 * max_pairs). */
void moe__dispatch_plan(moe__dispatch *d, const moe__routes *r, uint32_t row, uint32_t n_rows);
/* Does the pair contribute anything? */
static inline int moe__mix_live(const moe__mix *m, uint32_t n_experts, uint32_t expert, float weight)
{
    return expert < n_experts && weight != 0 && (!m->gain || m->gain[expert] != 0);
}
static inline int moe__mix_is_side(const moe__mix *m, uint32_t expert)
{
    return m->slot && m->slot[expert].source == MOE_SOURCE_FUNCTION;
}
/* The raw output of pair p (in the tile), or NULL if it contributes nothing. result: rows of the slots. */
const float *moe__dispatch_result(const moe__dispatch *d, const moe__routes *r, uint32_t row, uint32_t p,
                                  const float *result, size_t dim);
/* y [dim] = sum over the pairs of row `row` (in the tile), in order of rank, of weight * gain * output. */
void moe__dispatch_combine(const moe__dispatch *d, const moe__routes *r, const moe__kernels *k, uint32_t row,
                           const float *result, float *y, size_t dim);

#endif
