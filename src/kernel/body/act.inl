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

static inline uint32_t act_amax(__m256i m)
{
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

/* 16 values rounded to bytes. */
static inline __m128i act_round(const float *x, v16 inv)
{
    const v16 magic = v16_set1(MOE_EXP_MAGIC);
    return v16_low_bytes(v16_add(v16_mul(v16_load(x), inv), magic), 0x4b400000);
}

/* Sum of 16 signed bytes. */
static inline int act_sum16(__m128i q)
{
    const __m128i s = _mm_madd_epi16(_mm_maddubs_epi16(_mm_set1_epi8(1), q), _mm_set1_epi16(1));
    const __m128i t = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

void MOE_FN(act_q8_32)(void *dst, const float *x, size_t n)
{
    moe__act32 *b = dst;
    for (; n >= 32; n -= 32, x += 32, b++) {
        float inv;
        b->d = act_scale(
            act_amax(v16_absmax(v16_absmax(_mm256_setzero_si256(), v16_load(x)), v16_load(x + 16))), &inv);
        __m128i q0 = _mm_setzero_si128(), q1 = _mm_setzero_si128();
        if (inv != 0.0f) {
            q0 = act_round(x, v16_set1(inv));
            q1 = act_round(x + 16, v16_set1(inv));
        }
        _mm_storeu_si128((__m128i *)b->q, q0);
        _mm_storeu_si128((__m128i *)b->q + 1, q1);
        b->sum = act_sum16(q0) + act_sum16(q1);
    }
}

void MOE_FN(act_q8_256)(void *dst, const float *x, size_t n)
{
    moe__act256 *b = dst;
    for (; n >= 256; n -= 256, x += 256, b++) {
        __m256i m = _mm256_setzero_si256();
        float inv;
        for (int i = 0; i < 256; i += 16) m = v16_absmax(m, v16_load(x + i));
        b->d = act_scale(act_amax(m), &inv);
        if (inv == 0.0f) {
            memset(b->q, 0, sizeof b->q);
            memset(b->sum16, 0, sizeof b->sum16);
            continue;
        }
        for (int j = 0; j < 16; j++) {
            const __m128i q = act_round(x + 16 * j, v16_set1(inv));
            _mm_storeu_si128((__m128i *)b->q + j, q);
            b->sum16[j] = (int16_t)act_sum16(q);
        }
    }
}
