/* SPDX-License-Identifier: MIT */
/*
 * How keys and values of one KV head stand in the cache, so that scores and sums need no sums across lanes.
 *
 * Keys: tiles of 16 positions, one position per lane; b counts blocks of 32 elements, v fours of elements.
 *   F32 F16 BF16  x[dim][16]
 *   Q8_0          half d[dim/32][16], then uint8 [dim/32][8][16][4]: element 32 b + 4 v + i of position p
 * stands at [b][v][p][i] as q + 128 Q4_0          half d[dim/32][16], then uint8 [dim/32][4][16][4]: as q +
 * 8, element 32 b + 4 v + i in the low half of a byte, 32 b + 16 + 4 v + i in the high one Values, one
 * element per lane: F32 F16 BF16 x[dim] for each position; the others tiles of 32 positions: Q8_0 half
 * d[dim/32][32], then uint8 [8][dim][4]: position 4 v + i at [v][element][i] as q + 128 Q4_0          half
 * d[dim/32][32], then uint8 [4][dim][4]: as q + 8, position 8 v + i in the low half of a byte, 8 v + 4 + i in
 * the high one
 *
 * Fours of bytes are what a dot product instruction takes. Halves are in the machine's order. d and q are
 * those of the type's blocks along a row (quant/blocks.h). A page of 64 positions is four tiles of keys, and
 * 64 rows or two tiles of values.
 */
#ifndef MOE_KERNEL_KV_TILE_H
#define MOE_KERNEL_KV_TILE_H

#include <stddef.h>

#define MOE_K_TILE 16u
#define MOE_V_TILE 32u

/* Bytes of the scales at the start of a tile, and of a tile with `bits` of 4 or 8 per element. */
static inline size_t moe__k_tile_scales(size_t dim) { return dim / 32 * MOE_K_TILE * 2; }
static inline size_t moe__v_tile_scales(size_t dim) { return dim / 32 * MOE_V_TILE * 2; }
static inline size_t moe__k_tile_bytes(size_t dim, unsigned bits)
{
    return moe__k_tile_scales(dim) + dim * MOE_K_TILE * bits / 8;
}
static inline size_t moe__v_tile_bytes(size_t dim, unsigned bits)
{
    return moe__v_tile_scales(dim) + dim * MOE_V_TILE * bits / 8;
}

#endif
