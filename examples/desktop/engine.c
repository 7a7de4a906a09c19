/* SPDX-License-Identifier: MIT */
/* A model and its session: opening, evaluating a text, sampling, and watching the routers. See engine.h. */
#include "engine_private.h"

#include <math.h>
#include <string.h>

void engine_reason(char **why, const char *what)
{
    g_free(*why);
    *why = g_strdup_printf("%s: %s", what, moe_last_error());
}

/* ------------------------------------------------------------------------------------- watching routers */

/*
 * Called for each MoE layer and sub-batch, on the worker's thread, in the middle of an eval. Each row fades
 * the layer's shares a little and adds its own, so that they sum to 1 in the long run.
 */
static int observe(const moe_route_view *v, void *user)
{
    engine *e = user;
    const uint32_t row = e->row_of[v->layer];
    if (row == UINT32_MAX || v->n_rows == 0) return 0;
    float *share = e->heat + (size_t)row * e->info.n_experts;
    float *now = share + (size_t)e->n_rows * e->info.n_experts;
    for (uint32_t t = 0; t < v->n_rows; t++) {
        float sum = 0.0f;
        for (uint32_t p = v->offset[t]; p < v->offset[t + 1]; p++) sum += v->weight[p];
        for (uint32_t x = 0; x < e->info.n_experts; x++) {
            share[x] *= e->fade;
            now[x] = 0.0f;
        }
        for (uint32_t p = v->offset[t]; p < v->offset[t + 1] && sum > 0.0f; p++) {
            if (v->expert[p] == MOE_EXPERT_NONE) continue;
            now[v->expert[p]] = v->weight[p] / sum;
            share[v->expert[p]] += (1.0f - e->fade) * v->weight[p] / sum;
        }
    }
    return 0;
}

float *engine_heat(const engine *e)
{
    return g_memdup2(e->heat, 2 * sizeof(float) * e->n_rows * e->info.n_experts);
}

/* ---------------------------------------------------------------------------------------------- opening */

static void find_layers(engine *e)
{
    e->layer = g_new0(uint32_t, e->info.n_layers);
    e->row_of = g_new(uint32_t, e->info.n_layers);
    for (uint32_t l = 0; l < e->info.n_layers; l++) {
        moe_layer_info info = MOE_LAYER_INFO_INIT;
        e->row_of[l] = UINT32_MAX;
        if (moe_model_get_layer(e->model, l, &info) != MOE_OK || info.n_experts != e->info.n_experts ||
            info.n_experts == 0)
            continue;
        e->row_of[l] = e->n_rows;
        e->layer[e->n_rows++] = l;
    }
    e->heat = g_new0(float, 2 * (size_t)e->n_rows * e->info.n_experts + 1);
    e->fade = exp2f(-1.0f / HEAT_HALF_LIFE);
}

/* Names of the voices that the model was trained with: metadata of the bundled model. */
static void find_voices(engine *e)
{
    GStrvBuilder *names = g_strv_builder_new();
    moe_meta m = MOE_META_INIT;
    if (moe_model_meta_find(e->model, "libmoe.voices", &m) == MOE_OK && m.type == MOE_META_ARRAY)
        for (uint64_t i = 0, n = m.n; i < n; i++)
            if (moe_model_meta_elem(e->model, "libmoe.voices", i, &m) == MOE_OK && m.type == MOE_META_STRING)
                g_strv_builder_add(names, m.str);
    e->voices = g_strv_builder_end(names);
    g_strv_builder_unref(names);
    if (moe_model_meta_find(e->model, "libmoe.voice.default", &m) == MOE_OK && m.type == MOE_META_STRING)
        e->voice_default = g_strdup(m.str);
}

engine *engine_open(const char *path, const gint *stop, moe_progress_fn progress, void *user, char **why)
{
    engine *e = g_new0(engine, 1);
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    const moe_model_info info = MOE_MODEL_INFO_INIT;
    mo.progress = progress;
    mo.progress_user = user;
    e->info = info;
    e->stop = stop;
    e->path = g_strdup(path);
    if (moe_model_open(&e->model, path, &mo) != MOE_OK || moe_model_get_info(e->model, &e->info) != MOE_OK ||
        moe_model_tokenizer(e->model, &e->tok) != MOE_OK ||
        moe_session_create(&e->session, e->model, NULL) != MOE_OK) {
        engine_reason(why, "The model cannot be opened");
        engine_free(e);
        return NULL;
    }
    find_layers(e);
    find_voices(e);
    engine_learn_presets(e);
    if (moe_session_observe(e->session, observe, e) != MOE_OK)
        engine_reason(why, "The experts cannot be watched");
    return e;
}

