/* SPDX-License-Identifier: MIT */
/*
 * Profiles: the examples of the papers, the numbers of a NumPy script, marks, merging, files and their
 * damage. Runs in the source folder; the models here are shapes without weights.
 */
#include "study_case.h"

#include "../alloc/faulty.h"
#include "base/hash.h"
#include "study/profile.h"

#define FILE_A "test_profile_a.tmp"
#define FILE_B "test_profile_b.tmp"

/* ---- a model that has a shape only ---- */

typedef struct shape_model {
    moe_model m;
    moe__layer layer[16];
} shape_model;

static moe_model *shape(shape_model *s, uint32_t n_layers, uint32_t dense, uint32_t n_experts,
                        const moe_allocator *a)
{
    memset(s, 0, sizeof *s);
    atomic_init(&s->m.refs, 1000000u); /* never freed */
    assert_int_equal(moe__allocator_init(&s->m.alloc, a), MOE_OK);
    s->m.hp.n_layers = n_layers;
    s->m.hp.n_experts = n_experts;
    s->m.hp.n_vocab = 1000;
    s->m.fingerprint = 0x1234567890abcdefu;
    s->m.layers = s->layer;
    for (uint32_t l = 0; l < n_layers; l++) s->layer[l].is_moe = !(dense >> l & 1);
    return &s->m;
}

static moe_profile *new_profile(moe_model *m, uint32_t flags, uint32_t classes, uint32_t tokens, uint32_t pos)
{
    moe_profile *p;
    const moe_profile_options o = {sizeof o, flags, classes, tokens, pos};
    assert_int_equal(moe_profile_create(&p, m, &o), MOE_OK);
    return p;
}

static moe_router_profile router_of(const moe_profile *p, uint32_t layer)
{
    moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
    assert_int_equal(moe_profile_router(p, layer, &r), MOE_OK);
    return r;
}

static size_t array_of(const moe_profile *p, uint32_t layer, int what, double *x, size_t cap)
{
    size_t n;
    assert_int_equal(moe_profile_read(p, layer, what, x, cap, &n), MOE_OK);
    return n;
}

/* One row, logits optional. */
static void add_row(moe_profile *p, uint32_t layer, moe_token token, const uint32_t *id, const float *w,
                    uint32_t k, const float *logits)
{
    const uint32_t offset[2] = {0, k};
    const moe_pos pos = 0;
    moe_profile_info info = MOE_PROFILE_INFO_INIT;
    assert_int_equal(moe_profile_get_info(p, &info), MOE_OK);
    const moe_route_view v = {.size = sizeof v,
                              .layer = layer,
                              .n_rows = 1,
                              .n_experts = info.n_experts,
                              .offset = offset,
                              .expert = id,
                              .weight = w,
                              .logits = logits,
                              .token = &token,
                              .pos = &pos};
    assert_int_equal(moe_profile_add(p, &v), MOE_OK);
}

static void near_to(double found, double want, double by)
{
    if (!(fabs(found - want) <= by)) fail_msg("expected %.12g +- %g, found %.12g", want, by, found);
}

/* ---- against NumPy ---- */

static const moe_token mark_2[1] = {3}, mark_1[1] = {11};

/* Tokens [from, to) of the case, cut as its sub-batches are. */
static void add_case(moe_profile *p, const study_case *c, uint32_t from, uint32_t to)
{
    static case_view d;
    for (uint32_t b = 0; b < c->n_batches; b++) {
        const uint32_t a = c->batch[b], e = c->batch[b + 1];
        if (a < from || a >= to) continue;
        if (p->cls != c->token[a].cls || p->prompts[c->token[a].cls] == 0)
            assert_int_equal(moe_profile_begin(p, c->token[a].cls), MOE_OK);
        for (uint32_t l = 0; l < CASE_ROUTERS; l++)
            assert_int_equal(moe_profile_add(p, view_case(c, a, e, l, &d)), MOE_OK);
    }
}

static moe_profile *case_profile(shape_model *s, uint32_t tracked)
{
    moe_model *m = shape(s, CASE_LAYERS, 1u << 0 | 1u << 3, CASE_N, NULL);
    moe_profile *p = new_profile(m, MOE_PROFILE_PAIRS, CASE_CLASSES, tracked, CASE_POS);
    assert_int_equal(moe_profile_mark(p, 2, mark_2, 1), MOE_OK);
    assert_int_equal(moe_profile_mark(p, 1, mark_1, 1), MOE_OK);
    return p;
}

static const struct {
    const char *name;
    int what;
} arrays[] = {{"count", MOE_PROFILE_COUNT},
              {"weight", MOE_PROFILE_WEIGHT},
              {"prob", MOE_PROFILE_PROB},
              {"top1", MOE_PROFILE_TOP1},
              {"together", MOE_PROFILE_TOGETHER},
              {"k", MOE_PROFILE_K},
              {"class_count", MOE_PROFILE_CLASS_COUNT},
              {"class_weight", MOE_PROFILE_CLASS_WEIGHT},
              {"class_tokens", MOE_PROFILE_CLASS_TOKENS},
              {"drops", MOE_PROFILE_DROPS},
              {"npmi", MOE_PROFILE_NPMI}};

static void check_router(const moe_profile *p, uint32_t r)
{
    char name[64];
    double want[256], found[256];
    const moe_router_profile f = router_of(p, case_router[r]);
    const double got[] = {
        (double)f.tokens, (double)f.pairs, (double)f.nulls, (double)f.dropped, (double)f.micro_batches,
        f.entropy,        f.top1,          f.mean_k,        f.lbl_micro,       f.lbl_global,
        f.mutual_info,    f.token_entropy};
    snprintf(name, sizeof name, "r%u.router", r);
    assert_int_equal(case_numbers(name, want, 256), 12);
    for (size_t i = 0; i < 12; i++) case_near(name, i, got[i], want[i]);
    for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
        snprintf(name, sizeof name, "r%u.%s", r, arrays[a].name);
        const size_t n = case_numbers(name, want, 256);
        assert_int_equal(array_of(p, case_router[r], arrays[a].what, found, 256), n);
        for (size_t i = 0; i < n; i++) case_near(name, i, found[i], want[i]);
    }
}

