/* SPDX-License-Identifier: MIT */
/*
 * Attention of the level amx with quantised keys and values and many queries; ref/attn.c is the definition.
 * One product of tile registers gives the integer sums of 16 queries with 16 positions (or elements of
 * values) over a block of 32: A has the queries' bytes, B the fours of the cache as they stand (Q4_0 unpacked
 * first). Fewer queries go to the level below.
 */
#include <string.h>

#include "kernel/x86/amx.h"
#include "kernel/x86/vint.h"

#define MOE_KERNEL(name, ret, args, doc) ret moe__avx512vnni_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

#define AMX_QUERIES 16 /* rows of A */
#define AMX_MIN     5  /* queries from which it is faster */
#define AMX_GROUP   4  /* products whose sums are taken out together */

enum { CELL_Q8, CELL_Q4 };
#define CELL_BITS(type)   ((type) == CELL_Q8 ? 8u : 4u)
#define CELL_OFFSET(type) ((type) == CELL_Q8 ? 128 : 8)

#define ATTN_LOAD(t, p, stride)                                                                              \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((size_t)(stride)) : "memory")
/* Signed queries, unsigned bytes of the cache. */
#define ATTN_DOT(c, a, b) __asm__ volatile("tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

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

/* The eight vectors of a block where B can load them; far as in body/attn_q.inl. */
ALWAYS_INLINE const uint8_t *fours(uint8_t buf[512], const uint8_t *p, size_t *step, const int type,
                                   const int far)
{
    if (type == CELL_Q8) return p;
    const vi low = vi_set1_8(15);
    for (size_t v = 0; v < 4; v++) {
        const vi x = vi_load(p + v * *step);
        vi_store(buf + 64 * (far ? v : 2 * v), vi_and(x, low));
        vi_store(buf + 64 * (far ? v + 4 : 2 * v + 1), vi_and(vi_srl(x, 4), low));
    }
    *step = 64;
    return buf;
}

/* Sums of 16 queries with 16 lanes. */
typedef struct amx_sum {
    _Alignas(64) int32_t row[AMX_QUERIES][16];
} amx_sum;

/* Row r of them less what the offset of stored bytes has added, as floats. */
ALWAYS_INLINE vf sum_row(const amx_sum *s, size_t r, const moe__act32 *x, const int offset)
{
    return vf_from(vi_dot16(vi_load(s->row[r]), vi_bcast32(&x->sum), vi_set1_32(-offset & 0xffff)));
}

/* C = A x B. Four products are under way at once: each takes long, their results are not waited for.
 */
#define ATTN_PRODUCT(c, ra, rb, pa, sa, pb, sb)                                                              \
    do {                                                                                                     \
        AMX_ZERO(c);                                                                                         \
        ATTN_LOAD(ra, pa, sa);                                                                               \
        ATTN_LOAD(rb, pb, sb);                                                                               \
        ATTN_DOT(c, ra, rb);                                                                                 \
    } while (0)

typedef struct amx_sums {
    amx_sum c[AMX_GROUP];
} amx_sums;

/* Sums of nb blocks from b0 on of n queries with one tile of keys. */
ALWAYS_INLINE void qk_products(amx_sums *sum, const moe__attn_qk *a, const void *q, const uint8_t *k,
                               size_t b0, size_t nb, const int type)
{
    const size_t bytes = MOE_K_TILE * 32 * CELL_BITS(type) / 8;
    const moe__act32 *x = act_row(q, a->q_bytes, 0) + b0;
    _Alignas(64) uint8_t buf[AMX_GROUP][512];
    const uint8_t *p[AMX_GROUP];
    size_t step = 0;
    for (size_t b = 0; b < nb; b++) {
        step = 4 * MOE_K_TILE;
        p[b] = fours(buf[b], k + b * bytes, &step, type, 1);
    }
    ATTN_PRODUCT(0, 4, 6, x[0].q, a->q_bytes, p[0], step);
    if (nb > 1) ATTN_PRODUCT(1, 5, 7, x[1].q, a->q_bytes, p[1], step);
    if (nb > 2) ATTN_PRODUCT(2, 4, 6, x[2].q, a->q_bytes, p[2], step);
    if (nb > 3) ATTN_PRODUCT(3, 5, 7, x[3].q, a->q_bytes, p[3], step);
    AMX_STORE(0, sum->c[0].row);
    if (nb > 1) AMX_STORE(1, sum->c[1].row);
    if (nb > 2) AMX_STORE(2, sum->c[2].row);
    if (nb > 3) AMX_STORE(3, sum->c[3].row);
}