void engine_free(engine *e)
{
    if (!e) return;
    moe_sampler_free(e->sampler); /* all of libmoe's take NULL */
    moe_session_free(e->session);
    moe_model_release(e->model);
    if (e->preset_text)
        for (size_t i = 0; i < (size_t)N_PRESETS * e->n_rows; i++) g_free(e->preset_text[i]);
    g_free(e->preset_text);
    g_strfreev(e->voices);
    g_free(e->voice_default);
    g_free(e->path);
    g_free(e->layer);
    g_free(e->row_of);
    g_free(e->heat);
    g_free(e);
}

moe_session *engine_session(const engine *e) { return e->session; }

struct shape *engine_shape(const engine *e)
{
    struct shape *s = g_new0(struct shape, 1);
    s->path = g_strdup(e->path);
    s->name = e->info.name[0] ? g_strdup(e->info.name) : g_path_get_basename(e->path);
    s->arch = g_strdup(e->info.arch);
    s->n_rows = e->n_rows;
    s->n_experts = e->info.n_experts;
    s->top_k = e->info.top_k;
    s->layer = g_memdup2(e->layer, sizeof *e->layer * e->n_rows);
    s->n_params = e->info.n_params;
    s->n_active = e->info.n_active;
    s->voices = g_strdupv(e->voices);
    s->voice_default = g_strdup(e->voice_default);
    return s;
}

void shape_free(struct shape *s)
{
    if (!s) return;
    g_free(s->path);
    g_free(s->name);
    g_free(s->arch);
    g_free(s->layer);
    g_strfreev(s->voices);
    g_free(s->voice_default);
    g_free(s);
}

/* ------------------------------------------------------------------------------------------- continuing */

static int eval(engine *e, const moe_token *ids, size_t n)
{
    const int status = moe_session_eval(e->session, ids, n);
    if (status != MOE_E_ABORTED || g_atomic_int_get(e->stop)) return status;
    return moe_session_eval(e->session, ids, n); /* a late interrupt, meant for the eval before */
}

/* One stage of the sampler. */
static int add_stage(engine *e, int kind, double a, uint64_t seed)
{
    moe_sample_stage stage = MOE_SAMPLE_STAGE_INIT;
    stage.kind = kind;
    stage.a = (float)a;
    stage.seed = seed;
    return moe_sampler_add(e->sampler, &stage);
}

static int make_sampler(engine *e, const struct ask *a)
{
    int status;
    moe_sampler_free(e->sampler);
    status = moe_sampler_create(&e->sampler, NULL);
    if (status == MOE_OK) status = add_stage(e, MOE_SAMPLE_TOP_P, a->top_p, 0);
    if (status == MOE_OK) status = add_stage(e, MOE_SAMPLE_TEMP, a->temperature, 0);
    if (status == MOE_OK) status = add_stage(e, MOE_SAMPLE_DIST, 0.0, a->seed);
    return status;
}

/* The opening token of the voice, if one is wanted and the vocabulary has it. */
static moe_token voice_token(const engine *e, const char *voice)
{
    moe_token id = MOE_TOKEN_NONE;
    char *name = voice ? g_strdup_printf("<|%s|>", voice) : NULL;
    if (name) (void)moe_tokenizer_find(e->tok, name, strlen(name), &id);
    g_free(name);
    return id;
}

/*
 * The text as tokens, ids[0] being left free for the voice. Words carry the space before them in their token,
 * so one space at the end is left out here; if the answer begins with one it is left out there.
 */
static int encode(engine *e, const char *text, bool bos, moe_token **ids, size_t *n)
{
    const uint32_t flags = bos ? MOE_ENCODE_BOS : 0;
    size_t len = strlen(text);
    e->skip_space = len > 0 && text[len - 1] == ' ';
    if (e->skip_space) len--;
    *ids = g_new(moe_token, 2 * len + 16); /* a token for each byte, and what a normaliser may add */
    return moe_tokenizer_encode(e->tok, text, len, flags, *ids + 1, 2 * len + 15, n);
}

