/* SPDX-License-Identifier: MIT */
/*
 * Sixteen floats in two AVX2 registers, with the operations that kernel/body/ is written in. Lane i of the
 * canonical sixteen partial sums is lane i here, so that the first step of the fixed tree (i and i + 8) is
 * one addition. A name ending in _n takes a count k < 16: lanes from k on are not touched in memory and read
 * as zero.
 */
#ifndef MOE_KERNEL_X86_VEC_AVX2_H
#define MOE_KERNEL_X86_VEC_AVX2_H

#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "vec_avx2.h needs -mavx2 -mfma -mf16c"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Register tiles of a float matrix product: rows by up to so many columns, rows with a single one. An
 * accumulator is two registers. */
#define V16_ROWS     2
#define V16_COLS     3
#define V16_FEW_ROWS 4
/* Register tiles of attention: queries by tiles of keys, rows by vectors of values. */
#define V16_Q 2
#define V16_T 2
#define V16_W 2

typedef struct v16 {
    __m256 a, b;
} v16;

static inline v16 v16_make(__m256 a, __m256 b)
{
    v16 v;
    v.a = a;
    v.b = b;
    return v;
}

/* One register of a v16, which has V16_REGS of them. */
#define V16_REGS 2
typedef __m256 vreg;
static inline vreg vreg_zero(void) { return _mm256_setzero_ps(); }
static inline vreg vreg_load(const void *p) { return _mm256_loadu_ps(p); }
/* Loaded once and used more than once: gcc 12 would rather load again. */
static inline vreg vreg_once(const void *p)
{
    vreg v = vreg_load(p);
    __asm__("" : "+x"(v));
    return v;
}
static inline void vreg_store(float *p, vreg v) { _mm256_storeu_ps(p, v); }
static inline vreg vreg_fma(vreg x, vreg y, vreg z) { return _mm256_fmadd_ps(x, y, z); }
static inline v16 v16_of(const vreg *r) { return v16_make(r[0], r[1]); }

