/* SPDX-License-Identifier: MIT */
/* The random generator against its published vectors, and the logger. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/log.h"
#include "base/rng.h"

/* Known answers of philox4x32-10 from the Random123 distribution (file kat_vectors). */
static void test_philox_vectors(void **state)
{
    static const struct { uint32_t counter[4], key[2], want[4]; } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof kat / sizeof kat[0]; i++) {
        uint32_t out[4];
        moe__philox(out, kat[i].counter, kat[i].key);
        assert_memory_equal(out, kat[i].want, sizeof out);
    }
}

static void test_stream(void **state)
{
    (void)state;
    assert_true(moe__rng_at(0, 0, 0) == 0xe169c58d6627e8d5u);
    moe__rng r = {42, 3, 0};
    double sum = 0, low = 1, high = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        assert_true(moe__rng_at(42, 3, i) == moe__rng_next(&r));
        assert_true(moe__rng_at(42, 3, i) != moe__rng_at(42, 4, i));
        assert_true(moe__rng_at(42, 3, i) != moe__rng_at(43, 3, i));
    }
    r.n_drawn = 0;
    for (int i = 0; i < 10000; i++) {
        const double u = moe__rng_unit(&r);
        sum += u;
        low = u < low ? u : low;
        high = u > high ? u : high;
    }
    /* Mean 1/2, standard deviation 0.0029: five of them. */
    assert_true(sum / 10000 > 0.4855 && sum / 10000 < 0.5145);
    assert_true(low >= 0 && low < 0.002 && high < 1 && high > 0.998);
}

typedef struct heard { int n, level; char area[16], msg[600]; } heard;

static void hear(int level, const char *area, const char *msg, void *user)
{
    heard *h = user;
    h->n++;
    h->level = level;
    strncpy(h->area, area, sizeof h->area - 1);
    strncpy(h->msg, msg, sizeof h->msg - 1);
}

static int evaluated;
static int touch(void) { return ++evaluated; }

static void test_log(void **state)
{
    (void)state;
    heard h = {0};
    moe__logger l;
    const moe_logger hook = {.size = sizeof hook, .level = MOE_LOG_WARN, .write = hear, .user = &h};
    assert_int_equal(moe__logger_init(&l, &hook), MOE_OK);
    MOE_LOG(&l, WARN, "gguf", "tensor %s: %d", "x", 7);
    assert_int_equal(h.n, 1);
    assert_int_equal(h.level, MOE_LOG_WARN);
    assert_string_equal(h.area, "gguf");
    assert_string_equal(h.msg, "tensor x: 7");
    MOE_LOG(&l, INFO, "gguf", "%d", touch());
    assert_int_equal(h.n, 1);
    assert_int_equal(evaluated, 0);
    char huge[2000];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    MOE_LOG(&l, ERROR, "x", "%s", huge);
    assert_int_equal(strlen(h.msg), 511);

    assert_int_equal(moe__logger_init(&l, NULL), MOE_OK);
    MOE_LOG(&l, ERROR, "x", "%d", touch());
    assert_int_equal(evaluated, 0);
    moe_logger bad = hook;
    bad.write = NULL;
    assert_int_equal(moe__logger_init(&l, &bad), MOE_E_INVALID);
    bad = hook;
    bad.level = 9;
    assert_int_equal(moe__logger_init(&l, &bad), MOE_E_INVALID);
    bad = hook;
    bad.level = 0;
    assert_int_equal(moe__logger_init(&l, &bad), MOE_OK);
    assert_int_equal(l.level, MOE_LOG_INFO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_vectors), cmocka_unit_test(test_stream), cmocka_unit_test(test_log),
    };
    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
