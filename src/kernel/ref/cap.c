/* SPDX-License-Identifier: MIT */
/*
 * Soft limits of scores and logits, x -> cap tanh(x / cap). tanh(x) = x P(x^2) / Q(x^2) on |x| <= 9, beyond
 * which it is 1 in f32; P and Q of degree 4 were fitted to the relative error (2e-8), rounding adds up to 5
 * ulp. Compiled once for plain C and once more for each instruction set, where the compiler makes vectors of
 * it.
 */
#include "kernel/ref/lanes.h"

#define CAP_P1 0x1.120b36p-3f
#define CAP_P2 0x1.ca2d32p-9f
#define CAP_P3 0x1.59c4bap-16f
#define CAP_P4 0x1.cae05cp-27f
#define CAP_Q1 0x1.de5ae4p-2f
#define CAP_Q2 0x1.a7f848p-6f
#define CAP_Q3 0x1.5887p-12f
#define CAP_Q4 0x1.a18298p-21f

void MOE_FN(softcap)(float *y, float by, float cap, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float x = by * y[i];
        x = -9.0f > x ? -9.0f : x; /* keeps a NaN */
        x = 9.0f < x ? 9.0f : x;
        const float z = x * x;
        float p = moe__fmaf(CAP_P4, z, CAP_P3), q = moe__fmaf(CAP_Q4, z, CAP_Q3);
        p = moe__fmaf(p, z, CAP_P2);
        q = moe__fmaf(q, z, CAP_Q2);
        p = moe__fmaf(p, z, CAP_P1);
        q = moe__fmaf(q, z, CAP_Q1);
        p = moe__fmaf(p, z, 1.0f);
        q = moe__fmaf(q, z, 1.0f);
        y[i] = cap * (x * p / q);
    }
}
