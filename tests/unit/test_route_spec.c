/* SPDX-License-Identifier: MIT */
/* Recipes: what is refused and with which words, and recipes as text, both ways. */
#include "route_rig.h"

#include "route/fields.h"
#include "route/names.h"

#define AT(member) offsetof(moe_route_spec, member)

/* A legal recipe, by rule; what it needs is there. */
static moe_route_spec legal(int select)
{
    static const uint32_t ranks[2] = {1, 3},
                          table[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, MOE_EXPERT_NONE};
    moe_route_spec s = MOE_ROUTE_SPEC_INIT;
    s.score = MOE_SCORE_SOFTMAX;
    s.select = select;
    s.weight = select == MOE_SELECT_SPARSEMIXER ? MOE_WEIGHT_RULE : MOE_WEIGHT_RAW;
    s.top_k = 2;
    if (select == MOE_SELECT_TOPP) s.top_p = .5f;
    if (select == MOE_SELECT_THRESHOLD) s.threshold = .5f;
    if (select == MOE_SELECT_EXPERT_CHOICE) s.choice = 2;
    if (select == MOE_SELECT_RANKS || select == MOE_SELECT_FIXED) {
        s.ids = ranks;
        s.n_ids = 2;
    }
    if (select == MOE_SELECT_TABLE) {
        s.ids = table;
        s.n_ids = 16;
    }
    return s;
}

/* 8 experts, 8 tokens, none of the null experts the model's own. */
static int set(const moe_route_spec *s)
{
    moe__clear_error();
    rig_model(8, 0);
    return moe__router_set_spec(&g.router, s);
}

static void every_rule_has_a_legal_recipe(void **state)
{
    (void)state;
    for (int select = 1; select <= MOE_SELECT_EXPERT_CHOICE; select++) {
        const moe_route_spec s = legal(select);
        if (set(&s) != MOE_OK) fail_msg("%d: %s", select, moe__last_error());
        const moe_policy *p = moe__rule_find(select);
        assert_non_null(p->name);
        assert_ptr_equal(p, g.router.recipe.rule);
        assert_true((p->flags & MOE_POLICY_PARALLEL) || (p->flags & MOE_POLICY_BATCH_COUPLED));
        assert_true(g.router.max_k >= 1 && g.router.max_k <= 8);
    }
    assert_null(moe__rule_find(0));
    assert_null(moe__rule_find(-1));
    assert_null(moe__rule_find(MOE_SELECT_EXPERT_CHOICE + 1));
    assert_null(moe__score_find(0));
    assert_null(moe__score_find(-1));
    assert_null(moe__score_find(6));
}

/* One or two members are set in the legal recipe of a rule; the message has the words. */
typedef enum type { U, F, S } type; /* uint32_t or int32_t, float, uint64_t */
typedef struct edit {
    size_t at;
    type type;
    double value;
} edit;
typedef struct refused {
    int select;
    edit edit[4];
    const char *words[2];
} refused;

static void apply(moe_route_spec *s, const edit *e)
{
    char *p = (char *)s + e->at;
    const float f = (float)e->value;
    const uint32_t u = (uint32_t)(int64_t)e->value;
    const uint64_t l = (uint64_t)e->value;
    memcpy(p,
           e->type == F   ? (const void *)&f
           : e->type == U ? (const void *)&u
                          : (const void *)&l,
           e->type == S ? 8 : 4);
}

/* clang-format off */
#define TOPK MOE_SELECT_TOPK
#define TOPP MOE_SELECT_TOPP
#define THRESHOLD MOE_SELECT_THRESHOLD
#define RANKS MOE_SELECT_RANKS
#define RANDOM MOE_SELECT_RANDOM
#define MIXER MOE_SELECT_SPARSEMIXER
#define HASH MOE_SELECT_HASH
#define TABLE MOE_SELECT_TABLE
#define FIXED MOE_SELECT_FIXED
#define CHOICE MOE_SELECT_EXPERT_CHOICE

