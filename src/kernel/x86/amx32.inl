/* SPDX-License-Identifier: MIT */
/*
 * Products of the 32-element formats with many columns by AMX: one tile product per block, of 32 signed bytes
 * of weights, then one fma per (row, column) and block.
 *
 * A strip is the blocks of a chunk for one block of 16 rows and one tile of columns, with its 16 x 16 sums in
 * registers. Its products run three blocks ahead of the sums, and the sums of one leave their tile two blocks
 * after the product began: stores that wait for a product would fill the store unit, and nothing behind them
 * could start. While tiles are in use, one of the two units for 512-bit products is not: so integers become
 * floats by an addition and a subtraction, not by a conversion.
 */

#define AMX_TILES  4  /* of 16 columns, that share one unpacking */
#define AMX_BLOCKS 8  /* of 16 rows, that share one turning of the columns */
#define AMX_CHUNK  16 /* blocks of 32 elements that are unpacked together */

/* Blocks of 16 weight rows: A tiles. */
typedef struct amx_weights {
    int8_t q[AMX_CHUNK][16][32];
    float d[AMX_CHUNK][16], m[AMX_CHUNK][16];
} amx_weights;

/* Blocks of 16 columns: B tiles. */
typedef struct amx_columns {
    int8_t q[AMX_CHUNK][8][64];
    float d[AMX_CHUNK][16], sum[AMX_CHUNK][16];
} amx_columns;

/* What a call needs: about 120 KiB on the stack. */
typedef struct amx_pass {
    _Alignas(64) amx_columns x[AMX_TILES]; /* a row of a tile is a cache line */
    amx_weights w;
    int32_t c[4][16][16];
    float acc[AMX_BLOCKS][AMX_TILES][16][16], accm[AMX_BLOCKS][AMX_TILES][16][16];
    const int8_t *q; /* the weights of 16 rows: w.q, or rows of Q8_0 as they stand */
    size_t q_block, q_row;
    const uint8_t *rows[16 * AMX_BLOCKS];
    size_t n_blocks; /* of rows */
    size_t n_tiles;  /* of columns */
    amx_ahead ahead;
} amx_pass;

/* Blocks b .. b + n - 1 of 16 columns from c0 on, turned. */
ALWAYS_INLINE void amx_turn(amx_columns *x, const moe__gemm *g, size_t c0, size_t b, size_t n,
                            const int has_min)
{
    const uint8_t *col[16];
    for (size_t c = 0; c < 16; c++) col[c] = col_at(g, c0 + c);
    for (size_t i = 0; i < n; i++) { /* ten dwords: d, sum, q */
        const size_t at = (b + i) * sizeof(moe__act32);
        vi v[12];
        vi_rows16(col, at, v);
        vi_rows16(col, at + 16, v + 4);
        vi_rows16(col, at + 24, v + 8);
        vi_store(x->d[i], v[0]);
        if (has_min) vf_store(x->sum[i], vf_from(v[1]));
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            vi_store(x->q[i][k], v[2 + k]);
            vi_store(x->q[i][4 + k], v[8 + k]);
        }
    }
}

/* acc[r] += the sums c[r] of a block, times the scales of row r and of the columns. Sums are below 2^22. */
ALWAYS_INLINE void amx_add(vf acc[16], const int32_t (*c)[16], const float *d, const float *dx)
{
    const vi big = vi_set1_32(0x4b400000); /* 1.5 x 2^23 */
    const vf x = vf_load(dx);
#pragma GCC unroll 16
    for (int r = 0; r < 16; r++) {
        const vf sum = vf_sub(_mm512_castsi512_ps(vi_add(vi_load(c[r]), big)), _mm512_castsi512_ps(big));
        acc[r] = vf_fma(vf_mul(vf_set1(d[r]), x), sum, acc[r]);
    }
}

#define AMX_PRODUCT(i, x, tc, ta, tb) \
    do { \
        AMX_ZERO(tc); \
        AMX_LOAD_AT(ta, p->q + (i) * p->q_block, p->q_row); \
        AMX_LOAD(tb, x); \
        AMX_DOT_SS(tc, ta, tb); \
    } while (0)

