/* SPDX-License-Identifier: MIT */
/*
 * Text to tokens: whole tokens (control tokens on request, added tokens always) are cut out leftmost-longest
 * first, the text between them, normalised if the model wants that, goes to the model's own encoder. The
 * result is built in a growing list and handed out at the end, so a failed call changes nothing of the
 * caller's.
 */
#include <string.h>

#include "base/status.h"
#include "token/nfc.h"
#include "token/token.h"

int moe__ids_reserve(moe__ids *ids, size_t more)
{
    if (more <= ids->cap - ids->n) return MOE_OK;
    if (more > SIZE_MAX / 8 - ids->n) return MOE_FAIL(NOMEM, "tokens of a text: too many");
    size_t cap = ids->cap ? ids->cap : 256;
    while (cap < ids->n + more) cap *= 2;
    MOE_TRY(moe__realloc_array(ids->alloc, (void **)&ids->v, cap, sizeof *ids->v, "tokens of a text"));
    ids->cap = cap;
    return MOE_OK;
}

int moe__unknown_byte(const moe_tokenizer *t, uint8_t byte, moe__ids *ids)
{
    const moe_token unk = t->special[MOE_TOKEN_UNK];
    if (unk < 0)
        return MOE_FAIL(UNSUPPORTED, "%s: the vocabulary has no token for byte 0x%02x and no unknown token",
                        t->name, (unsigned)byte);
    MOE_TRY(moe__ids_reserve(ids, 1));
    ids->v[ids->n++] = unk;
    return MOE_OK;
}

static int encode_plain(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    uint8_t *normal = NULL;
    size_t n_normal;
    if (n == 0) return MOE_OK;
    if (t->nfc) MOE_TRY(moe__nfc(ids->alloc, s, n, &normal, &n_normal));
    if (normal) {
        if (n_normal >= INT32_MAX) { /* places in it are 32 bits wide */
            moe__free(ids->alloc, normal);
            return MOE_FAIL(RANGE, "text of %zu bytes in normal form: at most 2 GiB are encoded at once",
                            n_normal);
        }
        s = normal;
        n = n_normal;
    }
    const int st = t->spm ? moe__spm_encode(t, s, n, ids) : moe__bpe_encode(t, s, n, ids);
    moe__free(ids->alloc, normal);
    return st;
}

static int encode_all(const moe_tokenizer *t, const uint8_t *s, size_t n, uint32_t flags, moe__ids *ids)
{
    MOE_TRY(moe__ids_reserve(ids, n / 4 + 16));
    if ((flags & MOE_ENCODE_BOS) && t->add_bos && t->special[MOE_TOKEN_BOS] >= 0)
        ids->v[ids->n++] = t->special[MOE_TOKEN_BOS];
    size_t plain = 0;
    for (size_t i = 0; i < n;) {
        moe_token id = MOE_TOKEN_NONE;
        const size_t len = t->whole_first[s[i]] == t->whole_first[s[i] + 1]
                               ? 0
                               : moe__whole_match(t, s + i, n - i, (flags & MOE_ENCODE_SPECIAL) != 0, &id);
        if (len == 0) {
            i++;
            continue;
        }
        MOE_TRY(encode_plain(t, s + plain, i - plain, ids));
        MOE_TRY(moe__ids_reserve(ids, 1));
        ids->v[ids->n++] = id;
        i += len;
        plain = i;
    }
    return encode_plain(t, s + plain, n - plain, ids);
}

int moe__tokenizer_encode(const moe_tokenizer *t, const char *text, size_t len, uint32_t flags,
                          moe_token *dst, size_t cap, size_t *n)
{
    *n = 0;
    if (len >= INT32_MAX) return MOE_FAIL(RANGE, "text of %zu bytes: at most 2 GiB are encoded at once", len);
    moe__ids ids = {&t->alloc, NULL, 0, 0};
    int st = encode_all(t, (const uint8_t *)(text ? text : ""), len, flags, &ids);
    if (st >= 0) {
        *n = ids.n;
        if (ids.n > cap)
            st = MOE_FAIL(BUFFER, "room for %zu tokens is needed, there is room for %zu", ids.n, cap);
        else if (ids.n > 0)
            memcpy(dst, ids.v, ids.n * sizeof *dst);
    }
    moe__free(&t->alloc, ids.v);
    return st;
}
