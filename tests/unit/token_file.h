/* SPDX-License-Identifier: MIT */
/* Vocabularies as GGUF files in memory, for the tests of token/. */
#ifndef TOKEN_FILE_H
#define TOKEN_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/status.h"
#include "file/file.h"
#include "gguf_bytes.h"
#include "token/tokenizer.h"

/* What goes into a vocabulary file; a NULL or zero field leaves its key out. */
typedef struct vocab {
    const char *model, *pre, *chat, *normalizer;
    const char *const *tokens;
    size_t n_tokens;
    const char *types; /* one digit per token: 1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6 byte */
    const float *scores;
    const char *const *merges;
    size_t n_merges;
    int bos, eos, unk;         /* id + 1 */
    int add_bos, space_prefix; /* value + 1 */
    int trim;
} vocab;

static inline void put_strings(bytes *b, const char *key, const char *const *v, size_t n)
{
    put_key(b, key, MOE_META_ARRAY);
    put_u32(b, MOE_META_STRING);
    put_u64(b, n);
    for (size_t i = 0; i < n; i++) put_str(b, v[i]);
}

static inline void put_bool(bytes *b, const char *key, int v)
{
    put_key(b, key, MOE_META_BOOL);
    put_int(b, v != 0, 1);
}

/* The metadata; *n_kv counts the keys. */
static inline void put_vocab(bytes *b, const vocab *v, uint64_t *n_kv)
{
    *n_kv = 0;
    if (v->model) put_kv_str(b, "tokenizer.ggml.model", v->model), ++*n_kv;
    if (v->pre) put_kv_str(b, "tokenizer.ggml.pre", v->pre), ++*n_kv;
    if (v->chat) put_kv_str(b, "tokenizer.chat_template", v->chat), ++*n_kv;
    if (v->normalizer) put_kv_str(b, "libmoe.tokenizer.normalizer", v->normalizer), ++*n_kv;
    if (v->tokens) put_strings(b, "tokenizer.ggml.tokens", v->tokens, v->n_tokens), ++*n_kv;
    if (v->merges) put_strings(b, "tokenizer.ggml.merges", v->merges, v->n_merges), ++*n_kv;
    if (v->types) {
        put_key(b, "tokenizer.ggml.token_type", MOE_META_ARRAY);
        put_u32(b, MOE_META_I32);
        put_u64(b, strlen(v->types));
        for (const char *p = v->types; *p; p++) put_u32(b, (uint32_t)(*p - '0'));
        ++*n_kv;
    }
    if (v->scores) {
        put_key(b, "tokenizer.ggml.scores", MOE_META_ARRAY);
        put_u32(b, MOE_META_F32);
        put_u64(b, v->n_tokens);
        for (size_t i = 0; i < v->n_tokens; i++) {
            uint32_t u;
            memcpy(&u, &v->scores[i], 4);
            put_u32(b, u);
        }
        ++*n_kv;
    }
    if (v->bos) put_kv_u32(b, "tokenizer.ggml.bos_token_id", (uint32_t)(v->bos - 1)), ++*n_kv;
    if (v->eos) put_kv_u32(b, "tokenizer.ggml.eos_token_id", (uint32_t)(v->eos - 1)), ++*n_kv;
    if (v->unk) put_kv_u32(b, "tokenizer.ggml.unknown_token_id", (uint32_t)(v->unk - 1)), ++*n_kv;
    if (v->add_bos) put_bool(b, "tokenizer.ggml.add_bos_token", v->add_bos - 1), ++*n_kv;
    if (v->space_prefix) put_bool(b, "tokenizer.ggml.add_space_prefix", v->space_prefix - 1), ++*n_kv;
    if (v->trim) put_bool(b, "tokenizer.ggml.remove_extra_whitespaces", 1), ++*n_kv;
}

static inline void make_file(bytes *out, const vocab *v)
{
    bytes meta = {NULL, 0, 0};
    uint64_t n_kv;
    put_vocab(&meta, v, &n_kv);
    put_header(out, 3, 0, n_kv);
    put(out, meta.p, meta.n);
    put_padding(out, 32);
    bytes_free(&meta);
}

/* Status of reading a tokenizer from the bytes, through the allocator a. */
static inline int read_tokenizer(moe_tokenizer **out, bytes *b, const moe__allocator *a)
{
    moe__file *f;
    const moe_file mf = bytes_file(1);
    *out = NULL;
    const int st = moe__file_open_user(&f, &mf, b, a, MOE_OPEN_METADATA_ONLY);
    if (st < 0) return st;
    const int made = moe__tokenizer_create(out, f, a);
    moe__file_close(f);
    return made;
}

static inline int make_tokenizer(moe_tokenizer **out, const vocab *v)
{
    moe__allocator a;
    bytes b = {NULL, 0, 0};
    moe__allocator_init(&a, NULL);
    make_file(&b, v);
    const int st = read_tokenizer(out, &b, &a);
    bytes_free(&b);
    return st;
}

/* A tokenizer that must come out well. */
static inline moe_tokenizer *tokenizer_of(const vocab *v)
{
    moe_tokenizer *t;
    if (make_tokenizer(&t, v) != MOE_OK) fail_msg("%s", moe_last_error());
    return t;
}

/* Encodes text and compares with ids ended by -1. */
static inline void encodes(const moe_tokenizer *t, const char *text, uint32_t flags, const moe_token *ids)
{
    moe_token got[256];
    size_t n, expected = 0;
    while (ids[expected] >= 0) expected++;
    if (moe_tokenizer_encode(t, text, strlen(text), flags, got, 256, &n) != MOE_OK)
        fail_msg("%s: %s", text, moe_last_error());
    assert_int_equal(n, expected);
    for (size_t i = 0; i < n; i++) assert_int_equal(got[i], ids[i]);
}
#define IDS(...) ((const moe_token[]){__VA_ARGS__, -1})

/* Decodes ids ended by -1 and compares. */
static inline void decodes(const moe_tokenizer *t, const moe_token *ids, uint32_t flags, const char *text)
{
    char got[256];
    size_t n = 0, len;
    while (ids[n] >= 0) n++;
    assert_int_equal(moe_tokenizer_decode(t, ids, n, flags, got, sizeof got - 1, &len), MOE_OK);
    got[len] = '\0';
    assert_string_equal(got, text);
}

#endif
