/* SPDX-License-Identifier: MIT */
/* One expert outside of an eval: run on rows of the caller's, or read. The walk's buffers are free then. */
#include <string.h>

#include "base/status.h"
#include "run/steps.h"

/* Borrows the weights in use; `leased` says whether they go back. */
static int borrow(const moe_session *s, uint32_t layer, uint32_t index, uint32_t n_rows, moe__ffn_job *j)
{
    const moe__expert_slot *slot = moe__experts_slot(&s->experts, layer, index);
    moe__store *store = s->m->store;
    moe__expert_request want = {layer, index, n_rows, 0, 1};
    *j = (moe__ffn_job){.gate = moe__slot_matrix(slot, s->m, layer, MOE_EXPERT_GATE),
                        .up = moe__slot_matrix(slot, s->m, layer, MOE_EXPERT_UP),
                        .down = moe__slot_matrix(slot, s->m, layer, MOE_EXPERT_DOWN)};
    if (slot && slot->source == MOE_SOURCE_WEIGHTS) {
        j->view = (moe__expert_view){j->gate->data, j->up->data, j->down->data, 0};
        return MOE_OK;
    }
    if (slot && slot->source == MOE_SOURCE_REDIRECT) {
        want.layer = slot->layer;
        want.expert = slot->index;
    }
    j->leased = 1;
    return store->ops->acquire(store, &want, &j->view);
}

static void give_back(const moe_session *s, const moe__ffn_job *j)
{
    if (j->leased) s->m->store->ops->release(s->m->store, &j->view);
}

typedef struct apply_args {
    moe_session *s;
    moe__ffn_job job;
    const moe__rows *in;
    const float *x;
    float *y;
    uint32_t n_rows;
} apply_args;

static void walk_apply(moe__member *member, void *arg)
{
    const apply_args *a = arg;
    moe_session *s = a->s;
    moe__worker w = {.member = member, .work = &s->work, .index = member->index};
    const int exact = moe__session_exact(s);
    const uint32_t dim = a->in->width, tile = moe__experts_tile(s, a->job.gate->n_out);
    const uint32_t formats =
        MOE_ACT_BIT(moe__matrix_act(a->job.gate, exact)) | MOE_ACT_BIT(moe__matrix_act(a->job.up, exact));
    for (size_t i; (i = moe__work_take(&w)) < a->n_rows;) {
        memcpy(moe__row(a->in, i), a->x + i * dim, dim * sizeof *a->x);
        moe__rows_pack(a->in, &s->m->k, i, formats);
    }
    moe__work_close(&w);
    for (uint32_t row = 0; row < a->n_rows; row += tile)
        moe__experts_job(s, &w, &a->job, a->in, row, a->n_rows - row < tile ? a->n_rows - row : tile,
                         a->y + (size_t)row * dim);
    moe__work_settle(&w);
}

static int apply_function(moe_session *s, uint32_t layer, uint32_t index, const float *x, uint32_t n,
                          float *y)
{
    const moe__experts *e = &s->experts;
    const moe__expert_slot *slot = moe__experts_slot(e, layer, index);
    const size_t dim = s->m->hp.dim;
    memcpy(e->side_in, x, n * dim * sizeof *x);
    for (uint32_t i = 0; i < n; i++) {
        e->side_token[i] = MOE_TOKEN_NONE;
        e->side_pos[i] = (moe_pos)i;
        e->side_seq[i] = 0;
    }
    MOE_TRY(moe__function_run(s, layer, index, n));
    memcpy(y, e->side + slot->side * s->o.n_batch_max * dim, n * dim * sizeof *y);
    return MOE_OK;
}

/* The rows that experts read: where the layer's program has them. */
static const moe__rows *experts_input(const moe_session *s, uint32_t layer)
{
    const moe__run_step *step = s->step;
    while (step->op != OP_EXPERTS || step->layer != layer) step++;
    return &s->buf[step->in];
}

int moe__experts_apply(moe_session *s, uint32_t layer, uint32_t index, const float *x, uint32_t n_rows,
                       float *y)
{
    const moe__expert_slot *slot = moe__experts_slot(&s->experts, layer, index);
    apply_args a = {.s = s, .in = experts_input(s, layer), .x = x, .y = y, .n_rows = n_rows};
    int st;
    s->busy = 1; /* a function may read the session only */
    if (slot && slot->source == MOE_SOURCE_FUNCTION) {
        st = apply_function(s, layer, index, x, n_rows, y);
    } else {
        st = borrow(s, layer, index, n_rows, &a.job);
        if (st >= 0) {
            moe__work_reset(&s->work);
            st = moe__team_run(s->team, walk_apply, &a);
            give_back(s, &a.job);
        }
    }
    s->busy = 0;
    return st;
}

int moe__experts_read(const moe_session *s, uint32_t layer, uint32_t index, int which, float *dst)
{
    moe__ffn_job j;
    MOE_TRY(borrow(s, layer, index, 1, &j));
    const moe__matrix *w = which == MOE_EXPERT_GATE ? j.gate : which == MOE_EXPERT_UP ? j.up : j.down;
    const void *data = which == MOE_EXPERT_GATE ? j.view.gate
                       : which == MOE_EXPERT_UP ? j.view.up
                                                : j.view.down;
    for (size_t r = 0; r < w->n_out; r++)
        w->type->dequant((const char *)data + r * w->row_bytes, dst + r * w->n_in, w->n_in);
    give_back(s, &j);
    return MOE_OK;
}
