/* SPDX-License-Identifier: MIT */
/* See rng.h. */
#include "base/rng.h"

void moe__philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u; /* golden ratio and sqrt(3)-1: the key schedule is a Weyl sequence */
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t moe__rng_at(uint64_t seed, uint64_t stream, uint64_t i)
{
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)(i >> 32),
                                 (uint32_t)stream, (uint32_t)(stream >> 32)};
    uint32_t out[4];
    moe__philox(out, counter, key);
    return (uint64_t)out[1] << 32 | out[0];
}

uint64_t moe__rng_next(moe__rng *r) { return moe__rng_at(r->seed, r->stream, r->n_drawn++); }

double moe__rng_unit(moe__rng *r) { return (double)(moe__rng_next(r) >> 11) * 0x1p-53; }
