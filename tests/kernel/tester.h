/* SPDX-License-Identifier: MIT */
/*
 * The kernel tester: every kernel of kernels.def, at every instruction-set level that this CPU and build
 * have, must give the bits of the plain C version (any NaN equals any NaN) over random legal sizes, pointers
 * and values, and touch nothing outside its arguments. cases.c has one case function per kernel, named after
 * it: a kernel without one does not link.
 */
#ifndef MOE_TESTS_KERNEL_TESTER_H
#define MOE_TESTS_KERNEL_TESTER_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernel/kernel.h"

typedef struct tester {
    uint64_t rng;
    const moe__kernels *ref, *simd;
    int failed;     /* set by the first fault of a kernel */
    char what[512]; /* and its description */
} tester;

/* Random numbers (splitmix64): below n, and floats. */
uint64_t rnd(tester *t);
size_t rnd_below(tester *t, size_t n);

/* What values a random array holds. */
typedef enum values {
    VALUES_PLAIN,   /* -4 .. 4 */
    VALUES_WIDE,    /* any finite exponent */
    VALUES_SPECIAL, /* zeros of both signs, subnormals, the largest, infinities, NaN among plain ones */
    VALUES_ZERO,
    N_VALUES
} values;
float rnd_float(tester *t, values v);
void rnd_floats(tester *t, float *x, size_t n, values v);
values rnd_values(tester *t);

/*
 * Memory between inaccessible pages: a block of n bytes that either starts at the first byte of a page or
 * ends with the last one of a page, the rest of its pages filled with a pattern. Slots are reused for every
 * case; `slot` < N_SLOTS.
 */
#define N_SLOTS 8
#define SLOT_BYTES ((size_t)1 << 19)
void *guarded(tester *t, unsigned slot, size_t n);
/* Says whether a slot's pattern around the block was changed. */
int guard_broken(unsigned slot);

void fail(tester *t, const char *fmt, ...) MOE_PRINTF(2, 3);
/* Equal bits, or both NaN. */
void check_floats(tester *t, const char *where, const float *expected, const float *found, size_t n);
void check_bytes(tester *t, const char *where, const void *expected, const void *found, size_t n);
void check_guards(tester *t);

#define MOE_KERNEL(name, ret, args, doc) void case_##name(tester *t);
#include "kernel/kernels.def"
#undef MOE_KERNEL

/* A weight type as the tester knows it, independent of the library's own table. */
typedef struct weights {
    const char *kernel;
    size_t slot;         /* offset of its function in moe__kernels */
    size_t block, bytes; /* elements and bytes of a block */
    moe__act act;
    int n_f16; /* halves (scales) in a block, and where they stand */
    size_t f16_at[2];
} weights;
extern const weights weight_types[];
extern const size_t n_weight_types;
/* Fills n blocks with random bytes and scales; VALUES_SPECIAL: the largest scale, and all bits of the quants
 * the same way. */
void rnd_weights(tester *t, const weights *w, void *dst, size_t n, values v);
/* Fills one activation row of n elements; VALUES_SPECIAL: the largest quants. */
void rnd_activations(tester *t, moe__act act, void *dst, size_t n, values v);
moe__gemm_fn gemm_of(const moe__kernels *k, const weights *w);

void bench(const char *isa, const moe__kernels *k, const char *filter);

#endif
