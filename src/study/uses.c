/* SPDX-License-Identifier: MIT */
/* See analysis.h: reading a trace for analysis, and the reuse of experts from token to token. */
#include "study/analysis.h"

#include <string.h>

/* ---- reading ---- */

int moe__uses_init(moe__uses *u, const moe_trace *t)
{
    *u = (moe__uses){.t = t};
    MOE_TRY(MOE_NEW(&t->alloc, &u->mark, t->n_experts, "experts seen"));
    return MOE_NEW(&t->alloc, &u->id, t->max_k, "experts of a token");
}

void moe__uses_finish(moe__uses *u)
{
    moe__free(&u->t->alloc, u->mark);
    moe__free(&u->t->alloc, u->id);
}

void moe__uses_layer(moe__uses *u, uint32_t l)
{
    u->l = &u->t->layer[l];
    u->token = 0;
    u->first = 0;
}

uint32_t moe__uses_of(moe__uses *u, uint32_t i)
{
    const moe__trace_layer *l = u->l;
    const uint32_t k = moe__trace_k(l, i);
    const uint64_t first = i == u->token ? u->first : moe__trace_first(l, i);
    uint32_t n = 0;
    if (++u->round == 0) { /* 2^32 rounds: old marks could be taken for new ones */
        memset(u->mark, 0, u->t->n_experts * sizeof *u->mark);
        u->round = 1;
    }
    for (uint32_t j = 0; j < k; j++) {
        const uint32_t e = moe__trace_id(u->t, l, first + j);
        if (u->mark[e] == u->round || (l->weight && !(l->weight[first + j] & 0x7fff))) continue;
        u->mark[e] = u->round;
        u->id[n++] = e;
    }
    u->token = i + 1;
    u->first = first + k;
    return n;
}

int moe__trace_order(const moe_trace *t, uint32_t **order, uint32_t **first)
{
    *order = *first = NULL;
    MOE_TRY(MOE_NEW(&t->alloc, order, t->n_tokens, "tokens by request"));
    MOE_TRY(MOE_NEW(&t->alloc, first, (size_t)t->requests.n + 2, "requests"));
    uint32_t *at = *first + 1; /* counts of r move to at[r + 1], become starts, and are used up to first[r] */
    for (uint32_t i = 0; i < t->n_tokens; i++) at[moe__idmap_get(&t->requests, t->request[i]) + 1]++;
    for (uint32_t r = 0; r < t->requests.n; r++) at[r + 1] += at[r];
    for (uint32_t i = 0; i < t->n_tokens; i++)
        (*order)[at[moe__idmap_get(&t->requests, t->request[i])]++] = i;
    return MOE_OK;
}

/* ---- reuse ---- */

/* Uses of one layer that the token before had too, and all uses that have a token before them. */
static void reuse_of_layer(moe__uses *u, uint32_t *last, const uint32_t *order, const uint32_t *first,
                           uint64_t *same, uint64_t *all)
{
    const moe_trace *t = u->t;
    uint32_t stamp = 0; /* of the token before, unique over all tokens of the layer */
    memset(last, 0, t->n_experts * sizeof *last);
    *same = *all = 0;
    for (uint32_t r = 0; r < t->requests.n; r++)
        for (uint32_t i = first[r]; i < first[r + 1]; i++) {
            const uint32_t n = moe__uses_of(u, order[i]);
            for (uint32_t j = 0; j < n && i > first[r]; j++) *same += last[u->id[j]] == stamp;
            if (i > first[r]) *all += n;
            stamp++;
            for (uint32_t j = 0; j < n; j++) last[u->id[j]] = stamp;
        }
}

static int has_pair_of_tokens(const moe_trace *t, const uint32_t *first)
{
    for (uint32_t r = 0; r < t->requests.n; r++)
        if (first[r + 1] - first[r] >= 2) return 1;
    return 0;
}

static int reuse_of_layers(moe__uses *u, uint32_t layer, uint32_t *last, const uint32_t *order,
                           const uint32_t *first, double *out)
{
    const uint32_t l0 = layer == MOE_ALL_LAYERS ? 0 : layer;
    const uint32_t l1 = layer == MOE_ALL_LAYERS ? u->t->n_layers : layer + 1;
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t l = l0; l < l1 && has_pair_of_tokens(u->t, first); l++) {
        uint64_t same, all;
        moe__uses_layer(u, l);
        reuse_of_layer(u, last, order, first, &same, &all);
        if (all == 0) continue;
        sum += (double)same / (double)all;
        n++;
    }
    if (n == 0) return MOE_FAIL(NOTFOUND, "moe_trace_reuse: no request has two tokens with experts");
    *out = sum / n;
    return MOE_OK;
}

int moe__trace_reuse(const moe_trace *t, uint32_t layer, double *out)
{
    moe__uses u;
    uint32_t *order = NULL, *first = NULL, *last = NULL;
    int st = moe__uses_init(&u, t);
    if (st >= 0) st = moe__trace_order(t, &order, &first);
    if (st >= 0) st = MOE_NEW(&t->alloc, &last, t->n_experts, "experts of the token before");
    if (st >= 0) st = reuse_of_layers(&u, layer, last, order, first, out);
    moe__free(&t->alloc, last);
    moe__free(&t->alloc, first);
    moe__free(&t->alloc, order);
    moe__uses_finish(&u);
    return st;
}
