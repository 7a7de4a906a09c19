/* SPDX-License-Identifier: MIT */
/* Weight rules: scores of the selected experts, in order of rank -> their weights. Sums run in that order. */
#include "arch/arch.h"
#include "route/router.h"

static void raw(const moe__kernels *k, float *w, uint32_t n)
{
    (void)k;
    (void)w;
    (void)n;
}

static void sum_to_one(const moe__kernels *k, float *w, uint32_t n)
{
    (void)k;
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += w[i];
    for (uint32_t i = 0; i < n; i++) w[i] /= sum;
}

static void softmax_selected(const moe__kernels *k, float *w, uint32_t n) { k->softmax(w, w, n); }

static const moe__weight_fn weight_table[] = {[MOE_WEIGHT_RAW] = raw,
                                              [MOE_WEIGHT_SUM_TO_ONE] = sum_to_one,
                                              [MOE_WEIGHT_SOFTMAX_SELECTED] = softmax_selected};

moe__weight_fn moe__weight_find(int weight)
{
    return weight >= 0 && (size_t)weight < MOE_COUNT(weight_table) ? weight_table[weight] : NULL;
}
