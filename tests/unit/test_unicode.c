/* SPDX-License-Identifier: MIT */
/*
 * UTF-8, character classes and normal form C. Where libutf8proc is installed, classes and normal forms of all
 * characters it knows are compared with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#ifdef HAVE_UTF8PROC
#include <utf8proc.h>
#endif

#include "base/alloc.h"
#include "base/status.h"
#include "token/nfc.h"
#include "token/unicode.h"

#define N_CODE_POINTS 0x110000u

static int is_surrogate(uint32_t cp) { return cp >= 0xd800 && cp < 0xe000; }

static void every_code_point_goes_there_and_back(void **state)
{
    (void)state;
    for (uint32_t cp = 0; cp < N_CODE_POINTS; cp++) {
        uint8_t s[4];
        uint32_t back = 0;
        const size_t n = moe__utf8_put(cp, s);
        if (is_surrogate(cp)) {
            assert_true(moe__utf8_scan(s, n, &back) < 0);
            assert_int_equal(moe__utf8_next(s, n, &back), 1);
            assert_int_equal(back, MOE_CP_INVALID);
            continue;
        }
        assert_int_equal(moe__utf8_scan(s, n, &back), (int)n);
        assert_int_equal(back, cp);
        assert_int_equal(moe__utf8_next(s, n, &back), n);
        for (size_t k = 1; k < n; k++) {
            assert_int_equal(moe__utf8_scan(s, k, &back), 0);
            assert_int_equal(moe__utf8_next(s, k, &back), 1);
        }
    }
}

/* Table 3-7 of the Unicode Standard, spelled out. */
static int well_formed(const uint8_t *s, size_t n)
{
    static const uint8_t rows[][9] = {
        /* length, then low and high of each byte */
        {1, 0x00, 0x7f},
        {2, 0xc2, 0xdf, 0x80, 0xbf},
        {3, 0xe0, 0xe0, 0xa0, 0xbf, 0x80, 0xbf},
        {3, 0xe1, 0xec, 0x80, 0xbf, 0x80, 0xbf},
        {3, 0xed, 0xed, 0x80, 0x9f, 0x80, 0xbf},
        {3, 0xee, 0xef, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf0, 0xf0, 0x90, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf1, 0xf3, 0x80, 0xbf, 0x80, 0xbf, 0x80, 0xbf},
        {4, 0xf4, 0xf4, 0x80, 0x8f, 0x80, 0xbf, 0x80, 0xbf},
    };
    int best = -1; /* length of the longest valid beginning; the sequence is unfinished if it is all of s */
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        int k = 0;
        while ((size_t)k < n && k < rows[r][0] && s[k] >= rows[r][1 + 2 * k] && s[k] <= rows[r][2 + 2 * k])
            k++;
        if (k == rows[r][0]) return k;
        if (k > 0 && (size_t)k == n) return 0;
        if (k > 0 && -k < best) best = -k;
    }
    return best;
}

static void bad_sequences_are_noticed(void **state)
{
    (void)state;
    /* Every interesting byte in every place, and every length. */
    static const uint8_t b[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf,
                                0xe0, 0xe1, 0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff};
    const size_t n = sizeof b;
    for (size_t i = 0; i < n * n * n * n; i++) {
        const uint8_t s[4] = {b[i % n], b[i / n % n], b[i / n / n % n], b[i / n / n / n]};
        for (size_t len = 1; len <= 4; len++) {
            uint32_t cp = 0;
            assert_int_equal(moe__utf8_scan(s, len, &cp), well_formed(s, len));
        }
    }
}

