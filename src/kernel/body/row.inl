/* SPDX-License-Identifier: MIT */
/* Kernels over one row, written over the sixteen lanes of x86/vec.h or arm/vec.h; ref/row.c says what each
 * computes. y may be x everywhere. */

void MOE_FN(rms_norm)(float *y, const float *x, const float *w, float eps, size_t n)
{
    const size_t full = n / 16 * 16, k = n - full;
    v16 acc = v16_zero();
    for (size_t i = 0; i < full; i += 16) {
        const v16 v = v16_load(x + i);
        acc = v16_fma(v, v, acc);
    }
    if (k) {
        const v16 v = v16_load_n(x + full, k);
        acc = v16_pick_n(v16_fma(v, v, acc), acc, k);
    }
    const v16 r = v16_set1(1.0f / sqrtf(v16_sum(acc) / (float)n + eps));
    for (size_t i = 0; i < full; i += 16)
        v16_store(y + i, v16_mul(v16_mul(v16_load(x + i), r), v16_load(w + i)));
    if (k) v16_store_n(y + full, v16_mul(v16_mul(v16_load_n(x + full, k), r), v16_load_n(w + full, k)), k);
}

/* One expression for whole vectors and once more for the tail: its argument is how to load. */
#define LOAD_ALL(p) v16_load((p) + i)
#define LOAD_TAIL(p) v16_load_n((p) + full, k)
#define FOR_ROW(y, n, expr) \
    do { \
        const size_t full = (n) / 16 * 16, k = (n) - full; \
        for (size_t i = 0; i < full; i += 16) v16_store((y) + i, expr(LOAD_ALL)); \
        if (k) v16_store_n((y) + full, expr(LOAD_TAIL), k); \
    } while (0)

void MOE_FN(add)(float *y, const float *x, size_t n)
{
#define EXPR(LD) v16_add(LD(y), LD(x))
    FOR_ROW(y, n, EXPR);
#undef EXPR
}

void MOE_FN(scale)(float *y, float a, size_t n)
{
    const v16 va = v16_set1(a);
#define EXPR(LD) v16_mul(LD(y), va)
    FOR_ROW(y, n, EXPR);
#undef EXPR
}

void MOE_FN(axpy)(float *y, float a, const float *x, size_t n)
{
    const v16 va = v16_set1(a);
#define EXPR(LD) v16_fma(va, LD(x), LD(y))
    FOR_ROW(y, n, EXPR);
#undef EXPR
}

static inline v16 one_plus_exp_neg(v16 x) { return v16_add(v16_set1(1.0f), v16_exp(v16_neg(x))); }
static inline v16 swiglu16(v16 gate, v16 up) { return v16_mul(v16_div(gate, one_plus_exp_neg(gate)), up); }

void MOE_FN(swiglu)(float *y, const float *gate, const float *up, size_t n)
{
#define EXPR(LD) swiglu16(LD(gate), LD(up))
    FOR_ROW(y, n, EXPR);
#undef EXPR
}

void MOE_FN(sigmoid)(float *y, const float *x, size_t n)
{
#define EXPR(LD) v16_div(v16_set1(1.0f), one_plus_exp_neg(LD(x)))
    FOR_ROW(y, n, EXPR);
#undef EXPR
}

void MOE_FN(exp)(float *y, const float *x, size_t n)
{
#define EXPR(LD) v16_exp(LD(x))
    FOR_ROW(y, n, EXPR);
#undef EXPR
}

void MOE_FN(to_f16)(uint16_t *y, const float *x, size_t n)
{
    const size_t full = n / 16 * 16, k = n - full;
    for (size_t i = 0; i < full; i += 16) v16_store_f16(y + i, v16_load(x + i));
    if (k) v16_store_f16_n(y + full, v16_load_n(x + full, k), k);
}

void MOE_FN(from_f16)(float *y, const uint16_t *x, size_t n)
{
    const size_t full = n / 16 * 16, k = n - full;
    for (size_t i = 0; i < full; i += 16) v16_store(y + i, v16_load_f16(x + i));
    if (k) v16_store_n(y + full, v16_load_f16_n(x + full, k), k);
}

