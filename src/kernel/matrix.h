/* SPDX-License-Identifier: MIT */
/*
 * Matrices of weights and rows of activations: what the steps of a layer are written in. A product is
 * computed in blocks of weight rows, any block by any thread: each element is one kernel's exact result, so
 * the split never shows.
 */
#ifndef MOE_KERNEL_MATRIX_H
#define MOE_KERNEL_MATRIX_H

#include "kernel/kernel.h"

/* Weights [n_out][n_in], one after the other; NULL data where a model lacks the role. */
typedef struct moe__matrix {
    const void *data;
    const moe__type *type;
    uint32_t n_out, n_in;
    size_t row_bytes;
    moe__gemm_fn gemm;
} moe__matrix;

/* Activations [n][width] as f32, and in the formats that matrix products read them in. */
typedef struct moe__rows {
    float *f32;
    uint32_t width;
    void *act[MOE_N_ACTS];        /* [MOE_ACT_F32] is f32 itself; others NULL if never read */
    size_t act_bytes[MOE_N_ACTS]; /* between rows */
} moe__rows;

/* Bit of an activation format in a set of formats. */
#define MOE_ACT_BIT(act) (1u << (unsigned)(act))

static inline float *moe__row(const moe__rows *r, size_t i) { return r->f32 + i * r->width; }

/* Fills the other formats of row i from its f32 values. */
void moe__rows_pack(const moe__rows *r, const moe__kernels *k, size_t i, uint32_t formats);

/* Which format of its input a matrix reads; with `exact`, f32 whatever the type. */
static inline moe__act moe__matrix_act(const moe__matrix *w, int exact)
{
    return exact ? MOE_ACT_F32 : w->type->act;
}

/* One product: y[c * ldy + r] = w[r] . x[col[c]] for first <= r < first + n_rows. */
typedef struct moe__product {
    const moe__matrix *w;
    const void *data; /* the matrix's rows: w->data, or an expert's */
    const moe__rows *x;
    const uint32_t *col; /* [n_cols] rows of x, or NULL = 0 .. n_cols-1 */
    uint32_t first_col;  /* with col NULL: the first row of x */
    uint32_t n_cols;
    float *y; /* element of column 0 and weight row 0 */
    size_t ldy;
    const void *next; /* what the caller reads behind these rows; NULL: the rows that follow */
} moe__product;

static inline const char *moe__matrix_row(const moe__matrix *w, const void *data, size_t row)
{
    return (const char *)data + row * w->row_bytes;
}

/* `exact`: NULL, or [n_in] floats of scratch: then weights are dequantised and the activations taken as f32.
 */
void moe__product_rows(const moe__product *p, const moe__kernels *k, uint32_t first, uint32_t n_rows,
                       float *exact);

/*
 * Weight rows per work item, where n_matrices of this size meet n_cols columns each and are shared by
 * n_members: enough bytes to be worth
 * taking, few enough to share well.
 */
uint32_t moe__rows_per_item(const moe__matrix *w, size_t n_matrices, size_t n_cols, uint32_t n_members);

#endif
