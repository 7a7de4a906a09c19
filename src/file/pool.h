/* SPDX-License-Identifier: MIT */
/* Memory that is only ever freed together: names, strings and arrays of a file's directory, in few
 * allocations. */
#ifndef MOE_FILE_POOL_H
#define MOE_FILE_POOL_H

#include "base/alloc.h"

typedef struct moe__pool_chunk moe__pool_chunk;

typedef struct moe__pool {
    const moe__allocator *a;
    moe__pool_chunk *head;
    uint64_t bytes; /* taken from the allocator */
} moe__pool;

void moe__pool_init(moe__pool *p, const moe__allocator *a);
void moe__pool_free(moe__pool *p);
/* n zeroed bytes, aligned to 8. */
int moe__pool_alloc(moe__pool *p, void **out, uint64_t n, const char *what);
/* A zero-terminated copy of n bytes. */
int moe__pool_copy(moe__pool *p, char **out, const char *src, size_t n);

#endif
