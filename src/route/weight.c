/* SPDX-License-Identifier: MIT */
/*
 * Weights of one row's pairs, in two steps with the multipliers between them: what they are made from, then
 * norm and scale. Null experts and nobody count in neither and weigh 0. Sums run in order of rank, in float.
 */
#include <math.h>

#include "base/mathx.h"
#include "route/recipe.h"

static int is_real(const moe__recipe *r, uint32_t id) { return id < r->n_experts; }

/* The softmax over the real ones' logits: they are packed, computed and put back. */
static void weigh_softmax(const moe__recipe *r, const uint32_t *id, float *w, uint32_t n, const float *z)
{
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++)
        if (is_real(r, id[i])) w[m++] = z[id[i]];
    if (m > 0) r->k->softmax(w, w, m);
    for (uint32_t i = n; i-- > 0 && m < n;) w[i] = is_real(r, id[i]) ? w[--m] : 0.0f;
}

void moe__recipe_weights(const moe__recipe *r, const uint32_t *id, float *w, uint32_t n, const float *z,
                         const float *s)
{
    switch (r->spec.weight) {
    case MOE_WEIGHT_SOFTMAX_SELECTED: weigh_softmax(r, id, w, n, z); return;
    case MOE_WEIGHT_SIGMOID:
        for (uint32_t i = 0; i < n; i++) w[i] = is_real(r, id[i]) ? z[id[i]] : 0.0f;
        r->k->sigmoid(w, w, n);
        return;
    case MOE_WEIGHT_ONE:
        for (uint32_t i = 0; i < n; i++) w[i] = 1.0f;
        return;
    default: /* RAW, SUM_TO_ONE; RULE with a policy of the caller's that makes none */
        for (uint32_t i = 0; i < n; i++) w[i] = is_real(r, id[i]) ? s[id[i]] : 0.0f;
    }
}

/* (sum of |w|^p)^(1/p) */
static float p_norm(const float *w, uint32_t n, float p)
{
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        const double a = fabs((double)w[i]);
        if (a > 0) sum += p == 1 ? a : moe__math_pow(a, (double)p);
        if (a != a) sum = a;
    }
    if (!(sum > 0) || p == 1) return (float)sum;
    return (float)moe__math_pow(sum, 1 / (double)p);
}

/* What the weights are divided by; 1 = nothing. */
static float divisor(const moe__recipe *r, const float *w, uint32_t n)
{
    float sum = 0;
    if (r->norm == MOE_NORM_NONE) return 1;
    if (r->norm == MOE_NORM_P) return p_norm(w, n, r->spec.norm_p);
    for (uint32_t i = 0; i < n; i++) sum += w[i];
    if (r->norm == MOE_NORM_CLAMP) return sum < r->spec.norm_eps ? r->spec.norm_eps : sum;
    return sum + r->spec.norm_eps;
}

void moe__recipe_norm(const moe__recipe *r, const uint32_t *id, float *w, uint32_t n)
{
    uint32_t n_zero = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!is_real(r, id[i])) w[i] = 0;
        n_zero += w[i] == 0;
    }
    if (n_zero == n) return; /* nothing to share out: 0 / 0 is 0 here */
    const float d = divisor(r, w, n);
    if (d != 1)
        for (uint32_t i = 0; i < n; i++) w[i] /= d;
    for (uint32_t i = 0; i < n; i++) w[i] *= r->scale;
}
