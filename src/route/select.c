/* SPDX-License-Identifier: MIT */
/* Selection rules: scores -> experts in order of rank. */
#include "arch/arch.h"
#include "route/router.h"

/* Whether a ranks before b when a has the higher index: only if it is strictly better; anything beats NaN. */
static int better(float a, float b) { return a > b || (b != b && a == a); }

/* Keeps the k best so far, sorted: most candidates fail the first comparison. */
static void top_k(const float *score, uint32_t n, uint32_t k, uint32_t *id, float *value)
{
    uint32_t have = 0;
    for (uint32_t e = 0; e < n; e++) {
        if (have == k && !better(score[e], value[k - 1])) continue;
        uint32_t at = have < k ? have++ : k - 1;
        for (; at > 0 && better(score[e], value[at - 1]); at--) {
            value[at] = value[at - 1];
            id[at] = id[at - 1];
        }
        value[at] = score[e];
        id[at] = e;
    }
}

static const moe__select_fn select_table[] = {[MOE_SELECT_TOPK] = top_k};

moe__select_fn moe__select_find(int select)
{
    return select >= 0 && (size_t)select < MOE_COUNT(select_table) ? select_table[select] : NULL;
}
