/* SPDX-License-Identifier: MIT */
/*
 * Score functions: router logits -> what selection and weights are made from. A logit of -infinity (banned)
 * scores 0 (identity: -infinity) and changes no other expert's score. Only kernels, IEEE operations and
 * base/mathx: the bits do not depend on the C library.
 */
#include <math.h>
#include <string.h>

#include "base/mathx.h"
#include "route/recipe.h"

static void score_softmax(const moe__kernels *k, float *score, const float *logits, uint32_t n,
                          float *scratch)
{
    (void)scratch;
    k->softmax(score, logits, n);
}

static void score_identity(const moe__kernels *k, float *score, const float *logits, uint32_t n,
                           float *scratch)
{
    (void)k;
    (void)scratch;
    memcpy(score, logits, n * sizeof *score);
}

static void score_sigmoid(const moe__kernels *k, float *score, const float *logits, uint32_t n,
                          float *scratch)
{
    (void)scratch;
    k->sigmoid(score, logits, n);
}

/*
 * softplus(z) = max(z, 0) + log(1 + exp(-|z|)). For small e = exp(-|z|) the sum 1 + e loses what matters:
 * there log(1 + e) = e - e^2 / 2.
 */
static void score_sqrt_softplus(const moe__kernels *k, float *score, const float *logits, uint32_t n,
                                float *scratch)
{
    for (uint32_t i = 0; i < n; i++) scratch[i] = -fabsf(logits[i]);
    k->exp(score, scratch, n);
    for (uint32_t i = 0; i < n; i++) {
        const double e = (double)score[i], z = (double)logits[i];
        const double log1p = e < 1e-5 ? e - e * e / 2 : moe__math_log(1 + e);
        score[i] = sqrtf((float)(z > 0 ? z + log1p : log1p));
        if (logits[i] != logits[i]) score[i] = logits[i];
    }
}

/* sqrt to double precision: one Newton step on sqrtf, which IEEE rounds correctly everywhere. */
static double wide_sqrt(double x)
{
    if (!(x > 0)) return 0;
    const double s = (double)sqrtf((float)x);
    return s > 0 ? 0.5 * (s + x / s) : 0;
}

/*
 * 1.5-entmax (Peters, Niculae, Martins 2019): p = max(z/2 - tau, 0)^2 with tau so that they sum to 1. With
 * the k largest, of mean m and mean square v: tau_k = m - sqrt((1 - k (v - m^2)) / k); the support is the
 * longest prefix with tau_k <= its smallest. Taken from a heap of the logits, largest on top, as they come
 * out: few logits have a share. x = (z - max) / 2 keeps the squares small.
 */
static void sink_float(float *x, uint32_t i, uint32_t n)
{
    for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && x[child + 1] > x[child]) child++;
        if (x[i] >= x[child]) return;
        const float t = x[i];
        x[i] = x[child];
        x[child] = t;
    }
}

static double entmax_tau(float *x, uint32_t n, double max)
{
    double sum = 0, squares = 0, tau = 0;
    for (uint32_t i = n / 2; i-- > 0;) sink_float(x, i, n);
    for (uint32_t k = 1; k <= n; k++) {
        const double v = ((double)x[0] - max) / 2, m = (sum + v) / k, ss = squares + v * v - k * m * m;
        const double next = m - wide_sqrt((1 - ss) / k);
        if (k > 1 && next > v) break;
        sum += v;
        squares += v * v;
        tau = next;
        x[0] = x[n - k];
        sink_float(x, 0, n - k);
    }
    return tau;
}

static void score_entmax15(const moe__kernels *k, float *score, const float *logits, uint32_t n,
                           float *scratch)
{
    float max = -INFINITY;
    uint32_t used = 0, bad = 0;
    (void)k;
    for (uint32_t i = 0; i < n; i++) {
        if (logits[i] == -INFINITY) continue;
        bad |= logits[i] != logits[i] || logits[i] == INFINITY;
        max = logits[i] > max ? logits[i] : max;
        scratch[used++] = logits[i];
    }
    if (bad || used == 0) { /* as a softmax: what is no number makes all none */
        for (uint32_t i = 0; i < n; i++) score[i] = NAN;
        return;
    }
    const double tau = entmax_tau(scratch, used, (double)max);
    for (uint32_t i = 0; i < n; i++) {
        const double d = logits[i] == -INFINITY ? 0 : ((double)logits[i] - (double)max) / 2 - tau;
        score[i] = d > 0 ? (float)(d * d) : 0.0f;
    }
}

moe__score_fn moe__score_find(int score)
{
    static const moe__score_fn table[] = {[MOE_SCORE_SOFTMAX] = score_softmax,
                                          [MOE_SCORE_IDENTITY] = score_identity,
                                          [MOE_SCORE_SIGMOID] = score_sigmoid,
                                          [MOE_SCORE_SQRT_SOFTPLUS] = score_sqrt_softplus,
                                          [MOE_SCORE_ENTMAX15] = score_entmax15};
    return score >= 0 && (size_t)score < sizeof table / sizeof *table ? table[score] : NULL;
}
