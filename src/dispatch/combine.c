/* SPDX-License-Identifier: MIT */
/* The weighted sum of a row's experts, always in order of rank. */
#include <string.h>

#include "dispatch/dispatch.h"
#include "moe/moe.h"

void moe__dispatch_combine(const moe__dispatch *d, const moe__routes *r, const moe__kernels *k, uint32_t row,
                           const float *result, float *y, size_t dim)
{
    memset(y, 0, dim * sizeof *y);
    for (uint32_t p = r->offset[row]; p < r->offset[row + 1]; p++) {
        const uint32_t slot = d->slot[p - r->offset[d->row]];
        if (slot != MOE_EXPERT_NONE) k->axpy(y, r->weight[p], result + (size_t)slot * dim, dim);
    }
}
