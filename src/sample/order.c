/* SPDX-License-Identifier: MIT */
/*
 * Order among very many candidates, as top-p of a flat distribution wants it: a radix sort (from the lowest
 * digit, Knuth vol. 3, section 5.2.5) of 64-bit elements
 *
 *   key of the logit << 32 | place in the candidates
 *
 * where keys fall as logits rise. It is stable, so that equal logits stay in order of place; candidates whose
 * tokens rise, as those of a row do, are then in the order that ties have everywhere. Both halves of the
 * sort's memory are the scratch that other orders use for their larger elements.
 */
#include <assert.h>
#include <string.h>

#include "sample/sampler.h"

#define MAX_DIGIT 11 /* bits: counters of a pass stay in the first cache */

static_assert(sizeof(moe__rank) == 2 * sizeof(uint64_t), "two arrays in the place of one");

/* Falls as x rises; -0 and 0 are equal. */
static uint32_t falling_key(float x)
{
    uint32_t u;
    x += 0.0f;
    memcpy(&u, &x, sizeof u);
    return u ^
           ((u >> 31) - 1) >> 1; /* u if it is negative, else its other bits: no branch on a random sign */
}

int moe__tokens_rise(const moe_candidates *c)
{
    int rise = 1;
    for (size_t i = 1; i < c->n; i++) rise &= c->id[i - 1] < c->id[i];
    return rise;
}

/* One pass by the digit at `shift` of keys, from a to b. */
static void pass_by_digit(const uint64_t *a, uint64_t *b, size_t n, unsigned shift, unsigned bits)
{
    uint32_t at[1u << MAX_DIGIT] = {0};
    const uint64_t mask = (UINT64_C(1) << bits) - 1;
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++) at[a[i] >> shift & mask]++;
    for (size_t d = 0; d <= mask; d++) {
        const uint32_t count = at[d];
        at[d] = sum;
        sum += count;
    }
    for (size_t i = 0; i < n; i++) b[at[a[i] >> shift & mask]++] = a[i];
}

const uint64_t *moe__order_from(moe_sampler *s, const moe_candidates *c, float from, size_t *n_out)
{
    uint64_t *a = (uint64_t *)(void *)s->rank, *b = a + s->cap;
    uint32_t any = 0;
    size_t n = 0;
    if (c->n > UINT32_MAX || !moe__tokens_rise(c)) return NULL;
    for (size_t i = 0; i < c->n; i++) {
        a[n] = (uint64_t)falling_key(c->logit[i]) << 32 | i; /* overwritten if it is too low */
        n += (size_t)(c->logit[i] >= from);
    }
    if (n == 0) return NULL;
    for (size_t i = 0; i < n; i++) any |= (uint32_t)((a[i] ^ a[0]) >> 32);
    unsigned bits = 0; /* of the keys in which they differ, from the lowest */
    while (bits < 32 && any >> bits) bits++;
    const unsigned passes = (bits + MAX_DIGIT - 1) / MAX_DIGIT;
    for (unsigned p = 0, done = 0; p < passes; p++) {
        const unsigned digit = (bits - done + passes - p - 1) / (passes - p);
        pass_by_digit(a, b, n, 32 + done, digit);
        uint64_t *t = a;
        a = b;
        b = t;
        done += digit;
    }
    *n_out = n;
    return a;
}

void moe__order_keep(moe_sampler *s, moe_candidates *c, const uint64_t *order, size_t k)
{
    /* Through the half of the scratch that the order does not stand in. */
    uint64_t *first = (uint64_t *)(void *)s->rank, *t = order == first ? first + s->cap : first;
    for (size_t i = 0; i < k; i++) {
        const size_t place = (uint32_t)order[i];
        uint32_t u;
        memcpy(&u, &c->logit[place], sizeof u);
        t[i] = (uint64_t)(uint32_t)c->id[place] << 32 | u;
    }
    for (size_t i = 0; i < k; i++) {
        const uint32_t u = (uint32_t)t[i];
        c->id[i] = (moe_token)(t[i] >> 32);
        memcpy(&c->logit[i], &u, sizeof u);
    }
    c->n = k;
    c->sorted = 1;
}
