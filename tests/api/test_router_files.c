/* SPDX-License-Identifier: MIT */
/*
 * What a file can say about its routers: biases, other scores, groups, rows of null experts. Each is compared
 * with the plain file and the same said by a session, to the bit; null experts with the definition (Zeng et
 * al. 2024, AdaMoE).
 */
#include "support.h"

#include <math.h>

#include "tiny_model.h"

#define N 12u

static moe_model *open_tiny(const tiny_fault *f, bytes *b)
{
    static const moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m;
    *b = tiny_model(f);
    const moe_file file = bytes_file(0);
    assert_ok(moe_model_open_file(&m, &file, b, &o));
    return m;
}

static void eval(moe_session *s, moe_model *m)
{
    moe_token id[N];
    fill_tokens(m, id, N, 5);
    assert_ok(moe_session_eval(s, id, N));
}

typedef int (*change)(moe_router *r);

/* The file `f` computes what the plain file does with the change. */
static void same_as(const tiny_fault *f, change fn)
{
    static const tiny_fault sound;
    bytes b[2];
    moe_model *m[2] = {open_tiny(f, &b[0]), open_tiny(&sound, &b[1])};
    const float *x[2], *plain;
    moe_session *s[3];
    moe_router *r;
    for (int i = 0; i < 2; i++) s[i] = make_session(m[i], (moe_session_options)MOE_SESSION_OPTIONS_INIT);
    s[2] = make_session(m[1], (moe_session_options)MOE_SESSION_OPTIONS_INIT);
    assert_ok(moe_session_router(s[1], 1, &r));
    assert_ok(fn(r));
    for (int i = 0; i < 2; i++) {
        eval(s[i], m[i]);
        assert_ok(moe_session_logits(s[i], 0, &x[i], NULL));
    }
    eval(s[2], m[1]);
    assert_ok(moe_session_logits(s[2], 0, &plain, NULL));
    assert_memory_equal(x[0], x[1], TINY_VOCAB * sizeof(float));
    assert_true(memcmp(x[0], plain, TINY_VOCAB * sizeof(float)) != 0);
    for (int i = 0; i < 3; i++) moe_session_free(s[i]);
    for (int i = 0; i < 2; i++) {
        moe_model_release(m[i]);
        bytes_free(&b[i]);
    }
}

static int set_bias(moe_router *r, int kind, size_t tensor)
{
    float v[TINY_EXPERTS];
    for (uint32_t e = 0; e < TINY_EXPERTS; e++) v[e] = tiny_value(tensor, e);
    return moe_router_set_values(r, kind, v, TINY_EXPERTS);
}

static int logit_bias(moe_router *r) { return set_bias(r, MOE_EDIT_LOGIT_BIAS, TINY_LOGIT_BIAS); }
static int select_bias(moe_router *r) { return set_bias(r, MOE_EDIT_SELECT_BIAS, TINY_SELECT_BIAS); }
static int sigmoid(moe_router *r) { return moe_router_set_named(r, "topk:score=sigmoid"); }
static int softplus(moe_router *r) { return moe_router_set_named(r, "topk:score=sqrtsoftplus"); }
static int groups(moe_router *r) { return moe_router_set_named(r, "topk:groups=2,topgroups=1"); }

static void biases_scores_and_groups(void **state)
{
    (void)state;
    const tiny_fault l = {.logit_bias = 1}, q = {.select_bias = 1}, g2 = {.gating = 2}, g4 = {.gating = 4},
                     gr = {.n_groups = 2, .top_groups = 1};
    same_as(&l, logit_bias);
    same_as(&q, select_bias);
    same_as(&g2, sigmoid);
    same_as(&g4, softplus);
    same_as(&gr, groups);
}

