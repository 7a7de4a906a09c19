/* SPDX-License-Identifier: MIT */
/*
 * Matrix products with F32, F16 and BF16 weights and f32 activations: sixteen partial sums with fma, one
 * fixed tree, any n.
 */
#include "kernel/ref/lanes.h"

typedef const unsigned char *bytes;

static inline float f32_at(bytes w, size_t i) { return moe__load_f32(w + 4 * i); }
static inline float f16_at(bytes w, size_t i) { return moe__f16_to_f32(moe__load_u16(w + 2 * i)); }
static inline float bf16_at(bytes w, size_t i) { return moe__bf16_to_f32(moe__load_u16(w + 2 * i)); }

/* Element i goes to lane i % 16; a tail shorter than 16 leaves the other lanes alone. */
#define GEMM_FLOAT(type) \
    static float dot_##type(bytes w, bytes x, size_t n) \
    { \
        moe__lanes acc = {{0}}; \
        size_t i = 0; \
        for (; i + MOE_LANES <= n; i += MOE_LANES) \
            for (size_t j = 0; j < MOE_LANES; j++) \
                acc.v[j] = moe__fmaf(type##_at(w, i + j), f32_at(x, i + j), acc.v[j]); \
        for (size_t j = 0; i + j < n; j++) \
            acc.v[j] = moe__fmaf(type##_at(w, i + j), f32_at(x, i + j), acc.v[j]); \
        return moe__lanes_sum(&acc); \
    } \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        for (size_t r = 0; r < g->n_rows; r++) { \
            const bytes w = (bytes)g->w + r * g->w_bytes; \
            for (size_t c = 0; c < g->n_cols; c++) { \
                const bytes x = (bytes)g->x + (g->col ? g->col[c] : c) * g->x_bytes; \
                g->y[c * g->ldy + r] = dot_##type(w, x, g->n); \
            } \
        } \
    }

GEMM_FLOAT(f32)
GEMM_FLOAT(f16)
GEMM_FLOAT(bf16)
