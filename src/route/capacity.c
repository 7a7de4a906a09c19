/* SPDX-License-Identifier: MIT */
/*
 * Capacity, to reproduce models that drop (Switch, GShard, OpenMoE, DeepSpeed): an expert has
 *
 *     max(capacity_min, round(capacity * top_k * rows / experts))
 *
 * places, rounded down, up, or down and then up to an even number; a pair that comes to a full expert keeps
 * its number and loses its weight. Pairs come in order of row and then rank (POSITION), of falling weight
 * (PROB), or of a draw (RANDOM: word 0 of philox(counter {purpose << 16, layer, pair, 0}, key seed),
 * falling); with CHOICE_MAJOR all first choices come before all second ones, whatever the order is. Ties go
 * to the earlier pair.
 */
#include "base/rng.h"
#include "route/rules.h"

uint32_t moe__recipe_places(const moe_route_spec *spec, uint32_t n_rows, uint32_t n_experts)
{
    const double x = (double)spec->capacity * spec->top_k * n_rows / n_experts;
    const double whole = x < UINT32_MAX - 2 ? x : UINT32_MAX - 2;
    uint32_t n = (uint32_t)whole;
    if (spec->capacity_round == MOE_CAPACITY_CEIL && (double)n < whole) n++;
    if (spec->capacity_round == MOE_CAPACITY_EVEN) n += n % 2;
    return n > spec->capacity_min ? n : spec->capacity_min;
}

/* What pairs are sorted by: choice first where it counts, then falling value, then the pair's place. */
typedef struct queue {
    const moe__recipe *r;
    const uint32_t *offset;
    const float *w;
    uint32_t n_rows;
} queue;

/* Which choice of its row a pair is; rows are found by bisection. */
static uint32_t choice_of(const queue *u, uint32_t pair)
{
    uint32_t low = 0, high = u->n_rows;
    while (high - low > 1) {
        const uint32_t mid = low + (high - low) / 2;
        if (u->offset[mid] <= pair)
            low = mid;
        else
            high = mid;
    }
    return pair - u->offset[low];
}

static uint32_t drawn(const queue *u, uint32_t pair)
{
    const uint64_t seed = u->r->spec.seed;
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {MOE_DRAW_PLACES << 16, u->r->layer, pair, 0};
    uint32_t word[4];
    moe__philox(word, counter, key);
    return word[0];
}

/* Whether pair a comes before pair b. */
static int comes_before(const queue *u, uint32_t a, uint32_t b)
{
    const moe_route_spec *spec = &u->r->spec;
    if (spec->flags & MOE_ROUTE_CHOICE_MAJOR) {
        const uint32_t x = choice_of(u, a), y = choice_of(u, b);
        if (x != y) return x < y;
    }
    if (spec->capacity_order == MOE_CAPACITY_PROB) return moe__best_before(u->w[a], a, u->w[b], b);
    if (spec->capacity_order == MOE_CAPACITY_RANDOM) {
        const uint32_t x = drawn(u, a), y = drawn(u, b);
        if (x != y) return x > y;
    }
    return a < b;
}

/* Heap sort, the last to come on top. */
static void settle_pair(const queue *u, uint32_t *order, uint32_t i, uint32_t n)
{
    const uint32_t pair = order[i];
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && comes_before(u, order[child], order[child + 1])) child++;
        if (comes_before(u, order[child], pair)) break;
        order[i] = order[child];
        order[child] = pair;
    }
}

static void sort_pairs(const queue *u, uint32_t *order, uint32_t n)
{
    for (uint32_t i = n / 2; i-- > 0;) settle_pair(u, order, i, n);
    for (uint32_t end = n; end > 1; end--) {
        const uint32_t last = order[0];
        order[0] = order[end - 1];
        order[end - 1] = last;
        settle_pair(u, order, 0, end - 1);
    }
}

void moe__recipe_capacity(const moe__recipe *r, const uint32_t *offset, const uint32_t *id, float *w,
                          uint32_t n_rows, uint32_t *count, uint32_t *order)
{
    const uint32_t places = moe__recipe_places(&r->spec, n_rows, r->n_experts), n = offset[n_rows];
    const queue u = {r, offset, w, n_rows};
    for (uint32_t e = 0; e < r->n_experts; e++) count[e] = 0;
    for (uint32_t i = 0; i < n; i++) order[i] = i;
    if (r->spec.capacity_order != MOE_CAPACITY_POSITION || r->spec.flags & MOE_ROUTE_CHOICE_MAJOR)
        sort_pairs(&u, order, n);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t e = id[order[i]];
        if (e < r->n_experts && ++count[e] > places) w[order[i]] = 0;
    }
}
