/* SPDX-License-Identifier: MIT */
/* What a profile tells of a router: means, shares and arrays (docs/studying-routing.md has the formulas). */
#include "study/profile.h"

#include <string.h>

#include "base/mathx.h"

#define PER_LN2 1.4426950408889634

/* ---- one router ---- */

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

static double lbl_global(const moe_profile *p, const moe__prof_layer *l)
{
    double sum = 0;
    const uint64_t *count = l->a[PROF_N].n;
    for (uint32_t e = 0; e < p->info.n_experts; e++)
        sum += (double)l->a[PROF_COUNT].n[e] * l->a[PROF_PROB].x[e];
    return ratio(p->info.n_experts * sum, (double)count[PROF_N_PAIRS] * (double)count[PROF_N_PROBS]);
}

static double mean_k(const moe_profile *p, const moe__prof_layer *l)
{
    double sum = 0;
    for (uint32_t k = 1; k <= p->info.n_experts; k++) sum += (double)k * (double)l->a[PROF_K].n[k];
    return ratio(sum, (double)l->a[PROF_N].n[PROF_N_TOKENS]);
}

/* Sum of x log x over counts. */
static double x_log_x(double x) { return x > 0 ? x * moe__math_log(x) : 0; }

/*
 * Over tracked tokens v and experts e with counts c(v, e), N in all:
 * H(e) = log N - 1/N sum_e c(e) log c(e);   I(v; e) = log N + 1/N (sum c(v,e) log c(v,e) - sum c(v) log c(v)
 * - sum c(e) log c(e))
 */
static void mutual_info(const moe_profile *p, uint32_t r, double *info, double *entropy)
{
    double all = 0, both = 0, token = 0, expert = 0;
    *info = *entropy = 0;
    for (uint32_t e = 0; e < p->info.n_experts; e++) {
        double sum = 0;
        for (uint32_t v = 0; v < p->tracked.n; v++) sum += moe__profile_tracked(p, v, r)[e];
        expert += x_log_x(sum);
        all += sum;
    }
    for (uint32_t v = 0; v < p->tracked.n; v++) {
        double sum = 0;
        for (uint32_t e = 0; e < p->info.n_experts; e++) {
            const double c = moe__profile_tracked(p, v, r)[e];
            both += x_log_x(c);
            sum += c;
        }
        token += x_log_x(sum);
    }
    if (all == 0) return;
    *entropy = (moe__math_log(all) - expert / all) * PER_LN2;
    *info = (moe__math_log(all) + (both - token - expert) / all) * PER_LN2;
    if (*info < 0) *info = 0; /* rounding */
}

void moe__profile_router(const moe_profile *p, const moe__prof_layer *l, moe_router_profile *out)
{
    const uint64_t *count = l->a[PROF_N].n;
    const double *sum = l->a[PROF_SUM].x;
    *out = (moe_router_profile){.size = sizeof *out,
                                .tokens = count[PROF_N_TOKENS],
                                .pairs = count[PROF_N_PAIRS],
                                .nulls = count[PROF_N_NULLS],
                                .dropped = count[PROF_N_DROPPED],
                                .micro_batches = count[PROF_N_BATCHES],
                                .entropy = ratio(sum[PROF_SUM_ENTROPY], (double)count[PROF_N_PROBS]),
                                .top1 = ratio(sum[PROF_SUM_TOP1], (double)count[PROF_N_PROBS]),
                                .mean_k = mean_k(p, l),
                                .lbl_micro = ratio(sum[PROF_SUM_LBL], (double)count[PROF_N_LBL]),
                                .lbl_global = lbl_global(p, l)};
    mutual_info(p, (uint32_t)(l - p->layer), &out->mutual_info, &out->token_entropy);
}

uint64_t moe__profile_tokens(const moe_profile *p)
{
    uint64_t most = 0;
    for (uint32_t r = 0; r < p->n_routers; r++) {
        const uint64_t n = p->layer[r].a[PROF_N].n[PROF_N_TOKENS];
        if (n > most) most = n;
    }
    return most;
}

/* ---- arrays ---- */

double moe__profile_npmi(uint64_t both, uint64_t expert, uint64_t cls, uint64_t tokens)
{
    if (expert == 0 || cls == 0) return 0;
    if (both == 0) return -1;     /* the limit */
    if (both >= tokens) return 0; /* both always: nothing is told */
    const double n = (double)tokens, b = (double)both;
    const double x = moe__math_log(b * n / ((double)expert * (double)cls)) / moe__math_log(n / b);
    return x > 1 ? 1 : x < -1 ? -1 : x;
}

