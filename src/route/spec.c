/* SPDX-License-Identifier: MIT */
/*
 * Checks a recipe and compiles it. What a rule needs must be there, and what it does not read must be zero: a
 * setting without effect would be taken for one with effect. Exempt is what every model's recipe brings along
 * (top_k) - so a recipe can be got, given another rule, and set.
 */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "route/fields.h"
#include "route/rules.h"

/* What checks go by. */
typedef struct subject {
    const moe_route_spec *spec;
    uint32_t n, native_null, n_vocab;
    const char *rule;
} subject;

#define BAD(...) return MOE_FAIL(INVALID, "route spec: " __VA_ARGS__)

/* Rules in the order of MOE_SELECT_*. */
static const moe_policy *const rule_table[] = {NULL,
                                               &moe__rule_topk,
                                               &moe__rule_topp,
                                               &moe__rule_threshold,
                                               &moe__rule_ranks,
                                               &moe__rule_random,
                                               &moe__rule_sparsemixer,
                                               &moe__rule_hash,
                                               &moe__rule_table,
                                               &moe__rule_all,
                                               &moe__rule_fixed,
                                               &moe__rule_expert_choice};

const moe_policy *moe__rule_find(int select)
{
    return select > 0 && (size_t)select < sizeof rule_table / sizeof *rule_table ? rule_table[select] : NULL;
}

static int among(int select, uint32_t rules) { return (1u << select & rules) != 0; }
#define RULE(name)     (1u << MOE_SELECT_##name)
#define RULES_OF_K     (RULE(TOPK) | RULE(RANDOM) | RULE(SPARSEMIXER) | RULE(HASH) | RULE(TABLE))
#define RULES_OF_RANGE (RULE(TOPP) | RULE(THRESHOLD))

/* Names, flags, ranges; what the rule does not read. */
static int check_members(const subject *c)
{
    const moe_route_spec *s = c->spec;
    const uint32_t known = MOE_ROUTE_ON_INPUT | MOE_ROUTE_INCLUSIVE | MOE_ROUTE_PER_SEQUENCE |
                           MOE_ROUTE_NONCAUSAL | MOE_ROUTE_CHOICE_MAJOR | MOE_ROUTE_DROP_FIRST;
    if (s->flags & ~known) BAD("flags: 0x%x are unknown", s->flags & ~known);
    if (s->reserved) BAD("reserved: expected 0, found %u", s->reserved);
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        const double x = moe__field_get(s, f);
        const int reads = !f->readers || among(s->select, f->readers);
        if (f->kind == MOE_FIELD_ENUM) {
            const int n = moe__field_words(f);
            if (x < 0 || x >= n || !f->words[(int)x]) BAD("%s: %d is unknown", f->name, (int)x);
        }
        if (!reads && x != 0)
            BAD("%s: is set, but the rule %s does not read it: expected 0", f->name, c->rule);
        if (!reads || f->kind != MOE_FIELD_F32) continue;
        if (!(x >= f->min && x <= f->max))
            BAD("%s: expected a number from %g to %g, found %g", f->name, f->min, f->max, x);
        if (f->need && x == 0) BAD("%s: expected above 0 for the rule %s", f->name, c->rule);
    }
    return MOE_OK;
}

static int check_counts(const subject *c)
{
    const moe_route_spec *s = c->spec;
    const uint32_t n = c->n;
    if ((among(s->select, RULES_OF_K) || s->capacity > 0) && (s->top_k == 0 || s->top_k > n))
        BAD("top_k: expected 1 to %u, found %u", n, s->top_k);
    if (s->k_min > n) BAD("k_min: expected at most %u, found %u", n, s->k_min);
    if (s->k_max > n) BAD("k_max: expected at most %u, found %u", n, s->k_max);
    if (s->k_max && s->k_min > s->k_max) BAD("k_min: %u is more than k_max (%u)", s->k_min, s->k_max);
    if (s->choice > (float)n)
        BAD("choice: expected at most %u experts per token, found %g", n, (double)s->choice);
    if (among(s->select, RULES_OF_RANGE) && s->score == MOE_SCORE_IDENTITY)
        BAD("score: the rule %s compares parts of a whole, raw logits are none: expected another score, such "
            "as SOFTMAX",
            c->rule);
    const int normal = s->score == MOE_SCORE_SOFTMAX || s->score == MOE_SCORE_ENTMAX15;
    const double most = normal ? 1 : (double)n + s->n_null;
    if ((double)s->top_p > most) BAD("top_p: expected at most %g, found %g", most, (double)s->top_p);
    return MOE_OK;
}

