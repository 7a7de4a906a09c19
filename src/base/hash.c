/* SPDX-License-Identifier: MIT */
/* See hash.h. Four lanes of 64 bits over stripes of 32 bytes, seed 0. */
#include "base/hash.h"

#include <string.h>

#define P1 11400714785074694791u
#define P2 14029467366897019727u
#define P3 1609587929392839161u
#define P4 9650029242287828579u
#define P5 2870177450012600261u

static uint64_t rotl(uint64_t x, int n) { return x << n | x >> (64 - n); }

static uint64_t load64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) v = v << 8 | p[i];
    return v;
}

static uint64_t mix(uint64_t lane, uint64_t x) { return rotl(lane + x * P2, 31) * P1; }

static void stripe(moe__hash *h, const uint8_t *p)
{
    for (int i = 0; i < 4; i++) h->lane[i] = mix(h->lane[i], load64(p + 8 * i));
}

void moe__hash_init(moe__hash *h)
{
    memset(h, 0, sizeof *h);
    h->lane[0] = P1 + P2;
    h->lane[1] = P2;
    h->lane[3] = 0 - P1;
}

void moe__hash_add(moe__hash *h, const void *data, size_t n)
{
    const uint8_t *p = data;
    if (n == 0) return; /* data may be NULL then */
    h->total += n;
    if (h->n_rest) {
        const size_t take = n < 32 - h->n_rest ? n : 32 - h->n_rest;
        memcpy(h->rest + h->n_rest, p, take);
        h->n_rest += (uint32_t)take;
        p += take;
        n -= take;
        if (h->n_rest < 32) return;
        stripe(h, h->rest);
        h->n_rest = 0;
    }
    for (; n >= 32; p += 32, n -= 32) stripe(h, p);
    if (n) memcpy(h->rest, p, n);
    h->n_rest = (uint32_t)n;
}

uint64_t moe__hash_get(const moe__hash *h)
{
    uint64_t x = P5;
    if (h->total >= 32) {
        x = rotl(h->lane[0], 1) + rotl(h->lane[1], 7) + rotl(h->lane[2], 12) + rotl(h->lane[3], 18);
        for (int i = 0; i < 4; i++) x = (x ^ mix(0, h->lane[i])) * P1 + P4;
    }
    x += h->total;
    const uint8_t *p = h->rest;
    size_t n = h->n_rest;
    for (; n >= 8; p += 8, n -= 8) x = rotl(x ^ mix(0, load64(p)), 27) * P1 + P4;
    if (n >= 4) {
        const uint64_t v = (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
        x = rotl(x ^ v * P1, 23) * P2 + P3;
        p += 4;
        n -= 4;
    }
    for (; n; p++, n--) x = rotl(x ^ *p * P5, 11) * P1;
    x = (x ^ x >> 33) * P2;
    x = (x ^ x >> 29) * P3;
    return x ^ x >> 32;
}

uint64_t moe__hash_of(const void *data, size_t n)
{
    moe__hash h;
    moe__hash_init(&h);
    moe__hash_add(&h, data, n);
    return moe__hash_get(&h);
}
