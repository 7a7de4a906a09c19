/* SPDX-License-Identifier: MIT */
/* base/decimal against the C library's strtof, strtod and printf, in the "C" locale and under another one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"

static uint64_t noise_state = 88172645463325252u;

static uint64_t noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return noise_state;
}

/* Both readers against the C library; a number that is too large is infinite there. */
static void check_text(const char *s)
{
    float f = 7;
    double d = 7;
    const size_t n = strlen(s);
    const float want_f = strtof(s, NULL);
    const double want_d = strtod(s, NULL);
    if (moe__decimal_scan(s, n) != n) fail_msg("'%s' is not taken whole", s);
    if (moe__decimal_to_f32(s, n, &f) != (isfinite(want_f) != 0)) fail_msg("'%s' as f32: range", s);
    if (moe__decimal_to_f64(s, n, &d) != (isfinite(want_d) != 0)) fail_msg("'%s' as f64: range", s);
    if (isfinite(want_f) ? memcmp(&f, &want_f, sizeof f) != 0 : f != 7)
        fail_msg("'%s' as f32: expected %a, found %a", s, (double)want_f, (double)f);
    if (isfinite(want_d) ? memcmp(&d, &want_d, sizeof d) != 0 : d != 7)
        fail_msg("'%s' as f64: expected %a, found %a", s, want_d, d);
}

static void known_hard_texts(void **state)
{
    (void)state;
    static const char *const text[] = {
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "0.5",
        "3",
        "10",
        "1e0",
        "1E+2",
        "1e-2",
        "0.0",
        "-0.0e5",
        "0e999999999999999999999",
        "123456789012345678901234567890",
        "16777217",
        "16777219",
        "9007199254740993",
        "9007199254740995",
        "1.00000005960464477539062499",
        "1.00000005960464477539062500",
        "1.00000005960464477539062501", /* half an f32 unit */
        "3.4028234663852886e38",
        "3.4028235677973366e38",
        "3.40282356779733661e38",
        "3.4028235677973365e38",
        "3.5e38",
        "1e39",
        "1.1754943508222875e-38",
        "1.1754942e-38",
        "1.40129846432481707e-45",
        "7.006492321624085e-46",
        "7.0064923216240854e-46",
        "7.006492321624086e-46",
        "1e-46",
        "1e-400",
        "1e-99999999999999999999",
        "1e400",
        "1e99999999999999999999",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1.79769313486231580793e308",
        "2e308",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "2.2250738585072012e-308",
        "4.9406564584124654e-324",
        "2.4703282292062327e-324",
        "2.4703282292062328e-324",
        "2.5e-324",
        "6.631236846766476e-316",
        "8.98846567431158e307",
        "0.000000000000000000000000000000000000000000001",
        "100000000000000000000000000000000000000000000000000000000000000e-62",
    };
    for (size_t i = 0; i < sizeof text / sizeof text[0]; i++) check_text(text[i]);
}

/* Exact midpoints between neighbours, written out in full, and a hair above and below. */
static void midpoints(void **state)
{
    (void)state;
    static char s[1200];
    for (int i = 0; i < 1200; i++) {
        uint64_t bits = noise() >> 1;
        double a, b;
        if (i % 4 == 0) bits &= 0x000fffffffffffffu; /* subnormal */
        if ((bits >> 52) >= 0x7fe) continue;
        memcpy(&a, &bits, sizeof a);
        bits++;
        memcpy(&b, &bits, sizeof b);
        const long double mid = (a + (long double)b) / 2; /* 64 bits of significand: exact */
        snprintf(s, sizeof s, "%.1080Lf", mid);
        if (fabsl(mid) > 1e30L) snprintf(s, sizeof s, "%.0Lf", mid);
        check_text(s);
        strcat(s, strchr(s, '.') ? "1" : ".1");
        check_text(s);
        snprintf(s, sizeof s, "%.800Le", mid);
        check_text(s);
    }
    for (int i = 0; i < 1200; i++) {
        uint32_t bits = (uint32_t)noise() & 0x7fffffffu;
        float a, b;
        if (i % 4 == 0) bits &= 0x007fffffu;
        if ((bits >> 23) >= 0xfe) continue;
        memcpy(&a, &bits, sizeof a);
        bits++;
        memcpy(&b, &bits, sizeof b);
        snprintf(s, sizeof s, "%.200e", ((double)a + b) / 2);
        check_text(s);
        snprintf(s, sizeof s, "%.30e", ((double)a + b) / 2);
        check_text(s);
    }
}

