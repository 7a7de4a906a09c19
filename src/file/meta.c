/* SPDX-License-Identifier: MIT */
/* Metadata of an open file: decoding of values, look-ups by kind. See file.h; the entries come from the
 * format's parser. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "base/status.h"
#include "file/dir.h"
#include "file/reader.h"

const moe__meta_kind *moe__meta_kind_get(uint32_t type)
{
    static const moe__meta_kind kinds[] = {
        [MOE_META_U8] = {"u8", 1},       [MOE_META_I8] = {"i8", 1},     [MOE_META_U16] = {"u16", 2},
        [MOE_META_I16] = {"i16", 2},     [MOE_META_U32] = {"u32", 4},   [MOE_META_I32] = {"i32", 4},
        [MOE_META_F32] = {"f32", 4},     [MOE_META_BOOL] = {"bool", 1}, [MOE_META_STRING] = {"string", 0},
        [MOE_META_ARRAY] = {"array", 0}, [MOE_META_U64] = {"u64", 8},   [MOE_META_I64] = {"i64", 8},
        [MOE_META_F64] = {"f64", 8},
    };
    return type < sizeof kinds / sizeof *kinds ? &kinds[type] : NULL;
}

static void set_unsigned(moe_meta *m, uint64_t v)
{
    m->u64 = v;
    m->i64 =
        v <= INT64_MAX ? (int64_t)v : -(int64_t)(UINT64_MAX - v) - 1; /* wraps without undefined behaviour */
    m->f64 = (double)v;
}

static void set_signed(moe_meta *m, int64_t v)
{
    m->u64 = (uint64_t)v;
    m->i64 = v;
    m->f64 = (double)v;
}

void moe__meta_decode(int type, const unsigned char *raw, moe_meta *m)
{
    double d;
    uint64_t u;
    m->type = type;
    m->n = 1;
    switch (type) {
    case MOE_META_U8:
    case MOE_META_BOOL: set_unsigned(m, raw[0]); break;
    case MOE_META_I8: set_signed(m, (int8_t)raw[0]); break;
    case MOE_META_U16: set_unsigned(m, (uint16_t)(raw[0] | raw[1] << 8)); break;
    case MOE_META_I16: set_signed(m, (int16_t)(uint16_t)(raw[0] | raw[1] << 8)); break;
    case MOE_META_U32: set_unsigned(m, moe__le32(raw)); break;
    case MOE_META_I32: set_signed(m, (int32_t)moe__le32(raw)); break;
    case MOE_META_U64: set_unsigned(m, moe__le64(raw)); break;
    case MOE_META_I64: set_signed(m, (int64_t)moe__le64(raw)); break;
    case MOE_META_F32: m->f64 = (double)moe__f32_from_bits(moe__le32(raw)); break;
    case MOE_META_F64:
        u = moe__le64(raw);
        memcpy(&d, &u, sizeof d);
        m->f64 = d;
        break;
    default: break;
    }
}

static int is_integer(int type)
{
    return type != MOE_META_F32 && type != MOE_META_F64 && type != MOE_META_BOOL && type != MOE_META_STRING &&
           type != MOE_META_ARRAY;
}

static void entry_to_meta(const moe__meta_entry *e, moe_meta *out)
{
    *out = (moe_meta)MOE_META_INIT;
    moe__meta_decode(e->type, e->raw, out);
    out->key = e->key;
    out->elem_type = e->elem_type;
    out->n = e->n;
    if (e->type == MOE_META_STRING) out->str = e->data;
}

/* --------------------------------------------------------------------------------------------- by the key */

const moe__meta_entry *moe__metas_find(const moe__metas *m, const char *key)
{
    const uint32_t i = moe__index_find(&m->index, m->entry, sizeof *m->entry, key);
    return i == MOE_INDEX_NONE ? NULL : &m->entry[i];
}

void moe__metas_free(moe__metas *m, const moe__allocator *a)
{
    moe__index_free(&m->index, a);
    moe__free(a, m->entry);
    memset(m, 0, sizeof *m);
}

/* "file: key 'k' at offset N: expected X, found u32" */
static int wrong_kind(const char *file, const moe__meta_entry *e, const char *expected)
{
    const char *kind = moe__meta_kind_get((uint32_t)e->type)->name;
    if (e->type == MOE_META_ARRAY)
        return MOE_FAIL(FORMAT, "%s: key '%s' at offset %llu: expected %s, found an array of %llu %s", file,
                        e->key, (unsigned long long)e->offset, expected, (unsigned long long)e->n,
                        moe__meta_kind_get((uint32_t)e->elem_type)->name);
    return MOE_FAIL(FORMAT, "%s: key '%s' at offset %llu: expected %s, found a value of type %s", file,
                    e->key, (unsigned long long)e->offset, expected, kind);
}

int moe__metas_uint(const moe__metas *m, const char *file, const char *key, uint64_t max, uint64_t *out)
{
    const moe__meta_entry *e = moe__metas_find(m, key);
    moe_meta v = MOE_META_INIT;
    *out = 0;
    if (!e) return MOE_E_NOTFOUND;
    if (!is_integer(e->type)) return wrong_kind(file, e, "an integer");
    moe__meta_decode(e->type, e->raw, &v);
    const int negative = v.i64 < 0 && e->type != MOE_META_U64;
    if (negative || v.u64 > max) {
        if (negative)
            return MOE_FAIL(FORMAT, "%s: key '%s' at offset %llu: expected 0 to %llu, found %lld", file, key,
                            (unsigned long long)e->offset, (unsigned long long)max, (long long)v.i64);
        return MOE_FAIL(FORMAT, "%s: key '%s' at offset %llu: expected 0 to %llu, found %llu", file, key,
                        (unsigned long long)e->offset, (unsigned long long)max, (unsigned long long)v.u64);
    }
    *out = v.u64;
    return MOE_OK;
}

