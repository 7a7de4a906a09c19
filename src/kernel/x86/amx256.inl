/* SPDX-License-Identifier: MIT */
/*
 * Products of the 256-element formats with many columns by AMX. A tile adds up a whole block of 256 elements,
 * so the integer scales of its groups must be in the weights: each weight times its scale is stored as one or
 * two bytes, and the exact sum of the block is low + (high << shift):
 *
 *   Q2_K    q s                                  unsigned, at most 45       one byte
 *   Q3_K    (q - 4)(s - 32) + 124                unsigned, 0 .. 252         one byte; - 124 sum(x)
 *   Q4_K    s = 16 h + l: q l, q h               unsigned, at most 225      shift 4
 *   Q5_K    s = 8 h + l: q l, q h                unsigned, at most 217      shift 3
 *   Q6_K    (q - 32) s, 16 bits                  low unsigned, high signed  shift 8
 *   IQ4_XS  level (s - 32), 16 bits              as Q6_K
 *
 * As long as the product of a byte with a scale fits a byte, one 16-bit multiplication does two of them. Sums
 * of a low byte: at most 255 * 127 * 256 < 2^31. Minima meet the sums of 16 elements as bf16: 8 bits at most
 * times the upper 8 bits of a sum and, apart, its rest (a sum has 12); all are below 2^24, so exact.
 *
 * A block of 16 weight rows is unpacked and meets up to 64 columns, two tiles of them at a time. Unpacking
 * the next block and adding up the last sums between the tile instructions brought nothing: the vector units
 * have more to do than the tile unit, whatever the order.
 */

#define AMX_TILES  4 /* of 16 columns, that share one unpacking */
#define AMX_BLOCKS 8 /* of 16 rows, that share one turning of the columns */

enum { AMX_Q2, AMX_Q3, AMX_Q4, AMX_Q5, AMX_Q6, AMX_IQ4 };
#define AMX_WIDE(mode)     ((mode) >= AMX_Q6)
#define AMX_HAS_MIN(mode)  ((mode) == AMX_Q2 || (mode) == AMX_Q4 || (mode) == AMX_Q5)
#define AMX_HAS_HIGH(mode) ((mode) >= AMX_Q4)
#define AMX_SHIFT(mode)    ((mode) == AMX_Q4 ? 4 : (mode) == AMX_Q5 ? 3 : 8)

/* One block of 16 weight rows: A tiles. */
typedef struct amx_weights {
    uint8_t low[4][16][64], high[4][16][64];
    uint16_t min[16][32]; /* bf16, one per 16 elements, and again */
    float d[16], dmin[16];
} amx_weights;

/* One block of 16 columns: B tiles. */
typedef struct amx_columns {
    int8_t q[4][16][64];
    uint32_t sum16[16][16]; /* pairs of bf16: the upper 8 bits, then the rest */
    float d[16];
    int32_t sum[16]; /* 124 sum(x) */
} amx_columns;

/* C tiles of two tiles of columns. */
typedef struct amx_sums {
    int32_t low[2][16][16], high[2][16][16];
    float min[2][16][16];
} amx_sums;

/* What a call needs: about 100 KiB on the stack. */
typedef struct amx_pass {
    _Alignas(64) amx_columns x[AMX_TILES]; /* a row of a tile is a cache line */
    amx_weights w;
    amx_sums c;
    float acc[AMX_BLOCKS][AMX_TILES][16][16], accm[AMX_BLOCKS][AMX_TILES][16][16];
    uint8_t bf16_low[64], bf16_high[64]; /* the two bytes of 0 .. 63 */
    const uint8_t *rows[16 * AMX_BLOCKS];
    size_t n_blocks; /* of rows */
    size_t n_tiles;  /* of columns */
    amx_ahead ahead;
} amx_pass;

