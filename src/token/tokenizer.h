/* SPDX-License-Identifier: MIT */
/* What the other modules call of token/: life of a tokenizer and the work behind the tokenizer functions of
 * moe.h. */
#ifndef MOE_TOKEN_TOKENIZER_H
#define MOE_TOKEN_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "file/file.h"
#include "moe/moe.h"

/* MOE_E_NOTFOUND if the file has no tokenizer. The tokenizer does not refer to f afterwards. */
int moe__tokenizer_create(moe_tokenizer **out, const moe__file *f, const moe__allocator *a);
void moe__tokenizer_destroy(moe_tokenizer *t);
/* Upper bound of the bytes that moe__tokenizer_create takes from the allocator at any time; 0 if it would
 * fail. */
size_t moe__tokenizer_overhead(const moe__file *f);

/* The entry points of moe.h, arguments checked by the caller. */
int moe__tokenizer_encode(const moe_tokenizer *t, const char *text, size_t len, uint32_t flags,
                          moe_token *dst, size_t cap, size_t *n);
int moe__tokenizer_decode(const moe_tokenizer *t, const moe_token *ids, size_t n, uint32_t flags, char *dst,
                          size_t cap, size_t *len);
int moe__tokenizer_stream(const moe_tokenizer *t, moe_stream *st, moe_token id, char *dst, size_t cap,
                          size_t *len);

#endif
