/* SPDX-License-Identifier: MIT */
/*
 * Speech of the whole cast, as the main thread sees it: have somebody speak, silence them, read what was said
 * so far. The work is done either by one worker thread of low priority or, in slices, by speech_frame() on
 * the main thread. All functions below are for the main thread, and none of them waits for an evaluation.
 */
#ifndef GAME_SPEECH_H
#define GAME_SPEECH_H

#include "memory.h"
#include "voice.h"

typedef struct speech speech;

typedef struct speech_options {
    const char *model; /* path of the model file */
    uint64_t budget;   /* bytes for model and sessions; 0 = no limit */
    uint64_t slice_ns; /* time that speech_frame() may take; 0 = a worker thread instead */
    size_t lead;       /* bytes that the text may be ahead of the reader; 0 = no limit */
} speech_options;

typedef struct speech_stats {
    need plan;
    uint64_t bytes_most;         /* most that was allocated; mapped weights not included */
    uint64_t tokens, utterances; /* made, begun */
    uint64_t interrupts;         /* utterances that were cut short */
    uint64_t ns_ready;           /* time that speech_create() took */
    uint64_t ns_longest; /* with a worker: from an interrupt to its answer; else: one speech_frame() */
    uint64_t ns_eval;    /* time spent on speech, by whichever thread */
} speech_stats;

/* Opens the model and makes everybody's sessions. NULL on failure: `error` has the reason (cap bytes). */
speech *speech_create(const speech_options *o, char *error, size_t cap);
void speech_free(speech *sp);

/* Has character i begin to speak, if silent. */
void speech_say(speech *sp, int i);
/* Cuts character i short. The text so far stays readable until the next speech_say(). */
void speech_hush(speech *sp, int i);
/*
 * Copies what character i has said; *more is 1 while more is to come, else 0. If the worker is writing at
 * this very moment both stay as they are, until the next frame: the lock may be held by a thread of low
 * priority that lost its CPU, and a frame must not wait for it.
 */
void speech_read(speech *sp, int i, char text[VOICE_TEXT_MAX], int *more);
/* Tells how many bytes of it have been shown, so that the speaker stays `lead` bytes ahead. Likewise. */
void speech_shown(speech *sp, int i, size_t n);
/* Once a frame: in slices, evaluates for a while. Returns 1 if speech was worked on since the last call. */
int speech_frame(speech *sp);
/* NULL, or what went wrong: speech is then over, the game may go on. Lives as long as sp. */
const char *speech_error(speech *sp);
void speech_get_stats(speech *sp, speech_stats *out);

#endif
