/* SPDX-License-Identifier: MIT */
/*
 * One position of one layer in the KV cache: its key or its value, all heads. Nothing but this file, cell.c
 * and the attention kernels knows how a page is laid out. A position is named by page and place in the page
 * (moe__kv_page, pos % MOE_KV_PAGE). A cell is the same as a row of the cache's type in a file: kv->cell_k
 * and kv->cell_v bytes, little-endian; cells go in and out without loss.
 */
#ifndef MOE_KV_CELL_H
#define MOE_KV_CELL_H

#include "kernel/kernel.h"
#include "kv/kv.h"

typedef struct moe__kv_place {
    uint32_t layer, page, at; /* at < MOE_KV_PAGE */
} moe__kv_place;

static inline moe__kv_place moe__kv_at(const moe__kv *kv, uint32_t layer, uint32_t q, uint32_t pos)
{
    return (moe__kv_place){layer, moe__kv_page(kv, q, pos), pos % MOE_KV_PAGE};
}

/* Rows of all heads' floats; storing rounds to the cache's type. Where values are part of their keys
 * (v_in_k), they can be loaded; everything else that is done to them does nothing. */
void moe__kv_load_k(const moe__kv *kv, moe__kv_place at, float *row);
void moe__kv_load_v(const moe__kv *kv, moe__kv_place at, float *row);
void moe__kv_store_k(moe__kv *kv, const moe__kernels *k, moe__kv_place at, const float *row);
void moe__kv_store_v(moe__kv *kv, const moe__kernels *k, moe__kv_place at, const float *row);

/* Cells as they are. */
void moe__kv_get_k(const moe__kv *kv, moe__kv_place at, uint8_t *cell);
void moe__kv_get_v(const moe__kv *kv, moe__kv_place at, uint8_t *cell);
void moe__kv_put_k(moe__kv *kv, moe__kv_place at, const uint8_t *cell);
void moe__kv_put_v(moe__kv *kv, moe__kv_place at, const uint8_t *cell);
/* Copies a value between two positions of a layer. */
void moe__kv_move_v(moe__kv *kv, moe__kv_place from, moe__kv_place to);

#endif
