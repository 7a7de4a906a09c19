/* SPDX-License-Identifier: MIT */
/* The C side of overhead.py, a shared library: the same generation as a C program writes it, and moe_session_next()
 * with a clock around it, which tells what the caller did between two calls. */
#include <time.h>

#include <moe/moe.h>

enum { GAPS_MAX = 1 << 16 };
static long long gaps[GAPS_MAX], left_at;
static int n_gaps;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Takes one token from the logits that are there, then n times evaluates the last and takes the next; the text of all
 * of them goes to dst. 0, or -1. */
int overhead_loop(moe_session *s, moe_sampler *p, const moe_tokenizer *tok, int n, char *dst, size_t cap)
{
    moe_stream stream = MOE_STREAM_INIT;
    moe_token id;
    size_t len, at = 0;
    for (int i = 0; i <= n; i++) {
        if (i > 0 && moe_session_eval(s, &id, 1) < 0) return -1;
        if (moe_sampler_pick(p, s, 0, &id) < 0 || moe_sampler_accept(p, id) < 0) return -1;
        if (moe_tokenizer_attr(tok, id) & MOE_ATTR_END) return -1;
        if (moe_tokenizer_stream(tok, &stream, id, dst + at, cap - at - 1, &len) < 0) return -1;
        at += len;
    }
    dst[at] = '\0';
    return 0;
}

int overhead_next(moe_session *s, moe_sampler *p, moe_next *io)
{
    if (left_at && n_gaps < GAPS_MAX) gaps[n_gaps++] = now() - left_at;
    const int status = moe_session_next(s, p, io);
    left_at = now();
    return status;
}

/* The nanoseconds between calls since the last time this was asked; the next gap is not counted. */
const long long *overhead_gaps(int *n)
{
    *n = n_gaps;
    n_gaps = 0;
    left_at = 0;
    return gaps;
}
