/* SPDX-License-Identifier: MIT */
/*
 * Sequences: tokens taken out of the middle, against evaluation without them; pages shared, copied and given
 * back; one sequence saved and loaded; a sequence in the company of others that come, go and change, against
 * the same one alone, to the bit.
 */
#include "../counting.h"
#include "refusing.h"
#include "stream.h"

#include <math.h>
#include <stdatomic.h>

#define PAGE     64u
#define KV_BYTES 480u /* of a position of test_models[1]: 3 layers of 40 + 40 elements in f16 */

static moe_session_options small(void)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = 2;
    o.n_ctx = 256;
    o.n_seq_max = 3;
    return o;
}

static uint32_t cells(const moe_session *s)
{
    moe_session_info info = MOE_SESSION_INFO_INIT;
    assert_ok(moe_session_get_info(s, &info));
    return info.n_cells_used;
}

static void assert_same_stream(stream a, stream b)
{
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.data, b.data, a.n);
    free(a.data);
    free(b.data);
}

/* ---- what a saved sequence with f32 keys and values holds ---- */

typedef struct content {
    stream file;
    uint32_t width_k, width_v, n_layers, n;
    const uint8_t *tokens, *rows;
} content;

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static content open_content(const moe_session *s, moe_seq q)
{
    content c = {.file = save_seq(s, q)};
    const uint8_t *p = c.file.data;
    c.width_k = word(p + 28);
    c.width_v = word(p + 32);
    c.n_layers = word(p + 36);
    c.n = word(p + 64);
    c.tokens = p + 68;
    c.rows = c.tokens + 4 * (size_t)c.n;
    assert_int_equal(c.file.n, 68 + 4 * (size_t)c.n * (1 + (size_t)c.n_layers * (c.width_k + c.width_v)) + 8);
    return c;
}

/* Element of a key (which = 0) or value of a position in a layer. */
static float element(const content *c, int which, uint32_t layer, uint32_t pos, uint32_t i)
{
    const size_t both = c->width_k + c->width_v, page = pos / PAGE * PAGE,
                 n = c->n - page < PAGE ? c->n - page : PAGE;
    const size_t at = both * ((size_t)layer * c->n + page) +
                      (which ? n * c->width_k + (pos - page) * c->width_v : (pos - page) * c->width_k) + i;
    float x;
    memcpy(&x, c->rows + 4 * at, 4);
    return x;
}

/* Largest difference of two positions' keys or values, in parts of the larger one's largest element. */
static double difference(const content *a, const content *b, int which, uint32_t layer, uint32_t pos_a,
                         uint32_t pos_b)
{
    double worst = 0, most = 0;
    for (uint32_t i = 0; i < (which ? a->width_v : a->width_k); i++) {
        const double x = (double)element(a, which, layer, pos_a, i),
                     y = (double)element(b, which, layer, pos_b, i);
        /* comparisons, not fmax: that would hide NaN, and gcc 12 for AArch64 stops at it */
        if (!(fabs(x - y) <= worst)) worst = fabs(x - y);
        if (fabs(x) > most) most = fabs(x);
        if (fabs(y) > most) most = fabs(y);
    }
    return worst / (most > 0 ? most : 1);
}

/* ---- taking tokens out ---- */

static const char *const rotations[] = {
    "tests/golden/data/qwen3moe.gguf",       "tests/golden/data/qwen3moe-yarn.gguf",
    "tests/golden/data/mixtral-llama3.gguf", "tests/golden/data/granitemoe-linear.gguf",
    "tests/golden/data/qwen2moe-dense.gguf",
};

enum { LEN = 200, FIRST = 37, GAP = 83 };

/*
 * Layer 0 sees one token at a time up to its keys and values, so there a moved position must be what
 * evaluation at the new place gives: values to the bit, keys to rounding. In deeper layers values have moved
 * unchanged.
 */