static int check_groups(const subject *c)
{
    const moe_route_spec *s = c->spec;
    if (s->n_groups == 0) {
        if (s->top_groups) BAD("top_groups: is set, but n_groups is 0");
        if (s->group_score) BAD("group_score: is set, but n_groups is 0");
        return MOE_OK;
    }
    if (s->n_groups == 1) {
        if (s->top_groups > 1) BAD("top_groups: expected at most n_groups (1), found %u", s->top_groups);
        return MOE_OK;
    }
    if (s->n_groups > c->n || c->n % s->n_groups)
        BAD("n_groups: %u groups of equal size cannot be made of %u experts", s->n_groups, c->n);
    if (s->top_groups == 0 || s->top_groups > s->n_groups)
        BAD("top_groups: expected 1 to n_groups (%u), found %u", s->n_groups, s->top_groups);
    const uint64_t room = (uint64_t)(c->n / s->n_groups) * s->top_groups + s->n_null;
    if (among(s->select, RULE(TOPK) | RULE(SPARSEMIXER)) && s->top_k > room)
        BAD("top_k: %u, but %u of %u groups have only %u experts to choose from", s->top_k, s->top_groups,
            s->n_groups, (unsigned)room);
    if (among(s->select,
              RULE(RANDOM) | RULE(HASH) | RULE(TABLE) | RULE(FIXED) | RULE(EXPERT_CHOICE) | RULE(ALL)))
        BAD("n_groups: groups do not go with the rule %s, which does not choose by score: expected 0",
            c->rule);
    return MOE_OK;
}

static int check_null(const subject *c)
{
    const moe_route_spec *s = c->spec;
    if (s->n_null > c->n) BAD("n_null: expected at most as many as experts (%u), found %u", c->n, s->n_null);
    if (s->n_null < c->native_null)
        BAD("n_null: the model's router has %u null experts, found %u", c->native_null, s->n_null);
    if (s->null_bias != 0 && s->n_null == c->native_null)
        BAD("null_bias: is set, but there are no null experts besides the model's own (n_null is %u)",
            s->n_null);
    if (s->n_null && s->select == MOE_SELECT_EXPERT_CHOICE)
        BAD("n_null: null experts cannot choose tokens (EXPERT_CHOICE): expected 0");
    return MOE_OK;
}

static int check_weights(const subject *c)
{
    const moe_route_spec *s = c->spec;
    const int mixer = s->select == MOE_SELECT_SPARSEMIXER, sum = s->weight == MOE_WEIGHT_SUM_TO_ONE;
    if (s->weight == MOE_WEIGHT_RULE && !mixer)
        BAD("weight: the rule %s makes no weights of its own, only SPARSEMIXER does: RULE is not possible",
            c->rule);
    if (mixer && s->weight != MOE_WEIGHT_RULE)
        BAD("weight: SPARSEMIXER makes its own weights: expected RULE");
    if (sum && s->norm != MOE_NORM_NONE && s->norm != MOE_NORM_SUM)
        BAD("norm: SUM_TO_ONE is a norm already: expected NONE or SUM, or the weight RAW");
    const int eps = sum || s->norm == MOE_NORM_SUM || s->norm == MOE_NORM_CLAMP;
    if (s->norm_eps != 0 && !eps) BAD("norm_eps: is set, but the norm is neither SUM nor CLAMP");
    if (s->norm == MOE_NORM_P && !(s->norm_p > 0)) BAD("norm_p: expected above 0 for the norm P");
    if (s->norm != MOE_NORM_P && s->norm_p != 0) BAD("norm_p: is set, but the norm is not P");
    return MOE_OK;
}

static int check_capacity(const subject *c)
{
    const moe_route_spec *s = c->spec;
    const int drawn = s->capacity > 0 && s->capacity_order == MOE_CAPACITY_RANDOM;
    if (s->seed && !drawn && !among(s->select, RULE(RANDOM) | RULE(HASH)))
        BAD("seed: is set, but neither the rule %s nor the places of a capacity are drawn", c->rule);
    if (s->capacity > 0) {
        if (s->select == MOE_SELECT_EXPERT_CHOICE)
            BAD("capacity: experts that choose their tokens (EXPERT_CHOICE) are never full: expected 0");
        if (s->flags & MOE_ROUTE_DROP_FIRST && s->norm == MOE_NORM_NONE && s->weight != MOE_WEIGHT_SUM_TO_ONE)
            BAD("flags: MOE_ROUTE_DROP_FIRST is about the norm, but there is none");
        return MOE_OK;
    }
    if (s->capacity_min) BAD("capacity_min: is set, but there is no capacity");
    if (s->capacity_round) BAD("capacity_round: is set, but there is no capacity");
    if (s->capacity_order) BAD("capacity_order: is set, but there is no capacity");
    if (s->flags & MOE_ROUTE_CHOICE_MAJOR)
        BAD("flags: MOE_ROUTE_CHOICE_MAJOR is set, but there is no capacity");
    if (s->flags & MOE_ROUTE_DROP_FIRST) BAD("flags: MOE_ROUTE_DROP_FIRST is set, but there is no capacity");
    return MOE_OK;
}

