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
    moe__shift shift;
} shift_job;

static void walk_shift(moe__member *member, void *arg)
{
    const shift_job *job = arg;
    moe_session *s = job->s;
    const moe__shift *t = &job->shift;
    moe__worker w = {.member = member, .work = &s->work, .index = member->index};
    const uint32_t end = t->len - t->n;
    for (uint32_t from = t->first; from < end; from += s->o.n_batch_max) {
        const uint32_t n = end - from < s->o.n_batch_max ? end - from : s->o.n_batch_max;
        for (size_t i; (i = moe__work_take(&w)) < n;)
            moe__shift_turn(t, s->m->inv_freq, from + (uint32_t)i, s->attn.turn + i * t->n_rot);
        moe__work_next(&w);
        for (size_t l; (l = moe__work_take(&w)) < s->kv.n_layers;)
            moe__shift_layer(t, (uint32_t)l, from, n, s->attn.turn, moe__session_member(s, &w));
        moe__work_next(&w);
    }
}

int moe__session_remove(moe_session *s, uint32_t q, uint32_t first, uint32_t n)
{
    const moe__hparams *h = &s->m->hp;
    const uint32_t len = s->kv.seq[q].len;
    shift_job job = {s, {&s->kv, &s->m->k, q, first, n, len, h->n_heads_kv, h->dim_head_k, h->n_rot, 0}};
    job.shift.rope_half = s->m->arch->rope_half;
    if (n == 0) return MOE_OK;
    if (first + n == len) {
        moe__kv_truncate(&s->kv, q, first);
    } else {
        int st = moe__shift_begin(&job.shift);
        moe__work_reset(&s->work);
        if (st == MOE_OK) st = moe__team_run(s->team, walk_shift, &job);
        if (st < 0) {
            moe__kv_rollback(&s->kv);
            return st;
        }
        moe__shift_end(&job.shift);
    }
    moe__routers_remove_seq(s, (moe_seq)q, (moe_pos)first, (moe_pos)n);
    return MOE_OK;
}
