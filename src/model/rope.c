/* SPDX-License-Identifier: MIT */
/*
 * Rotary embedding: the angle per position of every pair, with the published scalings: linear (position
 * interpolation), yarn (arXiv 2309.00071, "NTK by parts" with the attention factor), and per-pair divisors
 * from the file (Llama-3). Computed once, in the library's own functions, rounded to f32 where the reference
 * implementations round.
 */
#include "base/mathx.h"
#include "base/status.h"
#include "model/model.h"

static double floor_to_int(double x)
{
    const double t = (double)(int64_t)x;
    return t > x ? t - 1 : t;
}

/* The pair whose wave makes `turns` turns over the original context. */
static double yarn_pair(const moe__hparams *h, double turns)
{
    return h->n_rot * moe__math_log(h->rope_ctx_orig / (turns * 6.283185307179586)) /
           (2.0 * moe__math_log((double)h->rope_base));
}

static void yarn(const moe__hparams *h, float *inv_freq)
{
    double low = floor_to_int(yarn_pair(h, (double)h->yarn_beta_fast));
    double high = -floor_to_int(-yarn_pair(h, (double)h->yarn_beta_slow));
    if (low < 0) low = 0;
    if (high > h->n_rot - 1) high = h->n_rot - 1;
    if (high == low) high += 0.001;
    for (uint32_t i = 0; i < h->n_rot / 2; i++) {
        double ramp = (i - low) / (high - low);
        ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
        const float keep = 1.0f - (float)ramp;
        inv_freq[i] = inv_freq[i] / h->rope_factor * (1.0f - keep) + inv_freq[i] * keep;
    }
}

int moe__rope_table(const moe__hparams *h, const float *factors, float *out, float *gain)
{
    *gain = 1.0f;
    for (uint32_t i = 0; i < h->n_rot / 2; i++) {
        const float power = (float)moe__math_pow((double)h->rope_base, 2.0 * i / h->n_rot);
        out[i] = 1.0f / power;
        if (factors) {
            if (!(factors[i] > 0))
                return MOE_FAIL(FORMAT,
                                "tensor rope_freqs.weight: element %u: expected a positive number, found %g",
                                i, (double)factors[i]);
            out[i] /= factors[i];
        }
    }
    if (h->rope_scaling == ROPE_LINEAR)
        for (uint32_t i = 0; i < h->n_rot / 2; i++) out[i] /= h->rope_factor;
    if (h->rope_scaling == ROPE_YARN) {
        if (!(h->yarn_beta_fast > 0 && h->yarn_beta_slow > 0 && h->rope_base > 1))
            return MOE_FAIL(FORMAT, "yarn: rope.freq_base must be above 1 and both betas above 0");
        yarn(h, out);
        const double mscale = h->rope_factor > 1 ? 0.1 * moe__math_log((double)h->rope_factor) + 1.0 : 1.0;
        *gain = (h->yarn_attn > 0 ? h->yarn_attn : (float)mscale) * h->rope_attn_factor;
    }
    return MOE_OK;
}
