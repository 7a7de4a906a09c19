/* SPDX-License-Identifier: MIT */
/* Counting sort of a tile's pairs by expert. Stable, so that an expert's rows ascend. */
#include <string.h>

#include "dispatch/dispatch.h"
#include "moe/moe.h"

void moe__dispatch_carve(moe__dispatch *d, moe__carve *c, uint32_t max_pairs, uint32_t n_experts)
{
    d->max_pairs = max_pairs;
    d->n_experts = n_experts;
    MOE_CARVE(c, d->slot, max_pairs);
    MOE_CARVE(c, d->col, max_pairs);
    MOE_CARVE(c, d->pair, max_pairs);
    MOE_CARVE(c, d->group, n_experts);
    MOE_CARVE(c, d->count, n_experts);
}

static void choose_rows(moe__dispatch *d, const moe__routes *r, uint32_t row, uint32_t n_rows)
{
    d->row = row;
    d->n_rows = 0;
    while (row + d->n_rows < n_rows && r->offset[row + d->n_rows + 1] - r->offset[row] <= d->max_pairs)
        d->n_rows++;
    d->n_pairs = r->offset[row + d->n_rows] - r->offset[row];
}

/* Is pair p computed in a slot? */
static int in_flight(const moe__dispatch *d, const moe__routes *r, uint32_t p)
{
    return moe__mix_live(&d->mix, d->n_experts, r->expert[p], r->weight[p]) &&
           !moe__mix_is_side(&d->mix, r->expert[p]);
}

void moe__dispatch_plan(moe__dispatch *d, const moe__routes *r, uint32_t row, uint32_t n_rows)
{
    choose_rows(d, r, row, n_rows);
    const uint32_t base = r->offset[row];
    memset(d->count, 0, d->n_experts * sizeof *d->count);
    for (uint32_t p = 0; p < d->n_pairs; p++)
        if (in_flight(d, r, base + p)) d->count[r->expert[base + p]]++;
    d->n_groups = 0;
    uint32_t first = 0;
    for (uint32_t e = 0; e < d->n_experts; e++) {
        if (!d->count[e]) continue;
        d->group[d->n_groups] = (moe__group){e, first, 0, UINT32_MAX, 0};
        first += d->count[e];
        d->count[e] = d->n_groups++; /* from here on: the expert's group */
    }
    for (uint32_t t = row; t < row + d->n_rows; t++)
        for (uint32_t p = r->offset[t]; p < r->offset[t + 1]; p++) {
            d->slot[p - base] = MOE_EXPERT_NONE;
            if (!in_flight(d, r, p)) continue;
            moe__group *g = &d->group[d->count[r->expert[p]]];
            const uint32_t slot = g->first + g->n++, rank = p - r->offset[t];
            d->slot[p - base] = slot;
            d->col[slot] = t;
            d->pair[slot] = p;
            if (rank < g->rank) g->rank = rank;
            if (r->weight[p] > g->weight) g->weight = r->weight[p];
        }
}
