/* SPDX-License-Identifier: MIT */
/*
 * What happens on the calling thread between two steps, while the team is parked: policies that are serial or
 * see all rows, the observer, the profile, kept routes, expert functions, layer hooks. Where nothing of that
 * kind is set, the walk does not stop: `park` is then zero.
 */
#include <string.h>

#include "base/status.h"
#include "run/steps.h"
#include "study/profile.h"

/* The places of hidden states behind step i: where, and of which layer. At most two. */
typedef struct site {
    int where;
    uint32_t layer;
} site;

static int sites_behind(const moe_session *s, size_t i, site out[2])
{
    const moe__run_step *a = &s->step[i], *b = i + 1 < s->n_steps ? a + 1 : NULL;
    int n = 0;
    if (!b) return 0;
    if (a->op == OP_EMBED || (b->op == OP_COLLECT) || b->layer != a->layer) {
        if (a->op != OP_EMBED) out[n++] = (site){MOE_AT_OUTPUT, a->layer};
        if (b->op != OP_COLLECT) out[n++] = (site){MOE_AT_INPUT, b->layer};
    } else if (b->op == OP_ADD) {
        out[n++] = (site){a->op == OP_LINEAR ? MOE_AT_ATTN : MOE_AT_EXPERTS, a->layer};
    } else if (a->op == OP_NORM && (b->op == OP_ROUTE || b->op == OP_FFN)) {
        out[n++] = (site){MOE_AT_ROUTER, a->layer};
    }
    return n;
}

static const moe__layer_hook *hook_at(const moe_session *s, site at)
{
    return &s->hook[(size_t)at.layer * MOE_N_PLACES + (size_t)at.where - 1];
}

static uint8_t park_bits(const moe_session *s, size_t i)
{
    const moe__run_step *step = &s->step[i];
    site at[2];
    uint8_t bits = 0;
    if (step->op == OP_ROUTE && (s->router[step->layer].serial || s->observer.fn || s->profile || s->kept ||
                                 moe__experts_functions(s, step->layer)))
        bits |= MOE_PARK_ROUTE;
    for (int n = s->hook ? sites_behind(s, i, at) : 0; n-- > 0;)
        if (hook_at(s, at[n])->fn) bits |= MOE_PARK_HOOK;
    return bits;
}

void moe__park_update(moe_session *s)
{
    for (size_t i = 0; i < s->n_steps; i++) s->park[i] = park_bits(s, i);
    s->whole = 0;
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) s->whole |= s->router[l].whole;
}

/* ---- serial policies ---- */

/* Floats and indices of moe__route_batch for any number of rows and null experts. */
static void carve_serial(const moe_session *s, moe__carve *c, moe__route_batch *b)
{
    const uint64_t n = s->o.n_batch_max, e = s->m->hp.n_experts;
    MOE_CARVE(c, b->z, n * 2 * e);
    MOE_CARVE(c, b->s, n * 2 * e);
    MOE_CARVE(c, b->q, n * 2 * e);
    MOE_CARVE(c, b->order, n * e + e);
    MOE_CARVE(c, b->scratch, moe__router_scratch((uint32_t)e));
}

int moe__session_serial(moe_session *s)
{
    moe__route_batch b;
    moe__carve c = {0};
    if (s->serial) return MOE_OK;
    carve_serial(s, &c, &b);
    if (c.used > SIZE_MAX / 4) return MOE_FAIL(NOMEM, "room for a policy that sees all rows: too large");
    return moe__alloc(&s->m->alloc, &s->serial, (size_t)c.used, "policy rows");
}

int moe__route_serial(moe_session *s, const moe__run_step *step)
{
    moe__route_batch b;
    moe__carve c = {s->serial, 0};
    carve_serial(s, &c, &b);
    b.logits = s->router_logits;
    b.hidden = s->buf[step->in].f32;
    b.token = s->view_token;
    b.pos = s->view_pos;
    b.seq = s->view_seq;
    b.n_rows = s->n_rows;
    b.offset = s->routes.offset;
    b.expert = s->routes.expert;
    b.weight = s->routes.weight;
    return moe__router_batch(&s->router[step->layer], &b);
}

/* ---- behind the routing step ---- */

static int observe(moe_session *s, const moe_route_view *v)
{
    if (!s->observer.fn) return MOE_OK;
    const int st = s->observer.fn(v, s->observer.user);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "the observer stopped the evaluation in layer %u", v->layer);
    return st > 0 ? MOE_FAIL(ABORTED, "the observer stopped the evaluation in layer %u", v->layer) : st;
}

static void keep(moe_session *s, const moe_route_view *v)
{
    if (!s->kept) return;
    moe__kept *k = &s->kept[v->layer];
    const uint32_t n_pairs = v->offset[v->n_rows];
    k->n_rows = v->n_rows;
    memcpy(k->routes.offset, v->offset, ((size_t)v->n_rows + 1) * sizeof *v->offset);
    memcpy(k->routes.expert, v->expert, n_pairs * sizeof *v->expert);
    memcpy(k->routes.weight, v->weight, n_pairs * sizeof *v->weight);
    memcpy(k->logits, v->logits, (size_t)v->n_rows * v->n_logits * sizeof *v->logits);
    memcpy(k->token, v->token, v->n_rows * sizeof *v->token);
    memcpy(k->pos, v->pos, v->n_rows * sizeof *v->pos);
    memcpy(k->seq, v->seq, v->n_rows * sizeof *v->seq);
}

static int behind_route(moe_session *s, const moe__run_step *step)
{
    if (s->router[step->layer].serial) MOE_TRY(moe__route_serial(s, step));
    const moe_route_view v = moe__route_view(s, step->layer);
    keep(s, &v);
    if (s->profile) moe__profile_route(s->profile, &v);
    MOE_TRY(observe(s, &v));
    return moe__experts_call(s, step);
}

/* ---- hooks ---- */

static int call_hook(moe_session *s, const moe__run_step *step, site at)
{
    const moe__layer_hook *hook = hook_at(s, at);
    const moe__rows *rows = &s->buf[step->out];
    if (!hook->fn) return MOE_OK;
    const moe_layer_event event = {.size = sizeof event,
                                   .layer = at.layer,
                                   .where = at.where,
                                   .n_rows = s->n_rows,
                                   .dim = rows->width,
                                   .hidden = rows->f32,
                                   .token = s->view_token,
                                   .pos = s->view_pos,
                                   .seq = s->view_seq};
    const int st = hook->fn(&event, hook->user);
    if (st > 0) return MOE_FAIL(ABORTED, "a hook of layer %u stopped the evaluation", at.layer);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "a hook of layer %u stopped the evaluation with status %d", at.layer, st);
    return st;
}

static int behind_hooks(moe_session *s, const moe__run_step *step)
{
    site at[2];
    const int n = sites_behind(s, (size_t)(step - s->step), at);
    for (int i = 0; i < n; i++) MOE_TRY(call_hook(s, step, at[i]));
    for (uint32_t i = 0; (step->formats & ~MOE_ACT_BIT(MOE_ACT_F32)) && i < s->n_rows; i++)
        moe__rows_pack(&s->buf[step->out], &s->m->k, i, step->formats); /* it may have been edited */
    return MOE_OK;
}

int moe__parked(moe_session *s, const moe__run_step *step)
{
    const uint8_t bits = s->park[step - s->step];
    if (bits & MOE_PARK_ROUTE) MOE_TRY(behind_route(s, step));
    if (bits & MOE_PARK_HOOK) MOE_TRY(behind_hooks(s, step));
    return MOE_OK;
}
