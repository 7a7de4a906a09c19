/* SPDX-License-Identifier: MIT */
/*
 * Selection rules against their definitions on random rows, with ties and NaN; draws and their statistics;
 * rules and capacities over whole batches; the entry points that need no session.
 */
#include "route_rig.h"

/* Selection by the definition: rank of e = how many are better, or as good with a lower index. */
static uint32_t rank_of(const float *x, uint32_t n, uint32_t e)
{
    uint32_t rank = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (i == e || x[i] == -INFINITY) continue;
        if (isnan(x[i]) && isnan(x[e]))
            rank += i < e;
        else if (isnan(x[e]) || x[i] > x[e])
            rank++;
        else if (x[i] == x[e])
            rank += i < e;
    }
    return rank;
}

static void random_rows_against_the_definition(void **state)
{
    (void)state;
    for (int round = 0; round < 2000; round++) {
        float x[300];
        char text[64];
        const uint32_t n = 1 + (uint32_t)(rig_noise() * 300), k = 1 + (uint32_t)(rig_noise() * n);
        uint32_t usable = 0;
        for (uint32_t i = 0; i < n; i++) {
            x[i] = (float)((int)(rig_noise() * 40)) / 4 - 5; /* many ties */
            if (round % 3 == 0 && rig_noise() < .1) x[i] = NAN;
            if (round % 4 == 0 && rig_noise() < .3) x[i] = -INFINITY;
            usable += x[i] != -INFINITY;
        }
        snprintf(text, sizeof text, "topk:score=identity,k=%u", k);
        rig_use(n, text);
        const int st = rig_row(x);
        int has_nan = 0;
        assert_int_equal(g.n, k < usable ? k : usable);
        for (uint32_t i = 0; i < g.n; i++) {
            assert_int_equal(rank_of(x, n, g.id[i]), i);
            assert_memory_equal(&g.w[i], &x[g.id[i]], sizeof g.w[i]);
            has_nan |= isnan(g.w[i]);
        }
        assert_int_equal(st, has_nan ? MOE_E_NUMERIC : MOE_OK);
    }
}

/* What a rule may take of a row, by rank (bias on the selection). */
static uint32_t ranking(const float *q, uint32_t n, uint32_t *order)
{
    for (uint32_t e = 0; e < n; e++) order[rank_of(q, n, e)] = e;
    return n;
}

/* TOPP and THRESHOLD with selection biases: order by s + bias, sums and comparisons of s alone. */
static void ranges_against_the_definition(void **state)
{
    (void)state;
    for (int round = 0; round < 1000; round++) {
        float l[100], s[100], q[100], bias[100];
        uint32_t order[100], want[100], n_want = 0;
        char text[96];
        const uint32_t n = 2 + (uint32_t)(rig_noise() * 98), k_min = 1 + (uint32_t)(rig_noise() * 3);
        const uint32_t low = k_min > n ? n : k_min, high = low + (uint32_t)(rig_noise() * (n - low));
        const int topp = round % 2;
        const double p = (double)(float)(int)(1 + rig_noise() * 31) / 32;
        for (uint32_t i = 0; i < n; i++) {
            s[i] = (float)(int)(rig_noise() * 64) / 1024; /* sums are exact */
            bias[i] = round % 3 ? (float)(int)(rig_noise() * 8) / 512 : 0;
            q[i] = s[i] + bias[i];
            l[i] = 0;
        }
        snprintf(text, sizeof text, "%s=%g,kmin=%u,kmax=%u", topp ? "topp:p" : "threshold:t", p, low, high);
        rig_use(n, text);
        rig_scores(s);
        rig_values(MOE_EDIT_SELECT_BIAS, bias);
        assert_int_equal(rig_row(l), MOE_OK);
        ranking(q, n, order);
        double sum = 0, best = 0;
        for (uint32_t i = 0; i < n; i++) best = s[i] > best ? s[i] : best;
        for (uint32_t i = 0; i < n && n_want < high; i++) {
            const double x = s[order[i]];
            if (topp && i >= low && sum > p) break;
            if (!topp && i >= low && x < p * best) continue;
            sum += x;
            want[n_want++] = order[i];
        }
        assert_int_equal(g.n, n_want);
        assert_memory_equal(g.id, want, n_want * sizeof *want);
        for (uint32_t i = 0; i < n_want; i++) assert_true(g.w[i] == s[want[i]]);
    }
}

