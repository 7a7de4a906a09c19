/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader: see json.h. One pass without recursion: `open` is the stack of containers under way. When
 * an object ends, its keys are sorted to find duplicates, so that a text made to be slow costs n log n.
 */
#include "file/json.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "file/reader.h"

typedef struct json_parser {
    moe__json *j;
    const char *s; /* the text */
    size_t at, n;
    uint32_t open[MOE_JSON_DEPTH]; /* values of the containers under way */
    int depth;
    uint32_t *keys; /* scratch: of the object that ends */
    size_t cap_keys;
} json_parser;

/* ---- messages */

static int json_fail_at(const moe__json *j, size_t at, int status, const char *text)
{
    size_t line = 1, start = 0;
    for (size_t i = 0; i < at && i < j->n_text; i++)
        if (j->text[i] == '\n') {
            line++;
            start = i + 1;
        }
    return moe__fail(status, "%s: line %zu, column %zu (byte %zu): %s", j->name, line, at - start + 1, at,
                     text);
}

int moe__json_fail(const moe__json *j, const moe__json_value *v, int status, const char *fmt, ...)
{
    char text[320];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return json_fail_at(j, v->at, status, text);
}

static int json_bad(const json_parser *p, size_t at, const char *what)
{
    char text[160];
    if (at >= p->n)
        snprintf(text, sizeof text, "expected %s, found the end of the text", what);
    else if (p->s[at] >= 0x20 && p->s[at] < 0x7f)
        snprintf(text, sizeof text, "expected %s, found '%c'", what, p->s[at]);
    else
        snprintf(text, sizeof text, "expected %s, found byte 0x%02x", what, (unsigned)(uint8_t)p->s[at]);
    return json_fail_at(p->j, at, MOE_E_FORMAT, text);
}

/* ---- strings */

/* Bytes of the UTF-8 sequence at s[0..n), 0 if it is none (RFC 3629: shortest form, no surrogates, up to
 * U+10FFFF). */
