/* SPDX-License-Identifier: MIT */
/*
 * What each block format means, once: a block becomes small integers and scales. Dequantisation
 * (quant/dequant.c) and the reference matrix products (kernel/ref/gemm_q.c) are both written over these two
 * unpacked shapes; SIMD kernels are tested against the latter. Source: the published GGUF block formats;
 * the vectors of tests/unit/data come from the gguf Python package.
 */
#ifndef MOE_QUANT_UNPACK_H
#define MOE_QUANT_UNPACK_H

#include <stdint.h>

#include "quant/blocks.h"

/* x = d * q, and + m for the formats that have one. */
typedef struct moe__unpacked32 {
    float d, m;
    int8_t q[32];
} moe__unpacked32;

/* x = d * scale[i / 16] * q, and - dmin * min[i / 16] for the formats that have one. */
typedef struct moe__unpacked256 {
    float d, dmin;
    int8_t scale[16]; /* one per 16 elements, also where a format has one per 32 */
    uint8_t min[16];
    int8_t q[256];
} moe__unpacked256;

/* The 16 levels of IQ4_NL and IQ4_XS: rising, denser around zero. */
static const int8_t moe__iq4_levels[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
/* The 16 values of e2m1 (sign, two exponent bits, one mantissa bit), doubled to be integers. */
static const int8_t moe__fp4_levels[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/*
 * Half of the scale 2^(e - 127), to go with the doubled levels. e = 0 and 1 give f32 subnormals, so every e
 * is exact.
 */
static inline float moe__e8m0_half(uint8_t e)
{
    return moe__f32_from_bits(e < 2 ? UINT32_C(0x00200000) << e : (uint32_t)(e - 1) << 23);
}

/*
 * Scale and minimum of group g of Q4_K and Q5_K. Groups 4..7 keep their upper two bits on top of bytes
 * 0..7.
 */
static inline void moe__scale_min(const uint8_t s[12], int g, uint8_t *scale, uint8_t *min)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (uint8_t)((s[g + 4] & 15) | s[g - 4] >> 6 << 4);
        *min = (uint8_t)(s[g + 4] >> 4 | s[g] >> 6 << 4);
    }
}

static inline void moe__unpack_q4_0(const void *src, moe__unpacked32 *u)
{
    const moe__q4_0 *b = src;
    u->d = moe__le_f16(b->d);
    u->m = 0.0f;
    for (int i = 0; i < 16; i++) {
        u->q[i] = (int8_t)((b->qs[i] & 15) - 8);
        u->q[i + 16] = (int8_t)((b->qs[i] >> 4) - 8);
    }
}

static inline void moe__unpack_q4_1(const void *src, moe__unpacked32 *u)
{
    const moe__q4_1 *b = src;
    u->d = moe__le_f16(b->d);
    u->m = moe__le_f16(b->m);
    for (int i = 0; i < 16; i++) {
        u->q[i] = (int8_t)(b->qs[i] & 15);
        u->q[i + 16] = (int8_t)(b->qs[i] >> 4);
    }
}

/* Five bits: a nibble and bit i of qh. */
static inline void moe__unpack_5bits(const uint8_t qh[4], const uint8_t qs[16], int offset, int8_t q[32])
{
    for (int i = 0; i < 16; i++) {
        const int lo = qh[i >> 3] >> (i & 7) & 1, hi = qh[2 + (i >> 3)] >> (i & 7) & 1;
        q[i] = (int8_t)(((qs[i] & 15) | lo << 4) - offset);
        q[i + 16] = (int8_t)((qs[i] >> 4 | hi << 4) - offset);
    }
}

static inline void moe__unpack_q5_0(const void *src, moe__unpacked32 *u)
{
    const moe__q5_0 *b = src;
    u->d = moe__le_f16(b->d);
    u->m = 0.0f;
    moe__unpack_5bits(b->qh, b->qs, 16, u->q);
}

static inline void moe__unpack_q5_1(const void *src, moe__unpacked32 *u)
{
    const moe__q5_1 *b = src;
    u->d = moe__le_f16(b->d);
    u->m = moe__le_f16(b->m);
    moe__unpack_5bits(b->qh, b->qs, 0, u->q);
}

static inline void moe__unpack_q8_0(const void *src, moe__unpacked32 *u)
{
    const moe__q8_0 *b = src;
    u->d = moe__le_f16(b->d);
    u->m = 0.0f;
    memcpy(u->q, b->qs, sizeof u->q);
}

