/* SPDX-License-Identifier: MIT */
/* overhead MODEL TOKENS THREADS: generates as the Python package does, prints wall and processor nanoseconds of the
 * decode loop and a sum over the tokens (both sides must have made the same). See overhead.py. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <moe/moe.h>

static long long now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
    moe_model *model;
    moe_session *session;
    moe_sampler *sampler;
    const moe_tokenizer *tok;
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    moe_stream stream = MOE_STREAM_INIT;
    moe_token ids[8] = {100, 200, 300, 400, 500, 600, 700, 800}, id;
    char text[1024];
    size_t len;
    long long sum = 0;
    if (argc < 4) return 2;
    const int n = atoi(argv[2]);
    so.n_threads = atoi(argv[3]);
    if (moe_model_open(&model, argv[1], NULL) < 0 || moe_model_tokenizer(model, &tok) < 0 ||
        moe_session_create(&session, model, &so) < 0 || moe_sampler_create(&sampler, NULL) < 0 ||
        moe_sampler_add_named(sampler, "top-p:p=0.95;temp:t=0.8;dist:seed=1") < 0)
        return 1;
    for (int i = 0; i < 8; i++)
        if (moe_sampler_accept(sampler, ids[i]) < 0) return 1;
    if (moe_session_eval(session, ids, 8) < 0) return 1;
    const long long wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < n; i++) {
        if (moe_sampler_pick(sampler, session, 0, &id) < 0 || moe_sampler_accept(sampler, id) < 0) return 1;
        (void)moe_tokenizer_attr(tok, id); /* an end token does not end this */
        if (moe_tokenizer_stream(tok, &stream, id, text, sizeof text, &len) < 0) return 1;
        sum += (long long)len;
        if (moe_session_eval(session, &id, 1) < 0) return 1;
    }
    printf("%lld %lld %lld\n", now(CLOCK_MONOTONIC) - wall, now(CLOCK_PROCESS_CPUTIME_ID) - cpu, sum);
    return 0;
}
