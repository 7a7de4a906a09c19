/* SPDX-License-Identifier: MIT */
/*
 * Encoders of the K formats: the search of quantize_fit.c, then each format's own packing (the inverse of
 * unpack.h).
 */
#include <string.h>

#include "quant/quantize.h"
#include "quant/quantize_fit.h"

static void fit(const moe__super_shape *s, const float *src, const float *importance, moe__unpacked256 *u)
{
    float x[256], w[256];
    moe__fit_prepare(src, importance, 256, x, w);
    moe__fit_super(s, x, w, u);
}

/* Runs `pack` over all blocks of a row. */
#define QUANTIZE_256(name, ...) \
    void moe__quantize_##name(const float *src, void *dst, size_t n, const float *importance) \
    { \
        static const moe__super_shape shape = __VA_ARGS__; \
        moe__##name *b = dst; \
        for (size_t i = 0; i < n; i += 256, b++) { \
            moe__unpacked256 u; \
            fit(&shape, src + i, importance ? importance + i : NULL, &u); \
            memset(b, 0, sizeof *b); \
            pack_##name(&u, b); \
        } \
    }

static void put_bits(uint8_t *byte, int bits, int shift) { *byte = (uint8_t)(*byte | bits << shift); }

/* Two low bits of 256 values: Q2_K, Q3_K. */
static void pack_2bits(const int8_t q[256], int offset, uint8_t qs[64])
{
    for (int i = 0; i < 256; i++) put_bits(&qs[i / 128 * 32 + i % 32], (q[i] + offset) & 3, i / 32 % 4 * 2);
}

/* Four low bits of 256 values, in pairs of groups of 32: Q4_K, Q5_K. */
static void pack_4bits(const int8_t q[256], uint8_t qs[128])
{
    for (int i = 0; i < 256; i++) put_bits(&qs[i / 64 * 32 + i % 32], q[i] & 15, i / 32 % 2 * 4);
}

/* Eight scales and minima of six bits; see moe__scale_min(). */
static void pack_scale_min(const moe__unpacked256 *u, uint8_t s[12])
{
    for (int g = 0; g < 4; g++) {
        put_bits(&s[g], u->scale[2 * g], 0);
        put_bits(&s[g + 4], u->min[2 * g], 0);
        put_bits(&s[g], u->scale[2 * (g + 4)] >> 4, 6);
        put_bits(&s[g + 4], u->min[2 * (g + 4)] >> 4, 6);
        put_bits(&s[g + 8], u->scale[2 * (g + 4)] & 15, 0);
        put_bits(&s[g + 8], u->min[2 * (g + 4)] & 15, 4);
    }
}

static void pack_q2_k(const moe__unpacked256 *u, moe__q2_k *b)
{
    b->d = moe__to_le_f16(u->d);
    b->dmin = moe__to_le_f16(u->dmin);
    for (int g = 0; g < 16; g++) b->scales[g] = (uint8_t)(u->scale[g] | u->min[g] << 4);
    pack_2bits(u->q, 0, b->qs);
}

static void pack_q3_k(const moe__unpacked256 *u, moe__q3_k *b)
{
    b->d = moe__to_le_f16(u->d);
    for (int g = 0; g < 16; g++) {
        const int scale = u->scale[g] + 32;
        put_bits(&b->scales[g % 8], scale & 15, g / 8 * 4);
        put_bits(&b->scales[8 + g % 4], scale >> 4, g / 4 * 2);
    }
    pack_2bits(u->q, 4, b->qs);
    for (int i = 0; i < 256; i++) put_bits(&b->hmask[i % 32], (u->q[i] + 4) >> 2, i / 32);
}

static void pack_q4_k(const moe__unpacked256 *u, moe__q4_k *b)
{
    b->d = moe__to_le_f16(u->d);
    b->dmin = moe__to_le_f16(u->dmin);
    pack_scale_min(u, b->scales);
    pack_4bits(u->q, b->qs);
}

static void pack_q5_k(const moe__unpacked256 *u, moe__q5_k *b)
{
    b->d = moe__to_le_f16(u->d);
    b->dmin = moe__to_le_f16(u->dmin);
    pack_scale_min(u, b->scales);
    pack_4bits(u->q, b->qs);
    for (int i = 0; i < 256; i++) put_bits(&b->qh[i % 32], u->q[i] >> 4, i / 32);
}

static void pack_q6_k(const moe__unpacked256 *u, moe__q6_k *b)
{
    b->d = moe__to_le_f16(u->d);
    memcpy(b->scales, u->scale, sizeof b->scales);
    for (int i = 0; i < 256; i++) {
        const int q = u->q[i] + 32;
        put_bits(&b->ql[i / 128 * 64 + i % 64], q & 15, i / 64 % 2 * 4);
        put_bits(&b->qh[i / 128 * 32 + i % 32], q >> 4, i / 32 % 4 * 2);
    }
}

QUANTIZE_256(q2_k, {.q = {0, 3, NULL}, .group = 16, .scale_lo = 0, .scale_hi = 15, .min_hi = 15})
QUANTIZE_256(q3_k, {.q = {-4, 3, NULL}, .group = 16, .scale_lo = -32, .scale_hi = 31, .min_hi = 0})
QUANTIZE_256(q4_k, {.q = {0, 15, NULL}, .group = 32, .scale_lo = 0, .scale_hi = 63, .min_hi = 63})
QUANTIZE_256(q5_k, {.q = {0, 31, NULL}, .group = 32, .scale_lo = 0, .scale_hi = 63, .min_hi = 63})
QUANTIZE_256(q6_k, {.q = {-32, 31, NULL}, .group = 16, .scale_lo = -128, .scale_hi = 127, .min_hi = 0})
