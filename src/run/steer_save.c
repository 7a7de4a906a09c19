/* SPDX-License-Identifier: MIT */
/* Writing steering: see steer_io.h. Lists are sparse: what is as the model has it is left out. */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "run/steer_io.h"

const char *const moe__steer_uses[MOE_USE_FORCE + 1] = {
    [MOE_USE_FREE] = "free", [MOE_USE_BAN] = "ban",     [MOE_USE_BAN_SCORED] = "ban-scored",
    [MOE_USE_DROP] = "drop", [MOE_USE_FORCE] = "force", [MOE_USE_DROP_RENORM] = "drop-renorm"};
const char *const moe__steer_kinds[MOE_N_EDITS] = {"logit_bias", "select_bias", "pre", "post", "gain"};
const char *const moe__steer_overrides[3] = {
    [MOE_OVERRIDE_LOGITS] = "logits", [MOE_OVERRIDE_SCORES] = "scores"};

typedef struct steer_writer {
    moe__json_writer json;
    moe_write_fn fn;
    void *user;
} steer_writer;

static int steer_put(const void *data, size_t n, void *user)
{
    const steer_writer *k = user;
    const int st = k->fn(data, n, k->user);
    if (st > 0)
        return MOE_FAIL(
            CALLBACK, "saving steering: the write callback returned %d: expected 0 or a negative value", st);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "saving steering: the write callback returned %d", st);
    return st;
}

static const moe__expert_slot *slots_of(const moe_session *s, uint32_t layer)
{
    return s->experts.slots ? s->experts.slots[layer].slot : NULL;
}

/* Is there anything that a file cannot hold? */
static int check_savable(const moe_session *s, uint32_t layer)
{
    const moe__expert_slot *slot = slots_of(s, layer);
    if (s->router[layer].policy.route)
        return MOE_FAIL(UNSUPPORTED, "layer %u: the policy %s is code: a file cannot hold it", layer,
                        s->router[layer].policy.name);
    for (uint32_t e = 0; slot && e < s->m->hp.n_experts; e++)
        if (slot[e].source == MOE_SOURCE_WEIGHTS || slot[e].source == MOE_SOURCE_FUNCTION)
            return MOE_FAIL(UNSUPPORTED,
                            "layer %u, expert %u uses %s of the program's own: a file cannot hold that",
                            layer, e, slot[e].source == MOE_SOURCE_WEIGHTS ? "weights" : "a function");
    return MOE_OK;
}

static int is_own(const moe_session *s, uint32_t layer)
{
    return moe__router_is_native(&s->router[layer]) &&
           !(s->experts.slots && s->experts.slots[layer].n_replaced);
}

/* ---- parts of a layer */

static int put_route(moe__json_writer *w, const moe__router *r)
{
    char *text;
    const size_t n = moe__spec_format(&r->recipe.spec, &r->native, NULL, 0);
    MOE_TRY(moe__alloc(r->alloc, (void **)&text, n, "steering"));
    moe__spec_format(&r->recipe.spec, &r->native, text, n);
    int st = MOE_OK;
    if (n != 6 || memcmp(text, "native", 6) != 0) {
        moe__json_key(w, "route");
        st = moe__json_put_string(w, text, n);
    }
    moe__free(r->alloc, text);
    return st;
}

/* {"expert": e, key: ... */
static void begin_entry(moe__json_writer *w, uint32_t expert, const char *key)
{
    moe__json_begin(w, '{');
    moe__json_key(w, "expert");
    moe__json_put_u64(w, expert);
    moe__json_key(w, key);
}

static void put_uses(moe__json_writer *w, const moe__router *r)
{
    if (!r->steer.use) return;
    moe__json_key(w, "use");
    moe__json_begin(w, '[');
    for (uint32_t e = 0; e < r->shape.n; e++) {
        if (r->steer.use[e] == MOE_USE_FREE) continue;
        const char *word = moe__steer_uses[r->steer.use[e]];
        begin_entry(w, e, "what");
        moe__json_put_string(w, word, strlen(word));
        moe__json_end(w, '}');
    }
    moe__json_end(w, ']');
}

static void put_values(moe__json_writer *w, const moe__router *r, int kind)
{
    const float *value = r->steer.value[kind - 1], neutral = moe__steer_neutral(kind);
    if (!value) return;
    moe__json_key(w, moe__steer_kinds[kind - 1]);
    moe__json_begin(w, '[');
    for (uint32_t e = 0; e < r->shape.n; e++) {
        if (memcmp(&value[e], &neutral, sizeof neutral) == 0) continue;
        begin_entry(w, e, "value");
        moe__json_put_f32(w, value[e]);
        moe__json_end(w, '}');
    }
    moe__json_end(w, ']');
}

static void put_limit(moe__json_writer *w, const moe__router *r, moe_seq seq, const uint8_t *limit)
{
    moe__json_begin(w, '{');
    if (seq != MOE_ALL_SEQS) {
        moe__json_key(w, "seq");
        moe__json_put_i64(w, seq);
    }
    moe__json_key(w, "experts");
    moe__json_begin(w, '[');
    for (uint32_t e = 0; e < r->shape.n; e++)
        if (limit[e]) moe__json_put_u64(w, e);
    moe__json_end(w, ']');
    moe__json_end(w, '}');
}

