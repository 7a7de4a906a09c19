/* SPDX-License-Identifier: MIT */
/*
 * Attention of the level amx with quantised keys and values and many queries; ref/attn.c is the definition.
 * One product of tile registers gives the integer sums of 16 queries with 16 positions (or elements of
 * values) over a block of 32: A has the queries' bytes, B the fours of the cache, made signed once for all
 * queries. Fewer queries go to the level below.
 */
#include <string.h>

#include "kernel/x86/amx.h"
#include "kernel/x86/vint.h"

#define MOE_KERNEL(name, ret, args, doc) ret moe__avx512vnni_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

#define AMX_QUERIES 16  /* rows of A */
#define AMX_MIN     6   /* queries from which it is faster */
#define AMX_GROUP   4   /* products whose sums are taken out together */
#define AMX_RING    4   /* units whose sums wait: from begin to use it takes some hundred cycles */
#define AMX_WIDE    256 /* elements of values that are made signed together */

enum { CELL_Q8, CELL_Q4 };
#define CELL_BITS(type) ((type) == CELL_Q8 ? 8u : 4u)

#define ATTN_LOAD(t, p, stride)                                                                              \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((size_t)(stride)) : "memory")

/* A has `rows` rows of a block's bytes, B its eight fours. */
static inline void attn_config(size_t rows)
{
    amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = t == 4 || t == 5 ? 32 : 64;
        c.rows[t] = t < 6 ? (uint8_t)rows : 8;
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(c));
}

static inline const moe__act32 *act_row(const void *rows, size_t bytes, size_t i)
{
    return (const moe__act32 *)(const void *)((const char *)rows + i * bytes);
}

/* Queries are taken by sixteens; the last ones may overlap those before, which are then skipped. */
static inline size_t first_of(size_t c, size_t n_q)
{
    return c + AMX_QUERIES <= n_q ? c : n_q > AMX_QUERIES ? n_q - AMX_QUERIES : 0;
}

/*
 * Vectors of the cache as signed bytes: Q8_0 one from one; Q4_0 two, that of the upper halves `apart` bytes
 * behind that of the lower ones. What lies as far behind `ahead` is asked for meanwhile.
 */
ALWAYS_INLINE void make_signed(uint8_t *dst, size_t apart, const uint8_t *p, const char *ahead,
                               const int type)
{
    const vi x = vi_load(p);
    if (ahead) __builtin_prefetch(ahead, 0, 2);
    if (type == CELL_Q8) {
        vi_store(dst, vi_xor(x, vi_set1_8(-128)));
        return;
    }
    const vi low = vi_set1_8(15), eight = vi_set1_8(8);
    vi_store(dst, _mm512_sub_epi8(vi_and(x, low), eight));
    vi_store(dst + apart, _mm512_sub_epi8(vi_and(vi_srl(x, 4), low), eight));
}

/* Sums of 16 queries with 16 lanes, of several products. */
typedef struct amx_sums {
    _Alignas(64) int32_t c[AMX_GROUP][AMX_QUERIES][16];
} amx_sums;

/* C = A x B. Four products are under way at once: each takes long, their results are not waited for. */
#define ATTN_PRODUCT(c, ra, rb, pa, sa, pb)                                                                  \
    do {                                                                                                     \
        AMX_ZERO(c);                                                                                         \
        ATTN_LOAD(ra, pa, sa);                                                                               \
        AMX_LOAD(rb, pb);                                                                                    \
        AMX_DOT_SS(c, ra, rb);                                                                               \
    } while (0)

/* ---- scores ---- */

/* Sixteen queries with nb blocks from b0 on of a tile of keys. */
typedef struct qk_unit {
    const char *q;    /* first query that A has, at block b0 */
    float *s;         /* its scores */
    const uint8_t *d; /* scales of the tile's positions, at block b0 */
    size_t skip, nb;  /* queries that were done before */
    int more;         /* scores of earlier blocks are there */
} qk_unit;

ALWAYS_INLINE void qk_products(amx_sums *sum, const moe__attn_qk *a, const qk_unit *u, const uint8_t *keys)
{
    const moe__act32 *x = (const moe__act32 *)(const void *)u->q;
    ATTN_PRODUCT(0, 4, 6, x[0].q, a->q_bytes, keys);
    if (u->nb > 1) ATTN_PRODUCT(1, 5, 7, x[1].q, a->q_bytes, keys + 512);
    if (u->nb > 2) ATTN_PRODUCT(2, 4, 6, x[2].q, a->q_bytes, keys + 1024);
    if (u->nb > 3) ATTN_PRODUCT(3, 5, 7, x[3].q, a->q_bytes, keys + 1536);
    AMX_STORE(0, sum->c[0]);
    if (u->nb > 1) AMX_STORE(1, sum->c[1]);
    if (u->nb > 2) AMX_STORE(2, sum->c[2]);
    if (u->nb > 3) AMX_STORE(3, sum->c[3]);
}

