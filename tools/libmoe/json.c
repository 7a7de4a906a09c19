/* SPDX-License-Identifier: MIT */
/* JSON writer (RFC 8259), indented by two spaces, rows on one line. */
#include "json.h"
#include "out.h"
#include "text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void put(struct json *j, const char *text, size_t n)
{
    if (!j->to)
        out_bytes(text, n);
    else if (!j->failed && !bytes_add(j->to, text, n))
        j->failed = true;
}

static void put_text(struct json *j, const char *text) { put(j, text, strlen(text)); }

static void new_line(struct json *j)
{
    char line[2 * JSON_DEPTH + 2];
    put(j, line, (size_t)snprintf(line, sizeof line, "\n%*s", (int)(2 * j->depth), ""));
}

size_t utf8_length(const unsigned char *p, size_t n)
{
    const size_t len = p[0] < 0x80   ? 1
                       : p[0] < 0xc2 ? 0
                       : p[0] < 0xe0 ? 2
                       : p[0] < 0xf0 ? 3
                       : p[0] < 0xf5 ? 4
                                     : 0;
    if (len == 0 || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if (p[0] == 0xe0 && p[1] < 0xa0) /* overlong */
        return 0;
    if (p[0] == 0xed && p[1] > 0x9f) /* surrogates */
        return 0;
    if (p[0] == 0xf0 && p[1] < 0x90) return 0;
    if (p[0] == 0xf4 && p[1] > 0x8f) /* beyond U+10FFFF */
        return 0;
    return len;
}

static void quoted(struct json *j, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    static const char plain[] = "\"\\\b\f\n\r\t", escaped[] = "\"\\bfnrt";
    char code[8];
    put_text(j, "\"");
    for (size_t i = 0; i < n;) {
        const size_t len = utf8_length(p + i, n - i);
        const char *special = p[i] ? strchr(plain, p[i]) : NULL;
        if (len == 0)
            put_text(j, "\\ufffd");
        else if (special)
            put(j, code, (size_t)snprintf(code, sizeof code, "\\%c", escaped[special - plain]));
        else if (p[i] < 0x20 || p[i] == 0x7f || (p[i] == '<' && j->in_html))
            put(j, code, (size_t)snprintf(code, sizeof code, "\\u%04x", (unsigned)p[i]));
        else
            put(j, text + i, len);
        i += len ? len : 1;
    }
    put_text(j, "\"");
}

/* What stands before a value: comma, line, key. */
static void prepare(struct json *j, const char *key)
{
    if (j->depth) {
        const bool row = j->level[j->depth - 1].row;
        if (j->level[j->depth - 1].non_empty) put_text(j, row ? ", " : ",");
        j->level[j->depth - 1].non_empty = true;
        if (!row) new_line(j);
    }
    if (key) {
        quoted(j, key, strlen(key));
        put_text(j, ": ");
    }
}

static void open_level(struct json *j, const char *key, char bracket, bool row)
{
    prepare(j, key);
    put(j, &bracket, 1);
    if (j->depth == JSON_DEPTH) return;
    j->level[j->depth].close = bracket == '{' ? '}' : ']';
    j->level[j->depth].row = row || (j->depth && j->level[j->depth - 1].row);
    j->level[j->depth].non_empty = false;
    j->depth++;
}

void json_open(struct json *j, const char *key, char bracket) { open_level(j, key, bracket, false); }

void json_open_row(struct json *j, const char *key, char bracket) { open_level(j, key, bracket, true); }

void json_close(struct json *j)
{
    const unsigned top = --j->depth;
    if (j->level[top].non_empty && !j->level[top].row) new_line(j);
    put(j, &j->level[top].close, 1);
    if (top == 0) put_text(j, "\n");
}

void json_bytes(struct json *j, const char *key, const char *text, size_t n)
{
    prepare(j, key);
    quoted(j, text, n);
}

void json_text(struct json *j, const char *key, const char *text) { json_bytes(j, key, text, strlen(text)); }

void json_int(struct json *j, const char *key, int64_t v)
{
    char number[24];
    prepare(j, key);
    put(j, number, (size_t)snprintf(number, sizeof number, "%" PRId64, v));
}

void json_uint(struct json *j, const char *key, uint64_t v)
{
    char number[24];
    prepare(j, key);
    put(j, number, (size_t)snprintf(number, sizeof number, "%" PRIu64, v));
}

static void real(struct json *j, const char *key, double v, int digits)
{
    char number[40];
    prepare(j, key);
    if (isfinite(v))
        put(j, number, (size_t)snprintf(number, sizeof number, "%.*g", digits, v));
    else
        put_text(j, "null");
}

void json_real(struct json *j, const char *key, double v) { real(j, key, v, 9); }

void json_short(struct json *j, const char *key, double v) { real(j, key, v, 5); }

void json_bool(struct json *j, const char *key, bool v)
{
    prepare(j, key);
    put_text(j, v ? "true" : "false");
}

void json_null(struct json *j, const char *key)
{
    prepare(j, key);
    put_text(j, "null");
}
