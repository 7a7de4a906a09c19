/* SPDX-License-Identifier: MIT */
/*
 * The inside of moe__file: sources (shards), metadata entries, tensors. A format (gguf.c) fills it, meta.c
 * and file.c answer from it.
 */
#ifndef MOE_FILE_DIR_H
#define MOE_FILE_DIR_H

#include "file/file.h"
#include "file/index.h"
#include "file/pool.h"
#include "file/source.h"

/* One metadata entry. Pointers are into the pool or into the mapped file. */
typedef struct moe__meta_entry {
    const char *key;      /* first member: index.h */
    int type, elem_type;  /* MOE_META_* */
    uint64_t n;           /* elements, bytes of a string, 1 */
    uint64_t offset;      /* of the value in the file, for messages */
    unsigned char raw[8]; /* a number's bytes */
    const void *
        data; /* number arrays: elements; string arrays: uint64_t [n + 1] starts in blob; strings: the text */
    const char *blob; /* string arrays: zero-terminated strings one after the other */
} moe__meta_entry;

typedef struct moe__metas {
    moe__meta_entry *entry; /* [cap] */
    size_t n, cap;
    moe__index index;
} moe__metas;

struct moe__file {
    moe__allocator a;
    moe__pool pool;
    uint32_t flags;   /* MOE_OPEN_* */
    uint32_t version; /* of the format */
    moe__source *shard;
    size_t n_shards;
    moe__metas metas;
    moe__tensor *tensor; /* [cap_tensors]; name is the first member */
    size_t n_tensors, cap_tensors;
    moe__index tensor_index;
};

/* Sizes and names of metadata types; size 0 = string or array. NULL for numbers that are no type. */
typedef struct moe__meta_kind {
    const char *name;
    uint32_t size;
} moe__meta_kind;
const moe__meta_kind *moe__meta_kind_get(uint32_t type);

const moe__meta_entry *moe__metas_find(const moe__metas *m, const char *key);
/* Fills the value fields of *out from the bytes of one number. */
void moe__meta_decode(int type, const unsigned char *raw, moe_meta *out);
/* Integer of an entry that is one, else MOE_E_FORMAT; `max` bounds it. MOE_E_NOTFOUND without a message if
 * the key is missing. */
int moe__metas_uint(const moe__metas *m, const char *file, const char *key, uint64_t max, uint64_t *out);
void moe__metas_free(moe__metas *m, const moe__allocator *a);

/*
 * Parses the GGUF header of shard `i`: metadata into *metas, tensors appended to f->tensor. On return every
 * tensor is checked but for overlap with others of its shard, which is checked too.
 */
int moe__gguf_parse(moe__file *f, size_t i, moe__metas *metas);
/* Opens the rest of a split set whose first file is shard 0, parsed already. */
int moe__shards_open(moe__file *f);
/* Makes room for one more source and returns its number. */
int moe__file_shard_add(moe__file *f, size_t *i);
/* MOE_E_FORMAT if two tensors of shard i share bytes. */
int moe__tensors_check_overlap(moe__file *f, size_t i, size_t first);

#endif
