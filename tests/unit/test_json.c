/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader against a table of documents written from RFC 8259 and RFC 3629, section by section; its
 * messages; the writer, whose text the reader must take.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../alloc/faulty.h"
#include "base/alloc.h"
#include "file/json.h"

static moe__allocator heap;

static int start(void **state)
{
    (void)state;
    return moe__allocator_init(&heap, NULL);
}

/* Parses a copy that ends exactly where the text ends, so that a sanitizer sees a step too far. */
static int check(const char *text, size_t n)
{
    char *copy = malloc(n ? n : 1);
    moe__json j;
    assert_non_null(copy);
    if (n) memcpy(copy, text, n);
    const int st = moe__json_open(&j, &heap, "t.json", copy, n);
    if (st == MOE_OK) {
        assert_true(j.n_values >= 1);
        assert_int_equal(j.value[0].next, j.n_values);
        moe__json_close(&j);
    }
    free(copy);
    return st;
}

#define DOC(text)                                                                                            \
    {                                                                                                        \
        text, sizeof text - 1                                                                                \
    }

static void valid_documents(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } row[] = {
        /* 2: any value, with white space around every token */
        DOC("null"), DOC("true"), DOC("false"), DOC("0"), DOC("\"\""), DOC("[]"), DOC("{}"),
        DOC(" \t\r\n[ \t\r\n] \t\r\n"), DOC("{ \"a\" : 1 , \"b\" : [ 1 , 2 ] }"), DOC("\n\n1\n"),
        /* 4: objects; names need not be sorted, and may be empty */
        DOC("{\"\":0}"), DOC("{\"b\":1,\"a\":2}"), DOC("{\"a\":{\"a\":{\"a\":1}}}"),
        DOC("{\"a\":1,\"A\":2,\"aa\":3}"),
        /* 5: arrays of mixed values */
        DOC("[null,true,false,1,\"x\",[],{}]"), DOC("[[[[[[]]]]]]"), DOC("[[],[]]"),
        /* 6: numbers */
        DOC("-0"), DOC("[0,-0,0.0,1,-1,10,1.5,-1.5,0.25]"), DOC("[1e5,1E5,1e+5,1e-5,1E+05,0e0,0.0e-00]"),
        DOC("123456789012345678901234567890"), DOC("1e999999999"), DOC("-1e-999999999"),
        /* 7: strings, all short escapes, escapes of every plane, characters as they are */
        DOC("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
        DOC("\"\\u0000\\u001f\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\\uDBFF\\uDFFF\""), DOC("\"/\x7f\""),
        DOC("\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""),
        /* RFC 3629: first and last of every length, around the surrogates */
        DOC("\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80"
            "\x80\""),
        DOC("\"\xef\xbb\xbf\""), /* U+FEFF is no byte order mark in here */
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (check(row[i].text, row[i].n) != MOE_OK)
            fail_msg("refused: %s: %s", row[i].text, moe__last_error());
}

static void invalid_documents(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } row[] = {
        DOC(""),
        DOC(" "),
        DOC("\n"),
        DOC("nul"),
        DOC("nulll"),
        DOC("True"),
        DOC("TRUE"),
        DOC("undefined"),
        DOC("1 2"),
        DOC("[] []"),
        DOC("\xef\xbb\xbf{}"),
        DOC("{}\x00"),
        DOC("\x00"),
        DOC("\v1"),
        DOC("\f1"),
        DOC("\xa0[]"),
        DOC("\xc2\xa0[]"),
        DOC("// x\n1"),
        DOC("/* x */1"),
        DOC("# x\n1"),
        DOC("'a'"),
        DOC("NaN"),
        DOC("Infinity"),
        DOC("-Infinity"),
        DOC("inf"),
        /* objects */
        DOC("{"),
        DOC("}"),
        DOC("{\"a\"}"),
        DOC("{\"a\":}"),
        DOC("{\"a\" 1}"),
        DOC("{\"a\":1,}"),
        DOC("{,}"),
        DOC("{,\"a\":1}"),
        DOC("{\"a\":1 \"b\":2}"),
        DOC("{a:1}"),
        DOC("{1:1}"),
        DOC("{\"a\":1]"),
        DOC("{\"a\":1"),
        DOC("{\"a\":"),
        DOC("{\"a"),
        DOC("{null:1}"),
        DOC("{[]:1}"),
        DOC("{\"a\"::1}"),
        DOC("{\"a\":1,,\"b\":2}"),
        DOC("{\"a\":1;\"b\":2}"),
        /* 4: "names SHOULD be unique": they must be */
        DOC("{\"a\":1,\"a\":2}"),
        DOC("{\"a\":1,\"b\":2,\"\\u0061\":3}"),
        DOC("[{\"x\":{\"\":1,\"\":1}}]"),
        DOC("{\"\\/\":1,\"/\":1}"),
        /* arrays */
        DOC("["),
        DOC("]"),
        DOC("[1,]"),
        DOC("[,]"),
        DOC("[,1]"),
        DOC("[1,,2]"),
        DOC("[1 2]"),
        DOC("[1}"),
        DOC("[1:2]"),
        DOC("[[]"),
        DOC("[]]"),
        DOC("[1"),
        DOC("[1,"),
        /* numbers */
        DOC("+1"),
        DOC("-"),
        DOC("--1"),
        DOC("01"),
        DOC("-01"),
        DOC("00"),
        DOC(".5"),
        DOC("-.5"),
        DOC("1."),
        DOC("1.e1"),
        DOC("1e"),
        DOC("1e+"),
        DOC("1e-"),
        DOC("1e1.5"),
        DOC("0x10"),
        DOC("1_000"),
        DOC("1,5"),
        DOC("[1e]"),
        DOC("1f"),
        DOC("\xef\xbc\x91"),
        /* strings */
        DOC("\""),
        DOC("\"a"),
        DOC("\"\\\""),
        DOC("\"\\"),
        DOC("\"\n\""),
        DOC("\"\t\""),
        DOC("\"\x00\""),
        DOC("\"\x1f\""),
        DOC("\"\\x41\""),
        DOC("\"\\a\""),
        DOC("\"\\'\""),
        DOC("\"\\0\""),
        DOC("\"\\u\""),
        DOC("\"\\u12\""),
        DOC("\"\\u123\""),
        DOC("\"\\u12g4\""),
        DOC("\"\\U0041\""),
        DOC("\"\\u 041\""),
        DOC("\"\\u-041\""),
        DOC("\"\\u00"),
        DOC("\"\\ud800"),
        DOC("\"\\ud800\\"),
        DOC("\"\\ud800\\u"),
        /* 8.2: lone surrogates */
        DOC("\"\\ud800\""),
        DOC("\"\\udc00\""),
        DOC("\"\\ud800x\""),
        DOC("\"\\ud800\\u0041\""),
        DOC("\"\\ud800\\ud800\""),
        DOC("\"\\ud800\\n\""),
        DOC("\"\\ud800\\ue000\""),
        DOC("\"\\udc00\\udc00\""),
        DOC("\"\\udfff\\ud800\""),
        /* 8.1: UTF-8. Lone and missing continuation bytes, too long forms, surrogates, beyond the last plane
         */
        DOC("\"\x80\""),
        DOC("\"\xbf\""),
        DOC("\"\xc3\""),
        DOC("\"\xc3(\""),
        DOC("\"\xe2\x82\""),
        DOC("\"\xe2(\xa1\""),
        DOC("\"\xf0\x9f\x98\""),
        DOC("\"\xc0\x80\""),
        DOC("\"\xc1\xbf\""),
        DOC("\"\xe0\x80\x80\""),
        DOC("\"\xe0\x9f\xbf\""),
        DOC("\"\xf0\x80\x80\x80\""),
        DOC("\"\xf0\x8f\xbf\xbf\""),
        DOC("\"\xed\xa0\x80\""),
        DOC("\"\xed\xbf\xbf\""),
        DOC("\"\xf4\x90\x80\x80\""),
        DOC("\"\xf5\x80\x80\x80\""),
        DOC("\"\xfe\""),
        DOC("\"\xff\""),
        DOC("\"\xf8\x88\x80\x80\x80\""),
        DOC("{\"\xff\":1}"),
        DOC("\"\xf0\x9f"),
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const int st = check(row[i].text, row[i].n);
        if (st != MOE_E_FORMAT) fail_msg("not refused: %s (%d)", row[i].text, st);
        if (!strstr(moe__last_error(), "t.json: line ")) fail_msg("no place: %s", moe__last_error());
    }
}

/* Every prefix of a document is no document. */
static void prefixes_are_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1,-2.5e-3,true,null,\"x\\u00e9\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":{}}}";
    assert_int_equal(check(text, sizeof text - 1), MOE_OK);
    for (size_t n = 0; n + 1 < sizeof text; n++) assert_int_equal(check(text, n), MOE_E_FORMAT);
}