static const refused refusals[] = {
    /* unknown values */
    {TOPK, {{AT(select), U, 0}}, {"select", "unknown"}},
    {TOPK, {{AT(select), U, 99}}, {"select", "99"}},
    {TOPK, {{AT(select), U, -1}}, {"select", "-1"}},
    {TOPK, {{AT(score), U, 0}}, {"score", "unknown"}},
    {TOPK, {{AT(score), U, 6}}, {"score", "6"}},
    {TOPK, {{AT(score), U, -1}}, {"score", "-1"}},
    {TOPK, {{AT(weight), U, 0}}, {"weight", "unknown"}},
    {TOPK, {{AT(weight), U, 7}}, {"weight", "7"}},
    {TOPK, {{AT(norm), U, 4}}, {"norm", "unknown"}},
    {TOPK, {{AT(norm), U, -1}}, {"norm", "-1"}},
    {TOPK, {{AT(group_score), U, 2}, {AT(n_groups), U, 2}, {AT(top_groups), U, 1}}, {"group_score", "2 is"}},
    {TOPK, {{AT(capacity_round), U, 3}, {AT(capacity), F, 1}}, {"capacity_round", "unknown"}},
    {TOPK, {{AT(capacity_order), U, 3}, {AT(capacity), F, 1}}, {"capacity_order", "unknown"}},
    {TOPK, {{AT(flags), U, 64}}, {"flags", "0x40"}},
    {TOPK, {{AT(reserved), U, 1}}, {"reserved", "0"}},
    /* numbers out of range, or none */
    {TOPK, {{AT(top_k), U, 0}}, {"top_k", "1 to 8"}},
    {TOPK, {{AT(top_k), U, 9}}, {"top_k", "9"}},
    {RANDOM, {{AT(top_k), U, 0}}, {"top_k", "1 to 8"}},
    {MIXER, {{AT(top_k), U, 9}}, {"top_k", "9"}},
    {HASH, {{AT(top_k), U, 9}}, {"top_k", "9"}},
    {TABLE, {{AT(top_k), U, 0}}, {"top_k", "1 to 8"}},
    {TOPP, {{AT(capacity), F, 1}, {AT(top_k), U, 0}}, {"top_k", "1 to 8"}},
    {TOPK, {{AT(scale), F, INFINITY}}, {"scale", "inf"}},
    {TOPK, {{AT(scale), F, NAN}}, {"scale", "nan"}},
    {TOPK, {{AT(temperature), F, -1}}, {"temperature", "-1"}},
    {TOPK, {{AT(temperature), F, NAN}}, {"temperature", "nan"}},
    {TOPK, {{AT(temperature), F, INFINITY}}, {"temperature", "inf"}},
    {TOPP, {{AT(top_p), F, 0}}, {"top_p", "above 0"}},
    {TOPP, {{AT(top_p), F, -.5}}, {"top_p", "-0.5"}},
    {TOPP, {{AT(top_p), F, 1.5}}, {"top_p", "at most 1"}},
    {TOPP, {{AT(top_p), F, NAN}}, {"top_p", "nan"}},
    {TOPP, {{AT(top_p), F, 9}, {AT(score), U, MOE_SCORE_SIGMOID}}, {"top_p", "at most 8"}},
    {THRESHOLD, {{AT(threshold), F, 1.5}}, {"threshold", "0 to 1"}},
    {THRESHOLD, {{AT(threshold), F, -.1}}, {"threshold", "0 to 1"}},
    {THRESHOLD, {{AT(threshold), F, NAN}}, {"threshold", "nan"}},
    {TOPP, {{AT(k_min), U, 9}}, {"k_min", "at most 8"}},
    {TOPP, {{AT(k_max), U, 9}}, {"k_max", "at most 8"}},
    {THRESHOLD, {{AT(k_min), U, 3}, {AT(k_max), U, 2}}, {"k_min", "k_max (2)"}},
    {MIXER, {{AT(epsilon), F, -1}}, {"epsilon", "-1"}},
    {MIXER, {{AT(epsilon), F, NAN}}, {"epsilon", "nan"}},
    {CHOICE, {{AT(choice), F, 0}}, {"choice", "above 0"}},
    {CHOICE, {{AT(choice), F, 9}}, {"choice", "at most 8"}},
    {CHOICE, {{AT(choice), F, NAN}}, {"choice", "nan"}},
    {TOPK, {{AT(capacity), F, -1}}, {"capacity", "-1"}},
    {TOPK, {{AT(capacity), F, INFINITY}}, {"capacity", "inf"}},
    {TOPK, {{AT(norm), U, MOE_NORM_SUM}, {AT(norm_eps), F, -1}}, {"norm_eps", "-1"}},
    {TOPK, {{AT(norm), U, MOE_NORM_P}}, {"norm_p", "above 0"}},
    {TOPK, {{AT(norm), U, MOE_NORM_P}, {AT(norm_p), F, NAN}}, {"norm_p", "nan"}},
    /* what nobody reads */
    {TOPK, {{AT(top_p), F, .5}}, {"top_p", "topk does not read"}},
    {TOPK, {{AT(threshold), F, .5}}, {"threshold", "topk does not read"}},
    {TOPK, {{AT(k_min), U, 1}}, {"k_min", "topk does not read"}},
    {TOPK, {{AT(k_max), U, 1}}, {"k_max", "topk does not read"}},
    {TOPK, {{AT(epsilon), F, .01}}, {"epsilon", "topk does not read"}},
    {TOPK, {{AT(choice), F, 2}}, {"choice", "topk does not read"}},
    {TOPK, {{AT(n_ids), S, 2}}, {"ids", "topk does not read"}},
    {TOPP, {{AT(threshold), F, .5}}, {"threshold", "topp does not read"}},
    {THRESHOLD, {{AT(top_p), F, .5}}, {"top_p", "threshold does not read"}},
    {TOPK, {{AT(flags), U, MOE_ROUTE_INCLUSIVE}}, {"INCLUSIVE", "topk does not read"}},
    {TOPK, {{AT(flags), U, MOE_ROUTE_PER_SEQUENCE}}, {"PER_SEQUENCE", "topk does not read"}},
    {HASH, {{AT(flags), U, MOE_ROUTE_PER_SEQUENCE}}, {"PER_SEQUENCE", "hash does not read"}},
    {RANDOM, {{AT(flags), U, MOE_ROUTE_NONCAUSAL}}, {"NONCAUSAL", "random does not read"}},
    {TOPK, {{AT(seed), S, 1}}, {"seed", "topk"}},
    {TOPK, {{AT(seed), S, 1}, {AT(capacity), F, 1}}, {"seed", "drawn"}},
    {TOPK, {{AT(null_bias), F, 1}}, {"null_bias", "n_null is 0"}},
    {TOPK, {{AT(norm_eps), F, 1e-9}}, {"norm_eps", "neither"}},
    {TOPK, {{AT(norm), U, MOE_NORM_P}, {AT(norm_p), F, 1}, {AT(norm_eps), F, 1e-9}}, {"norm_eps", "neither"}},
    {TOPK, {{AT(norm_p), F, 1}}, {"norm_p", "not P"}},
    {TOPK, {{AT(top_groups), U, 1}}, {"top_groups", "n_groups is 0"}},
    {TOPK, {{AT(group_score), U, 1}}, {"group_score", "n_groups is 0"}},
    {TOPK, {{AT(capacity_min), U, 1}}, {"capacity_min", "no capacity"}},
    {TOPK, {{AT(capacity_round), U, 1}}, {"capacity_round", "no capacity"}},
    {TOPK, {{AT(capacity_order), U, 1}}, {"capacity_order", "no capacity"}},
    {TOPK, {{AT(flags), U, MOE_ROUTE_CHOICE_MAJOR}}, {"CHOICE_MAJOR", "no capacity"}},
    {TOPK, {{AT(flags), U, MOE_ROUTE_DROP_FIRST}}, {"DROP_FIRST", "no capacity"}},
    {TOPK, {{AT(flags), U, MOE_ROUTE_DROP_FIRST}, {AT(capacity), F, 1}}, {"DROP_FIRST", "norm"}},
    /* what does not go together */
    {TOPP, {{AT(score), U, MOE_SCORE_IDENTITY}}, {"score", "raw logits"}},
    {THRESHOLD, {{AT(score), U, MOE_SCORE_IDENTITY}}, {"score", "raw logits"}},
    {TOPK, {{AT(weight), U, MOE_WEIGHT_RULE}}, {"weight", "SPARSEMIXER"}},
    {RANDOM, {{AT(weight), U, MOE_WEIGHT_RULE}}, {"weight", "SPARSEMIXER"}},
    {MIXER, {{AT(weight), U, MOE_WEIGHT_RAW}}, {"weight", "RULE"}},
    {TOPK, {{AT(weight), U, MOE_WEIGHT_SUM_TO_ONE}, {AT(norm), U, MOE_NORM_CLAMP}}, {"norm", "already"}},
    {TOPK, {{AT(n_groups), U, 3}, {AT(top_groups), U, 1}}, {"n_groups", "3 groups of equal size"}},
    {TOPK, {{AT(n_groups), U, 16}, {AT(top_groups), U, 1}}, {"n_groups", "8 experts"}},
    {TOPK, {{AT(n_groups), U, 2}}, {"top_groups", "1 to n_groups (2)"}},
    {TOPK, {{AT(n_groups), U, 2}, {AT(top_groups), U, 3}}, {"top_groups", "found 3"}},
    {TOPK, {{AT(n_groups), U, 1}, {AT(top_groups), U, 2}}, {"top_groups", "found 2"}},
    {TOPK, {{AT(n_groups), U, 4}, {AT(top_groups), U, 1}, {AT(top_k), U, 3}}, {"top_k", "only 2"}},
    {RANDOM, {{AT(n_groups), U, 4}, {AT(top_groups), U, 2}}, {"n_groups", "random"}},
    {TABLE, {{AT(n_groups), U, 4}, {AT(top_groups), U, 2}}, {"n_groups", "table"}},
    {FIXED, {{AT(n_groups), U, 4}, {AT(top_groups), U, 2}}, {"n_groups", "fixed"}},
    {CHOICE, {{AT(n_groups), U, 4}, {AT(top_groups), U, 2}}, {"n_groups", "expertchoice"}},
    {TOPK, {{AT(n_null), U, 9}}, {"n_null", "at most as many"}},
    {CHOICE, {{AT(n_null), U, 1}}, {"n_null", "cannot choose"}},
    {CHOICE, {{AT(capacity), F, 1}}, {"capacity", "never full"}},
    /* ids */
    {RANKS, {{AT(n_ids), S, 0}}, {"ids", "at least one"}},
    {TABLE, {{AT(n_ids), S, 0}}, {"ids", "16 entries"}},
    {TABLE, {{AT(n_ids), S, 14}}, {"ids", "found 14"}},
    {TABLE, {{AT(n_ids), S, 15}}, {"ids", "found 15"}},
    {RANKS, {{AT(n_ids), S, 9}}, {"ids", "9 entries"}},
};
/* clang-format on */

