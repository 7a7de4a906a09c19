/* SPDX-License-Identifier: MIT */
/*
 * Whether two tokenizers mean the same by a token: its bytes and its kind. Where generation ends
 * (MOE_ATTR_END) is no part of that: a base model and its chat model share a vocabulary.
 */
#include <string.h>

#include "base/hash.h"
#include "token/token.h"

#define VOCAB_KIND(attr) ((uint8_t)((attr) & ~MOE_ATTR_END))

uint64_t moe__vocab_hash(const moe_tokenizer *t)
{
    moe__hash h;
    uint8_t part[256];
    moe__hash_init(&h);
    for (size_t i = 0; i < t->n; i += sizeof part) {
        const size_t n = t->n - i < sizeof part ? t->n - i : sizeof part;
        for (size_t j = 0; j < n; j++) part[j] = VOCAB_KIND(t->attr[i + j]);
        moe__hash_add(&h, part, n);
    }
    moe__hash_add(&h, t->at, (t->n + 1) * sizeof *t->at);
    moe__hash_add(&h, t->text, t->at[t->n]);
    return moe__hash_get(&h);
}

static int same_token(const moe_tokenizer *a, const moe_tokenizer *b, moe_token id)
{
    size_t a_len, b_len;
    const uint8_t *pa = moe__token_bytes(a, id, &a_len), *pb = moe__token_bytes(b, id, &b_len);
    return a_len == b_len && memcmp(pa, pb, a_len) == 0 && VOCAB_KIND(a->attr[id]) == VOCAB_KIND(b->attr[id]);
}

moe_token moe__vocab_differs(const moe_tokenizer *a, const moe_tokenizer *b)
{
    const size_t n = a->n < b->n ? a->n : b->n;
    if (a == b) return MOE_TOKEN_NONE;
    for (size_t i = 0; i < n; i++)
        if (!same_token(a, b, (moe_token)i)) return (moe_token)i;
    return a->n == b->n ? MOE_TOKEN_NONE : (moe_token)n;
}
