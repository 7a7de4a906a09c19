/* SPDX-License-Identifier: MIT */
/*
 * Thread backend with threads of its own. They start with the team and wait at its start gate, whose value
 * counts the runs; the caller is member 0. A run ends when all members, the caller included, have met at the
 * `done` barrier.
 *
 * A thread that has no part in a run may come through the gate when that run is over and the next one is
 * being prepared. So the number of a run and that of its members are read as one: team->call.
 */
#include "base/parallel_impl.h"
#include "base/status.h"

const char *const moe__backend_name = "pool";

uint32_t moe__backend_limit(uint32_t n) { return n; }

/* Lets the threads through the gate, to a run of n members or, n = 0, to their end. */
static void call_threads(moe__team *t, uint32_t n)
{
    const uint32_t run = moe__gate_value(&t->start) + 1u; /* wraps like the gate's value */
    atomic_store_explicit(&t->call, (uint64_t)run << 32 | n, memory_order_release);
    moe__gate_open(&t->start);
}

static void worker_main(void *arg)
{
    moe__pool_worker *w = arg;
    moe__team *t = w->team;
    if (t->low) moe__thread_give_way();
    for (uint32_t run = 0;;) {
        moe__gate_wait(&t->start, run, NULL);
        run = moe__gate_value(&t->start);
        const uint64_t call = atomic_load_explicit(&t->call, memory_order_acquire);
        const uint32_t n = (uint32_t)call;
        if (call >> 32 != run) continue; /* that run is over, and the gate not yet open to the next */
        if (n == 0) return;
        if (w->index >= n) continue;
        moe__team_member(t, w->index, n);
        moe__barrier_meet(&t->done, n, NULL, NULL, NULL);
    }
}

void moe__backend_stop(moe__team *t)
{
    call_threads(t, 0);
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
    call_threads(t, t->n_now);
    moe__team_member(t, 0, t->n_now);
    moe__barrier_meet(&t->done, t->n_now, NULL, NULL, NULL);
}
