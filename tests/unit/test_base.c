/* SPDX-License-Identifier: MIT */
/* Unit tests of base/: statuses, allocation, option structs, half floats. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/half.h"
#include "base/opts.h"
#include "base/status.h"

static void statuses_have_names(void **state)
{
    (void)state;
    assert_string_equal(moe__status_name(MOE_OK), "MOE_OK");
    assert_string_equal(moe__status_name(MOE_E_INTERNAL), "MOE_E_INTERNAL");
    assert_string_equal(moe__status_name(-1000), "unknown status");
    assert_int_equal(MOE_FAIL(FORMAT, "tensor %s: expected %d", "a", 3), MOE_E_FORMAT);
    assert_string_equal(moe__last_error(), "tensor a: expected 3");
    moe__clear_error();
    assert_string_equal(moe__last_error(), "");
}

static void allocation_checks_overflow_and_keeps_content(void **state)
{
    (void)state;
    moe__allocator a;
    assert_int_equal(moe__allocator_init(&a, NULL), MOE_OK);
    int *p = NULL;
    assert_int_equal(MOE_NEW(&a, &p, SIZE_MAX / 2, "too much"), MOE_E_NOMEM);
    assert_int_equal(MOE_NEW(&a, &p, SIZE_MAX / 4, "too much"), MOE_E_NOMEM);
    assert_null(p);
    assert_int_equal(MOE_NEW(&a, &p, 5, "five"), MOE_OK);
    assert_int_equal((uintptr_t)p % MOE_ALIGN, 0);
    for (int i = 0; i < 5; i++) p[i] = i;
    assert_int_equal(moe__realloc_array(&a, (void **)&p, 9, sizeof *p, "nine"), MOE_OK);
    for (int i = 0; i < 5; i++) assert_int_equal(p[i], i);
    for (int i = 5; i < 9; i++) assert_int_equal(p[i], 0);
    moe__free(&a, p);
    moe__free(&a, NULL);
}

typedef struct old_opts { size_t size; int a; int b; } old_opts;
typedef struct new_opts { size_t size; int a; int b; int c; int d; } new_opts;

static void option_structs_grow_at_the_end(void **state)
{
    (void)state;
    old_opts o = {sizeof o, 1, 2};
    new_opts n = {sizeof n, 0, 0, 0, 0};
    assert_int_equal(moe__opts_copy(&n, sizeof n, &o, "opts"), MOE_OK);
    assert_int_equal(n.a, 1);
    assert_int_equal(n.c, 0);
    assert_int_equal(n.size, sizeof n);
    new_opts newer = {sizeof newer, 1, 2, 0, 0};
    assert_int_equal(moe__opts_copy(&o, sizeof o, &newer, "opts"), MOE_OK);
    newer.d = 7;
    assert_int_equal(moe__opts_copy(&o, sizeof o, &newer, "opts"), MOE_E_VERSION);
    newer.size = 3;
    assert_int_equal(moe__opts_copy(&o, sizeof o, &newer, "opts"), MOE_E_INVALID);
    old_opts out = {sizeof out, 0, 0};
    newer = (new_opts){sizeof newer, 5, 6, 7, 8};
    assert_int_equal(moe__opts_fill(&out, &newer, sizeof newer, "opts"), MOE_OK);
    assert_int_equal(out.b, 6);
    assert_int_equal(out.size, sizeof out);
}

static void half_floats_match_arithmetic(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) { /* every half survives the round trip; its value is what the format says */
        const float x = moe__f16_to_f32((uint16_t)h);
        const uint32_t e = h >> 10 & 31, m = h & 1023;
        if (e == 31 && m) { assert_true(isnan(x)); continue; }
        const double want = e == 31 ? INFINITY : e ? ldexp(1024.0 + m, (int)e - 25) : ldexp(m, -24);
        assert_true(x == (float)(h >> 15 ? -want : want));
        assert_int_equal(moe__f32_to_f16(x), h);
        if (e == 31 || h >> 15) continue;
        /* halfway to the next half goes to the even one, a bit more goes up */
        const float next = h + 1 == 0x7c00 ? 65536.0f : moe__f16_to_f32((uint16_t)(h + 1));
        const float mid = x + (next - x) * 0.5f;
        assert_int_equal(moe__f32_to_f16(mid), h & 1 ? h + 1 : h);
        assert_int_equal(moe__f32_to_f16(nextafterf(mid, INFINITY)), h + 1);
        assert_int_equal(moe__f32_to_f16(nextafterf(mid, 0.0f)), h);
    }
    assert_int_equal(moe__f32_to_bf16(1.0f), 0x3f80);
    assert_true(moe__bf16_to_f32(0x4049) == 3.140625f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statuses_have_names),
        cmocka_unit_test(allocation_checks_overflow_and_keeps_content),
        cmocka_unit_test(option_structs_grow_at_the_end),
        cmocka_unit_test(half_floats_match_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
