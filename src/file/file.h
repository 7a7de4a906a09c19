/* SPDX-License-Identifier: MIT */
/*
 * A model file (or a set of split files) as named tensors and metadata, whatever the format. Immutable once
 * open. Everything that comes from the file is checked here: a caller can trust counts, offsets, sizes,
 * alignment of data inside the file, and UTF-8-agnostic zero-terminated strings. Tensor types are known ones,
 * tensor bytes lie inside the file.
 */
#ifndef MOE_FILE_FILE_H
#define MOE_FILE_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "moe/ext.h"
#include "quant/types.h"

typedef struct moe__file moe__file;

typedef struct moe__tensor {
    const char *name;
    const moe__type *type;
    uint32_t n_dims;
    uint64_t dim[4]; /* dim[0] contiguous; unused ones 1 */
    uint64_t n;      /* elements */
    uint64_t bytes;
    uint32_t shard;  /* which file of a split set */
    uint64_t offset; /* of the data, from the start of that file */
} moe__tensor;

/* flags: MOE_OPEN_NO_MMAP, MOE_OPEN_METADATA_ONLY (then a file that ends before its tensor data is fine). */
int moe__file_open(moe__file **out, const char *path, const moe__allocator *a, uint32_t flags);
/* From the caller's functions; closes them on failure too. */
int moe__file_open_user(moe__file **out, const moe_file *f, void *user, const moe__allocator *a,
                        uint32_t flags);
void moe__file_close(moe__file *f);
const char *moe__file_name(const moe__file *f); /* for messages */

/* Metadata. Strings and arrays live as long as the file. Keys that the format itself uses (split.*,
 * general.alignment) are listed too. */
size_t moe__file_meta_count(const moe__file *f);
int moe__file_meta_at(const moe__file *f, size_t i, moe_meta *out);
int moe__file_meta_find(const moe__file *f, const char *key, moe_meta *out);
/* O(1) for strings too. */
int moe__file_meta_elem(const moe__file *f, const char *key, uint64_t j, moe_meta *out);

/*
 * Typed look-ups. MOE_E_NOTFOUND if the key is missing (with message), MOE_E_FORMAT if it has another kind or
 * does not fit (message: file, key, expected, found). Integer look-ups accept every integer type, f32 accepts
 * every float type.
 */
int moe__file_get_u32(const moe__file *f, const char *key, uint32_t *out);
int moe__file_get_f32(const moe__file *f, const char *key, float *out);
int moe__file_get_bool(const moe__file *f, const char *key, int *out);
int moe__file_get_str(const moe__file *f, const char *key, const char **out, size_t *len);

/* A resolved array: one look-up, then fast access. */
typedef struct moe__array {
    int elem_type; /* MOE_META_* */
    uint64_t n;
    const void
        *data; /* numbers: raw little-endian elements, possibly unaligned; strings: use moe__array_str */
    const void *impl;
} moe__array;
int moe__file_get_array(const moe__file *f, const char *key, moe__array *out);
const char *moe__array_str(const moe__array *a, uint64_t i,
                           size_t *len);                 /* elem_type MOE_META_STRING, i < n */
int64_t moe__array_int(const moe__array *a, uint64_t i); /* integer and bool types, i < n */
double moe__array_num(const moe__array *a, uint64_t i);  /* every number type, i < n */

/* Tensors, in file order. */
size_t moe__file_tensor_count(const moe__file *f);
const moe__tensor *moe__file_tensor_at(const moe__file *f, size_t i);
const moe__tensor *moe__file_tensor_find(const moe__file *f, const char *name); /* NULL if missing */
/* *out = the mapped data, or NULL (with MOE_OK) if the file is not mapped. Alignment is that of the file: at
 * least 1. */
int moe__file_tensor_map(const moe__file *f, const moe__tensor *t, const void **out);
/* Reads n bytes from byte `off` of the tensor. */
int moe__file_tensor_read(const moe__file *f, const moe__tensor *t, uint64_t off, void *dst, size_t n);

/* Bytes that the directory itself takes from the allocator (for the memory plan). */
uint64_t moe__file_overhead(const moe__file *f);

#endif
