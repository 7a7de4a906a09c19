/* SPDX-License-Identifier: MIT */
/*
 * The speech of the cast. Each character has a line: its text, and what the main thread wishes. One lock
 * guards all lines, held for a copy of some bytes and never during an evaluation. Speakers take turns token
 * by token, so that several bubbles fill at once with one worker.
 *
 * Who may touch a voice: in slices the main thread; else the worker alone. The main thread only sets `wish`
 * and calls voice_interrupt(). An interrupt that comes when the evaluation is already over hits the next one:
 * an MOE_E_ABORTED that nobody wished for is therefore answered by doing the same again.
 */
#include "speech.h"
#include <SDL.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum wish { WISH_NONE, WISH_BEGIN, WISH_STOP };

typedef struct line {
    voice *v;
    enum wish wish;
    int speaking;  /* 1 from speech_say() until the utterance is over */
    size_t shown;  /* bytes that the reader has seen */
    uint64_t told; /* when WISH_STOP was uttered, in ticks of the performance counter */
    char text[VOICE_TEXT_MAX];
} line;

struct speech {
    speech_options o;
    purse purse;
    moe_model *model;
    line line[CAST_SIZE];
    int turn; /* who was last served */
    SDL_mutex *lock;
    SDL_cond *wake; /* there may be something to do */
    SDL_Thread *worker;
    int quit, busy; /* busy: an evaluation runs */
    int worked;     /* one ran since the last frame */
    speech_stats stats;
    atomic_int failed; /* error is set */
    char error[512];
};

static uint64_t ns_since(uint64_t ticks)
{
    return (uint64_t)((double)(SDL_GetPerformanceCounter() - ticks) * 1e9 /
                      (double)SDL_GetPerformanceFrequency());
}

static void longest(speech *sp, uint64_t ns)
{
    if (ns > sp->stats.ns_longest) sp->stats.ns_longest = ns;
}

/* -------------------------------------------------------------------------- the work, on whichever thread */

/* Makes text fit to be shown, in place: no blanks in front, no empty lines, none of the underscores that mark
 * italics. */
static void tidy(char *text)
{
    char *out = text, last = ' ';
    for (const char *p = text; *p; p++) {
        char c = *p == '\r' || *p == '\t' ? ' ' : *p;
        if (c == '_' || (c == ' ' && (last == ' ' || last == '\n'))) continue;
        if (c == '\n' && (last == '\n' || out == text)) continue;
        last = *out++ = c;
    }
    *out = '\0';
}

/* Bytes of the words that are complete, blanks included. */
static size_t complete(const char *text)
{
    size_t n = strlen(text);
    while (n > 0 && text[n - 1] != ' ' && text[n - 1] != '\n') n--;
    return n;
}

/* The next line, after the one served last, that can go on; NULL if none can. With the lock held. */
static line *next_line(speech *sp)
{
    for (int i = 1; i <= CAST_SIZE; i++) {
        line *l = &sp->line[(sp->turn + i) % CAST_SIZE];
        if (l->wish == WISH_NONE &&
            (!l->speaking || (sp->o.lead && complete(l->text) > l->shown + sp->o.lead)))
            continue;
        sp->turn = (sp->turn + i) % CAST_SIZE;
        return l;
    }
    return NULL;
}

/*
 * Serves one line: fulfils its wish, or goes on with its text for at most max_ns. Called with the lock held;
 * lets go of it while it evaluates. `text` is a copy, since the main thread reads the line meanwhile.
 */
