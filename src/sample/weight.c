/* SPDX-License-Identifier: MIT */
/* Probabilities of candidates. */
#include <float.h>
#include <math.h>

#include "base/mathx.h"
#include "sample/sampler.h"

/* Doubles at a time: they stay in the first cache between the steps. */
#define WEIGHTS 256u
#define SUMS    8u

/* One after the other: sums are the same everywhere. Two chains take no longer than one. */
static double weights_and_moment(moe_sampler *s, const moe_candidates *c, double *max, double *moment)
{
    const double top = c->logit[moe__best(c)];
    double sum = 0, mean = 0;
    *max = top;
    for (size_t i = 0; i < c->n; i += WEIGHTS) {
        const size_t n = c->n - i < WEIGHTS ? c->n - i : WEIGHTS;
        double *w = s->weight + i;
        for (size_t j = 0; j < n; j++) w[j] = c->logit[i + j] - top;
        s->exp64(w, n);
        if (!moment) {
            for (size_t j = 0; j < n; j++) sum += w[j];
            continue;
        }
        for (size_t j = 0; j < n; j++) {
            sum += w[j];
            mean += w[j] * (c->logit[i + j] - top);
        }
    }
    if (moment) *moment = mean;
    return sum;
}

double moe__weights(moe_sampler *s, const moe_candidates *c, double *max)
{
    return weights_and_moment(s, c, max, NULL);
}

double moe__weights_entropy(moe_sampler *s, const moe_candidates *c, double *max, double *entropy)
{
    double moment;
    const double sum = weights_and_moment(s, c, max, &moment), h = moe__math_log(sum) - moment / sum;
    *entropy = h > 0 ? h : 0;
    return sum;
}

/* Adds n weights, n <= WEIGHTS, of logits x - max; full lots are made for vectors. */
static void add_lot(double sum[SUMS], double moment[SUMS], double low[SUMS], const double *w, const double *x,
                    size_t n)
{
    if (n < WEIGHTS) {
        for (size_t i = 0; i < n; i++) {
            sum[0] += w[i];
            moment[0] += w[i] * x[i];
            low[0] = x[i] < low[0] ? x[i] : low[0];
        }
        return;
    }
    for (size_t i = 0; i < WEIGHTS; i += SUMS)
        for (size_t j = 0; j < SUMS; j++) sum[j] += w[i + j];
    for (size_t i = 0; i < WEIGHTS; i += SUMS)
        for (size_t j = 0; j < SUMS; j++) moment[j] += w[i + j] * x[i + j];
    for (size_t i = 0; i < WEIGHTS; i += SUMS)
        for (size_t j = 0; j < SUMS; j++) low[j] = x[i + j] < low[j] ? x[i + j] : low[j];
}

void moe__weights_near(moe_sampler *s, const moe_candidates *c, moe__sums *out)
{
    const double top = c->logit[moe__best(c)];
    double x[WEIGHTS], sum[SUMS] = {0}, moment[SUMS] = {0}, low[SUMS] = {0};
    for (size_t i = 0; i < c->n; i += WEIGHTS) {
        const size_t n = c->n - i < WEIGHTS ? c->n - i : WEIGHTS;
        double *w = s->weight + i;
        for (size_t j = 0; j < n; j++) w[j] = x[j] = c->logit[i + j] - top;
        s->exp64(w, n);
        add_lot(sum, moment, low, w, x, n);
    }
    *out = (moe__sums){.max = top};
    for (size_t j = 0; j < SUMS; j++) {
        out->sum += sum[j];
        out->moment += moment[j];
        out->low = low[j] < out->low ? low[j] : out->low;
    }
    out->low += top;
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

float moe__finite(double x)
{
    if (x > FLT_MAX) return FLT_MAX;
    if (x < -FLT_MAX) return -FLT_MAX;
    return (float)x;
}
