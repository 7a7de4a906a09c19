/* SPDX-License-Identifier: MIT */
/*
 * A session's steering as JSON (docs/formats/steering.md): recipes as text, uses, numbers, limits, overrides
 * and redirections of every router that differs from the model's own. What is code or weights of the
 * program's cannot be saved.
 */
#ifndef MOE_RUN_STEER_IO_H
#define MOE_RUN_STEER_IO_H

#include "file/json.h"
#include "run/session.h"

#define MOE_STEERING_FORMAT  "libmoe-steering"
#define MOE_STEERING_VERSION 1

/* Words of the format, by value: MOE_USE_*, MOE_EDIT_* - 1, MOE_OVERRIDE_*; both sides use them. */
extern const char *const moe__steer_uses[MOE_USE_FORCE + 1];
extern const char *const moe__steer_kinds[MOE_N_EDITS];
extern const char *const moe__steer_overrides[3];

/* steer_save.c. E_UNSUPPORTED before the first byte is written. */
int moe__steering_save(const moe_session *s, moe_write_fn fn, void *user);
/* steer_load.c. name is for messages. On failure the session is as before. */
int moe__steering_load(moe_session *s, const char *name, const char *text, size_t n);

/*
 * take.c: puts routers and slots that were made beside in the place of the session's. next [n_layers]: of
 * layers with experts; on success they are moved, on failure all stay the caller's and the session is as
 * before.
 */
int moe__routing_take(moe_session *s, moe__router *next, moe__slots *slots);

#endif
