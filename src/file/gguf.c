/* SPDX-License-Identifier: MIT */
/*
 * GGUF v2 and v3 (docs/formats/gguf.md): header, metadata, tensor table. In: a source. Out: entries of
 * moe__file. The file is not trusted: every count is held against the bytes that are left before anything is
 * allocated for it, memory grows with what was really read, sums and products are checked for overflow. The
 * layout follows the public format description (ggml project, docs/gguf.md).
 *
 *   magic "GGUF" | version u32 | n_tensors u64 | n_kv u64
 *   n_kv x      { key string | type u32 | value }            string = length u64, bytes
 *   n_tensors x { name string | n_dims u32 | dim u64 x n_dims | type u32 | offset u64 }
 *   padding to general.alignment | tensor data
 */
#include <stdio.h>
#include <string.h>

#include "file/dir.h"
#include "file/reader.h"

#define MAGIC             0x46554747u /* "GGUF" */
#define NAME_MAX_BYTES    65535u
#define DEFAULT_ALIGNMENT 32u
#define VALUE_MAX         ((uint64_t)1 << 30) /* bytes of one value: a sparse file may be as long as it likes */
#define KV_MIN            14u                 /* length, one byte of key, type, one byte of value */
#define TENSOR_MIN        33u                 /* length, one byte of name, n_dims, one dim, type, offset */

/* ------------------------------------------------------------------------------------------------ strings */

/* A key or tensor name: 1 to 65535 bytes, none of them zero. Also becomes the subject of messages. */
static int read_name(moe__reader *r, moe__pool *pool, const char **out, const char *what)
{
    uint64_t n;
    void *mem;
    const uint64_t at = r->pos;
    MOE_TRY(moe__reader_u64(r, &n, "length of a name"));
    if (n < 1 || n > NAME_MAX_BYTES)
        return moe__reader_fail(r, MOE_E_FORMAT, at, "%s: expected a length of 1 to %u bytes, found %llu",
                                what, NAME_MAX_BYTES, (unsigned long long)n);
    MOE_TRY(moe__reader_need(r, n, what));
    MOE_TRY(moe__pool_alloc(pool, &mem, n + 1, what));
    MOE_TRY(moe__reader_read(r, mem, (size_t)n, what));
    if (memchr(mem, 0, (size_t)n))
        return moe__reader_fail(r, MOE_E_FORMAT, at, "%s: expected text, found a zero byte in it", what);
    *out = r->subject = mem;
    return MOE_OK;
}

/* MOE_E_UNSUPPORTED for a value of more bytes than anyone needs. */
static int check_size(const moe__reader *r, uint64_t bytes, const char *what)
{
    if (bytes <= VALUE_MAX) return MOE_OK;
    return moe__reader_fail(r, MOE_E_UNSUPPORTED, r->pos, "%s: up to %llu bytes are supported, found %llu",
                            what, (unsigned long long)VALUE_MAX, (unsigned long long)bytes);
}

/* A value of n items, `size` bytes or more each, that is about to be read. */
static int check_value(const moe__reader *r, uint64_t n, uint64_t size, const char *what)
{
    MOE_TRY(moe__reader_need_items(r, n, size, what));
    return check_size(r, n * size, what);
}

static int read_string(moe__reader *r, moe__pool *pool, moe__meta_entry *e)
{
    void *mem;
    MOE_TRY(moe__reader_u64(r, &e->n, "length of a string"));
    MOE_TRY(moe__reader_need(r, e->n, "string"));
    MOE_TRY(check_size(r, e->n, "string"));
    MOE_TRY(moe__pool_alloc(pool, &mem, e->n + 1, "string"));
    MOE_TRY(moe__reader_read(r, mem, (size_t)e->n, "string"));
    e->data = mem;
    return MOE_OK;
}

/* Two passes: lengths first, so that starts and text need one allocation each. The source may change in
 * between: both are checked. */
static int read_string_array(moe__reader *r, moe__pool *pool, moe__meta_entry *e)
{
    uint64_t len, total = 0;
    void *mem;
    const uint64_t at = r->pos;
    MOE_TRY(check_value(r, e->n, 8, "array of strings"));
    for (uint64_t i = 0; i < e->n; i++) {
        MOE_TRY(moe__reader_u64(r, &len, "length of a string"));
        MOE_TRY(moe__reader_skip(r, len, "string"));
        total += len + 1; /* at most the file's length */
        MOE_TRY(check_size(r, total, "array of strings"));
    }
    MOE_TRY(moe__pool_alloc(pool, &mem, (e->n + 1) * sizeof(uint64_t), "array of strings"));
    uint64_t *start = mem;
    MOE_TRY(moe__pool_alloc(pool, &mem, total, "text of an array of strings"));
    char *blob = mem;
    r->pos = at;
    for (uint64_t i = 0, used = 0; i < e->n; i++) {
        MOE_TRY(moe__reader_u64(r, &len, "length of a string"));
        if (len >= total - used)
            return moe__reader_fail(r, MOE_E_IO, r->pos, "the file changed while it was read");
        MOE_TRY(moe__reader_read(r, blob + used, (size_t)len, "string"));
        used += len + 1;
        start[i + 1] = used;
    }
    e->data = start;
    e->blob = blob;
    return MOE_OK;
}