/* Block i; three blocks later the product that is begun here is added. Behind the last block stands `after`. */
#define AMX_STEP(i, store, tc, ta, tb) \
    do { \
        const size_t k = (i) + 3; \
        amx_fetch(&p->ahead); \
        amx_claim(y, i, ldy); \
        AMX_PRODUCT(k < n ? k : k - n, k < n ? x->q[k] : after->q[k - n], tc, ta, tb); \
        AMX_STORE(store, p->c[store]); \
        amx_add(acc, p->c[(i) % 4], w->d[i], x->d[i]); \
    } while (0)

/* The first products of a strip. */
ALWAYS_INLINE void amx_strip_begin(amx_pass *p, const amx_columns *x)
{
    AMX_PRODUCT(0u, x->q[0], 0, 4, 6);
    AMX_PRODUCT(1u, x->q[1], 1, 5, 7);
    AMX_STORE(0, p->c[0]);
    AMX_PRODUCT(2u, x->q[2], 2, 4, 6);
}

/*
 * Adds n blocks to the sums of row block r with tile t; `first`: there is nothing yet. Where n is a multiple of
 * four, each strip begins the next one. y, ldy: see amx_claim().
 */
static void amx_strip(amx_pass *p, size_t r, size_t t, size_t n, int first, const float *y, size_t ldy)
{
    const __mmask16 old = first ? 0 : 0xffff;
    const amx_weights *w = &p->w;
    const amx_columns *x = &p->x[t], *after = t + 1 < p->n_tiles ? x + 1 : x; /* for the last one in vain */
    size_t i = 0;
    vf acc[16];
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) acc[k] = _mm512_maskz_loadu_ps(old, p->acc[r][t][k]);
    if (n >= 4 && (t == 0 || n % 4 != 0)) amx_strip_begin(p, x);
    for (; i + 4 <= n; i += 4) {
        AMX_STEP(i, 1, 3, 5, 7);
        AMX_STEP(i + 1, 2, 0, 4, 6);
        AMX_STEP(i + 2, 3, 1, 5, 7);
        AMX_STEP(i + 3, 0, 2, 4, 6);
    }
    for (; i < n; i++) {
        amx_fetch(&p->ahead);
        AMX_PRODUCT(i, x->q[i], 0, 4, 6);
        AMX_STORE(0, p->c[0]);
        amx_add(acc, p->c[0], w->d[i], x->d[i]);
    }
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) vf_store(p->acc[r][t][k], acc[k]);
}

/* The same for the minima. */
static void amx_strip_min(amx_pass *p, size_t r, size_t t, size_t n, int first)
{
    const __mmask16 old = first ? 0 : 0xffff;
    const amx_columns *x = &p->x[t];
    vf acc[16];
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) acc[k] = _mm512_maskz_loadu_ps(old, p->accm[r][t][k]);
    for (size_t i = 0; i < n; i++) {
        const vf dx = vf_load(x->d[i]), sum = vf_load(x->sum[i]);
#pragma GCC unroll 16
        for (int k = 0; k < 16; k++) acc[k] = vf_fma(vf_mul(vf_set1(p->w.m[i][k]), dx), sum, acc[k]);
    }
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) vf_store(p->accm[r][t][k], acc[k]);
}

/* Scales of 16 rows from the dwords at their blocks: two halves, or an e8m0 byte (moe__e8m0_half). */
ALWAYS_INLINE void amx_scales_half(amx_weights *w, size_t i, vi dwords, const int has_min)
{
    vf_store(w->d[i], vf_low_halves(dwords));
    if (has_min) vf_store(w->m[i], vf_low_halves(vi_srl(dwords, 16)));
}
ALWAYS_INLINE void amx_scales_e8m0(amx_weights *w, size_t i, vi dwords, const int has_min)
{
    const vi e = vi_and(dwords, vi_set1_32(255));
    const vi small = _mm512_sllv_epi32(vi_set1_32(0x00200000), e); /* exponents 0 and 1: subnormals */
    const __mmask16 is_small = _mm512_cmplt_epi32_mask(e, vi_set1_32(2));
    (void)has_min;
    vi_store(w->d[i], _mm512_mask_mov_epi32(vi_sll(vi_sub(e, vi_set1_32(1)), 23), is_small, small));
}

