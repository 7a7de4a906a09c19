/* SPDX-License-Identifier: MIT */
/* See memo.h: a direct-mapped table of places in the text and in the result. */
#include "token/memo.h"

#include <string.h>

#include "base/status.h"

#define N_SEEN 2048u     /* words remembered, a power of two */
#define MAX_SEEN_LEN 64u /* bytes: longer words are rare and seldom repeated */
#define MIN_TEXT 256u    /* bytes: clearing the table takes longer than encoding a shorter text */

/* A word's place in the text and its tokens' place in the result; len = 0: free. */
typedef struct seen {
    uint32_t at, len, out, n_out;
} seen;

struct moe__memo {
    seen v[N_SEEN];
};

int moe__memo_create(moe__memo **out, const moe__allocator *a, size_t n)
{
    *out = NULL;
    return n >= MIN_TEXT ? MOE_NEW(a, out, 1, "words of a text") : MOE_OK;
}

static size_t slot_of(const uint8_t *s, size_t n)
{
    uint32_t h = (uint32_t)n;
    for (size_t i = 0; i < n; i++) h = (h ^ s[i]) * 0x01000193u;
    return (h ^ h >> 15) & (N_SEEN - 1);
}

int moe__memo_encode(moe__memo *memo, const moe_tokenizer *t, const uint8_t *s, const uint8_t *word,
                     size_t len, moe__word_fn fn, void *arg, moe__ids *ids)
{
    if (!memo || len > MAX_SEEN_LEN) return fn(t, word, len, arg, ids);
    seen *m = &memo->v[slot_of(word, len)];
    if (m->len == len && memcmp(s + m->at, word, len) == 0) {
        MOE_TRY(moe__ids_reserve(ids, m->n_out));
        memcpy(ids->v + ids->n, ids->v + m->out, m->n_out * sizeof *ids->v);
        ids->n += m->n_out;
        return MOE_OK;
    }
    const size_t out = ids->n;
    MOE_TRY(fn(t, word, len, arg, ids));
    *m = (seen){(uint32_t)(word - s), (uint32_t)len, (uint32_t)out, (uint32_t)(ids->n - out)};
    return MOE_OK;
}
