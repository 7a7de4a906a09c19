/* SPDX-License-Identifier: MIT */
/*
 * Tests of kernel/ref/: the row and attention kernels against double arithmetic, the exponential over its
 * whole range, and the selection by instruction set. Matrix products are in test_quant.c; other instruction
 * sets are compared with ref in tests/kernel.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/half.h"
#include "base/status.h"
#include "kernel/kernel.h"

enum { MAX = 600 };
static const size_t lengths[] = {1, 2, 3, 15, 16, 17, 31, 64, 100, 256, 599};
enum { N_LENGTHS = sizeof lengths / sizeof lengths[0] };

static uint64_t rng_state = 7;
/* -scale .. scale */
static float noise(float scale)
{
    rng_state = rng_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return scale * ((float)(rng_state >> 40) / 8388608.0f - 1.0f);
}

static void fill(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) x[i] = noise(scale);
}

static moe__kernels ref(void)
{
    moe__kernels k;
    assert_int_equal(moe__kernels_init(&k, "ref"), MOE_OK);
    return k;
}

static void near(double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance))
        fail_msg("%.9g instead of %.9g, tolerance %g", got, want, tolerance);
}

static void exp_is_within_one_ulp(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    double worst = 0;
    for (uint64_t u = 0; u < UINT64_C(0x100000000); u += 9973) {
        const float x = moe__f32_from_bits((uint32_t)u);
        float y;
        k.exp(&y, &x, 1);
        if (isnan(x)) {
            assert_true(isnan(y));
            continue;
        }
        const double want = exp((double)x);
        if (want >= 0x1.ffffffp+127) {
            assert_true(y == INFINITY);
            continue;
        }
        int e;
        frexp(want, &e);
        const double ulp = ldexp(1.0, (e < -125 ? -125 : e) - 24), err = fabs(y - want) / ulp;
        worst = err > worst ? err : worst;
    }
    assert_true(worst <= 1.02);
}

static void exp_is_right_at_its_ends(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    const float x[] = {0.0f, -0.0f, INFINITY, -INFINITY, 88.7228317f, 88.7228394f, -87.3365479f,
        -103.972076f, -104.1f, 3.4e38f, -3.4e38f, 1e-45f, NAN};
    float y[13];
    k.exp(y, x, 13);
    assert_true(y[0] == 1.0f && y[1] == 1.0f && y[2] == INFINITY && y[3] == 0.0f && !signbit(y[3]));
    assert_true(isfinite(y[4]) && y[4] > 3.4e38f && y[5] == INFINITY); /* the last finite one and the next */
    near(y[6], exp(-87.3365479), 1.5e-45);
    assert_true(y[7] == 1e-45f && y[8] == 0.0f); /* smallest subnormal, then nothing */
    assert_true(y[9] == INFINITY && y[10] == 0.0f && y[11] == 1.0f && isnan(y[12]));
}

