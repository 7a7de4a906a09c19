/* SPDX-License-Identifier: MIT */
/*
 * What a model family is, as data: which metadata keys fill which hyper-parameters, which tensors play which roles and what shapes they
 * must have, what steps a layer takes, and how its router works. One file per family holds one moe__arch; arch.c lists them. The layer
 * loop (run/forward.c) walks steps and knows no family.
 */
#ifndef MOE_ARCH_ARCH_H
#define MOE_ARCH_ARCH_H

#include <stddef.h>
#include <stdint.h>

#include "moe/moe.h"

/* Hyper-parameters. Widths in elements. */
typedef struct moe__hparams {
    uint32_t n_layers, n_ctx_train, n_vocab;
    uint32_t dim;
    uint32_t n_heads, n_heads_kv, dim_head_k, dim_head_v;
    uint32_t n_experts, top_k;
    uint32_t n_null;                   /* null experts that routers have rows for (AdaMoE) */
    uint32_t n_groups, top_groups;     /* groups of experts; 0 = none */
    uint32_t dim_ff, dim_ff_expert, dim_ff_shared; /* dense layers, one expert, the shared expert */
    uint32_t n_rot, rot_at;                        /* rotated part of a head, and where it begins */
    uint32_t v_in_k;                               /* 1: values are the first elements of their keys (absorbed MLA) */
    uint32_t rope_ctx_orig;
    uint32_t window;                               /* positions that windowed layers see; 0 = all (model/window.c) */
    float eps;
    float rope_base, rope_factor, rope_attn_factor, yarn_beta_fast, yarn_beta_slow;
    float yarn_attn, yarn_ext; /* gain of yarn, 0 = by the factor; share of extrapolation, 1 */
    uint32_t rope_on;          /* 0 = a model without rotation, not computed here */
    float embed_scale, residual_scale, logit_scale; /* logits are divided by logit_scale */
    float attn_scale;                               /* 0 = 1 / sqrt(dim_head_k) */
    float attn_softcap, final_softcap;              /* scores, logits s become c tanh(s / c); 0 = stay as they are */
    float clamp_qkv;                                /* 0 = none */
    float expert_scale;
    uint32_t expert_norm;                           /* 0, 1: expert_weights_norm of the file */
    uint32_t gating;                                /* expert_gating_func of the file, 0 = the family's own */
    uint32_t rope_scaling;                          /* moe__rope_scaling */
} moe__hparams;

typedef enum moe__rope_scaling { ROPE_NONE, ROPE_LINEAR, ROPE_YARN } moe__rope_scaling;

/* One metadata key: `<arch>.<suffix>` -> a member of moe__hparams. */
typedef enum moe__key_kind { KEY_U32, KEY_F32, KEY_BOOL } moe__key_kind;
typedef struct moe__key {
    const char *suffix;
    size_t offset;      /* of the member */
    uint8_t kind;       /* moe__key_kind */
    uint8_t required;
    double fallback;    /* if missing and not required */
    double min, max;    /* inclusive */
} moe__key;

/* Widths that tensor shapes are made of. */
typedef enum moe__width {
    W_NONE, /* no such dimension */
    W_ONE, W_DIM, W_Q, W_K, W_V, W_ATTN, /* n_heads * dim_head_k, kv heads * k, kv heads * v, n_heads * dim_head_v */
    W_HEAD, W_HEADS, W_FF, W_FF_EXPERT, W_FF_SHARED, W_EXPERTS, W_ROUTER, W_VOCAB, W_ROT_HALF,
    N_WIDTHS
} moe__width;

/* Roles that tensors play. */
typedef enum moe__role {
    ROLE_NONE,
    ROLE_TOKEN_EMBD, ROLE_OUTPUT_NORM, ROLE_OUTPUT, ROLE_ROPE_FREQS, /* once per model */
    N_MODEL_ROLES,
    ROLE_ATTN_NORM = N_MODEL_ROLES, ROLE_ATTN_Q, ROLE_ATTN_K, ROLE_ATTN_V, ROLE_ATTN_Q_BIAS, ROLE_ATTN_K_BIAS, ROLE_ATTN_V_BIAS,
    ROLE_ATTN_Q_NORM, ROLE_ATTN_K_NORM, ROLE_ATTN_SINKS, ROLE_ATTN_OUTPUT, ROLE_ATTN_OUTPUT_BIAS,
    ROLE_FFN_NORM, ROLE_ROUTER, ROLE_ROUTER_BIAS, ROLE_SELECT_BIAS, ROLE_GATE_EXPS, ROLE_UP_EXPS, ROLE_DOWN_EXPS,
    ROLE_GATE_SHEXP, ROLE_UP_SHEXP, ROLE_DOWN_SHEXP, ROLE_SHARED_GATE,
    ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_DOWN,
    N_ROLES
} moe__role;

