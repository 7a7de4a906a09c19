/* SPDX-License-Identifier: MIT */
/*
 * A whole use of the library through a table of its functions, so that several copies of it can be used by
 * one program. Ends with a number made of all logits and tokens.
 */
#ifndef MOE_TESTS_HOST_WORK_H
#define MOE_TESTS_HOST_WORK_H

#include <dlfcn.h>
#include <string.h>

#include "moe/moe.h"

#define WORK_FUNCTIONS(X)                                                                                    \
    X(moe_model_open)                                                                                        \
    X(moe_model_release)                                                                                     \
    X(moe_session_create)                                                                                    \
    X(moe_session_free)                                                                                      \
    X(moe_session_eval)                                                                                      \
    X(moe_session_logits)                                                                                    \
    X(moe_sampler_create)                                                                                    \
    X(moe_sampler_add_named)                                                                                 \
    X(moe_sampler_pick)                                                                                      \
    X(moe_sampler_accept)                                                                                    \
    X(moe_sampler_free)                                                                                      \
    X(moe_last_error)                                                                                        \
    X(moe_has_feature)                                                                                       \
    X(moe_version_string)

typedef struct library {
#define WORK_MEMBER(name) __typeof__(&name) name;
    WORK_FUNCTIONS(WORK_MEMBER)
#undef WORK_MEMBER
} library;

/* The copy that the program is linked with. */
static inline library linked_library(void)
{
#define WORK_LINKED(name) .name = name,
    const library lib = {WORK_FUNCTIONS(WORK_LINKED)};
#undef WORK_LINKED
    return lib;
}

/* One that was loaded; 0 if a function is missing. */
static inline int loaded_library(library *lib, void *handle)
{
    void *p;
#define WORK_LOADED(name)                                                                                    \
    if (!(p = dlsym(handle, #name))) return 0;                                                               \
    memcpy(&lib->name, &p, sizeof p);
    WORK_FUNCTIONS(WORK_LOADED)
#undef WORK_LOADED
    return 1;
}

static inline uint64_t work_mix(uint64_t h, const void *data, size_t n)
{
    for (size_t i = 0; i < n; i++) h = (h ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return h;
}

#define WORK_MODEL "tests/golden/data/qwen2moe-dense.gguf"

/* A prompt and 8 tokens drawn; 0 on failure. */
static inline uint64_t work(const library *lib, int threads)
{
    moe_model *m = NULL;
    moe_session *s = NULL;
    moe_sampler *p = NULL;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_token id[16];
    uint64_t h = 0xcbf29ce484222325u;
    o.n_ctx = 128;
    o.n_threads = threads;
    for (int i = 0; i < 16; i++) id[i] = 2 + 5 * i;
    int ok =
        lib->moe_model_open(&m, WORK_MODEL, NULL) == MOE_OK && lib->moe_session_create(&s, m, &o) == MOE_OK &&
        lib->moe_sampler_create(&p, NULL) == MOE_OK &&
        lib->moe_sampler_add_named(p, "penalties:repeat=1.1;top-p:p=0.95;temp:t=0.8;dist:seed=7") == MOE_OK &&
        lib->moe_session_eval(s, id, 16) == MOE_OK;
    for (int i = 0; ok && i < 8; i++) {
        const float *x;
        size_t n;
        ok = lib->moe_session_logits(s, 0, &x, &n) == MOE_OK &&
             lib->moe_sampler_pick(p, s, 0, id) == MOE_OK && lib->moe_sampler_accept(p, id[0]) == MOE_OK &&
             lib->moe_session_eval(s, id, 1) == MOE_OK;
        if (!ok) break;
        h = work_mix(work_mix(h, x, n * sizeof *x), id, sizeof *id);
    }
    lib->moe_sampler_free(p);
    lib->moe_session_free(s);
    lib->moe_model_release(m);
    return ok ? h : 0;
}

#endif
