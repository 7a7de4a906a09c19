/* SPDX-License-Identifier: MIT */
/*
 * Grouped-query attention over the paged KV cache. Two steps: prepare (biases, norms, rotation, write k and
 * v) for each row, then attend for each row and KV head. The softmax is computed in chunks of 256 logical
 * positions, counted from position 0 and merged in ascending order, in prefill and decode alike: so the
 * result depends on neither batch split nor company.
 */
#ifndef MOE_ATTN_ATTN_H
#define MOE_ATTN_ATTN_H

#include "kv/kv.h"
#include "model/model.h"

#define MOE_ATTN_CHUNK 256u /* positions; a multiple of the KV page */

/* Where a row stands. */
typedef struct moe__place {
    moe_token token;
    uint32_t seq, pos;
} moe__place;

typedef struct moe__attn {
    const moe_model *m;
    moe__kv *kv;
    const moe__place *place; /* [n_rows] */
    float *q;                /* [n_rows][n_heads * dim_head_k] */
    float *k;                /* [n_rows][n_heads_kv * dim_head_k] */
    float *v;                /* [n_rows][n_heads_kv * dim_head_v] */
    float *turn;             /* [n_rows][n_rot/2] pairs {cos, sin} */
} moe__attn;

/* Fills turn for row i: once per sub-batch. */
void moe__attn_turn(const moe__attn *a, size_t i);
/* Row i: q, k, v as the projections left them -> q ready, k and v in the cache. */
void moe__attn_prepare(const moe__attn *a, uint32_t layer, size_t i);
/* Row i, KV head g: out [group * dim_head_v], the heads of its group. scratch: moe__attn_scratch floats. */
void moe__attn_row(const moe__attn *a, uint32_t layer, size_t i, uint32_t g, float *out, float *scratch);
size_t moe__attn_scratch(const moe__hparams *h);

#endif
