/* SPDX-License-Identifier: MIT */
/*
 * Words already encoded in the same text: their tokens are copied from the result so far instead of being
 * merged again. Only good for encoders whose words do not influence one another. One memo serves one text.
 */
#ifndef MOE_TOKEN_MEMO_H
#define MOE_TOKEN_MEMO_H

#include "token/token.h"

typedef struct moe__memo moe__memo;

/* *out = an empty memo for a text of n bytes; NULL (and MOE_OK) if the text is too short to be worth one. */
int moe__memo_create(moe__memo **out, const moe__allocator *a, size_t n);

/* Encodes one word of the text s with fn unless the memo knows its tokens. memo may be NULL. */
typedef int (*moe__word_fn)(const moe_tokenizer *t, const uint8_t *word, size_t len, void *arg,
                            moe__ids *ids);
int moe__memo_encode(moe__memo *memo, const moe_tokenizer *t, const uint8_t *s, const uint8_t *word,
                     size_t len, moe__word_fn fn, void *arg, moe__ids *ids);

#endif
