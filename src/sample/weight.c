/* SPDX-License-Identifier: MIT */
/* Probabilities of candidates. */
#include <float.h>

#include "base/mathx.h"
#include "sample/sampler.h"

double moe__weights(moe_sampler *s, const moe_candidates *c, double *max)
{
    double sum = 0;
    *max = c->logit[moe__best(c)];
    for (size_t i = 0; i < c->n; i++) {
        s->weight[i] = moe__math_exp(c->logit[i] - *max);
        sum += s->weight[i];
    }
    return sum;
}

double moe__entropy(const moe_sampler *s, const moe_candidates *c, double max, double sum)
{
    double mean = 0; /* of logit - max; H = log sum - mean */
    for (size_t i = 0; i < c->n; i++) mean += s->weight[i] * (c->logit[i] - max);
    const double h = moe__math_log(sum) - mean / sum;
    return h > 0 ? h : 0;
}

float moe__finite(double x)
{
    if (x > FLT_MAX) return FLT_MAX;
    if (x < -FLT_MAX) return -FLT_MAX;
    return (float)x;
}
