/* SPDX-License-Identifier: MIT */
/*
 * The vectors of the level that a file is being compiled for (-DMOE_ISA=<level>, -DMOE_VEC=<bits>), and what
 * is made from them once for all levels. The lanes of ref/lanes.h are the definition; everything here does
 * the same operations per element.
 */
#ifndef MOE_KERNEL_X86_VEC_H
#define MOE_KERNEL_X86_VEC_H

#if MOE_VEC == 512
#include "kernel/x86/vec_avx512.h"
#elif MOE_VEC == 256
#include "kernel/x86/vec_avx2.h"
#else
#error "MOE_VEC must be 256 or 512: see src/kernel/x86/meson.build"
#endif

#include "kernel/ref/lanes.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The end of the tree for one vector. */
static inline float v16_sum(v16 v)
{
    __m128 s = v16_fold4(v);
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* Four floats. */
typedef __m128 v4;
static inline void v4_store(float *p, v4 v) { _mm_storeu_ps(p, v); }

/* The sums of four vectors at once: lane i is the sum of the i-th. */
static inline v4 v16_sum4(v16 a, v16 b, v16 c, v16 d)
{
    const __m128 fa = v16_fold4(a), fb = v16_fold4(b), fc = v16_fold4(c), fd = v16_fold4(d);
    const __m128 ab = _mm_add_ps(_mm_movelh_ps(fa, fb), _mm_movehl_ps(fb, fa)); /* a0+a2 a1+a3 b0+b2 b1+b3 */
    const __m128 cd = _mm_add_ps(_mm_movelh_ps(fc, fd), _mm_movehl_ps(fd, fc));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd));
}

/* Bits of |x|: maxima of several vectors (v16_absmax), then the largest of them. */
typedef __m256i v16_maxima;
static inline v16_maxima v16_maxima_zero(void) { return _mm256_setzero_si256(); }
static inline uint32_t v16_maxima_top(v16_maxima m)
{
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

/* Scales of eight blocks from the maxima of each: act_scale of body/act.inl for all at once. */
static inline void v16_act_scales(const v16_maxima m[8], float *d, float *inv)
{
#define MAX2(x, y) _mm256_max_epu32(_mm256_unpacklo_epi32(x, y), _mm256_unpackhi_epi32(x, y))
#define MAX4(x, y) _mm256_max_epu32(_mm256_unpacklo_epi64(x, y), _mm256_unpackhi_epi64(x, y))
    const __m256i lo = MAX4(MAX2(m[0], m[1]), MAX2(m[2], m[3])), hi = MAX4(MAX2(m[4], m[5]), MAX2(m[6], m[7]));
#undef MAX2
#undef MAX4
    const __m256i amax =
        _mm256_max_epu32(_mm256_permute2x128_si256(lo, hi, 0x20), _mm256_permute2x128_si256(lo, hi, 0x31));
    /* bits of |x| are below 2^31: signed comparison will do */
    const __m256i ok = _mm256_cmpgt_epi32(amax, _mm256_set1_epi32(0x04000000 - 1));
    const __m256i bad = _mm256_cmpgt_epi32(amax, _mm256_set1_epi32(0x7f800000 - 1));
    const __m256 top = _mm256_castsi256_ps(amax), c = _mm256_set1_ps(127.0f);
    const __m256i q = _mm256_and_si256(_mm256_castps_si256(_mm256_div_ps(top, c)), ok);
    const __m256i r = _mm256_and_si256(_mm256_castps_si256(_mm256_div_ps(c, top)), ok);
    const __m256 nan = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fc00000));
    _mm256_storeu_ps(d, _mm256_blendv_ps(_mm256_castsi256_ps(q), nan, _mm256_castsi256_ps(bad)));
    _mm256_storeu_ps(inv, _mm256_castsi256_ps(_mm256_andnot_si256(bad, r)));
}

/* Sixteen signed bytes and their sum. */
typedef __m128i b16;
static inline b16 b16_zero(void) { return _mm_setzero_si128(); }
static inline void b16_store(int8_t *p, b16 q) { _mm_storeu_si128((__m128i *)p, q); }
static inline int b16_sum(b16 q)
{
    const __m128i s = _mm_madd_epi16(_mm_maddubs_epi16(_mm_set1_epi8(1), q), _mm_set1_epi16(1));
    const __m128i t = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

/* The sum of 32. */
static inline int b16_sum2(b16 p, b16 q)
{
    const __m128i one = _mm_set1_epi8(1);
    const __m128i s =
        _mm_madd_epi16(_mm_add_epi16(_mm_maddubs_epi16(one, p), _mm_maddubs_epi16(one, q)), _mm_set1_epi16(1));
    const __m128i t = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    return _mm_cvtsi128_si32(_mm_add_epi32(t, _mm_shuffle_epi32(t, 0xb1)));
}

#include "kernel/body/exp.inl"

#endif
