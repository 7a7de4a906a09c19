/* SPDX-License-Identifier: MIT */
/*
 * Expert choice (Zhou et al. 2022, arXiv:2202.09368): every expert takes the C rows that score highest for
 * it,
 *
 *     C = floor(choice * rows / experts), at least 1, at most all rows
 *
 * ties to the earlier row, NaN last. The rows are those of the call, or those of one sequence each. A row may
 * end up with no expert, or with all. Looks ahead: a row's experts depend on later rows.
 *
 * Needs no memory but the result's own: while experts choose, out->expert is a grid [n_rows][n_experts] of
 * 0 and 1, and the list of one expert's rows is kept in out->offset and out->weight.
 */
#include "route/rules.h"

static uint32_t rows_of(const moe__recipe *r, uint32_t n_rows, uint32_t n_experts)
{
    const double c = (double)r->spec.choice * n_rows / n_experts;
    return c >= n_rows ? n_rows : c >= 1 ? (uint32_t)c : 1;
}

/* Expert e chooses among the n_rows rows of `seq`, or among all rows. */
static void expert_takes(const moe_route_input *in, moe_route_output *out, uint32_t e, uint32_t cap,
                         const moe_seq *seq)
{
    moe__best_list l = {out->offset, out->weight, 0, cap};
    for (uint32_t t = 0; t < in->n_rows; t++) {
        const size_t at = t * in->stride + e;
        if (seq && in->seq[t] != *seq) continue;
        if (!moe__best_banned(in->logits[at], in->choice[at])) moe__best_push(&l, t, in->choice[at]);
    }
    for (uint32_t i = 0; i < l.n; i++) out->expert[(size_t)l.id[i] * in->n_experts + e] = 1;
}

static void choose_by_sequence(const moe__recipe *r, const moe_route_input *in, moe_route_output *out)
{
    for (uint32_t t = 0; t < in->n_rows; t++) {
        uint32_t earlier = 0, n = 0;
        for (uint32_t i = 0; i < in->n_rows; i++)
            if (in->seq[i] == in->seq[t]) {
                earlier += i < t;
                n++;
            }
        if (earlier) continue;
        const uint32_t cap = rows_of(r, n, in->n_experts);
        for (uint32_t e = 0; e < in->n_experts; e++) expert_takes(in, out, e, cap, &in->seq[t]);
    }
}

static int choice_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    const moe__recipe *r = state;
    const uint32_t n = in->n_experts;
    for (size_t i = 0; i < (size_t)in->n_rows * n; i++) out->expert[i] = 0;
    if (r->spec.flags & MOE_ROUTE_PER_SEQUENCE) {
        choose_by_sequence(r, in, out);
    } else {
        const uint32_t cap = rows_of(r, in->n_rows, n);
        for (uint32_t e = 0; e < n; e++) expert_takes(in, out, e, cap, NULL);
    }
    /* Rows are written where the grid was already read. */
    uint32_t used = 0;
    out->offset[0] = 0;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        const size_t at = t * in->stride;
        moe__best_list l = {out->expert + used, out->weight + used, 0, n};
        for (uint32_t e = 0; e < n; e++)
            if (out->expert[(size_t)t * n + e]) moe__best_push(&l, e, in->choice[at + e]);
        moe__best_sort(&l);
        for (uint32_t i = 0; i < l.n; i++) l.value[i] = in->score[at + l.id[i]];
        out->offset[t + 1] = used += l.n;
    }
    return MOE_OK;
}

const moe_policy moe__rule_expert_choice = {.size = sizeof(moe_policy),
                                            .name = "expertchoice",
                                            .flags = MOE_POLICY_BATCH_COUPLED,
                                            .route = choice_route};
