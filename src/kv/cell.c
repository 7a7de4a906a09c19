/* SPDX-License-Identifier: MIT */
/* See cell.h. */
#include "kv/cell.h"

#include <string.h>

static uint8_t *cell_k(const moe__kv *kv, moe__kv_place p)
{
    return kv->k + (((size_t)p.layer * kv->n_pages + p.page) * MOE_KV_PAGE + p.at) * kv->width_k * kv->size_k;
}

static uint8_t *cell_v(const moe__kv *kv, moe__kv_place p)
{
    return kv->v + (((size_t)p.layer * kv->n_pages + p.page) * MOE_KV_PAGE + p.at) * kv->width_v * kv->size_v;
}

static void load_cell(float *row, const uint8_t *cell, int type, size_t n)
{
    const moe__type *t = moe__type_get(type);
    t->dequant(cell, row, n);
}

static void store_cell(const moe__kernels *k, uint8_t *cell, const float *row, int type, size_t n)
{
    if (type == MOE_TYPE_F32)
        memcpy(cell, row, n * sizeof *row);
    else
        k->to_f16((uint16_t *)(void *)cell, row, n);
}

void moe__kv_load_k(const moe__kv *kv, moe__kv_place at, float *row)
{
    load_cell(row, cell_k(kv, at), kv->type_k, kv->width_k);
}

void moe__kv_load_v(const moe__kv *kv, moe__kv_place at, float *row)
{
    load_cell(row, cell_v(kv, at), kv->type_v, kv->width_v);
}

void moe__kv_store_k(moe__kv *kv, const moe__kernels *k, moe__kv_place at, const float *row)
{
    store_cell(k, cell_k(kv, at), row, kv->type_k, kv->width_k);
}

void moe__kv_store_v(moe__kv *kv, const moe__kernels *k, moe__kv_place at, const float *row)
{
    store_cell(k, cell_v(kv, at), row, kv->type_v, kv->width_v);
}

void moe__kv_get_k(const moe__kv *kv, moe__kv_place at, uint8_t *cell)
{
    memcpy(cell, cell_k(kv, at), kv->cell_k);
}

void moe__kv_get_v(const moe__kv *kv, moe__kv_place at, uint8_t *cell)
{
    memcpy(cell, cell_v(kv, at), kv->cell_v);
}

void moe__kv_put_k(moe__kv *kv, moe__kv_place at, const uint8_t *cell)
{
    memcpy(cell_k(kv, at), cell, kv->cell_k);
}

void moe__kv_put_v(moe__kv *kv, moe__kv_place at, const uint8_t *cell)
{
    memcpy(cell_v(kv, at), cell, kv->cell_v);
}

void moe__kv_move_v(moe__kv *kv, moe__kv_place from, moe__kv_place to)
{
    memcpy(cell_v(kv, to), cell_v(kv, from), kv->cell_v);
}
