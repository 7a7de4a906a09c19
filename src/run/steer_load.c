/* SPDX-License-Identifier: MIT */
/*
 * Reading steering: see steer_io.h. The head is checked first; then every layer is looked up in the text, and
 * routers and slots are made beside the session's, from the model's own; when all are sound they take their
 * place. Nothing is believed: numbers of layers, experts and sequences are checked, nothing may stand there
 * twice, unknown keys are refused. Messages name the place.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "file/reader.h"
#include "run/steer_io.h"

typedef const moe__json_value *json_place;

/* What the text says about one layer. */
typedef struct layer_text {
    json_place layer;            /* its object in "layers", or NULL */
    json_place map[MOE_N_EDITS]; /* its rows in "maps", or NULL */
} layer_text;

typedef struct steer_reader {
    moe_session *s;
    const moe__json *j;
    layer_text *text;  /* [n_layers] */
    moe__router *next; /* [n_layers] */
    moe__slots *slots; /* made when the first redirection comes */
    uint8_t *seen;     /* [max(n_experts, n_seq_max)] scratch: what a list has named already */
    float *row;        /* [n_experts] scratch */
    uint32_t *ids;     /* [n_experts] scratch */
    uint8_t *use;      /* [n_experts] scratch */
} steer_reader;

/* A message of a setter, with its place in front; those that have one stay as they are. */
static int at_place(const steer_reader *k, json_place v, int status)
{
    const size_t n = strlen(k->j->name);
    const char *text = moe__last_error();
    if (status >= 0 || status == MOE_E_NOMEM ||
        (strncmp(text, k->j->name, n) == 0 && strncmp(text + n, ": line ", 7) == 0))
        return status;
    return moe__json_fail(k->j, v, status, "%s", text);
}

/* ---- numbers that name things */

static int get_index(const steer_reader *k, json_place v, const char *what, uint32_t n, uint32_t *out)
{
    MOE_TRY(moe__json_u32(k->j, v, what, UINT32_MAX, out));
    if (*out >= n) return moe__json_fail(k->j, v, MOE_E_RANGE, "%s %u: expected 0 to %u", what, *out, n - 1);
    return MOE_OK;
}

static int get_layer_index(const steer_reader *k, json_place v, const char *what, uint32_t *out)
{
    MOE_TRY(get_index(k, v, what, k->s->m->hp.n_layers, out));
    if (!k->s->m->layers[*out].is_moe)
        return moe__json_fail(k->j, v, MOE_E_RANGE, "%s %u is dense: it has no experts", what, *out);
    return MOE_OK;
}

/* The expert of an entry, which its list has not named yet. */
static int get_expert(const steer_reader *k, json_place v, uint32_t *out)
{
    MOE_TRY(get_index(k, v, "expert", k->s->m->hp.n_experts, out));
    if (k->seen[*out]) return moe__json_fail(k->j, v, MOE_E_FORMAT, "expert %u stands here twice", *out);
    k->seen[*out] = 1;
    return MOE_OK;
}

/* A sequence; without one, all. */
static int get_seq_number(const steer_reader *k, json_place v, moe_seq *out)
{
    uint32_t seq;
    *out = MOE_ALL_SEQS;
    if (!v) return MOE_OK;
    MOE_TRY(get_index(k, v, "seq", k->s->o.n_seq_max, &seq));
    *out = (moe_seq)seq;
    return MOE_OK;
}

/* ---- entries of lists */

/* Takes an entry apart; the first n_needed of its members must be there. */
static int get_entry(const steer_reader *k, json_place v, const char *what, const char *const *names,
                     size_t n_needed, json_place *out)
{
    MOE_TRY(moe__json_members(k->j, v, what, names, out));
    for (size_t i = 0; i < n_needed; i++)
        if (!out[i]) return moe__json_fail(k->j, v, MOE_E_FORMAT, "%s: \"%s\" is missing", what, names[i]);
    return MOE_OK;
}

