/* SPDX-License-Identifier: MIT */
/* The tables of the x86 levels: which slots each one fills. Compiled without any -m flag. */
#include "kernel/x86/x86.h"

#define MOE_FLOAT_KERNELS(X, isa) \
    X(isa, gemm_f32) X(isa, gemm_f16) X(isa, gemm_bf16) X(isa, act_q8_32) X(isa, act_q8_256) \
    X(isa, rms_norm) X(isa, add) X(isa, scale) X(isa, axpy) X(isa, swiglu) X(isa, sigmoid) X(isa, softmax) \
    X(isa, rope) X(isa, to_f16) X(isa, from_f16) X(isa, attn_qk_f32) X(isa, attn_qk_f16) \
    X(isa, attn_qk_bf16) X(isa, attn_av_f32) X(isa, attn_av_f16) X(isa, attn_av_bf16) X(isa, attn_weigh) \
    X(isa, attn_exp) X(isa, exp) X(isa, softcap) X(isa, exp64) X(isa, log64)

#define MOE_INT_KERNELS(X, isa) \
    X(isa, gemm_q4_0) X(isa, gemm_q4_1) X(isa, gemm_q5_0) X(isa, gemm_q5_1) X(isa, gemm_q8_0) \
    X(isa, gemm_iq4_nl) X(isa, gemm_mxfp4) X(isa, gemm_q2_k) X(isa, gemm_q3_k) X(isa, gemm_q4_k) \
    X(isa, gemm_q5_k) X(isa, gemm_q6_k) X(isa, gemm_iq4_xs) X(isa, attn_qk_q8_0) X(isa, attn_qk_q4_0) \
    X(isa, attn_av_q8_0) X(isa, attn_av_q4_0)

#define MOE_AMX_KERNELS(X, isa) \
    X(isa, gemm_q4_0) X(isa, gemm_q4_1) X(isa, gemm_q5_0) X(isa, gemm_q5_1) X(isa, gemm_q8_0) \
    X(isa, gemm_iq4_nl) X(isa, gemm_mxfp4) X(isa, gemm_q2_k) X(isa, gemm_q3_k) X(isa, gemm_q4_k) \
    X(isa, gemm_q5_k) X(isa, gemm_q6_k) X(isa, gemm_iq4_xs) \
    X(isa, attn_qk_q8_0) X(isa, attn_qk_q4_0) X(isa, attn_av_q8_0) X(isa, attn_av_q4_0)

#define MOE_KERNEL(name, ret, args, doc) \
    ret moe__avx2_##name args; \
    ret moe__avxvnni_##name args; \
    ret moe__avx512_##name args; \
    ret moe__avx512vnni_##name args; \
    ret moe__amx_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

#define SET(isa, name) k->name = moe__##isa##_##name;

#ifdef MOE_HAVE_AVX2
void moe__kernels_init_avx2(moe__kernels *k)
{
    MOE_FLOAT_KERNELS(SET, avx2)
    MOE_INT_KERNELS(SET, avx2)
}
#endif

#ifdef MOE_HAVE_AVXVNNI
void moe__kernels_init_avxvnni(moe__kernels *k) { MOE_INT_KERNELS(SET, avxvnni) }
#endif

#ifdef MOE_HAVE_AVX512
void moe__kernels_init_avx512(moe__kernels *k)
{
    MOE_FLOAT_KERNELS(SET, avx512)
    MOE_INT_KERNELS(SET, avx512)
}
#endif

#ifdef MOE_HAVE_AVX512VNNI
void moe__kernels_init_avx512vnni(moe__kernels *k) { MOE_INT_KERNELS(SET, avx512vnni) }
#endif

#ifdef MOE_HAVE_AMX
void moe__kernels_init_amx(moe__kernels *k) { MOE_AMX_KERNELS(SET, amx) }
#endif
