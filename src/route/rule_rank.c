/* SPDX-License-Identifier: MIT */
/*
 * Rules that go down the ranking of one row: top-k; dynamic top-p (Huang et al. 2024, arXiv:2403.07652);
 * relative threshold (min-p, and the pruning of MC-MoE, arXiv:2410.06270); a list of ranks (SCMoE,
 * arXiv:2405.14507). Forced experts have choice +infinity and so come first.
 */
#include "route/rules.h"

int moe__rule_rows(const moe__recipe *r, const moe_route_input *in, moe_route_output *out, moe__rule_fn fn)
{
    out->offset[0] = 0;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        const size_t at = t * in->stride;
        const uint32_t used = out->offset[t];
        const moe__rule_row row = {
            in->logits + at, in->score + at, in->choice + at, in->n_experts + in->n_null,
            in->n_experts,   in->token[t],   in->pos[t],      in->seq[t]};
        const int n = fn(r, &row, out->expert + used, out->weight + used);
        if (n < 0) return n;
        out->offset[t + 1] = used + (uint32_t)n;
    }
    return MOE_OK;
}

static int topk_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    const uint32_t n = moe__best_top(row->z, row->q, row->n, 1, r->max_k, id, w);
    if (row->q != row->s) moe__rule_scores(row, id, w, n);
    return (int)n;
}

/*
 * How many of the n best it takes until their scores add up to more than p (INCLUSIVE: reach p), at least
 * k_min and all forced ones; n if they never do. Scores that sum to 1 never exceed a p of 1, whatever
 * rounding says.
 */
static uint32_t topp_count(const moe__recipe *r, const moe__rule_row *row, const uint32_t *id, uint32_t n)
{
    const moe_route_spec *spec = &r->spec;
    const int normal = spec->score == MOE_SCORE_SOFTMAX || spec->score == MOE_SCORE_ENTMAX15;
    const int inclusive = (spec->flags & MOE_ROUTE_INCLUSIVE) != 0;
    const double p = (double)spec->top_p;
    double sum = 0;
    if (normal && p >= 1) return n;
    for (uint32_t i = 0; i < n; i++) {
        sum += (double)row->s[id[i]];
        if (i + 1 < n && row->q[id[i + 1]] == INFINITY) continue;
        if (i + 1 >= r->k_min && (sum > p || (inclusive && sum == p))) return i + 1;
    }
    return n;
}

/* Most rows need few: the whole ranking is made only where those do not do. */
static int topp_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    const uint32_t few = r->max_k < MOE_BEST_FEW ? r->max_k : MOE_BEST_FEW;
    uint32_t n = moe__best_top(row->z, row->q, row->n, 1, few, id, w);
    uint32_t take = topp_count(r, row, id, n);
    if (take == few && few < r->max_k) {
        n = moe__best_top(row->z, row->q, row->n, 1, r->max_k, id, w);
        take = topp_count(r, row, id, n);
    }
    moe__rule_scores(row, id, w, take);
    return (int)take;
}

/*
 * In order of rank: the k_min best, forced ones, and those whose score reaches t * the best score of all
 * that may be taken; k_max of them. The product is exact in double.
 */
static int threshold_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    moe__best_list l = {id, w, 0, r->max_k};
    float best = -INFINITY, last = 0;
    uint32_t last_id = 0;
    const uint32_t k_min = moe__best_top(row->z, row->q, row->n, 1, r->k_min, id, w);
    if (k_min == 0) return 0;
    last = w[k_min - 1];
    last_id = id[k_min - 1];
    for (uint32_t e = 0; e < row->n; e++)
        if (row->s[e] > best && !moe__best_banned(row->z[e], row->q[e])) best = row->s[e];
    const double floor = (double)r->spec.threshold * (double)best;
    for (uint32_t e = 0; e < row->n; e++) {
        const float q = row->q[e];
        if (moe__best_banned(row->z[e], q)) continue;
        if ((double)row->s[e] >= floor || q == INFINITY || !moe__best_before(last, last_id, q, e))
            moe__best_push(&l, e, q);
    }
    moe__best_sort(&l);
    moe__rule_scores(row, id, w, l.n);
    return (int)l.n;
}

/* From rank to rank by one look at all columns each: lists are short, and there is no room for a whole
 * ranking. */
static int ranks_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    uint32_t n = 0, e = 0;
    float value = 0;
    for (uint32_t rank = 0; n < r->max_k; rank++) {
        e = moe__best_next(row->z, row->q, row->n, rank == 0, value, e);
        if (e == row->n) break;
        value = row->q[e];
        for (size_t i = 0; i < r->spec.n_ids; i++)
            if (r->ids[i] == rank) id[n++] = e;
    }
    moe__rule_scores(row, id, w, n);
    return (int)n;
}

static int topk_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, topk_row);
}

static int topp_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, topp_row);
}

static int threshold_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, threshold_row);
}

static int ranks_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, ranks_row);
}

const moe_policy moe__rule_topk = {
    .size = sizeof(moe_policy), .name = "topk", .flags = MOE_POLICY_PARALLEL, .route = topk_route};
const moe_policy moe__rule_topp = {
    .size = sizeof(moe_policy), .name = "topp", .flags = MOE_POLICY_PARALLEL, .route = topp_route};
const moe_policy moe__rule_threshold = {
    .size = sizeof(moe_policy), .name = "threshold", .flags = MOE_POLICY_PARALLEL, .route = threshold_route};
const moe_policy moe__rule_ranks = {
    .size = sizeof(moe_policy), .name = "ranks", .flags = MOE_POLICY_PARALLEL, .route = ranks_route};