/* Groups by the definition: of the best groups, nobody else. */
static void groups_against_the_definition(void **state)
{
    (void)state;
    for (int round = 0; round < 1000; round++) {
        float x[96], q[96], value[12];
        char text[96];
        const uint32_t n_groups = 2 + (uint32_t)(rig_noise() * 10), size = 1 + (uint32_t)(rig_noise() * 8);
        const uint32_t n = n_groups * size, top = 1 + (uint32_t)(rig_noise() * n_groups);
        const int top2 = round % 2;
        for (uint32_t i = 0; i < n; i++) x[i] = (float)(int)(rig_noise() * 20) - 10;
        if (round % 5 == 0)
            for (uint32_t i = 0; i < n; i++)
                if (rig_noise() < .3) x[i] = -INFINITY;
        for (uint32_t j = 0; j < n_groups; j++) {
            float a = -INFINITY, b = -INFINITY;
            for (uint32_t i = j * size; i < (j + 1) * size; i++) {
                if (x[i] > a) {
                    b = a;
                    a = x[i];
                } else if (x[i] > b) {
                    b = x[i];
                }
            }
            value[j] = top2 && b > -INFINITY ? a + b : a;
        }
        uint32_t usable = 0;
        for (uint32_t i = 0; i < n; i++) {
            uint32_t before = 0;
            for (uint32_t j = 0; j < n_groups; j++)
                before += value[j] > value[i / size] || (value[j] == value[i / size] && j < i / size);
            q[i] = before < top ? x[i] : -INFINITY;
            usable += q[i] > -INFINITY;
        }
        const uint32_t k = 1 + (uint32_t)(rig_noise() * size * top);
        snprintf(text, sizeof text, "topk:score=identity,k=%u,groups=%u,topgroups=%u,groupscore=%s", k,
                 n_groups, top, top2 ? "top2" : "max");
        rig_use(n, text);
        if (usable == 0) continue;
        assert_int_equal(rig_row(x), MOE_OK);
        assert_int_equal(g.n, k < usable ? k : usable);
        for (uint32_t i = 0; i < g.n; i++) assert_int_equal(rank_of(q, n, g.id[i]), i);
    }
}

/* ------------------------------------------------------------------------------------------------- draws */

/* N = 4 experts, 1e5 tokens: each gets .25 +- .005. */
static void thor_shares_are_even(void **state)
{
    (void)state;
    static const float l[4] = {5, 0, 0, -5};
    for (int which = 0; which < 2; which++) {
        uint32_t count[4] = {0}, first_two[4][4] = {{0}};
        rig_use(4, which ? "hash:k=2,seed=9" : "thor:seed=9");
        if (which == 0) rig_set("thor:k=2,seed=9");
        for (int i = 0; i < 100000; i++) {
            assert_int_equal(rig_row_at(l, which ? i : 0, which ? 0 : i, 0), MOE_OK);
            assert_int_equal(g.n, 2);
            assert_true(g.id[0] != g.id[1]);
            count[g.id[0]]++;
            first_two[g.id[0]][g.id[1]]++;
            if (which == 0) assert_true(g.w[0] == 1.0f && g.w[1] == 1.0f);
        }
        for (int e = 0; e < 4; e++) {
            assert_true(abs((int)count[e] - 25000) < 500);
            for (int f = 0; f < 4; f++)
                assert_true(e == f || abs((int)first_two[e][f] - 8333) < 400); /* pairs, too */
        }
    }
}

