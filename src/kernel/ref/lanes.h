/* SPDX-License-Identifier: MIT */
/*
 * The shared arithmetic of the reference kernels: sixteen partial sums with one fixed tree, and the
 * exponential. A SIMD version that does the same operations per element gives the same bits: nothing here
 * but IEEE add, multiply, fma, divide and square root, rounded to nearest, and integer operations on the
 * bits. NaN results are NaN everywhere, but their payload is not promised.
 *
 * The files of this folder are also fit to be compiled once more for an instruction set: -DMOE_ISA=avx2
 * -mavx2 -mfma names the functions moe__avx2_<kernel> instead of moe__ref_<kernel>, with the same bits and
 * the compiler's own vectorisation.
 */
#ifndef MOE_KERNEL_REF_LANES_H
#define MOE_KERNEL_REF_LANES_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/fma.h"
#include "base/half.h"
#include "kernel/kernel.h"

/* Whoever writes fmaf behind this line means the one that rounds once. */
#if defined(__MINGW32__) && !defined(__FMA__)
#define fmaf moe__fmaf
#endif

#ifndef MOE_ISA
#define MOE_ISA ref
#endif
#define MOE_JOIN_(isa, name) moe__##isa##_##name
#define MOE_JOIN(isa, name) MOE_JOIN_(isa, name)
#define MOE_FN(name) MOE_JOIN(MOE_ISA, name)

#define MOE_KERNEL(name, ret, args, doc) ret MOE_FN(name) args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

#define MOE_LANES 16

typedef struct moe__lanes {
    float v[MOE_LANES];
} moe__lanes;

/* Lanes i and i + 8, then i + 4, i + 2, i + 1. */
static inline float moe__lanes_sum(const moe__lanes *a)
{
    float s[8];
    for (int i = 0; i < 8; i++) s[i] = a->v[i] + a->v[i + 8];
    for (int i = 0; i < 4; i++) s[i] += s[i + 4];
    for (int i = 0; i < 2; i++) s[i] += s[i + 2];
    return s[0] + s[1];
}

/* Rows of a file may stand at any address: these compile to plain loads. */
static inline float moe__load_f32(const void *p) { float x; memcpy(&x, p, sizeof x); return x; }
static inline uint16_t moe__load_u16(const void *p) { uint16_t x; memcpy(&x, p, sizeof x); return x; }

/*
 * exp(x), at most 1.01 ulp off. x = n ln2 + r with n the nearest integer and |r| <= ln2 / 2; ln2 in two
 * parts, each subtracted by one fma; exp(r) = 1 + (r + r^2 q(r)), q the minimax polynomial of degree 4 for
 * the relative error; then times 2^n in two exact halves, so that only a subnormal result is rounded a
 * second time (the same result as one rounding of the scaled value). x > 88.73 gives +inf, x < -103.98
 * gives 0, subnormal results are kept, NaN stays NaN.
 *
 * In SIMD: clamp with max(lo, x) and min(hi, x), operands in this order keep a NaN; t and n are plain
 * vector operations; the two factors are (i + 127) << 23 for i = n / 2 and n - n / 2 (any split gives the
 * same bits; so does AVX-512's scalef).
 */
#define MOE_EXP_LO -104.0f
#define MOE_EXP_HI 89.0f
#define MOE_EXP_LOG2E 0x1.715476p+0f
#define MOE_EXP_MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to an integer, found in the low bits */
#define MOE_WEIGH_STEP 0x1.020408p-7f /* 1 / 127, see weigh_block in ref/attn.c */
#define MOE_EXP_LN2_HI 0x1.62e43p-1f
#define MOE_EXP_LN2_LO -0x1.05c61p-29f
#define MOE_EXP_C2 0x1.fffffcp-2f
#define MOE_EXP_C3 0x1.555492p-3f
#define MOE_EXP_C4 0x1.5558f2p-5f
#define MOE_EXP_C5 0x1.123a2p-7f
#define MOE_EXP_C6 0x1.6a23cep-10f

static inline float moe__exp1(float x)
{
    x = MOE_EXP_LO > x ? MOE_EXP_LO : x;
    x = MOE_EXP_HI < x ? MOE_EXP_HI : x;
    const float t = moe__fmaf(x, MOE_EXP_LOG2E, MOE_EXP_MAGIC);
    const float n = t - MOE_EXP_MAGIC;
    /*
     * Of a NaN the low bits may be anything: keep the shifts below in range. The product is NaN all the
     * same.
     */
    const int32_t i = x == x ? (int32_t)(moe__f32_bits(t) - moe__f32_bits(MOE_EXP_MAGIC)) : 0;
    float r = moe__fmaf(n, -MOE_EXP_LN2_HI, x);
    r = moe__fmaf(n, -MOE_EXP_LN2_LO, r);
    float q = moe__fmaf(MOE_EXP_C6, r, MOE_EXP_C5);
    q = moe__fmaf(q, r, MOE_EXP_C4);
    q = moe__fmaf(q, r, MOE_EXP_C3);
    q = moe__fmaf(q, r, MOE_EXP_C2);
    const float p = 1.0f + moe__fmaf(q, r * r, r);
    const int32_t h = i / 2;
    const float a = moe__f32_from_bits((uint32_t)(h + 127) << 23);
    const float b = moe__f32_from_bits((uint32_t)(i - h + 127) << 23);
    return p * a * b;
}

/* 1 / (1 + exp(-x)) */
static inline float moe__sigmoid1(float x) { return 1.0f / (1.0f + moe__exp1(-x)); }

#endif
