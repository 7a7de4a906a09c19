/* SPDX-License-Identifier: MIT */
/*
 * The sizes of everything a session holds, in one place: once counted for the plan, once cut from the arena.
 * Shapes in comments; R = n_batch_max rows, O = n_output_max rows, P = pairs in flight.
 */
#include <string.h>

#include "base/opts.h"
#include "base/status.h"
#include "run/session.h"

/* Pairs in flight at most: enough for whole batches of usual models, bounded for wide ones. Changing k
 * changes no memory. */
#define PAIRS_MAX 4096u

/* dim: of a head */
static int kv_type(int32_t *type, const char *name, uint32_t dim)
{
    if (*type == 0)
        *type = MOE_TYPE_F16;
    else if (*type == MOE_KV_F32)
        *type = MOE_TYPE_F32;
    else if (!moe__kv_takes(*type))
        return MOE_FAIL(
            INVALID,
            "session options: %s %d: expected MOE_KV_F32, MOE_TYPE_F16, MOE_TYPE_BF16, MOE_TYPE_Q8_0 "
            "or MOE_TYPE_Q4_0",
            name, *type);
    const moe__type *t = moe__type_get(*type);
    if (dim % t->block != 0)
        return MOE_FAIL(UNSUPPORTED,
                        "session options: %s %s has blocks of %u elements: the model's heads have %u", name,
                        t->name, t->block, dim);
    return MOE_OK;
}

int moe__session_options(moe_session_options *out, const moe_session_options *o, const moe_model *m)
{
    *out = (moe_session_options)MOE_SESSION_OPTIONS_INIT;
    if (o) MOE_TRY(moe__opts_copy(out, sizeof *out, o, "moe_session_options"));
    if (out->flags & ~(MOE_SESSION_KEEP_PARTIAL | MOE_SESSION_EXACT_ACT | MOE_SESSION_KEEP_ROUTES |
                       MOE_SESSION_LOW_PRIORITY))
        return MOE_FAIL(INVALID, "session options: flags 0x%x are unknown", out->flags);
    if (m->hp.v_in_k && !out->kv_type_v) out->kv_type_v = out->kv_type_k;
    MOE_TRY(kv_type(&out->kv_type_k, "kv_type_k", m->hp.dim_head_k));
    MOE_TRY(kv_type(&out->kv_type_v, "kv_type_v", m->hp.dim_head_v));
    if (m->hp.v_in_k && out->kv_type_v != out->kv_type_k)
        return MOE_FAIL(UNSUPPORTED,
                        "session options: kv_type_v %d: this model's values are part of its keys, expected "
                        "kv_type_k %d",
                        out->kv_type_v, out->kv_type_k);
    if (!out->n_ctx) out->n_ctx = m->hp.n_ctx_train < 4096 ? m->hp.n_ctx_train : 4096;
    if (!out->n_seq_max) out->n_seq_max = 1;
    if (!out->n_batch_max) out->n_batch_max = 512;
    if (out->n_batch_max > out->n_ctx) out->n_batch_max = out->n_ctx;
    if (!out->n_output_max) out->n_output_max = out->n_seq_max;
    if (out->n_ctx > 1u << 30)
        return MOE_FAIL(INVALID, "session options: n_ctx %u: expected at most %u", out->n_ctx, 1u << 30);
    if (out->n_seq_max > 65536)
        return MOE_FAIL(INVALID, "session options: n_seq_max %u: expected at most 65536", out->n_seq_max);
    if (out->n_batch_max > 65536)
        return MOE_FAIL(INVALID, "session options: n_batch_max %u: expected at most 65536", out->n_batch_max);
    if (out->n_output_max > 1u << 20)
        return MOE_FAIL(INVALID, "session options: n_output_max %u: expected at most %u", out->n_output_max,
                        1u << 20);
    if (out->n_threads < 0 || (uint32_t)out->n_threads > MOE_TEAM_MAX)
        return MOE_FAIL(INVALID, "session options: n_threads %d: expected 0 to %u", out->n_threads,
                        MOE_TEAM_MAX);
    return MOE_OK;
}

/* A row buffer with room for every format in `formats`. */
static void carve_rows(moe__rows *r, moe__carve *c, uint64_t n, uint32_t width, uint32_t formats)
{
    r->width = width;
    MOE_CARVE(c, r->f32, n * width);
    for (int a = 0; a < MOE_N_ACTS; a++) {
        r->act_bytes[a] = moe__act_bytes((moe__act)a, width);
        r->act[a] = a == MOE_ACT_F32           ? (void *)r->f32
                    : formats & MOE_ACT_BIT(a) ? moe__carve_take(c, n, r->act_bytes[a])
                                               : NULL;
    }
}

