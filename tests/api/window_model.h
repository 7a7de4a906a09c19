/* SPDX-License-Identifier: MIT */
/* A model whose window is any number, and sessions that keep of it what they must. */
#ifndef MOE_TESTS_API_WINDOW_MODEL_H
#define MOE_TESTS_API_WINDOW_MODEL_H

#include "stream.h"

#define WINDOW_MODEL "tests/golden/data/mixtral-window.gguf" /* two layers, both with a window */
#define WINDOW_KEY   "llama.attention.sliding_window"

/* A model file in memory: no two tests share one on disk. */
typedef struct image {
    size_t n;
    uint8_t data[1 << 20];
} image;

static inline uint64_t image_length(void *f) { return ((image *)f)->n; }

static inline int image_read(void *f, uint64_t off, void *dst, size_t n)
{
    memcpy(dst, ((image *)f)->data + off, n);
    return 0;
}

static inline void image_close(void *f) { free(f); }

/* The model with another window; 0 is none. */
static inline moe_model *with_window(uint32_t width)
{
    image *x = malloc(sizeof *x);
    FILE *f = fopen(WINDOW_MODEL, "rb");
    moe_file mf = MOE_FILE_INIT;
    moe_model *m = NULL;
    size_t at = 0;
    assert_true(x && f);
    x->n = fread(x->data, 1, sizeof x->data, f);
    fclose(f);
    while (at + 64 < x->n && memcmp(x->data + at, WINDOW_KEY, sizeof WINDOW_KEY - 1) != 0) at++;
    assert_true(at + 64 < x->n);
    at += sizeof WINDOW_KEY - 1;
    assert_int_equal(x->data[at], MOE_META_U32);
    for (int i = 0; i < 4; i++) x->data[at + 4 + (size_t)i] = (uint8_t)(width >> 8 * i);
    mf.name = "window.gguf";
    mf.length = image_length;
    mf.read_at = image_read;
    mf.close = image_close;
    assert_ok(moe_model_open_file(&m, &mf, x, NULL));
    return m;
}

/* Rows of 64 and a large context: the cache of windows is the smaller one. With few positions it keeps all.
 */
static inline moe_session *thrifty(moe_model *m, uint32_t n_seq)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 20000;
    o.n_seq_max = n_seq;
    o.n_batch_max = 64;
    o.n_output_max = 700;
    o.n_threads = 2;
    return make_session(m, o);
}

static inline void same_last(const moe_session *s, const moe_session *t)
{
    const float *a, *b;
    size_t n;
    assert_ok(moe_session_logits(s, 0, &a, &n));
    assert_ok(moe_session_logits(t, 0, &b, NULL));
    assert_memory_equal(a, b, n * sizeof *a);
}

static inline void both(moe_session *s, moe_session *t, moe_seq q, const moe_token *id, size_t n)
{
    assert_ok(append(s, q, id, n));
    assert_ok(append(t, q, id, n));
    same_last(s, t);
}

#endif
