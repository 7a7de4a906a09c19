/* SPDX-License-Identifier: MIT */
/* Texts that are evaluated to look at something: in windows, each opened by a voice or begin-of-text token.
 */
#ifndef CORPUS_H
#define CORPUS_H

#include "setup.h"
#include "text.h"

/* Tokens of a window: --ctx, else the training context, at most 4096. */
size_t text_window(const struct settings *s, const moe_model_info *info);
/*
 * The token before each window of a text: the voice of --voice (`auto`: the one that the file's name has),
 * else the model's begin-of-text token; MOE_TOKEN_NONE for none. An exit code.
 */
int text_opening(const struct settings *s, const moe_model *m, const char *path, moe_token *out);
/* The name of a file without folder and ending, copied to dst[n]. */
void text_name(char *dst, size_t n, const char *path);

struct corpus {
    const struct settings *s;
    moe_model *model;
    moe_session *session;
    const moe_tokenizer *tok;
    size_t window;
    uint8_t *no_logits; /* [window] zeros */
    /* Called before each window of a text, for who must know; NULL = nobody. A status of the library. */
    int (*begin)(void *user);
    void *user;
};

/* Model, tokenizer and a session whose context is the window and `extra` tokens more. An exit code. */
int corpus_open(struct corpus *c, const struct settings *s, size_t extra);
void corpus_close(struct corpus *c);
/*
 * Evaluates a text; `name` is for messages, `path` for the voice. The logits of the last token are there
 * afterwards if `logits` is set. An exit code; what went wrong has been told.
 */
int corpus_text(struct corpus *c, const char *name, const char *path, const struct bytes *text, bool logits);
/* The same for a file, "-" for standard input. */
int corpus_file(struct corpus *c, const char *path, bool logits);

#endif
