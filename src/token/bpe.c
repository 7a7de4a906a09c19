/* SPDX-License-Identifier: MIT */
/*
 * Byte-level BPE: words from the pre-tokenizer, each a row of byte tokens whose pair of lowest rank merges
 * until none does (Sennrich et al. 2016, arXiv:1508.07909; bytes as in GPT-2). Short words, nearly all of
 * them, are merged in place by looking for the lowest rank each time; long ones with a heap. A word met
 * before in the same text is not merged again (memo.h).
 */
#include <string.h>

#include "base/status.h"
#include "token/memo.h"
#include "token/merge.h"

#define SHORT_WORD 48u /* symbols: below this a scan beats a heap */

static uint32_t pair_rank(const moe_tokenizer *t, moe_token left, moe_token right, moe_token *merged)
{
    const moe__merge *m = moe__merge_find(t, left, right);
    if (!m) return MOE_NO_KEY;
    *merged = m->merged;
    return m->rank;
}

static void pair_bpe(const moe_tokenizer *t, const uint8_t *s, moe__symbol *l, const moe__symbol *r)
{
    (void)s;
    l->key = pair_rank(t, l->id, r->id, &l->merged);
}

/* n <= SHORT_WORD bytes, all of them tokens. */
static size_t merge_short(const moe_tokenizer *t, const uint8_t *s, size_t n, moe_token *id)
{
    uint32_t rank[SHORT_WORD];
    moe_token merged[SHORT_WORD];
    for (size_t i = 0; i < n; i++) id[i] = t->byte_token[s[i]];
    for (size_t i = 0; i + 1 < n; i++) rank[i] = pair_rank(t, id[i], id[i + 1], &merged[i]);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (rank[i] < rank[best]) best = i;
        if (rank[best] == MOE_NO_KEY) break;
        id[best] = merged[best];
        n--;
        for (size_t i = best + 1; i < n; i++) id[i] = id[i + 1];
        for (size_t i = best + 1; i + 1 < n; i++) {
            rank[i] = rank[i + 1];
            merged[i] = merged[i + 1];
        }
        if (best + 1 < n) rank[best] = pair_rank(t, id[best], id[best + 1], &merged[best]);
        if (best > 0) rank[best - 1] = pair_rank(t, id[best - 1], id[best], &merged[best - 1]);
    }
    return n;
}

static int merge_long(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    moe__merge_room room;
    MOE_TRY(moe__merge_room_init(&room, ids->alloc, n));
    moe__symbol *v = room.v;
    for (size_t i = 0; i < n; i++) {
        v[i].at = (uint32_t)i;
        v[i].len = 1;
        v[i].id = t->byte_token[s[i]];
    }
    moe__merge_run(t, s, &room, n, pair_bpe);
    for (size_t i = 0; i < n; i++)
        if (v[i].len > 0) ids->v[ids->n++] = v[i].id;
    moe__free(ids->alloc, room.heap);
    return MOE_OK;
}

/* A stretch of bytes that all are tokens. */
static int encode_known(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    MOE_TRY(moe__ids_reserve(ids, n));
    if (n > SHORT_WORD) return merge_long(t, s, n, ids);
    moe_token id[SHORT_WORD];
    n = merge_short(t, s, n, id);
    memcpy(ids->v + ids->n, id, n * sizeof *id);
    ids->n += n;
    return MOE_OK;
}

/* One word. Bytes without a token part it into stretches. */
static int encode_word(const moe_tokenizer *t, const uint8_t *s, size_t n, void *arg, moe__ids *ids)
{
    (void)arg;
    if (t->pre->flags & MOE_PRE_IGNORE_MERGES) {
        const moe_token id = moe__token_find(t, s, n);
        if (id >= 0 && (t->attr[id] & MOE_ATTR_NORMAL) != 0) {
            MOE_TRY(moe__ids_reserve(ids, 1));
            ids->v[ids->n++] = id;
            return MOE_OK;
        }
    }
    for (size_t i = 0; i < n;) {
        size_t end = i;
        while (end < n && t->byte_token[s[end]] >= 0) end++;
        if (end > i) MOE_TRY(encode_known(t, s + i, end - i, ids));
        if (end < n) MOE_TRY(moe__unknown_byte(t, s[end++], ids));
        i = end;
    }
    return MOE_OK;
}

int moe__bpe_encode(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids)
{
    moe__memo *memo;
    moe__pretok_iter it;
    const uint8_t *word;
    size_t len;
    int st = MOE_OK;
    MOE_TRY(moe__memo_create(&memo, ids->alloc, n));
    moe__pretok_start(&it, t->pre, s, n);
    while (st >= 0 && moe__pretok_next(&it, &word, &len))
        st = moe__memo_encode(memo, t, s, word, len, encode_word, NULL, ids);
    moe__free(ids->alloc, memo);
    return st;
}
