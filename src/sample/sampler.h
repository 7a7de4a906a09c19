/* SPDX-License-Identifier: MIT */
/*
 * The sampler chain: what its files share.
 *
 *   row of logits -> candidates (id, logit) -> stage 1 -> stage 2 -> ... -> a picked candidate
 *
 * Invariants between stages: at least one candidate, all logits finite, `sorted` tells the truth, `picked` is
 * -1 until a stage picks (and then the chain ends). Order everywhere: higher logit first, ties to the lower
 * id. Arithmetic is double precision with the library's own exp, log and pow, so that results are the same on
 * every machine. A stage is one row of the table in kinds.c.
 */
#ifndef MOE_SAMPLE_SAMPLER_H
#define MOE_SAMPLE_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "kernel/kernel.h"
#include "moe/moe.h"
#include "sample/tokmap.h"

typedef struct moe__stage moe__stage;

/* A candidate with its place in some order: by key, then by id. */
typedef struct moe__rank {
    uint64_t key;
    moe_token id;
    float logit;
} moe__rank;

#define MOE_KIND_PICKS 1u   /* ends the chain */
#define MOE_KIND_RANDOM 2u  /* draws random numbers */
#define MOE_KIND_HISTORY 4u /* reads the last n accepted tokens */
#define MOE_KIND_IDS 8u     /* takes ids */
#define MOE_KIND_VALUES 16u /* takes values with them */

/* Members of moe_sample_stage that are numbers. */
typedef enum moe__slot {
    MOE_SLOT_NONE, MOE_SLOT_N, MOE_SLOT_M, MOE_SLOT_A, MOE_SLOT_B, MOE_SLOT_C
} moe__slot;

/*
 * One parameter of a kind: its name in text, where it is stored, what is legal and what it is when left out.
 */
typedef struct moe__field {
    const char *key;
    moe__slot slot;
    double min, max, standard;
    int zero_is_standard; /* 0 is not a legal value, so it means "left out" in the struct too */
} moe__field;

typedef int (*moe__stage_fn)(moe_sampler *s, moe__stage *st, moe_candidates *c);

typedef struct moe__kind {
    int32_t kind; /* MOE_SAMPLE_* */
    const char *name;
    unsigned flags;
    moe__stage_fn apply;
    moe__field field[4];
} moe__kind;

struct moe__stage {
    moe_sample_stage spec;  /* standard values filled in; ids and values are NULL: they live in `map` */
    const moe__kind *kind;  /* NULL: a user stage */
    moe__rng rng;
    moe__tokmap map;        /* logit bias: values; DRY: breakers */
    double mu, surprise;    /* mirostat: the threshold in bits, and the surprise of the last pick */
    moe_token last;         /* mirostat: the last pick, until it is accepted */
    int (*custom)(moe_candidates *c, void *user);
    void *user;
};

struct moe_sampler {
    moe__allocator alloc;
    void (*exp64)(double *y, size_t n); /* the kernel of this CPU */
    moe__stage *stage; /* [cap_stages] */
    size_t n_stages, cap_stages;
    /* Accepted tokens, the newest last; at least the `window` newest are kept. */
    moe_token *history; /* [cap_history] */
    size_t n_history, cap_history;
    size_t window; /* 0: no stage wants any; SIZE_MAX: all */
    /* Scratch, grown when more candidates come than ever before. */
    moe__rank *rank; /* [cap] */
    double *weight;  /* [cap] */
    moe_token *id;   /* [cap_row] candidates of pick */
    float *logit;    /* [cap_row] */
    size_t cap, cap_row;
    moe__tokmap map; /* tokens of a window */
    uint32_t *match; /* [cap_match] DRY */
    size_t cap_match;
};

/* ---- kinds.c: the table */
const moe__kind *moe__kind_at(size_t i); /* NULL past the end */
const moe__kind *moe__kind_find(int32_t kind);
double moe__slot_get(const moe_sample_stage *spec, moe__slot slot);
void moe__slot_set(moe_sample_stage *spec, moe__slot slot, double x);
const char *moe__slot_name(moe__slot slot);
/* Standard values for what is left out, then checks; E_INVALID names stage and field. */
int moe__kind_complete(const moe__kind *k, moe_sample_stage *spec);

