/* SPDX-License-Identifier: MIT */
/*
 * Routing without a session: names of recipes, one row by a recipe, the bias of null experts. A router of
 * its own is made for each call, from malloc's memory.
 */
#include <math.h>

#include "base/opts.h"
#include "base/rounding.h"
#include "base/status.h"
#include "route/router.h"

const char *moe_policy_name(size_t i, const char **summary) { return moe__spec_name(i, summary); }

/* A router for rows outside of any session, and what it works with. */
typedef struct lone {
    moe__allocator alloc;
    moe__kernels kernels;
    moe__router router;
    uint32_t *id;  /* [max_k] */
    float *weight; /* [max_k] */
    float *logits; /* [n_experts + n_null] */
    float *scratch;
} lone;

static void lone_finish(lone *l)
{
    moe__free(&l->alloc, l->id);
    moe__free(&l->alloc, l->weight);
    moe__free(&l->alloc, l->logits);
    moe__free(&l->alloc, l->scratch);
    moe__router_finish(&l->router);
}

/* n_null of the spec's null experts have logits of their own. On failure nothing is left. */
static int lone_init(lone *l, const moe_route_spec *spec, size_t n_experts, uint32_t n_null)
{
    moe_route_spec copy = MOE_ROUTE_SPEC_INIT;
    moe_route_spec start = MOE_ROUTE_SPEC_INIT;
    int st;
    *l = (lone){.id = NULL};
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, spec, "moe_route_spec"));
    if (n_experts < 1 || n_experts > 65536)
        return MOE_FAIL(INVALID, "n_experts: expected 1 to 65536, found %zu", n_experts);
    const moe__router_shape shape = {.n = (uint32_t)n_experts, .n_null = n_null, .n_seq_max = 1};
    MOE_TRY(moe__allocator_init(&l->alloc, NULL));
    MOE_TRY(moe__kernels_init(&l->kernels, NULL));
    if (n_null && n_null == copy.n_null) copy.null_bias = 0; /* all have logits */
    start.score = MOE_SCORE_SOFTMAX;
    start.select = MOE_SELECT_TOPK;
    start.weight = MOE_WEIGHT_RAW;
    start.top_k = 1;
    start.n_null = n_null;
    MOE_TRY(moe__router_init(&l->router, &l->alloc, &l->kernels, &shape, &start));
    MOE_TRY_GOTO(moe__router_set_spec(&l->router, &copy), fail);
    const moe__router *r = &l->router;
    if (r->coupled) {
        st = MOE_FAIL(INVALID, "route spec: %s, a row alone is not enough",
                      copy.capacity > 0 ? "with a capacity" : "with EXPERT_CHOICE");
        goto fail;
    }
    MOE_TRY_GOTO(MOE_NEW(&l->alloc, &l->id, r->max_k, "row"), fail);
    MOE_TRY_GOTO(MOE_NEW(&l->alloc, &l->weight, r->max_k, "row"), fail);
    MOE_TRY_GOTO(MOE_NEW(&l->alloc, &l->logits, r->n_cols, "row"), fail);
    MOE_TRY_GOTO(MOE_NEW(&l->alloc, &l->scratch, moe__router_scratch(shape.n), "row"), fail);
    return MOE_OK;
fail:
    lone_finish(l);
    return st;
}

static int lone_row(lone *l, const float *logits, moe_token token, moe_pos pos, uint32_t *n)
{
    const moe__route_at at = {token, pos, 0};
    const int st = moe__router_row(&l->router, logits, NULL, &at, l->id, l->weight, n, l->scratch);
    if (st == MOE_E_NUMERIC) return MOE_FAIL(NUMERIC, "the router's weights are not finite");
    return st;
}

int moe_route_row(const moe_route_spec *spec, const float *logits, size_t n_experts, moe_token token,
                  moe_pos pos, uint32_t *expert, float *weight, size_t *n)
{
    lone l;
    uint32_t n_pairs = 0, n_null = 0;
    moe__clear_error();
    MOE_ARG(spec != NULL);
    MOE_ARG(logits != NULL);
    MOE_ARG(expert != NULL);
    MOE_ARG(weight != NULL);
    MOE_ARG(n != NULL);
    *n = 0;
    if (spec->size >= offsetof(moe_route_spec, n_null) + sizeof spec->n_null) n_null = spec->n_null;
    if (n_null > n_experts)
        return MOE_FAIL(INVALID, "route spec: n_null: expected at most as many as experts (%zu), found %u",
                        n_experts, n_null);
    MOE_TRY(lone_init(&l, spec, n_experts, n_null));
    int st;
    MOE_ROUNDED(st = lone_row(&l, logits, token, pos, &n_pairs));
    for (uint32_t i = 0; st >= 0 && i < n_pairs; i++) {
        expert[i] = l.id[i];
        weight[i] = l.weight[i];
    }
    if (st >= 0) *n = n_pairs;
    lone_finish(&l);
    return st;
}

