/* SPDX-License-Identifier: MIT */
/* From rows with experts to experts with rows and back: order, tiles, pairs without expert, duplicates,
 * gains, experts that are computed elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "dispatch/dispatch.h"
#include "moe/moe.h"

#define NONE MOE_EXPERT_NONE
#define DIM  5

static moe__kernels kernels;

static int setup(void **state)
{
    (void)state;
    return moe__kernels_init(&kernels, NULL);
}

static void *make(moe__dispatch *d, uint32_t max_pairs, uint32_t n_experts)
{
    moe__carve c = {0};
    memset(d, 0, sizeof *d);
    moe__dispatch_carve(d, &c, max_pairs, n_experts);
    char *block = aligned_alloc(64, c.used);
    assert_non_null(block);
    memset(block, 0x5a, c.used);
    c = (moe__carve){block, 0};
    moe__dispatch_carve(d, &c, max_pairs, n_experts);
    return block;
}

static void a_small_plan_by_hand(void **state)
{
    (void)state;
    /* row 0: 2, 0; row 1: none at all; row 2: 0, nobody, 2; row 3: 3, 3 */
    uint32_t offset[5] = {0, 2, 2, 5, 7}, expert[7] = {2, 0, 0, NONE, 2, 3, 3};
    float weight[7] = {.5f, .25f, .75f, 9, .125f, .0625f, .5f};
    const moe__routes r = {offset, expert, weight};
    moe__dispatch d;
    void *block = make(&d, 8, 4);
    moe__dispatch_plan(&d, &r, 0, 4);
    assert_int_equal(d.row, 0);
    assert_int_equal(d.n_rows, 4);
    assert_int_equal(d.n_pairs, 7);
    assert_int_equal(d.n_groups, 3);
    static const moe__group want[3] = {{0, 0, 2, 0, .75f}, {2, 2, 2, 0, .5f}, {3, 4, 2, 0, .5f}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(d.group[i].expert, want[i].expert);
        assert_int_equal(d.group[i].first, want[i].first);
        assert_int_equal(d.group[i].n, want[i].n);
        assert_int_equal(d.group[i].rank, want[i].rank);
        assert_true(d.group[i].weight == want[i].weight);
    }
    static const uint32_t slot[7] = {2, 0, 1, NONE, 3, 4, 5}, col[6] = {0, 2, 0, 2, 3, 3};
    assert_memory_equal(d.slot, slot, sizeof slot);
    assert_memory_equal(d.col, col, sizeof col);
    /* results of slot s are s + 1 everywhere: sums are exact */
    float result[6 * DIM], y[DIM];
    for (int i = 0; i < 6 * DIM; i++) result[i] = (float)(i / DIM + 1);
    static const float sum[4] = {.5f * 3 + .25f * 1, 0, .75f * 2 + .125f * 4, .0625f * 5 + .5f * 6};
    for (uint32_t row = 0; row < 4; row++) {
        memset(y, 0xff, sizeof y);
        moe__dispatch_combine(&d, &r, &kernels, row, result, y, DIM);
        for (int i = 0; i < DIM; i++) assert_true(y[i] == sum[row]);
    }
    free(block);
}

static void the_best_rank_of_a_group(void **state)
{
    (void)state;
    uint32_t offset[3] = {0, 3, 6}, expert[6] = {0, 1, 2, 2, 0, 1};
    float weight[6] = {-1, -2, -3, -4, -5, -6};
    const moe__routes r = {offset, expert, weight};
    moe__dispatch d;
    void *block = make(&d, 6, 3);
    moe__dispatch_plan(&d, &r, 0, 2);
    static const uint32_t rank[3] = {0, 1, 0};
    for (int i = 0; i < 3; i++) assert_int_equal(d.group[i].rank, rank[i]);
    free(block);
}

