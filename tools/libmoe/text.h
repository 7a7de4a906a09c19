/* SPDX-License-Identifier: MIT */
/* Growing bytes and tokens; reading files and prompts. Every function that can fail has given the message
 * when it does. */
#ifndef TEXT_H
#define TEXT_H

#include "options.h"

struct bytes {
    char *v; /* always zero-terminated once something was added; n does not count that */
    size_t n, cap;
};

struct tokens {
    moe_token *v;
    size_t n, cap;
};

void bytes_free(struct bytes *b);
bool bytes_add(struct bytes *b, const char *data, size_t n);
bool bytes_add_text(struct bytes *b, const char *text);
void tokens_free(struct tokens *t);
bool tokens_add(struct tokens *t, const moe_token *ids, size_t n);
/* Encodes text and appends its tokens. */
bool tokens_add_text(struct tokens *t, const moe_tokenizer *tok, const char *text, size_t n, uint32_t flags);
/* Appends the text of one more token of a stream; MOE_TOKEN_NONE flushes. */
bool bytes_add_token(struct bytes *b, const moe_tokenizer *tok, moe_stream *stream, moe_token id);

/* A whole file, "-" for standard input. */
bool read_file(struct bytes *b, const char *path);
/*
 * The text a command is to work on: --file, or the arguments joined by blanks, or standard input for "-" and,
 * if it is not a terminal, for nothing. *from_input says that it was standard input.
 */
bool read_prompt(struct bytes *b, const struct settings *s);

#endif