static int check_table(const subject *c)
{
    const moe_route_spec *s = c->spec;
    const size_t n = s->n_ids;
    if (n == 0 || n % s->top_k || (c->n_vocab && n / s->top_k != c->n_vocab))
        BAD("ids: a TABLE for top_k %u and %u tokens has %llu entries, found %zu", s->top_k, c->n_vocab,
            (unsigned long long)c->n_vocab * s->top_k, n);
    for (size_t i = 0; i < n; i++)
        if (s->ids[i] >= c->n + s->n_null && s->ids[i] != MOE_EXPERT_NONE)
            BAD("ids: entry %zu is %u, expected an expert below %u", i, s->ids[i], c->n + s->n_null);
    return MOE_OK;
}

/* Ranks, or a set of experts: in range and different. */
static int check_set(const subject *c)
{
    const moe_route_spec *s = c->spec;
    const int ranks = s->select == MOE_SELECT_RANKS;
    if (s->n_ids == 0 && ranks) BAD("ids: RANKS needs at least one rank");
    if (s->n_ids > c->n) BAD("ids: %zu entries for %u experts", s->n_ids, c->n);
    for (size_t i = 0; i < s->n_ids; i++) {
        if (s->ids[i] >= c->n)
            BAD("ids: entry %zu is %u, expected %s below %u", i, s->ids[i], ranks ? "a rank" : "an expert",
                c->n);
        for (size_t j = 0; j < i; j++)
            if (s->ids[i] == s->ids[j])
                BAD("ids: %u stands there twice (entries %zu and %zu)", s->ids[i], j, i);
    }
    return MOE_OK;
}

static int check_ids(const subject *c)
{
    if (c->spec->n_ids && !c->spec->ids) BAD("ids: is NULL, but n_ids is %zu", c->spec->n_ids);
    if (c->spec->select == MOE_SELECT_TABLE) return check_table(c);
    return c->spec->n_ids || c->spec->select == MOE_SELECT_RANKS ? check_set(c) : MOE_OK;
}

static uint32_t most_pairs(const moe_route_spec *s, uint32_t n)
{
    if (among(s->select, RULES_OF_K)) return s->top_k;
    if (among(s->select, RULES_OF_RANGE)) return s->k_max ? s->k_max : n;
    return s->n_ids ? (uint32_t)s->n_ids : n;
}

static int copy_ids(moe__recipe *r, const moe__allocator *a, const uint32_t *ids)
{
    r->ids = NULL;
    r->spec.ids = NULL;
    if (r->spec.n_ids == 0) return MOE_OK;
    MOE_TRY(MOE_NEW(a, &r->ids, r->spec.n_ids, "route spec"));
    memcpy(r->ids, ids, r->spec.n_ids * sizeof *ids);
    r->spec.ids = r->ids;
    return MOE_OK;
}

int moe__recipe_init(moe__recipe *r, const moe__allocator *a, const moe__kernels *k,
                     const moe_route_spec *spec, uint32_t n_experts, uint32_t native_null, uint32_t n_vocab,
                     uint32_t layer)
{
    const moe_policy *rule = moe__rule_find(spec->select);
    if (!rule) BAD("select: %d is unknown", spec->select);
    const subject c = {spec, n_experts, native_null, n_vocab, rule->name};
    MOE_TRY(check_members(&c));
    MOE_TRY(check_counts(&c));
    MOE_TRY(check_groups(&c));
    MOE_TRY(check_null(&c));
    MOE_TRY(check_weights(&c));
    MOE_TRY(check_capacity(&c));
    MOE_TRY(check_ids(&c));
    moe__recipe next = {.spec = *spec, .k = k, .n_experts = n_experts, .layer = layer, .rule = rule};
    next.norm = spec->weight == MOE_WEIGHT_SUM_TO_ONE ? MOE_NORM_SUM : spec->norm;
    next.scale = spec->scale != 0 ? spec->scale : 1;
    next.k_min = spec->k_min ? spec->k_min : 1;
    next.score = moe__score_find(spec->score);
    next.max_k = most_pairs(spec, n_experts);
    next.coupled = (rule->flags & MOE_POLICY_BATCH_COUPLED) || spec->capacity > 0;
    MOE_TRY(copy_ids(&next, a, spec->ids));
    *r = next;
    return MOE_OK;
}

void moe__recipe_finish(moe__recipe *r, const moe__allocator *a)
{
    moe__free(a, r->ids);
    *r = (moe__recipe){0};
}

int moe__recipe_copy(moe__recipe *dst, const moe__recipe *src, const moe__allocator *a)
{
    moe__recipe next = *src;
    MOE_TRY(copy_ids(&next, a, src->ids));
    *dst = next;
    return MOE_OK;
}

#undef BAD
#undef RULE