static void norm_and_activations(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    float x[MAX], w[MAX], y[MAX], z[MAX];
    for (size_t t = 0; t < N_LENGTHS; t++) {
        const size_t n = lengths[t];
        double ss = 0;
        fill(x, n, 4.0f);
        fill(w, n, 2.0f);
        for (size_t i = 0; i < n; i++) ss += (double)x[i] * x[i];
        k.rms_norm(y, x, w, 1e-6f, n);
        for (size_t i = 0; i < n; i++)
            near(y[i], x[i] / sqrt(ss / (double)n + 1e-6) * w[i], 2e-6 * (1 + fabs(y[i])));
        memcpy(z, x, n * sizeof *z);
        k.rms_norm(z, z, w, 1e-6f, n); /* in place */
        assert_memory_equal(y, z, n * sizeof *y);

        fill(x, n, 30.0f);
        k.swiglu(y, x, w, n);
        for (size_t i = 0; i < n; i++)
            near(y[i], x[i] / (1 + exp(-(double)x[i])) * w[i], 4e-7 * fabs(y[i]) + 1e-37);
        k.sigmoid(y, x, n);
        for (size_t i = 0; i < n; i++) near(y[i], 1 / (1 + exp(-(double)x[i])), 4e-7 * y[i]);

        memcpy(z, x, n * sizeof *z);
        k.add(z, w, n);
        for (size_t i = 0; i < n; i++) assert_true(z[i] == x[i] + w[i]);
        memcpy(z, x, n * sizeof *z);
        k.scale(z, 0.3f, n);
        for (size_t i = 0; i < n; i++) assert_true(z[i] == x[i] * 0.3f);
        memcpy(z, x, n * sizeof *z);
        k.axpy(z, 0.3f, w, n);
        for (size_t i = 0; i < n; i++)
            near(z[i], (double)x[i] + (double)0.3f * w[i], 6e-8 * fabs(z[i]) + 1e-40);
    }
    const float far[] = {-200.0f, 200.0f, -INFINITY, INFINITY}, ones[] = {1, 1, 1, 1};
    k.sigmoid(y, far, 4);
    assert_true(y[0] == 0.0f && y[1] == 1.0f && y[2] == 0.0f && y[3] == 1.0f);
    k.swiglu(y, far, ones, 2);
    assert_true(y[0] == 0.0f && y[1] == 200.0f);
}

