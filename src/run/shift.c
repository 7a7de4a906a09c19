/* SPDX-License-Identifier: MIT */
/*
 * Taking tokens out of a sequence (kv/shift.h), with all threads: the turns of a run of positions, as many as
 * a batch has rows, shared by position; then the run's keys and values, shared by layer. Each element is
 * computed from one stored element, so the result does not depend on who does it.
 */
#include "base/status.h"
#include "kv/shift.h"
#include "run/session.h"

typedef struct shift_job {
    moe_session *s;
    moe__shift all, win; /* layers that see all positions, and those with a window */
} shift_job;

/* The run from .. from+n-1 of a layer, as far as something moves there. */
static void move_layer(const shift_job *job, uint32_t layer, uint32_t from, uint32_t n, float *row)
{
    const moe__layer *l = &job->s->m->layers[layer];
    const moe__shift *t = l->window ? &job->win : &job->all;
    const uint32_t skip = t->from > from ? t->from - from : 0;
    if (skip < n)
        moe__shift_layer(t, l->kv_index, from + skip, n - skip, job->s->attn.turn + (size_t)skip * t->n_rot,
                         row);
}

static void walk_shift(moe__member *member, void *arg)
{
    const shift_job *job = arg;
    moe_session *s = job->s;
    const moe__shift *t = &job->all;
    moe__worker w = {.member = member, .work = &s->work, .index = member->index};
    const uint32_t end = t->len - t->n;
    for (uint32_t from = t->first; from < end; from += s->o.n_batch_max) {
        const uint32_t n = end - from < s->o.n_batch_max ? end - from : s->o.n_batch_max;
        for (size_t i; (i = moe__work_take(&w)) < n;)
            moe__shift_turn(t, s->m->inv_freq, from + (uint32_t)i, s->attn.turn + i * t->n_rot);
        moe__work_next(&w);
        for (size_t l; (l = moe__work_take(&w)) < s->m->hp.n_layers;)
            move_layer(job, (uint32_t)l, from, n, moe__session_member(s, &w));
        moe__work_next(&w);
    }
}

static int move(moe_session *s, shift_job *job)
{
    MOE_TRY(moe__shift_begin(&job->all));
    if (s->win.n_layers) MOE_TRY(moe__shift_begin(&job->win));
    moe__work_reset(&s->work);
    return moe__team_run(s->team, walk_shift, job);
}

int moe__session_remove(moe_session *s, uint32_t q, uint32_t first, uint32_t n)
{
    const moe__hparams *h = &s->m->hp;
    shift_job job = {.s = s,
                     .all = {.kv = &s->kv,
                             .k = &s->m->k,
                             .q = q,
                             .first = first,
                             .n = n,
                             .len = s->kv.seq[q].len,
                             .n_heads = h->n_heads_kv,
                             .dim = h->dim_head_k,
                             .n_rot = h->n_rot,
                             .rot_at = h->rot_at,
                             .rope_half = s->m->arch->rope_half}};
    if (n == 0) return MOE_OK;
    job.win = job.all;
    job.win.kv = &s->win;
    job.win.window = h->window;
    moe__shift_init(&job.all);
    if (s->win.n_layers) moe__shift_init(&job.win);
    const int st = move(s, &job);
    if (st < 0) {
        moe__kv_rollback(&s->kv);
        moe__kv_rollback(&s->win);
        return st;
    }
    moe__shift_end(&job.all);
    if (s->win.n_layers) moe__shift_end(&job.win);
    moe__routers_remove_seq(s, (moe_seq)q, (moe_pos)first, (moe_pos)n);
    return MOE_OK;
}

int moe__session_truncate(moe_session *s, uint32_t q, uint32_t keep)
{
    if (s->win.n_layers && !moe__kv_can_keep(&s->win, s->m->hp.window, q, keep))
        return MOE_FAIL(
            STATE,
            "sequence %u: keep %u: layers with a sliding window of %u have given back what the next "
            "token would see; keep 0, and evaluate the tokens again",
            q, keep, s->m->hp.window);
    moe__kv_truncate(&s->kv, q, keep);
    if (s->win.n_layers) moe__kv_truncate(&s->win, q, keep);
    return MOE_OK;
}
