/* SPDX-License-Identifier: MIT */
/* Sixteen floats in one AVX-512 register: the same operations as vec_avx2.h, see there. */
#ifndef MOE_KERNEL_X86_VEC_AVX512_H
#define MOE_KERNEL_X86_VEC_AVX512_H

#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "vec_avx512.h needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Register tiles of a float matrix product: rows by up to so many columns, rows with a single one. */
#define V16_ROWS     4
#define V16_COLS     6
#define V16_FEW_ROWS 8
/* Register tiles of attention: queries by tiles of keys, rows by vectors of values. */
#define V16_Q 6
#define V16_T 4
#define V16_W 4

typedef __m512 v16;

/* One register of a v16, which has V16_REGS of them. */
#define V16_REGS 1
typedef __m512 vreg;
static inline vreg vreg_zero(void) { return _mm512_setzero_ps(); }
static inline vreg vreg_load(const void *p) { return _mm512_loadu_ps(p); }
static inline vreg vreg_once(const void *p) { return vreg_load(p); }
static inline void vreg_store(float *p, vreg v) { _mm512_storeu_ps(p, v); }
static inline vreg vreg_fma(vreg x, vreg y, vreg z) { return _mm512_fmadd_ps(x, y, z); }
static inline v16 v16_of(const vreg *r) { return r[0]; }

static inline v16 v16_set1(float x) { return _mm512_set1_ps(x); }
static inline v16 v16_zero(void) { return _mm512_setzero_ps(); }
static inline v16 v16_load(const void *p) { return _mm512_loadu_ps(p); }
static inline void v16_store(float *p, v16 v) { _mm512_storeu_ps(p, v); }
static inline v16 v16_add(v16 x, v16 y) { return _mm512_add_ps(x, y); }
static inline v16 v16_sub(v16 x, v16 y) { return _mm512_sub_ps(x, y); }
static inline v16 v16_mul(v16 x, v16 y) { return _mm512_mul_ps(x, y); }
static inline v16 v16_div(v16 x, v16 y) { return _mm512_div_ps(x, y); }
static inline v16 v16_max(v16 x, v16 y) { return _mm512_max_ps(x, y); }
static inline v16 v16_min(v16 x, v16 y) { return _mm512_min_ps(x, y); }
static inline v16 v16_fma(v16 x, v16 y, v16 z) { return _mm512_fmadd_ps(x, y, z); }
static inline v16 v16_fms(v16 x, v16 y, v16 z) { return _mm512_fmsub_ps(x, y, z); }
static inline v16 v16_neg(v16 x) { return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f)); }

static inline __mmask16 v16_mask(size_t k) { return (__mmask16)((1u << k) - 1u); }
static inline v16 v16_load_n(const void *p, size_t k) { return _mm512_maskz_loadu_ps(v16_mask(k), p); }
static inline void v16_store_n(float *p, v16 v, size_t k) { _mm512_mask_storeu_ps(p, v16_mask(k), v); }
static inline v16 v16_pick_n(v16 x, v16 y, size_t k) { return _mm512_mask_blend_ps(v16_mask(k), y, x); }

static inline v16 v16_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline v16 v16_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p)), 16));
}
static inline vreg vreg_load_f16(const void *p) { return v16_load_f16(p); }
static inline vreg vreg_load_bf16(const void *p) { return v16_load_bf16(p); }
static inline v16 v16_load_f16_n(const void *p, size_t k)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(v16_mask(k), p));
}
static inline v16 v16_load_bf16_n(const void *p, size_t k)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v16_mask(k), p)), 16));
}
static inline void v16_store_f16(uint16_t *p, v16 v)
{
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
static inline void v16_store_f16_n(uint16_t *p, v16 v, size_t k)
{
    _mm256_mask_storeu_epi16(p, v16_mask(k),
                             _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

static inline v16 v16_scale2(v16 p, v16 t, v16 n)
{
    (void)t;
    return _mm512_scalef_ps(p, n);
}

/* x where p is not zero, else zero; whether no lane of two vectors is zero. */
static inline v16 v16_where(v16 x, v16 p)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(p, _mm512_setzero_ps(), _CMP_NEQ_UQ), x);
}
static inline int v16_none_zero(v16 p, v16 q)
{
    const v16 z = _mm512_setzero_ps();
    return (_mm512_cmp_ps_mask(p, z, _CMP_EQ_OQ) | _mm512_cmp_ps_mask(q, z, _CMP_EQ_OQ)) == 0;
}

static inline v16 v16_even(v16 x, v16 y)
{
    return _mm512_permutex2var_ps(
        x, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), y);
}
static inline v16 v16_odd(v16 x, v16 y)
{
    return _mm512_permutex2var_ps(
        x, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), y);
}
static inline v16 v16_zip_lo(v16 e, v16 o)
{
    return _mm512_permutex2var_ps(
        e, _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), o);
}
static inline v16 v16_zip_hi(v16 e, v16 o)
{
    return _mm512_permutex2var_ps(
        e, _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31), o);
}