static void serve(speech *sp, line *l, uint64_t max_ns)
{
    char text[VOICE_TEXT_MAX];
    int more = 1, st = MOE_OK, begin = l->wish == WISH_BEGIN;
    uint64_t start = SDL_GetPerformanceCounter();
    if (l->wish == WISH_STOP) {
        voice_drop(l->v);
        l->wish = WISH_NONE;
        if (sp->worker) longest(sp, ns_since(l->told));
        return;
    }
    l->wish = WISH_NONE;
    memcpy(text, l->text, sizeof text);
    sp->busy = sp->worked = 1;
    SDL_UnlockMutex(sp->lock);
    if (begin) st = voice_begin(l->v, text);
    if (st == MOE_OK) st = voice_advance(l->v, max_ns, text, &more);
    tidy(text);
    SDL_LockMutex(sp->lock);
    sp->busy = 0;
    sp->stats.ns_eval += ns_since(start);
    if (l->wish != WISH_NONE) return; /* silenced meanwhile, maybe begun anew: the result is not wanted */
    memcpy(l->text, text, sizeof text);
    if (st == MOE_E_ABORTED) return; /* a late interrupt of an earlier utterance: the same again */
    if (st != MOE_OK) {
        if (!atomic_load(&sp->failed))
            snprintf(sp->error, sizeof sp->error, "%s: %s", moe_status_name(st), moe_last_error());
        atomic_store(&sp->failed, 1); /* from here on `error` does not change */
        more = 0;
    }
    sp->stats.tokens += (uint64_t)voice_made_token(l->v);
    l->speaking = more;
}

static int work(void *user)
{
    speech *sp = user;
    /* Frames come first. Where the system refuses, nothing is lost. */
    SDL_SetThreadPriority(SDL_THREAD_PRIORITY_LOW);
    SDL_LockMutex(sp->lock);
    while (!sp->quit) {
        line *l = next_line(sp);
        if (l)
            serve(sp, l, VOICE_WHOLE);
        else
            SDL_CondWait(sp->wake, sp->lock);
    }
    SDL_UnlockMutex(sp->lock);
    return 0;
}

int speech_frame(speech *sp)
{
    uint64_t start = SDL_GetPerformanceCounter(), ns = 0;
    int worked;
    if (SDL_TryLockMutex(sp->lock) != 0) return 1; /* the worker has just made something */
    while (!sp->worker && ns < sp->o.slice_ns) {
        line *l = next_line(sp);
        if (!l) break;
        serve(sp, l, sp->o.slice_ns - ns);
        ns = ns_since(start);
        longest(sp, ns);
    }
    worked = sp->worked;
    sp->worked = sp->busy; /* one that is still running belongs to the next frame as well */
    SDL_UnlockMutex(sp->lock);
    return worked;
}

/* --------------------------------------------------------------------------------------- the main thread's
 */

void speech_say(speech *sp, int i)
{
    line *l = &sp->line[i];
    SDL_LockMutex(sp->lock);
    if (!l->speaking && !atomic_load(&sp->failed)) {
        l->wish = WISH_BEGIN; /* also instead of a WISH_STOP: beginning gives up what there was */
        l->speaking = 1;
        l->shown = 0;
        l->text[0] = '\0';
        sp->stats.utterances++;
        SDL_CondSignal(sp->wake);
    }
    SDL_UnlockMutex(sp->lock);
}

void speech_hush(speech *sp, int i)
{
    line *l = &sp->line[i];
    SDL_LockMutex(sp->lock);
    if (l->speaking) {
        if (l->wish == WISH_NONE && sp->worker) voice_interrupt(l->v);
        l->wish = WISH_STOP;
        l->speaking = 0;
        l->told = SDL_GetPerformanceCounter();
        sp->stats.interrupts++;
        SDL_CondSignal(sp->wake);
    }
    SDL_UnlockMutex(sp->lock);
}

void speech_read(speech *sp, int i, char text[VOICE_TEXT_MAX], int *more)
{
    if (SDL_TryLockMutex(sp->lock) != 0) return;
    memcpy(text, sp->line[i].text, VOICE_TEXT_MAX);
    *more = sp->line[i].speaking;
    SDL_UnlockMutex(sp->lock);
}

void speech_shown(speech *sp, int i, size_t n)
{
    if (SDL_TryLockMutex(sp->lock) != 0) return;
    if (n > sp->line[i].shown) {
        sp->line[i].shown = n;
        SDL_CondSignal(sp->wake);
    }
    SDL_UnlockMutex(sp->lock);
}

const char *speech_error(speech *sp) { return atomic_load(&sp->failed) ? sp->error : NULL; }

void speech_get_stats(speech *sp, speech_stats *out)
{
    SDL_LockMutex(sp->lock);
    *out = sp->stats;
    SDL_UnlockMutex(sp->lock);
    out->bytes_most = atomic_load(&sp->purse.most);
}

/* --------------------------------------------------------------------------------------- beginning and end
 */