size_t moe__json_utf8(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    static const struct {
        unsigned char first, last, low, high; /* lead byte; range of the second byte */
        unsigned char length;
    } row[] = {{0x00, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
               {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
               {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const size_t len = row[i].length;
        if (s[0] < row[i].first || s[0] > row[i].last) continue;
        if (n < len || (len > 1 && (s[1] < row[i].low || s[1] > row[i].high))) return 0;
        for (size_t k = 2; k < len; k++)
            if (s[k] < 0x80 || s[k] > 0xbf) return 0;
        return len;
    }
    return 0;
}

static size_t utf8_put(uint32_t c, char *dst)
{
    if (c < 0x80) {
        dst[0] = (char)c;
        return 1;
    }
    const int extra = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    dst[0] = (char)(lead[extra] | c >> 6 * extra);
    for (int i = 1; i <= extra; i++) dst[i] = (char)(0x80 | (c >> 6 * (extra - i) & 0x3f));
    return (size_t)extra + 1;
}

/* Four hexadecimal digits at p->at. */
static int read_hex4(json_parser *p, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        const char c = p->at < p->n ? p->s[p->at] : 0;
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0) return json_bad(p, p->at, "four hexadecimal digits");
        *out = *out << 4 | (uint32_t)digit;
    }
    return MOE_OK;
}

/* The escape behind the backslash at p->at - 1. */
static int read_escape(json_parser *p, char *dst, size_t *len)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const size_t start = p->at - 1;
    const char c = p->at < p->n ? p->s[p->at] : 0;
    const char *known = c ? strchr(from, c) : NULL;
    uint32_t code, low;
    if (known) {
        p->at++;
        *dst = to[known - from];
        *len = 1;
        return MOE_OK;
    }
    if (c != 'u') return json_bad(p, p->at, "one of \"\\/bfnrtu behind the backslash");
    p->at++;
    MOE_TRY(read_hex4(p, &code));
    if (code >= 0xd800 && code <= 0xdfff) {
        const int pair = code < 0xdc00 && p->n - p->at >= 2 && p->s[p->at] == '\\' && p->s[p->at + 1] == 'u';
        if (!pair) return json_fail_at(p->j, start, MOE_E_FORMAT, "half of a surrogate pair");
        p->at += 2;
        MOE_TRY(read_hex4(p, &low));
        if (low < 0xdc00 || low > 0xdfff)
            return json_fail_at(p->j, start, MOE_E_FORMAT, "half of a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *len = utf8_put(code, dst);
    return MOE_OK;
}

/* A string at p->at (the quote). Without escapes it stays where it is. Resolved text is never longer than the
 * escaped one, so that the room taken once for all of them suffices. */
static int json_string(json_parser *p, moe__json_value *v)
{
    moe__json *j = p->j;
    const size_t first = ++p->at;
    char *own = NULL;
    size_t n = 0; /* bytes in own */
    for (size_t len;;) {
        const unsigned char c = p->at < p->n ? (unsigned char)p->s[p->at] : 0;
        if (p->at >= p->n) return json_bad(p, p->at, "a closing quote");
        if (c == '"') break;
        if (c < 0x20) return json_bad(p, p->at, "no control character in a string");
        if (c == '\\') {
            if (!own) {
                if (!j->strings) MOE_TRY(MOE_NEW(j->a, &j->strings, p->n, "JSON strings"));
                own = j->strings + j->n_strings;
                n = p->at - first;
                memcpy(own, p->s + first, n);
            }
            p->at++;
            MOE_TRY(read_escape(p, own + n, &len));
            n += len;
            continue;
        }
        len = moe__json_utf8(p->s + p->at, p->n - p->at);
        if (len == 0) return json_bad(p, p->at, "UTF-8");
        if (own) memcpy(own + n, p->s + p->at, len);
        n += own ? len : 0;
        p->at += len;
    }
    v->str = own ? own : p->s + first;
    v->n = (uint32_t)(own ? n : p->at - first);
    if (own) j->n_strings += (uint32_t)n;
    p->at++;
    return MOE_OK;
}

/* ---- values */

static void json_space(json_parser *p)
{
    while (p->at < p->n &&
           (p->s[p->at] == ' ' || p->s[p->at] == '\n' || p->s[p->at] == '\t' || p->s[p->at] == '\r'))
        p->at++;
}

static int json_add(json_parser *p, moe__json_kind kind, uint32_t *id)
{
    moe__json *j = p->j;
    if (j->n_values == j->cap) {
        /* No text has more values than bytes. */
        const size_t cap = j->cap < 16 ? 32 : (size_t)j->cap * 2 < p->n + 2 ? (size_t)j->cap * 2 : p->n + 2;
        MOE_TRY(moe__realloc_array(j->a, (void **)&j->value, cap, sizeof *j->value, "JSON values"));
        j->cap = (uint32_t)cap;
    }
    *id = j->n_values++;
    j->value[*id] = (moe__json_value){.kind = kind, .at = (uint32_t)p->at, .next = j->n_values};
    return MOE_OK;
}

static int read_word(json_parser *p, const char *word)
{
    const size_t n = strlen(word);
    if (p->n - p->at < n || memcmp(p->s + p->at, word, n) != 0) return json_bad(p, p->at, "a value");
    p->at += n;
    return MOE_OK;
}

static int read_scalar(json_parser *p)
{
    uint32_t id;
    const char c = p->s[p->at];
    const moe__json_kind kind = c == '"'   ? JSON_STRING
                                : c == 't' ? JSON_TRUE
                                : c == 'f' ? JSON_FALSE
                                : c == 'n' ? JSON_NULL
                                           : JSON_NUMBER;
    MOE_TRY(json_add(p, kind, &id));
    if (kind == JSON_STRING) return json_string(p, &p->j->value[id]);
    if (kind != JSON_NUMBER)
        return read_word(p, kind == JSON_TRUE ? "true" : kind == JSON_FALSE ? "false" : "null");
    const size_t n = moe__decimal_scan(p->s + p->at, p->n - p->at);
    if (n == 0) return json_bad(p, p->at, "a value");
    p->j->value[id].str = p->s + p->at;
    p->j->value[id].n = (uint32_t)n;
    p->at += n;
    return MOE_OK;
}

/* ---- duplicate keys */

static int key_compare(const moe__json_value *a, const moe__json_value *b)
{
    const int c = memcmp(a->str, b->str, a->n < b->n ? a->n : b->n);
    return c ? c : a->n < b->n ? -1 : a->n > b->n ? 1 : a->at < b->at ? -1 : 1;
}

static void sift_key(const moe__json_value *v, uint32_t *k, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && key_compare(&v[k[child]], &v[k[child + 1]]) < 0) child++;
        if (key_compare(&v[k[i]], &v[k[child]]) >= 0) return;
        const uint32_t t = k[i];
        k[i] = k[child];
        k[child] = t;
    }
}

