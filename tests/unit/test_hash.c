/* SPDX-License-Identifier: MIT */
/* base/hash against published XXH64 values (seed 0), and pieces of any size against the whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "base/hash.h"

static void published_values(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t hash;
    } known[] = {
        {"", 0xef46db3751d8e999u},
        {"a", 0xd24ec4f1a98c6e5bu},
        {"abc", 0x44bc2cf5ad770999u},
        {"Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1u},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_true(moe__hash_of(known[i].text, strlen(known[i].text)) == known[i].hash);
}

/* The test buffer of the reference implementation and its results for some lengths. */
static void reference_buffer(void **state)
{
    (void)state;
    static const struct {
        size_t n;
        uint64_t hash;
    } known[] = {{1, 0xe934a84adb052768u},
                 {4, 0x9136a0dca57457eeu},
                 {14, 0x8282dcc4994e35c8u},
                 {222, 0xb641ae8cb691c174u}};
    uint8_t data[222];
    uint64_t gen = 2654435761u;
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(gen >> 56);
        gen *= 11400714785074694797u;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_true(moe__hash_of(data, known[i].n) == known[i].hash);
}

static void pieces_give_the_whole(void **state)
{
    (void)state;
    uint8_t data[200];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 167 + i / 3);
    for (size_t n = 0; n <= sizeof data; n++) {
        const uint64_t want = moe__hash_of(data, n);
        for (size_t step = 1; step < 70; step += 1 + step / 7) {
            moe__hash h;
            moe__hash_init(&h);
            for (size_t i = 0; i < n; i += step) {
                moe__hash_add(&h, data + i, n - i < step ? n - i : step);
                if (i % 5 == 0) moe__hash_add(&h, NULL, 0);
                if (i % 3 == 0) (void)moe__hash_get(&h); /* asking does not disturb */
            }
            assert_true(moe__hash_get(&h) == want);
        }
        if (n) {
            data[n / 2] ^= 1;
            assert_true(moe__hash_of(data, n) != want);
            data[n / 2] ^= 1;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values),
        cmocka_unit_test(reference_buffer),
        cmocka_unit_test(pieces_give_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
