/* SPDX-License-Identifier: MIT */
/* The weighted sum of a row's experts, always in order of rank. */
#include <string.h>

#include "dispatch/dispatch.h"
#include "moe/moe.h"

const float *moe__dispatch_result(const moe__dispatch *d, const moe__routes *r, uint32_t row, uint32_t p,
                                  const float *result, size_t dim)
{
    const uint32_t slot = d->slot[p - r->offset[d->row]], e = r->expert[p];
    if (slot != MOE_EXPERT_NONE) return result + (size_t)slot * dim;
    if (!moe__mix_live(&d->mix, d->n_experts, e, r->weight[p]) || !moe__mix_is_side(&d->mix, e)) return NULL;
    return d->mix.side + (d->mix.slot[e].side * d->mix.side_rows + row) * dim;
}

void moe__dispatch_combine(const moe__dispatch *d, const moe__routes *r, const moe__kernels *k, uint32_t row,
                           const float *result, float *y, size_t dim)
{
    memset(y, 0, dim * sizeof *y);
    for (uint32_t p = r->offset[row]; p < r->offset[row + 1]; p++) {
        const float *x = moe__dispatch_result(d, r, row, p, result, dim);
        if (!x) continue;
        float w = d->mix.on_input ? 1 : r->weight[p];
        if (d->mix.gain) w *= d->mix.gain[r->expert[p]];
        k->axpy(y, w, x, dim);
    }
}
