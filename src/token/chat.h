/* SPDX-License-Identifier: MIT */
/*
 * Chat templates: the well-known ones are recognised in the file's Jinja text by characteristic pieces of it
 * and written by a function each. See docs/chat-templates.md.
 */
#ifndef MOE_TOKEN_CHAT_H
#define MOE_TOKEN_CHAT_H

#include "token/token.h"

/* The built-in template that a Jinja text is, or NULL. */
const moe__chat_template *moe__chat_recognise(const char *jinja);
const char *moe__chat_name(const moe__chat_template *c);
int moe__chat_format(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags, char *dst,
                     size_t cap, size_t *len);

#endif