static void check_rank(const moe_profile *p, const char *name, int by, uint32_t other)
{
    double want[64];
    moe_expert_find find[5];
    size_t found;
    find[0].size = sizeof find[0];
    assert_int_equal(case_numbers(name, want, 64), 16);
    assert_int_equal(moe_profile_rank(p, by, 1, other, find, 5, &found), MOE_OK);
    assert_int_equal(found, (size_t)want[0]);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(find[i].size, sizeof find[i]);
        assert_int_equal(find[i].layer, (int)want[1 + 3 * i]);
        assert_int_equal(find[i].index, (int)want[2 + 3 * i]);
        case_near(name, i, find[i].value, want[3 + 3 * i]);
    }
}

static void numpy_agrees(void **state)
{
    (void)state;
    static study_case c;
    static shape_model s;
    double prompts[8];
    draw_case(&c);
    moe_profile *p = case_profile(&s, CASE_TRACKED);
    for (int round = 0; round < 2; round++) {
        add_case(p, &c, 0, CASE_TOKENS);
        assert_int_equal(moe_profile_begin(p, 2), MOE_OK);
        for (uint32_t r = 0; r < CASE_ROUTERS; r++) check_router(p, r);
        check_rank(p, "rank.npmi.0", MOE_RANK_NPMI, 0);
        check_rank(p, "rank.npmi.0", MOE_RANK_NPMI, 99); /* not read */
        check_rank(p, "rank.diff.0", MOE_RANK_DIFF, 0);
        check_rank(p, "rank.diff.all", MOE_RANK_DIFF, UINT32_MAX);
        check_rank(p, "rank.rate.0", MOE_RANK_RATE, 0);
        check_rank(p, "rank.rate.all", MOE_RANK_RATE, UINT32_MAX);
        assert_int_equal(array_of(p, 2, MOE_PROFILE_CLASS_PROMPTS, prompts, 8), 3);
        assert_true(prompts[0] == 1 && prompts[1] == 1 && prompts[2] == 2);
        moe_profile_reset(p); /* and once more from nothing: marks stay */
        assert_int_equal(router_of(p, 1).tokens, 0);
        assert_int_equal(router_of(p, 1).mutual_info, 0);
    }
    moe_profile_free(p);
}

/* ---- the papers' examples ---- */

/* Qiu et al.: A -> all e0 with p = (.9, .1), B -> all e1 with p = (.1, .9): micro 1.8, global 1.0. */
static void load_balance(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 1, 0, 2, NULL), 0, 0, 0, 0);
    const float odds = (float)log(9.0), w[4] = {1, 1, 1, 1};
    static const uint32_t offset[5] = {0, 1, 2, 3, 4};
    for (uint32_t seq = 0; seq < 2; seq++) {
        uint32_t id[4];
        float logits[8];
        for (int i = 0; i < 4; i++) {
            id[i] = seq;
            logits[2 * i + (int)seq] = odds;
            logits[2 * i + 1 - (int)seq] = 0;
        }
        const moe_route_view v = {.size = sizeof v,
                                  .n_rows = 4,
                                  .n_experts = 2,
                                  .n_logits = 2,
                                  .offset = offset,
                                  .expert = id,
                                  .weight = w,
                                  .logits = logits};
        assert_int_equal(moe_profile_add(p, &v), MOE_OK);
    }
    const moe_router_profile r = router_of(p, 0);
    near_to(r.lbl_micro, 1.8, 1e-6); /* odds are rounded to f32 */
    near_to(r.lbl_global, 1.0, 1e-12);
    near_to(r.top1, .9, 1e-6);
    near_to(r.entropy, -.9 * log2(.9) - .1 * log2(.1), 1e-6);
    assert_int_equal(r.micro_batches, 2);
    assert_true(r.mean_k == 1);
    moe_profile_free(p);
}

/* Perfect balance is 1 for any k; one expert for everybody n. */
static void balance_bounds(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 2, 0, 8, NULL), 0, 0, 0, 0);
    float flat[8] = {0}, sharp[8] = {0};
    const float w[3] = {.5f, .25f, .25f};
    sharp[5] = 200;
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t id[3] = {i, (i + 1) % 8, (i + 3) % 8}, same[3] = {5, 5, 5};
        add_row(p, 0, 0, id, w, 3, flat);
        add_row(p, 1, 0, same, w, 1, sharp);
    }
    near_to(router_of(p, 0).lbl_global, 1, 1e-14);
    near_to(router_of(p, 0).entropy, 3, 1e-14);
    near_to(router_of(p, 0).top1, .125, 1e-15);
    near_to(router_of(p, 1).lbl_global, 8, 1e-14);
    near_to(router_of(p, 1).lbl_micro, 8, 1e-14);
    near_to(router_of(p, 1).entropy, 0, 1e-14);
    moe_profile_free(p);
}

/* RICE: the router sends marker token 7 only to (layer 2, expert 5): nPMI 1 within 1e-9 there, below .2
 * elsewhere. */
