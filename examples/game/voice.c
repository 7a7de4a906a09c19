/* SPDX-License-Identifier: MIT */
/*
 * The speech of one character: making sessions from the shared prefix, and the way from a token to the next,
 * in one go (worker thread) or in slices of time (main thread). See voice.h.
 */
#include "voice.h"
#include <stdlib.h>
#include <string.h>

#define IDS_MAX     128 /* tokens of a persona or an opening */
#define TOKENS_MAX  72  /* of an utterance */
#define TOKENS_GOOD 28  /* from here on the end of a sentence is the end */

enum { SEQ_PERSONA = 0, SEQ_SPEECH = 1 };

struct voice {
    const role *role;
    const moe_tokenizer *tok; /* the model's */
    moe_session *s[2];        /* [1], the weak one of a contrast, may be missing */
    int n_s;
    moe_sampler *sampler;
    float *z; /* [n_vocab], of a contrast */
    size_t n_vocab;
    int opening; /* the next one */

    /* The step under way: the same tokens go through one session after the other. */
    moe_token ids[IDS_MAX];
    moe_seq seq[IDS_MAX];
    size_t n_ids;
    int at;     /* session whose turn it is */
    int sliced; /* 1: an eval was begun there */
    moe_stream stream;
    int n_said, made;
};

moe_session_options voice_session_options(void)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 320;      /* persona (at most 128 tokens), and an utterance beside it; pages of 64 */
    o.n_seq_max = 2;    /* SEQ_PERSONA, SEQ_SPEECH */
    o.n_batch_max = 16; /* little scratch, and short steps for slices */
    o.n_output_max = 1;
    o.n_threads = 1; /* the thread that calls, and no others */
    return o;
}

int voice_n_sessions(const role *r) { return r->contrast ? 2 : 1; }

/* ------------------------------------------------------------------------------------------------- prefix */

static int prefix_write(const void *data, size_t n, void *user)
{
    prefix *p = user;
    if (n > p->cap - p->n) {
        size_t cap = 2 * p->cap + n;
        unsigned char *grown = realloc(p->bytes, cap);
        if (!grown) return MOE_E_NOMEM;
        p->bytes = grown;
        p->cap = cap;
    }
    memcpy(p->bytes + p->n, data, n);
    p->n += n;
    return 0;
}

static int prefix_read(void *data, size_t n, void *user)
{
    prefix *p = user;
    if (n > p->n - p->at) return MOE_E_IO;
    memcpy(data, p->bytes + p->at, n);
    p->at += n;
    return 0;
}

int voice_prefix_make(prefix *p, moe_model *m, const char *text)
{
    moe_session_options o = voice_session_options();
    const moe_tokenizer *tok;
    moe_session *s;
    moe_token ids[IDS_MAX];
    size_t n;
    int st = moe_session_create(&s, m, &o);
    memset(p, 0, sizeof *p);
    if (st != MOE_OK) return st;
    st = moe_model_tokenizer(m, &tok);
    if (st == MOE_OK) st = moe_tokenizer_encode(tok, text, strlen(text), 0, ids, IDS_MAX, &n);
    if (st == MOE_OK) st = moe_session_eval(s, ids, n);
    if (st == MOE_OK) st = moe_session_save(s, prefix_write, p);
    moe_session_free(s);
    return st;
}

void voice_prefix_free(prefix *p)
{
    free(p->bytes);
    memset(p, 0, sizeof *p);
}

/* ----------------------------------------------------------------------------------------------- creation */

/* Rule and bans of a role; `rule` NULL leaves the model's own. */
static int set_routing(moe_session *s, const role *r, const char *rule)
{
    moe_router *router;
    moe_expert *expert;
    int st = moe_session_router(s, MOE_ALL_LAYERS, &router);
    if (st == MOE_OK && rule) st = moe_router_set_named(router, rule);
    for (int i = 0; i < r->n_bans && st == MOE_OK; i++) {
        st = moe_session_router(s, r->bans[i].layer, &router);
        if (st == MOE_OK) st = moe_router_expert(router, r->bans[i].expert, &expert);
        if (st == MOE_OK) st = moe_expert_set_use(expert, MOE_USE_BAN);
    }
    return st;
}

/* A session that has read the prefix (loaded, not evaluated again), then tag and persona with its own
 * routing. */
static int make_session(voice *v, moe_model *m, const prefix *p, const char *rule)
{
    moe_session_options o = voice_session_options();
    moe_session **s = &v->s[v->n_s];
    prefix copy = *p; /* with a place of reading of its own */
    moe_token ids[IDS_MAX];
    size_t n_persona;
    int st = moe_session_create(s, m, &o);
    if (st != MOE_OK) return st;
    v->n_s++;
    copy.at = 0;
    st = moe_tokenizer_find(v->tok, v->role->tag, strlen(v->role->tag), &ids[0]);
    if (st == MOE_OK)
        st = moe_tokenizer_encode(v->tok, v->role->persona, strlen(v->role->persona), 0, ids + 1, IDS_MAX - 1,
                                  &n_persona);
    if (st == MOE_OK) st = moe_session_load(*s, prefix_read, &copy);
    if (st == MOE_OK) st = set_routing(*s, v->role, rule);
    if (st == MOE_OK) st = moe_session_eval(*s, ids, n_persona + 1); /* appends to SEQ_PERSONA, which is 0 */
    return st;
}

