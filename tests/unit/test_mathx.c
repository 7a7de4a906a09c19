/* SPDX-License-Identifier: MIT */
/* base/mathx against the C library's long double functions, which are wider: errors come out in full. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "base/fma.h"
#include "base/half.h"
#include "base/mathx.h"

#define N_SAMPLES 200000

#ifdef __MINGW32__ /* whose sinl knows 66 bits of pi, and whose fmaf rounds twice */
#define SINL_HOLDS_TO 7.0
#define FMAF_IS_EXACT 0
#else
#define SINL_HOLDS_TO 1e9
#define FMAF_IS_EXACT 1
#endif

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
        if (fabs(x) > SINL_HOLDS_TO) continue;
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

static uint32_t noise_bits(void)
{
    (void)noise();
    return (uint32_t)(noise_state >> 17);
}

static void same_float(float x, float y, float z, float want, float found)
{
    if (moe__f32_bits(want) == moe__f32_bits(found) || (isnan(want) && isnan(found))) return;
    fail_msg("fma(%a, %a, %a): expected %a, found %a", (double)x, (double)y, (double)z, (double)want,
             (double)found);
}

/* By hand, and where the C library's is known to be right, against that: any bits; sums that cancel; ties. */
static void fma_rounds_once(void **state)
{
    (void)state;
    static const float tiny = 0x1p-149f, big = 0x1.fffffep127f, inf = INFINITY;
    static const float known[][4] = {
        {0x1.000002p0f, 0x1.000002p0f, -0x1.000004p0f, 0x1p-46f},
        {0x1.000002p0f, 0x1.8p0f, 0x1p-60f, 0x1.800004p0f},  /* just above a tie */
        {0x1.000002p0f, 0x1.8p0f, -0x1p-60f, 0x1.800002p0f}, /* just below it */
        {0x1.000002p0f, 0x1.8p0f, 0, 0x1.800004p0f},         /* the tie itself: to even */
        {tiny, 0.5f, 0, 0},
        {tiny, 0.5f, tiny, 0x1p-148f},
        {0x1p-75f, 0x1.8p-75f, 0, tiny},
        {big, 2, -big, big},
        {big, 2, 0, inf},
        {inf, 1, -inf, NAN},
        {inf, 0, 1, NAN},
        {-0.0f, 1, -0.0f, -0.0f},
        {1, -1, 1, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const float *k = known[i];
        same_float(k[0], k[1], k[2], k[3], moe__fmaf_by_double(k[0], k[1], k[2]));
        same_float(k[0], k[1], k[2], k[3], moe__fmaf(k[0], k[1], k[2]));
    }
    for (int i = 0; FMAF_IS_EXACT && i < 10 * N_SAMPLES; i++) {
        uint32_t a = noise_bits(), b = noise_bits(), c = noise_bits();
        if (i & 1) a &= 0xffff8000u, b &= 0xffff8000u; /* short ones meet ties */
        const float x = moe__f32_from_bits(a), y = moe__f32_from_bits(b);
        if (i & 2) c = moe__f32_bits(-(x * y)) + noise_bits() % 5 - 2;
        if (i & 4) c = (c & 0x807fffffu) | ((moe__f32_bits(x * y) >> 23) - noise_bits() % 60) << 23;
        const float z = moe__f32_from_bits(c);
        same_float(x, y, z, fmaf(x, y, z), moe__fmaf_by_double(x, y, z));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fma_rounds_once),           cmocka_unit_test(exp_and_log),
        cmocka_unit_test(small_and_large_arguments), cmocka_unit_test(powers),
        cmocka_unit_test(sines_and_cosines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
