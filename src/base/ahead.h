/* SPDX-License-Identifier: MIT */
/*
 * Asking memory for what is read next. A member of a team that waits for the others knows which rows come to
 * it first; while it waits it brings them near, so that memory is not idle when the team is.
 */
#ifndef MOE_BASE_AHEAD_H
#define MOE_BASE_AHEAD_H

#include <stddef.h>

#if defined(__GNUC__)
#define MOE_FETCH(p) __builtin_prefetch((p), 0, 2)
#else
#define MOE_FETCH(p) ((void)(p))
#endif

/* Kernels of few columns read an item as four or eight streams: so it is asked for in eight. */
#define MOE_AHEAD_STREAMS 8u
#define MOE_CACHE_LINE    64u

typedef struct moe__ahead {
    const char *at; /* NULL: nothing */
    size_t length;  /* bytes of each stream; what is left over is not asked for */
    size_t done;    /* of them asked for */
} moe__ahead;

static inline moe__ahead moe__ahead_of(const void *p, size_t n_bytes)
{
    return (moe__ahead){p, n_bytes / MOE_AHEAD_STREAMS, 0};
}

/* A line of each stream. */
static inline void moe__ahead_some(moe__ahead *a)
{
    if (a->done >= a->length) return;
    for (size_t i = 0; i < MOE_AHEAD_STREAMS; i++) MOE_FETCH(a->at + i * a->length + a->done);
    a->done += MOE_CACHE_LINE;
}

#endif
