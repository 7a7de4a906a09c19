/* SPDX-License-Identifier: MIT */
/* See work.h. */
#include "base/work.h"

static int is_solo(const moe__tail *t) { return t->n <= MOE_WORK_SOLO; }

static void drop_tails(moe__worker *w, uint32_t n)
{
    for (uint32_t i = n; i < w->n_tails; i++) w->tail[i - n] = w->tail[i];
    w->n_tails -= n;
}

typedef struct solo {
    moe__worker *w;
    uint32_t n;
} solo;

/* What is asked for before each job that one member does: it comes while that is done. */
#define LINES_BEFORE_SOLO (4 * MOE_AHEAD_STREAMS)

/* By the last one to arrive: the first n of its tails. */
static void run_solo(void *arg)
{
    const solo *s = arg;
    for (uint32_t t = 0; t < s->n; t++)
        for (size_t i = 0; i < s->w->tail[t].n; i++) {
            for (unsigned l = 0; l < LINES_BEFORE_SOLO; l += MOE_AHEAD_STREAMS) moe__ahead_some(&s->w->ahead);
            s->w->tail[t].fn(s->w, s->w->tail[t].arg, s->w->tail[t].what, i);
        }
}

/* Everyone left the phase before the last one, so its counter can be cleaned for the next. */
static void meet(moe__worker *w)
{
    solo s = {w, 0};
    while (s.n < w->n_tails && is_solo(&w->tail[s.n])) s.n++;
    if (w->index == 0) moe__chunks_reset(&w->work->chunks[(w->phase + 1) % 3]);
    moe__chunks_reset(&w->member->share[(w->phase + 1) % 3 * w->member->n + w->index]);
    moe__barrier_wait_then(w->member, s.n ? run_solo : NULL, &s, &w->ahead);
    w->phase++;
    w->open = 0;
    drop_tails(w, s.n);
}

/* Moves jobs that may wait behind the first run of larger ones. Returns how many tails that run has. */
static uint32_t chain(moe__worker *w)
{
    moe__tail later[MOE_WORK_TAILS];
    uint32_t n = 0, n_later = 0, i = 0;
    for (; i < w->n_tails; i++) {
        const moe__tail t = w->tail[i];
        if (t.n == w->tail[0].n)
            w->tail[n++] = t;
        else if (t.any_time)
            later[n_later++] = t;
        else
            break;
    }
    for (uint32_t j = 0; j < n_later; j++) w->tail[n + j] = later[j];
    return n;
}

/* Neighbours in memory go to one member: small results of two rows may share a cache line. */
#define RUNS_PER_MEMBER 4u

/* The first tails, each row's jobs one after the other. */
static void share_rows(moe__worker *w)
{
    const uint32_t n = chain(w);
    const size_t n_rows = w->tail[0].n, n_runs = RUNS_PER_MEMBER * (size_t)w->member->n;
    const size_t run = n_rows / n_runs + (n_rows % n_runs != 0);
    for (size_t i; (i = run * moe__chunks_take(&w->work->chunks[w->phase % 3])) < n_rows;)
        for (size_t end = i + run < n_rows ? i + run : n_rows; i < end; i++)
            for (uint32_t t = 0; t < n; t++) w->tail[t].fn(w, w->tail[t].arg, w->tail[t].what, i);
    drop_tails(w, n);
    w->open = 1;
}

void moe__work_settle(moe__worker *w)
{
    while (w->open || w->n_tails) {
        if (w->open || is_solo(&w->tail[0]))
            meet(w);
        else
            share_rows(w);
    }
    w->ahead = (moe__ahead){0};
}

static void put_off(moe__worker *w, const moe__tail *t)
{
    if (t->n == 0) return;
    if (w->n_tails == MOE_WORK_TAILS) moe__work_settle(w);
    w->tail[w->n_tails++] = *t;
}

void moe__work_after(moe__worker *w, moe__work_fn fn, void *arg, const void *what, size_t n)
{
    const moe__tail t = {fn, arg, what, n, 0};
    put_off(w, &t);
}

void moe__work_once(moe__worker *w, moe__work_fn fn, void *arg, const void *what, int any_time)
{
    const moe__tail t = {fn, arg, what, 1, any_time};
    put_off(w, &t);
}
