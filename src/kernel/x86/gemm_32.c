/* SPDX-License-Identifier: MIT */
/*
 * Matrix products of one level with Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL and MXFP4 weights; ref/gemm_q.c is the
 * definition. Bounds of the 16-bit sums of pairs without VNNI, |x| <= 127 (with it sums have 32 bits at
 * once):
 *
 *   weights                 a pair    vectors of 4 that fit
 *   0 .. 15  Q4_0 Q4_1      3810      8: 30480
 *   0 .. 24  MXFP4 + 12     6096      4: 24384
 *   0 .. 31  Q5_0 Q5_1      7874      4: 31496
 *   +- 128   Q8_0 IQ4_NL    by sign: 1: 32512
 */
#include "kernel/x86/vint.h"
#include "quant/unpack.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/gemm_lists.inl"
#include "kernel/body/pass.inl"
#include "kernel/body/tile32.inl"
#include "kernel/body/few32.inl"
#if VI_PAIR_ROWS
#include "kernel/x86/pair.inl"
#include "kernel/x86/pair32.inl"
#define TILE(type) pair_##type
#else
#define TILE(type) tile_##type
#endif

#if MOE_VNNI
#define FIT(n) 8
#define SIGNED_MODE BY_PAIRS
#define SIGNED_OFFSET 128
#else
#define FIT(n) (n)
#define SIGNED_MODE BY_SIGN
#define SIGNED_OFFSET 0
#endif

/* Fewer columns than this are computed one by one from the rows as they are. */
#define MIN_TILE (MOE_VEC == 512 ? 3 : 2)

#define GEMM(type) GEMM_BY_COLUMNS(type, MIN_TILE, few_##type, TILE(type))

TILE_32(q4_0, FIT(8), BY_PAIRS, 8, 0)
TILE_32(q4_1, FIT(8), BY_PAIRS, 0, 1)
TILE_32(q5_0, FIT(4), BY_PAIRS, 16, 0)
TILE_32(q5_1, FIT(4), BY_PAIRS, 0, 1)
TILE_32(q8_0, FIT(1), SIGNED_MODE, SIGNED_OFFSET, 0)
TILE_32(iq4_nl, FIT(1), SIGNED_MODE, SIGNED_OFFSET, 0)
TILE_32(mxfp4, FIT(4), BY_PAIRS, 12, 0)

#if VI_PAIR_ROWS
PAIR_32(q4_0, 8, 0)
PAIR_32(q4_1, 0, 1)
PAIR_32(q5_0, 16, 0)
PAIR_32(q5_1, 0, 1)
PAIR_32(q8_0, SIGNED_OFFSET, 0)
PAIR_32(iq4_nl, SIGNED_OFFSET, 0)
PAIR_32(mxfp4, 12, 0)
#endif

FEW_32(q4_0, BY_PAIRS, 8, 0, halves8, offsetof(moe__q4_0, d), 0)
FEW_32(q4_1, BY_PAIRS, 0, 1, halves8, offsetof(moe__q4_1, d), offsetof(moe__q4_1, m))
FEW_32(q5_0, BY_PAIRS, 16, 0, halves8, offsetof(moe__q5_0, d), 0)
FEW_32(q5_1, BY_PAIRS, 0, 1, halves8, offsetof(moe__q5_1, d), offsetof(moe__q5_1, m))
FEW_32(q8_0, SIGNED_MODE, SIGNED_OFFSET, 0, halves8, offsetof(moe__q8_0, d), 0)
FEW_32(iq4_nl, SIGNED_MODE, SIGNED_OFFSET, 0, halves8, offsetof(moe__iq4_nl, d), 0)
FEW_32(mxfp4, BY_PAIRS, 12, 0, e8m0s8, 0, 0)

EACH_TYPE_32(GEMM)
