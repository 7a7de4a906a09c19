/* SPDX-License-Identifier: MIT */
/*
 * Integer vectors of the level that a file is being compiled for, for the matrix products with int8
 * activations: 8 or 16 lanes of 32 bits (VI_LANES). Two views of the same registers:
 *   - `vi`, all the lanes of the level: the tile kernels, one weight row per lane;
 *   - __m256i, at every level: the kernels for few columns of the 32-element formats.
 * Unsigned times signed bytes: with VNNI four products are added into 32 bits, exactly; without it pairs are
 * added into 16 bits, exact only as long as the sums stay below 2^15, which each kernel must see to (the
 * instruction saturates).
 */
#ifndef MOE_KERNEL_X86_VINT_H
#define MOE_KERNEL_X86_VINT_H

#include "kernel/x86/vec.h"

#if MOE_VNNI && MOE_VEC == 512 && !defined(__AVX512VNNI__)
#error "this level needs -mavx512vnni"
#endif
#if MOE_VNNI && MOE_VEC == 256 && !defined(__AVXVNNI__)
#error "this level needs -mavxvnni"
#endif

/* What bodies ask. */
#define VI_DOT     MOE_VNNI                 /* sums of four products at once, in 32 bits */
#define VI_PAIRS   !MOE_VNNI                /* else a part is two 16-bit sums that meet a scale each */
#define VI_FLIP    (MOE_VNNI ? 0x80 : 0)    /* what makes signed weights unsigned, by xor, where they must be */
#define VI_PLUS(n) (n)                      /* or by addition */
#define VI_COLS    (MOE_VEC == 512 ? 8 : 4) /* columns whose sums are in registers */
#define VI_COLS2   0                        /* sums of two columns together, 16 elements at a time */
#ifdef __x86_64__
#define VI_PAIR_ROWS (MOE_VNNI && MOE_VEC == 512) /* two vectors of rows at a time, see pair.inl: 32 registers */
#else
#define VI_PAIR_ROWS 0
#endif

typedef int32_t __attribute__((may_alias)) alias_i32;
typedef int32_t __attribute__((may_alias, aligned(1))) alias_i32_any;

#if MOE_VEC == 512

#define VI_LANES 16
typedef __m512i vi;
typedef __m512 vf;

static inline vi vi_zero(void) { return _mm512_setzero_si512(); }
static inline vi vi_set1_8(int x) { return _mm512_set1_epi8((char)x); }
static inline vi vi_set1_32(int x) { return _mm512_set1_epi32(x); }
static inline vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
static inline void vi_store(void *p, vi x) { _mm512_storeu_si512(p, x); }
static inline vi vi_and(vi x, vi y) { return _mm512_and_si512(x, y); }
static inline vi vi_or(vi x, vi y) { return _mm512_or_si512(x, y); }
static inline vi vi_xor(vi x, vi y) { return _mm512_xor_si512(x, y); }
static inline vi vi_add8(vi x, vi y) { return _mm512_add_epi8(x, y); }
static inline vi vi_add16(vi x, vi y) { return _mm512_add_epi16(x, y); }
static inline vi vi_add(vi x, vi y) { return _mm512_add_epi32(x, y); }
static inline vi vi_sub(vi x, vi y) { return _mm512_sub_epi32(x, y); }
static inline vi vi_mul(vi x, vi y) { return _mm512_mullo_epi32(x, y); }
static inline vi vi_madd16(vi x, vi y) { return _mm512_madd_epi16(x, y); }
static inline vi vi_maddubs(vi x, vi y) { return _mm512_maddubs_epi16(x, y); }
static inline vi vi_abs8(vi x) { return _mm512_abs_epi8(x); }
/* Bytes of x with the signs of w. */
static inline vi vi_sign8(vi x, vi w)
{
    return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(w), _mm512_setzero_si512(), x);
}
static inline vi vi_shuffle8(vi table, vi idx) { return _mm512_shuffle_epi8(table, idx); }
static inline vi vi_bcast128(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(p)); }
/* n is known after inlining */
static inline vi vi_srl(vi x, int n) { return _mm512_srl_epi32(x, _mm_cvtsi32_si128(n)); }
static inline vi vi_sll(vi x, int n) { return _mm512_sll_epi32(x, _mm_cvtsi32_si128(n)); }
static inline vi vi_sra(vi x, int n) { return _mm512_sra_epi32(x, _mm_cvtsi32_si128(n)); }
/* `val` in the bytes where every bit of `mask` is set in x, else 0. */
static inline vi vi_pick8(vi x, vi mask, vi val)
{
    return _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(x, mask), val);
}
static inline vi vi_bcast32(const void *p) { return _mm512_set1_epi32(*(const alias_i32 *)p); }