static void keys_are_where_recomputation_puts_them(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof rotations / sizeof *rotations; m++) {
        moe_model *model = open_model(rotations[m], 0);
        moe_session_options o = small();
        o.kv_type_k = o.kv_type_v = MOE_KV_F32;
        moe_session *s = make_session(model, o), *fresh = make_session(model, o);
        moe_token id[LEN], left[LEN - GAP], back[LEN];
        size_t n;
        fill_tokens(model, id, LEN, 5);
        memcpy(left, id, FIRST * sizeof *id);
        memcpy(left + FIRST, id + FIRST + GAP, (LEN - FIRST - GAP) * sizeof *id);
        assert_ok(append(s, 0, id, LEN));
        content before = open_content(s, 0);
        assert_ok(moe_session_seq_remove(s, 0, FIRST, GAP));
        assert_ok(append(fresh, 0, left, LEN - GAP));
        content moved = open_content(s, 0), want = open_content(fresh, 0);
        assert_int_equal(moe_session_seq_len(s, 0), LEN - GAP);
        assert_ok(moe_session_seq_tokens(s, 0, back, LEN, &n));
        assert_int_equal(n, LEN - GAP);
        assert_memory_equal(back, left, sizeof left);
        double worst = 0, unmoved = 0;
        for (uint32_t p = 0; p < LEN - GAP; p++) {
            const uint32_t was = p < FIRST ? p : p + GAP;
            worst = fmax(worst, difference(&moved, &want, 0, 0, p, p));
            if (p >= FIRST) unmoved = fmax(unmoved, difference(&before, &want, 0, 0, was, p));
            assert_true(difference(&moved, &want, 1, 0, p, p) == 0);
            for (uint32_t l = 0; l < moved.n_layers; l++) {
                assert_true(difference(&moved, &before, 1, l, p, was) == 0);
                if (p < FIRST) assert_true(difference(&moved, &before, 0, l, p, p) == 0);
            }
        }
        if (worst > 2e-6) fail_msg("%s: keys are off by %g", rotations[m], worst);
        assert_true(unmoved > 0.1); /* without the turn they would be */
        free(before.file.data);
        free(moved.file.data);
        free(want.file.data);
        moe_session_free(s);
        moe_session_free(fresh);
        moe_model_release(model);
    }
}

/* All that a shifted session is and becomes, whatever the threads and the rows at once. */
static void a_shift_is_the_same_for_all_threads(void **state)
{
    (void)state;
    for (size_t m = 0; m < N_TEST_MODELS; m++) {
        moe_model *model = open_model(test_models[m], 0);
        moe_token id[LEN + 20];
        stream want = {0};
        fill_tokens(model, id, LEN + 20, 6);
        for (int threads = 1; threads <= 4; threads++) {
            moe_session_options o = small();
            o.n_threads = threads;
            o.n_batch_max = threads == 1 ? 0 : threads == 2 ? 1 : 17;
            moe_session *s = make_session(model, o);
            assert_ok(append(s, 1, id, LEN));
            assert_ok(moe_session_seq_remove(s, 1, FIRST, GAP));
            assert_ok(append(s, 1, id + LEN, 20));
            assert_ok(moe_session_seq_remove(s, 1, 4, 64));
            assert_ok(append(s, 1, id, 5));
            stream found = save_all(s);
            if (threads == 1) {
                want = found;
            } else {
                assert_int_equal(found.n, want.n);
                assert_memory_equal(found.data, want.data, want.n);
                free(found.data);
            }
            moe_session_free(s);
        }
        free(want.data);
        moe_model_release(model);
    }
}

