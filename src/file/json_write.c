/* SPDX-License-Identifier: MIT */
/* The JSON writer: see json.h. */
#include <math.h>
#include <string.h>

#include "base/decimal.h"
#include "file/json.h"

void moe__json_writer_init(moe__json_writer *w, int (*put)(const void *data, size_t n, void *user),
                           void *user, int lines)
{
    memset(w, 0, sizeof *w);
    w->put = put;
    w->user = user;
    w->lines = lines;
    w->empty[0] = 1;
}

static void flush_text(moe__json_writer *w)
{
    if (w->status >= 0 && w->used > 0) w->status = w->put(w->buf, w->used, w->user);
    w->used = 0;
}

static void json_text(moe__json_writer *w, const char *s, size_t n)
{
    while (n > 0) {
        if (w->used == sizeof w->buf) flush_text(w);
        const size_t room = sizeof w->buf - w->used, take = n < room ? n : room;
        memcpy(w->buf + w->used, s, take);
        w->used += take;
        s += take;
        n -= take;
    }
}

static void json_line(moe__json_writer *w)
{
    json_text(w, "\n", 1);
    for (int i = 0; i < w->depth; i++) json_text(w, "  ", 2);
}

/* What stands between two elements. */
static void json_separate(moe__json_writer *w)
{
    if (w->after_key) {
        w->after_key = 0;
        return;
    }
    const int first = w->empty[w->depth];
    w->empty[w->depth] = 0;
    if (!first) json_text(w, ",", 1);
    if (w->depth > 0 && w->depth <= w->lines)
        json_line(w);
    else if (!first)
        json_text(w, " ", 1);
}

int moe__json_begin(moe__json_writer *w, char open)
{
    if (w->status < 0) return w->status;
    json_separate(w);
    json_text(w, &open, 1);
    if (w->depth == MOE_JSON_DEPTH) return w->status = MOE_FAIL(INTERNAL, "JSON writer: too deep");
    w->empty[++w->depth] = 1;
    return w->status;
}

int moe__json_end(moe__json_writer *w, char close)
{
    const int lines = w->depth <= w->lines && !w->empty[w->depth];
    if (w->status < 0) return w->status;
    w->depth--;
    if (lines) json_line(w);
    json_text(w, &close, 1);
    return w->status;
}

/* A string without the comma in front. */
static void put_quoted(moe__json_writer *w, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    json_text(w, "\"", 1);
    for (size_t i = 0; i < n;) {
        const unsigned char c = (unsigned char)s[i];
        const size_t len = moe__json_utf8(s + i, n - i);
        if (len == 0) {
            json_text(w, "\xef\xbf\xbd", 3);
        } else if (c == '"' || c == '\\') {
            const char pair[2] = {'\\', (char)c};
            json_text(w, pair, 2);
        } else if (c < 0x20) {
            const char code[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            json_text(w, code, 6);
        } else {
            json_text(w, s + i, len);
        }
        i += len ? len : 1;
    }
    json_text(w, "\"", 1);
}

int moe__json_key(moe__json_writer *w, const char *key)
{
    json_separate(w);
    put_quoted(w, key, strlen(key));
    json_text(w, ": ", 2);
    w->after_key = 1;
    return w->status;
}

int moe__json_put_string(moe__json_writer *w, const char *s, size_t n)
{
    json_separate(w);
    put_quoted(w, s, n);
    return w->status;
}

static int put_scalar(moe__json_writer *w, const char *s, size_t n)
{
    json_separate(w);
    json_text(w, s, n);
    return w->status;
}

int moe__json_put_word(moe__json_writer *w, const char *word) { return put_scalar(w, word, strlen(word)); }

static int put_integer(moe__json_writer *w, uint64_t x, int minus)
{
    char text[24];
    size_t at = sizeof text;
    do text[--at] = (char)('0' + x % 10);
    while ((x /= 10) > 0);
    if (minus) text[--at] = '-';
    return put_scalar(w, text + at, sizeof text - at);
}

int moe__json_put_u64(moe__json_writer *w, uint64_t x) { return put_integer(w, x, 0); }

int moe__json_put_i64(moe__json_writer *w, int64_t x)
{
    return put_integer(w, x < 0 ? 0 - (uint64_t)x : (uint64_t)x, x < 0);
}

int moe__json_put_f32(moe__json_writer *w, float x)
{
    char text[MOE_DECIMAL_TEXT];
    if (!isfinite(x)) return moe__json_put_word(w, "null");
    const size_t n = moe__decimal_from_f32(x, text);
    return put_scalar(w, text, n);
}

int moe__json_put_f64(moe__json_writer *w, double x)
{
    char text[MOE_DECIMAL_TEXT];
    if (!isfinite(x)) return moe__json_put_word(w, "null");
    const size_t n = moe__decimal_from_f64(x, text);
    return put_scalar(w, text, n);
}

int moe__json_finish(moe__json_writer *w)
{
    json_text(w, "\n", 1);
    flush_text(w);
    return w->status;
}
