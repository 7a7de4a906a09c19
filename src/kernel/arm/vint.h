/* SPDX-License-Identifier: MIT */
/*
 * Integer vectors for the matrix products with int8 activations: eight lanes of 32 bits in two registers, one
 * weight row per lane, with the operations that kernel/body/tile*.inl is written in (x86/vint.h has the same
 * names). Bytes are signed on both sides, so weights need no offset of 128:
 *   - with dot products (-DMOE_DOT=1: SDOT, Armv8.2 DotProd) four products are added into 32 bits;
 *   - with matrix products (-DMOE_MATRIX=1: SMMLA, Armv8.2 I8MM, besides SDOT) eight products of each of two
 *     rows and two columns;
 *   - without, products are 16-bit numbers that lie side by side until a part is done (vp); then pairs are
 *     added in 16 bits, so that twice the products of `fit` vectors must stay below 2^15, and pairs of those
 *     in 32 bits.
 * Nothing saturates, nothing wraps: sums are exact within the bounds given at each format.
 */
#ifndef MOE_KERNEL_ARM_VINT_H
#define MOE_KERNEL_ARM_VINT_H

#include "kernel/arm/vec.h"

#if MOE_DOT && !defined(__ARM_FEATURE_DOTPROD)
#error "this level needs -march=armv8.2-a+dotprod"
#endif
#if MOE_MATRIX && !defined(__ARM_FEATURE_MATMUL_INT8)
#error "this level needs -march=armv8.2-a+dotprod+i8mm"
#endif

/* What bodies ask; see x86/vint.h. */
#define VI_DOT     MOE_DOT
#define VI_PAIRS   0
#define VI_FLIP    0
#define VI_PLUS(n) 0
#define VI_COLS    4
#define VI_LANES   8
#define VI_COLS2   MOE_DOT

typedef struct vi {
    int32x4_t a, b; /* rows 0 .. 3, rows 4 .. 7 */
} vi;
typedef struct vf {
    float32x4_t a, b;
} vf;

ALWAYS_INLINE vi vi_make(int32x4_t a, int32x4_t b)
{
    vi v;
    v.a = a;
    v.b = b;
    return v;
}
ALWAYS_INLINE vf vf_make(float32x4_t a, float32x4_t b)
{
    vf v;
    v.a = a;
    v.b = b;
    return v;
}

#define S8(x)  vreinterpretq_s8_s32(x)
#define S16(x) vreinterpretq_s16_s32(x)
#define U8(x)  vreinterpretq_u8_s32(x)

ALWAYS_INLINE int32x4_t i4_load(const void *p) { return vreinterpretq_s32_u8(vld1q_u8(p)); }

