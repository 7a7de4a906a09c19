/* SPDX-License-Identifier: MIT */
/*
 * The GGUF reader against files built by hand: what a sound file gives, and every way a damaged one is
 * refused. Each refusal is tried over mapped memory and over read_at, and its message must name what is wrong
 * where.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/status.h"
#include "file/file.h"
#include "file/source.h"
#include "gguf_bytes.h"

static moe__allocator heap;
static size_t heap_now, heap_peak; /* bytes the library holds */
static int fail_after = -1;        /* allocations that succeed; -1 = all */

static void *count_alloc(size_t n, size_t align, void *user)
{
    (void)user;
    if (n > (size_t)1 << 29) return NULL;
    if (fail_after >= 0 && fail_after-- == 0) {
        fail_after = 0;
        return NULL;
    }
    heap_now += n;
    if (heap_now > heap_peak) heap_peak = heap_now;
    return aligned_alloc(align, (n + align - 1) / align * align);
}

static void count_free(void *p, size_t n, void *user)
{
    (void)user;
    heap_now -= n;
    free(p);
}

static int open_bytes(moe__file **f, bytes *b, int mapped, uint32_t flags)
{
    const moe_file mf = bytes_file(mapped);
    return moe__file_open_user(f, &mf, b, &heap, flags);
}

/* The file is refused with `status`, both ways, and the message has all the words (ended by NULL). */
static void refused_(bytes *b, uint32_t flags, int status, ...)
{
    for (int mapped = 0; mapped < 2; mapped++) {
        moe__file *f = NULL;
        va_list ap;
        heap_peak = heap_now;
        const int st = open_bytes(&f, b, mapped, flags);
        if (st != status) print_error("status %d, message: %s\n", st, moe__last_error());
        assert_int_equal(st, status);
        assert_null(f);
        assert_int_equal(heap_now, 0);
        assert_true(heap_peak < 64 * b->n + 65536); /* memory in proportion to the file, whatever it claims */
        assert_non_null(strstr(moe__last_error(), "test.gguf"));
        va_start(ap, status);
        for (const char *word; (word = va_arg(ap, const char *)) != NULL;) {
            if (!strstr(moe__last_error(), word)) print_error("no '%s' in: %s\n", word, moe__last_error());
            assert_non_null(strstr(moe__last_error(), word));
        }
        va_end(ap);
    }
    bytes_free(b);
}
#define refused(b, ...) refused_((b), 0, __VA_ARGS__, (const char *)NULL)

/* ------------------------------------------------------------------------------------------- a sound file */

static const uint64_t dim_rows[2] = {32, 3}, dim_row[1] = {8};

/* Every metadata type, three arrays, two tensors out of order with a gap between them. */
static bytes sound_file(uint32_t version)
{
    bytes b = {0};
    put_header(&b, version, 2, 18);
    put_kv_str(&b, "general.architecture", "test");
    put_key(&b, "u8", MOE_META_U8), put_int(&b, 200, 1);
    put_key(&b, "i8", MOE_META_I8), put_int(&b, (uint64_t)-5, 1);
    put_key(&b, "u16", MOE_META_U16), put_int(&b, 60000, 2);
    put_key(&b, "i16", MOE_META_I16), put_int(&b, (uint64_t)-300, 2);
    put_kv_u32(&b, "u32", 4000000000u);
    put_key(&b, "i32", MOE_META_I32), put_int(&b, (uint64_t)-70000, 4);
    put_key(&b, "u64", MOE_META_U64), put_u64(&b, UINT64_MAX);
    put_key(&b, "i64", MOE_META_I64), put_u64(&b, (uint64_t)INT64_MIN);
    put_key(&b, "f32", MOE_META_F32), put_u32(&b, 0x40490000u);         /* 3.140625 */
    put_key(&b, "f64", MOE_META_F64), put_u64(&b, 0x3ff8000000000000u); /* 1.5 */
    put_key(&b, "nan", MOE_META_F32), put_u32(&b, 0x7fc00000u);
    put_key(&b, "yes", MOE_META_BOOL), put_int(&b, 1, 1);
    put_key(&b, "zero", MOE_META_STRING), put_u64(&b, 3), put(&b, "a\0b", 3);
    put_key(&b, "empty", MOE_META_ARRAY), put_u32(&b, MOE_META_F32), put_u64(&b, 0);
    put_key(&b, "ints", MOE_META_ARRAY), put_u32(&b, MOE_META_I16), put_u64(&b, 3);
    put_int(&b, 7, 2), put_int(&b, (uint64_t)-7, 2), put_int(&b, 32767, 2);
    put_key(&b, "words", MOE_META_ARRAY), put_u32(&b, MOE_META_STRING), put_u64(&b, 4);
    put_str(&b, "one"), put_str(&b, ""), put_u64(&b, 2), put(&b, "\0x", 2), put_str(&b, "four");
    put_kv_u32(&b, "general.alignment", 64);
    put_tensor(&b, "second", 1, dim_row, MOE_TYPE_F32, 128);
    put_tensor(&b, "first", 2, dim_rows, MOE_TYPE_Q8_0, 0); /* 3 * 34 = 102 bytes */
    put_padding(&b, 64);
    for (int i = 0; i < 102; i++) put_int(&b, (uint64_t)i, 1);
    put_padding(&b, 64);
    for (int i = 0; i < 32; i++) put_int(&b, (uint64_t)(200 - i), 1);
    return b;
}

