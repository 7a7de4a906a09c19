/* SPDX-License-Identifier: MIT */
/*
 * Sliding windows: how far a token reaches, to the position; the same bits for any split and threads; a
 * window that is never full is none. The golden tests compare with another implementation; here windows are
 * changed in the file, so that they end inside pages and chunks and reach over several.
 */
#include "support.h"

#define MODEL "tests/golden/data/mixtral-window.gguf" /* two layers, both with a window */
#define KEY   "llama.attention.sliding_window"

enum { N = 700, LAYERS = 2 };

/* A file for each width: Windows neither writes nor deletes one that a model has open. */
static const char *path_of(uint32_t width)
{
    static char path[40];
    snprintf(path, sizeof path, "test-window-%u.gguf", (unsigned)width);
    return path;
}

/* The model with another window; 0 is none. release_model() gives it back. */
static moe_model *with_window(uint32_t width)
{
    static uint8_t data[1 << 20];
    const char *path = path_of(width);
    FILE *f = fopen(MODEL, "rb");
    assert_non_null(f);
    const size_t n = fread(data, 1, sizeof data, f);
    fclose(f);
    size_t at = 0;
    while (at + 64 < n && memcmp(data + at, KEY, sizeof KEY - 1) != 0) at++;
    assert_true(at + 64 < n);
    at += sizeof KEY - 1;
    assert_int_equal(data[at], MOE_META_U32);
    for (int i = 0; i < 4; i++) data[at + 4 + (size_t)i] = (uint8_t)(width >> 8 * i);
    f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    fclose(f);
    return open_model(path, MOE_OPEN_NO_MMAP);
}

/* After the model's sessions, which keep it open. */
static void release_model(moe_model *m, uint32_t width)
{
    moe_model_release(m);
    assert_int_equal(remove(path_of(width)), 0);
}

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
            release_model(m, widths[w]);
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
        release_model(m, widths[w]);
    }
}

static void a_window_that_is_never_full_is_none(void **state)
{
    (void)state;
    static const uint32_t width[] = {0, N, N - 1};
    moe_model *const models[] = {with_window(width[0]), with_window(width[1]), with_window(width[2])};
    const size_t vocab = vocab_of(models[0]);
    float *x[3];
    moe_token id[N];
    fill_tokens(models[0], id, N, 43);
    for (int i = 0; i < 3; i++) {
        moe_session *s = long_session(models[i], 2, 0, 0);
        x[i] = malloc(N * vocab * sizeof(float));
        assert_non_null(x[i]);
        eval_all(s, id, 0, N, x[i], vocab);
        moe_session_free(s);
        release_model(models[i], width[i]);
    }
    assert_memory_equal(x[0], x[1], N * vocab * sizeof(float));
    assert_memory_equal(x[0], x[2], (N - 1) * vocab * sizeof(float));
    assert_memory_not_equal(x[0] + (N - 1) * vocab, x[2] + (N - 1) * vocab, vocab * sizeof(float));
    for (int i = 0; i < 3; i++) free(x[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_reaches_as_far_as_the_windows),
        cmocka_unit_test(the_same_bits_for_any_split),
        cmocka_unit_test(a_window_that_is_never_full_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
