/* SPDX-License-Identifier: MIT */
/*
 * A bounds-checked cursor over a source. Every number that a format reads passes through here: nothing is
 * read past the end, and a short file gives MOE_E_FORMAT with file, subject, offset, expected and found.
 * Numbers are little-endian whatever the host is.
 */
#ifndef MOE_FILE_READER_H
#define MOE_FILE_READER_H

#include "base/status.h"
#include "file/source.h"

typedef struct moe__reader {
    const moe__source *src;
    const moe__allocator *a;
    uint64_t pos, end;
    const char *kind;      /* what is being read, for messages: "header", "key", "tensor" */
    const char *subject;   /* its name, or "" */
    unsigned char *window; /* owned; a part of an unmapped source, NULL for a mapped one */
    uint64_t window_pos;
    size_t window_n;
} moe__reader;

int moe__reader_init(moe__reader *r, const moe__source *src, const moe__allocator *a);
void moe__reader_end(moe__reader *r);

/* The message every fault of a file gets: "file: kind 'subject' at offset N: text". Returns status. */
int moe__reader_fail(const moe__reader *r, int status, uint64_t offset, const char *fmt, ...)
    MOE_PRINTF(4, 5);

static inline uint64_t moe__reader_left(const moe__reader *r) { return r->end - r->pos; }
/* MOE_E_FORMAT unless n bytes are left. */
int moe__reader_need(const moe__reader *r, uint64_t n, const char *what);
/* The same for count items of at least `size` bytes each, without overflow. */
int moe__reader_need_items(const moe__reader *r, uint64_t count, uint64_t size, const char *what);
int moe__reader_read(moe__reader *r, void *dst, size_t n, const char *what);
int moe__reader_skip(moe__reader *r, uint64_t n, const char *what);
int moe__reader_u32(moe__reader *r, uint32_t *out, const char *what);
int moe__reader_u64(moe__reader *r, uint64_t *out, const char *what);
/* The mapped bytes at the cursor (not moved), or NULL if the source is not mapped. */
static inline const unsigned char *moe__reader_mapped(const moe__reader *r)
{
    return r->src->map ? r->src->map + r->pos : NULL;
}

static inline uint32_t moe__le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t moe__le64(const unsigned char *p)
{
    return (uint64_t)moe__le32(p) | (uint64_t)moe__le32(p + 4) << 32;
}

/* Text from a file made fit for a message: at most cap - 1 bytes, everything but printable ASCII as '?'.
 * Returns dst. */
const char *moe__printable(char *dst, size_t cap, const char *src, size_t n);

#endif
