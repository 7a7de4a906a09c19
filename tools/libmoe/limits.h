/* SPDX-License-Identifier: MIT */
/* What this machine can do at most, for `libmoe bench --limits`: bytes read from memory, products of bytes.
 */
#ifndef LIMITS_H
#define LIMITS_H

#include "tool.h"

/* Multiplications and additions of 8-bit integers per second, and by which instructions. */
struct peak {
    const char *how;
    double ops;
};

/* Of all threads together. */
struct limits {
    double read; /* bytes per second from memory; 0 if memory was too short */
    size_t n_int8;
    struct peak int8[2]; /* vectors, then tiles where the CPU has them */
};

/* Takes about a second. `isa` is the highest instruction set to count with, NULL for that of the machine. */
struct limits limits_measure(uint32_t threads, const char *isa);

#endif
