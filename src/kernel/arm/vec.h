/* SPDX-License-Identifier: MIT */
/*
 * Sixteen floats in four NEON registers, with the operations that kernel/body/ is written in (x86/vec.h has
 * the same names). Lane i of the canonical sixteen partial sums is lane i here; the lanes of ref/lanes.h are
 * the definition, and everything here does the same operations per element. A name ending in _n takes a
 * count k < 16: lanes from k on are not touched in memory and read as zero. Source: Arm C Language
 * Extensions, Advanced SIMD intrinsics; AArch64 only (fma, halves and round-to-nearest-even are part of its
 * base).
 */
#ifndef MOE_KERNEL_ARM_VEC_H
#define MOE_KERNEL_ARM_VEC_H

#if !defined(__aarch64__) || !defined(__ARM_NEON) || defined(__AARCH64EB__)
#error "these files are for little-endian AArch64"
#endif

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "kernel/ref/lanes.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* Register tiles of a float matrix product: rows by up to so many columns, rows with a single one. An
 * accumulator is four registers of 32. */
#define V16_ROWS     2
#define V16_COLS     3
#define V16_FEW_ROWS 4
/* Register tiles of attention: queries by tiles of keys, rows by vectors of values. */
#define V16_Q 2
#define V16_T 2
#define V16_W 2

typedef struct v16 {
    float32x4_t a, b, c, d;
} v16;

ALWAYS_INLINE v16 v16_make(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d)
{
    v16 v;
    v.a = a;
    v.b = b;
    v.c = c;
    v.d = d;
    return v;
}

/* One operation on each of the four registers. */
#define V16_EACH1(f, x)    v16_make(f((x).a), f((x).b), f((x).c), f((x).d))
#define V16_EACH2(f, x, y) v16_make(f((x).a, (y).a), f((x).b, (y).b), f((x).c, (y).c), f((x).d, (y).d))
#define V16_EACH3(f, x, y, z) \
    v16_make(f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b), f((x).c, (y).c, (z).c), f((x).d, (y).d, (z).d))

/* Bytes at any address: 4 floats, 4 halves, 8 halves. */
ALWAYS_INLINE float32x4_t f4_load(const void *p) { return vreinterpretq_f32_u8(vld1q_u8(p)); }
ALWAYS_INLINE void f4_store(void *p, float32x4_t v) { vst1q_u8(p, vreinterpretq_u8_f32(v)); }
ALWAYS_INLINE float16x4_t h4_load(const void *p) { return vreinterpret_f16_u8(vld1_u8(p)); }
ALWAYS_INLINE uint16x4_t u16x4_load(const void *p) { return vreinterpret_u16_u8(vld1_u8(p)); }

/* One register of a v16, which has V16_REGS of them. */
#define V16_REGS 4
typedef float32x4_t vreg;
ALWAYS_INLINE vreg vreg_zero(void) { return vdupq_n_f32(0.0f); }
ALWAYS_INLINE vreg vreg_load(const void *p) { return f4_load(p); }
ALWAYS_INLINE vreg vreg_once(const void *p) { return vreg_load(p); }
ALWAYS_INLINE void vreg_store(float *p, vreg v) { f4_store(p, v); }
ALWAYS_INLINE vreg vreg_fma(vreg x, vreg y, vreg z) { return vfmaq_f32(z, x, y); }
ALWAYS_INLINE v16 v16_of(const vreg *r) { return v16_make(r[0], r[1], r[2], r[3]); }