ALWAYS_INLINE vi vi_set1_32(int x) { return vi_make(vdupq_n_s32(x), vdupq_n_s32(x)); }
ALWAYS_INLINE vi vi_set1_8(int x)
{
    const int32x4_t v = vreinterpretq_s32_s8(vdupq_n_s8((int8_t)x));
    return vi_make(v, v);
}
ALWAYS_INLINE vi vi_zero(void) { return vi_set1_32(0); }
ALWAYS_INLINE vi vi_load(const void *p) { return vi_make(i4_load(p), i4_load((const uint8_t *)p + 16)); }
ALWAYS_INLINE vi vi_bcast128(const void *p) { return vi_make(i4_load(p), i4_load(p)); }
ALWAYS_INLINE vi vi_bcast32(const void *p)
{
    int32_t x;
    memcpy(&x, p, sizeof x);
    return vi_set1_32(x);
}
ALWAYS_INLINE vi vi_and(vi x, vi y) { return vi_make(vandq_s32(x.a, y.a), vandq_s32(x.b, y.b)); }
ALWAYS_INLINE vi vi_or(vi x, vi y) { return vi_make(vorrq_s32(x.a, y.a), vorrq_s32(x.b, y.b)); }
ALWAYS_INLINE vi vi_xor(vi x, vi y) { return vi_make(veorq_s32(x.a, y.a), veorq_s32(x.b, y.b)); }
ALWAYS_INLINE vi vi_add(vi x, vi y) { return vi_make(vaddq_s32(x.a, y.a), vaddq_s32(x.b, y.b)); }
ALWAYS_INLINE vi vi_sub(vi x, vi y) { return vi_make(vsubq_s32(x.a, y.a), vsubq_s32(x.b, y.b)); }
ALWAYS_INLINE vi vi_add8(vi x, vi y)
{
    return vi_make(vreinterpretq_s32_s8(vaddq_s8(S8(x.a), S8(y.a))),
                   vreinterpretq_s32_s8(vaddq_s8(S8(x.b), S8(y.b))));
}
/* A byte of idx from 16 on gives 0. */
ALWAYS_INLINE vi vi_shuffle8(vi table, vi idx)
{
    return vi_make(vreinterpretq_s32_u8(vqtbl1q_u8(U8(table.a), U8(idx.a))),
                   vreinterpretq_s32_u8(vqtbl1q_u8(U8(table.b), U8(idx.b))));
}
/* n is known after inlining */
ALWAYS_INLINE vi vi_sll(vi x, int n)
{
    const int32x4_t by = vdupq_n_s32(n);
    return vi_make(vshlq_s32(x.a, by), vshlq_s32(x.b, by));
}
ALWAYS_INLINE vi vi_sra(vi x, int n) { return vi_sll(x, -n); }
ALWAYS_INLINE vi vi_srl(vi x, int n)
{
    const int32x4_t by = vdupq_n_s32(-n);
    return vi_make(vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x.a), by)),
                   vreinterpretq_s32_u32(vshlq_u32(vreinterpretq_u32_s32(x.b), by)));
}
/* `val` in the bytes where some bit of `mask` (it has one in each byte) is set in x, else 0. */
ALWAYS_INLINE int32x4_t i4_pick8(int32x4_t x, int32x4_t mask, int32x4_t val)
{
    return vreinterpretq_s32_u8(vandq_u8(vtstq_u8(U8(x), U8(mask)), U8(val)));
}
ALWAYS_INLINE vi vi_pick8(vi x, vi mask, vi val)
{
    return vi_make(i4_pick8(x.a, mask.a, val.a), i4_pick8(x.b, mask.b, val.b));
}

ALWAYS_INLINE vf vf_set1(float x) { return vf_make(vdupq_n_f32(x), vdupq_n_f32(x)); }
ALWAYS_INLINE vf vf_zero(void) { return vf_set1(0.0f); }
ALWAYS_INLINE vf vf_mul(vf x, vf y) { return vf_make(vmulq_f32(x.a, y.a), vmulq_f32(x.b, y.b)); }
ALWAYS_INLINE vf vf_add(vf x, vf y) { return vf_make(vaddq_f32(x.a, y.a), vaddq_f32(x.b, y.b)); }
ALWAYS_INLINE vf vf_sub(vf x, vf y) { return vf_make(vsubq_f32(x.a, y.a), vsubq_f32(x.b, y.b)); }
ALWAYS_INLINE vf vf_fma(vf x, vf y, vf z)
{
    return vf_make(vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b));
}
ALWAYS_INLINE vf vf_from(vi x) { return vf_make(vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b)); }
ALWAYS_INLINE vf vf_load(const float *p) { return vf_make(f4_load(p), f4_load(p + 4)); }
ALWAYS_INLINE void vf_store(float *p, vf x)
{
    f4_store(p, x.a);
    f4_store(p + 4, x.b);
}
static inline void vf_store_n(float *p, vf x, size_t n)
{
    float t[VI_LANES];
    if (n >= VI_LANES) {
        vf_store(p, x);
        return;
    }
    vf_store(t, x);
    memcpy(p, t, n * sizeof *t);
}
ALWAYS_INLINE vf vf_halves(const uint16_t *p)
{
    return vf_make(vcvt_f32_f16(h4_load(p)), vcvt_f32_f16(h4_load(p + 4)));
}
/* The halves in the low 16 bits of each lane. */
ALWAYS_INLINE vf vf_low_halves(vi x)
{
    return vf_make(vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_s32(x.a)))),
                   vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_s32(x.b)))));
}

