/* SPDX-License-Identifier: MIT */
/* See experts.h: what stands in the experts' places, and the room for it. Setters first take all that may
 * fail, then change things. */
#include <string.h>

#include "base/status.h"
#include "run/session.h"

static int has_experts(const moe_session *s, uint32_t layer) { return s->m->layers[layer].is_moe; }

/* ---- room ---- */

/* Rows in a format that the model itself reads no expert's input in. */
static int room_packed(moe_session *s, int act)
{
    moe__experts *x = &s->experts;
    for (size_t i = 0; i < s->n_steps; i++) {
        moe__rows *in = &s->buf[s->step[i].in];
        if (s->step[i].op != OP_EXPERTS || in->act[act]) continue;
        if (!x->packed[act])
            MOE_TRY(moe__alloc_array(&s->m->alloc, &x->packed[act], s->o.n_batch_max, in->act_bytes[act],
                                     "rows of replaced experts"));
        in->act[act] = x->packed[act];
    }
    return MOE_OK;
}

static int room_scaled(moe_session *s, int act)
{
    moe__experts *x = &s->experts;
    if (x->scaled_act[act]) return MOE_OK;
    MOE_TRY(moe__alloc_array(&s->m->alloc, &x->scaled_act[act], s->max_slots, x->scaled.act_bytes[act],
                             "scaled inputs of experts"));
    x->scaled.act[act] = x->scaled_act[act];
    return MOE_OK;
}

int moe__experts_reserve(moe_session *s, uint32_t formats, int on_input)
{
    moe__experts *x = &s->experts;
    formats |= x->formats;
    on_input |= x->on_input;
    for (int a = 0; a < MOE_N_ACTS; a++) {
        if (a == MOE_ACT_F32 || !(formats & MOE_ACT_BIT(a))) continue;
        MOE_TRY(room_packed(s, a));
        if (on_input) MOE_TRY(room_scaled(s, a));
    }
    x->formats = formats;
    x->on_input = on_input;
    return MOE_OK;
}

static void carve_side(moe__experts *x, moe__carve *c, uint64_t n_side, uint64_t n_rows, uint64_t dim)
{
    MOE_CARVE(c, x->side, n_side * n_rows * dim); /* widths < 2^17, 2^17 and 2^21: no overflow */
    MOE_CARVE(c, x->side_in, n_rows * dim);
    MOE_CARVE(c, x->side_row, n_rows);
    MOE_CARVE(c, x->side_token, n_rows);
    MOE_CARVE(c, x->side_pos, n_rows);
    MOE_CARVE(c, x->side_seq, n_rows);
}

/* Room for a layer with n_side functions; what was there may move. */
static int room_side(moe_session *s, uint32_t n_side)
{
    moe__experts *x = &s->experts;
    moe__carve c = {0};
    void *block;
    if (n_side <= x->n_side) return MOE_OK;
    moe__experts counted = {0};
    carve_side(&counted, &c, n_side, s->o.n_batch_max, s->m->hp.dim);
    if (c.used > SIZE_MAX / 4) return MOE_FAIL(NOMEM, "%u expert functions cannot be given memory", n_side);
    MOE_TRY(moe__alloc(&s->m->alloc, &block, (size_t)c.used, "rows of expert functions"));
    moe__free(&s->m->alloc, x->side_block);
    x->side_block = block;
    x->n_side = n_side;
    c = (moe__carve){block, 0};
    carve_side(x, &c, n_side, s->o.n_batch_max, s->m->hp.dim);
    return MOE_OK;
}

static uint32_t most_functions(const moe_session *s)
{
    uint32_t most = 0;
    for (uint32_t l = 0; s->experts.slots && l < s->m->hp.n_layers; l++)
        if (s->experts.slots[l].n_fn > most) most = s->experts.slots[l].n_fn;
    return most;
}

/* After a change: rows of functions that are gone go too. */
static void experts_settle(moe_session *s)
{
    moe__experts *x = &s->experts;
    if (x->n_side && !most_functions(s)) {
        moe__free(&s->m->alloc, x->side_block);
        x->side_block = NULL;
        x->n_side = 0;
        x->side = NULL;
    }
    moe__park_update(s);
}

/* ---- life ---- */