ALWAYS_INLINE v16 v16_set1(float x)
{
    const float32x4_t v = vdupq_n_f32(x);
    return v16_make(v, v, v, v);
}
ALWAYS_INLINE v16 v16_zero(void) { return v16_set1(0.0f); }
ALWAYS_INLINE v16 v16_load(const void *p)
{
    const uint8_t *b = p;
    return v16_make(f4_load(b), f4_load(b + 16), f4_load(b + 32), f4_load(b + 48));
}
ALWAYS_INLINE void v16_store(float *p, v16 v)
{
    f4_store(p, v.a);
    f4_store(p + 4, v.b);
    f4_store(p + 8, v.c);
    f4_store(p + 12, v.d);
}
ALWAYS_INLINE v16 v16_add(v16 x, v16 y) { return V16_EACH2(vaddq_f32, x, y); }
ALWAYS_INLINE v16 v16_sub(v16 x, v16 y) { return V16_EACH2(vsubq_f32, x, y); }
ALWAYS_INLINE v16 v16_mul(v16 x, v16 y) { return V16_EACH2(vmulq_f32, x, y); }
ALWAYS_INLINE v16 v16_div(v16 x, v16 y) { return V16_EACH2(vdivq_f32, x, y); }
ALWAYS_INLINE v16 v16_neg(v16 x) { return V16_EACH1(vnegq_f32, x); }
/* x > y ? x : y and x < y ? x : y, so y where one is NaN (vmaxq_f32 would give NaN) */
ALWAYS_INLINE float32x4_t f4_max(float32x4_t x, float32x4_t y) { return vbslq_f32(vcgtq_f32(x, y), x, y); }
ALWAYS_INLINE float32x4_t f4_min(float32x4_t x, float32x4_t y) { return vbslq_f32(vcltq_f32(x, y), x, y); }
ALWAYS_INLINE v16 v16_max(v16 x, v16 y) { return V16_EACH2(f4_max, x, y); }
ALWAYS_INLINE v16 v16_min(v16 x, v16 y) { return V16_EACH2(f4_min, x, y); }
/* x y + z, x y - z */
ALWAYS_INLINE v16 v16_fma(v16 x, v16 y, v16 z) { return V16_EACH3(vfmaq_f32, z, x, y); }
ALWAYS_INLINE v16 v16_fms(v16 x, v16 y, v16 z) { return v16_fma(x, y, v16_neg(z)); }

/* Tails are rare and short: they go through a buffer. */
static inline v16 v16_load_n(const void *p, size_t k)
{
    float t[16] = {0};
    memcpy(t, p, k * sizeof *t);
    return v16_load(t);
}
static inline void v16_store_n(float *p, v16 v, size_t k)
{
    float t[16];
    v16_store(t, v);
    memcpy(p, t, k * sizeof *t);
}
/* Lanes below k of x, the others of y. */
static inline v16 v16_pick_n(v16 x, v16 y, size_t k)
{
    static const uint32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const uint32x4_t n = vdupq_n_u32((uint32_t)k);
    return v16_make(vbslq_f32(vcltq_u32(vld1q_u32(lane), n), x.a, y.a),
                    vbslq_f32(vcltq_u32(vld1q_u32(lane + 4), n), x.b, y.b),
                    vbslq_f32(vcltq_u32(vld1q_u32(lane + 8), n), x.c, y.c),
                    vbslq_f32(vcltq_u32(vld1q_u32(lane + 12), n), x.d, y.d));
}

ALWAYS_INLINE float32x4_t f4_load_f16(const uint8_t *p) { return vcvt_f32_f16(h4_load(p)); }
ALWAYS_INLINE float32x4_t f4_load_bf16(const uint8_t *p)
{
    return vreinterpretq_f32_u32(vshll_n_u16(u16x4_load(p), 16));
}
ALWAYS_INLINE v16 v16_load_f16(const void *p)
{
    const uint8_t *b = p;
    return v16_make(f4_load_f16(b), f4_load_f16(b + 8), f4_load_f16(b + 16), f4_load_f16(b + 24));
}
ALWAYS_INLINE v16 v16_load_bf16(const void *p)
{
    const uint8_t *b = p;
    return v16_make(f4_load_bf16(b), f4_load_bf16(b + 8), f4_load_bf16(b + 16), f4_load_bf16(b + 24));
}
ALWAYS_INLINE vreg vreg_load_f16(const void *p) { return f4_load_f16(p); }
ALWAYS_INLINE vreg vreg_load_bf16(const void *p) { return f4_load_bf16(p); }
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
/* Nearest, ties to even: the rounding mode that a process starts with. */
ALWAYS_INLINE void h4_store(uint16_t *p, float32x4_t v)
{
    vst1_u8((uint8_t *)p, vreinterpret_u8_f16(vcvt_f16_f32(v)));
}
ALWAYS_INLINE void v16_store_f16(uint16_t *p, v16 v)
{
    h4_store(p, v.a);
    h4_store(p + 4, v.b);
    h4_store(p + 8, v.c);
    h4_store(p + 12, v.d);
}
static inline void v16_store_f16_n(uint16_t *p, v16 v, size_t k)
{
    uint16_t t[16];
    v16_store_f16(t, v);
    memcpy(p, t, 2 * k);
}