/* One of the words of a table (entries may be NULL); their number is the table's index. */
static int get_word(const steer_reader *k, json_place v, const char *what, const char *const *words, int n,
                    int *out)
{
    char known[128] = "", found[48];
    MOE_TRY(moe__json_want(k->j, v, JSON_STRING, what));
    for (int i = 0; i < n; i++) {
        if (!words[i]) continue;
        if (moe__json_is(v, words[i])) {
            *out = i;
            return MOE_OK;
        }
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", words[i]);
    }
    return moe__json_fail(k->j, v, MOE_E_FORMAT, "%s: expected one of %s; found \"%s\"", what, known,
                          moe__printable(found, sizeof found, v->str, v->n));
}

static int begin_list(const steer_reader *k, json_place list, const char *what)
{
    const uint32_t n = k->s->m->hp.n_experts, q = k->s->o.n_seq_max;
    memset(k->seen, 0, n > q ? n : q);
    return moe__json_want(k->j, list, JSON_ARRAY, what);
}

#define EACH_ENTRY(k, v, list)                                                                               \
    v = moe__json_first(list);                                                                               \
    for (uint32_t i_ = 0; i_ < (list)->n; i_++, v = moe__json_next((k)->j, v))

/* [{"expert": 3, "what": "drop"}, ...] */
static int read_uses(const steer_reader *k, json_place list, moe__steer *s, const moe__steer_shape *shape)
{
    static const char *const names[] = {"expert", "what", NULL};
    json_place v, in[2];
    uint32_t e;
    int use = MOE_USE_FREE;
    MOE_TRY(begin_list(k, list, "use"));
    memset(k->use, MOE_USE_FREE, shape->n);
    EACH_ENTRY(k, v, list)
    {
        MOE_TRY(get_entry(k, v, "use", names, 2, in));
        MOE_TRY(get_expert(k, in[0], &e));
        MOE_TRY(get_word(k, in[1], "what", moe__steer_uses, MOE_USE_FORCE + 1, &use));
        k->use[e] = (uint8_t)use;
    }
    return at_place(k, list, moe__steer_set_use(s, shape, k->use));
}

/* [{"expert": 3, "value": 0.5}, ...] */
static int read_values(const steer_reader *k, json_place list, int kind, moe__steer *s,
                       const moe__steer_shape *shape)
{
    static const char *const names[] = {"expert", "value", NULL};
    json_place v, in[2];
    uint32_t e;
    MOE_TRY(begin_list(k, list, moe__steer_kinds[kind - 1]));
    for (e = 0; e < shape->n; e++) k->row[e] = moe__steer_neutral(kind);
    EACH_ENTRY(k, v, list)
    {
        MOE_TRY(get_entry(k, v, moe__steer_kinds[kind - 1], names, 2, in));
        MOE_TRY(get_expert(k, in[0], &e));
        MOE_TRY(moe__json_f32(k->j, in[1], "value", &k->row[e]));
    }
    return at_place(k, list, moe__steer_set_values(s, shape, kind, k->row));
}

/* A number for every expert into k->row; null is `none`. */
static int read_row(const steer_reader *k, json_place list, const char *what, float none)
{
    const uint32_t n = k->s->m->hp.n_experts;
    json_place v;
    uint32_t e = 0;
    MOE_TRY(moe__json_want(k->j, list, JSON_ARRAY, what));
    if (list->n != n)
        return moe__json_fail(k->j, list, MOE_E_FORMAT,
                              "%s: expected %u numbers, one for each expert; found %u", what, n, list->n);
    EACH_ENTRY(k, v, list)
    {
        k->row[e] = none;
        if (v->kind != JSON_NULL) MOE_TRY(moe__json_f32(k->j, v, what, &k->row[e]));
        e++;
    }
    return MOE_OK;
}