/* Their part of the scores, of four blocks. */
ALWAYS_INLINE void qk_add_four(const amx_sums *sum, const moe__attn_qk *a, const qk_unit *u, size_t n)
{
    vf d[AMX_GROUP];
#pragma GCC unroll 4
    for (size_t b = 0; b < AMX_GROUP; b++)
        d[b] = vf_halves((const uint16_t *)(const void *)u->d + b * MOE_K_TILE);
    for (size_t r = u->skip; r < n; r++) {
        const moe__act32 *x = act_row(u->q, a->q_bytes, r);
        float *s = u->s + r * a->lds;
        vf acc = u->more ? vf_load(s) : vf_zero();
#pragma GCC unroll 4
        for (size_t b = 0; b < AMX_GROUP; b++)
            acc = vf_fma(vf_mul(d[b], vf_set1(x[b].d)), vf_from(vi_load(sum->c[b][r])), acc);
        vf_store(s, acc);
    }
}

/* The same one by one. */
static void qk_add_block(const amx_sums *sum, const moe__attn_qk *a, const qk_unit *u, size_t n, size_t b)
{
    const vf d = vf_halves((const uint16_t *)(const void *)u->d + b * MOE_K_TILE);
    for (size_t r = u->skip; r < n; r++) {
        const moe__act32 *x = act_row(u->q, a->q_bytes, r) + b;
        float *s = u->s + r * a->lds;
        const vf acc = u->more || b ? vf_load(s) : vf_zero();
        vf_store(s, vf_fma(vf_mul(d, vf_set1(x->d)), vf_from(vi_load(sum->c[b][r])), acc));
    }
}

static void qk_add(const amx_sums *sum, const moe__attn_qk *a, const qk_unit *u, size_t n)
{
    if (u->nb == AMX_GROUP)
        qk_add_four(sum, a, u, n);
    else
        for (size_t b = 0; b < u->nb; b++) qk_add_block(sum, a, u, n, b);
}

/* The products of a unit are begun before the sums of the one before are used. */
ALWAYS_INLINE void qk_queries(const moe__attn_qk *a, const int type)
{
    const size_t n_blocks = a->dim / 32, bytes = MOE_K_TILE * 32 * CELL_BITS(type) / 8;
    const size_t n = a->n_q < AMX_QUERIES ? a->n_q : AMX_QUERIES;
    _Alignas(64) uint8_t keys[2][AMX_GROUP * 512];
    amx_sums sum[AMX_RING];
    qk_unit unit[AMX_RING];
    size_t turn = 0, group = 0;
    attn_config(n);
    for (size_t t = 0; t < a->n_tiles; t++) {
        const uint8_t *tile = (const uint8_t *)a->k + t * moe__k_tile_bytes(a->dim, CELL_BITS(type));
        const uint8_t *k = tile + moe__k_tile_scales(a->dim);
        for (size_t b0 = 0; b0 < n_blocks; b0 += AMX_GROUP, group ^= 1) {
            const size_t nb = n_blocks - b0 < AMX_GROUP ? n_blocks - b0 : AMX_GROUP;
            for (size_t v = 0; v < nb * bytes; v += 64) {
                const uint8_t *at = k + b0 * bytes + v;
                make_signed(keys[group] + v / bytes * 512 + v % bytes, 256, at,
                            a->ahead ? (const char *)a->ahead + (at - (const uint8_t *)a->k) : NULL, type);
            }
            for (size_t c = 0; c < a->n_q; c += AMX_QUERIES, turn++) {
                const size_t from = first_of(c, a->n_q);
                unit[turn % AMX_RING] =
                    (qk_unit){.q = (const char *)a->q + from * a->q_bytes + b0 * sizeof(moe__act32),
                              .s = a->s + from * a->lds + t * MOE_K_TILE,
                              .d = tile + 2 * b0 * MOE_K_TILE,
                              .skip = c - from,
                              .nb = nb,
                              .more = b0 > 0};
                qk_products(&sum[turn % AMX_RING], a, &unit[turn % AMX_RING], keys[group]);
                if (turn >= AMX_RING - 1)
                    qk_add(&sum[(turn + 1) % AMX_RING], a, &unit[(turn + 1) % AMX_RING], n);
            }
        }
    }
    for (size_t i = turn < AMX_RING ? 0 : turn - AMX_RING + 1; i < turn; i++)
        qk_add(&sum[i % AMX_RING], a, &unit[i % AMX_RING], n);
    amx_end();
}

/* ---- sums of values ---- */

/* Sixteen rows of weights with sixteen elements of the values of one or two tiles. */
typedef struct av_unit {
    const char *p; /* first row that A has, at the first tile's block */
    float *y;
    size_t skip, nt;
} av_unit;

