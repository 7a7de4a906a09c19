/* SPDX-License-Identifier: MIT */
/*
 * x y + z rounded once, which is what the canonical numerics of the kernels stand on. C libraries promise it
 * by the name of fmaf; that of mingw-w64 computes in extended precision and rounds twice.
 */
#ifndef MOE_BASE_FMA_H
#define MOE_BASE_FMA_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/*
 * The same bits from double precision: there the product is exact; the sum is rounded to odd (Boldo and
 * Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd", IEEE
 * Transactions on Computers 57, 2008), so that rounding it to single precision rounds as if once. Needs the
 * default rounding; NaN results are NaN.
 */
static inline float moe__fmaf_by_double(float x, float y, float z)
{
    const double p = (double)x * (double)y, c = (double)z;
    double s = p + c;
    const double t = s - p, lost = (p - (s - t)) + (c - t); /* what the rounding took away, exactly */
    if (lost > 0 || lost < 0) {                             /* neither 0 nor, with infinities, NaN */
        uint64_t bits;
        memcpy(&bits, &s, sizeof bits);
        if (!(bits & 1)) bits = (lost > 0) == (s > 0) ? bits + 1 : bits - 1;
        memcpy(&s, &bits, sizeof s);
    }
    return (float)s;
}

#if defined(__MINGW32__) && !defined(__FMA__)
static inline float moe__fmaf(float x, float y, float z) { return moe__fmaf_by_double(x, y, z); }
#else
static inline float moe__fmaf(float x, float y, float z) { return fmaf(x, y, z); }
#endif

#endif
