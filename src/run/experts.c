/* SPDX-License-Identifier: MIT */
/* The feed-forward steps: routed experts in tiles of pairs, the shared expert, dense layers. */
#include "run/steps.h"

/* Member 0 sets up a run of jobs on the shared description; all see it after the next meeting. */
static moe__ffn *set_ffn(moe_session *s, const moe__layer *l, moe__role gate, moe__role up, moe__role down,
                         const moe__rows *in)
{
    moe__ffn *f = &s->ffn;
    *f = (moe__ffn){.k = &s->m->k,
                    .gate = &l->mat[gate],
                    .up = &l->mat[up],
                    .down = &l->mat[down],
                    .in = in,
                    .up_out = s->mid_up,
                    .out = s->slot_out,
                    .job = s->job};
    const uint32_t ff = f->gate->n_out;
    f->mid = (moe__rows){.f32 = s->mid, .width = ff};
    for (int a = 0; a < MOE_N_ACTS; a++) {
        f->mid.act[a] = s->mid_act[a];
        f->mid.act_bytes[a] = moe__act_bytes((moe__act)a, ff);
    }
    f->mid_formats = MOE_ACT_BIT(moe__matrix_act(f->down, moe__session_exact(s)));
    return f;
}

static void acquire_groups(moe_session *s, uint32_t layer)
{
    moe__store *store = s->m->store;
    const moe__layer *l = &s->m->layers[layer];
    const uint64_t bytes = l->mat[ROLE_GATE_EXPS].n_out * l->mat[ROLE_GATE_EXPS].row_bytes +
                           l->mat[ROLE_UP_EXPS].n_out * l->mat[ROLE_UP_EXPS].row_bytes +
                           l->mat[ROLE_DOWN_EXPS].n_out * l->mat[ROLE_DOWN_EXPS].row_bytes;
    s->ffn.n_jobs = 0;
    for (uint32_t i = 0; i < s->dispatch.n_groups; i++) {
        const moe__group *g = &s->dispatch.group[i];
        const moe__expert_request want = {layer, g->expert, g->n, g->rank, g->weight};
        moe__ffn_job *j = &s->job[i];
        const int st = store->ops->acquire(store, &want, &j->view);
        if (st < 0) {
            moe__fault(s, st, layer); /* what was acquired is computed and released; the result is thrown away */
            break;
        }
        j->first = g->first;
        j->n = g->n;
        s->ffn.n_jobs++;
    }
    s->ffn.n_slots = s->ffn.n_jobs ? s->job[s->ffn.n_jobs - 1].first + s->job[s->ffn.n_jobs - 1].n : 0;
    s->ffn.col = s->dispatch.col;
    s->stats.pairs += s->ffn.n_slots;
    s->stats.expert_bytes += bytes * s->ffn.n_jobs;
}

static void release_groups(moe_session *s)
{
    for (uint32_t i = 0; i < s->ffn.n_jobs; i++) s->m->store->ops->release(s->m->store, &s->job[i].view);
}

/* Tiles of rows: plan and acquire, compute, combine in order of rank, release. */
void moe__op_experts(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    for (uint32_t row = 0, next; row < s->n_rows; row = next) {
        if (w->index == 0) {
            moe__dispatch_plan(&s->dispatch, &s->routes, row, s->n_rows);
            set_ffn(s, l, ROLE_GATE_EXPS, ROLE_UP_EXPS, ROLE_DOWN_EXPS, in);
            acquire_groups(s, step->layer);
        }
        moe__work_next(w);
        moe__ffn_run(w, &s->ffn, moe__session_exact_row(s, w));
        for (size_t i; (i = moe__work_take(w)) < s->dispatch.n_rows;) {
            const uint32_t r = row + (uint32_t)i;
            moe__dispatch_combine(&s->dispatch, &s->routes, &s->m->k, r, s->slot_out, moe__row(out, r),
                                  out->width);
        }
        if (w->index == 0) release_groups(s);
        next =
            row + s->dispatch.n_rows; /* read before the meeting: behind it member 0 may plan the next tile */
        moe__work_next(w);
    }
}

/* One job over tiles of all rows; `out` is where each tile's rows go. */
static void run_dense(moe_session *s, moe__worker *w, const moe__layer *l, const moe__rows *in,
                      moe__role gate, moe__role up, moe__role down, uint32_t row, uint32_t n, float *out)
{
    if (w->index == 0) {
        moe__ffn *f = set_ffn(s, l, gate, up, down, in);
        s->job[0] =
            (moe__ffn_job){.view = {l->mat[gate].data, l->mat[up].data, l->mat[down].data, 0}, .n = n};
        f->n_jobs = 1;
        f->n_slots = n;
        f->first_row = row;
        f->out = out;
    }
    moe__work_next(w);
    moe__ffn_run(w, &s->ffn, moe__session_exact_row(s, w));
}

static uint32_t dense_rows(const moe_session *s, uint32_t ff)
{
    const uint64_t n = s->mid_floats / ff;
    return n < s->max_slots ? (uint32_t)n : s->max_slots;
}

void moe__op_shared(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const uint32_t tile = dense_rows(s, l->mat[ROLE_GATE_SHEXP].n_out);
    const int gated = l->tensor[ROLE_SHARED_GATE] != NULL;
    if (gated) {
        const moe__task t = {&l->mat[ROLE_SHARED_GATE], s->shared_gate};
        moe__run_products(s, w, in, &t, 1);
    }
    for (uint32_t row = 0; row < s->n_rows; row += tile) {
        const uint32_t n = s->n_rows - row < tile ? s->n_rows - row : tile;
        run_dense(s, w, l, in, ROLE_GATE_SHEXP, ROLE_UP_SHEXP, ROLE_DOWN_SHEXP, row, n, s->slot_out);
        for (size_t i; (i = moe__work_take(w)) < n;) {
            float weight = 1;
            if (gated) s->m->k.sigmoid(&weight, &s->shared_gate[row + i], 1);
            s->m->k.axpy(moe__row(out, row + i), weight, s->slot_out + i * out->width, out->width);
        }
        moe__work_next(w);
    }
}

void moe__op_ffn(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const uint32_t tile = dense_rows(s, l->mat[ROLE_FFN_GATE].n_out);
    for (uint32_t row = 0; row < s->n_rows; row += tile) {
        const uint32_t n = s->n_rows - row < tile ? s->n_rows - row : tile;
        run_dense(s, w, l, in, ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_DOWN, row, n, moe__row(out, row));
    }
}
