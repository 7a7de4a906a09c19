/* SPDX-License-Identifier: MIT */
/*
 * Entry points of routers. The handle of all layers reaches every router or, on failure, none: what can fail
 * is made for all of them first.
 */
#include <string.h>

#include "api/api.h"
#include "base/opts.h"
#include "base/rounding.h"
#include "run/session.h"
#include "run/steer_io.h"

/* The layers that a handle stands for: first <= l < last, dense ones are passed over. */
static uint32_t first_layer(const moe_router *r) { return r->layer == MOE_ALL_LAYERS ? 0 : r->layer; }
static uint32_t last_layer(const moe_router *r)
{
    return r->layer == MOE_ALL_LAYERS ? r->s->m->hp.n_layers : r->layer + 1;
}
#define EACH_LAYER(l, r)                                                                                     \
    for (uint32_t l = first_layer(r); l < last_layer(r); l++)                                                \
        if ((r)->s->m->layers[l].is_moe)

int moe_session_router(moe_session *s, uint32_t layer, moe_router **out)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(s != NULL);
    const uint32_t n = s->m->hp.n_layers;
    if (layer != MOE_ALL_LAYERS && layer >= n)
        return MOE_FAIL(RANGE, "layer %u: expected 0 to %u, or MOE_ALL_LAYERS", layer, n - 1);
    if (layer != MOE_ALL_LAYERS && !s->m->layers[layer].is_moe)
        return MOE_FAIL(NOTFOUND, "layer %u is dense: it has no router", layer);
    *out = &s->handle[layer == MOE_ALL_LAYERS ? n : layer];
    return MOE_OK;
}

int moe_router_expert(moe_router *r, uint32_t index, moe_expert **out)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(r != NULL);
    if (index >= r->s->m->hp.n_experts)
        return MOE_FAIL(RANGE, "expert %u: the layer has %u", index, r->s->m->hp.n_experts);
    *out = &r->expert[index];
    return MOE_OK;
}

int moe_router_get_info(const moe_router *r, moe_router_info *out)
{
    moe__clear_error();
    MOE_ARG(r != NULL && out != NULL);
    MOE_ONE_LAYER(r);
    const moe__router *t = r->route;
    const moe_router_info info = {
        .size = sizeof info,
        .layer = r->layer,
        .n_experts = t->shape.n,
        .n_null = t->recipe.spec.n_null,
        .n_shared = t->shape.n_shared,
        .dim = t->shape.dim,
        .max_k = t->max_k,
        .flags =
            (moe__router_is_native(t) && !(r->s->experts.slots && r->s->experts.slots[r->layer].n_replaced)
                 ? MOE_ROUTER_NATIVE
                 : 0) |
            (t->coupled ? MOE_ROUTER_BATCH_COUPLED : 0) | (t->policy.route ? MOE_ROUTER_CUSTOM : 0),
        .policy = t->policy.route ? t->policy.name : t->recipe.rule->name};
    return moe__opts_fill(out, &info, sizeof info, "moe_router_info");
}

int moe_router_get_spec(const moe_router *r, int which, moe_route_spec *out)
{
    moe__clear_error();
    MOE_ARG(r != NULL && out != NULL);
    MOE_ONE_LAYER(r);
    if (which != MOE_SPEC_CURRENT && which != MOE_SPEC_NATIVE)
        return MOE_FAIL(INVALID, "spec %d: expected MOE_SPEC_CURRENT or MOE_SPEC_NATIVE", which);
    return moe__opts_fill(out, which == MOE_SPEC_NATIVE ? &r->route->native : &r->route->recipe.spec,
                          sizeof(moe_route_spec), "moe_route_spec");
}

/* One thing per layer while a change is being made. */
static int alloc_layers(const moe_router *r, void *out, size_t size)
{
    return moe__alloc_array(&r->s->m->alloc, out, r->s->m->hp.n_layers, size, "routers");
}

/* Sets the recipe that `make` gives for each layer. */
typedef int (*spec_fn)(const moe__router *t, const void *arg, moe__recipe *out);

