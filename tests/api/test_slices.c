/* SPDX-License-Identifier: MIT */
/*
 * Evals in slices: the same bits however they are cut, all kinds of ends, and what is refused meanwhile.
 */
#include "support.h"

#define N 50u

static moe_model *model;
static moe_token id[N];
static size_t vocab;

static int setup(void **state)
{
    (void)state;
    model = open_model("tests/golden/data/qwen2moe-dense.gguf", 0);
    vocab = vocab_of(model);
    fill_tokens(model, id, N, 3);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    moe_model_release(model);
    return 0;
}

static moe_session *new_session(int threads, uint32_t batch, uint32_t flags)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = threads;
    o.n_batch_max = batch;
    o.flags = flags;
    o.n_seq_max = 2;
    return make_session(model, o);
}

static moe_batch whole(void)
{
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = N;
    b.token = id;
    return b;
}

static float *plain(void)
{
    const float *x;
    float *copy = malloc(vocab * sizeof *copy);
    moe_session *s = new_session(1, 0, 0);
    assert_non_null(copy);
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(copy, x, vocab * sizeof *x);
    moe_session_free(s);
    return copy;
}

static unsigned finish(moe_session *s, uint64_t max_ns)
{
    unsigned n = 0;
    for (int more = 1; more; n++) assert_ok(moe_session_eval_slice(s, max_ns, &more));
    return n;
}

static void cuts_do_not_show(void **state)
{
    (void)state;
    float *want = plain();
    static const uint64_t slice[] = {0, 50000, 2000000, UINT64_MAX};
    for (int threads = 1; threads <= 3; threads++)
        for (size_t i = 0; i < 4; i++) {
            moe_session *s = new_session(threads, i == 1 ? 7 : 0, 0);
            const moe_batch b = whole();
            const float *x;
            assert_ok(moe_session_eval_begin(s, &b));
            assert_int_equal(moe_session_seq_len(s, 0), 0); /* not before it is done */
            const unsigned n = finish(s, slice[i]);
            if (slice[i] == 0) assert_true(n > 10); /* one step at a time */
            if (slice[i] == UINT64_MAX) assert_int_equal(n, 1);
            assert_int_equal(moe_session_seq_len(s, 0), N);
            assert_ok(moe_session_logits(s, 0, &x, NULL));
            assert_memory_equal(x, want, vocab * sizeof *x);
            moe_session_free(s);
        }
    free(want);
}

static int count_views(const moe_route_view *v, void *user)
{
    (void)v;
    ++*(unsigned *)user;
    return 0;
}

static void observers_see_every_layer_once(void **state)
{
    (void)state;
    unsigned once = 0, sliced = 0;
    moe_session *s = new_session(2, 16, 0);
    const moe_batch b = whole();
    assert_ok(moe_session_observe(s, count_views, &once));
    assert_ok(moe_session_eval(s, id, N));
    moe_session_reset(s);
    assert_ok(moe_session_observe(s, count_views, &sliced));
    assert_ok(moe_session_eval_begin(s, &b));
    finish(s, 0);
    assert_int_equal(sliced, once);
    moe_session_free(s);
}

static void meanwhile_nothing_changes(void **state)
{
    (void)state;
    moe_session *s = new_session(1, 0, 0);
    const moe_batch b = whole();
    moe_router *r;
    int more = 7;
    assert_refused(moe_session_eval_slice(s, 0, &more), MOE_E_STATE, "no eval");
    assert_int_equal(more, 0);
    assert_refused(moe_session_eval_cancel(s), MOE_E_STATE, "no eval");
    assert_ok(moe_session_eval_begin(s, &b));
    assert_refused(moe_session_eval_begin(s, &b), MOE_E_STATE, "in slices");
    assert_refused(moe_session_eval(s, id, 1), MOE_E_STATE, "in slices");
    assert_refused(moe_session_seq_truncate(s, 0, 0), MOE_E_STATE, "in slices");
    assert_refused(moe_session_set_threads(s, 2), MOE_E_STATE, "in slices");
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &r));
    assert_refused(moe_router_set_named(r, "topk:k=1"), MOE_E_STATE, "in slices");
    assert_ok(moe_session_eval_slice(s, 0, &more));
    assert_int_equal(more, 1);
    assert_ok(moe_session_eval_cancel(s));
    assert_int_equal(moe_session_seq_len(s, 0), 0);
    moe_batch bad = whole();
    bad.n_tokens = 0;
    assert_refused(moe_session_eval_begin(s, &bad), MOE_E_INVALID, "empty");
    bad = whole();
    id[3] = -5;
    assert_refused(moe_session_eval_begin(s, &bad), MOE_E_RANGE, "-5");
    fill_tokens(model, id, N, 3);
    assert_ok(moe_session_eval(s, id, N)); /* nothing is left behind */
    moe_session_free(s);
}

static void all_ends_leave_the_session_whole(void **state)
{
    (void)state;
    float *want = plain();
    for (int end = 0; end < 4; end++) {
        moe_session *s = new_session(2, 8, end == 3 ? MOE_SESSION_KEEP_PARTIAL : 0);
        const moe_batch b = whole();
        const float *x;
        int more = 1;
        assert_ok(moe_session_eval_begin(s, &b));
        for (int i = 0; i < 40; i++) assert_ok(moe_session_eval_slice(s, 0, &more));
        assert_int_equal(more, 1);
        if (end == 0) assert_ok(moe_session_eval_cancel(s));
        if (end == 1) moe_session_reset(s);
        if (end >= 2) {
            moe_session_interrupt(s);
            assert_refused(moe_session_eval_slice(s, 0, &more), MOE_E_ABORTED, "interrupted");
            assert_int_equal(more, 0);
        }
        const size_t have = moe_session_seq_len(s, 0);
        assert_int_equal(have % 8, 0);
        assert_int_equal(have > 0, end == 3);
        assert_ok(moe_session_eval(s, id + have, N - have));
        assert_ok(moe_session_logits(s, 0, &x, NULL));
        assert_memory_equal(x, want, vocab * sizeof *x);
        moe_session_free(s);
    }
    moe_session *s = new_session(1, 0, 0);
    const moe_batch b = whole();
    assert_ok(moe_session_eval_begin(s, &b));
    moe_session_free(s); /* in the middle */
    free(want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_do_not_show),
        cmocka_unit_test(observers_see_every_layer_once),
        cmocka_unit_test(meanwhile_nothing_changes),
        cmocka_unit_test(all_ends_leave_the_session_whole),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
