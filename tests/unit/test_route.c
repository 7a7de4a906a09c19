/* SPDX-License-Identifier: MIT */
/*
 * Routing one row: the worked examples of papers and of model families, named after them; ties, NaN and
 * infinity; k = all and p = 1; masking against slicing the router. Logits or scores in, experts and weights
 * out, through the whole router.
 */
#include "route_rig.h"

#define NONE MOE_EXPERT_NONE

/* -------------------------------------------------------------------------------------- model families */

/* l = [2, 1, 0, -1]: softmax .643914 .236883 .087144 .032059, sigmoid .880797 .731059 .5 .268941 */
static void families_on_one_row(void **state)
{
    (void)state;
    static const float l[4] = {2, 1, 0, -1};
    static const struct {
        const char *text;
        double w0, w1;
    } row[] = {
        {"mixtral", .731059, .268941},
        {"qwen2moe:k=2", .643914, .236883},
        {"qwen3moe:k=2", .731059, .268941},
        {"olmoe:k=2", .643914, .236883},
        {"deepseek-moe:k=2", .643914, .236883},
        {"kimi-k2:k=2", .880797 / 1.611856 * 2.827, .731059 / 1.611856 * 2.827},
        {"glm4.5:k=2", .880797 / 1.611856 * 2.5, .731059 / 1.611856 * 2.5},
        {"glm4.5:k=2,scale=1", .880797 / 1.611856, .731059 / 1.611856},
        {"dots1:k=2", .880797 / 1.611856 * 2.5, .731059 / 1.611856 * 2.5},
        {"ling:k=2", .731059, .268941},
        {"lfm2-moe:k=2", .880797 / 1.611857, .731059 / 1.611857},
        {"lfm2-moe:k=2,eps=1", .880797 / 2.611856, .731059 / 2.611856},
        {"minimax-text", .731059, .268941},
        {"minimax-m2:k=2", .880797 / 1.611856, .731059 / 1.611856},
        {"ernie4.5:k=2", .731059, .268941},
        {"ernie4.5:k=2,eps=2", .643914 / 2, .236883 / 2},
        {"hunyuan:k=2", .731059, .268941},
        {"gpt-oss:k=2", .731059, .268941},
        {"granite:k=2", .731059, .268941},
        {"jetmoe", .731059, .268941},
        {"dbrx:k=2", .731059, .268941},
        {"dbrx:k=2,normp=2", .938508, .345258},
        {"llama4:k=2", .880797, .731059},
        {"grok1", .643914, .236883},
        {"grok1:weight=sum", .731059, .268941},
        {"jamba", .643914, .236883},
        {"arctic", .731059, .268941},
        {"nllb", .731059, .268941},
        {"nllb:scale=0.8", .731059 * .8, .268941 * .8},
        {"openmoe", .643914, .236883},
        {"moduleformer", .643914, .236883},
        {"native", .643914, .236883},
        {"native:temp=2", .455054, .276004},
        {"native:weight=one", 1, 1},
        {"native:weight=sigmoid", .880797, .731059},
        {"native:score=sigmoid", .880797, .731059},
        {"native:score=identity,weight=sum", 2 / 3.0, 1 / 3.0},
        {"native:score=sqrtsoftplus", 1.458399, 1.145977},
    };
    for (size_t i = 0; i < COUNT(row); i++)
        check_row(row[i].text, l, 4, 2, IDS(0, 1), WEIGHTS(row[i].w0, row[i].w1));
    check_row("switch", l, 4, 1, IDS(0), WEIGHTS(.643914));
}

/* c = [1, .731059, .380797, .268941], group sums 1.731059 and .649738 */
static void deepseek_v3_bias_and_groups(void **state)
{
    (void)state;
    static const float l[4] = {0, 1, 2, -1}, bias[4] = {.5f, 0, -.5f, 0};
    rig_use(4, "deepseek-v3:k=2,groups=2,topgroups=1");
    rig_values(MOE_EDIT_SELECT_BIAS, bias);
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(0, 1), WEIGHTS(1.015386, 1.484614));
    rig_use(4, "deepseek-v3:k=2,groups=0,topgroups=0,groupscore=max");
    assert_int_equal(rig_row(l), MOE_OK);
    assert_int_equal(g.id[0], 2);
    assert_int_equal(g.id[1], 1);
}

