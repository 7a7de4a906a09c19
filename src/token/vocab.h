/* SPDX-License-Identifier: MIT */
/* How a tokenizer is read from a file: sizes first (the memory plan needs only these), then the tables. Used
 * inside token/ only. */
#ifndef MOE_TOKEN_VOCAB_H
#define MOE_TOKEN_VOCAB_H

#include "token/token.h"

/* What the file holds, checked as far as sizes depend on it. */
typedef struct moe__vocab_source {
    const moe__file *f;
    int spm;
    moe__array tokens, types, scores, merges; /* n = 0 where missing */
    size_t text_bytes;                        /* upper bound of the tokens' bytes with their zero bytes */
    size_t longest;                           /* upper bound of a token's bytes */
    size_t n_slots, n_merge_slots;            /* powers of two */
    size_t n_whole;                           /* upper bound */
} moe__vocab_source;

int moe__vocab_scan(moe__vocab_source *v, const moe__file *f);
/* Fills the tables of *t, which the caller frees on failure too. */
int moe__vocab_load(moe_tokenizer *t, const moe__vocab_source *v);

/* Bytes of a token as the file spells it; returns how many. dst holds at least len bytes. */
size_t moe__spelling_bpe(const char *s, size_t len, uint8_t *dst);
size_t moe__spelling_spm(const char *s, size_t len, uint8_t *dst);

#endif
