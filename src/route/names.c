/* SPDX-License-Identifier: MIT */
/*
 * See names.h. A family's recipe is what its reference code computes from router logits; numbers of experts
 * and groups are those of the released models. Where the reference drops tokens by capacity, the recipe does
 * not: texts can add capacity=... (docs/routing.md has them).
 */
#include "route/names.h"

/* clang-format off */
#define RULE(select_) {.size = sizeof(moe_route_spec), .select = MOE_SELECT_##select_}
#define TOPK(score_, weight_, k) \
    .size = sizeof(moe_route_spec), .score = MOE_SCORE_##score_, .select = MOE_SELECT_TOPK, \
    .weight = MOE_WEIGHT_##weight_, .top_k = k, .scale = 1.0f
/* DeepSeek-V3's rule: sigmoid, a bias for selection only, weights without the bias made to sum to one. */
#define SIGMOID_SUM(k, scale_) \
    .size = sizeof(moe_route_spec), .score = MOE_SCORE_SIGMOID, .select = MOE_SELECT_TOPK, \
    .weight = MOE_WEIGHT_RAW, .top_k = k, .scale = scale_, .norm = MOE_NORM_SUM, .norm_eps = 1e-20f

const moe__spec_row moe__spec_rows[MOE_N_SPEC_NAMES] = {
    {"native", "the model's own recipe", MOE_NAME_NATIVE, NULL, {0}},
    {"current", "the recipe in use", MOE_NAME_CURRENT, NULL, {0}},
    {"topk", "the k best", MOE_NAME_RULE, NULL, RULE(TOPK)},
    {"topp", "the best ones until their scores add up to more than p (Huang et al. 2024)",
     MOE_NAME_RULE, "p", RULE(TOPP)},
    {"threshold", "the kmin best, and others with t times the best score",
     MOE_NAME_RULE, "t", RULE(THRESHOLD)},
    {"minp", "those with p times the best score: threshold by another name",
     MOE_NAME_RULE, "p", RULE(THRESHOLD)},
    {"ser", "smart expert reduction: threshold among the k best", MOE_NAME_RULE, "t", RULE(THRESHOLD)},
    {"ranks", "those that stand at the given ranks, 0 = best (SCMoE)", MOE_NAME_RULE, "ids", RULE(RANKS)},
    {"random", "k drawn for each token, or with perseq=1 for each sequence (THOR)",
     MOE_NAME_RULE, NULL, RULE(RANDOM)},
    {"sparsemixer", "argmax k times, with weights of its own (Phi-3.5-MoE)",
     MOE_NAME_RULE, NULL, RULE(SPARSEMIXER)},
    {"hash", "k by a hash of the token", MOE_NAME_RULE, NULL, RULE(HASH)},
    {"table", "row `token` of a table", MOE_NAME_RULE, "ids", RULE(TABLE)},
    {"all", "every expert", MOE_NAME_RULE, NULL, RULE(ALL)},
    {"fixed", "a fixed set, or the one that the sequence is limited to", MOE_NAME_RULE, NULL, RULE(FIXED)},
    {"expertchoice", "every expert takes its tokens, c experts per token on average (Zhou et al. 2022)",
     MOE_NAME_RULE, "c", RULE(EXPERT_CHOICE)},
    {"mixtral", "Mixtral", MOE_NAME_FAMILY, NULL, {TOPK(IDENTITY, SOFTMAX_SELECTED, 2)}},
    {"qwen2moe", "Qwen1.5-MoE, Qwen2-MoE", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 4)}},
    {"qwen3moe", "Qwen3-MoE", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, SUM_TO_ONE, 8)}},
    {"olmoe", "OLMoE", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 8)}},
    {"deepseek-moe", "DeepSeek-MoE, DeepSeek-V2-Lite", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 6)}},
    {"deepseek-v2", "DeepSeek-V2: groups by their best expert", MOE_NAME_FAMILY, NULL,
     {.size = sizeof(moe_route_spec), .score = MOE_SCORE_SOFTMAX, .select = MOE_SELECT_TOPK,
      .weight = MOE_WEIGHT_RAW, .top_k = 6, .scale = 16.0f, .n_groups = 8, .top_groups = 3}},
    {"deepseek-v3", "DeepSeek-V3, R1: groups by their two best", MOE_NAME_FAMILY, NULL,
     {SIGMOID_SUM(8, 2.5f), .n_groups = 8, .top_groups = 4, .group_score = MOE_GROUP_TOP2_SUM}},
    {"deepseek-v4", "DeepSeek-V4: sqrt(softplus); k and scale of the model in use", MOE_NAME_FAMILY, NULL,
     {.size = sizeof(moe_route_spec), .score = MOE_SCORE_SQRT_SOFTPLUS, .select = MOE_SELECT_TOPK,
      .weight = MOE_WEIGHT_RAW, .norm = MOE_NORM_SUM, .norm_eps = 1e-20f}},
    {"kimi-k2", "Kimi-K2", MOE_NAME_FAMILY, NULL, {SIGMOID_SUM(8, 2.827f)}},
    {"glm4.5", "GLM-4.5 (Air: scale=1)", MOE_NAME_FAMILY, NULL, {SIGMOID_SUM(8, 2.5f)}},
    {"dots1", "dots.llm1", MOE_NAME_FAMILY, NULL, {SIGMOID_SUM(6, 2.5f)}},
    {"ling", "Ling, BailingMoE", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, SUM_TO_ONE, 6)}},
    {"ling-v2", "Ling 2.0, BailingMoeV2: groups as DeepSeek-V3", MOE_NAME_FAMILY, NULL,
     {SIGMOID_SUM(8, 2.5f), .n_groups = 8, .top_groups = 4, .group_score = MOE_GROUP_TOP2_SUM}},
    {"lfm2-moe", "LFM2-MoE", MOE_NAME_FAMILY, NULL,
     {TOPK(SIGMOID, RAW, 4), .norm = MOE_NORM_SUM, .norm_eps = 1e-6f}},
    {"minimax-text", "MiniMax-Text-01", MOE_NAME_FAMILY, NULL, {TOPK(IDENTITY, SOFTMAX_SELECTED, 2)}},
    {"minimax-m2", "MiniMax-M2", MOE_NAME_FAMILY, NULL, {TOPK(SIGMOID, SUM_TO_ONE, 8)}},
    {"ernie4.5", "ERNIE-4.5", MOE_NAME_FAMILY, NULL,
     {TOPK(SOFTMAX, RAW, 6), .norm = MOE_NORM_CLAMP, .norm_eps = 1e-12f}},
    {"hunyuan", "Hunyuan-A13B, without its capacity", MOE_NAME_FAMILY, NULL,
     {TOPK(SOFTMAX, RAW, 8), .norm = MOE_NORM_CLAMP, .norm_eps = 1.1920929e-7f}},
    {"gpt-oss", "gpt-oss", MOE_NAME_FAMILY, NULL, {TOPK(IDENTITY, SOFTMAX_SELECTED, 4)}},
    {"granite", "Granite-MoE, PowerMoE", MOE_NAME_FAMILY, NULL, {TOPK(IDENTITY, SOFTMAX_SELECTED, 8)}},
    {"jetmoe", "JetMoE", MOE_NAME_FAMILY, NULL, {TOPK(IDENTITY, SOFTMAX_SELECTED, 2)}},
    {"phi3.5-moe", "Phi-3.5-MoE: sparsemixer", MOE_NAME_FAMILY, NULL,
     {.size = sizeof(moe_route_spec), .score = MOE_SCORE_IDENTITY, .select = MOE_SELECT_SPARSEMIXER,
      .weight = MOE_WEIGHT_RULE, .top_k = 2, .scale = 1.0f, .epsilon = 0.01f}},
    {"dbrx", "DBRX: weights by their 1-norm", MOE_NAME_FAMILY, NULL,
     {TOPK(SOFTMAX, RAW, 4), .norm = MOE_NORM_P, .norm_p = 1.0f}},
    {"llama4", "Llama 4: the weight scales the expert's input", MOE_NAME_FAMILY, NULL,
     {TOPK(IDENTITY, SIGMOID, 1), .flags = MOE_ROUTE_ON_INPUT}},
    {"grok1", "Grok-1 as its authors published it (other engines: weight=sum)", MOE_NAME_FAMILY, NULL,
     {TOPK(SOFTMAX, RAW, 2)}},
    {"jamba", "Jamba", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 2)}},
    {"arctic", "Arctic", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, SUM_TO_ONE, 2)}},
    {"switch", "Switch Transformer, without its capacity", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 1)}},
    {"nllb", "NLLB-MoE, without its capacity", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, SUM_TO_ONE, 2)}},
    {"openmoe", "OpenMoE, without its capacity", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 2)}},
    {"moduleformer", "ModuleFormer, MoLM", MOE_NAME_FAMILY, NULL, {TOPK(SOFTMAX, RAW, 2)}},
    {"adamoe", "AdaMoE: null experts, weights over the real ones", MOE_NAME_FAMILY, "null",
     {TOPK(SOFTMAX, SUM_TO_ONE, 3)}},
    {"thor", "THOR: one expert drawn for each token, weight 1", MOE_NAME_FAMILY, NULL,
     {.size = sizeof(moe_route_spec), .score = MOE_SCORE_SOFTMAX, .select = MOE_SELECT_RANDOM,
      .weight = MOE_WEIGHT_ONE, .top_k = 1, .scale = 1.0f}},
};
#undef RULE
#undef TOPK
#undef SIGMOID_SUM
/* clang-format on */
