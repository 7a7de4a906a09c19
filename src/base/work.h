/* SPDX-License-Identifier: MIT */
/*
 * Sharing the work of one phase among the members of a team. All members run the same phases in the same
 * order; inside a phase each takes the next item until none is left, then all meet. Three counters rotate, so
 * that the next phase's is always clean.
 */
#ifndef MOE_BASE_WORK_H
#define MOE_BASE_WORK_H

#include "base/parallel.h"

typedef struct moe__work {
    moe__chunks chunks[3];
} moe__work;

typedef struct moe__worker {
    moe__member *member;
    moe__work *work;
    uint32_t phase;
    uint32_t index; /* which of the team: picks private scratch */
} moe__worker;

static inline void moe__work_reset(moe__work *w)
{
    for (int i = 0; i < 3; i++) moe__chunks_reset(&w->chunks[i]);
}

/* The next item of this phase. */
static inline size_t moe__work_take(moe__worker *k)
{
    return moe__chunks_take(&k->work->chunks[k->phase % 3]);
}

/* Ends the phase: waits for all. Everyone left the phase before the last one, so its counter can be cleaned
 * for the next. */
static inline void moe__work_next(moe__worker *k)
{
    if (k->index == 0) moe__chunks_reset(&k->work->chunks[(k->phase + 1) % 3]);
    moe__barrier_wait(k->member);
    k->phase++;
}

#endif