static inline vf vf_zero(void) { return _mm512_setzero_ps(); }
static inline vf vf_set1(float x) { return _mm512_set1_ps(x); }
static inline vf vf_mul(vf x, vf y) { return _mm512_mul_ps(x, y); }
static inline vf vf_add(vf x, vf y) { return _mm512_add_ps(x, y); }
static inline vf vf_sub(vf x, vf y) { return _mm512_sub_ps(x, y); }
static inline vf vf_fma(vf x, vf y, vf z) { return _mm512_fmadd_ps(x, y, z); }
static inline vf vf_from(vi x) { return _mm512_cvtepi32_ps(x); }
static inline vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
static inline void vf_store_n(float *p, vf x, size_t n)
{
    _mm512_mask_storeu_ps(p, (__mmask16)(n < 16 ? (1u << n) - 1u : 0xffffu), x);
}
/* 16 halves, or those in the low 16 bits of each lane. */
static inline vf vf_halves(const uint16_t *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
static inline vf vf_low_halves(vi x) { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(x)); }

/* Rows r, r + 4, r + 8, r + 12: 16 bytes of each. */
static inline vi vi_gather128(const uint8_t *const *row, size_t off)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(row[0] + off)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(row[4] + off)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(row[8] + off)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(row[12] + off)), 3);
}
#define VI_UNPACK(op, x, y) _mm512_unpack##op((x), (y))

#else

#define VI_LANES 8
typedef __m256i vi;
typedef __m256 vf;

static inline vi vi_zero(void) { return _mm256_setzero_si256(); }
static inline vi vi_set1_8(int x) { return _mm256_set1_epi8((char)x); }
static inline vi vi_set1_32(int x) { return _mm256_set1_epi32(x); }
static inline vi vi_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void vi_store(void *p, vi x) { _mm256_storeu_si256((__m256i *)p, x); }
static inline vi vi_and(vi x, vi y) { return _mm256_and_si256(x, y); }
static inline vi vi_or(vi x, vi y) { return _mm256_or_si256(x, y); }
static inline vi vi_xor(vi x, vi y) { return _mm256_xor_si256(x, y); }
static inline vi vi_add8(vi x, vi y) { return _mm256_add_epi8(x, y); }
static inline vi vi_add16(vi x, vi y) { return _mm256_add_epi16(x, y); }
static inline vi vi_add(vi x, vi y) { return _mm256_add_epi32(x, y); }
static inline vi vi_sub(vi x, vi y) { return _mm256_sub_epi32(x, y); }
static inline vi vi_mul(vi x, vi y) { return _mm256_mullo_epi32(x, y); }
static inline vi vi_madd16(vi x, vi y) { return _mm256_madd_epi16(x, y); }
static inline vi vi_maddubs(vi x, vi y) { return _mm256_maddubs_epi16(x, y); }
static inline vi vi_abs8(vi x) { return _mm256_abs_epi8(x); }
static inline vi vi_sign8(vi x, vi w) { return _mm256_sign_epi8(x, w); }
static inline vi vi_shuffle8(vi table, vi idx) { return _mm256_shuffle_epi8(table, idx); }
static inline vi vi_bcast128(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(p)); }
static inline vi vi_srl(vi x, int n) { return _mm256_srli_epi32(x, n); }
static inline vi vi_sll(vi x, int n) { return _mm256_slli_epi32(x, n); }
static inline vi vi_sra(vi x, int n) { return _mm256_srai_epi32(x, n); }
static inline vi vi_pick8(vi x, vi mask, vi val)
{
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(x, mask), mask), val);
}
static inline vi vi_bcast32(const void *p) { return _mm256_set1_epi32(*(const alias_i32 *)p); }