/* The same in every type of the cache: keys turned in f32 and rounded once, values moved as they are. */
static void a_shift_in_every_type(void **state)
{
    (void)state;
    static const int types[] = {MOE_KV_F32, MOE_TYPE_F16, MOE_TYPE_BF16, MOE_TYPE_Q8_0, MOE_TYPE_Q4_0};
    moe_model *m = open_model("examples/models/demo.gguf", 0);
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 17);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        stream want = {0};
        for (int threads = 1; threads <= 3; threads += 2) {
            moe_session_options o = small();
            o.n_ctx = 512;
            o.n_threads = threads;
            o.n_batch_max = threads == 1 ? 0 : 13;
            o.kv_type_k = o.kv_type_v = types[i];
            moe_session *s = make_session(m, o);
            assert_ok(append(s, 1, id, LEN));
            if (threads == 3) assert_ok(moe_session_seq_copy(s, 1, 2)); /* pages that are shared, too */
            assert_ok(moe_session_seq_remove(s, 1, FIRST, GAP));
            stream found = save_seq(s, 1);
            if (threads == 1)
                want = found;
            else
                assert_same_stream(want, found);
            moe_session_free(s);
        }
    }
    moe_model_release(m);
}

/* A gap at the end is a truncation; none is nothing. */
static void gaps_at_the_ends(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_session *s = make_session(m, small()), *t = make_session(m, small());
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 7);
    assert_ok(append(s, 0, id, LEN));
    assert_ok(append(t, 0, id, LEN));
    assert_ok(moe_session_seq_remove(s, 0, 100, LEN - 100));
    assert_ok(moe_session_seq_truncate(t, 0, 100));
    assert_int_equal(cells(s), 128);
    assert_same_stream(save_all(s), save_all(t));
    assert_ok(moe_session_seq_remove(s, 0, 30, 0));
    assert_ok(moe_session_seq_remove(s, 0, 100, 0));
    assert_same_stream(save_all(s), save_all(t));
    assert_ok(moe_session_seq_remove(s, 0, 0, 40)); /* a gap at the start */
    assert_int_equal(moe_session_seq_len(s, 0), 60);
    assert_int_equal(cells(s), 64);
    assert_ok(moe_session_seq_remove(s, 0, 0, 60));
    assert_int_equal(cells(s), 0);
    moe_session_free(s);
    moe_session_free(t);
    moe_model_release(m);
}

static void a_refused_removal_changes_nothing(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_session_options o = small();
    int refuse = 0;
    moe_executor executor = {sizeof executor, run_or_refuse, &refuse};
    o.n_threads = 2;
    o.executor = &executor;
    moe_session *s = make_session(m, o);
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 8);
    assert_ok(append(s, 0, id, LEN));
    assert_ok(moe_session_seq_copy(s, 0, 1));
    stream before = save_all(s);
    assert_refused(moe_session_seq_remove(s, 0, 0, LEN + 1), MOE_E_RANGE, "it has 200");
    assert_refused(moe_session_seq_remove(s, 0, 150, 51), MOE_E_RANGE, "it has 200");
    assert_refused(moe_session_seq_remove(s, 0, -1, 1), MOE_E_RANGE, "position -1");
    assert_refused(moe_session_seq_remove(s, 0, 201, 0), MOE_E_RANGE, "position 201");
    assert_refused(moe_session_seq_remove(s, 0, 1, SIZE_MAX), MOE_E_RANGE, "it has 200");
    assert_refused(moe_session_seq_remove(s, 3, 0, 1), MOE_E_RANGE, "sequence 3");
    assert_refused(moe_session_seq_remove(NULL, 0, 0, 1), MOE_E_INVALID, "");
    /* all four pages are shared, two are free: three would have to be copied */
    assert_refused(moe_session_seq_remove(s, 0, 10, 20), MOE_E_FULL, "KV cache is full");
    assert_int_equal(cells(s), 256);
    refuse = 1;
    assert_refused(moe_session_seq_remove(s, 0, 120, 30), MOE_E_CALLBACK, "");
    assert_int_equal(cells(s), 256);
    refuse = 0;
    assert_same_stream(before, save_all(s));
    assert_ok(append(s, 0, id, 1));
    moe_session_free(s);
    moe_model_release(m);
}

