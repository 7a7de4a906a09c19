/* SPDX-License-Identifier: MIT */
/*
 * What the writing window needs of libmoe: a model, one session on it, a sampler, and the steering of its
 * experts. No widgets here, and no threads: all calls come from the worker's thread (worker.c).
 */
#ifndef DESKTOP_ENGINE_H
#define DESKTOP_ENGINE_H

#include <glib.h>
#include <moe/moe.h>
#include <stdbool.h>

/* Rules of routing that the window offers. CUSTOM: what a steering file brought. */
enum preset { PRESET_NATIVE, PRESET_TOP1, PRESET_TOPP, PRESET_ALL, PRESET_CUSTOM };
#define N_PRESETS PRESET_CUSTOM

/* One wish for a continuation. */
struct ask {
    char *text;  /* what stands before the cursor; owned */
    char *voice; /* name of a voice, or NULL; owned */
    double temperature;
    double top_p;
    uint64_t seed;
    uint32_t n_tokens; /* at most so many new tokens */
};

/* What the window shows of a model. Strings and arrays are copies, so it may be handed to another thread. */
struct shape {
    char *path, *name, *arch;
    uint32_t n_rows;    /* layers that have a router: rows of the heat map */
    uint32_t n_experts; /* columns of the heat map */
    uint32_t top_k;
    uint32_t *layer; /* [n_rows] their numbers in the model */
    uint64_t n_params, n_active;
    char **voices;       /* NULL-terminated */
    char *voice_default; /* or NULL */
};

typedef struct engine engine;

#define ENGINE_NO_TEXT 1 /* engine_begin(): there is nothing to go on with */

/*
 * Opens a model. `stop` is a flag that another thread sets together with moe_session_interrupt(); an eval
 * that is aborted while it is 0 met an interrupt that came too late for the eval before, and is repeated.
 * NULL on failure: *why then tells the reason (to be freed).
 */
engine *engine_open(const char *path, const gint *stop, moe_progress_fn progress, void *user, char **why);
void engine_free(engine *e); /* NULL is fine */
/* Sets *why to "what: the library's reason", for the call of this thread that failed last. */
void engine_reason(char **why, const char *what);
moe_session *engine_session(const engine *e);
struct shape *engine_shape(const engine *e); /* a new copy */
void shape_free(struct shape *s);            /* NULL is fine */

/*
 * Makes the session ready to go on with a text: evaluates what it does not have of it already. These three
 * return a MOE_* status; moe_last_error() tells more.
 */
int engine_begin(engine *e, const struct ask *a);
/* Picks the next token. dst receives its text (len bytes, maybe none yet); *end: the model ends here. */
int engine_pick(engine *e, char *dst, size_t cap, size_t *len, bool *end);
/* Evaluates the token that was picked. */
int engine_eval(engine *e);

/*
 * Who speaks: [2][n_rows][n_experts]. First the shares of the last tokens (an average in which a token counts
 * half after HEAT_HALF_LIFE tokens), then the weights of the very last one. To be freed with g_free().
 */
#define HEAT_HALF_LIFE 12
float *engine_heat(const engine *e);

/* Steering. false: refused, *why tells the reason (to be freed), and nothing has changed. */
bool engine_set_use(engine *e, uint32_t row, uint32_t expert, int use, char **why);
/* The next of free, ban, force, drop that is allowed. *why is also set if one had to be left out. */
bool engine_cycle(engine *e, uint32_t row, uint32_t expert, char **why);
bool engine_set_preset(engine *e, enum preset p, char **why);
bool engine_reset(engine *e, char **why);
bool engine_save_steering(const engine *e, const char *path, char **why);
bool engine_load_steering(engine *e, const char *path, char **why);
uint8_t *engine_uses(const engine *e); /* [n_rows][n_experts] of MOE_USE_*, to be freed with g_free() */
enum preset engine_preset(const engine *e);

#endif
