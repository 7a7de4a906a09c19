/* SPDX-License-Identifier: MIT */
/* See attn.h. */
#include "attn/attn.h"

#include <string.h>

#include "base/mathx.h"
#include "kv/cell.h"

void moe__attn_turn(const moe__attn *a, size_t i)
{
    const uint32_t n = a->m->hp.n_rot / 2;
    float *cs = a->turn + i * n * 2;
    for (uint32_t j = 0; j < n; j++) {
        const float angle = (float)a->place[i].pos *
                            a->m->inv_freq[j]; /* rounded to f32, as the reference implementations do */
        double s, c;
        moe__math_sincos((double)angle, &s, &c);
        cs[2 * j] = (float)c * a->m->rope_gain;
        cs[2 * j + 1] = (float)s * a->m->rope_gain;
    }
}

/* Bias, clamp, norm and rotation of one of q and k; a norm as wide as the row spans all heads. */
static void finish(const moe__attn *a, float *x, uint32_t n_heads, const float *bias, const float *norm,
                   uint32_t norm_n, const float *cs)
{
    const moe__kernels *k = &a->m->k;
    const moe__hparams *h = &a->m->hp;
    const uint32_t dim = h->dim_head_k, n = n_heads * dim;
    if (bias) k->add(x, bias, n);
    if (norm && norm_n == n) k->rms_norm(x, x, norm, h->eps, n);
    if (h->clamp_qkv > 0)
        for (uint32_t j = 0; j < n; j++)
            x[j] = x[j] > h->clamp_qkv ? h->clamp_qkv : x[j] < -h->clamp_qkv ? -h->clamp_qkv : x[j];
    for (uint32_t j = 0; j < n_heads; j++) {
        if (norm && norm_n != n) k->rms_norm(x + j * dim, x + j * dim, norm, h->eps, dim);
        k->rope(x + j * dim + h->rot_at, cs, h->n_rot, a->m->arch->rope_half);
    }
}

static void prepare_attn_row(const moe__attn *a, uint32_t layer, size_t i)
{
    const moe__hparams *h = &a->m->hp;
    const moe__layer *l = &a->m->layers[layer];
    moe__kv *kv = moe__attn_kv(a, layer);
    const moe__kv_place at = moe__kv_at(kv, l->kv_index, a->place[i].seq, a->place[i].pos);
    const float *cs = a->turn + i * h->n_rot;
    float *q = a->q + i * h->n_heads * h->dim_head_k, *k = a->k + i * a->kv->width_k;
    float *v = a->kv->v_in_k ? NULL : a->v + i * a->kv->width_v;
    finish(a, q, h->n_heads, l->vec[ROLE_ATTN_Q_BIAS], l->vec[ROLE_ATTN_Q_NORM], l->vec_n[ROLE_ATTN_Q_NORM],
           cs);
    finish(a, k, h->n_heads_kv, l->vec[ROLE_ATTN_K_BIAS], l->vec[ROLE_ATTN_K_NORM],
           l->vec_n[ROLE_ATTN_K_NORM], cs);
    moe__kv_store_k(kv, &a->m->k, at, k);
    if (kv->v_in_k) return;
    if (l->vec[ROLE_ATTN_V_BIAS]) a->m->k.add(v, l->vec[ROLE_ATTN_V_BIAS], a->kv->width_v);
    if (h->clamp_qkv > 0)
        for (uint32_t j = 0; j < a->kv->width_v; j++)
            v[j] = v[j] > h->clamp_qkv ? h->clamp_qkv : v[j] < -h->clamp_qkv ? -h->clamp_qkv : v[j];
    moe__kv_store_v(kv, &a->m->k, at, v);
}

void moe__attn_prepare(const moe__attn *a, uint32_t layer, size_t i)
{
    for (size_t row = a->run[i]; row < a->run[i + 1]; row++) prepare_attn_row(a, layer, row);
}

/* ---- sharing out ---- */

#define ITEMS_WHOLE 4u  /* items per thread, at least: smaller tiles if need be */
#define ITEMS_CUT   32u /* items per thread that cutting tiles into chunks aims at */

static uint32_t chunks_of(uint32_t n_pos) { return (n_pos + MOE_ATTN_CHUNK - 1) / MOE_ATTN_CHUNK; }

