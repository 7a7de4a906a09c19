/* SPDX-License-Identifier: MIT */
/*
 * Mixtral, stored under the architecture name "llama" with an expert count. Rows of q and k are permuted in the file so that rotation
 * pairs are neighbours. The weights are a softmax over the selected logits, which equals the renormalised softmax over all.
 */
#include "arch/families.h"

static const moe__key mixtral_keys[] = {MOE_KEYS_COMMON};

static const moe__tensor_row mixtral_tensors[] = {
    MOE_TENSORS_MODEL,
    MOE_TENSORS_ATTN,
    MOE_TENSORS_ATTN_BIAS(NEED_OPTIONAL),
    MOE_TENSORS_MOE,
    MOE_TENSORS_DENSE,
};

const moe__arch moe__arch_llama = {
    .name = "llama", .title = "Mixtral",
    .keys = mixtral_keys, .n_keys = MOE_COUNT(mixtral_keys),
    .tensors = mixtral_tensors, .n_tensors = MOE_COUNT(mixtral_tensors),
    MOE_STEPS(moe__steps_attn, moe__steps_moe, moe__steps_dense),
    .rope_half = 0,
    .route = MOE_RECIPE(MOE_SCORE_SOFTMAX, MOE_WEIGHT_SUM_TO_ONE),
};