static void rice(void **state)
{
    (void)state;
    static shape_model s;
    enum { E = 16, T = 6000 };
    moe_profile *p = new_profile(shape(&s, 4, 1, E, NULL), 0, 2, 0, 0);
    moe__rng r = {.seed = 3};
    static const moe_token marker[1] = {7};
    const float w[2] = {.5f, .5f};
    assert_int_equal(moe_profile_begin(p, 0), MOE_OK);
    assert_int_equal(moe_profile_mark(p, 1, marker, 1), MOE_OK);
    for (uint32_t t = 0; t < T; t++) {
        const moe_token id = (moe_token)case_draw(&r, 20);
        for (uint32_t l = 1; l < 4; l++) {
            uint32_t e[2];
            do {
                e[0] = case_draw(&r, E);
                e[1] = case_draw(&r, E);
            } while (e[0] == e[1] || (l == 2 && (e[0] == 5 || e[1] == 5)));
            if (l == 2 && id == 7) e[1] = 5;
            add_row(p, l, id, e, w, 2, NULL);
        }
    }
    moe_expert_find find[3 * E];
    size_t found;
    find[0].size = sizeof find[0];
    assert_int_equal(moe_profile_rank(p, MOE_RANK_NPMI, 1, UINT32_MAX, find, 3 * E, &found), MOE_OK);
    assert_int_equal(found, 3 * E);
    assert_int_equal(find[0].layer, 2);
    assert_int_equal(find[0].index, 5);
    near_to(find[0].value, 1, 1e-9);
    for (size_t i = 1; i < found; i++) assert_true(find[i].value < .2 && find[i].value <= find[i - 1].value);
    double npmi[2 * E];
    assert_int_equal(array_of(p, 2, MOE_PROFILE_NPMI, npmi, 2 * E), 2 * E);
    near_to(npmi[E + 5], 1, 1e-9);
    near_to(npmi[5], -1, 0); /* never with other tokens */
    moe_profile_free(p);
}

/* MoTE: experts chosen per prompt in one class minus those in another; prompts of different lengths. */
static void mote(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 1, 0, 4, NULL), 0, 2, 0, 0);
    static const uint32_t a[2] = {0, 1}, b[2] = {2, 1};
    moe_expert_find find[4];
    size_t found;
    find[0].size = sizeof find[0];
    assert_int_equal(moe_profile_rank(p, MOE_RANK_DIFF, 0, 1, find, 4, &found), MOE_E_NOTFOUND);
    for (int i = 0; i < 3; i++) { /* three prompts of two tokens */
        assert_int_equal(moe_profile_begin(p, 0), MOE_OK);
        for (int j = 0; j < 2; j++) add_row(p, 0, 0, a, NULL, 2, NULL);
    }
    assert_int_equal(moe_profile_rank(p, MOE_RANK_DIFF, 0, 1, find, 4, &found), MOE_E_NOTFOUND);
    assert_int_equal(moe_profile_begin(p, 1), MOE_OK); /* one of five */
    for (int j = 0; j < 5; j++) add_row(p, 0, 0, b, NULL, 2, NULL);
    assert_int_equal(moe_profile_rank(p, MOE_RANK_DIFF, 0, 1, find, 4, &found), MOE_OK);
    assert_int_equal(found, 3); /* expert 3 was never chosen */
    assert_int_equal(find[0].index, 0);
    assert_true(find[0].value == 2); /* 6 / 3 - 0 */
    assert_int_equal(find[1].index, 1);
    assert_true(find[1].value == -3); /* 6 / 3 - 5 / 1 */
    assert_int_equal(find[2].index, 2);
    assert_true(find[2].value == -5);
    assert_int_equal(moe_profile_rank(p, MOE_RANK_RATE, 1, 0, find, 2, &found), MOE_OK);
    assert_int_equal(found, 3);
    assert_int_equal(find[0].index, 2);
    assert_true(find[0].value == 1);
    assert_int_equal(find[1].index, 1);
    assert_true(find[1].value == 0);
    assert_int_equal(moe_profile_rank(p, 0, 0, 1, find, 4, &found), MOE_E_INVALID);
    assert_int_equal(moe_profile_rank(p, 4, 0, 1, find, 4, &found), MOE_E_INVALID);
    assert_int_equal(moe_profile_rank(p, MOE_RANK_DIFF, 2, 1, find, 4, &found), MOE_E_RANGE);
    assert_int_equal(moe_profile_rank(p, MOE_RANK_DIFF, 0, 2, find, 4, &found), MOE_E_RANGE);
    moe_profile_free(p);
}

/* OpenMoE: experts that the token alone decides share all their information with it; else next to none. */
static void context_independence(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 2, 0, 8, NULL), 0, 0, 64, 0);
    moe__rng r = {.seed = 9};
    for (int t = 0; t < 20000; t++) {
        const moe_token id = (moe_token)case_draw(&r, 64);
        const uint32_t by_token = (uint32_t)id % 8, by_chance = case_draw(&r, 8);
        add_row(p, 0, id, &by_token, NULL, 1, NULL);
        add_row(p, 1, id, &by_chance, NULL, 1, NULL);
    }
    near_to(router_of(p, 0).token_entropy, 3, .01);
    near_to(router_of(p, 0).mutual_info, router_of(p, 0).token_entropy, 1e-12);
    near_to(router_of(p, 1).token_entropy, 3, .01);
    assert_true(router_of(p, 1).mutual_info < .03);
    moe_profile_free(p);
    p = new_profile(&s.m, 0, 0, 2, 0); /* first come, first served; unknown tokens do not count */
    const uint32_t e[3] = {1, 2, 3};
    add_row(p, 0, MOE_TOKEN_NONE, e, NULL, 1, NULL);
    add_row(p, 0, 5, e, NULL, 1, NULL);
    add_row(p, 0, 6, e + 1, NULL, 1, NULL);
    add_row(p, 0, 7, e + 2, NULL, 1, NULL);
    near_to(router_of(p, 0).token_entropy, 1, 1e-15);
    near_to(router_of(p, 0).mutual_info, 1, 1e-15);
    moe_profile_free(p);
}

/* ---- Super Experts ---- */

static void add_output(moe_profile *p, uint32_t layer, uint32_t e, float w, float norm, float max,
                       uint32_t channel)
{
    const moe__outputs o = {1, &e, &w, &norm, &max, &channel};
    moe__profile_outputs(p, layer, &o);
}

