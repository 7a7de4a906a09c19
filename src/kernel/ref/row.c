/* SPDX-License-Identifier: MIT */
/* Kernels over one row: norm, sums, activations, softmax, rotation, conversions. y may be x everywhere. */
#include "kernel/ref/lanes.h"

/* r = 1 / sqrt(sum(x^2) / n + eps), then (x * r) * w. */
void MOE_FN(rms_norm)(float *y, const float *x, const float *w, float eps, size_t n)
{
    moe__lanes acc = {{0}};
    for (size_t i = 0; i < n; i++) acc.v[i % MOE_LANES] = moe__fmaf(x[i], x[i], acc.v[i % MOE_LANES]);
    const float r = 1.0f / sqrtf(moe__lanes_sum(&acc) / (float)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
}

void MOE_FN(add)(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

void MOE_FN(scale)(float *y, float a, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] *= a;
}

void MOE_FN(axpy)(float *y, float a, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = moe__fmaf(a, x[i], y[i]);
}

/* (gate / (1 + exp(-gate))) * up */
void MOE_FN(swiglu)(float *y, const float *gate, const float *up, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = gate[i] / (1.0f + moe__exp1(-gate[i])) * up[i];
}

void MOE_FN(sigmoid)(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = moe__sigmoid1(x[i]);
}

/*
 * Maximum (NaN passed over), exp(x - max), their sum in lanes by addition, then times 1 / sum. A NaN
 * anywhere makes all NaN.
 */
void MOE_FN(softmax)(float *y, const float *x, size_t n)
{
    float max = -INFINITY;
    for (size_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    moe__lanes acc = {{0}};
    for (size_t i = 0; i < n; i++) {
        y[i] = moe__exp1(x[i] - max);
        acc.v[i % MOE_LANES] += y[i];
    }
    const float r = 1.0f / moe__lanes_sum(&acc);
    for (size_t i = 0; i < n; i++) y[i] *= r;
}

/* a' = fma(a, cos, -(b sin)), b' = fma(a, sin, b cos) */
void MOE_FN(rope)(float *x, const float *cs, size_t n, int half)
{
    const size_t pairs = n / 2, step = half ? 1 : 2, apart = half ? pairs : 1;
    for (size_t i = 0; i < pairs; i++) {
        const float a = x[i * step], b = x[i * step + apart], c = cs[2 * i], s = cs[2 * i + 1];
        x[i * step] = moe__fmaf(a, c, -(b * s));
        x[i * step + apart] = moe__fmaf(a, s, b * c);
    }
}

void MOE_FN(to_f16)(uint16_t *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = moe__f32_to_f16(x[i]);
}

void MOE_FN(from_f16)(float *y, const uint16_t *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = moe__f16_to_f32(x[i]);
}

void MOE_FN(exp)(float *y, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] = moe__exp1(x[i]);
}