/* Every format that any step reads a buffer in; the head reads H too. */
static uint32_t formats_of(const moe_session *s, uint8_t buf)
{
    uint32_t formats = 0;
    const int exact = moe__session_exact(s);
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++)
        for (int r = N_MODEL_ROLES; r < N_ROLES; r++) {
            const moe__matrix *w = &s->m->layers[l].mat[r];
            const int reads_a = r == ROLE_ATTN_OUTPUT;
            if (w->type && (buf == BUF_A) == reads_a) formats |= MOE_ACT_BIT(moe__matrix_act(w, exact));
        }
    return buf == BUF_H ? formats | MOE_ACT_BIT(moe__matrix_act(&s->m->head, exact)) : formats;
}

static void carve_buffers(moe_session *s, moe__carve *c)
{
    const moe__hparams *h = &s->m->hp;
    const uint64_t n = s->o.n_batch_max;
    const uint32_t attn = (uint32_t)moe__width_of(h, W_ATTN);
    carve_rows(&s->buf[BUF_X], c, n, h->dim, 0);
    carve_rows(&s->buf[BUF_H], c, n, h->dim, formats_of(s, BUF_H));
    carve_rows(&s->buf[BUF_A], c, n, attn, formats_of(s, BUF_A));
    carve_rows(&s->buf[BUF_Y], c, n, h->dim, 0);
    MOE_CARVE(c, s->attn.q, n * moe__width_of(h, W_Q));
    MOE_CARVE(c, s->attn.k, n * moe__width_of(h, W_K));
    MOE_CARVE(c, s->attn.v, h->v_in_k ? 0 : n * moe__width_of(h, W_V));
    MOE_CARVE(c, s->attn.turn, n * h->n_rot);
    moe__attn_carve(&s->attn, c, h, s->o.n_batch_max, s->o.n_seq_max, s->o.n_ctx);
    MOE_CARVE(c, s->place, n);
    MOE_CARVE(c, s->row_output, n);
    MOE_CARVE(c, s->view_token, n);
    MOE_CARVE(c, s->view_pos, n);
    MOE_CARVE(c, s->view_seq, n);
}

static uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }

/* A row may have any number of experts, up to all. */
static void carve_routes(moe__routes *r, moe__carve *c, uint64_t n, uint64_t n_experts)
{
    MOE_CARVE(c, r->offset, n + 1);
    MOE_CARVE(c, r->expert, n * n_experts);
    MOE_CARVE(c, r->weight, n * n_experts);
}

static void carve_routing(moe_session *s, moe__carve *c)
{
    const moe__hparams *h = &s->m->hp;
    const uint64_t n = s->o.n_batch_max, n_layers = h->n_layers;
    MOE_CARVE(c, s->park, s->n_steps);
    MOE_CARVE(c, s->router, n_layers);
    MOE_CARVE(c, s->handle, n_layers + 1);
    MOE_CARVE(c, s->expert, (n_layers + 1) * h->n_experts);
    MOE_CARVE(c, s->router_logits, n * moe__n_logits(s->m));
    MOE_CARVE(c, s->n_pairs, n);
    carve_routes(&s->routes, c, n, h->n_experts);
    if (!(s->o.flags & MOE_SESSION_KEEP_ROUTES)) return;
    moe__kept kept = {0};
    MOE_CARVE(c, s->kept, n_layers);
    for (uint32_t l = 0; l < n_layers; l++) {
        if (!s->m->layers[l].is_moe) continue;
        carve_routes(&kept.routes, c, n, h->n_experts);
        MOE_CARVE(c, kept.logits, n * moe__n_logits(s->m));
        MOE_CARVE(c, kept.token, n);
        MOE_CARVE(c, kept.pos, n);
        MOE_CARVE(c, kept.seq, n);
        if (c->base) s->kept[l] = kept;
    }
}

