/* SPDX-License-Identifier: MIT */
/*
 * The routing step: router logits of all rows, then each row's experts and weights. Rows are routed by
 * whoever takes them, unless the layer's policy wants them together or on the calling thread: then park.c
 * does it.
 */
#include <stdio.h>
#include <string.h>

#include "base/os.h"
#include "base/status.h"
#include "run/steps.h"

static moe__route_at place_at(const moe_session *s, size_t i)
{
    return (moe__route_at){s->place[i].token, (moe_pos)s->place[i].pos, (moe_seq)s->place[i].seq};
}

static int route_row(moe_session *s, const moe__router *r, const moe__rows *in, size_t i, float *scratch)
{
    const moe__route_at at = place_at(s, i);
    return moe__router_row(r, s->router_logits + i * moe__n_logits(s->m), moe__row(in, i), &at,
                           s->routes.expert + i * r->max_k, s->routes.weight + i * r->max_k, &s->n_pairs[i],
                           scratch);
}

/* Rows stand max_k apart; where some have fewer pairs, the gaps are closed. */
void moe__route_compact(moe_session *s, uint32_t max_k)
{
    uint32_t at = 0;
    s->routes.offset[0] = 0;
    for (uint32_t i = 0; i < s->n_rows; i++) {
        const uint32_t from = i * max_k, n = s->n_pairs[i];
        if (from != at) {
            memmove(s->routes.expert + at, s->routes.expert + from, n * sizeof *s->routes.expert);
            memmove(s->routes.weight + at, s->routes.weight + from, n * sizeof *s->routes.weight);
        }
        at += n;
        s->routes.offset[i + 1] = at;
    }
}

static void start_selection(moe__worker *w, void *arg, const void *what, size_t i)
{
    (void)w;
    (void)what;
    (void)i;
    ((moe_session *)arg)->selection_start = moe__os_now_ns();
}

static void select_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    const moe__run_step *step = what;
    const int st = route_row(s, &s->router[step->layer], &s->buf[step->in], i, moe__session_member(s, w));
    if (st >= 0) return;
    s->n_pairs[i] = 0; /* what stands there is not to be dispatched */
    moe__fault(s, st, step->layer);
}

static void end_selection(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    (void)w;
    (void)i;
    moe__route_compact(s, s->router[((const moe__run_step *)what)->layer].max_k);
    s->stats.ns_select += moe__os_now_ns() - s->selection_start;
}

void moe__op_route(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__task t = {&s->m->layers[step->layer].mat[step->role], s->router_logits};
    moe__run_products(s, w, &s->buf[step->in], &t, 1);
    if (s->router[step->layer].serial) return;
    moe__work_once(w, start_selection, s, step, 0);
    moe__work_after(w, select_row, s, step, s->n_rows);
    moe__work_once(w, end_selection, s, step, 0);
}

static const moe__run_step *step_of(const moe_session *s, uint32_t layer)
{
    size_t i = 0;
    while (s->step[i].op != OP_ROUTE || s->step[i].layer != layer) i++;
    return &s->step[i];
}

/*
 * A row failed on some thread, whose message is not this one's: fails again here, to say what and where.
 * MOE_OK if the routing of the layer is not to blame.
 */
int moe__route_explain(moe_session *s, uint32_t layer)
{
    const moe__run_step *step = step_of(s, layer);
    const moe__router *r = &s->router[layer];
    for (uint32_t i = 0; !r->serial && i < s->n_rows; i++) {
        moe__clear_error();
        const int st = route_row(s, r, &s->buf[step->in], i, s->scratch);
        if (st == MOE_E_NUMERIC && !*moe__last_error())
            return MOE_FAIL(NUMERIC, "layer %u, row %u: the router's weights are not finite", layer, i);
        if (st == MOE_E_POLICY) { /* which had this row alone */
            char why[384];
            snprintf(why, sizeof why, "%s", moe__last_error());
            return moe__fail(st, "row %u of the sub-batch: %s", i, why);
        }
        if (st < 0) return st;
    }
    return MOE_OK;
}