static void depth_is_bounded(void **state)
{
    (void)state;
    char text[4 * MOE_JSON_DEPTH];
    memset(text, '[', MOE_JSON_DEPTH);
    memset(text + MOE_JSON_DEPTH, ']', MOE_JSON_DEPTH);
    assert_int_equal(check(text, 2 * MOE_JSON_DEPTH), MOE_OK);
    memset(text, '[', MOE_JSON_DEPTH + 1);
    memset(text + MOE_JSON_DEPTH + 1, ']', MOE_JSON_DEPTH + 1);
    assert_int_equal(check(text, 2 * MOE_JSON_DEPTH + 2), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "64 containers"));
}

static void messages_tell_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } row[] = {
        {"{\n  \"a\": 1,\n  \"b\" 2\n}", "t.json: line 3, column 7 (byte 18): expected ':', found '2'"},
        {"[1,\n\n tru]", "line 3, column 2 (byte 6): expected a value, found 't'"},
        {"[1, 2", "line 1, column 6 (byte 5): expected ',' or ']', found the end of the text"},
        {"{\"a\": 1, \"a\": 2}", "line 1, column 10 (byte 9): the key \"a\" stands here for the second time"},
        {"\"a\x01\"", "(byte 2): expected no control character in a string, found byte 0x01"},
        {"[\"\xff\"]", "(byte 2): expected UTF-8, found byte 0xff"},
        {"[\"ab\\q\"]", "(byte 5): expected one of"},
        {"[\"\\ud800\"]", "(byte 2): half of a surrogate pair"},
        {"{} x", "(byte 3): expected nothing behind the value, found 'x'"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        assert_int_equal(check(row[i].text, strlen(row[i].text)), MOE_E_FORMAT);
        if (!strstr(moe__last_error(), row[i].message))
            fail_msg("expected '%s' in '%s'", row[i].message, moe__last_error());
    }
}

