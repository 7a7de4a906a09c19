/* SPDX-License-Identifier: MIT */
/*
 * THE layer loop. The program is a list of steps, layer after layer (program.c builds it from the family's
 * tables): norm, attention, add; norm, route, experts, add. Every member of the team walks the same list and
 * shares the work inside each step (ops.c).
 *
 * Stopping: at meetings one member looks for an interrupt, a fault or the end of the time slice; all read its
 * answer before the next meeting can change it, so all leave the walk behind the same step.
 *
 * Callbacks run on the calling thread while the team is parked: where one is set (park.c), the walk ends and
 * is taken up again behind it.
 */
#include "base/os.h"
#include "base/status.h"
#include "run/session.h"

/* Member of moe_stats that each operation's time goes to. */
static const size_t stat_of[N_OPS] = {
    [OP_EMBED] = offsetof(moe_stats, ns_dense),    [OP_COLLECT] = offsetof(moe_stats, ns_dense),
    [OP_NORM] = offsetof(moe_stats, ns_dense),     [OP_QKV] = offsetof(moe_stats, ns_attn),
    [OP_ATTEND] = offsetof(moe_stats, ns_attn),    [OP_LINEAR] = offsetof(moe_stats, ns_attn),
    [OP_ADD] = offsetof(moe_stats, ns_dense),      [OP_ROUTE] = offsetof(moe_stats, ns_route),
    [OP_EXPERTS] = offsetof(moe_stats, ns_expert), [OP_SHARED] = offsetof(moe_stats, ns_expert),
    [OP_FFN] = offsetof(moe_stats, ns_dense),
};

static int must_stop(const moe_session *s)
{
    return atomic_load_explicit(&s->interrupt, memory_order_relaxed) ||
           atomic_load_explicit(&s->fault, memory_order_relaxed) || s->clock >= s->deadline;
}

/* Behind a step, at a meeting: what took place since the last one was this step, as near as it can be told.
 */
static void count_time(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    const uint64_t now = moe__os_now_ns();
    (void)w;
    (void)i;
    *(uint64_t *)(void *)((char *)&s->stats + stat_of[((const moe__run_step *)what)->op]) += now - s->clock;
    s->clock = now;
    s->stop = must_stop(s);
}

static void leave(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    (void)w;
    (void)i;
    s->pc = (size_t)((const moe__run_step *)what - s->step) + 1;
}

static void walk_program(moe__member *member, void *arg)
{
    moe_session *s = arg;
    moe__worker w = {.member = member, .work = &s->work, .index = member->index};
    for (size_t pc = s->pc; pc < s->n_steps; pc++) {
        const moe__run_step *step = &s->step[pc];
        moe__op_run(s, &w, step);
        moe__work_once(&w, count_time, s, step, 1);
        if (!s->stop && !s->park[pc] && pc + 1 < s->n_steps) continue;
        moe__work_once(&w, leave, s, step, 0);
        break;
    }
    moe__work_settle(&w);
}

/* The message of a fault, which happened on some thread of the team. */
static int explain(moe_session *s, int fault)
{
    const uint32_t layer = atomic_load(&s->fault_layer);
    MOE_TRY(moe__route_explain(s, layer));
    return moe__fail(fault, "layer %u: an expert could not be had from the store", layer);
}

/* What callbacks are shown of the rows. */
static void fill_view(moe_session *s)
{
    for (uint32_t i = 0; i < s->n_rows; i++) {
        s->view_token[i] = s->place[i].token;
        s->view_pos[i] = (moe_pos)s->place[i].pos;
        s->view_seq[i] = (moe_seq)s->place[i].seq;
    }
}

void moe__forward_begin(moe_session *s)
{
    s->pc = 0;
    moe__attn_begin(&s->attn, s->n_rows, s->n_threads);
    fill_view(s);
    atomic_store(&s->fault, 0);
}

int moe__forward(moe_session *s)
{
    s->clock = moe__os_now_ns();
    do {
        s->stop = 0;
        moe__work_reset(&s->work);
        MOE_TRY(moe__team_run(s->team, walk_program, s));
        const int fault = atomic_load(&s->fault);
        if (fault) return explain(s, fault);
        if (atomic_load(&s->interrupt)) return MOE_FAIL(ABORTED, "the evaluation was interrupted");
        if (s->park[s->pc - 1]) MOE_TRY(moe__parked(s, &s->step[s->pc - 1]));
    } while (s->pc < s->n_steps && s->clock < s->deadline);
    return MOE_OK;
}
