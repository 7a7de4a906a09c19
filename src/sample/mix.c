/* SPDX-License-Identifier: MIT */
/* See mix.h. -infinity is a legal logit ("impossible"); NaN and +infinity are not. */
#include "sample/mix.h"

#include <float.h>
#include <math.h>

#include "base/mathx.h"
#include "base/status.h"
#include "sample/sampler.h"

#define MIX_TOKENS 256u /* tokens at a time */

/* The largest logit of a row. E_NUMERIC for what no row may hold. */
static int row_max(const float *x, size_t n, const char *what, size_t row, double *max)
{
    double best = -INFINITY;
    for (size_t v = 0; v < n; v++) {
        if (!(x[v] <= FLT_MAX)) /* NaN too */
            return MOE_FAIL(NUMERIC, "%s %zu: token %zu: the logit is %s", what, row, v,
                            x[v] != x[v] ? "NaN" : "+infinity");
        if (x[v] > best) best = x[v];
    }
    *max = best;
    return best > -INFINITY ? MOE_OK
                            : MOE_FAIL(NUMERIC, "%s %zu: none of the %zu logits is finite", what, row, n);
}

/* ---- contrast */

static int contrast_settings(moe_contrast *o)
{
    if (o->alpha == 0) o->alpha = 0.1f;
    if (o->temp == 0) o->temp = 1;
    if (o->temp_weak == 0) o->temp_weak = 1;
    if (!(o->alpha > 0 && o->alpha <= 1))
        return MOE_FAIL(INVALID, "contrast: alpha: expected above 0 and at most 1, found %g",
                        (double)o->alpha);
    if (!(o->beta >= 0 && o->beta <= FLT_MAX))
        return MOE_FAIL(INVALID, "contrast: beta: expected 0 or more, found %g", (double)o->beta);
    if (!(o->temp > 0 && o->temp <= FLT_MAX))
        return MOE_FAIL(INVALID, "contrast: temp: expected above 0, found %g", (double)o->temp);
    if (!(o->temp_weak > 0 && o->temp_weak <= FLT_MAX))
        return MOE_FAIL(INVALID, "contrast: temp_weak: expected above 0, found %g", (double)o->temp_weak);
    return MOE_OK;
}

int moe__contrast_logits(const float *strong, const float *weak, size_t n, const moe_contrast *settings,
                         float *out)
{
    moe_contrast o = *settings;
    double best = 0, unused = 0;
    MOE_TRY(contrast_settings(&o));
    MOE_TRY(row_max(strong, n, "contrast: strong row", 0, &best));
    MOE_TRY(row_max(weak, n, "contrast: weak row", 0, &unused));
    const double cut = best / o.temp + moe__math_log(o.alpha);
    for (size_t v = 0; v < n; v++) {
        const double s = (double)strong[v] / o.temp;
        /* What the weak routing holds for impossible counts as the lowest finite logit: the result stays
         * finite. */
        const double w = (weak[v] >= -FLT_MAX ? (double)weak[v] : -FLT_MAX) / o.temp_weak;
        out[v] = s >= cut ? moe__finite((1 + (double)o.beta) * s - o.beta * w) : -INFINITY;
    }
    return MOE_OK;
}

/* ---- mixtures */

static double weight_of(const float *weights, size_t i) { return weights ? (double)weights[i] : 1.0; }

static int check_mix_weights(const float *weights, size_t n, double *sum)
{
    *sum = 0;
    for (size_t i = 0; i < n; i++) {
        const double w = weight_of(weights, i);
        if (!(w >= 0 && w <= FLT_MAX))
            return MOE_FAIL(INVALID, "mix: weight %zu: expected a finite number, 0 or more; found %g", i, w);
        *sum += w;
    }
    return *sum > 0 ? MOE_OK : MOE_FAIL(INVALID, "mix: all %zu weights are 0", n);
}

/* Is token v possible in every row that counts? A product of experts lets any of them rule it out. */
static int in_all(const float *const *x, const float *weights, size_t n, size_t v)
{
    for (size_t i = 0; i < n; i++)
        if (weight_of(weights, i) > 0 && x[i][v] < -FLT_MAX) return 0;
    return 1;
}

