/* SPDX-License-Identifier: MIT */
/*
 * Attention with float keys and values; ref/attn.c is the definition. A register tile is V16_Q queries by
 * V16_T vectors: each vector of keys or values that is read serves all its queries.
 */

enum { CELL_F32, CELL_F16, CELL_BF16 };

ALWAYS_INLINE v16 cell_load(const uint8_t *p, const int type)
{
    if (type == CELL_F32) return v16_load(p);
    return type == CELL_F16 ? v16_load_f16(p) : v16_load_bf16(p);
}
static inline v16 cell_load_n(const uint8_t *p, const int type, size_t n)
{
    if (type == CELL_F32) return v16_load_n(p, n);
    return type == CELL_F16 ? v16_load_f16_n(p, n) : v16_load_bf16_n(p, n);
}
#define CELL_BYTES(type) ((size_t)((type) == CELL_F32 ? 4 : 2))

static inline const float *attn_row(const void *rows, size_t bytes, size_t i)
{
    return (const float *)(const void *)((const char *)rows + i * bytes);
}

/* Asks for as much of `ahead` as was read; addresses may lie anywhere. */
ALWAYS_INLINE void attn_fetch(const char *ahead, const size_t bytes)
{
#pragma GCC unroll 16
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i, 0, 2);
}

