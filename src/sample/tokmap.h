/* SPDX-License-Identifier: MIT */
/* A small hash map from tokens to a count and a value: open addressing, at most half full, no removal. */
#ifndef MOE_SAMPLE_TOKMAP_H
#define MOE_SAMPLE_TOKMAP_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "moe/moe.h"

typedef struct moe__tokmap_entry {
    moe_token id; /* MOE_TOKEN_NONE: free */
    uint32_t n;
    double value;
} moe__tokmap_entry;

typedef struct moe__tokmap {
    moe__tokmap_entry *entry; /* [cap] */
    size_t cap;               /* allocated */
    size_t mask;              /* places in use - 1, a power of two less one */
    size_t n;                 /* tokens in it */
} moe__tokmap;

/* Empties the map and makes room for n tokens. */
int moe__tokmap_reset(moe__tokmap *m, const moe__allocator *a, size_t n);
/* The token's entry, new ones zeroed. No more tokens than there is room for. */
moe__tokmap_entry *moe__tokmap_put(moe__tokmap *m, moe_token id);
int moe__tokmap_copy(moe__tokmap *to, const moe__tokmap *from, const moe__allocator *a);
void moe__tokmap_free(moe__tokmap *m, const moe__allocator *a);

static inline size_t moe__tokmap_place(const moe__tokmap *m, moe_token id)
{
    return ((uint32_t)id * 2654435769u >> 7) & m->mask; /* Knuth's multiplicative hash */
}

/* NULL if the token is not in it. */
static inline const moe__tokmap_entry *moe__tokmap_get(const moe__tokmap *m, moe_token id)
{
    if (m->n == 0) return NULL;
    for (size_t i = moe__tokmap_place(m, id);; i = (i + 1) & m->mask) {
        const moe__tokmap_entry *e = &m->entry[i];
        if (e->id == id) return e;
        if (e->id == MOE_TOKEN_NONE) return NULL;
    }
}

#endif
