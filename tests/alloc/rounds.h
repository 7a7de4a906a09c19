/* SPDX-License-Identifier: MIT */
/* Rounds of a scenario: the n-th allocation fails, n = 1, 2, 3 ... until it succeeds. */
#ifndef MOE_TESTS_ALLOC_ROUNDS_H
#define MOE_TESTS_ALLOC_ROUNDS_H

#include "../api/support.h"
#include "faulty.h"

/* What a scenario needs: it prepares itself, calls arm(), does the one thing that may fail, and cleans up. */
typedef struct env {
    faulty f;
    size_t fail_at; /* of this round */
    size_t n_calls; /* allocations between arm() and disarm() */
} env;

static inline void arm(env *e) { faulty_arm(&e->f, e->fail_at); }

static inline void disarm(env *e)
{
    e->n_calls = atomic_load(&e->f.n_calls);
    faulty_disarm(&e->f);
}

typedef int (*scenario)(env *e);

static inline void run_rounds(const char *name, scenario fn, int stay_failed)
{
    env e;
    faulty_init(&e.f);
    e.f.stay_failed = stay_failed;
    for (e.fail_at = 1;; e.fail_at++) {
        atomic_store(&e.f.n_failed, 0);
        const int st = fn(&e);
        const size_t failed = atomic_load(&e.f.n_failed);
        if (atomic_load(&e.f.n_live) != 0)
            fail_msg("%s: %zu blocks leaked when allocation %zu failed", name, atomic_load(&e.f.n_live),
                     e.fail_at);
        if (atomic_load(&e.f.n_wrong) != 0) fail_msg("%s: a block came back with another size", name);
        if (failed == 0) {
            if (st != MOE_OK) fail_msg("%s: %s without a failure", name, moe_status_name(st));
            break;
        }
        if (st != MOE_E_NOMEM)
            fail_msg("%s: allocation %zu failed: expected MOE_E_NOMEM, got %s", name, e.fail_at,
                     moe_status_name(st));
        if (e.fail_at > 100000) fail_msg("%s: does not end", name);
    }
    if (e.fail_at == 1) fail_msg("%s: allocates nothing: nothing was tested", name);
    if (!stay_failed) print_message("# %s: %zu allocations\n", name, e.fail_at - 1);
}

static inline void all_rounds(const char *name, scenario fn)
{
    run_rounds(name, fn, 0);
    run_rounds(name, fn, 1);
}

/* A status that is not MOE_OK must come with a message. */
static inline int told(int st)
{
    if (st != MOE_OK && !*moe_last_error()) fail_msg("%s without a message", moe_status_name(st));
    if (st == MOE_E_NOMEM && !strstr(moe_last_error(), "memory") && !strstr(moe_last_error(), "allocated"))
        fail_msg("MOE_E_NOMEM with the message: %s", moe_last_error());
    return st;
}

#endif