static void draws_follow_seed_layer_and_place(void **state)
{
    (void)state;
    float l[64] = {0};
    uint32_t first[8];
    rig_use(64, "random:k=8,seed=1");
    assert_int_equal(rig_row_at(l, 5, 7, 2), MOE_OK);
    memcpy(first, g.id, sizeof first);
    rig_random(l, 64); /* neither logits nor token matter */
    assert_int_equal(rig_row_at(l, 6, 7, 2), MOE_OK);
    assert_memory_equal(first, g.id, sizeof first);
    assert_int_equal(rig_row_at(l, 6, 8, 2), MOE_OK);
    assert_memory_not_equal(first, g.id, sizeof first);
    assert_int_equal(rig_row_at(l, 6, 7, 1), MOE_OK);
    assert_memory_not_equal(first, g.id, sizeof first);
    rig_set("random:k=8,seed=2");
    assert_int_equal(rig_row_at(l, 6, 7, 2), MOE_OK);
    assert_memory_not_equal(first, g.id, sizeof first);
    rig_set("random:k=8,seed=4294967297"); /* the upper half counts */
    assert_int_equal(rig_row_at(l, 6, 7, 2), MOE_OK);
    assert_memory_not_equal(first, g.id, sizeof first);
    g.router.recipe.layer++;
    rig_set("random:k=8,seed=1");
    g.router.recipe.layer++;
    assert_int_equal(rig_row_at(l, 5, 7, 2), MOE_OK);
    assert_memory_not_equal(first, g.id, sizeof first);
    rig_set("random:k=8,seed=1,perseq=1");
    assert_int_equal(rig_row_at(l, 5, 7, 2), MOE_OK);
    memcpy(first, g.id, sizeof first);
    assert_int_equal(rig_row_at(l, 6, 80, 2), MOE_OK);
    assert_memory_equal(first, g.id, sizeof first);
    assert_int_equal(rig_row_at(l, 6, 80, 3), MOE_OK);
    assert_memory_not_equal(first, g.id, sizeof first);
    /* a hash hangs on the token alone; a ban moves up who comes next and nobody else */
    rig_set("hash:k=8,seed=1");
    assert_int_equal(rig_row_at(l, 5, 7, 2), MOE_OK);
    memcpy(first, g.id, sizeof first);
    assert_int_equal(rig_row_at(l, 5, 99, 0), MOE_OK);
    assert_memory_equal(first, g.id, sizeof first);
    uint8_t use[64] = {0};
    use[first[3]] = MOE_USE_BAN;
    rig_use_of(use);
    assert_int_equal(rig_row_at(l, 5, 99, 0), MOE_OK);
    assert_memory_equal(first, g.id, 3 * sizeof *first);
    assert_memory_equal(first + 4, g.id + 3, 4 * sizeof *first);
}

/* Rows of a batch come out as rows alone. */
static void rows_do_not_see_each_other(void **state)
{
    (void)state;
    static const char *const text[] = {
        "topk:k=3",  "topp:p=0.6", "minp:p=0.2",         "random:k=3,seed=4",
        "hash:k=3",  "all",        "phi3.5-moe",         "deepseek-v3:k=3,groups=4,topgroups=2",
        "ranks:1+3", "fixed:2+9",  "random:k=2,perseq=1"};
    float l[20 * 16];
    rig_random(l, 20 * 16);
    for (size_t i = 0; i < COUNT(text); i++) {
        rig_batch b;
        rig_use(16, text[i]);
        assert_int_equal(rig_rows(&b, l, 20, NULL), MOE_OK);
        for (uint32_t t = 0; t < 20; t++) {
            assert_int_equal(rig_row_at(l + t * 16, 0, (moe_pos)t, 0), MOE_OK);
            assert_int_equal(g.n, b.offset[t + 1] - b.offset[t]);
            assert_memory_equal(g.id, b.id + b.offset[t], g.n * sizeof *g.id);
            assert_memory_equal(g.w, b.w + b.offset[t], g.n * sizeof *g.w);
        }
        rig_batch_free(&b);
    }
}

/* Takes experts 2 and 0 and says nothing of weights. */
static int two_and_nought(void *state, const moe_route_input *in, moe_route_output *out)
{
    (void)state;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        out->offset[t] = 2 * t;
        out->expert[2 * t] = 2;
        out->expert[2 * t + 1] = 0;
    }
    out->offset[in->n_rows] = 2 * in->n_rows;
    return MOE_OK;
}

