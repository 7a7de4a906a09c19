/* SPDX-License-Identifier: MIT */
/* Temperature, fixed or following the entropy. */
#include <float.h>

#include "base/mathx.h"
#include "base/status.h"
#include "sample/sampler.h"

/* Below this a division by the temperature tells nothing that the best candidate does not. */
#define COLD 1e-5

static int divide(moe_candidates *c, double t)
{
    const size_t best = moe__best(c);
    if (t < COLD) { /* greedy */
        c->id[0] = c->id[best];
        c->logit[0] = c->logit[best];
        c->n = 1;
        c->sorted = 1;
        return MOE_OK;
    }
    /* Where the best would overflow, all are moved so that it becomes 0: the probabilities are the same. */
    const double top = c->logit[best], shift = top / t > FLT_MAX || top / t < -FLT_MAX ? top : 0;
    for (size_t i = 0; i < c->n; i++) { /* moe__finite, for vectors */
        double x = (c->logit[i] - shift) / t;
        x = x > FLT_MAX ? FLT_MAX : x;
        x = x < -FLT_MAX ? -FLT_MAX : x;
        c->logit[i] = (float)x;
    }
    /* different logits may have become one, and of those the lower id stands first */
    for (size_t i = 0; c->sorted && i + 1 < c->n; i++)
        if (c->logit[i] == c->logit[i + 1] && c->id[i] > c->id[i + 1]) c->sorted = 0;
    return MOE_OK;
}

int moe__stage_temp(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    (void)s;
    return st->spec.a == 1.0f ? MOE_OK : divide(c, st->spec.a);
}

int moe__stage_temp_dynamic(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    const double low = st->spec.a > st->spec.b ? (double)st->spec.a - st->spec.b : 0;
    const double high = (double)st->spec.a + st->spec.b;
    double share = 0; /* entropy / largest possible entropy, 0..1 */
    if (c->n > 1) {
        double max, entropy;
        (void)moe__weights_entropy(s, c, &max, &entropy);
        share = entropy / moe__math_log((double)c->n);
        if (share > 1) share = 1;
    }
    return divide(c, low + (high - low) * (share > 0 ? moe__math_pow(share, st->spec.c) : 0));
}