static void illegal_recipes_are_refused_with_the_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(refusals); i++) {
        const refused *r = &refusals[i];
        moe_route_spec s = legal(r->select);
        for (int j = 0; j < 4 && r->edit[j].at; j++) apply(&s, &r->edit[j]);
        const int st = set(&s);
        if (st != MOE_E_INVALID) fail_msg("case %zu (%s, %s): status %d", i, r->words[0], r->words[1], st);
        for (int j = 0; j < 2; j++)
            if (!strstr(moe__last_error(), r->words[j]))
                fail_msg("case %zu: no '%s' in: %s", i, r->words[j], moe__last_error());
        /* nothing has changed */
        assert_true(moe__router_is_native(&g.router));
    }
}

static void bad_ids_are_refused(void **state)
{
    (void)state;
    static const uint32_t twice[2] = {3, 3}, far[2] = {1, 8}, none[2] = {1, MOE_EXPERT_NONE};
    static const struct {
        int select;
        const uint32_t *ids;
        const char *words;
    } row[] = {
        {RANKS, twice, "3 stands there twice"},
        {RANKS, far, "a rank below 8"},
        {RANKS, none, "a rank below 8"},
        {RANKS, NULL, "is NULL"},
        {FIXED, twice, "twice"},
        {FIXED, far, "an expert below 8"},
        {FIXED, none, "an expert below 8"},
        {FIXED, NULL, "is NULL"},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        moe_route_spec s = legal(row[i].select);
        s.ids = row[i].ids;
        assert_int_equal(set(&s), MOE_E_INVALID);
        if (!strstr(moe__last_error(), row[i].words)) fail_msg("case %zu: %s", i, moe__last_error());
    }
    uint32_t table[16] = {0};
    moe_route_spec s = legal(TABLE);
    s.ids = table;
    assert_int_equal(set(&s), MOE_OK); /* an expert twice is fine here */
    table[9] = 8;
    assert_int_equal(set(&s), MOE_E_INVALID);
    assert_non_null(strstr(moe__last_error(), "entry 9 is 8"));
    s.n_null = 1;
    assert_int_equal(set(&s), MOE_OK);
}