/* step: between the blocks of two tiles. */
ALWAYS_INLINE void av_products(amx_sums *sum, const moe__attn_av *a, const av_unit *u, size_t step,
                               const int odd)
{
    const moe__act32 *x = (const moe__act32 *)(const void *)u->p;
    if (odd) {
        AMX_ZERO(2);
        ATTN_LOAD(4, x->q, a->p_bytes);
        AMX_DOT_SS(2, 4, 6);
        if (u->nt > 1) {
            AMX_ZERO(3);
            ATTN_LOAD(5, x[step].q, a->p_bytes);
            AMX_DOT_SS(3, 5, 7);
        }
        AMX_STORE(2, sum->c[0]);
        if (u->nt > 1) AMX_STORE(3, sum->c[1]);
        return;
    }
    AMX_ZERO(0);
    ATTN_LOAD(4, x->q, a->p_bytes);
    AMX_DOT_SS(0, 4, 6);
    if (u->nt > 1) {
        AMX_ZERO(1);
        ATTN_LOAD(5, x[step].q, a->p_bytes);
        AMX_DOT_SS(1, 5, 7);
    }
    AMX_STORE(0, sum->c[0]);
    if (u->nt > 1) AMX_STORE(1, sum->c[1]);
}

ALWAYS_INLINE void av_add(const amx_sums *sum, const moe__attn_av *a, const av_unit *u, size_t step, size_t n)
{
    for (size_t r = u->skip; r < n; r++) {
        const moe__act32 *x = act_row(u->p, a->p_bytes, r);
        float *y = u->y + r * a->ldy;
        vf acc = vf_fma(vf_set1(x->d), vf_from(vi_load(sum->c[0][r])), vf_load(y));
        if (u->nt > 1) acc = vf_fma(vf_set1(x[step].d), vf_from(vi_load(sum->c[1][r])), acc);
        vf_store(y, acc);
    }
}

/* Elements d .. of tile t, as many as there is room for, to the i-th places. */
ALWAYS_INLINE void av_signed(const moe__attn_av *a, size_t t, size_t d, uint8_t (*dst)[2][512], size_t i,
                             const int type)
{
    const size_t n = a->dim - d < AMX_WIDE ? a->dim - d : AMX_WIDE,
                 at = t * moe__v_tile_bytes(a->dim, CELL_BITS(type));
    for (size_t v = 0; v < CELL_BITS(type); v++)
        for (size_t e = 0; e < n; e += 16) {
            const size_t from = at + moe__v_tile_scales(a->dim) + 4 * (v * a->dim + d + e);
            make_signed(dst[e / 16][i] + (type == CELL_Q8 ? 64 : 128) * v, 64, (const uint8_t *)a->v + from,
                        a->ahead ? (const char *)a->ahead + from : NULL, type);
        }
}

ALWAYS_INLINE void av_queries(const moe__attn_av *a, const int type)
{
    const size_t n_blocks = a->dim / 32, n_tiles = a->n / MOE_V_TILE;
    const size_t n = a->n_q < AMX_QUERIES ? a->n_q : AMX_QUERIES;
    _Alignas(64) uint8_t values[AMX_WIDE / 16][2][512];
    amx_sums sum[AMX_RING];
    av_unit unit[AMX_RING];
    size_t turn = 0;
    attn_config(n);
    for (size_t t = 0; t < n_tiles; t += 2)
        for (size_t d = 0; d < a->dim; d += 16) {
            const size_t nt = n_tiles - t < 2 ? 1 : 2;
            const uint8_t(*const v)[512] = values[d % AMX_WIDE / 16];
            if (d % AMX_WIDE == 0)
                for (size_t i = 0; i < nt; i++) av_signed(a, t + i, d, values, i, type);
            AMX_LOAD(6, v[0]);
            if (nt > 1) AMX_LOAD(7, v[1]);
            for (size_t c = 0; c < a->n_q; c += AMX_QUERIES, turn++) {
                const size_t from = first_of(c, a->n_q);
                unit[turn % AMX_RING] = (av_unit){.p = (const char *)a->p + from * a->p_bytes +
                                                       (t * n_blocks + d / 32) * sizeof(moe__act32),
                                                  .y = a->y + from * a->ldy + d,
                                                  .skip = c - from,
                                                  .nt = nt};
                av_products(&sum[turn % AMX_RING], a, &unit[turn % AMX_RING], n_blocks, turn & 1);
                if (turn >= AMX_RING - 1)
                    av_add(&sum[(turn + 1) % AMX_RING], a, &unit[(turn + 1) % AMX_RING], n_blocks, n);
            }
        }
    for (size_t i = turn < AMX_RING ? 0 : turn - AMX_RING + 1; i < turn; i++)
        av_add(&sum[i % AMX_RING], a, &unit[i % AMX_RING], n_blocks, n);
    amx_end();
}

#define ATTN_AMX(name, type)                                                                                 \
    void MOE_FN(attn_qk_##name)(const moe__attn_qk *a)                                                       \
    {                                                                                                        \
        if (a->n_q < AMX_MIN)                                                                                \
            moe__avx512vnni_attn_qk_##name(a);                                                               \
        else                                                                                                 \
            qk_queries(a, type);                                                                             \
    }                                                                                                        \
    void MOE_FN(attn_av_##name)(const moe__attn_av *a)                                                       \
    {                                                                                                        \
        if (a->n_q < AMX_MIN)                                                                                \
            moe__avx512vnni_attn_av_##name(a);                                                               \
        else                                                                                                 \
            av_queries(a, type);                                                                             \
    }

ATTN_AMX(q8_0, CELL_Q8)
ATTN_AMX(q4_0, CELL_Q4)
