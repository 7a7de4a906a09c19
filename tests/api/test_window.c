/* SPDX-License-Identifier: MIT */
/*
 * Sliding windows: how far a token reaches, to the position; the same bits for any split and threads; a
 * window that is never full is none. The golden tests compare with another implementation; here windows are
 * changed in the file, so that they end inside pages and chunks and reach over several.
 */
#include "tiny_model.h"
#include "window_model.h"

enum { N = 700, LAYERS = 2 };

static moe_session *long_session(moe_model *m, int threads, uint32_t rows, int type)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = N;
    o.n_output_max = N;
    o.n_threads = threads;
    o.n_batch_max = rows;
    o.kv_type_k = o.kv_type_v = type;
    return make_session(m, o);
}

/* Evaluates tokens first .. end-1; logits of all into dst rows first .. */
static void eval_all(moe_session *s, const moe_token *id, size_t first, size_t end, float *dst, size_t vocab)
{
    static uint8_t want[N];
    moe_batch b = MOE_BATCH_INIT;
    const float *x;
    memset(want, MOE_WANT_LOGITS, sizeof want);
    b.n_tokens = end - first;
    b.token = id + first;
    b.want = want;
    assert_ok(moe_session_eval_batch(s, &b));
    for (size_t i = first; i < end; i++) {
        assert_ok(moe_session_logits(s, i - first, &x, NULL));
        memcpy(dst + i * vocab, x, vocab * sizeof *x);
    }
}

static const uint32_t widths[] = {1, 7, 64, 100, 300, 511, 600};
#define N_WIDTHS (sizeof widths / sizeof widths[0])

/* A token reaches W-1 positions further in each layer, not one more and not one less. */
static void a_token_reaches_as_far_as_the_windows(void **state)
{
    (void)state;
    for (size_t w = 0; w < N_WIDTHS; w++)
        for (size_t t = 5; t < N; t += 173) {
            moe_model *m = with_window(widths[w]);
            const size_t vocab = vocab_of(m), reach = t + LAYERS * (widths[w] - 1);
            moe_session *s = long_session(m, 2, 0, MOE_KV_F32), *u = long_session(m, 2, 0, MOE_KV_F32);
            moe_token id[N];
            float *a = malloc(N * vocab * sizeof *a), *b = malloc(N * vocab * sizeof *b);
            assert_true(a && b);
            fill_tokens(m, id, N, 41);
            eval_all(s, id, 0, N, a, vocab);
            id[t] = (id[t] + 1) % (moe_token)vocab;
            eval_all(u, id, 0, N, b, vocab);
            for (size_t i = 0; i < N; i++) {
                const int same = memcmp(a + i * vocab, b + i * vocab, vocab * sizeof *a) == 0;
                if (i < t || i > reach) assert_true(same);
                if (i == t || i == reach) assert_false(same);
            }
            free(a);
            free(b);
            moe_session_free(s);
            moe_session_free(u);
            moe_model_release(m);
        }
}

static void the_same_bits_for_any_split(void **state)
{
    (void)state;
    static const int types[] = {MOE_TYPE_F16, MOE_KV_F32, MOE_TYPE_BF16};
    static const size_t pieces[] = {N, 77, 1};
    for (size_t w = 0; w < N_WIDTHS; w++) {
        moe_model *m = with_window(widths[w]);
        const size_t vocab = vocab_of(m);
        const int type = types[w % 3];
        moe_session *s = long_session(m, 1, 0, type);
        moe_token id[N];
        float *a = malloc(N * vocab * sizeof *a), *b = malloc(N * vocab * sizeof *b);
        assert_true(a && b);
        fill_tokens(m, id, N, 42);
        eval_all(s, id, 0, N, a, vocab);
        moe_session_free(s);
        for (int i = 0; i < 3; i++) {
            s = long_session(m, 1 + i, i == 1 ? 33 : 0, type);
            for (size_t at = 0; at < N; at += pieces[i])
                eval_all(s, id, at, N - at < pieces[i] ? N : at + pieces[i], b, vocab);
            assert_memory_equal(a, b, N * vocab * sizeof *a);
            moe_session_free(s);
        }
        free(a);
        free(b);
        moe_model_release(m);
    }
}

static void a_window_that_is_never_full_is_none(void **state)
{
    (void)state;
    moe_model *none = with_window(0), *wide = with_window(N), *narrow = with_window(N - 1);
    const size_t vocab = vocab_of(none);
    moe_model *const models[] = {none, wide, narrow};
    float *x[3];
    moe_token id[N];
    fill_tokens(none, id, N, 43);
    for (int i = 0; i < 3; i++) {
        moe_session *s = long_session(models[i], 2, 0, 0);
        x[i] = malloc(N * vocab * sizeof(float));
        assert_non_null(x[i]);
        eval_all(s, id, 0, N, x[i], vocab);
        moe_session_free(s);
        moe_model_release(models[i]);
    }
    assert_memory_equal(x[0], x[1], N * vocab * sizeof(float));
    assert_memory_equal(x[0], x[2], (N - 1) * vocab * sizeof(float));
    assert_memory_not_equal(x[0] + (N - 1) * vocab, x[2] + (N - 1) * vocab, vocab * sizeof(float));
    for (int i = 0; i < 3; i++) free(x[i]);
}

