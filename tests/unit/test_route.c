/* SPDX-License-Identifier: MIT */
/* Routing one row: worked examples of the recipes, ties, NaN, and the same against a slow definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"
#include "route/router.h"

#define MAX_N 300

static moe__kernels kernels;

static int setup(void **state)
{
    (void)state;
    return moe__kernels_init(&kernels, NULL);
}

static moe_route_spec spec_of(int score, int weight, uint32_t k)
{
    moe_route_spec s = MOE_ROUTE_SPEC_INIT;
    s.score = score;
    s.select = MOE_SELECT_TOPK;
    s.weight = weight;
    s.top_k = k;
    s.scale = 1;
    return s;
}

static int route(const moe_route_spec *spec, const float *logits, uint32_t n, uint32_t *id, float *w)
{
    moe__router r;
    float scratch[MAX_N];
    assert_int_equal(moe__router_init(&r, spec, n), MOE_OK);
    return moe__router_row(&r, &kernels, logits, id, w, scratch);
}

static void near(float found, double want)
{
    if (!(fabs((double)found - want) <= 1e-6)) fail_msg("expected %.6f, found %.8f", want, (double)found);
}

/* l = [2, 1, 0, -1]: softmax .643914 .236883 .087144 .032059 */
static void worked_examples(void **state)
{
    (void)state;
    static const float l[4] = {2, 1, 0, -1};
    static const struct {
        int score, weight;
        double w0, w1;
    } row[] = {
        {MOE_SCORE_IDENTITY, MOE_WEIGHT_SOFTMAX_SELECTED, .731059, .268941}, /* Mixtral, Granite */
        {MOE_SCORE_SOFTMAX, MOE_WEIGHT_RAW, .643914, .236883},               /* OLMoE, Qwen2-MoE */
        {MOE_SCORE_SOFTMAX, MOE_WEIGHT_SUM_TO_ONE, .731059, .268941}, /* Qwen3-MoE: the same as the first */
        {MOE_SCORE_IDENTITY, MOE_WEIGHT_RAW, 2, 1},
        {MOE_SCORE_IDENTITY, MOE_WEIGHT_SUM_TO_ONE, 2 / 3.0, 1 / 3.0},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        uint32_t id[2];
        float w[2];
        moe_route_spec s = spec_of(row[i].score, row[i].weight, 2);
        assert_int_equal(route(&s, l, 4, id, w), MOE_OK);
        assert_int_equal(id[0], 0);
        assert_int_equal(id[1], 1);
        near(w[0], row[i].w0);
        near(w[1], row[i].w1);
        const float before = w[0];
        s.scale = 2.5f; /* after everything else */
        assert_int_equal(route(&s, l, 4, id, w), MOE_OK);
        assert_true(w[0] == before * 2.5f);
    }
}

static void all_experts(void **state)
{
    (void)state;
    static const float l[4] = {0, 2, -1, 1};
    uint32_t id[4];
    float w[4];
    const moe_route_spec s = spec_of(MOE_SCORE_SOFTMAX, MOE_WEIGHT_RAW, 4);
    assert_int_equal(route(&s, l, 4, id, w), MOE_OK);
    static const uint32_t want[4] = {1, 3, 0, 2};
    assert_memory_equal(id, want, sizeof id);
    near(w[0] + w[1] + w[2] + w[3], 1);
    near(w[3], .032059);
}

static void one_expert(void **state)
{
    (void)state;
    static const float l[1] = {-3};
    uint32_t id[1];
    float w[1];
    for (int weight = MOE_WEIGHT_RAW; weight <= MOE_WEIGHT_SOFTMAX_SELECTED; weight++) {
        const moe_route_spec s = spec_of(MOE_SCORE_SOFTMAX, weight, 1);
        assert_int_equal(route(&s, l, 1, id, w), MOE_OK);
        assert_int_equal(id[0], 0);
        assert_true(w[0] == 1.0f);
    }
}

static void ties_go_to_the_lower_index(void **state)
{
    (void)state;
    static const float l[8] = {1, 3, 3, 0, 3, 1, 3, -0.0f};
    static const uint32_t want[8] = {1, 2, 4, 6, 0, 5, 3, 7}; /* -0 equals 0 */
    uint32_t id[8];
    float w[8];
    for (uint32_t k = 1; k <= 8; k++) {
        const moe_route_spec s = spec_of(MOE_SCORE_IDENTITY, MOE_WEIGHT_RAW, k);
        assert_int_equal(route(&s, l, 8, id, w), MOE_OK);
        assert_memory_equal(id, want, k * sizeof id[0]);
    }
}

