/* SPDX-License-Identifier: MIT */
/*
 * Names -> entry numbers by hashing. The names stay in the caller's array of structs whose first member is
 * `const char *name`. A file made to collide (all names in one chain) is refused instead of being searched
 * for hours.
 */
#ifndef MOE_FILE_INDEX_H
#define MOE_FILE_INDEX_H

#include "base/alloc.h"

#define MOE_INDEX_NONE UINT32_MAX
#define MOE_INDEX_MAX  ((size_t)1 << 30) /* entries */

typedef struct moe__index {
    struct moe__index_slot *slot; /* [mask + 1], owned */
    size_t mask;
    size_t n;
} moe__index;

void moe__index_free(moe__index *ix, const moe__allocator *a);
/*
 * Adds entry number i = ix->n of the array. *dup receives MOE_INDEX_NONE, or the entry that already has the
 * name (then nothing is added). MOE_E_FORMAT for a chain no honest file has.
 */
int moe__index_add(moe__index *ix, const moe__allocator *a, const void *base, size_t stride, uint32_t *dup);
uint32_t moe__index_find(const moe__index *ix, const void *base, size_t stride, const char *name);
uint64_t moe__index_bytes(const moe__index *ix);

#endif