/* ---- caches that keep windows only ---- */

static uint64_t planned(moe_model *m, uint32_t n_ctx, uint32_t n_seq, uint32_t rows)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_memory plan = MOE_MEMORY_INIT;
    o.n_ctx = n_ctx;
    o.n_seq_max = n_seq;
    o.n_batch_max = rows;
    assert_ok(moe_model_get_memory(m, &o, &plan));
    return plan.kv;
}

/* Two KV heads of 8, f16: 64 bytes for a position of a layer; two layers. */
static void windows_take_less(void **state)
{
    (void)state;
    moe_model *all = with_window(0), *m = with_window(200);
    const uint64_t position = 2 * 64;
    assert_true(planned(all, 20000, 1, 64) >= 20000 * position);
    const uint64_t pages = 1 * (2 * (200 / 64) + 6) + 1 + 1, tables = 20000 * 4 + 8 * 4 * (20000 / 64);
    const uint64_t taken = planned(m, 20000, 1, 64);
    assert_true(taken >= pages * 64 * position && taken < pages * 64 * position + tables + 8192);
    /* a context that the windows would not fit into is kept as ever */
    assert_true(planned(m, 640, 1, 64) >= 640 * position && planned(m, 640, 1, 64) < 704 * position + 16384);
    moe_model_release(all);
    moe_model_release(m);
}

/* The plan of a model of two layers with such keys. */
static uint64_t planned_tiny(uint32_t window, uint32_t period)
{
    const tiny_fault f = {.window = window, .period = period};
    bytes b = tiny_model(&f);
    image *x = malloc(sizeof *x);
    moe_file mf = MOE_FILE_INIT;
    moe_model *m = NULL;
    assert_true(x && b.n <= sizeof x->data);
    x->n = b.n;
    memcpy(x->data, b.p, b.n);
    bytes_free(&b);
    mf.length = image_length;
    mf.read_at = image_read;
    mf.close = image_close;
    assert_ok(moe_model_open_file(&m, &mf, x, NULL));
    const uint64_t n = planned(m, 20000, 1, 64);
    moe_model_release(m);
    return n;
}

/* A number p leaves every p-th layer without a window; the golden tests have an array. */
static void a_pattern_by_number(void **state)
{
    (void)state;
    const uint64_t none = planned_tiny(0, 0), both_layers = planned_tiny(100, 0);
    assert_true(both_layers < none / 4);
    assert_int_equal(planned_tiny(0, 2), none);
    assert_int_equal(planned_tiny(100, 1), none);
    assert_int_equal(planned_tiny(100, 3), both_layers);
    const uint64_t one = planned_tiny(100, 2), middle = (none + both_layers) / 2;
    assert_true(one > middle - middle / 10 && one < middle + middle / 10);
}

static int stop_late(const moe_progress *p, void *user)
{
    return *(uint64_t *)user && p->done >= *(uint64_t *)user;
}

/* Gaps with fewer tokens behind them than a window has: it is short for a while. */
static void short_windows(moe_session *s, moe_session *t, const moe_token *id)
{
    for (size_t behind = 40; behind; behind -= 20) {
        const size_t first = moe_session_seq_len(s, 0) - behind - 500;
        assert_ok(moe_session_seq_remove(s, 0, (moe_pos)first, 500));
        assert_ok(moe_session_seq_remove(t, 0, (moe_pos)first, 500));
        for (size_t i = 0; i < 700; i += 70) both(s, t, 0, id + i, 70);
    }
}

/* Back: what the next token would see is there, or the call says no and nothing has changed. */
static void back(moe_session *s, moe_session *t, const moe_token *id)
{
    const size_t len = moe_session_seq_len(t, 0);
    assert_ok(moe_session_seq_truncate(t, 0, (moe_pos)len));
    assert_refused(moe_session_seq_truncate(t, 0, 5), MOE_E_STATE, "evaluate the tokens again");
    assert_int_equal(moe_session_seq_len(t, 0), len);
    both(s, t, 0, id, 3);
    assert_ok(moe_session_seq_truncate(t, 0, 0));
    assert_ok(moe_session_seq_truncate(s, 0, 0));
    both(s, t, 0, id, 400);
}

/* What windows gave back was not needed: long evals in one piece or many, stopped ones, copies, cuts, shifts.
 */