/* Weights of such a policy come from the recipe, whatever stood in the memory before. */
static void policies_may_leave_weights_alone(void **state)
{
    (void)state;
    static const float l[3] = {2, 1, -1};
    static const struct {
        const char *text;
        double w2, w0;
    } row[] = {
        {"native", .035119, .705385}, {"mixtral", .047426, .952574}, {"phi3.5-moe", -1, 2}, {"thor", 1, 1}};
    for (size_t i = 0; i < COUNT(row); i++) {
        moe_policy copy, p = MOE_POLICY_INIT;
        void *policy_state;
        rig_batch b;
        p.flags = MOE_POLICY_PARALLEL;
        p.max_k = 2;
        p.route = two_and_nought;
        rig_use(3, row[i].text);
        assert_int_equal(moe__router_make_policy(&g.router, &p, NULL, &copy, &policy_state), MOE_OK);
        moe__router_take_policy(&g.router, &copy, policy_state, NULL);
        g.w[0] = g.w[1] = NAN;
        assert_int_equal(rig_row(l), MOE_OK);
        expect(2, IDS(2, 0), WEIGHTS(row[i].w2, row[i].w0));
        assert_int_equal(rig_rows(&b, l, 1, NULL), MOE_OK);
        assert_memory_equal(b.w, g.w, 2 * sizeof *b.w);
        rig_batch_free(&b);
    }
}

/* ---------------------------------------------------------------------------------------------- batches */

static void logs(float *l, const float *p, size_t n)
{
    for (size_t i = 0; i < n; i++) l[i] = (float)log((double)p[i]);
}

static void zhou2022_expert_choice(void **state)
{
    (void)state;
    static const float s[12] = {.7f, .2f, .1f, .6f, .3f, .1f, .5f, .1f, .4f, .8f, .15f, .05f};
    float l[12];
    rig_batch b;
    logs(l, s, 12);
    rig_use(3, "expertchoice:c=1.5"); /* C = 2: e0 {3, 0}, e1 {1, 0}, e2 {2, 0} */
    assert_true(g.router.coupled);
    assert_int_equal(rig_rows(&b, l, 4, NULL), MOE_OK);
    static const uint32_t offset[5] = {0, 3, 4, 5, 6}, id[6] = {0, 1, 2, 1, 2, 0};
    static const double w[6] = {.7, .2, .1, .3, .4, .8};
    assert_memory_equal(b.offset, offset, sizeof offset);
    assert_memory_equal(b.id, id, sizeof id);
    for (int i = 0; i < 6; i++) near(b.w[i], w[i]);
    rig_batch_free(&b);
    /* rows of each sequence among themselves: C = 1 */
    static const moe_seq seq[4] = {0, 2, 0, 2};
    static const uint32_t offset2[5] = {0, 2, 4, 5, 6};
    static const uint32_t id2[6] = {0, 1, 1, 2, 2, 0};
    rig_set("expertchoice:c=1.5,perseq=1");
    assert_int_equal(rig_rows(&b, l, 4, seq), MOE_OK);
    assert_memory_equal(b.offset, offset2, sizeof offset2);
    assert_memory_equal(b.id, id2, sizeof id2);
    rig_batch_free(&b);
    /* every expert takes all: the dense layer */
    rig_set("expertchoice:c=3");
    assert_int_equal(rig_rows(&b, l, 4, NULL), MOE_OK);
    assert_int_equal(b.offset[4], 12);
    for (int i = 0; i < 12; i++) near(b.w[i], (double)s[i / 3 * 3 + (int)b.id[i]]);
    rig_batch_free(&b);
}

