/* SPDX-License-Identifier: MIT */
/*
 * Cutting one block into arrays. The same code runs twice: with base NULL it only counts the bytes, then with
 * a real block it hands out pointers. So a memory plan and the real thing cannot differ.
 */
#ifndef MOE_BASE_CARVE_H
#define MOE_BASE_CARVE_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

typedef struct moe__carve {
    char *base;    /* NULL while counting */
    uint64_t used; /* bytes so far; UINT64_MAX after an overflow */
} moe__carve;

/* The next count * size bytes, 64-byte aligned; NULL while counting. */
static inline void *moe__carve_take(moe__carve *c, uint64_t count, uint64_t size)
{
    uint64_t n, end;
    if (c->used == UINT64_MAX || !moe__mul_ok(count, size, &n) || !moe__add_ok(n, MOE_ALIGN - 1, &n) ||
        !moe__add_ok(c->used, n / MOE_ALIGN * MOE_ALIGN, &end)) {
        c->used = UINT64_MAX;
        return NULL;
    }
    void *p = c->base ? c->base + c->used : NULL;
    c->used = end;
    return p;
}

#define MOE_CARVE(c, ptr, count) ((ptr) = moe__carve_take((c), (count), sizeof *(ptr)))

#endif