static void check_meta(const moe__file *f)
{
    static const struct {
        const char *key;
        int type;
        int64_t i64;
        double f64;
    } want[] = {
        {"u8", MOE_META_U8, 200, 200},
        {"i8", MOE_META_I8, -5, -5},
        {"u16", MOE_META_U16, 60000, 60000},
        {"i16", MOE_META_I16, -300, -300},
        {"u32", MOE_META_U32, 4000000000, 4e9},
        {"i32", MOE_META_I32, -70000, -70000},
        {"u64", MOE_META_U64, -1, 18446744073709551615.0},
        {"i64", MOE_META_I64, INT64_MIN, -9223372036854775808.0},
        {"f32", MOE_META_F32, 0, 3.140625},
        {"f64", MOE_META_F64, 0, 1.5},
        {"yes", MOE_META_BOOL, 1, 1},
    };
    moe_meta m = MOE_META_INIT;
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        assert_int_equal(moe__file_meta_find(f, want[i].key, &m), MOE_OK);
        assert_string_equal(m.key, want[i].key);
        assert_int_equal(m.type, want[i].type);
        assert_true(m.i64 == want[i].i64);
        assert_true(m.f64 == want[i].f64);
        assert_int_equal(m.n, 1);
    }
    assert_int_equal(moe__file_meta_find(f, "zero", &m), MOE_OK);
    assert_int_equal(m.n, 3);
    assert_memory_equal(m.str, "a\0b", 4);
    assert_int_equal(moe__file_meta_at(f, 0, &m), MOE_OK);
    assert_string_equal(m.key, "general.architecture");
    assert_int_equal(moe__file_meta_at(f, 18, &m), MOE_E_RANGE);
    assert_int_equal(moe__file_meta_find(f, "none", &m), MOE_E_NOTFOUND);
    assert_non_null(strstr(moe__last_error(), "'none'"));
}

static void check_arrays(const moe__file *f)
{
    moe__array a;
    moe_meta m = MOE_META_INIT;
    size_t len;
    assert_int_equal(moe__file_get_array(f, "words", &a), MOE_OK);
    assert_int_equal(a.n, 4);
    assert_string_equal(moe__array_str(&a, 0, &len), "one");
    assert_string_equal(moe__array_str(&a, 1, &len), "");
    assert_int_equal(len, 0);
    assert_memory_equal(moe__array_str(&a, 2, &len), "\0x", 3);
    assert_int_equal(len, 2);
    assert_string_equal(moe__array_str(&a, 3, NULL), "four");
    assert_int_equal(moe__file_get_array(f, "ints", &a), MOE_OK);
    assert_true(moe__array_int(&a, 1) == -7 && moe__array_int(&a, 2) == 32767);
    assert_true(moe__array_num(&a, 1) == -7.0);
    assert_int_equal(moe__file_get_array(f, "empty", &a), MOE_OK);
    assert_int_equal(a.n, 0);
    assert_int_equal(moe__file_meta_elem(f, "words", 3, &m), MOE_OK);
    assert_int_equal(m.n, 4);
    assert_string_equal(m.str, "four");
    assert_null(m.key);
    assert_int_equal(moe__file_meta_elem(f, "ints", 1, &m), MOE_OK);
    assert_true(m.i64 == -7);
    assert_int_equal(moe__file_meta_elem(f, "ints", 3, &m), MOE_E_RANGE);
    assert_int_equal(moe__file_meta_elem(f, "u8", 0, &m), MOE_E_INVALID);
    assert_int_equal(moe__file_meta_elem(f, "none", 0, &m), MOE_E_NOTFOUND);
}

static void check_tensors(const moe__file *f, int mapped)
{
    unsigned char data[102];
    const void *p;
    assert_int_equal(moe__file_tensor_count(f), 2);
    const moe__tensor *t = moe__file_tensor_find(f, "first");
    assert_ptr_equal(t, moe__file_tensor_at(f, 1));
    assert_string_equal(t->type->name, "Q8_0");
    assert_true(t->n == 96 && t->bytes == 102 && t->n_dims == 2 && t->dim[1] == 3 && t->dim[2] == 1);
    assert_int_equal(t->offset % 64, 0);
    assert_int_equal(moe__file_tensor_map(f, t, &p), MOE_OK);
    assert_int_equal(p != NULL, mapped);
    assert_int_equal(moe__file_tensor_read(f, t, 0, data, 102), MOE_OK);
    for (int i = 0; i < 102; i++) assert_int_equal(data[i], i);
    if (mapped) assert_memory_equal(p, data, 102);
    assert_int_equal(moe__file_tensor_read(f, t, 100, data, 2), MOE_OK);
    assert_int_equal(data[1], 101);
    assert_int_equal(moe__file_tensor_read(f, t, 100, data, 3), MOE_E_RANGE);
    assert_int_equal(moe__file_tensor_read(f, t, UINT64_MAX, data, 2), MOE_E_RANGE);
    assert_non_null(strstr(moe__last_error(), "'first'"));
    t = moe__file_tensor_find(f, "second");
    assert_int_equal(moe__file_tensor_read(f, t, 0, data, 32), MOE_OK);
    assert_int_equal(data[31], 200 - 31);
    assert_null(moe__file_tensor_find(f, "third"));
    assert_null(moe__file_tensor_at(f, 2));
}

static void a_sound_file_answers(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++)
        for (int mapped = 0; mapped < 2; mapped++)
            for (uint32_t flags = 0; flags <= MOE_OPEN_NO_MMAP; flags++) {
                bytes b = sound_file(version);
                moe__file *f;
                assert_int_equal(open_bytes(&f, &b, mapped, flags), MOE_OK);
                check_meta(f);
                check_arrays(f);
                check_tensors(f, mapped && flags == 0);
                assert_true(moe__file_overhead(f) == heap_now);
                moe__file_close(f);
                assert_int_equal(heap_now, 0);
                bytes_free(&b);
            }
}