/* Sums in order of rank: with floats that do not associate any other order gives other bits. */
static void the_order_of_the_sum(void **state)
{
    (void)state;
    uint32_t offset[2] = {0, 3}, expert[3] = {2, 0, 1};
    float weight[3] = {1, 1, 1};
    const moe__routes r = {offset, expert, weight};
    moe__dispatch d;
    void *block = make(&d, 3, 3);
    moe__dispatch_plan(&d, &r, 0, 1);
    float result[3], y;
    result[d.slot[0]] = 1e8f; /* rank 0 */
    result[d.slot[1]] = -1e8f;
    result[d.slot[2]] = 1;
    moe__dispatch_combine(&d, &r, &kernels, 0, result, &y, 1);
    assert_true(y == 1.0f);
    result[d.slot[1]] = 1;
    result[d.slot[2]] = -1e8f;
    moe__dispatch_combine(&d, &r, &kernels, 0, result, &y, 1);
    assert_true(y == 0.0f);
    free(block);
}

/* Random routings, cut into tiles: each pair is in flight once, in its row's tile; combined results agree
 * with the definition. */
static void tiles_of_random_rows(void **state)
{
    (void)state;
    enum { ROWS = 64, EXPERTS = 12, K = 6 };
    srand(11);
    for (int round = 0; round < 500; round++) {
        uint32_t offset[ROWS + 1] = {0}, expert[ROWS * K];
        float weight[ROWS * K];
        const uint32_t n_rows = 1 + (uint32_t)rand() % ROWS, max_pairs = K + (uint32_t)rand() % 40;
        for (uint32_t t = 0; t < n_rows; t++) {
            offset[t + 1] = offset[t] + (uint32_t)rand() % (K + 1);
            for (uint32_t p = offset[t]; p < offset[t + 1]; p++) {
                expert[p] = rand() % 8 ? (uint32_t)rand() % EXPERTS : NONE;
                weight[p] = (float)(rand() % 64) / 16;
            }
        }
        const moe__routes r = {offset, expert, weight};
        moe__dispatch d;
        void *block = make(&d, max_pairs, EXPERTS);
        for (uint32_t row = 0; row < n_rows; row += d.n_rows) {
            moe__dispatch_plan(&d, &r, row, n_rows);
            assert_int_equal(d.row, row);
            assert_true(d.n_rows > 0 && row + d.n_rows <= n_rows);
            assert_int_equal(d.n_pairs, offset[row + d.n_rows] - offset[row]);
            assert_true(d.n_pairs <= max_pairs);
            if (row + d.n_rows < n_rows) /* as many rows as fit */
                assert_true(offset[row + d.n_rows + 1] - offset[row] > max_pairs);
            /* groups ascend and cover the slots without gaps; their rows ascend */
            uint32_t next = 0;
            for (uint32_t g = 0; g < d.n_groups; g++) {
                assert_int_equal(d.group[g].first, next);
                assert_true(d.group[g].n > 0);
                assert_true(g == 0 || d.group[g].expert > d.group[g - 1].expert);
                for (uint32_t i = 1; i < d.group[g].n; i++)
                    assert_true(d.col[next + i] >= d.col[next + i - 1]);
                next += d.group[g].n;
            }
            /* an expert e answers row t with e + t / 64 */
            float result[K + 40], y;
            for (uint32_t g = 0; g < d.n_groups; g++)
                for (uint32_t i = 0; i < d.group[g].n; i++) {
                    const uint32_t slot = d.group[g].first + i;
                    result[slot] = (float)d.group[g].expert + (float)d.col[slot] / 64;
                }
            for (uint32_t t = row; t < row + d.n_rows; t++) {
                float want = 0;
                for (uint32_t p = offset[t]; p < offset[t + 1]; p++)
                    if (expert[p] != NONE) want += weight[p] * ((float)expert[p] + (float)t / 64);
                moe__dispatch_combine(&d, &r, &kernels, t, result, &y, 1);
                assert_true(y == want); /* sixteenths times 64ths: exact */
            }
        }
        free(block);
    }
}