/* Rows that null_bias is looked for with. */
typedef struct rows {
    lone *l;
    const float *logits;
    size_t n_rows, n_experts;
} rows;

/* Real experts that a row gets on average if the null experts' logit is `bias`. */
static int average_real(const rows *x, float bias, double *out)
{
    moe__router *r = &x->l->router;
    uint64_t real = 0;
    r->recipe.spec.null_bias = bias;
    for (size_t t = 0; t < x->n_rows; t++) {
        uint32_t n;
        MOE_TRY(lone_row(x->l, x->logits + t * x->n_experts, -1, 0, &n));
        for (uint32_t i = 0; i < n; i++) real += x->l->id[i] < x->n_experts;
    }
    *out = (double)real / (double)x->n_rows;
    return MOE_OK;
}

/* So far from a logit that its score differs, whatever the temperature. */
static float margin(const rows *x, float logit)
{
    const float t = x->l->router.recipe.spec.temperature;
    return (1 + fabsf(logit) / 1024) * (t > 1 ? t : 1);
}

/* Fewer real experts the higher the bias is: halves [low, high] until no number lies between them. */
static int find_bias(const rows *x, double target, float *bias, double *reached)
{
    float low = INFINITY, high = -INFINITY;
    double at_low, at_high, at_mid;
    for (size_t i = 0; i < x->n_rows * x->n_experts; i++) {
        if (!isfinite(x->logits[i])) continue;
        low = x->logits[i] < low ? x->logits[i] : low;
        high = x->logits[i] > high ? x->logits[i] : high;
    }
    if (!(low <= high)) return MOE_FAIL(NUMERIC, "logits: not one of them is finite");
    low -= margin(x, low);
    high += margin(x, high);
    MOE_TRY(average_real(x, low, &at_low));
    MOE_TRY(average_real(x, high, &at_high));
    for (float mid; mid = low / 2 + high / 2, mid > low && mid < high;) {
        MOE_TRY(average_real(x, mid, &at_mid));
        if (at_mid >= target) {
            low = mid;
            at_low = at_mid;
        } else {
            high = mid;
            at_high = at_mid;
        }
        if (at_mid == target) break;
    }
    const int lower = fabs(at_low - target) <= fabs(at_high - target);
    *bias = lower ? low : high;
    *reached = lower ? at_low : at_high;
    return MOE_OK;
}

int moe_route_null_bias(const moe_route_spec *spec, const float *logits, size_t n_rows, size_t n_experts,
                        double target, float *bias, double *reached)
{
    lone l;
    double average = 0;
    moe__clear_error();
    MOE_ARG(spec != NULL);
    MOE_ARG(logits != NULL);
    MOE_ARG(n_rows > 0);
    MOE_ARG(bias != NULL);
    MOE_TRY(lone_init(&l, spec, n_experts, 0));
    const moe_route_spec *s = &l.router.recipe.spec;
    int st = MOE_OK;
    if (s->select != MOE_SELECT_TOPK && s->select != MOE_SELECT_SPARSEMIXER)
        st = MOE_FAIL(INVALID,
                      "route spec: with the rule %s the null experts' logit does not set how many "
                      "real experts there are: expected TOPK or SPARSEMIXER",
                      l.router.recipe.rule->name);
    else if (s->n_null == 0)
        st = MOE_FAIL(INVALID, "route spec: n_null: expected above 0");
    else if (!(target > 0 && target < s->top_k))
        st = MOE_FAIL(INVALID, "target: expected above 0 and below top_k (%u), found %g", s->top_k, target);
    const rows x = {&l, logits, n_rows, n_experts};
    if (st >= 0) MOE_ROUNDED(st = find_bias(&x, target, bias, &average));
    if (st >= 0 && reached) *reached = average;
    lone_finish(&l);
    return st;
}
