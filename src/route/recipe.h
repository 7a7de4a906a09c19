/* SPDX-License-Identifier: MIT */
/*
 * A recipe: a checked moe_route_spec with its functions filled in from tables. Score functions, selection
 * rules, weight rules, norms: each is a row of a table (score.c, rule_*.c, weight.c), and a selection rule is
 * a moe_policy like one of the caller's.
 */
#ifndef MOE_ROUTE_RECIPE_H
#define MOE_ROUTE_RECIPE_H

#include "base/alloc.h"
#include "kernel/kernel.h"
#include "moe/ext.h"

/* score [n] of logits [n]; score and logits do not overlap. scratch [n]. */
typedef void (*moe__score_fn)(const moe__kernels *k, float *score, const float *logits, uint32_t n,
                              float *scratch);

typedef struct moe__recipe {
    moe_route_spec spec; /* as set; ids point to this recipe's own copy */
    uint32_t *ids;       /* owned */
    const moe__kernels *k;
    uint32_t n_experts, layer;
    int32_t norm;   /* MOE_NORM_*, that of SUM_TO_ONE included */
    float scale;    /* never 0 */
    uint32_t k_min; /* never 0 */
    moe__score_fn score;
    const moe_policy *rule; /* its state is the recipe (const); all but the coupled ones are parallel */
    uint32_t max_k;         /* most pairs of a row, null experts included: at most n_experts */
    int coupled;            /* rows depend on one another: the rule says so, or there is a capacity */
} moe__recipe;

/*
 * spec.c: checks and compiles. MOE_E_INVALID names the field, or the combination and why it is illegal. On
 * failure *r is unchanged. n_vocab: rows that a TABLE must have. native_null: null experts that the model's
 * router has rows for; n_null cannot be less. n_vocab 0: any.
 */
int moe__recipe_init(moe__recipe *r, const moe__allocator *a, const moe__kernels *k,
                     const moe_route_spec *spec, uint32_t n_experts, uint32_t native_null, uint32_t n_vocab,
                     uint32_t layer);
void moe__recipe_finish(moe__recipe *r, const moe__allocator *a);
int moe__recipe_copy(moe__recipe *dst, const moe__recipe *src, const moe__allocator *a);

/*
 * weight.c: weights of one row's pairs by spec.weight, for rules that make none of their own. id [n] in order
 * of rank (ids >= n_experts are null experts, MOE_EXPERT_NONE nobody), z and s: the row's logits and scores.
 * What w holds before is not read.
 */
void moe__recipe_weights(const moe__recipe *r, const uint32_t *id, float *w, uint32_t n, const float *z,
                         const float *s);
/* weight.c: norm and scale over the real experts of one row; null experts and nobody get weight 0. */
void moe__recipe_norm(const moe__recipe *r, const uint32_t *id, float *w, uint32_t n);

/* group.c: sets q [n_experts] to -infinity outside the best groups; scratch [n_groups]. */
void moe__recipe_groups(const moe__recipe *r, float *q, float *scratch);

/*
 * capacity.c: gives every pair of n_rows rows (CSR) its place, in the order that the recipe says; pairs that
 * find their expert full get weight 0. score: what CAPACITY_PROB goes by is the pair's weight. count
 * [n_experts] and order [pairs] are scratch.
 */
void moe__recipe_capacity(const moe__recipe *r, const uint32_t *offset, const uint32_t *id, float *w,
                          uint32_t n_rows, uint32_t *count, uint32_t *order);
/* Places of an expert for n_rows rows. */
uint32_t moe__recipe_places(const moe_route_spec *spec, uint32_t n_rows, uint32_t n_experts);

/* Tables, by MOE_SCORE_* and MOE_SELECT_*; NULL where there is nothing. */
moe__score_fn moe__score_find(int score);
const moe_policy *moe__rule_find(int select);

/*
 * named.c: text <-> spec. base: what `current` starts from; all other names start from native, so that a text
 * always means the same. MOE_E_INVALID tells the place in the text. *ids is allocated (or NULL) and belongs to
 * the caller; spec->ids points to it.
 */
int moe__spec_parse(moe_route_spec *spec, uint32_t **ids, const moe__allocator *a, const char *text,
                    const moe_route_spec *base, const moe_route_spec *native);
/* Writes the shortest text that parses to the same spec, not zero-terminated; returns its length. */
size_t moe__spec_format(const moe_route_spec *spec, const moe_route_spec *native, char *dst, size_t cap);
const char *moe__spec_name(size_t i, const char **summary);

#endif
