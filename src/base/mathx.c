/* SPDX-License-Identifier: MIT */
/*
 * See mathx.h. Argument reduction with constants split in parts that multiply exactly, then Taylor
 * polynomials on the small rest: simple enough to check by eye, and free of tables. Compiled without
 * contraction, so that no fma appears behind our back.
 */
#include "base/mathx.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static double from_bits(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}
static uint64_t to_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* x * 2^n for results in the normal range and below (two steps, so that subnormals round once). */
static double scale2(double x, int n)
{
    if (n < -1000)
        return x * from_bits((uint64_t)(n + 200 + 1023) << 52) * from_bits((uint64_t)(1023 - 200) << 52);
    if (n > 1000)
        return x * from_bits((uint64_t)(n - 200 + 1023) << 52) * from_bits((uint64_t)(1023 + 200) << 52);
    return x * from_bits((uint64_t)(n + 1023) << 52);
}

/* ln 2 in a part of 32 significant bits, whose products with |n| < 2^20 are exact, and the rest. */
static const double LN2_HI = 0x1.62e42feep-1, LN2_LO = 0x1.a39ef35793c76p-33;

double moe__math_exp(double x)
{
    if (x != x) return x;
    if (x > 709.782712893384) return INFINITY;
    if (x < -745.2) return 0.0;
    const int n = (int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
    const double r = (x - n * LN2_HI) - n * LN2_LO; /* |r| <= ln2 / 2 */
    double p = 1.0, term = 1.0;
    double sum = 0.0;
    /* Taylor terms summed from the smallest: r^14 / 14! is below 1e-17. */
    double t[15];
    t[0] = 1.0;
    for (int i = 1; i <= 14; i++) {
        term *= r / i;
        t[i] = term;
    }
    for (int i = 14; i >= 1; i--) sum += t[i];
    p += sum;
    return scale2(p, n);
}

double moe__math_log(double x)
{
    if (x != x || x < 0) return NAN;
    if (x == 0) return -INFINITY;
    if (x > 1.7976931348623157e308) return x;
    int e = 0;
    if (x < 2.2250738585072014e-308) {
        x *= 18014398509481984.0;
        e = -54;
    }
    const uint64_t u = to_bits(x);
    e += (int)(u >> 52 & 0x7ff) - 1023;
    double m = from_bits((u & 0xfffffffffffffu) | 0x3ff0000000000000u); /* 1 <= m < 2 */
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    const double f = m - 1.0, s = f / (2.0 + f), s2 = s * s; /* log m = 2 atanh s, |s| < 0.172 */
    double sum = 0.0;
    for (int i = 23; i >= 3; i -= 2) sum = (sum + 1.0 / i) * s2;
    /* f - s * (f - 2 * sum) keeps the small correction apart from the leading term. */
    return e * LN2_HI + ((f - s * (f - 2.0 * sum)) + e * LN2_LO);
}

double moe__math_pow(double x, double y) { return moe__math_exp(y * moe__math_log(x)); }

/* pi/2 in three parts of 33, 33 and 53 bits: products of the first two with |n| < 2^20 are exact. */
static const double PIO2_1 = 0x1.921fb544p+0, PIO2_2 = 0x1.0b4611a6p-34, PIO2_3 = 0x1.3198a2e037073p-69;

static double sin_small(double r) /* |r| <= pi/4 */
{
    const double r2 = r * r;
    double sum = 0.0;
    for (int i = 17; i >= 3; i -= 2) sum = (sum + 1.0) * (-r2 / (i * (i - 1)));
    return r + r * sum;
}

static double cos_small(double r)
{
    const double r2 = r * r;
    double sum = 0.0;
    for (int i = 18; i >= 4; i -= 2) sum = (sum + 1.0) * (-r2 / (i * (i - 1)));
    return 1.0 + -r2 * 0.5 * (1.0 + sum);
}

void moe__math_sincos(double x, double *sin, double *cos)
{
    if (!(x <= 1e9 && x >= -1e9)) {
        *sin = *cos = NAN;
        return;
    }
    /* n < 2^30 for |x| <= 1e9: split it so that every product with a part of pi/2 stays exact. */
    const int64_t n = (int64_t)(x * 0.6366197723675814 + (x < 0 ? -0.5 : 0.5));
    const double hi = (double)(n / 32768 * 32768), lo = (double)(n % 32768);
    double r = x - hi * PIO2_1;
    r -= lo * PIO2_1;
    r -= hi * PIO2_2;
    r -= lo * PIO2_2;
    r -= (double)n * PIO2_3;
    const double s = sin_small(r), c = cos_small(r);
    switch ((unsigned)(uint64_t)n & 3u) {
    case 0:
        *sin = s;
        *cos = c;
        break;
    case 1:
        *sin = c;
        *cos = -s;
        break;
    case 2:
        *sin = -s;
        *cos = -c;
        break;
    default:
        *sin = -c;
        *cos = s;
        break;
    }
}