static void read_npmi(const moe_profile *p, const moe__prof_layer *l, double *dst)
{
    const uint32_t n = p->info.n_experts;
    for (uint32_t c = 0; c < p->info.n_classes; c++)
        for (uint32_t e = 0; e < n; e++)
            dst[(size_t)c * n + e] =
                moe__profile_npmi(l->a[PROF_CLASS_COUNT].n[(size_t)c * n + e], l->a[PROF_COUNT].n[e],
                                  l->a[PROF_CLASS_TOKENS].n[c], l->a[PROF_N].n[PROF_N_TOKENS]);
}

/* What each MOE_PROFILE_* reads: an array, for means divided by another. */
static const struct {
    int8_t array, by;
} read_table[] = {
    [MOE_PROFILE_COUNT] = {PROF_COUNT, -1},
    [MOE_PROFILE_WEIGHT] = {PROF_WEIGHT, -1},
    [MOE_PROFILE_PROB] = {PROF_PROB, -1},
    [MOE_PROFILE_TOP1] = {PROF_TOP1, -1},
    [MOE_PROFILE_SALIENCY] = {PROF_OUT_SALIENCY, PROF_OUT_N},
    [MOE_PROFILE_NORM] = {PROF_OUT_NORM, PROF_OUT_N},
    [MOE_PROFILE_MAX] = {PROF_OUT_MAX, -1},
    [MOE_PROFILE_MAX_CHANNEL] = {PROF_OUT_CHANNEL, -1},
    [MOE_PROFILE_TOGETHER] = {PROF_PAIRS, -1},
    [MOE_PROFILE_K] = {PROF_K, -1},
    [MOE_PROFILE_CLASS_COUNT] = {PROF_CLASS_COUNT, -1},
    [MOE_PROFILE_CLASS_WEIGHT] = {PROF_CLASS_WEIGHT, -1},
    [MOE_PROFILE_CLASS_TOKENS] = {PROF_CLASS_TOKENS, -1},
    [MOE_PROFILE_CLASS_PROMPTS] = {PROF_CLASS_TOKENS, -1}, /* of this size; its own numbers */
    [MOE_PROFILE_DROPS] = {PROF_DROPS, -1},
    [MOE_PROFILE_NPMI] = {PROF_CLASS_COUNT, -1},
};

static double element(const moe__prof_layer *l, int array, uint64_t i)
{
    return moe__profile_is_sum(array) ? l->a[array].x[i] : (double)l->a[array].n[i];
}

static void read_numbers(const moe_profile *p, const moe__prof_layer *l, int what, uint64_t n, double *dst)
{
    const int array = read_table[what].array, by = read_table[what].by;
    if (what == MOE_PROFILE_CLASS_PROMPTS) {
        for (uint64_t i = 0; i < n; i++) dst[i] = (double)p->prompts[i];
    } else if (!l) { /* dense */
        for (uint64_t i = 0; i < n; i++) dst[i] = 0;
    } else if (what == MOE_PROFILE_NPMI) {
        read_npmi(p, l, dst);
    } else {
        for (uint64_t i = 0; i < n; i++)
            dst[i] = by < 0 ? element(l, array, i) : ratio(element(l, array, i), element(l, by, i));
    }
}

int moe__profile_read(const moe_profile *p, uint32_t layer, int what, double *dst, size_t cap, size_t *n)
{
    if (what < MOE_PROFILE_COUNT || what > MOE_PROFILE_NPMI)
        return MOE_FAIL(INVALID, "moe_profile_read: %d is no MOE_PROFILE_*", what);
    const uint64_t size = moe__profile_size(&p->info, read_table[what].array);
    *n = (size_t)size;
    if (size == 0 && p->info.n_experts)
        return MOE_FAIL(NOTFOUND, "moe_profile_read: the profile was made without what array %d needs", what);
    if (size > cap) return MOE_FAIL(BUFFER, "moe_profile_read: room for %zu numbers, needed %zu", cap, *n);
    const uint32_t r = p->layer_at[layer];
    read_numbers(p, r == UINT32_MAX ? NULL : &p->layer[r], what, size, dst);
    return MOE_OK;
}