/* [{"seq": 0, "experts": [1, 2]}, ...]; without "seq": all. */
static int read_limits(const steer_reader *k, json_place list, moe__steer *s, const moe__steer_shape *shape)
{
    static const char *const names[] = {"experts", "seq", NULL};
    json_place v, id, in[2];
    moe_seq seq;
    MOE_TRY(begin_list(k, list, "limits"));
    EACH_ENTRY(k, v, list)
    {
        MOE_TRY(get_entry(k, v, "limits", names, 1, in));
        MOE_TRY(get_seq_number(k, in[1], &seq));
        for (uint32_t q = 0; q < shape->n_seq_max; q++) {
            if (seq != MOE_ALL_SEQS && (uint32_t)seq != q) continue;
            if (k->seen[q])
                return moe__json_fail(k->j, v, MOE_E_FORMAT, "limits: sequence %u stands here twice", q);
            k->seen[q] = 1;
        }
        MOE_TRY(moe__json_want(k->j, in[0], JSON_ARRAY, "experts"));
        if (in[0]->n == 0 || in[0]->n > shape->n)
            return moe__json_fail(k->j, in[0], MOE_E_FORMAT, "experts: expected 1 to %u numbers, found %u",
                                  shape->n, in[0]->n);
        id = moe__json_first(in[0]);
        for (uint32_t i = 0; i < in[0]->n; i++, id = moe__json_next(k->j, id))
            MOE_TRY(get_index(k, id, "expert", shape->n, &k->ids[i]));
        MOE_TRY(at_place(k, v, moe__steer_set_limit(s, shape, seq, k->ids, in[0]->n)));
    }
    return MOE_OK;
}

/* {"kind": "scores", "seq": 0, "first": 7, "last": 7, "row": [...]} */
static int read_override(const steer_reader *k, json_place v, moe__steer *s, const moe__steer_shape *shape)
{
    static const char *const names[] = {"kind", "row", "seq", "first", "last", NULL};
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    json_place in[5];
    int64_t at;
    MOE_TRY(get_entry(k, v, "overrides", names, 2, in));
    MOE_TRY(get_word(k, in[0], "kind", moe__steer_overrides, 3, &o.kind));
    MOE_TRY(get_seq_number(k, in[2], &o.seq));
    if (in[3]) {
        MOE_TRY(moe__json_i64(k->j, in[3], "first", 0, INT32_MAX, &at));
        o.first = (moe_pos)at;
    }
    if (in[4]) {
        MOE_TRY(moe__json_i64(k->j, in[4], "last", o.first, INT32_MAX, &at));
        o.last = (moe_pos)at;
    }
    MOE_TRY(read_row(k, in[1], "row", -INFINITY));
    o.row = k->row;
    return at_place(k, v, moe__steer_add_override(s, shape, &o));
}

/* ---- one layer */

enum {
    IN_LAYER,
    IN_ROUTE,
    IN_USE,
    IN_VALUES,
    IN_LIMITS = IN_VALUES + MOE_N_EDITS,
    IN_OVERRIDES,
    IN_REDIRECTS,
    N_IN
};

static int take_apart(const steer_reader *k, json_place layer, json_place *in)
{
    static const char *const names[N_IN + 1] = {"layer",       "route",     "use",       "logit_bias",
                                                "select_bias", "pre",       "post",      "gain",
                                                "limits",      "overrides", "redirects", NULL};
    memset((void *)in, 0, N_IN * sizeof *in);
    return layer ? get_entry(k, layer, "layers", names, 1, in) : MOE_OK;
}

typedef struct steer_arg {
    const steer_reader *k;
    const layer_text *text;
    const json_place *in;
} steer_arg;

