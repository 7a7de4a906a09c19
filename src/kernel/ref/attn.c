/* SPDX-License-Identifier: MIT */
/*
 * Attention over positions of one KV head, laid out as kv_tile.h says. Scores of float keys: one fma per
 * element, ascending. Sums of float values: one fma per position, ascending. Quantised keys and values: the
 * integer sum over 32 elements (32 positions) is exact; then one fma, blocks ascending.
 */
#include "kernel/ref/lanes.h"

static inline float from_f32(const float *x, size_t i) { return x[i]; }
static inline float from_f16(const uint16_t *x, size_t i) { return moe__f16_to_f32(x[i]); }
static inline float from_bf16(const uint16_t *x, size_t i) { return moe__bf16_to_f32(x[i]); }

#define ATTN_FLOAT(type, elem)                                                                               \
    void MOE_FN(attn_qk_##type)(const moe__attn_qk *a)                                                       \
    {                                                                                                        \
        for (size_t c = 0; c < a->n_q; c++)                                                                  \
            for (size_t p = 0; p < a->n_tiles * MOE_K_TILE; p++) {                                           \
                const float *q = (const float *)(const void *)((const char *)a->q + c * a->q_bytes);         \
                const elem *k = (const elem *)a->k + p / MOE_K_TILE * MOE_K_TILE * a->dim + p % MOE_K_TILE;  \
                float s = 0.0f;                                                                              \
                for (size_t d = 0; d < a->dim; d++) s = fmaf(q[d], from_##type(k, d * MOE_K_TILE), s);       \
                a->s[c * a->lds + p] = s;                                                                    \
            }                                                                                                \
    }                                                                                                        \
    void MOE_FN(attn_av_##type)(const moe__attn_av *a)                                                       \
    {                                                                                                        \
        for (size_t c = 0; c < a->n_q; c++)                                                                  \
            for (size_t i = 0; i < a->n; i++) {                                                              \
                const float *p = (const float *)(const void *)((const char *)a->p + c * a->p_bytes);         \
                const elem *v = (const elem *)a->v + i * a->dim;                                             \
                float *y = a->y + c * a->ldy;                                                                \
                for (size_t d = 0; d < a->dim; d++) y[d] = fmaf(p[i], from_##type(v, d), y[d]);              \
            }                                                                                                \
    }

ATTN_FLOAT(f32, float)
ATTN_FLOAT(f16, uint16_t)
ATTN_FLOAT(bf16, uint16_t)

/* Element 4 v + i of a block in a row of fours that are `step` bytes apart. */
static inline int four_q8_0(const uint8_t *q, size_t step, size_t e) { return q[e / 4 * step + e % 4] - 128; }
/* The same of key elements (far: 16 elements share bytes with the next 16) and of positions of values (near:
 * 4). */
static inline int four_q4_0(const uint8_t *q, size_t step, size_t e, size_t half)
{
    const uint8_t *at = q + e % half / 4 * step + e / (2 * half) * step + e % 4;
    return (e / half % 2 ? *at >> 4 : *at & 15) - 8;
}

#define KEY_q8_0(q, e)        four_q8_0(q, 64, e)
#define KEY_q4_0(q, e)        four_q4_0(q, 64, e, 16)
#define VALUE_q8_0(q, dim, i) four_q8_0(q, 4 * (dim), i)
#define VALUE_q4_0(q, dim, i) four_q4_0(q, 4 * (dim), i, 4)

#define ATTN_QUANT(type, bits)                                                                               \
    void MOE_FN(attn_qk_##type)(const moe__attn_qk *a)                                                       \
    {                                                                                                        \
        for (size_t c = 0; c < a->n_q; c++)                                                                  \
            for (size_t p = 0; p < a->n_tiles * MOE_K_TILE; p++) {                                           \
                const moe__act32 *q =                                                                        \
                    (const moe__act32 *)(const void *)((const char *)a->q + c * a->q_bytes);                 \
                const uint8_t *tile =                                                                        \
                    (const uint8_t *)a->k + p / MOE_K_TILE * moe__k_tile_bytes(a->dim, bits);                \
                const uint8_t *k = tile + moe__k_tile_scales(a->dim) + p % MOE_K_TILE * 4;                   \
                float s = 0.0f;                                                                              \
                for (size_t b = 0; b < a->dim / 32; b++, k += MOE_K_TILE * 32 * bits / 8) {                  \
                    int sum = 0;                                                                             \
                    for (size_t e = 0; e < 32; e++) sum += q[b].q[e] * KEY_##type(k, e);                     \
                    const uint16_t d = moe__load_u16(tile + 2 * (b * MOE_K_TILE + p % MOE_K_TILE));          \
                    s = fmaf(moe__f16_to_f32(d) * q[b].d, (float)sum, s);                                    \
                }                                                                                            \
                a->s[c * a->lds + p] = s;                                                                    \
            }                                                                                                \
    }                                                                                                        \
    void MOE_FN(attn_av_##type)(const moe__attn_av *a)                                                       \
    {                                                                                                        \
        for (size_t c = 0; c < a->n_q; c++)                                                                  \
            for (size_t d = 0; d < a->dim; d++) {                                                            \
                const moe__act32 *w =                                                                        \
                    (const moe__act32 *)(const void *)((const char *)a->p + c * a->p_bytes);                 \
                float y = a->y[c * a->ldy + d];                                                              \
                for (size_t t = 0; t < a->n / MOE_V_TILE; t++) {                                             \
                    const moe__act32 *x = w + t * (a->dim / 32) + d / 32;                                    \
                    const uint8_t *v = (const uint8_t *)a->v + t * moe__v_tile_bytes(a->dim, bits) +         \
                                       moe__v_tile_scales(a->dim) + 4 * d;                                   \
                    int sum = 0;                                                                             \
                    for (size_t i = 0; i < 32; i++) sum += x->q[i] * VALUE_##type(v, a->dim, i);             \
                    y = fmaf(x->d, (float)sum, y);                                                           \
                }                                                                                            \
                a->y[c * a->ldy + d] = y;                                                                    \
            }                                                                                                \
    }

ATTN_QUANT(q8_0, 8)
ATTN_QUANT(q4_0, 4)

/* As act_q8_32 has it: largest / 127, and 127 / largest in *by; 0 and 0 if it is tiny, NaN and 0 if not
 * finite. */
static float weigh_scale(uint32_t top, float *by)
{
    const float m = moe__f32_from_bits(top);
    const int usable = top >= 0x04000000u && top < 0x7f800000u;
    *by = usable ? 127.0f / m : 0.0f;
    if (usable) return m / 127.0f;
    return top < 0x04000000u ? 0.0f : moe__f32_from_bits(0x7fc00000u);
}

/*
 * p d to int8. A block's scale is that of the largest p times that of the largest d of its positions, so that
 * all blocks of a row share what is made of p, and all rows what is made of d: at most the product of both
 * largest, which may be a bit more than the largest product. Positions whose p is zero count for nothing, d
 * included: they may be hidden, and hold anything.
 */
static void weigh_block(moe__act32 *w, const float *p, const uint8_t *halves, size_t n)
{
    float d[MOE_V_TILE], by_p, by_d;
    uint32_t top_p = 0, top_d = 0;
    for (size_t i = 0; i < MOE_V_TILE; i++) {
        d[i] = i < n && p[i] != 0.0f ? moe__f16_to_f32(moe__load_u16(halves + 2 * i)) : 0.0f;
        const uint32_t bp = i < n ? moe__f32_bits(p[i]) & 0x7fffffffu : 0,
                       bd = moe__f32_bits(d[i]) & 0x7fffffffu;
        top_p = bp > top_p ? bp : top_p;
        top_d = bd > top_d ? bd : top_d;
    }
    const float scale_p = weigh_scale(top_p, &by_p), scale_d = weigh_scale(top_d, &by_d);
    w->d = scale_p * (scale_d * 127.0f);
    w->sum = 0;
    for (size_t i = 0; i < MOE_V_TILE; i++) {
        const float x = i < n ? p[i] * (by_p * MOE_WEIGH_STEP) : 0.0f;
        const float t = w->d == w->d ? moe__fmaf(x, d[i] * by_d, MOE_EXP_MAGIC) : MOE_EXP_MAGIC;
        w->q[i] = (int8_t)(int32_t)(moe__f32_bits(t) - moe__f32_bits(MOE_EXP_MAGIC));
        w->sum += w->q[i];
    }
}

void MOE_FN(attn_weigh)(const moe__attn_weights *a)
{
    const size_t n_blocks = a->dim / 32;
    for (size_t c = 0; c < a->n_q; c++)
        for (size_t t = 0; t < a->n_tiles; t++)
            for (size_t b = 0; b < n_blocks; b++)
                weigh_block(a->w + (c * a->n_tiles + t) * n_blocks + b, a->p + c * a->ldp + t * MOE_V_TILE,
                            (const uint8_t *)a->v + t * a->tile_bytes + 2 * b * MOE_V_TILE,
                            a->n[c] > t * MOE_V_TILE ? a->n[c] - t * MOE_V_TILE : 0);
}

/*
 * t = scale * s (rounded); m = max t, NaN passed over, -0 counted as +0; s = exp(t - m); *sum over sixteen
 * lanes by addition. n >= 1; at least one score must be above -inf (else all become NaN).
 */
float MOE_FN(attn_exp)(float *s, float scale, size_t n, float *sum)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        s[i] *= scale;
        max = s[i] > max ? s[i] : max;
    }
    moe__lanes acc = {{0}};
    for (size_t i = 0; i < n; i++) {
        s[i] = moe__exp1(s[i] - max);
        acc.v[i % MOE_LANES] += s[i];
    }
    *sum = moe__lanes_sum(&acc);
    return max + 0.0f;
}
