/* SPDX-License-Identifier: MIT */
/*
 * Numbers in the order in which they first came: a hash map from 32-bit numbers (tokens, requests) to 0, 1, 2
 * ... Open addressing, at most half full, no removal. Room is taken by reserve alone, so that put cannot fail
 * for want of memory.
 */
#ifndef MOE_STUDY_IDMAP_H
#define MOE_STUDY_IDMAP_H

#include "base/alloc.h"

#define MOE_IDMAP_NONE UINT32_MAX

typedef struct moe__idmap {
    uint32_t *key;  /* [cap], in order of arrival */
    uint32_t *slot; /* [mask + 1]: index + 1, 0 = free */
    uint32_t n, cap;
    uint32_t mask;
} moe__idmap;

/* Room for n numbers in all; on failure the map is as before. E_NOMEM. */
int moe__idmap_reserve(moe__idmap *m, const moe__allocator *a, uint64_t n);
/* Index of the number, which joins if it is new; NONE if it is new and there is no room. */
uint32_t moe__idmap_put(moe__idmap *m, uint32_t key);
/* Index of the number, or NONE. */
uint32_t moe__idmap_get(const moe__idmap *m, uint32_t key);
void moe__idmap_clear(moe__idmap *m);
void moe__idmap_free(moe__idmap *m, const moe__allocator *a);

#endif
