/* SPDX-License-Identifier: MIT */
/*
 * The order that every rule ranks by: higher values first, equal ones by the lower index, NaN last. A list
 * keeps the best `cap` of what is put into it, in the caller's memory; what is banned is never put in.
 */
#ifndef MOE_ROUTE_BEST_H
#define MOE_ROUTE_BEST_H

#include <math.h>
#include <stdint.h>

#include "moe/ext.h"

/* Whether value a of index i stands before value b of index j. */
static inline int moe__best_before(float a, uint32_t i, float b, uint32_t j)
{
    if (a > b) return 1;
    if (a < b) return 0;
    const int a_nan = a != a, b_nan = b != b;
    return a_nan == b_nan ? i < j : b_nan;
}

/* -infinity: not to be taken. Logits count too: bans before scoring leave scores of 0 behind. */
static inline int moe__best_banned(float z, float q) { return z == -INFINITY || q == -INFINITY; }

typedef struct moe__best_list {
    uint32_t *id; /* [cap] */
    float *value; /* [cap] */
    uint32_t n, cap;
} moe__best_list;

/* Up to here sorted insertion beats a heap: most candidates fail the first comparison. */
enum { MOE_BEST_FEW = 32 };

/* For lists of few; indices in ascending order, so that an equal value never passes. */
static inline void moe__best_insert(moe__best_list *l, uint32_t e, float x)
{
    uint32_t at = l->n < l->cap ? l->n++ : l->cap - 1;
    for (; at > 0 && (x > l->value[at - 1] || (l->value[at - 1] != l->value[at - 1] && x == x)); at--) {
        l->value[at] = l->value[at - 1];
        l->id[at] = l->id[at - 1];
    }
    l->value[at] = x;
    l->id[at] = e;
}

/* Of a full list: whether x, of a higher index than all before, gets in. */
static inline int moe__best_enters(const moe__best_list *l, float x)
{
    const float last = l->value[l->cap - 1];
    return x > last || (last != last && x == x);
}

/* For lists of any length (a heap, the worst on top), indices in any order; moe__best_sort() ends it. */
void moe__best_push(moe__best_list *l, uint32_t e, float x);
void moe__best_sort(moe__best_list *l);

/*
 * The best `cap` of n, sorted, without banned ones; returns how many. Element i stands at z[i * step] and
 * q[i * step]. id and value [cap].
 */
uint32_t moe__best_top(const float *z, const float *q, uint32_t n, size_t step, uint32_t cap, uint32_t *id,
                       float *value);

/* The best of n that stands behind (value, index); n if there is none. first: the best of all. */
uint32_t moe__best_next(const float *z, const float *q, uint32_t n, int first, float value, uint32_t index);

#endif