static int check_keys(json_parser *p, uint32_t object)
{
    const moe__json_value *v = p->j->value;
    const size_t n = v[object].n;
    if (n < 2) return MOE_OK;
    if (n > p->cap_keys) {
        MOE_TRY(moe__realloc_array(p->j->a, (void **)&p->keys, n, sizeof *p->keys, "JSON keys"));
        p->cap_keys = n;
    }
    uint32_t *k = p->keys, id = object + 1;
    for (size_t i = 0; i < n; i++, id = v[v[id].next].next) k[i] = id;
    for (size_t i = n / 2; i-- > 0;) sift_key(v, k, i, n);
    for (size_t m = n; m-- > 1;) {
        const uint32_t t = k[0];
        k[0] = k[m];
        k[m] = t;
        sift_key(v, k, 0, m);
    }
    for (size_t i = 1; i < n; i++) {
        const moe__json_value *a = &v[k[i - 1]], *b = &v[k[i]];
        char name[80];
        if (a->n == b->n && memcmp(a->str, b->str, a->n) == 0)
            return moe__json_fail(p->j, b, MOE_E_FORMAT, "the key \"%s\" stands here for the second time",
                                  moe__printable(name, sizeof name, b->str, b->n));
    }
    return MOE_OK;
}

/* ---- containers */

static char json_closing(const json_parser *p)
{
    return p->j->value[p->open[p->depth - 1]].kind == JSON_OBJECT ? '}' : ']';
}

/* A container begins at p->at. */
static int json_enter(json_parser *p)
{
    if (p->depth == MOE_JSON_DEPTH)
        return json_fail_at(p->j, p->at, MOE_E_FORMAT, "more than 64 containers inside one another");
    MOE_TRY(json_add(p, p->s[p->at] == '{' ? JSON_OBJECT : JSON_ARRAY, &p->open[p->depth]));
    p->depth++;
    p->at++;
    return MOE_OK;
}

static int json_leave(json_parser *p)
{
    const uint32_t id = p->open[--p->depth];
    p->at++;
    p->j->value[id].next = p->j->n_values;
    return p->j->value[id].kind == JSON_OBJECT ? check_keys(p, id) : MOE_OK;
}

/* The key of a member and its colon. */
static int json_key(json_parser *p)
{
    uint32_t id;
    if (p->at >= p->n || p->s[p->at] != '"') return json_bad(p, p->at, "a key in quotes");
    MOE_TRY(json_add(p, JSON_STRING, &id));
    MOE_TRY(json_string(p, &p->j->value[id]));
    json_space(p);
    if (p->at >= p->n || p->s[p->at] != ':') return json_bad(p, p->at, "':'");
    p->at++;
    json_space(p);
    return MOE_OK;
}

/*
 * One element after the other; `fresh` tells that the container has just begun, so that it may end at once.
 */
static int parse_json(json_parser *p)
{
    int fresh = 0;
    do {
        json_space(p);
        if (p->depth > 0) {
            moe__json_value *in = &p->j->value[p->open[p->depth - 1]];
            if (p->at < p->n && p->s[p->at] == json_closing(p)) {
                MOE_TRY(json_leave(p));
                fresh = 0;
                continue;
            }
            if (!fresh) {
                if (p->at >= p->n || p->s[p->at] != ',')
                    return json_bad(p, p->at, json_closing(p) == '}' ? "',' or '}'" : "',' or ']'");
                p->at++;
                json_space(p);
            }
            in->n++;
            if (in->kind == JSON_OBJECT) MOE_TRY(json_key(p));
        }
        if (p->at >= p->n) return json_bad(p, p->at, "a value");
        fresh = p->s[p->at] == '{' || p->s[p->at] == '[';
        MOE_TRY(fresh ? json_enter(p) : read_scalar(p));
    } while (p->depth > 0);
    json_space(p);
    return p->at == p->n ? MOE_OK : json_bad(p, p->at, "nothing behind the value");
}

int moe__json_open(moe__json *j, const moe__allocator *a, const char *name, const char *text, size_t n)
{
    *j = (moe__json){.a = a, .name = name, .text = text, .n_text = n};
    json_parser p = {.j = j, .s = text, .n = n};
    if (n > MOE_JSON_BYTES_MAX)
        return MOE_FAIL(FORMAT, "%s: expected at most %zu bytes, found %zu", name, MOE_JSON_BYTES_MAX, n);
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        return json_fail_at(j, 0, MOE_E_FORMAT, "a byte order mark, which JSON does not have");
    const int st = parse_json(&p);
    moe__free(a, p.keys);
    if (st < 0) moe__json_close(j);
    return st;
}

void moe__json_close(moe__json *j)
{
    moe__free(j->a, j->value);
    moe__free(j->a, j->strings);
    j->value = NULL;
    j->strings = NULL;
    j->n_values = j->cap = 0;
}