static int missing(const moe__file *f, const char *key)
{
    char name[96];
    return MOE_FAIL(NOTFOUND, "%s: key '%s' is missing", moe__file_name(f),
                    moe__printable(name, sizeof name, key, strlen(key)));
}

/* The entry under key, of the wanted type (-1: any). */
static int find(const moe__file *f, const char *key, int type, const char *expected,
                const moe__meta_entry **out)
{
    *out = moe__metas_find(&f->metas, key);
    if (!*out) return missing(f, key);
    if (type >= 0 && (*out)->type != type) return wrong_kind(moe__file_name(f), *out, expected);
    return MOE_OK;
}

size_t moe__file_meta_count(const moe__file *f) { return f->metas.n; }

int moe__file_meta_at(const moe__file *f, size_t i, moe_meta *out)
{
    if (i >= f->metas.n)
        return MOE_FAIL(RANGE, "%s: metadata entry %zu: expected less than %zu", moe__file_name(f), i,
                        f->metas.n);
    entry_to_meta(&f->metas.entry[i], out);
    return MOE_OK;
}

int moe__file_meta_find(const moe__file *f, const char *key, moe_meta *out)
{
    const moe__meta_entry *e;
    MOE_TRY(find(f, key, -1, "", &e));
    entry_to_meta(e, out);
    return MOE_OK;
}

int moe__file_get_u32(const moe__file *f, const char *key, uint32_t *out)
{
    uint64_t v;
    *out = 0;
    const int st = moe__metas_uint(&f->metas, moe__file_name(f), key, UINT32_MAX, &v);
    if (st == MOE_E_NOTFOUND) return missing(f, key);
    *out = (uint32_t)v;
    return st;
}

int moe__file_get_f32(const moe__file *f, const char *key, float *out)
{
    const moe__meta_entry *e;
    moe_meta v = MOE_META_INIT;
    *out = 0.0f;
    MOE_TRY(find(f, key, -1, "", &e));
    if (e->type != MOE_META_F32 && e->type != MOE_META_F64)
        return wrong_kind(moe__file_name(f), e, "a floating-point number");
    moe__meta_decode(e->type, e->raw, &v);
    if (!(fabs(v.f64) <= 3.4028234663852886e38)) /* FLT_MAX; also false for NaN */
        return MOE_FAIL(FORMAT, "%s: key '%s' at offset %llu: expected a finite number of f32, found another",
                        moe__file_name(f), key, (unsigned long long)e->offset);
    *out = (float)v.f64;
    return MOE_OK;
}

int moe__file_get_bool(const moe__file *f, const char *key, int *out)
{
    const moe__meta_entry *e;
    *out = 0;
    MOE_TRY(find(f, key, MOE_META_BOOL, "a bool", &e));
    *out = e->raw[0];
    return MOE_OK;
}

int moe__file_get_str(const moe__file *f, const char *key, const char **out, size_t *len)
{
    const moe__meta_entry *e;
    *out = NULL;
    if (len) *len = 0;
    MOE_TRY(find(f, key, MOE_META_STRING, "a string", &e));
    *out = e->data;
    if (len) *len = (size_t)e->n;
    return MOE_OK;
}

/* ------------------------------------------------------------------------------------------------- arrays */

static moe__array array_of(const moe__meta_entry *e)
{
    return (moe__array){.elem_type = e->elem_type, .n = e->n, .data = e->data, .impl = e->blob};
}

int moe__file_get_array(const moe__file *f, const char *key, moe__array *out)
{
    const moe__meta_entry *e;
    memset(out, 0, sizeof *out);
    MOE_TRY(find(f, key, MOE_META_ARRAY, "an array", &e));
    *out = array_of(e);
    return MOE_OK;
}

const char *moe__array_str(const moe__array *a, uint64_t i, size_t *len)
{
    const uint64_t *start = a->data;
    if (len) *len = (size_t)(start[i + 1] - start[i] - 1);
    return (const char *)a->impl + start[i];
}

static void array_elem(const moe__array *a, uint64_t i, moe_meta *out)
{
    moe__meta_decode(a->elem_type,
                     (const unsigned char *)a->data + i * moe__meta_kind_get((uint32_t)a->elem_type)->size,
                     out);
}

int64_t moe__array_int(const moe__array *a, uint64_t i)
{
    moe_meta v = MOE_META_INIT;
    array_elem(a, i, &v);
    return v.i64;
}

double moe__array_num(const moe__array *a, uint64_t i)
{
    moe_meta v = MOE_META_INIT;
    array_elem(a, i, &v);
    return v.f64;
}

int moe__file_meta_elem(const moe__file *f, const char *key, uint64_t j, moe_meta *out)
{
    const moe__meta_entry *e;
    MOE_TRY(find(f, key, -1, "", &e));
    if (e->type != MOE_META_ARRAY)
        return MOE_FAIL(INVALID, "%s: key '%s' is no array", moe__file_name(f), e->key);
    if (j >= e->n)
        return MOE_FAIL(RANGE, "%s: key '%s': element %llu: expected less than %llu", moe__file_name(f),
                        e->key, (unsigned long long)j, (unsigned long long)e->n);
    const moe__array a = array_of(e);
    *out = (moe_meta)MOE_META_INIT;
    if (a.elem_type == MOE_META_STRING) {
        size_t len;
        out->type = MOE_META_STRING;
        out->str = moe__array_str(&a, j, &len);
        out->n = len;
    } else {
        array_elem(&a, j, out);
    }
    return MOE_OK;
}
