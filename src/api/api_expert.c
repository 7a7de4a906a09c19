/* SPDX-License-Identifier: MIT */
/* Entry points of experts and of weights that a program brings. The handle of all layers reaches the expert
 * of its index in every layer, or on failure in none. */
#include <string.h>

#include "api/api.h"
#include "base/opts.h"
#include "base/rounding.h"
#include "moe/ext.h"

int moe_weights_create(moe_weights **out, moe_model *m, const moe_expert_weights *w)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(m != NULL && w != NULL);
    moe_expert_weights copy = MOE_EXPERT_WEIGHTS_INIT;
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, w, "moe_expert_weights"));
    MOE_RETURN_ROUNDED(moe__weights_create(out, m, &copy));
}

/* ---- what it is ---- */

static const moe__expert_slot *place_of(const moe_expert *e)
{
    return moe__experts_slot(&e->router->s->experts, e->router->layer, e->index);
}

static void fill_source(const moe_expert *e, moe_expert_info *info)
{
    const moe__expert_slot *slot = place_of(e);
    int32_t *const type[3] = {&info->type_gate, &info->type_up, &info->type_down};
    for (int i = 0; i < 3; i++) {
        const moe__matrix *w = moe__slot_matrix(slot, e->router->s->m, e->router->layer, i);
        if (!w) continue;
        *type[i] = w->type->id;
        info->bytes += (uint64_t)w->n_out * w->row_bytes;
    }
    if (!slot) return;
    info->source = slot->source;
    if (slot->source != MOE_SOURCE_REDIRECT) return;
    info->src_layer = slot->layer;
    info->src_index = slot->index;
}

int moe_expert_get_info(const moe_expert *e, moe_expert_info *out)
{
    moe__clear_error();
    MOE_ARG(e != NULL && out != NULL);
    MOE_ONE_LAYER(e->router);
    const moe__router *r = e->router->route;
    const moe__hparams *h = &e->router->s->m->hp;
    moe_expert_info info = {.size = sizeof info,
                            .layer = e->router->layer,
                            .index = e->index,
                            .dim = h->dim,
                            .dim_ff = h->dim_ff_expert,
                            .use = r->steer.use ? r->steer.use[e->index] : MOE_USE_FREE,
                            .logit_bias = moe__router_value(r, MOE_EDIT_LOGIT_BIAS, e->index),
                            .select_bias = moe__router_value(r, MOE_EDIT_SELECT_BIAS, e->index),
                            .pre = moe__router_value(r, MOE_EDIT_PRE, e->index),
                            .post = moe__router_value(r, MOE_EDIT_POST, e->index),
                            .gain = moe__router_value(r, MOE_EDIT_GAIN, e->index)};
    fill_source(e, &info);
    return moe__opts_fill(out, &info, sizeof info, "moe_expert_info");
}

/* ---- steering of one expert ---- */

typedef struct one_arg {
    uint32_t index;
    int kind; /* use, or MOE_EDIT_* */
    float value;
} one_arg;

static int edit_one_use(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    const one_arg *a = arg;
    uint8_t *use;
    MOE_TRY(MOE_NEW(shape->alloc, &use, shape->n, "steering"));
    if (s->use) memcpy(use, s->use, shape->n);
    use[a->index] = (uint8_t)a->kind;
    const int st = moe__steer_set_use(s, shape, use);
    moe__free(shape->alloc, use);
    return st;
}

int moe_expert_set_use(moe_expert *e, int use)
{
    moe__clear_error();
    MOE_ARG(e != NULL);
    MOE_IDLE(e->router->s);
    if (use < 0 || use > UINT8_MAX) return MOE_FAIL(INVALID, "expert %u: use %d is unknown", e->index, use);
    const one_arg a = {e->index, use, 0};
    return moe__steer_layers(e->router, edit_one_use, &a);
}

static int edit_one_value(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    const one_arg *a = arg;
    const float *old = s->value[a->kind - 1];
    float *value;
    MOE_TRY(MOE_NEW(shape->alloc, &value, shape->n, "steering"));
    for (uint32_t i = 0; i < shape->n; i++) value[i] = old ? old[i] : moe__steer_neutral(a->kind);
    value[a->index] = a->value;
    const int st = moe__steer_set_values(s, shape, a->kind, value);
    moe__free(shape->alloc, value);
    return st;
}

