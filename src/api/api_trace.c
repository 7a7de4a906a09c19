/* SPDX-License-Identifier: MIT */
/* Entry points of traces: arguments are checked here, the work is in study/. */
#include "base/half.h"
#include "base/opts.h"
#include "base/rounding.h"
#include "study/analysis.h"
#include "study/trace.h"

static int trace_for_model(moe_trace *t, const moe_model *m)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) n += m->layers[l].is_moe != 0;
    if (n == 0) return MOE_FAIL(INVALID, "moe_trace_create: the model has no routers");
    MOE_TRY(moe__trace_shape(t, n, m->hp.n_experts));
    n = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (m->layers[l].is_moe) t->layer[n++].number = l;
    t->fingerprint = m->fingerprint;
    t->fixed = 1;
    return MOE_OK;
}

int moe_trace_create(moe_trace **out, const moe_model *m, uint32_t flags, const moe_allocator *a)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    if (flags & ~MOE_TRACE_KNOWN_FLAGS) return MOE_FAIL(INVALID, "moe_trace_create: flags %#x", flags);
    moe__allocator alloc;
    moe_trace *t;
    MOE_TRY(moe__allocator_init(&alloc, a));
    if (!a && m) alloc = m->alloc;
    MOE_TRY(MOE_NEW(&alloc, &t, 1, "trace"));
    t->alloc = alloc;
    t->flags = flags;
    const int st = m ? trace_for_model(t, m) : MOE_OK;
    if (st < 0)
        moe__trace_free(t);
    else
        *out = t;
    return st;
}

int moe_trace_set_shape(moe_trace *t, uint32_t n_layers, uint32_t n_experts)
{
    moe__clear_error();
    MOE_ARG(t != NULL);
    if (n_layers - 1 >= MOE_TRACE_LAYERS_MAX || n_experts - 1 >= MOE_TRACE_EXPERTS_MAX)
        return MOE_FAIL(INVALID, "moe_trace_set_shape: %u layers, %u experts: expected 1 to %u, 1 to %u",
                        n_layers, n_experts, MOE_TRACE_LAYERS_MAX, MOE_TRACE_EXPERTS_MAX);
    if (t->fixed || t->n_tokens || t->n_pending)
        return MOE_FAIL(STATE, "moe_trace_set_shape: the trace has a %s", t->fixed ? "model" : "token");
    return moe__trace_shape(t, n_layers, n_experts);
}

void moe_trace_free(moe_trace *t) { moe__trace_free(t); }

int moe_trace_begin(moe_trace *t, uint32_t request)
{
    moe__clear_error();
    MOE_ARG(t != NULL);
    t->begin = request;
    t->next_pos = 0;
    return MOE_OK;
}

int moe_trace_observe(const moe_route_view *v, void *trace)
{
    moe_trace *t = trace;
    moe_route_view view = {.size = sizeof view};
    moe__clear_error();
    MOE_ARG(t != NULL && v != NULL);
    MOE_TRY(moe__opts_copy(&view, sizeof view, v, "moe_route_view"));
    MOE_ARG(view.offset != NULL && view.expert != NULL);
    if (!t->layer) return MOE_FAIL(STATE, "moe_trace_observe: the trace has no shape: moe_trace_set_shape()");
    if (view.n_rows == 0) return MOE_FAIL(INVALID, "moe_trace_observe: layer %u: no rows", view.layer);
    if (view.n_experts != t->n_experts || (view.n_logits && view.n_logits < view.n_experts))
        return MOE_FAIL(INVALID,
                        "moe_trace_observe: layer %u: %u experts, %u logits: the trace has %u experts",
                        view.layer, view.n_experts, view.n_logits, t->n_experts);
    if (((t->flags & MOE_TRACE_WEIGHTS) && !view.weight) || ((t->flags & MOE_TRACE_LOGITS) && !view.logits))
        return MOE_FAIL(INVALID, "moe_trace_observe: layer %u: weights or logits are missing", view.layer);
    MOE_RETURN_ROUNDED(moe__trace_add(t, &view));
}

int moe_trace_trim(moe_trace *t)
{
    moe__clear_error();
    MOE_ARG(t != NULL);
    moe__trace_drop_pending(t);
    return MOE_OK;
}

int moe_trace_get_info(const moe_trace *t, moe_trace_info *out)
{
    moe__clear_error();
    MOE_ARG(t != NULL && out != NULL);
    const moe_trace_info info = {.size = sizeof info,
                                 .flags = t->flags,
                                 .n_layers = t->n_layers,
                                 .n_experts = t->n_experts,
                                 .max_k = t->max_k,
                                 .n_tokens = t->n_tokens,
                                 .n_requests = t->requests.n,
                                 .fingerprint = t->fingerprint};
    return moe__opts_fill(out, &info, sizeof info, "moe_trace_info");
}

