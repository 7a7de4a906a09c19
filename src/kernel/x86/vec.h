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
#error "MOE_VEC must be 256 or 512: see src/kernel/x86/levels.txt"
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

/* s[i] = the sum of the i-th of n vectors; n is even, and s has room for one or two more. */
ALWAYS_INLINE void v16_sums(float *s, const v16 *v, const size_t n)
{
    size_t i = 0;
#if MOE_VEC == 512
#pragma GCC unroll 4
    for (; i + 16 <= n; i += 16) v16_store(s + i, v16_sum16(v + i));
    if (i + 8 <= n) {
        _mm256_storeu_ps(s + i, v16_sum8(v + i));
        i += 8;
    }
#endif
#pragma GCC unroll 8
    for (; i + 4 <= n; i += 4) v4_store(s + i, v16_sum4(v[i], v[i + 1], v[i + 2], v[i + 3]));
    if (i < n) v4_store(s + i, v16_sum4(v[i], v[i + 1], v[i], v[i + 1]));
}

/* Bits of |x|: maxima of several vectors (v16_absmax), then the largest of them. */
typedef v16i v16_maxima;
static inline v16_maxima v16_maxima_zero(void) { return v16i_zero(); }
static inline v16_maxima v16_absmax(v16_maxima m, v16 x) { return v16i_max(m, v16i_abs_bits(x)); }
static inline uint32_t v16_maxima_top(v16_maxima m)
{
    const __m256i h = V16I_FOLD8(_mm256_max_epu32, m);
    __m128i t = _mm_max_epu32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0x4e));
    t = _mm_max_epu32(t, _mm_shuffle_epi32(t, 0xb1));
    return (uint32_t)_mm_cvtsi128_si32(t);
}

/* Eight vectors to one: lane i has all lanes of the i-th, combined by op. */
#define V16I_EIGHT(name, op) \
    static inline __m256i name(const v16i m[8]) \
    { \
        __m256i h[8], q[4]; \
        for (int i = 0; i < 8; i++) h[i] = V16I_FOLD8(op, m[i]); \
        for (int i = 0; i < 4; i++) \
            q[i] = op(_mm256_unpacklo_epi32(h[2 * i], h[2 * i + 1]), _mm256_unpackhi_epi32(h[2 * i], h[2 * i + 1])); \
        const __m256i lo = op(_mm256_unpacklo_epi64(q[0], q[1]), _mm256_unpackhi_epi64(q[0], q[1])), \
                      hi = op(_mm256_unpacklo_epi64(q[2], q[3]), _mm256_unpackhi_epi64(q[2], q[3])); \
        return op(_mm256_permute2x128_si256(lo, hi, 0x20), _mm256_permute2x128_si256(lo, hi, 0x31)); \
    }
V16I_EIGHT(v16_tops8, _mm256_max_epu32)
V16I_EIGHT(v16_sums8, _mm256_add_epi32)

/* Scales of eight blocks from the maxima of each: act_scale of body/act.inl for all at once. */
static inline void v16_act_scales(const v16_maxima m[8], float *d, float *inv)
{
    const __m256i amax = v16_tops8(m);
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

/* What is left of rounded values (bits of x + 1.5 * 2^23): bytes of two vectors, sums of eight blocks of two. */
static inline void v16_store_bytes(int8_t *dst, v16 t0, v16 t1)
{
    _mm256_storeu_si256((__m256i *)dst, v16_low_bytes2(t0, t1));
}
static inline void v16_act_sums(const v16i t[8], int32_t *sum)
{
    _mm256_storeu_si256((__m256i *)sum, _mm256_sub_epi32(v16_sums8(t), _mm256_set1_epi32((int)(32u * 0x4b400000u))));
}

/*
 * Two blocks of two vectors rounded by MOE_EXP_MAGIC: their bytes are stored; of four such pairs the sums of the
 * eight blocks' bytes. The two may be the same.
 */
#if MOE_VEC == 512
typedef __m512i v16_pair; /* sums of four bytes, in the upper half those of the second block */
static inline v16_pair v16_int8_pair(int8_t *p, int8_t *q, v16 p0, v16 p1, v16 q0, v16 q1)
{
#define INT(t) _mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(0x4b400000))
    const __m512i b = _mm512_packs_epi16(_mm512_packs_epi32(INT(p0), INT(p1)), _mm512_packs_epi32(INT(q0), INT(q1)));
#undef INT
    const __m512i x =
        _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), b);
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_castsi512_si256(x));
    _mm256_storeu_si256((__m256i *)(void *)q, _mm512_extracti64x4_epi64(x, 1));
    return _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_set1_epi8(1), x), _mm512_set1_epi16(1));
}
static inline void v16_pair_sums(const v16_pair x[4], int32_t sum[8])
{
    const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(x[0], x[1]), _mm512_unpackhi_epi32(x[0], x[1])),
                  cd = _mm512_add_epi32(_mm512_unpacklo_epi32(x[2], x[3]), _mm512_unpackhi_epi32(x[2], x[3]));
    /* in each quarter a part of the sums of blocks 0 2 4 6, or (upper half) 1 3 5 7 */
    const __m512i s = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    const __m512i r = _mm512_add_epi32(s, _mm512_shuffle_i32x4(s, s, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 0, 0, 0, 0, 0, 0, 0, 0);
    _mm256_storeu_si256((__m256i *)(void *)sum, _mm512_castsi512_si256(_mm512_permutexvar_epi32(order, r)));
}
#else
typedef struct v16_pair {
    v16i p, q;
} v16_pair;
static inline v16_pair v16_int8_pair(int8_t *p, int8_t *q, v16 p0, v16 p1, v16 q0, v16 q1)
{
    v16_pair x;
    x.p = v16i_add(v16i_bits(p0), v16i_bits(p1));
    x.q = v16i_add(v16i_bits(q0), v16i_bits(q1));
    v16_store_bytes(p, p0, p1);
    v16_store_bytes(q, q0, q1);
    return x;
}
static inline void v16_pair_sums(const v16_pair x[4], int32_t sum[8])
{
    const v16i t[8] = {x[0].p, x[0].q, x[1].p, x[1].q, x[2].p, x[2].q, x[3].p, x[3].q};
    v16_act_sums(t, sum);
}
#endif

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

#include "kernel/body/exp.inl"

#endif