/* ---- sampler.c: the chain */
int moe__sampler_create(moe_sampler **out, const moe__allocator *a);
int moe__sampler_clone(moe_sampler **out, const moe_sampler *p);
void moe__sampler_free(moe_sampler *s);
int moe__sampler_add(moe_sampler *s, const moe_sample_stage *spec);
int moe__sampler_add_custom(moe_sampler *s, int (*apply)(moe_candidates *c, void *user), void *user);
void moe__sampler_truncate(moe_sampler *s, size_t n_stages); /* drops the stages from n_stages on */
void moe__sampler_reset(moe_sampler *s);
void moe__sampler_set_seed(moe_sampler *s, uint64_t seed);
int moe__sampler_accept(moe_sampler *s, moe_token id);
int moe__sampler_apply(moe_sampler *s, moe_candidates *c);
int moe__sampler_pick(moe_sampler *s, const float *logits, size_t n_vocab, moe_token *out);

/* ---- named.c */
int moe__sampler_add_named(moe_sampler *s, const char *text);

/* ---- rank.c, order.c, weight.c: tools of the stages */

/* The best k candidates (k <= c->n), in order, in s->rank; c stays as it is. */
void moe__rank_best(moe_sampler *s, const moe_candidates *c, size_t k);
/* Moves the k smallest of r[0..n) to the front, in order. */
void moe__rank_sort(moe__rank *r, size_t n, size_t k);
/* Candidates become the first k of s->rank, which must be in order of logits. */
void moe__rank_keep(moe_sampler *s, moe_candidates *c, size_t k);
moe__rank moe__rank_of(moe_token id, float logit);
uint64_t moe__rank_key(double x); /* rises with x */
int moe__rank_less(const moe__rank *a, const moe__rank *b);
/*
 * The candidates with logits of at least `from`, best first, as their places in c (low halves of the
 * elements). NULL if this way does not serve: equal logits go by token, and here by place. The array is
 * scratch of s (s->rank).
 */
const uint64_t *moe__order_from(moe_sampler *s, const moe_candidates *c, float from, size_t *n);
int moe__tokens_rise(const moe_candidates *c);
/* Candidates become the k at these places. */
void moe__order_keep(moe_sampler *s, moe_candidates *c, const uint64_t *order, size_t k);
/* Index of the best candidate. */
size_t moe__best(const moe_candidates *c);

/*
 * s->weight[i] = exp(logit[i] - *max), so that probabilities are weight / sum; returns the sum, which is at
 * least 1.
 */
double moe__weights(moe_sampler *s, const moe_candidates *c, double *max);
/*
 * The same weights; sums are added up in another order, where moe__weights and moe__weights_entropy add one
 * after the other. Fit for bounds, not for results.
 */
typedef struct moe__sums {
    double max, low; /* logits, both a hair off at most */
    double sum, moment; /* of weight, of weight * (logit - max) */
} moe__sums;
void moe__weights_near(moe_sampler *s, const moe_candidates *c, moe__sums *out);
/* As moe__math_exp(x[i] - shift), added up in order, without arrays: what is not finite does not count. */
double moe__exp_sum(const moe__kernels *k, const float *x, size_t n, double shift);
/* As moe__weights, and the entropy of the candidates' distribution in nats. */
double moe__weights_entropy(moe_sampler *s, const moe_candidates *c, double *max, double *entropy);
/* The nearest float that is finite; x is not NaN. */
float moe__finite(double x);
/* The last min(n, all) accepted tokens (n < 0: all kept). */
const moe_token *moe__history(const moe_sampler *s, int32_t n, size_t *len);

/* ---- draw.c: draws without the order they are defined by; 1: c->picked is set, 0: nothing was done */

/* `dist` alone, from the candidates as they stand. */
int moe__draw_laid_out(moe_sampler *s, moe__stage *dist, moe_candidates *c);
/* top-p or typical, then `dist`; the candidates stay. */
int moe__draw_kept(moe_sampler *s, const moe__stage *keep, moe__stage *dist, moe_candidates *c);

/* ---- logprob.c */
int moe__logprob_top(const moe__kernels *kn, const float *logits, size_t n, size_t k, moe_token *ids,
                     float *logprob);
int moe__logprob_of(const moe__kernels *kn, const float *logits, size_t n, moe_token id, float *logprob);

/* ---- the stages: filter.c temp.c penalty.c dry.c pick.c */
int moe__stage_greedy(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_dist(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_temp(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_temp_dynamic(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_top_k(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_top_p(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_min_p(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_typical(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_top_n_sigma(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_xtc(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_penalties(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_dry(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_mirostat(moe_sampler *s, moe__stage *st, moe_candidates *c);
int moe__stage_logit_bias(moe_sampler *s, moe__stage *st, moe_candidates *c);

#endif
