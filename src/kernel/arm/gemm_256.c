/* SPDX-License-Identifier: MIT */
/*
 * Matrix products of one level with Q2_K .. Q6_K and IQ4_XS weights; ref/gemm_q.c is the definition. Bounds
 * of the 16-bit sums without dot products, |x| <= 127, two products a vector (with them sums have 32 bits at
 * once, and a part is a whole group):
 *
 *   format   weights   a vector   that many fit, at most a group of 16 (4) or 32 (8)
 *   Q2_K     0 .. 3    762        4: 3048
 *   Q3_K     0 .. 7    1778       4: 7112
 *   Q4_K     0 .. 15   3810       8: 30480
 *   Q5_K     0 .. 31   7874       4: 31496
 *   Q6_K     0 .. 63   16002      2: 32004
 *   IQ4_XS   +- 127    32258      1
 *
 * The sum of a block with its scales stays below 2^31: 256 * 63 * 127 * 128 for Q6_K, less for the others.
 */
#include "kernel/arm/vint.h"
#include "quant/unpack.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/gemm_lists.inl"
#include "kernel/body/pass.inl"
#include "kernel/body/tile256.inl"
#include "kernel/body/unpack256.inl"
#include "kernel/arm/few256.inl"

/* Fewer columns than this are computed one by one from the rows as they are. */
#define MIN_TILE 3

#define GEMM(type) GEMM_BY_COLUMNS(type, MIN_TILE, few_##type, tile_##type)

TILE_256(q2_k, 16, 4, BY_MUL, 0, 1)
TILE_256(q3_k, 16, 4, BY_MUL, 2, 0)
TILE_256(q4_k, 8, 8, BY_MUL, 0, 1)
TILE_256(q5_k, 8, 4, BY_MUL, 0, 1)
TILE_256(q6_k, 16, 2, BY_MUL, 5, 0)
TILE_256(iq4_xs, 8, 1, BY_MUL, 0, 0)

FEW_256(q2_k, 16, 1, 0, 1, offsetof(moe__q2_k, dmin))
FEW_256(q3_k, 16, 1, 2, 0, 0)
FEW_256(q4_k, 8, 1, 0, 1, offsetof(moe__q4_k, dmin))
FEW_256(q5_k, 8, 1, 0, 1, offsetof(moe__q5_k, dmin))
FEW_256(q6_k, 16, 1, 5, 0, 0)
FEW_256(iq4_xs, 8, 0, 0, 0, 0)

EACH_TYPE_256(GEMM)