/* p 2^n, where t = n + 1.5 * 2^23 is an integer stored as its own low bits (see moe__exp1). */
ALWAYS_INLINE float32x4_t f4_scale2(float32x4_t p, float32x4_t t)
{
    const int32x4_t i = vsubq_s32(vreinterpretq_s32_f32(t), vdupq_n_s32(0x4b400000));
    const int32x4_t h = vshrq_n_s32(i, 1), bias = vdupq_n_s32(127);
    const int32x4_t s0 = vshlq_n_s32(vaddq_s32(h, bias), 23);
    const int32x4_t s1 = vshlq_n_s32(vaddq_s32(vsubq_s32(i, h), bias), 23);
    return vmulq_f32(vmulq_f32(p, vreinterpretq_f32_s32(s0)), vreinterpretq_f32_s32(s1));
}
ALWAYS_INLINE v16 v16_scale2(v16 p, v16 t, v16 n)
{
    (void)n;
    return V16_EACH2(f4_scale2, p, t);
}

/* Even and odd elements of the 32 that x and y hold one after the other, in order; and back. */
ALWAYS_INLINE v16 v16_even(v16 x, v16 y)
{
    return v16_make(vuzp1q_f32(x.a, x.b), vuzp1q_f32(x.c, x.d), vuzp1q_f32(y.a, y.b), vuzp1q_f32(y.c, y.d));
}
ALWAYS_INLINE v16 v16_odd(v16 x, v16 y)
{
    return v16_make(vuzp2q_f32(x.a, x.b), vuzp2q_f32(x.c, x.d), vuzp2q_f32(y.a, y.b), vuzp2q_f32(y.c, y.d));
}
ALWAYS_INLINE v16 v16_zip_lo(v16 e, v16 o)
{
    return v16_make(vzip1q_f32(e.a, o.a), vzip2q_f32(e.a, o.a), vzip1q_f32(e.b, o.b), vzip2q_f32(e.b, o.b));
}
ALWAYS_INLINE v16 v16_zip_hi(v16 e, v16 o)
{
    return v16_make(vzip1q_f32(e.c, o.c), vzip2q_f32(e.c, o.c), vzip1q_f32(e.d, o.d), vzip2q_f32(e.d, o.d));
}

/* The first three steps of the tree: lanes i and i + 8, then i + 4, then i + 2. */
ALWAYS_INLINE float32x2_t v16_fold2(v16 v)
{
    const float32x4_t s = vaddq_f32(vaddq_f32(v.a, v.c), vaddq_f32(v.b, v.d));
    return vadd_f32(vget_low_f32(s), vget_high_f32(s));
}
ALWAYS_INLINE float v16_sum(v16 v) { return vpadds_f32(v16_fold2(v)); }

/* Four floats. */
typedef float32x4_t v4;
ALWAYS_INLINE void v4_store(float *p, v4 v) { f4_store(p, v); }

/* The sums of four vectors at once: lane i is the sum of the i-th. */
ALWAYS_INLINE v4 v16_sum4(v16 a, v16 b, v16 c, v16 d)
{
    return vpaddq_f32(vcombine_f32(v16_fold2(a), v16_fold2(b)), vcombine_f32(v16_fold2(c), v16_fold2(d)));
}

