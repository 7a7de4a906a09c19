/* SPDX-License-Identifier: MIT */
/* Assertions about calls of the library. After cmocka.h and moe/moe.h. */
#ifndef MOE_TESTS_CHECK_H
#define MOE_TESTS_CHECK_H

#include <string.h>

/* Fails with the library's message. */
#define assert_ok(expr)                                                                                      \
    do {                                                                                                     \
        const int ok_ = (expr);                                                                              \
        if (ok_ != MOE_OK) {                                                                                 \
            print_error("%s: %s: %s\n", #expr, moe_status_name(ok_), moe_last_error());                      \
            fail();                                                                                          \
        }                                                                                                    \
    } while (0)

/* Asserts a status and that the message contains `text`. */
#define assert_refused(expr, status, text)                                                                   \
    do {                                                                                                     \
        assert_int_equal((expr), (status));                                                                  \
        if (!strstr(moe_last_error(), (text)))                                                               \
            fail_msg("message without \"%s\": %s", (text), moe_last_error());                                \
    } while (0)

#endif
