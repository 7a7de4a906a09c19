/* SPDX-License-Identifier: MIT */
/* Going on when the context is full (--shift): the older half of what stands behind the first tokens goes. */
#ifndef SHIFT_H
#define SHIFT_H

#include "tool.h"

/*
 * eval_tokens() on sequence 0; with keep > 0 it makes room where there is none. *gone counts the tokens that
 * were taken out, all of them behind the first `keep`. A piece that was evaluated stays if a later one fails.
 */
int eval_shifting(moe_session *s, const moe_token *ids, size_t n, int32_t keep, size_t *gone);
/* Whether `keep` leaves room to go on in a context of n_ctx; says so if not. */
bool shift_fits(const struct settings *s, const moe_session *session);

#endif