/* A model's own null experts can be more, not fewer. */
static void native_null_experts_stay(void **state)
{
    (void)state;
    moe_route_spec s = legal(TOPK);
    rig_model(8, 2);
    assert_int_equal(moe__router_set_spec(&g.router, &s), MOE_E_INVALID);
    assert_non_null(strstr(moe__last_error(), "2 null experts"));
    s.n_null = 2;
    assert_int_equal(moe__router_set_spec(&g.router, &s), MOE_OK);
    s.null_bias = 1;
    assert_int_equal(moe__router_set_spec(&g.router, &s), MOE_E_INVALID);
    s.n_null = 3;
    assert_int_equal(moe__router_set_spec(&g.router, &s), MOE_OK);
    rig_set("deepseek-moe:k=2"); /* families keep them */
    assert_int_equal(g.router.recipe.spec.n_null, 2);
    assert_int_equal(rig_try("topk:null=1"), MOE_E_INVALID);
}

/* The recipe has ids of its own. */
static void ids_are_copied(void **state)
{
    (void)state;
    uint32_t ids[2] = {1, 3};
    moe_route_spec s = legal(RANKS);
    moe__recipe copy;
    s.ids = ids;
    assert_int_equal(set(&s), MOE_OK);
    ids[0] = 7;
    assert_int_equal(g.router.recipe.spec.ids[0], 1);
    assert_int_equal(moe__recipe_copy(&copy, &g.router.recipe, &g.alloc), MOE_OK);
    assert_ptr_not_equal(copy.ids, g.router.recipe.ids);
    assert_ptr_equal(copy.spec.ids, copy.ids);
    assert_int_equal(copy.ids[1], 3);
    moe__recipe_finish(&copy, &g.alloc);
}

