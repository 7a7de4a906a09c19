/* SPDX-License-Identifier: MIT */
/*
 * One call for parallel work, three backends: OpenMP, an own pool, the caller's executor; and a serial build.
 * A team runs one function once per member; inside, members share work through chunk counters and meet at
 * barriers. The caller's thread is member 0, except with an executor, which may use any threads.
 *
 * Every member runs in the default floating-point environment (nearest, no flush to zero, no traps), whatever
 * the host has set; the host's own is put back afterwards. Docs: docs/threading.md.
 */
#ifndef MOE_BASE_PARALLEL_H
#define MOE_BASE_PARALLEL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/ahead.h"
#include "base/alloc.h"

#define MOE_TEAM_MAX 1024u /* members */

/*
 * Meeting point of n members: bounded spin, then sleep, so that a thread off its core stalls nobody for long.
 */
typedef struct moe__barrier moe__barrier;

/*
 * What the team function gets. n may be less than moe__team_size() (a nested OpenMP region has one thread);
 * it is the truth.
 */
typedef struct moe__member {
    uint32_t index, n; /* 0 <= index < n */
    moe__barrier *barrier;
    struct moe__chunks *share; /* [3][n] counters of base/work.h, zeros when a run begins */
} moe__member;

typedef void (*moe__team_fn)(moe__member *m, void *arg);

typedef struct moe__team moe__team;

/*
 * A team of n_threads (0 = one per CPU this process may use, cgroup limits and affinity respected). ex = the
 * caller's executor or NULL. All memory is taken here; running allocates nothing. Own-pool threads start here
 * and sleep between runs. In a serial build without executor the team has one member. E_INVALID, E_VERSION
 * (executor), E_FULL (the system refuses threads), E_NOMEM.
 */
int moe__team_create(moe__team **out, const moe__allocator *a, uint32_t n_threads, const moe_executor *ex);
/* The same without executor; threads of the own pool run at a lower priority than the caller's. */
int moe__team_create_low(moe__team **out, const moe__allocator *a, uint32_t n_threads);
/* NULL is fine. */
void moe__team_free(moe__team *t);
uint32_t moe__team_size(const moe__team *t);
/*
 * Runs fn once per member and returns when all are done. One run at a time. MOE_E_CALLBACK if the caller's
 * executor refused (then fn ran for nobody) or returned early; MOE_E_STATE in a child process made by fork
 * after the team was.
 */
int moe__team_run(moe__team *t, moe__team_fn fn, void *arg);
/* Members of a team for n_threads (0 as there), with an executor or without. */
uint32_t moe__team_members(uint32_t n_threads, int executor);
/*
 * Bytes moe__team_create takes from the allocator for n threads (0 as there), the same with and without
 * executor.
 */
size_t moe__team_bytes(uint32_t n_threads);

/* All members must call it. What they wrote before it, all of them see after it. */
void moe__barrier_wait(moe__member *m);
/*
 * The same; before anybody goes on, the last one to arrive runs its own fn(arg) (NULL: nothing), which sees
 * what all wrote, and whose writes all will see. Those that wait ask for `ahead` meanwhile (NULL: nothing).
 */
void moe__barrier_wait_then(moe__member *m, void (*fn)(void *arg), void *arg, moe__ahead *ahead);

/*
 * A shared counter of chunks: members take the next one until it is past the end. Reset it (by one member,
 * between barriers).
 */
typedef struct moe__chunks {
    _Alignas(64) atomic_size_t next;
} moe__chunks;
static inline void moe__chunks_reset(moe__chunks *c)
{
    atomic_store_explicit(&c->next, 0, memory_order_relaxed);
}
static inline size_t moe__chunks_take(moe__chunks *c)
{
    return atomic_fetch_add_explicit(&c->next, 1, memory_order_relaxed);
}

/* CPUs this process may use: affinity and cgroup quota respected, at least 1. */
uint32_t moe__cpu_count(void);
/* "openmp", "pool" or "serial". */
const char *moe__parallel_name(void);

#endif
