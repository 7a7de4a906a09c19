/* SPDX-License-Identifier: MIT */
/*
 * Products of the 32-element formats with many columns, as tile256.inl: one weight row per lane, a few blocks
 * of VI_LANES rows unpacked and turned once, then met by all columns. Every block has its own float scale, so
 * each ends in one fma per (row, column).
 */

#define CHUNK 8 /* blocks that are unpacked together */

typedef struct tile32 {
    vi q[8]; /* elements 4 i .. 4 i + 3 of each row, or as in tile256 */
    vf d, m;
} tile32;

/* How products are summed without VI_DOT. */
enum {
    BY_PAIRS, /* `fit` vectors of pairs stay below 2^15; on x86 unsigned weights */
    BY_SIGN   /* signed weights: |w| times x with the sign of w, each vector alone */
};

/* The exact integer sums of one block for nc columns. */
ALWAYS_INLINE void block_dot(vi *sum, const vi *q, const moe__act32 *const *x, const int fit, const int mode,
                             const int offset, const int nc)
{
#if VI_COLS2
    (void)mode, (void)fit;
#pragma GCC unroll 8
    for (int c = 0; c < nc; c += 2) {
        sum[c] = sum[c + 1] = vi_zero();
        for (int v = 0; v < 8; v += 4) vi_cols2_dot16(sum + c, q + v, x[c]->q + 4 * v, x[c + 1]->q + 4 * v);
        vi_cols2_turn(sum + c);
        for (int k = c; offset && k < c + 2; k++)
            sum[k] = vi_add(sum[k], vi_bcast_times(&x[k]->sum, -offset));
    }
#else
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) sum[c] = offset ? vi_bcast_times(&x[c]->sum, -offset) : vi_zero();
#pragma GCC unroll 8
    for (int v0 = 0; v0 < 8; v0 += fit) {
#if VI_DOT
        (void)mode;
#pragma GCC unroll 8
        for (int v = v0; v < v0 + fit; v++)
#pragma GCC unroll 8
            for (int c = 0; c < nc; c++) sum[c] = vi_dot_bcast(sum[c], q[v], x[c]->q + 4 * v);
#else
        vp part[TILE_COLS];
#pragma GCC unroll 8
        for (int v = v0; v < v0 + fit; v++)
#pragma GCC unroll 8
            for (int c = 0; c < nc; c++) {
                const vi b = vi_bcast32(x[c]->q + 4 * v);
                part[c] = v == v0 ? vp_first(q[v], b, mode == BY_SIGN) : vp_more(part[c], q[v], b);
            }
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++) sum[c] = vp_sum(sum[c], part[c]);
#endif
    }
#endif
}

/*
 * n blocks of the pass's columns c0 .. c0 + nc - 1; b = the first block. next: NULL, or rows
 * whose second half to fetch from meanwhile (blocks of `bytes` bytes).
 */
ALWAYS_INLINE void tile32_cols(const tile32 *t, size_t n, pass *p, size_t c0, size_t b, const int fit,
                               const int mode, const int offset, const int has_min, const int nc,
                               const uint8_t *const *next, size_t ahead, const size_t bytes)
{
    vf acc[TILE_COLS], accm[TILE_COLS];
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        acc[c] = vf_load(p->acc[c0 + (size_t)c]);
        if (has_min) accm[c] = vf_load(p->accm[c0 + (size_t)c]);
    }
    for (size_t i = 0; i < n; i++) {
        const moe__act32 *x[TILE_COLS];
        vi sum[TILE_COLS];
        if (next) fetch_blocks(next, ahead, b + i, VI_LANES / 2, VI_LANES / 2, 2 * b + n + i, bytes);
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++) x[c] = (const moe__act32 *)p->x[c0 + (size_t)c] + b + i;
        block_dot(sum, t[i].q, x, fit, mode, offset, nc);
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++) {
            const vf dx = vf_set1(x[c]->d);
            acc[c] = vf_fma(vf_mul(t[i].d, dx), vf_from(sum[c]), acc[c]);
            if (has_min) accm[c] = vf_fma(vf_mul(t[i].m, dx), vf_set1((float)x[c]->sum), accm[c]);
        }
    }
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        vf_store(p->acc[c0 + (size_t)c], acc[c]);
        if (has_min) vf_store(p->accm[c0 + (size_t)c], accm[c]);
    }
}