/* Got from the model, given another rule, and set: no member is in the way. */
static void a_native_recipe_takes_every_rule(void **state)
{
    (void)state;
    static const char *const native[] = {"mixtral", "qwen2moe", "deepseek-v3:groups=1,topgroups=1", "dbrx"};
    for (size_t i = 0; i < COUNT(native); i++)
        for (int select = 1; select <= MOE_SELECT_EXPERT_CHOICE; select++) {
            const moe_route_spec want = legal(select);
            rig_model(8, 0);
            rig_native(native[i]);
            moe_route_spec s = g.router.recipe.spec;
            s.select = select;
            s.top_p = want.top_p;
            s.threshold = want.threshold;
            s.choice = want.choice;
            s.ids = want.ids;
            s.n_ids = want.n_ids;
            if (select == TABLE) s.top_k = 2;
            if (s.score == MOE_SCORE_IDENTITY) s.score = MOE_SCORE_SOFTMAX;
            if (select == MIXER) s.weight = MOE_WEIGHT_RULE;
            if (moe__router_set_spec(&g.router, &s) != MOE_OK)
                fail_msg("%s, rule %d: %s", native[i], select, moe__last_error());
        }
}

/* ------------------------------------------------------------------------------------------------- texts */

static void texts_say_what_they_mean(void **state)
{
    (void)state;
    rig_model(64, 0);
    rig_set("topp:p=0.4,kmin=1");
    const moe_route_spec *s = &g.router.recipe.spec;
    assert_int_equal(s->select, TOPP);
    assert_true(s->top_p == .4f && s->k_min == 1 && s->k_max == 0);
    rig_set(" topk : k = 2 ");
    assert_int_equal(s->select, TOPK);
    assert_int_equal(s->top_k, 2);
    rig_set("minp:p=0.1");
    assert_int_equal(s->select, THRESHOLD);
    assert_true(s->threshold == .1f && s->top_p == 0 && s->k_max == 0);
    rig_set("threshold:t=0.3,kmin=2,kmax=6");
    assert_true(s->threshold == .3f && s->k_min == 2 && s->k_max == 6);
    rig_set("ser:kmin=6,t=0.3,k=8");
    assert_true(s->select == THRESHOLD && s->threshold == .3f && s->k_min == 6 && s->k_max == 8);
    rig_set("ranks:1+3");
    assert_true(s->select == RANKS && s->n_ids == 2 && s->ids[0] == 1 && s->ids[1] == 3);
    rig_set("current:scale=2");
    assert_true(s->select == RANKS && s->n_ids == 2 && s->ids[1] == 3 && s->scale == 2);
    rig_set("random:k=2,seed=18446744073709551615,perseq=1");
    assert_true(s->seed == UINT64_MAX && s->flags == MOE_ROUTE_PER_SEQUENCE && s->n_ids == 0);
    rig_set("deepseek-v3:k=8,groups=8,topgroups=4,scale=2.5");
    assert_true(s->score == MOE_SCORE_SIGMOID && s->norm == MOE_NORM_SUM && s->scale == 2.5f);
    assert_true(s->n_groups == 8 && s->top_groups == 4 && s->group_score == MOE_GROUP_TOP2_SUM);
    rig_set("phi3.5-moe");
    rig_set("current:k=1");
    assert_true(s->select == MIXER && s->top_k == 1);
    rig_set("topk:capacity=1.25,capmin=4,capround=even,caporder=random,choicemajor=1,seed=3");
    assert_true(s->capacity == 1.25f && s->capacity_min == 4 && s->capacity_round == MOE_CAPACITY_EVEN);
    assert_true(s->capacity_order == MOE_CAPACITY_RANDOM && s->flags == MOE_ROUTE_CHOICE_MAJOR &&
                s->seed == 3);
    rig_set("topk:null=4,nullbias=-0.25,input=1,temp=1e-2,norm=p,normp=2");
    assert_true(s->n_null == 4 && s->null_bias == -.25f && s->flags == MOE_ROUTE_ON_INPUT);
    assert_true(s->temperature == .01f && s->norm == MOE_NORM_P && s->norm_p == 2);
    rig_set("native");
    assert_true(moe__router_is_native(&g.router));
    rig_set("fixed");
    assert_true(s->select == FIXED && s->n_ids == 0);
}