static void typed_lookups_check_kind_and_range(void **state)
{
    (void)state;
    bytes b = sound_file(3);
    moe__file *f;
    uint32_t u;
    float x;
    int yes;
    const char *s;
    size_t len;
    moe__array a;
    assert_int_equal(open_bytes(&f, &b, 1, 0), MOE_OK);
    assert_int_equal(moe__file_get_u32(f, "u16", &u), MOE_OK);
    assert_int_equal(u, 60000);
    static const char *const no_u32[] = {"i8", "u64", "f32", "yes", "zero", "ints"};
    for (size_t i = 0; i < sizeof no_u32 / sizeof *no_u32; i++) {
        assert_int_equal(moe__file_get_u32(f, no_u32[i], &u), MOE_E_FORMAT);
        assert_non_null(strstr(moe__last_error(), no_u32[i]));
        assert_non_null(strstr(moe__last_error(), "offset"));
        assert_non_null(strstr(moe__last_error(), "expected"));
        assert_non_null(strstr(moe__last_error(), "found"));
    }
    assert_int_equal(moe__file_get_u32(f, "i8", &u), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "found -5"));
    assert_int_equal(moe__file_get_u32(f, "u64", &u), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "found 18446744073709551615"));
    assert_int_equal(moe__file_get_u32(f, "none", &u), MOE_E_NOTFOUND);
    assert_int_equal(moe__file_get_f32(f, "f64", &x), MOE_OK);
    assert_true(x == 1.5f);
    assert_int_equal(moe__file_get_f32(f, "nan", &x), MOE_E_FORMAT);
    assert_int_equal(moe__file_get_f32(f, "u8", &x), MOE_E_FORMAT);
    assert_int_equal(moe__file_get_bool(f, "yes", &yes), MOE_OK);
    assert_int_equal(yes, 1);
    assert_int_equal(moe__file_get_bool(f, "u8", &yes), MOE_E_FORMAT);
    assert_int_equal(moe__file_get_str(f, "general.architecture", &s, &len), MOE_OK);
    assert_string_equal(s, "test");
    assert_int_equal(len, 4);
    assert_int_equal(moe__file_get_str(f, "words", &s, &len), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "array of 4 string"));
    assert_int_equal(moe__file_get_array(f, "u8", &a), MOE_E_FORMAT);
    moe__file_close(f);
    bytes_free(&b);
}

/* ----------------------------------------------------------------------------------------- broken headers */

static void headers_are_refused(void **state)
{
    (void)state;
    bytes b = {0};
    refused(&b, MOE_E_FORMAT, "empty");
    put(&b, "GG", 2);
    refused(&b, MOE_E_FORMAT, "magic", "offset 0", "expected 4 bytes", "found only 2");
    put(&b, "GGML\3\0\0\0", 8);
    refused(&b, MOE_E_FORMAT, "magic", "found 0x4c4d4747");
    put_header(&b, 1, 0, 0);
    refused(&b, MOE_E_UNSUPPORTED, "version 1", "2 and 3");
    put_header(&b, 4, 0, 0);
    refused(&b, MOE_E_UNSUPPORTED, "version 4");
    put_header(&b, 0, 0, 0);
    refused(&b, MOE_E_UNSUPPORTED, "version 0");
    put_header(&b, 0x03000000u, 0, 0);
    refused(&b, MOE_E_UNSUPPORTED, "big-endian");
}

/* 24 bytes of header with absurd counts and 13 bytes of nothing: known to make other programs abort. */
static void the_37_byte_file_is_refused(void **state)
{
    static const uint64_t counts[][2] = {{UINT64_MAX, 0}, {0, UINT64_MAX},         {UINT64_MAX, UINT64_MAX},
                                         {0, INT64_MAX},  {(uint64_t)1 << 61, 1},  {1, 1},
                                         {0, 2},          {0, UINT64_MAX / 14 + 2}};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        bytes b = {0};
        put_header(&b, 3, counts[i][0], counts[i][1]);
        put_int(&b, 0x7fffffffffffffffu, 8), put_int(&b, 0, 5);
        assert_int_equal(b.n, 37);
        refused(&b, MOE_E_FORMAT, "number of", "expected at most", "found");
    }
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    bytes whole = sound_file(3);
    for (size_t n = 0; n < whole.n; n++)
        for (int mapped = 0; mapped < 2; mapped++) {
            /* a copy of its own, so that the sanitizer sees a read past the end */
            bytes cut = {malloc(n + 1), n, n};
            moe__file *f;
            cut.p = realloc(cut.p, n ? n : 1);
            memcpy(cut.p, whole.p, n);
            const int st = open_bytes(&f, &cut, mapped, 0);
            assert_int_equal(st, MOE_E_FORMAT);
            assert_non_null(strstr(moe__last_error(), "offset"));
            assert_int_equal(heap_now, 0);
            bytes_free(&cut);
        }
    bytes_free(&whole);
}

static void metadata_only_needs_no_data(void **state)
{
    (void)state;
    unsigned char data[102];
    const void *p;
    moe__file *f;
    bytes b = sound_file(3);
    b.n -= 150;
    assert_int_equal(open_bytes(&f, &b, 0, 0), MOE_E_FORMAT);
    assert_int_equal(open_bytes(&f, &b, 0, MOE_OPEN_METADATA_ONLY), MOE_OK);
    check_meta(f);
    const moe__tensor *t = moe__file_tensor_find(f, "second");
    assert_int_equal(moe__file_tensor_read(f, t, 0, data, 1), MOE_E_FORMAT);
    assert_int_equal(moe__file_tensor_map(f, t, &p), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "'second'"));
    moe__file_close(f);
    bytes_free(&b);
}

/* ---------------------------------------------------------------------------------------- broken metadata */

/* A file of one key that the caller has begun; padded so that counts of tensors are not what fails. */
static void refused_kv(bytes *b, int status, const char *w1, const char *w2, const char *w3)
{
    refused(b, status, w1, w2, w3);
}

