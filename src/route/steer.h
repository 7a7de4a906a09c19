/* SPDX-License-Identifier: MIT */
/*
 * Steering of one router: what a session adds to the recipe. Nothing is allocated for what is not set.
 */
#ifndef MOE_ROUTE_STEER_H
#define MOE_ROUTE_STEER_H

#include "base/alloc.h"
#include "moe/ext.h"

typedef struct moe__override {
    int32_t kind; /* MOE_OVERRIDE_* */
    moe_seq seq;
    moe_pos first, last; /* last -1: open */
    float *row;          /* [n], owned */
} moe__override;

enum { MOE_N_EDITS = 5 }; /* MOE_EDIT_LOGIT_BIAS .. MOE_EDIT_GAIN; element kind - 1 */

/* NULL where nothing is set. All owned. */
typedef struct moe__steer {
    uint8_t *use;              /* [n] MOE_USE_* */
    float *value[MOE_N_EDITS]; /* [n] */
    uint8_t **limit;           /* [n_seq_max] of [n] 1 = allowed, or NULL = no limit */
    moe__override *override;   /* [n_override], oldest first */
    uint32_t n_override;
} moe__steer;

/* Who it is for. */
typedef struct moe__steer_shape {
    const moe__allocator *alloc;
    uint32_t layer, n, n_seq_max;
} moe__steer_shape;

void moe__steer_finish(moe__steer *s, const moe__steer_shape *shape);
/* Deep copy; limits of sequences that dst lacks are left out. *dst is overwritten on success only. */
int moe__steer_copy(moe__steer *dst, const moe__steer_shape *shape, const moe__steer *src,
                    const moe__steer_shape *src_shape);
/* Each leaves *s unchanged on failure. What depends on the recipe is checked by the router. */
int moe__steer_set_use(moe__steer *s, const moe__steer_shape *shape, const uint8_t *use);
int moe__steer_set_values(moe__steer *s, const moe__steer_shape *shape, int kind, const float *values);
int moe__steer_set_limit(moe__steer *s, const moe__steer_shape *shape, moe_seq seq, const uint32_t *ids,
                         size_t n);
int moe__steer_add_override(moe__steer *s, const moe__steer_shape *shape, const moe_route_override *o);
void moe__steer_clear_overrides(moe__steer *s, const moe__steer_shape *shape);
/* MOE_E_INVALID if all experts are banned, for all or for one sequence. */
int moe__steer_check(const moe__steer *s, const moe__steer_shape *shape);

float moe__steer_neutral(int kind);
/* Nothing is set. */
int moe__steer_is_empty(const moe__steer *s);
/* The newest override of `kind` for a token, or NULL. */
const float *moe__steer_override(const moe__steer *s, int kind, moe_seq seq, moe_pos pos);
/* Experts a sequence may use ([n] of 0 and 1), or NULL = all. */
static inline const uint8_t *moe__steer_limit(const moe__steer *s, moe_seq seq)
{
    return s->limit ? s->limit[seq] : NULL;
}

#endif
