/* SPDX-License-Identifier: MIT */
/*
 * Ctrl-C. The first signal (INT, TERM, HUP) sets a flag and stops a running eval; a second one ends the
 * program at once, unless it was asked to be patient (a half-written file to be removed).
 */
#ifndef INTERRUPT_H
#define INTERRUPT_H

#include "tool.h"

void interrupt_install(bool patient);
bool interrupted(void);
bool interrupted_by_user(void); /* by SIGINT, not by a request to terminate */
void interrupt_forget(void);    /* chat: the answer is stopped, the program goes on */
/* The session whose eval a signal stops; NULL for none. */
void interrupt_target(moe_session *s);
/* moe_session_eval / eval_batch that a signal stops, and only a signal that came during this work. */
int eval_tokens(moe_session *s, const moe_token *ids, size_t n);
int eval_batch(moe_session *s, const moe_batch *b);

#endif