/* Leaving sparsemixer, weights are made as the model makes them. */
static void sparsemixer_comes_and_goes(void **state)
{
    (void)state;
    rig_model(8, 0);
    rig_native("dbrx");
    rig_set("sparsemixer");
    const moe_route_spec *s = &g.router.recipe.spec;
    assert_true(s->weight == MOE_WEIGHT_RULE && s->norm == MOE_NORM_NONE && s->norm_p == 0);
    rig_set("topk");
    assert_true(s->weight == MOE_WEIGHT_RAW && s->norm == MOE_NORM_P && s->norm_p == 1);
    rig_native("phi3.5-moe");
    rig_set("topk");
    assert_true(s->weight == MOE_WEIGHT_SOFTMAX_SELECTED && s->epsilon == 0);
    rig_set("topp:p=0.5");
    assert_true(s->weight == MOE_WEIGHT_SOFTMAX_SELECTED && s->score == MOE_SCORE_SOFTMAX);
    rig_set("sparsemixer");
    assert_true(s->weight == MOE_WEIGHT_RULE);
}

static void bad_texts_are_refused_with_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words[2];
    } row[] = {
        {"", {"byte 0", "topk, topp"}},
        {"top", {"byte 0: there is no recipe 'top'", "deepseek-v3"}},
        {"Topk", {"byte 0", "'Topk'"}},
        {"topk:kmin=2", {"byte 5: 'topk' has no key 'kmin'", "k, seed, score"}},
        {"topk:p=0.5", {"byte 5", "no key 'p'"}},
        {"minp:t=0.5", {"byte 5: 'minp' has no key 't'", "k, p, kmin"}},
        {"threshold:p=0.5", {"byte 10", "no key 'p'"}},
        {"topp:p=0.5,groups", {"byte 11: 'groups' has no '='", ""}},
        {"topk:k=2,", {"byte 9", "has no '='"}},
        {"topk:", {"byte 5", "has no '='"}},
        {"topk:k=", {"byte 7", "no number"}},
        {"topk:k=2.5", {"byte 7: '2.5'", "no number"}},
        {"topk:k=-1", {"byte 7", "'-1'"}},
        {"topk:k=4294967296", {"byte 7", "no number"}},
        {"topk:k=99999999999999999999999", {"byte 7", "no number"}},
        {"topk:k=2x", {"byte 7: '2x'", "no number"}},
        {"topk:k=2,k=3", {"byte 11: k stands there twice", ""}},
        {"topk:temp=1,5", {"byte 12: '5' has no '='", ""}},
        {"topk:temp=nan", {"byte 10", "no number"}},
        {"topk:temp=inf", {"byte 10", "no number"}},
        {"topk:temp=1e99", {"byte 10", "no number"}},
        {"topk:temp=.5", {"byte 10", "no number"}},
        {"topk:temp=0x1", {"byte 10", "no number"}},
        {"topk:score=soft", {"byte 11: score is 'soft'", "softmax, identity"}},
        {"topk:weight=", {"byte 12", "raw, sum, selected"}},
        {"topk:input=2", {"byte 11", "no number"}},
        {"topk:1+2", {"byte 5: '1+2' has no '='", ""}},
        {"ranks:1+", {"byte 8: ''", "no number"}},
        {"ranks:1++2", {"byte 8", "no number"}},
        {"ranks:1+x", {"byte 8: 'x'", "no number"}},
        {"ranks:1,2", {"byte 8", "twice"}},
        {"ranks:1,ids=2", {"byte 12", "twice"}},
        {"ranks:4294967295", {"byte 6", "no number"}},
        {"ranks", {"'ranks' needs ids=", ""}},
        {"topp", {"'topp' needs p=", ""}},
        {"topp:kmin=2", {"'topp' needs p=", ""}},
        {"minp", {"'minp' needs p=", ""}},
        {"ser:kmin=1", {"'ser' needs t=", ""}},
        {"table:k=2", {"'table' needs ids=", ""}},
        {"expertchoice", {"'expertchoice' needs c=", ""}},
        {"adamoe", {"'adamoe' needs null=", ""}},
        {"native=2", {"byte 0", "'native=2'"}},
        {"topk;k=2", {"byte 0", "'topk;k=2'"}},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        rig_model(8, 0);
        const int st = rig_try(row[i].text);
        if (st != MOE_E_INVALID) fail_msg("'%s': status %d", row[i].text, st);
        for (int j = 0; j < 2; j++)
            if (!strstr(moe__last_error(), row[i].words[j]))
                fail_msg("'%s': no '%s' in: %s", row[i].text, row[i].words[j], moe__last_error());
        assert_true(moe__router_is_native(&g.router));
    }
}