static int set_recipes(moe_router *r, spec_fn make, const void *arg)
{
    moe_session *s = r->s;
    moe__recipe *next;
    MOE_TRY(alloc_layers(r, &next, sizeof *next));
    int st = MOE_OK, coupled = 0, on_input = 0;
    EACH_LAYER(l, r)
    {
        if (st >= 0) st = make(&s->router[l], arg, &next[l]);
        if (st < 0) continue;
        coupled |= next[l].coupled;
        on_input |= (next[l].spec.flags & MOE_ROUTE_ON_INPUT) != 0;
    }
    if (st >= 0 && coupled) st = moe__session_serial(s);
    if (st >= 0 && on_input) st = moe__experts_reserve(s, 0, 1);
    EACH_LAYER(l, r)
    {
        if (st >= 0)
            moe__router_take_recipe(&s->router[l], &next[l]);
        else
            moe__recipe_finish(&next[l], &s->m->alloc);
    }
    moe__free(&s->m->alloc, next);
    if (st >= 0) moe__park_update(s);
    return st < 0 ? st : MOE_OK;
}

static int make_spec(const moe__router *t, const void *arg, moe__recipe *out)
{
    MOE_RETURN_ROUNDED(moe__router_make_recipe(t, arg, out));
}

int moe_router_set_spec(moe_router *r, const moe_route_spec *spec)
{
    moe__clear_error();
    MOE_ARG(r != NULL && spec != NULL);
    MOE_IDLE(r->s);
    moe_route_spec copy = MOE_ROUTE_SPEC_INIT;
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, spec, "moe_route_spec"));
    return set_recipes(r, make_spec, &copy);
}

static int make_named(const moe__router *t, const void *arg, moe__recipe *out)
{
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    uint32_t *ids = NULL;
    int st = moe__spec_parse(&spec, &ids, t->alloc, arg, &t->recipe.spec, &t->native);
    if (st >= 0) st = moe__router_make_recipe(t, &spec, out);
    moe__free(t->alloc, ids);
    return st;
}

int moe_router_set_named(moe_router *r, const char *text)
{
    moe__clear_error();
    MOE_ARG(r != NULL && text != NULL);
    MOE_IDLE(r->s);
    return set_recipes(r, make_named, text);
}

int moe_router_get_named(const moe_router *r, char *dst, size_t cap, size_t *len)
{
    moe__clear_error();
    MOE_ARG(r != NULL && len != NULL && (dst != NULL || cap == 0));
    MOE_ONE_LAYER(r);
    if (r->route->policy.route)
        return MOE_FAIL(UNSUPPORTED, "layer %u: policy %s is code: it has no text", r->layer,
                        r->route->policy.name);
    *len = moe__spec_format(&r->route->recipe.spec, &r->route->native, dst, cap);
    return *len > cap || !*len ? MOE_FAIL(BUFFER, "room for %zu bytes, needed %zu", cap, *len) : MOE_OK;
}

typedef struct policy_made {
    moe_policy policy;
    void *state;
} policy_made;

int moe_router_set_policy(moe_router *r, const moe_policy *p, void *user)
{
    moe__clear_error();
    MOE_ARG(r != NULL);
    MOE_IDLE(r->s);
    moe_session *s = r->s;
    moe_policy copy = MOE_POLICY_INIT;
    if (p) MOE_TRY(moe__opts_copy(&copy, sizeof copy, p, "moe_policy"));
    policy_made *next;
    MOE_TRY(alloc_layers(r, &next, sizeof *next));
    int st = p ? moe__session_serial(s) : MOE_OK;
    EACH_LAYER(l, r)
    {
        if (st >= 0 && p)
            st = moe__router_make_policy(&s->router[l], &copy, user, &next[l].policy, &next[l].state);
        else if (st >= 0)
            st = moe__router_check_plain(&s->router[l]);
    }
    EACH_LAYER(l, r)
    {
        if (st >= 0)
            moe__router_take_policy(&s->router[l], &next[l].policy, next[l].state, user);
        else
            moe__router_drop_policy(&s->router[l], &next[l].policy, next[l].state);
    }
    moe__free(&s->m->alloc, next);
    if (st >= 0) moe__park_update(s);
    return st < 0 ? st : MOE_OK;
}

int moe_router_reset(moe_router *r)
{
    moe__clear_error();
    MOE_ARG(r != NULL);
    MOE_IDLE(r->s);
    EACH_LAYER(l, r)
    {
        moe__router_reset(&r->s->router[l]);
        moe__experts_reset(r->s, l);
    }
    moe__park_update(r->s);
    return MOE_OK;
}

