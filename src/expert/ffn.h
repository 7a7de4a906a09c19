/* SPDX-License-Identifier: MIT */
/*
 * The feed-forward block of one or many experts: down(silu(gate x) * up x). Routed experts, the shared expert
 * and dense layers are all a list of jobs: one set of matrices and the rows it works on. Shapes are the same
 * for all jobs of a run, types need not be: `in` has the formats that any gate or up matrix reads.
 */
#ifndef MOE_EXPERT_FFN_H
#define MOE_EXPERT_FFN_H

#include "base/work.h"
#include "kernel/matrix.h"
#include "model/store.h"

typedef struct moe__ffn_job {
    const moe__matrix *gate, *up, *down; /* types */
    moe__expert_view view;               /* the three matrices' data */
    uint32_t first, n;                   /* result slots first .. first+n-1 */
    uint32_t leased;                     /* view goes back to the store */
} moe__ffn_job;

typedef struct moe__ffn {
    const moe__kernels *k;
    const moe__matrix *gate, *up, *down; /* whose shapes all jobs share, and by whose size work is cut */
    const moe__rows *in;
    const uint32_t *col; /* [slots] row of `in` of each slot, or NULL: first_row + slot */
    uint32_t first_row;
    uint32_t n_slots;
    moe__rows mid;        /* [slots][ff] */
    float *up_out;        /* [slots][ff] */
    uint32_t mid_formats; /* what the jobs' down matrices read besides f32 */
    float *out;           /* [slots][dim] */
    const moe__ffn_job *job;
    uint32_t n_jobs;
} moe__ffn;

/* All members of a team call it. f must live until the work is settled, and may be filled in by a job put off
 * just before. exact: see moe__product_rows. */
void moe__ffn_run(moe__worker *w, const moe__ffn *f, float *exact);

#endif