ALWAYS_INLINE size_t amx_block_bytes(const int mode)
{
    return mode == AMX_Q2   ? sizeof(moe__q2_k)
           : mode == AMX_Q3 ? sizeof(moe__q3_k)
           : mode == AMX_Q4 ? sizeof(moe__q4_k)
           : mode == AMX_Q5 ? sizeof(moe__q5_k)
           : mode == AMX_Q6 ? sizeof(moe__q6_k)
                            : sizeof(moe__iq4_xs);
}
ALWAYS_INLINE __m256i amx_scales(const uint8_t *b, const int mode)
{
    return mode == AMX_Q2   ? s_q2_k(b)
           : mode == AMX_Q3 ? s_q3_k(b)
           : mode == AMX_Q4 ? s_q4_k(b)
           : mode == AMX_Q5 ? s_q5_k(b)
           : mode == AMX_Q6 ? s_q6_k(b)
                            : s_iq4_xs(b);
}
ALWAYS_INLINE vi amx_quants(const uint8_t *b, const int j, const int mode)
{
    return mode == AMX_Q2   ? w_q2_k(b, j)
           : mode == AMX_Q3 ? w_q3_k(b, j)
           : mode == AMX_Q4 ? w_q4_k(b, j)
           : mode == AMX_Q5 ? w_q5_k(b, j)
           : mode == AMX_Q6 ? w_q6_k(b, j)
                            : w_iq4_xs(b, j);
}
ALWAYS_INLINE __m256i amx_minima(const uint8_t *b, const int mode)
{
    return mode == AMX_Q2 ? m_q2_k(b) : mode == AMX_Q4 ? m_q4_k(b) : m_q5_k(b);
}

/* What weights are multiplied with and what is added or multiplied in the second place, 16 words each. */
ALWAYS_INLINE vi amx_factors(__m256i s, const int mode)
{
    __m256i a = s, b = s;
    if (mode == AMX_Q3) {
        b = _mm256_sub_epi16(_mm256_set1_epi16(124), _mm256_slli_epi16(s, 2));
        b = _mm256_add_epi16(b, _mm256_slli_epi16(b, 8)); /* for both bytes of a word */
    }
    if (mode == AMX_Q4 || mode == AMX_Q5) {
        const int n = AMX_SHIFT(mode);
        a = _mm256_and_si256(s, _mm256_set1_epi16((short)((1 << n) - 1)));
        b = _mm256_srli_epi16(s, n);
    }
    if (AMX_WIDE(mode)) {
        a = _mm256_and_si256(s, _mm256_set1_epi16(0xff));
        b = _mm256_slli_epi16(s, mode == AMX_Q6 ? 5 : 7); /* the offset of the weights times s */
    }
    return _mm512_inserti64x4(_mm512_castsi256_si512(a), b, 1);
}

/* The minima of block b of row r. */
ALWAYS_INLINE void amx_row_min(const amx_pass *p, amx_weights *w, size_t r, const uint8_t *b, const int mode)
{
    const __m256i m = amx_minima(b, mode);
    const __m256i both =
        _mm256_or_si256(_mm256_or_si256(m, _mm256_slli_epi16(m, 8)), _mm256_set1_epi16(0x4000));
    const vi bf16 =
        _mm512_permutex2var_epi8(vi_load(p->bf16_low), _mm512_broadcast_i64x4(both), vi_load(p->bf16_high));
    vi_store(w->min[r], bf16);
}

/* Block b of row r. */
ALWAYS_INLINE void amx_row(const amx_pass *p, amx_weights *w, size_t r, const uint8_t *b, const int mode)
{
    static const uint8_t words[64] = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3,
                                      2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5, 4, 5,
                                      4, 5, 4, 5, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7, 6, 7};
    static const uint8_t low_bytes[64] = {
        0,  64,  2,  66,  4,  68,  6,  70,  8,  72,  10, 74,  12, 76,  14, 78,  16, 80,  18, 82,  20, 84,
        22, 86,  24, 88,  26, 90,  28, 92,  30, 94,  32, 96,  34, 98,  36, 100, 38, 102, 40, 104, 42, 106,
        44, 108, 46, 110, 48, 112, 50, 114, 52, 116, 54, 118, 56, 120, 58, 122, 60, 124, 62, 126};
    const vi f = amx_factors(amx_scales(b, mode), mode);
    if (AMX_HAS_MIN(mode)) amx_row_min(p, w, r, b, mode);