/* w_<type>(block) = 32 weights plus offset; scales from the first dword of the block; plain: behind
 * its first half stand signed weights, which few columns take from there. */
#define AMX_32(type, offset, has_min, scales, plain) \
    static void amx_unpack_##type(amx_pass *p, const uint8_t *const *rows, size_t b, size_t n, \
                                  const int as_is) \
    { \
        int32_t place[16]; \
        p->q = as_is ? (const int8_t *)rows[0] + b * sizeof(moe__##type) + 2 : p->w.q[0][0]; \
        p->q_block = as_is ? sizeof(moe__##type) : sizeof p->w.q[0]; \
        p->q_row = as_is ? (size_t)(rows[1] - rows[0]) : sizeof p->w.q[0][0]; \
        for (int r = 0; r < 16; r++) place[r] = (int32_t)(rows[r] - rows[0]); \
        for (size_t i = 0; i < n; i++) { \
            const size_t at = (b + i) * sizeof(moe__##type); \
            amx_fetch(&p->ahead); \
            scales(&p->w, i, _mm512_i32gather_epi32(vi_load(place), rows[0] + at, 1), has_min); \
            if (as_is) continue; \
            _Pragma("GCC unroll 16") for (size_t r = 0; r < 16; r++) _mm256_store_si256( \
                (__m256i *)p->w.q[i][r], _mm256_sub_epi8(w_##type(rows[r] + at), y_set1(offset))); \
        } \
    } \
    static void amx_##type(const moe__gemm *g) \
    { \
        amx_pass p; \
        const size_t step = 16 * AMX_BLOCKS, pass_cols = 16 * AMX_TILES, n_blocks = g->n / 32; \
        amx_begin(32); \
        for (size_t c0 = 0; c0 < g->n_cols; c0 += pass_cols) { \
            const size_t left = g->n_cols - c0 < pass_cols ? g->n_cols - c0 : pass_cols; \
            p.n_tiles = (left + 15) / 16; \
            for (size_t r0 = 0; r0 < g->n_rows; r0 += step) { \
                const size_t rows = g->n_rows - r0 < step ? g->n_rows - r0 : step; \
                p.n_blocks = (rows + 15) / 16; \
                for (size_t r = 0; r < 16 * p.n_blocks; r++) p.rows[r] = row_at(g, r0 + r); \
                amx_fetch_begin(&p.ahead, g, r0, step, p.n_blocks * n_blocks * (p.n_tiles + 1), c0 == 0); \
                for (size_t b = 0; b < n_blocks; b += AMX_CHUNK) { \
                    const size_t n = n_blocks - b < AMX_CHUNK ? n_blocks - b : AMX_CHUNK; \
                    for (size_t t = 0; t < p.n_tiles; t++) amx_turn(&p.x[t], g, c0 + 16 * t, b, n, has_min); \
                    for (size_t r = 0; r < p.n_blocks; r++) { \
                        amx_unpack_##type(&p, p.rows + 16 * r, b, n, \
                                             (plain) && p.n_tiles <= 2 && r0 + 16 * r + 16 <= g->n_rows); \
                        const int last = b + n == n_blocks; \
                        for (size_t t = 0; t < p.n_tiles; t++) { \
                            const float *y = last ? amx_place(g, r0 + 16 * r, c0 + 16 * t) : &p.acc[r][t][0][0]; \
                            amx_strip(&p, r, t, n, b == 0, y, last ? g->ldy : 0); \
                            if (has_min) amx_strip_min(&p, r, t, n, b == 0); \
                        } \
                        if (last) \
                            amx_results(g, p.acc[r], has_min ? p.accm[r] : NULL, 1, p.n_tiles, r0 + 16 * r, \
                                        c0); \
                    } \
                } \
            } \
        } \
        amx_end(); \
    }