/* nq queries from c on with nt tiles from t on. */
ALWAYS_INLINE void qk_tile(const moe__attn_qk *a, size_t c, size_t t, const int nq, const int nt,
                           const int type)
{
    v16 acc[V16_Q][V16_T], k[V16_T];
    const float *q[V16_Q];
    const size_t step = MOE_K_TILE * CELL_BYTES(type), tile = step * a->dim;
    const uint8_t *p = (const uint8_t *)a->k + t * tile;
    const char *ahead = a->ahead && c == 0 ? (const char *)a->ahead + t * tile : NULL;
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++) {
        q[i] = attn_row(a->q, a->q_bytes, c + (size_t)i);
#pragma GCC unroll 8
        for (int j = 0; j < nt; j++) acc[i][j] = v16_zero();
    }
    for (size_t d = 0; d < a->dim; d++) {
        if (ahead) attn_fetch(ahead + d * (size_t)nt * step, (size_t)nt * step);
#pragma GCC unroll 8
        for (int j = 0; j < nt; j++) k[j] = cell_load(p + (size_t)j * tile + d * step, type);
#pragma GCC unroll 8
        for (int i = 0; i < nq; i++) {
            const v16 x = v16_set1(q[i][d]);
#pragma GCC unroll 8
            for (int j = 0; j < nt; j++) acc[i][j] = v16_fma(x, k[j], acc[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++)
#pragma GCC unroll 8
        for (int j = 0; j < nt; j++)
            v16_store(a->s + (c + (size_t)i) * a->lds + (t + (size_t)j) * MOE_K_TILE, acc[i][j]);
}

/* nq rows of sums from c on, nw vectors of elements from d on. */
ALWAYS_INLINE void av_tile(const moe__attn_av *a, size_t c, size_t d, const int nq, const int nw,
                           const int type)
{
    v16 acc[V16_Q][V16_W], v[V16_W];
    const float *p[V16_Q];
    const size_t step = a->dim * CELL_BYTES(type);
    const uint8_t *row = (const uint8_t *)a->v + d * CELL_BYTES(type);
    const char *ahead = a->ahead && c == 0 ? (const char *)a->ahead + d * CELL_BYTES(type) : NULL;
    float *y = a->y + c * a->ldy + d;
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++) {
        p[i] = attn_row(a->p, a->p_bytes, c + (size_t)i);
#pragma GCC unroll 8
        for (int j = 0; j < nw; j++) acc[i][j] = v16_load(y + (size_t)i * a->ldy + 16 * j);
    }
    for (size_t k = 0; k < a->n; k++) {
        if (ahead) attn_fetch(ahead + k * step, (size_t)nw * 16 * CELL_BYTES(type));
#pragma GCC unroll 8
        for (int j = 0; j < nw; j++)
            v[j] = cell_load(row + k * step + (size_t)j * 16 * CELL_BYTES(type), type);
#pragma GCC unroll 8
        for (int i = 0; i < nq; i++) {
            const v16 x = v16_set1(p[i][k]);
#pragma GCC unroll 8
            for (int j = 0; j < nw; j++) acc[i][j] = v16_fma(x, v[j], acc[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < nq; i++)
#pragma GCC unroll 8
        for (int j = 0; j < nw; j++) v16_store(y + (size_t)i * a->ldy + 16 * j, acc[i][j]);
}

/* The last dim - d < 16 elements of one row. */
ALWAYS_INLINE void av_tail(const moe__attn_av *a, size_t c, size_t d, const int type)
{
    const size_t left = a->dim - d;
    const float *p = attn_row(a->p, a->p_bytes, c);
    float *y = a->y + c * a->ldy + d;
    v16 acc = v16_load_n(y, left);
    for (size_t i = 0; i < a->n; i++)
        acc = v16_fma(v16_set1(p[i]),
                      cell_load_n((const uint8_t *)a->v + (i * a->dim + d) * CELL_BYTES(type), type, left),
                      acc);
    v16_store_n(y, acc, left);
}

#define ATTN_QUERIES(call_wide, call_pair, call_one)                                                         \
    for (; c + V16_Q <= a->n_q; c += V16_Q) call_wide;                                                       \
    for (; c + 2 <= a->n_q; c += 2) call_pair;                                                               \
    for (; c < a->n_q; c++) call_one;

#define ATTN_FLOAT(name, type)                                                                               \
    static void qk_wide_##name(const moe__attn_qk *a, size_t t)                                              \
    {                                                                                                        \
        size_t c = 0;                                                                                        \
        ATTN_QUERIES(qk_tile(a, c, t, V16_Q, V16_T, type), qk_tile(a, c, t, 2, V16_T, type),                 \
                     qk_tile(a, c, t, 1, V16_T, type))                                                       \
    }                                                                                                        \
    static void qk_single_##name(const moe__attn_qk *a, size_t t)                                            \
    {                                                                                                        \
        size_t c = 0;                                                                                        \
        ATTN_QUERIES(qk_tile(a, c, t, V16_Q, 1, type), qk_tile(a, c, t, 2, 1, type),                         \
                     qk_tile(a, c, t, 1, 1, type))                                                           \
    }                                                                                                        \
    void MOE_FN(attn_qk_##name)(const moe__attn_qk *a)                                                       \
    {                                                                                                        \
        size_t t = 0;                                                                                        \
        for (; t + V16_T <= a->n_tiles; t += V16_T) qk_wide_##name(a, t);                                    \
        for (; t < a->n_tiles; t++) qk_single_##name(a, t);                                                  \
    }                                                                                                        \
    static void av_wide_##name(const moe__attn_av *a, size_t d)                                              \
    {                                                                                                        \
        size_t c = 0;                                                                                        \
        ATTN_QUERIES(av_tile(a, c, d, V16_Q, V16_W, type), av_tile(a, c, d, 2, V16_W, type),                 \
                     av_tile(a, c, d, 1, V16_W, type))                                                       \
    }                                                                                                        \
    static void av_single_##name(const moe__attn_av *a, size_t d)                                            \
    {                                                                                                        \
        size_t c = 0;                                                                                        \
        ATTN_QUERIES(av_tile(a, c, d, V16_Q, 1, type), av_tile(a, c, d, 2, 1, type),                         \
                     av_tile(a, c, d, 1, 1, type))                                                           \
    }                                                                                                        \
    void MOE_FN(attn_av_##name)(const moe__attn_av *a)                                                       \
    {                                                                                                        \
        size_t d = 0;                                                                                        \
        for (; d + 16 * V16_W <= a->dim; d += 16 * V16_W) av_wide_##name(a, d);                              \
        for (; d + 16 <= a->dim; d += 16) av_single_##name(a, d);                                            \
        for (size_t c = 0; d < a->dim && c < a->n_q; c++) av_tail(a, c, d, type);                            \
    }

ATTN_FLOAT(f32, CELL_F32)
ATTN_FLOAT(f16, CELL_F16)
ATTN_FLOAT(bf16, CELL_BF16)

/*
 * Weights of quantised values, eight blocks of 32 at a time: a block's largest product needs a sum across
 * lanes and two divisions, which eight share.
 */
typedef struct weigh_block {
    float x[32];
    moe__act32 *dst;
} weigh_block;

static inline void weigh_flush(const weigh_block *b, size_t n)
{
    v16_maxima m[8];
    v16i bits[8];
    float d[8], inv[8];
    int32_t sum[8];
    for (size_t i = 0; i < 8; i++)
        m[i] = i < n ? v16_absmax(v16_absmax(v16_maxima_zero(), v16_load(b[i].x)), v16_load(b[i].x + 16))
                     : v16_maxima_zero();
    v16_act_scales(m, d, inv);
    for (size_t i = 0; i < 8; i++) {
        const v16 by = v16_set1(inv[i]), magic = v16_set1(MOE_EXP_MAGIC);
        const v16 t0 = v16_add(v16_mul(v16_load(b[i].x), by), magic),
                  t1 = v16_add(v16_mul(v16_load(b[i].x + 16), by), magic);
        if (i < n) v16_store_bytes(b[i].dst->q, t0, t1);
        bits[i] = v16i_add(v16i_bits(t0), v16i_bits(t1));
    }
    v16_act_sums(bits, sum);
    for (size_t i = 0; i < n; i++) {
        b[i].dst->d = d[i];
        b[i].dst->sum = sum[i];
        if (d[i] == d[i]) continue;
        memset(b[i].dst->q, 0, sizeof b[i].dst->q); /* not finite */
        b[i].dst->sum = 0;
    }
}

void MOE_FN(attn_weigh)(const moe__attn_weights *a)
{
    const size_t n_blocks = a->dim / 32;
    weigh_block block[8];
    size_t n = 0;
    memset(block, 0, sizeof block);
    for (size_t c = 0; c < a->n_q; c++)
        for (size_t t = 0; t < a->n_tiles; t++) {
            const float *p = a->p + c * a->ldp + t * MOE_V_TILE;
            const uint8_t *d = (const uint8_t *)a->v + t * a->tile_bytes;
            const size_t left = a->n[c] > t * MOE_V_TILE ? a->n[c] - t * MOE_V_TILE : 0;
            v16 p0, p1;
            if (left) {
                p0 = left < 16 ? v16_load_n(p, left) : v16_load(p);
                p1 = left >= 32 ? v16_load(p + 16) : left > 16 ? v16_load_n(p + 16, left - 16) : v16_zero();
            }
            for (size_t b = 0; b < n_blocks; b++, d += 2 * MOE_V_TILE) {
                weigh_block *w = &block[n];
                w->dst = a->w + (c * a->n_tiles + t) * n_blocks + b;
                v16 x0 = v16_zero(), x1 = x0;
                if (left >= 32) {
                    x0 = v16_mul(p0, v16_load_f16(d));
                    x1 = v16_mul(p1, v16_load_f16(d + 32));
                } else if (left) {
                    x0 = v16_mul(p0, left < 16 ? v16_load_f16_n(d, left) : v16_load_f16(d));
                    if (left > 16) x1 = v16_mul(p1, v16_load_f16_n(d + 32, left - 16));
                }
                v16_store(w->x, x0);
                v16_store(w->x + 16, x1);
                if (++n == 8) {
                    weigh_flush(block, 8);
                    n = 0;
                }
            }
        }
    if (n) weigh_flush(block, n);
}