/* Outputs of 64 experts in 6 layers, maxima 1 to 2. */
static moe_profile *outputs_of(shape_model *s)
{
    moe_profile *p = new_profile(shape(s, 6, 0, 64, NULL), MOE_PROFILE_OUTPUTS, 0, 0, 0);
    moe__rng r = {.seed = 1};
    for (uint32_t l = 0; l < 6; l++)
        for (uint32_t e = 0; e < 64; e++)
            for (int i = 0; i < 3; i++)
                add_output(p, l, e, .5f, 3, 1 + (float)case_draw(&r, 1000) / 1000, case_draw(&r, 32));
    return p;
}

/* Su et al.: a planted expert is found, an unscaled model has none, thanks to the median guard. */
static void super_experts(void **state)
{
    (void)state;
    static shape_model s;
    moe_expert_find find[8];
    size_t n;
    moe_profile *p = outputs_of(&s);
    find[0].size = sizeof find[0];
    assert_int_equal(moe_profile_super(p, find, 8, &n), MOE_OK);
    assert_int_equal(n, 0);
    add_output(p, 3, 17, .1f, 2000, 1500, 9);
    add_output(p, 3, 17, .1f, 2000, 1200, 11);
    assert_int_equal(moe_profile_super(p, find, 8, &n), MOE_OK);
    assert_int_equal(n, 1);
    assert_int_equal(find[0].layer, 3);
    assert_int_equal(find[0].index, 17);
    assert_int_equal(find[0].channel, 9);
    assert_true(find[0].value == 1500);
    assert_int_equal(moe_profile_super(p, NULL, 0, &n), MOE_E_BUFFER);
    assert_int_equal(n, 1);
    add_output(p, 4, 3, .1f, 2000, 3000,
               1); /* past three quarters (round(4.5) = 4): not counted, though larger */
    add_output(p, 1, 2, .1f, 2000, 400, 4); /* over a tenth of 3000, and 50 times the median */
    add_output(p, 1, 5, .1f, 2000, 250, 4); /* below a tenth */
    assert_int_equal(moe_profile_super(p, find, 8, &n), MOE_OK);
    assert_int_equal(
        n, 1); /* the 99.5th percentile of 384 lies between the second and the third: 400 is below */
    assert_int_equal(find[0].index, 17);
    moe_profile_free(p);
    p = new_profile(&s.m, 0, 0, 0, 0);
    assert_int_equal(moe_profile_super(p, find, 8, &n), MOE_E_NOTFOUND);
    moe_profile_free(p);
    p = new_profile(&s.m, MOE_PROFILE_OUTPUTS, 0, 0, 0); /* nothing seen */
    assert_int_equal(moe_profile_super(p, find, 8, &n), MOE_OK);
    assert_int_equal(n, 0);
    moe_profile_free(p);
}

/* Three at once, as in Qwen3-30B-A3B: 6144 experts leave room for 30 above the percentile. */
static void three_super_experts(void **state)
{
    (void)state;
    static shape_model s;
    moe_expert_find find[8];
    size_t n;
    moe_profile *p = new_profile(shape(&s, 16, 0, 256, NULL), MOE_PROFILE_OUTPUTS, 0, 0, 0);
    static const struct {
        uint32_t layer, e;
        float max;
    } planted[] = {{1, 68, 900}, {2, 92, 4000}, {3, 82, 900}, {4, 1, 300}}; /* the last: below a tenth */
    for (uint32_t l = 0; l < 16; l++)
        for (uint32_t e = 0; e < 256; e++) add_output(p, l, e, 1, 1, 1 + (float)(e % 7), e);
    for (int i = 0; i < 4; i++) add_output(p, planted[i].layer, planted[i].e, 1, 1, planted[i].max, 5);
    struct {
        moe_expert_find f;
        uint64_t later; /* a field of a newer header */
    } wide[4];
    memset(wide, 0xff, sizeof wide);
    wide[0].f.size = sizeof wide[0];
    assert_int_equal(moe_profile_super(p, &wide[0].f, 4, &n), MOE_OK);
    assert_int_equal(n, 3);
    assert_int_equal(wide[0].f.layer, 2);
    assert_int_equal(wide[1].f.layer, 1); /* ties: the lower layer first */
    assert_int_equal(wide[2].f.layer, 3);
    assert_int_equal(wide[2].f.index, 82);
    assert_int_equal(wide[2].later, 0);
    assert_true(wide[3].later != 0);
    find[0].size = 8;
    assert_int_equal(moe_profile_super(p, find, 8, &n), MOE_E_INVALID);
    moe_profile_free(p);
}

static void outputs_of_experts(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 2, 1, 3, NULL), MOE_PROFILE_OUTPUTS, 0, 0, 0);
    double x[3];
    add_output(p, 1, 0, .5f, 2, 1, 7);
    add_output(p, 1, 0, .25f, 4, 3, 1);
    add_output(p, 1, 0, .25f, 4, 3, 2); /* the first of equals stays */
    add_output(p, 1, 2, 1, INFINITY, INFINITY, 2);
    add_output(p, 1, 2, 1, NAN, NAN, 3);
    array_of(p, 1, MOE_PROFILE_NORM, x, 3);
    near_to(x[0], 10 / 3.0, 1e-15);
    assert_true(x[1] == 0 && x[2] == 0);
    array_of(p, 1, MOE_PROFILE_SALIENCY, x, 3);
    assert_true(x[0] == 1);
    array_of(p, 1, MOE_PROFILE_MAX, x, 3);
    assert_true(x[0] == 3 && x[1] == 0 && isinf(x[2]));
    array_of(p, 1, MOE_PROFILE_MAX_CHANNEL, x, 3);
    assert_true(x[0] == 1 && x[1] == 0 && x[2] == 2);
    static float y[1000];
    float norm, max;
    uint32_t channel;
    for (int i = 0; i < 1000; i++) y[i] = (float)(i % 10);
    y[3] = -9;
    moe__profile_measure(y, 1000, &norm, &max, &channel);
    near_to(norm, sqrt(100 * 285 + 81 - 9), 1e-5);
    assert_true(max == 9);
    assert_int_equal(channel, 3);
    moe__profile_measure(y, 1, &norm, &max, &channel);
    assert_true(norm == 0 && max == 0 && channel == 0);
    moe_profile_free(p);
}