static inline __m128 v16_fold4(v16 v)
{
    const __m256 s = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
/* The tree for many vectors: a step makes one of two, with as many additions as one alone would take. */
static inline v16 v16_pair8(v16 a, v16 b) /* lanes i and i + 8: eight of a, eight of b */
{
    return _mm512_add_ps(_mm512_mask_blend_ps(0xff00, a, b), _mm512_shuffle_f32x4(a, b, 0x4e));
}
static inline v16 v16_pair4(v16 a, v16 b) /* i and i + 4 of eights: four of a, four of b ... */
{
    const __m512i other = _mm512_setr_epi32(4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27);
    return _mm512_add_ps(_mm512_mask_blend_ps(0xf0f0, a, b), _mm512_permutex2var_ps(a, other, b));
}
static inline v16 v16_pair2(v16 a, v16 b) /* i and i + 2 of fours: two of a, two of b ... */
{
    return _mm512_add_ps(_mm512_mask_blend_ps(0xcccc, a, b), _mm512_shuffle_ps(a, b, 0x4e));
}
static inline v16 v16_pair1(v16 a, v16 b) /* i and i + 1 of twos: two of a, two of b ... */
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
}
/* Lane i is the sum of the i-th of sixteen vectors. */
static inline v16 v16_sum16(const v16 *v)
{
    v16 h[8], q[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) h[i] = v16_pair8(v[i], v[i + 8]);
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) q[i] = v16_pair4(h[i], h[i + 4]);
    return v16_pair1(v16_pair2(q[0], q[1]), v16_pair2(q[2], q[3]));
}
/* The same of eight. */
static inline __m256 v16_sum8(const v16 *v)
{
    v16 h[4];
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) h[i] = v16_pair8(v[i], v[i + 4]);
    const v16 t = v16_pair2(v16_pair4(h[0], h[1]), v16_pair4(h[2], h[3]));
    const __m512i order = _mm512_setr_epi32(0, 4, 1, 5, 8, 12, 9, 13, 0, 4, 1, 5, 8, 12, 9, 13);
    return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, v16_pair1(t, t)));
}

static inline v16 v16_max_of(v16 v)
{
    v = _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0x4e));
    v = _mm512_max_ps(v, _mm512_shuffle_f32x4(v, v, 0xb1));
    v = _mm512_max_ps(v, _mm512_permute_ps(v, 0x4e));
    return _mm512_max_ps(v, _mm512_permute_ps(v, 0xb1));
}
static inline float v16_first(v16 v) { return _mm_cvtss_f32(_mm512_castps512_ps128(v)); }

/* Sixteen lanes of integers. */
typedef __m512i v16i;
static inline v16i v16i_zero(void) { return _mm512_setzero_si512(); }
static inline v16i v16i_max(v16i x, v16i y) { return _mm512_max_epu32(x, y); }
static inline v16i v16i_add(v16i x, v16i y) { return _mm512_add_epi32(x, y); }
static inline v16i v16i_bits(v16 x) { return _mm512_castps_si512(x); }
static inline v16i v16i_abs_bits(v16 x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
}
/* Two vectors brought to half, side by side. */
#define V16I_FOLD8(op, x) op(_mm512_castsi512_si256(x), _mm512_extracti32x8_epi32(x, 1))
/* The low bytes of 32 lanes, in order. */
static inline __m256i v16_low_bytes2(v16 x, v16 y)
{
    const __m512i pick = _mm512_set_epi16(62, 60, 58, 56, 54, 52, 50, 48, 46, 44, 42, 40, 38, 36, 34, 32, 30, 28, 26, 24,
                                          22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    return _mm512_cvtepi16_epi8(_mm512_permutex2var_epi16(_mm512_castps_si512(x), pick, _mm512_castps_si512(y)));
}
static inline __m128i v16_low_bytes(v16 t, int32_t bias)
{
    return _mm512_cvtepi32_epi8(_mm512_sub_epi32(_mm512_castps_si512(t), _mm512_set1_epi32(bias)));
}

#endif
