/* SPDX-License-Identifier: MIT */
/*
 * Sharing the work of a walk among the members of a team. All members run the same phases in the same order.
 * There are two kinds of work:
 *
 *  - items, taken one by one or in runs by whoever is free until none is left (moe__work_take,
 * moe__work_item, moe__work_close);
 *  - what follows from their results: small jobs for each row, or for all at once (moe__work_after,
 *    moe__work_once). They are put off until somebody takes the next items. Then all meet; what is small is
 *    done right there by the last one to arrive, before the others go on, in the order it was asked for; what
 *    is larger is shared like items, several jobs of a row one after the other.
 *
 * So a layer of one row takes six meetings, where one behind each operation would make sixteen.
 *
 * Three counters of items rotate, so that the next phase's is always clean.
 */
#ifndef MOE_BASE_WORK_H
#define MOE_BASE_WORK_H

#include "base/parallel.h"

typedef struct moe__work {
    moe__chunks chunks[3];
} moe__work;

typedef struct moe__worker moe__worker;

/* Job i of n; `what` and `arg` as they were given. The worker is the one that runs it. */
typedef void (*moe__work_fn)(moe__worker *w, void *arg, const void *what, size_t i);

#define MOE_WORK_TAILS 16u /* jobs that can be put off */
/* Jobs that are cheaper done by one member than shared: handing out costs a meeting. */
#define MOE_WORK_SOLO 1u

typedef struct moe__tail {
    moe__work_fn fn;
    void *arg;
    const void *what;
    size_t n;
    int any_time; /* moe__work_once: may wait for a later meeting, so as not to cause one */
} moe__tail;

struct moe__worker {
    moe__member *member;
    moe__work *work;
    uint32_t phase;
    uint32_t index;   /* which of the team: picks private scratch */
    int open;         /* items were taken that not all may have finished */
    moe__ahead ahead; /* asked for at the next meeting */
    uint32_t n_tails;
    moe__tail tail[MOE_WORK_TAILS]; /* the same list in every member */
};

static inline void moe__work_reset(moe__work *w)
{
    for (int i = 0; i < 3; i++) moe__chunks_reset(&w->chunks[i]);
}

/* All items taken so far are finished, all jobs that were put off are done, and everybody knows. */
void moe__work_settle(moe__worker *w);

/* The next item of this phase; the first one waits for what came before. */
static inline size_t moe__work_take(moe__worker *w)
{
    if (w->open || w->n_tails) moe__work_settle(w);
    return moe__chunks_take(&w->work->chunks[w->phase % 3]);
}

/* Whose part of the items a member is at: its own (0), the next one's (1) ... Starts as zeros. */
typedef struct moe__run {
    uint32_t part;
} moe__run;

/* Where the part of member v begins. */
static inline size_t moe__work_part(const moe__worker *w, size_t total, uint32_t v)
{
    return total * v / w->member->n;
}

/*
 * Before the first moe__work_item of a phase: the n bytes that the first item of this member's part reads.
 * Where a meeting stands before it, they are asked for there.
 */
static inline void moe__work_ahead(moe__worker *w, const void *p, size_t n)
{
    if (w->open || w->n_tails) w->ahead = moe__ahead_of(p, n);
}

/*
 * *i = the next of `total` items; 0 if none is left. Each member has a part of its own, always the same one
 * of as many items, and helps the others when that is done. So weights stay in the cache of the core that had
 * them last time, and what a member asks memory for ahead of time is what it takes next.
 */
static inline int moe__work_item(moe__worker *w, moe__run *r, size_t total, size_t *i)
{
    if (w->open || w->n_tails) moe__work_settle(w);
    const uint32_t n = w->member->n;
    for (; r->part < n; r->part++) {
        const uint32_t v = (w->index + r->part) % n;
        const size_t first = moe__work_part(w, total, v), end = moe__work_part(w, total, v + 1);
        *i = first + moe__chunks_take(&w->member->share[(w->phase % 3) * n + v]);
        if (*i < end) return 1;
    }
    return 0;
}

/* No more items for this member. What they made may be read behind the next take, job or settle. */
static inline void moe__work_close(moe__worker *w) { w->open = 1; }

/* The same, and waits for all. */
static inline void moe__work_next(moe__worker *w)
{
    w->open = 1;
    moe__work_settle(w);
}

/* Puts off fn for 0 <= i < n. `what` must live until then. */
void moe__work_after(moe__worker *w, moe__work_fn fn, void *arg, const void *what, size_t n);
/* Puts off one job. any_time: nothing that is put off later depends on it. */
void moe__work_once(moe__worker *w, moe__work_fn fn, void *arg, const void *what, int any_time);

#endif
