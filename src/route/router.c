/* SPDX-License-Identifier: MIT */
/* See router.h. */
#include "route/router.h"

#include <math.h>

#include "base/status.h"

int moe__router_init(moe__router *r, const moe_route_spec *spec, uint32_t n_experts)
{
    *r = (moe__router){.score = moe__score_find(spec->score),
                       .select = moe__select_find(spec->select),
                       .weight = moe__weight_find(spec->weight),
                       .n = n_experts,
                       .top_k = spec->top_k,
                       .scale = spec->scale};
    if (!r->score) return MOE_FAIL(INVALID, "route spec: score %d is unknown", spec->score);
    if (!r->select) return MOE_FAIL(INVALID, "route spec: select %d is unknown", spec->select);
    if (!r->weight) return MOE_FAIL(INVALID, "route spec: weight %d is unknown", spec->weight);
    if (r->top_k == 0 || r->top_k > n_experts)
        return MOE_FAIL(INVALID, "route spec: top_k: expected 1 to %u, found %u", n_experts, r->top_k);
    return MOE_OK;
}

int moe__router_row(const moe__router *r, const moe__kernels *k, const float *logits, uint32_t *id, float *w,
                    float *scratch)
{
    r->score(k, scratch, logits, r->n);
    r->select(scratch, r->n, r->top_k, id, w);
    r->weight(k, w, r->top_k);
    float sum = 0;
    for (uint32_t i = 0; i < r->top_k; i++) {
        w[i] *= r->scale;
        sum += w[i];
    }
    return isfinite(sum) ? MOE_OK : MOE_E_NUMERIC;
}
