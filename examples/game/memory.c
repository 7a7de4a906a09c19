/* SPDX-License-Identifier: MIT */
/* See memory.h. */
#include "memory.h"
#include <stdio.h>
#include <stdlib.h>

/*
 * What the plan cannot know, for each session: the sampler's candidates (a vocabulary of 6144, sorted), what
 * setters of routing remember, the saved prefix. Measured with the cast as it is: 160 KiB on average.
 */
#define SMALL_THINGS (256 * 1024)

/* A block is preceded by the address that malloc gave, so that any alignment works with C's own functions. */
static void *purse_alloc(size_t n, size_t align, void *user)
{
    purse *p = user;
    size_t used = atomic_fetch_add(&p->used, n) + n, most = atomic_load(&p->most);
    char *raw = NULL, *block;
    if (n > SIZE_MAX - align - sizeof raw || (p->limit && used > p->limit) ||
        !(raw = malloc(n + align + sizeof raw))) {
        atomic_fetch_sub(&p->used, n);
        return NULL; /* the library answers MOE_E_NOMEM and is as before */
    }
    while (used > most && !atomic_compare_exchange_weak(&p->most, &most, used)) continue;
    block = raw + sizeof raw;
    block += (align - (uintptr_t)block % align) % align;
    ((char **)(void *)block)[-1] = raw; /* align is 64, so this place is aligned as well */
    return block;
}

static void purse_free(void *block, size_t n, void *user)
{
    purse *p = user;
    free(((char **)block)[-1]);
    atomic_fetch_sub(&p->used, n);
}

moe_allocator purse_hook(purse *p)
{
    moe_allocator a = MOE_ALLOCATOR_INIT;
    a.alloc = purse_alloc;
    a.free = purse_free;
    a.user = p;
    return a;
}

int need_plan(need *out, const char *path, const moe_session_options *so, int n_sessions)
{
    moe_memory mem = MOE_MEMORY_INIT;
    int st = moe_plan(path, NULL, so, &mem);
    if (st != MOE_OK) return st;
    out->session = mem.kv + mem.scratch;
    out->model = mem.private_bytes - out->session;
    out->mapped = mem.total - mem.private_bytes;
    out->n_sessions = n_sessions;
    out->total = out->mapped + out->model + (uint64_t)n_sessions * (out->session + SMALL_THINGS);
    return MOE_OK;
}

int need_check(const need *n, uint64_t budget, char *error, size_t cap)
{
    const double mib = 1048576.0;
    if (budget == 0 || n->total <= budget) return 0;
    snprintf(error, cap,
             "speech needs %.1f MiB (model %.1f, %d sessions of %.2f), the budget is %.1f: allow more with "
             "--budget %.0f",
             (double)n->total / mib, (double)(n->mapped + n->model) / mib, n->n_sessions,
             (double)(n->session + SMALL_THINGS) / mib, (double)budget / mib, (double)n->total / mib + 1.0);
    return -1;
}