/* All of a layer's steering, as an edit of the model's own. */
static int edit_all(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    const steer_arg *a = arg;
    const steer_reader *k = a->k;
    json_place v;
    if (a->in[IN_USE]) MOE_TRY(read_uses(k, a->in[IN_USE], s, shape));
    for (int kind = 1; kind <= MOE_N_EDITS; kind++) {
        const json_place sparse = a->in[IN_VALUES + kind - 1], dense = a->text->map[kind - 1];
        if (sparse && dense)
            return moe__json_fail(k->j, sparse, MOE_E_FORMAT, "%s of layer %u stands in \"maps\" too",
                                  moe__steer_kinds[kind - 1], shape->layer);
        if (sparse) MOE_TRY(read_values(k, sparse, kind, s, shape));
        if (!dense) continue;
        MOE_TRY(read_row(k, dense, moe__steer_kinds[kind - 1], moe__steer_neutral(kind)));
        MOE_TRY(at_place(k, dense, moe__steer_set_values(s, shape, kind, k->row)));
    }
    if (a->in[IN_LIMITS]) MOE_TRY(read_limits(k, a->in[IN_LIMITS], s, shape));
    if (!a->in[IN_OVERRIDES]) return MOE_OK;
    MOE_TRY(begin_list(k, a->in[IN_OVERRIDES], "overrides"));
    EACH_ENTRY(k, v, a->in[IN_OVERRIDES]) MOE_TRY(read_override(k, v, s, shape));
    return MOE_OK;
}

static int read_route(const steer_reader *k, json_place v, moe__router *r)
{
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    moe__recipe recipe;
    uint32_t *ids = NULL;
    char *text;
    MOE_TRY(moe__json_want(k->j, v, JSON_STRING, "route"));
    if (memchr(v->str, 0, v->n))
        return moe__json_fail(k->j, v, MOE_E_FORMAT, "route: there is a zero byte in it");
    MOE_TRY(moe__alloc(r->alloc, (void **)&text, (size_t)v->n + 1, "steering")); /* zeroed */
    memcpy(text, v->str, v->n);
    int st = moe__spec_parse(&spec, &ids, r->alloc, text, &r->native, &r->native);
    if (st >= 0) st = moe__router_make_recipe(r, &spec, &recipe);
    if (st >= 0) moe__router_take_recipe(r, &recipe);
    moe__free(r->alloc, ids);
    moe__free(r->alloc, text);
    return at_place(k, v, st);
}

/* [{"expert": 3, "to_layer": 1, "to_expert": 0}, ...]; without "to_layer": the same. */
static int read_redirects(steer_reader *k, json_place list, uint32_t layer)
{
    static const char *const names[] = {"expert", "to_expert", "to_layer", NULL};
    const moe_model *m = k->s->m;
    json_place v, in[3];
    uint32_t e;
    MOE_TRY(begin_list(k, list, "redirects"));
    EACH_ENTRY(k, v, list)
    {
        moe__expert_slot to = {.source = MOE_SOURCE_REDIRECT, .layer = layer};
        MOE_TRY(get_entry(k, v, "redirects", names, 2, in));
        MOE_TRY(get_expert(k, in[0], &e));
        MOE_TRY(get_index(k, in[1], "to_expert", m->hp.n_experts, &to.index));
        if (in[2]) MOE_TRY(get_layer_index(k, in[2], "to_layer", &to.layer));
        if (to.layer == layer && to.index == e) continue; /* its own */
        if (!k->slots) MOE_TRY(moe__slots_create(&k->slots, m));
        MOE_TRY(moe__slots_ready(k->slots, layer, m));
        moe__slots_set(k->slots, layer, e, &to, m, moe__session_exact(k->s));
    }
    return MOE_OK;
}

static int read_layer(steer_reader *k, uint32_t layer)
{
    const layer_text *text = &k->text[layer];
    moe__router *r = &k->next[layer];
    json_place in[N_IN], place = text->layer;
    moe__steer steer;
    for (int i = 0; i < MOE_N_EDITS && !place; i++) place = text->map[i];
    if (!place) return MOE_OK; /* the model's own */
    MOE_TRY(take_apart(k, text->layer, in));
    if (in[IN_ROUTE]) MOE_TRY(read_route(k, in[IN_ROUTE], r));
    const steer_arg arg = {k, text, in};
    MOE_TRY(at_place(k, place, moe__router_edit_steer(r, edit_all, &arg, &steer)));
    moe__router_swap_steer(r, &steer);
    moe__router_free_steer(r, &steer);
    return in[IN_REDIRECTS] ? read_redirects(k, in[IN_REDIRECTS], layer) : MOE_OK;
}