static void random_texts(void **state)
{
    (void)state;
    char s[80];
    for (int i = 0; i < 20000; i++) {
        size_t at = 0;
        if (noise() % 4 == 0) s[at++] = '-';
        const int whole = (int)(noise() % 24), behind = (int)(noise() % 24);
        s[at++] = whole ? (char)('1' + noise() % 9) : '0';
        for (int j = 1; j < whole; j++) s[at++] = (char)('0' + noise() % 10);
        if (behind) s[at++] = '.';
        for (int j = 0; j < behind; j++) s[at++] = (char)('0' + noise() % 10);
        if (noise() % 3) at += (size_t)sprintf(s + at, "e%d", (int)(noise() % 700) - 350);
        s[at] = 0;
        check_text(s);
    }
}

static void what_is_no_number(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t n;
    } row[] = {{"", 0},    {"-", 0},     {"+1", 0},    {".5", 0},  {"a", 0},    {"inf", 0},
               {"NaN", 0}, {"-.5", 0},   {"01", 1},    {"-01", 2}, {"1.", 1},   {"1.e5", 1},
               {"1e", 1},  {"1e+", 1},   {"1.5e-", 3}, {"1x", 1},  {"0x10", 1}, {"1,5", 1},
               {"1_0", 1}, {"1e5.5", 3}, {"1 ", 1},    {"12-", 2}, {"--1", 0},  {"1ee5", 1}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        assert_int_equal(moe__decimal_scan(row[i].text, strlen(row[i].text)), row[i].n);
    assert_int_equal(moe__decimal_scan("123", 2), 2); /* the end counts, not a zero byte */
}

/* The fewest significant digits that printf needs to read back. */
static int fewest_f32(float x)
{
    char s[64];
    int p = 1;
    while (p < 9 && (snprintf(s, sizeof s, "%.*e", p - 1, (double)x), strtof(s, NULL) != x)) p++;
    return p;
}

/* strtod of mingw-w64 10 takes some numbers just below a power of two for that power; its strtold does not. */
static int reads_as(const char *s, double x) { return strtod(s, NULL) == x && (double)strtold(s, NULL) == x; }

static int fewest_f64(double x)
{
    char s[64];
    int p = 1;
    while (p < 17 && (snprintf(s, sizeof s, "%.*e", p - 1, x), !reads_as(s, x))) p++;
    return p;
}

static int significant(const char *s)
{
    int n = 0, zeros = 0;
    for (; *s && *s != 'e'; s++) {
        if (*s == '.' || *s == '-' || (n == 0 && *s == '0')) continue;
        zeros = *s == '0' ? zeros + 1 : 0;
        n++;
    }
    return n - zeros > 0 ? n - zeros : 1;
}

static void check_f32(float x)
{
    char s[MOE_DECIMAL_TEXT];
    const size_t n = moe__decimal_from_f32(x, s);
    const float back = strtof(s, NULL);
    assert_int_equal(strlen(s), n);
    assert_int_equal(moe__decimal_scan(s, n), n);
    if (memcmp(&back, &x, sizeof x) != 0) fail_msg("%a became '%s', which is %a", (double)x, s, (double)back);
    /* printf rounds to nearest; a text as short may exist that does not, so ours may be shorter but not
     * longer */
    if (significant(s) > fewest_f32(x))
        fail_msg("%a became '%s', of %d digits", (double)x, s, significant(s));
}