/* What is dropped or has gain 0 takes no place and no part. */
static void pairs_without_weight_or_gain(void **state)
{
    (void)state;
    uint32_t offset[3] = {0, 4, 7}, expert[7] = {1, 0, 2, 3, 2, 1, 3};
    float weight[7] = {.5f, 0, -.25f, -0.0f, 1, 0, 2};
    const float gain[4] = {1, 4, 2, 0};
    const moe__routes r = {offset, expert, weight};
    moe__dispatch d;
    void *block = make(&d, 8, 4);
    moe__dispatch_plan(&d, &r, 0, 2);
    static const uint32_t slot[7] = {0, NONE, 1, NONE, 2, NONE, 3}, pair[4] = {0, 2, 4, 6};
    assert_memory_equal(d.slot, slot, sizeof slot);
    assert_memory_equal(d.pair, pair, sizeof pair);
    assert_int_equal(d.n_groups, 3);
    d.mix.gain = gain;
    moe__dispatch_plan(&d, &r, 0, 2);
    assert_int_equal(d.n_groups, 2);
    assert_int_equal(d.slot[6], NONE);
    const float result[3] = {1, 2, 3};
    float y;
    moe__dispatch_combine(&d, &r, &kernels, 0, result, &y, 1);
    assert_true(y == .5f * 4 * 1 - .25f * 2 * 2);
    moe__dispatch_combine(&d, &r, &kernels, 1, result, &y, 1);
    assert_true(y == 2 * 3);
    d.mix.on_input = 1; /* the weights are in the results already */
    moe__dispatch_plan(&d, &r, 0, 2);
    assert_int_equal(d.n_groups, 2);
    moe__dispatch_combine(&d, &r, &kernels, 0, result, &y, 1);
    assert_true(y == 4 * 1 + 2 * 2);
    free(block);
}

/* Functions' results come from the side, by row; their pairs take no place. */
static void experts_computed_elsewhere(void **state)
{
    (void)state;
    enum { ROWS = 5 };
    const moe__expert_slot slots[3] = {{.source = MOE_SOURCE_FUNCTION, .side = 0},
                                       {.source = MOE_SOURCE_REDIRECT},
                                       {.source = MOE_SOURCE_FUNCTION, .side = 1}};
    uint32_t offset[4] = {0, 2, 5, 7}, expert[7] = {0, 1, 2, 0, 2, 1, 2};
    float weight[7] = {1, 2, 4, 8, 16, 32, 0}, side[2 * ROWS], y;
    for (int i = 0; i < 2 * ROWS; i++) side[i] = (float)(i + 1);
    const moe__routes r = {offset, expert, weight};
    moe__dispatch d;
    void *block = make(&d, 4, 3);
    d.mix = (moe__mix){.slot = slots, .side = side, .side_rows = ROWS};
    for (uint32_t row = 1; row < 3; row += d.n_rows) { /* tiles: row 1, row 2 */
        moe__dispatch_plan(&d, &r, row, 3);
        assert_int_equal(d.n_rows, 1);
        assert_int_equal(d.n_groups, row - 1);
        const float result = 100;
        moe__dispatch_combine(&d, &r, &kernels, row, &result, &y, 1);
        assert_true(y == (row == 1 ? 4 * side[ROWS + 1] + 8 * side[1] + 16 * side[ROWS + 1] : 3200));
        if (row == 2) assert_null(moe__dispatch_result(&d, &r, 2, 6, &result, 1)); /* of weight 0 */
        if (row == 1) assert_ptr_equal(moe__dispatch_result(&d, &r, 1, 4, &result, 1), &side[ROWS + 1]);
    }
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_plan_by_hand),         cmocka_unit_test(the_best_rank_of_a_group),
        cmocka_unit_test(the_order_of_the_sum),         cmocka_unit_test(tiles_of_random_rows),
        cmocka_unit_test(pairs_without_weight_or_gain), cmocka_unit_test(experts_computed_elsewhere),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
