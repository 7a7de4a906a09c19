/* SPDX-License-Identifier: MIT */
/* Score functions: router logits -> what selection and weights are made from. */
#include <string.h>

#include "arch/arch.h"
#include "route/router.h"

static void softmax(const moe__kernels *k, float *score, const float *logits, uint32_t n)
{
    k->softmax(score, logits, n);
}

static void identity(const moe__kernels *k, float *score, const float *logits, uint32_t n)
{
    (void)k;
    memcpy(score, logits, n * sizeof *score);
}

static const moe__score_fn score_table[] = {[MOE_SCORE_SOFTMAX] = softmax, [MOE_SCORE_IDENTITY] = identity};

moe__score_fn moe__score_find(int score)
{
    return score >= 0 && (size_t)score < MOE_COUNT(score_table) ? score_table[score] : NULL;
}
