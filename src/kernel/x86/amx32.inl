/* SPDX-License-Identifier: MIT */
/*
 * Products of the 32-element formats with many columns by AMX: one tile product per block, of 32 signed bytes
 * of weights, then one fma per (row, column) and block, eight blocks in a row with the sum in a register.
 */

#define AMX_TILES  4 /* of 16 columns, that share one unpacking */
#define AMX_BLOCKS 8 /* of 16 rows, that share one turning of the columns */
#define AMX_CHUNK  8 /* blocks of 32 elements that are unpacked together */

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

/* What a call needs: about 100 KiB on the stack. */
typedef struct amx_pass {
    _Alignas(64) amx_columns x[AMX_TILES]; /* a row of a tile is a cache line */
    amx_weights w;
    int32_t c[AMX_CHUNK][16][16];
    float acc[AMX_BLOCKS][AMX_TILES][16][16], accm[AMX_BLOCKS][AMX_TILES][16][16];
    const uint8_t *rows[16 * AMX_BLOCKS];
    size_t n_blocks; /* of rows */
    size_t n_tiles;  /* of columns */
    size_t ahead;    /* see fetch() */
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

/* The products of the unpacked rows with tile t of columns, block by block. */
ALWAYS_INLINE void amx_dots(amx_pass *p, size_t t, size_t n)
{
    const amx_columns *x = &p->x[t];
#define AMX_ONE(i, tc, ta, tb) \
    do { \
        AMX_ZERO(tc); \
        AMX_LOAD_AT(ta, p->w.q[i], 32); \
        AMX_LOAD(tb, x->q[i]); \
        AMX_DOT_SS(tc, ta, tb); \
        AMX_STORE(tc, p->c[i]); \
    } while (0)
    for (size_t i = 0; i < n; i += 2) { /* an odd last block: what stands behind it is computed in vain */
        AMX_ONE(i, 0, 4, 6);
        AMX_ONE(i + 1, 1, 5, 7);
    }
#undef AMX_ONE
}

/* Adds p->c to the sums of row block r with tile t; `first`: there is nothing yet. */
ALWAYS_INLINE void amx_add(amx_pass *p, size_t r, size_t t, size_t n, int first, const int has_min)
{
    const __mmask16 old = first ? 0 : 0xffff;
    const amx_columns *x = &p->x[t];
    for (size_t k = 0; k < 16; k++) {
        vf acc = _mm512_maskz_loadu_ps(old, p->acc[r][t][k]), accm = vf_zero();
        if (has_min) accm = _mm512_maskz_loadu_ps(old, p->accm[r][t][k]);
#pragma GCC unroll 8
        for (size_t i = 0; i < n; i++) {
            const vf dx = vf_load(x->d[i]);
            acc = vf_fma(vf_mul(vf_set1(p->w.d[i][k]), dx), vf_from(vi_load(p->c[i][k])), acc);
            if (has_min) accm = vf_fma(vf_mul(vf_set1(p->w.m[i][k]), dx), vf_load(x->sum[i]), accm);
        }
        vf_store(p->acc[r][t][k], acc);
        if (has_min) vf_store(p->accm[r][t][k], accm);
    }
}

/* w_<type>(block) = 32 weights plus offset; D(rows, at) = the scales of eight rows. */
#define AMX_32(type, offset, has_min, D, d_at, m_at) \
    ALWAYS_INLINE void amx_unpack_##type(amx_pass *p, const uint8_t *const *rows, size_t b, size_t n) \
    { \
        for (size_t i = 0; i < n; i++) { \
            const size_t at = (b + i) * sizeof(moe__##type); \
            fetch_blocks(rows, p->ahead, b + i, 0, 16, b + i, sizeof(moe__##type)); \
            _Pragma("GCC unroll 4") for (size_t r = 0; r < 16; r++) _mm256_store_si256( \
                (__m256i *)p->w.q[i][r], _mm256_sub_epi8(w_##type(rows[r] + at), y_set1(offset))); \
            _mm256_storeu_ps(p->w.d[i], D(rows, at + (d_at))); \
            _mm256_storeu_ps(p->w.d[i] + 8, D(rows + 8, at + (d_at))); \
            if (!(has_min)) continue; \
            _mm256_storeu_ps(p->w.m[i], D(rows, at + (m_at))); \
            _mm256_storeu_ps(p->w.m[i] + 8, D(rows + 8, at + (m_at))); \
        } \
    } \
    static void amx_##type(const moe__gemm *g) \
    { \
        amx_pass p; \
        const size_t step = 16 * AMX_BLOCKS, pass_cols = 16 * AMX_TILES, n_blocks = g->n / 32; \
        p.ahead = ahead_bytes(g, g->n_rows < step ? g->n_rows : step); \
        amx_begin(32); \
        for (size_t c0 = 0; c0 < g->n_cols; c0 += pass_cols) { \
            const size_t left = g->n_cols - c0 < pass_cols ? g->n_cols - c0 : pass_cols; \
            p.n_tiles = (left + 15) / 16; \
            for (size_t r0 = 0; r0 < g->n_rows; r0 += step) { \
                const size_t rows = g->n_rows - r0 < step ? g->n_rows - r0 : step; \
                p.n_blocks = (rows + 15) / 16; \
                for (size_t r = 0; r < 16 * p.n_blocks; r++) p.rows[r] = row_at(g, r0 + r); \
                for (size_t b = 0; b < n_blocks; b += AMX_CHUNK) { \
                    const size_t n = n_blocks - b < AMX_CHUNK ? n_blocks - b : AMX_CHUNK; \
                    for (size_t t = 0; t < p.n_tiles; t++) amx_turn(&p.x[t], g, c0 + 16 * t, b, n, has_min); \
                    for (size_t r = 0; r < p.n_blocks; r++) { \
                        amx_unpack_##type(&p, p.rows + 16 * r, b, n); \
                        for (size_t t = 0; t < p.n_tiles; t++) { \
                            amx_dots(&p, t, n); \
                            amx_add(&p, r, t, n, b == 0, has_min); \
                        } \
                    } \
                } \
                for (size_t r = 0; r < p.n_blocks; r++) \
                    amx_results(g, p.acc[r], has_min ? p.accm[r] : NULL, 1, p.n_tiles, r0 + 16 * r, c0); \
            } \
        } \
        amx_end(); \
    }