static void contradictions_are_refused(void **state)
{
    (void)state;
    const tiny_fault wrong[] = {{.gating = 9},
                                {.n_groups = 3, .top_groups = 1},
                                {.n_groups = 2},
                                {.n_groups = 2, .top_groups = 3},
                                {.n_null = 5}};
    static const char *const word[] = {"expert_gating_func", "expert_group_count", "expert_group_count",
                                       "expert_group_count", "expert_null_count"};
    for (size_t i = 0; i < 5; i++) {
        bytes b = tiny_model(&wrong[i]);
        const moe_file file = bytes_file(0);
        moe_model *m;
        assert_refused(moe_model_open_file(&m, &file, &b, NULL), i ? MOE_E_FORMAT : MOE_E_UNSUPPORTED,
                       word[i]);
        bytes_free(&b);
    }
}

typedef struct counted {
    uint32_t nulls, reals, rows;
} counted;

/* Softmax over real and null experts, the best k of all, weights over the real ones among them. */
static int check_nulls(const moe_route_view *v, void *user)
{
    counted *c = user;
    const uint32_t n = v->n_logits, k = 3;
    assert_int_equal(v->n_experts, TINY_EXPERTS);
    assert_int_equal(n, TINY_EXPERTS + 2);
    for (uint32_t t = 0; t < v->n_rows; t++) {
        const float *z = v->logits + (size_t)t * n;
        uint32_t best[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
        double sum = 0;
        for (uint32_t i = 0; i < k; i++)
            for (uint32_t e = 0; e < n; e++)
                if (e != best[0] && e != best[1] && e != best[2] &&
                    (best[i] == UINT32_MAX || z[e] > z[best[i]]))
                    best[i] = e;
        for (uint32_t i = 0; i < k; i++)
            if (best[i] < TINY_EXPERTS) sum += exp((double)z[best[i]]);
        assert_int_equal(v->offset[t + 1] - v->offset[t], k);
        for (uint32_t i = 0; i < k; i++) {
            const uint32_t p = v->offset[t] + i;
            if (best[i] >= TINY_EXPERTS) {
                assert_int_equal(v->expert[p], MOE_EXPERT_NONE);
                assert_true(v->weight[p] == 0);
                c->nulls++;
            } else {
                assert_int_equal(v->expert[p], best[i]);
                assert_true(fabs((double)v->weight[p] - exp((double)z[best[i]]) / sum) < 1e-6);
                c->reals++;
            }
        }
        c->rows++;
    }
    return 0;
}

static void null_experts_of_the_file(void **state)
{
    (void)state;
    const tiny_fault f = {.n_null = 2, .top_k = 3};
    bytes b;
    moe_model *m = open_tiny(&f, &b);
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_stats st = MOE_STATS_INIT;
    moe_router_info ri = MOE_ROUTER_INFO_INIT;
    moe_router *r;
    counted c = {0, 0, 0};
    assert_ok(moe_model_get_info(m, &info));
    assert_int_equal(info.n_null, 2);
    moe_session *s = make_session(m, (moe_session_options)MOE_SESSION_OPTIONS_INIT);
    assert_ok(moe_session_router(s, 1, &r));
    assert_ok(moe_router_get_info(r, &ri));
    assert_int_equal(ri.n_null, 2);
    assert_ok(moe_session_observe(s, check_nulls, &c));
    eval(s, m);
    assert_int_equal(c.rows, N);
    assert_true(c.nulls > 0 && c.reals > 0);
    assert_ok(moe_session_get_stats(s, &st));
    assert_int_equal(st.pairs, c.reals); /* null experts cost nothing */
    assert_ok(moe_session_observe(s, NULL, NULL));
    assert_refused(moe_router_set_named(r, "topk:null=1"), MOE_E_INVALID, "null");
    assert_ok(moe_router_set_named(r, "topk:null=4,nullbias=100")); /* two more, always best */
    moe_session_reset_stats(s);
    assert_ok(moe_session_seq_truncate(s, 0, 0));
    eval(s, m);
    assert_ok(moe_session_get_stats(s, &st));
    assert_true(st.pairs <= N); /* two of the best three are the new null experts */
    moe_session_free(s);
    moe_model_release(m);
    bytes_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(biases_scores_and_groups),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(null_experts_of_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
