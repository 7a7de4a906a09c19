/* SPDX-License-Identifier: MIT */
/* Rows of activations to int8 blocks; ref/act.c is the definition, its three cases (tiny, usable, not finite)
 * included. */

/* d of a block whose largest |x| has the bits amax, and the factor to quantise with: 0 where all q are 0. */
static inline float act_scale(uint32_t amax, float *inv)
{
    const float m = moe__f32_from_bits(amax);
    *inv = 0.0f;
    if (amax < 0x04000000u) return 0.0f;                             /* 2^-119 */
    if (amax >= 0x7f800000u) return moe__f32_from_bits(0x7fc00000u); /* infinite or NaN */
    *inv = 127.0f / m;
    return m / 127.0f;
}

/* 16 values rounded to bytes. */
static inline b16 act_round(const float *x, v16 inv)
{
    const v16 magic = v16_set1(MOE_EXP_MAGIC);
    return v16_low_bytes(v16_add(v16_mul(v16_load(x), inv), magic), 0x4b400000);
}

void MOE_FN(act_q8_32)(void *dst, const float *x, size_t n)
{
    moe__act32 *b = dst;
    for (; n >= 32; n -= 32, x += 32, b++) {
        float inv;
        b->d = act_scale(
            v16_maxima_top(v16_absmax(v16_absmax(v16_maxima_zero(), v16_load(x)), v16_load(x + 16))), &inv);
        b16 q0 = b16_zero(), q1 = b16_zero();
        if (inv != 0.0f) {
            q0 = act_round(x, v16_set1(inv));
            q1 = act_round(x + 16, v16_set1(inv));
        }
        b16_store(b->q, q0);
        b16_store(b->q + 16, q1);
        b->sum = b16_sum(q0) + b16_sum(q1);
    }
}

void MOE_FN(act_q8_256)(void *dst, const float *x, size_t n)
{
    moe__act256 *b = dst;
    for (; n >= 256; n -= 256, x += 256, b++) {
        v16_maxima m = v16_maxima_zero();
        float inv;
        for (int i = 0; i < 256; i += 16) m = v16_absmax(m, v16_load(x + i));
        b->d = act_scale(v16_maxima_top(m), &inv);
        if (inv == 0.0f) {
            memset(b->q, 0, sizeof b->q);
            memset(b->sum16, 0, sizeof b->sum16);
            continue;
        }
        for (int j = 0; j < 16; j++) {
            const b16 q = act_round(x + 16 * j, v16_set1(inv));
            b16_store(b->q + 16 * j, q);
            b->sum16[j] = (int16_t)b16_sum(q);
        }
    }
}