/* The same limit for each of several sequences is one for all. */
static int limits_alike(const moe__router *r)
{
    for (uint32_t q = 0; q < r->shape.n_seq_max; q++)
        if (!r->steer.limit[q] || memcmp(r->steer.limit[q], r->steer.limit[0], r->shape.n) != 0) return 0;
    return r->shape.n_seq_max > 1;
}

static void put_limits(moe__json_writer *w, const moe__router *r)
{
    if (!r->steer.limit) return;
    moe__json_key(w, "limits");
    moe__json_begin(w, '[');
    if (limits_alike(r))
        put_limit(w, r, MOE_ALL_SEQS, r->steer.limit[0]);
    else
        for (uint32_t q = 0; q < r->shape.n_seq_max; q++)
            if (r->steer.limit[q]) put_limit(w, r, (moe_seq)q, r->steer.limit[q]);
    moe__json_end(w, ']');
}

static void put_override(moe__json_writer *w, const moe__override *o, uint32_t n)
{
    const char *kind = moe__steer_overrides[o->kind];
    moe__json_begin(w, '{');
    moe__json_key(w, "kind");
    moe__json_put_string(w, kind, strlen(kind));
    if (o->seq != MOE_ALL_SEQS) {
        moe__json_key(w, "seq");
        moe__json_put_i64(w, o->seq);
    }
    moe__json_key(w, "first");
    moe__json_put_i64(w, o->first);
    if (o->last >= 0) {
        moe__json_key(w, "last");
        moe__json_put_i64(w, o->last);
    }
    moe__json_key(w, "row");
    moe__json_begin(w, '[');
    for (uint32_t e = 0; e < n; e++) moe__json_put_f32(w, o->row[e]); /* -infinity is null */
    moe__json_end(w, ']');
    moe__json_end(w, '}');
}

static void put_overrides(moe__json_writer *w, const moe__router *r)
{
    if (!r->steer.n_override) return;
    moe__json_key(w, "overrides");
    moe__json_begin(w, '[');
    for (uint32_t i = 0; i < r->steer.n_override; i++) put_override(w, &r->steer.override[i], r->shape.n);
    moe__json_end(w, ']');
}

static void put_redirects(moe__json_writer *w, const moe_session *s, uint32_t layer)
{
    const moe__expert_slot *slot = slots_of(s, layer);
    if (!slot || !s->experts.slots[layer].n_replaced) return;
    moe__json_key(w, "redirects");
    moe__json_begin(w, '[');
    for (uint32_t e = 0; e < s->m->hp.n_experts; e++) {
        if (slot[e].source != MOE_SOURCE_REDIRECT) continue;
        begin_entry(w, e, "to_layer");
        moe__json_put_u64(w, slot[e].layer);
        moe__json_key(w, "to_expert");
        moe__json_put_u64(w, slot[e].index);
        moe__json_end(w, '}');
    }
    moe__json_end(w, ']');
}

static int put_layer(moe__json_writer *w, const moe_session *s, uint32_t layer)
{
    const moe__router *r = &s->router[layer];
    moe__json_begin(w, '{');
    moe__json_key(w, "layer");
    moe__json_put_u64(w, layer);
    MOE_TRY(put_route(w, r));
    put_uses(w, r);
    for (int kind = 1; kind <= MOE_N_EDITS; kind++) put_values(w, r, kind);
    put_limits(w, r);
    put_overrides(w, r);
    put_redirects(w, s, layer);
    return moe__json_end(w, '}');
}

int moe__steering_save(const moe_session *s, moe_write_fn fn, void *user)
{
    steer_writer k = {.fn = fn, .user = user};
    moe__json_writer *w = &k.json;
    const moe_model *m = s->m;
    char hex[17];
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (m->layers[l].is_moe) MOE_TRY(check_savable(s, l));
    snprintf(hex, sizeof hex, "%016llx", (unsigned long long)m->fingerprint);
    moe__json_writer_init(w, steer_put, &k, 4);
    moe__json_begin(w, '{');
    moe__json_key(w, "format");
    moe__json_put_string(w, MOE_STEERING_FORMAT, strlen(MOE_STEERING_FORMAT));
    moe__json_key(w, "version");
    moe__json_put_u64(w, MOE_STEERING_VERSION);
    moe__json_key(w, "model");
    moe__json_begin(w, '{');
    moe__json_key(w, "fingerprint");
    moe__json_put_string(w, hex, 16);
    moe__json_key(w, "name");
    moe__json_put_string(w, m->info.name, strlen(m->info.name));
    moe__json_end(w, '}');
    moe__json_key(w, "layers");
    moe__json_begin(w, '[');
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (m->layers[l].is_moe && !is_own(s, l)) MOE_TRY(put_layer(w, s, l));
    moe__json_end(w, ']');
    moe__json_end(w, '}');
    return moe__json_finish(w);
}