/* s[i] = the sum of the i-th of n vectors; n is even, and s has room for one or two more. */
ALWAYS_INLINE void v16_sums(float *s, const v16 *v, const size_t n)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4) v4_store(s + i, v16_sum4(v[i], v[i + 1], v[i + 2], v[i + 3]));
    if (i < n) v4_store(s + i, v16_sum4(v[i], v[i + 1], v[i], v[i + 1]));
}

ALWAYS_INLINE v16 v16_max_of(v16 v) /* the largest lane in lane 0; no NaN inside */
{
    return v16_set1(vmaxvq_f32(vmaxq_f32(vmaxq_f32(v.a, v.b), vmaxq_f32(v.c, v.d))));
}
ALWAYS_INLINE float v16_first(v16 v) { return vgetq_lane_f32(v.a, 0); }

/* Bits of |x|: maxima of several vectors, then the largest of them. */
typedef uint32x4_t v16_maxima;
ALWAYS_INLINE v16_maxima v16_maxima_zero(void) { return vdupq_n_u32(0); }
ALWAYS_INLINE uint32x4_t f4_abs_bits(float32x4_t x) { return vreinterpretq_u32_f32(vabsq_f32(x)); }
ALWAYS_INLINE v16_maxima v16_absmax(v16_maxima m, v16 x)
{
    const uint32x4_t ab = vmaxq_u32(f4_abs_bits(x.a), f4_abs_bits(x.b));
    const uint32x4_t cd = vmaxq_u32(f4_abs_bits(x.c), f4_abs_bits(x.d));
    return vmaxq_u32(m, vmaxq_u32(ab, cd));
}
ALWAYS_INLINE uint32_t v16_maxima_top(v16_maxima m) { return vmaxvq_u32(m); }

/* Scales of eight blocks from the maxima of each: act_scale of body/act.inl for all at once. */
ALWAYS_INLINE void f4_act_scales(uint32x4_t amax, float *d, float *inv)
{
    const float32x4_t m = vreinterpretq_f32_u32(amax), c = vdupq_n_f32(127.0f);
    const uint32x4_t ok = vcgeq_u32(amax, vdupq_n_u32(0x04000000u)), bad = vcgeq_u32(amax, vdupq_n_u32(0x7f800000u));
    const uint32x4_t q = vandq_u32(vreinterpretq_u32_f32(vdivq_f32(m, c)), ok);
    f4_store(d, vreinterpretq_f32_u32(vbslq_u32(bad, vdupq_n_u32(0x7fc00000u), q)));
    f4_store(inv, vreinterpretq_f32_u32(vbicq_u32(vandq_u32(vreinterpretq_u32_f32(vdivq_f32(c, m)), ok), bad)));
}
ALWAYS_INLINE void v16_act_scales(const v16_maxima m[8], float *d, float *inv)
{
    for (int i = 0; i < 8; i += 4)
        f4_act_scales(vpmaxq_u32(vpmaxq_u32(m[i], m[i + 1]), vpmaxq_u32(m[i + 2], m[i + 3])), d + i, inv + i);
}

/* Sixteen signed bytes and their sum. */
typedef int8x16_t b16;
ALWAYS_INLINE b16 b16_zero(void) { return vdupq_n_s8(0); }
ALWAYS_INLINE void b16_store(int8_t *p, b16 q) { vst1q_s8(p, q); }
ALWAYS_INLINE int b16_sum(b16 q) { return vaddlvq_s8(q); }
/* Low bytes of the bits of 16 floats (values -128 .. 127 as integers after a bias was added). */
ALWAYS_INLINE b16 v16_low_bytes(v16 t, int32_t bias)
{
    const int32x4_t z = vdupq_n_s32(bias);
    const int16x8_t ab = vcombine_s16(vmovn_s32(vsubq_s32(vreinterpretq_s32_f32(t.a), z)),
                                      vmovn_s32(vsubq_s32(vreinterpretq_s32_f32(t.b), z)));
    const int16x8_t cd = vcombine_s16(vmovn_s32(vsubq_s32(vreinterpretq_s32_f32(t.c), z)),
                                      vmovn_s32(vsubq_s32(vreinterpretq_s32_f32(t.d), z)));
    return vcombine_s8(vmovn_s16(ab), vmovn_s16(cd));
}