#pragma GCC unroll 4
    for (int j = 0; j < 4; j++) {
        const vi idx = vi_add8(vi_load(words), vi_set1_8(8 * j));
        const vi f0 = _mm512_permutexvar_epi8(idx, f);
        const vi f1 = _mm512_permutexvar_epi8(vi_add8(idx, vi_set1_8(32)), f);
        const vi q = amx_quants(b, j, mode);
        if (AMX_WIDE(mode)) {
            const vi pick = vi_load(low_bytes);
            const vi even = _mm512_sub_epi16(vi_maddubs(q, f0), f1);
            const vi odd = _mm512_sub_epi16(vi_maddubs(q, _mm512_slli_epi16(f0, 8)), f1);
            vi_store(w->low[j][r], _mm512_permutex2var_epi8(even, pick, odd));
            vi_store(w->high[j][r], _mm512_permutex2var_epi8(even, vi_add8(pick, vi_set1_8(1)), odd));
        } else {
            const vi low = _mm512_mullo_epi16(q, f0);
            vi_store(w->low[j][r], mode == AMX_Q3 ? vi_add16(low, f1) : low);
            if (AMX_HAS_HIGH(mode)) vi_store(w->high[j][r], _mm512_mullo_epi16(q, f1));
        }
    }
}

/* 16 rows, from `off` on in each. */
ALWAYS_INLINE void amx_unpack(amx_pass *p, const uint8_t *const *rows, size_t off, const int mode)
{
    const size_t d = mode == AMX_Q2   ? offsetof(moe__q2_k, d)
                     : mode == AMX_Q3 ? offsetof(moe__q3_k, d)
                     : mode == AMX_Q6 ? offsetof(moe__q6_k, d)
                                      : 0;
    const size_t dmin = mode == AMX_Q2 ? offsetof(moe__q2_k, dmin) : offsetof(moe__q4_k, dmin);
    for (size_t r = 0; r < 16; r++) {
        if (r % 4 == 0) amx_fetch(&p->ahead);
        amx_row(p, &p->w, r, rows[r] + off, mode);
    }
    vf_store(p->w.d, vf_rows_half(rows, off + d));
    if (AMX_HAS_MIN(mode)) vf_store(p->w.dmin, vf_rows_half(rows, off + dmin));
}

/* Block b of 16 columns from c0 on, turned. */
ALWAYS_INLINE void amx_turn(amx_columns *x, const moe__gemm *g, size_t c0, size_t b, const int mode)
{
    const uint8_t *col[16];
    for (size_t c = 0; c < 16; c++) col[c] = col_at(g, c0 + c) + b * sizeof(moe__act256);
    for (size_t i = 0; i < 16; i++) {
        vi v[4];
        vi_rows16(col, offsetof(moe__act256, q) + 16 * i, v);
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) vi_store(x->q[i / 4][4 * (i % 4) + k], v[k]);
    }
    for (size_t c = 0; c < 16; c++) x->d[c] = ((const moe__act256 *)col[c])->d;
    if (mode == AMX_Q3)
        for (size_t c = 0; c < 16; c++) {
            const moe__act256 *a = (const moe__act256 *)col[c];
            int32_t s = 0;
            for (int j = 0; j < 16; j++) s += a->sum16[j];
            x->sum[c] = 124 * s;
        }
    if (!AMX_HAS_MIN(mode)) return;
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) { /* sums 8 i .. 8 i + 7, in pairs */
        vi v[4];
        vi_rows16(col, offsetof(moe__act256, sum16) + 16 * i, v);
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; k++) {
            const vi even = vi_sra(vi_sll(v[k], 16), 16), odd = vi_sra(v[k], 16),
                     upper = vi_set1_32((int)0xffff0000u);
            const vf fe = vf_from(even), fo = vf_from(odd);
            const vi te = vi_and(_mm512_castps_si512(fe), upper), to = vi_and(_mm512_castps_si512(fo), upper);
            const vi re = _mm512_castps_si512(vf_sub(fe, _mm512_castsi512_ps(te)));
            const vi ro = _mm512_castps_si512(vf_sub(fo, _mm512_castsi512_ps(to)));
            vi_store(x->sum16[4 * i + k], vi_or(vi_srl(te, 16), to));
            vi_store(x->sum16[8 + 4 * i + k], vi_or(vi_srl(re, 16), ro));
        }
    }
}