/* Pages before the gap stay shared, those behind it are copied, and the other sequence sees nothing of it. */
static void shared_pages_are_copied(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[1], 0);
    moe_session_options o = small();
    o.n_ctx = 512;
    moe_session *s = make_session(m, o), *alone = make_session(m, o);
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 9);
    assert_ok(append(s, 0, id, LEN));
    assert_ok(append(alone, 0, id, LEN));
    assert_ok(moe_session_seq_copy(s, 0, 1));
    assert_ok(moe_session_seq_copy(s, 0, 2));
    assert_int_equal(cells(s), 256);
    stream before = save_seq(s, 1);
    assert_ok(
        moe_session_seq_remove(s, 0, 70, 10)); /* 190 left: pages 1 and 2 of 3 are written, one page ends */
    assert_int_equal(cells(s), 256 + 128);
    assert_ok(moe_session_seq_remove(alone, 0, 70, 10));
    assert_int_equal(cells(alone), 192);
    assert_same_stream(save_seq(s, 0), save_seq(alone, 0));
    assert_same_stream(before, save_seq(s, 1));
    assert_ok(
        moe_session_seq_remove(s, 0, 70, 10)); /* its own pages by now: none is copied, none is needed */
    assert_int_equal(cells(s), 256 + 128);
    assert_ok(moe_session_seq_truncate(s, 1, 0)); /* sequence 2 holds the pages that 1 shared with it */
    assert_int_equal(cells(s), 256 + 128);
    assert_ok(moe_session_seq_truncate(s, 2, 0));
    assert_int_equal(cells(s), 192);
    moe_session_free(s);
    moe_session_free(alone);
    moe_model_release(m);
}

static int stop_here(const moe_layer_event *e, void *user)
{
    (void)e;
    (void)user;
    return 1;
}

/* Two copies that go on in one batch: the last of them writes where it is, so there is room for both. */
static void copies_part_in_one_batch(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_session_options o = small();
    o.n_ctx = 128;
    o.n_seq_max = 2;
    moe_session *s = make_session(m, o);
    o.n_ctx = 256;
    moe_session *alone = make_session(m, o);
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 10);
    assert_ok(append(s, 0, id, 100));
    assert_ok(moe_session_seq_copy(s, 0, 1));
    const moe_seq seq[] = {0, 1};
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 2;
    b.token = id + 100;
    b.seq = seq;
    assert_ok(moe_session_on_layer(s, MOE_ALL_LAYERS, MOE_AT_OUTPUT, stop_here, NULL));
    assert_int_equal(moe_session_eval_batch(s, &b), MOE_E_ABORTED); /* what was written is not seen */
    assert_int_equal(cells(s), 128);
    assert_ok(moe_session_on_layer(s, MOE_ALL_LAYERS, MOE_AT_OUTPUT, NULL, NULL));
    assert_ok(moe_session_eval_batch(s, &b));
    assert_int_equal(cells(s), 192);
    for (moe_seq q = 0; q < 2; q++) {
        assert_ok(append(alone, q, id, 100));
        assert_ok(append(alone, q, id + 100 + q, 1));
        assert_same_stream(save_seq(s, q), save_seq(alone, q));
    }
    moe_session_free(s);
    moe_session_free(alone);
    moe_model_release(m);
}

/* ---- text ---- */

static size_t read_text(const char *path, char *dst, size_t cap)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    const size_t n = fread(dst, 1, cap, f);
    fclose(f);
    return n;
}

/* Mean negative log-probability of tokens `from` .. n-1, evaluated one by one; 0 = no shift. */
static double loss(moe_model *m, const moe_token *id, size_t n, size_t from, uint32_t n_ctx, moe_pos keep,
                   int type)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.kv_type_k = o.kv_type_v = type;
    o.n_ctx = n_ctx;
    o.n_threads = 1;
    moe_session *s = make_session(m, o);
    double sum = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        float x;
        if (keep && moe_session_seq_len(s, 0) == n_ctx)
            assert_ok(moe_session_seq_remove(s, 0, keep, (n_ctx - (size_t)keep) / 2));
        assert_ok(moe_session_eval(s, id + i, 1));
        assert_ok(moe_session_logprob(s, 0, id[i + 1], &x));
        if (i + 1 >= from) sum -= (double)x;
    }
    moe_session_free(s);
    return sum / (double)(n - from);
}

