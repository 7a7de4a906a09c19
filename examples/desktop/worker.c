/* SPDX-License-Identifier: MIT */
/*
 * The evaluating thread and its two queues. Between two tokens of a continuation it serves the commands that
 * steer; any other waits until the continuation has ended. See worker.h.
 */
#include "worker.h"

enum command_kind { DO_OPEN, DO_GENERATE, DO_CYCLE, DO_USE, DO_PRESET, DO_RESET, DO_SAVE, DO_LOAD, DO_QUIT };

struct command {
    enum command_kind kind;
    char *path;           /* DO_OPEN, DO_SAVE, DO_LOAD */
    struct ask ask;       /* DO_GENERATE */
    uint32_t row, expert; /* DO_CYCLE, DO_USE */
    int value;            /* DO_USE, DO_PRESET */
};

struct worker {
    GThread *thread;
    GAsyncQueue *commands, *news;
    void (*receive)(struct news *n, void *user);
    void *user;

    engine *e;           /* the thread's own */
    gint stop, quit;     /* atomic flags, set by the main thread */
    GMutex lock;         /* guards what follows */
    moe_session *target; /* the session to interrupt; NULL while there is none */
    guint source;        /* the main loop has been asked to call drain() */
};

static void command_free(void *p)
{
    struct command *c = p;
    g_free(c->path);
    g_free(c->ask.text);
    g_free(c->ask.voice);
    g_free(c);
}

static void news_free(void *p)
{
    struct news *n = p;
    g_free(n->text);
    shape_free(n->shape);
    g_free(n->heat);
    g_free(n->uses);
    g_free(n);
}

/* ------------------------------------------------------------------------------- news, to the main loop */

/* On the main thread: hands over all that has come. */
static gboolean drain(void *user)
{
    worker *w = user;
    struct news *n;
    g_mutex_lock(&w->lock);
    w->source = 0; /* what is pushed from now on asks again */
    g_mutex_unlock(&w->lock);
    while ((n = g_async_queue_try_pop(w->news))) {
        w->receive(n, w->user);
        news_free(n);
    }
    return G_SOURCE_REMOVE;
}

static void tell(worker *w, struct news *n)
{
    g_async_queue_push(w->news, n);
    g_mutex_lock(&w->lock);
    if (!w->source && !g_atomic_int_get(&w->quit)) w->source = g_idle_add(drain, w);
    g_mutex_unlock(&w->lock);
}

static struct news *news_new(enum news_kind kind, char *text)
{
    struct news *n = g_new0(struct news, 1);
    n->kind = kind;
    n->text = text;
    return n;
}

static void tell_steering(worker *w)
{
    struct news *n = news_new(NEWS_STEERING, NULL);
    n->uses = engine_uses(w->e);
    n->preset = engine_preset(w->e);
    tell(w, n);
}

/* ------------------------------------------------------------------------------------ the thread's work */

static int loading(const moe_progress *p, void *user)
{
    worker *w = user;
    (void)p;
    return g_atomic_int_get(&w->quit);
}

static void set_engine(worker *w, engine *e)
{
    engine *old = w->e;
    g_mutex_lock(&w->lock);
    w->e = e;
    w->target = e ? engine_session(e) : NULL;
    g_mutex_unlock(&w->lock);
    engine_free(old); /* nobody interrupts its session any more */
}

static void open_model(worker *w, const char *path)
{
    char *why = NULL;
    struct news *n;
    engine *e = engine_open(path, &w->stop, loading, w, &why);
    if (!e) {
        tell(w, news_new(NEWS_NO_MODEL, why));
        return;
    }
    set_engine(w, e);
    n = news_new(NEWS_MODEL, NULL);
    n->shape = engine_shape(e);
    tell(w, n);
    tell_steering(w);
    if (why) tell(w, news_new(NEWS_ERROR, why));
}

/* One command that steers. */
static void steer(worker *w, const struct command *c)
{
    char *why = NULL;
    if (!w->e) return;
    switch (c->kind) {
    case DO_CYCLE: (void)engine_cycle(w->e, c->row, c->expert, &why); break;
    case DO_USE: (void)engine_set_use(w->e, c->row, c->expert, c->value, &why); break;
    case DO_PRESET: (void)engine_set_preset(w->e, (enum preset)c->value, &why); break;
    case DO_RESET: (void)engine_reset(w->e, &why); break;
    case DO_LOAD: (void)engine_load_steering(w->e, c->path, &why); break;
    case DO_SAVE:
        if (engine_save_steering(w->e, c->path, &why))
            tell(w, news_new(NEWS_NOTE, g_strdup_printf("Steering saved to %s", c->path)));
        break;
    default: break;
    }
    if (why) tell(w, news_new(NEWS_ERROR, why));
    tell_steering(w);
}

/* Between two tokens. A command that does not steer is put back, for when the continuation has ended. */
static void steer_meanwhile(worker *w)
{
    struct command *c;
    while ((c = g_async_queue_try_pop(w->commands))) {
        if (c->kind == DO_OPEN || c->kind == DO_GENERATE || c->kind == DO_QUIT) {
            g_async_queue_push_front(w->commands, c);
            return;
        }
        steer(w, c);
        command_free(c);
    }
}

