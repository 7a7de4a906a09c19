/* SPDX-License-Identifier: MIT */
/*
 * Matrix products with F32, F16 and BF16 weights; ref/gemm_f.c is the definition. A register tile is V16_ROWS
 * rows by V16_COLS columns; the last rows and columns are computed in a tile that repeats the last pointer,
 * and only what exists is stored. One column alone takes four rows at a time, which is what hides the latency
 * of the fma chains. A few columns stay in the first-level cache while a block of weight rows, the smaller
 * ones for 16-bit types, passes by.
 */

#define DECODE_ROWS 4
#define ROW_BLOCK 32 /* weight rows that stay in the second-level cache while all columns pass */

/* A tile of NR x NC for weights of `size` bytes: sums go to y. */
#define FLOAT_TILE(name, size, LD, LDN, NR, NC) \
    static inline void name(const moe__gemm *g, size_t r0, size_t c0) \
    { \
        const uint8_t *w[NR], *x[NC]; \
        v16 acc[NR][NC]; \
        for (size_t r = 0; r < NR; r++) w[r] = row_at(g, r0 + r); \
        for (size_t c = 0; c < NC; c++) x[c] = col_at(g, c0 + c); \
        for (size_t r = 0; r < NR; r++) \
            for (size_t c = 0; c < NC; c++) acc[r][c] = v16_zero(); \
        const size_t full = g->n / 16 * 16, k = g->n - full; \
        for (size_t i = 0; i < full; i += 16) { \
            v16 vx[NC]; \
            for (size_t c = 0; c < NC; c++) vx[c] = v16_load(x[c] + 4 * i); \
            for (size_t r = 0; r < NR; r++) { \
                const v16 vw = LD(w[r] + (size) * i); \
                for (size_t c = 0; c < NC; c++) acc[r][c] = v16_fma(vw, vx[c], acc[r][c]); \
            } \
        } \
        for (size_t r = 0; k && r < NR; r++) { \
            const v16 vw = LDN(w[r] + (size) * full, k); \
            for (size_t c = 0; c < NC; c++) \
                acc[r][c] = \
                    v16_pick_n(v16_fma(vw, v16_load_n(x[c] + 4 * full, k), acc[r][c]), acc[r][c], k); \
        } \
        for (size_t c = 0; c < NC && c0 + c < g->n_cols; c++) \
            for (size_t r = 0; r < NR && r0 + r < g->n_rows; r++) \
                g->y[(c0 + c) * g->ldy + r0 + r] = v16_sum(acc[r][c]); \
    }

#define GEMM_FLOAT(type, size, LD, LDN) \
    FLOAT_TILE(tile_##type, size, LD, LDN, V16_ROWS, V16_COLS) \
    FLOAT_TILE(column_##type, size, LD, LDN, DECODE_ROWS, 1) \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        const size_t wide = g->n_cols / V16_COLS * V16_COLS; \
        for (size_t r0 = 0; wide && r0 < g->n_rows; r0 += ROW_BLOCK) \
            for (size_t c = 0; c < wide; c += V16_COLS) \
                for (size_t r = r0; r < g->n_rows && r < r0 + ROW_BLOCK; r += V16_ROWS) tile_##type(g, r, c); \
        for (size_t r = 0; wide < g->n_cols && r < g->n_rows; r += DECODE_ROWS) \
            for (size_t c = wide; c < g->n_cols; c++) column_##type(g, r, c); \
    }

GEMM_FLOAT(f32, 4, v16_load, v16_load_n)
GEMM_FLOAT(f16, 2, v16_load_f16, v16_load_f16_n)
GEMM_FLOAT(bf16, 2, v16_load_bf16, v16_load_bf16_n)
