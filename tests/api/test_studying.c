/* SPDX-License-Identifier: MIT */
/*
 * Profiles and traces of sessions: the same as what an observer sees, whatever the threads and the split;
 * Super Experts of a real model; files of one model in another session. Runs in the source folder.
 */
#include "experts.h"
#include "moe/study.h"

#include "../alloc/faulty.h"

#define DENSE  "tests/golden/data/qwen2moe-dense.gguf" /* layer 0 has no router */
#define FILE_A "test_studying.tmp"

static const int arrays[] = {
    MOE_PROFILE_COUNT,    MOE_PROFILE_WEIGHT,      MOE_PROFILE_PROB,         MOE_PROFILE_TOP1,
    MOE_PROFILE_K,        MOE_PROFILE_CLASS_COUNT, MOE_PROFILE_CLASS_WEIGHT, MOE_PROFILE_CLASS_TOKENS,
    MOE_PROFILE_TOGETHER, MOE_PROFILE_DROPS,       MOE_PROFILE_NPMI};

static moe_profile *profile_of(moe_model *m, uint32_t flags)
{
    moe_profile *p;
    const moe_profile_options o = {sizeof o, flags, 2, 32, N};
    assert_ok(moe_profile_create(&p, m, &o));
    assert_ok(moe_profile_begin(p, 1));
    return p;
}

/* Equal within `by`, relative to 1 or the number. */
static void check_equal(const moe_profile *p, const moe_profile *q, double by, int in_files)
{
    static double x[4096], y[4096];
    moe_profile_info info = MOE_PROFILE_INFO_INIT;
    size_t n, m;
    assert_ok(moe_profile_get_info(p, &info));
    for (uint32_t l = 0; l < info.n_layers; l++) {
        for (size_t a = 0; a < sizeof arrays / sizeof arrays[0]; a++) {
            assert_ok(moe_profile_read(p, l, arrays[a], x, 4096, &n));
            assert_ok(moe_profile_read(q, l, arrays[a], y, 4096, &m));
            assert_int_equal(n, m);
            for (size_t i = 0; i < n; i++)
                if (!(fabs(x[i] - y[i]) <= by * (fabs(x[i]) > 1 ? fabs(x[i]) : 1)))
                    fail_msg("layer %u, array %d, number %zu: %g and %g", l, arrays[a], i, x[i], y[i]);
        }
        moe_router_profile a = MOE_ROUTER_PROFILE_INIT, b = MOE_ROUTER_PROFILE_INIT;
        assert_ok(moe_profile_router(p, l, &a));
        assert_ok(moe_profile_router(q, l, &b));
        assert_int_equal(a.tokens, b.tokens);
        assert_true(fabs(a.entropy - b.entropy) <= by && fabs(a.lbl_global - b.lbl_global) <= by);
        assert_true(fabs(a.mutual_info - b.mutual_info) <= by);
        if (in_files) assert_true(a.lbl_micro == b.lbl_micro && a.micro_batches == b.micro_batches);
    }
}

static int add_view(const moe_route_view *v, void *user) { return moe_profile_add(user, v); }

/* A profile of a session equals, to the bit, what its observer's views add up to; nobody changes the results.
 */
static void profiles_see_what_observers_see(void **state)
{
    (void)state;
    static const char *const path[] = {DENSE, "tests/golden/data/olmoe.gguf"};
    for (size_t k = 0; k < 2; k++) {
        moe_model *m = open_model(path[k], 0);
        moe_session *s = session_with(m, 2, 0), *t = session_with(m, 1, 0);
        moe_profile *p = profile_of(m, MOE_PROFILE_PAIRS), *q = profile_of(m, MOE_PROFILE_PAIRS);
        float *plain = run(s, 7);
        assert_ok(moe_session_set_profile(s, p));
        assert_ok(moe_session_observe(s, add_view, q));
        float *x = run(s, 7);
        assert_true(same(s, plain, x));
        check_equal(p, q, 0, 1);
        moe_profile_reset(q); /* another split, one thread: the same counts, sums in another order */
        assert_ok(moe_profile_begin(q, 1));
        assert_ok(moe_session_set_profile(t, q));
        float *y = run(t, N);
        assert_true(same(s, plain, y));
        check_equal(p, q, 1e-12, 0);
        free(plain);
        free(x);
        free(y);
        moe_session_free(s);
        moe_session_free(t);
        moe_profile_free(p);
        moe_profile_free(q);
        moe_model_release(m);
    }
}

