/* SPDX-License-Identifier: MIT */
/*
 * Where windows begin and sequences end: tokens cut off after loads and shifts, shifts that fail with nothing
 * to move, and pages that hold no numbers when a window begins inside them.
 */
#include "refusing.h"
#include "window_model.h"

#include <math.h>

enum { LEN = 1100 };

/* The first n tokens of sequence q in a session of its own. */
static moe_session *evaluated(moe_model *m, const moe_token *id, size_t n)
{
    moe_session *s = thrifty(m, 3);
    assert_ok(append(s, 0, id, n));
    return s;
}

/* Cuts copies of s's sequence 0 and of t's sequence 1 to `keep` tokens: both say no, or both go on alike. */
static int cut_alike(moe_session *s, moe_session *t, size_t keep, const moe_token *id)
{
    assert_ok(moe_session_seq_copy(s, 0, 2));
    assert_ok(moe_session_seq_copy(t, 1, 2));
    const int st = moe_session_seq_truncate(s, 2, (moe_pos)keep);
    assert_int_equal(moe_session_seq_truncate(t, 2, (moe_pos)keep), st);
    if (st == MOE_OK) both(s, t, 2, id + keep, 5);
    return st;
}

/* A sequence that was saved and loaded can be cut where the one that was not can, with the same bits after
 * it. */
static void cuts_after_loads(void **state)
{
    (void)state;
    static const uint32_t some[] = {20, 64, 100};
    static const size_t lengths[] = {30, 995, 1000, 1023, 1024};
    moe_token id[LEN];
    for (size_t w = 0; w < 3; w++) {
        moe_model *m = with_window(some[w]);
        fill_tokens(m, id, LEN, 91);
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
            const size_t n = lengths[i];
            moe_session *s = evaluated(m, id, n), *t = thrifty(m, 3);
            stream saved = save_seq(s, 0);
            assert_ok(load_seq(t, 1, &saved));
            int last = MOE_OK, kept = 0;
            for (size_t cut = 0; cut < 130 && cut < n; cut++) {
                const int st = cut_alike(s, t, n - cut, id);
                assert_true(st == last || (last == MOE_OK && st == MOE_E_STATE));
                kept += st == MOE_OK;
                last = st;
            }
            assert_true(kept > 0 && (n == 30 || kept <= 64));
            free(saved.data);
            moe_session_free(s);
            moe_session_free(t);
        }
        moe_model_release(m);
    }
}

/* With too few tokens behind a gap a window is short for a while. Cutting does not make it shorter. */
static void cuts_after_shifts(void **state)
{
    (void)state;
    moe_model *m = with_window(100);
    moe_session_options keeps_all = MOE_SESSION_OPTIONS_INIT;
    keeps_all.n_ctx = keeps_all.n_batch_max = 1200;
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 92);
    for (int all = 0; all < 2; all++) {
        moe_session *s = all ? make_session(m, keeps_all) : thrifty(m, 1), *t = thrifty(m, 1);
        moe_session *const pair[] = {s, t};
        for (int i = 0; i < 2; i++) {
            assert_ok(append(pair[i], 0, id, 1000));
            assert_ok(moe_session_seq_remove(pair[i], 0, 950, 20)); /* 901 .. 979 are left of the window */
            assert_refused(moe_session_seq_truncate(pair[i], 0, 979), MOE_E_STATE,
                           "evaluate the tokens again");
            assert_ok(append(pair[i], 0, id, 50));
        }
        assert_ok(moe_session_seq_truncate(s, 0, 1000)); /* 901 .. 999: as long as windows are */
        assert_ok(append(s, 0, id + 20, 30));
        same_last(s, t);
        assert_ok(moe_session_seq_truncate(s, 0, 981)); /* one more than was left by the shift */
        assert_ok(append(s, 0, id + 1, 49));
        same_last(s, t);
        assert_ok(moe_session_seq_truncate(s, 0, 980));
        assert_refused(moe_session_seq_truncate(s, 0, 979), MOE_E_STATE, "evaluate the tokens again");
        assert_ok(append(s, 0, id, 50));
        same_last(s, t);
        moe_session_free(s);
        moe_session_free(t);
    }
    moe_model_release(m);
}

/* Nothing of the window's pages moves, and the call fails all the same: they are what they were. */
static void a_refused_shift_of_nothing(void **state)
{
    (void)state;
    moe_model *m = with_window(50);
    int refuse = 0;
    const moe_executor executor = {sizeof executor, run_or_refuse, &refuse};
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 20000;
    o.n_batch_max = 64;
    o.n_threads = 2;
    o.n_seq_max = 2;
    moe_session *t = make_session(m, o);
    o.executor = &executor;
    moe_session *s = make_session(m, o);
    moe_token id[300];
    fill_tokens(m, id, 300, 93);
    for (int i = 0; i < 2; i++) {
        moe_session *const x = i ? t : s;
        assert_ok(append(x, 0, id, 200));
        assert_ok(moe_session_seq_remove(x, 0, 128, 72));
        assert_ok(append(x, 1, id, 150)); /* has pages that were the other's */
    }
    refuse = 1;
    assert_refused(moe_session_seq_remove(s, 0, 0, 10), MOE_E_CALLBACK, "");
    refuse = 0;
    both(s, t, 0, id + 200, 1);
    both(s, t, 1, id + 200, 100);
    for (size_t i = 201; i < 300; i++) both(s, t, 0, id + i, 1);
    moe_session_free(s);
    moe_session_free(t);
    moe_model_release(m);
}

static int no_numbers(const moe_layer_event *e, void *user)
{
    (void)user;
    for (size_t i = 0; i < (size_t)e->n_rows * e->dim; i++) e->hidden[i] = NAN;
    return 0;
}

/* A failed eval leaves pages that hold no numbers. A window that begins inside one of them does not see them.
 */
static void dirty_pages(void **state)
{
    (void)state;
    static const int types[] = {MOE_KV_F32, MOE_TYPE_F16, MOE_TYPE_BF16};
    moe_model *m = with_window(100);
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 94);
    for (int i = 0; i < 3; i++) {
        moe_session_options o = MOE_SESSION_OPTIONS_INIT;
        o.n_ctx = 20000;
        o.n_batch_max = 64;
        o.n_seq_max = 2;
        o.n_threads = 2;
        o.kv_type_k = o.kv_type_v = types[i];
        moe_session *s = make_session(m, o), *t = make_session(m, o);
        assert_ok(append(s, 0, id, 1000));
        assert_ok(moe_session_seq_remove(s, 0, 950, 20)); /* begins at 901, inside the page of 896 */
        stream saved = save_seq(s, 0);
        assert_ok(moe_session_on_layer(t, 0, MOE_AT_INPUT, no_numbers, NULL));
        assert_refused(append(t, 0, id, 1000), MOE_E_NUMERIC, "");
        assert_ok(moe_session_on_layer(t, 0, MOE_AT_INPUT, NULL, NULL));
        assert_int_equal(moe_session_seq_len(t, 0), 0);
        assert_ok(load_seq(t, 0, &saved));
        for (size_t n = 0; n < 120; n += 8) both(s, t, 0, id + n, 8);
        free(saved.data);
        moe_session_free(s);
        moe_session_free(t);
    }
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_after_loads),
        cmocka_unit_test(cuts_after_shifts),
        cmocka_unit_test(a_refused_shift_of_nothing),
        cmocka_unit_test(dirty_pages),
    };
    return cmocka_run_group_tests_name("windows' ends", tests, NULL, NULL);
}