/* The products of the unpacked rows with tile t of columns, and with t + 1 if `two`, into p->c. */
ALWAYS_INLINE void amx_dots(amx_pass *p, size_t t, const int two, const int mode)
{
    const amx_weights *w = &p->w;
    const amx_columns *x = &p->x[t];
    amx_sums *c = &p->c;
    AMX_ZERO(0);
    if (AMX_HAS_HIGH(mode)) AMX_ZERO(1);
    if (two) AMX_ZERO(2);
    if (two && AMX_HAS_HIGH(mode)) AMX_ZERO(3);
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        amx_fetch(&p->ahead);
        AMX_LOAD(4, w->low[k]);
        AMX_LOAD(6, x[0].q[k]);
        AMX_DOT_US(0, 4, 6);
        if (two) AMX_LOAD(7, x[1].q[k]);
        if (two) AMX_DOT_US(2, 4, 7);
        if (!AMX_HAS_HIGH(mode)) continue;
        AMX_LOAD(5, w->high[k]);
        if (AMX_WIDE(mode))
            AMX_DOT_SS(1, 5, 6);
        else
            AMX_DOT_US(1, 5, 6);
        if (two && AMX_WIDE(mode))
            AMX_DOT_SS(3, 5, 7);
        else if (two)
            AMX_DOT_US(3, 5, 7);
    }
    AMX_STORE(0, c->low[0]);
    if (AMX_HAS_HIGH(mode)) AMX_STORE(1, c->high[0]);
    if (two) AMX_STORE(2, c->low[1]);
    if (two && AMX_HAS_HIGH(mode)) AMX_STORE(3, c->high[1]);
    if (!AMX_HAS_MIN(mode)) return;
    AMX_LOAD(4, w->min);
    AMX_LOAD(6, x[0].sum16);
    AMX_ZERO(0);
    AMX_DOT_BF16(0, 4, 6);
    if (two) {
        AMX_LOAD(7, x[1].sum16);
        AMX_ZERO(2);
        AMX_DOT_BF16(2, 4, 7);
        AMX_STORE(2, c->min[1]);
    }
    AMX_STORE(0, c->min[0]);
}

/*
 * Adds p->c to the sums of row block r with tiles t .. t + n - 1; `first`: there is nothing yet. y, ldy: see
 * amx_claim().
 */