static int mean_of_logits(const float *const *x, const float *weights, size_t n, size_t n_vocab, double sum,
                          float *out)
{
    size_t common = 0;
    while (common < n_vocab && !in_all(x, weights, n, common)) common++;
    if (common == n_vocab) return MOE_FAIL(NUMERIC, "mix: no token has a finite logit in all rows");
    for (size_t v = 0; v < n_vocab; v++) {
        double mean = 0;
        for (size_t i = 0; i < n; i++)
            if (weight_of(weights, i) > 0) mean += weight_of(weights, i) * x[i][v];
        mean /= sum;
        out[v] = mean < -FLT_MAX ? -INFINITY : moe__finite(mean);
    }
    return MOE_OK;
}

/*
 * y = log of the sum over rows of exp(shift[i] + x[i][v]) for n_at <= MIX_TOKENS tokens from `at` on; a row
 * with shift -infinity does not count.
 */
static void log_sums(const moe__kernels *k, const float *const *x, const double *shift, size_t n, size_t at,
                     size_t n_at, float *y)
{
    double best[MIX_TOKENS], sum[MIX_TOKENS], d[MIX_TOKENS];
    for (size_t v = 0; v < n_at; v++) {
        best[v] = -INFINITY;
        sum[v] = 0;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t v = 0; v < n_at; v++) {
            const double z = shift[i] + x[i][at + v];
            best[v] = z > best[v] ? z : best[v];
        }
    for (size_t i = 0; i < n; i++) {
        for (size_t v = 0; v < n_at; v++)
            d[v] = shift[i] + x[i][at + v] - best[v]; /* NaN where best is -infinity */
        k->exp64(d, n_at);
        for (size_t v = 0; v < n_at; v++) sum[v] += d[v];
    }
    k->log64(sum, n_at);
    for (size_t v = 0; v < n_at; v++) y[v] = best[v] == -INFINITY ? -INFINITY : moe__finite(best[v] + sum[v]);
}

/* log of the weighted mean of probabilities, or of the weighted sum of exp(logit), without leaving
 * logarithms: what exp cannot hold is not lost. */
static void log_mixture(int mode, const float *const *x, const float *weights, size_t n, size_t n_vocab,
                        double sum, float *out)
{
    double shift[MOE_MIX_MAX];
    moe__kernels k;
    moe__kernels_init_rows(&k);
    for (size_t i = 0; i < n; i++) {
        shift[i] = moe__math_log(weight_of(weights, i));
        if (mode == MOE_MIX_LSE || shift[i] == -INFINITY) continue;
        double best = -INFINITY;
        for (size_t v = 0; v < n_vocab; v++)
            if (x[i][v] > best) best = x[i][v];
        const double total = moe__exp_sum(&k, x[i], n_vocab, best);
        shift[i] -= moe__math_log(sum) + best + moe__math_log(total);
    }
    for (size_t v = 0; v < n_vocab; v += MIX_TOKENS) /* `out` may be one of the rows */
        log_sums(&k, x, shift, n, v, n_vocab - v < MIX_TOKENS ? n_vocab - v : MIX_TOKENS, out + v);
}

int moe__mix_logits(int mode, const float *const *logits, const float *weights, size_t n, size_t n_vocab,
                    float *out)
{
    double sum, best;
    if (mode < MOE_MIX_LOGITS || mode > MOE_MIX_LSE)
        return MOE_FAIL(INVALID, "mix: mode %d: expected MOE_MIX_LOGITS, MOE_MIX_PROBS or MOE_MIX_LSE", mode);
    if (n < 1 || n > MOE_MIX_MAX)
        return MOE_FAIL(INVALID, "mix: expected 1 to %d rows, found %zu", MOE_MIX_MAX, n);
    MOE_TRY(check_mix_weights(weights, n, &sum));
    for (size_t i = 0; i < n; i++) MOE_TRY(row_max(logits[i], n_vocab, "mix: row", i, &best));
    if (mode == MOE_MIX_LOGITS) return mean_of_logits(logits, weights, n, n_vocab, sum, out);
    log_mixture(mode, logits, weights, n, n_vocab, sum, out);
    return MOE_OK;
}
