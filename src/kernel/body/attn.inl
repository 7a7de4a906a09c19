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
 * Weights of quantised values; weigh_block in ref/attn.c is the definition. What is made of the scales of a tile
 * serves all rows that see all of it; what is made of a row's probabilities, all blocks. Eight blocks are
 * rounded together, since maxima and sums across lanes are cheaper for eight.
 */
typedef struct weigh_scales {
    float x[8][32], d[8]; /* scales to +-127; the factor that undoes it */
    int finite;
} weigh_scales;

/* Up to eight blocks that wait for their sums. */
typedef struct weigh_queue {
    v16_pair part[4];
    moe__act32 *dst[8];
    size_t n; /* pairs */
} weigh_queue;

/* The scales of nb blocks of a tile, as far as keep[] is not zero, or all of them. */
static inline void weigh_prepare(weigh_scales *s, const uint8_t *halves, size_t nb, const v16 *keep)
{
    v16_maxima m[8];
    v16 x[16];
    float by[8];
    for (size_t b = 0; b < 8; b++) {
        m[b] = v16_maxima_zero();
        if (b >= nb) continue;
        x[2 * b] = v16_load_f16(halves + 64 * b);
        x[2 * b + 1] = v16_load_f16(halves + 64 * b + 32);
        if (keep) x[2 * b] = v16_where(x[2 * b], keep[0]), x[2 * b + 1] = v16_where(x[2 * b + 1], keep[1]);
        m[b] = v16_absmax(v16_absmax(m[b], x[2 * b]), x[2 * b + 1]);
    }
    v16_act_scales(m, s->d, by);
    s->finite = 1;
    for (size_t b = 0; b < nb; b++) {
        v16_store(s->x[b], v16_mul(x[2 * b], v16_set1(by[b])));
        v16_store(s->x[b] + 16, v16_mul(x[2 * b + 1], v16_set1(by[b])));
        s->finite &= s->d[b] == s->d[b];
        s->d[b] *= 127.0f;
    }
}

static inline void weigh_flush(weigh_queue *q)
{
    int32_t sum[8];
    v16_pair_sums(q->part, sum);
    for (size_t i = 0; i < 8; i++) q->dst[i]->sum = sum[i];
    q->n = 0;
}

/* The same of fewer: their places are taken by one that is already done. */
static void weigh_drain(weigh_queue *q)
{
    for (size_t i = q->n; i < 4; i++) {
        q->part[i] = q->part[0];
        q->dst[2 * i] = q->dst[0];
        q->dst[2 * i + 1] = q->dst[1];
    }
    weigh_flush(q);
}

/* A block that is not finite. */
static void weigh_bad(moe__act32 *dst)
{
    memset(dst->q, 0, sizeof dst->q);
    dst->sum = 0;
}

/* One row's blocks; x: its probabilities to +-1, d: the factor that undoes it. An odd one is its own neighbour. */
ALWAYS_INLINE void weigh_row(weigh_queue *q, moe__act32 *dst, v16 x0, v16 x1, float d, const weigh_scales *s, size_t nb)
{
    const v16 magic = v16_set1(MOE_EXP_MAGIC);
    for (size_t b = 0; b < nb; b += 2) {
        const size_t next = b + 1 < nb ? b + 1 : b;
        dst[b].d = d * s->d[b];
        dst[next].d = d * s->d[next];
        q->dst[2 * q->n] = dst + b;
        q->dst[2 * q->n + 1] = dst + next;
        q->part[q->n] = v16_int8_pair(
            dst[b].q, dst[next].q, v16_fma(x0, v16_load(s->x[b]), magic), v16_fma(x1, v16_load(s->x[b] + 16), magic),
            v16_fma(x0, v16_load(s->x[next]), magic), v16_fma(x1, v16_load(s->x[next] + 16), magic));
        if (++q->n == 4) weigh_flush(q);
    }
}

/* Probabilities of a tile's positions, zeros behind the first `left`. */
static inline void weigh_load(v16 *p, const float *src, size_t left)
{
    p[0] = left >= 16 ? v16_load(src) : left ? v16_load_n(src, left) : v16_zero();
    p[1] = left >= 32 ? v16_load(src + 16) : left > 16 ? v16_load_n(src + 16, left - 16) : v16_zero();
}

/* nb blocks from b0 on of tile t, all rows; eight rows' maxima at a time. */
static void weigh_tile(const moe__attn_weights *a, size_t t, size_t b0, size_t nb)
{
    const uint8_t *halves = (const uint8_t *)a->v + t * a->tile_bytes + 2 * b0 * MOE_V_TILE;
    const size_t n_blocks = a->dim / 32;
    weigh_scales all, own;
    weigh_queue q;
    q.n = 0;
    weigh_prepare(&all, halves, nb, NULL);
    for (size_t c0 = 0; c0 < a->n_q; c0 += 8) {
        const size_t n = a->n_q - c0 < 8 ? a->n_q - c0 : 8;
        moe__act32 *const w = a->w + (c0 * a->n_tiles + t) * n_blocks + b0;
        v16_maxima m[8];
        v16 p[8][2];
        float d[8], by[8];
        for (size_t i = 0; i < 8; i++) {
            m[i] = v16_maxima_zero();
            if (i >= n) continue;
            const size_t sees = a->n[c0 + i];
            weigh_load(p[i], a->p + (c0 + i) * a->ldp + t * MOE_V_TILE,
                       sees > t * MOE_V_TILE ? sees - t * MOE_V_TILE : 0);
            m[i] = v16_absmax(v16_absmax(m[i], p[i][0]), p[i][1]);
        }
        v16_act_scales(m, d, by);
        for (size_t i = 0; i < n; i++) {
            moe__act32 *const dst = w + i * a->n_tiles * n_blocks;
            const v16 to_one = v16_set1(by[i] * MOE_WEIGH_STEP);
            const weigh_scales *scales = &all;
            if (!v16_none_zero(p[i][0], p[i][1])) {
                weigh_prepare(&own, halves, nb, p[i]);
                scales = &own;
            }
            weigh_row(&q, dst, v16_mul(p[i][0], to_one), v16_mul(p[i][1], to_one), d[i], scales, nb);
            if (d[i] == d[i] && scales->finite) continue;
            if (q.n) weigh_drain(&q);
            for (size_t b = 0; b < nb; b++)
                if (dst[b].d != dst[b].d) weigh_bad(&dst[b]);
        }
    }
    if (q.n) weigh_drain(&q);
}

void MOE_FN(attn_weigh)(const moe__attn_weights *a)
{
    const size_t n_blocks = a->dim / 32;
    for (size_t t = 0; t < a->n_tiles; t++)
        for (size_t b0 = 0; b0 < n_blocks; b0 += 8) weigh_tile(a, t, b0, n_blocks - b0 < 8 ? n_blocks - b0 : 8);
}
