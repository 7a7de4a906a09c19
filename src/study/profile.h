/* SPDX-License-Identifier: MIT */
/*
 * A profile: counts and sums of every router and expert. Each layer with a router has the same set of arrays
 * (see the table in profile.c), all of 8-byte numbers, so that reset, merge, save and load are loops over a
 * table. All memory is taken when the profile is made, marks and reserve apart; what sessions call allocates
 * nothing.
 */
#ifndef MOE_STUDY_PROFILE_H
#define MOE_STUDY_PROFILE_H

#include "base/status.h"
#include "model/model.h"
#include "moe/study.h"
#include "study/idmap.h"

#define MOE_PROFILE_KNOWN_FLAGS (MOE_PROFILE_OUTPUTS | MOE_PROFILE_PAIRS)

/* Arrays of a layer. n = experts, c = classes. */
enum {
    PROF_N,            /* u64 [N_PROF_N] counters, below */
    PROF_SUM,          /* f64 [N_PROF_SUM] sums, below */
    PROF_COUNT,        /* u64 [n] choices */
    PROF_WEIGHT,       /* f64 [n] weights */
    PROF_PROB,         /* f64 [n] probabilities */
    PROF_TOP1,         /* u64 [n] first by rank */
    PROF_K,            /* u64 [n + 1] tokens by experts computed */
    PROF_CLASS_COUNT,  /* u64 [c][n] */
    PROF_CLASS_WEIGHT, /* f64 [c][n] */
    PROF_CLASS_TOKENS, /* u64 [c] */
    PROF_DROPS,        /* u64 [n_pos_max] */
    PROF_PAIRS,        /* u64 [n][n], with MOE_PROFILE_PAIRS */
    PROF_OUT_N,        /* u64 [n] outputs seen, with MOE_PROFILE_OUTPUTS as all that follow */
    PROF_OUT_NORM,     /* f64 [n] sums of |output| */
    PROF_OUT_SALIENCY, /* f64 [n] sums of weight * |output| */
    PROF_OUT_MAX,      /* f64 [n] largest |element| */
    PROF_OUT_CHANNEL,  /* u64 [n] where */
    N_PROF
};
enum {
    PROF_N_TOKENS,
    PROF_N_PAIRS,
    PROF_N_NULLS,
    PROF_N_DROPPED,
    PROF_N_BATCHES,
    PROF_N_PROBS,
    PROF_N_LBL,
    N_PROF_N
};
enum { PROF_SUM_ENTROPY, PROF_SUM_TOP1, PROF_SUM_LBL, N_PROF_SUM };

typedef union moe__prof_array {
    uint64_t *n;
    double *x;
} moe__prof_array;

typedef struct moe__prof_layer {
    uint32_t number; /* in the model */
    moe__prof_array a[N_PROF];
} moe__prof_layer;

struct moe_profile {
    moe__allocator alloc;
    moe_model *m;          /* retained; NULL for a loaded one that was given none */
    moe_profile_info info; /* shape and options; n_tokens is not kept here */
    uint32_t n_routers;
    moe__prof_layer *layer;  /* [n_routers], ascending */
    uint32_t *layer_at;      /* [info.n_layers] its router, or UINT32_MAX */
    void *block;             /* owns the arrays below and those of the layers */
    uint64_t *prompts;       /* [n_classes] */
    double *row;             /* [n] probabilities of a token */
    double *batch_prob;      /* [n] sums of a sub-batch */
    uint64_t *batch_count;   /* [n] */
    uint32_t cls;            /* of tokens without a mark */
    moe__idmap marks;        /* tokens with a mark, past ones included */
    uint32_t *mark_class;    /* [n_mark_class] class, or UINT32_MAX; as long as marks.cap when a call has not failed */
    uint32_t n_mark_class;
    moe__idmap tracked;      /* tokens whose experts are counted */
    uint32_t n_tracked_max;  /* room for them: n_tokens_max, less in a loaded profile without a model */
    uint32_t *tracked_count; /* [n_tracked_max][n_routers][n] */
};

/* What the experts of some (row, expert) pairs gave, before weight and gain. */
typedef struct moe__outputs {
    uint32_t n;              /* pairs */
    const uint32_t *expert;  /* [n] */
    const float *weight;     /* [n] as applied */
    const float *norm;       /* [n] Euclidean norm of the output */
    const float *max;        /* [n] largest |element| */
    const uint32_t *channel; /* [n] where */
} moe__outputs;

/* ---- for sessions: nothing is checked, nothing allocated ---- */

/* A sub-batch of one layer, on one thread. */
void moe__profile_route(moe_profile *p, const moe_route_view *v);
static inline int moe__profile_wants_outputs(const moe_profile *p)
{
    return (p->info.flags & MOE_PROFILE_OUTPUTS) != 0;
}
/* norm, max and channel of one output row [n]; for the threads that computed it. The same bits everywhere. */
void moe__profile_measure(const float *y, size_t n, float *norm, float *max, uint32_t *channel);
/* Pairs of one layer, in a fixed order, on one thread. */
void moe__profile_outputs(moe_profile *p, uint32_t layer, const moe__outputs *o);

/* ---- for the entry points ---- */

/* Size of an array, 0 without it; whether its elements are doubles. */
uint64_t moe__profile_size(const moe_profile_info *i, int array);
int moe__profile_is_sum(int array);
/* A profile of info's shape; layers [n_routers] have the routers. m may be NULL, else is retained. */
int moe__profile_new(moe_profile **out, const moe__allocator *a, moe_model *m, const moe_profile_info *info,
                     const uint32_t *layers, uint32_t n_routers);
int moe__profile_create(moe_profile **out, moe_model *m, const moe_profile_options *o);
void moe__profile_free(moe_profile *p);
void moe__profile_reset(moe_profile *p);
int moe__profile_merge(moe_profile *dst, const moe_profile *src);
int moe__profile_mark(moe_profile *p, uint32_t cls, const moe_token *ids, size_t n);
int moe__profile_add(moe_profile *p, const moe_route_view *v); /* a full struct */
/* Room for n tracked tokens, at most n_tokens_max. */
int moe__profile_room(moe_profile *p, uint64_t n);
uint64_t moe__profile_tokens(const moe_profile *p);
void moe__profile_router(const moe_profile *p, const moe__prof_layer *l, moe_router_profile *out);
int moe__profile_read(const moe_profile *p, uint32_t layer, int what, double *dst, size_t cap, size_t *n);
int moe__profile_super(const moe_profile *p, moe_expert_find *dst, size_t cap, size_t *n);
int moe__profile_rank(const moe_profile *p, int by, uint32_t cls, uint32_t other, moe_expert_find *dst,
                      size_t n, size_t *found);
/* nPMI of a class and an expert: uses together, of the expert, of the class, tokens in all. */
double moe__profile_npmi(uint64_t both, uint64_t expert, uint64_t cls, uint64_t tokens);
int moe__profile_save(const moe_profile *p, const char *path);
int moe__profile_load(moe_profile **out, moe_model *m, const char *path);

/* The tracked token's counts in router r. */
static inline uint32_t *moe__profile_tracked(const moe_profile *p, uint32_t token, uint32_t r)
{
    return p->tracked_count + ((size_t)token * p->n_routers + r) * p->info.n_experts;
}

#endif