int moe_expert_set_value(moe_expert *e, int kind, float value)
{
    moe__clear_error();
    MOE_ARG(e != NULL);
    MOE_IDLE(e->router->s);
    if (kind < 1 || kind > MOE_N_EDITS) return MOE_FAIL(INVALID, "edit kind %d is unknown", kind);
    const one_arg a = {e->index, kind, value};
    return moe__steer_layers(e->router, edit_one_value, &a);
}

/* ---- weights ---- */

int moe_expert_read(const moe_expert *e, int which, float *dst, size_t cap, size_t *n)
{
    moe__clear_error();
    MOE_ARG(e != NULL && n != NULL && (dst != NULL || cap == 0));
    MOE_ONE_LAYER(e->router);
    if (which < MOE_EXPERT_GATE || which > MOE_EXPERT_DOWN)
        return MOE_FAIL(INVALID, "matrix %d: expected MOE_EXPERT_GATE, MOE_EXPERT_UP or MOE_EXPERT_DOWN",
                        which);
    const moe_session *s = e->router->s;
    const moe__matrix *w = moe__slot_matrix(place_of(e), s->m, e->router->layer, which);
    *n = 0;
    if (!w)
        return MOE_FAIL(NOTFOUND, "layer %u, expert %u is a function: it has no weights", e->router->layer,
                        e->index);
    *n = (size_t)w->n_out * w->n_in;
    if (*n > cap) return MOE_FAIL(BUFFER, "room for %zu floats, needed %zu", cap, *n);
    MOE_RETURN_ROUNDED(moe__experts_read(s, e->router->layer, e->index, which, dst));
}

int moe_expert_replace(moe_expert *e, moe_weights *w)
{
    moe__clear_error();
    MOE_ARG(e != NULL && w != NULL);
    MOE_IDLE(e->router->s);
    const moe__hparams *h = &e->router->s->m->hp;
    const moe__matrix *gate = &w->mat[MOE_EXPERT_GATE];
    if (gate->n_in != h->dim || gate->n_out != h->dim_ff_expert)
        return MOE_FAIL(INVALID, "the weights are %u wide and %u inside; the model's experts %u and %u",
                        gate->n_in, gate->n_out, h->dim, h->dim_ff_expert);
    const moe__expert_slot to = {.source = MOE_SOURCE_WEIGHTS, .w = w};
    return moe__experts_set(e->router->s, e->router->layer, e->index, &to);
}

int moe_expert_redirect(moe_expert *e, uint32_t layer, uint32_t index)
{
    moe__clear_error();
    MOE_ARG(e != NULL);
    MOE_IDLE(e->router->s);
    const moe_model *m = e->router->s->m;
    if (layer != MOE_ALL_LAYERS && layer >= m->hp.n_layers)
        return MOE_FAIL(RANGE, "layer %u: expected 0 to %u, or MOE_ALL_LAYERS", layer, m->hp.n_layers - 1);
    if (layer != MOE_ALL_LAYERS && !m->layers[layer].is_moe)
        return MOE_FAIL(NOTFOUND, "layer %u is dense: it has no experts", layer);
    if (index >= m->hp.n_experts)
        return MOE_FAIL(RANGE, "expert %u: expected 0 to %u", index, m->hp.n_experts - 1);
    const moe__expert_slot to = {.source = MOE_SOURCE_REDIRECT, .layer = layer, .index = index};
    return moe__experts_set(e->router->s, e->router->layer, e->index, &to);
}

int moe_expert_replace_fn(moe_expert *e, moe_expert_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(e != NULL && fn != NULL);
    MOE_IDLE(e->router->s);
    const moe__expert_slot to = {.source = MOE_SOURCE_FUNCTION, .fn = fn, .user = user};
    return moe__experts_set(e->router->s, e->router->layer, e->index, &to);
}

int moe_expert_restore(moe_expert *e)
{
    moe__clear_error();
    MOE_ARG(e != NULL);
    MOE_IDLE(e->router->s);
    moe__experts_restore(e->router->s, e->router->layer, e->index);
    return MOE_OK;
}

int moe_expert_apply(moe_expert *e, const float *x, size_t n_rows, float *y)
{
    moe__clear_error();
    MOE_ARG(e != NULL && x != NULL && y != NULL);
    MOE_ONE_LAYER(e->router);
    MOE_IDLE(e->router->s);
    const uint32_t most = e->router->s->o.n_batch_max;
    if (!n_rows || n_rows > most)
        return MOE_FAIL(INVALID, "%zu rows: expected 1 to n_batch_max = %u", n_rows, most);
    MOE_RETURN_ROUNDED(moe__experts_apply(e->router->s, e->router->layer, e->index, x, (uint32_t)n_rows, y));
}