/* Groups by their best expert: {0, 1} and {2, 3} and {4, 5}. */
static void deepseek_v2_groups_by_the_best(void **state)
{
    (void)state;
    static const float s[6] = {.30f, .01f, .25f, .24f, .1f, .1f}, l[6] = {0};
    rig_use(6, "deepseek-v2:k=2,groups=3,topgroups=1");
    rig_scores(s);
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(0, 1), WEIGHTS(.30 * 16, .01 * 16));
    rig_set("deepseek-v2:k=2,groups=3,topgroups=1,groupscore=top2");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(2, 3), WEIGHTS(.25 * 16, .24 * 16));
    rig_set("deepseek-v2:k=3,groups=3,topgroups=2,scale=1");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(3, IDS(0, 2, 3), WEIGHTS(.30, .25, .24));
}

/* A mask of 0.0 would select 2 and 3, from the group that lost. */
static void group_mask_is_minus_infinity(void **state)
{
    (void)state;
    static const float s[4] = {.1f, .2f, .15f, .12f}, bias[4] = {-.3f, -.3f, -.6f, -.6f}, l[4] = {0};
    for (int top2 = 0; top2 < 2; top2++) {
        rig_use(4, top2 ? "topk:k=2,groups=2,topgroups=1,groupscore=top2" : "topk:k=2,groups=2,topgroups=1");
        rig_scores(s);
        rig_values(MOE_EDIT_SELECT_BIAS, bias);
        assert_int_equal(rig_row(l), MOE_OK);
        expect(2, IDS(1, 0), WEIGHTS(.2, .1));
    }
}

static void ernie_tie_by_the_lower_index(void **state)
{
    (void)state;
    /* .15 + .2 and .05 + .3 in binary, so that they tie */
    static const float p[4] = {.5f, .3125f, .125f, .0625f}, bias[4] = {0, 0, .25f, .3125f}, l[4] = {0};
    static const float q[4] = {.5f, .3f, .15f, .05f};
    rig_use(4, "ernie4.5:k=2");
    rig_scores(p);
    rig_values(MOE_EDIT_SELECT_BIAS, bias);
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(0, 2), WEIGHTS(.8, .2));
    static const float paper[4] = {0, 0, .2f, .2999f};
    rig_scores(q);
    rig_values(MOE_EDIT_SELECT_BIAS, paper);
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(0, 2), WEIGHTS(.769231, .230769));
}

/* The weight is that of the input: what the dispatch does with it is another test's business. */
static void llama4_weight(void **state)
{
    (void)state;
    static const float l[2] = {0, -1};
    check_row("llama4", l, 2, 1, IDS(0), WEIGHTS(.5));
    assert_true(g.router.recipe.spec.flags & MOE_ROUTE_ON_INPUT);
}

static void phi35_sparsemixer(void **state)
{
    (void)state;
    static const float near_tie[4] = {2, 1.99f, 1, .5f}, clear[4] = {2, 1.9f, 1, .5f};
    check_row("phi3.5-moe", near_tie, 4, 2, IDS(0, 1), WEIGHTS(.502500, 1));
    check_row("phi3.5-moe", clear, 4, 2, IDS(0, 1), WEIGHTS(1, 1));
    /* negative logits are measured by their own size, and 0 / 0 stays in */
    static const float low[3] = {-1, -1.01f, -3}, zero[3] = {0, 0, -1};
    check_row("phi3.5-moe", low, 3, 2, IDS(0, 1), WEIGHTS(.502500, 1));
    check_row("phi3.5-moe", zero, 3, 2, IDS(0, 1), WEIGHTS(.5, 1));
    check_row("phi3.5-moe:k=3,jitter=1", clear, 4, 3, IDS(0, 1, 2),
              WEIGHTS(1 / (1 + exp(-.1) + exp(-1) + exp(-1.5)), 1 / (1 + exp(-.9) + exp(-1.4)),
                      1 / (1 + exp(-.5))));
}

/* ------------------------------------------------------------------------------------------------ papers */

