/* SPDX-License-Identifier: MIT */
/*
 * Draws from whole vocabularies, which do without the order they are defined by (src/sample/draw.c), against
 * the definition written down one candidate at a time: all seeds must give the same tokens.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mathx.h"
#include "base/rng.h"
#include "moe/moe.h"
#include "sample/sampler.h"

#define N       11003 /* draws are made without order from 8192 candidates on */
#define N_PICKS 40
#define N_SHAPE 12

static float row[N];
static moe__rank want[N]; /* candidates in the order of the definition */
static double run[N];     /* their running weights */

static double unit(uint64_t stream, uint64_t i)
{
    return ((double)(moe__rng_at(3, stream, i) >> 11) + 0.5) * 0x1p-53;
}

static float rounded_to_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    u &= 0xffff0000u;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Flat, peaked, tied, masked, falling, with outliers. */
static void make_row(uint64_t round)
{
    const double width = 0.02 * pow(1.7, (double)(round % 13));
    for (uint64_t i = 0; i < N; i++) {
        const double u = unit(2 * round, i), v = unit(2 * round + 1, i);
        const double normal = sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
        const double x[N_SHAPE] = {3 * normal,
                                   0.01 * normal,
                                   width * normal,
                                   floor(4 * normal) / 8,
                                   1,
                                   2 * normal + 25 * (i % 5001 == 77),
                                   v < 0.2 ? -INFINITY : normal,
                                   v < 0.1 ? -1e30 : 2 * normal,
                                   normal + 10 * (i == 5) - 700 * (i % 3 == 0),
                                   -(double)i * width / 50,
                                   (double)rounded_to_bf16((float)(3 * normal)),
                                   log(u)};
        row[i] = (float)x[round % N_SHAPE];
    }
}

static int compare(const void *a, const void *b) { return moe__rank_less(a, b) ? -1 : moe__rank_less(b, a); }

/* Weights of the first n of want, one after the other; returns the sum. */
static double add_up(size_t n, double max)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) run[i] = sum += moe__math_exp(want[i].logit - max);
    return sum;
}

static size_t reach(size_t n, double goal)
{
    size_t i = 0;
    while (i < n && run[i] < goal) i++;
    return i < n ? i + 1 : n;
}

/* Leaves the candidates that `dist` draws from in want, in order, and their running weights; returns how
 * many. */
static size_t define(char kind, double p)
{
    size_t n = 0;
    double max = -INFINITY, mean = 0;
    for (int i = 0; i < N; i++) {
        if (!isfinite(row[i])) continue;
        want[n++] = moe__rank_of(i, row[i]);
        if (row[i] > max) max = row[i];
    }
    const double sum = add_up(n, max);
    if (kind == 'd') return n;
    for (size_t i = 0; i < n; i++) mean += moe__math_exp(want[i].logit - max) * (want[i].logit - max);
    if (kind == 't') {
        double h = moe__math_log(sum) - mean / sum;
        if (h < 0) h = 0;
        for (size_t i = 0; i < n; i++)
            want[i].key = moe__rank_key(fabs(moe__math_log(sum) - (want[i].logit - max) - h));
    }
    qsort(want, n, sizeof *want, compare);
    (void)add_up(n, max);
    n = reach(n, p * sum);
    for (size_t i = 0; i < n; i++) want[i] = moe__rank_of(want[i].id, want[i].logit);
    qsort(want, n, sizeof *want, compare);
    (void)add_up(n, want[0].logit);
    return n;
}

static void check_picks(const char *text, size_t n, uint64_t round)
{
    moe_sampler *s;
    assert_int_equal(moe_sampler_create(&s, NULL), MOE_OK);
    assert_int_equal(moe_sampler_add_named(s, text), MOE_OK);
    moe_sampler_set_seed(s, round);
    moe__rng rng = s->stage[s->n_stages - 1].rng;
    for (int pick = 0; pick < N_PICKS; pick++) {
        const double goal = moe__rng_unit(&rng) * run[n - 1];
        size_t i = 0;
        moe_token t;
        while (i + 1 < n && run[i] <= goal) i++;
        assert_int_equal(moe_sampler_pick_logits(s, row, N, &t), MOE_OK);
        if (t != want[i].id)
            fail_msg("%s, row %d, pick %d: %d, expected %d", text, (int)round, pick, (int)t, (int)want[i].id);
    }
    moe_sampler_free(s);
}

/* Typical leaves the weights of just the n candidates of want, where it finds the draw at all; returns
 * whether. */
