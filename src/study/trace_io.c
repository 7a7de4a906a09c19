/* SPDX-License-Identifier: MIT */
/*
 * Trace files (docs/formats/trace.md). A load compares every length with what the file has before memory is
 * taken for it, checks every expert number and weight, and the sum last; the trace is handed out only then.
 */
#include <string.h>

#include "study/stream.h"
#include "study/trace.h"

#define TRACE_MAGIC   "MOETRAC\n"
#define TRACE_VERSION 1u
#define TRACE_HEAD    40u        /* bytes */
#define TRACE_UNEVEN  UINT32_MAX /* instead of k: tokens have different numbers of experts */

/* ---- save ---- */

static int save_trace_layer(moe__out *o, const moe_trace *t, const moe__trace_layer *l)
{
    const size_t n = t->n_tokens, pairs = (size_t)l->n_pairs;
    if (l->k) MOE_TRY(moe__out_array(o, l->k, n, sizeof *l->k));
    MOE_TRY(moe__out_array(o, l->id, pairs, t->id_bytes));
    if (t->flags & MOE_TRACE_WEIGHTS) MOE_TRY(moe__out_array(o, l->weight, pairs, sizeof *l->weight));
    if (t->flags & MOE_TRACE_LOGITS)
        MOE_TRY(moe__out_array(o, l->logits, n * t->n_experts, sizeof *l->logits));
    return MOE_OK;
}

static int save_trace_all(moe__out *o, const moe_trace *t)
{
    const size_t n = t->n_tokens;
    MOE_TRY(moe__out_data(o, TRACE_MAGIC, MOE_STREAM_MAGIC));
    MOE_TRY(moe__out_u64(o, t->fingerprint));
    MOE_TRY(moe__out_u32(o, TRACE_VERSION));
    MOE_TRY(moe__out_u32(o, t->flags));
    MOE_TRY(moe__out_u32(o, t->n_layers));
    MOE_TRY(moe__out_u32(o, t->n_experts));
    MOE_TRY(moe__out_u64(o, n));
    for (uint32_t l = 0; l < t->n_layers; l++) {
        MOE_TRY(
            moe__out_u32(o, t->n_tokens || t->fixed ? t->layer[l].number : l)); /* else not all are known */
        MOE_TRY(moe__out_u32(o, t->layer[l].k ? TRACE_UNEVEN : t->layer[l].k_all));
    }
    MOE_TRY(moe__out_array(o, t->request, n, sizeof *t->request));
    MOE_TRY(moe__out_array(o, t->pos, n, sizeof *t->pos));
    MOE_TRY(moe__out_array(o, t->token, n, sizeof *t->token));
    for (uint32_t l = 0; l < t->n_layers; l++) MOE_TRY(save_trace_layer(o, t, &t->layer[l]));
    return MOE_OK;
}

int moe__trace_save(const moe_trace *t, const char *path)
{
    moe__out o;
    if (!t->layer) return MOE_FAIL(STATE, "%s: the trace has no shape: moe_trace_set_shape()", path);
    MOE_TRY(moe__out_open(&o, path, &t->alloc));
    return moe__out_close(&o, save_trace_all(&o, t));
}

/* ---- load ---- */

static int load_trace_head(moe__in *f, moe_trace *t, uint32_t *n_tokens)
{
    uint32_t version, n_layers, n_experts;
    uint64_t n;
    MOE_TRY(moe__in_u64(f, &t->fingerprint));
    MOE_TRY(moe__in_u32(f, &version));
    if (version != TRACE_VERSION)
        return MOE_FAIL(VERSION, "%s: trace format version: expected %u, found %u", f->path, TRACE_VERSION,
                        version);
    MOE_TRY(moe__in_u32(f, &t->flags));
    MOE_TRY(moe__in_u32(f, &n_layers));
    MOE_TRY(moe__in_u32(f, &n_experts));
    MOE_TRY(moe__in_u64(f, &n));
    if (t->flags & ~MOE_TRACE_KNOWN_FLAGS)
        return MOE_FAIL(FORMAT, "%s: trace flags %#x are not known", f->path, t->flags);
    if (n_layers - 1 >= MOE_TRACE_LAYERS_MAX || n_experts - 1 >= MOE_TRACE_EXPERTS_MAX ||
        n > MOE_TRACE_TOKENS_MAX)
        return MOE_FAIL(FORMAT, "%s: a trace of %u layers, %u experts, %llu tokens", f->path, n_layers,
                        n_experts, (unsigned long long)n);
    *n_tokens = (uint32_t)n;
    MOE_TRY(moe__in_need(f, n_layers, 8, "layers"));
    return moe__trace_shape(t, n_layers, n_experts);
}

/* Numbers of the layers, and how many experts their tokens have. */
static int load_trace_layers(moe__in *f, moe_trace *t)
{
    for (uint32_t i = 0; i < t->n_layers; i++) {
        moe__trace_layer *l = &t->layer[i];
        MOE_TRY(moe__in_u32(f, &l->number));
        MOE_TRY(moe__in_u32(f, &l->k_all));
        if (i > 0 && l->number <= l[-1].number)
            return MOE_FAIL(FORMAT, "%s: layer %u follows layer %u", f->path, l->number, l[-1].number);
        if (l->k_all > MOE_TRACE_K_MAX && l->k_all != TRACE_UNEVEN)
            return MOE_FAIL(FORMAT, "%s: layer %u: %u experts of a token", f->path, l->number, l->k_all);
    }
    return MOE_OK;
}

