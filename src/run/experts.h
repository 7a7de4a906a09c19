/* SPDX-License-Identifier: MIT */
/*
 * A session's changes to its experts, and the room that they take. All of it is made by setters, so that eval
 * allocates nothing: rows in formats that the model itself does not need, rows of pairs where weights scale
 * inputs, rows for and from functions.
 */
#ifndef MOE_RUN_EXPERTS_H
#define MOE_RUN_EXPERTS_H

#include "dispatch/dispatch.h"
#include "expert/slots.h"

typedef struct moe__experts {
    moe__slots *slots;            /* [n_layers]; NULL: none was ever replaced */
    uint32_t formats;             /* activation formats that inputs can be had in */
    int on_input;                 /* so can scaled inputs */
    void *packed[MOE_N_ACTS];     /* [n_batch_max] rows, in the row buffer where the model has none */
    void *scaled_act[MOE_N_ACTS]; /* [max_slots] rows */
    moe__rows scaled; /* [max_slots][dim] inputs of pairs times their weights; f32 is slot_out, which is free
                         until gate and up are done */

    /* functions: one block */
    uint32_t n_side; /* most functions of a layer that there is room for */
    void *side_block;
    float *side;           /* [n_side][n_batch_max][dim] results, by row of the sub-batch */
    float *side_in;        /* [n_batch_max][dim] rows of one function, without gaps */
    uint32_t *side_row;    /* [n_batch_max] which row of the sub-batch each is */
    moe_token *side_token; /* [n_batch_max] */
    moe_pos *side_pos;     /* [n_batch_max] */
    moe_seq *side_seq;     /* [n_batch_max] */
} moe__experts;

/* ---- replace.c ---- */

/* After layout and program; frees nothing on failure (moe__experts_finish does). */
int moe__experts_init(moe_session *s);
void moe__experts_finish(moe_session *s);
/* Makes sure of room for inputs in `formats` and, with on_input, for scaled ones (before a recipe with
 * MOE_ROUTE_ON_INPUT is set). Idempotent; what there is room for stays. */
int moe__experts_reserve(moe_session *s, uint32_t formats, int on_input);
/*
 * Puts *to in the place of expert `index` of `layer`, or of every layer with experts (MOE_ALL_LAYERS). The
 * layer of a redirection may be MOE_ALL_LAYERS: the expert's own. On failure nothing has changed.
 */
int moe__experts_set(moe_session *s, uint32_t layer, uint32_t index, const moe__expert_slot *to);
/* The expert's own weights again; then all experts of a layer. `layer` may be MOE_ALL_LAYERS. */
void moe__experts_restore(moe_session *s, uint32_t layer, uint32_t index);
void moe__experts_reset(moe_session *s, uint32_t layer);
/* Makes `all` (moe__slots_copy, moe__slots_create; NULL = nothing replaced) the session's. On failure nothing
 * has changed and `all` stays the caller's. */
int moe__experts_take(moe_session *s, moe__slots *all);

/* ---- experts.c ---- */

/* What the layer's steering and slots mean to its pairs. */
moe__mix moe__experts_mix(const moe_session *s, uint32_t layer);
/* Runs one job over rows row .. row+n-1 of `in`, in the formats it reads; results go to `out`. For all
 * members; to be settled. */
void moe__experts_job(moe_session *s, moe__worker *w, const moe__ffn_job *job, const moe__rows *in,
                      uint32_t row, uint32_t n, float *out);
/* Most rows of such a run whose middle is `ff` wide. */
uint32_t moe__experts_tile(const moe_session *s, uint32_t ff);

/* ---- functions.c ---- */

/* Calls the function in an expert's place for n rows of side_in with their tokens; its results, checked, are
 * the first n rows of side[slot->side]. */
int moe__function_run(moe_session *s, uint32_t layer, uint32_t index, uint32_t n);

/* ---- apply.c: one expert outside of an eval ---- */

int moe__experts_apply(moe_session *s, uint32_t layer, uint32_t index, const float *x, uint32_t n_rows,
                       float *y);
/* All elements of matrix `which` in use, as f32; dst has room. */
int moe__experts_read(const moe_session *s, uint32_t layer, uint32_t index, int which, float *dst);

/* What stands in the expert's place; NULL: nothing does. */
static inline const moe__expert_slot *moe__experts_slot(const moe__experts *x, uint32_t layer, uint32_t index)
{
    return x->slots && x->slots[layer].slot ? &x->slots[layer].slot[index] : NULL;
}

#endif
