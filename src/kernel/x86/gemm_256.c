/* SPDX-License-Identifier: MIT */
/*
 * Matrix products of one level with Q2_K .. Q6_K and IQ4_XS weights; ref/gemm_q.c is the definition. Bounds
 * of the exact sums, |x| <= 127:
 *
 *   format   weights   a part with VNNI: 32 bits, < 2^15 for BY_PAIRS    without: pairs of 16 bits
 *   Q2_K     0 .. 3    16 elements: 6096                                  2 vectors of 4: 1524 ... 4: 3048
 *   Q3_K     0 .. 7    16 elements: 14224                                 4 vectors: 7112
 *   Q4_K     0 .. 15   16 elements: 30480                                 8 vectors: 30480
 *   Q5_K     0 .. 31   by 32-bit multiplication                           4 vectors: 31496
 *   Q6_K     0 .. 63   by 32-bit multiplication                           2 vectors: 32004
 *   IQ4_XS   +- 127    plus 128, by 32-bit multiplication                 by sign, 1 vector: 32258
 *
 * With one vector of 64 or 32 bytes in order (few columns) a part is four products: 32004 for Q6_K.
 */
#include "kernel/x86/vint.h"
#include "quant/unpack.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/gemm_lists.inl"
#include "kernel/body/pass.inl"
#include "kernel/body/tile256.inl"
#include "kernel/body/unpack256.inl"
#include "kernel/body/few256.inl"
#if MOE_VNNI && MOE_VEC == 512
#include "kernel/body/few256_vnni.inl"
#endif
#if VI_PAIR_ROWS
#include "kernel/x86/pair.inl"
#include "kernel/x86/pair256.inl"
#define TILE(type) pair_##type
#else
#define TILE(type) tile_##type
#endif

#if MOE_VNNI
#define WIDE BY_MUL
#define LEVELS_OFFSET 7
#define FIT(vnni, other) (vnni)
#else
#define WIDE BY_SIGN
#define LEVELS_OFFSET 0
#define FIT(vnni, other) (other)
#endif

/* Fewer columns than this are computed one by one from the rows as they are. */
#define MIN_TILE (MOE_VEC == 512 ? 3 : 2)

#define GEMM(type) GEMM_BY_COLUMNS(type, MIN_TILE, few_##type, TILE(type))

TILE_256(q2_k, 16, FIT(4, 4), BY_PAIRS, 0, 1)
TILE_256(q3_k, 16, FIT(4, 4), BY_PAIRS, 2, 0)
TILE_256(q4_k, 8, FIT(4, 8), BY_PAIRS, 0, 1)
TILE_256(q5_k, 8, FIT(8, 4), FIT(BY_MUL, BY_PAIRS), 0, 1)
TILE_256(q6_k, 16, FIT(4, 2), FIT(BY_MUL, BY_PAIRS), 5, 0)
TILE_256(iq4_xs, 8, FIT(8, 1), WIDE, LEVELS_OFFSET, 0)

#if VI_PAIR_ROWS
PAIR_256(q2_k, unpack_folded_q2_k, PAIR_16_FOLDED, BY_PAIRS, -1, 1)
PAIR_256(q3_k, unpack_folded_q3_k, PAIR_16_FOLDED, BY_PAIRS, 0, 0)
PAIR_256(q4_k, unpack_q4_k, PAIR_32_PAIRS, BY_PAIRS, -1, 1)
PAIR_256(q5_k, unpack_q5_k, PAIR_32_MUL, BY_MUL, -1, 1)
PAIR_256(q6_k, unpack_q6_k, PAIR_16_MUL, BY_MUL, 5, 0)
PAIR_256(iq4_xs, unpack_iq4_xs, PAIR_32_MUL, BY_MUL, LEVELS_OFFSET, 0)
#endif

#if MOE_VNNI && MOE_VEC == 512
FEW_256(q2_k, 16, 0, 1)
FEW_256(q3_k, 16, 2, 0)
FEW_256(q4_k, 8, 0, 1)
FEW_256(q5_k, 8, 0, 1)
FEW_256(q6_k, 16, 5, 0)
#else
FEW_256_ROWS(q2_k, BY_PAIRS, 0, 1, m_q2_k, offsetof(moe__q2_k, dmin))
FEW_256_ROWS(q3_k, BY_PAIRS, 2, 0, NO_MIN, 0)
FEW_256_ROWS(q4_k, BY_PAIRS, 0, 1, m_q4_k, offsetof(moe__q4_k, dmin))
FEW_256_ROWS(q5_k, BY_PAIRS, 0, 1, m_q5_k, offsetof(moe__q5_k, dmin))
FEW_256_ROWS(q6_k, BY_PAIRS, 5, 0, NO_MIN, 0)
#endif
FEW_256_ROWS(iq4_xs, WIDE, LEVELS_OFFSET, 0, NO_MIN, 0)

STREAM_DRIVER(few_q2_k, FEW_ROWS, few4_q2_k, _mm_storeu_ps, 256)
STREAM_DRIVER(few_q3_k, FEW_ROWS, few4_q3_k, _mm_storeu_ps, 256)
STREAM_DRIVER(few_q4_k, FEW_ROWS, few4_q4_k, _mm_storeu_ps, 256)
STREAM_DRIVER(few_q5_k, FEW_ROWS, few4_q5_k, _mm_storeu_ps, 256)
STREAM_DRIVER(few_q6_k, FEW_ROWS, few4_q6_k, _mm_storeu_ps, 256)
STREAM_DRIVER(few_iq4_xs, FEW_ROWS, few4_iq4_xs, _mm_storeu_ps, 256)

EACH_TYPE_256(GEMM)