static void classes_of_well_known_characters(void **state)
{
    (void)state;
    static const struct {
        uint32_t cp, flags;
    } known[] = {
        {'a', MOE_UC_LETTER},
        {'Z', MOE_UC_LETTER},
        {'0', MOE_UC_NUMBER},
        {' ', MOE_UC_SPACE},
        {'\n', MOE_UC_SPACE},
        {0x0b, MOE_UC_SPACE},
        {0x1c, 0},
        {'!', MOE_UC_PUNCT},
        {'$', 0},
        {'_', MOE_UC_PUNCT},
        {0x85, MOE_UC_SPACE},
        {0xa0, MOE_UC_SPACE},
        {0xb2, MOE_UC_NUMBER},
        {0xdf, MOE_UC_LETTER},
        {0x301, 0},
        {0x3a9, MOE_UC_LETTER},
        {0x5d0, MOE_UC_LETTER},
        {0x0663, MOE_UC_NUMBER},
        {0x2028, MOE_UC_SPACE},
        {0x200b, 0},
        {0x2167, MOE_UC_NUMBER},
        {0x3000, MOE_UC_SPACE},
        {0x4e00, MOE_UC_LETTER},
        {0xac00, MOE_UC_LETTER},
        {0xfeff, 0},
        {0x1f600, 0},
        {0x10ffff, 0},
        {MOE_CP_INVALID, 0},
        {0x110000, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(moe__unicode_flags(known[i].cp), known[i].flags);
    assert_true(atoi(moe__unicode_version) >= 15);
}

/* Normal form of s as a zero-terminated string, on the heap of moe__alloc. */
static uint8_t *normal(const moe__allocator *a, const uint8_t *s, size_t n, size_t *len)
{
    uint8_t *out;
    assert_int_equal(moe__nfc(a, s, n, &out, len), MOE_OK);
    if (out) return out;
    assert_int_equal(moe__alloc(a, (void **)&out, n, "copy"), MOE_OK);
    memcpy(out, s, n);
    *len = n;
    return out;
}

static void normalises_by_the_book(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"e\xcc\x81", "\xc3\xa9"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"q\xcc\x87\xcc\xa3", "q\xcc\xa3\xcc\x87"}, /* marks are sorted: q, dot below, dot above */
        {"a\xcc\x81\xcc\x82", "\xc3\xa1\xcc\x82"},  /* a mark of the same class blocks */
        {"a\xcc\xa3\xcc\x82", "\xe1\xba\xad"},      /* two marks join */
        {"\xe2\x84\xab", "\xc3\x85"},               /* Angstrom sign: a singleton */
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"}, /* Hangul jamo */
        {"\xe0\xa4\xa9", "\xe0\xa4\xa9"},
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"}, /* an excluded composite */
        {"\xcc\x81 e", "\xcc\x81 e"},
        {"\xff"
         "e\xcc\x81\xfe",
         "\xff\xc3\xa9\xfe"},
        {"a\xcc\xff\x81", "a\xcc\xff\x81"},
    };
    moe__allocator a;
    moe__allocator_init(&a, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len;
        uint8_t *out = normal(&a, (const uint8_t *)cases[i].from, strlen(cases[i].from), &len);
        assert_int_equal(len, strlen(cases[i].to));
        assert_memory_equal(out, cases[i].to, len);
        moe__free(&a, out);
    }
}

static void a_megabyte_of_marks_is_no_trouble(void **state)
{
    (void)state;
    moe__allocator a;
    moe__allocator_init(&a, NULL);
    const size_t n = 400000;
    uint8_t *s = malloc(1 + 2 * n), *out;
    size_t len;
    assert_non_null(s);
    s[0] = 'e';
    for (size_t i = 0; i < n; i++) { /* dot below and acute, one after the other */
        s[1 + 2 * i] = 0xcc;
        s[2 + 2 * i] = i % 2 ? 0xa3 : 0x81;
    }
    out = normal(&a, s, 1 + 2 * n, &len);
    assert_int_equal(len, 3 + 2 * (n - 1)); /* the first dot joins; all other dots come before all acutes */
    assert_memory_equal(out, "\xe1\xba\xb9\xcc\xa3", 5);
    assert_memory_equal(out + len - 2, "\xcc\x81", 2);
    moe__free(&a, out);
    free(s);
}

