/* SPDX-License-Identifier: MIT */
/*
 * See trace.h: memory of a trace, and taking views in. A view is checked and all its room taken before
 * anything is written, so that a refused one leaves the trace as it was (but for pending rows that it
 * replaces).
 */
#include "study/trace.h"

#include <math.h>
#include <string.h>

#include "base/half.h"

/* ---- memory ---- */

void moe__trace_free(moe_trace *t)
{
    if (!t) return;
    const moe__allocator a = t->alloc;
    for (uint32_t l = 0; t->layer && l < t->n_layers; l++) {
        moe__free(&a, t->layer[l].k);
        moe__free(&a, t->layer[l].start);
        moe__free(&a, t->layer[l].id);
        moe__free(&a, t->layer[l].weight);
        moe__free(&a, t->layer[l].logits);
    }
    moe__idmap_free(&t->requests, &a);
    moe__free(&a, t->layer);
    moe__free(&a, t->request);
    moe__free(&a, t->pos);
    moe__free(&a, t->token);
    moe__free(&a, t->row_expert);
    moe__free(&a, t->row_weight);
    moe__free(&a, t);
}

int moe__trace_shape(moe_trace *t, uint32_t n_layers, uint32_t n_experts)
{
    moe__trace_layer *layer;
    MOE_TRY(MOE_NEW(&t->alloc, &layer, n_layers, "layers of a trace"));
    moe__free(&t->alloc, t->layer);
    t->layer = layer;
    t->n_layers = n_layers;
    t->n_experts = n_experts;
    t->id_bytes = n_experts <= 256 ? 1 : 2;
    for (uint32_t l = 0; l < n_layers; l++) layer[l].number = l;
    return MOE_OK;
}

/* At least n, growing by half. */
static uint64_t grown(uint64_t have, uint64_t n)
{
    const uint64_t more = have + have / 2;
    return n > more ? n : more;
}

int moe__trace_room_row(moe_trace *t, uint32_t k)
{
    if (k <= t->cap_row) return MOE_OK;
    const uint32_t cap = (uint32_t)grown(t->cap_row, k);
    MOE_TRY(
        moe__realloc_array(&t->alloc, (void **)&t->row_expert, cap, sizeof *t->row_expert, "row of a trace"));
    MOE_TRY(
        moe__realloc_array(&t->alloc, (void **)&t->row_weight, cap, sizeof *t->row_weight, "row of a trace"));
    t->cap_row = cap;
    return MOE_OK;
}

static int room_counts(moe_trace *t, moe__trace_layer *l, uint64_t cap)
{
    MOE_TRY(moe__realloc_array(&t->alloc, (void **)&l->start, (size_t)(cap / MOE_TRACE_RUN + 1),
                               sizeof *l->start, "starts of a trace"));
    return moe__realloc_array(&t->alloc, (void **)&l->k, (size_t)cap, sizeof *l->k, "counts of a trace");
}

int moe__trace_room_tokens(moe_trace *t, uint64_t n)
{
    const moe__allocator *a = &t->alloc;
    if (n > MOE_TRACE_TOKENS_MAX)
        return MOE_FAIL(NOMEM, "a trace has room for %u tokens", MOE_TRACE_TOKENS_MAX);
    if (n <= t->cap_tokens) return MOE_OK;
    uint64_t cap = (grown(t->cap_tokens, n) + MOE_TRACE_RUN - 1) / MOE_TRACE_RUN * MOE_TRACE_RUN;
    if (cap > UINT32_MAX / 2) cap = (uint64_t)MOE_TRACE_TOKENS_MAX + MOE_TRACE_RUN;
    MOE_TRY(
        moe__realloc_array(a, (void **)&t->request, (size_t)cap, sizeof *t->request, "requests of a trace"));
    MOE_TRY(moe__realloc_array(a, (void **)&t->pos, (size_t)cap, sizeof *t->pos, "positions of a trace"));
    MOE_TRY(moe__realloc_array(a, (void **)&t->token, (size_t)cap, sizeof *t->token, "tokens of a trace"));
    for (uint32_t l = 0; l < t->n_layers; l++)
        if (t->layer[l].k) MOE_TRY(room_counts(t, &t->layer[l], cap));
    t->cap_tokens = (uint32_t)cap;
    return MOE_OK;
}

int moe__trace_room_pairs(moe_trace *t, moe__trace_layer *l, uint64_t n_pairs)
{
    const moe__allocator *a = &t->alloc;
    if (n_pairs > l->cap_pairs) {
        const uint64_t cap = grown(l->cap_pairs, n_pairs);
        if (cap > SIZE_MAX) return MOE_FAIL(NOMEM, "%llu pairs of a trace", (unsigned long long)cap);
        MOE_TRY(moe__realloc_array(a, &l->id, (size_t)cap, t->id_bytes, "experts of a trace"));
        if (t->flags & MOE_TRACE_WEIGHTS)
            MOE_TRY(moe__realloc_array(a, (void **)&l->weight, (size_t)cap, sizeof *l->weight,
                                       "weights of a trace"));
        l->cap_pairs = cap;
    }
    if ((t->flags & MOE_TRACE_LOGITS) && (uint64_t)t->n_tokens + t->n_pending > l->cap_logits) {
        const uint64_t cap = grown(l->cap_logits, (uint64_t)t->n_tokens + t->n_pending);
        MOE_TRY(moe__realloc_array(a, (void **)&l->logits, (size_t)cap, t->n_experts * sizeof(float),
                                   "logits of a trace"));
        l->cap_logits = cap;
    }
    return MOE_OK;
}

