/* SPDX-License-Identifier: MIT */
/*
 * What the operations of a step share. An operation is run by all members of the team; it need not be over
 * when its function returns (base/work.h).
 */
#ifndef MOE_RUN_STEPS_H
#define MOE_RUN_STEPS_H

#include "run/session.h"

typedef void (*moe__op_fn)(moe_session *s, moe__worker *w, const moe__run_step *step);

/* Notes the first failure of a step; the walk stops behind it. */
static inline void moe__fault(moe_session *s, int status, uint32_t layer)
{
    int none = 0;
    if (atomic_compare_exchange_strong(&s->fault, &none, status)) atomic_store(&s->fault_layer, layer);
}

/* ops.c: y = w x for all rows, shared by blocks of weight rows: items of several matrices (3 at most) that
 * read the same rows share one phase. */
typedef struct moe__task {
    const moe__matrix *w;
    float *y;
} moe__task;
void moe__run_products(moe_session *s, moe__worker *w, const moe__rows *x, const moe__task *t,
                       size_t n_tasks);

/* route.c */
void moe__op_route(moe_session *s, moe__worker *w, const moe__run_step *step);
int moe__route_serial(moe_session *s, const moe__run_step *step); /* park.c */
/* experts.c */
/* Whether experts of the layer are functions of the caller's; calls those that this sub-batch routes to. */
int moe__experts_functions(const moe_session *s, uint32_t layer);
int moe__experts_call(moe_session *s, const moe__run_step *step);
void moe__op_experts(moe_session *s, moe__worker *w, const moe__run_step *step);
void moe__op_shared(moe_session *s, moe__worker *w, const moe__run_step *step);
void moe__op_ffn(moe_session *s, moe__worker *w, const moe__run_step *step);

#endif
