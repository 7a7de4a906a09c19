/* SPDX-License-Identifier: MIT */
/* See matrix.h. */
#include "kernel/matrix.h"

/* Columns per kernel call: their activations stay in the second-level cache while a block of weight rows
 * passes. */
#define COLS_PER_CALL 128u

void moe__rows_pack(const moe__rows *r, const moe__kernels *k, size_t i, uint32_t formats)
{
    const float *x = moe__row(r, i);
    if (formats & MOE_ACT_BIT(MOE_ACT_Q8_32))
        k->act_q8_32((char *)r->act[MOE_ACT_Q8_32] + i * r->act_bytes[MOE_ACT_Q8_32], x, r->width);
    if (formats & MOE_ACT_BIT(MOE_ACT_Q8_256))
        k->act_q8_256((char *)r->act[MOE_ACT_Q8_256] + i * r->act_bytes[MOE_ACT_Q8_256], x, r->width);
}

/* The oracle: one weight row at a time, dequantised. */
static void exact_rows(const moe__product *p, const moe__kernels *k, moe__gemm g, uint32_t first,
                       uint32_t n_rows, float *row)
{
    g.w = row;
    g.w_bytes = 0;
    g.n_rows = 1;
    for (uint32_t r = first; r < first + n_rows; r++) {
        p->w->type->dequant((const char *)p->data + (size_t)r * p->w->row_bytes, row, p->w->n_in);
        g.y = p->y + r;
        k->gemm_f32(&g);
    }
}

void moe__product_rows(const moe__product *p, const moe__kernels *k, uint32_t first, uint32_t n_rows,
                       float *exact)
{
    const moe__act act = moe__matrix_act(p->w, exact != NULL);
    const char *x = act == MOE_ACT_F32 ? (const char *)p->x->f32 : p->x->act[act];
    moe__gemm g = {.y = p->y + first,
                   .ldy = p->ldy,
                   .w = moe__matrix_row(p->w, p->data, first),
                   .w_bytes = p->w->row_bytes,
                   .x = x,
                   .x_bytes = p->x->act_bytes[act],
                   .col = p->col,
                   .n_rows = n_rows,
                   .n_cols = p->n_cols,
                   .n = p->w->n_in,
                   .next = p->next};
    if (!p->col) g.x = x + (size_t)p->first_col * g.x_bytes;
    if (exact) {
        exact_rows(p, k, g, first, n_rows, exact);
        return;
    }
    for (uint32_t c = 0; c < p->n_cols; c += COLS_PER_CALL) {
        moe__gemm part = g;
        part.n_cols = p->n_cols - c < COLS_PER_CALL ? p->n_cols - c : COLS_PER_CALL;
        part.y = g.y + (size_t)c * g.ldy;
        if (p->col)
            part.col = p->col + c;
        else
            part.x = (const char *)g.x + (size_t)c * g.x_bytes;
        p->w->gemm(&part);
    }
}

/*
 * An item of a few columns takes up to 15 microseconds of reading: kernels read an item as four or eight
 * streams, and long streams come nearer to what memory can give. With many columns the kernels want more rows
 * for what they prepare once. Four items for each member leave little to wait for.
 */
#define ITEM_BYTES_MIN   8192u
#define ITEM_BYTES_FEW   262144u
#define ITEM_BYTES_MANY  131072u
#define MANY_COLUMNS     5u
#define ITEMS_PER_MEMBER 4u

uint32_t moe__rows_per_item(const moe__matrix *w, size_t n_matrices, size_t n_cols, uint32_t n_members)
{
    const size_t most = n_cols < MANY_COLUMNS ? ITEM_BYTES_FEW : ITEM_BYTES_MANY;
    const size_t row = w->row_bytes ? w->row_bytes : 1;
    const size_t share = n_members == 1 ? most : n_matrices * w->n_out * row / (ITEMS_PER_MEMBER * n_members);
    const size_t bytes = share < ITEM_BYTES_MIN ? ITEM_BYTES_MIN : share > most ? most : share;
    const size_t rows = bytes / row;
    return rows < 24 ? 16 : rows > 256 ? 256 : (uint32_t)((rows + 16) / 32 * 32);
}