/* Column by column, by the definition; ties to the earlier row. */
static void expert_choice_against_the_definition(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        float l[64 * 12], s[64 * 12];
        uint8_t want[64][12] = {{0}};
        moe_seq seq[64];
        char text[64];
        const uint32_t rows = 1 + (uint32_t)(rig_noise() * 64), n = 1 + (uint32_t)(rig_noise() * 12);
        const int by_seq = round % 2;
        const double c = (double)(float)(int)(1 + rig_noise() * (n * 4 - 1)) / 4;
        for (uint32_t i = 0; i < rows * n; i++) l[i] = (float)(int)(rig_noise() * 9) - 4;
        for (uint32_t t = 0; t < rows; t++) seq[t] = (moe_seq)(rig_noise() * 3);
        snprintf(text, sizeof text, "expertchoice:c=%g,score=sigmoid%s", c, by_seq ? ",perseq=1" : "");
        rig_use(n, text);
        g.kernels.sigmoid(s, l, rows * n);
        for (uint32_t e = 0; e < n; e++)
            for (uint32_t t = 0; t < rows; t++) {
                uint32_t m = 0, rank = 0;
                for (uint32_t i = 0; i < rows; i++) {
                    if (by_seq && seq[i] != seq[t]) continue;
                    m++;
                    rank += s[i * n + e] > s[t * n + e] || (s[i * n + e] == s[t * n + e] && i < t);
                }
                double places = floor(c * m / n);
                want[t][e] = rank < (places < 1 ? 1 : places);
            }
        rig_batch b;
        assert_int_equal(rig_rows(&b, l, rows, seq), MOE_OK);
        for (uint32_t t = 0; t < rows; t++) {
            uint32_t n_want = 0;
            for (uint32_t e = 0; e < n; e++) n_want += want[t][e];
            assert_int_equal(b.offset[t + 1] - b.offset[t], n_want);
            for (uint32_t p = b.offset[t]; p < b.offset[t + 1]; p++) {
                assert_true(want[t][b.id[p]]);
                assert_true(b.w[p] == s[t * n + b.id[p]]);
                if (p > b.offset[t])
                    assert_true(b.w[p] < b.w[p - 1] || (b.w[p] == b.w[p - 1] && b.id[p] > b.id[p - 1]));
            }
        }
        rig_batch_free(&b);
    }
}

static void openmoe_places(void **state)
{
    (void)state;
    moe_route_spec s = MOE_ROUTE_SPEC_INIT;
    s.top_k = 2;
    s.capacity = 2;
    s.capacity_min = 4;
    s.capacity_round = MOE_CAPACITY_EVEN;
    assert_int_equal(moe__recipe_places(&s, 64, 32), 8);
    assert_int_equal(moe__recipe_places(&s, 128, 32), 16);
    assert_int_equal(moe__recipe_places(&s, 1, 32), 4);
    assert_int_equal(moe__recipe_places(&s, 10, 32), 4);
    assert_int_equal(moe__recipe_places(&s, 56, 32), 8); /* 7 becomes even */
    s.capacity_min = 0;
    assert_int_equal(moe__recipe_places(&s, 57, 32), 8);
    s.capacity_round = MOE_CAPACITY_FLOOR;
    assert_int_equal(moe__recipe_places(&s, 57, 32), 7);
    s.capacity_round = MOE_CAPACITY_CEIL;
    assert_int_equal(moe__recipe_places(&s, 57, 32), 8);
    assert_int_equal(moe__recipe_places(&s, 56, 32), 7);
    s.capacity = 3e38f;
    assert_true(moe__recipe_places(&s, 1000000, 1) >= UINT32_MAX - 2);
}

/* 10 tokens that all want expert 0 first, 32 experts: tokens 4 to 9 lose it. */
static void openmoe_drops_towards_the_end(void **state)
{
    (void)state;
    float l[10 * 32] = {0};
    rig_batch b;
    for (int t = 0; t < 10; t++) {
        l[t * 32] = 5;
        l[t * 32 + 1 + t] = 3;
    }
    rig_use(32, "openmoe:capacity=2,capmin=4,capround=even,choicemajor=1");
    assert_true(g.router.coupled);
    assert_int_equal(rig_rows(&b, l, 10, NULL), MOE_OK);
    for (uint32_t t = 0; t < 10; t++) {
        assert_int_equal(b.offset[t], 2 * t);
        assert_int_equal(b.id[2 * t], 0);
        assert_int_equal(b.id[2 * t + 1], 1 + t);
        assert_int_equal(b.w[2 * t] > 0, t < 4);
        assert_true(b.w[2 * t + 1] > 0);
    }
    rig_batch_free(&b);
}