static int library_failed(const char *what, int st, char *error, size_t cap)
{
    snprintf(error, cap, "%s: %s", what, moe_last_error()[0] ? moe_last_error() : moe_status_name(st));
    return -1;
}

/* Opens the model if it fits the budget, and makes sure that it has the voices. 0, or -1 with the message. */
static int open_model(speech *sp, char *error, size_t cap)
{
    moe_session_options so = voice_session_options();
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    moe_allocator hook = purse_hook(&sp->purse);
    const moe_tokenizer *tok;
    moe_token id;
    int n_sessions = 0, st;
    for (int i = 0; i < CAST_SIZE; i++) n_sessions += voice_n_sessions(&cast[i]);
    st = need_plan(&sp->stats.plan, sp->o.model, &so, n_sessions);
    if (st != MOE_OK) return library_failed(sp->o.model, st, error, cap);
    if (need_check(&sp->stats.plan, sp->o.budget, error, cap) != 0) return -1;
    if (sp->o.budget) sp->purse.limit = (size_t)(sp->o.budget - sp->stats.plan.mapped);
    mo.allocator = &hook;
    mo.n_threads = 1;
    st = moe_model_open(&sp->model, sp->o.model, &mo);
    if (st == MOE_OK) st = moe_model_tokenizer(sp->model, &tok);
    if (st != MOE_OK) return library_failed(sp->o.model, st, error, cap);
    for (int i = 0; i < CAST_SIZE; i++)
        if (moe_tokenizer_find(tok, cast[i].tag, strlen(cast[i].tag), &id) != MOE_OK) {
            snprintf(error, cap, "%s has no voice %s: the game is for examples/models/demo.gguf", sp->o.model,
                     cast[i].tag);
            return -1;
        }
    return 0;
}

static int make_voices(speech *sp, char *error, size_t cap)
{
    moe_allocator hook = purse_hook(&sp->purse);
    const char *who = "the shared prefix";
    prefix p;
    int st = voice_prefix_make(&p, sp->model, cast_prefix);
    for (int i = 0; i < CAST_SIZE && st == MOE_OK; i++) {
        who = cast[i].name;
        st = voice_create(&sp->line[i].v, sp->model, &cast[i], &p, &hook);
    }
    voice_prefix_free(&p);
    return st == MOE_OK ? 0 : library_failed(who, st, error, cap);
}

static int start_thread(speech *sp, char *error, size_t cap)
{
    sp->lock = SDL_CreateMutex();
    sp->wake = SDL_CreateCond();
    if (sp->lock && sp->wake && sp->o.slice_ns == 0) sp->worker = SDL_CreateThread(work, "speech", sp);
    if (sp->lock && sp->wake && (sp->worker || sp->o.slice_ns)) return 0;
    snprintf(error, cap, "the worker thread: %s", SDL_GetError());
    return -1;
}

speech *speech_create(const speech_options *o, char *error, size_t cap)
{
    uint64_t start = SDL_GetPerformanceCounter();
    speech *sp = calloc(1, sizeof *sp);
    if (!sp) {
        snprintf(error, cap, "no memory");
        return NULL;
    }
    sp->o = *o;
    if (open_model(sp, error, cap) != 0 || make_voices(sp, error, cap) != 0 ||
        start_thread(sp, error, cap) != 0) {
        speech_free(sp);
        return NULL;
    }
    sp->stats.ns_ready = ns_since(start); /* the worker sleeps: nobody has a wish yet */
    return sp;
}

void speech_free(speech *sp)
{
    if (!sp) return;
    for (int i = 0; i < CAST_SIZE && sp->worker; i++) speech_hush(sp, i); /* so that the end does not wait */
    if (sp->worker) {
        SDL_LockMutex(sp->lock);
        sp->quit = 1;
        SDL_CondSignal(sp->wake);
        SDL_UnlockMutex(sp->lock);
        SDL_WaitThread(sp->worker, NULL);
    }
    for (int i = 0; i < CAST_SIZE; i++) voice_free(sp->line[i].v);
    moe_model_release(sp->model);
    if (sp->wake) SDL_DestroyCond(sp->wake);
    if (sp->lock) SDL_DestroyMutex(sp->lock);
    free(sp);
}