static bytes one_kv(void)
{
    bytes b = {0};
    put_header(&b, 3, 0, 1);
    return b;
}

static void metadata_is_refused(void **state)
{
    (void)state;
    bytes b = one_kv();
    put_str(&b, ""), put_u64(&b, 0), put_u64(&b, 0);
    refused_kv(&b, MOE_E_FORMAT, "key", "offset 24", "found 0");
    b = one_kv();
    put_u64(&b, 65536), put_u64(&b, 0), put_u64(&b, 0);
    refused_kv(&b, MOE_E_FORMAT, "key", "1 to 65535", "found 65536");
    b = one_kv();
    put_u64(&b, 60000), put_u64(&b, 0), put_u64(&b, 0);
    refused_kv(&b, MOE_E_FORMAT, "key", "expected 60000 bytes", "found only 16");
    b = one_kv();
    put_u64(&b, 2), put(&b, "a", 2), put_u32(&b, MOE_META_U32), put_u32(&b, 1);
    refused_kv(&b, MOE_E_FORMAT, "key", "zero byte", "offset 24");
    b = one_kv();
    put_key(&b, "bad.type", 13), put_u64(&b, 0);
    refused_kv(&b, MOE_E_FORMAT, "'bad.type'", "0 to 12", "found 13");
    b = one_kv();
    put_key(&b, "flag", MOE_META_BOOL), put_int(&b, 2, 1);
    refused_kv(&b, MOE_E_FORMAT, "'flag'", "expected 0 or 1", "found 2");
    b = one_kv();
    put_key(&b, "text", MOE_META_STRING), put_u64(&b, UINT64_MAX);
    refused_kv(&b, MOE_E_FORMAT, "'text'", "expected 18446744073709551615 bytes", "found only 0");
    b = one_kv();
    put_key(&b, "\033[31mred", 99), put_u64(&b, 0);
    refused_kv(&b, MOE_E_FORMAT, "'?[31mred'", "found 99", "offset"); /* nothing reaches a terminal raw */
}

static void arrays_are_refused(void **state)
{
    (void)state;
    bytes b = one_kv();
    put_key(&b, "nested", MOE_META_ARRAY), put_u32(&b, MOE_META_ARRAY), put_u64(&b, 1);
    refused_kv(&b, MOE_E_UNSUPPORTED, "'nested'", "array of arrays", "offset 42");
    b = one_kv();
    put_key(&b, "arr", MOE_META_ARRAY), put_u32(&b, 77), put_u64(&b, 1);
    refused_kv(&b, MOE_E_FORMAT, "'arr'", "element type", "found 77");
    static const uint64_t counts[] = {UINT64_MAX, INT64_MAX, UINT64_MAX / 8 + 1, UINT64_MAX / 4 + 1, 5};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        b = one_kv();
        put_key(&b, "arr", MOE_META_ARRAY), put_u32(&b, MOE_META_U32), put_u64(&b, counts[i]);
        put_u64(&b, 0), put_u64(&b, 0);
        refused_kv(&b, MOE_E_FORMAT, "'arr'", "expected at most 4", "offset");
        b = one_kv();
        put_key(&b, "arr", MOE_META_ARRAY), put_u32(&b, MOE_META_STRING), put_u64(&b, counts[i]);
        put_u64(&b, 0), put_u64(&b, 0);
        refused_kv(&b, MOE_E_FORMAT, "'arr'", "expected at most 2", "offset");
    }
    b = one_kv();
    put_key(&b, "arr", MOE_META_ARRAY), put_u32(&b, MOE_META_STRING), put_u64(&b, 2);
    put_str(&b, "ok"), put_u64(&b, UINT64_MAX - 1), put_u64(&b, 0);
    refused_kv(&b, MOE_E_FORMAT, "'arr'", "string", "found only 8");
    b = one_kv();
    put_key(&b, "flags", MOE_META_ARRAY), put_u32(&b, MOE_META_BOOL), put_u64(&b, 3), put(&b, "\1\0\7", 3);
    refused_kv(&b, MOE_E_FORMAT, "'flags'", "expected 0 or 1", "found 7");
}

static void duplicate_keys_are_refused(void **state)
{
    (void)state;
    bytes b = {0};
    put_header(&b, 3, 0, 40);
    for (int i = 0; i < 40; i++) {
        char key[16];
        snprintf(key, sizeof key, "key.%d", i == 39 ? 3 : i);
        put_kv_u32(&b, key, 1);
    }
    refused_kv(&b, MOE_E_FORMAT, "'key.3'", "already", "offset");
}

static void alignment_is_checked(void **state)
{
    static const uint32_t bad[] = {0, 3, 48, UINT32_MAX};
    (void)state;
    bytes b;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b = one_kv();
        put_kv_u32(&b, "general.alignment", bad[i]);
        refused_kv(&b, MOE_E_FORMAT, "'general.alignment'", "power of two", "found");
    }
    b = one_kv();
    put_kv_str(&b, "general.alignment", "32");
    refused_kv(&b, MOE_E_FORMAT, "'general.alignment'", "expected an integer", "type string");
}

/* ----------------------------------------------------------------------------------------- broken tensors */

static bytes tensors(uint64_t n)
{
    bytes b = {0};
    put_header(&b, 3, n, 0);
    return b;
}

static void finish(bytes *b, size_t data)
{
    put_padding(b, 32);
    for (size_t i = 0; i < data; i++) put(b, "", 1);
}

