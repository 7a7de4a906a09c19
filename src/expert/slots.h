/* SPDX-License-Identifier: MIT */
/*
 * What stands in an expert's place: its own weights, another expert's, brought ones, a function. One table
 * per layer and session; a layer without any change has none. Nothing here is touched while an eval runs.
 */
#ifndef MOE_EXPERT_SLOTS_H
#define MOE_EXPERT_SLOTS_H

#include "expert/weights.h"
#include "moe/ext.h"

/* All zero: the expert's own weights. */
typedef struct moe__expert_slot {
    uint32_t source;       /* MOE_SOURCE_* */
    uint32_t layer, index; /* REDIRECT: the other expert */
    moe_weights *w;        /* WEIGHTS: retained */
    moe_expert_fn fn;      /* FUNCTION */
    void *user;            /* of fn */
    uint32_t side;         /* FUNCTION: which of the layer's functions, counted by rising expert */
} moe__expert_slot;

/* One layer's. */
typedef struct moe__slots {
    moe__expert_slot *slot; /* [n_experts], NULL: all their own */
    uint32_t n_replaced;    /* slots that are not OWN */
    uint32_t n_fn;          /* FUNCTION slots */
    uint32_t formats;       /* activation formats that replaced gate and up matrices read */
} moe__slots;

/* All layers' tables, empty. */
int moe__slots_create(moe__slots **out, const moe_model *m);
/* NULL is fine. Drops the references to weights. */
void moe__slots_free(moe__slots *all, const moe_model *m);
/* *out = a copy with references of its own, NULL if `all` is NULL. */
int moe__slots_copy(moe__slots **out, const moe__slots *all, const moe_model *m);

/* Room for changes in one layer; afterwards moe__slots_set cannot fail. */
int moe__slots_ready(moe__slots *all, uint32_t layer, const moe_model *m);
/* Counts anew what follows from the slots. exact: see moe__matrix_act. */
void moe__slots_update(moe__slots *all, uint32_t layer, const moe_model *m, int exact);
/* Puts *to in the expert's place and drops what was there; weights are retained. */
void moe__slots_set(moe__slots *all, uint32_t layer, uint32_t index, const moe__expert_slot *to,
                    const moe_model *m, int exact);
/* The expert's own again. `all` may be NULL. */
void moe__slots_restore(moe__slots *all, uint32_t layer, uint32_t index, const moe_model *m, int exact);
/* The layer's own again. `all` may be NULL. */
void moe__slots_reset(moe__slots *all, uint32_t layer, const moe_model *m);

/* Matrix `which` (MOE_EXPERT_*) that expert `index` of `layer` uses; NULL for a function. Data is NULL where
 * it must be had from the store. */
const moe__matrix *moe__slot_matrix(const moe__expert_slot *slot, const moe_model *m, uint32_t layer,
                                    int which);
/* Activation formats that its gate and up matrices read. */
uint32_t moe__slot_formats(const moe__expert_slot *slot, const moe_model *m, int exact);

#endif
