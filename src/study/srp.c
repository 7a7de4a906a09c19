/* SPDX-License-Identifier: MIT */
/*
 * Segment routing best performance (Liang et al. 2026, arXiv 2505.16056). Windows of m tokens in a row,
 * inside one request, slide by one token. n = tokens of a window that use an expert. A rule "expected if n >=
 * t" predicts the expert for every token of the window:
 *
 *     M(t) = sum of n where n >= t      right predictions
 *     P(t) = m * windows where n >= t   predictions
 *     A    = sum of n                   uses
 *     SRP  = max over t of 2 M / (P + A),   rho = P / A at that t (the smallest on a tie)
 *
 * summed over windows, and over one expert, one layer or the model. Only a histogram of n is needed. For one
 * expert the windows are walked from use to use, where n changes, so that a layer costs O(uses), whatever m
 * is.
 */
#include "study/analysis.h"

#include <string.h>

typedef struct srp_work {
    const moe_trace *t;
    uint32_t window;
    uint32_t *order, *first; /* tokens by request */
    uint32_t *start;         /* [n_experts + 1] of an expert's uses */
    uint32_t *use;           /* [uses of the layer] places in `order`, ascending per expert */
    uint64_t cap_use;
    uint64_t *hist; /* [longest window + 1] windows by n */
    uint32_t top;   /* largest n in hist */
} srp_work;

/* Sums over what a level looks at, and what came of it. */
typedef struct srp_sum {
    double srp, rho;
    uint32_t n;
} srp_sum;

/* Uses of the layer by expert. */
static int index_layer(srp_work *w, moe__uses *u, uint32_t layer)
{
    const moe_trace *t = w->t;
    const moe__trace_layer *l = &t->layer[layer];
    if (l->n_pairs > UINT32_MAX)
        return MOE_FAIL(NOMEM, "moe_trace_srp: more than 2^32 experts chosen in a layer");
    if (l->n_pairs > w->cap_use) {
        moe__free(&t->alloc, w->use);
        w->cap_use = 0;
        MOE_TRY(MOE_NEW(&t->alloc, &w->use, (size_t)l->n_pairs, "uses by expert"));
        w->cap_use = l->n_pairs;
    }
    uint32_t *at = w->start + 1;
    memset(w->start, 0, ((size_t)t->n_experts + 2) * sizeof *w->start);
    moe__uses_layer(u, layer);
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        const uint32_t n = moe__uses_of(u, w->order[i]);
        for (uint32_t j = 0; j < n; j++) at[u->id[j] + 1]++;
    }
    for (uint32_t e = 0; e < t->n_experts; e++) at[e + 1] += at[e];
    moe__uses_layer(u, layer);
    for (uint32_t i = 0; i < t->n_tokens; i++) {
        const uint32_t n = moe__uses_of(u, w->order[i]);
        for (uint32_t j = 0; j < n; j++) w->use[at[u->id[j]]++] = i;
    }
    return MOE_OK;
}

/* Adds the windows of one request to the histogram: tokens [from, to), an expert's uses p [0, n) in it. */
static void count_windows(srp_work *w, const uint32_t *p, uint32_t n, uint32_t from, uint32_t to)
{
    const uint32_t m = w->window;
    if (to - from < m) return;
    const uint32_t last = to - m; /* start of the last window */
    uint32_t lo = 0, hi = 0;      /* uses lo .. hi-1 lie in the window */
    for (uint32_t s = from; s <= last;) {
        while (hi < n && p[hi] < s + m) hi++;
        while (lo < hi && p[lo] < s) lo++;
        uint32_t next = last + 1; /* where n changes next */
        if (hi < n && p[hi] - m + 1 < next) next = p[hi] - m + 1;
        if (lo < hi && p[lo] + 1 < next) next = p[lo] + 1;
        w->hist[hi - lo] += next - s;
        if (hi - lo > w->top) w->top = hi - lo;
        s = next;
    }
}