/* The largest of n values times `by`, NaN passed over. */
static inline float row_max(const float *x, float by, size_t n)
{
    const v16 scale = v16_set1(by);
    const v16 low = v16_set1(-INFINITY);
    const size_t full = n / 16 * 16, k = n - full;
    v16 m = low, m1 = low;
    size_t i = 0;
    for (; i + 32 <= full; i += 32) {
        m = v16_max(v16_mul(v16_load(x + i), scale), m);
        m1 = v16_max(v16_mul(v16_load(x + i + 16), scale), m1);
    }
    if (i < full) m = v16_max(v16_mul(v16_load(x + i), scale), m);
    if (k) m = v16_max(v16_pick_n(v16_mul(v16_load_n(x + full, k), scale), low, k), m);
    m = v16_max(m, m1);
    return v16_first(v16_max_of(m));
}

/* y = exp(x by - max), the product rounded; returns the sum. */
static inline float row_exp_sum(float *y, const float *x, float by, float max, size_t n)
{
    const v16 scale = v16_set1(by);
    const size_t full = n / 16 * 16, k = n - full;
    const v16 vm = v16_set1(max);
    v16 acc = v16_zero();
    for (size_t i = 0; i < full; i += 16) {
        const v16 e = v16_exp(v16_sub(v16_mul(v16_load(x + i), scale), vm));
        v16_store(y + i, e);
        acc = v16_add(acc, e);
    }
    if (k) {
        const v16 e = v16_exp(v16_sub(v16_mul(v16_load_n(x + full, k), scale), vm));
        v16_store_n(y + full, e, k);
        acc = v16_pick_n(v16_add(acc, e), acc, k);
    }
    return v16_sum(acc);
}

void MOE_FN(softmax)(float *y, const float *x, size_t n)
{
    const float sum = row_exp_sum(y, x, 1.0f, row_max(x, 1.0f, n), n);
    MOE_FN(scale)(y, 1.0f / sum, n);
}

float MOE_FN(attn_exp)(float *s, float scale, size_t n, float *sum)
{
    const float max = row_max(s, scale, n);
    *sum = row_exp_sum(s, s, scale, max, n);
    return max + 0.0f;
}

/* Pairs from pair `i` on, one at a time. */
static inline void rope_tail(float *x, const float *cs, size_t i, size_t pairs, int half)
{
    const size_t step = half ? 1 : 2, apart = half ? pairs : 1;
    for (; i < pairs; i++) {
        const float a = x[i * step], b = x[i * step + apart], c = cs[2 * i], s = cs[2 * i + 1];
        x[i * step] = moe__fmaf(a, c, -(b * s));
        x[i * step + apart] = moe__fmaf(a, s, b * c);
    }
}

void MOE_FN(rope)(float *x, const float *cs, size_t n, int half)
{
    const size_t pairs = n / 2;
    size_t i = 0;
    for (; i + 16 <= pairs; i += 16) {
        const v16 cs0 = v16_load(cs + 2 * i), cs1 = v16_load(cs + 2 * i + 16);
        const v16 c = v16_even(cs0, cs1), s = v16_odd(cs0, cs1);
        float *p0 = half ? x + i : x + 2 * i, *p1 = half ? x + i + pairs : x + 2 * i + 16;
        const v16 v0 = v16_load(p0), v1 = v16_load(p1);
        const v16 a = half ? v0 : v16_even(v0, v1), b = half ? v1 : v16_odd(v0, v1);
        const v16 ra = v16_fms(a, c, v16_mul(b, s)), rb = v16_fma(a, s, v16_mul(b, c));
        v16_store(p0, half ? ra : v16_zip_lo(ra, rb));
        v16_store(p1, half ? rb : v16_zip_hi(ra, rb));
    }
    rope_tail(x, cs, i, pairs, half);
}