/* P = [.45, .30, .15, .10] */
static void huang2024_dynamic_top_p(void **state)
{
    (void)state;
    static const float p[4] = {.45f, .30f, .15f, .10f}, zero[16] = {0};
    static const struct {
        const char *text;
        uint32_t n;
    } row[] = {
        {"topp:p=0.4", 1},
        {"topp:p=0.6", 2},
        {"topp:p=0.45", 2},
        {"topp:p=1", 4},
        {"topp:p=0.45,inclusive=1", 1},
        {"topp:p=0.4,kmin=2", 2},
        {"topp:p=1,kmax=3", 3},
        {"topp:p=0.6,kmin=1,kmax=1", 1},
        {"topp:p=0.1,kmin=4", 4},
        {"topp:p=1,inclusive=1", 4},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        rig_use(4, row[i].text);
        rig_scores(p);
        assert_int_equal(rig_row(zero), MOE_OK);
        expect(row[i].n, IDS(0, 1, 2, 3), WEIGHTS(.45, .30, .15, .10)); /* raw */
    }
    rig_use(4, "topp:p=0.6,weight=sum");
    rig_scores(p);
    assert_int_equal(rig_row(zero), MOE_OK);
    expect(2, IDS(0, 1), WEIGHTS(.6, .4));
    rig_use(16, "topp:p=0.4"); /* uniform */
    assert_int_equal(rig_row(zero), MOE_OK);
    assert_int_equal(g.n, 7);
}

/* On a model with raw logits for scores, top-p means their softmax; normalised weights stay what they were.
 */
static void top_p_of_a_model_that_ranks_logits(void **state)
{
    (void)state;
    static const float l[4] = {2, 1, 0, -1};
    rig_model(4, 0);
    rig_native("mixtral");
    rig_set("topp:p=0.8");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(0, 1), WEIGHTS(.731059, .268941));
}

static void adamoe_null_experts(void **state)
{
    (void)state;
    static const float l[6] = {2, 1, 0, -1, 1.5f, .5f}, all_null[6] = {0, 0, 0, 0, 9, 8};
    rig_model(4, 2); /* rows of the model's own */
    rig_set("adamoe:k=3");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(3, IDS(0, NONE, 1), WEIGHTS(.731059, 0, .268941));
    rig_set("adamoe:k=2");
    assert_int_equal(rig_row(all_null), MOE_OK);
    expect(2, IDS(NONE, NONE), WEIGHTS(0, 0));
    /* added at run time, with a bias in the place of logits */
    rig_use(4, "adamoe:k=3,null=1,nullbias=1.5");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(3, IDS(0, NONE, 1), WEIGHTS(.731059, 0, .268941));
    /* the softmax runs over null experts too */
    rig_use(4, "native:k=3,null=1,nullbias=1.5");
    const double sum = exp(2) + exp(1) + 1 + exp(-1) + exp(1.5);
    assert_int_equal(rig_row(l), MOE_OK);
    expect(3, IDS(0, NONE, 1), WEIGHTS(exp(2) / sum, 0, exp(1) / sum));
    /* a softmax over the selected counts the real ones */
    rig_use(4, "mixtral:k=3,null=1,nullbias=1.5");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(3, IDS(0, NONE, 1), WEIGHTS(.731059, 0, .268941));
}

/* Experts that stand at given ranks: normalised for Mixtral (one rank weighs 1), raw for DeepSeekMoE. */
static void scmoe_rank_lists(void **state)
{
    (void)state;
    static const float l[4] = {0, 2, -1, 1}; /* ranks: 1, 3, 0, 2 */
    rig_model(4, 0);
    rig_native("mixtral");
    rig_set("ranks:1");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(1, IDS(3), WEIGHTS(1));
    rig_set("ranks:2");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(1, IDS(0), WEIGHTS(1));
    rig_set("ranks:ids=2+0");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(1, 0), WEIGHTS(1 / (1 + exp(-2)), 1 / (1 + exp(2))));
    check_row("ranks:1+3", l, 4, 2, IDS(3, 2), WEIGHTS(.236883, .032059));
}

