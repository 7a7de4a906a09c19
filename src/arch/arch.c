/* SPDX-License-Identifier: MIT */
/* The list of families, the block they share, and the widths that shapes are made of. */
#include "arch/arch.h"

#include <string.h>

#include "arch/families.h"

static const moe__arch *const archs[] = {
    &moe__arch_qwen3moe, &moe__arch_olmoe, &moe__arch_llama, &moe__arch_qwen2moe, &moe__arch_granitemoe,
};

/* x += attention(norm(x)) */
const moe__step moe__steps_attn[5] = {
    {OP_NORM, BUF_X, BUF_H, ROLE_ATTN_NORM},
    {OP_QKV, BUF_H, BUF_NONE, ROLE_NONE},
    {OP_ATTEND, BUF_NONE, BUF_A, ROLE_NONE},
    {OP_LINEAR, BUF_A, BUF_Y, ROLE_ATTN_OUTPUT},
    {OP_ADD, BUF_Y, BUF_X, ROLE_NONE},
};

/* x += experts(norm(x)) */
const moe__step moe__steps_moe[4] = {
    {OP_NORM, BUF_X, BUF_H, ROLE_FFN_NORM},
    {OP_ROUTE, BUF_H, BUF_NONE, ROLE_ROUTER},
    {OP_EXPERTS, BUF_H, BUF_Y, ROLE_NONE},
    {OP_ADD, BUF_Y, BUF_X, ROLE_NONE},
};

/* x += experts(norm(x)) + gate * shared(norm(x)) */
const moe__step moe__steps_moe_shared[5] = {
    {OP_NORM, BUF_X, BUF_H, ROLE_FFN_NORM},
    {OP_ROUTE, BUF_H, BUF_NONE, ROLE_ROUTER},
    {OP_EXPERTS, BUF_H, BUF_Y, ROLE_NONE},
    {OP_SHARED, BUF_H, BUF_Y, ROLE_NONE},
    {OP_ADD, BUF_Y, BUF_X, ROLE_NONE},
};

/* x += ffn(norm(x)) */
const moe__step moe__steps_dense[3] = {
    {OP_NORM, BUF_X, BUF_H, ROLE_FFN_NORM},
    {OP_FFN, BUF_H, BUF_Y, ROLE_NONE},
    {OP_ADD, BUF_Y, BUF_X, ROLE_NONE},
};

const moe__arch *moe__arch_find(const char *name)
{
    for (size_t i = 0; i < MOE_COUNT(archs); i++)
        if (strcmp(archs[i]->name, name) == 0) return archs[i];
    return NULL;
}

size_t moe__arch_count(void) { return MOE_COUNT(archs); }

const moe__arch *moe__arch_at(size_t i) { return i < MOE_COUNT(archs) ? archs[i] : NULL; }

uint64_t moe__width_of(const moe__hparams *h, moe__width w)
{
    switch (w) {
    case W_DIM: return h->dim;
    case W_Q: return (uint64_t)h->n_heads * h->dim_head_k;
    case W_K: return (uint64_t)h->n_heads_kv * h->dim_head_k;
    case W_V: return (uint64_t)h->n_heads_kv * h->dim_head_v;
    case W_ATTN: return (uint64_t)h->n_heads * h->dim_head_v;
    case W_HEAD: return h->dim_head_k;
    case W_HEADS: return h->n_heads;
    case W_FF: return h->dim_ff;
    case W_FF_EXPERT: return h->dim_ff_expert;
    case W_FF_SHARED: return h->dim_ff_shared;
    case W_EXPERTS: return h->n_experts;
    case W_ROUTER: return (uint64_t)h->n_experts + h->n_null;
    case W_VOCAB: return h->n_vocab;
    case W_ROT_HALF: return h->n_rot / 2;
    default: return 1;
    }
}
