/* SPDX-License-Identifier: MIT */
/*
 * Log-probabilities of a row of logits: log p_i = (x_i - max) - log sum_j exp(x_j - max), in double
 * precision. Logits that are not finite have probability 0. Nothing is allocated: the caller's arrays serve
 * as the heap of the best k.
 */
#include <math.h>

#include "base/mathx.h"
#include "base/status.h"
#include "sample/sampler.h"

static int log_sum(const moe__kernels *k, const float *x, size_t n, double *max, double *out)
{
    *max = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (isfinite(x[i]) && x[i] > *max) *max = x[i];
    if (*max == -INFINITY) return MOE_FAIL(NUMERIC, "log-probabilities: none of the %zu logits is finite", n);
    *out = moe__math_log(moe__exp_sum(k, x, n, *max));
    return MOE_OK;
}

/* -infinity for what is not finite, so that it ranks last. */
static float value_of(float x) { return isfinite(x) ? x : -INFINITY; }

/* Does (x, i) come before (y, j)? */
static int before(float x, moe_token i, float y, moe_token j) { return x > y || (x == y && i < j); }

/* Heap over two arrays, the last in order on top. */
static void sink_pair(moe_token *id, float *x, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(x[child], id[child], x[child + 1], id[child + 1])) child++;
        if (!before(x[i], id[i], x[child], id[child])) return;
        const moe_token ti = id[i];
        const float tx = x[i];
        id[i] = id[child];
        x[i] = x[child];
        id[child] = ti;
        x[child] = tx;
    }
}

int moe__logprob_top(const moe__kernels *kn, const float *logits, size_t n, size_t k, moe_token *ids,
                     float *logprob)
{
    double max, sum = 0;
    MOE_TRY(log_sum(kn, logits, n, &max, &sum));
    if (k == 0) return MOE_OK;
    for (size_t i = 0; i < k; i++) {
        ids[i] = (moe_token)i;
        logprob[i] = value_of(logits[i]);
    }
    for (size_t i = k / 2; i-- > 0;) sink_pair(ids, logprob, k, i);
    for (size_t i = k; i < n; i++) {
        if (!before(value_of(logits[i]), (moe_token)i, logprob[0], ids[0])) continue;
        ids[0] = (moe_token)i;
        logprob[0] = logits[i];
        sink_pair(ids, logprob, k, 0);
    }
    for (size_t m = k; m > 1;) {
        const moe_token ti = ids[0];
        const float tx = logprob[0];
        ids[0] = ids[--m];
        logprob[0] = logprob[m];
        ids[m] = ti;
        logprob[m] = tx;
        sink_pair(ids, logprob, m, 0);
    }
    for (size_t i = 0; i < k; i++) logprob[i] = (float)((logprob[i] - max) - sum);
    return MOE_OK;
}

int moe__logprob_of(const moe__kernels *kn, const float *logits, size_t n, moe_token id, float *logprob)
{
    double max, sum = 0;
    MOE_TRY(log_sum(kn, logits, n, &max, &sum));
    *logprob = (float)((value_of(logits[id]) - max) - sum);
    return MOE_OK;
}
