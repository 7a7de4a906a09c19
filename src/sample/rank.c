/* SPDX-License-Identifier: MIT */
/*
 * Order among candidates. Chains want the best few of a vocabulary of 100,000 and more, so nothing here sorts
 * more than was asked for: a heap holds the best k in one pass over the logits where k is small, and a
 * quicksort that leaves the rest alone serves larger k.
 */
#include <string.h>

#include "sample/sampler.h"

#define HEAP_MAX 256u /* up to this k one pass with a heap */
#define BLOCK    64u  /* candidates looked at together for the best */
#define SMALL 24u     /* ranges sorted by insertion */

uint64_t moe__rank_key(double x)
{
    uint64_t u;
    x += 0.0; /* -0 and 0 are equal */
    memcpy(&u, &x, sizeof u);
    return u >> 63 ? ~u : u | (uint64_t)1 << 63;
}

moe__rank moe__rank_of(moe_token id, float logit)
{
    const moe__rank r = {moe__rank_key(-(double)logit), id, logit};
    return r;
}

int moe__rank_less(const moe__rank *a, const moe__rank *b)
{
    return a->key < b->key || (a->key == b->key && a->id < b->id);
}

static void swap(moe__rank *a, moe__rank *b)
{
    const moe__rank t = *a;
    *a = *b;
    *b = t;
}

/* Heap with the last in order on top. */
static void sift_rank(moe__rank *r, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && moe__rank_less(&r[child], &r[child + 1])) child++;
        if (!moe__rank_less(&r[i], &r[child])) return;
        swap(&r[i], &r[child]);
    }
}

static void heapify(moe__rank *r, size_t n)
{
    for (size_t i = n / 2; i-- > 0;) sift_rank(r, n, i);
}

static void heap_unload(moe__rank *r, size_t n)
{
    while (n > 1) {
        swap(&r[0], &r[--n]);
        sift_rank(r, n, 0);
    }
}

static void insertion_sort(moe__rank *r, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const moe__rank x = r[i];
        size_t j = i;
        for (; j > 0 && moe__rank_less(&x, &r[j - 1]); j--) r[j] = r[j - 1];
        r[j] = x;
    }
}

/* Splits n >= 3 items at the median of three; returns the size of the lower part, 0 < size < n. */
static size_t partition(moe__rank *r, size_t n)
{
    moe__rank *const a = &r[0], *const b = &r[n / 2], *const c = &r[n - 1];
    if (moe__rank_less(b, a)) swap(a, b);
    if (moe__rank_less(c, b)) swap(b, c);
    if (moe__rank_less(b, a)) swap(a, b);
    const moe__rank pivot = *b;
    size_t i = 0, j = n - 1;
    for (;;) {
        while (moe__rank_less(&r[i], &pivot)) i++;
        while (moe__rank_less(&pivot, &r[j])) j--;
        if (i >= j) return j + 1;
        swap(&r[i++], &r[j--]);
    }
}

/* depth bounds the splits; past it heap sort keeps bad input at n log n. */
static void sort_range(moe__rank *r, size_t n, size_t k, int depth)
{
    while (n > SMALL && k > 0) {
        if (depth-- == 0) {
            heapify(r, n);
            heap_unload(r, n);
            return;
        }
        const size_t low = partition(r, n);
        sort_range(r, low, k < low ? k : low, depth);
        if (k <= low) return;
        r += low;
        n -= low;
        k -= low;
    }
    if (k > 0) insertion_sort(r, n);
}

void moe__rank_sort(moe__rank *r, size_t n, size_t k)
{
    int depth = 2;
    for (size_t m = n; m > 1; m /= 2) depth += 2;
    sort_range(r, n, k, depth);
}

/* The heap's top is the worst of the best so far; most candidates fail the first comparison. */
static void best_by_heap(moe__rank *r, const moe_candidates *c, size_t k)
{
    for (size_t i = 0; i < k; i++) r[i] = moe__rank_of(c->id[i], c->logit[i]);
    heapify(r, k);
    for (size_t i = k; i < c->n; i++) {
        if (c->logit[i] < r[0].logit) continue;
        const moe__rank x = moe__rank_of(c->id[i], c->logit[i]);
        if (!moe__rank_less(&x, &r[0])) continue;
        r[0] = x;
        sift_rank(r, k, 0);
    }
    heap_unload(r, k);
}

void moe__rank_best(moe_sampler *s, const moe_candidates *c, size_t k)
{
    if (k == 0) return;
    if (!c->sorted && k <= HEAP_MAX && k < c->n) {
        best_by_heap(s->rank, c, k);
        return;
    }
    const size_t n = c->sorted ? k : c->n;
    for (size_t i = 0; i < n; i++) s->rank[i] = moe__rank_of(c->id[i], c->logit[i]);
    if (!c->sorted) moe__rank_sort(s->rank, n, k);
}

void moe__rank_keep(moe_sampler *s, moe_candidates *c, size_t k)
{
    for (size_t i = 0; i < k; i++) {
        c->id[i] = s->rank[i].id;
        c->logit[i] = s->rank[i].logit;
    }
    c->n = k;
    c->sorted = 1;
}

static float max_of_block(const float *x)
{
    float m[BLOCK / 4];
    for (size_t j = 0; j < BLOCK / 4; j++) m[j] = x[j];
    for (size_t i = BLOCK / 4; i < BLOCK; i += BLOCK / 4)
        for (size_t j = 0; j < BLOCK / 4; j++) m[j] = x[i + j] > m[j] ? x[i + j] : m[j];
    for (size_t w = BLOCK / 8; w > 0; w /= 2)
        for (size_t j = 0; j < w; j++) m[j] = m[j + w] > m[j] ? m[j + w] : m[j];
    return m[0];
}

/* Are all tokens of a block higher? */
static int tokens_after(const moe_token *id, moe_token low)
{
    int all = 1;
    for (size_t j = 0; j < BLOCK; j++) all &= id[j] > low;
    return all;
}

size_t moe__best(const moe_candidates *c)
{
    size_t best = 0;
    if (c->sorted) return 0;
    for (size_t i = 0; i < c->n; i += BLOCK) {
        /* Few blocks have a candidate that is better than the best so far, or as good and of a lower token.
         */
        if (i + BLOCK <= c->n) {
            const float max = max_of_block(c->logit + i);
            if (max < c->logit[best] || (max == c->logit[best] && tokens_after(c->id + i, c->id[best])))
                continue;
        }
        const size_t end = i + BLOCK < c->n ? i + BLOCK : c->n;
        for (size_t j = i; j < end; j++)
            if (c->logit[j] > c->logit[best] || (c->logit[j] == c->logit[best] && c->id[j] < c->id[best]))
                best = j;
    }
    return best;
}