static inline vf vf_zero(void) { return _mm256_setzero_ps(); }
static inline vf vf_set1(float x) { return _mm256_set1_ps(x); }
static inline vf vf_mul(vf x, vf y) { return _mm256_mul_ps(x, y); }
static inline vf vf_add(vf x, vf y) { return _mm256_add_ps(x, y); }
static inline vf vf_sub(vf x, vf y) { return _mm256_sub_ps(x, y); }
static inline vf vf_fma(vf x, vf y, vf z) { return _mm256_fmadd_ps(x, y, z); }
static inline vf vf_from(vi x) { return _mm256_cvtepi32_ps(x); }
static inline vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
static inline void vf_store_n(float *p, vf x, size_t n) { _mm256_maskstore_ps(p, v16_mask8(n), x); }
static inline vf vf_halves(const uint16_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
static inline vf vf_low_halves(vi x)
{
    const __m256i pick = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 4,
                                          5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1);
    return _mm256_cvtph_ps(
        _mm256_castsi256_si128(_mm256_permute4x64_epi64(_mm256_shuffle_epi8(x, pick), 0x08)));
}

static inline vi vi_gather128(const uint8_t *const *row, size_t off)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(row[0] + off))),
                                   _mm_loadu_si128((const __m128i *)(row[4] + off)), 1);
}
#define VI_UNPACK(op, x, y) _mm256_unpack##op((x), (y))

#endif

/* 16 bytes at `off` of VI_LANES rows, turned: lane r of out[k] is the k-th dword of row r. */
static inline void vi_rows16(const uint8_t *const *row, size_t off, vi out[4])
{
    const vi a = vi_gather128(row, off), b = vi_gather128(row + 1, off), c = vi_gather128(row + 2, off),
             d = vi_gather128(row + 3, off);
    const vi ab0 = VI_UNPACK(lo_epi32, a, b), ab1 = VI_UNPACK(hi_epi32, a, b);
    const vi cd0 = VI_UNPACK(lo_epi32, c, d), cd1 = VI_UNPACK(hi_epi32, c, d);
    out[0] = VI_UNPACK(lo_epi64, ab0, cd0);
    out[1] = VI_UNPACK(hi_epi64, ab0, cd0);
    out[2] = VI_UNPACK(lo_epi64, ab1, cd1);
    out[3] = VI_UNPACK(hi_epi64, ab1, cd1);
}
/* The same as the products want weights; two neighbours of vi_rows16 in that order. */
#define vi_weights16 vi_rows16
#define VI_WEIGHTS_0(x, y) (x)
#define VI_WEIGHTS_1(x, y) (y)

/* The half at `off` of each row, as f32; the dword at `off`. */
static inline vf vf_rows_half(const uint8_t *const *row, size_t off)
{
    uint16_t h[VI_LANES];
    for (int r = 0; r < VI_LANES; r++) memcpy(&h[r], row[r] + off, 2);
    return vf_halves(h);
}
static inline vi vi_rows32(const uint8_t *const *row, size_t off)
{
    uint32_t v[VI_LANES];
    for (int r = 0; r < VI_LANES; r++) memcpy(&v[r], row[r] + off, 4);
    return vi_load(v);
}

/*
 * With VNNI: acc + the four products of each dword of w (unsigned bytes) and of the dword at p (signed
 * bytes), the same for all lanes. gcc 12 copies registers around the intrinsic when accumulators stand in an
 * array, which halves the speed; hence the assembly.
 */
#if MOE_VNNI && MOE_VEC == 512
ALWAYS_INLINE vi vi_dot_bcast(vi acc, vi w, const void *p)
{
    __asm__("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(w), "m"(*(const alias_i32 *)p));
    return acc;
}
/* acc + x.lo * y.lo + x.hi * y.hi of signed 16-bit halves */
ALWAYS_INLINE vi vi_dot16(vi acc, vi x, vi y)
{
    __asm__("vpdpwssd %2, %1, %0" : "+v"(acc) : "v"(x), "v"(y));
    return acc;
}
ALWAYS_INLINE vi vi_dot(vi acc, vi w, vi x)
{
    __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(w), "v"(x));
    return acc;
}
ALWAYS_INLINE __m256i ymm_dot(__m256i acc, __m256i w, __m256i x) { return _mm256_dpbusd_epi32(acc, w, x); }
#elif MOE_VNNI
ALWAYS_INLINE vi vi_dot(vi acc, vi w, vi x)
{
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x));
    return acc;
}
ALWAYS_INLINE vi vi_dot_bcast(vi acc, vi w, const void *p) { return vi_dot(acc, w, vi_bcast32(p)); }
ALWAYS_INLINE vi vi_dot16(vi acc, vi x, vi y)
{
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(x), "x"(y));
    return acc;
}
ALWAYS_INLINE __m256i ymm_dot(__m256i acc, __m256i w, __m256i x) { return vi_dot(acc, w, x); }
#else
/* gcc 12 makes trees of long sums, which need more registers than there are: this keeps the chain. */
ALWAYS_INLINE vi vi_in_chain(vi sum)
{
    __asm__("" : "+v"(sum));
    return sum;
}
ALWAYS_INLINE vi vi_dot16(vi acc, vi x, vi y) { return vi_in_chain(vi_add(acc, vi_madd16(x, y))); }
#endif

