/* SPDX-License-Identifier: MIT */
/*
 * Matrix products of the level amx with Q2_K .. Q6_K and IQ4_XS weights and many columns (amx256.inl);
 * ref/gemm_q.c is the definition. Fewer columns go to the level below.
 */
#include "kernel/kernel.h"
#include "kernel/x86/vint.h"
#include "quant/unpack.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/pass.inl"
#include "kernel/body/tile256.inl"
#include "kernel/body/few256.inl"
#include "kernel/x86/amx.h"
#include "kernel/x86/amx256.inl"

#define MOE_KERNEL(name, ret, args, doc) ret moe__avx512vnni_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

/* From `min` columns on (measured); a tile has 16 whatever is asked for. */
#define GEMM(type, mode, min) \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        if (g->n_cols < (min)) \
            moe__avx512vnni_gemm_##type(g); \
        else \
            amx_gemm(g, mode); \
    }

GEMM(q2_k, AMX_Q2, 5)
GEMM(q3_k, AMX_Q3, 5)
GEMM(q4_k, AMX_Q4, 10)
GEMM(q5_k, AMX_Q5, 9)
GEMM(q6_k, AMX_Q6, 9)
GEMM(iq4_xs, AMX_IQ4, 12)
