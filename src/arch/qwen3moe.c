/* SPDX-License-Identifier: MIT */
/* Qwen3-MoE: grouped-query attention with a norm on each q and k head, softmax router with renormalised top-k, no shared expert. */
#include "arch/families.h"

static const moe__key qwen3moe_keys[] = {MOE_KEYS_COMMON};

static const moe__tensor_row qwen3moe_tensors[] = {
    MOE_TENSORS_MODEL,
    MOE_TENSORS_ATTN,
    MOE_TENSORS_ATTN_BIAS(NEED_OPTIONAL),
    {ROLE_ATTN_Q_NORM, NEED_ALWAYS, {W_HEAD}, "attn_q_norm.weight"},
    {ROLE_ATTN_K_NORM, NEED_ALWAYS, {W_HEAD}, "attn_k_norm.weight"},
    MOE_TENSORS_MOE,
    MOE_TENSORS_DENSE,
};

const moe__arch moe__arch_qwen3moe = {
    .name = "qwen3moe", .title = "Qwen3-MoE",
    .keys = qwen3moe_keys, .n_keys = MOE_COUNT(qwen3moe_keys),
    .tensors = qwen3moe_tensors, .n_tensors = MOE_COUNT(qwen3moe_tensors),
    MOE_STEPS(moe__steps_attn, moe__steps_moe, moe__steps_dense),
    .rope_half = 1,
    .route = MOE_RECIPE(MOE_SCORE_SOFTMAX, MOE_WEIGHT_SUM_TO_ONE), .route_norm_from_file = 1,
};