/* factor times the number at p, which fits 16 bits. */
ALWAYS_INLINE vi vi_bcast_times(const int32_t *p, const int factor)
{
    return vi_dot16(vi_zero(), vi_bcast32(p), vi_set1_32(factor & 0xffff));
}
/* Pairs of 16 bits in each lane, made to be multiplied by two numbers that are the same for all lanes. */
typedef vi vc;
static inline vc vc_make(vi pairs) { return pairs; }
ALWAYS_INLINE vi vi_corr(vi acc, vc pairs, const int16_t *two)
{
    return vi_dot16(acc, pairs, vi_bcast32(two));
}

/* A part: products of some dwords of weights with one of x each, summed but not yet scaled. */
typedef vi vp;
#if !MOE_VNNI
ALWAYS_INLINE vp vp_first(vi w, vi x, const int by_sign)
{
    return by_sign ? vi_maddubs(vi_abs8(w), vi_sign8(x, w)) : vi_maddubs(w, x);
}
ALWAYS_INLINE vp vp_more(vp part, vi w, vi x) { return vi_in_chain(vi_add16(part, vi_maddubs(w, x))); }
ALWAYS_INLINE vi vp_sum(vi acc, vp part) { return vi_dot16(acc, part, vi_set1_32(0x10001)); }
#endif
ALWAYS_INLINE vi vp_scaled(vi acc, vp part, vi scale, const int by_mul)
{
    return by_mul ? vi_add(acc, vi_mul(part, scale)) : vi_dot16(acc, part, scale);
}

/* Eight vectors of eight lanes: lane i of the result is the sum of the i-th. */
static inline __m256i ymm_sum8(const __m256i s[8])
{
    const __m256i a = _mm256_add_epi32(_mm256_unpacklo_epi32(s[0], s[1]), _mm256_unpackhi_epi32(s[0], s[1]));
    const __m256i b = _mm256_add_epi32(_mm256_unpacklo_epi32(s[2], s[3]), _mm256_unpackhi_epi32(s[2], s[3]));
    const __m256i c = _mm256_add_epi32(_mm256_unpacklo_epi32(s[4], s[5]), _mm256_unpackhi_epi32(s[4], s[5]));
    const __m256i d = _mm256_add_epi32(_mm256_unpacklo_epi32(s[6], s[7]), _mm256_unpackhi_epi32(s[6], s[7]));
    const __m256i ab =
        _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)); /* 0 1 2 3 | 0 1 2 3 */
    const __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi64(c, d), _mm256_unpackhi_epi64(c, d));
    return _mm256_add_epi32(_mm256_permute2x128_si256(ab, cd, 0x20), _mm256_permute2x128_si256(ab, cd, 0x31));
}

/* Four vectors of eight lanes. */
static inline __m128i ymm_sum4(__m256i s0, __m256i s1, __m256i s2, __m256i s3)
{
    const __m256i a = _mm256_add_epi32(_mm256_unpacklo_epi32(s0, s1), _mm256_unpackhi_epi32(s0, s1));
    const __m256i b = _mm256_add_epi32(_mm256_unpacklo_epi32(s2, s3), _mm256_unpackhi_epi32(s2, s3));
    const __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    return _mm_add_epi32(_mm256_castsi256_si128(ab), _mm256_extracti128_si256(ab, 1));
}

#if MOE_VEC == 512
static inline __m128i vi_sum4(vi s0, vi s1, vi s2, vi s3)
{
    const vi a = vi_add(_mm512_unpacklo_epi32(s0, s1), _mm512_unpackhi_epi32(s0, s1));
    const vi b = vi_add(_mm512_unpacklo_epi32(s2, s3), _mm512_unpackhi_epi32(s2, s3));
    const vi ab = vi_add(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    const __m256i h = _mm256_add_epi32(_mm512_castsi512_si256(ab), _mm512_extracti64x4_epi64(ab, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(h), _mm256_extracti128_si256(h, 1));
}
#else
static inline __m128i vi_sum4(vi s0, vi s1, vi s2, vi s3) { return ymm_sum4(s0, s1, s2, s3); }
#endif

#endif
