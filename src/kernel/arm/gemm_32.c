/* SPDX-License-Identifier: MIT */
/*
 * Matrix products of one level with Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL and MXFP4 weights; ref/gemm_q.c is the
 * definition. Bounds of the 16-bit sums without dot products, |x| <= 127, two products a vector (with them
 * sums have 32 bits at once):
 *
 *   weights                 a vector   that many fit
 *   0 .. 15  Q4_0 Q4_1      3810       8: 30480
 *   +- 12    MXFP4          3048       8: 24384
 *   0 .. 31  Q5_0 Q5_1      7874       4: 31496
 *   +- 128   Q8_0 IQ4_NL    32512      1
 */
#include "kernel/arm/vint.h"
#include "quant/unpack.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/gemm_lists.inl"
#include "kernel/body/pass.inl"
#include "kernel/body/tile32.inl"
#include "kernel/arm/few32.inl"

/* Fewer columns than this are computed one by one from the rows as they are. */
#define MIN_TILE 3

#define GEMM(type) GEMM_BY_COLUMNS(type, MIN_TILE, few_##type, tile_##type)

TILE_32(q4_0, 8, BY_PAIRS, 8, 0)
TILE_32(q4_1, 8, BY_PAIRS, 0, 1)
TILE_32(q5_0, 4, BY_PAIRS, 16, 0)
TILE_32(q5_1, 4, BY_PAIRS, 0, 1)
TILE_32(q8_0, 1, BY_PAIRS, 0, 0)
TILE_32(iq4_nl, 1, BY_PAIRS, 0, 0)
TILE_32(mxfp4, 8, BY_PAIRS, 0, 0)

FEW_32(q4_0, 1, 8, 0, f4_rows_half, offsetof(moe__q4_0, d), 0)
FEW_32(q4_1, 1, 0, 1, f4_rows_half, offsetof(moe__q4_1, d), offsetof(moe__q4_1, m))
FEW_32(q5_0, 1, 16, 0, f4_rows_half, offsetof(moe__q5_0, d), 0)
FEW_32(q5_1, 1, 0, 1, f4_rows_half, offsetof(moe__q5_1, d), offsetof(moe__q5_1, m))
FEW_32(q8_0, 0, 0, 0, f4_rows_half, offsetof(moe__q8_0, d), 0)
FEW_32(iq4_nl, 0, 0, 0, f4_rows_half, offsetof(moe__iq4_nl, d), 0)
FEW_32(mxfp4, 1, 0, 0, e8m0s4, 0, 0)

EACH_TYPE_32(GEMM)
