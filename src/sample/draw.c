/* SPDX-License-Identifier: MIT */
/*
 * Draws from a whole vocabulary that do not lay out the order they are defined by.
 *
 * The definition adds weights one after the other: `dist` draws the first candidate at which the running sum
 * exceeds u * sum, and after top-p or typical the candidates stand best first. Here masses are added in
 * another way (several sums at a time, sums by distance), and only the candidates of one distance are put in
 * order. Any two ways of adding n weights differ by less than 2 n / 2^53 of the sum; where a decision is
 * closer than that, nothing is done and the definition decides. So the token is that of the definition,
 * always, and one in some 100,000 draws costs what it did.
 *
 * Candidates stay as they came, so that draws after top-p and typical serve only picks, which want no more
 * than the token.
 */
#include <math.h>

#include "sample/sampler.h"

#define DRAW_FROM  8192u /* candidates from which this pays */
#define N_BUCKETS  1024u /* distances told apart */
#define N_TABLES   4u    /* by turns: a candidate does not wait for the one before to be added */
#define DRAW_ROOM  4096u /* candidates of one distance that are put in order: half of s->rank at least */
#define DRAW_RANGE 64.0  /* beyond this distance in nats all count as equally far */
#define DRAW_RUN   64u   /* weights added up at once */

/* An interval in which a sum lies, whichever way it is added up. */
typedef struct goal_interval {
    double low, high;
} goal_interval;

/* Candidates by distance from the best, or from the typical surprise. */
typedef struct draw_spread {
    const moe_sampler *s;
    const moe_candidates *c;
    int typical;
    double scale;           /* buckets per nat */
    double max, centre;     /* distance: max - logit, or |logit - max - centre| */
    double slack;           /* part by which two sums of the same weights may differ, generously */
    int32_t *bucket;        /* [n], rises with distance; in the upper half of s->rank */
    double mass[N_BUCKETS]; /* weight of each bucket */
} draw_spread;

/* Where a running weight passes a goal. */
typedef struct crossing {
    size_t place;
    double mass; /* with this candidate */
    size_t n;    /* candidates of its bucket: the first of s->rank */
} crossing;

static double slack_of(size_t n) { return 8 * ((double)n + 1024) * 0x1p-53; }

static goal_interval goal_near(double x, double slack)
{
    return (goal_interval){x * (1 - 4 * slack), x * (1 + 4 * slack)};
}

/* Do all ways of adding agree that `goal` lies between the two sums? */
static int goal_passed(double before, double after, goal_interval goal, double slack)
{
    return before * (1 + slack) < goal.low && after * (1 - slack) > goal.high;
}

static double distance(const draw_spread *p, size_t i)
{
    const double x = p->c->logit[i] - p->max;
    return p->typical ? fabs(x - p->centre) : -x;
}

/* Buckets: products of a monotone function, so that order among them is order of distance. */
static void distances_from_best(const draw_spread *p)
{
    const float *logit = p->c->logit;
    const float max = (float)p->max, scale = (float)p->scale, end = N_BUCKETS - 1;
    int32_t *bucket = p->bucket;
    const size_t n = p->c->n;
    for (size_t i = 0; i < n; i++) {
        const float d = (max - logit[i]) * scale;
        bucket[i] = (int32_t)(d < end ? d : end);
    }
}

static void distances_from_centre(const draw_spread *p)
{
    const float *logit = p->c->logit;
    const double max = p->max, centre = p->centre, scale = p->scale;
    int32_t *bucket = p->bucket;
    const size_t n = p->c->n;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((logit[i] - max) - centre) * scale;
        bucket[i] = (int32_t)(d < N_BUCKETS - 1 ? d : N_BUCKETS - 1);
    }
}

/* Fills buckets and their masses. 0: the candidates are all (nearly) equally far. */
static int spread_out(draw_spread *p, double range)
{
    if (!(range > 1e-6)) return 0;
    p->scale = N_BUCKETS / (range < DRAW_RANGE ? range : DRAW_RANGE);
    if (p->typical)
        distances_from_centre(p);
    else
        distances_from_best(p);
    double table[N_TABLES][N_BUCKETS] = {{0}};
    const double *const w = p->s->weight;
    const int32_t *const bucket = p->bucket;
    const size_t n = p->c->n;
    size_t i = 0;
    for (; i + N_TABLES <= n; i += N_TABLES)
        for (size_t t = 0; t < N_TABLES; t++) table[t][bucket[i + t]] += w[i + t];
    for (; i < n; i++) table[0][bucket[i]] += w[i];
    for (i = 0; i < N_BUCKETS; i++) p->mass[i] = (table[0][i] + table[1][i]) + (table[2][i] + table[3][i]);
    return 1;
}

/* The candidates of a bucket that weigh anything, in order, in s->rank; ids are places. 0: too many. */
static size_t order_bucket(const draw_spread *p, size_t b)
{
    moe__rank *r = p->s->rank;
    size_t n = 0;
    for (size_t i = 0; i < p->c->n; i++) {
        if ((size_t)p->bucket[i] != b || !(p->s->weight[i] > 0)) continue;
        if (n == DRAW_ROOM) return 0;
        r[n++] = (moe__rank){moe__rank_key(distance(p, i)), (moe_token)i, p->c->logit[i]};
    }
    moe__rank_sort(r, n, n);
    return n;
}

