/* SPDX-License-Identifier: MIT */
/*
 * Attention with quantised keys and values; ref/attn.c is the definition, kv_tile.h the layout. A vector has
 * one position (keys) or one element of the head (values) per lane; eight of them make the fours of a block,
 * which up to VI_COLS queries meet while they are in registers.
 */

enum { CELL_Q8, CELL_Q4 };
#define CELL_BITS(type) ((type) == CELL_Q8 ? 8u : 4u)

/* What is added to stored elements: dot products on x86 take unsigned ones as they are; else Q8_0 is made
 * signed. */
#define CELL_OFFSET(type) ((type) == CELL_Q4 ? 8 : VI_FLIP)

ALWAYS_INLINE void attn_fetch(const char *ahead, const size_t bytes)
{
#pragma GCC unroll 16
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i, 0, 2);
}

/* Vector v of a block whose vectors stand `step` bytes apart, at p. far: which share bytes, v and v + 4 or v
 * and v + 1. */
ALWAYS_INLINE vi cell_vector(const uint8_t *p, size_t step, const int v, const int type, const int far)
{
    if (type == CELL_Q8) return vi_xor(vi_load(p + (size_t)v * step), vi_set1_8(VI_FLIP ^ 0x80));
    const vi x = vi_load(p + (size_t)(far ? v % 4 : v / 2) * step);
    return vi_and((far ? v / 4 : v % 2) ? vi_srl(x, 4) : x, vi_set1_8(15));
}

/* The integer sums of nc columns with one block; q: its eight vectors. */
ALWAYS_INLINE void attn_dots(vi *sum, const vi *q, const moe__act32 *const *x, const int type, const int nc)
{
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++)
        sum[c] = CELL_OFFSET(type) ? vi_bcast_times(&x[c]->sum, -CELL_OFFSET(type)) : vi_zero();
#if VI_DOT
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++)
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++) sum[c] = vi_dot_bcast(sum[c], q[v], x[c]->q + 4 * v);
#else
    const int fit = type == CELL_Q4 ? 8 : 1; /* vectors whose sums of pairs stay below 2^15: see gemm_32.c */
#pragma GCC unroll 8
    for (int v0 = 0; v0 < 8; v0 += fit) {
        vp part[VI_COLS];
#pragma GCC unroll 8
        for (int v = v0; v < v0 + fit; v++)
#pragma GCC unroll 8
            for (int c = 0; c < nc; c++) {
                const vi b = vi_bcast32(x[c]->q + 4 * v);
                part[c] = v == v0 ? vp_first(q[v], b, type == CELL_Q8) : vp_more(part[c], q[v], b);
            }
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++) sum[c] = vp_sum(sum[c], part[c]);
    }
#endif
}

static inline const moe__act32 *act_row(const void *rows, size_t bytes, size_t i)
{
    return (const moe__act32 *)(const void *)((const char *)rows + i * bytes);
}

/* Columns c .. c + nc - 1 with positions `lane` .. of tile t; those past the end repeat the last one. */
ALWAYS_INLINE void qk_columns(const moe__attn_qk *a, size_t t, size_t lane, size_t c, const int type,
                              const int nc)
{
    const uint8_t *tile = (const uint8_t *)a->k + t * moe__k_tile_bytes(a->dim, CELL_BITS(type));
    const uint8_t *k = tile + moe__k_tile_scales(a->dim) + 4 * lane;
    const char *ahead = a->ahead && c == 0 ? (const char *)a->ahead + (k - (const uint8_t *)a->k) : NULL;
    const size_t bytes = MOE_K_TILE * 32 * CELL_BITS(type) / 8, left = a->n_q - c;
    const moe__act32 *x[VI_COLS];
    vf acc[VI_COLS];
#pragma GCC unroll 8
    for (int i = 0; i < nc; i++) {
        x[i] = act_row(a->q, a->q_bytes, (size_t)i < left ? c + (size_t)i : a->n_q - 1);
        acc[i] = vf_zero();
    }
    for (size_t b = 0; b < a->dim / 32; b++, k += bytes) {
        vi q[8], sum[VI_COLS];
        const vf d = vf_halves((const uint16_t *)(const void *)tile + b * MOE_K_TILE + lane);
        if (ahead) attn_fetch(ahead + b * bytes, MOE_K_TILE * 32 * CELL_BITS(type) / 8 / (16 / VI_LANES));
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) q[v] = cell_vector(k, 4 * MOE_K_TILE, v, type, 1);
        attn_dots(sum, q, x, type, nc);
#pragma GCC unroll 8
        for (int i = 0; i < nc; i++) {
            acc[i] = vf_fma(vf_mul(d, vf_set1(x[i]->d)), vf_from(sum[i]), acc[i]);
            x[i]++;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < nc; i++)
        if ((size_t)i < left) vf_store(a->s + (c + (size_t)i) * a->lds + t * MOE_K_TILE + lane, acc[i]);
}