typedef enum moe__need {
    NEED_ALWAYS,
    NEED_MOE,     /* in layers that have a router */
    NEED_DENSE,   /* in layers that have none */
    NEED_OPTIONAL
} moe__need;

typedef struct moe__tensor_row {
    uint8_t role;
    uint8_t need;
    uint8_t dim[3];      /* moe__width; dim[0] is the contiguous one */
    const char *name;    /* layer roles: without the "blk.N." in front */
} moe__tensor_row;

/* Row buffers that steps work on, [rows][width]. */
typedef enum moe__buf {
    BUF_NONE,
    BUF_X, /* residual stream, [dim] */
    BUF_H, /* normed input of a block, [dim] */
    BUF_A, /* attention result, [n_heads * dim_head_v] */
    BUF_Y, /* block output, [dim] */
    N_BUFS
} moe__buf;

/* Operations. A layer's steps never start with the first two: the session puts them around all layers. */
typedef enum moe__op {
    OP_EMBED,   /* out = embedding of the rows' tokens */
    OP_COLLECT, /* keeps the rows of `in` that the caller wants results of */
    OP_NORM,    /* out = rms_norm(in) * role */
    OP_QKV,     /* in -> q, k, v of the rows: biases, q/k norm, rotation; k and v go to the KV cache */
    OP_ATTEND,  /* out = softmax(q k) v */
    OP_LINEAR,  /* out = role * in, plus the role's bias where the layer has one */
    OP_ADD,     /* out = out + residual_scale * in */
    OP_ROUTE,   /* in -> experts and weights of every row; the observer sees them here */
    OP_EXPERTS, /* out = weighted sum of the routed experts of in */
    OP_SHARED,  /* out += sigmoid(shared gate of in) * shared expert of in */
    OP_FFN,     /* out = dense feed-forward of in */
    N_OPS
} moe__op;

typedef struct moe__step {
    uint8_t op, in, out;
    uint8_t role;
} moe__step;

typedef struct moe__arch {
    const char *name;  /* general.architecture */
    const char *title; /* for people */
    const moe__key *keys;
    size_t n_keys;
    const moe__tensor_row *tensors;
    size_t n_tensors;
    const moe__step *attn_steps, *moe_steps, *dense_steps; /* a layer: attention, then one of the two */
    size_t n_attn_steps, n_moe_steps, n_dense_steps;
    int rope_half;            /* 1: pairs (i, i + n/2); 0: pairs (2i, 2i + 1) */
    moe_route_spec route;     /* top_k and scale come from the file */
    int route_norm_from_file; /* expert_weights_norm picks RAW or SUM_TO_ONE */
} moe__arch;

const moe__arch *moe__arch_find(const char *name); /* NULL if unknown */
size_t moe__arch_count(void);
const moe__arch *moe__arch_at(size_t i);
uint64_t moe__width_of(const moe__hparams *h, moe__width w);

#define MOE_COUNT(a) (sizeof(a) / sizeof (a)[0])

/* ---- rows that families share ---- */

#define MOE_HP(member) offsetof(moe__hparams, member)