/* The first candidate in order at which the running weight passes the goal. 0: not certain. */
static int find_crossing(const draw_spread *p, goal_interval goal, crossing *out)
{
    const double middle = goal.low + (goal.high - goal.low) / 2;
    double run = 0;
    size_t b = 0;
    while (b < N_BUCKETS && run + p->mass[b] <= middle) run += p->mass[b++];
    if (b == N_BUCKETS) return 0;
    const size_t n = order_bucket(p, b);
    for (size_t i = 0; i < n; i++) {
        const double before = run;
        out->place = (size_t)p->s->rank[i].id;
        out->n = n;
        run += p->s->weight[out->place];
        if (run <= middle) continue;
        out->mass = run;
        return goal_passed(before, run, goal, p->slack);
    }
    return 0;
}

/* Takes the weight of candidates outside (low, high). */
static void keep_between(const draw_spread *p, size_t from, size_t to, double low, double high)
{
    const float *logit = p->c->logit;
    double *w = p->s->weight;
    const double max = p->max;
    for (size_t i = from; i < to; i++) {
        const double x = logit[i] - max;
        w[i] = ((x > low) & (x < high)) ? w[i] : 0;
    }
}

/*
 * Typical: takes the weight of those that are not kept, which are all farther than the last one kept, and of
 * its own logit those that come later. The sums that `centre` is made of may be a little off: where that
 * could change places with the last one, 0. Those that could are in its bucket.
 */
static int keep_until(const draw_spread *p, const crossing *last)
{
    const double edge = distance(p, last->place), off = p->slack * (2 + fabs(p->centre) + edge);
    const float logit = p->c->logit[last->place];
    const double low = p->centre - edge, high = p->centre + edge, b = (double)p->bucket[last->place];
    if ((b > 0 && !((edge - off) * p->scale > b + off)) || !((edge + off) * p->scale < b + 1 - off)) return 0;
    for (size_t i = 0; i < last->n; i++) {
        const size_t place = (size_t)p->s->rank[i].id;
        if (p->c->logit[place] != logit && fabs(distance(p, place) - edge) < off) return 0;
    }
    keep_between(p, 0, last->place + 1, low - off, high + off);
    keep_between(p, last->place + 1, p->c->n, low + off, high - off);
    return 1;
}

int moe__draw_kept(moe_sampler *s, const moe__stage *keep, moe__stage *dist, moe_candidates *c)
{
    const double share = keep->spec.a;
    moe__rng rng = dist->rng;
    moe__sums t;
    crossing last, drawn;
    draw_spread p = {.s = s, .c = c, .slack = slack_of(c->n)};
    if (c->n < DRAW_FROM || c->sorted || keep->spec.n > 1 || !(share > 0 && share < 1) ||
        !moe__tokens_rise(c))
        return 0;
    moe__weights_near(s, c, &t);
    p.bucket = (int32_t *)(void *)(s->rank + s->cap / 2);
    p.max = t.max;
    p.typical = keep->spec.kind == MOE_SAMPLE_TYPICAL;
    p.centre = p.typical ? t.moment / t.sum : 0;
    const double farthest = t.max - t.low + p.centre;
    if (!spread_out(&p, farthest > -p.centre ? farthest : -p.centre)) return 0;
    if (!find_crossing(&p, goal_near(share * t.sum, p.slack), &last)) return 0;
    if (p.typical) {
        /* What is kept is drawn from best first. */
        if (last.mass < 1e-200 || !keep_until(&p, &last)) return 0;
        p.typical = 0;
        if (!spread_out(&p, t.max - t.low)) return 0;
    }
    if (!find_crossing(&p, goal_near(moe__rng_unit(&rng) * last.mass, p.slack), &drawn)) return 0;
    dist->rng = rng;
    c->picked = (int64_t)drawn.place;
    return 1;
}

/* Several sums at a time; DRAW_RUN weights. */
static double sum_of_run(const double *w)
{
    double t[8] = {0};
    for (size_t i = 0; i < DRAW_RUN; i += 8)
        for (size_t j = 0; j < 8; j++) t[j] += w[i + j];
    return ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7]));
}

int moe__draw_laid_out(moe_sampler *s, moe__stage *dist, moe_candidates *c)
{
    moe__rng rng = dist->rng;
    moe__sums t;
    const double slack = slack_of(c->n);
    if (c->n < DRAW_FROM) return 0;
    moe__weights_near(s, c, &t);
    const double middle = moe__rng_unit(&rng) * t.sum;
    double run = 0;
    size_t i = 0;
    for (; i + DRAW_RUN <= c->n; i += DRAW_RUN) {
        const double after = run + sum_of_run(s->weight + i);
        if (after > middle) break;
        run = after;
    }
    for (; i < c->n; i++) {
        const double before = run;
        run += s->weight[i];
        if (run <= middle) continue;
        if (!goal_passed(before, run, goal_near(middle, slack), slack)) return 0;
        dist->rng = rng;
        c->picked = (int64_t)i;
        return 1;
    }
    return 0;
}
