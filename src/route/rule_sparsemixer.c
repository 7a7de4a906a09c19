/* SPDX-License-Identifier: MIT */
/*
 * Sparsemixer as Phi-3.5-MoE uses it at inference: top_k times the best of those that are left, a; its weight
 * is a's softmax over the ones left that come near it: all j but those with
 *
 *     (z_a - z_j) / max(|z_j|, z_a) > 2 epsilon
 *
 * (0 / 0 keeps j, as comparisons with NaN do). The weights are not normalised: each has its own softmax.
 */
#include "base/mathx.h"
#include "route/rules.h"

static float mixer_weight(const moe__rule_row *row, double epsilon, uint32_t a)
{
    const double top = (double)row->z[a];
    double sum = 0;
    for (uint32_t e = 0; e < row->n; e++) {
        const double z = (double)row->z[e], size = fabs(z);
        if (moe__best_banned(row->z[e], row->q[e])) continue;
        if (e != a && !moe__best_before(row->q[a], a, row->q[e], e)) continue; /* taken before */
        if ((top - z) / (size > top ? size : top) > 2 * epsilon) continue;
        sum += e == a ? 1 : moe__math_exp(z - top);
    }
    return (float)(1 / sum);
}

static int mixer_row(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w)
{
    const double epsilon = r->spec.epsilon > 0 ? (double)r->spec.epsilon : 0.01;
    const uint32_t n = moe__best_top(row->z, row->q, row->n, 1, r->max_k, id, w);
    for (uint32_t i = 0; i < n; i++) w[i] = mixer_weight(row, epsilon, id[i]);
    return (int)n;
}

static int mixer_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    return moe__rule_rows(state, in, out, mixer_row);
}

const moe_policy moe__rule_sparsemixer = {.size = sizeof(moe_policy),
                                          .name = "sparsemixer",
                                          .flags = MOE_POLICY_PARALLEL | MOE_POLICY_WEIGHTS,
                                          .route = mixer_route};