static void tensor_shapes_are_refused(void **state)
{
    (void)state;
    bytes b;
    for (uint32_t n = 0; n < 10; n += 5) {
        const uint64_t d[5] = {1, 1, 1, 1, 1};
        b = tensors(1);
        put_tensor(&b, "shape", n, d, MOE_TYPE_F32, 0);
        finish(&b, 64);
        refused(&b, MOE_E_FORMAT, "'shape'", "1 to 4", n ? "found 5" : "found 0");
    }
    static const struct {
        uint64_t d[4];
        uint32_t type;
        const char *why;
    } bad[] = {
        {{0, 1, 1, 1}, MOE_TYPE_F32, "dimension 0"},
        {{4, 1, 0, 1}, MOE_TYPE_F32, "dimension 2"},
        {{33, 1, 1, 1}, MOE_TYPE_Q8_0, "multiple of 32"},
        {{128, 2, 1, 1}, MOE_TYPE_Q4_K, "multiple of 256"},
        {{UINT64_MAX, 2, 1, 1}, MOE_TYPE_F32, "2^63 elements"},
        {{(uint64_t)1 << 32, (uint64_t)1 << 32, 1, 1}, MOE_TYPE_F32, "2^63 elements"},
        {{(uint64_t)1 << 62, 1, 1, 1}, MOE_TYPE_F32, "2^63 bytes"},
        {{(uint64_t)1 << 60, 2, 1, 1}, MOE_TYPE_F32, "2^63 bytes"},
        {{(uint64_t)1 << 60, 1, 1, 1}, MOE_TYPE_F32, "end of the file"},
        {{32, 1, 1, 1}, MOE_TYPE_F32, "end of the file"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b = tensors(1);
        put_tensor(&b, "shape", 4, bad[i].d, bad[i].type, 0);
        finish(&b, 127);
        refused(&b, MOE_E_FORMAT, "tensor 'shape' at offset", "expected", bad[i].why, "found");
    }
}

static void tensor_places_are_refused(void **state)
{
    const uint64_t d[1] = {8}; /* 32 bytes */
    static const uint64_t bad[] = {64, 1024, (uint64_t)1 << 62, UINT64_MAX - 31};
    (void)state;
    bytes b;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b = tensors(1);
        put_tensor(&b, "place", 1, d, MOE_TYPE_F32, bad[i]);
        finish(&b, 64);
        refused(&b, MOE_E_FORMAT, "'place'", "expected", i < 3 ? "end of the file" : "2^63");
    }
    b = tensors(1);
    put_tensor(&b, "place", 1, d, MOE_TYPE_F32, 8);
    finish(&b, 64);
    refused(&b, MOE_E_FORMAT, "'place'", "multiple of the alignment 32", "found 8");
    static const uint64_t place[][3] = {{0, 0, 64}, {64, 0, 0}, {0, 64, 32}, {64, 0, 96}};
    for (size_t i = 0; i < 4; i++) { /* t1 has 64 bytes, the others 32 */
        const uint64_t d64[1] = {16};
        b = tensors(3);
        put_tensor(&b, "t0", 1, d, MOE_TYPE_F32, place[i][0]);
        put_tensor(&b, "t1", 1, d64, MOE_TYPE_F32, place[i][1]);
        put_tensor(&b, "t2", 1, d, MOE_TYPE_F32, place[i][2]);
        finish(&b, 256);
        if (i < 2) {
            refused(&b, MOE_E_FORMAT, "tensor 't", "data of its own", "found");
        } else { /* out of order, but apart */
            moe__file *f;
            assert_int_equal(open_bytes(&f, &b, 1, 0), MOE_OK);
            moe__file_close(f);
            bytes_free(&b);
        }
    }
}

static void tensor_names_and_types_are_refused(void **state)
{
    const uint64_t d[1] = {8};
    (void)state;
    bytes b = tensors(2);
    put_tensor(&b, "twin", 1, d, MOE_TYPE_F32, 0);
    put_tensor(&b, "twin", 1, d, MOE_TYPE_F32, 32);
    finish(&b, 64);
    refused(&b, MOE_E_FORMAT, "'twin'", "new");
    b = tensors(1);
    put_tensor(&b, "", 1, d, MOE_TYPE_F32, 0);
    finish(&b, 64);
    refused(&b, MOE_E_FORMAT, "tensor at offset 24", "1 to 65535");
    static const uint32_t types[] = {4, 5, 9, 16, 40, 0x7fffffff, 0x80000000u, UINT32_MAX};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char number[16];
        snprintf(number, sizeof number, "type %u ", types[i]);
        b = tensors(1);
        put_tensor(&b, "odd", 1, d, types[i], 0);
        finish(&b, 64);
        refused(&b, MOE_E_UNSUPPORTED, "'odd'", number, "Q4_K", "MXFP4", "F32");
    }
}

/* Random bytes changed in a sound file: any answer but a crash, and what opens can be walked. */
static void random_damage_is_survived(void **state)
{
    (void)state;
    uint32_t rng = 12345;
    for (int round = 0; round < 4000; round++) {
        bytes b = sound_file(3);
        moe__file *f;
        for (int k = 0; k < 1 + round % 3; k++) {
            rng = rng * 1664525u + 1013904223u;
            const size_t at = (rng >> 8) % (b.n - 200);
            rng = rng * 1664525u + 1013904223u;
            b.p[at] = (unsigned char)(rng >> 24);
        }
        if (open_bytes(&f, &b, round & 1, 0) == MOE_OK) {
            moe_meta m = MOE_META_INIT;
            unsigned char c;
            for (size_t i = 0; i < moe__file_meta_count(f); i++) {
                assert_int_equal(moe__file_meta_at(f, i, &m), MOE_OK);
                if (m.type == MOE_META_ARRAY && m.n > 0)
                    assert_int_equal(moe__file_meta_elem(f, m.key, m.n - 1, &m), MOE_OK);
            }
            for (size_t i = 0; i < moe__file_tensor_count(f); i++) {
                const moe__tensor *t = moe__file_tensor_at(f, i);
                assert_int_equal(moe__file_tensor_read(f, t, t->bytes - 1, &c, 1), MOE_OK);
            }
            moe__file_close(f);
        }
        assert_int_equal(heap_now, 0);
        bytes_free(&b);
    }
}