static void carve_experts(moe_session *s, moe__carve *c)
{
    const moe__hparams *h = &s->m->hp;
    const uint64_t n = s->o.n_batch_max;
    const uint64_t pairs = max_u64(h->n_experts, min_u64(n * h->top_k, PAIRS_MAX));
    moe__dispatch_carve(&s->dispatch, c, (uint32_t)pairs, h->n_experts);
    MOE_CARVE(c, s->job, h->n_experts);
    s->max_slots = (uint32_t)pairs;
    s->mid_floats = max_u64(pairs * h->dim_ff_expert, max_u64(h->dim_ff, h->dim_ff_shared));
    MOE_CARVE(c, s->mid, s->mid_floats);
    MOE_CARVE(c, s->mid_up, s->mid_floats);
    /* Packed rows: the widest need per element is that of the format itself, plus one block per row at most.
     */
    s->mid_act[MOE_ACT_F32] = s->mid;
    s->mid_act[MOE_ACT_Q8_32] = moe__carve_take(c, s->mid_floats / 32 + 1, sizeof(moe__act32));
    s->mid_act[MOE_ACT_Q8_256] = moe__carve_take(c, s->mid_floats / 256 + 1, sizeof(moe__act256));
    MOE_CARVE(c, s->slot_out, pairs * h->dim);
    MOE_CARVE(c, s->measured.norm, pairs);
    MOE_CARVE(c, s->measured.max, pairs);
    MOE_CARVE(c, s->measured.channel, pairs);
    MOE_CARVE(c, s->measured.expert, pairs);
    MOE_CARVE(c, s->measured.weight, pairs);
    MOE_CARVE(c, s->shared_gate, n);
}

static void carve_outputs(moe_session *s, moe__carve *c)
{
    const uint64_t n = s->o.n_output_max;
    MOE_CARVE(c, s->output, n);
    MOE_CARVE(c, s->stage, n * s->m->hp.dim);
    MOE_CARVE(c, s->hidden, n * s->m->hp.dim);
    MOE_CARVE(c, s->hidden_next, n * s->m->hp.dim);
    MOE_CARVE(c, s->logits, n * s->m->hp.n_vocab);
    MOE_CARVE(c, s->seq_new, s->o.n_seq_max);
    MOE_CARVE(c, s->seq_last, s->o.n_seq_max);
}

size_t moe__session_scratch(const moe_session *s)
{
    const moe__hparams *h = &s->m->hp;
    uint64_t n = max_u64(moe__attn_scratch(&s->kv, h, s->o.n_batch_max), moe__router_scratch(h->n_experts));
    /* an exact row: the longest input of any matrix */
    n = max_u64(n, max_u64(max_u64(h->dim, moe__width_of(h, W_ATTN)),
                           max_u64(h->dim_ff_expert, max_u64(h->dim_ff, h->dim_ff_shared))));
    /* a key or value, when positions are taken out or saved */
    n = max_u64(n, (uint64_t)h->n_heads_kv * max_u64(h->dim_head_k, h->dim_head_v));
    return (size_t)((n + 31) / 16 * 16); /* a cache line between members */
}

int moe__session_layout(moe_session *s, moe__carve *kv, moe__carve *rest)
{
    moe__kv_size(&s->kv, &s->m->hp, s->o.n_ctx, s->o.n_seq_max, s->o.kv_type_k, s->o.kv_type_v);
    s->kv.n_layers = s->m->hp.n_layers - s->m->n_windowed;
    moe__kv_size_window(&s->win, &s->kv, s->m->n_windowed, s->m->hp.window, s->o.n_batch_max);
    moe__kv_carve(&s->kv, kv, 1);
    moe__kv_carve(&s->win, kv, 0);
    s->n_steps = moe__program_size(s->m);
    MOE_CARVE(rest, s->step, s->n_steps);
    carve_buffers(s, rest);
    carve_routing(s, rest);
    carve_experts(s, rest);
    carve_outputs(s, rest);
    if (kv->used > SIZE_MAX / 4 || rest->used > SIZE_MAX / 4)
        return MOE_FAIL(NOMEM,
                        "a session with n_ctx %u, n_seq_max %u, n_batch_max %u, n_output_max %u does not fit "
                        "into the address space",
                        s->o.n_ctx, s->o.n_seq_max, s->o.n_batch_max, s->o.n_output_max);
    return MOE_OK;
}

int moe__session_memory(const moe_model *m, const moe_session_options *o, moe_memory *out)
{
    moe_session s = {.m = (moe_model *)m}; /* only read */
    MOE_TRY(moe__session_options(&s.o, o, m));
    moe__carve kv = {0}, rest = {0};
    MOE_TRY(moe__session_layout(&s, &kv, &rest));
    const uint32_t n_threads = (uint32_t)s.o.n_threads,
                   n_members = moe__team_members(n_threads, s.o.executor != NULL);
    out->kv = kv.used;
    out->scratch = MOE_BLOCK_BYTES(rest.used) + MOE_BLOCK_BYTES(sizeof s) + moe__team_bytes(n_threads) +
                   MOE_BLOCK_BYTES((uint64_t)n_members * moe__session_scratch(&s) * sizeof(float));
    out->private_bytes += out->kv + out->scratch;
    return MOE_OK;
}