/* A trace of a session, put into a profile row by row, gives the session's profile; weights are rounded to
 * f16. */
static void traces_hold_it_all(void **state)
{
    (void)state;
    moe_model *m = open_model(DENSE, 0);
    moe_session *s = session_with(m, 2, 0);
    moe_profile *p = profile_of(m, MOE_PROFILE_PAIRS), *q = profile_of(m, MOE_PROFILE_PAIRS);
    moe_trace *t;
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    assert_ok(moe_trace_create(&t, m, MOE_TRACE_LOGITS | MOE_TRACE_WEIGHTS, NULL));
    assert_ok(moe_session_set_profile(s, p));
    assert_ok(moe_session_observe(s, moe_trace_observe, t));
    free(run(s, 5));
    assert_ok(moe_trace_save_file(t, FILE_A));
    moe_trace_free(t);
    assert_ok(moe_trace_load_file(&t, FILE_A, NULL));
    assert_ok(moe_trace_get_info(t, &info));
    assert_int_equal(info.n_tokens, N);
    for (uint64_t i = 0; i < N; i++)
        for (uint32_t l = 0; l < info.n_layers; l++) {
            moe_trace_row row = MOE_TRACE_ROW_INIT;
            assert_ok(moe_trace_at(t, i, l, &row));
            const uint32_t offset[2] = {0, row.k};
            const moe_route_view v = {.size = sizeof v,
                                      .layer = row.model_layer,
                                      .n_rows = 1,
                                      .n_experts = info.n_experts,
                                      .offset = offset,
                                      .expert = row.expert,
                                      .weight = row.weight,
                                      .logits = row.logits,
                                      .token = &row.token,
                                      .pos = &row.pos};
            assert_ok(moe_profile_add(q, &v));
        }
    check_equal(p, q, 1e-3, 0);
    remove(FILE_A);
    moe_trace_free(t);
    moe_profile_free(p);
    moe_profile_free(q);
    moe_session_free(s);
    moe_model_release(m);
}

/* What a failed eval leaves without its last layers is no token. */
static int stop_in_first_layer(const moe_route_view *v, void *user)
{
    const int st = moe_trace_observe(v, user);
    return st != MOE_OK ? st : v->layer == 0 && v->pos[0] == 8 ? MOE_E_ABORTED : MOE_OK;
}

static void failed_evals(void **state)
{
    (void)state;
    moe_model *m = open_model("tests/golden/data/olmoe.gguf", 0);
    moe_session *s = session_with(m, 1, 0);
    moe_trace *t;
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    moe_token id[16];
    fill_tokens(m, id, 16, 1);
    assert_ok(moe_trace_create(&t, m, 0, NULL));
    assert_ok(moe_session_observe(s, stop_in_first_layer, t));
    assert_ok(moe_session_eval(s, id, 8));
    assert_int_equal(moe_session_eval(s, id + 8, 8), MOE_E_ABORTED);
    assert_ok(moe_trace_get_info(t, &info));
    assert_true(info.n_layers >= 2);
    assert_int_equal(info.n_tokens, 8);
    assert_ok(moe_session_observe(s, moe_trace_observe, t));
    assert_ok(moe_session_eval(s, id + 8, 8));
    assert_ok(moe_trace_get_info(t, &info));
    assert_int_equal(info.n_tokens, 16);
    for (uint64_t i = 0; i < 16; i++) {
        moe_trace_row row = MOE_TRACE_ROW_INIT;
        assert_ok(moe_trace_at(t, i, 0, &row));
        assert_int_equal(row.token, id[i]);
        assert_int_equal(row.pos, i);
    }
    moe_trace_free(t);
    moe_session_free(s);
    moe_model_release(m);
}