/* capacity >= experts / k never drops: all bits as without. All on one expert: the count is in closed form.
 */
static void capacity_closed_forms(void **state)
{
    (void)state;
    float l[64 * 8];
    rig_batch plain, b;
    for (int order = 0; order < 3; order++)
        for (int major = 0; major < 2; major++) {
            char text[96];
            static const char *const word[] = {"position", "prob", "random"};
            rig_random(l, COUNT(l));
            rig_use(8, "topk:k=2");
            assert_int_equal(rig_rows(&plain, l, 64, NULL), MOE_OK);
            snprintf(text, sizeof text, "topk:k=2,capacity=4,caporder=%s,choicemajor=%d", word[order], major);
            rig_set(text);
            assert_int_equal(rig_rows(&b, l, 64, NULL), MOE_OK);
            assert_memory_equal(plain.offset, b.offset, 65 * sizeof *b.offset);
            assert_memory_equal(plain.id, b.id, 128 * sizeof *b.id);
            assert_memory_equal(plain.w, b.w, 128 * sizeof *b.w);
            rig_batch_free(&plain);
            rig_batch_free(&b);
            for (int t = 0; t < 64; t++) l[t * 8 + 5] = 20 + l[t * 8 + 5];
            snprintf(text, sizeof text, "topk:k=1,capacity=3,caporder=%s,choicemajor=%d", word[order], major);
            rig_set(text); /* 3 * 64 / 8 = 24 places */
            assert_int_equal(rig_rows(&b, l, 64, NULL), MOE_OK);
            uint32_t kept = 0;
            for (uint32_t t = 0; t < 64; t++) {
                assert_int_equal(b.id[t], 5);
                kept += b.w[t] > 0;
                if (order == 0) assert_int_equal(b.w[t] > 0, t < 24);
            }
            assert_int_equal(kept, 24);
            rig_batch_free(&b);
        }
}

/* Uniform routing: the later the row, the more is dropped. */
static void openmoe_drop_probability_does_not_fall(void **state)
{
    (void)state;
    uint32_t dropped[4] = {0};
    static float l[128 * 8];
    rig_use(8, "topk:k=2,capacity=1");
    for (int round = 0; round < 200; round++) {
        rig_batch b;
        rig_random(l, COUNT(l));
        assert_int_equal(rig_rows(&b, l, 128, NULL), MOE_OK);
        for (uint32_t p = 0; p < 256; p++) dropped[p / 64] += b.w[p] == 0;
        rig_batch_free(&b);
    }
    for (int i = 1; i < 4; i++) assert_true(dropped[i] >= dropped[i - 1]);
    assert_true(dropped[3] > 2 * dropped[0]);
}

/* Who gets two places of expert 0 in four rows whose first choice it is (row 3: second choice). */
static void capacity_orders(void **state)
{
    (void)state;
    static const float s[8] = {.6f, .4f, .9f, .1f, .7f, .3f, .45f, .55f}; /* [4][2] */
    static const struct {
        const char *text;
        int kept[4];
    } row[] = {
        {"topk:k=2,capacity=0.5", {1, 1, 0, 0}},
        {"topk:k=2,capacity=0.5,caporder=prob", {0, 1, 1, 0}},
        {"topk:k=2,capacity=0.75,capround=floor,choicemajor=1", {1, 1, 1, 0}},
        {"topk:k=2,capacity=0.75,caporder=prob", {1, 1, 1, 0}},
        {"topk:k=2,capacity=0.01,capmin=1", {1, 0, 0, 0}},
        {"topk:k=2,capacity=0.01,capmin=1,caporder=prob", {0, 1, 0, 0}},
        {"topk:k=2,capacity=0.01", {0, 0, 0, 0}},
    };
    float l[8];
    logs(l, s, 8);
    for (size_t i = 0; i < COUNT(row); i++) {
        rig_batch b;
        rig_use(2, row[i].text);
        assert_int_equal(rig_rows(&b, l, 4, NULL), MOE_OK);
        for (uint32_t t = 0; t < 4; t++)
            for (uint32_t p = 2 * t; p < 2 * t + 2; p++)
                if (b.id[p] == 0 && (b.w[p] > 0) != row[i].kept[t])
                    fail_msg("%s: row %u: kept %d", row[i].text, t, b.w[p] > 0);
        rig_batch_free(&b);
    }
}