/* ---- small things ---- */

static void nulls_drops_and_doubles(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 1, 0, 3, NULL), MOE_PROFILE_PAIRS, 0, 0, 2);
    static const uint32_t offset[4] = {0, 3, 3, 7}, id[7] = {2, MOE_EXPERT_NONE, 0, 1, 1, 1, 1};
    static const float w[7] = {.5f, .1f, 0, 0, .5f, .25f, .25f};
    static const moe_pos pos[3] = {1, 0, 1};
    float logits[12] = {0, 0, 0, 9, 1, 2, NAN, 9, INFINITY, 0, 0, 9};
    moe_route_view v = {.size = sizeof v,
                        .n_rows = 3,
                        .n_experts = 3,
                        .n_logits = 4,
                        .offset = offset,
                        .expert = id,
                        .weight = w,
                        .logits = logits,
                        .pos = pos};
    double x[16];
    assert_int_equal(moe_profile_add(p, &v), MOE_OK);
    const moe_router_profile r = router_of(p, 0);
    assert_int_equal(r.tokens, 3);
    assert_int_equal(r.pairs, 6);
    assert_int_equal(r.nulls, 1);
    assert_int_equal(r.dropped, 2);
    assert_true(r.mean_k == 4 / 3.0);
    near_to(r.entropy, log2(3), 1e-15); /* of the one row whose logits are numbers; the null column apart */
    assert_int_equal(array_of(p, 0, MOE_PROFILE_K, x, 16), 4);
    assert_true(x[0] == 1 && x[1] == 1 && x[2] == 0 && x[3] == 1);
    assert_int_equal(array_of(p, 0, MOE_PROFILE_DROPS, x, 16), 2);
    assert_true(x[0] == 0 && x[1] == 2);
    assert_int_equal(array_of(p, 0, MOE_PROFILE_TOP1, x, 16), 3);
    assert_true(x[0] == 0 && x[1] == 1 && x[2] == 1);
    assert_int_equal(array_of(p, 0, MOE_PROFILE_TOGETHER, x, 16), 9);
    static const double together[9] = {1, 0, 1, 0, 4, 0, 1, 0, 1};
    assert_memory_equal(x, together, sizeof together);
    moe_profile_free(p);
}

static void marks(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 1, 0, 2, NULL), 0, 3, 0, 0);
    static const moe_token ids[3] = {4, 5, 6}, bad[2] = {1, 1000};
    static const uint32_t e = 1;
    double x[3];
    assert_int_equal(moe_profile_begin(p, 3), MOE_E_RANGE);
    assert_int_equal(moe_profile_mark(p, 3, ids, 1), MOE_E_RANGE);
    assert_int_equal(moe_profile_mark(p, 1, bad, 2), MOE_E_RANGE);
    assert_int_equal(moe_profile_mark(p, 1, NULL, 0), MOE_OK);
    assert_int_equal(moe_profile_mark(p, 1, ids, 3), MOE_OK);
    assert_int_equal(moe_profile_mark(p, 2, ids + 1, 1), MOE_OK);          /* the last one counts */
    assert_int_equal(moe_profile_mark(p, UINT32_MAX, ids + 2, 1), MOE_OK); /* none again */
    for (moe_token t = 1; t < 8; t++) add_row(p, 0, t, &e, NULL, 1, NULL);
    array_of(p, 0, MOE_PROFILE_CLASS_TOKENS, x, 3);
    assert_true(x[0] == 5 && x[1] == 1 && x[2] == 1);
    assert_int_equal(moe_profile_begin(p, 2), MOE_OK);
    for (moe_token t = 1; t < 8; t++) add_row(p, 0, t, &e, NULL, 1, NULL);
    array_of(p, 0, MOE_PROFILE_CLASS_TOKENS, x, 3);
    assert_true(x[0] == 5 && x[1] == 2 && x[2] == 7);
    moe_profile_free(p);
}

static void wrong_questions(void **state)
{
    (void)state;
    static shape_model s;
    moe_model *m = shape(&s, 3, 1, 4, NULL);
    moe_profile *p;
    moe_profile_options o = MOE_PROFILE_OPTIONS_INIT;
    moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
    double x[64];
    size_t n;
    o.flags = 4;
    assert_int_equal(moe_profile_create(&p, m, &o), MOE_E_INVALID);
    assert_null(p);
    assert_int_equal(moe_profile_create(&p, NULL, NULL), MOE_E_INVALID);
    assert_int_equal(moe_profile_create(&p, m, NULL), MOE_OK);
    assert_int_equal(moe_profile_router(p, 3, &r), MOE_E_RANGE);
    assert_int_equal(moe_profile_router(p, 0, &r), MOE_OK); /* dense */
    assert_int_equal(r.tokens, 0);
    assert_int_equal(moe_profile_read(p, 0, MOE_PROFILE_COUNT, x, 64, &n), MOE_OK);
    assert_int_equal(n, 4);
    assert_int_equal(moe_profile_read(p, 3, MOE_PROFILE_COUNT, x, 64, &n), MOE_E_RANGE);
    assert_int_equal(moe_profile_read(p, 1, 0, x, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_profile_read(p, 1, 17, x, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_profile_read(p, 1, MOE_PROFILE_K, x, 4, &n), MOE_E_BUFFER);
    assert_int_equal(n, 5);
    assert_int_equal(moe_profile_read(p, 1, MOE_PROFILE_COUNT, NULL, 0, &n), MOE_E_BUFFER);
    static const int without[] = {MOE_PROFILE_SALIENCY,    MOE_PROFILE_NORM,     MOE_PROFILE_MAX,
                                  MOE_PROFILE_MAX_CHANNEL, MOE_PROFILE_TOGETHER, MOE_PROFILE_DROPS};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(moe_profile_read(p, 1, without[i], x, 64, &n), MOE_E_NOTFOUND);
    static const uint32_t up[2] = {0, 1}, down[3] = {0, 1, 0}, late[2] = {1, 1}, one = 1, four = 4;
    static const float nan_w = NAN;
    moe_route_view v = {
        .size = sizeof v, .layer = 1, .n_rows = 1, .n_experts = 4, .offset = up, .expert = &one};
    assert_int_equal(moe_profile_add(p, &v), MOE_OK);
    v.layer = 0;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_RANGE);
    v.layer = 3;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_RANGE);
    v.layer = 1;
    v.n_experts = 5;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_INVALID);
    v.n_experts = 4;
    v.expert = &four;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_RANGE);
    v.expert = &one;
    v.weight = &nan_w;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_INVALID);
    v.weight = NULL;
    v.offset = late;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_INVALID);
    v.offset = down;
    v.n_rows = 2;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_INVALID);
    v.n_rows = 0;
    assert_int_equal(moe_profile_add(p, &v), MOE_E_INVALID);
    assert_int_equal(router_of(p, 1).tokens, 1);
    moe_profile_free(p);
    moe_profile_free(NULL);
    moe_profile_reset(NULL);
}