int moe__trace_room_k(moe_trace *t, moe__trace_layer *l)
{
    uint64_t pairs = 0;
    MOE_TRY(room_counts(t, l, t->cap_tokens));
    for (uint32_t i = 0; i < t->n_tokens; i++, pairs += l->k_all) {
        if (i % MOE_TRACE_RUN == 0) l->start[i / MOE_TRACE_RUN] = pairs;
        l->k[i] = (uint16_t)l->k_all;
    }
    return MOE_OK;
}

uint64_t moe__trace_first(const moe__trace_layer *l, uint32_t i)
{
    if (!l->k) return (uint64_t)l->k_all * i;
    uint64_t first = l->start[i / MOE_TRACE_RUN];
    for (uint32_t j = i / MOE_TRACE_RUN * MOE_TRACE_RUN; j < i; j++) first += l->k[j];
    return first;
}

/* ---- taking views in ---- */

void moe__trace_drop_pending(moe_trace *t)
{
    for (uint32_t l = 0; l < t->next_layer; l++) t->layer[l].n_new = 0;
    t->n_pending = t->next_layer = t->pending_k = 0;
}

/* Which layer of the trace a view is of. Without a model the first sub-batch tells the numbers. */
static int find_layer(const moe_trace *t, uint32_t number, uint32_t *out)
{
    const uint32_t next = t->next_layer;
    const int known = t->fixed || t->n_tokens;
    if (next > 0 ? number == t->layer[0].number : !known || number == t->layer[0].number) {
        *out = 0;
        return MOE_OK;
    }
    if (next > 0 && (known ? number == t->layer[next].number : number > t->layer[next - 1].number)) {
        *out = next;
        return MOE_OK;
    }
    if (next == 0)
        return MOE_FAIL(STATE, "trace: layer %u: expected layer %u, the first", number, t->layer[0].number);
    if (known)
        return MOE_FAIL(STATE, "trace: layer %u: expected layer %u or %u", number, t->layer[next].number,
                        t->layer[0].number);
    return MOE_FAIL(STATE, "trace: layer %u: expected a layer behind %u", number, t->layer[next - 1].number);
}

static int keeps_row(const moe_trace *t, const moe_route_view *v, uint32_t pair)
{
    if (v->expert[pair] == MOE_EXPERT_NONE) return 0;
    return (t->flags & MOE_TRACE_WEIGHTS) || !v->weight || v->weight[pair] != 0;
}

static int check_pair(const moe_trace *t, const moe_route_view *v, uint32_t row, uint32_t pair)
{
    const uint32_t e = v->expert[pair];
    if (e != MOE_EXPERT_NONE && e >= t->n_experts)
        return MOE_FAIL(RANGE, "trace: layer %u, row %u: expert %u of %u", v->layer, row, e, t->n_experts);
    if (v->weight && !isfinite(v->weight[pair]))
        return MOE_FAIL(INVALID, "trace: layer %u, row %u: a weight is not finite", v->layer, row);
    return MOE_OK;
}

/* Checks all pairs; *pairs = those that are kept, *k = experts of all rows, or UINT32_MAX if they differ. */
static int count_pairs(const moe_trace *t, const moe_route_view *v, uint64_t *pairs, uint32_t *k,
                       uint32_t *max_k)
{
    *pairs = 0;
    *max_k = 0;
    if (v->offset[0] != 0) return MOE_FAIL(INVALID, "trace: layer %u: the first offset is not 0", v->layer);
    for (uint32_t r = 0; r < v->n_rows; r++) {
        uint32_t n = 0;
        if (v->offset[r + 1] < v->offset[r])
            return MOE_FAIL(INVALID, "trace: layer %u, row %u: falling offsets", v->layer, r);
        for (uint32_t j = v->offset[r]; j < v->offset[r + 1]; j++) {
            MOE_TRY(check_pair(t, v, r, j));
            n += keeps_row(t, v, j) != 0;
        }
        if (n > MOE_TRACE_K_MAX)
            return MOE_FAIL(RANGE, "trace: layer %u, row %u: %u experts: at most %u", v->layer, r, n,
                            MOE_TRACE_K_MAX);
        *k = r == 0 || n == *k ? n : UINT32_MAX;
        if (n > *max_k) *max_k = n;
        *pairs += n;
    }
    return MOE_OK;
}

