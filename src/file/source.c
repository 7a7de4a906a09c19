/* SPDX-License-Identifier: MIT */
/* See source.h. */
#include "file/source.h"

#include <string.h>

#include "base/status.h"

/* ------------------------------------------------------------------------------------------- system files */

static int os_read_at(const moe__source *s, uint64_t off, void *dst, size_t n)
{
    return moe__os_read_at(&s->os, off, dst, n, s->name);
}

static void os_close(moe__source *s)
{
    moe__os_unmap(s->map, s->length);
    moe__os_close(&s->os);
}

int moe__source_open_path(moe__source *s, const char *path, int use_map)
{
    static const moe__source_ops ops = {os_read_at, os_close};
    const void *map = NULL;
    *s = (moe__source){.name = path};
    MOE_TRY(moe__os_open(&s->os, path));
    s->ops = &ops;
    s->length = s->os.length;
    if (use_map && s->length > 0 && moe__os_map(&s->os, &map, path) < 0)
        moe__clear_error(); /* then it is read */
    s->map = map;
    if (s->map)
        moe__os_close(&s->os); /* the mapping stays; a set of many files does not use up descriptors */
    return MOE_OK;
}

/* ------------------------------------------------------------------------------------- the caller's files */

static int user_read_at(const moe__source *s, uint64_t off, void *dst, size_t n)
{
    const int st = s->user.read_at(s->user_data, off, dst, n);
    if (st == 0) return MOE_OK;
    return moe__fail(st < 0 ? st : MOE_E_CALLBACK,
                     "%s: read_at of %zu bytes at offset %llu returned %d, expected 0", s->name, n,
                     (unsigned long long)off, st);
}

static void user_close(moe__source *s)
{
    if (s->user.close) s->user.close(s->user_data);
}

int moe__source_open_user(moe__source *s, const moe_file *f, void *user, const char *name, int use_map)
{
    static const moe__source_ops ops = {user_read_at, user_close};
    *s = (moe__source){.ops = &ops, .name = name, .user = *f, .user_data = user};
    if (!f->length || !f->read_at) {
        moe__source_close(s);
        return MOE_FAIL(INVALID, "%s: moe_file: length and read_at must be set", name);
    }
    s->length = f->length(user);
    if (use_map && f->map && s->length > 0 && s->length <= SIZE_MAX)
        s->map = f->map(user, 0, (size_t)s->length);
    return MOE_OK;
}

/* --------------------------------------------------------------------------------------------- both kinds */

void moe__source_close(moe__source *s)
{
    if (s->ops) s->ops->close(s);
    memset(s, 0, sizeof *s);
}

int moe__source_read(const moe__source *s, uint64_t off, void *dst, size_t n)
{
    if (off > s->length || n > s->length - off)
        return MOE_FAIL(FORMAT, "%s: expected %zu bytes at offset %llu, found the end of the file at %llu",
                        s->name, n, (unsigned long long)off, (unsigned long long)s->length);
    if (n == 0) return MOE_OK;
    if (s->map) {
        memcpy(dst, s->map + off, n);
        return MOE_OK;
    }
    return s->ops->read_at(s, off, dst, n);
}
