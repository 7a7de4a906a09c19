/* SPDX-License-Identifier: MIT */
/*
 * The memory budget of speech. Before anything is loaded the need is calculated from the model file's header
 * and compared with the budget; while the game runs a memory hook counts what the library takes and refuses
 * more.
 */
#ifndef GAME_MEMORY_H
#define GAME_MEMORY_H

#include <moe/moe.h>
#include <stdatomic.h>

/* What the library holds now and held at most. The hook may be called from any thread. */
typedef struct purse {
    atomic_size_t used, most;
    size_t limit; /* 0 = none */
} purse;

/* The hook that pays from a purse, which must outlive everything made with it. */
moe_allocator purse_hook(purse *p);

typedef struct need {
    uint64_t mapped;  /* bytes of weights that stay in the file */
    uint64_t model;   /* allocated for the model */
    uint64_t session; /* for one session, without what is small */
    uint64_t total;   /* all of it, with `n_sessions` sessions and what is small */
    int n_sessions;
} need;

/* Asks the library what a model and n sessions take. A status of the library. */
int need_plan(need *out, const char *path, const moe_session_options *so, int n_sessions);

/* Does it fit? 0, or -1 with a message that tells what to do. A budget of 0 is none. */
int need_check(const need *n, uint64_t budget, char *error, size_t cap);

#endif
