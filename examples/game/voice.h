/* SPDX-License-Identifier: MIT */
/*
 * How one character speaks. A voice owns a session of the shared model (two with a contrast) and a sampler.
 *
 * Sequence 0 of its session holds what never changes: the prefix that all characters share, the voice's tag,
 * the persona. An utterance happens in sequence 1, a copy of it: that costs microseconds, shares the memory
 * until the texts differ, and evaluates nothing again. A session for each character, rather than a sequence
 * of one common session, since routing belongs to a session, and an interrupt then stops this character and
 * no other.
 *
 * A voice belongs to one thread at a time; only voice_interrupt() may come from elsewhere. Functions answer a
 * status of the library; moe_last_error() has the text.
 */
#ifndef GAME_VOICE_H
#define GAME_VOICE_H

#include <moe/moe.h>
#include "cast.h"

#define VOICE_TEXT_MAX 512        /* bytes of one utterance, the terminator included */
#define VOICE_WHOLE    UINT64_MAX /* "no limit of time" for voice_advance() */

typedef struct voice voice;

/* The state of a session that has evaluated the prefix, as moe_session_save() wrote it. */
typedef struct prefix {
    unsigned char *bytes;
    size_t n, cap, at; /* size, room, place of reading */
} prefix;

/* Options of every session of the game: the plan and the sessions must agree. */
moe_session_options voice_session_options(void);
/* Number of sessions that a role needs: 1, or 2 with a contrast. */
int voice_n_sessions(const role *r);

/* Evaluates the shared prefix, once. */
int voice_prefix_make(prefix *p, moe_model *m, const char *text);
void voice_prefix_free(prefix *p);

/* Sets *out, NULL on failure. The role must outlive the voice; prefix and memory hook need not. */
int voice_create(voice **out, moe_model *m, const role *r, const prefix *p, const moe_allocator *a);
void voice_free(voice *v);

/* Begins an utterance with the next opening, which is copied to text. One that goes on is given up. */
int voice_begin(voice *v, char text[VOICE_TEXT_MAX]);
/*
 * Goes on for about max_ns, or with VOICE_WHOLE until there is a new token; the new piece is appended to text
 * (which the caller keeps). *more is 1 as long as the utterance is not over. MOE_E_ABORTED: interrupted;
 * calling again repeats what was stopped, voice_begin() starts anew.
 */
int voice_advance(voice *v, uint64_t max_ns, char text[VOICE_TEXT_MAX], int *more);
/* Whether the last voice_advance() made a token. */
int voice_made_token(const voice *v);
/* Stops the evaluation that runs, from any thread; if none does, the next one. */
void voice_interrupt(voice *v);
/* Gives up an utterance. */
void voice_drop(voice *v);

#endif