/* Edits the steering of each layer on a copy, then puts all copies in place. */
int moe__steer_layers(moe_router *r, moe__steer_fn fn, const void *arg)
{
    moe_session *s = r->s;
    moe__steer *next;
    MOE_TRY(alloc_layers(r, &next, sizeof *next));
    int st = MOE_OK;
    EACH_LAYER(l, r)
    {
        if (st >= 0) st = moe__router_edit_steer(&s->router[l], fn, arg, &next[l]);
    }
    EACH_LAYER(l, r)
    {
        if (st >= 0) moe__router_swap_steer(&s->router[l], &next[l]);
        moe__router_free_steer(&s->router[l], &next[l]);
    }
    moe__free(&s->m->alloc, next);
    return st < 0 ? st : MOE_OK;
}

static int check_n(const moe_router *r, size_t n)
{
    if (n != r->s->m->hp.n_experts)
        return MOE_FAIL(INVALID, "%zu values: the layer has %u experts", n, r->s->m->hp.n_experts);
    return MOE_OK;
}

static int edit_use(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    return moe__steer_set_use(s, shape, arg);
}

int moe_router_set_use(moe_router *r, const uint8_t *use, size_t n)
{
    moe__clear_error();
    MOE_ARG(r != NULL && use != NULL);
    MOE_IDLE(r->s);
    MOE_TRY(check_n(r, n));
    return moe__steer_layers(r, edit_use, use);
}

int moe_router_get_use(const moe_router *r, uint8_t *use, size_t n)
{
    moe__clear_error();
    MOE_ARG(r != NULL && use != NULL);
    MOE_ONE_LAYER(r);
    MOE_TRY(check_n(r, n));
    if (r->route->steer.use)
        memcpy(use, r->route->steer.use, n);
    else
        memset(use, MOE_USE_FREE, n);
    return MOE_OK;
}

typedef struct values_arg {
    int kind;
    const float *values;
} values_arg;

static int edit_values(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    const values_arg *v = arg;
    return moe__steer_set_values(s, shape, v->kind, v->values);
}

int moe_router_set_values(moe_router *r, int kind, const float *values, size_t n)
{
    moe__clear_error();
    MOE_ARG(r != NULL && (values != NULL || n == 0));
    MOE_IDLE(r->s);
    if (values) MOE_TRY(check_n(r, n));
    const values_arg v = {kind, values};
    return moe__steer_layers(r, edit_values, &v);
}

int moe_router_get_values(const moe_router *r, int kind, float *values, size_t n)
{
    moe__clear_error();
    MOE_ARG(r != NULL && values != NULL);
    MOE_ONE_LAYER(r);
    MOE_TRY(check_n(r, n));
    if (kind < 1 || kind > MOE_N_EDITS) return MOE_FAIL(INVALID, "edit kind %d is unknown", kind);
    for (uint32_t e = 0; e < n; e++) values[e] = moe__router_value(r->route, kind, e);
    return MOE_OK;
}

typedef struct limit_arg {
    moe_seq seq;
    const uint32_t *ids;
    size_t n;
} limit_arg;

static int edit_limit(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    const limit_arg *l = arg;
    return moe__steer_set_limit(s, shape, l->seq, l->ids, l->n);
}

int moe_router_set_limit(moe_router *r, moe_seq seq, const uint32_t *ids, size_t n)
{
    moe__clear_error();
    MOE_ARG(r != NULL && (ids != NULL || n == 0));
    MOE_IDLE(r->s);
    const limit_arg l = {seq, ids, n};
    return moe__steer_layers(r, edit_limit, &l);
}

static int edit_override(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    return moe__steer_add_override(s, shape, arg);
}

int moe_router_add_override(moe_router *r, const moe_route_override *o)
{
    moe__clear_error();
    MOE_ARG(r != NULL && o != NULL);
    MOE_IDLE(r->s);
    moe_route_override copy = MOE_ROUTE_OVERRIDE_INIT;
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, o, "moe_route_override"));
    return moe__steer_layers(r, edit_override, &copy);
}

static int edit_clear(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    (void)arg;
    moe__steer_clear_overrides(s, shape);
    return MOE_OK;
}