/* 16 bytes at `off` of four rows, turned: lane r of out[k] is the k-th dword of row r. */
ALWAYS_INLINE void i4_rows16(const uint8_t *const *row, size_t off, int32x4_t out[4])
{
    const int32x4_t r0 = i4_load(row[0] + off), r1 = i4_load(row[1] + off), r2 = i4_load(row[2] + off),
                    r3 = i4_load(row[3] + off);
    const int64x2_t e01 = vreinterpretq_s64_s32(vtrn1q_s32(r0, r1)), /* dwords 0 and 2 of rows 0, 1 */
        o01 = vreinterpretq_s64_s32(vtrn2q_s32(r0, r1)), e23 = vreinterpretq_s64_s32(vtrn1q_s32(r2, r3)),
                    o23 = vreinterpretq_s64_s32(vtrn2q_s32(r2, r3));
    out[0] = vreinterpretq_s32_s64(vtrn1q_s64(e01, e23));
    out[1] = vreinterpretq_s32_s64(vtrn1q_s64(o01, o23));
    out[2] = vreinterpretq_s32_s64(vtrn2q_s64(e01, e23));
    out[3] = vreinterpretq_s32_s64(vtrn2q_s64(o01, o23));
}
/* The same of all rows. */
ALWAYS_INLINE void vi_rows16(const uint8_t *const *row, size_t off, vi out[4])
{
    int32x4_t a[4], b[4];
    i4_rows16(row, off, a);
    i4_rows16(row + 4, off, b);
    for (int k = 0; k < 4; k++) out[k] = vi_make(a[k], b[k]);
}

#define ZIP64_LO(x, y) vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)))
#define ZIP64_HI(x, y) vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y)))

#if MOE_MATRIX
/*
 * The same as the products want weights, eight bytes of a row after eight of the next: out[0] and out[1] have
 * the first eight bytes of rows 0 1, 2 3 and of rows 4 5, 6 7; out[2] and out[3] the others.
 */
ALWAYS_INLINE void vi_weights16(const uint8_t *const *row, size_t off, vi out[4])
{
    for (int k = 0; k < 2; k++) {
        const uint8_t *const *r = row + 4 * k;
        const int32x4_t r0 = i4_load(r[0] + off), r1 = i4_load(r[1] + off), r2 = i4_load(r[2] + off),
                        r3 = i4_load(r[3] + off);
        out[k] = vi_make(ZIP64_LO(r0, r1), ZIP64_LO(r2, r3));
        out[k + 2] = vi_make(ZIP64_HI(r0, r1), ZIP64_HI(r2, r3));
    }
}
/* Two neighbours of vi_rows16 in that order: out[0] and out[1]. */
#define VI_WEIGHTS_0(x, y) vi_make(vzip1q_s32((x).a, (y).a), vzip2q_s32((x).a, (y).a))
#define VI_WEIGHTS_1(x, y) vi_make(vzip1q_s32((x).b, (y).b), vzip2q_s32((x).b, (y).b))

/*
 * Sums of all rows and two columns: each register has two rows of the first column, then of the second;
 * sum[0] is rows 0 1 and 2 3, sum[1] rows 4 5 and 6 7. Adds the products of 16 elements.
 */
ALWAYS_INLINE int32x4_t i4_matrix(int32x4_t sum, int8x16_t x_lo, int8x16_t x_hi, int32x4_t w_lo,
                                  int32x4_t w_hi)
{
    return vmmlaq_s32(vmmlaq_s32(sum, x_lo, S8(w_lo)), x_hi, S8(w_hi));
}
ALWAYS_INLINE void vi_cols2_dot16(vi sum[2], const vi w[4], const int8_t *x0, const int8_t *x1)
{
    const int32x4_t c0 = i4_load(x0), c1 = i4_load(x1);
    const int8x16_t lo = S8(ZIP64_LO(c0, c1)), hi = S8(ZIP64_HI(c0, c1));
    for (int k = 0; k < 2; k++)
        sum[k] = vi_make(i4_matrix(sum[k].a, lo, hi, w[k].a, w[k + 2].a),
                         i4_matrix(sum[k].b, lo, hi, w[k].b, w[k + 2].b));
}
/* acc + part * scale, which has one row per lane. */
ALWAYS_INLINE void vi_cols2_scaled(vi acc[2], const vi part[2], vi scale)
{
    acc[0].a = vmlaq_s32(acc[0].a, part[0].a, ZIP64_LO(scale.a, scale.a));
    acc[0].b = vmlaq_s32(acc[0].b, part[0].b, ZIP64_HI(scale.a, scale.a));
    acc[1].a = vmlaq_s32(acc[1].a, part[1].a, ZIP64_LO(scale.b, scale.b));
    acc[1].b = vmlaq_s32(acc[1].b, part[1].b, ZIP64_HI(scale.b, scale.b));
}
/* Such sums with one row per lane: sum[0] of the first column, sum[1] of the second. */
ALWAYS_INLINE void vi_cols2_turn(vi sum[2])
{
    const vi x = sum[0], y = sum[1];
    sum[0] = vi_make(ZIP64_LO(x.a, x.b), ZIP64_LO(y.a, y.b));
    sum[1] = vi_make(ZIP64_HI(x.a, x.b), ZIP64_HI(y.a, y.b));
}
#else
#define vi_weights16       vi_rows16
#define VI_WEIGHTS_0(x, y) (x)
#define VI_WEIGHTS_1(x, y) (y)
#endif