static void softmax_and_attention_exp(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    float x[MAX], y[MAX], z[MAX];
    for (size_t t = 0; t < N_LENGTHS; t++) {
        const size_t n = lengths[t];
        double max = -1e30, sum = 0;
        fill(x, n, 50.0f);
        for (size_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
        for (size_t i = 0; i < n; i++) sum += exp(x[i] - max);
        k.softmax(y, x, n);
        for (size_t i = 0; i < n; i++) { /* x - max is rounded at its own size: that much error in exp */
            const double want = exp(x[i] - max) / sum;
            near(y[i], want, (1e-6 + 6e-8 * (max - x[i])) * want + 1.5e-45);
        }

        memcpy(z, x, n * sizeof *z);
        float total;
        sum = 0;
        const float m = k.attn_exp(z, 0.125f, n, &total); /* a power of two: the scaled scores are exact */
        assert_true(m == (float)max * 0.125f);
        for (size_t i = 0; i < n; i++) {
            const double want = exp(x[i] * 0.125 - (double)m);
            near(z[i], want, (1e-6 + 6e-8 * (m - x[i] * 0.125)) * want);
            sum += want;
        }
        near(total, sum, 1e-6 * sum);
    }
    const float masked[] = {-INFINITY, 1.0f, -INFINITY, 1.0f}, bad[] = {0.0f, NAN, 1.0f};
    k.softmax(y, masked, 4);
    assert_true(y[0] == 0.0f && y[1] == 0.5f && y[2] == 0.0f && y[3] == 0.5f);
    k.softmax(y, bad, 3); /* nothing wrong passes unseen */
    assert_true(isnan(y[0]) && isnan(y[1]) && isnan(y[2]));
    x[0] = -0.0f;
    float one;
    const float zero = k.attn_exp(x, 1.0f, 1, &one);
    assert_true(!signbit(zero) && x[0] == 1.0f && one == 1.0f);
}

static void soft_limits(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    float x[MAX], y[MAX];
    for (int size = -20; size < 12; size++) {
        fill(x, MAX, ldexpf(1.0f, size));
        memcpy(y, x, sizeof y);
        k.softcap(y, 0.25f, 30.0f, MAX);
        for (size_t i = 0; i < MAX; i++) {
            const double want = 30.0 * tanh(0.25 * (double)x[i]);
            near(y[i], want, 4e-7 * fabs(want));
        }
    }
    float far[] = {INFINITY, -INFINITY, 0.0f, NAN};
    k.softcap(far, 1.0f, 5.0f, 4);
    near(far[0], 5.0, 1e-6);
    near(far[1], -5.0, 1e-6);
    assert_true(far[2] == 0.0f && isnan(far[3]));
}

static void rope_turns_pairs(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    float x[64], y[64], cs[64];
    for (int half = 0; half < 2; half++) {
        fill(x, 64, 3.0f);
        for (int i = 0; i < 32; i++) {
            cs[2 * i] = cosf(0.1f * (float)i);
            cs[2 * i + 1] = sinf(0.1f * (float)i);
        }
        memcpy(y, x, sizeof y);
        k.rope(y, cs, 64, half);
        for (int i = 0; i < 32; i++) {
            const int p = half ? i : 2 * i, q = half ? i + 32 : 2 * i + 1;
            near(y[p], (double)x[p] * cs[2 * i] - (double)x[q] * cs[2 * i + 1], 6e-7);
            near(y[q], (double)x[p] * cs[2 * i + 1] + (double)x[q] * cs[2 * i], 6e-7);
        }
    }
}

/* One head's keys and values, as rows and as tiles of a type. */
enum { ATTN_POSITIONS = 64, ATTN_DIM = 160 };

static void put_value(void *dst, size_t i, float x, int type)
{
    if (type == MOE_TYPE_F32)
        ((float *)dst)[i] = x;
    else
        ((uint16_t *)dst)[i] = type == MOE_TYPE_F16 ? moe__f32_to_f16(x) : moe__f32_to_bf16(x);
}

static float rounded(float x, int type)
{
    if (type == MOE_TYPE_F32) return x;
    return type == MOE_TYPE_F16 ? moe__f16_to_f32(moe__f32_to_f16(x)) : moe__bf16_to_f32(moe__f32_to_bf16(x));
}

static void attention_with_floats(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    static const size_t dims[] = {1, 16, 37, 64, 128, 144};
    static const int types[] = {MOE_TYPE_F32, MOE_TYPE_F16, MOE_TYPE_BF16};
    static float x[ATTN_POSITIONS * ATTN_DIM], keys[ATTN_POSITIONS * ATTN_DIM], values[ATTN_POSITIONS * ATTN_DIM];
    float q[2 * ATTN_DIM], s[2 * ATTN_POSITIONS], y[2 * ATTN_DIM], y0[2 * ATTN_DIM];
    for (size_t c = 0; c < 3 * sizeof dims / sizeof dims[0]; c++) {
        const size_t dim = dims[c / 3];
        const int type = types[c % 3];
        fill(x, ATTN_POSITIONS * dim, 1.0f);
        for (size_t i = 0; i < ATTN_POSITIONS * dim; i++) {
            const size_t p = i / dim, d = i % dim;
            x[i] = rounded(x[i], type);
            put_value(keys, (p / MOE_K_TILE * dim + d) * MOE_K_TILE + p % MOE_K_TILE, x[i], type);
            put_value(values, i, x[i], type);
        }
        fill(q, 2 * dim, 1.0f);
        const moe__attn_qk qk = {s, ATTN_POSITIONS, q, 4 * dim, keys, 2, ATTN_POSITIONS / MOE_K_TILE, dim, NULL};
        (type == MOE_TYPE_F32 ? k.attn_qk_f32 : type == MOE_TYPE_F16 ? k.attn_qk_f16 : k.attn_qk_bf16)(&qk);
        for (size_t i = 0; i < 2 * ATTN_POSITIONS; i++) {
            double want = 0;
            for (size_t d = 0; d < dim; d++)
                want += (double)q[i / ATTN_POSITIONS * dim + d] * x[i % ATTN_POSITIONS * dim + d];
            near(s[i], want, 1e-6 * (double)dim);
        }
        fill(y, 2 * dim, 1.0f);
        memcpy(y0, y, sizeof y);
        const size_t n = 5; /* positions of the first row's weights: behind them must not matter */
        const moe__attn_av av = {y, dim, s, 4 * ATTN_POSITIONS, values, 2, n, dim, NULL};
        (type == MOE_TYPE_F32 ? k.attn_av_f32 : type == MOE_TYPE_F16 ? k.attn_av_f16 : k.attn_av_bf16)(&av);
        for (size_t i = 0; i < 2 * dim; i++) {
            double want = y0[i];
            for (size_t p = 0; p < n; p++) want += (double)s[i / dim * ATTN_POSITIONS + p] * x[p * dim + i % dim];
            near(y[i], want, 1e-5);
        }
    }
}

/* Tiles of random scales and bytes; what they mean is said once more here. */
static float key_at(const uint8_t *tiles, size_t dim, unsigned bits, size_t p, size_t d)
{
    const uint8_t *t = tiles + p / 16 * moe__k_tile_bytes(dim, bits);
    uint16_t scale;
    memcpy(&scale, t + 2 * (d / 32 * 16 + p % 16), 2);
    t += dim / 32 * 16 * 2;
    const size_t e = d % 32;
    const int v = bits == 8 ? t[d / 32 * 512 + e / 4 * 64 + p % 16 * 4 + e % 4] - 128
                            : (t[d / 32 * 256 + e % 16 / 4 * 64 + p % 16 * 4 + e % 4] >> (e < 16 ? 0 : 4) & 15) - 8;
    return moe__f16_to_f32(scale) * (float)v;
}

static float value_at(const uint8_t *tiles, size_t dim, unsigned bits, size_t p, size_t d)
{
    const uint8_t *t = tiles + p / 32 * moe__v_tile_bytes(dim, bits);
    uint16_t scale;
    memcpy(&scale, t + 2 * (d / 32 * 32 + p % 32), 2);
    t += dim / 32 * 32 * 2;
    const size_t i = p % 32;
    const int v = bits == 8 ? t[i / 4 * 4 * dim + 4 * d + i % 4] - 128
                            : (t[i / 8 * 4 * dim + 4 * d + i % 4] >> (i % 8 < 4 ? 0 : 4) & 15) - 8;
    return moe__f16_to_f32(scale) * (float)v;
}

static void rnd_tile_bytes(uint8_t *t, size_t n, size_t scales)
{
    static uint32_t seed = 1;
    for (size_t i = 0; i < n; i++) t[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
    for (size_t i = 0; i < scales; i += 2) {
        const uint16_t h = (uint16_t)(0x2000 + (t[i] << 2)); /* about 0.01 */
        memcpy(t + i, &h, 2);
    }
}

static void attention_with_blocks(void **state)
{
    (void)state;
    const moe__kernels k = ref();
    static uint8_t tiles[ATTN_POSITIONS * ATTN_DIM * 2];
    static float p[2 * ATTN_POSITIONS], q[2 * ATTN_DIM], s[2 * ATTN_POSITIONS], y[2 * ATTN_DIM];
    moe__act32 act[2 * ATTN_DIM / 32], w[2 * 2 * ATTN_DIM / 32];
    for (int c = 0; c < 6; c++) {
        const size_t dim = c / 2 == 0 ? 32 : c / 2 == 1 ? 64 : 160;
        const unsigned bits = c % 2 ? 4 : 8;
        for (size_t t = 0; t < 4; t++)
            rnd_tile_bytes(tiles + t * moe__k_tile_bytes(dim, bits), moe__k_tile_bytes(dim, bits), dim);
        fill(q, 2 * dim, 1.0f);
        k.act_q8_32(act, q, 2 * dim);
        const moe__attn_qk qk = {s, 64, act, dim / 32 * sizeof *act, tiles, 2, 4, dim, NULL};
        (bits == 8 ? k.attn_qk_q8_0 : k.attn_qk_q4_0)(&qk);
        for (size_t i = 0; i < 2 * 64; i++) {
            double want = 0;
            for (size_t d = 0; d < dim; d++) {
                const moe__act32 *b = &act[(i / 64 * dim + d) / 32];
                want += (double)b->d * b->q[d % 32] * (double)key_at(tiles, dim, bits, i % 64, d);
            }
            near(s[i], want, 1e-4);
        }
        for (size_t t = 0; t < 2; t++)
            rnd_tile_bytes(tiles + t * moe__v_tile_bytes(dim, bits), moe__v_tile_bytes(dim, bits), 2 * dim);
        for (size_t i = 0; i < 2 * 64; i++) p[i] = 1.0f / (float)(1 + i % 37);
        const uint32_t n[2] = {64, 41};
        const moe__attn_weights weigh = {w, p, 64, tiles, moe__v_tile_bytes(dim, bits), n, 2, 2, dim};
        k.attn_weigh(&weigh);
        fill(y, 2 * dim, 1.0f);
        float y0[2 * ATTN_DIM];
        memcpy(y0, y, sizeof y0);
        const moe__attn_av av = {y, dim, w, 2 * dim / 32 * sizeof *w, tiles, 2, 64, dim, NULL};
        (bits == 8 ? k.attn_av_q8_0 : k.attn_av_q4_0)(&av);
        for (size_t i = 0; i < 2 * dim; i++) {
            double want = y0[i], exact = y0[i], room = 0;
            for (size_t j = 0; j < 64; j++) {
                const float v = value_at(tiles, dim, bits, j, i % dim);
                const moe__act32 *b = &w[(i / dim * 2 + j / 32) * (dim / 32) + i % dim / 32];
                uint16_t scale;
                memcpy(&scale, tiles + j / 32 * moe__v_tile_bytes(dim, bits) + 2 * (i % dim / 32 * 32 + j % 32), 2);
                const double by = (double)moe__f16_to_f32(scale), level = (double)v / by;
                want += (double)b->d * b->q[j % 32] * level;
                if (j < n[i / dim]) exact += (double)p[i / dim * 64 + j] * (double)v;
                room += 0.51 * (double)b->d * fabs(level); /* a weight is rounded to d */
            }
            near(y[i], want, 1e-4);
            assert_true(fabs(exact - want) <= room);
        }
    }
}

static void kernels_are_chosen_by_name(void **state)
{
    (void)state;
    moe__kernels k;
    assert_int_equal(moe__kernels_init(&k, "mmx"), MOE_E_INVALID);
    assert_non_null(strstr(moe__last_error(), "avx512vnni"));
    assert_int_equal(moe__kernels_init(&k, NULL), MOE_OK);
    assert_int_equal(moe__kernels_init(&k, moe__kernels_best()), MOE_OK);
    for (size_t i = 0; i < MOE_N_KERNELS; i++) {
        assert_non_null(moe__kernel_name(i));
        assert_string_equal(moe__kernel_isa(i, "ref"), "ref");
        assert_non_null(moe__kernel_isa(i, NULL));
    }
    assert_string_equal(moe__kernel_name(MOE_K_gemm_q4_k), "gemm_q4_k");
    assert_null(moe__kernel_name(MOE_N_KERNELS));
    assert_null(moe__kernel_isa(MOE_N_KERNELS, NULL));
    assert_null(moe__kernel_isa(0, "mmx"));
    static const char *const names[] = {"ref",        "avx2", "avxvnni", "avx512",
                                        "avx512vnni", "amx", "neon", "dotprod", "i8mm"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) { /* each is either taken, or refused with the level to use instead */
        const int st = moe__kernels_init(&k, names[i]);
        if (st != MOE_OK) {
            assert_int_equal(st, MOE_E_UNSUPPORTED);
            assert_non_null(strstr(moe__last_error(), moe__kernels_best()));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_one_ulp),
        cmocka_unit_test(exp_is_right_at_its_ends),
        cmocka_unit_test(norm_and_activations),
        cmocka_unit_test(softmax_and_attention_exp),
        cmocka_unit_test(soft_limits), cmocka_unit_test(rope_turns_pairs),
        cmocka_unit_test(attention_with_floats), cmocka_unit_test(attention_with_blocks),
        cmocka_unit_test(kernels_are_chosen_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
