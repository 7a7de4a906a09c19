/* SPDX-License-Identifier: MIT */
/*
 * Rules that take what a list says: a row of a table by token (what other tools call static or hash routing),
 * a fixed set, everybody. Sets stand in order of rank, best first; a table's rows in the table's order.
 */
#include "base/status.h"
#include "route/rules.h"

/* MOE_EXPERT_NONE fills rows of tokens that have fewer. */
static int table_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    const uint32_t k = r->spec.top_k;
    const size_t n_rows = r->spec.n_ids / k;
    uint32_t n = 0;
    if (row->token < 0 || (size_t)row->token >= n_rows)
        return MOE_FAIL(RANGE, "layer %u: token %d, but the routing table has %zu rows", r->layer, row->token,
                        n_rows);
    for (uint32_t i = 0; i < k; i++) {
        const uint32_t e = r->ids[(size_t)row->token * k + i];
        if (e != MOE_EXPERT_NONE && !moe__best_banned(row->z[e], row->q[e])) id[n++] = e;
    }
    moe__rule_scores(row, id, w, n);
    return (int)n;
}

static int all_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    const uint32_t n = moe__best_top(row->z, row->q, row->n_real, 1, r->max_k, id, w);
    moe__rule_scores(row, id, w, n);
    return (int)n;
}

/* Without ids: whatever the sequence is limited to, for all others are banned. */
static int fixed_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    moe__best_list l = {id, w, 0, r->max_k};
    if (r->spec.n_ids == 0) return all_row(r, row, id, w);
    for (size_t i = 0; i < r->spec.n_ids; i++) {
        const uint32_t e = r->ids[i];
        if (!moe__best_banned(row->z[e], row->q[e])) moe__best_push(&l, e, row->q[e]);
    }
    moe__best_sort(&l);
    moe__rule_scores(row, id, w, l.n);
    return (int)l.n;
}

static int table_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, table_row);
}

static int all_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, all_row);
}

static int fixed_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, fixed_row);
}

const moe_policy moe__rule_table = {
    .size = sizeof(moe_policy), .name = "table", .flags = MOE_POLICY_PARALLEL, .route = table_route};
const moe_policy moe__rule_all = {
    .size = sizeof(moe_policy), .name = "all", .flags = MOE_POLICY_PARALLEL, .route = all_route};
const moe_policy moe__rule_fixed = {
    .size = sizeof(moe_policy), .name = "fixed", .flags = MOE_POLICY_PARALLEL, .route = fixed_route};
