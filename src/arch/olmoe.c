/* SPDX-License-Identifier: MIT */
/* OLMoE: norms over the whole q and k rows, softmax router whose top-k weights are used as they are. */
#include "arch/families.h"

static const moe__key olmoe_keys[] = {
    MOE_KEYS_COMMON,
    {"attention.clamp_kqv", MOE_HP(clamp_qkv), KEY_F32, 0, 0, 0, 1e30},
};

static const moe__tensor_row olmoe_tensors[] = {
    MOE_TENSORS_MODEL,
    MOE_TENSORS_ATTN,
    MOE_TENSORS_ATTN_BIAS(NEED_OPTIONAL),
    {ROLE_ATTN_Q_NORM, NEED_ALWAYS, {W_Q}, "attn_q_norm.weight"},
    {ROLE_ATTN_K_NORM, NEED_ALWAYS, {W_K}, "attn_k_norm.weight"},
    MOE_TENSORS_MOE,
    MOE_TENSORS_DENSE,
};

const moe__arch moe__arch_olmoe = {
    .name = "olmoe", .title = "OLMoE",
    .keys = olmoe_keys, .n_keys = MOE_COUNT(olmoe_keys),
    .tensors = olmoe_tensors, .n_tensors = MOE_COUNT(olmoe_tensors),
    MOE_STEPS(moe__steps_attn, moe__steps_moe, moe__steps_dense),
    .rope_half = 1,
    .route = MOE_RECIPE(MOE_SCORE_SOFTMAX, MOE_WEIGHT_RAW), .route_norm_from_file = 1,
};