static void tell_progress(worker *w, enum news_kind kind, char *text, uint32_t n_tokens, gint64 since)
{
    struct news *n = news_new(kind, text);
    const double seconds = (double)(g_get_monotonic_time() - since) / 1e6;
    n->n_tokens = n_tokens;
    n->rate = n_tokens > 1 && seconds > 0.0 ? (n_tokens - 1) / seconds : 0.0; /* the first cost nothing yet */
    n->heat = engine_heat(w->e);
    tell(w, n);
}

/* A continuation. The flag `stop` is looked at between tokens; an interrupt ends the eval that it meets. */
static void generate(worker *w, const struct ask *a)
{
    char text[4096], *why = NULL;
    size_t len;
    uint32_t n = 0;
    bool end = false;
    int status = w->e ? engine_begin(w->e, a) : ENGINE_NO_TEXT;
    gint64 since = g_get_monotonic_time();
    while (status == MOE_OK && !end && n < a->n_tokens && !g_atomic_int_get(&w->stop)) {
        status = engine_pick(w->e, text, sizeof text, &len, &end);
        if (status != MOE_OK) break;
        tell_progress(w, NEWS_TEXT, g_strndup(text, len), ++n, since);
        steer_meanwhile(w);
        if (!end && n < a->n_tokens) status = engine_eval(w->e);
    }
    if (status == ENGINE_NO_TEXT)
        why = g_strdup("There is nothing to go on with: write some words, or choose a voice.");
    else if (status != MOE_OK && !(status == MOE_E_ABORTED && g_atomic_int_get(&w->stop)))
        engine_reason(&why, "The text cannot be continued");
    if (why) tell(w, news_new(NEWS_ERROR, why));
    if (w->e)
        tell_progress(w, NEWS_DONE, end ? g_strdup("the model ended the text") : NULL, n, since);
    else
        tell(w, news_new(NEWS_DONE, NULL));
}

static void *work(void *user)
{
    worker *w = user;
    bool quit = false;
    while (!quit) {
        struct command *c = g_async_queue_pop(w->commands);
        quit = g_atomic_int_get(&w->quit) != 0;
        if (!quit && c->kind == DO_OPEN)
            open_model(w, c->path);
        else if (!quit && c->kind == DO_GENERATE)
            generate(w, &c->ask);
        else if (!quit)
            steer(w, c);
        command_free(c);
    }
    set_engine(w, NULL);
    return NULL;
}

/* ---------------------------------------------------------------------------------- for the main thread */

worker *worker_new(void (*receive)(struct news *n, void *user), void *user)
{
    worker *w = g_new0(worker, 1);
    w->receive = receive;
    w->user = user;
    w->commands = g_async_queue_new_full(command_free);
    w->news = g_async_queue_new_full(news_free);
    g_mutex_init(&w->lock);
    w->thread = g_thread_new("model", work, w);
    return w;
}

static struct command *command(enum command_kind kind, const char *path)
{
    struct command *c = g_new0(struct command, 1);
    c->kind = kind;
    c->path = g_strdup(path);
    return c;
}

void worker_stop(worker *w)
{
    g_atomic_int_set(&w->stop, 1);
    g_mutex_lock(&w->lock);
    moe_session_interrupt(w->target); /* NULL is fine */
    g_mutex_unlock(&w->lock);
}

void worker_free(worker *w)
{
    if (!w) return;
    g_atomic_int_set(&w->quit, 1);
    worker_stop(w);
    g_async_queue_push(w->commands, command(DO_QUIT, NULL));
    g_thread_join(w->thread);
    if (w->source) g_source_remove(w->source);
    g_async_queue_unref(w->commands);
    g_async_queue_unref(w->news);
    g_mutex_clear(&w->lock);
    g_free(w);
}

void worker_open(worker *w, const char *path) { g_async_queue_push(w->commands, command(DO_OPEN, path)); }

void worker_generate(worker *w, const struct ask *a)
{
    struct command *c = command(DO_GENERATE, NULL);
    c->ask = *a;
    g_atomic_int_set(&w->stop, 0); /* what was stopped before has ended */
    g_async_queue_push(w->commands, c);
}

void worker_set_use(worker *w, uint32_t row, uint32_t expert, int use)
{
    struct command *c = command(DO_USE, NULL);
    c->row = row;
    c->expert = expert;
    c->value = use;
    g_async_queue_push(w->commands, c);
}

void worker_cycle(worker *w, uint32_t row, uint32_t expert)
{
    struct command *c = command(DO_CYCLE, NULL);
    c->row = row;
    c->expert = expert;
    g_async_queue_push(w->commands, c);
}

void worker_set_preset(worker *w, enum preset p)
{
    struct command *c = command(DO_PRESET, NULL);
    c->value = (int)p;
    g_async_queue_push(w->commands, c);
}

void worker_reset(worker *w) { g_async_queue_push(w->commands, command(DO_RESET, NULL)); }
void worker_save_steering(worker *w, const char *path)
{
    g_async_queue_push(w->commands, command(DO_SAVE, path));
}
void worker_load_steering(worker *w, const char *path)
{
    g_async_queue_push(w->commands, command(DO_LOAD, path));
}
