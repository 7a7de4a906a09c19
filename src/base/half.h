/* SPDX-License-Identifier: MIT */
/* IEEE half and bfloat16 to and from f32, in plain integer arithmetic: the definition every SIMD version must match. */
#ifndef MOE_BASE_HALF_H
#define MOE_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t moe__f32_bits(float x) { uint32_t u; memcpy(&u, &x, sizeof u); return u; }
static inline float moe__f32_from_bits(uint32_t u) { float x; memcpy(&x, &u, sizeof x); return x; }

static inline float moe__f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exp = (h >> 10) & 0x1fu;
    const uint32_t man = h & 0x3ffu;
    if (exp == 0) { /* zero and subnormals: man * 2^-24, exact in f32 */
        const float x = (float)man * 5.9604644775390625e-8f;
        return moe__f32_from_bits(sign | moe__f32_bits(x));
    }
    if (exp == 31) return moe__f32_from_bits(sign | 0x7f800000u | man << 13 | (man ? 0x400000u : 0)); /* quiet NaN, as F16C */
    return moe__f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}

/* Nearest, ties to even; overflow to infinity; NaN stays NaN (payload truncated, quiet), as F16C. */
static inline uint16_t moe__f32_to_f16(float x)
{
    const uint32_t u = moe__f32_bits(x);
    const uint16_t sign = (uint16_t)(u >> 16 & 0x8000u);
    const uint32_t a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 65536 or more */
    if (a < 0x38800000u) { /* subnormal half: let f32 addition round at 2^-24 */
        const float y = moe__f32_from_bits(a) + 0.5f;
        return (uint16_t)(sign | (moe__f32_bits(y) - 0x3f000000u));
    }
    const uint32_t odd = a >> 13 & 1u;
    return (uint16_t)(sign | ((a - 0x38000000u + 0xfffu + odd) >> 13));
}

static inline float moe__bf16_to_f32(uint16_t h) { return moe__f32_from_bits((uint32_t)h << 16); }

static inline uint16_t moe__f32_to_bf16(float x)
{
    const uint32_t u = moe__f32_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

#endif