static void not_a_number_comes_last_and_is_reported(void **state)
{
    (void)state;
    const float l[6] = {NAN, 1, -INFINITY, NAN, 2, 0};
    uint32_t id[6];
    float w[6];
    moe_route_spec s = spec_of(MOE_SCORE_IDENTITY, MOE_WEIGHT_RAW, 3);
    assert_int_equal(route(&s, l, 6, id, w), MOE_OK);
    static const uint32_t best[3] = {4, 1, 5};
    assert_memory_equal(id, best, sizeof best);
    s.top_k = 4; /* minus infinity beats NaN, but is no weight */
    assert_int_equal(route(&s, l, 6, id, w), MOE_E_NUMERIC);
    assert_int_equal(id[3], 2);
    s.top_k = 6;
    assert_int_equal(route(&s, l, 6, id, w), MOE_E_NUMERIC);
    assert_int_equal(id[4], 0);
    assert_int_equal(id[5], 3);
    /* a softmax over something that is no number is none itself */
    s = spec_of(MOE_SCORE_SOFTMAX, MOE_WEIGHT_SUM_TO_ONE, 2);
    assert_int_equal(route(&s, l, 6, id, w), MOE_E_NUMERIC);
    const float inf[3] = {INFINITY, 0, 0};
    assert_int_equal(route(&s, inf, 3, id, w), MOE_E_NUMERIC);
    const float far[3] = {-INFINITY, 5, -INFINITY};
    assert_int_equal(route(&s, far, 3, id, w), MOE_OK); /* experts that are switched off weigh nothing */
    assert_int_equal(id[0], 1);
    assert_true(w[0] == 1.0f && w[1] == 0.0f);
}

static void bad_recipes_are_named(void **state)
{
    (void)state;
    static const struct {
        size_t offset;
        uint32_t value;
        const char *word;
    } row[] = {
        {offsetof(moe_route_spec, score), 0, "score"},
        {offsetof(moe_route_spec, score), 99, "score"},
        {offsetof(moe_route_spec, select), 0, "select"},
        {offsetof(moe_route_spec, select), 2, "select"},
        {offsetof(moe_route_spec, weight), 0, "weight"},
        {offsetof(moe_route_spec, weight), 4, "weight"},
        {offsetof(moe_route_spec, weight), (uint32_t)-1, "weight"},
        {offsetof(moe_route_spec, top_k), 0, "top_k"},
        {offsetof(moe_route_spec, top_k), 9, "top_k"},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        moe__router r;
        moe_route_spec s = spec_of(MOE_SCORE_SOFTMAX, MOE_WEIGHT_RAW, 2);
        memcpy((char *)&s + row[i].offset, &row[i].value, sizeof row[i].value);
        moe__clear_error();
        assert_int_equal(moe__router_init(&r, &s, 8), MOE_E_INVALID);
        assert_non_null(strstr(moe__last_error(), row[i].word));
    }
}

/* Selection by the definition: rank of e = how many are better, or as good with a lower index. */
static uint32_t rank_of(const float *x, uint32_t n, uint32_t e)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i == e) continue;
        if (isnan(x[i]) && isnan(x[e]))
            rank += i < e;
        else if (isnan(x[e]) || x[i] > x[e])
            rank++;
        else if (x[i] == x[e])
            rank += i < e;
    }
    return rank;
}

static void random_rows_against_the_definition(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 2000; round++) {
        float x[MAX_N], w[MAX_N];
        uint32_t id[MAX_N];
        const uint32_t n = 1 + (uint32_t)rand() % MAX_N, k = 1 + (uint32_t)rand() % n;
        for (uint32_t i = 0; i < n; i++) {
            x[i] = (float)(rand() % 40) / 4 - 5; /* many ties */
            if (round % 3 == 0 && rand() % 10 == 0) x[i] = NAN;
        }
        const moe_route_spec s = spec_of(MOE_SCORE_IDENTITY, MOE_WEIGHT_RAW, k);
        const int st = route(&s, x, n, id, w);
        int has_nan = 0;
        for (uint32_t i = 0; i < k; i++) {
            assert_int_equal(rank_of(x, n, id[i]), i);
            assert_memory_equal(&w[i], &x[id[i]], sizeof w[i]);
            has_nan |= isnan(w[i]);
        }
        assert_int_equal(st, has_nan ? MOE_E_NUMERIC : MOE_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(worked_examples),
        cmocka_unit_test(all_experts),
        cmocka_unit_test(one_expert),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(not_a_number_comes_last_and_is_reported),
        cmocka_unit_test(bad_recipes_are_named),
        cmocka_unit_test(random_rows_against_the_definition),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
