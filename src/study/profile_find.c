/* SPDX-License-Identifier: MIT */
/*
 * Finding experts: Super Experts (Su et al. 2025, arXiv 2507.23279) and experts that are tied to a class of
 * tokens (RICE: arXiv 2505.14681; MoTE: arXiv 2502.11096). Ties go to the lower layer and number everywhere.
 */
#include "study/profile.h"

#include <string.h>

#include "base/opts.h"

typedef struct found {
    double value;
    uint32_t layer, index, channel;
} found;

/* The larger value first, then the lower layer and number: a total order. */
static int found_before(const found *x, const found *y)
{
    if (x->value != y->value) return x->value > y->value;
    return x->layer != y->layer ? x->layer < y->layer : x->index < y->index;
}

/* Puts v[at] where it belongs in a heap [n] with the last of the order on top. */
static void found_sift(found *v, size_t at, size_t n)
{
    const found x = v[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && found_before(&v[child], &v[child + 1])) child++;
        if (!found_before(&x, &v[child])) break;
        v[at] = v[child];
    }
    v[at] = x;
}

/* Heap sort: in place, unlike the C library's, which may allocate. */
static void found_sort(found *v, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) found_sift(v, i, n);
    for (size_t i = n; i-- > 1;) {
        const found x = v[i];
        v[i] = v[0];
        v[0] = x;
        found_sift(v, 0, i);
    }
}

/* Structs of the caller's size, in a row. */
static int hand_out(const found *from, size_t n, moe_expert_find *dst)
{
    size_t stride;
    if (n == 0) return MOE_OK;
    memcpy(&stride, dst, sizeof stride);
    for (size_t i = 0; i < n; i++) {
        void *to = (char *)dst + i * stride;
        const moe_expert_find f = {.size = sizeof f,
                                   .layer = from[i].layer,
                                   .index = from[i].index,
                                   .value = from[i].value,
                                   .channel = from[i].channel};
        memcpy(to, &stride, sizeof stride);
        MOE_TRY(moe__opts_fill(to, &f, sizeof f, "moe_expert_find"));
    }
    return MOE_OK;
}

static int new_list(const moe_profile *p, found **list)
{
    uint64_t n;
    if (!moe__mul_ok(p->n_routers, p->info.n_experts, &n) || n > SIZE_MAX)
        return MOE_FAIL(NOMEM, "experts of a profile");
    return MOE_NEW(&p->alloc, list, (size_t)n, "experts of a profile");
}

/* ---- Super Experts ---- */

/* The q-th quantile of n > 0 sorted values, falling, between neighbours by proportion. */
static double quantile(const found *v, size_t n, double q)
{
    const double at = (1 - q) * (double)(n - 1);
    const size_t i = (size_t)at;
    return i + 1 < n ? v[i].value + (at - (double)i) * (v[i + 1].value - v[i].value) : v[n - 1].value;
}

/* 0.75 n, halves to even, as the authors' round() does. */
static uint32_t three_quarters(uint32_t n)
{
    const uint64_t q = (uint64_t)n * 3 / 4, rest = (uint64_t)n * 3 % 4;
    return (uint32_t)(q + (rest > 2 || (rest == 2 && q % 2)));
}

/* All experts whose output was seen, the largest first. */
static size_t list_outputs(const moe_profile *p, found *v)
{
    size_t n = 0;
    for (uint32_t r = 0; r < p->n_routers; r++) {
        const moe__prof_layer *l = &p->layer[r];
        for (uint32_t e = 0; e < p->info.n_experts; e++)
            if (l->a[PROF_OUT_N].n[e] || l->a[PROF_OUT_MAX].x[e] > 0)
                v[n++] =
                    (found){l->a[PROF_OUT_MAX].x[e], l->number, e, (uint32_t)l->a[PROF_OUT_CHANNEL].n[e]};
    }
    found_sort(v, n);
    return n;
}

/* Moves those that pass to the front; returns their number. */
static size_t keep_super(const moe_profile *p, found *v, size_t n)
{
    if (n == 0) return 0;
    const uint32_t n_layers = three_quarters(p->info.n_layers);
    const double high = quantile(v, n, 0.995), tenth = v[0].value / 10, guard = 50 * quantile(v, n, 0.5);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (v[i].layer < n_layers && v[i].value > high && v[i].value > tenth && v[i].value > guard)
            v[kept++] = v[i];
    return kept;
}