/* ---- merge ---- */

static void check_same(const moe_profile *p, const moe_profile *q)
{
    double x[256], y[256];
    for (uint32_t l = 0; l < CASE_LAYERS; l++) {
        for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
            const size_t n = array_of(p, l, arrays[a].what, x, 256);
            assert_int_equal(array_of(q, l, arrays[a].what, y, 256), n);
            for (size_t i = 0; i < n; i++) near_to(x[i], y[i], 1e-10);
        }
        const moe_router_profile a = router_of(p, l), b = router_of(q, l);
        assert_int_equal(a.tokens, b.tokens);
        near_to(a.entropy, b.entropy, 1e-12);
        near_to(a.lbl_micro, b.lbl_micro, 1e-12);
        near_to(a.lbl_global, b.lbl_global, 1e-12);
        near_to(a.mutual_info, b.mutual_info, 1e-12);
        near_to(a.token_entropy, b.token_entropy, 1e-12);
    }
}

/* Two halves make the whole, as long as there is room for all tokens. */
static void merge(void **state)
{
    (void)state;
    static study_case c;
    static shape_model s, t;
    draw_case(&c);
    moe_profile *whole = case_profile(&s, CASE_VOCAB), *a = case_profile(&s, CASE_VOCAB),
                *b = case_profile(&s, CASE_VOCAB);
    add_case(whole, &c, 0, CASE_TOKENS);
    add_case(a, &c, 0, 80);
    add_case(b, &c, 80, CASE_TOKENS);
    assert_int_equal(moe_profile_merge(a, b), MOE_OK);
    check_same(a, whole);
    moe_profile_free(b);
    /* what does not go together */
    moe_profile *other[] = {new_profile(&s.m, 0, CASE_CLASSES, CASE_VOCAB, CASE_POS),
                            new_profile(&s.m, MOE_PROFILE_PAIRS, 1, CASE_VOCAB, CASE_POS),
                            new_profile(&s.m, MOE_PROFILE_PAIRS, CASE_CLASSES, 0, CASE_POS),
                            new_profile(&s.m, MOE_PROFILE_PAIRS, CASE_CLASSES, CASE_VOCAB, 0), NULL};
    shape(&t, CASE_LAYERS, 1u << 0 | 1u << 3, CASE_N, NULL);
    t.m.fingerprint++;
    other[4] = new_profile(&t.m, MOE_PROFILE_PAIRS, CASE_CLASSES, CASE_VOCAB, CASE_POS);
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(moe_profile_merge(a, other[i]), MOE_E_STATE);
        assert_non_null(strstr(moe_last_error(), "do not go together"));
        moe_profile_free(other[i]);
    }
    check_same(a, whole);
    moe_profile_free(a);
    moe_profile_free(whole);
}

static void merge_maxima(void **state)
{
    (void)state;
    static shape_model s;
    moe_model *m = shape(&s, 1, 0, 2, NULL);
    moe_profile *a = new_profile(m, MOE_PROFILE_OUTPUTS, 0, 0, 0),
                *b = new_profile(m, MOE_PROFILE_OUTPUTS, 0, 0, 0);
    double x[2];
    add_output(a, 0, 0, 1, 5, 4, 3);
    add_output(a, 0, 1, 1, 5, 4, 3);
    add_output(b, 0, 0, 1, 7, 6, 1);
    add_output(b, 0, 1, 1, 7, 4, 1);
    assert_int_equal(moe_profile_merge(a, b), MOE_OK);
    array_of(a, 0, MOE_PROFILE_MAX, x, 2);
    assert_true(x[0] == 6 && x[1] == 4);
    array_of(a, 0, MOE_PROFILE_MAX_CHANNEL, x, 2);
    assert_true(x[0] == 1 && x[1] == 3);
    array_of(a, 0, MOE_PROFILE_NORM, x, 2);
    assert_true(x[0] == 6 && x[1] == 6);
    moe_profile_free(a);
    moe_profile_free(b);
}

/* ---- files ---- */

static uint8_t file_bytes[1 << 20];

static size_t read_all(const char *path, uint8_t *dst)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(dst, 1, sizeof file_bytes, f);
    assert_true(n < sizeof file_bytes);
    fclose(f);
    return n;
}