int moe_trace_at(const moe_trace *t, uint64_t i, uint32_t layer, moe_trace_row *out)
{
    moe__clear_error();
    MOE_ARG(t != NULL && out != NULL);
    if (i >= t->n_tokens || layer >= t->n_layers)
        return MOE_FAIL(RANGE, "moe_trace_at: token %llu, layer %u: the trace has %u tokens, %u layers",
                        (unsigned long long)i, layer, t->n_tokens, t->n_layers);
    const moe__trace_layer *l = &t->layer[layer];
    const uint32_t k = moe__trace_k(l, (uint32_t)i);
    const uint64_t first = moe__trace_first(l, (uint32_t)i);
    for (uint32_t j = 0; j < k; j++) {
        t->row_expert[j] = moe__trace_id(t, l, first + j);
        if (l->weight) t->row_weight[j] = moe__f16_to_f32(l->weight[first + j]);
    }
    const moe_trace_row row = {.size = sizeof row,
                               .request = t->request[i],
                               .pos = t->pos[i],
                               .token = t->token[i],
                               .model_layer = l->number,
                               .k = k,
                               .expert = t->row_expert,
                               .weight = t->flags & MOE_TRACE_WEIGHTS ? t->row_weight : NULL,
                               .logits = l->logits ? l->logits + (size_t)i * t->n_experts : NULL};
    return moe__opts_fill(out, &row, sizeof row, "moe_trace_row");
}

int moe_trace_save_file(const moe_trace *t, const char *path)
{
    moe__clear_error();
    MOE_ARG(t != NULL && path != NULL);
    return moe__trace_save(t, path);
}

int moe_trace_load_file(moe_trace **out, const char *path, const moe_allocator *a)
{
    moe__allocator alloc;
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(path != NULL);
    MOE_TRY(moe__allocator_init(&alloc, a));
    MOE_RETURN_ROUNDED(moe__trace_load(out, path, &alloc));
}

/* ---- analysis ---- */

static int check_trace_layer(const moe_trace *t, uint32_t layer)
{
    if (layer != MOE_ALL_LAYERS && layer >= t->n_layers)
        return MOE_FAIL(RANGE, "layer %u: the trace has %u", layer, t->n_layers);
    return MOE_OK;
}

int moe_trace_reuse(const moe_trace *t, uint32_t layer, double *out)
{
    moe__clear_error();
    MOE_ARG(t != NULL && out != NULL);
    MOE_TRY(check_trace_layer(t, layer));
    MOE_RETURN_ROUNDED(moe__trace_reuse(t, layer, out));
}

int moe_trace_srp(const moe_trace *t, uint32_t layer, uint32_t window, int level, double *srp, double *rho)
{
    double size;
    moe__clear_error();
    MOE_ARG(t != NULL && srp != NULL);
    MOE_TRY(check_trace_layer(t, layer));
    if (window == 0 || level < MOE_SRP_EXPERT || level > MOE_SRP_MODEL)
        return MOE_FAIL(INVALID, "moe_trace_srp: window %u, level %d", window, level);
    MOE_RETURN_ROUNDED(moe__trace_srp(t, layer, window, level, srp, rho ? rho : &size));
}

int moe_trace_cache(const moe_trace *t, int policy, uint32_t layer, uint32_t window, const uint32_t *capacity,
                    size_t n, double *hit_rate)
{
    moe__clear_error();
    MOE_ARG(t != NULL && capacity != NULL && n > 0 && hit_rate != NULL);
    MOE_TRY(check_trace_layer(t, layer));
    const int kind = policy & ~MOE_CACHE_WARM;
    if (kind < MOE_CACHE_LRU || kind > MOE_CACHE_SCH)
        return MOE_FAIL(INVALID, "moe_trace_cache: policy %d is not known", policy);
    if ((kind == MOE_CACHE_SCH) != (window != 0))
        return MOE_FAIL(INVALID, "moe_trace_cache: window %u: MOE_CACHE_SCH needs one, others take 0",
                        window);
    for (size_t i = 0; i < n; i++)
        if (capacity[i] == 0) return MOE_FAIL(INVALID, "moe_trace_cache: capacity %zu is 0", i);
    const int warm = kind == MOE_CACHE_SCH || (policy & MOE_CACHE_WARM);
    return kind == MOE_CACHE_LRU ? moe__trace_lru(t, layer, warm, capacity, n, hit_rate)
                                 : moe__trace_cache(t, kind, layer, window, warm, capacity, n, hit_rate);
}