int moe__profile_super(const moe_profile *p, moe_expert_find *dst, size_t cap, size_t *n)
{
    found *v;
    if (!(p->info.flags & MOE_PROFILE_OUTPUTS))
        return MOE_FAIL(NOTFOUND, "moe_profile_super: the profile was made without MOE_PROFILE_OUTPUTS");
    MOE_TRY(new_list(p, &v));
    *n = keep_super(p, v, list_outputs(p, v));
    const int st = *n > cap ? MOE_FAIL(BUFFER, "moe_profile_super: room for %zu experts, needed %zu", cap, *n)
                            : hand_out(v, *n, dst);
    moe__free(&p->alloc, v);
    return st;
}

/* ---- ranking ---- */

/* Choices of an expert, and what they are divided by, in a class or in all others together. */
typedef struct class_use {
    uint64_t uses, tokens, prompts;
} class_use;

static class_use use_of(const moe_profile *p, const moe__prof_layer *l, uint32_t cls, uint32_t e)
{
    return (class_use){l->a[PROF_CLASS_COUNT].n[(size_t)cls * p->info.n_experts + e],
                       l->a[PROF_CLASS_TOKENS].n[cls], p->prompts[cls]};
}

static class_use other_use(const moe_profile *p, const moe__prof_layer *l, uint32_t cls, uint32_t other,
                           uint32_t e)
{
    class_use sum = {0, 0, 0};
    for (uint32_t c = 0; c < p->info.n_classes; c++) {
        if (other == UINT32_MAX ? c == cls : c != other) continue;
        const class_use u = use_of(p, l, c, e);
        sum.uses += u.uses;
        sum.tokens += u.tokens;
        sum.prompts += u.prompts;
    }
    return sum;
}

static double rank_value(const moe_profile *p, const moe__prof_layer *l, int by, uint32_t cls, uint32_t other,
                         uint32_t e)
{
    const class_use a = use_of(p, l, cls, e);
    if (by == MOE_RANK_NPMI)
        return moe__profile_npmi(a.uses, l->a[PROF_COUNT].n[e], a.tokens, l->a[PROF_N].n[PROF_N_TOKENS]);
    const class_use b = other_use(p, l, cls, other, e);
    if (by == MOE_RANK_DIFF) return (double)a.uses / (double)a.prompts - (double)b.uses / (double)b.prompts;
    return (double)a.uses / (double)a.tokens - (double)b.uses / (double)b.tokens;
}

/* Every class that takes part must have tokens, or prompts. */
static int check_classes(const moe_profile *p, const moe__prof_layer *l, int by, uint32_t cls, uint32_t other)
{
    const class_use a = use_of(p, l, cls, 0), b = other_use(p, l, cls, other, 0);
    const uint64_t x = by == MOE_RANK_DIFF ? a.prompts : a.tokens,
                   y = by == MOE_RANK_DIFF ? b.prompts : b.tokens;
    if (x > 0 && (by == MOE_RANK_NPMI || y > 0)) return MOE_OK;
    return MOE_FAIL(NOTFOUND, "moe_profile_rank: layer %u: class %u has %llu %s, the other %llu", l->number,
                    cls, (unsigned long long)x, by == MOE_RANK_DIFF ? "prompts" : "tokens",
                    (unsigned long long)y);
}

static int list_ranked(const moe_profile *p, int by, uint32_t cls, uint32_t other, found *v, size_t *n)
{
    *n = 0;
    for (uint32_t r = 0; r < p->n_routers; r++) {
        const moe__prof_layer *l = &p->layer[r];
        MOE_TRY(check_classes(p, l, by, cls, other));
        for (uint32_t e = 0; e < p->info.n_experts; e++)
            if (l->a[PROF_COUNT].n[e])
                v[(*n)++] = (found){rank_value(p, l, by, cls, other, e), l->number, e, 0};
    }
    found_sort(v, *n);
    return MOE_OK;
}

int moe__profile_rank(const moe_profile *p, int by, uint32_t cls, uint32_t other, moe_expert_find *dst,
                      size_t n, size_t *n_found)
{
    found *v;
    MOE_TRY(new_list(p, &v));
    int st = list_ranked(p, by, cls, other, v, n_found);
    if (st >= 0) st = hand_out(v, *n_found < n ? *n_found : n, dst);
    moe__free(&p->alloc, v);
    return st;
}
