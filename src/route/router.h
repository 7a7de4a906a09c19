/* SPDX-License-Identifier: MIT */
/*
 * One layer's routing in one session: the recipe, or a policy of the caller's in place of its rule, and the
 * steering around it. docs/routing.md has the order; router.c does it for one row:
 *
 *     z = (logits + logit bias, or an override row) / temperature, -inf where banned
 *     s = score(z)                       (or an override row)
 *     q = s + selection bias             -inf: banned after scoring, outside the best groups; +inf: forced
 *     ids, w = policy(z, s, q)
 *     w = weights(ids), * pre, norm, * scale, * post; dropped ones 0
 */
#ifndef MOE_ROUTE_ROUTER_H
#define MOE_ROUTE_ROUTER_H

#include "route/recipe.h"
#include "route/steer.h"

/* What a router knows of a row besides its logits. */
typedef struct moe__route_at {
    moe_token token;
    moe_pos pos;
    moe_seq seq;
} moe__route_at;

/* What a router is for; the same for its whole life. */
typedef struct moe__router_shape {
    uint32_t layer, n, n_null; /* experts; null experts that the model has rows for */
    uint32_t n_seq_max, n_vocab, dim;
    uint32_t n_shared;
} moe__router_shape;

typedef struct moe__router {
    const moe__allocator *alloc;
    const moe__kernels *k;
    moe__router_shape shape;
    moe_route_spec native;                 /* the model's; without ids */
    const float *logit_bias, *select_bias; /* the model's own, [n]; NULL without */
    moe__recipe own;                       /* compiled from native; owns nothing */
    moe__recipe recipe;
    moe_policy policy; /* the caller's; route NULL: the recipe's rule. Owns its name */
    void *state, *user;
    moe__steer steer;
    /* what follows from all these (moe__router_update) */
    uint32_t n_cols; /* shape.n + null experts in use: width of z, s, q */
    uint32_t max_k;  /* most pairs of a row */
    uint8_t steered; /* 0: rows need no look at `steer` before selection */
    uint8_t serial;  /* rows are routed on the calling thread, all together */
    uint8_t coupled; /* rows depend on one another */
    uint8_t whole;   /* only whole sequences can be routed: expert choice, unless meant otherwise */
} moe__router;

int moe__router_init(moe__router *r, const moe__allocator *a, const moe__kernels *k,
                     const moe__router_shape *shape, const moe_route_spec *native);
void moe__router_finish(moe__router *r);
/* Back to the model's own. Cannot fail. */
void moe__router_reset(moe__router *r);
/* *out (not initialised) = a router for the place of `like` with src's set-up. */
int moe__router_duplicate(moe__router *out, const moe__router *like, const moe__router *src);

/* Changes come in two halves, for many routers at once: making can fail, taking cannot. */
int moe__router_make_recipe(const moe__router *r, const moe_route_spec *spec, moe__recipe *out);
void moe__router_take_recipe(moe__router *r, moe__recipe *recipe);    /* a policy of the caller's goes */
int moe__router_set_spec(moe__router *r, const moe_route_spec *spec); /* both halves */
int moe__router_make_policy(const moe__router *r, const moe_policy *p, void *user, moe_policy *out,
                            void **state);
void moe__router_drop_policy(const moe__router *r, moe_policy *p, void *state);
void moe__router_take_policy(moe__router *r, const moe_policy *p, void *state, void *user);
int moe__router_check_plain(const moe__router *r); /* whether the recipe's own rule can take over */
/* *out = the router's steering as fn leaves it, checked against recipe and policy. */
typedef int (*moe__steer_fn)(moe__steer *s, const moe__steer_shape *shape, const void *arg);
int moe__router_edit_steer(const moe__router *r, moe__steer_fn fn, const void *arg, moe__steer *out);
void moe__router_swap_steer(moe__router *r, moe__steer *s);
void moe__router_free_steer(const moe__router *r, moe__steer *s);
float moe__router_value(const moe__router *r, int kind, uint32_t expert);
/* Nothing differs from the model's own. */
int moe__router_is_native(const moe__router *r);

/* Floats of scratch that routing a row takes. */
size_t moe__router_scratch(uint32_t n_experts);
/*
 * One row, by a policy that may run in parallel. logits [shape.n + shape.n_null] of the model; hidden may be
 * NULL unless the policy wants it. id and w have room for max_k; *n receives the pairs. scratch: see above.
 * E_NUMERIC (no message: the row is not known here) if a weight is not finite; E_POLICY and a policy's own
 * status.
 */
int moe__router_row(const moe__router *r, const float *logits, const float *hidden, const moe__route_at *at,
                    uint32_t *id, float *w, uint32_t *n, float *scratch);

/* All rows of a sub-batch on this thread: for policies that are serial or coupled. */
typedef struct moe__route_batch {
    const float *logits; /* [n_rows][shape.n + shape.n_null] */
    const float *hidden; /* [n_rows][dim] */
    const moe_token *token;
    const moe_pos *pos;
    const moe_seq *seq; /* [n_rows] each */
    uint32_t n_rows;
    uint32_t *offset, *expert; /* results, CSR: [n_rows+1], [n_rows * max_k] */
    float *weight;
    float *z, *s, *q; /* scratch: [n_rows][n_cols] each */
    uint32_t *order;  /* scratch: [n_rows * max_k + n] */
    float *scratch;   /* scratch of one row */
} moe__route_batch;
int moe__router_batch(const moe__router *r, const moe__route_batch *b);

/* Checks a caller's result. E_POLICY names router, row and fault. */
int moe__router_check(const moe__router *r, const uint32_t *offset, const uint32_t *expert,
                      const float *weight, const float *q, size_t stride, uint32_t n_rows);

#endif
