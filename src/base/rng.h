/* SPDX-License-Identifier: MIT */
/*
 * Random numbers from a counter: draw i of a stream is a pure function of (seed, stream, i), so it depends
 * neither on threads nor on what was drawn elsewhere. Generator: Philox4x32-10 (Salmon, Moraes, Dror, Shaw:
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
 */
#ifndef MOE_BASE_RNG_H
#define MOE_BASE_RNG_H

#include <stdint.h>

/* One block of the generator: 128 bits from a 128-bit counter under a 64-bit key. */
void moe__philox(uint32_t out[4], const uint32_t counter[4], const uint32_t key[2]);

typedef struct moe__rng {
    uint64_t seed, stream;
    uint64_t n_drawn; /* index of the next draw */
} moe__rng;

/* Draw i: the first two words of block (i, stream) under the key `seed`, low word first. */
uint64_t moe__rng_at(uint64_t seed, uint64_t stream, uint64_t i);
uint64_t moe__rng_next(moe__rng *r);
/* Uniform in [0, 1), a multiple of 2^-53: the upper 53 bits of the next draw. */
double moe__rng_unit(moe__rng *r);

#endif
