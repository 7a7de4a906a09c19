/* SPDX-License-Identifier: MIT */
/* base/mathx against the C library's long double functions, which are wider: errors come out in full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "base/mathx.h"

#define N_SAMPLES 200000

static uint64_t noise_state = 88172645463325252u;

/* Uniform in [0, 1). */
static double noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return (double)(noise_state >> 11) * 0x1p-53;
}

static void within(const char *what, double x, double found, long double want, double error, double limit)
{
    if (!(error <= limit))
        fail_msg("%s(%.17g): expected %.20Lg, found %.17g: error %.3g", what, x, want, found, error);
}

static double relative(double found, long double want) { return (double)fabsl((found - want) / want); }

static void exp_and_log(void **state)
{
    (void)state;
    double worst_exp = 0, worst_log = 0;
    for (int i = 0; i < N_SAMPLES; i++) {
        const double x = (noise() - 0.5) * 1400,
                     y = i % 2 ? exp((noise() - 0.5) * 1400) : 1 + (noise() - 0.5) / (i + 1);
        const double e = moe__math_exp(x), l = moe__math_log(y);
        const double error = relative(e, expl(x));
        if (x > -707) within("exp", x, e, expl(x), error, 1e-15);
        const double log_error = y == 1 ? l != 0 : relative(l, logl(y));
        within("log", y, l, logl(y), log_error, 1e-15);
        if (x > -707 && error > worst_exp) worst_exp = error;
        if (log_error > worst_log) worst_log = log_error;
    }
    print_message("# largest relative errors: exp %.2g, log %.2g\n", worst_exp, worst_log);
}

static void small_and_large_arguments(void **state)
{
    (void)state;
    assert_true(moe__math_exp(0) == 1.0);
    assert_true(moe__math_exp(-INFINITY) == 0.0);
    assert_true(moe__math_exp(-746) == 0.0);
    assert_true(moe__math_exp(INFINITY) == INFINITY);
    assert_true(moe__math_exp(710) == INFINITY);
    assert_true(isnan(moe__math_exp(NAN)));
    assert_true(moe__math_exp(709.78) < INFINITY);
    assert_true(moe__math_exp(-744.4) == 0x1p-1074); /* the smallest subnormal */
    for (double x = -745; x < -707; x += 0.37)       /* subnormal results: one unit of them */
        assert_true(fabsl(moe__math_exp(x) - expl(x)) <= 0x1p-1074L);
    for (double x = 1e-3; x > 1e-300; x /= 7) {
        within("exp", x, moe__math_exp(x), expl(x), relative(moe__math_exp(x), expl(x)), 1e-15);
        within("log", x, moe__math_log(x), logl(x), relative(moe__math_log(x), logl(x)), 1e-15);
    }
    assert_true(moe__math_log(1) == 0.0);
    assert_true(moe__math_log(0) == -INFINITY);
    assert_true(moe__math_log(INFINITY) == INFINITY);
    assert_true(isnan(moe__math_log(-1)));
    assert_true(isnan(moe__math_log(NAN)));
    within("log", 0x1p-1074, moe__math_log(0x1p-1074), logl(0x1p-1074L),
           relative(moe__math_log(0x1p-1074), logl(0x1p-1074L)), 1e-15);
    within("log", 0x1.fffffffffffffp1023, moe__math_log(0x1.fffffffffffffp1023),
           logl(0x1.fffffffffffffp1023L),
           relative(moe__math_log(0x1.fffffffffffffp1023), logl(0x1.fffffffffffffp1023L)), 1e-15);
}

/* As the rotation tables use it: base 1e4 to 1e7, exponents up to 1. The error grows with |y log x|. */
static void powers(void **state)
{
    (void)state;
    static const double bases[] = {10000, 500000, 1000000, 10000000, 2, 1.5, 0.5};
    for (size_t b = 0; b < sizeof bases / sizeof bases[0]; b++)
        for (int i = 0; i <= 128; i++) {
            const double y = i / 64.0, found = moe__math_pow(bases[b], y);
            const long double want = powl(bases[b], y);
            const double limit = 1e-15 * (1 + fabs(y * log(bases[b])) / 4);
            within("pow", bases[b], found, want, relative(found, want), limit);
        }
    assert_true(moe__math_pow(10000, 0) == 1.0);
}

static void sines_and_cosines(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i < N_SAMPLES; i++) {
        static const double ranges[] = {1, 7, 1000, 1e6, 1e9};
        double x = (noise() - 0.5) * 2 * ranges[i % 5], s, c;
        if (i % 7 == 0)
            x = (double)(int64_t)(x / 1.5707963267948966) * 1.5707963267948966; /* near the zeros */
        moe__math_sincos(x, &s, &c);
        const double es = (double)fabsl(s - sinl(x)), ec = (double)fabsl(c - cosl(x));
        within("sin", x, s, sinl(x), es, 1e-15);
        within("cos", x, c, cosl(x), ec, 1e-15);
        if (es > worst) worst = es;
        if (ec > worst) worst = ec;
    }
    print_message("# largest absolute error of sin and cos: %.2g\n", worst);
    double s, c;
    moe__math_sincos(0, &s, &c);
    assert_true(s == 0 && c == 1);
    moe__math_sincos(1e300, &s, &c);
    assert_true(isnan(s) && isnan(c));
    moe__math_sincos(NAN, &s, &c);
    assert_true(isnan(s) && isnan(c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_and_log),
        cmocka_unit_test(small_and_large_arguments),
        cmocka_unit_test(powers),
        cmocka_unit_test(sines_and_cosines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
