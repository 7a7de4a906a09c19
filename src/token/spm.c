/* SPDX-License-Identifier: MIT */
/*
 * SentencePiece-style BPE (Kudo and Richardson 2018, arXiv:1808.06226): the text with its spaces is one row
 * of characters; the pair whose concatenation is the token with the best score merges, until no pair makes a
 * token. What is no token at the end is spelled in byte tokens. Tokens are kept with plain spaces instead of
 * U+2581, so a U+2581 in the text is a space.
 */
#include <string.h>

#include "base/half.h"
#include "base/status.h"
#include "token/merge.h"
#include "token/unicode.h"

/* Scores as keys: falling scores are rising integers; never MOE_NO_KEY, as scores are not NaN. */
static uint32_t score_key(float score)
{
    const uint32_t u = moe__f32_bits(score + 0.0f); /* -0 becomes 0 */
    return ~(u & 0x80000000u ? ~u : u | 0x80000000u);
}

static void pair_spm(const moe_tokenizer *t, const uint8_t *s, moe__symbol *l, const moe__symbol *r)
{
    l->key = MOE_NO_KEY;
    const moe_token id = moe__token_find(t, s + l->at, (size_t)l->len + r->len);
    if (id < 0 || (t->attr[id] & (MOE_ATTR_NORMAL | MOE_ATTR_USER)) == 0) return;
    l->merged = id;
    l->key = score_key(t->score[id]);
}

/* Text as the model sees it: a space in front, U+2581 as space, superfluous spaces removed. dst holds n + 1
 * bytes. */
static size_t normalize(const moe_tokenizer *t, const uint8_t *s, size_t n, uint8_t *dst)
{
    size_t out = 0;
    if (t->space_prefix) dst[out++] = ' ';
    for (size_t i = 0; i < n;) {
        uint8_t c = s[i];
        if (n - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) {
            c = ' ';
            i += 3;
        } else {
            i++;
        }
        if (t->trim_spaces && c == ' ' && (out == 0 || dst[out - 1] == ' ')) continue;
        dst[out++] = c;
    }
    if (t->trim_spaces && out > 0 && dst[out - 1] == ' ') out--;
    return out;
}

static size_t split(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__symbol *v)
{
    size_t n_symbols = 0;
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        const size_t len = moe__utf8_next(s + i, n - i, &cp);
        moe__symbol *sym = &v[n_symbols++];
        sym->at = (uint32_t)i;
        sym->len = (uint32_t)len;
        sym->id = moe__token_find(t, s + i, len);
        if (sym->id >= 0 && (t->attr[sym->id] & (MOE_ATTR_NORMAL | MOE_ATTR_USER)) == 0)
            sym->id = MOE_TOKEN_NONE;
        i += len;
    }
    return n_symbols;
}

/* A symbol as its token, or as bytes; a character of which a byte has no token is one unknown token. */
static int emit(const moe_tokenizer *t, const uint8_t *s, const moe__symbol *sym, moe__ids *ids)
{
    MOE_TRY(moe__ids_reserve(ids, sym->len));
    if (sym->id >= 0) {
        ids->v[ids->n++] = sym->id;
        return MOE_OK;
    }
    for (size_t i = 0; i < sym->len; i++)
        if (t->byte_token[s[sym->at + i]] < 0) return moe__unknown_byte(t, s[sym->at + i], ids);
    for (size_t i = 0; i < sym->len; i++) ids->v[ids->n++] = t->byte_token[s[sym->at + i]];
    return MOE_OK;
}

static int encode_normal(const moe_tokenizer *t, const uint8_t *s, size_t n, const moe__merge_room *room,
                         moe__ids *ids)
{
    const moe__symbol *v = room->v;
    const size_t n_symbols = split(t, s, n, room->v);
    moe__merge_run(t, s, room, n_symbols, pair_spm);
    for (size_t i = 0; i < n_symbols; i++)
        if (v[i].len > 0) MOE_TRY(emit(t, s, &v[i], ids));
    return MOE_OK;
}

int moe__spm_encode(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    uint8_t *text = NULL;
    moe__merge_room room = {NULL, NULL};
    int st;
    MOE_TRY_GOTO(MOE_NEW(ids->alloc, &text, n + 1, "text to encode"), done);
    const size_t len = normalize(t, s, n, text);
    MOE_TRY_GOTO(moe__merge_room_init(&room, ids->alloc, len), done);
    st = encode_normal(t, text, len, &room, ids);
done:
    moe__free(ids->alloc, room.heap);
    moe__free(ids->alloc, text);
    return st;
}
