/* SPDX-License-Identifier: MIT */
/*
 * exp and log of rows in double precision: the bits of moe__math_exp and moe__math_log (base/mathx.c), which
 * are the definition, in a form without branches. Compiled once for plain C and once more for each
 * instruction set, where the compiler makes vectors of it.
 *
 * Two things differ from the definition and change no bit. r / i is a division by the odd part of i and an
 * exact one by a power of two; the powers are kept apart (SCALE) and multiplied in exactly where a term is
 * added. And where there is an fma, r / i = fma(r, hi, r * lo) with 1 / i = hi + lo: that is the rounded
 * quotient, because r / i of an odd i < 16 is at least 1/32 of the last place away from every midpoint of two
 * doubles (there i * midpoint has an odd part of more than 53 bits), while the error before the last rounding
 * is below 2^-50 of it (Brisebarre, Muller and Raina, Accelerating correctly rounded floating-point division
 * when the divisor is known in advance, IEEE Trans. Computers 2004). Below |r| = 2^-70, where products could
 * be subnormal, both are exactly 1.
 */
#include "kernel/ref/lanes.h"

static inline double f64_of(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static inline uint64_t f64_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/*
 * OVER: r / i. SCALED: sum + term * scale with an exact product, one rounding either way. f64_pick: yes ? a :
 * b, for vectors written so that no compiler makes a branch of it.
 */
#if defined(__FMA__) || defined(__aarch64__)
#define OVER(r, i, hi, lo)       fma(r, hi, (r) * (lo))
#define SCALED(term, scale, sum) fma(term, scale, sum)
static inline double f64_pick(int yes, double a, double b)
{
    const uint64_t mask = (uint64_t)0 - (uint64_t)yes;
    return f64_of((f64_bits(a) & mask) | (f64_bits(b) & ~mask));
}
#else
#define OVER(r, i, hi, lo)       ((r) / (i))
#define SCALED(term, scale, sum) ((term) * (scale) + (sum))
static inline double f64_pick(int yes, double a, double b) { return yes ? a : b; }
#endif

#define F64_SIGN   0x8000000000000000u
#define F64_LN2_HI 0x1.62e42feep-1
#define F64_LN2_LO 0x1.a39ef35793c76p-33

static inline double exp64_of(double x)
{
    /* What becomes 0 (impossible tokens do) is taken for 0 here, and so is NaN: products that underflow are
     * slow. Above the range of results the product overflows by itself. */
    const int some = x >= -745.2;
    double c = f64_pick(some, x, 0.0);
    c = f64_pick(c < 710.0, c, 710.0);
    const double half = f64_of((f64_bits(c) & F64_SIGN) | f64_bits(0.5));
    const int32_t n = (int32_t)(c * 1.4426950408889634 + half);
    const double d = n, r = (c - d * F64_LN2_HI) - d * F64_LN2_LO;
    const double r3 = OVER(r, 3, 0x1.5555555555555p-2, 0x1.5555555555555p-56);
    const double r5 = OVER(r, 5, 0x1.999999999999ap-3, -0x1.999999999999ap-57);
    const double r7 = OVER(r, 7, 0x1.2492492492492p-3, 0x1.2492492492492p-57);
    const double r9 = OVER(r, 9, 0x1.c71c71c71c71cp-4, 0x1.c71c71c71c71cp-58);
    const double r11 = OVER(r, 11, 0x1.745d1745d1746p-4, -0x1.745d1745d1746p-59);
    const double r13 = OVER(r, 13, 0x1.3b13b13b13b14p-4, -0x1.3b13b13b13b14p-58);
    /* r^i / i! without the powers of two in i! */
    const double t2 = r * r, t3 = t2 * r3, t4 = t3 * r, t5 = t4 * r5, t6 = t5 * r3, t7 = t6 * r7, t8 = t7 * r;
    const double t9 = t8 * r9, t10 = t9 * r5, t11 = t10 * r11, t12 = t11 * r3, t13 = t12 * r13;
    double sum = t13 * r7 * 0x1p-11;
    sum = SCALED(t13, 0x1p-10, sum);
    sum = SCALED(t12, 0x1p-10, sum);
    sum = SCALED(t11, 0x1p-8, sum);
    sum = SCALED(t10, 0x1p-8, sum);
    sum = SCALED(t9, 0x1p-7, sum);
    sum = SCALED(t8, 0x1p-7, sum);
    sum = SCALED(t7, 0x1p-4, sum);
    sum = SCALED(t6, 0x1p-4, sum);
    sum = SCALED(t5, 0x1p-3, sum);
    sum = SCALED(t4, 0x1p-3, sum);
    sum = SCALED(t3, 0x1p-1, sum);
    sum = SCALED(t2, 0x1p-1, sum);
    const double p = 1.0 + (sum + r);
    /* 2^n in two halves: the first product is exact, so a subnormal result is rounded once */
    const int32_t h = n / 2;
    const double a = f64_of((uint64_t)(h + 1023) << 52), b = f64_of((uint64_t)(n - h + 1023) << 52);
    return f64_pick(some, p * a * b, f64_pick(x == x, 0.0, x));
}

void MOE_FN(exp64)(double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = exp64_of(y[i]);
}

static inline double log64_of(double x)
{
    const int tiny = x < 2.2250738585072014e-308;
    const uint64_t u = f64_bits(x * f64_pick(tiny, 18014398509481984.0, 1.0));
    /* the exponent as a double, from 2^52 + (u >> 52) */
    double e =
        f64_of((u >> 52 & 0x7ff) | 0x4330000000000000u) - 4503599627370496.0 - f64_pick(tiny, 1077.0, 1023.0);
    double m = f64_of((u & 0xfffffffffffffu) | 0x3ff0000000000000u);
    const int big = m > 1.4142135623730951;
    m *= f64_pick(big, 0.5, 1.0);
    e += f64_pick(big, 1.0, 0.0);
    const double f = m - 1.0, s = f / (2.0 + f), s2 = s * s;
    double sum = (0.0 + 1.0 / 23) * s2;
    sum = (sum + 1.0 / 21) * s2;
    sum = (sum + 1.0 / 19) * s2;
    sum = (sum + 1.0 / 17) * s2;
    sum = (sum + 1.0 / 15) * s2;
    sum = (sum + 1.0 / 13) * s2;
    sum = (sum + 1.0 / 11) * s2;
    sum = (sum + 1.0 / 9) * s2;
    sum = (sum + 1.0 / 7) * s2;
    sum = (sum + 1.0 / 5) * s2;
    sum = (sum + 1.0 / 3) * s2;
    double y = e * F64_LN2_HI + ((f - s * (f - 2.0 * sum)) + e * F64_LN2_LO);
    y = f64_pick(x > 1.7976931348623157e308, x, y);
    y = f64_pick(x == 0.0, -(double)INFINITY, y);
    return f64_pick(x >= 0.0, y, (double)NAN);
}

void MOE_FN(log64)(double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = log64_of(y[i]);
}
