/* SPDX-License-Identifier: MIT */
/*
 * Attention over a run of n positions of one KV head; `stride` elements lie between positions. Scores are
 * dot products over sixteen lanes, like a matrix product; values are summed position by position with one
 * fma each.
 */
#include "kernel/ref/lanes.h"

static inline float from_f32(float x) { return x; }
static inline float from_f16(uint16_t x) { return moe__f16_to_f32(x); }

#define ATTN(type, elem) \
    void MOE_FN(attn_qk_##type)(float *s, const float *q, const elem *k, size_t stride, size_t n, \
        size_t dim) \
    { \
        for (size_t i = 0; i < n; i++, k += stride) { \
            moe__lanes acc = {{0}}; \
            for (size_t d = 0; d < dim; d++) \
                acc.v[d % MOE_LANES] = moe__fmaf(q[d], from_##type(k[d]), acc.v[d % MOE_LANES]); \
            s[i] = moe__lanes_sum(&acc); \
        } \
    } \
    void MOE_FN(attn_av_##type)(float *y, const float *p, const elem *v, size_t stride, size_t n, \
        size_t dim) \
    { \
        for (size_t i = 0; i < n; i++, v += stride) \
            for (size_t d = 0; d < dim; d++) y[d] = moe__fmaf(p[i], from_##type(v[d]), y[d]); \
    }

ATTN(f32, float)
ATTN(f16, uint16_t)

/*
 * t = scale * s (rounded); m = max t, NaN passed over, -0 counted as +0; s = exp(t - m); *sum over sixteen
 * lanes by addition. n >= 1; at least one score must be above -inf (else all become NaN).
 */
float MOE_FN(attn_exp)(float *s, float scale, size_t n, float *sum)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        s[i] *= scale;
        max = s[i] > max ? s[i] : max;
    }
    moe__lanes acc = {{0}};
    for (size_t i = 0; i < n; i++) {
        s[i] = moe__exp1(s[i] - max);
        acc.v[i % MOE_LANES] += s[i];
    }
    *sum = moe__lanes_sum(&acc);
    return max + 0.0f;
}
