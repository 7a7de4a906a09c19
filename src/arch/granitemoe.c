/* SPDX-License-Identifier: MIT */
/*
 * Granite-MoE: multipliers on the embedding, the attention scores, each block's output and the logits; the router takes the top-k raw
 * logits and a softmax over those. Rows of q and k are permuted as in llama files.
 */
#include "arch/families.h"

static const moe__key granitemoe_keys[] = {
    MOE_KEYS_COMMON,
    {"embedding_scale", MOE_HP(embed_scale), KEY_F32, 0, 1, -1e6, 1e6},
    {"residual_scale", MOE_HP(residual_scale), KEY_F32, 0, 1, -1e6, 1e6},
    {"rope.scaling.finetuned", MOE_HP(rope_on), KEY_BOOL, 0, 1, 1, 1}, /* false: no positions at all, not computed here */
    {"logit_scale", MOE_HP(logit_scale), KEY_F32, 0, 1, 1e-6, 1e6},
};

static const moe__tensor_row granitemoe_tensors[] = {
    MOE_TENSORS_MODEL,
    MOE_TENSORS_ATTN,
    MOE_TENSORS_ATTN_BIAS(NEED_OPTIONAL),
    MOE_TENSORS_MOE,
    MOE_TENSORS_DENSE,
};

const moe__arch moe__arch_granitemoe = {
    .name = "granitemoe", .title = "Granite-MoE",
    .keys = granitemoe_keys, .n_keys = MOE_COUNT(granitemoe_keys),
    .tensors = granitemoe_tensors, .n_tensors = MOE_COUNT(granitemoe_tensors),
    MOE_STEPS(moe__steps_attn, moe__steps_moe, moe__steps_dense),
    .rope_half = 0,
    .route = MOE_RECIPE(MOE_SCORE_IDENTITY, MOE_WEIGHT_SOFTMAX_SELECTED),
};