static void check_f64(double x)
{
    char s[MOE_DECIMAL_TEXT];
    const size_t n = moe__decimal_from_f64(x, s);
    const double back = strtod(s, NULL);
    assert_int_equal(strlen(s), n);
    assert_int_equal(moe__decimal_scan(s, n), n);
    if (memcmp(&back, &x, sizeof x) != 0) fail_msg("%a became '%s', which is %a", x, s, back);
    if (significant(s) > fewest_f64(x)) fail_msg("%a became '%s', of %d digits", x, s, significant(s));
}

static void writing_is_shortest_and_reads_back(void **state)
{
    (void)state;
    static const struct {
        float x;
        const char *text;
    } row[] = {{0, "0"},
               {-0.0f, "-0"},
               {1, "1"},
               {-2.5f, "-2.5"},
               {0.1f, "0.1"},
               {64, "64"},
               {1e-5f, "0.00001"},
               {1e-6f, "1e-6"},
               {1e14f, "100000000000000"},
               {1e15f, "1e15"},
               {123456.789f, "123456.79"},
               {FLT_MAX, "3.4028235e38"},
               {FLT_MIN, "1.1754944e-38"},
               {1e-45f, "1e-45"},
               {0.3f, "0.3"},
               {1.0f / 3, "0.33333334"},
               {9.5e-7f, "9.5e-7"},
               {-1.25e20f, "-1.25e20"},
               {16777216, "16777216"},
               {100, "100"},
               {0.7310586f, "0.7310586"}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        char s[MOE_DECIMAL_TEXT];
        moe__decimal_from_f32(row[i].x, s);
        assert_string_equal(s, row[i].text);
    }
    char s[MOE_DECIMAL_TEXT];
    moe__decimal_from_f64(0.1, s);
    assert_string_equal(s, "0.1");
    moe__decimal_from_f64(DBL_MAX, s);
    assert_string_equal(s, "1.7976931348623157e308");
    moe__decimal_from_f64(5e-324, s);
    assert_string_equal(s, "5e-324");
    moe__decimal_from_f64(9007199254740993.0, s);
    assert_string_equal(s, "9.007199254740992e15");
    for (int i = 0; i < 15000; i++) {
        const uint64_t r = noise();
        uint32_t u = (uint32_t)(r >> 20);
        if (i % 8 == 0) u &= 0x807fffffu; /* subnormal */
        if (i % 8 == 1) u &= 0xff800000u; /* powers of two: uneven neighbours */
        float x;
        memcpy(&x, &u, sizeof x);
        if (isfinite(x)) check_f32(x);
        check_f32((float)(r % 1000000) / 1000.0f);
    }
    for (int i = 0; i < 20000; i++) {
        uint64_t u = noise();
        if (i % 8 == 0) u &= 0x800fffffffffffffu;
        if (i % 8 == 1) u &= 0xfff0000000000000u;
        double x;
        memcpy(&x, &u, sizeof x);
        if (isfinite(x)) check_f64(x);
        check_f64((double)(noise() % 100000000) / 1000.0);
    }
}

/* A locale with a comma, where this machine has one, must not matter. */
static void the_locale_does_not_matter(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE", "fr_FR.UTF-8", "German_Germany.1252"};
    const char *old = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !old; i++) old = setlocale(LC_NUMERIC, names[i]);
    if (!old) print_message("# no locale with a decimal comma here\n");
    float x = 0;
    char s[MOE_DECIMAL_TEXT];
    assert_int_equal(moe__decimal_to_f32("2.5", 3, &x), 1);
    assert_true(x == 2.5f);
    moe__decimal_from_f32(2.5f, s);
    assert_string_equal(s, "2.5");
    setlocale(LC_NUMERIC, "C");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_hard_texts),
        cmocka_unit_test(midpoints),
        cmocka_unit_test(random_texts),
        cmocka_unit_test(what_is_no_number),
        cmocka_unit_test(writing_is_shortest_and_reads_back),
        cmocka_unit_test(the_locale_does_not_matter),
    };
    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