/* ---- what was read */

static moe__json opened(const char *text)
{
    moe__json j;
    if (moe__json_open(&j, &heap, "t.json", text, strlen(text)) != MOE_OK) fail_msg("%s", moe__last_error());
    return j;
}

static void assert_string(const moe__json_value *v, const char *want, size_t n)
{
    assert_int_equal(v->kind, JSON_STRING);
    assert_int_equal(v->n, n);
    assert_memory_equal(v->str, want, n);
}

static void strings_are_resolved(void **state)
{
    (void)state;
    moe__json j =
        opened("[\"plain\", \"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"a\\u0000b\", \"\\u00e9\\u20ac\\ud83d\\ude00\", "
               "\"x\xc3\xa9\\u0041y\", \"\"]");
    const moe__json_value *v = moe__json_first(j.value);
    assert_int_equal(j.value->n, 6);
    assert_string(v, "plain", 5);
    v = moe__json_next(&j, v);
    assert_string(v, "\"\\/\b\f\n\r\t", 8);
    v = moe__json_next(&j, v);
    assert_string(v, "a\0b", 3);
    v = moe__json_next(&j, v);
    assert_string(v, "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 9);
    v = moe__json_next(&j, v);
    assert_string(v,
                  "x\xc3\xa9"
                  "Ay",
                  5);
    v = moe__json_next(&j, v);
    assert_string(v, "", 0);
    assert_true(moe__json_is(v, ""));
    assert_false(moe__json_is(v, "x"));
    moe__json_close(&j);
}

static void walking_and_finding(void **state)
{
    (void)state;
    moe__json j = opened("{\"a\": {\"x\": [1, [2, 3], {}], \"y\": null}, \"b\": 7, \"\\u0063\": true}");
    assert_int_equal(j.value->kind, JSON_OBJECT);
    assert_int_equal(j.value->n, 3);
    uint32_t x = 0;
    int yes = 0;
    assert_int_equal(moe__json_u32(&j, moe__json_find(&j, j.value, "b"), "b", 9, &x), MOE_OK);
    assert_int_equal(x, 7);
    assert_int_equal(moe__json_bool(&j, moe__json_find(&j, j.value, "c"), "c", &yes), MOE_OK);
    assert_int_equal(yes, 1);
    assert_null(moe__json_find(&j, j.value, "x"));
    const moe__json_value *a = moe__json_find(&j, j.value, "a");
    const moe__json_value *list = moe__json_find(&j, a, "x");
    assert_int_equal(list->n, 3);
    const moe__json_value *inner = moe__json_next(&j, moe__json_first(list));
    assert_int_equal(inner->kind, JSON_ARRAY);
    assert_int_equal(inner->n, 2);
    assert_int_equal(moe__json_next(&j, inner)->kind, JSON_OBJECT);
    static const char *const names[] = {"x", "y", "z", NULL};
    const moe__json_value *found[3];
    assert_int_equal(moe__json_members(&j, a, "a", names, found), MOE_OK);
    assert_ptr_equal(found[0], list);
    assert_int_equal(found[1]->kind, JSON_NULL);
    assert_null(found[2]);
    assert_int_equal(moe__json_members(&j, j.value, "top", names, found), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(),
                           "column 2 (byte 1): top: the key \"a\" is not known here; known are: x, y, z"));
    assert_int_equal(moe__json_members(&j, list, "top", names, found), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "top: expected an object, found an array"));
    moe__json_close(&j);
}

