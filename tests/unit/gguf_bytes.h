/* SPDX-License-Identifier: MIT */
/*
 * GGUF files built by hand, byte by byte, for tests of readers: a growing buffer and a moe_file over it.
 * Nothing here uses the library's own writer, so that reader and writer cannot agree on a mistake.
 */
#ifndef GGUF_BYTES_H
#define GGUF_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "moe/ext.h"

typedef struct bytes {
    unsigned char *p;
    size_t n, cap;
} bytes;

static inline void put(bytes *b, const void *data, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
        if (!b->p) abort();
    }
    if (n > 0) memcpy(b->p + b->n, data, n);
    b->n += n;
}

static inline void put_int(bytes *b, uint64_t v, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const unsigned char c = (unsigned char)(v >> (8 * i));
        put(b, &c, 1);
    }
}

static inline void put_u32(bytes *b, uint32_t v) { put_int(b, v, 4); }
static inline void put_u64(bytes *b, uint64_t v) { put_int(b, v, 8); }

static inline void put_str(bytes *b, const char *s)
{
    put_u64(b, strlen(s));
    put(b, s, strlen(s));
}

static inline void put_header(bytes *b, uint32_t version, uint64_t n_tensors, uint64_t n_kv)
{
    put(b, "GGUF", 4);
    put_u32(b, version);
    put_u64(b, n_tensors);
    put_u64(b, n_kv);
}

/* A key with the number of a metadata type; the value follows. */
static inline void put_key(bytes *b, const char *key, uint32_t type)
{
    put_str(b, key);
    put_u32(b, type);
}

static inline void put_kv_u32(bytes *b, const char *key, uint32_t v)
{
    put_key(b, key, MOE_META_U32);
    put_u32(b, v);
}

static inline void put_kv_str(bytes *b, const char *key, const char *v)
{
    put_key(b, key, MOE_META_STRING);
    put_str(b, v);
}

/* n_dims dimensions from `dim`. */
static inline void put_tensor(bytes *b, const char *name, uint32_t n_dims, const uint64_t *dim, uint32_t type,
                              uint64_t offset)
{
    put_str(b, name);
    put_u32(b, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) put_u64(b, dim[d]);
    put_u32(b, type);
    put_u64(b, offset);
}

static inline void put_padding(bytes *b, size_t alignment)
{
    while (b->n % alignment != 0) put(b, "", 1);
}

static inline void bytes_free(bytes *b)
{
    free(b->p);
    memset(b, 0, sizeof *b);
}

/* ------------------------------------------------------------------------------- the buffer as a moe_file */

static inline uint64_t bytes_length(void *f) { return ((bytes *)f)->n; }

static inline int bytes_read_at(void *f, uint64_t off, void *dst, size_t n)
{
    const bytes *b = f;
    if (off > b->n || n > b->n - off) return MOE_E_IO;
    memcpy(dst, b->p + off, n);
    return 0;
}

static inline const void *bytes_map(void *f, uint64_t off, size_t n)
{
    (void)n;
    return ((bytes *)f)->p + off;
}

static inline moe_file bytes_file(int mapped)
{
    moe_file mf = MOE_FILE_INIT;
    mf.name = "test.gguf";
    mf.length = bytes_length;
    mf.read_at = bytes_read_at;
    if (mapped) mf.map = bytes_map;
    return mf;
}

#endif
