/* SPDX-License-Identifier: MIT */
/* Settings to library objects: which model, the session and its routing, the sampler, the voice. Each says
 * what went wrong. */
#ifndef SETUP_H
#define SETUP_H

#include "options.h"

/* All return an exit code; on failure *out is NULL and the message has been given. */
int open_model(const struct settings *s, uint32_t flags, moe_model **out);
int open_session(const struct settings *s, moe_model *m, const moe_session_options *o, moe_session **out);
/* The second session of --contrast, routed as `strong` and then by that rule; *out is NULL without the
 * option. */
int open_weak(const struct settings *s, const moe_session *strong, const moe_session_options *o,
              moe_session **out);
int open_sampler(const struct settings *s, moe_sampler **out, uint64_t *seed);
moe_contrast contrast_settings(const struct settings *s);

/* Path of the model: --model, the file argument of a command that has one, $LIBMOE_MODEL, or the bundled one.
 * NULL if none. */
const char *model_path(const struct settings *s);
void model_options(const struct settings *s, moe_model_options *o);
void session_options(const struct settings *s, moe_session_options *o);
/* The tokenizer of a model; NULL after a message. */
const moe_tokenizer *tokenizer_of(const moe_model *m);

/*
 * The token that opens a text in the chosen voice, MOE_TOKEN_NONE for none. `name` NULL means the model's
 * default. A code other than CODE_OK: there is no such voice, the message names those there are.
 */
int voice_token(const moe_model *m, const char *name, moe_token *out);
/* Number of voices, and the i-th name (lives as long as the model; NULL past the end). */
uint64_t voice_count(const moe_model *m);
const char *voice_name(const moe_model *m, uint64_t i);
const char *voice_default(const moe_model *m);

#endif
