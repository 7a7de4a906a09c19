/* SPDX-License-Identifier: MIT */
/*
 * Rules that draw: uniformly at random (THOR, arXiv:2110.04260), or by a hash of the token (Hash Layers,
 * arXiv:2106.04426). Every expert e gets 24 bits from a counter, and the top_k highest win (ties: the lower
 * index):
 *
 *     word e % 4 of philox(counter {purpose << 16 | e / 4, layer, a, b}, key seed) >> 8
 *
 * with a = sequence and b = position (PER_SEQUENCE: all ones), or a = token and b = 0 for a hash. So a draw
 * depends on nothing but seed, layer and token: not on threads, batches or what else is banned.
 */
#include "base/rng.h"
#include "route/rules.h"

static int draw_row(const moe__recipe *r, const moe__rule_row *row, uint32_t purpose, uint32_t a, uint32_t b,
                    uint32_t *id, float *w)
{
    const uint32_t key[2] = {(uint32_t)r->spec.seed, (uint32_t)(r->spec.seed >> 32)};
    moe__best_list l = {id, w, 0, r->max_k};
    uint32_t word[4];
    for (uint32_t e = 0; e < row->n; e++) {
        if (e % 4 == 0) {
            const uint32_t counter[4] = {purpose << 16 | e / 4, r->layer, a, b};
            moe__philox(word, counter, key);
        }
        if (moe__best_banned(row->z[e], row->q[e])) continue;
        moe__best_push(&l, e, row->q[e] == INFINITY ? INFINITY : (float)(word[e % 4] >> 8));
    }
    moe__best_sort(&l);
    moe__rule_scores(row, id, w, l.n);
    return (int)l.n;
}

static int random_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    const uint32_t pos = r->spec.flags & MOE_ROUTE_PER_SEQUENCE ? UINT32_MAX : (uint32_t)row->pos;
    return draw_row(r, row, MOE_DRAW_EXPERTS, (uint32_t)row->seq, pos, id, w);
}

static int hash_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    return draw_row(r, row, MOE_DRAW_HASH, (uint32_t)row->token, 0, id, w);
}

static int random_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, random_row);
}

static int hash_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, hash_row);
}

const moe_policy moe__rule_random = {
    .size = sizeof(moe_policy), .name = "random", .flags = MOE_POLICY_PARALLEL, .route = random_route};
const moe_policy moe__rule_hash = {
    .size = sizeof(moe_policy), .name = "hash", .flags = MOE_POLICY_PARALLEL, .route = hash_route};