static inline void moe__unpack_iq4_nl(const void *src, moe__unpacked32 *u)
{
    const moe__iq4_nl *b = src;
    u->d = moe__le_f16(b->d);
    u->m = 0.0f;
    for (int i = 0; i < 16; i++) {
        u->q[i] = moe__iq4_levels[b->qs[i] & 15];
        u->q[i + 16] = moe__iq4_levels[b->qs[i] >> 4];
    }
}

static inline void moe__unpack_mxfp4(const void *src, moe__unpacked32 *u)
{
    const moe__mxfp4 *b = src;
    u->d = moe__e8m0_half(b->e);
    u->m = 0.0f;
    for (int i = 0; i < 16; i++) {
        u->q[i] = moe__fp4_levels[b->qs[i] & 15];
        u->q[i + 16] = moe__fp4_levels[b->qs[i] >> 4];
    }
}

static inline void moe__unpack_q2_k(const void *src, moe__unpacked256 *u)
{
    const moe__q2_k *b = src;
    u->d = moe__le_f16(b->d);
    u->dmin = moe__le_f16(b->dmin);
    for (int g = 0; g < 16; g++) {
        u->scale[g] = (int8_t)(b->scales[g] & 15);
        u->min[g] = b->scales[g] >> 4;
    }
    for (int i = 0; i < 256; i++) u->q[i] = (int8_t)(b->qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3);
}

static inline void moe__unpack_q3_k(const void *src, moe__unpacked256 *u)
{
    const moe__q3_k *b = src;
    u->d = moe__le_f16(b->d);
    u->dmin = 0.0f;
    for (int g = 0; g < 16; g++) {
        const int lo = b->scales[g % 8] >> (g / 8 * 4) & 15, hi = b->scales[8 + g % 4] >> (g / 4 * 2) & 3;
        u->scale[g] = (int8_t)((lo | hi << 4) - 32);
        u->min[g] = 0;
    }
    for (int i = 0; i < 256; i++) {
        const int lo = b->qs[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        const int hi = b->hmask[i % 32] >> (i / 32) & 1;
        u->q[i] = (int8_t)((lo | hi << 2) - 4);
    }
}

/* Scales of 8 groups of 32, each written twice, once per 16 elements. */
static inline void moe__unpack_scale_min(const uint8_t s[12], moe__unpacked256 *u)
{
    for (int g = 0; g < 8; g++) {
        uint8_t scale, min;
        moe__scale_min(s, g, &scale, &min);
        u->scale[2 * g] = u->scale[2 * g + 1] = (int8_t)scale;
        u->min[2 * g] = u->min[2 * g + 1] = min;
    }
}

static inline void moe__unpack_q4_k(const void *src, moe__unpacked256 *u)
{
    const moe__q4_k *b = src;
    u->d = moe__le_f16(b->d);
    u->dmin = moe__le_f16(b->dmin);
    moe__unpack_scale_min(b->scales, u);
    for (int i = 0; i < 256; i++) u->q[i] = (int8_t)(b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15);
}

static inline void moe__unpack_q5_k(const void *src, moe__unpacked256 *u)
{
    const moe__q5_k *b = src;
    u->d = moe__le_f16(b->d);
    u->dmin = moe__le_f16(b->dmin);
    moe__unpack_scale_min(b->scales, u);
    for (int i = 0; i < 256; i++) {
        const int lo = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        const int hi = b->qh[i % 32] >> (i / 32) & 1;
        u->q[i] = (int8_t)(lo | hi << 4);
    }
}

static inline void moe__unpack_q6_k(const void *src, moe__unpacked256 *u)
{
    const moe__q6_k *b = src;
    u->d = moe__le_f16(b->d);
    u->dmin = 0.0f;
    memcpy(u->scale, b->scales, sizeof u->scale);
    memset(u->min, 0, sizeof u->min);
    for (int i = 0; i < 256; i++) {
        const int lo = b->ql[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15;
        const int hi = b->qh[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        u->q[i] = (int8_t)((lo | hi << 4) - 32);
    }
}

static inline void moe__unpack_iq4_xs(const void *src, moe__unpacked256 *u)
{
    const moe__iq4_xs *b = src;
    const int high = moe__le16(b->scales_h);
    u->d = moe__le_f16(b->d);
    u->dmin = 0.0f;
    memset(u->min, 0, sizeof u->min);
    for (int g = 0; g < 8; g++) {
        const int scale = (b->scales_l[g / 2] >> (g % 2 * 4) & 15) | (high >> 2 * g & 3) << 4;
        u->scale[2 * g] = u->scale[2 * g + 1] = (int8_t)(scale - 32);
    }
    for (int i = 0; i < 256; i++)
        u->q[i] = moe__iq4_levels[b->qs[i / 32 * 16 + i % 16] >> (i / 16 % 2 * 4) & 15];
}

#endif
