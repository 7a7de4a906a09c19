/* SPDX-License-Identifier: MIT */
/*
 * Group-limited selection (DeepSeek-V2 and V3): experts stand in n_groups groups of equal size, in order;
 * only those of the top_groups best groups may be taken. A group counts by its best expert, or by the sum of
 * its two best (the only one of a group that has no second). The others' choice becomes -infinity, not 0:
 * with a selection bias a 0 may beat experts of the groups that won. Null experts stand in no group.
 */
#include "route/best.h"
#include "route/recipe.h"

/* -infinity if all of the group are banned; banned ones are not there. */
static float group_value(const float *q, uint32_t size, int top2)
{
    moe__best_list l = {(uint32_t[2]){0}, (float[2]){0}, 0, top2 ? 2 : 1};
    for (uint32_t e = 0; e < size; e++)
        if (q[e] != -INFINITY && (l.n < l.cap || moe__best_enters(&l, q[e]))) moe__best_insert(&l, e, q[e]);
    if (l.n == 0) return -INFINITY;
    return l.n == 2 ? l.value[0] + l.value[1] : l.value[0];
}

void moe__recipe_groups(const moe__recipe *r, float *q, float *scratch)
{
    const uint32_t n = r->spec.n_groups, size = n > 1 ? r->n_experts / n : 0;
    if (n <= 1) return;
    for (uint32_t g = 0; g < n; g++)
        scratch[g] = group_value(q + (size_t)g * size, size, r->spec.group_score == MOE_GROUP_TOP2_SUM);
    /* Groups with a rank below top_groups stay. */
    for (uint32_t g = 0; g < n; g++) {
        uint32_t better = 0;
        for (uint32_t i = 0; i < n; i++) better += i != g && moe__best_before(scratch[i], i, scratch[g], g);
        if (better < r->spec.top_groups) continue;
        for (uint32_t e = g * size; e < (g + 1) * size; e++)
            if (q[e] != INFINITY) q[e] = -INFINITY; /* forced ones stand above groups */
    }
}
