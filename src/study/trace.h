/* SPDX-License-Identifier: MIT */
/*
 * A trace in memory: what routers chose, token by token (docs/formats/trace.md). Layers hold their pairs
 * apart, because views come layer by layer. Expert numbers take one byte where 256 are enough, else two;
 * weights are half precision; logits stay f32, since a trace with logits is there to choose again from them.
 *
 * Rows of a sub-batch become tokens when the last layer has come; until then they are "pending" and
 * invisible.
 */
#ifndef MOE_STUDY_TRACE_H
#define MOE_STUDY_TRACE_H

#include "base/status.h"
#include "model/model.h"
#include "moe/study.h"
#include "study/idmap.h"

#define MOE_TRACE_KNOWN_FLAGS (MOE_TRACE_LOGITS | MOE_TRACE_WEIGHTS)
#define MOE_TRACE_LAYERS_MAX  1024u
#define MOE_TRACE_EXPERTS_MAX 65536u
#define MOE_TRACE_K_MAX       65535u                /* experts of one token in one layer */
#define MOE_TRACE_TOKENS_MAX  (UINT32_MAX / 4 - 1u) /* so that numbers of tokens and requests fit 32 bits */
#define MOE_TRACE_RUN         64u                   /* tokens between two known starts */

typedef struct moe__trace_layer {
    uint32_t number;  /* of the layer in the model */
    uint32_t k_all;   /* experts of every token, while k is NULL */
    uint16_t *k;      /* [cap_tokens] or NULL */
    uint64_t *start;  /* [cap_tokens / RUN + 1] pairs before tokens 0, RUN, 2 RUN ...; with k */
    void *id;         /* [cap_pairs] of id_bytes */
    uint16_t *weight; /* [cap_pairs] f16, or NULL */
    float *logits;    /* [cap_logits][n_experts], or NULL */
    uint64_t n_pairs; /* of all tokens, pending ones not */
    uint64_t n_new;   /* of pending rows */
    uint64_t cap_pairs, cap_logits;
} moe__trace_layer;

struct moe_trace {
    moe__allocator alloc;
    uint32_t flags, n_layers, n_experts;
    uint32_t id_bytes; /* 1 or 2 */
    uint64_t fingerprint;
    int fixed;               /* the layers' numbers are the model's */
    moe__trace_layer *layer; /* [n_layers]; NULL without a shape */

    uint32_t n_tokens; /* whole ones */
    uint32_t n_pending, next_layer;
    uint32_t cap_tokens; /* a multiple of RUN */
    uint32_t max_k, pending_k;
    uint32_t *request; /* [cap_tokens] */
    moe_pos *pos;
    moe_token *token;
    moe__idmap requests; /* numbers of all requests */

    uint32_t begin;    /* number of the request that stands */
    uint32_t next_pos; /* of views that tell no positions */

    uint32_t *row_expert; /* [cap_row] what moe_trace_at() hands out */
    float *row_weight;    /* [cap_row] */
    uint32_t cap_row;
};

int moe__trace_shape(moe_trace *t, uint32_t n_layers, uint32_t n_experts);
void moe__trace_free(moe_trace *t);
/* Room for n tokens, n_pairs pairs of a layer, k experts of a row. E_NOMEM, and nothing has changed. */
int moe__trace_room_tokens(moe_trace *t, uint64_t n);
int moe__trace_room_pairs(moe_trace *t, moe__trace_layer *l, uint64_t n_pairs);
int moe__trace_room_row(moe_trace *t, uint32_t k);
/* Counts of their own for a layer's tokens, when they differ. */
int moe__trace_room_k(moe_trace *t, moe__trace_layer *l);
/* One sub-batch of one layer; a full struct. */
int moe__trace_add(moe_trace *t, const moe_route_view *v);
void moe__trace_drop_pending(moe_trace *t);
int moe__trace_save(const moe_trace *t, const char *path);
int moe__trace_load(moe_trace **out, const char *path, const moe__allocator *a);

/* Number of pairs, and the first, of token i. */
static inline uint32_t moe__trace_k(const moe__trace_layer *l, uint32_t i)
{
    return l->k ? l->k[i] : l->k_all;
}
uint64_t moe__trace_first(const moe__trace_layer *l, uint32_t i);
static inline uint32_t moe__trace_id(const moe_trace *t, const moe__trace_layer *l, uint64_t pair)
{
    return t->id_bytes == 1 ? ((const uint8_t *)l->id)[pair] : ((const uint16_t *)l->id)[pair];
}

#endif
