/* SPDX-License-Identifier: MIT */
/* The exponential of sixteen lanes; moe__exp1 in ref/lanes.h is the definition. */

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