moe_route_view moe__route_view(const moe_session *s, uint32_t layer)
{
    return (moe_route_view){.size = sizeof(moe_route_view),
                            .layer = layer,
                            .n_rows = s->n_rows,
                            .n_experts = s->m->hp.n_experts,
                            .n_logits = moe__n_logits(s->m),
                            .offset = s->routes.offset,
                            .expert = s->routes.expert,
                            .weight = s->routes.weight,
                            .logits = s->router_logits,
                            .token = s->view_token,
                            .pos = s->view_pos,
                            .seq = s->view_seq};
}

typedef struct rows_job {
    moe_session *s;
    const moe__run_step *step;
} rows_job;

static void walk_rows(moe__member *member, void *arg)
{
    const rows_job *job = arg;
    moe_session *s = job->s;
    moe__worker w = {.member = member, .work = &s->work, .index = member->index};
    const moe__rows *in = &s->buf[job->step->in];
    for (size_t i; (i = moe__work_take(&w)) < s->n_rows;) moe__rows_pack(in, &s->m->k, i, job->step->formats);
    moe__work_close(&w);
    moe__op_route(s, &w, job->step);
    moe__work_settle(&w);
}

/* Routes the caller's rows through one layer's router; the walk's buffers are free outside an eval. */
int moe__route_rows(moe_session *s, uint32_t layer, const float *hidden, uint32_t n_rows)
{
    const moe__run_step *from = step_of(s, layer);
    moe__run_step step = *from;
    step.formats = moe__program_formats(s->m, s->step, s->n_steps, (size_t)(from - s->step) - 1, step.in,
                                        moe__session_exact(s));
    memcpy(s->buf[step.in].f32, hidden, (size_t)n_rows * s->m->hp.dim * sizeof *hidden);
    s->n_rows = n_rows;
    for (uint32_t t = 0; t < n_rows; t++) {
        s->place[t] = (moe__place){MOE_TOKEN_NONE, 0, t};
        s->view_token[t] = MOE_TOKEN_NONE;
        s->view_pos[t] = (moe_pos)t;
        s->view_seq[t] = 0;
    }
    const rows_job job = {s, &step};
    atomic_store(&s->fault, 0);
    moe__work_reset(&s->work);
    s->busy = 1;
    int st = moe__team_run(s->team, walk_rows, (void *)(uintptr_t)&job);
    const int fault = atomic_load(&s->fault);
    if (st >= 0 && fault) {
        st = moe__route_explain(s, layer);
        if (st >= 0) /* it was a policy's, and is gone */
            st = moe__fail(fault, "layer %u: the policy failed with %d, but not when it was asked again",
                           layer, fault);
    }
    if (st >= 0 && s->router[layer].serial) st = moe__route_serial(s, &step);
    s->busy = 0;
    return st;
}

/* ---- what becomes of sequences, for policies with a state ---- */

void moe__routers_reset_seq(moe_session *s, moe_seq seq)
{
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) {
        const moe__router *r = &s->router[l];
        if (r->policy.route && r->policy.seq_reset) r->policy.seq_reset(r->state, seq);
    }
}

void moe__routers_copy_seq(moe_session *s, moe_seq from, moe_seq to)
{
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) {
        const moe__router *r = &s->router[l];
        if (r->policy.route && r->policy.seq_copy) r->policy.seq_copy(r->state, from, to);
    }
}

void moe__routers_truncate_seq(moe_session *s, moe_seq seq, moe_pos keep)
{
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) {
        const moe__router *r = &s->router[l];
        if (r->policy.route && r->policy.seq_truncate) r->policy.seq_truncate(r->state, seq, keep);
    }
}

void moe__routers_remove_seq(moe_session *s, moe_seq seq, moe_pos first, moe_pos n)
{
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++) {
        const moe__router *r = &s->router[l];
        if (r->policy.route && r->policy.seq_remove) r->policy.seq_remove(r->state, seq, first, n);
    }
}
