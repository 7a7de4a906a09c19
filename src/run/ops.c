/* SPDX-License-Identifier: MIT */
/*
 * The operations of a step, each run by all members of the team. An operation is one or more phases; in a
 * phase members take items (a row, a block of weight rows) until none is left, then meet. Every element is
 * computed whole by one member, in an order that does not depend on who that is.
 */
#include <string.h>

#include "run/session.h"

static void fault(moe_session *s, int status, uint32_t layer)
{
    int none = 0;
    if (atomic_compare_exchange_strong(&s->fault, &none, status)) atomic_store(&s->fault_layer, layer);
}

/* y = w x for all rows, shared by blocks of weight rows: items of several matrices that read the same rows
 * can share one phase. */
typedef struct task {
    const moe__matrix *w;
    float *y;
} task;

static void run_products(moe_session *s, moe__worker *w, const moe__rows *x, const task *t, size_t n_tasks)
{
    size_t items[3], total = 0;
    for (size_t i = 0; i < n_tasks; i++) {
        const uint32_t step = moe__rows_per_item(t[i].w);
        items[i] = (t[i].w->n_out + step - 1) / step;
        total += items[i];
    }
    for (size_t item; (item = moe__work_take(w)) < total;) {
        size_t i = 0;
        for (; item >= items[i]; i++) item -= items[i];
        const uint32_t step = moe__rows_per_item(t[i].w), first = (uint32_t)item * step;
        const moe__product p = {.w = t[i].w,
                                .data = t[i].w->data,
                                .x = x,
                                .n_cols = s->n_rows,
                                .y = t[i].y,
                                .ldy = t[i].w->n_out};
        moe__product_rows(&p, &s->m->k, first, t[i].w->n_out - first < step ? t[i].w->n_out - first : step,
                          moe__session_exact_row(s, w));
    }
    moe__work_next(w);
}

static void op_embed(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__matrix *e = &s->m->embd;
    const moe__rows *out = &s->buf[step->out];
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) {
        e->type->dequant((const char *)e->data + (size_t)s->place[i].token * e->row_bytes, moe__row(out, i),
                         e->n_in);
        if (s->m->hp.embed_scale != 1) s->m->k.scale(moe__row(out, i), s->m->hp.embed_scale, e->n_in);
        moe__attn_turn(&s->attn, i);
    }
    moe__work_next(w);
}

static void op_collect(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__rows *in = &s->buf[step->in];
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;)
        if (s->row_output[i] != MOE_EXPERT_NONE)
            memcpy(s->stage + (size_t)s->row_output[i] * in->width, moe__row(in, i),
                   in->width * sizeof(float));
    moe__work_next(w);
}

static void op_norm(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const float *weight = s->m->layers[step->layer].vec[step->role];
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) {
        s->m->k.rms_norm(moe__row(out, i), moe__row(in, i), weight, s->m->hp.eps, in->width);
        moe__rows_pack(out, &s->m->k, i, step->formats);
    }
    moe__work_next(w);
}

static void op_qkv(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const task t[3] = {{&l->mat[ROLE_ATTN_Q], s->attn.q},
                       {&l->mat[ROLE_ATTN_K], s->attn.k},
                       {&l->mat[ROLE_ATTN_V], s->attn.v}};
    run_products(s, w, &s->buf[step->in], t, 3);
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) moe__attn_prepare(&s->attn, step->layer, i);
    moe__work_next(w);
}

static void op_attend(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__rows *out = &s->buf[step->out];
    const moe__hparams *h = &s->m->hp;
    const size_t group_width = out->width / h->n_heads_kv;
    /* Later rows of a prompt see more positions: take them first, so that the last items are short. */
    for (size_t item; (item = moe__work_take(w)) < (size_t)s->n_rows * h->n_heads_kv;) {
        const size_t i = s->n_rows - 1 - item / h->n_heads_kv;
        const uint32_t g = (uint32_t)(item % h->n_heads_kv);
        moe__attn_row(&s->attn, step->layer, i, g, moe__row(out, i) + g * group_width,
                      moe__session_member(s, w));
    }
    moe__work_next(w);
    if (!(step->formats & ~MOE_ACT_BIT(MOE_ACT_F32))) return;
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) moe__rows_pack(out, &s->m->k, i, step->formats);
    moe__work_next(w);
}

static void op_linear(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    static const uint8_t bias_of[N_ROLES] = {[ROLE_ATTN_OUTPUT] = ROLE_ATTN_OUTPUT_BIAS};
    const moe__rows *out = &s->buf[step->out];
    const float *bias = s->m->layers[step->layer].vec[bias_of[step->role]];
    const task t = {&s->m->layers[step->layer].mat[step->role], out->f32};
    run_products(s, w, &s->buf[step->in], &t, 1);
    if (!bias) return;
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) s->m->k.add(moe__row(out, i), bias, out->width);
    moe__work_next(w);
}

static void op_add(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) {
        if (s->m->hp.residual_scale != 1)
            s->m->k.axpy(moe__row(out, i), s->m->hp.residual_scale, moe__row(in, i), in->width);
        else
            s->m->k.add(moe__row(out, i), moe__row(in, i), in->width);
    }
    moe__work_next(w);
}

static void op_route(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const uint32_t n = s->m->hp.n_experts, k = s->router.top_k;
    const task t = {&s->m->layers[step->layer].mat[step->role], s->router_logits};
    run_products(s, w, &s->buf[step->in], &t, 1);
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) {
        s->routes.offset[i + 1] = (uint32_t)(i + 1) * k;
        const int st =
            moe__router_row(&s->router, &s->m->k, s->router_logits + i * n, s->routes.expert + i * k,
                            s->routes.weight + i * k, moe__session_member(s, w));
        if (st < 0) fault(s, st, step->layer);
    }
    moe__work_next(w);
}

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
            fault(s, st, layer); /* what was acquired is computed and released; the result is thrown away */
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
static void op_experts(moe_session *s, moe__worker *w, const moe__run_step *step)
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

static void op_shared(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const uint32_t tile = dense_rows(s, l->mat[ROLE_GATE_SHEXP].n_out);
    const int gated = l->tensor[ROLE_SHARED_GATE] != NULL;
    if (gated) {
        const task t = {&l->mat[ROLE_SHARED_GATE], s->shared_gate};
        run_products(s, w, in, &t, 1);
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

static void op_ffn(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const uint32_t tile = dense_rows(s, l->mat[ROLE_FFN_GATE].n_out);
    for (uint32_t row = 0; row < s->n_rows; row += tile) {
        const uint32_t n = s->n_rows - row < tile ? s->n_rows - row : tile;
        run_dense(s, w, l, in, ROLE_FFN_GATE, ROLE_FFN_UP, ROLE_FFN_DOWN, row, n, moe__row(out, row));
    }
}

typedef void (*op_fn)(moe_session *s, moe__worker *w, const moe__run_step *step);

static const op_fn op_table[N_OPS] = {
    [OP_EMBED] = op_embed,     [OP_COLLECT] = op_collect, [OP_NORM] = op_norm, [OP_QKV] = op_qkv,
    [OP_ATTEND] = op_attend,   [OP_LINEAR] = op_linear,   [OP_ADD] = op_add,   [OP_ROUTE] = op_route,
    [OP_EXPERTS] = op_experts, [OP_SHARED] = op_shared,   [OP_FFN] = op_ffn,
};

void moe__op_run(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    op_table[step->op](s, w, step);
}
