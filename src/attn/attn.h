/* SPDX-License-Identifier: MIT */
/*
 * Grouped-query attention over the paged KV cache. Two steps: prepare (biases, norms, rotation, write k and
 * v), by runs of rows; then attend, by items.
 *
 * The softmax is computed in chunks of 512 logical positions, counted from position 0 and merged in ascending
 * order, in prefill and decode alike, so the result depends on neither batch split nor company. A tile is a
 * few rows of one sequence that follow each other; with the query heads of a KV head they are up to
 * MOE_ATTN_QUERIES queries that share what is read of the cache. An item is a tile, a KV head and all its
 * chunks. Where that makes too few items for the team (decoding), the chunks are items of their own: what
 * each one gives is kept, and whoever finishes the last one of a head merges them, in the same order.
 */
#ifndef MOE_ATTN_ATTN_H
#define MOE_ATTN_ATTN_H

#include <stdatomic.h>

#include "kv/kv.h"
#include "model/model.h"

#define MOE_ATTN_CHUNK   512u /* positions; a multiple of the KV page */
#define MOE_ATTN_QUERIES 64u  /* of a tile, unless one row has more */

/* Where a row stands. */
typedef struct moe__place {
    moe_token token;
    uint32_t seq, pos;
} moe__place;

typedef struct moe__attn_tile {
    uint32_t first, n; /* rows */
    uint32_t n_chunks; /* of its last row */
    uint32_t n_spans;  /* items per KV head */
    size_t item, part; /* where tiles are cut: first of its items, of its results of chunks */
} moe__attn_tile;

typedef struct moe__attn {
    const moe_model *m;
    moe__kv *kv, *win; /* of layers that see all positions, and of those with a window */
    const moe__place *place; /* [n_rows] */
    float *q;                /* [n_rows][n_heads * dim_head_k] */
    float *k;                /* [n_rows][n_heads_kv * dim_head_k] */
    float *v;                /* [n_rows][n_heads_kv * dim_head_v]; not used where values are part of keys */
    float *turn;             /* [n_rows][n_rot/2] pairs {cos, sin} */

    /* how the rows are shared out (moe__attn_begin) */
    uint32_t *run; /* [n_runs + 1] first rows of runs */
    uint32_t n_runs;
    moe__attn_tile *tile;
    uint32_t n_tiles;
    size_t n_items;
    uint32_t span;     /* chunks of an item, or 0: all chunks of a tile are one */
    atomic_uint *done; /* [n_tiles][n_heads_kv] finished items of a tile's head; zero between steps */
    float *part;       /* [n_parts] rows: results of chunks */
    size_t n_parts;
} moe__attn;

/* The cache of a layer, which is number layers[layer].kv_index in it. */
static inline moe__kv *moe__attn_kv(const moe__attn *a, uint32_t layer)
{
    return a->m->layers[layer].window ? a->win : a->kv;
}

/* A row of sums: dim_head_v values, then from a multiple of 16 on their maximum and sum of weights. */
static inline size_t moe__attn_row_floats(const moe__hparams *h)
{
    return (h->dim_head_v + 15u) / 16 * 16 + 16;
}
/* Rows of a tile at most. */
static inline uint32_t moe__attn_tile_rows(const moe__hparams *h)
{
    const uint32_t n = MOE_ATTN_QUERIES / (h->n_heads / h->n_heads_kv);
    return n ? n : 1;
}

/* Sizes: n_rows at most, in n_seq sequences; n_ctx positions. Takes all but what is per row from c. */
void moe__attn_carve(moe__attn *a, moe__carve *c, const moe__hparams *h, uint32_t n_rows, uint32_t n_seq,
                     uint32_t n_ctx);
/* Shares out the rows in a->place. */
void moe__attn_begin(moe__attn *a, uint32_t n_rows, uint32_t n_threads);
/* Fills turn for row i: once per sub-batch. */
void moe__attn_turn(const moe__attn *a, size_t i);
/* The rows of run i: q, k, v as the projections left them -> q ready, k and v in the cache. */
void moe__attn_prepare(const moe__attn *a, uint32_t layer, size_t i);
/* Floats of scratch of a member. */
size_t moe__attn_scratch(const moe__kv *kv, const moe__hparams *h, uint32_t n_rows);
/* One item (attend.c); out [n_rows][n_heads * dim_head_v]. */
void moe__attn_item(const moe__attn *a, uint32_t layer, size_t item, float *out, float *scratch);

#endif