ALWAYS_INLINE void amx_add(amx_pass *p, size_t r, size_t t, size_t n, int first, const float *y, size_t ldy,
                           const int mode)
{
    const __mmask16 old = first ? 0 : 0xffff;
    for (size_t k = 0; k < n; k++) {
        const amx_columns *x = &p->x[t + k];
        const vf dx = vf_load(x->d);
        float(*acc)[16] = p->acc[r][t + k], (*accm)[16] = p->accm[r][t + k];
#pragma GCC unroll 4
        for (size_t i = 0; i < 16; i++) {
            vi s = vi_load(p->c.low[k][i]);
            if (AMX_HAS_HIGH(mode)) s = vi_add(s, vi_sll(vi_load(p->c.high[k][i]), AMX_SHIFT(mode)));
            if (mode == AMX_Q3) s = vi_sub(s, vi_load(x->sum));
            const vf d = vf_mul(vf_set1(p->w.d[i]), dx);
            amx_claim(y, 16 * k + i, ldy);
            vf_store(acc[i], vf_fma(d, vf_from(s), _mm512_maskz_loadu_ps(old, acc[i])));
            if (!AMX_HAS_MIN(mode)) continue;
            const vf dmin = vf_mul(vf_set1(p->w.dmin[i]), dx);
            vf_store(accm[i], vf_fma(dmin, vf_load(p->c.min[k][i]), _mm512_maskz_loadu_ps(old, accm[i])));
        }
    }
}

/* The rows p->rows, the first of which is r0, with the columns of a pass. */
ALWAYS_INLINE void amx_rows(amx_pass *p, const moe__gemm *g, size_t r0, size_t c0, const int mode)
{
    for (size_t b = 0; b < g->n / 256; b++) {
        const int last = b + 1 == g->n / 256;
        for (size_t t = 0; t < p->n_tiles; t++) amx_turn(&p->x[t], g, c0 + 16 * t, b, mode);
        for (size_t r = 0; r < p->n_blocks; r++) {
            const size_t r1 = r0 + 16 * r, ldy = last ? g->ldy : 0;
            size_t t = 0;
            amx_unpack(p, p->rows + 16 * r, b * amx_block_bytes(mode), mode);
            for (; t + 2 <= p->n_tiles; t += 2) {
                const float *y = last ? amx_place(g, r1, c0 + 16 * t) : p->w.d;
                amx_dots(p, t, 1, mode);
                amx_add(p, r, t, 2, b == 0, y, ldy, mode);
            }
            if (t < p->n_tiles) {
                const float *y = last ? amx_place(g, r1, c0 + 16 * t) : p->w.d;
                amx_dots(p, t, 0, mode);
                amx_add(p, r, t, 1, b == 0, y, ldy, mode);
            }
            if (last)
                amx_results(g, p->acc[r], AMX_HAS_MIN(mode) ? p->accm[r] : NULL, -1, p->n_tiles, r1, c0);
        }
    }
}

/* The numbers 0 .. 63 as bf16. */
static inline void amx_bf16_table(amx_pass *p)
{
    for (int i = 0; i < 64; i++) {
        const uint32_t bits = moe__f32_bits((float)i);
        p->bf16_low[i] = (uint8_t)(bits >> 16);
        p->bf16_high[i] = (uint8_t)(bits >> 24);
    }
}

ALWAYS_INLINE void amx_gemm(const moe__gemm *g, const int mode)
{
    amx_pass p;
    const size_t step = 16 * AMX_BLOCKS, pass_cols = 16 * AMX_TILES;
    if (AMX_HAS_MIN(mode)) amx_bf16_table(&p);
    amx_begin(64);
    for (size_t c0 = 0; c0 < g->n_cols; c0 += pass_cols) {
        const size_t left = g->n_cols - c0 < pass_cols ? g->n_cols - c0 : pass_cols;
        p.n_tiles = (left + 15) / 16;
        for (size_t r0 = 0; r0 < g->n_rows; r0 += step) {
            const size_t rows = g->n_rows - r0 < step ? g->n_rows - r0 : step;
            p.n_blocks = (rows + 15) / 16;
            for (size_t r = 0; r < 16 * p.n_blocks; r++) p.rows[r] = row_at(g, r0 + r);
            const size_t fetches = 4 + 4 * ((p.n_tiles + 1) / 2); /* of amx_unpack, of amx_dots */
            amx_fetch_begin(&p.ahead, g, r0, step, p.n_blocks * (g->n / 256) * fetches, c0 == 0);
            amx_rows(&p, g, r0, c0, mode);
        }
    }
    amx_end();
}
