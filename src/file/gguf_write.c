/* SPDX-License-Identifier: MIT */
/* See gguf_write.h; the format is described in docs/formats/gguf.md. */
#include "file/gguf_write.h"

#include <string.h>

#include "base/status.h"
#include "file/dir.h"

#define BUF_BYTES 65536u

int moe__gguf_write_open(moe__gguf_writer *w, const char *path, const moe__allocator *a)
{
    memset(w, 0, sizeof *w);
    w->a = a;
    w->alignment = 32;
    MOE_TRY(MOE_NEW(a, &w->buf, BUF_BYTES, "write buffer"));
    const int st = moe__os_writer_open(&w->os, path, a);
    if (st < 0) moe__gguf_write_cancel(w);
    return st;
}

static int flush(moe__gguf_writer *w)
{
    const size_t n = w->used;
    w->used = 0;
    return n > 0 ? moe__os_write(&w->os, w->buf, n) : MOE_OK;
}

int moe__gguf_write_data(moe__gguf_writer *w, const void *data, size_t n)
{
    w->pos += n;
    if (n > BUF_BYTES - w->used) MOE_TRY(flush(w));
    if (n > BUF_BYTES) return moe__os_write(&w->os, data, n);
    if (n > 0) memcpy(w->buf + w->used, data, n);
    w->used += n;
    return MOE_OK;
}

/* The low `size` bytes of v, little-endian. */
static int put_int(moe__gguf_writer *w, uint64_t v, size_t size)
{
    unsigned char b[8];
    for (size_t i = 0; i < size; i++) b[i] = (unsigned char)(v >> (8 * i));
    return moe__gguf_write_data(w, b, size);
}

static int put_str(moe__gguf_writer *w, const char *s, size_t n)
{
    MOE_TRY(put_int(w, n, 8));
    return moe__gguf_write_data(w, s, n);
}

int moe__gguf_write_align(moe__gguf_writer *w)
{
    static const unsigned char zero[64];
    for (uint64_t left = (w->alignment - w->pos % w->alignment) % w->alignment; left > 0;) {
        const size_t n = left < sizeof zero ? (size_t)left : sizeof zero;
        MOE_TRY(moe__gguf_write_data(w, zero, n));
        left -= n;
    }
    return MOE_OK;
}

int moe__gguf_write_header(moe__gguf_writer *w, uint64_t n_tensors, uint64_t n_kv, uint64_t alignment)
{
    w->alignment = alignment;
    MOE_TRY(moe__gguf_write_data(w, "GGUF", 4));
    MOE_TRY(put_int(w, 3, 4));
    MOE_TRY(put_int(w, n_tensors, 8));
    return put_int(w, n_kv, 8);
}

/* --------------------------------------------------------------------------------------------------- keys */

static int put_key(moe__gguf_writer *w, const char *key, int type)
{
    MOE_TRY(put_str(w, key, strlen(key)));
    return put_int(w, (uint64_t)type, 4);
}

static int put_array(moe__gguf_writer *w, const moe__meta_entry *e)
{
    MOE_TRY(put_int(w, (uint64_t)e->elem_type, 4));
    MOE_TRY(put_int(w, e->n, 8));
    if (e->elem_type != MOE_META_STRING)
        return moe__gguf_write_data(w, e->data,
                                    (size_t)(e->n * moe__meta_kind_get((uint32_t)e->elem_type)->size));
    const moe__array a = {e->elem_type, e->n, e->data, e->blob};
    for (uint64_t i = 0; i < e->n; i++) {
        size_t len;
        const char *s = moe__array_str(&a, i, &len);
        MOE_TRY(put_str(w, s, len));
    }
    return MOE_OK;
}

int moe__gguf_write_kv_copy(moe__gguf_writer *w, const moe__file *f, size_t i)
{
    const moe__meta_entry *e = &f->metas.entry[i];
    MOE_TRY(put_key(w, e->key, e->type));
    if (e->type == MOE_META_STRING) return put_str(w, e->data, (size_t)e->n);
    if (e->type == MOE_META_ARRAY) return put_array(w, e);
    return moe__gguf_write_data(w, e->raw, moe__meta_kind_get((uint32_t)e->type)->size);
}

int moe__gguf_write_kv_u32(moe__gguf_writer *w, const char *key, uint32_t value)
{
    MOE_TRY(put_key(w, key, MOE_META_U32));
    return put_int(w, value, 4);
}

/* ------------------------------------------------------------------------------------------------ tensors */

int moe__gguf_write_tensor(moe__gguf_writer *w, const char *name, uint32_t n_dims, const uint64_t *dim,
                           const moe__type *type)
{
    uint64_t n = 1, padded;
    for (uint32_t d = 0; d < n_dims; d++)
        if (!moe__mul_ok(n, dim[d], &n)) return MOE_FAIL(INVALID, "tensor '%s': too many elements", name);
    const uint64_t bytes = moe__type_bytes(type, n);
    if (bytes == 0)
        return MOE_FAIL(INVALID, "tensor '%s': %llu elements cannot be of type %s", name,
                        (unsigned long long)n, type->name);
    MOE_TRY(put_str(w, name, strlen(name)));
    MOE_TRY(put_int(w, n_dims, 4));
    for (uint32_t d = 0; d < n_dims; d++) MOE_TRY(put_int(w, dim[d], 8));
    MOE_TRY(put_int(w, (uint64_t)type->id, 4));
    MOE_TRY(put_int(w, w->next_offset, 8));
    if (!moe__add_ok(bytes, w->alignment - 1, &padded) ||
        !moe__add_ok(w->next_offset, padded & ~(w->alignment - 1), &w->next_offset))
        return MOE_FAIL(INVALID, "tensor '%s': the file would exceed 2^64 bytes", name);
    return MOE_OK;
}

/* ---------------------------------------------------------------------------------------------------- end */

int moe__gguf_write_commit(moe__gguf_writer *w)
{
    int st = flush(w);
    if (st >= 0) st = moe__os_writer_commit(&w->os);
    moe__gguf_write_cancel(w);
    return st;
}

void moe__gguf_write_cancel(moe__gguf_writer *w)
{
    if (w->os.tmp) moe__os_writer_cancel(&w->os);
    moe__free(w->a, w->buf);
    w->buf = NULL;
}
