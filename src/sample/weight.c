/* SPDX-License-Identifier: MIT */
/* Probabilities of candidates. */
#include <float.h>
#include <math.h>

#include "base/mathx.h"
#include "sample/sampler.h"

/* Doubles at a time: they stay in the first cache between the steps. */
#define WEIGHTS 256u

double moe__weights(moe_sampler *s, const moe_candidates *c, double *max)
{
    const double top = c->logit[moe__best(c)];
    double sum = 0;
    *max = top;
    for (size_t i = 0; i < c->n; i += WEIGHTS) {
        const size_t n = c->n - i < WEIGHTS ? c->n - i : WEIGHTS;
        double *w = s->weight + i;
        for (size_t j = 0; j < n; j++) w[j] = c->logit[i + j] - top;
        s->exp64(w, n);
        for (size_t j = 0; j < n; j++) sum += w[j]; /* one after the other: the sum is the same everywhere */
    }
    return sum;
}

double moe__exp_sum(const moe__kernels *k, const float *x, size_t n_all, double shift)
{
    double w[WEIGHTS], sum = 0;
    for (size_t i = 0; i < n_all; i += WEIGHTS) {
        const size_t n = n_all - i < WEIGHTS ? n_all - i : WEIGHTS;
        for (size_t j = 0; j < n; j++) w[j] = isfinite(x[i + j]) ? x[i + j] - shift : -INFINITY;
        k->exp64(w, n);
        for (size_t j = 0; j < n; j++) sum += w[j];
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
