/* SPDX-License-Identifier: MIT */
/* One pass of a tile kernel over the weights: a limited number of columns and their sums. */

/* Columns of one pass over the weights in the tile kernels: their sums wait in the first-level cache. */
#define PASS_COLS 64
#define TILE_COLS VI_COLS

/* The sums of a pass. */
typedef struct pass {
    float acc[PASS_COLS][VI_LANES], accm[PASS_COLS][VI_LANES];
    const uint8_t *x[PASS_COLS];
    size_t n_cols; /* a multiple of TILE_COLS / 2 */
} pass;

/* Columns c0 .. of g; returns how many of them exist. */
static inline size_t pass_begin(pass *p, const moe__gemm *g, size_t c0)
{
    const size_t left = g->n_cols - c0, n = left < PASS_COLS ? left : PASS_COLS, half = TILE_COLS / 2;
    p->n_cols = (n + half - 1) / half * half;
    for (size_t c = 0; c < p->n_cols; c++) {
        p->x[c] = col_at(g, c0 + c);
        vf_store(p->acc[c], vf_zero());
        vf_store(p->accm[c], vf_zero());
    }
    return n;
}

/* Stores the sums of rows r0 .. : acc, or acc + sign * accm. */
ALWAYS_INLINE void pass_end(const pass *p, const moe__gemm *g, size_t r0, size_t c0, size_t n, const int sign)
{
    const size_t rows = g->n_rows - r0 < VI_LANES ? g->n_rows - r0 : VI_LANES;
    for (size_t c = 0; c < n; c++) {
        vf v = vf_load(p->acc[c]);
        if (sign > 0) v = vf_add(v, vf_load(p->accm[c]));
        if (sign < 0) v = vf_sub(v, vf_load(p->accm[c]));
        vf_store_n(g->y + (c0 + c) * g->ldy + r0, v, rows);
    }
}
