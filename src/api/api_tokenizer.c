/* SPDX-License-Identifier: MIT */
/* Entry points of the tokenizer: arguments are checked here, the work is in token/. */
#include <string.h>

#include "base/opts.h"
#include "base/status.h"
#include "file/file.h"
#include "token/chat.h"
#include "token/token.h"

int moe_tokenizer_open(moe_tokenizer **out, const char *path, const moe_allocator *a)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(path != NULL);
    moe__allocator alloc;
    moe__file *f;
    MOE_TRY(moe__allocator_init(&alloc, a));
    MOE_TRY(moe__file_open(&f, path, &alloc, MOE_OPEN_METADATA_ONLY));
    const int st = moe__tokenizer_create(out, f, &alloc);
    moe__file_close(f);
    return st;
}

void moe_tokenizer_free(moe_tokenizer *t) { moe__tokenizer_destroy(t); }

size_t moe_tokenizer_size(const moe_tokenizer *t) { return t ? t->n : 0; }

int moe_tokenizer_encode(const moe_tokenizer *t, const char *text, size_t len, uint32_t flags, moe_token *dst,
                         size_t cap, size_t *n)
{
    moe__clear_error();
    MOE_ARG(n != NULL);
    *n = 0;
    MOE_ARG(t != NULL);
    MOE_ARG(text != NULL || len == 0);
    MOE_ARG(dst != NULL || cap == 0);
    MOE_ARG((flags & ~(MOE_ENCODE_BOS | MOE_ENCODE_SPECIAL)) == 0);
    return moe__tokenizer_encode(t, text, len, flags, dst, cap, n);
}

int moe_tokenizer_decode(const moe_tokenizer *t, const moe_token *ids, size_t n, uint32_t flags, char *dst,
                         size_t cap, size_t *len)
{
    moe__clear_error();
    MOE_ARG(len != NULL);
    *len = 0;
    MOE_ARG(t != NULL);
    MOE_ARG(ids != NULL || n == 0);
    MOE_ARG(dst != NULL || cap == 0);
    MOE_ARG((flags & ~MOE_DECODE_SPECIAL) == 0);
    return moe__tokenizer_decode(t, ids, n, flags, dst, cap, len);
}

int moe_tokenizer_stream(const moe_tokenizer *t, moe_stream *st, moe_token id, char *dst, size_t cap,
                         size_t *len)
{
    moe__clear_error();
    MOE_ARG(len != NULL);
    *len = 0;
    MOE_ARG(t != NULL);
    MOE_ARG(st != NULL && st->size >= sizeof *st);
    moe_stream known = MOE_STREAM_INIT;
    MOE_TRY(moe__opts_copy(&known, sizeof known, st, "moe_stream"));
    MOE_ARG((st->flags & 0xffffu & ~MOE_DECODE_SPECIAL) == 0);
    MOE_ARG(dst != NULL || cap == 0);
    MOE_TRY(moe__tokenizer_stream(t, &known, id, dst, cap, len));
    return moe__opts_fill(st, &known, sizeof known, "moe_stream");
}

static int in_range(const moe_tokenizer *t, moe_token id) { return id >= 0 && (size_t)id < t->n; }

int moe_tokenizer_piece(const moe_tokenizer *t, moe_token id, const char **piece, size_t *len)
{
    moe__clear_error();
    MOE_ARG(t != NULL);
    MOE_ARG(piece != NULL && len != NULL);
    *piece = NULL;
    *len = 0;
    if (!in_range(t, id)) return MOE_FAIL(RANGE, "token %d: expected 0 to %zu", (int)id, t->n - 1);
    *piece = (const char *)moe__token_bytes(t, id, len);
    return MOE_OK;
}

uint32_t moe_tokenizer_attr(const moe_tokenizer *t, moe_token id)
{
    return t && in_range(t, id) ? t->attr[id] : 0;
}

moe_token moe_tokenizer_special(const moe_tokenizer *t, int which)
{
    return t && which >= MOE_TOKEN_BOS && which <= MOE_TOKEN_NEWLINE ? t->special[which] : MOE_TOKEN_NONE;
}

int moe_tokenizer_find(const moe_tokenizer *t, const char *piece, size_t len, moe_token *out)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = MOE_TOKEN_NONE;
    MOE_ARG(t != NULL);
    MOE_ARG(piece != NULL || len == 0);
    *out = moe__token_find(t, (const uint8_t *)(piece ? piece : ""), len);
    if (*out < 0 && len == 1) *out = t->byte_token[(uint8_t)piece[0]];
    return *out >= 0 ? MOE_OK : MOE_FAIL(NOTFOUND, "no token of these %zu bytes", len);
}

/*
 * Messages of a program that knows a larger struct stand farther apart: *own receives a list in this
 * library's form, to be freed.
 */
static int known_messages(const moe_tokenizer *t, const moe_message *msg, size_t n, moe_message **own)
{
    const size_t stride = msg->size;
    MOE_TRY(MOE_NEW(&t->alloc, own, n, "chat messages"));
    for (size_t i = 0; i < n; i++) {
        const void *from = (const char *)(const void *)msg + i * stride;
        size_t size;
        memcpy(&size, from, sizeof size);
        if (size != stride)
            return MOE_FAIL(INVALID, "message %zu: size is %zu, that of the first %zu", i, size, stride);
        MOE_TRY(moe__opts_copy(&(*own)[i], sizeof **own, from, "moe_message"));
    }
    return MOE_OK;
}

int moe_tokenizer_chat(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, char *dst,
                       size_t cap, size_t *len)
{
    moe__clear_error();
    MOE_ARG(len != NULL);
    *len = 0;
    MOE_ARG(t != NULL);
    MOE_ARG(msg != NULL || n == 0);
    MOE_ARG(dst != NULL || cap == 0);
    MOE_ARG((flags & ~MOE_CHAT_ADD_ASSISTANT) == 0);
    if (n == 0 || msg->size <= sizeof *msg) return moe__chat_format(t, msg, n, flags, dst, cap, len);
    moe_message *own = NULL;
    int st = known_messages(t, msg, n, &own);
    if (st == MOE_OK) st = moe__chat_format(t, own, n, flags, dst, cap, len);
    moe__free(&t->alloc, own);
    return st;
}

const char *moe_tokenizer_chat_name(const moe_tokenizer *t)
{
    return t && t->chat ? moe__chat_name(t->chat) : NULL;
}