/* What is left of rounded values (bits of x + 1.5 * 2^23): bytes of two vectors, sums of eight blocks of two. */
typedef uint32x4_t v16i;
ALWAYS_INLINE v16i v16i_bits(v16 t)
{
    return vaddq_u32(vaddq_u32(vreinterpretq_u32_f32(t.a), vreinterpretq_u32_f32(t.b)),
                     vaddq_u32(vreinterpretq_u32_f32(t.c), vreinterpretq_u32_f32(t.d)));
}
ALWAYS_INLINE v16i v16i_add(v16i x, v16i y) { return vaddq_u32(x, y); }
ALWAYS_INLINE void v16_store_bytes(int8_t *dst, v16 t0, v16 t1)
{
    vst1q_s8(dst, v16_low_bytes(t0, 0x4b400000));
    vst1q_s8(dst + 16, v16_low_bytes(t1, 0x4b400000));
}
ALWAYS_INLINE void v16_act_sums(const v16i t[8], int32_t *sum)
{
    for (int i = 0; i < 8; i += 4) {
        const uint32x4_t s = vpaddq_u32(vpaddq_u32(t[i], t[i + 1]), vpaddq_u32(t[i + 2], t[i + 3]));
        vst1q_s32(sum + i, vreinterpretq_s32_u32(vsubq_u32(s, vdupq_n_u32(32u * 0x4b400000u))));
    }
}

/*
 * Two blocks of two vectors rounded by MOE_EXP_MAGIC: their bytes are stored; of four such pairs the sums of the
 * eight blocks' bytes. The two may be the same.
 */
typedef struct v16_pair {
    v16i p, q;
} v16_pair;
ALWAYS_INLINE v16_pair v16_int8_pair(int8_t *p, int8_t *q, v16 p0, v16 p1, v16 q0, v16 q1)
{
    v16_pair x;
    x.p = v16i_add(v16i_bits(p0), v16i_bits(p1));
    x.q = v16i_add(v16i_bits(q0), v16i_bits(q1));
    v16_store_bytes(p, p0, p1);
    v16_store_bytes(q, q0, q1);
    return x;
}
ALWAYS_INLINE void v16_pair_sums(const v16_pair x[4], int32_t sum[8])
{
    const v16i t[8] = {x[0].p, x[0].q, x[1].p, x[1].q, x[2].p, x[2].q, x[3].p, x[3].q};
    v16_act_sums(t, sum);
}

/* x where p is not zero, else zero; whether no lane of two vectors is zero. */
ALWAYS_INLINE float32x4_t f4_where(float32x4_t x, float32x4_t p)
{
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(x), vceqzq_f32(p)));
}
ALWAYS_INLINE v16 v16_where(v16 x, v16 p)
{
    return v16_make(f4_where(x.a, p.a), f4_where(x.b, p.b), f4_where(x.c, p.c), f4_where(x.d, p.d));
}
ALWAYS_INLINE uint32x4_t v16_zeros(v16 p)
{
    return vorrq_u32(vorrq_u32(vceqzq_f32(p.a), vceqzq_f32(p.b)), vorrq_u32(vceqzq_f32(p.c), vceqzq_f32(p.d)));
}
ALWAYS_INLINE int v16_none_zero(v16 p, v16 q) { return vmaxvq_u32(vorrq_u32(v16_zeros(p), v16_zeros(q))) == 0; }

#include "kernel/body/exp.inl"

#endif