/* Text far beyond the context, by shifts: as likely as with a context that has room for all of it. Keys that
 * move are rounded to their type again. */
static void a_long_text_in_a_short_context(void **state)
{
    (void)state;
    enum { N = 700, SHORT = 128 };
    moe_model *m = open_model("examples/models/demo.gguf", 0);
    const moe_tokenizer *tok;
    assert_ok(moe_model_tokenizer(m, &tok));
    static char text[8192];
    static moe_token id[8192];
    size_t n;
    const size_t len = read_text("examples/models/heldout/tales.txt", text, sizeof text);
    assert_ok(moe_tokenizer_encode(tok, text, len, MOE_ENCODE_BOS, id, 8192, &n));
    assert_true(n >= N);
    static const struct {
        int type;
        double more; /* loss than with all of the text, at most */
    } types[] = {{MOE_KV_F32, 0.08},
                 {MOE_TYPE_F16, 0.08},
                 {MOE_TYPE_BF16, 0.08},
                 {MOE_TYPE_Q8_0, 0.08},
                 {MOE_TYPE_Q4_0, 0.15}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        const double all = loss(m, id, N, SHORT, N, 0, types[i].type),
                     shifted = loss(m, id, N, SHORT, SHORT, 4, types[i].type);
        if (getenv("MOE_TEST_SHOW"))
            fprintf(stderr, "# type %d: loss %.4f with all, %.4f shifted\n", types[i].type, all, shifted);
        assert_true(shifted < all + types[i].more);
    }
    moe_model_release(m);
}

/* ---- one sequence, saved and loaded ---- */

static void a_sequence_moves_between_sessions(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_model *m = open_model(test_models[i], 0);
        moe_session_options o = small();
        moe_session *s = make_session(m, o);
        o.n_ctx = 512;
        o.n_seq_max = 7;
        moe_session *t = make_session(m, o);
        moe_token id[LEN];
        fill_tokens(m, id, LEN, 11);
        assert_ok(append(s, 0, id, 20));
        assert_ok(append(s, 1, id, 100));
        assert_ok(moe_session_seq_copy(s, 1, 2));
        stream one = save_seq(s, 1);
        assert_ok(append(t, 6, id + 50, 130));
        assert_ok(moe_session_seq_copy(t, 6, 3));
        assert_ok(append(t, 0, id, 20));
        stream other = save_seq(t, 3);
        const float *logits;
        size_t n_vocab;
        assert_ok(moe_session_logits(t, 0, &logits, &n_vocab));
        float *was = malloc(n_vocab * sizeof *was);
        assert_non_null(was);
        memcpy(was, logits, n_vocab * sizeof *was);
        assert_ok(load_seq(t, 6, &one)); /* what was there shared its pages: they stay with the other */
        assert_int_equal(one.at, one.n);
        assert_int_equal(cells(t), 192 + 64 + 128);
        assert_ok(moe_session_logits(t, 0, &logits, NULL));
        assert_memory_equal(logits, was, n_vocab * sizeof *was); /* results stay */
        assert_same_stream(other, save_seq(t, 3));
        /* and both go on the same */
        assert_ok(append(t, 6, id + 100, 10));
        assert_ok(append(s, 2, id + 100, 10));
        const float *a, *b;
        assert_ok(moe_session_logits(s, 0, &a, NULL));
        assert_ok(moe_session_logits(t, 0, &b, NULL));
        assert_memory_equal(a, b, n_vocab * sizeof *a);
        /* an empty one, and what a session with one sequence and no results loads as a whole */
        stream none = save_seq(s, 1);
        none.n = 0;
        assert_ok(moe_session_seq_truncate(s, 1, 0));
        assert_ok(moe_session_seq_save(s, 1, put_stream, &none));
        assert_ok(load_seq(t, 6, &none));
        assert_int_equal(moe_session_seq_len(t, 6), 0);
        one.at = 0;
        assert_ok(moe_session_load(t, get_stream, &one));
        assert_int_equal(moe_session_seq_len(t, 1), 100);
        assert_int_equal(cells(t), 128);
        free(was);
        free(none.data);
        free(one.data);
        moe_session_free(s);
        moe_session_free(t);
        moe_model_release(m);
    }
}