/* The same of values: elements d .. of the head, all tiles. */
ALWAYS_INLINE void av_columns(const moe__attn_av *a, size_t d, size_t c, const int type, const int nc)
{
    const size_t tile = moe__v_tile_bytes(a->dim, CELL_BITS(type)), left = a->n_q - c;
    const size_t n_blocks = a->dim / 32, bytes = MOE_V_TILE * VI_LANES * CELL_BITS(type) / 8;
    const uint8_t *v = (const uint8_t *)a->v + moe__v_tile_scales(a->dim) + 4 * d;
    const char *ahead = a->ahead && c == 0 ? (const char *)a->ahead + d / VI_LANES * bytes : NULL;
    const moe__act32 *x[VI_COLS];
    vf acc[VI_COLS];
#pragma GCC unroll 8
    for (int i = 0; i < nc; i++) {
        const size_t row = (size_t)i < left ? c + (size_t)i : a->n_q - 1;
        x[i] = act_row(a->p, a->p_bytes, row) + d / 32;
        acc[i] = vf_load(a->y + row * a->ldy + d);
    }
    for (size_t t = 0; t < a->n / MOE_V_TILE; t++, v += tile) {
        vi q[8], sum[VI_COLS];
        if (ahead) attn_fetch(ahead + t * tile, MOE_V_TILE * VI_LANES * CELL_BITS(type) / 8);
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) q[k] = cell_vector(v, 4 * a->dim, k, type, 0);
        attn_dots(sum, q, x, type, nc);
#pragma GCC unroll 8
        for (int i = 0; i < nc; i++) {
            acc[i] = vf_fma(vf_set1(x[i]->d), vf_from(sum[i]), acc[i]);
            x[i] += n_blocks;
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < nc; i++)
        if ((size_t)i < left) vf_store(a->y + (c + (size_t)i) * a->ldy + d, acc[i]);
}

#define ATTN_QUANT(name, type)                                                                               \
    void MOE_FN(attn_qk_##name)(const moe__attn_qk *a)                                                       \
    {                                                                                                        \
        for (size_t t = 0; t < a->n_tiles; t++)                                                              \
            for (size_t lane = 0; lane < MOE_K_TILE; lane += VI_LANES) {                                     \
                size_t c = 0;                                                                                \
                for (; c + 2 < a->n_q; c += VI_COLS) qk_columns(a, t, lane, c, type, VI_COLS);               \
                for (; c < a->n_q; c++) qk_columns(a, t, lane, c, type, 1);                                  \
            }                                                                                                \
    }                                                                                                        \
    void MOE_FN(attn_av_##name)(const moe__attn_av *a)                                                       \
    {                                                                                                        \
        for (size_t d = 0; d < a->dim; d += VI_LANES) {                                                      \
            size_t c = 0;                                                                                    \
            for (; c + 2 < a->n_q; c += VI_COLS) av_columns(a, d, c, type, VI_COLS);                         \
            for (; c < a->n_q; c++) av_columns(a, d, c, type, 1);                                            \
        }                                                                                                    \
    }

ATTN_QUANT(q8_0, CELL_Q8)
ATTN_QUANT(q4_0, CELL_Q4)
