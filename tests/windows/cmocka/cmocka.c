/* SPDX-License-Identifier: MIT */
/* See cmocka.h. One group runs at a time; assertions outside a test end the program. */
#include "cmocka.h"

#include <fcntl.h>
#include <inttypes.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static jmp_buf leave;
static enum { FAILED, PASSED, SKIPPED } result; /* of what runs, or ran last */
static int running;

/* GCC's own jump: the C library's unwinds by tables and looks through every frame on the way. */
static __attribute__((noreturn)) void jump_out(void)
{
    if (!running) exit(1);
    __builtin_longjmp(leave, 1);
}

void cmocka_mini_fail(const char *file, int line)
{
    print_error("%s:%d: error: Failure!\n", file, line);
    jump_out();
}

void cmocka_mini_skip(void)
{
    result = SKIPPED;
    jump_out();
}

static void print_to(FILE *f, const char *format, va_list args)
{
    vfprintf(f, format, args);
    fflush(f);
}

void print_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_to(stderr, format, args);
    va_end(args);
}

void print_message(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    print_to(stdout, format, args);
    va_end(args);
}

void cmocka_mini_true(int ok, const char *text, const char *file, int line)
{
    if (ok) return;
    print_error("not true: %s\n", text);
    cmocka_mini_fail(file, line);
}

void cmocka_mini_int(LargestIntegralType a, LargestIntegralType b, int same, const char *file, int line)
{
    if ((a == b) == same) return;
    print_error("%#" PRIxMAX " %s %#" PRIxMAX "\n", a, same ? "!=" : "==", b);
    cmocka_mini_fail(file, line);
}

void cmocka_mini_string(const char *a, const char *b, int same, const char *file, int line)
{
    if (a && b && (strcmp(a, b) == 0) == same) return;
    print_error("\"%s\" %s \"%s\"\n", a ? a : "(NULL)", same ? "!=" : "==", b ? b : "(NULL)");
    cmocka_mini_fail(file, line);
}

void cmocka_mini_memory(const void *a, const void *b, size_t n, int same, const char *file, int line)
{
    if (n == 0) return;
    if (a && b && (memcmp(a, b, n) == 0) == same) return;
    print_error("%zu bytes are %s\n", n, same ? "not the same" : "the same");
    cmocka_mini_fail(file, line);
}

void cmocka_mini_range(LargestIntegralType x, LargestIntegralType lo, LargestIntegralType hi,
                       const char *file, int line)
{
    if (x >= lo && x <= hi) return;
    print_error("%" PRIuMAX " is not in %" PRIuMAX " .. %" PRIuMAX "\n", x, lo, hi);
    cmocka_mini_fail(file, line);
}

/* A test, or a fixture that is to return 0. */
static int run(void (*test)(void **state), CMFixtureFunction fixture, void **state)
{
    result = FAILED;
    running = 1;
    if (__builtin_setjmp(leave) == 0) {
        if (test) test(state);
        if (test || fixture(state) == 0) result = PASSED;
    }
    running = 0;
    return result != FAILED;
}

int cmocka_mini_run(const char *group, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup,
                    CMFixtureFunction teardown)
{
    void *state = NULL;
    int n_failed = 0;
    _setmode(_fileno(stdout), _O_BINARY);
    print_message("1..%zu\n", n);
    if (setup && !run(NULL, setup, &state)) {
        print_error("%s: the set-up failed\n", group);
        for (size_t i = 0; i < n; i++) print_message("not ok %zu - %s\n", i + 1, tests[i].name);
        return (int)n;
    }
    for (size_t i = 0; i < n; i++) {
        void *own = tests[i].initial_state ? tests[i].initial_state : state;
        const int ok = !tests[i].setup_func && !tests[i].teardown_func && run(tests[i].test_func, NULL, &own);
        n_failed += !ok;
        print_message("%s %zu - %s%s\n", ok ? "ok" : "not ok", i + 1, tests[i].name,
                      result == SKIPPED ? " # SKIP" : "");
    }
    if (teardown && !run(NULL, teardown, &state)) {
        print_error("%s: the tear-down failed\n", group);
        n_failed++;
    }
    return n_failed;
}
