/* SPDX-License-Identifier: MIT */
/* What the tests of the public interface share: models, prompts, comparison to the bit. Only moe.h is used.
 */
#ifndef MOE_TESTS_API_SUPPORT_H
#define MOE_TESTS_API_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "../check.h"
#include "moe/ext.h"
#include "moe/moe.h"

/* Small models of all kinds: MoE with shared expert and dense layers, q/k norms, interleaved rotation with
 * multipliers. */
static const char *const test_models[] = {
    "tests/golden/data/qwen2moe-dense.gguf",
    "tests/golden/data/qwen3moe.gguf",
    "tests/golden/data/granitemoe.gguf",
};
#define N_TEST_MODELS (sizeof test_models / sizeof test_models[0])

static inline moe_model *open_model(const char *path, uint32_t flags)
{
    moe_model *m = NULL;
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.flags = flags;
    assert_ok(moe_model_open(&m, path, &o));
    return m;
}

static inline moe_session *make_session(moe_model *m, moe_session_options o)
{
    moe_session *s = NULL;
    if (!o.n_ctx) o.n_ctx = 256;
    assert_ok(moe_session_create(&s, m, &o));
    return s;
}

static inline size_t vocab_of(const moe_model *m)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    assert_ok(moe_model_get_info(m, &info));
    return info.n_vocab;
}

/* A fixed sequence of legal tokens. */
static inline void fill_tokens(const moe_model *m, moe_token *dst, size_t n, uint32_t seed)
{
    const size_t vocab = vocab_of(m);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        dst[i] = (moe_token)((seed >> 8) % vocab);
    }
}

#endif
