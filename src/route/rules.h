/* SPDX-License-Identifier: MIT */
/*
 * Selection rules: each is a moe_policy whose state is the recipe (const). They choose by `choice`, never
 * what is banned (logit or choice -infinity), and leave the scores of the chosen as weights. Where fewer can
 * be taken than the rule wants, a row gets fewer.
 */
#ifndef MOE_ROUTE_RULES_H
#define MOE_ROUTE_RULES_H

#include "route/recipe.h"
#include "route/best.h"

/* One row, as a rule sees it: n columns, of which n_real are real experts. */
typedef struct moe__rule_row {
    const float *z, *s, *q; /* logits, scores, choice: [n] */
    uint32_t n, n_real;
    moe_token token;
    moe_pos pos;
    moe_seq seq;
} moe__rule_row;

/* Chooses for one row: id and w have room for r->max_k. Returns how many, or a negative status. */
typedef int (*moe__rule_fn)(const moe__recipe *r, const moe__rule_row *row, uint32_t *id, float *w);

/* rule_rank.c: a rule for rows that do not depend on one another, over all rows of a call. */
int moe__rule_rows(const moe__recipe *r, const moe_route_input *in, moe_route_output *out, moe__rule_fn fn);
/* The chosen experts' scores as weights. */
static inline void moe__rule_scores(const moe__rule_row *row, const uint32_t *id, float *w, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) w[i] = row->s[id[i]];
}

/* rule_draw.c: what a draw is for, part of its counter. */
enum { MOE_DRAW_EXPERTS = 1, MOE_DRAW_HASH = 2, MOE_DRAW_PLACES = 3 };

extern const moe_policy moe__rule_topk, moe__rule_topp, moe__rule_threshold,
    moe__rule_ranks;                                                     /* rule_rank.c */
extern const moe_policy moe__rule_random, moe__rule_hash;                /* rule_draw.c */
extern const moe_policy moe__rule_table, moe__rule_all, moe__rule_fixed; /* rule_list.c */
extern const moe_policy moe__rule_sparsemixer;                           /* rule_sparsemixer.c */
extern const moe_policy moe__rule_expert_choice;                         /* rule_expert_choice.c */

#endif