static void numbers_by_type(void **state)
{
    (void)state;
    moe__json j =
        opened("[0, -0, 4294967295, 4294967296, 18446744073709551615, 18446744073709551616, -1, "
               "-9223372036854775808, "
               "-9223372036854775809, 1.0, 1e2, 0.1, 3.4028235e38, 3.5e38, 1e400, 16777217, \"1\"]");
    const moe__json_value *v[17];
    v[0] = moe__json_first(j.value);
    for (int i = 1; i < 17; i++) v[i] = moe__json_next(&j, v[i - 1]);
    uint64_t u;
    uint32_t u32;
    int64_t i64;
    float f;
    double d;
    assert_int_equal(moe__json_u64(&j, v[0], "x", 0, &u), MOE_OK);
    assert_int_equal(moe__json_u64(&j, v[1], "x", 5, &u), MOE_OK);
    assert_int_equal(moe__json_u32(&j, v[2], "x", UINT32_MAX, &u32), MOE_OK);
    assert_int_equal(u32, UINT32_MAX);
    assert_int_equal(moe__json_u32(&j, v[3], "x", UINT32_MAX, &u32), MOE_E_FORMAT);
    assert_int_equal(moe__json_u64(&j, v[4], "x", UINT64_MAX, &u), MOE_OK);
    assert_true(u == UINT64_MAX);
    assert_int_equal(moe__json_u64(&j, v[5], "x", UINT64_MAX, &u), MOE_E_FORMAT);
    assert_int_equal(moe__json_u64(&j, v[6], "x", UINT64_MAX, &u), MOE_E_FORMAT);
    assert_int_equal(moe__json_i64(&j, v[6], "x", -5, 5, &i64), MOE_OK);
    assert_true(i64 == -1);
    assert_int_equal(moe__json_i64(&j, v[6], "x", 0, 5, &i64), MOE_E_FORMAT);
    assert_int_equal(moe__json_i64(&j, v[2], "x", 0, 5, &i64), MOE_E_FORMAT);
    assert_int_equal(moe__json_i64(&j, v[1], "x", -5, 5, &i64), MOE_OK);
    assert_true(i64 == 0);
    assert_int_equal(moe__json_i64(&j, v[7], "x", INT64_MIN, INT64_MAX, &i64), MOE_OK);
    assert_true(i64 == INT64_MIN);
    assert_int_equal(moe__json_i64(&j, v[8], "x", INT64_MIN, INT64_MAX, &i64), MOE_E_FORMAT);
    assert_int_equal(moe__json_i64(&j, v[4], "x", INT64_MIN, INT64_MAX, &i64), MOE_E_FORMAT);
    for (int i = 9; i <= 11; i++) assert_int_equal(moe__json_u64(&j, v[i], "x", 1000, &u), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "x: expected a whole number, 0 to 1000; found 0.1"));
    assert_int_equal(moe__json_f32(&j, v[11], "x", &f), MOE_OK);
    assert_true(f == 0.1f);
    assert_int_equal(moe__json_f64(&j, v[11], "x", &d), MOE_OK);
    assert_true(d == 0.1);
    assert_int_equal(moe__json_f32(&j, v[12], "x", &f), MOE_OK);
    assert_true(f == FLT_MAX);
    assert_int_equal(moe__json_f32(&j, v[13], "x", &f), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "x: 3.5e38 is beyond"));
    assert_int_equal(moe__json_f64(&j, v[13], "x", &d), MOE_OK);
    assert_int_equal(moe__json_f64(&j, v[14], "x", &d), MOE_E_FORMAT);
    assert_int_equal(moe__json_f32(&j, v[15], "x", &f), MOE_OK);
    assert_true(f == 16777216.0f);
    assert_int_equal(moe__json_f32(&j, v[16], "x", &f), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "x: expected a number, found a string"));
    int b;
    assert_int_equal(moe__json_bool(&j, v[0], "x", &b), MOE_E_FORMAT);
    assert_int_equal(moe__json_want(&j, v[16], JSON_OBJECT, "x"), MOE_E_FORMAT);
    moe__json_close(&j);
}