/* Their part of the scores. */
ALWAYS_INLINE void qk_add(const amx_sums *sum, const moe__attn_qk *a, const void *q, float *s, size_t n,
                          const uint8_t *tile, size_t b0, const size_t nb, const int type)
{
    vf d[AMX_GROUP];
    for (size_t b = 0; b < nb; b++)
        d[b] = vf_halves((const uint16_t *)(const void *)tile + (b0 + b) * MOE_K_TILE);
    for (size_t r = 0; r < n; r++, s += a->lds) {
        const moe__act32 *x = act_row(q, a->q_bytes, r) + b0;
        vf acc = b0 ? vf_load(s) : vf_zero();
#pragma GCC unroll 4
        for (size_t b = 0; b < nb; b++)
            acc =
                vf_fma(vf_mul(d[b], vf_set1(x[b].d)), sum_row(&sum->c[b], r, &x[b], CELL_OFFSET(type)), acc);
        vf_store(s, acc);
    }
}

/* n queries with all tiles. The products of a tile are begun before the sums of the one before are used. */
ALWAYS_INLINE void qk_sixteen(const moe__attn_qk *a, const void *q, float *s, size_t n, const int type)
{
    const size_t n_blocks = a->dim / 32, tile = moe__k_tile_bytes(a->dim, CELL_BITS(type));
    for (size_t b0 = 0; b0 < n_blocks; b0 += AMX_GROUP) {
        const size_t nb = n_blocks - b0 < AMX_GROUP ? n_blocks - b0 : AMX_GROUP;
        amx_sums sum[2];
        for (size_t t = 0; t <= a->n_tiles; t++) {
            const uint8_t *k = (const uint8_t *)a->k + t * tile;
            if (t < a->n_tiles)
                qk_products(&sum[t & 1], a, q,
                            k + moe__k_tile_scales(a->dim) + b0 * MOE_K_TILE * 32 * CELL_BITS(type) / 8, b0,
                            nb, type);
            if (t == 0) continue;
            if (nb == AMX_GROUP)
                qk_add(&sum[~t & 1], a, q, s + (t - 1) * MOE_K_TILE, n, k - tile, b0, AMX_GROUP, type);
            else
                qk_add(&sum[~t & 1], a, q, s + (t - 1) * MOE_K_TILE, n, k - tile, b0, nb, type);
        }
    }
}

/* Sums of blocks `at` and at + 1 of weights (the second one if two) with their 32 elements each. */
ALWAYS_INLINE void av_products(amx_sums *sum, const moe__attn_av *a, const void *w, size_t at,
                               const uint8_t *v, const int two, const int type)
{
    const moe__act32 *x = act_row(w, a->p_bytes, 0) + at;
    _Alignas(64) uint8_t buf[AMX_GROUP][512];
    const uint8_t *p[AMX_GROUP];
    size_t step = 0;
    for (int h = 0; h < (two ? 4 : 2); h++) {
        step = 4 * a->dim;
        p[h] = fours(buf[h], v + 64 * h, &step, type, 0);
    }
    ATTN_PRODUCT(0, 4, 6, x[0].q, a->p_bytes, p[0], step);
    ATTN_PRODUCT(1, 4, 7, x[0].q, a->p_bytes, p[1], step);
    if (two) {
        ATTN_PRODUCT(2, 5, 6, x[1].q, a->p_bytes, p[2], step);
        ATTN_PRODUCT(3, 5, 7, x[1].q, a->p_bytes, p[3], step);
    }
    AMX_STORE(0, sum->c[0].row);
    AMX_STORE(1, sum->c[1].row);
    if (!two) return;
    AMX_STORE(2, sum->c[2].row);
    AMX_STORE(3, sum->c[3].row);
}

