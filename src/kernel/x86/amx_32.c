/* SPDX-License-Identifier: MIT */
/*
 * Matrix products of the level amx with Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL and MXFP4 weights and many columns
 * (amx32.inl); ref/gemm_q.c is the definition. Fewer columns go to the level below.
 */
#include "kernel/kernel.h"
#include "kernel/x86/vint.h"
#include "quant/unpack.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/pass.inl"
#include "kernel/body/tile32.inl"
#include "kernel/body/few32.inl"
#include "kernel/x86/amx.h"
#include "kernel/x86/amx32.inl"

#define MOE_KERNEL(name, ret, args, doc) ret moe__avx512vnni_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

/* From so many columns on (measured); a tile has 16 whatever is asked for. */
#define MIN_AMX 10

#define GEMM(type) \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        if (g->n_cols < MIN_AMX) \
            moe__avx512vnni_gemm_##type(g); \
        else \
            amx_##type(g); \
    }

/* With VNNI the weights of few32.inl are stored plus an offset. */
AMX_32(q4_0, 8, 0, amx_scales_half, 0)
AMX_32(q4_1, 0, 1, amx_scales_half, 0)
AMX_32(q5_0, 16, 0, amx_scales_half, 0)
AMX_32(q5_1, 0, 1, amx_scales_half, 0)
AMX_32(q8_0, 128, 0, amx_scales_half, 1)
AMX_32(iq4_nl, 128, 0, amx_scales_half, 0)
AMX_32(mxfp4, 12, 0, amx_scales_e8m0, 0)

GEMM(q4_0)
GEMM(q4_1)
GEMM(q5_0)
GEMM(q5_1)
GEMM(q8_0)
GEMM(iq4_nl)
GEMM(mxfp4)