/* Keys every family has. */
#define MOE_KEYS_COMMON \
    {"block_count", MOE_HP(n_layers), KEY_U32, 1, 0, 1, 1024}, \
    {"context_length", MOE_HP(n_ctx_train), KEY_U32, 1, 0, 1, 1 << 30}, \
    {"embedding_length", MOE_HP(dim), KEY_U32, 1, 0, 1, 1 << 20}, \
    {"attention.head_count", MOE_HP(n_heads), KEY_U32, 1, 0, 1, 4096}, \
    {"attention.head_count_kv", MOE_HP(n_heads_kv), KEY_U32, 0, 0, 0, 4096}, /* 0 = head_count */ \
    {"attention.key_length", MOE_HP(dim_head_k), KEY_U32, 0, 0, 0, 4096},    /* 0 = embedding_length / head_count */ \
    {"attention.value_length", MOE_HP(dim_head_v), KEY_U32, 0, 0, 0, 4096}, \
    {"attention.layer_norm_rms_epsilon", MOE_HP(eps), KEY_F32, 1, 0, 0, 1}, \
    {"attention.sliding_window", MOE_HP(window), KEY_U32, 0, 0, 0, 1u << 30}, \
    {"attention.scale", MOE_HP(attn_scale), KEY_F32, 0, 0, 0, 1e6}, /* 0 = 1 / square root of the key's width */ \
    {"attn_logit_softcapping", MOE_HP(attn_softcap), KEY_F32, 0, 0, 0, 1e6}, \
    {"final_logit_softcapping", MOE_HP(final_softcap), KEY_F32, 0, 0, 0, 1e6}, \
    {"rope.freq_base", MOE_HP(rope_base), KEY_F32, 0, 10000, 1, 1e12}, \
    {"rope.dimension_count", MOE_HP(n_rot), KEY_U32, 0, 0, 0, 4096},         /* 0 = a whole head */ \
    {"rope.scaling.factor", MOE_HP(rope_factor), KEY_F32, 0, 1, 1e-3, 1e6}, \
    {"rope.scaling.yarn_attn_factor", MOE_HP(yarn_attn), KEY_F32, 0, 0, 0, 1e3}, /* 0 = by the factor */ \
    {"rope.scaling.yarn_ext_factor", MOE_HP(yarn_ext), KEY_F32, 0, 1, 1, 1},     /* no other is computed */ \
    {"rope.scaling.original_context_length", MOE_HP(rope_ctx_orig), KEY_U32, 0, 0, 0, 1 << 30}, \
    {"rope.scaling.attn_factor", MOE_HP(rope_attn_factor), KEY_F32, 0, 0, 0, 1e3}, \
    {"rope.scaling.yarn_beta_fast", MOE_HP(yarn_beta_fast), KEY_F32, 0, 32, 0, 1e6}, \
    {"rope.scaling.yarn_beta_slow", MOE_HP(yarn_beta_slow), KEY_F32, 0, 1, 0, 1e6}, \
    {"feed_forward_length", MOE_HP(dim_ff), KEY_U32, 0, 0, 0, 1 << 24}, \
    {"expert_count", MOE_HP(n_experts), KEY_U32, 0, 0, 0, 65536}, \
    {"expert_used_count", MOE_HP(top_k), KEY_U32, 0, 0, 0, 65536}, \
    {"expert_feed_forward_length", MOE_HP(dim_ff_expert), KEY_U32, 0, 0, 0, 1 << 24}, /* 0 = feed_forward_length */ \
    {"expert_weights_norm", MOE_HP(expert_norm), KEY_BOOL, 0, 2, 0, 1},      /* 2 = the family's own */ \
    {"expert_weights_scale", MOE_HP(expert_scale), KEY_F32, 0, 1, -1e6, 1e6}, /* 0 = 1 */ \
    {"expert_gating_func", MOE_HP(gating), KEY_U32, 0, 0, 0, 64}, \
    {"expert_group_count", MOE_HP(n_groups), KEY_U32, 0, 0, 0, 65536}, \
    {"expert_group_used_count", MOE_HP(top_groups), KEY_U32, 0, 0, 0, 65536}, \
    {"expert_null_count", MOE_HP(n_null), KEY_U32, 0, 0, 0, 65536}

#define MOE_TENSORS_MODEL \
    {ROLE_TOKEN_EMBD, NEED_ALWAYS, {W_DIM, W_VOCAB}, "token_embd.weight"}, \
    {ROLE_OUTPUT_NORM, NEED_ALWAYS, {W_DIM}, "output_norm.weight"}, \
    {ROLE_OUTPUT, NEED_OPTIONAL, {W_DIM, W_VOCAB}, "output.weight"}, /* else the embedding is tied */ \
    {ROLE_ROPE_FREQS, NEED_OPTIONAL, {W_ROT_HALF}, "rope_freqs.weight"}

