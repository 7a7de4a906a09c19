/* SPDX-License-Identifier: MIT */
/* An allocator that counts: bytes held now and at most, and calls. Any thread may call it. */
#ifndef MOE_TESTS_COUNTING_H
#define MOE_TESTS_COUNTING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

typedef struct counter {
    atomic_size_t now, most, n_calls;
} counter;

static inline void *count_alloc(size_t n, size_t align, void *user)
{
    counter *c = user;
    const size_t now = atomic_fetch_add(&c->now, n) + n;
    size_t most = atomic_load(&c->most);
    atomic_fetch_add(&c->n_calls, 1);
    while (now > most && !atomic_compare_exchange_weak(&c->most, &most, now)) {}
    return aligned_alloc(align, (n + align - 1) / align * align);
}

static inline void count_free(void *p, size_t n, void *user)
{
    counter *c = user;
    atomic_fetch_sub(&c->now, n);
    free(p);
}

#endif