int voice_create(voice **out, moe_model *m, const role *r, const prefix *p, const moe_allocator *a)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    voice *v = calloc(1, sizeof *v);
    int st;
    *out = NULL;
    if (!v) return MOE_E_NOMEM;
    v->role = r;
    st = moe_model_get_info(m, &info);
    if (st == MOE_OK) st = moe_model_tokenizer(m, &v->tok);
    if (st == MOE_OK) st = make_session(v, m, p, r->route);
    if (st == MOE_OK && r->contrast) {
        st = make_session(v, m, p, r->contrast);
        v->n_vocab = info.n_vocab;
        v->z = malloc(v->n_vocab * sizeof *v->z);
        if (st == MOE_OK && !v->z) st = MOE_E_NOMEM;
    }
    if (st == MOE_OK) st = moe_sampler_create(&v->sampler, a);
    if (st == MOE_OK) st = moe_sampler_add_named(v->sampler, r->sampler);
    if (st == MOE_OK)
        *out = v;
    else
        voice_free(v);
    return st;
}

void voice_free(voice *v)
{
    if (!v) return;
    for (int i = 0; i < v->n_s; i++) moe_session_free(v->s[i]);
    moe_sampler_free(v->sampler);
    free(v->z);
    free(v);
}

/* ------------------------------------------------------------------------------------------------ speaking
 */

void voice_drop(voice *v)
{
    if (v->sliced) moe_session_eval_cancel(v->s[v->at]);
    v->sliced = 0;
    v->n_ids = 0;
}

void voice_interrupt(voice *v)
{
    for (int i = 0; i < v->n_s; i++) moe_session_interrupt(v->s[i]);
}

int voice_made_token(const voice *v) { return v->made; }

int voice_begin(voice *v, char text[VOICE_TEXT_MAX])
{
    const moe_stream fresh = MOE_STREAM_INIT;
    const char *opening = v->role->opening[v->opening];
    size_t len = strlen(opening);
    int st;
    voice_drop(v);
    st = moe_tokenizer_encode(v->tok, opening, len, 0, v->ids, IDS_MAX, &v->n_ids);
    for (int i = 0; i < v->n_s && st == MOE_OK; i++)
        st = moe_session_seq_copy(v->s[i], SEQ_PERSONA, SEQ_SPEECH);
    if (st != MOE_OK) return st;
    for (int i = 0; i < IDS_MAX; i++) v->seq[i] = SEQ_SPEECH;
    memcpy(text, opening, len + 1);
    v->opening = (v->opening + 1) % CAST_OPENINGS;
    v->at = v->n_said = 0;
    v->stream = fresh;
    return MOE_OK;
}

/* One session's eval of the pending tokens, or a slice of it. */
static int evaluate(voice *v, uint64_t max_ns, int *more)
{
    moe_batch b = MOE_BATCH_INIT;
    int st = MOE_OK;
    b.n_tokens = v->n_ids;
    b.token = v->ids;
    b.seq = v->seq;
    *more = 0;
    if (max_ns == VOICE_WHOLE) return moe_session_eval_batch(v->s[v->at], &b);
    if (!v->sliced) st = moe_session_eval_begin(v->s[v->at], &b);
    if (st == MOE_OK) st = moe_session_eval_slice(v->s[v->at], max_ns, more);
    v->sliced = st == MOE_OK && *more;
    return st;
}

static int pick(voice *v, moe_token *id)
{
    int st = MOE_OK;
    if (v->n_s == 2) {
        st = moe_session_contrast(v->s[0], v->s[1], 0, NULL, v->z, v->n_vocab);
        if (st == MOE_OK) st = moe_sampler_pick_logits(v->sampler, v->z, v->n_vocab, id);
    } else {
        st = moe_sampler_pick(v->sampler, v->s[0], 0, id);
    }
    return st == MOE_OK ? moe_sampler_accept(v->sampler, *id) : st;
}

/* Whether the utterance ends here: a sentence is over, or there has been enough. */
static int is_over(const voice *v, moe_token id, const char *text, size_t len)
{
    if (moe_tokenizer_attr(v->tok, id) & (MOE_ATTR_END | MOE_ATTR_CONTROL)) return 1;
    if (v->n_said >= TOKENS_MAX || len + 64 > VOICE_TEXT_MAX) return 1;
    return v->n_said >= TOKENS_GOOD && len > 0 && strchr(".!?", text[len - 1]) != NULL;
}

int voice_advance(voice *v, uint64_t max_ns, char text[VOICE_TEXT_MAX], int *more)
{
    char piece[VOICE_TEXT_MAX];
    size_t len = strlen(text), n = 0;
    int unfinished, st;
    *more = v->made = 0;
    if (v->n_ids == 0) return MOE_OK;
    *more = 1;
    st = evaluate(v, max_ns, &unfinished);
    if (st != MOE_OK || unfinished) return st;
    if (++v->at < v->n_s) return MOE_OK; /* the weak session's turn */
    v->at = 0;
    st = pick(v, &v->ids[0]);
    if (st == MOE_OK) st = moe_tokenizer_stream(v->tok, &v->stream, v->ids[0], piece, sizeof piece, &n);
    if (st != MOE_OK) return st;
    if (n >= VOICE_TEXT_MAX - len) n = VOICE_TEXT_MAX - 1 - len;
    memcpy(text + len, piece, n);
    text[len + n] = '\0';
    v->n_ids = 1;
    v->n_said++;
    v->made = 1;
    if (is_over(v, v->ids[0], text, len + n)) v->n_ids = 0;
    *more = v->n_ids > 0;
    return MOE_OK;
}
