/* SPDX-License-Identifier: MIT */
/*
 * Weights of an expert that the program brought: three matrices over a copy or over the program's own memory.
 * Counted; immutable once made, so any number of experts, sessions and threads may use them.
 */
#ifndef MOE_EXPERT_WEIGHTS_H
#define MOE_EXPERT_WEIGHTS_H

#include <stdatomic.h>

#include "model/model.h"

struct moe_weights {
    atomic_uint refs;
    moe_model *model;   /* retained: memory hook, kernels */
    moe__matrix mat[3]; /* by MOE_EXPERT_* */
    void *block;        /* owns the data; NULL if it is borrowed */
    uint64_t bytes;     /* of the three matrices */
};

/* Checks types, shapes, sizes and that every weight is finite. */
int moe__weights_create(moe_weights **out, moe_model *m, const moe_expert_weights *w);

#endif
