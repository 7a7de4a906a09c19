/* SPDX-License-Identifier: MIT */
/*
 * The searches behind the block encoders. They yield the same unpacked shapes that unpack.h reads (integers
 * and scales); the encoders only pack the bits. All minimise the weighted squared error sum w (x - x')^2.
 */
#ifndef MOE_QUANT_QUANTIZE_FIT_H
#define MOE_QUANT_QUANTIZE_FIT_H

#include <stddef.h>
#include <stdint.h>

#include "quant/unpack.h"

/* The integers an element may become: all of lo .. hi, or uneven levels between them. */
typedef struct moe__lattice {
    int lo, hi;
    const int8_t *nearest; /* [hi - lo + 1] the level nearest to lo + i; NULL: every integer is one */
} moe__lattice;

/* What a block of 256 may hold. */
typedef struct moe__super_shape {
    moe__lattice q;
    int group;              /* elements that share a scale: 16 or 32 */
    int scale_lo, scale_hi; /* range of the stored scales; lo = 0 where they are unsigned */
    int min_hi;             /* range 0 .. min_hi of the stored minima; 0: the format has none */
} moe__super_shape;

/*
 * Copies n <= 256 inputs made usable (NaN 0, clamped to +-65504) to x and their weights to w: importance
 * (relative to the largest of the block, at least 1e-6) * sqrt(mean x^2 + x^2). Large elements matter more
 * than their count says. Returns the largest |x|.
 */
float moe__fit_prepare(const float *src, const float *importance, size_t n, float *x, float *w);

/* x ~ d q over n elements (a multiple of 8); d is already rounded to half. */
void moe__fit_scale(const moe__lattice *g, const float *x, const float *w, size_t n, float *d, int8_t *q);
/* x ~ d q + m, q in 0 .. hi; d and m are already rounded to half. */
void moe__fit_affine(int hi, const float *x, const float *w, size_t n, float *d, float *m, int8_t *q);
/* A block of 256: all of *u, d and dmin already rounded to half. */
void moe__fit_super(const moe__super_shape *s, const float *x, const float *w, moe__unpacked256 *u);

#endif
