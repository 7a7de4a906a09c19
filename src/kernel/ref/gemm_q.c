/* SPDX-License-Identifier: MIT */
/*
 * Matrix products with quantised weights and int8 activations. Per block: the sum of products is an exact
 * int32 (sub-block scales included), then one fma with (weight scale * activation scale) into the
 * accumulator of that (row, column); minima go into a second accumulator the same way. Blocks ascend.
 * Formats without minima have no second accumulator.
 *
 *   blocks of 32:  acc = fma(d_w * d_a, isum, acc)   accm = fma(m_w * d_a, sum_a, accm)      y = acc + accm
 *   blocks of 256: acc = fma(d_w * d_a, isum, acc)   accm = fma(dmin_w * d_a, msum, accm)    y = acc - accm
 *   with isum = sum_j scale_j sum_(i in j) q_i a_i,  msum = sum_j min_j sum16_j
 */
#include "kernel/ref/lanes.h"
#include "quant/unpack.h"

/* Columns that share one unpacking of a weight block. */
#define TILE 8

static inline int32_t dot32(const int8_t *q, const int8_t *a)
{
    int32_t sum = 0;
    for (int i = 0; i < 32; i++) sum += (int32_t)q[i] * a[i];
    return sum;
}

static inline int32_t dot256(const moe__unpacked256 *u, const int8_t *a)
{
    int32_t sum = 0;
    for (int j = 0; j < 16; j++) {
        int32_t part = 0;
        for (int i = 0; i < 16; i++) part += (int32_t)u->q[16 * j + i] * a[16 * j + i];
        sum += u->scale[j] * part;
    }
    return sum;
}

static inline int32_t min256(const moe__unpacked256 *u, const int16_t *sum16)
{
    int32_t sum = 0;
    for (int j = 0; j < 16; j++) sum += (int32_t)u->min[j] * sum16[j];
    return sum;
}

/* Activation row of column c. */
static inline const void *row(const moe__gemm *g, size_t c)
{
    return (const unsigned char *)g->x + (g->col ? g->col[c] : c) * g->x_bytes;
}

#define GEMM_32(type, has_min) \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        for (size_t c0 = 0; c0 < g->n_cols; c0 += TILE) { \
            const size_t n = g->n_cols - c0 < TILE ? g->n_cols - c0 : TILE; \
            const moe__act32 *a[TILE]; \
            for (size_t c = 0; c < n; c++) a[c] = row(g, c0 + c); \
            for (size_t r = 0; r < g->n_rows; r++) { \
                const moe__##type *w = (const void *)((const unsigned char *)g->w + r * g->w_bytes); \
                float acc[TILE] = {0}, accm[TILE] = {0}; \
                for (size_t b = 0; b < g->n / 32; b++) { \
                    moe__unpacked32 u; \
                    moe__unpack_##type(&w[b], &u); \
                    for (size_t c = 0; c < n; c++) { \
                        const moe__act32 *x = &a[c][b]; \
                        acc[c] = moe__fmaf(u.d * x->d, (float)dot32(u.q, x->q), acc[c]); \
                        if (has_min) accm[c] = moe__fmaf(u.m * x->d, (float)x->sum, accm[c]); \
                    } \
                } \
                for (size_t c = 0; c < n; c++) \
                    g->y[(c0 + c) * g->ldy + r] = has_min ? acc[c] + accm[c] : acc[c]; \
            } \
        } \
    }

#define GEMM_256(type, has_min) \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        for (size_t c0 = 0; c0 < g->n_cols; c0 += TILE) { \
            const size_t n = g->n_cols - c0 < TILE ? g->n_cols - c0 : TILE; \
            const moe__act256 *a[TILE]; \
            for (size_t c = 0; c < n; c++) a[c] = row(g, c0 + c); \
            for (size_t r = 0; r < g->n_rows; r++) { \
                const moe__##type *w = (const void *)((const unsigned char *)g->w + r * g->w_bytes); \
                float acc[TILE] = {0}, accm[TILE] = {0}; \
                for (size_t b = 0; b < g->n / 256; b++) { \
                    moe__unpacked256 u; \
                    moe__unpack_##type(&w[b], &u); \
                    for (size_t c = 0; c < n; c++) { \
                        const moe__act256 *x = &a[c][b]; \
                        acc[c] = moe__fmaf(u.d * x->d, (float)dot256(&u, x->q), acc[c]); \
                        if (has_min) \
                            accm[c] = moe__fmaf(u.dmin * x->d, (float)min256(&u, x->sum16), accm[c]); \
                    } \
                } \
                for (size_t c = 0; c < n; c++) \
                    g->y[(c0 + c) * g->ldy + r] = has_min ? acc[c] - accm[c] : acc[c]; \
            } \
        } \
    }

GEMM_32(q4_0, 0)
GEMM_32(q4_1, 1)
GEMM_32(q5_0, 0)
GEMM_32(q5_1, 1)
GEMM_32(q8_0, 0)
GEMM_32(iq4_nl, 0)
GEMM_32(mxfp4, 0)
GEMM_256(q2_k, 1)
GEMM_256(q3_k, 0)
GEMM_256(q4_k, 1)
GEMM_256(q5_k, 1)
GEMM_256(q6_k, 0)
GEMM_256(iq4_xs, 0)
