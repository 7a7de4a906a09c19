/* SPDX-License-Identifier: MIT */
/* Sessions and sequences saved to memory, and tokens for a sequence of choice. */
#ifndef MOE_TESTS_API_STREAM_H
#define MOE_TESTS_API_STREAM_H

#include "support.h"

/* Written at the end, read from `at`; grows as needed up to `limit` bytes (0: any number). Owns data. */
typedef struct stream {
    uint8_t *data;
    size_t n, at, cap, limit;
} stream;

/* What the callbacks answer where they fail: the library hands it on. */
#define STREAM_FULL  (-1234)
#define STREAM_SHORT (-4321)

static inline int put_stream(const void *data, size_t n, void *user)
{
    stream *f = user;
    if (f->limit && f->n + n > f->limit) return STREAM_FULL;
    if (f->n + n > f->cap) {
        f->cap = 2 * (f->n + n);
        f->data = realloc(f->data, f->cap);
        assert_non_null(f->data);
    }
    memcpy(f->data + f->n, data, n);
    f->n += n;
    return 0;
}

static inline int get_stream(void *data, size_t n, void *user)
{
    stream *f = user;
    if (n > f->n - f->at) return STREAM_SHORT;
    memcpy(data, f->data + f->at, n);
    f->at += n;
    return 0;
}

static inline stream save_all(const moe_session *s)
{
    stream f = {0};
    assert_ok(moe_session_save(s, put_stream, &f));
    return f;
}

static inline stream save_seq(const moe_session *s, moe_seq q)
{
    stream f = {0};
    assert_ok(moe_session_seq_save(s, q, put_stream, &f));
    return f;
}

static inline int load_all(moe_session *s, stream *f)
{
    f->at = 0;
    return moe_session_load(s, get_stream, f);
}

static inline int load_seq(moe_session *s, moe_seq q, stream *f)
{
    f->at = 0;
    return moe_session_seq_load(s, q, get_stream, f);
}

/* Appends to any sequence; logits of the last token. */
static inline int append(moe_session *s, moe_seq q, const moe_token *id, size_t n)
{
    moe_seq seq[4096];
    moe_batch b = MOE_BATCH_INIT;
    assert_true(n <= sizeof seq / sizeof seq[0]);
    for (size_t i = 0; i < n; i++) seq[i] = q;
    b.n_tokens = n;
    b.token = id;
    b.seq = seq;
    return moe_session_eval_batch(s, &b);
}

#endif