#define TILE_32(type, fit, mode, offset, has_min) \
    static void tile_##type(const moe__gemm *g) \
    { \
        const size_t n_blocks = g->n / 32; \
        const size_t distance = ahead_bytes(g, VI_LANES); \
        for (size_t c0 = 0; c0 < g->n_cols; c0 += PASS_COLS) \
            for (size_t r0 = 0; r0 < g->n_rows; r0 += VI_LANES) { \
                const uint8_t *rows[VI_LANES]; \
                pass p; \
                tile32 t[CHUNK]; \
                const size_t n = pass_begin(&p, g, c0); \
                for (size_t r = 0; r < VI_LANES; r++) rows[r] = row_at(g, r0 + r); \
                for (size_t b = 0; b < n_blocks; b += CHUNK) { \
                    const size_t nb = n_blocks - b < CHUNK ? n_blocks - b : CHUNK; \
                    size_t c = 0; \
                    const uint8_t *const *next = rows; \
                    for (size_t i = 0; i < nb; i++) { \
                        fetch_blocks(rows, distance, b + i, 0, VI_LANES / 2, 2 * b + i, \
                                     sizeof(moe__##type)); \
                        unpack_##type(&t[i], rows, (b + i) * sizeof(moe__##type)); \
                    } \
                    for (; c + TILE_COLS <= p.n_cols; c += TILE_COLS, next = NULL) \
                        tile32_cols(t, nb, &p, c, b, fit, mode, offset, has_min, TILE_COLS, next, distance, \
                                    sizeof(moe__##type)); \
                    if (c < p.n_cols) \
                        tile32_cols(t, nb, &p, c, b, fit, mode, offset, has_min, TILE_COLS / 2, next, \
                                    distance, sizeof(moe__##type)); \
                } \
                pass_end(&p, g, r0, c0, n, has_min ? 1 : 0); \
            } \
    }

/* 16 bytes of nibbles of each row: elements 0 .. 15 in the low ones, 16 .. 31 in the high ones. */
ALWAYS_INLINE void unpack_nibbles(vi q[8], const uint8_t *const *row, size_t off)
{
    const vi m4 = vi_set1_8(15);
    vi v[4];
    vi_weights16(row, off, v);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        q[k] = vi_and(v[k], m4);
        q[k + 4] = vi_and(vi_srl(v[k], 4), m4);
    }
}

ALWAYS_INLINE void unpack_q4_0(tile32 *t, const uint8_t *const *row, size_t off)
{
    t->d = vf_rows_half(row, off + offsetof(moe__q4_0, d));
    unpack_nibbles(t->q, row, off + offsetof(moe__q4_0, qs));
}

ALWAYS_INLINE void unpack_q4_1(tile32 *t, const uint8_t *const *row, size_t off)
{
    t->d = vf_rows_half(row, off + offsetof(moe__q4_1, d));
    t->m = vf_rows_half(row, off + offsetof(moe__q4_1, m));
    unpack_nibbles(t->q, row, off + offsetof(moe__q4_1, qs));
}

/* Bit i of a row's dword becomes the fifth bit of element i. */
ALWAYS_INLINE void unpack_fifth(vi q[8], const uint8_t *const *row, size_t off)
{
    const vi qh = vi_rows32(row, off), bit = vi_set1_8(16);
    const vi one = vi_set1_32(0x08040201), two = vi_set1_32((int)0x80402010);
#pragma GCC unroll 4
    for (int b = 0; b < 4; b++) { /* byte b of each dword everywhere in it: elements 8 b .. 8 b + 7 */
        const uint8_t idx[16] = {(uint8_t)b,        (uint8_t)b,        (uint8_t)b,        (uint8_t)b,
                                 (uint8_t)(b + 4),  (uint8_t)(b + 4),  (uint8_t)(b + 4),  (uint8_t)(b + 4),
                                 (uint8_t)(b + 8),  (uint8_t)(b + 8),  (uint8_t)(b + 8),  (uint8_t)(b + 8),
                                 (uint8_t)(b + 12), (uint8_t)(b + 12), (uint8_t)(b + 12), (uint8_t)(b + 12)};
        const vi v = vi_shuffle8(qh, vi_bcast128(idx));
        q[2 * b] = vi_or(q[2 * b], VI_WEIGHTS_0(vi_pick8(v, one, bit), vi_pick8(v, two, bit)));
        q[2 * b + 1] = vi_or(q[2 * b + 1], VI_WEIGHTS_1(vi_pick8(v, one, bit), vi_pick8(v, two, bit)));
    }
}

ALWAYS_INLINE void unpack_q5_0(tile32 *t, const uint8_t *const *row, size_t off)
{
    t->d = vf_rows_half(row, off + offsetof(moe__q5_0, d));
    unpack_nibbles(t->q, row, off + offsetof(moe__q5_0, qs));
    unpack_fifth(t->q, row, off + offsetof(moe__q5_0, qh));
}

ALWAYS_INLINE void unpack_q5_1(tile32 *t, const uint8_t *const *row, size_t off)
{
    t->d = vf_rows_half(row, off + offsetof(moe__q5_1, d));
    t->m = vf_rows_half(row, off + offsetof(moe__q5_1, m));
    unpack_nibbles(t->q, row, off + offsetof(moe__q5_1, qs));
    unpack_fifth(t->q, row, off + offsetof(moe__q5_1, qh));
}

/* With VNNI stored plus 128 (VI_FLIP), else as they are. */
ALWAYS_INLINE void unpack_q8_0(tile32 *t, const uint8_t *const *row, size_t off)
{
    const vi flip = vi_set1_8(VI_FLIP);
    t->d = vf_rows_half(row, off + offsetof(moe__q8_0, d));
    vi_weights16(row, off + offsetof(moe__q8_0, qs), t->q);
    vi_weights16(row, off + offsetof(moe__q8_0, qs) + 16, t->q + 4);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) t->q[k] = vi_xor(t->q[k], flip);
}

ALWAYS_INLINE void unpack_iq4_nl(tile32 *t, const uint8_t *const *row, size_t off)
{
    const vi levels = vi_xor(vi_bcast128(moe__iq4_levels), vi_set1_8(VI_FLIP));
    t->d = vf_rows_half(row, off + offsetof(moe__iq4_nl, d));
    unpack_nibbles(t->q, row, off + offsetof(moe__iq4_nl, qs));
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) t->q[k] = vi_shuffle8(levels, t->q[k]);
}

/* On x86 stored plus 12. */
ALWAYS_INLINE void unpack_mxfp4(tile32 *t, const uint8_t *const *row, size_t off)
{
    const vi levels = vi_add8(vi_bcast128(moe__fp4_levels), vi_set1_8(VI_PLUS(12)));
    float d[VI_LANES];
    for (int r = 0; r < VI_LANES; r++) d[r] = moe__e8m0_half(row[r][off]);
    t->d = vf_load(d);
    unpack_nibbles(t->q, row, off + offsetof(moe__mxfp4, qs));
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) t->q[k] = vi_shuffle8(levels, t->q[k]);
}
