/* SPDX-License-Identifier: MIT */
/*
 * The thread that evaluates. The window sends it commands and gets news, both by queues; it never waits for
 * the model, and the model's objects are never touched by the main thread. The one exception is stopping:
 * moe_session_interrupt() may be called from any thread.
 */
#ifndef DESKTOP_WORKER_H
#define DESKTOP_WORKER_H

#include "engine.h"

enum news_kind {
    NEWS_MODEL,    /* a model was opened: shape */
    NEWS_NO_MODEL, /* a model could not be opened; the one before stays. text: why */
    NEWS_TEXT,     /* text, n_tokens, rate, heat */
    NEWS_DONE,     /* a continuation has ended: text says how if that is not plain, n_tokens, rate, heat */
    NEWS_STEERING, /* uses and preset as they are now */
    NEWS_NOTE,     /* text: something went well */
    NEWS_ERROR     /* text: something was refused */
};

/* What the worker has to tell. The receiver may steal pointers by setting them to NULL. */
struct news {
    enum news_kind kind;
    char *text;          /* or NULL */
    struct shape *shape; /* NEWS_MODEL */
    float *heat;         /* see engine_heat(), or NULL */
    uint8_t *uses;       /* see engine_uses(), or NULL */
    enum preset preset;
    uint32_t n_tokens; /* of this continuation so far */
    double rate;       /* tokens per second, 0 if there is nothing to say yet */
};

typedef struct worker worker;

/* `receive` is called on the main thread, from the main loop. */
worker *worker_new(void (*receive)(struct news *n, void *user), void *user);
/* Stops what is being done, ends the thread, drops what is left in the queues. No news come after it. */
void worker_free(worker *w);

void worker_open(worker *w, const char *path);
/* The worker owns what *a points to from here on. Not before the continuation before has said NEWS_DONE. */
void worker_generate(worker *w, const struct ask *a);
/* Ends the continuation at once, also in the middle of an eval. NEWS_DONE comes all the same. */
void worker_stop(worker *w);

/* Steering acts on the next token, also while a continuation is under way. NEWS_STEERING follows. */
void worker_cycle(worker *w, uint32_t row, uint32_t expert);
void worker_set_use(worker *w, uint32_t row, uint32_t expert, int use);
void worker_set_preset(worker *w, enum preset p);
void worker_reset(worker *w);
void worker_save_steering(worker *w, const char *path);
void worker_load_steering(worker *w, const char *path);

#endif
