/* SPDX-License-Identifier: MIT */
/*
 * Encoders of the plain types and of the formats with blocks of 32. Q8_0 and MXFP4 are fixed rules (and
 * give the bytes of the gguf Python package); Q4_0, Q4_1, Q5_0, Q5_1 search (quantize_fit.c). What happens
 * to NaN and infinities: quantize.h.
 */
#include "quant/quantize.h"

#include <math.h>
#include <string.h>

#include "quant/quantize_fit.h"

void moe__quantize_f32(const float *src, void *dst, size_t n, const float *importance)
{
    (void)importance;
    if (n > 0) memcpy(dst, src, n * sizeof *src);
}

void moe__quantize_f16(const float *src, void *dst, size_t n, const float *importance)
{
    (void)importance;
    moe__u16le *y = dst;
    for (size_t i = 0; i < n; i++) y[i] = moe__to_le_f16(src[i]);
}

void moe__quantize_bf16(const float *src, void *dst, size_t n, const float *importance)
{
    (void)importance;
    moe__u16le *y = dst;
    for (size_t i = 0; i < n; i++) y[i] = moe__to_le16(moe__f32_to_bf16(src[i]));
}

/* Four low bits of element i and of element i + 16 share a byte. */
static void pack_nibbles(const int8_t q[32], int offset, uint8_t qs[16])
{
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(((q[i] + offset) & 15) | ((q[i + 16] + offset) & 15) << 4);
}

static void pack_fifth_bits(const int8_t q[32], int offset, uint8_t qh[4])
{
    memset(qh, 0, 4);
    for (int i = 0; i < 32; i++) qh[i / 8] = (uint8_t)(qh[i / 8] | ((q[i] + offset) >> 4 & 1) << i % 8);
}

void moe__quantize_q4_0(const float *src, void *dst, size_t n, const float *importance)
{
    static const moe__lattice g = {-8, 7, NULL};
    moe__q4_0 *b = dst;
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32], w[32], d;
        int8_t q[32];
        moe__fit_prepare(src + i, importance ? importance + i : NULL, 32, x, w);
        moe__fit_scale(&g, x, w, 32, &d, q);
        b->d = moe__to_le_f16(d);
        pack_nibbles(q, 8, b->qs);
    }
}

void moe__quantize_q4_1(const float *src, void *dst, size_t n, const float *importance)
{
    moe__q4_1 *b = dst;
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32], w[32], d, m;
        int8_t q[32];
        moe__fit_prepare(src + i, importance ? importance + i : NULL, 32, x, w);
        moe__fit_affine(15, x, w, 32, &d, &m, q);
        b->d = moe__to_le_f16(d);
        b->m = moe__to_le_f16(m);
        pack_nibbles(q, 0, b->qs);
    }
}

void moe__quantize_q5_0(const float *src, void *dst, size_t n, const float *importance)
{
    static const moe__lattice g = {-16, 15, NULL};
    moe__q5_0 *b = dst;
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32], w[32], d;
        int8_t q[32];
        moe__fit_prepare(src + i, importance ? importance + i : NULL, 32, x, w);
        moe__fit_scale(&g, x, w, 32, &d, q);
        b->d = moe__to_le_f16(d);
        pack_fifth_bits(q, 16, b->qh);
        pack_nibbles(q, 16, b->qs);
    }
}

void moe__quantize_q5_1(const float *src, void *dst, size_t n, const float *importance)
{
    moe__q5_1 *b = dst;
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32], w[32], d, m;
        int8_t q[32];
        moe__fit_prepare(src + i, importance ? importance + i : NULL, 32, x, w);
        moe__fit_affine(31, x, w, 32, &d, &m, q);
        b->d = moe__to_le_f16(d);
        b->m = moe__to_le_f16(m);
        pack_fifth_bits(q, 0, b->qh);
        pack_nibbles(q, 0, b->qs);
    }
}

/* Half away from zero; |t| < 2^22. */
static int round_away(float t)
{
    const int whole = (int)fabsf(t);
    const int r = whole + (fabsf(t) - (float)whole >= 0.5f);
    return t < 0.0f ? -r : r;
}

/* d = amax / 127, q = x / d rounded half away from zero, both before d is rounded to half. */
void moe__quantize_q8_0(const float *src, void *dst, size_t n, const float *importance)
{
    (void)importance;
    moe__q8_0 *b = dst;
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32], w[32];
        const float d = moe__fit_prepare(src + i, NULL, 32, x, w) / 127.0f;
        const float id = d > 1e-30f ? 1.0f / d : 0.0f;
        b->d = moe__to_le_f16(d);
        for (int j = 0; j < 32; j++) b->qs[j] = (int8_t)round_away(x[j] * id);
    }
}

/*
 * Index of the e2m1 value nearest to x / (2 half); the first of equally near ones, so ties go to the
 * smaller magnitude.
 */
static uint8_t nearest_fp4(float x, float half)
{
    uint8_t best = 0;
    float best_err = INFINITY;
    for (uint8_t k = 0; k < 16; k++) {
        const float err = fabsf(half * (float)moe__fp4_levels[k] - x);
        if (err < best_err) {
            best_err = err;
            best = k;
        }
    }
    return best;
}

/*
 * OCP MX 1.0, section 6.3: the shared exponent is floor(log2 amax) - 2 (2 = the largest exponent of e2m1),
 * elements saturate.
 */
void moe__quantize_mxfp4(const float *src, void *dst, size_t n, const float *importance)
{
    (void)importance;
    moe__mxfp4 *b = dst;
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32];
        uint32_t amax = 0;
        for (int j = 0; j < 32; j++) {
            const uint32_t u = moe__f32_bits(src[i + (size_t)j]), a = u & 0x7fffffffu;
            x[j] = a > 0x7f800000u ? 0.0f : a == 0x7f800000u ? moe__f32_from_bits(u - 1) : src[i + (size_t)j];
            const uint32_t used = moe__f32_bits(x[j]) & 0x7fffffffu;
            amax = used > amax ? used : amax;
        }
        const uint32_t exponent = amax >> 23; /* floor(log2 amax) + 127 of a normal number */
        b->e = exponent > 2 ? (uint8_t)(exponent - 2) : 0;
        const float half = moe__e8m0_half(b->e);
        for (int j = 0; j < 16; j++)
            b->qs[j] = (uint8_t)(nearest_fp4(x[j], half) | nearest_fp4(x[j + 16], half) << 4);
    }
}