#define MOE_TENSORS_ATTN \
    {ROLE_ATTN_NORM, NEED_ALWAYS, {W_DIM}, "attn_norm.weight"}, \
    {ROLE_ATTN_Q, NEED_ALWAYS, {W_DIM, W_Q}, "attn_q.weight"}, \
    {ROLE_ATTN_K, NEED_ALWAYS, {W_DIM, W_K}, "attn_k.weight"}, \
    {ROLE_ATTN_V, NEED_ALWAYS, {W_DIM, W_V}, "attn_v.weight"}, \
    {ROLE_ATTN_SINKS, NEED_OPTIONAL, {W_HEADS}, "attn_sinks.weight"}, \
    {ROLE_ATTN_OUTPUT, NEED_ALWAYS, {W_ATTN, W_DIM}, "attn_output.weight"}

#define MOE_TENSORS_ATTN_BIAS(need) \
    {ROLE_ATTN_Q_BIAS, need, {W_Q}, "attn_q.bias"}, \
    {ROLE_ATTN_K_BIAS, need, {W_K}, "attn_k.bias"}, \
    {ROLE_ATTN_V_BIAS, need, {W_V}, "attn_v.bias"}, \
    {ROLE_ATTN_OUTPUT_BIAS, NEED_OPTIONAL, {W_DIM}, "attn_output.bias"}

#define MOE_TENSORS_MOE \
    {ROLE_FFN_NORM, NEED_ALWAYS, {W_DIM}, "ffn_norm.weight"}, \
    {ROLE_ROUTER, NEED_MOE, {W_DIM, W_ROUTER}, "ffn_gate_inp.weight"}, \
    {ROLE_ROUTER_BIAS, NEED_OPTIONAL, {W_EXPERTS}, "ffn_gate_inp.bias"}, \
    {ROLE_SELECT_BIAS, NEED_OPTIONAL, {W_EXPERTS}, "exp_probs_b.bias"}, \
    {ROLE_GATE_EXPS, NEED_MOE, {W_DIM, W_FF_EXPERT, W_EXPERTS}, "ffn_gate_exps.weight"}, \
    {ROLE_UP_EXPS, NEED_MOE, {W_DIM, W_FF_EXPERT, W_EXPERTS}, "ffn_up_exps.weight"}, \
    {ROLE_DOWN_EXPS, NEED_MOE, {W_FF_EXPERT, W_DIM, W_EXPERTS}, "ffn_down_exps.weight"}

#define MOE_TENSORS_SHARED(need) \
    {ROLE_GATE_SHEXP, need, {W_DIM, W_FF_SHARED}, "ffn_gate_shexp.weight"}, \
    {ROLE_UP_SHEXP, need, {W_DIM, W_FF_SHARED}, "ffn_up_shexp.weight"}, \
    {ROLE_DOWN_SHEXP, need, {W_FF_SHARED, W_DIM}, "ffn_down_shexp.weight"}

/* Layers without a router, where a config sets them. */
#define MOE_TENSORS_DENSE \
    {ROLE_FFN_GATE, NEED_DENSE, {W_DIM, W_FF}, "ffn_gate.weight"}, \
    {ROLE_FFN_UP, NEED_DENSE, {W_DIM, W_FF}, "ffn_up.weight"}, \
    {ROLE_FFN_DOWN, NEED_DENSE, {W_FF, W_DIM}, "ffn_down.weight"}

/* The pre-norm transformer block that all families so far share (steps.c). */
extern const moe__step moe__steps_attn[5], moe__steps_moe[4], moe__steps_moe_shared[5], moe__steps_dense[3];
#define MOE_STEPS(attn, moe, dense) \
    .attn_steps = attn, .n_attn_steps = MOE_COUNT(attn), .moe_steps = moe, .n_moe_steps = MOE_COUNT(moe), \
    .dense_steps = dense, .n_dense_steps = MOE_COUNT(dense)

#define MOE_RECIPE(score_, weight_) \
    {.size = sizeof(moe_route_spec), .score = score_, .select = MOE_SELECT_TOPK, .weight = weight_, .scale = 1.0f}

#endif
