/* SPDX-License-Identifier: MIT */
/*
 * Memory through the caller's hook. Every block is 64-byte aligned (a cache line, an AVX-512 register) and
 * carries its size in a 64-byte head, so that free needs only the pointer. Counts are checked before they are
 * multiplied.
 */
#ifndef MOE_BASE_ALLOC_H
#define MOE_BASE_ALLOC_H

#include <stddef.h>
#include <stdint.h>
#include "moe/moe.h"

#define MOE_ALIGN 64u
/* Bytes that a block of n bytes takes from the hook. */
#define MOE_BLOCK_BYTES(n) ((n) + MOE_ALIGN)

typedef struct moe__allocator {
    void *(*alloc)(size_t n, size_t align, void *user);
    void (*free)(void *p, size_t n, void *user);
    void *user;
} moe__allocator;

/* The hook of *a, or malloc if a is NULL; checks the struct (MOE_E_INVALID, MOE_E_VERSION). */
int moe__allocator_init(moe__allocator *out, const moe_allocator *a);

/* *out = n zeroed bytes (n = 0 gives a valid block too); MOE_E_NOMEM names `what`. */
int moe__alloc(const moe__allocator *a, void **out, size_t n, const char *what);
/* The same, with anything in it: for large blocks that need not be touched at once. */
int moe__alloc_raw(const moe__allocator *a, void **out, size_t n, const char *what);
/* *out = count * size zeroed bytes; overflow is MOE_E_NOMEM. */
int moe__alloc_array(const moe__allocator *a, void **out, size_t count, size_t size, const char *what);
/* Grows or shrinks *p (may be NULL) to count * size bytes, keeping the content; on failure *p is untouched.
 */
int moe__realloc_array(const moe__allocator *a, void **p, size_t count, size_t size, const char *what);
/* NULL is fine. */
void moe__free(const moe__allocator *a, void *p);

/* MOE_NEW(a, &ptr, count, "what"): typed array, zeroed. */
#define MOE_NEW(a, pp, count, what) moe__alloc_array((a), (void **)(pp), (count), sizeof **(pp), (what))

/* n rounded up to whole cache lines. */
static inline uint64_t moe__padded(uint64_t n) { return (n + MOE_ALIGN - 1) / MOE_ALIGN * MOE_ALIGN; }

/* Overflow-checked arithmetic: 1 and *out on success, else 0. */
static inline int moe__mul_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    if (b != 0 && a > UINT64_MAX / b) return 0;
    *out = a * b;
    return 1;
}

static inline int moe__add_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    if (a > UINT64_MAX - b) return 0;
    *out = a + b;
    return 1;
}

#endif