static void deepseekmoe_is_not_normalised(void **state)
{
    (void)state;
    static const float p[4] = {.4f, .3f, .2f, .1f}, zero[4] = {0};
    rig_use(4, "deepseek-moe:k=2");
    rig_scores(p);
    assert_int_equal(rig_row(zero), MOE_OK);
    expect(2, IDS(0, 1), WEIGHTS(.4, .3));
    near(1 + g.w[0] * 10 + g.w[1] * 20, 11.0); /* shared 1, E0 = 10, E1 = 20 */
}

/* Two iterations with a router each; E0(h) = h, E1(h) = -h / 2. */
static void chain_of_experts_weights(void **state)
{
    (void)state;
    double h = 1;
    for (int t = 0; t < 2; t++) {
        const float l[2] = {t ? (float)(log(3) * h) : 0, t ? 0 : (float)(log(3) * h)};
        rig_use(2, "topk:k=1");
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.id[0], t ? 0 : 1);
        near(g.w[0], t ? .665217 : .75);
        h += (double)g.w[0] * (g.id[0] ? -.5 * h : h);
    }
    near((float)h, 1.040761);
}

static void rmoe_probabilities(void **state)
{
    (void)state;
    static const float s0 = .204824f, s1 = -.136552f, a[2] = {s0, -s0}, b[2] = {s1, -s1};
    check_row("topk:k=2", a, 2, 2, IDS(0, 1), WEIGHTS(.601004, .398996));
    check_row("topk:k=2", b, 2, 2, IDS(1, 0), WEIGHTS(.567855, .432145));
}

/* sigmoid weights without norm: v = .5 * 1 + .75 * 2 */
static void switchhead_sigmoid_weights(void **state)
{
    (void)state;
    const float r[2] = {0, (float)log(3)};
    check_row("topk:k=2,score=identity,weight=sigmoid", r, 2, 2, IDS(1, 0), WEIGHTS(.75, .5));
    near(g.w[0] * 2 + g.w[1], 2.0);
    check_row("topk:k=2,score=identity,weight=selected", r, 2, 2, IDS(1, 0), WEIGHTS(.75, .25));
    near(g.w[0] * 2 + g.w[1], 1.75);
    check_row("topk:k=1,score=identity,weight=sigmoid", r, 2, 1, IDS(1), WEIGHTS(.75));
    near(g.w[0] * 2, 1.5);
}

static void mumoe_entmax15(void **state)
{
    (void)state;
    static const float a[2] = {1, 0}, b[2] = {2, 0}, even[4] = {.5f, .5f, .5f, .5f};
    check_row("all:score=entmax15", a, 2, 2, IDS(0, 1), WEIGHTS(.830719, .169281));
    check_row("all:score=entmax15", b, 2, 2, IDS(0, 1), WEIGHTS(1, 0));
    assert_true(g.w[1] == 0.0f);
    check_row("all:score=entmax15", even, 4, 4, IDS(0, 1, 2, 3), WEIGHTS(.25, .25, .25, .25));
}

/* 1.5-entmax by its definition: tau by bisection. */
static void entmax15_against_bisection(void **state)
{
    (void)state;
    for (int round = 0; round < 300; round++) {
        float l[MAX_N];
        const uint32_t n = 1 + (uint32_t)(rig_noise() * 200);
        const double spread = round % 3 ? .3 : 3;
        rig_random(l, n);
        for (uint32_t i = 0; i < n; i++) l[i] = (float)(l[i] * spread);
        rig_use(n, "all:score=entmax15");
        assert_int_equal(rig_row(l), MOE_OK);
        double low = -1e3, high = 1e3, total = 0;
        for (int step = 0; step < 200; step++) {
            const double tau = (low + high) / 2;
            double sum = 0;
            for (uint32_t i = 0; i < n; i++) sum += l[i] / 2.0 > tau ? pow(l[i] / 2.0 - tau, 2) : 0;
            if (sum > 1)
                low = tau;
            else
                high = tau;
        }
        assert_int_equal(g.n, n);
        for (uint32_t i = 0; i < n; i++) {
            const double d = l[g.id[i]] / 2.0 - low;
            near(g.w[i], d > 0 ? d * d : 0);
            total += (double)g.w[i];
        }
        near((float)total, 1);
    }
}