static int check_kept(const char *text, size_t n)
{
    static moe_token id[N];
    static float logit[N];
    static char kept[N];
    moe_sampler *s;
    moe_token t;
    moe_candidates c = {sizeof c, 0, id, logit, -1, 0, 0};
    assert_int_equal(moe_sampler_create(&s, NULL), MOE_OK);
    assert_int_equal(moe_sampler_add_named(s, text), MOE_OK);
    assert_int_equal(moe_sampler_pick_logits(s, row, N, &t), MOE_OK); /* memory */
    memset(kept, 0, sizeof kept);
    for (size_t i = 0; i < n; i++) kept[want[i].id] = 1;
    for (int i = 0; i < N; i++) {
        if (!isfinite(row[i])) continue;
        id[c.n] = i;
        logit[c.n++] = row[i];
    }
    const int found = moe__draw_kept(s, &s->stage[0], &s->stage[1], &c);
    for (size_t i = 0; found && i < c.n; i++) {
        if (s->weight[i] > 0 && !kept[id[i]]) fail_msg("%s: candidate %d is kept", text, (int)id[i]);
        /* far below the best a weight is 0 */
        if (!(s->weight[i] > 0) && kept[id[i]] && logit[i] > want[0].logit - 700)
            fail_msg("%s: candidate %d is not kept", text, (int)id[i]);
    }
    moe_sampler_free(s);
    return found;
}

static void test_same_tokens(void **state)
{
    (void)state;
    int n_found = 0;
    static const double p[] = {0.0005, 0.01, 0.5, 0.95, 0.9999}; /* the first keep so few that each counts */
    for (uint64_t round = 0; round < 3 * N_SHAPE; round++) {
        const double share = (double)(float)p[round % 5];
        char text[64];
        make_row(round);
        check_picks("dist", define('d', 0), round);
        snprintf(text, sizeof text, "top-p:p=%.9g;dist", share);
        check_picks(text, define('p', share), round);
        snprintf(text, sizeof text, "typical:p=%.9g;dist", share);
        const size_t n = define('t', share);
        check_picks(text, n, round);
        n_found += check_kept(text, n);
    }
    assert_in_range(n_found, 2 * N_SHAPE, 3 * N_SHAPE);
}

/* What serves without order, and what does not: otherwise the test above compared the definition with itself.
 */
static void test_without_order(void **state)
{
    (void)state;
    static const char *const text[] = {"top-p:p=0.9;dist", "typical:p=0.9;dist"};
    static moe_token id[N];
    static float logit[N];
    for (size_t k = 0; k < 2; k++) {
        moe_sampler *s;
        moe_token t;
        moe_candidates c = {sizeof c, N, id, logit, -1, 0, 0};
        make_row(0);
        assert_int_equal(moe_sampler_create(&s, NULL), MOE_OK);
        assert_int_equal(moe_sampler_add_named(s, text[k]), MOE_OK);
        assert_int_equal(moe_sampler_pick_logits(s, row, N, &t), MOE_OK); /* memory */
        assert_int_equal(s->stage[1].rng.n_drawn, 1);
        for (int i = 0; i < N; i++) id[i] = i;
        memcpy(logit, row, sizeof logit);
        assert_int_equal(moe__draw_kept(s, &s->stage[0], &s->stage[1], &c), 1);
        assert_int_equal(s->stage[1].rng.n_drawn, 2);
        assert_memory_equal(logit, row, sizeof logit);
        c.picked = -1;
        assert_int_equal(moe__draw_laid_out(s, &s->stage[1], &c), 1);
        assert_int_equal(s->stage[1].rng.n_drawn, 3);
        c.picked = -1;
        id[7] = 8; /* ties could go either way */
        id[8] = 7;
        assert_int_equal(moe__draw_kept(s, &s->stage[0], &s->stage[1], &c), 0);
        make_row(4); /* all equal: one distance */
        memcpy(logit, row, sizeof logit);
        id[7] = 7;
        id[8] = 8;
        assert_int_equal(moe__draw_kept(s, &s->stage[0], &s->stage[1], &c), 0);
        assert_int_equal(c.picked, -1);
        assert_int_equal(s->stage[1].rng.n_drawn, 3); /* nothing was drawn in vain */
        moe_sampler_free(s);
    }
}

/* A goal on the very border between two candidates is decided by the definition. */
static void test_on_the_border(void **state)
{
    (void)state;
    moe_sampler *s;
    moe_token t;
    for (int i = 0; i < N; i++) row[i] = (float)(i % 4000) / 1000;
    for (int k = 1; k < 30; k++) {
        /* p is the share of the first k, rounded to float: as near as p gets */
        define('p', 1);
        const double share = (double)(float)(run[k * 300] / run[N - 1]);
        char text[64];
        snprintf(text, sizeof text, "top-p:p=%.9g;dist", share);
        check_picks(text, define('p', share), (uint64_t)k);
    }
    /* weights that are powers of two make sums without rounding: p is met exactly, and goal = sum */
    for (int i = 0; i < N; i++) row[i] = i < 2 ? 0.0f : -900.0f;
    assert_int_equal(moe_sampler_create(&s, NULL), MOE_OK);
    assert_int_equal(moe_sampler_add_named(s, "top-p:p=0.5;dist"), MOE_OK);
    for (int pick = 0; pick < 20; pick++) {
        assert_int_equal(moe_sampler_pick_logits(s, row, N, &t), MOE_OK);
        assert_int_equal(t, 0);
    }
    moe_sampler_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_tokens),
        cmocka_unit_test(test_without_order),
        cmocka_unit_test(test_on_the_border),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