/* --------------------------------------------------------------------------------------------- split sets */

typedef struct part {
    bytes b;
    int open, closed;
    char name[64];
} part;

static part parts[3];

static uint64_t part_length(void *f) { return ((part *)f)->b.n; }
static int part_read_at(void *f, uint64_t off, void *dst, size_t n)
{
    return bytes_read_at(&((part *)f)->b, off, dst, n);
}
static void part_close(void *f) { ((part *)f)->closed++; }

static int part_sibling(void *f, const char *name, moe_file *out, void **out_user)
{
    (void)f;
    for (size_t i = 0; i < 3; i++)
        if (strcmp(name, parts[i].name) == 0) {
            parts[i].open++;
            out->name = parts[i].name;
            out->length = part_length;
            out->read_at = part_read_at;
            out->close = part_close;
            *out_user = &parts[i];
            return 0;
        }
    return MOE_E_NOTFOUND;
}

static void make_parts(uint64_t total, const char *last_tensor, uint32_t no_of_last)
{
    const uint64_t d[1] = {8};
    for (uint32_t i = 0; i < 3; i++) {
        bytes *b = &parts[i].b;
        bytes_free(b);
        parts[i].open = parts[i].closed = 0;
        snprintf(parts[i].name, sizeof parts[i].name, "m-0000%u-of-00003.gguf", i + 1);
        put_header(b, 3, 1, i == 0 ? 4 : 3);
        put_key(b, "split.no", MOE_META_U16), put_int(b, i == 2 ? no_of_last : i, 2);
        put_key(b, "split.count", MOE_META_U16), put_int(b, 3, 2);
        put_key(b, "split.tensors.count", MOE_META_I32), put_int(b, total, 4);
        if (i == 0) put_kv_str(b, "general.name", "set");
        put_tensor(b, i == 2 ? last_tensor : i == 1 ? "b" : "a", 1, d, MOE_TYPE_F32, 0);
        put_padding(b, 32);
        for (int k = 0; k < 32; k++) put_int(b, i * 50 + (uint64_t)k, 1);
    }
}

static int open_parts(moe__file **f, const char *name)
{
    moe_file mf = MOE_FILE_INIT;
    mf.name = name;
    mf.length = part_length;
    mf.read_at = part_read_at;
    mf.close = part_close;
    mf.sibling = part_sibling;
    parts[0].open = 1;
    return moe__file_open_user(f, &mf, &parts[0], &heap, 0);
}

static void all_parts_closed_once(void)
{
    for (size_t i = 0; i < 3; i++) assert_int_equal(parts[i].open, parts[i].closed);
    assert_int_equal(heap_now, 0);
}

static void split_sets_open_as_one(void **state)
{
    (void)state;
    moe__file *f;
    unsigned char c[32];
    make_parts(3, "c", 2);
    assert_int_equal(open_parts(&f, "some/dir/m-00001-of-00003.gguf"), MOE_OK);
    assert_int_equal(moe__file_tensor_count(f), 3);
    assert_int_equal(moe__file_meta_count(f), 4);
    for (uint32_t i = 0; i < 3; i++) {
        const moe__tensor *t = moe__file_tensor_at(f, i);
        assert_int_equal(t->shard, i);
        assert_int_equal(moe__file_tensor_read(f, t, 0, c, 32), MOE_OK);
        assert_int_equal(c[3], i * 50 + 3);
    }
    moe__file_close(f);
    all_parts_closed_once();
}

static void damaged_split_sets_are_refused(void **state)
{
    (void)state;
    moe__file *f;
    const char *first = "m-00001-of-00003.gguf";
    make_parts(4, "c", 2);
    assert_int_equal(open_parts(&f, first), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "split.tensors.count"));
    all_parts_closed_once();
    make_parts(3, "a", 2); /* a tensor twice */
    assert_int_equal(open_parts(&f, first), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "m-00003-of-00003.gguf: tensor 'a'"));
    all_parts_closed_once();
    make_parts(3, "c", 1); /* the third says it is the second */
    assert_int_equal(open_parts(&f, first), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "expected part 2 of 3, found 1 of 3"));
    all_parts_closed_once();
    make_parts(3, "c", 2);
    assert_int_equal(open_parts(&f, "renamed.gguf"), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "-00001-of-00003.gguf"));
    all_parts_closed_once();
    strcpy(parts[1].name, "gone");
    assert_int_equal(open_parts(&f, first), MOE_E_NOTFOUND);
    assert_non_null(strstr(moe__last_error(), "m-00002-of-00003.gguf"));
    assert_int_equal(heap_now, 0);
    make_parts(3, "c", 2);
    parts[1].open = 1;
    moe_file mf = MOE_FILE_INIT;
    mf.name = parts[1].name, mf.length = part_length, mf.read_at = part_read_at, mf.close = part_close;
    assert_int_equal(moe__file_open_user(&f, &mf, &parts[1], &heap, 0), MOE_E_UNSUPPORTED);
    assert_non_null(strstr(moe__last_error(), "part 2 of 3"));
    parts[0].open = 1;
    assert_int_equal(moe__file_open_user(&f, &mf, &parts[0], &heap, 0),
                     MOE_E_FORMAT); /* name of the second */
    mf.name = first, parts[0].open = 2;
    assert_int_equal(moe__file_open_user(&f, &mf, &parts[0], &heap, 0), MOE_E_UNSUPPORTED);
    assert_non_null(strstr(moe__last_error(), "sibling"));
    all_parts_closed_once();
    for (size_t i = 0; i < 3; i++) bytes_free(&parts[i].b);
}