/* DeepSpeed's pruning: a masked expert is as good as a router without its row. */
static void deepspeed_masking_equals_slicing(void **state)
{
    (void)state;
    static const float p[4] = {2, 1, 0, -1};
    uint8_t use[MAX_N] = {MOE_USE_BAN};
    rig_use(4, "qwen3moe:k=2");
    rig_use_of(use);
    assert_int_equal(rig_row(p), MOE_OK);
    expect(2, IDS(1, 2), WEIGHTS(.731059, .268941));
}

static const char *const sliceable[] = {
    "topk:k=3",
    "mixtral:k=3",
    "qwen3moe:k=4",
    "deepseek-v3:k=3,groups=0,topgroups=0,groupscore=max",
    "topk:k=3,score=entmax15",
    "topk:k=2,score=sqrtsoftplus,weight=sum",
    "topp:p=0.7",
    "topp:p=0.9,kmin=2,kmax=5,weight=sum",
    "threshold:t=0.3,kmin=2,kmax=6",
    "minp:p=0.2",
    "ranks:0+2+3",
    "phi3.5-moe",
    "all",
    "dbrx:k=3,normp=3",
};

/* Banned experts, before scoring: ids and weights are those of a router without the rows. */
static void masking_equals_slicing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(sliceable); i++)
        for (int round = 0; round < 40; round++) {
            float l[24], kept[24];
            uint32_t number[24], n = 0, n_slice, slice_id[24];
            float slice_w[24];
            uint8_t use[24];
            rig_random(l, 24);
            for (uint32_t e = 0; e < 24; e++) {
                use[e] = rig_noise() < .4 ? MOE_USE_BAN : MOE_USE_FREE;
                if (e < 8) use[e] = MOE_USE_FREE;
                if (use[e] == MOE_USE_FREE) {
                    number[n] = e;
                    kept[n++] = l[e];
                }
            }
            rig_use(n, sliceable[i]);
            assert_int_equal(rig_row(kept), MOE_OK);
            n_slice = g.n;
            memcpy(slice_id, g.id, n_slice * sizeof *slice_id);
            memcpy(slice_w, g.w, n_slice * sizeof *slice_w);
            rig_use(24, sliceable[i]);
            rig_use_of(use);
            for (int by_logit = 0; by_logit < 2; by_logit++) {
                assert_int_equal(rig_row(l), MOE_OK);
                assert_int_equal(g.n, n_slice);
                for (uint32_t j = 0; j < n_slice; j++) {
                    assert_int_equal(g.id[j], number[slice_id[j]]);
                    near(g.w[j], (double)slice_w[j]);
                }
                /* the same from logits of -infinity */
                for (uint32_t e = 0; e < 24; e++)
                    if (use[e]) l[e] = -INFINITY;
                rig_use_of((const uint8_t[24]){0});
            }
        }
}

/* beta = 0 keeps the native two, a beta that nothing reaches leaves the best; SER in its own spelling. */
static void mcmoe_odp_and_ser(void **state)
{
    (void)state;
    static const float p[8] = {.30f, .05f, .20f, .15f, .10f, .08f, .07f, .05f}, zero[8] = {0};
    static const struct {
        const char *text;
        uint32_t n;
    } row[] = {
        {"threshold:t=0,kmax=2", 2}, {"threshold:t=0.6,kmax=2", 2}, {"threshold:t=0.67,kmax=2", 1},
        {"threshold:t=1,kmax=2", 1}, {"threshold:t=0.5", 3},        {"threshold:t=0.5,kmin=5", 5},
        {"minp:p=0.5", 3},           {"ser:k=8,kmin=6,t=0.3", 6},   {"ser:k=8,kmin=2,t=0.3", 4},
        {"ser:k=3,kmin=2,t=0.3", 3}, {"ser:k=8,kmin=7,t=0.4", 7},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        rig_use(8, row[i].text);
        rig_scores(p);
        assert_int_equal(rig_row(zero), MOE_OK);
        if (g.n != row[i].n) fail_msg("%s: expected %u experts, found %u", row[i].text, row[i].n, g.n);
        const uint32_t order[8] = {0, 2, 3, 4, 5, 6, 1, 7};
        for (uint32_t j = 0; j < g.n; j++) {
            assert_int_equal(g.id[j], order[j]);
            assert_true(g.w[j] == p[order[j]]);
        }
    }
}