static void format(const moe_route_spec *spec, const moe_route_spec *native, char *text, size_t cap)
{
    const size_t n = moe__spec_format(spec, native, text, cap - 1);
    assert_true(n < cap);
    text[n] = '\0';
    assert_int_equal(moe__spec_format(spec, native, NULL, 0), n); /* the length needs no room */
}

static void texts_are_short(void **state)
{
    (void)state;
    static const char *const text[] = {
        "native",
        "topk:k=3",
        "topp:p=0.4",
        "topp:p=0.4,kmin=2,kmax=3,inclusive=1",
        "threshold:t=0.3,kmin=2,kmax=6",
        "threshold:t=0",
        "ranks:1+3",
        "fixed",
        "fixed:0+5+7",
        "all",
        "random:perseq=1,seed=7",
        "random:seed=18446744073709551615",
        "table:k=1,0+1+2+3+none+5+6+7",
        "sparsemixer:jitter=0.02",
        "expertchoice:c=1.5",
        "topk:score=sigmoid,norm=sum,eps=1e-20,scale=2.5,groups=4,topgroups=2,groupscore=top2",
        "topk:null=2,nullbias=-0.125",
        "topk:input=1,capacity=1.25,capmin=4,capround=even,caporder=prob,choicemajor=1",
    };
    for (size_t i = 0; i < COUNT(text); i++) {
        char found[256];
        rig_use(8, text[i]);
        format(&g.router.recipe.spec, &g.router.native, found, sizeof found);
        assert_string_equal(found, text[i]);
    }
    /* other spellings of the same */
    char found[256];
    rig_use(8, "ser:k=4,t=0.5");
    format(&g.router.recipe.spec, &g.router.native, found, sizeof found);
    assert_string_equal(found, "threshold:k=4,t=0.5,kmax=4");
    rig_use(8, "olmoe:k=2");
    format(&g.router.recipe.spec, &g.router.native, found, sizeof found);
    assert_string_equal(found, "native");
    char small[8];
    rig_use(8, "ranks:1+3");
    memset(small, '#', sizeof small);
    assert_int_equal(moe__spec_format(&g.router.recipe.spec, &g.router.native, small, 4), 9);
    assert_memory_equal(small, "rank####", 8);
}

/* A number that a member may hold, whether the recipe makes sense or not. */
static void fill(moe_route_spec *s, const moe__spec_field *f, uint32_t *ids)
{
    const double u = rig_noise();
    switch (f->kind) {
    case MOE_FIELD_U32: moe__field_set(s, f, floor(u * (rig_noise() < .5 ? 10 : 4294967295.0))); break;
    case MOE_FIELD_U64: s->seed = (uint64_t)(u * 1.8e19) + (uint64_t)(rig_noise() * 1e6); break;
    case MOE_FIELD_F32: {
        float x = (float)((u - (f->min < 0 ? .5 : 0)) * pow(10, floor(rig_noise() * 60) - 30));
        if (rig_noise() < .3) x = (float)(int)(u * 100) / 100;
        moe__field_set(s, f, (double)x);
        break;
    }
    case MOE_FIELD_ENUM: {
        int v = (int)(u * moe__field_words(f));
        moe__field_set(s, f, f->words[v] ? v : v + 1);
        break;
    }
    case MOE_FIELD_FLAG: moe__field_set(s, f, u < .5); break;
    default:
        s->n_ids = (size_t)(u * 12);
        s->ids = s->n_ids ? ids : NULL;
        for (size_t i = 0; i < s->n_ids; i++)
            ids[i] = rig_noise() < .1 ? MOE_EXPERT_NONE : (uint32_t)(rig_noise() * 70000);
    }
}

static void random_spec(moe_route_spec *s, uint32_t *ids, double density)
{
    moe_route_spec zero = MOE_ROUTE_SPEC_INIT;
    *s = zero;
    s->score = 1 + (int)(rig_noise() * 5);
    s->weight = 1 + (int)(rig_noise() * 6);
    s->select = 1 + (int)(rig_noise() * MOE_SELECT_EXPERT_CHOICE);
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        const int reads = !f->readers || (1u << s->select & f->readers);
        if (reads && rig_noise() < density) fill(s, f, ids);
    }
    /* rules that need something have it */
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        if (f->kind == MOE_FIELD_IDS && (s->select == RANKS || s->select == TABLE) && s->n_ids == 0) {
            s->ids = ids;
            s->n_ids = 3;
            memset(ids, 0, 3 * sizeof *ids);
        }
    }
}

