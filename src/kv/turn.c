/* SPDX-License-Identifier: MIT */
/*
 * Values that are part of their keys: a page of keys (kernel/kv_tile.h) in the layout of values, as attention
 * reads them. The same numbers in another order: what is summed has the bits of a cache that keeps values by
 * themselves.
 */
#include <string.h>

#include "kv/kv.h"
#include "quant/types.h"

/* Sixteen positions of `n` elements, [n][16] to [16][n]. */
static void turn_words(uint32_t *dst, const uint32_t *k, uint32_t n)
{
    for (uint32_t d = 0; d < n; d += MOE_K_TILE)
        for (uint32_t p = 0; p < MOE_K_TILE; p++)
            for (uint32_t i = 0; i < MOE_K_TILE && d + i < n; i++)
                dst[(size_t)p * n + d + i] = k[(size_t)(d + i) * MOE_K_TILE + p];
}

static void turn_halves(uint16_t *dst, const uint16_t *k, uint32_t n)
{
    for (uint32_t d = 0; d < n; d += MOE_K_TILE)
        for (uint32_t p = 0; p < MOE_K_TILE; p++)
            for (uint32_t i = 0; i < MOE_K_TILE && d + i < n; i++)
                dst[(size_t)p * n + d + i] = k[(size_t)(d + i) * MOE_K_TILE + p];
}

/* Four fours of bytes: byte i of four k to byte k of four i. */
static void turn_fours(uint8_t *dst, const uint8_t *k)
{
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) dst[4 * i + j] = k[4 * j + i];
}

/* The same of half bytes of two fours; high: of the upper halves. */
static void turn_nibbles(uint8_t *dst, const uint8_t *k0, const uint8_t *k1, int high)
{
    uint8_t a[16], b[16];
    turn_fours(a, k0);
    turn_fours(b, k1);
    for (int i = 0; i < 16; i++)
        dst[i] = (uint8_t)(high ? a[i] >> 4 | (b[i] & 0xf0) : (a[i] & 15) | b[i] << 4);
}

/* A tile of keys to half a tile of values; far: the second half. */
static void turn_q8_0(uint8_t *dst, const uint8_t *k, uint32_t n, uint32_t far)
{
    for (uint32_t e = 0; e < n; e += 4, k += 4 * MOE_K_TILE)
        for (uint32_t p = 0; p < MOE_K_TILE; p += 4)
            turn_fours(dst + ((size_t)(far + p) / 4 * n + e) * 4, k + 4 * p);
}

static void turn_q4_0(uint8_t *dst, const uint8_t *k, uint32_t n, uint32_t far)
{
    for (uint32_t e = 0; e < n; e += e % 32 == 12 ? 20 : 4, k += 4 * MOE_K_TILE)
        for (uint32_t p = 0; p < MOE_K_TILE; p += 8) {
            uint8_t *at = dst + ((size_t)(far + p) / 8 * n + e) * 4;
            turn_nibbles(at, k + 4 * p, k + 4 * p + 16, 0);
            turn_nibbles(at + 64, k + 4 * p, k + 4 * p + 16, 1);
        }
}

void moe__kv_turn(const moe__kv *kv, const uint8_t *keys, uint32_t n, uint8_t *dst)
{
    const uint32_t dim = kv->dim_v;
    for (uint32_t at = 0; at < n; at += MOE_K_TILE, keys += kv->tile_k) {
        uint8_t *row = dst + at * (kv->tile_v / MOE_V_TILE), *tile = dst + at / MOE_V_TILE * kv->tile_v;
        const uint32_t far = at % MOE_V_TILE;
        if (kv->type_k == MOE_TYPE_F32) {
            turn_words((uint32_t *)(void *)row, (const uint32_t *)(const void *)keys, dim);
        } else if (kv->type_k == MOE_TYPE_F16 || kv->type_k == MOE_TYPE_BF16) {
            turn_halves((uint16_t *)(void *)row, (const uint16_t *)(const void *)keys, dim);
        } else {
            for (uint32_t b = 0; b < dim / 32; b++)
                memcpy(tile + 2 * (b * MOE_V_TILE + far), keys + 2 * b * MOE_K_TILE, 2 * MOE_K_TILE);
            (kv->type_k == MOE_TYPE_Q8_0 ? turn_q8_0 : turn_q4_0)(
                tile + moe__v_tile_scales(dim), keys + moe__k_tile_scales(kv->dim_k), dim, far);
        }
    }
}