static int check_rows(const moe_trace *t, const moe_route_view *v)
{
    for (uint32_t r = 0; r < v->n_rows; r++) {
        const moe_seq seq = v->seq ? v->seq[r] : 0;
        if (seq < 0 || (uint64_t)t->begin + (uint32_t)seq > UINT32_MAX)
            return MOE_FAIL(RANGE, "trace: row %u: request %u + sequence %d", r, t->begin, seq);
        if ((v->pos && v->pos[r] < 0) || (v->token && v->token[r] < MOE_TOKEN_NONE))
            return MOE_FAIL(RANGE, "trace: row %u: token %d at position %d", r, v->token ? v->token[r] : 0,
                            v->pos ? v->pos[r] : 0);
    }
    return MOE_OK;
}

/* A new sub-batch: its rows become pending. */
static int begin_rows(moe_trace *t, const moe_route_view *v)
{
    MOE_TRY(check_rows(t, v));
    moe__trace_drop_pending(t);
    MOE_TRY(moe__trace_room_tokens(t, (uint64_t)t->n_tokens + v->n_rows));
    MOE_TRY(moe__idmap_reserve(&t->requests, &t->alloc, (uint64_t)t->requests.n + v->n_rows));
    for (uint32_t r = 0; r < v->n_rows; r++) {
        const uint32_t i = t->n_tokens + r;
        t->request[i] = t->begin + (uint32_t)(v->seq ? v->seq[r] : 0);
        t->pos[i] = v->pos ? v->pos[r] : (moe_pos)(t->next_pos + r);
        t->token[i] = v->token ? v->token[r] : MOE_TOKEN_NONE;
    }
    t->n_pending = v->n_rows;
    return MOE_OK;
}

/* A weight that is not 0 must not become 0: it would read as a dropped choice. */
static uint16_t weight_bits(float w)
{
    const uint16_t h = moe__f32_to_f16(w);
    if (w != 0 && !(h & 0x7fff)) return (uint16_t)(h | 1);
    return (h & 0x7fff) >= 0x7c00 ? (uint16_t)((h & 0x8000) | 0x7bff) : h;
}

static void write_pairs(moe_trace *t, moe__trace_layer *l, const moe_route_view *v)
{
    uint64_t at = l->n_pairs;
    for (uint32_t r = 0; r < v->n_rows; r++) {
        const uint32_t i = t->n_tokens + r;
        const uint64_t first = at;
        for (uint32_t j = v->offset[r]; j < v->offset[r + 1]; j++) {
            if (!keeps_row(t, v, j)) continue;
            if (t->id_bytes == 1)
                ((uint8_t *)l->id)[at] = (uint8_t)v->expert[j];
            else
                ((uint16_t *)l->id)[at] = (uint16_t)v->expert[j];
            if (l->weight) l->weight[at] = weight_bits(v->weight[j]);
            at++;
        }
        if (l->k) {
            if (i % MOE_TRACE_RUN == 0) l->start[i / MOE_TRACE_RUN] = first;
            l->k[i] = (uint16_t)(at - first);
        }
    }
    l->n_new = at - l->n_pairs;
}

static void write_logits(const moe_trace *t, moe__trace_layer *l, const moe_route_view *v)
{
    const size_t stride = v->n_logits ? v->n_logits : v->n_experts;
    for (uint32_t r = 0; r < v->n_rows; r++)
        memcpy(l->logits + ((size_t)t->n_tokens + r) * t->n_experts, v->logits + r * stride,
               t->n_experts * sizeof(float));
}

static void finish_rows(moe_trace *t)
{
    for (uint32_t l = 0; l < t->n_layers; l++) {
        t->layer[l].n_pairs += t->layer[l].n_new;
        t->layer[l].n_new = 0;
    }
    for (uint32_t r = 0; r < t->n_pending; r++)
        (void)moe__idmap_put(&t->requests, t->request[t->n_tokens + r]);
    if (t->pending_k > t->max_k) t->max_k = t->pending_k;
    t->n_tokens += t->n_pending;
    t->next_pos += t->n_pending;
    t->n_pending = t->next_layer = t->pending_k = 0;
}

int moe__trace_add(moe_trace *t, const moe_route_view *v)
{
    uint32_t layer, k = 0, max_k;
    uint64_t pairs;
    MOE_TRY(find_layer(t, v->layer, &layer));
    MOE_TRY(count_pairs(t, v, &pairs, &k, &max_k));
    if (layer == 0) {
        MOE_TRY(begin_rows(t, v));
    } else if (v->n_rows != t->n_pending) {
        return MOE_FAIL(STATE, "trace: layer %u has %u rows, the layers before it %u", v->layer, v->n_rows,
                        t->n_pending);
    }
    moe__trace_layer *l = &t->layer[layer];
    MOE_TRY(moe__trace_room_pairs(t, l, l->n_pairs + pairs));
    MOE_TRY(moe__trace_room_row(t, max_k));
    if (!l->k && (k == UINT32_MAX || (t->n_tokens && k != l->k_all))) MOE_TRY(moe__trace_room_k(t, l));
    if (!l->k) l->k_all = k;
    write_pairs(t, l, v);
    if (l->logits) write_logits(t, l, v);
    l->number = v->layer;
    if (max_k > t->pending_k) t->pending_k = max_k;
    t->next_layer = layer + 1;
    if (t->next_layer == t->n_layers) finish_rows(t);
    return MOE_OK;
}