/* ---- the whole */

static int check_model(const steer_reader *k, json_place v)
{
    static const char *const names[] = {"fingerprint", "name", NULL};
    json_place in[2];
    char hex[17], found[48], name[64] = "";
    MOE_TRY(get_entry(k, v, "model", names, 1, in));
    MOE_TRY(moe__json_want(k->j, in[0], JSON_STRING, "fingerprint"));
    if (in[1]) {
        MOE_TRY(moe__json_want(k->j, in[1], JSON_STRING, "name"));
        moe__printable(name, sizeof name, in[1]->str, in[1]->n);
    }
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)k->s->m->fingerprint);
    if (moe__json_is(in[0], hex) || moe__json_is(in[0], "any")) return MOE_OK;
    return moe__json_fail(
        k->j, in[0], MOE_E_STATE,
        "this steering was made for another model (\"%s\"): its fingerprint is %s, the session's %s", name,
        moe__printable(found, sizeof found, in[0]->str, in[0]->n), hex);
}

/* "layers": which object is whose. */
static int find_layers(const steer_reader *k, json_place list)
{
    json_place v;
    uint32_t l;
    MOE_TRY(moe__json_want(k->j, list, JSON_ARRAY, "layers"));
    EACH_ENTRY(k, v, list)
    {
        MOE_TRY(moe__json_want(k->j, v, JSON_OBJECT, "layers"));
        const json_place number = moe__json_find(k->j, v, "layer");
        if (!number) return moe__json_fail(k->j, v, MOE_E_FORMAT, "layers: \"layer\" is missing");
        MOE_TRY(get_layer_index(k, number, "layer", &l));
        if (k->text[l].layer)
            return moe__json_fail(k->j, number, MOE_E_FORMAT, "layer %u stands here twice", l);
        k->text[l].layer = v;
    }
    return MOE_OK;
}

/* {"kind": "gain", "values": [[...], ...]}: a row for every layer, or for every one with experts. */
static int find_map(const steer_reader *k, json_place v)
{
    static const char *const names[] = {"kind", "values", NULL};
    const moe_model *m = k->s->m;
    json_place in[2], row;
    int kind = 0;
    MOE_TRY(get_entry(k, v, "maps", names, 2, in));
    MOE_TRY(get_word(k, in[0], "kind", moe__steer_kinds, MOE_N_EDITS, &kind));
    MOE_TRY(moe__json_want(k->j, in[1], JSON_ARRAY, "values"));
    const int all = in[1]->n == m->hp.n_layers;
    if (!all && in[1]->n != m->info.n_moe_layers)
        return moe__json_fail(
            k->j, in[1], MOE_E_FORMAT,
            "values: expected %u rows, one for each layer, or %u, one for each with experts; found %u",
            m->hp.n_layers, m->info.n_moe_layers, in[1]->n);
    row = moe__json_first(in[1]);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        const int moe = m->layers[l].is_moe;
        if (!moe && !all) continue;
        if (row->kind != JSON_NULL && !moe)
            return moe__json_fail(k->j, row, MOE_E_RANGE,
                                  "layer %u is dense: it has no experts; expected null", l);
        if (row->kind != JSON_NULL && k->text[l].map[kind])
            return moe__json_fail(k->j, row, MOE_E_FORMAT, "%s of layer %u stands here twice",
                                  moe__steer_kinds[kind], l);
        if (row->kind != JSON_NULL) k->text[l].map[kind] = row;
        row = moe__json_next(k->j, row);
    }
    return MOE_OK;
}

