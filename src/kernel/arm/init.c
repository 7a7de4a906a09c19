/* SPDX-License-Identifier: MIT */
/* The tables of the AArch64 levels: which slots each one fills. Compiled for the base architecture. */
#include "kernel/arm/arm.h"

#define MOE_KERNEL(name, ret, args, doc) \
    ret moe__neon_##name args; \
    ret moe__dotprod_##name args; \
    ret moe__i8mm_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

#ifdef MOE_HAVE_NEON
/* Every kernel has a version for NEON. */
void moe__kernels_init_neon(moe__kernels *k)
{
#define MOE_KERNEL(name, ret, args, doc) k->name = moe__neon_##name;
#include "kernel/kernels.def"
#undef MOE_KERNEL
}
#endif

/* A level has versions of the products with int8 activations: all that its instructions are for. */
#define SET_INTEGER(level) \
    k->gemm_q4_0 = moe__##level##_gemm_q4_0; \
    k->gemm_q4_1 = moe__##level##_gemm_q4_1; \
    k->gemm_q5_0 = moe__##level##_gemm_q5_0; \
    k->gemm_q5_1 = moe__##level##_gemm_q5_1; \
    k->gemm_q8_0 = moe__##level##_gemm_q8_0; \
    k->gemm_iq4_nl = moe__##level##_gemm_iq4_nl; \
    k->gemm_mxfp4 = moe__##level##_gemm_mxfp4; \
    k->gemm_q2_k = moe__##level##_gemm_q2_k; \
    k->gemm_q3_k = moe__##level##_gemm_q3_k; \
    k->gemm_q4_k = moe__##level##_gemm_q4_k; \
    k->gemm_q5_k = moe__##level##_gemm_q5_k; \
    k->gemm_q6_k = moe__##level##_gemm_q6_k; \
    k->gemm_iq4_xs = moe__##level##_gemm_iq4_xs

#ifdef MOE_HAVE_DOTPROD
void moe__kernels_init_dotprod(moe__kernels *k)
{
    SET_INTEGER(dotprod);
    k->attn_qk_q8_0 = moe__dotprod_attn_qk_q8_0;
    k->attn_qk_q4_0 = moe__dotprod_attn_qk_q4_0;
    k->attn_av_q8_0 = moe__dotprod_attn_av_q8_0;
    k->attn_av_q4_0 = moe__dotprod_attn_av_q4_0;
}
#endif
#ifdef MOE_HAVE_I8MM
void moe__kernels_init_i8mm(moe__kernels *k) { SET_INTEGER(i8mm); }
#endif
