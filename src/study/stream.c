/* SPDX-License-Identifier: MIT */
/* See stream.h. */
#include "study/stream.h"

#include <string.h>

#include "base/status.h"

#define STREAM_SUM 8u /* bytes of the sum */

/* Reverses the bytes of each element where the machine's order is not the file's. */
static void stream_order(void *data, size_t n, size_t size)
{
    const uint16_t one = 1;
    uint8_t first, *p = data;
    memcpy(&first, &one, 1);
    if (first == 1) return;
    for (size_t i = 0; i < n; i++, p += size)
        for (size_t j = 0; j < size / 2; j++) {
            const uint8_t t = p[j];
            p[j] = p[size - 1 - j];
            p[size - 1 - j] = t;
        }
}

/* ---- writing ---- */

int moe__out_open(moe__out *o, const char *path, const moe__allocator *a)
{
    *o = (moe__out){0};
    moe__hash_init(&o->hash);
    return moe__os_writer_open(&o->file, path, a);
}

int moe__out_data(moe__out *o, const void *data, size_t n)
{
    if (n == 0) return MOE_OK;
    moe__hash_add(&o->hash, data, n);
    return moe__os_write(&o->file, data, n);
}

int moe__out_array(moe__out *o, const void *data, size_t n, size_t size)
{
    uint8_t part[8192];
    const size_t step = sizeof part / size;
    for (size_t i = 0; i < n; i += step) {
        const size_t m = n - i < step ? n - i : step;
        memcpy(part, (const uint8_t *)data + i * size, m * size);
        stream_order(part, m, size);
        MOE_TRY(moe__out_data(o, part, m * size));
    }
    return MOE_OK;
}

int moe__out_u32(moe__out *o, uint32_t x) { return moe__out_array(o, &x, 1, sizeof x); }
int moe__out_u64(moe__out *o, uint64_t x) { return moe__out_array(o, &x, 1, sizeof x); }

int moe__out_close(moe__out *o, int st)
{
    if (st >= 0) st = moe__out_u64(o, moe__hash_get(&o->hash));
    if (st >= 0) return moe__os_writer_commit(&o->file);
    moe__os_writer_cancel(&o->file);
    return st;
}

/* ---- reading ---- */

int moe__in_open(moe__in *f, const char *path, const char *kind, const char *magic, uint64_t head)
{
    char found[MOE_STREAM_MAGIC];
    *f = (moe__in){.path = path, .kind = kind};
    moe__hash_init(&f->hash);
    MOE_TRY(moe__os_open(&f->file, path));
    int st = MOE_OK;
    if (f->file.length < head + STREAM_SUM)
        st = MOE_FAIL(FORMAT, "%s: %llu bytes are too few for a %s", path, (unsigned long long)f->file.length,
                      kind);
    else
        st = moe__in_array(f, found, sizeof found, 1);
    if (st == MOE_OK && memcmp(found, magic, sizeof found) != 0)
        st = MOE_FAIL(FORMAT, "%s: this is not a %s: the first %u bytes are wrong", path, kind,
                      MOE_STREAM_MAGIC);
    if (st < 0) moe__in_close(f);
    return st;
}

uint64_t moe__in_left(const moe__in *f) { return f->file.length - STREAM_SUM - f->at; }

int moe__in_need(const moe__in *f, uint64_t count, uint64_t size, const char *what)
{
    if (size != 0 && count > moe__in_left(f) / size)
        return MOE_FAIL(FORMAT, "%s: offset %llu: %llu %s of %llu bytes: the %s has %llu bytes left", f->path,
                        (unsigned long long)f->at, (unsigned long long)count, what, (unsigned long long)size,
                        f->kind, (unsigned long long)moe__in_left(f));
    return MOE_OK;
}

int moe__in_array(moe__in *f, void *dst, size_t n, size_t size)
{
    if (n == 0) return MOE_OK;
    MOE_TRY(moe__in_need(f, n, size, "numbers"));
    MOE_TRY(moe__os_read_at(&f->file, f->at, dst, n * size, f->path));
    moe__hash_add(&f->hash, dst, n * size);
    f->at += n * size;
    stream_order(dst, n, size);
    return MOE_OK;
}

int moe__in_u32(moe__in *f, uint32_t *x) { return moe__in_array(f, x, 1, sizeof *x); }
int moe__in_u64(moe__in *f, uint64_t *x) { return moe__in_array(f, x, 1, sizeof *x); }

int moe__in_sum(moe__in *f)
{
    uint64_t found;
    if (moe__in_left(f) != 0)
        return MOE_FAIL(FORMAT, "%s: %llu bytes more than the %s needs", f->path,
                        (unsigned long long)moe__in_left(f), f->kind);
    MOE_TRY(moe__os_read_at(&f->file, f->at, &found, sizeof found, f->path));
    stream_order(&found, 1, sizeof found);
    const uint64_t want = moe__hash_get(&f->hash);
    if (found != want)
        return MOE_FAIL(FORMAT, "%s: checksum: expected %016llx, found %016llx", f->path,
                        (unsigned long long)want, (unsigned long long)found);
    return MOE_OK;
}

void moe__in_close(moe__in *f) { moe__os_close(&f->file); }