/* The norm before or after dropping. Both rows want expert 0 first; it has one place. */
static void drop_first(void **state)
{
    (void)state;
    static const float s[6] = {.6f, .3f, .1f, .5f, .1f, .4f};
    float l[6];
    rig_batch b;
    logs(l, s, 6);
    rig_use(3, "topk:k=2,weight=sum,capacity=1,capround=floor"); /* 4 / 3: one place */
    assert_int_equal(rig_rows(&b, l, 2, NULL), MOE_OK);
    near(b.w[0], 2 / 3.0);
    near(b.w[2], 0);
    near(b.w[3], 4 / 9.0);
    rig_batch_free(&b);
    rig_set("topk:k=2,weight=sum,capacity=1,capround=floor,dropfirst=1");
    assert_int_equal(rig_rows(&b, l, 2, NULL), MOE_OK);
    near(b.w[2], 0);
    near(b.w[3], 1);
    rig_batch_free(&b);
}

/* -------------------------------------------------------------------------------------- without a session */

static moe_route_spec spec_of(uint32_t k, uint32_t n_null)
{
    moe_route_spec s = MOE_ROUTE_SPEC_INIT;
    s.score = MOE_SCORE_SOFTMAX;
    s.select = MOE_SELECT_TOPK;
    s.weight = MOE_WEIGHT_SUM_TO_ONE;
    s.top_k = k;
    s.n_null = n_null;
    return s;
}

