/* SPDX-License-Identifier: MIT */
/*
 * Products of the 256-element formats with many columns. One weight row per lane: a block of VI_LANES rows is
 * unpacked once, turned so that a vector holds the same four elements of every row, and then meets all
 * columns, whose four elements are broadcast. No sum ever crosses lanes. With VI_COLS2 columns come in pairs, 16
 * elements at a time, in the order that the products of the level want; sums are turned to one row per lane
 * when the block is done.
 *
 * Weights are unsigned (stored value + offset). The integer sum of a block is sum_j scale_j part_j - offset *
 * sum_j scale_j sum16_j; the second sum and that of the minima have the same shape, `corr`. All of it is
 * exact: see the bounds at each format.
 */

typedef struct tile256 {
    vi q[64];     /* elements 4 i .. 4 i + 3 of each row, or 16 of them in four: vi_weights16 */
    vi scale[16]; /* one per group of 16 or 32 elements, in the form that SCALED wants */
    vc corr[8];   /* pairs of 16 bits that go with sum16[2 j], sum16[2 j + 1] */
    vf d, dmin;
} tile256;

/* How a part (a sum of products inside a group) meets its scale. */
enum {
    BY_PAIRS, /* parts of `fit` vectors are below 2^15 (with VI_PAIRS both halves): a 16-bit multiply-add */
    BY_MUL,   /* not with VI_PAIRS: 32-bit multiplication */
    BY_SIGN   /* with VI_PAIRS, weights are signed bytes: |w| times x with the sign of w, each vector alone */
};

/* A signed scale per lane in the form that the mode wants. */
ALWAYS_INLINE vi scale_form(vi s, const int mode)
{
    const vi low = vi_and(s, vi_set1_32(0xffff));
    if (mode == BY_MUL) return s;
#if VI_PAIRS
    return vi_or(low, vi_sll(s, 16)); /* a part is two 16-bit sums */
#else
    return low; /* a part is one 32-bit number: its upper half must not count */
#endif
}

/* acc += the parts of one group of `vecs` vectors times its scale, for nc columns; at = byte of the group in
 * a column's q. */
ALWAYS_INLINE void group_dot(vi *acc, const vi *q, vi scale, const int8_t *const *x, size_t at,
                             const int vecs, const int fit, const int mode, const int nc)
{
#if VI_COLS2
    (void)fit, (void)mode;
#pragma GCC unroll 8
    for (int c = 0; c < nc; c += 2) {
        vi part[2] = {vi_zero(), vi_zero()};
        for (int v = 0; v < vecs; v += 4)
            vi_cols2_dot16(part, q + v, x[c] + at + 4 * v, x[c + 1] + at + 4 * v);
        vi_cols2_scaled(acc + c, part, scale);
    }
#else
#pragma GCC unroll 8
    for (int v0 = 0; v0 < vecs; v0 += fit) {
        vp part[TILE_COLS];
#pragma GCC unroll 8
        for (int v = v0; v < v0 + fit; v++) {
            const vi w = q[v];
#pragma GCC unroll 8
            for (int c = 0; c < nc; c++) {
                const int8_t *p = x[c] + at + 4 * v;
#if VI_DOT
                part[c] = vi_dot_bcast(v == v0 ? vi_zero() : part[c], w, p);
#else
                const vi b = vi_bcast32(p);
                part[c] = v == v0 ? vp_first(w, b, mode == BY_SIGN) : vp_more(part[c], w, b);
#endif
            }
        }
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++) acc[c] = vp_scaled(acc[c], part[c], scale, mode == BY_MUL);
    }
#endif
}

/*
 * One block of the pass's columns c .. c + nc - 1. `block` = offset of the activation block in a column.
 * next: NULL, or rows to fetch from meanwhile (`bytes` bytes, the size of a block, from `ahead` on).
 */
ALWAYS_INLINE void tile256_cols(const tile256 *t, pass *p, size_t c0, size_t block, const int groups,
                                const int fit, const int mode, const int offset_bits, const int has_min,
                                const int nc, const uint8_t *const *next, size_t ahead, const size_t bytes)
{
    const int vecs = 64 / groups;
    const int8_t *x[TILE_COLS];
    vi acc[TILE_COLS];
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        x[c] = (const int8_t *)(p->x[c0 + (size_t)c] + block + offsetof(moe__act256, q));
        acc[c] = vi_zero();
    }
    for (int j = 0; j < groups; j++) {
        for (int r = j * VI_LANES / groups; next && r < (j + 1) * VI_LANES / groups; r++)
            fetch(next[r], ahead, bytes);
        group_dot(acc, t->q + j * vecs, t->scale[j], x, 4 * (size_t)(j * vecs), vecs, fit, mode, nc);
    }
#if VI_COLS2
#pragma GCC unroll 8
    for (int c = 0; c < nc; c += 2) vi_cols2_turn(acc + c);
#endif
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        const moe__act256 *a = (const moe__act256 *)(p->x[c0 + (size_t)c] + block);
        const vf dx = vf_set1(a->d);
        float *sum = p->acc[c0 + (size_t)c], *summ = p->accm[c0 + (size_t)c];
        vi s = acc[c];
        if (has_min || offset_bits) {
            vi corr = vi_zero();
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) corr = vi_corr(corr, t->corr[j], &a->sum16[2 * j]);
            if (has_min)
                vf_store(summ, vf_fma(vf_mul(t->dmin, dx), vf_from(corr), vf_load(summ)));
            else
                s = vi_sub(s, vi_sll(corr, offset_bits));
        }
        vf_store(sum, vf_fma(vf_mul(t->d, dx), vf_from(s), vf_load(sum)));
    }
}

/*
 * unpack(tile, rows, offset of the block in a row). groups 8 or 16; fit = vectors per part; offset = 1 <<
 * offset_bits, or none for 0.
 */
#define TILE_256(type, groups, fit, mode, offset_bits, has_min) \
    static void tile_##type(const moe__gemm *g) \
    { \
        const size_t distance = ahead_bytes(g, VI_LANES); \
        for (size_t c0 = 0; c0 < g->n_cols; c0 += PASS_COLS) \
            for (size_t r0 = 0; r0 < g->n_rows; r0 += VI_LANES) { \
                const uint8_t *rows[VI_LANES]; \
                pass p; \
                tile256 t; \
                const size_t n = pass_begin(&p, g, c0); \
                for (size_t r = 0; r < VI_LANES; r++) rows[r] = row_at(g, r0 + r); \
                for (size_t b = 0; b < g->n / 256; b++) { \
                    size_t c = 0; \
                    const uint8_t *const *next = rows; \
                    unpack_##type(&t, rows, b * sizeof(moe__##type), mode); \
                    for (; c + TILE_COLS <= p.n_cols; c += TILE_COLS, next = NULL) \
                        tile256_cols(&t, &p, c, b * sizeof(moe__act256), groups, fit, mode, offset_bits, \
                                     has_min, TILE_COLS, next, distance + b * sizeof(moe__##type), \
                                     sizeof(moe__##type)); \
                    if (c < p.n_cols) \
                        tile256_cols(&t, &p, c, b * sizeof(moe__act256), groups, fit, mode, offset_bits, \
                                     has_min, TILE_COLS / 2, next, distance + b * sizeof(moe__##type), \
                                     sizeof(moe__##type)); \
                } \
                pass_end(&p, g, r0, c0, n, has_min ? -1 : 0); \
            } \
    }
