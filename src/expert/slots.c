/* SPDX-License-Identifier: MIT */
/* See slots.h. */
#include "expert/slots.h"

#include "base/status.h"

static const uint8_t expert_roles[3] = {ROLE_GATE_EXPS, ROLE_UP_EXPS, ROLE_DOWN_EXPS};

int moe__slots_create(moe__slots **out, const moe_model *m)
{
    return MOE_NEW(&m->alloc, out, m->hp.n_layers, "replaced experts");
}

void moe__slots_free(moe__slots *all, const moe_model *m)
{
    if (!all) return;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) moe__slots_reset(all, l, m);
    moe__free(&m->alloc, all);
}

int moe__slots_copy(moe__slots **out, const moe__slots *all, const moe_model *m)
{
    *out = NULL;
    if (!all) return MOE_OK;
    moe__slots *copy;
    MOE_TRY(moe__slots_create(&copy, m));
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        if (!all[l].n_replaced) continue;
        const int st = moe__slots_ready(copy, l, m);
        if (st < 0) {
            moe__slots_free(copy, m);
            return st;
        }
        moe__expert_slot *slot = copy[l].slot;
        copy[l] = all[l];
        copy[l].slot = slot;
        for (uint32_t e = 0; e < m->hp.n_experts; e++) {
            slot[e] = all[l].slot[e];
            moe_weights_retain(slot[e].w);
        }
    }
    *out = copy;
    return MOE_OK;
}

int moe__slots_ready(moe__slots *all, uint32_t layer, const moe_model *m)
{
    if (all[layer].slot) return MOE_OK;
    return MOE_NEW(&m->alloc, &all[layer].slot, m->hp.n_experts, "replaced experts");
}

void moe__slots_update(moe__slots *all, uint32_t layer, const moe_model *m, int exact)
{
    moe__slots *s = &all[layer];
    s->n_replaced = s->n_fn = s->formats = 0;
    for (uint32_t e = 0; s->slot && e < m->hp.n_experts; e++) {
        moe__expert_slot *slot = &s->slot[e];
        s->n_replaced += slot->source != MOE_SOURCE_OWN;
        s->formats |= moe__slot_formats(slot, m, exact);
        if (slot->source == MOE_SOURCE_FUNCTION) slot->side = s->n_fn++;
    }
}

void moe__slots_set(moe__slots *all, uint32_t layer, uint32_t index, const moe__expert_slot *to,
                    const moe_model *m, int exact)
{
    moe__expert_slot *slot = &all[layer].slot[index];
    moe_weights *old = slot->w;
    *slot = *to;
    moe_weights_retain(slot->w);
    moe_weights_release(old);
    moe__slots_update(all, layer, m, exact);
}

void moe__slots_restore(moe__slots *all, uint32_t layer, uint32_t index, const moe_model *m, int exact)
{
    static const moe__expert_slot own = {MOE_SOURCE_OWN, 0, 0, NULL, NULL, NULL, 0};
    if (!all || !all[layer].slot) return;
    moe__slots_set(all, layer, index, &own, m, exact);
    if (!all[layer].n_replaced) moe__slots_reset(all, layer, m);
}

void moe__slots_reset(moe__slots *all, uint32_t layer, const moe_model *m)
{
    if (!all || !all[layer].slot) return;
    for (uint32_t e = 0; e < m->hp.n_experts; e++) moe_weights_release(all[layer].slot[e].w);
    moe__free(&m->alloc, all[layer].slot);
    all[layer] = (moe__slots){NULL, 0, 0, 0};
}

const moe__matrix *moe__slot_matrix(const moe__expert_slot *slot, const moe_model *m, uint32_t layer,
                                    int which)
{
    switch (slot ? slot->source : MOE_SOURCE_OWN) {
    case MOE_SOURCE_REDIRECT: return &m->layers[slot->layer].mat[expert_roles[which]];
    case MOE_SOURCE_WEIGHTS: return &slot->w->mat[which];
    case MOE_SOURCE_FUNCTION: return NULL;
    default: return &m->layers[layer].mat[expert_roles[which]];
    }
}

uint32_t moe__slot_formats(const moe__expert_slot *slot, const moe_model *m, int exact)
{
    if (slot->source != MOE_SOURCE_REDIRECT && slot->source != MOE_SOURCE_WEIGHTS) return 0;
    return MOE_ACT_BIT(moe__matrix_act(moe__slot_matrix(slot, m, slot->layer, MOE_EXPERT_GATE), exact)) |
           MOE_ACT_BIT(moe__matrix_act(moe__slot_matrix(slot, m, slot->layer, MOE_EXPERT_UP), exact));
}
