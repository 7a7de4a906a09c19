/* SPDX-License-Identifier: MIT */
/* A conversation: what was said, and the session that has evaluated it. */
#ifndef CHAT_H
#define CHAT_H

#include "answer.h"

struct said {
    char *role, *text; /* owned */
};

struct talk {
    struct said *said;
    size_t n, cap;
    struct tokens history; /* without a chat template: all tokens so far */
};

bool talk_add(struct talk *t, const char *role, const char *text);
void talk_drop(struct talk *t); /* the last message */
void talk_clear(struct talk *t);

/*
 * A conversation as a file: messages, history, then the session as the library writes it. Written whole or
 * not at all; loading a damaged file, or one of another model, changes nothing. Both give a message on
 * failure.
 */
bool talk_save(const struct talk *t, const moe_session *s, const char *path);
bool talk_load(struct talk *t, moe_session *s, const char *path);

#endif
