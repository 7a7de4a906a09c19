/* SPDX-License-Identifier: MIT */
/* Stages that pick: greedy, a draw, mirostat version 2 (Basu et al. 2021). */
#include "base/mathx.h"
#include "base/status.h"
#include "sample/sampler.h"

int moe__stage_greedy(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    (void)s; (void)st;
    c->picked = (int64_t)moe__best(c);
    return MOE_OK;
}

/* The first candidate at which the running sum exceeds u * sum; the draw is in [0, 1). */
static size_t draw(const double *weight, size_t n, double sum, double u)
{
    const double goal = u * sum;
    double run = 0;
    size_t last = 0; /* the last of any weight: rounding may leave the goal a hair beyond the end */
    for (size_t i = 0; i < n; i++) {
        if (weight[i] <= 0) continue;
        run += weight[i];
        last = i;
        if (run > goal) break;
    }
    return last;
}

int moe__stage_dist(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    double max;
    if (moe__draw_laid_out(s, st, c)) return MOE_OK;
    const double sum = moe__weights(s, c, &max);
    c->picked = (int64_t)draw(s->weight, c->n, sum, moe__rng_unit(&st->rng));
    return MOE_OK;
}

int moe__stage_mirostat(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    static const double LN2 = 0.69314718055994530942;
    double max;
    double sum = moe__weights(s, c, &max);
    /* Keep what surprises by at most mu bits: -log2 p <= mu, in logits; always the best. */
    const double bound = max + moe__math_log(sum) - st->mu * LN2;
    size_t n = 0;
    const size_t best = moe__best(c);
    for (size_t i = 0; i < c->n; i++) {
        if (!(c->logit[i] >= bound) && i != best) continue;
        c->id[n] = c->id[i];
        c->logit[n++] = c->logit[i];
    }
    c->n = n;
    sum = moe__weights(s, c, &max);
    const size_t i = draw(s->weight, c->n, sum, moe__rng_unit(&st->rng));
    c->picked = (int64_t)i;
    st->last = c->id[i];
    st->surprise = (moe__math_log(sum) - (c->logit[i] - max)) / LN2;
    return MOE_OK;
}
