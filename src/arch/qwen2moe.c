/* SPDX-License-Identifier: MIT */
/* Qwen1.5/2-MoE: biases on q, k and v, a softmax router with raw weights, and a shared expert behind a sigmoid gate. */
#include "arch/families.h"

static const moe__key qwen2moe_keys[] = {
    MOE_KEYS_COMMON,
    {"expert_shared_feed_forward_length", MOE_HP(dim_ff_shared), KEY_U32, 1, 0, 1, 1 << 24},
};

static const moe__tensor_row qwen2moe_tensors[] = {
    MOE_TENSORS_MODEL,
    MOE_TENSORS_ATTN,
    MOE_TENSORS_ATTN_BIAS(NEED_ALWAYS),
    MOE_TENSORS_MOE,
    MOE_TENSORS_SHARED(NEED_MOE),
    {ROLE_SHARED_GATE, NEED_MOE, {W_DIM, W_ONE}, "ffn_gate_inp_shexp.weight"},
    MOE_TENSORS_DENSE,
};

const moe__arch moe__arch_qwen2moe = {
    .name = "qwen2moe", .title = "Qwen2-MoE",
    .keys = qwen2moe_keys, .n_keys = MOE_COUNT(qwen2moe_keys),
    .tensors = qwen2moe_tensors, .n_tensors = MOE_COUNT(qwen2moe_tensors),
    MOE_STEPS(moe__steps_attn, moe__steps_moe_shared, moe__steps_dense),
    .rope_half = 1,
    .route = MOE_RECIPE(MOE_SCORE_SOFTMAX, MOE_WEIGHT_RAW), .route_norm_from_file = 1,
};