/* Very many keys: duplicates are found without comparing each with each. */
static void many_keys(void **state)
{
    (void)state;
    enum { N = 60000 };
    char *text = malloc(N * 16 + 16);
    size_t at = 0;
    assert_non_null(text);
    text[at++] = '{';
    for (int i = 0; i < N; i++)
        at += (size_t)sprintf(text + at, "%s\"k%06d\":%d", i ? "," : "", (i * 7919) % N, i % 10);
    text[at] = '}';
    assert_int_equal(check(text, at + 1), MOE_OK);
    at += (size_t)sprintf(text + at, ",\"k%06d\":1}", 4711);
    assert_int_equal(check(text, at), MOE_E_FORMAT);
    assert_non_null(strstr(moe__last_error(), "\"k004711\" stands here for the second time"));
    free(text);
}

/* Every allocation may fail; nothing is lost then. */
static void out_of_memory(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31,32],"
        "\"b\\n\":{\"c\":1,\"d\":2}}";
    faulty f;
    moe__allocator a;
    moe__json j;
    faulty_init(&f);
    assert_int_equal(moe__allocator_init(&a, &f.hook), MOE_OK);
    size_t n = 1;
    for (int st = MOE_E_NOMEM; st != MOE_OK; n++) {
        faulty_arm(&f, n);
        st = moe__json_open(&j, &a, "t.json", text, sizeof text - 1);
        assert_true(st == MOE_OK || st == MOE_E_NOMEM);
        if (st == MOE_OK) moe__json_close(&j);
        assert_int_equal(f.n_live, 0);
        assert_int_equal(f.n_wrong, 0);
        assert_true(n < 20);
    }
    assert_true(n > 4);
}

/* ---- writer */

typedef struct text_sink {
    char s[8192];
    size_t n, fail_at;
} text_sink;

static int sink_put(const void *data, size_t n, void *user)
{
    text_sink *k = user;
    if (k->fail_at && k->n + n >= k->fail_at) return MOE_E_IO;
    assert_true(k->n + n < sizeof k->s);
    memcpy(k->s + k->n, data, n);
    k->n += n;
    k->s[k->n] = 0;
    return 0;
}

