/* SPDX-License-Identifier: MIT */
/*
 * Rows of activations to int8 blocks. Per block: amax = the largest |x|; d = amax / 127, q = x * (127 /
 * amax) rounded to nearest, ties to even. amax is found by comparing the bits of |x| as integers, which
 * orders every number and puts infinities and NaN on top:
 *   amax < 2^-119           d = 0 and all q = 0 (127 / amax would overflow)
 *   any x infinite or NaN   d = NaN and all q = 0: every product with the block is NaN, nothing passes unseen
 */
#include "kernel/ref/lanes.h"

#define AMAX_TINY 0x04000000u /* 2^-119 */
#define AMAX_INF 0x7f800000u

/* Quantises n values of one block; returns d. */
static float int8_block(int8_t *q, const float *x, size_t n)
{
    uint32_t amax = 0;
    for (size_t i = 0; i < n; i++) {
        const uint32_t a = moe__f32_bits(x[i]) & 0x7fffffffu;
        amax = a > amax ? a : amax;
    }
    const int usable = amax >= AMAX_TINY && amax < AMAX_INF;
    const float m = moe__f32_from_bits(amax);
    const float inv = usable ? 127.0f / m : 0.0f;
    for (size_t i = 0; i < n; i++) {
        /* |x * inv| <= 127 (1 + 2^-23): adding 1.5 * 2^23 rounds it to an integer in the low bits */
        const float t = usable ? x[i] * inv + MOE_EXP_MAGIC : MOE_EXP_MAGIC;
        q[i] = (int8_t)(int32_t)(moe__f32_bits(t) - moe__f32_bits(MOE_EXP_MAGIC));
    }
    if (usable) return m / 127.0f;
    return amax < AMAX_TINY ? 0.0f : moe__f32_from_bits(0x7fc00000u);
}

void MOE_FN(act_q8_32)(void *dst, const float *x, size_t n)
{
    moe__act32 *b = dst;
    for (; n >= 32; n -= 32, x += 32, b++) {
        b->d = int8_block(b->q, x, 32);
        b->sum = 0;
        for (int i = 0; i < 32; i++) b->sum += b->q[i];
    }
}

void MOE_FN(act_q8_256)(void *dst, const float *x, size_t n)
{
    moe__act256 *b = dst;
    for (; n >= 256; n -= 256, x += 256, b++) {
        b->d = int8_block(b->q, x, 256);
        for (int j = 0; j < 16; j++) {
            int sum = 0;
            for (int i = 0; i < 16; i++) sum += b->q[16 * j + i];
            b->sum16[j] = (int16_t)sum;
        }
    }
}
