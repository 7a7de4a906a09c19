/* SPDX-License-Identifier: MIT */
/*
 * The table of compute kernels. kernels.def lists them once; this struct, the reference prototypes, the
 * tester's cases and the kernel list of `libmoe info` are made from it.
 *
 * Canonical numerics: every kernel is defined by its plain C version in kernel/ref/, and every other
 * version must give the same bits. What makes that possible:
 *  - integer sums inside an activation block are exact; then one f32 fma per block, in ascending order, into
 *    one accumulator per (row, column); minimum terms go to a second accumulator, subtracted at the end;
 *  - float sums use 16 interleaved partial sums (element i goes to lane i % 16 with one fma or add each) and
 *    one fixed tree: lanes i and i+8, then i+4, i+2, i+1;
 *  - exp and what is built on it are our own polynomials with explicit fma.
 */
#ifndef MOE_KERNEL_KERNEL_H
#define MOE_KERNEL_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#include "kernel/kv_tile.h"
#include "quant/types.h"

/* y[c * ldy + r] = dot(weight row r, activation row c), r < n_rows, c < n_cols. */
typedef struct moe__gemm {
    float *y;
    size_t ldy;          /* floats between columns of the result */
    const void *w;       /* weight rows */
    size_t w_bytes;      /* bytes between weight rows */
    const void *x;       /* activation rows in the format the weight type takes (moe__type.act) */
    size_t x_bytes;      /* bytes between activation rows */
    const uint32_t *col; /* [n_cols] which activation row each column is, or NULL: 0, 1, 2 ... */
    size_t n_rows, n_cols;
    size_t n;         /* elements of a row: a multiple of the type's block */
    const void *next; /* rows that the caller reads next, or NULL: those behind these */
} moe__gemm;

typedef void (*moe__gemm_fn)(const moe__gemm *g);

/* Attention over positions of one KV head: keys and values as kv_tile.h lays them out. `ahead` is memory that
 * the caller will read next, about as much as this call reads, or NULL. */
typedef struct moe__attn_qk { /* s[c][p] = q[c] . k[p] for the positions of n_tiles tiles */
    float *s;
    size_t lds; /* floats between rows of scores */
    const void *q;
    size_t q_bytes; /* between queries: dim floats, or dim/32 moe__act32 where keys are quantised */
    const void *k;
    size_t n_q, n_tiles, dim; /* dim % 32 == 0 where keys are quantised */
    const void *ahead;
} moe__attn_qk;

typedef struct moe__attn_av { /* y[c] += sum of p[c][i] v[i] over n positions */
    float *y;
    size_t ldy; /* floats between rows of sums */
    const void *p;
    size_t p_bytes; /* between rows of weights: n floats, or what moe__attn_weigh makes of them */
    const void *v;
    size_t n_q, n, dim; /* n % 32 == 0 and dim % 32 == 0 where values are quantised */
    const void *ahead;
} moe__attn_av;

/*
 * Weights for quantised values: row c has, for each tile of 32 positions and each block of 32 elements, a
 * moe__act32 of p[c][i] d[i], for the first n[c] of n_tiles * 32 positions, and zeros behind; its scale is
 * that of the largest p times the largest d. Where p is zero, d may be anything.
 */
typedef struct moe__attn_weights {
    moe__act32 *w; /* [n_q][n_tiles][dim/32] */
    const float *p;
    size_t ldp; /* floats between rows of p */
    const void *v;
    size_t tile_bytes; /* of the values */
    const uint32_t *n; /* [n_q] */
    size_t n_q, n_tiles, dim;
} moe__attn_weights;

typedef struct moe__kernels {
#define MOE_KERNEL(name, ret, args, doc) ret(*name) args;
#include "kernel/kernels.def"
#undef MOE_KERNEL
} moe__kernels;

enum {
#define MOE_KERNEL(name, ret, args, doc) MOE_K_##name,
#include "kernel/kernels.def"
#undef MOE_KERNEL
    MOE_N_KERNELS
};

/*
 * Fills *k with the best kernels of this CPU up to isa_max ("ref", "avx2", "avx512", ...; NULL = best).
 * MOE_E_INVALID for an unknown name (the message lists the known ones), MOE_E_UNSUPPORTED for one that this
 * build or CPU lacks.
 */
int moe__kernels_init(moe__kernels *k, const char *isa_max);
/* As moe__kernels_init with the best of this CPU, but for rows only: nothing is asked of the operating
 * system, which wants to be asked about AMX (products). Takes some tens of microseconds. */
void moe__kernels_init_rows(moe__kernels *k);
/* Name of kernel i (MOE_K_*), and of the instruction set that moe__kernels_init(isa_max) takes for it. */
const char *moe__kernel_name(size_t i);
const char *moe__kernel_isa(size_t i, const char *isa_max);
/* Best level of this CPU and build. */
const char *moe__kernels_best(void);

/* The matrix kernel of a weight type. */
moe__gemm_fn moe__kernels_gemm(const moe__kernels *k, int type);

#endif