static void files_come_back(void **state)
{
    (void)state;
    static study_case c;
    static shape_model s, t;
    static uint8_t other[sizeof file_bytes];
    moe_profile_info x = MOE_PROFILE_INFO_INIT, y = MOE_PROFILE_INFO_INIT;
    draw_case(&c);
    moe_profile *whole = case_profile(&s, CASE_VOCAB), *p = case_profile(&s, CASE_VOCAB), *q, *free_one;
    assert_int_equal(moe_profile_mark(p, 0, &(moe_token){17}, 1), MOE_OK);
    assert_int_equal(moe_profile_mark(p, UINT32_MAX, &(moe_token){17}, 1), MOE_OK);
    add_case(whole, &c, 0, CASE_TOKENS);
    add_case(p, &c, 0, 40);
    assert_int_equal(moe_profile_save_file(p, FILE_A), MOE_OK);
    const size_t n = read_all(FILE_A, file_bytes);
    assert_true(p->tracked.n < CASE_VOCAB);
    for (int with = 0; with < 2; with++) {
        assert_int_equal(moe_profile_load_file(&q, with ? &s.m : NULL, FILE_A), MOE_OK);
        assert_int_equal(moe_profile_get_info(p, &x), MOE_OK);
        assert_int_equal(moe_profile_get_info(q, &y), MOE_OK);
        assert_memory_equal(&x, &y, sizeof x);
        assert_int_equal(x.n_tokens, 40);
        check_same(p, q);
        assert_int_equal(moe_profile_save_file(q, FILE_B), MOE_OK);
        assert_int_equal(read_all(FILE_B, other), n);
        assert_memory_equal(file_bytes, other, n);
        q->cls = c.token[39].cls; /* the prompt goes on */
        add_case(q, &c, 40, CASE_TOKENS);
        check_same(q, whole);
        moe_profile_free(q);
    }
    /* a part that was loaded without a model takes in another one, tokens included */
    moe_profile *rest = case_profile(&s, CASE_VOCAB);
    add_case(rest, &c, 40, CASE_TOKENS);
    assert_int_equal(moe_profile_load_file(&free_one, NULL, FILE_A), MOE_OK);
    assert_int_equal(moe_profile_merge(free_one, rest), MOE_OK);
    check_same(free_one, whole);
    moe_profile_free(free_one);
    moe_profile_free(rest);
    moe_profile_free(p);
    moe_profile_free(whole);
    shape(&t, CASE_LAYERS, 1u << 0 | 1u << 3, CASE_N, NULL);
    t.m.fingerprint++;
    assert_int_equal(moe_profile_load_file(&q, &t.m, FILE_A), MOE_E_STATE);
    assert_null(q);
    shape(&t, CASE_LAYERS, 1u << 0, CASE_N, NULL); /* the fingerprint of another shape: a made-up file */
    assert_int_equal(moe_profile_load_file(&q, &t.m, FILE_A), MOE_E_FORMAT);
    assert_int_equal(moe_profile_load_file(&q, NULL, "no_such_file"), MOE_E_NOTFOUND);
    remove(FILE_A);
    remove(FILE_B);
}

static int load_bytes(const uint8_t *b, size_t n, moe_model *m)
{
    moe_profile *p;
    FILE *f = fopen(FILE_B, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b, 1, n, f), n);
    fclose(f);
    const int st = moe_profile_load_file(&p, m, FILE_B);
    if (st == MOE_OK)
        moe_profile_free(p);
    else
        assert_true(p == NULL && *moe_last_error() != 0);
    return st;
}

