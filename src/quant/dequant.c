/* SPDX-License-Identifier: MIT */
/*
 * Blocks to f32: the definition of every type's values. The order of the roundings is that of the gguf
 * Python package, so results equal its to the bit: (d * scale) first, then * q, then - (dmin * min) or + m;
 * no fma.
 */
#include "quant/dequant.h"

#include <string.h>

#include "quant/unpack.h"

void moe__dequant_f32(const void *src, float *dst, size_t n)
{
    if (n > 0) memcpy(dst, src, n * sizeof *dst);
}

void moe__dequant_f16(const void *src, float *dst, size_t n)
{
    const moe__u16le *x = src;
    for (size_t i = 0; i < n; i++) dst[i] = moe__le_f16(x[i]);
}

void moe__dequant_bf16(const void *src, float *dst, size_t n)
{
    const moe__u16le *x = src;
    for (size_t i = 0; i < n; i++) dst[i] = moe__bf16_to_f32(moe__le16(x[i]));
}

/* A zero minimum is not added: -0 stays -0. */
#define DEQUANT_32(name, has_min) \
    void moe__dequant_##name(const void *src, float *dst, size_t n) \
    { \
        const moe__##name *b = src; \
        moe__unpacked32 u; \
        for (size_t i = 0; i < n; i += 32) { \
            moe__unpack_##name(b++, &u); \
            for (size_t j = 0; j < 32; j++) { \
                const float x = u.d * (float)u.q[j]; \
                dst[i + j] = has_min ? x + u.m : x; \
            } \
        } \
    }

#define DEQUANT_256(name, has_min) \
    void moe__dequant_##name(const void *src, float *dst, size_t n) \
    { \
        const moe__##name *b = src; \
        moe__unpacked256 u; \
        for (size_t i = 0; i < n; i += 256) { \
            moe__unpack_##name(b++, &u); \
            for (size_t j = 0; j < 256; j++) { \
                const float x = u.d * (float)u.scale[j / 16] * (float)u.q[j]; \
                dst[i + j] = has_min ? x - u.dmin * (float)u.min[j / 16] : x; \
            } \
        } \
    }

DEQUANT_32(q4_0, 0)
DEQUANT_32(q4_1, 1)
DEQUANT_32(q5_0, 0)
DEQUANT_32(q5_1, 1)
DEQUANT_32(q8_0, 0)
DEQUANT_32(iq4_nl, 0)
DEQUANT_32(mxfp4, 0)
DEQUANT_256(q2_k, 1)
DEQUANT_256(q3_k, 0)
DEQUANT_256(q4_k, 1)
DEQUANT_256(q5_k, 1)
DEQUANT_256(q6_k, 0)
DEQUANT_256(iq4_xs, 0)