/* Before norm a factor is bounded: beta w / (beta w + rest); behind it, it is not. */
static void rice_multiplier(void **state)
{
    (void)state;
    static const float l[4] = {2, 1, 0, -1}, beta[4] = {1, 64, 1, 1};
    rig_use(4, "mixtral");
    rig_values(MOE_EDIT_PRE, beta);
    rig_set("qwen3moe:k=2");
    assert_int_equal(rig_row(l), MOE_OK);
    const double w = 64 * .268941421 / (64 * .268941421 + .731058579);
    expect(2, IDS(0, 1), WEIGHTS(1 - w, w));
    rig_values(MOE_EDIT_PRE, NULL);
    rig_values(MOE_EDIT_POST, beta);
    assert_int_equal(rig_row(l), MOE_OK);
    near(g.w[0], .731059);
    assert_true(fabs((double)g.w[1] - 64 * .268941421) < 1e-5);
}

/* ----------------------------------------------------------------------------------- order, NaN, limits */

static void all_experts_are_the_dense_layer(void **state)
{
    (void)state;
    static const char *const dense[] = {
        "topk:k=16",     "all",      "topp:p=1", "topp:p=1,inclusive=1",
        "threshold:t=0", "minp:p=0", "fixed",    "ranks:0+1+2+3+4+5+6+7+8+9+10+11+12+13+14+15"};
    float l[16], want[16] = {0};
    for (int round = 0; round < 50; round++) {
        rig_random(l, 16);
        for (int i = 0; i < 16; i++) l[i] *= round % 2 ? 1 : 20; /* far apart: sums round off */
        for (size_t i = 0; i < COUNT(dense); i++) {
            rig_use(16, dense[i]);
            assert_int_equal(rig_row(l), MOE_OK);
            assert_int_equal(g.n, 16);
            for (uint32_t j = 0; j < 16; j++) {
                if (i == 0) want[g.id[j]] = g.w[j];
                assert_true(g.w[j] == want[g.id[j]]);
                assert_true(j == 0 || g.w[j] <= g.w[j - 1]);
            }
        }
    }
}

static void one_expert(void **state)
{
    (void)state;
    static const float l[1] = {-3};
    static const char *const text[] = {
        "topk:k=1", "mixtral:k=1", "qwen3moe:k=1", "topp:p=0.5",     "all",
        "fixed:0",  "random:k=1",  "hash:k=1",     "phi3.5-moe:k=1", "minp:p=0.1"};
    for (size_t i = 0; i < COUNT(text); i++) check_row(text[i], l, 1, 1, IDS(0), WEIGHTS(1));
}

static void ties_go_to_the_lower_index(void **state)
{
    (void)state;
    static const float l[8] = {1, 3, 3, 0, 3, 1, 3, -0.0f};
    static const uint32_t want[8] = {1, 2, 4, 6, 0, 5, 3, 7}; /* -0 equals 0 */
    for (uint32_t k = 1; k <= 8; k++) {
        char text[64];
        snprintf(text, sizeof text, "topk:score=identity,k=%u", k);
        rig_use(8, text);
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.n, k);
        assert_memory_equal(g.id, want, k * sizeof g.id[0]);
    }
    /* groups too: the first of two equal ones */
    static const float even[8] = {1, 0, 1, 0, 1, 0, 1, 0};
    check_row("topk:k=3,score=identity,groups=4,topgroups=2", even, 8, 3, IDS(0, 2, 1), WEIGHTS(1, 1, 0));
}