static void damaged_sequences_are_refused(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0), *foreign = open_model(test_models[1], 0);
    moe_session_options o = small();
    moe_session *s = make_session(m, o), *f = make_session(foreign, o);
    o.n_ctx = 64;
    o.n_seq_max = 1;
    moe_session *little = make_session(m, o);
    moe_token id[LEN];
    fill_tokens(m, id, LEN, 12);
    assert_ok(append(s, 0, id, 90));
    assert_ok(append(s, 1, id, 9));
    assert_ok(append(little, 0, id, 9));
    stream good = save_seq(s, 0), all = save_all(s), before = save_all(s), before_little = save_all(little);
    assert_refused(load_seq(s, 3, &good), MOE_E_RANGE, "sequence 3");
    assert_refused(load_seq(s, 1, &all), MOE_E_STATE, "moe_session_load");
    assert_refused(load_seq(f, 1, &good), MOE_E_STATE, "another model");
    assert_refused(load_seq(little, 0, &good), MOE_E_FULL, "90 tokens");
    for (size_t i = 0; i < good.n; i += good.n / 200 + 1) {
        const size_t n = good.n;
        good.n = i;
        assert_int_equal(load_seq(s, 1, &good), -4321);
        good.n = n;
        good.data[i] ^= 0x10;
        assert_true(load_seq(s, 1, &good) < 0);
        good.data[i] ^= 0x10;
    }
    good.data[71] = 0x7f; /* the first token: far out of range, found before the sum is looked at */
    assert_refused(load_seq(s, 1, &good), MOE_E_FORMAT, "offset 68");
    good.data[71] = 0;
    good.data[good.n - 100] ^= 1;
    char place[40];
    snprintf(place, sizeof place, "offset %zu: checksum", good.n - 8);
    assert_refused(load_seq(s, 1, &good), MOE_E_FORMAT, place);
    assert_same_stream(before, save_all(s));
    assert_same_stream(before_little, save_all(little));
    /* files */
    assert_ok(moe_session_seq_save_file(s, 0, "test-sequence.state"));
    assert_ok(moe_session_seq_load_file(s, 2, "test-sequence.state"));
    stream a = save_seq(s, 0), b = save_seq(s, 2);
    assert_int_equal(a.n, b.n); /* the same but for the number and the sum */
    assert_memory_equal(a.data + 64, b.data + 64, a.n - 72);
    free(a.data);
    free(b.data);
    remove("test-sequence.state");
    free(good.data);
    free(all.data);
    moe_session_free(s);
    moe_session_free(f);
    moe_session_free(little);
    moe_model_release(m);
    moe_model_release(foreign);
}

/* ---- company ---- */

enum { OURS = 150, CUT_AT = 100, CUT_FIRST = 20, CUT_N = 40, NEIGHBOURS = 5 };

static const char *const company[] = {
    "tests/golden/data/qwen2moe-dense.gguf",  "tests/golden/data/qwen3moe.gguf",
    "tests/golden/data/granitemoe.gguf",      "tests/golden/data/mixtral-window.gguf",
    "tests/golden/data/qwen2moe-window.gguf",
};
#define N_COMPANY (sizeof company / sizeof company[0])

/* What the sequence that is watched goes through: OURS tokens, one by one; behind CUT_AT of them CUT_N go. */
static float *alone(moe_model *m, const moe_token *id, size_t vocab)
{
    moe_session_options o = small();
    o.n_seq_max = 1;
    o.n_threads = 1;
    moe_session *s = make_session(m, o);
    float *all = malloc(OURS * vocab * sizeof *all);
    const float *x;
    assert_non_null(all);
    for (size_t i = 0; i < OURS; i++) {
        if (i == CUT_AT) assert_ok(moe_session_seq_remove(s, 0, CUT_FIRST, CUT_N));
        assert_ok(moe_session_eval(s, id + i, 1));
        assert_ok(moe_session_logits(s, 0, &x, NULL));
        memcpy(all + i * vocab, x, vocab * sizeof *all);
    }
    moe_session_free(s);
    return all;
}