int moe__experts_init(moe_session *s)
{
    moe__experts *x = &s->experts;
    const moe_model *m = s->m;
    uint32_t formats = 0;
    x->scaled = (moe__rows){.f32 = s->slot_out, .width = m->hp.dim};
    for (int a = 0; a < MOE_N_ACTS; a++) x->scaled.act_bytes[a] = moe__act_bytes((moe__act)a, m->hp.dim);
    x->scaled.act[MOE_ACT_F32] = s->slot_out;
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (has_experts(s, l))
            formats |=
                MOE_ACT_BIT(moe__matrix_act(&m->layers[l].mat[ROLE_GATE_EXPS], moe__session_exact(s))) |
                MOE_ACT_BIT(moe__matrix_act(&m->layers[l].mat[ROLE_UP_EXPS], moe__session_exact(s)));
    return moe__experts_reserve(s, formats, (m->route.flags & MOE_ROUTE_ON_INPUT) != 0);
}

void moe__experts_finish(moe_session *s)
{
    moe__experts *x = &s->experts;
    moe__slots_free(x->slots, s->m);
    moe__free(&s->m->alloc, x->side_block);
    for (int a = 0; a < MOE_N_ACTS; a++) {
        moe__free(&s->m->alloc, x->packed[a]);
        moe__free(&s->m->alloc, x->scaled_act[a]);
    }
}

/* ---- setters ---- */

/* The change as it is in one layer: a redirection within "the same layer" gets its number, one to the expert
 * itself is none. */
static moe__expert_slot in_layer(const moe__expert_slot *to, uint32_t layer, uint32_t index)
{
    moe__expert_slot slot = *to;
    if (slot.source != MOE_SOURCE_REDIRECT) return slot;
    if (slot.layer == MOE_ALL_LAYERS) slot.layer = layer;
    if (slot.layer == layer && slot.index == index) memset(&slot, 0, sizeof slot);
    return slot;
}

/* All that a change in one layer needs. */
static int experts_prepare(moe_session *s, uint32_t layer, uint32_t index, const moe__expert_slot *to)
{
    const moe__expert_slot slot = in_layer(to, layer, index);
    const int exact = moe__session_exact(s);
    if (!s->experts.slots) MOE_TRY(moe__slots_create(&s->experts.slots, s->m));
    MOE_TRY(moe__slots_ready(s->experts.slots, layer, s->m));
    MOE_TRY(moe__experts_reserve(s, moe__slot_formats(&slot, s->m, exact), 0));
    if (slot.source != MOE_SOURCE_FUNCTION) return MOE_OK;
    const moe__slots *l = &s->experts.slots[layer];
    return room_side(s, l->n_fn + (l->slot[index].source != MOE_SOURCE_FUNCTION));
}

int moe__experts_set(moe_session *s, uint32_t layer, uint32_t index, const moe__expert_slot *to)
{
    const uint32_t first = layer == MOE_ALL_LAYERS ? 0 : layer;
    const uint32_t end = layer == MOE_ALL_LAYERS ? s->m->hp.n_layers : layer + 1;
    int st = MOE_OK;
    for (uint32_t l = first; l < end && st == MOE_OK; l++)
        if (has_experts(s, l)) st = experts_prepare(s, l, index, to);
    for (uint32_t l = first; l < end && st == MOE_OK; l++) {
        const moe__expert_slot slot = in_layer(to, l, index);
        if (!has_experts(s, l)) continue;
        if (slot.source == MOE_SOURCE_OWN)
            moe__slots_restore(s->experts.slots, l, index, s->m, moe__session_exact(s));
        else
            moe__slots_set(s->experts.slots, l, index, &slot, s->m, moe__session_exact(s));
    }
    experts_settle(s);
    return st;
}

void moe__experts_restore(moe_session *s, uint32_t layer, uint32_t index)
{
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++)
        if (layer == MOE_ALL_LAYERS || layer == l)
            moe__slots_restore(s->experts.slots, l, index, s->m, moe__session_exact(s));
    experts_settle(s);
}

void moe__experts_reset(moe_session *s, uint32_t layer)
{
    for (uint32_t l = 0; l < s->m->hp.n_layers; l++)
        if (layer == MOE_ALL_LAYERS || layer == l) moe__slots_reset(s->experts.slots, l, s->m);
    experts_settle(s);
}

int moe__experts_take(moe_session *s, moe__slots *all)
{
    uint32_t formats = 0, n_side = 0;
    for (uint32_t l = 0; all && l < s->m->hp.n_layers; l++) {
        moe__slots_update(all, l, s->m, moe__session_exact(s));
        formats |= all[l].formats;
        if (all[l].n_fn > n_side) n_side = all[l].n_fn;
    }
    MOE_TRY(moe__experts_reserve(s, formats, 0));
    MOE_TRY(room_side(s, n_side));
    moe__slots_free(s->experts.slots, s->m);
    s->experts.slots = all;
    experts_settle(s);
    return MOE_OK;
}
