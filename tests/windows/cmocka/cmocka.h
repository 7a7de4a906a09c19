/* SPDX-License-Identifier: MIT */
/*
 * What the tests use of cmocka's interface, for builds for Windows where no cmocka is packaged: assertions
 * that jump out of a test, groups with a set-up and a tear-down, TAP on standard output. Elsewhere, and where
 * a cmocka for Windows is found, the real one is used. Asserting is for the main thread only, as there.
 */
#ifndef TESTS_WINDOWS_CMOCKA_H
#define TESTS_WINDOWS_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h> /* __MINGW_PRINTF_FORMAT */

typedef uintmax_t LargestIntegralType;
typedef int (*CMFixtureFunction)(void **state);

struct CMUnitTest {
    const char *name;
    void (*test_func)(void **state);
    CMFixtureFunction setup_func, teardown_func; /* must be NULL: no test here has its own */
    void *initial_state;
};

#define cmocka_unit_test(f)                                                                                  \
    {                                                                                                        \
#f, f, NULL, NULL, NULL                                                                              \
    }

/* The number of tests that failed; a group whose set-up fails has failed whole, and a tear-down counts as
 * one. */
#define cmocka_run_group_tests(tests, setup, teardown)                                                       \
    cmocka_mini_run(#tests, tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)
#define cmocka_run_group_tests_name(name, tests, setup, teardown)                                            \
    cmocka_mini_run(name, tests, sizeof(tests) / sizeof(tests)[0], setup, teardown)
int cmocka_mini_run(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                    CMFixtureFunction teardown);

/* Each of these returns, or ends the test that runs. `same` says what is wanted of the comparison. */
void cmocka_mini_true(int ok, const char *text, const char *file, int line);
void cmocka_mini_int(LargestIntegralType a, LargestIntegralType b, int same, const char *file, int line);
void cmocka_mini_string(const char *a, const char *b, int same, const char *file, int line);
void cmocka_mini_memory(const void *a, const void *b, size_t n, int same, const char *file, int line);
void cmocka_mini_range(LargestIntegralType x, LargestIntegralType lo, LargestIntegralType hi,
                       const char *file, int line);
__attribute__((noreturn)) void cmocka_mini_fail(const char *file, int line);
__attribute__((noreturn)) void cmocka_mini_skip(void);
__attribute__((format(__MINGW_PRINTF_FORMAT, 1, 2))) void print_error(const char *format, ...);
__attribute__((format(__MINGW_PRINTF_FORMAT, 1, 2))) void print_message(const char *format, ...);

#define assert_true(x)     cmocka_mini_true(!!(x), #x, __FILE__, __LINE__)
#define assert_false(x)    cmocka_mini_true(!(x), "not " #x, __FILE__, __LINE__)
#define assert_non_null(p) cmocka_mini_true((p) != NULL, #p " != NULL", __FILE__, __LINE__)
#define assert_null(p)     cmocka_mini_true((p) == NULL, #p " == NULL", __FILE__, __LINE__)
#define assert_int_equal(a, b)                                                                               \
    cmocka_mini_int((LargestIntegralType)(a), (LargestIntegralType)(b), 1, __FILE__, __LINE__)
#define assert_int_not_equal(a, b)                                                                           \
    cmocka_mini_int((LargestIntegralType)(a), (LargestIntegralType)(b), 0, __FILE__, __LINE__)
#define assert_ptr_equal(a, b)           cmocka_mini_int((uintptr_t)(a), (uintptr_t)(b), 1, __FILE__, __LINE__)
#define assert_ptr_not_equal(a, b)       cmocka_mini_int((uintptr_t)(a), (uintptr_t)(b), 0, __FILE__, __LINE__)
#define assert_string_equal(a, b)        cmocka_mini_string(a, b, 1, __FILE__, __LINE__)
#define assert_string_not_equal(a, b)    cmocka_mini_string(a, b, 0, __FILE__, __LINE__)
#define assert_memory_equal(a, b, n)     cmocka_mini_memory(a, b, n, 1, __FILE__, __LINE__)
#define assert_memory_not_equal(a, b, n) cmocka_mini_memory(a, b, n, 0, __FILE__, __LINE__)
#define assert_in_range(x, lo, hi)                                                                           \
    cmocka_mini_range((LargestIntegralType)(x), (LargestIntegralType)(lo), (LargestIntegralType)(hi),        \
                      __FILE__, __LINE__)
#define fail() cmocka_mini_fail(__FILE__, __LINE__)
#define skip() cmocka_mini_skip()
#define fail_msg(...)                                                                                        \
    do {                                                                                                     \
        print_error("ERROR: " __VA_ARGS__);                                                                  \
        print_error("\n");                                                                                   \
        fail();                                                                                              \
    } while (0)

#endif