#if MOE_DOT && !MOE_MATRIX
/* The same with SDOT: each dword of w with the same one of x. One row per lane from the start. */
ALWAYS_INLINE int32x4_t i4_dot16(int32x4_t sum, int32x4_t w0, int32x4_t w1, int32x4_t w2, int32x4_t w3,
                                 int8x16_t x)
{
    sum = vdotq_laneq_s32(sum, S8(w0), x, 0);
    sum = vdotq_laneq_s32(sum, S8(w1), x, 1);
    sum = vdotq_laneq_s32(sum, S8(w2), x, 2);
    return vdotq_laneq_s32(sum, S8(w3), x, 3);
}
ALWAYS_INLINE void vi_cols2_dot16(vi sum[2], const vi w[4], const int8_t *x0, const int8_t *x1)
{
    const int8x16_t c0 = S8(i4_load(x0)), c1 = S8(i4_load(x1));
    sum[0] = vi_make(i4_dot16(sum[0].a, w[0].a, w[1].a, w[2].a, w[3].a, c0),
                     i4_dot16(sum[0].b, w[0].b, w[1].b, w[2].b, w[3].b, c0));
    sum[1] = vi_make(i4_dot16(sum[1].a, w[0].a, w[1].a, w[2].a, w[3].a, c1),
                     i4_dot16(sum[1].b, w[0].b, w[1].b, w[2].b, w[3].b, c1));
}
ALWAYS_INLINE void vi_cols2_scaled(vi acc[2], const vi part[2], vi scale)
{
    for (int k = 0; k < 2; k++)
        acc[k] = vi_make(vmlaq_s32(acc[k].a, part[k].a, scale.a), vmlaq_s32(acc[k].b, part[k].b, scale.b));
}
ALWAYS_INLINE void vi_cols2_turn(vi sum[2]) { (void)sum; }
#endif

/* The half at `off` of each of four rows as f32, of each row; the dword at `off`. */
ALWAYS_INLINE float32x4_t f4_rows_half(const uint8_t *const *row, size_t off)
{
    uint16_t h[4];
    for (int r = 0; r < 4; r++) memcpy(&h[r], row[r] + off, 2);
    return vcvt_f32_f16(h4_load(h));
}
ALWAYS_INLINE vf vf_rows_half(const uint8_t *const *row, size_t off)
{
    return vf_make(f4_rows_half(row, off), f4_rows_half(row + 4, off));
}
ALWAYS_INLINE vi vi_rows32(const uint8_t *const *row, size_t off)
{
    uint32_t v[VI_LANES];
    for (int r = 0; r < VI_LANES; r++) memcpy(&v[r], row[r] + off, 4);
    return vi_load(v);
}

/* factor times the number at p. */
ALWAYS_INLINE vi vi_bcast_times(const int32_t *p, const int factor) { return vi_set1_32(factor * *p); }
/* Pairs of 16 bits in each lane, made to be multiplied by two numbers that are the same for all lanes. */
typedef struct vc {
    int16x8_t a, b; /* the first of rows 0 .. 3, then the second of them; rows 4 .. 7 */
} vc;
ALWAYS_INLINE int16x8_t i4_halves(int32x4_t x) { return vcombine_s16(vmovn_s32(x), vshrn_n_s32(x, 16)); }
ALWAYS_INLINE vc vc_make(vi pairs)
{
    vc c;
    c.a = i4_halves(pairs.a);
    c.b = i4_halves(pairs.b);
    return c;
}
ALWAYS_INLINE int32x4_t i4_corr(int32x4_t acc, int16x8_t c, const int16_t *two)
{
    return vmlal_high_n_s16(vmlal_n_s16(acc, vget_low_s16(c), two[0]), c, two[1]);
}
ALWAYS_INLINE vi vi_corr(vi acc, vc c, const int16_t *two)
{
    return vi_make(i4_corr(acc.a, c.a, two), i4_corr(acc.b, c.b, two));
}