/* ----------------------------------------------------------------------------------------------- metadata */

static int check_bools(const moe__reader *r, const unsigned char *p, uint64_t n, uint64_t at)
{
    for (uint64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return moe__reader_fail(r, MOE_E_FORMAT, at + i, "bool: expected 0 or 1, found %u", p[i]);
    return MOE_OK;
}

static int read_number_array(moe__reader *r, moe__pool *pool, moe__meta_entry *e, uint32_t size)
{
    const uint64_t at = r->pos;
    MOE_TRY(check_value(r, e->n, size, "array"));
    if (r->src->map) {
        e->data = moe__reader_mapped(r);
        MOE_TRY(moe__reader_skip(r, e->n * size, "array"));
    } else {
        void *mem;
        MOE_TRY(moe__pool_alloc(pool, &mem, e->n * size, "array"));
        MOE_TRY(moe__reader_read(r, mem, (size_t)(e->n * size), "array"));
        e->data = mem;
    }
    return e->elem_type == MOE_META_BOOL ? check_bools(r, e->data, e->n, at) : MOE_OK;
}

static int read_array(moe__reader *r, moe__pool *pool, moe__meta_entry *e)
{
    uint32_t type;
    const uint64_t at = r->pos;
    MOE_TRY(moe__reader_u32(r, &type, "element type of an array"));
    const moe__meta_kind *kind = moe__meta_kind_get(type);
    if (!kind)
        return moe__reader_fail(r, MOE_E_FORMAT, at,
                                "element type of an array: expected a metadata type (0 to 12), found %u",
                                type);
    if (type == MOE_META_ARRAY)
        return moe__reader_fail(r, MOE_E_UNSUPPORTED, at,
                                "an array of arrays: elements may be numbers, bools or strings");
    MOE_TRY(moe__reader_u64(r, &e->n, "length of an array"));
    e->elem_type = (int)type;
    if (type == MOE_META_STRING) return read_string_array(r, pool, e);
    return read_number_array(r, pool, e, kind->size);
}

static int read_entry(moe__reader *r, moe__pool *pool, moe__meta_entry *e)
{
    uint32_t type;
    memset(e, 0, sizeof *e);
    r->subject = "";
    MOE_TRY(read_name(r, pool, &e->key, "key"));
    const uint64_t at = r->pos;
    MOE_TRY(moe__reader_u32(r, &type, "type of a value"));
    const moe__meta_kind *kind = moe__meta_kind_get(type);
    if (!kind)
        return moe__reader_fail(r, MOE_E_FORMAT, at,
                                "type of the value: expected a metadata type (0 to 12), found %u", type);
    e->type = (int)type;
    e->offset = r->pos;
    e->n = 1;
    if (type == MOE_META_STRING) return read_string(r, pool, e);
    if (type == MOE_META_ARRAY) return read_array(r, pool, e);
    MOE_TRY(moe__reader_read(r, e->raw, kind->size, "value"));
    return type == MOE_META_BOOL ? check_bools(r, e->raw, 1, e->offset) : MOE_OK;
}

/* The name index's own status and message, with the place in the file: a hostile file, or no memory. */
static int index_fail(const moe__reader *r, int status, uint64_t at)
{
    char why[96];
    snprintf(why, sizeof why, "%.90s", moe__last_error());
    return moe__reader_fail(r, status, at, "%s", why);
}

static int read_metadata(moe__file *f, moe__reader *r, moe__metas *m, uint64_t n_kv)
{
    r->kind = "key";
    for (uint64_t i = 0; i < n_kv; i++) {
        uint32_t dup;
        const uint64_t at = r->pos;
        if (m->n == m->cap) {
            const size_t cap = m->cap ? m->cap * 2 : 16;
            MOE_TRY(moe__realloc_array(&f->a, (void **)&m->entry, cap, sizeof *m->entry, "metadata"));
            m->cap = cap;
        }
        MOE_TRY(read_entry(r, &f->pool, &m->entry[m->n]));
        const int st = moe__index_add(&m->index, &f->a, m->entry, sizeof *m->entry, &dup);
        if (st < 0) return index_fail(r, st, at);
        if (dup != MOE_INDEX_NONE)
            return moe__reader_fail(r, MOE_E_FORMAT, at,
                                    "expected a key that is new, found one that stands at offset %llu "
                                    "already",
                                    (unsigned long long)m->entry[dup].offset);
        m->n++;
    }
    r->subject = "";
    return MOE_OK;
}

/* ------------------------------------------------------------------------------------------------ tensors */

static int unknown_type(const moe__reader *r, uint64_t at, uint32_t type)
{
    char list[256];
    size_t used = 0;
    list[0] = '\0';
    for (size_t i = 0; i < moe__type_count() && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, " %s", moe__type_at(i)->name);
    return moe__reader_fail(r, MOE_E_UNSUPPORTED, at, "tensor type %u is not supported; supported are:%s",
                            type, list);
}

/* dims -> elements and bytes. */
static int tensor_size(const moe__reader *r, moe__tensor *t, uint64_t at)
{
    t->n = 1;
    for (uint32_t d = 0; d < 4; d++) {
        if (t->dim[d] < 1)
            return moe__reader_fail(r, MOE_E_FORMAT, at, "dimension %u: expected 1 or more, found 0", d);
        if (!moe__mul_ok(t->n, t->dim[d], &t->n) || t->n > INT64_MAX)
            return moe__reader_fail(r, MOE_E_FORMAT, at,
                                    "dimensions: expected less than 2^63 elements, found %llu x %llu x %llu "
                                    "x %llu",
                                    (unsigned long long)t->dim[0], (unsigned long long)t->dim[1],
                                    (unsigned long long)t->dim[2], (unsigned long long)t->dim[3]);
    }
    if (t->dim[0] % t->type->block != 0)
        return moe__reader_fail(r, MOE_E_FORMAT, at,
                                "rows of type %s: expected a multiple of %u elements, found %llu",
                                t->type->name, t->type->block, (unsigned long long)t->dim[0]);
    if (!moe__mul_ok(t->n / t->type->block, t->type->block_bytes, &t->bytes) || t->bytes > INT64_MAX)
        return moe__reader_fail(r, MOE_E_FORMAT, at,
                                "size: expected less than 2^63 bytes, found %llu elements of type %s",
                                (unsigned long long)t->n, t->type->name);
    return MOE_OK;
}

/* t->offset is relative to the data section here; place_tensors() makes it absolute. */
static int read_tensor(moe__file *f, moe__reader *r, moe__tensor *t, uint64_t alignment)
{
    uint32_t type;
    memset(t, 0, sizeof *t);
    r->subject = "";
    MOE_TRY(read_name(r, &f->pool, &t->name, "name"));
    const uint64_t at = r->pos;
    MOE_TRY(moe__reader_u32(r, &t->n_dims, "number of dimensions"));
    if (t->n_dims < 1 || t->n_dims > 4)
        return moe__reader_fail(r, MOE_E_FORMAT, at, "number of dimensions: expected 1 to 4, found %u",
                                t->n_dims);
    for (uint32_t d = 0; d < 4; d++) {
        t->dim[d] = 1;
        if (d < t->n_dims) MOE_TRY(moe__reader_u64(r, &t->dim[d], "dimension"));
    }
    const uint64_t type_at = r->pos;
    MOE_TRY(moe__reader_u32(r, &type, "tensor type"));
    t->type = type <= INT32_MAX ? moe__type_get((int)type) : NULL;
    if (!t->type) return unknown_type(r, type_at, type);
    MOE_TRY(tensor_size(r, t, at + 4));
    const uint64_t offset_at = r->pos;
    MOE_TRY(moe__reader_u64(r, &t->offset, "data offset"));
    if (t->offset % alignment != 0)
        return moe__reader_fail(r, MOE_E_FORMAT, offset_at,
                                "data offset: expected a multiple of the alignment %llu, found %llu",
                                (unsigned long long)alignment, (unsigned long long)t->offset);
    return MOE_OK;
}

static int read_tensors(moe__file *f, moe__reader *r, uint32_t shard, uint64_t n_tensors, uint64_t alignment)
{
    r->kind = "tensor";
    for (uint64_t i = 0; i < n_tensors; i++) {
        uint32_t dup;
        const uint64_t at = r->pos;
        if (f->n_tensors == f->cap_tensors) {
            const size_t cap = f->cap_tensors ? f->cap_tensors * 2 : 16;
            MOE_TRY(moe__realloc_array(&f->a, (void **)&f->tensor, cap, sizeof *f->tensor, "tensor table"));
            f->cap_tensors = cap;
        }
        moe__tensor *t = &f->tensor[f->n_tensors];
        MOE_TRY(read_tensor(f, r, t, alignment));
        t->shard = shard;
        const int st = moe__index_add(&f->tensor_index, &f->a, f->tensor, sizeof *f->tensor, &dup);
        if (st < 0) return index_fail(r, st, at);
        if (dup != MOE_INDEX_NONE)
            return moe__reader_fail(r, MOE_E_FORMAT, at,
                                    "expected a name that is new, found that of tensor %u", dup);
        f->n_tensors++;
    }
    r->subject = "";
    return MOE_OK;
}

/* Offsets from the start of the file; the data must lie inside it (unless only metadata is wanted) and must
 * not be shared. */
static int place_tensors(moe__file *f, moe__reader *r, size_t shard, size_t first, uint64_t data_start)
{
    r->kind = "tensor";
    for (size_t i = first; i < f->n_tensors; i++) {
        moe__tensor *t = &f->tensor[i];
        uint64_t end;
        r->subject = t->name;
        if (!moe__add_ok(t->offset, data_start, &t->offset) || !moe__add_ok(t->offset, t->bytes, &end) ||
            end > INT64_MAX)
            return moe__reader_fail(r, MOE_E_FORMAT, t->offset,
                                    "data: expected an end below 2^63, found %llu bytes from there",
                                    (unsigned long long)t->bytes);
        if (end > r->end && !(f->flags & MOE_OPEN_METADATA_ONLY))
            return moe__reader_fail(r, MOE_E_FORMAT, t->offset,
                                    "data: expected %llu bytes, found the end of the file at %llu",
                                    (unsigned long long)t->bytes, (unsigned long long)r->end);
    }
    r->subject = "";
    return moe__tensors_check_overlap(f, shard, first);
}

/* ------------------------------------------------------------------------------------------------- header */

static int read_version(moe__reader *r, uint32_t *version)
{
    uint32_t magic;
    if (r->end == 0) return moe__reader_fail(r, MOE_E_FORMAT, 0, "expected a GGUF file, found an empty one");
    MOE_TRY(moe__reader_u32(r, &magic, "magic"));
    if (magic != MAGIC)
        return moe__reader_fail(r, MOE_E_FORMAT, 0, "magic: expected \"GGUF\" (0x%08x), found 0x%08x", MAGIC,
                                magic);
    MOE_TRY(moe__reader_u32(r, version, "version"));
    if (*version != 0 && (*version & 0xffffu) == 0)
        return moe__reader_fail(r, MOE_E_UNSUPPORTED, 4,
                                "a big-endian file (version 0x%08x); versions 2 and 3, little-endian, are "
                                "supported",
                                *version);
    if (*version != 2 && *version != 3)
        return moe__reader_fail(r, MOE_E_UNSUPPORTED, 4, "version %u; versions 2 and 3 are supported",
                                *version);
    return MOE_OK;
}

static int read_alignment(const moe__reader *r, const moe__metas *metas, uint64_t *out)
{
    const int st = moe__metas_uint(metas, r->src->name, "general.alignment", UINT32_MAX, out);
    if (st == MOE_E_NOTFOUND)
        *out = DEFAULT_ALIGNMENT;
    else if (st < 0)
        return st;
    if (*out == 0 || (*out & (*out - 1)) != 0)
        return moe__fail(
            MOE_E_FORMAT, "%s: key 'general.alignment' at offset %llu: expected a power of two, found %llu",
            r->src->name, (unsigned long long)moe__metas_find(metas, "general.alignment")->offset,
            (unsigned long long)*out);
    return MOE_OK;
}

static int parse(moe__file *f, moe__reader *r, size_t shard, moe__metas *metas)
{
    uint64_t n_tensors, n_kv, alignment, start;
    uint32_t version = 0;
    const size_t first = f->n_tensors;
    MOE_TRY(read_version(r, &version));
    if (shard == 0) f->version = version;
    MOE_TRY(moe__reader_u64(r, &n_tensors, "number of tensors"));
    MOE_TRY(moe__reader_u64(r, &n_kv, "number of keys"));
    MOE_TRY(moe__reader_need_items(r, n_tensors, TENSOR_MIN, "number of tensors"));
    MOE_TRY(moe__reader_need_items(r, n_kv, KV_MIN, "number of keys"));
    MOE_TRY(read_metadata(f, r, metas, n_kv));
    MOE_TRY(read_alignment(r, metas, &alignment));
    MOE_TRY(read_tensors(f, r, (uint32_t)shard, n_tensors, alignment));
    if (!moe__add_ok(r->pos, alignment - 1, &start))
        return moe__reader_fail(r, MOE_E_FORMAT, r->pos, "the header is too long");
    return place_tensors(f, r, shard, first, start & ~(alignment - 1));
}

int moe__gguf_parse(moe__file *f, size_t i, moe__metas *metas)
{
    moe__reader r;
    MOE_TRY(moe__reader_init(&r, &f->shard[i], &f->a));
    const int st = parse(f, &r, i, metas);
    moe__reader_end(&r);
    return st;
}