static void a_thrifty_cache_gives_the_same(void **state)
{
    (void)state;
    static const uint32_t some[] = {1, 64, 200, 600};
    static moe_token id[5000];
    for (size_t w = 0; w < 4; w++) {
        moe_model *m = with_window(some[w]);
        uint64_t stop = 0;
        moe_session_options o = MOE_SESSION_OPTIONS_INIT;
        o.n_ctx = 5200;
        o.n_seq_max = 2;
        o.n_threads = 2;
        o.n_batch_max = 5200; /* rows that would fill the context: all is kept */
        moe_session *s = make_session(m, o);
        o.n_ctx = 20000;
        o.n_batch_max = 64;
        o.progress = stop_late;
        o.progress_user = &stop;
        moe_session *t = make_session(m, o);
        fill_tokens(m, id, 5000, 51);
        assert_ok(append(s, 0, id, 3000));
        assert_ok(append(t, 0, id, 1000));
        stop = 700; /* long after pages of this eval were given back */
        assert_int_equal(append(t, 0, id + 1000, 2000), MOE_E_ABORTED);
        stop = 0;
        assert_int_equal(moe_session_seq_len(t, 0), 1000);
        assert_ok(append(t, 0, id + 1000, 1900));
        for (size_t i = 2900; i < 3000; i++) assert_ok(append(t, 0, id + i, 1));
        same_last(s, t);
        assert_ok(moe_session_seq_copy(s, 0, 1)); /* a copy goes its own way, the original on its own */
        assert_ok(moe_session_seq_copy(t, 0, 1));
        both(s, t, 1, id + 100, 300);
        both(s, t, 0, id + 3000, 50);
        assert_ok(moe_session_seq_remove(s, 0, 10, 1700));
        assert_ok(moe_session_seq_remove(t, 0, 10, 1700));
        both(s, t, 0, id + 3050, 30);
        short_windows(s, t, id + 3080);
        back(s, t, id);
        moe_session_free(s);
        moe_session_free(t);
        moe_model_release(m);
    }
}

/* Never full: the cache of windows has room for all sequences, whatever they do at once. */
static void windows_of_many_sequences(void **state)
{
    (void)state;
    enum { SEQS = 5 };
    static moe_token id[SEQS * 900];
    static moe_seq seq[SEQS * 900];
    moe_model *m = with_window(130);
    moe_session *s = thrifty(m, SEQS), *t = thrifty(m, 1);
    fill_tokens(m, id, SEQS * 900, 61);
    for (int round = 0; round < 6; round++) {
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = SEQS * 900;
        b.token = id;
        b.seq = seq;
        for (int i = 0; i < SEQS * 900; i++) seq[i] = (moe_seq)(round % 2 ? i % SEQS : i / 900);
        for (moe_seq q = 0; q < SEQS; q++) {
            if (round < 4)
                assert_ok(moe_session_seq_truncate(s, q, 0));
            else
                assert_ok(moe_session_seq_copy(s, 0, q));
        }
        assert_ok(moe_session_eval_batch(s, &b));
        if (round != 3) continue;
        for (int i = 0; i < 900; i++)
            assert_ok(moe_session_eval(t, id + i * SEQS + 2, 1)); /* one of them, alone */
        const float *x, *y;
        size_t n;
        assert_ok(moe_session_logits(s, 2, &x, &n));
        assert_ok(moe_session_logits(t, 0, &y, NULL));
        assert_memory_equal(x, y, n * sizeof *x);
    }
    moe_session_free(s);
    moe_session_free(t);
    moe_model_release(m);
}

/* Saved is what is left to be seen, whatever the cache that it came from keeps. */
static void saved_windows(void **state)
{
    (void)state;
    moe_model *m = with_window(100);
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 2000;
    o.n_batch_max = 2000;
    o.n_threads = 1;
    moe_session *s = make_session(m, o), *t = thrifty(m, 3);
    moe_token id[1100];
    fill_tokens(m, id, 1100, 71);
    assert_ok(moe_session_eval(s, id, 1000));
    assert_ok(moe_session_eval(t, id, 1000));
    stream a = save_seq(s, 0), b = save_seq(t, 0);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    assert_int_equal(a.n, 60 + 12 + 4 * 1000 + 104 * 2 * 64 + 8);
    assert_ok(load_seq(t, 2, &a));
    assert_ok(append(s, 0, id + 1000, 100));
    assert_ok(append(t, 2, id + 1000, 100));
    same_last(s, t);
    assert_ok(load_all(s, &b));
    assert_ok(append(s, 0, id + 1000, 100));
    same_last(s, t);
    b.data[69] ^= 0x40; /* a window that begins where it cannot */
    assert_refused(load_all(s, &b), MOE_E_FORMAT, "offset 68");
    assert_ok(append(s, 0, id, 10));
    free(a.data);
    free(b.data);
    moe_session_free(s);
    moe_session_free(t);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_reaches_as_far_as_the_windows),
        cmocka_unit_test(the_same_bits_for_any_split),
        cmocka_unit_test(a_window_that_is_never_full_is_none),
        cmocka_unit_test(windows_take_less),
        cmocka_unit_test(a_pattern_by_number),
        cmocka_unit_test(a_thrifty_cache_gives_the_same),
        cmocka_unit_test(windows_of_many_sequences),
        cmocka_unit_test(saved_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
