/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share: the entry point, a heap with a limit that knows what is still held, bytes as a
 * moe_file, a reader that takes an input apart. A target aborts on a broken promise (FUZZ_CHECK); sanitizers
 * find the rest.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe/ext.h"

/* libFuzzer's and replay.c's entry point: one input. Always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define FUZZ_CHECK(cond)                                                                                     \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            fprintf(stderr, "%s:%d: broken promise: %s (last message: %s)\n", __FILE__, __LINE__, #cond,     \
                    moe_last_error());                                                                       \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* ------------------------------------------------------------------------------------------- limited heap */

typedef struct fuzz_heap {
    size_t now, peak, limit; /* bytes; beyond the limit allocations fail */
} fuzz_heap;

/* Threads: the targets run on one. */
static inline void *fuzz_alloc(size_t n, size_t align, void *user)
{
    fuzz_heap *h = user;
    if (n > h->limit || h->now > h->limit - n) return NULL;
    void *p = aligned_alloc(align, (n + align - 1) / align * align);
    if (!p) return NULL;
    h->now += n;
    if (h->now > h->peak) h->peak = h->now;
    return p;
}

static inline void fuzz_free(void *p, size_t n, void *user)
{
    ((fuzz_heap *)user)->now -= n;
    free(p);
}

static inline moe_allocator fuzz_allocator(fuzz_heap *h)
{
    moe_allocator a = MOE_ALLOCATOR_INIT;
    a.alloc = fuzz_alloc;
    a.free = fuzz_free;
    a.user = h;
    return a;
}

/* ---------------------------------------------------------------------------------------- bytes as a file */

typedef struct fuzz_bytes {
    const uint8_t *p;
    size_t n;
    int open; /* files that are not closed yet */
} fuzz_bytes;

static inline uint64_t fuzz_length(void *f) { return ((fuzz_bytes *)f)->n; }

static inline int fuzz_read_at(void *f, uint64_t off, void *dst, size_t n)
{
    const fuzz_bytes *b = f;
    FUZZ_CHECK(off <= b->n && n <= b->n - off); /* the library checks ranges before it reads */
    memcpy(dst, b->p + off, n);
    return 0;
}

static inline const void *fuzz_map(void *f, uint64_t off, size_t n)
{
    const fuzz_bytes *b = f;
    FUZZ_CHECK(off <= b->n && n <= b->n - off);
    return b->p + off;
}

static inline void fuzz_close(void *f) { ((fuzz_bytes *)f)->open--; }

static inline moe_file fuzz_file(fuzz_bytes *b, int mapped)
{
    moe_file mf = MOE_FILE_INIT;
    mf.name = "fuzz.gguf";
    mf.length = fuzz_length;
    mf.read_at = fuzz_read_at;
    mf.close = fuzz_close;
    if (mapped) mf.map = fuzz_map;
    b->open++;
    return mf;
}

/* ---------------------------------------------------------------------------------- taking an input apart */

typedef struct fuzz_input {
    const uint8_t *p;
    size_t n;
} fuzz_input;

static inline uint32_t fuzz_u8(fuzz_input *in)
{
    if (in->n == 0) return 0;
    in->n--;
    return *in->p++;
}

static inline uint32_t fuzz_u16(fuzz_input *in)
{
    const uint32_t low = fuzz_u8(in);
    return low | fuzz_u8(in) << 8;
}

static inline uint32_t fuzz_u32(fuzz_input *in)
{
    const uint32_t low = fuzz_u16(in);
    return low | fuzz_u16(in) << 16;
}

/* A file of the source tree, whole; the fuzz targets' models. Ends the program if it is missing. */
static inline fuzz_bytes fuzz_load(const char *path)
{
    fuzz_bytes b = {NULL, 0, 0};
    uint8_t buf[4096];
    uint8_t *all = NULL;
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s: cannot open\n", path);
        exit(2);
    }
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0; b.n += n) {
        uint8_t *bigger = realloc(all, b.n + n);
        if (!bigger) exit(2);
        all = bigger;
        memcpy(all + b.n, buf, n);
    }
    fclose(f);
    b.p = all;
    return b;
}

#endif