static void written_text(void **state)
{
    (void)state;
    text_sink k = {.n = 0};
    moe__json_writer w;
    moe__json_writer_init(&w, sink_put, &k, 2);
    moe__json_begin(&w, '{');
    moe__json_key(&w, "a");
    moe__json_put_u64(&w, UINT64_MAX);
    moe__json_key(&w, "list");
    moe__json_begin(&w, '[');
    moe__json_begin(&w, '{');
    moe__json_key(&w, "x");
    moe__json_put_f32(&w, 0.1f);
    moe__json_key(&w, "y");
    moe__json_begin(&w, '[');
    moe__json_put_i64(&w, INT64_MIN);
    moe__json_put_i64(&w, -1);
    moe__json_put_f64(&w, 0.1);
    moe__json_put_f32(&w, -INFINITY);
    moe__json_put_word(&w, "true");
    moe__json_end(&w, ']');
    moe__json_end(&w, '}');
    moe__json_end(&w, ']');
    moe__json_key(&w, "none");
    moe__json_begin(&w, '{');
    moe__json_end(&w, '}');
    moe__json_key(&w, "s");
    moe__json_put_string(&w, "q\"b\\n\n\x01\xc3\xa9\xff\x7f/", 12);
    moe__json_end(&w, '}');
    assert_int_equal(moe__json_finish(&w), MOE_OK);
    assert_string_equal(k.s, "{\n  \"a\": 18446744073709551615,\n  \"list\": [\n    {\"x\": 0.1, \"y\": "
                             "[-9223372036854775808, -1, 0.1, null, true]}\n  ],\n  \"none\": {},\n  \"s\": "
                             "\"q\\\"b\\\\n\\u000a\\u0001\xc3\xa9\xef\xbf\xbd\x7f/\"\n}\n");
    assert_int_equal(check(k.s, k.n), MOE_OK);
}

static void write_failures_come_out(void **state)
{
    (void)state;
    text_sink k = {.fail_at = 2500};
    moe__json_writer w;
    moe__json_writer_init(&w, sink_put, &k, 0);
    moe__json_begin(&w, '[');
    for (int i = 0; i < 2000; i++) moe__json_put_u64(&w, (uint64_t)i);
    moe__json_end(&w, ']');
    assert_int_equal(moe__json_finish(&w), MOE_E_IO);
    assert_true(k.n < 2500);
    moe__json_writer_init(&w, sink_put, &k, 0);
    for (int i = 0; i < MOE_JSON_DEPTH; i++) assert_int_equal(moe__json_begin(&w, '['), MOE_OK);
    assert_int_equal(moe__json_begin(&w, '['), MOE_E_INTERNAL);
}

/* Random floats survive writing and reading to the bit. */
static void floats_survive(void **state)
{
    (void)state;
    uint32_t x = 12345;
    for (int round = 0; round < 200; round++) {
        float want[100];
        text_sink k = {.n = 0};
        moe__json_writer w;
        moe__json_writer_init(&w, sink_put, &k, round % 3);
        moe__json_begin(&w, '[');
        for (int i = 0; i < 100; i++) {
            do {
                x = x * 1664525u + 1013904223u;
                memcpy(&want[i], &x, sizeof x);
            } while (!isfinite(want[i]));
            moe__json_put_f32(&w, want[i]);
        }
        moe__json_end(&w, ']');
        assert_int_equal(moe__json_finish(&w), MOE_OK);
        moe__json j = opened(k.s);
        const moe__json_value *v = moe__json_first(j.value);
        for (int i = 0; i < 100; i++, v = moe__json_next(&j, v)) {
            float found;
            assert_int_equal(moe__json_f32(&j, v, "x", &found), MOE_OK);
            assert_memory_equal(&found, &want[i], sizeof found);
        }
        moe__json_close(&j);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_documents),
        cmocka_unit_test(invalid_documents),
        cmocka_unit_test(prefixes_are_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(messages_tell_the_place),
        cmocka_unit_test(strings_are_resolved),
        cmocka_unit_test(walking_and_finding),
        cmocka_unit_test(numbers_by_type),
        cmocka_unit_test(many_keys),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(written_text),
        cmocka_unit_test(write_failures_come_out),
        cmocka_unit_test(floats_survive),
    };
    return cmocka_run_group_tests_name("json", tests, start, NULL);
}