#ifdef HAVE_UTF8PROC
static uint32_t utf8proc_flags(uint32_t cp)
{
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return MOE_UC_LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return MOE_UC_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return MOE_UC_PUNCT;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return MOE_UC_SPACE;
    case UTF8PROC_CATEGORY_CC:
        return (cp >= 9 && cp <= 13) || cp == 0x85 ? MOE_UC_SPACE : 0;
    default:
        return 0;
    }
}

static void agrees_with_utf8proc(void **state)
{
    (void)state;
    moe__allocator a;
    moe__allocator_init(&a, NULL);
    size_t n_known = 0;
    for (uint32_t cp = 1; cp < N_CODE_POINTS; cp++) {
        /* Either side may be the newer one: a code point that one of them does not know is left out. */
        if (is_surrogate(cp) || utf8proc_category((utf8proc_int32_t)cp) == UTF8PROC_CATEGORY_CN) continue;
        n_known++;
        if (moe__unicode_flags(cp) != utf8proc_flags(cp)) fail_msg("U+%04X: another class", (unsigned)cp);
        uint8_t s[32];
        size_t n = 0, len;
        s[n++] = 'e';
        n += moe__utf8_put(cp, s + n);
        n += moe__utf8_put(0x323, s + n);
        n += moe__utf8_put(cp, s + n);
        n += moe__utf8_put(0x1161, s + n);
        s[n] = 0;
        utf8proc_uint8_t *expected = utf8proc_NFC(s);
        uint8_t *out = normal(&a, s, n, &len);
        if (len != strlen((char *)expected) || memcmp(out, expected, len) != 0)
            fail_msg("U+%04X: another normal form", (unsigned)cp);
        moe__free(&a, out);
        free(expected);
    }
    assert_true(n_known > 250000);
}

static uint32_t next_random(uint64_t *s)
{
    *s = *s * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*s >> 33);
}

/* Random strings of the characters that normalisation touches. */
static void random_strings_agree_with_utf8proc(void **state)
{
    (void)state;
    static const struct {
        uint32_t first, n;
    } ranges[] = {
        {'a', 4},        {0xc0, 0x180}, {0x300, 0x60},   {0x900, 0x80},   {0x1100, 0x100}, {0x1ea0, 0x60},
        {0x1f00, 0x100}, {0xac00, 60},  {0xf900, 0x100}, {0x1d15e, 0x10}, {0x2f800, 0x20},
    };
    moe__allocator a;
    moe__allocator_init(&a, NULL);
    uint64_t seed = 20240229;
    for (int round = 0; round < 20000; round++) {
        uint8_t s[4 * 40 + 1];
        size_t n = 0, len;
        const uint32_t count = 1 + next_random(&seed) % 40;
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t r = next_random(&seed) % (sizeof ranges / sizeof ranges[0]);
            n += moe__utf8_put(ranges[r].first + next_random(&seed) % ranges[r].n, s + n);
        }
        s[n] = 0;
        utf8proc_uint8_t *expected = utf8proc_NFC(s);
        uint8_t *out = normal(&a, s, n, &len);
        assert_non_null(expected);
        if (len != strlen((char *)expected) || memcmp(out, expected, len) != 0)
            fail_msg("round %d: %s", round, (char *)s);
        moe__free(&a, out);
        free(expected);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_goes_there_and_back),
        cmocka_unit_test(bad_sequences_are_noticed),
        cmocka_unit_test(classes_of_well_known_characters),
        cmocka_unit_test(normalises_by_the_book),
        cmocka_unit_test(a_megabyte_of_marks_is_no_trouble),
#ifdef HAVE_UTF8PROC
        cmocka_unit_test(agrees_with_utf8proc),
        cmocka_unit_test(random_strings_agree_with_utf8proc),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
