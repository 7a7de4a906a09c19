/* SPDX-License-Identifier: MIT */
/*
 * Stages that drop candidates: top-k, top-p, min-p, typical, top-n-sigma, XTC. Each keeps at least one.
 * Formulas and papers: docs/sampling.md.
 */
#include <float.h>

#include "base/mathx.h"
#include "base/status.h"
#include "sample/sampler.h"

/* First guess of how many candidates hold the wanted probability; it grows by GROWTH until they do. */
#define PREFIX        256u
#define GROWTH        8u
#define MANY          1024u /* candidates from which a table is worth while: below, heaps are as fast */
#define N_STEPS       1024u
#define STEPS_PER_NAT 32.0f

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The highest and the lowest of the logits up to `top`. */
static void logits_up_to(const moe_candidates *c, float top, float *high, float *low)
{
    float h = -FLT_MAX, l = top;
    for (size_t i = 0; i < c->n; i++) {
        const float x = c->logit[i] <= top ? c->logit[i] : -FLT_MAX;
        h = x > h ? x : h;
        l = c->logit[i] < l ? c->logit[i] : l;
    }
    *high = h;
    *low = l;
}

/*
 * A logit such that about k candidates are at least that high, by tables of counts by distance from the best,
 * then from the best beyond that table; only how much is sorted depends on it, not the result.
 */
static float logit_of_count(const moe_candidates *c, size_t k)
{
    float top = FLT_MAX, high, low;
    size_t n = 0;
    for (int rounds = 0; rounds < 3; rounds++) {
        uint32_t count[N_STEPS] = {0};
        logits_up_to(c, top, &high, &low);
        const float range = high - low < N_STEPS / STEPS_PER_NAT ? high - low : N_STEPS / STEPS_PER_NAT;
        if (!(range > 1e-6f)) break;
        const float per_nat = (N_STEPS - 2) / range;
        for (size_t i = 0; i < c->n; i++) {
            const float step = (high - c->logit[i]) * per_nat;
            /* The last of the table is for those beyond it, and those already counted. */
            count[step >= 0 && step < N_STEPS - 1 ? (size_t)step : N_STEPS - 1]++;
        }
        for (size_t i = 0; i < N_STEPS - 1; i++) {
            n += count[i];
            if (n >= k) return (float)(high - ((double)i + 1.01) / (double)per_nat);
        }
        top = (float)(high - (double)(N_STEPS - 1) / (double)per_nat);
    }
    return -FLT_MAX;
}

/* The best k of many: little more is sorted than is kept. 0: nothing was done. */
static int keep_best_of_many(moe_sampler *s, moe_candidates *c, size_t k)
{
    for (float from = logit_of_count(c, k);; from = -FLT_MAX) {
        size_t n;
        const uint64_t *order = moe__order_from(s, c, from, &n);
        if (!order) return 0;
        if (n < k) continue;
        moe__order_keep(s, c, order, k);
        return 1;
    }
}

static int keep_best(moe_sampler *s, moe_candidates *c, size_t k)
{
    if (!c->sorted && k >= 2 * MANY && keep_best_of_many(s, c, k)) return MOE_OK;
    moe__rank_best(s, c, k);
    moe__rank_keep(s, c, k);
    return MOE_OK;
}

/* Keeps the candidates of at least that logit, in their order; the best `at_least` if those are fewer. */
static int keep_from(moe_sampler *s, moe_candidates *c, double logit, size_t at_least)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) n += c->logit[i] >= logit;
    if (n < at_least) return keep_best(s, c, smaller(at_least, c->n));
    n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const int keep = c->logit[i] >= logit; /* others are overwritten: no branch to mispredict */
        c->id[n] = c->id[i];
        c->logit[n] = c->logit[i];
        n += (size_t)keep;
    }
    c->n = n;
    return MOE_OK;
}

int moe__stage_top_k(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    const size_t k = (size_t)st->spec.n;
    return k == 0 || k >= c->n ? MOE_OK : keep_best(s, c, k);
}

/* How many of the first k ranked candidates are needed for probability p; k + 1 if they do not suffice. */
static size_t prefix_of(const moe__rank *r, size_t k, double p, double max, double sum)
{
    double mass = 0;
    for (size_t i = 0; i < k; i++) {
        mass += moe__math_exp(r[i].logit - max);
        if (mass >= p * sum) return i + 1;
    }
    return k + 1;
}

/*
 * A logit such that the candidates from it on hold a total weight of `goal`, as near as a table of weights by
 * distance from the best tells; only how much is sorted depends on it, not the result.
 */
static float logit_of_mass(const moe_sampler *s, const moe_candidates *c, double goal, double max)
{
    double mass[N_STEPS] = {0}, sum = 0;
    for (size_t i = 0; i < c->n; i++) {
        const float step = ((float)max - c->logit[i]) * STEPS_PER_NAT;
        mass[step < N_STEPS - 1 ? (size_t)step : N_STEPS - 1] += s->weight[i];
    }
    for (size_t i = 0; i < N_STEPS - 1; i++) {
        sum += mass[i];
        /* Sums in another order may differ a little; and a little more is cheap. */
        if (sum >= goal * (1 + 1e-9)) return (float)(max - ((double)i + 1.01) / STEPS_PER_NAT);
    }
    return -FLT_MAX;
}