static int load_trace_tokens(moe__in *f, moe_trace *t, uint32_t n)
{
    MOE_TRY(moe__in_need(f, n, 12, "tokens"));
    MOE_TRY(moe__trace_room_tokens(t, n));
    MOE_TRY(moe__idmap_reserve(&t->requests, &t->alloc, n));
    MOE_TRY(moe__in_array(f, t->request, n, sizeof *t->request));
    MOE_TRY(moe__in_array(f, t->pos, n, sizeof *t->pos));
    MOE_TRY(moe__in_array(f, t->token, n, sizeof *t->token));
    for (uint32_t i = 0; i < n; i++) {
        (void)moe__idmap_put(&t->requests, t->request[i]);
        if (t->token[i] < MOE_TOKEN_NONE || t->pos[i] < 0)
            return MOE_FAIL(FORMAT, "%s: token %u: number %d at position %d", f->path, i, t->token[i],
                            t->pos[i]);
    }
    return MOE_OK;
}

/* Counts of an uneven layer -> its starts and number of pairs. */
static int load_trace_counts(moe__in *f, moe_trace *t, moe__trace_layer *l, uint32_t n)
{
    MOE_TRY(moe__in_need(f, n, sizeof *l->k, "counts"));
    l->k_all = 0;
    MOE_TRY(moe__trace_room_k(t, l));
    MOE_TRY(moe__in_array(f, l->k, n, sizeof *l->k));
    for (uint32_t i = 0; i < n; i++) {
        if (i % MOE_TRACE_RUN == 0) l->start[i / MOE_TRACE_RUN] = l->n_pairs;
        l->n_pairs += l->k[i];
        if (l->k[i] > t->max_k) t->max_k = l->k[i];
    }
    return MOE_OK;
}

static int check_trace_pairs(const moe__in *f, const moe_trace *t, const moe__trace_layer *l)
{
    for (uint64_t j = 0; j < l->n_pairs; j++) {
        if (moe__trace_id(t, l, j) >= t->n_experts)
            return MOE_FAIL(FORMAT, "%s: layer %u: expert %u of %u", f->path, l->number,
                            moe__trace_id(t, l, j), t->n_experts);
        if (l->weight && (l->weight[j] & 0x7c00) == 0x7c00)
            return MOE_FAIL(FORMAT, "%s: layer %u: a weight is not finite", f->path, l->number);
    }
    return MOE_OK;
}

static int load_trace_layer(moe__in *f, moe_trace *t, moe__trace_layer *l, uint32_t n)
{
    const size_t pair = t->id_bytes + (t->flags & MOE_TRACE_WEIGHTS ? sizeof *l->weight : 0u);
    if (l->k_all == TRACE_UNEVEN) {
        MOE_TRY(load_trace_counts(f, t, l, n));
    } else {
        l->n_pairs = (uint64_t)n * l->k_all;
        if (n && l->k_all > t->max_k) t->max_k = l->k_all;
    }
    MOE_TRY(moe__in_need(f, l->n_pairs, pair, "pairs"));
    if (t->flags & MOE_TRACE_LOGITS)
        MOE_TRY(moe__in_need(f, n, (uint64_t)t->n_experts * 4, "rows of logits"));
    t->n_pending = n; /* for which there must be room for logits */
    MOE_TRY(moe__trace_room_pairs(t, l, l->n_pairs));
    MOE_TRY(moe__in_array(f, l->id, (size_t)l->n_pairs, t->id_bytes));
    if (l->weight) MOE_TRY(moe__in_array(f, l->weight, (size_t)l->n_pairs, sizeof *l->weight));
    if (l->logits) MOE_TRY(moe__in_array(f, l->logits, (size_t)n * t->n_experts, sizeof *l->logits));
    return check_trace_pairs(f, t, l);
}

static int load_trace_all(moe__in *f, moe_trace *t)
{
    uint32_t n = 0;
    MOE_TRY(load_trace_head(f, t, &n));
    MOE_TRY(load_trace_layers(f, t));
    MOE_TRY(load_trace_tokens(f, t, n));
    for (uint32_t l = 0; l < t->n_layers; l++) MOE_TRY(load_trace_layer(f, t, &t->layer[l], n));
    MOE_TRY(moe__trace_room_row(t, t->max_k));
    MOE_TRY(moe__in_sum(f));
    t->n_pending = 0;
    t->n_tokens = n;
    t->fixed = 1;
    return MOE_OK;
}

int moe__trace_load(moe_trace **out, const char *path, const moe__allocator *a)
{
    moe__in f;
    moe_trace *t;
    MOE_TRY(moe__in_open(&f, path, "trace", TRACE_MAGIC, TRACE_HEAD));
    int st = MOE_NEW(a, &t, 1, "trace");
    if (st >= 0) {
        t->alloc = *a;
        st = load_trace_all(&f, t);
        if (st < 0)
            moe__trace_free(t);
        else
            *out = t;
    }
    moe__in_close(&f);
    return st;
}
