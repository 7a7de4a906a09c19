/* SPDX-License-Identifier: MIT */
/*
 * What parallel.c and the backends share. A build has exactly one backend: parallel_omp.c, parallel_pool.c or
 * parallel_serial.c.
 */
#ifndef MOE_BASE_PARALLEL_IMPL_H
#define MOE_BASE_PARALLEL_IMPL_H

#include "base/os_thread.h"
#include "base/parallel.h"

/*
 * A counter that threads wait on until it changes. The value, which waiters spin on, has a cache line of its
 * own; sleepers are counted so that a change with nobody asleep costs no system call.
 */
typedef struct moe__gate {
    _Alignas(64) atomic_uint value;
    _Alignas(64) atomic_uint n_sleepers;
    atomic_uint spin_ns;    /* of the next waiter before it sleeps; follows how long waits have been */
    atomic_ullong slept_ns; /* by all waiters, since somebody last took it */
    int may_spin;
    moe__lock lock;
    moe__cond cond;
} moe__gate;

struct moe__barrier {
    _Alignas(64) atomic_uint n_arrived;
    moe__gate gate;
};

typedef struct moe__pool_worker {
    _Alignas(64) moe__team *team;
    uint32_t index;
    moe__thread thread;
} moe__pool_worker;

struct moe__team {
    moe__barrier barrier; /* of the members, inside a run */
    moe__barrier done;    /* pool: end of a run */
    moe__gate start;      /* pool: its value counts runs */
    moe__allocator alloc;
    moe_executor executor; /* run is NULL without one */
    uint64_t process;
    moe__team_fn fn; /* of the run under way */
    void *arg;
    atomic_uint n_finished;    /* executor: tasks that have returned */
    uint32_t n;                /* members asked for, and the most */
    uint32_t n_most;           /* as many as there are CPUs for */
    uint32_t n_now;            /* members of the run under way: see parallel.c, "how many run" */
    uint64_t retry_ns;         /* when all may run again */
    uint64_t pause_ns;         /* how long that was put off last time */
    uint32_t n_workers;        /* pool: threads started */
    _Atomic uint64_t call;     /* pool: number of the run << 32 | its members, 0 for the end */
    int low;                   /* pool: threads lower their own priority */
    moe__chunks *share;        /* [3][n], behind the workers: see moe__member */
    moe__pool_worker worker[]; /* pool: [n - 1] */
};

unsigned moe__gate_value(moe__gate *g);
/* Returns when the value is no longer `old`. Spinning asks for `ahead` (NULL: nothing). */
void moe__gate_wait(moe__gate *g, unsigned old, moe__ahead *ahead);
/* Adds one to the value and wakes all who wait. */
void moe__gate_open(moe__gate *g);
/* moe__barrier_wait_then for n threads. */
void moe__barrier_meet(moe__barrier *b, uint32_t n, void (*fn)(void *arg), void *arg, moe__ahead *ahead);
/* Runs the team's function as member `index` of n. */
void moe__team_member(moe__team *t, uint32_t index, uint32_t n);

/*
 * The backend. limit: the most members it can have; start and stop: its threads; run: fn as members 0 ..
 * n_now-1, n_now > 1.
 */
extern const char *const moe__backend_name;
uint32_t moe__backend_limit(uint32_t n);
int moe__backend_start(moe__team *t);
void moe__backend_stop(moe__team *t);
void moe__backend_run(moe__team *t);

#endif