static uint32_t draw(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % n;
}

/* No sequence holds more pages than its tokens need, so no page but the last of each is partly used. */
static void assert_no_page_is_wasted(const moe_session *s)
{
    uint32_t most = 0;
    for (moe_seq q = 0; q <= NEIGHBOURS; q++)
        most += ((uint32_t)moe_session_seq_len(s, q) + PAGE - 1) / PAGE * PAGE;
    assert_true(cells(s) <= most);
}

/* One change of a neighbour; being full is no fault of anybody's. */
static void disturb(moe_session *s, moe_seq ours, uint32_t *rng, stream *kept)
{
    const moe_seq q = (moe_seq)((uint32_t)(ours + 1) + draw(rng, NEIGHBOURS)) % (NEIGHBOURS + 1);
    const uint32_t len = (uint32_t)moe_session_seq_len(s, q);
    int st = MOE_OK;
    switch (draw(rng, 6)) {
    case 0: st = moe_session_seq_copy(s, ours, q); break;
    case 1: st = moe_session_seq_truncate(s, q, (moe_pos)draw(rng, len + 1)); break;
    case 2: {
        const uint32_t first = draw(rng, len + 1);
        st = moe_session_seq_remove(s, q, (moe_pos)first, draw(rng, len - first + 1));
        break;
    }
    case 3:
        kept->n = 0;
        st = moe_session_seq_save(s, q, put_stream, kept);
        break;
    case 4:
        if (kept->n) st = load_seq(s, q, kept);
        break;
    default: st = moe_session_seq_truncate(s, q, 0); break;
    }
    if (st == MOE_E_STATE) /* a window before the cut is gone */
        assert_non_null(strstr(moe_last_error(), "sliding window"));
    else if (st != MOE_E_FULL)
        assert_ok(st);
    assert_no_page_is_wasted(s);
}

/* Ours and some of the neighbours go on together, each by a few tokens, in any order of turns. */
static size_t go_on(moe_session *s, moe_seq ours, const moe_token *id, size_t at, size_t end, size_t vocab,
                    int tight, uint32_t *rng)
{
    moe_token token[64];
    moe_seq seq[64];
    uint8_t want[64];
    moe_batch b = MOE_BATCH_INIT;
    size_t n_ours = 0;
    b.n_tokens = 1 + draw(rng, 63);
    for (size_t i = 0; i < b.n_tokens; i++) {
        const int us = at + n_ours < end && draw(rng, 3) == 0;
        seq[i] = us ? ours : (moe_seq)((uint32_t)(ours + 1) + draw(rng, NEIGHBOURS)) % (NEIGHBOURS + 1);
        token[i] = us ? id[at + n_ours++] : (moe_token)draw(rng, (uint32_t)vocab);
        want[i] = us ? MOE_WANT_LOGITS : 0;
    }
    b.token = token;
    b.seq = seq;
    b.want = want;
    const int st = moe_session_eval_batch(s, &b);
    if (st == MOE_E_FULL)
        assert_true(tight);
    else
        assert_ok(st);
    return st == MOE_OK ? n_ours : 0;
}

/*
 * Neighbours join, leave, shift, are cut, copied from ours, saved and loaded, between evals and in any
 * company in them: every logit of ours is that of the sequence alone, and it shifts itself on the way.
 */