static int read_head(const steer_reader *k)
{
    static const char *const names[] = {"format", "version", "model", "layers", "maps", NULL};
    json_place in[5], v;
    uint32_t version;
    const json_place all = k->j->value;
    MOE_TRY(moe__json_want(k->j, all, JSON_OBJECT, "steering"));
    in[0] = moe__json_find(k->j, all, "format");
    in[1] = moe__json_find(k->j, all, "version");
    if (!in[0] || !moe__json_is(in[0], MOE_STEERING_FORMAT))
        return moe__json_fail(k->j, in[0] ? in[0] : all, MOE_E_FORMAT,
                              "expected \"format\": \"" MOE_STEERING_FORMAT "\"");
    if (!in[1]) return moe__json_fail(k->j, all, MOE_E_FORMAT, "\"version\" is missing");
    MOE_TRY(moe__json_u32(k->j, in[1], "version", UINT32_MAX, &version));
    if (version != MOE_STEERING_VERSION) /* before unknown keys, which a later version may well have */
        return moe__json_fail(k->j, in[1], MOE_E_VERSION, "version %u: this library reads version %d",
                              version, MOE_STEERING_VERSION);
    MOE_TRY(get_entry(k, all, "steering", names, 3, in));
    MOE_TRY(check_model(k, in[2]));
    if (in[3]) MOE_TRY(find_layers(k, in[3]));
    if (!in[4]) return MOE_OK;
    MOE_TRY(moe__json_want(k->j, in[4], JSON_ARRAY, "maps"));
    EACH_ENTRY(k, v, in[4]) MOE_TRY(find_map(k, v));
    return MOE_OK;
}

/* Routers as the model has them, in the places of the session's. */
static void make_native(steer_reader *k)
{
    for (uint32_t l = 0; l < k->s->m->hp.n_layers; l++) {
        moe__router *r = &k->next[l];
        if (!k->s->m->layers[l].is_moe) continue;
        *r = k->s->router[l];
        r->recipe = (moe__recipe){0};
        r->policy = (moe_policy){0};
        r->steer = (moe__steer){0};
        moe__router_reset(r);
    }
}

static int read_steering(steer_reader *k)
{
    const moe_model *m = k->s->m;
    const moe__allocator *a = &m->alloc;
    const uint32_t n = m->hp.n_experts, q = k->s->o.n_seq_max;
    MOE_TRY(MOE_NEW(a, &k->text, m->hp.n_layers, "steering"));
    MOE_TRY(MOE_NEW(a, &k->seen, n > q ? n : q, "steering"));
    MOE_TRY(MOE_NEW(a, &k->row, n, "steering"));
    MOE_TRY(MOE_NEW(a, &k->ids, n, "steering"));
    MOE_TRY(MOE_NEW(a, &k->use, n, "steering"));
    MOE_TRY(read_head(k));
    MOE_TRY(MOE_NEW(a, &k->next, m->hp.n_layers, "steering"));
    make_native(k);
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (m->layers[l].is_moe) MOE_TRY(read_layer(k, l));
    return moe__routing_take(k->s, k->next, k->slots);
}

int moe__steering_load(moe_session *s, const char *name, const char *text, size_t n)
{
    moe__json j;
    const moe__allocator *a = &s->m->alloc;
    MOE_TRY(moe__json_open(&j, a, name, text, n));
    steer_reader k = {.s = s, .j = &j};
    const int st = read_steering(&k);
    if (st < 0) {
        for (uint32_t l = 0; k.next && l < s->m->hp.n_layers; l++) moe__router_finish(&k.next[l]);
        moe__slots_free(k.slots, s->m);
    }
    moe__free(a, k.next);
    moe__free(a, (void *)k.text);
    moe__free(a, k.seen);
    moe__free(a, k.row);
    moe__free(a, k.ids);
    moe__free(a, k.use);
    moe__json_close(&j);
    return st < 0 ? st : MOE_OK;
}

#undef EACH_ENTRY