ALWAYS_INLINE void av_add(const amx_sums *sum, const moe__attn_av *a, const void *w, float *y, size_t n,
                          size_t at, const int two, const int type)
{
    for (size_t r = 0; r < n; r++, y += a->ldy) {
        const moe__act32 *x = act_row(w, a->p_bytes, r) + at;
        for (int h = 0; h < (two ? 4 : 2); h++)
            vf_store(y + 16 * h,
                     vf_fma(vf_set1(x[h / 2].d), sum_row(&sum->c[h], r, &x[h / 2], CELL_OFFSET(type)),
                            vf_load(y + 16 * h)));
    }
}

/* n rows of sums; the products of two blocks are begun before the sums of the two before are used. */
ALWAYS_INLINE void av_sixteen(const moe__attn_av *a, const void *w, float *y, size_t n, const int type)
{
    const size_t n_blocks = a->dim / 32, tile = moe__v_tile_bytes(a->dim, CELL_BITS(type));
    amx_sums sum[2];
    size_t turn = 0, at = 0, b_before = 0;
    for (size_t t = 0; t < a->n / MOE_V_TILE; t++) {
        const uint8_t *v = (const uint8_t *)a->v + t * tile + moe__v_tile_scales(a->dim);
        for (size_t b = 0; b < n_blocks; b += 2, turn++) {
            const size_t before = at;
            const int two_before = b_before + 1 < n_blocks;
            at = t * n_blocks + b;
            if (b + 1 < n_blocks)
                av_products(&sum[turn & 1], a, w, at, v + 128 * b, 1, type);
            else
                av_products(&sum[turn & 1], a, w, at, v + 128 * b, 0, type);
            if (turn && two_before)
                av_add(&sum[~turn & 1], a, w, y + 32 * b_before, n, before, 1, type);
            else if (turn)
                av_add(&sum[~turn & 1], a, w, y + 32 * b_before, n, before, 0, type);
            b_before = b;
        }
    }
    av_add(&sum[~turn & 1], a, w, y + 32 * b_before, n, at, b_before + 1 < n_blocks, type);
}

#define ATTN_AMX(name, type)                                                                                 \
    void MOE_FN(attn_qk_##name)(const moe__attn_qk *a)                                                       \
    {                                                                                                        \
        if (a->n_q < AMX_MIN) {                                                                              \
            moe__avx512vnni_attn_qk_##name(a);                                                               \
            return;                                                                                          \
        }                                                                                                    \
        for (size_t c = 0; c < a->n_q; c += AMX_QUERIES) {                                                   \
            const size_t n = a->n_q - c < AMX_QUERIES ? a->n_q - c : AMX_QUERIES;                            \
            attn_config(n);                                                                                  \
            qk_sixteen(a, (const char *)a->q + c * a->q_bytes, a->s + c * a->lds, n, type);                  \
        }                                                                                                    \
        amx_end();                                                                                           \
    }                                                                                                        \
    void MOE_FN(attn_av_##name)(const moe__attn_av *a)                                                       \
    {                                                                                                        \
        if (a->n_q < AMX_MIN) {                                                                              \
            moe__avx512vnni_attn_av_##name(a);                                                               \
            return;                                                                                          \
        }                                                                                                    \
        for (size_t c = 0; c < a->n_q; c += AMX_QUERIES) {                                                   \
            const size_t n = a->n_q - c < AMX_QUERIES ? a->n_q - c : AMX_QUERIES;                            \
            attn_config(n);                                                                                  \
            av_sixteen(a, (const char *)a->p + c * a->p_bytes, a->y + c * a->ldy, n, type);                  \
        }                                                                                                    \
        amx_end();                                                                                           \
    }

ATTN_AMX(q8_0, CELL_Q8)
ATTN_AMX(q4_0, CELL_Q4)