static inline v16 v16_set1(float x) { return v16_make(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
static inline v16 v16_zero(void) { return v16_make(_mm256_setzero_ps(), _mm256_setzero_ps()); }
static inline v16 v16_load(const void *p)
{
    return v16_make(_mm256_loadu_ps((const float *)p), _mm256_loadu_ps((const float *)p + 8));
}
static inline void v16_store(float *p, v16 v)
{
    _mm256_storeu_ps(p, v.a);
    _mm256_storeu_ps(p + 8, v.b);
}
static inline v16 v16_add(v16 x, v16 y) { return v16_make(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
static inline v16 v16_sub(v16 x, v16 y) { return v16_make(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
static inline v16 v16_mul(v16 x, v16 y) { return v16_make(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
static inline v16 v16_div(v16 x, v16 y) { return v16_make(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
/* x > y ? x : y and x < y ? x : y, so y where one is NaN */
static inline v16 v16_max(v16 x, v16 y) { return v16_make(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
static inline v16 v16_min(v16 x, v16 y) { return v16_make(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
/* x y + z, x y - z, z - x y */
static inline v16 v16_fma(v16 x, v16 y, v16 z)
{
    return v16_make(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b));
}
static inline v16 v16_fms(v16 x, v16 y, v16 z)
{
    return v16_make(_mm256_fmsub_ps(x.a, y.a, z.a), _mm256_fmsub_ps(x.b, y.b, z.b));
}
static inline v16 v16_neg(v16 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return v16_make(_mm256_xor_ps(x.a, sign), _mm256_xor_ps(x.b, sign));
}

/* All ones in 32-bit lanes below k. */
static inline __m256i v16_mask8(size_t k)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(k < 8 ? k : 8)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline v16 v16_load_n(const void *p, size_t k)
{
    const float *f = p;
    if (k <= 8) return v16_make(_mm256_maskload_ps(f, v16_mask8(k)), _mm256_setzero_ps());
    return v16_make(_mm256_loadu_ps(f), _mm256_maskload_ps(f + 8, v16_mask8(k - 8)));
}
static inline void v16_store_n(float *p, v16 v, size_t k)
{
    if (k <= 8) {
        _mm256_maskstore_ps(p, v16_mask8(k), v.a);
        return;
    }
    _mm256_storeu_ps(p, v.a);
    _mm256_maskstore_ps(p + 8, v16_mask8(k - 8), v.b);
}
/* Lanes below k of x, the others of y. */
static inline v16 v16_pick_n(v16 x, v16 y, size_t k)
{
    const __m256i m0 = v16_mask8(k), m1 = v16_mask8(k > 8 ? k - 8 : 0);
    return v16_make(_mm256_blendv_ps(y.a, x.a, _mm256_castsi256_ps(m0)),
                    _mm256_blendv_ps(y.b, x.b, _mm256_castsi256_ps(m1)));
}

static inline vreg vreg_load_f16(const void *p)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
static inline vreg vreg_load_bf16(const void *p)
{
    const __m256i v = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}
static inline v16 v16_load_f16(const void *p)
{
    return v16_make(vreg_load_f16(p), vreg_load_f16((const __m128i *)p + 1));
}
static inline v16 v16_load_bf16(const void *p)
{
    return v16_make(vreg_load_bf16(p), vreg_load_bf16((const __m128i *)p + 1));
}
static inline v16 v16_load_f16_n(const void *p, size_t k)
{
    uint16_t t[16] = {0};
    memcpy(t, p, 2 * k);
    return v16_load_f16(t);
}
static inline v16 v16_load_bf16_n(const void *p, size_t k)
{
    uint16_t t[16] = {0};
    memcpy(t, p, 2 * k);
    return v16_load_bf16(t);
}
/* Nearest, ties to even. */
static inline void v16_store_f16(uint16_t *p, v16 v)
{
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(v.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((__m128i *)p + 1, _mm256_cvtps_ph(v.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void v16_store_f16_n(uint16_t *p, v16 v, size_t k)
{
    uint16_t t[16];
    v16_store_f16(t, v);
    memcpy(p, t, 2 * k);
}

/* p 2^n, where t = n + 1.5 * 2^23 is an integer stored as its own low bits (see moe__exp1). */
static inline __m256 v16_scale_half(__m256 p, __m256 t)
{
    const __m256i i = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(0x4b400000));
    const __m256i h = _mm256_srai_epi32(i, 1), bias = _mm256_set1_epi32(127);
    const __m256i s0 = _mm256_slli_epi32(_mm256_add_epi32(h, bias), 23);
    const __m256i s1 = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(i, h), bias), 23);
    return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(s0)), _mm256_castsi256_ps(s1));
}
static inline v16 v16_scale2(v16 p, v16 t, v16 n)
{
    (void)n;
    return v16_make(v16_scale_half(p.a, t.a), v16_scale_half(p.b, t.b));
}

/* x where p is not zero, else zero; whether no lane of two vectors is zero. */
static inline v16 v16_where(v16 x, v16 p)
{
    const __m256 z = _mm256_setzero_ps();
    return v16_make(_mm256_and_ps(x.a, _mm256_cmp_ps(p.a, z, _CMP_NEQ_UQ)),
                    _mm256_and_ps(x.b, _mm256_cmp_ps(p.b, z, _CMP_NEQ_UQ)));
}
static inline int v16_none_zero(v16 p, v16 q)
{
    const __m256 z = _mm256_setzero_ps();
    const __m256 a = _mm256_or_ps(_mm256_cmp_ps(p.a, z, _CMP_EQ_OQ), _mm256_cmp_ps(p.b, z, _CMP_EQ_OQ)),
                 b = _mm256_or_ps(_mm256_cmp_ps(q.a, z, _CMP_EQ_OQ), _mm256_cmp_ps(q.b, z, _CMP_EQ_OQ));
    return _mm256_movemask_ps(_mm256_or_ps(a, b)) == 0;
}

/* Even and odd elements of the 32 that x and y hold one after the other, in order; and back. */
static inline __m256 v16_even8(__m256 x, __m256 y)
{
    const __m256d t = _mm256_castps_pd(_mm256_shuffle_ps(x, y, 0x88));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(t, 0xd8));
}
static inline __m256 v16_odd8(__m256 x, __m256 y)
{
    const __m256d t = _mm256_castps_pd(_mm256_shuffle_ps(x, y, 0xdd));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(t, 0xd8));
}
static inline v16 v16_even(v16 x, v16 y) { return v16_make(v16_even8(x.a, x.b), v16_even8(y.a, y.b)); }
static inline v16 v16_odd(v16 x, v16 y) { return v16_make(v16_odd8(x.a, x.b), v16_odd8(y.a, y.b)); }
static inline v16 v16_zip8(__m256 e, __m256 o)
{
    const __m256 lo = _mm256_unpacklo_ps(e, o), hi = _mm256_unpackhi_ps(e, o);
    return v16_make(_mm256_permute2f128_ps(lo, hi, 0x20), _mm256_permute2f128_ps(lo, hi, 0x31));
}
static inline v16 v16_zip_lo(v16 e, v16 o) { return v16_zip8(e.a, o.a); }
static inline v16 v16_zip_hi(v16 e, v16 o) { return v16_zip8(e.b, o.b); }

/* The first two steps of the tree: lanes i and i + 8, then i and i + 4. */
static inline __m128 v16_fold4(v16 v)
{
    const __m256 s = _mm256_add_ps(v.a, v.b);
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
static inline v16 v16_max_of(v16 v) /* the largest lane in lane 0; no NaN inside */
{
    const __m256 s = _mm256_max_ps(v.a, v.b);
    __m128 t = _mm_max_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
    t = _mm_max_ps(t, _mm_movehl_ps(t, t));
    t = _mm_max_ss(t, _mm_shuffle_ps(t, t, 1));
    return v16_make(_mm256_castps128_ps256(t), _mm256_setzero_ps());
}
static inline float v16_first(v16 v) { return _mm_cvtss_f32(_mm256_castps256_ps128(v.a)); }

/* Sixteen lanes of integers. */
typedef struct v16i {
    __m256i a, b;
} v16i;
static inline v16i v16i_make(__m256i a, __m256i b)
{
    v16i v;
    v.a = a;
    v.b = b;
    return v;
}
static inline v16i v16i_zero(void) { return v16i_make(_mm256_setzero_si256(), _mm256_setzero_si256()); }
static inline v16i v16i_max(v16i x, v16i y)
{
    return v16i_make(_mm256_max_epu32(x.a, y.a), _mm256_max_epu32(x.b, y.b));
}
static inline v16i v16i_add(v16i x, v16i y)
{
    return v16i_make(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}
static inline v16i v16i_bits(v16 x) { return v16i_make(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b)); }
static inline v16i v16i_abs_bits(v16 x)
{
    const __m256i mask = _mm256_set1_epi32(0x7fffffff);
    return v16i_make(_mm256_and_si256(_mm256_castps_si256(x.a), mask),
                     _mm256_and_si256(_mm256_castps_si256(x.b), mask));
}
#define V16I_FOLD8(op, x) op((x).a, (x).b)
/* Low bytes of the bits of 16 floats (values -128 .. 127 as integers after a bias was added). */
static inline __m128i v16_low_bytes(v16 t, int32_t bias)
{
    const __m256i z = _mm256_set1_epi32(bias);
    const __m256i a = _mm256_sub_epi32(_mm256_castps_si256(t.a), z),
                  b = _mm256_sub_epi32(_mm256_castps_si256(t.b), z);
    const __m256i p = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(p), _mm256_extracti128_si256(p, 1));
}
/* The low bytes of 32 lanes, in order. */
static inline __m256i v16_low_bytes2(v16 x, v16 y)
{
    const __m256i mask = _mm256_set1_epi32(255);
#define LOW(v) _mm256_and_si256(_mm256_castps_si256(v), mask)
    const __m256i p = _mm256_packus_epi16(_mm256_packus_epi32(LOW(x.a), LOW(x.b)), _mm256_packus_epi32(LOW(y.a), LOW(y.b)));
#undef LOW
    return _mm256_permutevar8x32_epi32(p, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

#endif
