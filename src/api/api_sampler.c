/* SPDX-License-Identifier: MIT */
/*
 * Entry points of the sampler and of log-probabilities: arguments are checked here, the work is in sample/.
 */
#include "base/opts.h"
#include "base/rounding.h"
#include "base/status.h"
#include "run/session.h"
#include "sample/sampler.h"

int moe_sampler_create(moe_sampler **out, const moe_allocator *a)
{
    moe__allocator alloc;
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_TRY(moe__allocator_init(&alloc, a));
    return moe__sampler_create(out, &alloc);
}

int moe_sampler_clone(moe_sampler **out, const moe_sampler *p)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(p != NULL);
    return moe__sampler_clone(out, p);
}

void moe_sampler_free(moe_sampler *p) { moe__sampler_free(p); }

int moe_sampler_add(moe_sampler *p, const moe_sample_stage *stage)
{
    moe_sample_stage copy = MOE_SAMPLE_STAGE_INIT;
    moe__clear_error();
    MOE_ARG(p != NULL);
    MOE_ARG(stage != NULL);
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, stage, "moe_sample_stage"));
    return moe__sampler_add(p, &copy);
}

int moe_sampler_add_named(moe_sampler *p, const char *text)
{
    moe__clear_error();
    MOE_ARG(p != NULL);
    MOE_ARG(text != NULL);
    MOE_RETURN_ROUNDED(moe__sampler_add_named(p, text));
}

int moe_sampler_add_custom(moe_sampler *p, int (*apply)(moe_candidates *c, void *user), void *user)
{
    moe__clear_error();
    MOE_ARG(p != NULL);
    MOE_ARG(apply != NULL);
    return moe__sampler_add_custom(p, apply, user);
}

int moe_sampler_reset(moe_sampler *p)
{
    moe__clear_error();
    MOE_ARG(p != NULL);
    moe__sampler_reset(p);
    return MOE_OK;
}

int moe_sampler_set_seed(moe_sampler *p, uint64_t seed)
{
    moe__clear_error();
    MOE_ARG(p != NULL);
    moe__sampler_set_seed(p, seed);
    return MOE_OK;
}

int moe_sampler_accept(moe_sampler *p, moe_token id)
{
    moe__clear_error();
    MOE_ARG(p != NULL);
    if (id < 0) return MOE_FAIL(RANGE, "moe_sampler_accept: token %d", (int)id);
    return moe__sampler_accept(p, id);
}

int moe_sampler_apply(moe_sampler *p, moe_candidates *c)
{
    moe_candidates copy = MOE_CANDIDATES_INIT;
    moe__clear_error();
    MOE_ARG(p != NULL);
    MOE_ARG(c != NULL);
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, c, "moe_candidates"));
    MOE_ARG(copy.n >= 1 && copy.n <= INT32_MAX);
    MOE_ARG(copy.id != NULL && copy.logit != NULL);
    int st;
    MOE_ROUNDED(st = moe__sampler_apply(p, &copy));
    MOE_TRY(moe__opts_fill(c, &copy, sizeof copy, "moe_candidates"));
    return st;
}

int moe_sampler_pick_logits(moe_sampler *p, const float *logits, size_t n_vocab, moe_token *out)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = MOE_TOKEN_NONE;
    MOE_ARG(p != NULL);
    MOE_ARG(logits != NULL);
    MOE_ARG(n_vocab >= 1 && n_vocab <= INT32_MAX);
    MOE_RETURN_ROUNDED(moe__sampler_pick(p, logits, n_vocab, out));
}

int moe_sampler_pick(moe_sampler *p, const moe_session *s, size_t row, moe_token *out)
{
    const float *logits = NULL;
    size_t n = 0;
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = MOE_TOKEN_NONE;
    MOE_ARG(p != NULL);
    MOE_TRY(moe_session_logits(s, row, &logits, &n));
    MOE_RETURN_ROUNDED(moe__sampler_pick(p, logits, n, out));
}

int moe_session_logprobs(const moe_session *s, size_t row, size_t k, moe_token *ids, float *logprob)
{
    const float *logits = NULL;
    size_t n = 0;
    moe__clear_error();
    MOE_ARG(k == 0 || (ids != NULL && logprob != NULL));
    MOE_TRY(moe_session_logits(s, row, &logits, &n));
    if (k > n) return MOE_FAIL(RANGE, "moe_session_logprobs: k is %zu, the vocabulary has %zu tokens", k, n);
    MOE_RETURN_ROUNDED(moe__logprob_top(&s->m->k, logits, n, k, ids, logprob));
}

int moe_session_logprob(const moe_session *s, size_t row, moe_token id, float *logprob)
{
    const float *logits = NULL;
    size_t n = 0;
    moe__clear_error();
    MOE_ARG(logprob != NULL);
    MOE_TRY(moe_session_logits(s, row, &logits, &n));
    if (id < 0 || (size_t)id >= n)
        return MOE_FAIL(RANGE, "moe_session_logprob: token %d, the vocabulary has %zu", (int)id, n);
    MOE_RETURN_ROUNDED(moe__logprob_of(&s->m->k, logits, n, id, logprob));
}