/* The text of a recipe is read back as the same recipe, whatever the model's own is. */
static void format_then_parse_is_the_identity(void **state)
{
    (void)state;
    for (int round = 0; round < 20000; round++) {
        moe_route_spec spec, native, base, back;
        uint32_t ids[16], native_ids[16], base_ids[16], *back_ids;
        char text[2048];
        random_spec(&native, native_ids, .5);
        random_spec(&base, base_ids, .5);
        if (rig_noise() < .5) { /* near the model's own, as most are */
            spec = native;
            memcpy(ids, native_ids, sizeof ids);
            spec.ids = spec.n_ids ? ids : NULL;
            const moe__spec_field *f = &moe__spec_fields[(int)(rig_noise() * MOE_N_SPEC_FIELDS)];
            if (!f->readers || (1u << spec.select & f->readers)) fill(&spec, f, ids);
            if (spec.n_ids == 0 && (spec.select == RANKS || spec.select == TABLE)) continue;
        } else {
            random_spec(&spec, ids, .5);
        }
        format(&spec, &native, text, sizeof text);
        moe__clear_error();
        if (moe__spec_parse(&back, &back_ids, &g.alloc, text, &base, &native) != MOE_OK)
            fail_msg("'%s': %s", text, moe__last_error());
        assert_int_equal(back.select, spec.select);
        for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++)
            if (!moe__field_same(&back, &spec, &moe__spec_fields[i]))
                fail_msg("'%s': %s is another", text, moe__spec_fields[i].name);
        assert_int_equal(back.size, sizeof back);
        assert_ptr_equal(back.ids, back_ids);
        moe__free(&g.alloc, back_ids);
    }
}

/* Damaged texts are refused or read; nothing else happens (for sanitizers). */
static void damaged_texts_do_no_harm(void **state)
{
    (void)state;
    static const char *const start[] = {"deepseek-v3:k=8,groups=8,topgroups=4,scale=2.5,eps=1e-20",
                                        "ranks:1+3+none", "topp:p=0.4,kmin=1,inclusive=1",
                                        "random:k=2,seed=18446744073709551615"};
    static const char bytes[] = "0123456789+-.,:=eE knopst\x80\xff";
    for (int round = 0; round < 20000; round++) {
        char text[128];
        const char *from = start[(size_t)round % COUNT(start)];
        size_t n = strlen(from);
        memcpy(text, from, n + 1);
        for (int edits = 1 + round % 3; edits > 0; edits--)
            text[(size_t)(rig_noise() * (double)n)] =
                bytes[(size_t)(rig_noise() * (double)(sizeof bytes - 1))];
        if (rig_noise() < .3) text[(size_t)(rig_noise() * (double)n)] = '\0';
        rig_model(16, 0);
        const int st = rig_try(text);
        assert_true(st == MOE_OK || (st == MOE_E_INVALID && *moe__last_error()));
    }
}

static void names_are_listed(void **state)
{
    (void)state;
    const char *summary;
    size_t n = 0;
    for (const char *name; (name = moe_policy_name(n, &summary)) != NULL; n++) {
        assert_non_null(summary);
        assert_true(*name && *summary);
        for (size_t i = 0; i < n; i++) assert_string_not_equal(name, moe_policy_name(i, NULL));
        /* every family is a legal recipe for 64 experts */
        rig_model(64, 0);
        if (moe__spec_rows[n].kind == MOE_NAME_FAMILY)
            if (strcmp(name, "adamoe") != 0) rig_set(name);
    }
    assert_int_equal(n, MOE_N_SPEC_NAMES);
    assert_null(moe_policy_name(n, &summary));
    assert_null(summary);
    assert_null(moe_policy_name(SIZE_MAX, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_rule_has_a_legal_recipe),
        cmocka_unit_test(illegal_recipes_are_refused_with_the_reason),
        cmocka_unit_test(bad_ids_are_refused),
        cmocka_unit_test(native_null_experts_stay),
        cmocka_unit_test(ids_are_copied),
        cmocka_unit_test(a_native_recipe_takes_every_rule),
        cmocka_unit_test(texts_say_what_they_mean),
        cmocka_unit_test(sparsemixer_comes_and_goes),
        cmocka_unit_test(bad_texts_are_refused_with_the_place),
        cmocka_unit_test(texts_are_short),
        cmocka_unit_test(format_then_parse_is_the_identity),
        cmocka_unit_test(damaged_texts_do_no_harm),
        cmocka_unit_test(names_are_listed),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
