/* SPDX-License-Identifier: MIT */
/*
 * A Qwen3-MoE model of a few kilobytes, built in memory byte by byte, with faults on request. Layer 0 is
 * dense, layer 1 has 4 experts. Every weight is k / 64 with a small integer k that tiny_value() gives, which
 * all types used here hold exactly: expectations need no rounding.
 */
#ifndef MOE_TESTS_API_TINY_MODEL_H
#define MOE_TESTS_API_TINY_MODEL_H

#include <math.h>
#include <stdio.h>

#include "../unit/gguf_bytes.h"

enum { TINY_DIM = 32, TINY_FF = 64, TINY_EXPERTS = 4, TINY_VOCAB = 24, TINY_HEAD = 16 };

typedef struct tiny_tensor {
    const char *name;
    uint32_t type, n_dims;
    uint64_t dim[4];
} tiny_tensor;

static const tiny_tensor tiny_tensors[] = {
    {"token_embd.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_VOCAB}},
    {"output_norm.weight", MOE_TYPE_F32, 1, {TINY_DIM}},
    {"blk.0.attn_norm.weight", MOE_TYPE_F32, 1, {TINY_DIM}},
    {"blk.0.attn_q.weight", MOE_TYPE_F32, 2, {TINY_DIM, 2 * TINY_HEAD}},
    {"blk.0.attn_k.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_HEAD}},
    {"blk.0.attn_v.weight", MOE_TYPE_F16, 2, {TINY_DIM, TINY_HEAD}},
    {"blk.0.attn_q_norm.weight", MOE_TYPE_F32, 1, {TINY_HEAD}},
    {"blk.0.attn_k_norm.weight", MOE_TYPE_F16, 1, {TINY_HEAD}},
    {"blk.0.attn_output.weight", MOE_TYPE_F32, 2, {2 * TINY_HEAD, TINY_DIM}},
    {"blk.0.ffn_norm.weight", MOE_TYPE_F32, 1, {TINY_DIM}},
    {"blk.0.ffn_gate.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_FF}},
    {"blk.0.ffn_up.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_FF}},
    {"blk.0.ffn_down.weight", MOE_TYPE_F32, 2, {TINY_FF, TINY_DIM}},
    {"blk.1.attn_norm.weight", MOE_TYPE_F32, 1, {TINY_DIM}},
    {"blk.1.attn_q.weight", MOE_TYPE_F32, 2, {TINY_DIM, 2 * TINY_HEAD}},
    {"blk.1.attn_k.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_HEAD}},
    {"blk.1.attn_v.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_HEAD}},
    {"blk.1.attn_q_norm.weight", MOE_TYPE_F32, 1, {TINY_HEAD}},
    {"blk.1.attn_k_norm.weight", MOE_TYPE_F32, 1, {TINY_HEAD}},
    {"blk.1.attn_output.weight", MOE_TYPE_F32, 2, {2 * TINY_HEAD, TINY_DIM}},
    {"blk.1.ffn_norm.weight", MOE_TYPE_F32, 1, {TINY_DIM}},
    {"blk.1.ffn_gate_inp.weight", MOE_TYPE_F32, 2, {TINY_DIM, TINY_EXPERTS}},
    {"blk.1.ffn_gate_exps.weight", MOE_TYPE_F32, 3, {TINY_DIM, TINY_DIM, TINY_EXPERTS}},
    {"blk.1.ffn_up_exps.weight", MOE_TYPE_F16, 3, {TINY_DIM, TINY_DIM, TINY_EXPERTS}},
    {"blk.1.ffn_down_exps.weight", MOE_TYPE_Q8_0, 3, {TINY_DIM, TINY_DIM, TINY_EXPERTS}},
};
enum { TINY_TENSORS = sizeof tiny_tensors / sizeof tiny_tensors[0] };
/* Numbers of tensors that only some files have, for tiny_value(). */
enum { TINY_LOGIT_BIAS = 71, TINY_SELECT_BIAS = 73 };

/* What is wrong with the file; zero = nothing. Names are those of tensors or keys. */
typedef struct tiny_fault {
    const char *arch;       /* another architecture */
    const char *no_tensor;  /* left out */
    const char *no_key;     /* left out, without "qwen3moe." */
    const char *extra;      /* a tensor more */
    const char *wide;       /* a tensor whose second dimension (or only one) is one more */
    const char *odd_type;   /* a tensor of a type that nobody knows */
    const char *nan_tensor; /* a tensor with a NaN in element nan_at (F32 and F16 only) */
    uint32_t nan_at;
    uint32_t top_k; /* 0 = 2 */
    /* not faults: routers of other kinds */
    uint32_t gating, n_groups, top_groups, n_null; /* keys; n_null adds rows to the router */
    uint32_t window, period;                       /* keys of sliding windows */
    int logit_bias, select_bias;                   /* tensors [TINY_EXPERTS] */
} tiny_fault;

static inline int tiny_is(const char *a, const char *b) { return a && strcmp(a, b) == 0; }

/* The integer that element i of tensor t is made of. */
static inline int tiny_k(size_t t, uint64_t i) { return (int)((t * 131 + i * 37 + i / 7) % 121) - 60; }
static inline float tiny_value(size_t t, uint64_t i) { return (float)tiny_k(t, i) / 64.0f; }

/* k / 64 as IEEE half, |k| < 1024. */
static inline uint16_t tiny_f16(int k)
{
    const unsigned a = (unsigned)(k < 0 ? -k : k);
    unsigned top = 0;
    if (a == 0) return 0;
    while (a >> (top + 1)) top++;
    return (uint16_t)((k < 0 ? 0x8000u : 0) | (top + 9) << 10 | (a << (10 - top) & 0x3ffu));
}

static inline void tiny_put_data(bytes *b, size_t t, uint32_t type, uint64_t n, uint64_t nan_at)
{
    for (uint64_t i = 0; i < n; i++) {
        const float x = i == nan_at ? NAN : tiny_value(t, i);
        if (type == MOE_TYPE_F16)
            put_int(b, i == nan_at ? 0x7e00 : tiny_f16(tiny_k(t, i)), 2);
        else if (type == MOE_TYPE_Q8_0) {
            if (i % 32 == 0) put_int(b, 0x2400, 2); /* the block's scale: 2^-6 */
            put_int(b, (uint8_t)tiny_k(t, i), 1);
        } else {
            put(b, &x, sizeof x);
        }
    }
    put_padding(b, 32);
}

static inline uint64_t tiny_bytes(uint32_t type, uint64_t n)
{
    return type == MOE_TYPE_F16 ? 2 * n : type == MOE_TYPE_Q8_0 ? n / 32 * 34 : 4 * n;
}

typedef struct tiny_key {
    const char *name;
    uint32_t value;
} tiny_key;

static inline void tiny_put_keys(bytes *b, const tiny_fault *f, uint64_t *n)
{
    const tiny_key keys[] = {
        {"block_count", 2},
        {"context_length", 128},
        {"embedding_length", TINY_DIM},
        {"attention.head_count", 2},
        {"attention.head_count_kv", 1},
        {"attention.key_length", TINY_HEAD},
        {"feed_forward_length", TINY_FF},
        {"expert_count", TINY_EXPERTS},
        {"expert_used_count", f->top_k ? f->top_k : 2},
        {"expert_feed_forward_length", TINY_DIM},
        {"expert_gating_func", f->gating},
        {"expert_group_count", f->n_groups},
        {"expert_group_used_count", f->top_groups},
        {"expert_null_count", f->n_null},
        {"attention.sliding_window", f->window},
        {"attention.sliding_window_pattern", f->period},
    };
    char name[64];
    const float eps = 1e-6f;
    put_kv_str(b, "general.architecture", f->arch ? f->arch : "qwen3moe");
    put_kv_str(b, "general.name", "tiny");
    *n = 2;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        if (tiny_is(f->no_key, keys[i].name) || (i >= 10 && keys[i].value == 0)) continue;
        snprintf(name, sizeof name, "qwen3moe.%s", keys[i].name);
        put_kv_u32(b, name, keys[i].value);
        ++*n;
    }
    put_key(b, "qwen3moe.attention.layer_norm_rms_epsilon", MOE_META_F32);
    put(b, &eps, sizeof eps);
    ++*n;
}

/* One key of every kind, with values that tell kinds apart; 14 in all. */
static inline void tiny_put_samples(bytes *b, uint64_t *n)
{
    const float f32 = -0.75f;
    const double f64 = 1.0 / 3.0;
    const uint64_t start = *n;
    put_key(b, "t.u8", MOE_META_U8), put_int(b, 200, 1), ++*n;
    put_key(b, "t.i8", MOE_META_I8), put_int(b, (uint64_t)-3, 1), ++*n;
    put_key(b, "t.u16", MOE_META_U16), put_int(b, 65535, 2), ++*n;
    put_key(b, "t.i16", MOE_META_I16), put_int(b, (uint64_t)-30000, 2), ++*n;
    put_key(b, "t.u32", MOE_META_U32), put_int(b, 4000000000u, 4), ++*n;
    put_key(b, "t.i32", MOE_META_I32), put_int(b, (uint64_t)-2000000000, 4), ++*n;
    put_key(b, "t.u64", MOE_META_U64), put_int(b, UINT64_MAX, 8), ++*n;
    put_key(b, "t.i64", MOE_META_I64), put_int(b, (uint64_t)INT64_MIN, 8), ++*n;
    put_key(b, "t.f32", MOE_META_F32), put(b, &f32, 4), ++*n;
    put_key(b, "t.f64", MOE_META_F64), put(b, &f64, 8), ++*n;
    put_key(b, "t.bool", MOE_META_BOOL), put_int(b, 1, 1), ++*n;
    put_key(b, "t.ints", MOE_META_ARRAY), put_u32(b, MOE_META_I16), put_u64(b, 3), ++*n;
    put_int(b, 1, 2), put_int(b, (uint64_t)-2, 2), put_int(b, 300, 2);
    put_key(b, "t.words", MOE_META_ARRAY), put_u32(b, MOE_META_STRING), put_u64(b, 3), ++*n;
    put_str(b, "one"), put_str(b, ""), put_str(b, "zw\xc3\xb6lf");
    put_key(b, "t.none", MOE_META_ARRAY), put_u32(b, MOE_META_F64), put_u64(b, 0), ++*n;
    if (*n - start != 14) abort();
}

/* Builds the file; the caller frees it with bytes_free(). */
static inline bytes tiny_model(const tiny_fault *f)
{
    bytes keys = {0}, b = {0};
    tiny_tensor t[TINY_TENSORS + 3];
    size_t number[TINY_TENSORS + 3], n = 0;
    uint64_t n_keys, at = 0;
    for (size_t i = 0; i < TINY_TENSORS; i++) {
        if (tiny_is(f->no_tensor, tiny_tensors[i].name)) continue;
        number[n] = i;
        t[n] = tiny_tensors[i];
        for (uint32_t d = t[n].n_dims; d < 4; d++) t[n].dim[d] = 1;
        if (tiny_is(f->wide, t[n].name)) t[n].dim[t[n].n_dims > 1]++;
        if (tiny_is("blk.1.ffn_gate_inp.weight", t[n].name)) t[n].dim[1] += f->n_null;
        n++;
    }
    if (f->extra) {
        number[n] = TINY_TENSORS;
        t[n++] = (tiny_tensor){f->extra, MOE_TYPE_F32, 1, {TINY_DIM, 1, 1, 1}};
    }
    if (f->logit_bias) {
        number[n] = TINY_LOGIT_BIAS;
        t[n++] = (tiny_tensor){"blk.1.ffn_gate_inp.bias", MOE_TYPE_F32, 1, {TINY_EXPERTS, 1, 1, 1}};
    }
    if (f->select_bias) {
        number[n] = TINY_SELECT_BIAS;
        t[n++] = (tiny_tensor){"blk.1.exp_probs_b.bias", MOE_TYPE_F32, 1, {TINY_EXPERTS, 1, 1, 1}};
    }
    tiny_put_keys(&keys, f, &n_keys);
    tiny_put_samples(&keys, &n_keys);
    put_header(&b, 3, n, n_keys);
    put(&b, keys.p, keys.n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t n_elems = t[i].dim[0] * t[i].dim[1] * t[i].dim[2];
        put_tensor(&b, t[i].name, t[i].n_dims, t[i].dim, tiny_is(f->odd_type, t[i].name) ? 77 : t[i].type,
                   at);
        at += (tiny_bytes(t[i].type, n_elems) + 31) / 32 * 32;
    }
    put_padding(&b, 32);
    for (size_t i = 0; i < n; i++)
        tiny_put_data(&b, number[i], t[i].type, t[i].dim[0] * t[i].dim[1] * t[i].dim[2],
                      tiny_is(f->nan_tensor, t[i].name) ? f->nan_at : UINT64_MAX);
    bytes_free(&keys);
    return b;
}

#endif