static void not_a_number_comes_last_and_is_reported(void **state)
{
    (void)state;
    const float l[6] = {NAN, 1, -INFINITY, NAN, 2, 0};
    rig_use(6, "topk:k=3,score=identity");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(3, IDS(4, 1, 5), WEIGHTS(2, 1, 0));
    rig_set("topk:k=6,score=identity"); /* minus infinity is nobody */
    assert_int_equal(rig_row(l), MOE_E_NUMERIC);
    assert_int_equal(g.n, 5);
    assert_int_equal(g.id[3], 0);
    assert_int_equal(g.id[4], 3);
    /* a softmax over something that is no number is none itself; nor is one with +infinity */
    static const char *const scores[] = {"topk:k=2", "topk:k=2,score=entmax15", "topk:k=2,weight=sum"};
    const float inf[6] = {INFINITY, 0, 0, 0, 0, 0};
    for (size_t i = 0; i < COUNT(scores); i++) {
        rig_use(6, scores[i]);
        assert_int_equal(rig_row(l), MOE_E_NUMERIC);
        assert_int_equal(rig_row(inf), MOE_E_NUMERIC);
    }
    /* others keep to the expert that has it */
    static const char *const single[] = {"topk:k=2,score=sigmoid", "topk:k=2,score=sqrtsoftplus"};
    for (size_t i = 0; i < COUNT(single); i++) {
        rig_use(6, single[i]);
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.id[0], 4);
    }
    /* no rule stumbles over rows without any number */
    static const char *const rules[] = {"topk:k=3",
                                        "topp:p=0.5",
                                        "minp:p=0.1",
                                        "ranks:1+2",
                                        "random:k=3",
                                        "hash:k=3",
                                        "all",
                                        "fixed:1+5",
                                        "phi3.5-moe",
                                        "deepseek-v3:k=2,groups=3,topgroups=2",
                                        "table:k=1,0+1+2+3+4+5+0+1",
                                        "topk:k=2,score=identity"};
    const float nothing[6] = {NAN, NAN, NAN, NAN, NAN, NAN};
    for (size_t i = 0; i < COUNT(rules); i++) {
        rig_use(6, rules[i]);
        assert_int_equal(rig_row(nothing), MOE_E_NUMERIC);
    }
}

/* Logits of -infinity: nobody, score 0 for the others' sake, and never chosen. */
static void minus_infinity_is_banned(void **state)
{
    (void)state;
    const float l[6] = {-INFINITY, 1, -INFINITY, 0, -INFINITY, -1};
    static const char *const text[] = {"topk:k=5",
                                       "mixtral:k=5",
                                       "qwen3moe:k=5",
                                       "topk:k=5,score=sigmoid",
                                       "topk:k=5,score=identity",
                                       "topk:k=5,score=sqrtsoftplus",
                                       "topp:p=1",
                                       "topk:k=5,score=entmax15",
                                       "threshold:t=0",
                                       "all",
                                       "phi3.5-moe:k=5"};
    for (size_t i = 0; i < COUNT(text); i++) {
        rig_use(6, text[i]);
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.n, 3);
        assert_memory_equal(g.id, IDS(1, 3, 5), 3 * sizeof *g.id);
    }
    static const char *const draws[] = {"random:k=5", "hash:k=5"};
    for (size_t i = 0; i < COUNT(draws); i++) {
        rig_use(6, draws[i]);
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.n, 3);
        for (uint32_t j = 0; j < 3; j++) assert_true(g.id[j] % 2 == 1);
    }
    rig_use(6, "ranks:0+1+4");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(2, IDS(1, 3), WEIGHTS(.665241, .244728));
    rig_use(6, "fixed:0+5");
    assert_int_equal(rig_row(l), MOE_OK);
    expect(1, IDS(5), WEIGHTS(.090031));
    rig_use(6, "table:k=2,0+1+2+3+none+5+1+1+0+1+2+3+4+5+3+1");
    assert_int_equal(rig_row_at(l, 0, 0, 0), MOE_OK);
    expect(1, IDS(1), WEIGHTS(.665241));
    assert_int_equal(rig_row_at(l, 2, 0, 0), MOE_OK);
    expect(1, IDS(5), WEIGHTS(.090031));
    assert_int_equal(rig_row_at(l, 3, 0, 0), MOE_OK); /* twice */
    expect(2, IDS(1, 1), WEIGHTS(.665241, .665241));
    assert_int_equal(rig_row_at(l, 8, 0, 0), MOE_E_RANGE);
    assert_non_null(strstr(moe__last_error(), "token 8"));
    assert_int_equal(rig_row_at(l, -1, 0, 0), MOE_E_RANGE);
}