static void alone_or_in_changing_company(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2 * N_COMPANY; i++) {
        moe_model *m = open_model(company[i / 2], 0);
        const size_t vocab = vocab_of(m);
        moe_token id[OURS];
        fill_tokens(m, id, OURS, 21);
        float *want = alone(m, id, vocab);
        moe_session_options o = small();
        o.n_ctx = i % 2 ? 320 : 6000; /* windows are given back where they take less than all positions */
        o.n_seq_max = NEIGHBOURS + 1;
        o.n_output_max = 64;
        o.n_batch_max = i % 2 ? 7 : 0;
        o.n_threads = 1 + (int)i % 3;
        moe_session *s = make_session(m, o);
        stream kept = {0};
        const moe_seq ours = 2;
        uint32_t rng = 77 + (uint32_t)i;
        int cut = 0;
        for (size_t at = 0; at < OURS;) {
            disturb(s, ours, &rng, &kept);
            if (at == CUT_AT && !cut) {
                const int st = moe_session_seq_remove(s, ours, CUT_FIRST, CUT_N);
                if (st != MOE_E_FULL) assert_ok(st);
                cut = st == MOE_OK;
                continue;
            }
            const size_t n = go_on(s, ours, id, at, at < CUT_AT ? CUT_AT : OURS, vocab, i % 2, &rng);
            for (size_t j = 0; j < n; j++) {
                const float *x;
                assert_ok(moe_session_logits(s, j, &x, NULL));
                assert_memory_equal(x, want + (at + j) * vocab, vocab * sizeof *x);
            }
            at += n;
        }
        assert_int_equal(moe_session_seq_len(s, ours), OURS - CUT_N);
        free(kept.data);
        free(want);
        moe_session_free(s);
        moe_model_release(m);
    }
}

/* ---- memory ---- */

/* A session takes what was planned, and sequences change without taking anything. */
static void sequences_take_no_memory(void **state)
{
    (void)state;
    counter c = {0};
    const moe_allocator a = {sizeof a, count_alloc, count_free, &c};
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    mo.allocator = &a;
    moe_model *m;
    assert_ok(moe_model_open(&m, test_models[1], &mo));
    for (uint32_t n_seq = 1; n_seq <= 65; n_seq += 32) {
        moe_session_options o = small();
        moe_memory plan = MOE_MEMORY_INIT;
        o.n_ctx = 300;
        o.n_seq_max = n_seq;
        assert_ok(moe_model_get_memory(m, &o, &plan));
        const size_t before = atomic_load(&c.now);
        moe_session *s = make_session(m, o);
        const size_t taken = atomic_load(&c.now) - before;
        if (taken > plan.kv + plan.scratch || taken + 4096 < plan.kv + plan.scratch)
            fail_msg("planned %zu bytes, took %zu", (size_t)(plan.kv + plan.scratch), taken);
        /* keys and values of 300 positions and a page for each further sequence; the rest are tables */
        const size_t positions = (320 + PAGE * (n_seq - 1)) * (size_t)KV_BYTES;
        assert_true(plan.kv >= positions && plan.kv < positions + positions / 8 + 4096);
        moe_token id[LEN];
        fill_tokens(m, id, LEN, 31);
        const size_t calls = atomic_load(&c.n_calls);
        assert_ok(append(s, 0, id, LEN));
        assert_ok(moe_session_seq_copy(s, 0, (moe_seq)n_seq - 1));
        assert_ok(moe_session_seq_remove(s, 0, 140, 20));
        assert_ok(append(s, (moe_seq)n_seq - 1, id, 1));
        assert_ok(moe_session_seq_truncate(s, 0, 3));
        assert_int_equal(atomic_load(&c.n_calls), calls);
        moe_session_free(s);
    }
    moe_model_release(m);
    assert_int_equal(atomic_load(&c.now), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_where_recomputation_puts_them),
        cmocka_unit_test(a_shift_is_the_same_for_all_threads),
        cmocka_unit_test(a_shift_in_every_type),
        cmocka_unit_test(gaps_at_the_ends),
        cmocka_unit_test(a_refused_removal_changes_nothing),
        cmocka_unit_test(shared_pages_are_copied),
        cmocka_unit_test(copies_part_in_one_batch),
        cmocka_unit_test(a_long_text_in_a_short_context),
        cmocka_unit_test(a_sequence_moves_between_sessions),
        cmocka_unit_test(damaged_sequences_are_refused),
        cmocka_unit_test(alone_or_in_changing_company),
        cmocka_unit_test(sequences_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