/* The request of place i in `order`. */
static uint32_t request_at(const srp_work *w, uint32_t i)
{
    uint32_t lo = 0, hi = w->t->requests.n - 1;
    while (lo < hi) {
        const uint32_t mid = lo + (hi - lo + 1) / 2;
        if (w->first[mid] <= i)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}

static void count_expert(srp_work *w, uint32_t e)
{
    for (uint32_t i = w->start[e], j; i < w->start[e + 1]; i = j) {
        const uint32_t r = request_at(w, w->use[i]), to = w->first[r + 1];
        for (j = i + 1; j < w->start[e + 1] && w->use[j] < to; j++) {}
        count_windows(w, w->use + i, j - i, w->first[r], to);
    }
}

/* The best threshold of the histogram, added to *sum; empties the histogram. */
static void take_best(srp_work *w, srp_sum *sum)
{
    uint64_t match = 0, windows = 0, all = 0;
    double best = -1, size = 0;
    for (uint32_t n = 1; n <= w->top; n++) all += n * w->hist[n];
    for (uint32_t t = w->top; t >= 1 && all > 0; t--) {
        windows += w->hist[t];
        match += t * w->hist[t];
        const uint64_t predicted = windows * w->window;
        const double f = 2 * (double)match / (double)(predicted + all);
        if (f < best) continue;
        best = f;
        size = (double)predicted / (double)all;
    }
    memset(w->hist, 0, ((size_t)w->top + 1) * sizeof *w->hist);
    w->top = 0;
    if (all == 0) return;
    sum->srp += best;
    sum->rho += size;
    sum->n++;
}

static int srp_layers(srp_work *w, moe__uses *u, uint32_t layer, int level, srp_sum *sum)
{
    const uint32_t l0 = layer == MOE_ALL_LAYERS ? 0 : layer;
    const uint32_t l1 = layer == MOE_ALL_LAYERS ? w->t->n_layers : layer + 1;
    for (uint32_t l = l0; l < l1; l++) {
        MOE_TRY(index_layer(w, u, l));
        for (uint32_t e = 0; e < w->t->n_experts; e++) {
            count_expert(w, e);
            if (level == MOE_SRP_EXPERT) take_best(w, sum);
        }
        if (level == MOE_SRP_LAYER) take_best(w, sum);
    }
    if (level == MOE_SRP_MODEL) take_best(w, sum);
    return MOE_OK;
}

static int srp_run(srp_work *w, moe__uses *u, uint32_t layer, int level, srp_sum *sum)
{
    const moe__allocator *a = &w->t->alloc;
    uint32_t longest = 0;
    MOE_TRY(moe__uses_init(u, w->t));
    MOE_TRY(moe__trace_order(w->t, &w->order, &w->first));
    for (uint32_t r = 0; r < w->t->requests.n; r++)
        if (w->first[r + 1] - w->first[r] > longest) longest = w->first[r + 1] - w->first[r];
    if (w->window > longest)
        return MOE_FAIL(NOTFOUND, "moe_trace_srp: windows of %u tokens: the longest request has %u",
                        w->window, longest);
    MOE_TRY(MOE_NEW(a, &w->start, (size_t)w->t->n_experts + 2, "uses by expert"));
    MOE_TRY(MOE_NEW(a, &w->hist, (size_t)w->window + 1, "windows by uses"));
    MOE_TRY(srp_layers(w, u, layer, level, sum));
    return sum->n ? MOE_OK : MOE_FAIL(NOTFOUND, "moe_trace_srp: no window has an expert");
}

int moe__trace_srp(const moe_trace *t, uint32_t layer, uint32_t window, int level, double *srp, double *rho)
{
    srp_work w = {.t = t, .window = window};
    srp_sum sum = {0, 0, 0};
    moe__uses u;
    const int st = srp_run(&w, &u, layer, level, &sum);
    moe__free(&t->alloc, w.hist);
    moe__free(&t->alloc, w.use);
    moe__free(&t->alloc, w.start);
    moe__free(&t->alloc, w.first);
    moe__free(&t->alloc, w.order);
    moe__uses_finish(&u);
    if (st < 0) return st;
    *srp = sum.srp / sum.n;
    *rho = sum.rho / sum.n;
    return MOE_OK;
}
