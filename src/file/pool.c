/* SPDX-License-Identifier: MIT */
/* See pool.h. Chunks grow from 4 KiB to 64 KiB; what is larger than a quarter of a chunk gets one of its own.
 */
#include "file/pool.h"

#include <string.h>

#include "base/status.h"

#define CHUNK_MIN 4096u
#define CHUNK_MAX 65536u

struct moe__pool_chunk {
    moe__pool_chunk *next;
    size_t used, cap; /* of the bytes that follow */
};

void moe__pool_init(moe__pool *p, const moe__allocator *a)
{
    p->a = a;
    p->head = NULL;
    p->bytes = 0;
}

void moe__pool_free(moe__pool *p)
{
    while (p->head) {
        moe__pool_chunk *next = p->head->next;
        moe__free(p->a, p->head);
        p->head = next;
    }
    p->bytes = 0;
}

static int chunk_new(moe__pool *p, size_t cap, const char *what)
{
    void *mem;
    MOE_TRY(moe__alloc(p->a, &mem, sizeof(moe__pool_chunk) + cap, what));
    moe__pool_chunk *c = mem;
    p->bytes += MOE_BLOCK_BYTES(sizeof *c + cap);
    c->cap = cap;
    c->next = p->head;
    p->head = c;
    return MOE_OK;
}

int moe__pool_alloc(moe__pool *p, void **out, uint64_t n, const char *what)
{
    *out = NULL;
    if (n > SIZE_MAX / 4)
        return MOE_FAIL(NOMEM, "%s: %llu bytes cannot be allocated", what, (unsigned long long)n);
    const size_t need = ((size_t)n + 7) & ~(size_t)7;
    if (!p->head || p->head->cap - p->head->used < need) {
        moe__pool_chunk *old = p->head;
        size_t cap = old ? old->cap * 2 : CHUNK_MIN;
        if (cap > CHUNK_MAX) cap = CHUNK_MAX;
        const int own = need > cap / 4;
        MOE_TRY(chunk_new(p, own ? need : cap, what));
        if (own && old) { /* goes behind the chunk in use, which stays open */
            moe__pool_chunk *big = p->head;
            big->next = old->next;
            old->next = big;
            p->head = old;
            big->used = need;
            *out = big + 1;
            return MOE_OK;
        }
    }
    *out = (char *)(p->head + 1) + p->head->used;
    p->head->used += need;
    return MOE_OK;
}

int moe__pool_copy(moe__pool *p, char **out, const char *src, size_t n)
{
    void *mem;
    *out = NULL;
    MOE_TRY(moe__pool_alloc(p, &mem, (uint64_t)n + 1, "name"));
    if (n > 0) memcpy(mem, src, n);
    *out = mem;
    return MOE_OK;
}
