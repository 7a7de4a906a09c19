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
    size_t n;            /* elements of a row: a multiple of the type's block */
} moe__gemm;

typedef void (*moe__gemm_fn)(const moe__gemm *g);

typedef struct moe__kernels {
#define MOE_KERNEL(name, ret, args, doc) ret (*name) args;
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
/* Name of kernel i (MOE_K_*), and of the instruction set that moe__kernels_init(isa_max) takes for it. */
const char *moe__kernel_name(size_t i);
const char *moe__kernel_isa(size_t i, const char *isa_max);
/* Best level of this CPU and build. */
const char *moe__kernels_best(void);

/* The matrix kernel of a weight type. */
moe__gemm_fn moe__kernels_gemm(const moe__kernels *k, int type);

#endif