int moe_router_clear_overrides(moe_router *r)
{
    moe__clear_error();
    MOE_ARG(r != NULL);
    MOE_IDLE(r->s);
    return moe__steer_layers(r, edit_clear, NULL);
}

int moe_router_last(const moe_router *r, moe_route_view *out)
{
    moe__clear_error();
    MOE_ARG(r != NULL && out != NULL);
    MOE_ONE_LAYER(r);
    const moe_session *s = r->s;
    if (!s->kept)
        return MOE_FAIL(STATE, "the session was not made with MOE_SESSION_KEEP_ROUTES: it keeps no routing");
    const moe__kept *k = &s->kept[r->layer];
    if (!k->n_rows) return MOE_FAIL(STATE, "nothing was evaluated yet");
    moe_route_view v = moe__route_view(s, r->layer);
    v.n_rows = k->n_rows;
    v.offset = k->routes.offset;
    v.expert = k->routes.expert;
    v.weight = k->routes.weight;
    v.logits = k->logits;
    v.token = k->token;
    v.pos = k->pos;
    v.seq = k->seq;
    return moe__opts_fill(out, &v, sizeof v, "moe_route_view");
}

int moe_router_route(moe_router *r, const float *hidden, size_t n_rows, moe_route_view *out)
{
    moe__clear_error();
    MOE_ARG(r != NULL && hidden != NULL && out != NULL);
    MOE_ONE_LAYER(r);
    MOE_IDLE(r->s);
    if (!n_rows || n_rows > r->s->o.n_batch_max)
        return MOE_FAIL(INVALID, "%zu rows: expected 1 to n_batch_max = %u", n_rows, r->s->o.n_batch_max);
    int st;
    MOE_ROUNDED(st = moe__route_rows(r->s, r->layer, hidden, (uint32_t)n_rows));
    if (st < 0) return st;
    const moe_route_view v = moe__route_view(r->s, r->layer);
    return moe__opts_fill(out, &v, sizeof v, "moe_route_view");
}

/* Copies beside, then in place: routers first, experts with them. */
int moe_session_copy_routing(moe_session *dst, const moe_session *src)
{
    moe__clear_error();
    MOE_ARG(dst != NULL && src != NULL);
    MOE_IDLE(dst);
    if (dst->m != src->m) return MOE_FAIL(STATE, "the sessions are of different models");
    if (dst == src) return MOE_OK;
    moe_router *all = &dst->handle[dst->m->hp.n_layers];
    moe__router *next;
    moe__slots *slots = NULL;
    MOE_TRY(alloc_layers(all, &next, sizeof *next));
    int st = moe__slots_copy(&slots, src->experts.slots, dst->m);
    EACH_LAYER(l, all)
    {
        if (st >= 0) st = moe__router_duplicate(&next[l], &dst->router[l], &src->router[l]);
    }
    if (st >= 0) st = moe__routing_take(dst, next, slots);
    if (st < 0) {
        EACH_LAYER(l, all) moe__router_finish(&next[l]);
        moe__slots_free(slots, dst->m);
    }
    moe__free(&dst->m->alloc, next);
    return st < 0 ? st : MOE_OK;
}

int moe_session_on_layer(moe_session *s, uint32_t layer, int where, moe_layer_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    const uint32_t n = s->m->hp.n_layers;
    if (layer != MOE_ALL_LAYERS && layer >= n)
        return MOE_FAIL(RANGE, "layer %u: expected 0 to %u, or MOE_ALL_LAYERS", layer, n - 1);
    if (where < MOE_AT_INPUT || where > MOE_AT_OUTPUT)
        return MOE_FAIL(INVALID, "place %d: expected MOE_AT_INPUT to MOE_AT_OUTPUT", where);
    if (!s->hook) MOE_TRY(MOE_NEW(&s->m->alloc, &s->hook, (size_t)n * MOE_N_PLACES, "hooks"));
    for (uint32_t l = 0; l < n; l++)
        if (layer == MOE_ALL_LAYERS || layer == l)
            s->hook[(size_t)l * MOE_N_PLACES + (size_t)where - 1] = (moe__layer_hook){fn, user};
    moe__park_update(s);
    return MOE_OK;
}