void moe__attn_carve(moe__attn *a, moe__carve *c, const moe__hparams *h, uint32_t n_rows, uint32_t n_seq,
                     uint32_t n_ctx)
{
    const uint64_t more = n_seq - 1 < 31 ? n_seq - 1 : 31; /* sequences may share positions: not for all */
    MOE_CARVE(c, a->run, (uint64_t)n_rows + 1);
    MOE_CARVE(c, a->tile, n_rows);
    MOE_CARVE(c, a->done, (uint64_t)n_rows * h->n_heads_kv);
    a->n_parts = n_ctx > MOE_ATTN_CHUNK ? (size_t)((chunks_of(n_ctx) + more) * h->n_heads) : 0;
    a->part = moe__carve_take(c, a->n_parts, moe__attn_row_floats(h) * sizeof(float));
}

/* Whether the rows of some sequence do not stand one behind the other. */
static int is_scattered(const moe__attn *a, uint32_t n_rows)
{
    const moe__place *p = a->place;
    for (uint32_t i = 1; i < n_rows; i++)
        for (uint32_t j = 0; p[i].seq != p[i - 1].seq && j < i; j++)
            if (p[j].seq == p[i].seq) return 1;
    return 0;
}

/*
 * A run is stored by one thread. Runs end where a tile of values ends: in Q4_0, positions p and p + 16 of a
 * tile share bytes, so that two threads must not write to one tile; in other types they share cache lines.
 */
static void share_runs(moe__attn *a, uint32_t n_rows)
{
    const moe__place *p = a->place;
    a->n_runs = 0;
    const int whole = a->kv->type_v == MOE_TYPE_Q4_0 && is_scattered(a, n_rows);
    for (uint32_t i = 0; i < n_rows; i++)
        if (i == 0 || (!whole && (p[i].seq != p[i - 1].seq || p[i].pos != p[i - 1].pos + 1 ||
                                  p[i].pos % MOE_V_TILE == 0)))
            a->run[a->n_runs++] = i;
    a->run[a->n_runs] = n_rows;
}

static void make_tiles(moe__attn *a, uint32_t n_rows, uint32_t rows)
{
    const moe__place *p = a->place;
    a->n_tiles = 0;
    for (uint32_t end = n_rows, i = n_rows; i-- > 0;) /* from the back: the longest first */
        if (i == 0 || p[i].seq != p[i - 1].seq || p[i].pos != p[i - 1].pos + 1 || end - i == rows) {
            a->tile[a->n_tiles++] = (moe__attn_tile){
                .first = i, .n = end - i, .n_chunks = chunks_of(p[end - 1].pos + 1), .n_spans = 1};
            end = i;
        }
}

/* Cuts tiles into spans of chunks if there is room for their results. */
static void cut_tiles(moe__attn *a, uint32_t n_threads)
{
    const moe__hparams *h = &a->m->hp;
    const uint32_t group = h->n_heads / h->n_heads_kv;
    size_t n_parts = 0, n_chunks = 0, item = 0;
    for (uint32_t i = 0; i < a->n_tiles; i++) {
        moe__attn_tile *t = &a->tile[i];
        t->part = n_parts;
        n_chunks += t->n_chunks;
        n_parts += (size_t)t->n_chunks * t->n * group * h->n_heads_kv;
    }
    if (n_parts > a->n_parts || n_chunks == a->n_tiles) return;
    const size_t span = n_chunks * h->n_heads_kv / ((size_t)ITEMS_CUT * n_threads);
    a->span = span < 1 ? 1 : span < UINT32_MAX ? (uint32_t)span : UINT32_MAX;
    for (uint32_t i = 0; i < a->n_tiles; i++) {
        moe__attn_tile *t = &a->tile[i];
        t->item = item;
        t->n_spans = (t->n_chunks - 1) / a->span + 1;
        item += (size_t)t->n_spans * h->n_heads_kv;
        for (uint32_t g = 0; g < h->n_heads_kv; g++) atomic_init(&a->done[(size_t)i * h->n_heads_kv + g], 0);
    }
    a->n_items = item;
}

void moe__attn_begin(moe__attn *a, uint32_t n_rows, uint32_t n_threads)
{
    const uint32_t n_kv = a->m->hp.n_heads_kv;
    uint32_t rows = moe__attn_tile_rows(&a->m->hp);
    share_runs(a, n_rows);
    while (rows > 4 && (uint64_t)(n_rows / rows + 1) * n_kv < (uint64_t)ITEMS_WHOLE * n_threads) rows /= 2;
    make_tiles(a, n_rows, rows);
    a->span = 0;
    a->n_items = (size_t)a->n_tiles * n_kv;
    if (a->n_items < (size_t)ITEMS_CUT / 2 * n_threads) cut_tiles(a, n_threads);
}
