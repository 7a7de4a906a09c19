/* SPDX-License-Identifier: MIT */
/* See best.h. */
#include "route/best.h"

static void best_swap(moe__best_list *l, uint32_t i, uint32_t j)
{
    const uint32_t id = l->id[i];
    const float value = l->value[i];
    l->id[i] = l->id[j];
    l->value[i] = l->value[j];
    l->id[j] = id;
    l->value[j] = value;
}

static int best_before(const moe__best_list *l, uint32_t i, uint32_t j)
{
    return moe__best_before(l->value[i], l->id[i], l->value[j], l->id[j]);
}

/* Lets entry i of a heap of n sink below those that stand behind it. */
static void best_sink(moe__best_list *l, uint32_t i, uint32_t n)
{
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && best_before(l, child, child + 1)) child++;
        if (best_before(l, child, i)) return;
        best_swap(l, i, child);
    }
}

void moe__best_push(moe__best_list *l, uint32_t e, float x)
{
    if (l->n < l->cap) {
        uint32_t i = l->n++;
        l->id[i] = e;
        l->value[i] = x;
        for (; i > 0 && best_before(l, (i - 1) / 2, i); i = (i - 1) / 2) best_swap(l, i, (i - 1) / 2);
    } else if (l->cap > 0 && moe__best_before(x, e, l->value[0], l->id[0])) {
        l->id[0] = e;
        l->value[0] = x;
        best_sink(l, 0, l->n);
    }
}

void moe__best_sort(moe__best_list *l)
{
    for (uint32_t end = l->n; end > 1; end--) {
        best_swap(l, 0, end - 1);
        best_sink(l, 0, end - 1);
    }
}

uint32_t moe__best_top(const float *z, const float *q, uint32_t n, size_t step, uint32_t cap, uint32_t *id,
                       float *value)
{
    moe__best_list l = {id, value, 0, cap};
    uint32_t e = 0;
    if (cap == 0) return 0;
    if (cap > MOE_BEST_FEW) {
        for (; e < n; e++)
            if (!moe__best_banned(z[e * step], q[e * step])) moe__best_push(&l, e, q[e * step]);
        moe__best_sort(&l);
        return l.n;
    }
    for (; e < n && l.n < cap; e++)
        if (!moe__best_banned(z[e * step], q[e * step])) moe__best_insert(&l, e, q[e * step]);
    for (; e < n; e++)
        if (moe__best_enters(&l, q[e * step]) && !moe__best_banned(z[e * step], q[e * step]))
            moe__best_insert(&l, e, q[e * step]);
    return l.n;
}

uint32_t moe__best_next(const float *z, const float *q, uint32_t n, int first, float value, uint32_t index)
{
    uint32_t best = n;
    for (uint32_t e = 0; e < n; e++) {
        if (moe__best_banned(z[e], q[e])) continue;
        if (!first && !moe__best_before(value, index, q[e], e)) continue;
        if (best == n || moe__best_before(q[e], e, q[best], best)) best = e;
    }
    return best;
}
