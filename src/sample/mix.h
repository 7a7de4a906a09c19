/* SPDX-License-Identifier: MIT */
/*
 * Rows of logits made into one: SCMoE's contrast of a strong and a weak routing (Shi et al. 2024), and
 * mixtures of several models (logit averaging as in "Growing Transformers", 2507.07129). Double precision
 * with the library's own exp and log, so that results are the same on every machine. Everything is checked
 * before the first float is written, so `out` may be one of the inputs and is untouched on failure.
 */
#ifndef MOE_SAMPLE_MIX_H
#define MOE_SAMPLE_MIX_H

#include <stddef.h>

#include "moe/moe.h"

/* o: a full struct; zeros become defaults here. E_INVALID names the field; E_NUMERIC. */
int moe__contrast_logits(const float *strong, const float *weak, size_t n, const moe_contrast *o, float *out);

#define MOE_MIX_MAX 256 /* rows */
/* E_INVALID (mode, weights, more rows), E_NUMERIC. weights NULL: equal. */
int moe__mix_logits(int mode, const float *const *logits, const float *weights, size_t n, size_t n_vocab,
                    float *out);

#endif
