/* SPDX-License-Identifier: MIT */
/*
 * Tokens to text: whole lists, and a stream that hands out complete UTF-8 sequences only. A llama tokenizer's
 * text began with a space that encoding put there; decoding takes it away again, once, if it is the first
 * byte that comes out.
 */
#include <string.h>

#include "base/status.h"
#include "token/token.h"
#include "token/unicode.h"

#define SHOWN (MOE_ATTR_NORMAL | MOE_ATTR_USER | MOE_ATTR_BYTE)
#define STREAM_BEGUN 0x10000u /* internal flag: something came out already */

/* The bytes that token id shows, none for a special token that is not to be shown. first: the text begins. */
static int shown_bytes(const moe_tokenizer *t, moe_token id, uint32_t flags, int first, const uint8_t **s,
                       size_t *len)
{
    if (id < 0 || (size_t)id >= t->n)
        return MOE_FAIL(RANGE, "token %d: expected 0 to %zu", (int)id, t->n - 1);
    *s = moe__token_bytes(t, id, len);
    if ((t->attr[id] & SHOWN) == 0) {
        if ((flags & MOE_DECODE_SPECIAL) == 0) *len = 0;
    } else if (first && t->space_prefix && *len > 0 && (*s)[0] == ' ') {
        ++*s;
        --*len;
    }
    return MOE_OK;
}

/* Does this token count as the beginning of the text? */
static int begins(const moe_tokenizer *t, moe_token id, uint32_t flags)
{
    return t->at[id + 1] - t->at[id] > 1 && ((t->attr[id] & SHOWN) != 0 || (flags & MOE_DECODE_SPECIAL) != 0);
}

int moe__tokenizer_decode(const moe_tokenizer *t, const moe_token *ids, size_t n, uint32_t flags, char *dst,
                          size_t cap, size_t *len)
{
    size_t out = 0;
    int first = 1;
    *len = 0;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *s = NULL;
        size_t k = 0;
        MOE_TRY(shown_bytes(t, ids[i], flags, first, &s, &k));
        if (first && begins(t, ids[i], flags)) first = 0;
        if (k > SIZE_MAX / 2 - out) return MOE_FAIL(RANGE, "the text would be too long");
        if (out <= cap && k <= cap - out && k > 0) memcpy(dst + out, s, k);
        out += k;
    }
    *len = out;
    return out <= cap ? MOE_OK
                      : MOE_FAIL(BUFFER, "room for %zu bytes is needed, there is room for %zu", out, cap);
}

/* Where stream output goes: counted always, written as far as there is room. */
typedef struct stream_out {
    char *dst;
    size_t cap, n;
} stream_out;

static void put_whole(stream_out *o, const void *s, size_t n)
{
    if (o->n <= o->cap && n <= o->cap - o->n) memcpy(o->dst + o->n, s, n);
    o->n += n;
}

/* Adds one byte to the pending ones and hands out what became complete or can never become so. */
static void feed(moe_stream *st, stream_out *o, uint8_t byte)
{
    uint32_t cp;
    st->bytes[st->n++] = byte;
    while (st->n > 0) {
        const int k = moe__utf8_scan(st->bytes, st->n, &cp);
        if (k == 0) return;
        const size_t used = (size_t)(k > 0 ? k : -k);
        if (k > 0) put_whole(o, st->bytes, used);
        else put_whole(o, "\xef\xbf\xbd", 3);
        st->n -= (uint32_t)used;
        memmove(st->bytes, st->bytes + used, st->n);
    }
}

int moe__tokenizer_stream(const moe_tokenizer *t, moe_stream *st, moe_token id, char *dst, size_t cap,
                          size_t *len)
{
    moe_stream next = *st;
    stream_out o = {dst, cap, 0};
    *len = 0;
    if (next.n > 3)
        return MOE_FAIL(INVALID,
                        "moe_stream: %u pending bytes, expected at most 3: start with MOE_STREAM_INIT",
                        next.n);
    if (id == MOE_TOKEN_NONE) {
        if (next.n > 0) put_whole(&o, "\xef\xbf\xbd", 3);
        next.n = 0;
    } else {
        const uint8_t *s = NULL;
        size_t k = 0;
        MOE_TRY(shown_bytes(t, id, next.flags, (next.flags & STREAM_BEGUN) == 0, &s, &k));
        if (begins(t, id, next.flags)) next.flags |= STREAM_BEGUN;
        for (size_t i = 0; i < k; i++) feed(&next, &o, s[i]);
    }
    *len = o.n;
    if (o.n > cap) return MOE_FAIL(BUFFER, "room for %zu bytes is needed, there is room for %zu", o.n, cap);
    *st = next;
    return MOE_OK;
}
