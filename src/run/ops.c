/* SPDX-License-Identifier: MIT */
/*
 * The operations of a step, each run by all members of the team (base/work.h): products are cut into items of
 * weight rows; what is done row by row is put off until the next items are taken, so that one meeting serves
 * several operations. Every element is computed whole by one member, in an order that does not depend on who
 * that is.
 */
#include <string.h>

#include "run/steps.h"

/* Matrices of a phase, and how they are cut into items. */
typedef struct row_cut {
    const moe__task *t;
    size_t items[3];
    uint32_t step[3]; /* rows of an item */
} row_cut;

typedef struct row_piece {
    const moe__task *t;
    uint32_t first, n; /* rows */
} row_piece;

static row_piece row_piece_at(const row_cut *c, size_t item)
{
    size_t i = 0;
    for (; item >= c->items[i]; i++) item -= c->items[i];
    const uint32_t n_out = c->t[i].w->n_out, first = (uint32_t)item * c->step[i];
    return (row_piece){&c->t[i], first, n_out - first < c->step[i] ? n_out - first : c->step[i]};
}

/* What this member reads first is asked for while it waits. */
static void first_piece_ahead(moe__worker *w, const row_cut *c, size_t total)
{
    const row_piece p = row_piece_at(c, moe__work_part(w, total, w->index));
    moe__work_ahead(w, moe__matrix_row(p.t->w, p.t->w->data, p.first), p.n * p.t->w->row_bytes);
}

void moe__run_products(moe_session *s, moe__worker *w, const moe__rows *x, const moe__task *t, size_t n_tasks)
{
    row_cut c = {.t = t};
    size_t total = 0;
    for (size_t i = 0; i < n_tasks; i++) {
        c.step[i] = moe__rows_per_item(t[i].w, n_tasks, s->n_rows, w->member->n);
        c.items[i] = (t[i].w->n_out + c.step[i] - 1) / c.step[i];
        total += c.items[i];
    }
    first_piece_ahead(w, &c, total);
    moe__run run = {0};
    for (size_t item; moe__work_item(w, &run, total, &item);) {
        const row_piece at = row_piece_at(&c, item);
        const moe__product p = {.w = at.t->w,
                                .data = at.t->w->data,
                                .x = x,
                                .n_cols = s->n_rows,
                                .y = at.t->y,
                                .ldy = at.t->w->n_out};
        moe__product_rows(&p, &s->m->k, at.first, at.n, moe__session_exact_row(s, w));
    }
    moe__work_close(w);
}

/* A job for each row of the sub-batch, put off. */
static void each_row(moe_session *s, moe__worker *w, const moe__run_step *step, moe__work_fn fn)
{
    moe__work_after(w, fn, s, step, s->n_rows);
}

static void embed_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__run_step *step = what;
    const moe__matrix *e = &s->m->embd;
    float *x = moe__row(&s->buf[step->out], i);
    (void)w;
    e->type->dequant((const char *)e->data + (size_t)s->place[i].token * e->row_bytes, x, e->n_in);
    if (s->m->hp.embed_scale != 1) s->m->k.scale(x, s->m->hp.embed_scale, e->n_in);
    moe__attn_turn(&s->attn, i);
}

static void op_embed(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    each_row(s, w, step, embed_row);
}

static void collect_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__rows *in = &s->buf[((const moe__run_step *)what)->in];
    (void)w;
    if (s->row_output[i] != MOE_EXPERT_NONE)
        memcpy(s->stage + (size_t)s->row_output[i] * in->width, moe__row(in, i), in->width * sizeof(float));
}

static void op_collect(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    each_row(s, w, step, collect_row);
}

static void norm_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__run_step *step = what;
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    (void)w;
    s->m->k.rms_norm(moe__row(out, i), moe__row(in, i), s->m->layers[step->layer].vec[step->role],
                     s->m->hp.eps, in->width);
    moe__rows_pack(out, &s->m->k, i, step->formats);
}

static void op_norm(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    each_row(s, w, step, norm_row);
}

static void prepare_run(moe__worker *w, void *arg, const void *what, size_t i)
{
    (void)w;
    moe__attn_prepare(&((const moe_session *)arg)->attn, ((const moe__run_step *)what)->layer, i);
}

static void op_qkv(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__task t[3] = {{&l->mat[ROLE_ATTN_Q], s->attn.q},
                            {&l->mat[ROLE_ATTN_K], s->attn.k},
                            {&l->mat[ROLE_ATTN_V], s->attn.v}};
    moe__run_products(s, w, &s->buf[step->in], t, 3);
    moe__work_after(w, prepare_run, s, step, s->attn.n_runs);
}

static void pack_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__run_step *step = what;
    (void)w;
    moe__rows_pack(&s->buf[step->out], &s->m->k, i, step->formats);
}

static void op_attend(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    for (size_t item; (item = moe__work_take(w)) < s->attn.n_items;)
        moe__attn_item(&s->attn, step->layer, item, s->buf[step->out].f32, moe__session_member(s, w));
    moe__work_close(w);
    if (step->formats & ~MOE_ACT_BIT(MOE_ACT_F32)) each_row(s, w, step, pack_row);
}

/* Role of the bias that goes with a matrix, if any. */
static const uint8_t bias_of[N_ROLES] = {[ROLE_ATTN_OUTPUT] = ROLE_ATTN_OUTPUT_BIAS};

static const float *bias(const moe_session *s, const moe__run_step *step)
{
    return s->m->layers[step->layer].vec[bias_of[step->role]];
}

static void bias_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__run_step *step = what;
    const moe__rows *out = &s->buf[step->out];
    (void)w;
    s->m->k.add(moe__row(out, i), bias(s, step), out->width);
}

static void op_linear(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__task t = {&s->m->layers[step->layer].mat[step->role], s->buf[step->out].f32};
    moe__run_products(s, w, &s->buf[step->in], &t, 1);
    if (bias(s, step)) each_row(s, w, step, bias_row);
}

static void residual_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__run_step *step = what;
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    (void)w;
    if (s->m->hp.residual_scale != 1)
        s->m->k.axpy(moe__row(out, i), s->m->hp.residual_scale, moe__row(in, i), in->width);
    else
        s->m->k.add(moe__row(out, i), moe__row(in, i), in->width);
}

static void op_add(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    each_row(s, w, step, residual_row);
}

static const moe__op_fn op_table[N_OPS] = {
    [OP_EMBED] = op_embed,
    [OP_COLLECT] = op_collect,
    [OP_NORM] = op_norm,
    [OP_QKV] = op_qkv,
    [OP_ATTEND] = op_attend,
    [OP_LINEAR] = op_linear,
    [OP_ADD] = op_add,
    [OP_ROUTE] = moe__op_route,
    [OP_EXPERTS] = moe__op_experts,
    [OP_SHARED] = moe__op_shared,
    [OP_FFN] = moe__op_ffn,
};

void moe__op_run(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    op_table[step->op](s, w, step);
}
