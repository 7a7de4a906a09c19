/* SPDX-License-Identifier: MIT */
/*
 * A small model whose expert matrices can be of any type, different ones per layer: 256 wide, so that every
 * block format fits. Weights are pseudo-random numbers; two models differ in nothing but the experts' types.
 */
#ifndef MOE_TESTS_EXPERT_MODEL_H
#define MOE_TESTS_EXPERT_MODEL_H

#include <stdio.h>

#include "gguf_bytes.h"
#include "quant/types.h"

enum { XM_DIM = 256, XM_EXPERTS = 4, XM_LAYERS = 2, XM_VOCAB = 32, XM_HEAD = 32, XM_TOP_K = 2 };
enum { XM_MATRIX = XM_DIM * XM_DIM }; /* elements of one expert matrix; experts are as wide inside */

/* Types of gate, up and down in each layer. */
typedef struct xm_types {
    int type[XM_LAYERS][3];
} xm_types;

static const char *const xm_expert_name[3] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};

static inline float xm_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(*state >> 11) / 9007199254740992.0 * 2 - 1);
}

/*
 * Matrix `which` of an expert in a type's blocks; returns the bytes. dst has room for XM_MATRIX floats. Rows
 * come from a pool of 64, the same numbers in every type, each matrix in an order of its own.
 */
static inline size_t xm_data(uint32_t layer, uint32_t expert, int which, int type, void *dst)
{
    enum { POOL = 64 };
    static unsigned char pool[POOL * XM_DIM * sizeof(float)];
    static int pool_type = -1;
    const moe__type *t = moe__type_get(type);
    const size_t row = (size_t)moe__type_bytes(t, XM_DIM),
                 shift = layer * 17 + expert * 29 + (size_t)which * 11;
    uint64_t state = 1000;
    for (size_t i = 0; pool_type != type && i < POOL; i++) {
        float x[XM_DIM];
        for (size_t j = 0; j < XM_DIM; j++) x[j] = 0.12f * xm_random(&state);
        t->quantize(x, pool + i * row, XM_DIM, NULL);
    }
    pool_type = type;
    for (size_t r = 0; r < XM_DIM; r++)
        memcpy((char *)dst + r * row, pool + (r * (1 + 2 * shift) + shift + r / POOL * 7) % POOL * row, row);
    return XM_DIM * row;
}

typedef struct xm_tensor {
    char name[64];
    int type;
    uint32_t n_dims;
    uint64_t dim[3];
    int layer, which; /* of expert tensors; layer -1: others */
} xm_tensor;

static inline size_t xm_list(const xm_types *t, xm_tensor *out)
{
    static const struct {
        const char *name;
        uint32_t n_dims;
        uint64_t dim[2];
    } rows[] = {
        {"attn_norm", 1, {XM_DIM, 1}},
        {"attn_q", 2, {XM_DIM, 2 * XM_HEAD}},
        {"attn_k", 2, {XM_DIM, XM_HEAD}},
        {"attn_v", 2, {XM_DIM, XM_HEAD}},
        {"attn_q_norm", 1, {XM_HEAD, 1}},
        {"attn_k_norm", 1, {XM_HEAD, 1}},
        {"attn_output", 2, {2 * XM_HEAD, XM_DIM}},
        {"ffn_norm", 1, {XM_DIM, 1}},
        {"ffn_gate_inp", 2, {XM_DIM, XM_EXPERTS}},
    };
    size_t n = 0;
    out[n++] = (xm_tensor){"token_embd.weight", MOE_TYPE_F32, 2, {XM_DIM, XM_VOCAB, 1}, -1, 0};
    out[n++] = (xm_tensor){"output_norm.weight", MOE_TYPE_F32, 1, {XM_DIM, 1, 1}, -1, 0};
    for (int l = 0; l < XM_LAYERS; l++) {
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++, n++) {
            out[n] =
                (xm_tensor){"", MOE_TYPE_F32, rows[i].n_dims, {rows[i].dim[0], rows[i].dim[1], 1}, -1, 0};
            snprintf(out[n].name, sizeof out[n].name, "blk.%d.%s.weight", l, rows[i].name);
        }
        for (int w = 0; w < 3; w++, n++) {
            out[n] = (xm_tensor){"", t->type[l][w], 3, {XM_DIM, XM_DIM, XM_EXPERTS}, l, w};
            snprintf(out[n].name, sizeof out[n].name, "blk.%d.%s.weight", l, xm_expert_name[w]);
        }
    }
    return n;
}

static inline uint64_t xm_bytes(const xm_tensor *t)
{
    return moe__type_bytes(moe__type_get(t->type), t->dim[0] * t->dim[1] * t->dim[2]);
}

static inline void xm_put_data(bytes *b, const xm_tensor *t, uint64_t seed)
{
    static float block[XM_MATRIX];
    if (t->layer < 0) {
        for (uint64_t i = 0; i < t->dim[0] * t->dim[1]; i++) {
            const float x = (t->n_dims == 1 ? 1.0f : 0.0f) + 0.2f * xm_random(&seed);
            put(b, &x, sizeof x);
        }
    } else {
        for (uint32_t e = 0; e < XM_EXPERTS; e++)
            put(b, block, xm_data((uint32_t)t->layer, e, t->which, t->type, block));
    }
    put_padding(b, 32);
}

/* Builds the file; the caller frees it with bytes_free(). */
static inline bytes expert_model(const xm_types *types)
{
    static const struct {
        const char *name;
        uint32_t value;
    } keys[] = {{"block_count", XM_LAYERS},
                {"context_length", 128},
                {"embedding_length", XM_DIM},
                {"attention.head_count", 2},
                {"attention.head_count_kv", 1},
                {"attention.key_length", XM_HEAD},
                {"attention.value_length", XM_HEAD},
                {"feed_forward_length", XM_DIM},
                {"expert_count", XM_EXPERTS},
                {"expert_used_count", XM_TOP_K},
                {"expert_feed_forward_length", XM_DIM}};
    const size_t n_keys = sizeof keys / sizeof keys[0];
    const float eps = 1e-6f;
    xm_tensor t[40];
    const size_t n = xm_list(types, t);
    bytes b = {0};
    uint64_t at = 0;
    put_header(&b, 3, n, n_keys + 2);
    put_kv_str(&b, "general.architecture", "qwen3moe");
    for (size_t i = 0; i < n_keys; i++) {
        char name[64];
        snprintf(name, sizeof name, "qwen3moe.%s", keys[i].name);
        put_kv_u32(&b, name, keys[i].value);
    }
    put_key(&b, "qwen3moe.attention.layer_norm_rms_epsilon", MOE_META_F32);
    put(&b, &eps, sizeof eps);
    for (size_t i = 0; i < n; i++) {
        put_tensor(&b, t[i].name, t[i].n_dims, t[i].dim, (uint32_t)t[i].type, at);
        at += (xm_bytes(&t[i]) + 31) / 32 * 32;
    }
    put_padding(&b, 32);
    for (size_t i = 0; i < n; i++) xm_put_data(&b, &t[i], 7 * i);
    return b;
}

#endif
