/* SPDX-License-Identifier: MIT */
/*
 * Thread backend with threads of its own. They start with the team and wait at its start gate, whose value
 * counts the runs; the caller is member 0. A run ends when all members, the caller included, have met at the
 * `done` barrier.
 */
#include "base/parallel_impl.h"
#include "base/status.h"

const char *const moe__backend_name = "pool";

uint32_t moe__backend_limit(uint32_t n) { return n; }

static void worker_main(void *arg)
{
    moe__pool_worker *w = arg;
    moe__team *t = w->team;
    if (t->low) moe__thread_give_way();
    for (unsigned run = 0;; run++) { /* wraps like the gate's value */
        moe__gate_wait(&t->start, run);
        if (t->stop) return;
        if (w->index >= t->n_now) continue;
        moe__team_member(t, w->index, t->n_now);
        moe__barrier_meet(&t->done, t->n_now, NULL, NULL);
    }
}

void moe__backend_stop(moe__team *t)
{
    t->stop = 1;
    moe__gate_open(&t->start);
    for (uint32_t i = 0; i < t->n_workers; i++) moe__thread_join(&t->worker[i].thread);
}

int moe__backend_start(moe__team *t)
{
    for (uint32_t i = 0; i + 1 < t->n; i++) {
        t->worker[i].team = t;
        t->worker[i].index = i + 1;
        if (moe__thread_start(&t->worker[i].thread, worker_main, &t->worker[i]) < 0) {
            moe__backend_stop(t);
            return MOE_FAIL(FULL, "the system refuses thread %u of %u", (unsigned)(i + 2), (unsigned)t->n);
        }
        t->n_workers++;
    }
    return MOE_OK;
}

void moe__backend_run(moe__team *t)
{
    moe__gate_open(&t->start);
    moe__team_member(t, 0, t->n_now);
    moe__barrier_meet(&t->done, t->n_now, NULL, NULL);
}