/*
 * Tokens that leave room for the continuation: of a text that is too long the beginning is left out, in steps
 * of a quarter of the context, so that the next continuations find what they begin with in the cache.
 */
static size_t too_many(size_t n, size_t limit, size_t n_ctx)
{
    const size_t step = n_ctx / 4 ? n_ctx / 4 : 1;
    size_t skip = n > limit ? (n - limit + step - 1) / step * step : 0;
    return skip < n ? skip : n - 1;
}

/* Tokens at the beginning that the session has evaluated already, with the routing as it is now. */
static size_t in_cache(engine *e, const moe_token *ids, size_t n)
{
    size_t n_have = 0, same = 0;
    (void)moe_session_seq_tokens(e->session, 0, NULL, 0, &n_have);
    if (e->stale || n_have == 0) return 0;
    moe_token *have = g_new(moe_token, n_have);
    if (moe_session_seq_tokens(e->session, 0, have, n_have, &n_have) == MOE_OK)
        while (same < n - 1 && same < n_have && have[same] == ids[same])
            same++; /* the last one is evaluated */
    g_free(have);
    return same;
}

int engine_begin(engine *e, const struct ask *a)
{
    moe_session_info si = MOE_SESSION_INFO_INIT;
    const moe_stream stream = MOE_STREAM_INIT;
    const moe_token voice = voice_token(e, a->voice);
    moe_token *ids = NULL, *first;
    size_t n = 0, skip, keep;
    int status = make_sampler(e, a);
    if (status == MOE_OK) status = moe_session_get_info(e->session, &si);
    if (status == MOE_OK) status = encode(e, a->text, voice == MOE_TOKEN_NONE, &ids, &n);
    if (status == MOE_OK && n == 0 && voice == MOE_TOKEN_NONE) status = ENGINE_NO_TEXT;
    if (status == MOE_OK) {
        const size_t room = MIN(a->n_tokens, si.n_ctx / 2);
        skip = n ? too_many(n, si.n_ctx - room - 1, si.n_ctx) : 0;
        first = ids + 1 + skip;
        n -= skip;
        if (voice != MOE_TOKEN_NONE) {
            *--first = voice; /* in the place of the token before, or in the free one */
            n++;
        }
        keep = in_cache(e, first, n);
        status = moe_session_seq_truncate(e->session, 0, (moe_pos)keep);
        if (status == MOE_OK) status = eval(e, first + keep, n - keep);
        if (status == MOE_OK) e->stale = false;
    }
    g_free(ids);
    e->voice = voice;
    e->stream = stream;
    return status;
}

int engine_pick(engine *e, char *dst, size_t cap, size_t *len, bool *end)
{
    int status = moe_sampler_pick(e->sampler, e->session, 0, &e->next);
    *len = 0;
    *end = false;
    if (status == MOE_OK) status = moe_sampler_accept(e->sampler, e->next);
    if (status != MOE_OK) return status;
    *end = (moe_tokenizer_attr(e->tok, e->next) & MOE_ATTR_END) != 0;
    status = moe_tokenizer_stream(e->tok, &e->stream, *end ? MOE_TOKEN_NONE : e->next, dst, cap, len);
    if (status == MOE_OK && e->skip_space && *len > 0) {
        if (dst[0] == ' ') memmove(dst, dst + 1, --*len);
        e->skip_space = false;
    }
    return status;
}

/*
 * The context is full: the session forgets the older half of the text, reads the other one anew, behind the
 * voice, and then the token that was picked.
 */
static int make_room(engine *e)
{
    size_t n = 0, keep;
    int status = moe_session_seq_tokens(e->session, 0, NULL, 0, &n);
    moe_token *ids = g_new(moe_token, n + 1), *first;
    if (status == MOE_OK) status = moe_session_seq_tokens(e->session, 0, ids, n, &n);
    keep = n / 2;
    first = ids + n - keep;
    ids[n] = e->next;
    if (e->voice != MOE_TOKEN_NONE && keep < n) *--first = e->voice;
    if (status == MOE_OK) status = moe_session_seq_truncate(e->session, 0, 0);
    if (status == MOE_OK) status = eval(e, first, (size_t)(ids + n + 1 - first));
    g_free(ids);
    return status;
}

int engine_eval(engine *e)
{
    const int status = eval(e, &e->next, 1);
    return status == MOE_E_FULL ? make_room(e) : status;
}
