/* SPDX-License-Identifier: MIT */
/* See reader.h. */
#include "file/reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WINDOW_BYTES 16384u

int moe__reader_init(moe__reader *r, const moe__source *src, const moe__allocator *a)
{
    *r = (moe__reader){.src = src, .a = a, .end = src->length, .kind = "header", .subject = ""};
    if (src->map) return MOE_OK;
    return MOE_NEW(a, &r->window, WINDOW_BYTES, "read window");
}

void moe__reader_end(moe__reader *r)
{
    moe__free(r->a, r->window);
    r->window = NULL;
}

const char *moe__printable(char *dst, size_t cap, const char *src, size_t n)
{
    size_t i;
    for (i = 0; i < n && i + 1 < cap; i++) dst[i] = src[i] >= 0x20 && src[i] < 0x7f ? src[i] : '?';
    dst[i] = '\0';
    if (i < n && cap > 4) memcpy(dst + i - 3, "...", 3);
    return dst;
}

int moe__reader_fail(const moe__reader *r, int status, uint64_t offset, const char *fmt, ...)
{
    char text[384], name[96];
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(text, sizeof text, fmt, ap) < 0) text[0] = '\0';
    va_end(ap);
    moe__printable(name, sizeof name, r->subject, strlen(r->subject));
    if (name[0])
        return moe__fail(status, "%s: %s '%s' at offset %llu: %s", r->src->name, r->kind, name,
                         (unsigned long long)offset, text);
    return moe__fail(status, "%s: %s at offset %llu: %s", r->src->name, r->kind, (unsigned long long)offset,
                     text);
}

int moe__reader_need(const moe__reader *r, uint64_t n, const char *what)
{
    if (n <= moe__reader_left(r)) return MOE_OK;
    return moe__reader_fail(r, MOE_E_FORMAT, r->pos,
                            "%s: expected %llu bytes, found only %llu up to the end of the file", what,
                            (unsigned long long)n, (unsigned long long)moe__reader_left(r));
}

int moe__reader_need_items(const moe__reader *r, uint64_t count, uint64_t size, const char *what)
{
    if (count <= moe__reader_left(r) / size) return MOE_OK;
    return moe__reader_fail(r, MOE_E_FORMAT, r->pos,
                            "%s: expected at most %llu (%llu bytes left, %llu or more for each), found %llu",
                            what, (unsigned long long)(moe__reader_left(r) / size),
                            (unsigned long long)moe__reader_left(r), (unsigned long long)size,
                            (unsigned long long)count);
}

/* Copies n bytes at the cursor, which are known to be inside the file, through the window. */
static int read_windowed(moe__reader *r, unsigned char *dst, size_t n)
{
    uint64_t pos = r->pos;
    while (n > 0) {
        if (pos >= r->window_pos && pos - r->window_pos < r->window_n) {
            const size_t at = (size_t)(pos - r->window_pos), have = r->window_n - at,
                         take = n < have ? n : have;
            memcpy(dst, r->window + at, take);
            dst += take;
            pos += take;
            n -= take;
        } else if (n >= WINDOW_BYTES) {
            return moe__source_read(r->src, pos, dst, n);
        } else {
            const uint64_t left = r->end - pos;
            r->window_n = 0;
            const size_t take = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
            MOE_TRY(moe__source_read(r->src, pos, r->window, take));
            r->window_pos = pos;
            r->window_n = take;
        }
    }
    return MOE_OK;
}

int moe__reader_read(moe__reader *r, void *dst, size_t n, const char *what)
{
    MOE_TRY(moe__reader_need(r, n, what));
    if (r->src->map) {
        if (n > 0) memcpy(dst, r->src->map + r->pos, n);
    } else {
        MOE_TRY(read_windowed(r, dst, n));
    }
    r->pos += n;
    return MOE_OK;
}

int moe__reader_skip(moe__reader *r, uint64_t n, const char *what)
{
    MOE_TRY(moe__reader_need(r, n, what));
    r->pos += n;
    return MOE_OK;
}

int moe__reader_u32(moe__reader *r, uint32_t *out, const char *what)
{
    unsigned char b[4];
    MOE_TRY(moe__reader_read(r, b, sizeof b, what));
    *out = moe__le32(b);
    return MOE_OK;
}

int moe__reader_u64(moe__reader *r, uint64_t *out, const char *what)
{
    unsigned char b[8];
    MOE_TRY(moe__reader_read(r, b, sizeof b, what));
    *out = moe__le64(b);
    return MOE_OK;
}