#if MOE_DOT
/* acc + the four products of each dword of w and of the dword at p, the same for all lanes. */
ALWAYS_INLINE vi vi_dot_bcast(vi acc, vi w, const void *p)
{
    const vi x = vi_bcast32(p);
    return vi_make(vdotq_s32(acc.a, S8(w.a), S8(x.a)), vdotq_s32(acc.b, S8(w.b), S8(x.b)));
}
#else
/* A part: products of some dwords of weights with one of x each, as 16-bit sums, four in a row for each
 * weight row. */
typedef struct vp {
    int16x8_t a, b, c, d; /* rows 0 1, 2 3, 4 5, 6 7 */
} vp;
ALWAYS_INLINE vp vp_first(vi w, vi x, const int by_sign)
{
    vp p;
    (void)by_sign;
    p.a = vmull_s8(vget_low_s8(S8(w.a)), vget_low_s8(S8(x.a)));
    p.b = vmull_high_s8(S8(w.a), S8(x.a));
    p.c = vmull_s8(vget_low_s8(S8(w.b)), vget_low_s8(S8(x.b)));
    p.d = vmull_high_s8(S8(w.b), S8(x.b));
    return p;
}
ALWAYS_INLINE vp vp_more(vp p, vi w, vi x)
{
    p.a = vmlal_s8(p.a, vget_low_s8(S8(w.a)), vget_low_s8(S8(x.a)));
    p.b = vmlal_high_s8(p.b, S8(w.a), S8(x.a));
    p.c = vmlal_s8(p.c, vget_low_s8(S8(w.b)), vget_low_s8(S8(x.b)));
    p.d = vmlal_high_s8(p.d, S8(w.b), S8(x.b));
    return p;
}
ALWAYS_INLINE vi vp_sum(vi acc, vp p)
{
    return vi_make(vpadalq_s16(acc.a, vpaddq_s16(p.a, p.b)), vpadalq_s16(acc.b, vpaddq_s16(p.c, p.d)));
}
ALWAYS_INLINE vi vp_scaled(vi acc, vp p, vi scale, const int by_mul)
{
    (void)by_mul;
    return vi_make(vmlaq_s32(acc.a, vpaddlq_s16(vpaddq_s16(p.a, p.b)), scale.a),
                   vmlaq_s32(acc.b, vpaddlq_s16(vpaddq_s16(p.c, p.d)), scale.b));
}
#endif

/* 16 products of signed bytes in four lanes. */
ALWAYS_INLINE int32x4_t b16_dot(int8x16_t w, int8x16_t x)
{
#if MOE_DOT
    return vdotq_s32(vdupq_n_s32(0), w, x);
#else
    return vpaddlq_s16(vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x));
#endif
}
/* 32 products; `small`: no weight is above 63, so that four fit 16 bits. */
ALWAYS_INLINE int32x4_t b32_dot(int8x16_t w0, int8x16_t w1, int8x16_t x0, int8x16_t x1, const int small)
{
#if MOE_DOT
    (void)small;
    return vdotq_s32(vdotq_s32(vdupq_n_s32(0), w0, x0), w1, x1);
#else
    const int16x8_t first = vmlal_high_s8(vmull_s8(vget_low_s8(w0), vget_low_s8(x0)), w0, x0);
    if (small) return vpaddlq_s16(vmlal_high_s8(vmlal_s8(first, vget_low_s8(w1), vget_low_s8(x1)), w1, x1));
    const int16x8_t second = vmlal_high_s8(vmull_s8(vget_low_s8(w1), vget_low_s8(x1)), w1, x1);
    return vpadalq_s16(vpaddlq_s16(first), second);
#endif
}

/* Lane i is the sum of the i-th vector. */
ALWAYS_INLINE int32x4_t i4_sum4(const int32x4_t s[4])
{
    return vpaddq_s32(vpaddq_s32(s[0], s[1]), vpaddq_s32(s[2], s[3]));
}

#endif