/* Su et al.: one routed-to expert's down matrix times 1000 is found, an unscaled model has none. */
static void super_experts(void **state)
{
    (void)state;
    moe_model *m = open_model(DEMO, 0);
    moe_session *s = session_with(m, 2, 0);
    moe_profile *p = profile_of(m, MOE_PROFILE_OUTPUTS);
    moe_expert_find find[4];
    double count[64];
    size_t n;
    uint32_t e = 0;
    find[0].size = sizeof find[0];
    assert_ok(moe_session_set_profile(s, p));
    free(run(s, N));
    assert_ok(moe_profile_super(p, find, 4, &n));
    assert_int_equal(n, 0);
    assert_ok(moe_profile_read(p, 2, MOE_PROFILE_COUNT, count, 64, &n));
    while (count[e] == 0) e++;
    replace_scaled(s, 2, e, 1000);
    moe_profile_reset(p);
    free(run(s, N));
    assert_ok(moe_profile_super(p, find, 4, &n));
    assert_int_equal(n, 1);
    assert_int_equal(find[0].layer, 2);
    assert_int_equal(find[0].index, e);
    moe_session_free(s);
    moe_profile_free(p);
    moe_model_release(m);
}

/* Another session goes on where a file ends. */
static void profiles_go_on(void **state)
{
    (void)state;
    moe_model *m = open_model(DENSE, 0), *other = open_model("tests/golden/data/olmoe.gguf", 0);
    moe_session *s = session_with(m, 1, 0);
    moe_profile *p = profile_of(m, MOE_PROFILE_PAIRS), *q, *bare;
    assert_ok(moe_session_set_profile(s, p));
    free(run(s, N));
    assert_ok(moe_profile_save_file(p, FILE_A));
    free(run(s, N));
    assert_ok(moe_profile_load_file(&q, m, FILE_A));
    assert_ok(moe_session_set_profile(s, q));
    assert_int_equal(moe_profile_load_file(&bare, other, FILE_A), MOE_E_STATE);
    assert_ok(moe_profile_load_file(&bare, NULL, FILE_A));
    assert_int_equal(moe_session_set_profile(s, bare), MOE_E_STATE);
    assert_ok(moe_profile_begin(q, 1));
    assert_ok(moe_profile_begin(p, 1));
    free(run(s, N));
    check_equal(p, q, 0, 1);
    moe_session *t = session_with(other, 1, 0);
    assert_int_equal(moe_session_set_profile(t, p), MOE_E_STATE);
    assert_ok(moe_session_set_profile(s, NULL));
    remove(FILE_A);
    moe_session_free(t);
    moe_session_free(s);
    moe_profile_free(p);
    moe_profile_free(q);
    moe_profile_free(bare);
    moe_model_release(m);
    moe_model_release(other);
}

/* Evaluating into a profile takes no memory. */
static void no_memory_is_taken(void **state)
{
    (void)state;
    faulty f;
    moe_model *m;
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_token id[N];
    faulty_init(&f);
    o.allocator = &f.hook;
    assert_ok(moe_model_open(&m, DENSE, &o));
    moe_session *s = session_with(m, 2, 0);
    moe_profile *p = profile_of(m, MOE_PROFILE_PAIRS | MOE_PROFILE_OUTPUTS);
    fill_tokens(m, id, N, 5);
    assert_ok(moe_session_set_profile(s, p));
    faulty_arm(&f, 1);
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_eval(s, id, 1));
    assert_ok(moe_profile_begin(p, 0));
    moe_profile_reset(p);
    assert_int_equal(atomic_load(&f.n_calls), 0);
    faulty_disarm(&f);
    moe_session_free(s);
    moe_profile_free(p);
    moe_model_release(m);
    assert_int_equal(atomic_load(&f.n_live), 0);
    assert_int_equal(atomic_load(&f.n_wrong), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_see_what_observers_see),
        cmocka_unit_test(traces_hold_it_all),
        cmocka_unit_test(failed_evals),
        cmocka_unit_test(super_experts),
        cmocka_unit_test(profiles_go_on),
        cmocka_unit_test(no_memory_is_taken),
    };
    return cmocka_run_group_tests_name("studying", tests, NULL, NULL);
}
