/* SPDX-License-Identifier: MIT */
/*
 * An allocator that fails on demand and keeps books: every block must come back once, with the size it was
 * asked for. New blocks are filled with noise, so that nobody relies on zeros that a system happens to give.
 */
#ifndef MOE_TESTS_ALLOC_FAULTY_H
#define MOE_TESTS_ALLOC_FAULTY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "moe/moe.h"

#define FAULTY_MARK 0x6b1f5ce1d2a49037u

typedef struct faulty {
    atomic_size_t n_calls; /* since the last faulty_arm() */
    atomic_size_t n_live;  /* blocks in use */
    atomic_size_t n_failed;
    atomic_size_t n_wrong; /* frees with a wrong pointer, size or alignment */
    size_t fail_at;        /* this call fails; 0 = none */
    int stay_failed;       /* and all later ones */
    moe_allocator hook;
} faulty;

typedef struct faulty_head {
    uint64_t mark;
    size_t n;
    void *start; /* of what malloc gave */
} faulty_head;

static inline void *faulty_alloc(size_t n, size_t align, void *user)
{
    faulty *f = user;
    const size_t call = atomic_fetch_add(&f->n_calls, 1) + 1;
    if (f->fail_at && (call == f->fail_at || (f->stay_failed && call > f->fail_at))) {
        atomic_fetch_add(&f->n_failed, 1);
        return NULL;
    }
    if (n == 0 || align == 0 || (align & (align - 1)) != 0) atomic_fetch_add(&f->n_wrong, 1);
    char *start = malloc(sizeof(faulty_head) + align + n); /* exact end, so that tools see an overrun */
    if (!start) return NULL;
    char *p = start + sizeof(faulty_head);
    p += (align - (uintptr_t)p % align) % align;
    const faulty_head h = {FAULTY_MARK, n, start};
    memcpy(p - sizeof h, &h, sizeof h);
    memset(p, 0xa5, n);
    atomic_fetch_add(&f->n_live, 1);
    return p;
}

static inline void faulty_free(void *p, size_t n, void *user)
{
    faulty *f = user;
    faulty_head h;
    memcpy(&h, (char *)p - sizeof h, sizeof h);
    if (h.mark != FAULTY_MARK || h.n != n) {
        atomic_fetch_add(&f->n_wrong, 1);
        return;
    }
    atomic_fetch_sub(&f->n_live, 1);
    memset((char *)p - sizeof h, 0xdd, sizeof h + n);
    free(h.start);
}

static inline void faulty_init(faulty *f)
{
    memset(f, 0, sizeof *f);
    f->hook = (moe_allocator)MOE_ALLOCATOR_INIT;
    f->hook.alloc = faulty_alloc;
    f->hook.free = faulty_free;
    f->hook.user = f;
}

/* From here on the n-th call fails. */
static inline void faulty_arm(faulty *f, size_t n)
{
    atomic_store(&f->n_calls, 0);
    f->fail_at = n;
}

static inline void faulty_disarm(faulty *f) { f->fail_at = 0; }

#endif