static void a_row_without_a_session(void **state)
{
    (void)state;
    static const float l[6] = {2, 1, 0, -1, 1.5f, .5f};
    uint32_t id[8];
    float w[8];
    size_t n;
    moe_route_spec s = spec_of(2, 0);
    assert_int_equal(moe_route_row(&s, l, 4, 0, 0, id, w, &n), MOE_OK);
    assert_int_equal(n, 2);
    near(w[0], .731059);
    s = spec_of(3, 2);
    s.null_bias = 100; /* the row has the null experts' logits */
    assert_int_equal(moe_route_row(&s, l, 4, 0, 0, id, w, &n), MOE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(id[1], MOE_EXPERT_NONE);
    near(w[2], .268941);
    static const uint32_t table[6] = {0, 1, 2, 3, 3, 0};
    s = spec_of(2, 0);
    s.select = MOE_SELECT_TABLE;
    s.ids = table;
    s.n_ids = 6;
    assert_int_equal(moe_route_row(&s, l, 4, 1, 0, id, w, &n), MOE_OK);
    assert_int_equal(id[0], 2);
    assert_int_equal(id[1], 3);
    assert_int_equal(moe_route_row(&s, l, 4, 3, 0, id, w, &n), MOE_E_RANGE);
    assert_int_equal(n, 0);
    s = spec_of(2, 0);
    s.capacity = 1;
    assert_int_equal(moe_route_row(&s, l, 4, 0, 0, id, w, &n), MOE_E_INVALID);
    assert_non_null(strstr(moe_last_error(), "a row alone"));
    s = spec_of(2, 5);
    assert_int_equal(moe_route_row(&s, l, 4, 0, 0, id, w, &n), MOE_E_INVALID);
    s = spec_of(5, 0);
    assert_int_equal(moe_route_row(&s, l, 4, 0, 0, id, w, &n), MOE_E_INVALID);
    assert_int_equal(moe_route_row(&s, l, 0, 0, 0, id, w, &n), MOE_E_INVALID);
    assert_int_equal(moe_route_row(NULL, l, 4, 0, 0, id, w, &n), MOE_E_INVALID);
    const float nan[2] = {NAN, 0};
    s = spec_of(2, 0);
    assert_int_equal(moe_route_row(&s, nan, 2, 0, 0, id, w, &n), MOE_E_NUMERIC);
    s.size = 4; /* nothing that moe_route_spec ever was */
    assert_int_equal(moe_route_row(&s, l, 4, 0, 0, id, w, &n), MOE_E_INVALID);
}

static double average(const moe_route_spec *spec, const float *l, size_t rows, uint32_t n)
{
    double real = 0;
    uint32_t id[64];
    float w[64], row[64];
    size_t k;
    for (size_t t = 0; t < rows; t++) {
        memcpy(row, l + t * n, n * sizeof *row);
        for (uint32_t e = 0; e < spec->n_null; e++) row[n + e] = spec->null_bias;
        assert_int_equal(moe_route_row(spec, row, n, 0, 0, id, w, &k), MOE_OK);
        for (size_t i = 0; i < k; i++) real += id[i] != MOE_EXPERT_NONE;
    }
    return real / (double)rows;
}

static void adamoe_bias_for_an_average(void **state)
{
    (void)state;
    enum { ROWS = 200, N = 16 };
    static float l[ROWS * N];
    float bias;
    double reached;
    rig_random(l, COUNT(l));
    moe_route_spec s = spec_of(4, 4);
    for (double target = .25; target < 4; target += .25) {
        assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, target, &bias, &reached), MOE_OK);
        assert_true(fabs(reached - target) <= .5 / ROWS + 1e-12); /* logits differ: every step is one row's */
        moe_route_spec with = s;
        with.null_bias = bias;
        assert_true(average(&with, l, ROWS, N) == reached);
    }
    /* with one null expert a token keeps three: the nearest that can be had */
    s = spec_of(4, 1);
    assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, 1, &bias, &reached), MOE_OK);
    assert_true(reached == 3);
    /* all rows alike: all or nothing */
    for (size_t i = 0; i < COUNT(l); i++) l[i] = i % N == 0 ? 1 : 0;
    s = spec_of(1, 1);
    s.temperature = 50;
    assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, .4, &bias, &reached), MOE_OK);
    assert_true(reached == 0 && bias > 1);
    assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, .6, &bias, NULL), MOE_OK);
    assert_true(bias < 1.001f); /* scores that round to a tie */
    static const double bad[] = {0, -1, 1, 2, NAN};
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, bad[i], &bias, NULL), MOE_E_INVALID);
    s.n_null = 0;
    s.temperature = 0;
    assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, .5, &bias, NULL), MOE_E_INVALID);
    s = spec_of(1, 1);
    s.select = MOE_SELECT_RANDOM;
    assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, .5, &bias, NULL), MOE_E_INVALID);
    for (size_t i = 0; i < COUNT(l); i++) l[i] = NAN;
    s = spec_of(1, 1);
    assert_int_equal(moe_route_null_bias(&s, l, ROWS, N, .5, &bias, NULL), MOE_E_NUMERIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_rows_against_the_definition),
        cmocka_unit_test(ranges_against_the_definition),
        cmocka_unit_test(groups_against_the_definition),
        cmocka_unit_test(thor_shares_are_even),
        cmocka_unit_test(draws_follow_seed_layer_and_place),
        cmocka_unit_test(rows_do_not_see_each_other),
        cmocka_unit_test(policies_may_leave_weights_alone),
        cmocka_unit_test(zhou2022_expert_choice),
        cmocka_unit_test(expert_choice_against_the_definition),
        cmocka_unit_test(openmoe_places),
        cmocka_unit_test(openmoe_drops_towards_the_end),
        cmocka_unit_test(capacity_closed_forms),
        cmocka_unit_test(openmoe_drop_probability_does_not_fall),
        cmocka_unit_test(capacity_orders),
        cmocka_unit_test(drop_first),
        cmocka_unit_test(a_row_without_a_session),
        cmocka_unit_test(adamoe_bias_for_an_average),
    };
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