/* Experts that entmax gives nothing are chosen all the same, and weigh nothing; so do sums of nothing. */
static void nothing_to_share_out(void **state)
{
    (void)state;
    static const float far[4] = {9, 0, -9, -9}, zero[4] = {0};
    check_row("topk:k=2,score=entmax15,weight=sum", far, 4, 2, IDS(0, 1), WEIGHTS(1, 0));
    rig_use(4, "ranks:1+2,weight=sum");
    rig_set("ranks:1+2,score=entmax15,weight=sum");
    assert_int_equal(rig_row(far), MOE_OK);
    expect(2, IDS(1, 2), WEIGHTS(0, 0));
    rig_use(4, "topk:k=2,score=identity,weight=sum");
    assert_int_equal(rig_row(zero), MOE_OK);
    expect(2, IDS(0, 1), WEIGHTS(0, 0));
    static const float opposite[4] = {1, -1, -2, -2}; /* 1 - 1 */
    assert_int_equal(rig_row(opposite), MOE_E_NUMERIC);
}

static void forced_experts_come_first(void **state)
{
    (void)state;
    static const float l[6] = {3, 2, 1, 0, -1, -2};
    static const uint8_t use[6] = {[4] = MOE_USE_FORCE, [5] = MOE_USE_FORCE};
    static const struct {
        const char *text;
        uint32_t n, id[3];
    } row[] = {
        {"topk:k=3", 3, {4, 5, 0}},
        {"topk:k=2", 2, {4, 5, 0}},
        {"topp:p=0.5,kmin=2", 3, {4, 5, 0}},
        {"topp:p=0.0001", 2, {4, 5, 0}}, /* forced ones also beyond p */
        {"minp:p=0.9", 3, {4, 5, 0}},
        {"threshold:t=0.9,kmax=2", 2, {4, 5, 0}},
    };
    for (size_t i = 0; i < COUNT(row); i++) {
        rig_use(6, row[i].text);
        rig_use_of(use);
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.n, row[i].n);
        assert_memory_equal(g.id, row[i].id, g.n * sizeof *g.id);
    }
    static const char *const draws[] = {"random:k=3", "hash:k=3"};
    for (size_t i = 0; i < COUNT(draws); i++) {
        rig_use(6, draws[i]);
        rig_use_of(use);
        assert_int_equal(rig_row(l), MOE_OK);
        assert_int_equal(g.n, 3);
        assert_memory_equal(g.id, IDS(4, 5), 2 * sizeof *g.id);
        assert_true(g.id[2] < 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_on_one_row),
        cmocka_unit_test(deepseek_v3_bias_and_groups),
        cmocka_unit_test(deepseek_v2_groups_by_the_best),
        cmocka_unit_test(group_mask_is_minus_infinity),
        cmocka_unit_test(ernie_tie_by_the_lower_index),
        cmocka_unit_test(llama4_weight),
        cmocka_unit_test(phi35_sparsemixer),
        cmocka_unit_test(huang2024_dynamic_top_p),
        cmocka_unit_test(top_p_of_a_model_that_ranks_logits),
        cmocka_unit_test(adamoe_null_experts),
        cmocka_unit_test(scmoe_rank_lists),
        cmocka_unit_test(deepseekmoe_is_not_normalised),
        cmocka_unit_test(chain_of_experts_weights),
        cmocka_unit_test(rmoe_probabilities),
        cmocka_unit_test(switchhead_sigmoid_weights),
        cmocka_unit_test(mumoe_entmax15),
        cmocka_unit_test(entmax15_against_bisection),
        cmocka_unit_test(deepspeed_masking_equals_slicing),
        cmocka_unit_test(masking_equals_slicing),
        cmocka_unit_test(mcmoe_odp_and_ser),
        cmocka_unit_test(rice_multiplier),
        cmocka_unit_test(all_experts_are_the_dense_layer),
        cmocka_unit_test(one_expert),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(not_a_number_comes_last_and_is_reported),
        cmocka_unit_test(minus_infinity_is_banned),
        cmocka_unit_test(nothing_to_share_out),
        cmocka_unit_test(forced_experts_come_first),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