/* As prefix_of, of places. */
static size_t places_of(const moe_sampler *s, const uint64_t *order, size_t k, double goal)
{
    double mass = 0;
    for (size_t i = 0; i < k; i++) {
        mass += s->weight[(uint32_t)order[i]];
        if (mass >= goal) return i + 1;
    }
    return k + 1;
}

/* Top-p among many: nearly no more is sorted than is kept. 0: nothing was done, another way must serve. */
static int top_p_of_many(moe_sampler *s, moe_candidates *c, double goal, double max, size_t at_least)
{
    float from = logit_of_mass(s, c, goal, max);
    for (;; from = -FLT_MAX) {
        size_t k;
        const uint64_t *order = moe__order_from(s, c, from, &k);
        if (!order) return 0;
        size_t need = places_of(s, order, k, goal);
        if (need < at_least) need = at_least;
        need = smaller(need, c->n);
        if (need > k) continue;
        moe__order_keep(s, c, order, need);
        return 1;
    }
}

int moe__stage_top_p(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    const double p = st->spec.a;
    if (p >= 1) return MOE_OK;
    double max;
    const double sum = moe__weights(s, c, &max);
    if (!c->sorted && c->n >= MANY && top_p_of_many(s, c, p * sum, max, (size_t)st->spec.n)) return MOE_OK;
    for (size_t k = smaller(PREFIX, c->n);; k = smaller(k * GROWTH, c->n)) {
        moe__rank_best(s, c, k);
        size_t need = prefix_of(s->rank, k, p, max, sum);
        if (need > k && k < c->n) continue;
        if (need < (size_t)st->spec.n) need = (size_t)st->spec.n;
        need = smaller(need, c->n);
        if (need > k) return keep_best(s, c, need);
        moe__rank_keep(s, c, need);
        return MOE_OK;
    }
}

int moe__stage_min_p(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    /* p_i >= a * p_best, in logits. */
    const double best = c->logit[moe__best(c)];
    return keep_from(s, c, best + moe__math_log(st->spec.a), (size_t)st->spec.n);
}

int moe__stage_typical(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    const double p = st->spec.a;
    if (p >= 1) return MOE_OK;
    double max, h;
    const double sum = moe__weights_entropy(s, c, &max, &h), log_sum = moe__math_log(sum);
    for (size_t i = 0; i < c->n; i++) {
        const double d = log_sum - (c->logit[i] - max) - h; /* -log p - H */
        s->rank[i] = (moe__rank){moe__rank_key(d < 0 ? -d : d), c->id[i], c->logit[i]};
    }
    size_t k = smaller(PREFIX, c->n), need;
    for (;; k = smaller(k * GROWTH, c->n)) {
        moe__rank_sort(s->rank, c->n, k);
        need = prefix_of(s->rank, k, p, max, sum);
        if (need <= k || k == c->n) break;
    }
    if (need < (size_t)st->spec.n) need = (size_t)st->spec.n;
    need = smaller(need, c->n);
    if (need > k) moe__rank_sort(s->rank, c->n, need);
    for (size_t i = 0; i < need; i++) s->rank[i] = moe__rank_of(s->rank[i].id, s->rank[i].logit);
    moe__rank_sort(s->rank, need, need);
    moe__rank_keep(s, c, need);
    return MOE_OK;
}

int moe__stage_top_n_sigma(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    double mean = 0, var = 0;
    for (size_t i = 0; i < c->n; i++) mean += c->logit[i];
    mean /= (double)c->n;
    for (size_t i = 0; i < c->n; i++) var += (c->logit[i] - mean) * (c->logit[i] - mean);
    var /= (double)c->n;
    const double sigma = var > 0 ? moe__math_pow(var, 0.5) : 0;
    return keep_from(s, c, c->logit[moe__best(c)] - st->spec.a * sigma, 1);
}

int moe__stage_xtc(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    /*
     * One draw per pick, whether or not it is needed: what later picks draw does not depend on this one's
     * candidates.
     */
    if (moe__rng_unit(&st->rng) >= st->spec.a) return MOE_OK;
    double max;
    const double sum = moe__weights(s, c, &max);
    size_t n_top = 0;
    for (size_t i = 0; i < c->n; i++) n_top += s->weight[i] >= st->spec.b * sum;
    if (n_top < 2 || c->n - (n_top - 1) < (size_t)st->spec.n) return MOE_OK;
    moe__rank_best(s, c, n_top);
    const moe__rank last = s->rank[n_top - 1]; /* stays; all before it go */
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const moe__rank r = moe__rank_of(c->id[i], c->logit[i]);
        if (moe__rank_less(&r, &last)) continue;
        c->id[n] = c->id[i];
        c->logit[n++] = c->logit[i];
    }
    c->n = n;
    return MOE_OK;
}
