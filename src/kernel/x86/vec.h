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

/* The same for four vectors at once: lane i is the sum of the i-th. */
static inline __m128 v16_sum4(v16 a, v16 b, v16 c, v16 d)
{
    const __m128 fa = v16_fold4(a), fb = v16_fold4(b), fc = v16_fold4(c), fd = v16_fold4(d);
    const __m128 ab = _mm_add_ps(_mm_movelh_ps(fa, fb), _mm_movehl_ps(fb, fa)); /* a0+a2 a1+a3 b0+b2 b1+b3 */
    const __m128 cd = _mm_add_ps(_mm_movelh_ps(fc, fd), _mm_movehl_ps(fd, fc));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x88), _mm_shuffle_ps(ab, cd, 0xdd));
}

/* See moe__exp1. */
static inline v16 v16_exp(v16 x)
{
    x = v16_max(v16_set1(MOE_EXP_LO), x);
    x = v16_min(v16_set1(MOE_EXP_HI), x);
    const v16 t = v16_fma(x, v16_set1(MOE_EXP_LOG2E), v16_set1(MOE_EXP_MAGIC));
    const v16 n = v16_sub(t, v16_set1(MOE_EXP_MAGIC));
    v16 r = v16_fma(n, v16_set1(-MOE_EXP_LN2_HI), x);
    r = v16_fma(n, v16_set1(-MOE_EXP_LN2_LO), r);
    v16 q = v16_fma(v16_set1(MOE_EXP_C6), r, v16_set1(MOE_EXP_C5));
    q = v16_fma(q, r, v16_set1(MOE_EXP_C4));
    q = v16_fma(q, r, v16_set1(MOE_EXP_C3));
    q = v16_fma(q, r, v16_set1(MOE_EXP_C2));
    const v16 p = v16_add(v16_set1(1.0f), v16_fma(q, v16_mul(r, r), r));
    return v16_scale2(p, t, n);
}

#endif
