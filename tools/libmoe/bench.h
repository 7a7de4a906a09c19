/* SPDX-License-Identifier: MIT */
/* libmoe bench: what is measured (bench.c) and how it is shown (bench_show.c). */
#ifndef BENCH_H
#define BENCH_H

#include "json.h"
#include "limits.h"
#include "options.h"

enum { STAGE_ATTN, STAGE_ROUTE, STAGE_SELECT, STAGE_EXPERT, STAGE_DENSE, STAGE_HEAD, N_STAGES };

struct result {
    const char *kind;
    uint32_t tokens, context, threads, rounds, sequences;
    double median, min, max;       /* tokens per second */
    double bytes;                  /* read per second; 0 for prefill */
    double ops;                    /* operations in matrix products per second; 0 for decode */
    double select;                 /* part of the time from router logits to weights */
    double stage[N_STAGES], total; /* nanoseconds per token; STAGE_SELECT is part of STAGE_ROUTE */
};

struct bench {
    const struct settings *s;
    moe_model *model;
    moe_session *session;
    moe_token *ids; /* [n_ids] of pseudo-random tokens */
    size_t n_ids;
    moe_seq *seq;   /* [n_seq]: 0, 1, 2 ... */
    moe_token *row; /* [n_seq]: one token of each sequence */
    size_t n_seq;   /* most sequences at once */
    double dense,
        experts;     /* bytes of weights that one token uses as the file routes it: routed experts apart */
    double pairs;    /* routed experts of one token in all layers, as the file routes it */
    double products; /* multiplications with weights that one token of a prompt takes, without the output
                        matrix */
    struct json json;
    double speed[1000]; /* of the rounds, see the limit of --repetitions */
};

/* In this order: head, results, then the limits with their head if they are wanted, tail. */
void bench_head(struct bench *b, const moe_model_info *info);
void bench_show(struct bench *b, const struct result *r);
void bench_limits_head(struct bench *b);
void bench_show_limits(struct bench *b, uint32_t threads, const struct limits *l);
void bench_tail(struct bench *b, bool complete);

#endif
