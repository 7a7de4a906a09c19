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
#include "token/memo.h"
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

/* A stretch of the text as the model sees it. arg: the room to merge it in. */
static int encode_stretch(const moe_tokenizer *t, const uint8_t *s, size_t n, void *arg, moe__ids *ids)
{
    const moe__merge_room *room = arg;
    const size_t n_symbols = split(t, s, n, room->v);
    moe__merge_run(t, s, room, n_symbols, pair_spm);
    for (size_t i = 0; i < n_symbols; i++)
        if (room->v[i].len > 0) MOE_TRY(emit(t, s, &room->v[i], ids));
    return MOE_OK;
}

/*
 * End of the stretch from i on that nothing merges with: if no token has a space behind another character, as
 * is usual, a stretch is some spaces and what follows up to the next one; else the whole text.
 */
static size_t stretch_end(const moe_tokenizer *t, const uint8_t *s, size_t n, size_t i)
{
    if (!t->spaces_lead) return n;
    while (i < n && s[i] == ' ') i++;
    while (i < n && s[i] != ' ') i++;
    return i;
}

static int encode_normal(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    moe__merge_room room = {NULL, NULL};
    moe__memo *memo = NULL;
    size_t longest = 0;
    int st;
    for (size_t i = 0, end; i < n; i = end) {
        end = stretch_end(t, s, n, i);
        if (end - i > longest) longest = end - i;
    }
    MOE_TRY_GOTO(moe__merge_room_init(&room, ids->alloc, longest), done);
    MOE_TRY_GOTO(moe__memo_create(&memo, ids->alloc, n), done);
    for (size_t i = 0, end; i < n; i = end) {
        end = stretch_end(t, s, n, i);
        MOE_TRY_GOTO(moe__memo_encode(memo, t, s, s + i, end - i, encode_stretch, &room, ids), done);
    }
done:
    moe__free(ids->alloc, memo);
    moe__free(ids->alloc, room.heap);
    return st;
}

int moe__spm_encode(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    uint8_t *text;
    MOE_TRY(MOE_NEW(ids->alloc, &text, n + 1, "text to encode"));
    const int st = encode_normal(t, text, normalize(t, s, n, text), ids);
    moe__free(ids->alloc, text);
    return st;
}