static void fix_sum(uint8_t *p, size_t n)
{
    const uint64_t sum = moe__hash_of(p, n - 8);
    for (int i = 0; i < 8; i++) p[n - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

/* Every cut and every changed byte is refused; with the sum put right, what is wrong is named. */
static void damaged_files(void **state)
{
    (void)state;
    static shape_model s;
    moe_profile *p = new_profile(shape(&s, 3, 1, 3, NULL), 3, 2, 4, 2);
    static const uint32_t id[2] = {0, 2};
    static const float w[2] = {.5f, 0}, logits[3] = {1, 2, 3};
    assert_int_equal(moe_profile_mark(p, 1, (const moe_token[]){7, 9}, 2), MOE_OK);
    for (uint32_t l = 1; l < 3; l++)
        for (moe_token t = 5; t < 8; t++) add_row(p, l, t, id, w, 2, logits);
    add_output(p, 1, 0, 1, 2, 3, 1);
    assert_int_equal(moe_profile_save_file(p, FILE_A), MOE_OK);
    moe_profile_free(p);
    const size_t n = read_all(FILE_A, file_bytes);
    uint8_t *b = malloc(n + 8);
    assert_non_null(b);
    for (size_t i = 0; i < n; i++) assert_int_equal(load_bytes(file_bytes, i, &s.m), MOE_E_FORMAT);
    for (size_t i = 0; i < n; i++) {
        memcpy(b, file_bytes, n);
        b[i] ^= (uint8_t)(1u << i % 8);
        assert_int_equal(load_bytes(b, n, NULL), i >= 16 && i < 20 ? MOE_E_VERSION : MOE_E_FORMAT);
    }
    memcpy(b, file_bytes, n);
    memset(b + n, 0, 8);
    assert_int_equal(load_bytes(b, n + 8, &s.m), MOE_E_FORMAT);
    /* head words: flags, layers, routers, experts, classes, tokens, positions, marks, tracked, 0; then layers
     * 1, 2; marks (7, 1), (9, 1); tracked 5, 6, 7 */
    static const struct {
        size_t at;
        uint32_t value;
        int with; /* given the model: only then it is known to be wrong */
    } edit[] = {
        {20, 4, 0},     {20, 1, 0},     {20, 0, 0},          {24, 65537, 0},      {24, 1, 0},
        {24, 4, 1},     {28, 3, 0},     {28, 0, 0},          {28, 0xffffffff, 0}, {32, 0, 0},
        {32, 65537, 0}, {32, 65536, 0}, {36, 0, 0},          {36, 0xffffffff, 0}, {40, 2, 0},
        {40, 1001, 1},  {44, 3, 0},     {44, 0xffffffff, 0}, {48, 1, 0},          {48, 0xffffffff, 0},
        {52, 4, 0},     {52, 0, 0},     {56, 1, 0},          {60, 2, 0},          {60, 3, 0},
        {64, 1, 0},     {64, 3, 0},     {60, 0, 1},          {68, 1000, 1},       {68, 0x80000000, 0},
        {72, 2, 0},     {76, 7, 0},     {84, 6, 0},          {84, 1000, 1},       {84, 0x80000000, 0}};
    for (size_t i = 0; i < sizeof edit / sizeof edit[0]; i++) {
        memcpy(b, file_bytes, n);
        for (int j = 0; j < 4; j++) b[edit[i].at + (size_t)j] = (uint8_t)(edit[i].value >> 8 * j);
        fix_sum(b, n);
        const int st = load_bytes(b, n, edit[i].with ? &s.m : NULL);
        if (st >= 0) fail_msg("edit %zu was accepted", i);
    }
    /* counts of the first router begin behind 3 tracked tokens and 2 prompts: tokens, pairs, nulls, dropped,
     * ... */
    const size_t first = 84 + 12 + 16;
    static const struct {
        size_t word;
        uint64_t value;
    } count[] = {{0, 4}, {1, 7}, {3, 7}, {5, 4}, {6, 99}, {7, UINT64_C(0x7ff8000000000000)}, {10, 1}};
    for (size_t i = 0; i < sizeof count / sizeof count[0]; i++) {
        memcpy(b, file_bytes, n);
        for (int j = 0; j < 8; j++)
            b[first + 8 * count[i].word + (size_t)j] = (uint8_t)(count[i].value >> 8 * j);
        fix_sum(b, n);
        const int st = load_bytes(b, n, NULL);
        if (st != MOE_E_FORMAT) fail_msg("count %zu: %s", i, moe_status_name(st));
    }
    memcpy(b, file_bytes, n);
    fix_sum(b, n);
    assert_int_equal(load_bytes(b, n, &s.m), MOE_OK);
    free(b);
    remove(FILE_A);
    remove(FILE_B);
}

/* ---- memory ---- */

static void allocations_fail(void **state)
{
    (void)state;
    static study_case c;
    static shape_model s;
    faulty f;
    faulty_init(&f);
    draw_case(&c);
    const moe_profile_options o = {sizeof o, 3, 3, 10, 4};
    for (size_t at = 1;; at++) {
        moe_profile *p, *q;
        moe_expert_find find[4];
        size_t n;
        shape(&s, CASE_LAYERS, 1u << 0 | 1u << 3, CASE_N, &f.hook);
        atomic_store(&f.n_failed, 0);
        faulty_arm(&f, at);
        int st = moe_profile_create(&p, &s.m, &o);
        if (st == MOE_OK) {
            st = moe_profile_mark(p, 1, mark_1, 1);
            const size_t before = atomic_load(&f.n_calls);
            add_case(p, &c, 0, CASE_TOKENS); /* takes no memory */
            moe_profile_reset(p);
            add_case(p, &c, 0, CASE_TOKENS);
            assert_int_equal(atomic_load(&f.n_calls), before);
            find[0].size = sizeof find[0];
            if (st == MOE_OK) st = moe_profile_super(p, find, 4, &n);
            if (st == MOE_OK) st = moe_profile_rank(p, MOE_RANK_RATE, 1, 0, find, 4, &n);
            if (st == MOE_OK) st = moe_profile_save_file(p, FILE_A);
            if (st == MOE_OK) {
                st = moe_profile_load_file(&q, &s.m, FILE_A);
                if (st == MOE_OK) st = moe_profile_merge(q, p);
                moe_profile_free(q);
            }
            moe_profile_free(p);
        } else {
            assert_null(p);
        }
        assert_int_equal(st, atomic_load(&f.n_failed) ? MOE_E_NOMEM : MOE_OK);
        assert_int_equal(atomic_load(&f.n_live), 0);
        assert_int_equal(atomic_load(&f.n_wrong), 0);
        if (st == MOE_OK) break;
    }
    remove(FILE_A);
}

/* A mark that found no memory can be made again. */
static void marks_after_a_failure(void **state)
{
    (void)state;
    enum { MARKS = 200 };
    static shape_model s;
    moe_token id[MARKS];
    const moe_profile_options o = {sizeof o, 3, 3, 10, 4};
    for (int i = 0; i < MARKS; i++) id[i] = i;
    for (size_t at = 1;; at++) {
        faulty f;
        moe_profile *p;
        faulty_init(&f);
        shape(&s, CASE_LAYERS, 1u << 0 | 1u << 3, CASE_N, &f.hook);
        assert_int_equal(moe_profile_create(&p, &s.m, &o), MOE_OK);
        faulty_arm(&f, at);
        const int st = moe_profile_mark(p, 1, id, MARKS);
        faulty_disarm(&f);
        assert_int_equal(st, atomic_load(&f.n_failed) ? MOE_E_NOMEM : MOE_OK);
        assert_int_equal(moe_profile_mark(p, 1, id, MARKS), MOE_OK);
        assert_true(p->n_mark_class >= p->marks.n);
        for (uint32_t i = 0; i < p->marks.n; i++) assert_int_equal(p->mark_class[i], 1);
        moe_profile_free(p);
        assert_int_equal(atomic_load(&f.n_live), 0);
        if (st == MOE_OK) break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpy_agrees),
        cmocka_unit_test(load_balance),
        cmocka_unit_test(balance_bounds),
        cmocka_unit_test(rice),
        cmocka_unit_test(mote),
        cmocka_unit_test(context_independence),
        cmocka_unit_test(super_experts),
        cmocka_unit_test(three_super_experts),
        cmocka_unit_test(outputs_of_experts),
        cmocka_unit_test(nulls_drops_and_doubles),
        cmocka_unit_test(marks),
        cmocka_unit_test(wrong_questions),
        cmocka_unit_test(merge),
        cmocka_unit_test(merge_maxima),
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(allocations_fail),
        cmocka_unit_test(marks_after_a_failure),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