/* ------------------------------------------------------------------------------------ files and callbacks */

static int failing_read(void *f, uint64_t off, void *dst, size_t n)
{
    (void)f, (void)off, (void)dst, (void)n;
    return -77;
}
static int confused_read(void *f, uint64_t off, void *dst, size_t n)
{
    (void)f, (void)off, (void)dst, (void)n;
    return 5;
}
static int n_closed;
static void count_close(void *f)
{
    (void)f;
    n_closed++;
}

static void callbacks_are_not_trusted(void **state)
{
    (void)state;
    bytes b = sound_file(3);
    moe__file *f;
    moe_file mf = bytes_file(0);
    mf.close = count_close;
    n_closed = 0;
    mf.read_at = failing_read;
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), -77); /* comes out unchanged */
    mf.read_at = confused_read;
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_E_CALLBACK);
    mf.read_at = NULL;
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_E_INVALID);
    assert_int_equal(n_closed, 3);
    mf.read_at = bytes_read_at;
    mf.name = NULL;
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_OK);
    assert_string_equal(moe__file_name(f), "(memory)");
    moe__file_close(f);
    assert_int_equal(n_closed, 4);
    mf.size = 0;
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_E_INVALID);
    bytes_free(&b);
}

static void files_open_mapped_and_read(void **state)
{
    (void)state;
    char path[] = "/tmp/libmoe-test-XXXXXX";
    bytes b = sound_file(3);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, b.p, (unsigned)b.n), (int)b.n);
    close(fd);
    for (uint32_t flags = 0; flags <= MOE_OPEN_NO_MMAP; flags++) {
        moe__file *f;
        assert_int_equal(moe__file_open(&f, path, &heap, flags), MOE_OK);
        assert_string_equal(moe__file_name(f), path);
        check_meta(f);
        check_arrays(f);
        check_tensors(f, flags == 0);
        moe__file_close(f);
        assert_int_equal(heap_now, 0);
    }
    unlink(path);
    moe__file *f;
    assert_int_equal(moe__file_open(&f, path, &heap, 0), MOE_E_NOTFOUND);
    assert_non_null(strstr(moe__last_error(), path));
    assert_int_equal(moe__file_open(&f, "/tmp", &heap, 0), MOE_E_IO);
    assert_non_null(strstr(moe__last_error(), "directory"));
    assert_int_equal(heap_now, 0);
    bytes_free(&b);
}

/* The strings of a long array cross the read window's border at every possible place. */
static void long_arrays_cross_the_window(void **state)
{
    (void)state;
    bytes b = one_kv();
    put_key(&b, "words", MOE_META_ARRAY), put_u32(&b, MOE_META_STRING), put_u64(&b, 9000);
    for (unsigned i = 0; i < 9000; i++) {
        char word[24];
        snprintf(word, sizeof word, "%.*s%u", (int)(i % 11), "abcdefghijklm", i);
        put_str(&b, word);
    }
    for (int mapped = 0; mapped < 2; mapped++) {
        moe__file *f;
        moe__array a;
        assert_int_equal(open_bytes(&f, &b, mapped, 0), MOE_OK);
        assert_int_equal(moe__file_get_array(f, "words", &a), MOE_OK);
        for (unsigned i = 0; i < 9000; i++) {
            char word[24];
            size_t len;
            snprintf(word, sizeof word, "%.*s%u", (int)(i % 11), "abcdefghijklm", i);
            assert_string_equal(moe__array_str(&a, i, &len), word);
            assert_int_equal(len, strlen(word));
        }
        assert_true(moe__file_overhead(f) < 2 * b.n);
        moe__file_close(f);
    }
    bytes_free(&b);
}

/* The hash of file/index.c, to make names that all want the same place. */
static uint64_t name_hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static void names_made_to_collide_are_refused(void **state)
{
    (void)state;
    for (int as_tensors = 0; as_tensors < 2; as_tensors++) {
        const uint64_t dim[1] = {1};
        bytes b = {0};
        put_header(&b, 3, as_tensors ? 600 : 0, as_tensors ? 0 : 600);
        uint64_t offset = 0;
        for (unsigned i = 0, n = 0; n < 600; i++) {
            char name[16];
            snprintf(name, sizeof name, "n%u", i);
            if ((name_hash(name) & 2047) != 77) continue;
            if (as_tensors)
                put_tensor(&b, name, 1, dim, MOE_TYPE_F32, 32 * offset++);
            else
                put_kv_u32(&b, name, 1);
            n++;
        }
        finish(&b, 600 * 32);
        refused(&b, MOE_E_FORMAT, "collide", as_tensors ? "tensor 'n" : "key 'n", "offset");
    }
}

/* After the first read the first string is longer by just the one behind it, so that the next ones are found
 * in place. */
static int growing_read(void *f, uint64_t off, void *dst, size_t n)
{
    bytes *b = f;
    const int st = bytes_read_at(f, off, dst, n);
    b->p[24 + 8 + 5 + 4 + 4 + 8] = 1 + 9;
    return st;
}

static void a_file_that_changes_is_refused(void **state)
{
    (void)state;
    moe__file *f;
    bytes b = one_kv();
    put_key(&b, "words", MOE_META_ARRAY), put_u32(&b, MOE_META_STRING), put_u64(&b, 4000);
    for (int i = 0; i < 4000; i++)
        put_str(&b, "x"); /* more than one window, so that the start is read again */
    moe_file mf = bytes_file(0);
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_OK);
    moe__file_close(f);
    mf.read_at = growing_read;
    assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_E_IO);
    assert_non_null(strstr(moe__last_error(), "'words'"));
    assert_non_null(strstr(moe__last_error(), "changed"));
    assert_int_equal(heap_now, 0);
    bytes_free(&b);
}

/* A header in a file that says it is 2^42 bytes long and is zero from there on, as a sparse file may be. */
static uint64_t sparse_length(void *f)
{
    (void)f;
    return (uint64_t)1 << 42;
}

static int sparse_read(void *f, uint64_t off, void *dst, size_t n)
{
    const bytes *b = f;
    memset(dst, 0, n);
    if (off < b->n) memcpy(dst, b->p + off, b->n - off < n ? b->n - (size_t)off : n);
    return 0;
}

static void sparse_files_get_no_memory(void **state)
{
    (void)state;
    for (int kind = 0; kind < 5; kind++) {
        bytes b = one_kv();
        moe__file *f;
        moe_file mf = bytes_file(0);
        mf.length = sparse_length;
        mf.read_at = sparse_read;
        put_key(&b, "huge", kind == 0 ? MOE_META_STRING : MOE_META_ARRAY);
        if (kind == 1) put_u32(&b, MOE_META_STRING);
        if (kind == 2) put_u32(&b, MOE_META_U8);
        if (kind > 2) put_u32(&b, MOE_META_STRING);
        put_u64(&b, kind > 2 ? 3 : (uint64_t)1 << 36);
        if (kind == 3) put_u64(&b, (uint64_t)1 << 36); /* one long string */
        if (kind == 4) put_u64(&b, ((uint64_t)1 << 30) - 8);
        heap_peak = 0;
        assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0),
                         kind == 4 ? MOE_E_NOMEM : MOE_E_UNSUPPORTED);
        if (kind < 4) assert_non_null(strstr(moe__last_error(), "'huge'"));
        if (kind < 4) assert_non_null(strstr(moe__last_error(), "up to 1073741824 bytes"));
        assert_true(heap_peak < 100000);
        assert_int_equal(heap_now, 0);
        bytes_free(&b);
        /* absurd counts fit into such a file: the first empty name ends it */
        put_header(&b, 3, (uint64_t)1 << 36, (uint64_t)1 << 36);
        assert_int_equal(moe__file_open_user(&f, &mf, &b, &heap, 0), MOE_E_FORMAT);
        assert_true(heap_peak < 100000);
        bytes_free(&b);
    }
}

static void sources_check_ranges(void **state)
{
    (void)state;
    char c[4];
    bytes b = {0};
    moe__source s;
    put(&b, "abcd", 4);
    const moe_file mf = bytes_file(0);
    assert_int_equal(moe__source_open_user(&s, &mf, &b, "four", 0), MOE_OK);
    assert_int_equal(moe__source_read(&s, 1, c, 3), MOE_OK);
    assert_memory_equal(c, "bcd", 3);
    assert_int_equal(moe__source_read(&s, 4, c, 0), MOE_OK);
    assert_int_equal(moe__source_read(&s, 2, c, 3), MOE_E_FORMAT);
    assert_int_equal(moe__source_read(&s, 5, c, 0), MOE_E_FORMAT);
    assert_int_equal(moe__source_read(&s, UINT64_MAX, c, 2), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "four"));
    moe__source_close(&s);
    bytes_free(&b);
}

/* From the first allocation on: without memory the answer is MOE_E_NOMEM, nothing leaks, every file is
 * closed. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    bytes b = sound_file(3);
    for (int mapped = 0; mapped < 3; mapped++) { /* 2: a split set */
        int st = MOE_E_NOMEM, n = 0;
        for (; st != MOE_OK; n++) {
            moe__file *f = NULL;
            assert_true(n < 200);
            if (mapped == 2) make_parts(3, "c", 2);
            fail_after = n;
            st = mapped == 2 ? open_parts(&f, "m-00001-of-00003.gguf") : open_bytes(&f, &b, mapped, 0);
            fail_after = -1;
            if (st == MOE_OK) {
                moe__file_close(f);
            } else {
                assert_int_equal(st, MOE_E_NOMEM);
                assert_null(f);
            }
            if (mapped == 2) all_parts_closed_once();
            assert_int_equal(heap_now, 0);
        }
        assert_true(n > 5);
    }
    for (size_t i = 0; i < 3; i++) bytes_free(&parts[i].b);
    bytes_free(&b);
}

int main(void)
{
    const moe_allocator hook = {sizeof hook, count_alloc, count_free, NULL};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sound_file_answers),
        cmocka_unit_test(typed_lookups_check_kind_and_range),
        cmocka_unit_test(headers_are_refused),
        cmocka_unit_test(the_37_byte_file_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(metadata_only_needs_no_data),
        cmocka_unit_test(metadata_is_refused),
        cmocka_unit_test(arrays_are_refused),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(alignment_is_checked),
        cmocka_unit_test(tensor_shapes_are_refused),
        cmocka_unit_test(tensor_places_are_refused),
        cmocka_unit_test(tensor_names_and_types_are_refused),
        cmocka_unit_test(random_damage_is_survived),
        cmocka_unit_test(split_sets_open_as_one),
        cmocka_unit_test(damaged_split_sets_are_refused),
        cmocka_unit_test(callbacks_are_not_trusted),
        cmocka_unit_test(files_open_mapped_and_read),
        cmocka_unit_test(long_arrays_cross_the_window),
        cmocka_unit_test(names_made_to_collide_are_refused),
        cmocka_unit_test(a_file_that_changes_is_refused),
        cmocka_unit_test(sparse_files_get_no_memory),
        cmocka_unit_test(sources_check_ranges),
        cmocka_unit_test(every_allocation_may_fail),
    };
    if (moe__allocator_init(&heap, &hook) != MOE_OK) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
