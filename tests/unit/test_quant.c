/* SPDX-License-Identifier: MIT */
/*
 * Tests of quant/: the type table, every format against the gguf Python package
 * (tests/unit/data/quant_vectors.bin, made by tools/make_quant_vectors.py), the encoders, and the reference
 * matrix products against double arithmetic.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/half.h"
#include "kernel/kernel.h"
#include "moe/moe.h"
#include "quant/types.h"

enum { N = 8192 }; /* elements of a test row */

/* xorshift64*, so that the data are the same everywhere. */
static uint64_t rng_state;
static uint32_t rng(void)
{
    rng_state ^= rng_state >> 12;
    rng_state ^= rng_state << 25;
    rng_state ^= rng_state >> 27;
    return (uint32_t)(rng_state * UINT64_C(2685821657736338717) >> 32);
}
static float uniform(void) { return (float)(rng() >> 8) / 16777216.0f; } /* 0 .. 1 */
/* Nearly normal with deviation 1. */
static float normal(void)
{
    float s = -6.0f;
    for (int i = 0; i < 12; i++) s += uniform();
    return s;
}

static float *row_of(size_t n, uint64_t seed)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    rng_state = seed;
    for (size_t i = 0; i < n; i++) x[i] = normal();
    return x;
}

static uint8_t *encode(const moe__type *t, const float *x, size_t n, const float *importance)
{
    uint8_t *b = malloc((size_t)moe__type_bytes(t, n));
    assert_non_null(b);
    t->quantize(x, b, n, importance);
    return b;
}

static float *decode(const moe__type *t, const void *b, size_t n)
{
    float *y = malloc(n * sizeof *y);
    assert_non_null(y);
    t->dequant(b, y, n);
    return y;
}

static float *round_trip(const moe__type *t, const float *x, size_t n, const float *importance)
{
    uint8_t *b = encode(t, x, n, importance);
    float *y = decode(t, b, n);
    free(b);
    return y;
}

/* Error relative to the size of x. */
static double relative_error(const float *x, const float *y, size_t n)
{
    double e = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        e += ((double)x[i] - y[i]) * ((double)x[i] - y[i]);
        s += (double)x[i] * x[i];
    }
    return sqrt(e / s);
}

/*
 * ------------------------------------------------------------------------------------------------ the
 * table
 */

static void the_table_is_consistent(void **state)
{
    (void)state;
    assert_int_equal(moe__type_count(), 16);
    int last = -1;
    for (size_t i = 0; i < moe__type_count(); i++) {
        const moe__type *t = moe__type_at(i);
        assert_true(t->id > last);
        last = t->id;
        assert_ptr_equal(moe__type_get(t->id), t);
        assert_ptr_equal(moe__type_find(t->name), t);
        assert_true(t->dequant && t->quantize && t->block && t->block_bytes);
        assert_int_equal(moe__type_bytes(t, t->block * 3u), t->block_bytes * 3u);
        if (t->block > 1) assert_int_equal(moe__type_bytes(t, t->block * 3u + 1), 0);
        if (t->block_bytes > t->block)
            assert_int_equal(moe__type_bytes(t, UINT64_MAX / t->block * t->block), 0);
    }
    assert_null(moe__type_at(moe__type_count()));
    assert_null(moe__type_get(4));
    assert_null(moe__type_get(-1));
    assert_int_equal(moe__type_find("q4_k")->id, MOE_TYPE_Q4_K);
    assert_null(moe__type_find("Q4"));
    assert_null(moe__type_find("Q4_KK"));
    assert_null(moe__type_find(""));
    assert_int_equal(moe__act_bytes(MOE_ACT_F32, 3), 12);
    assert_int_equal(moe__act_bytes(MOE_ACT_Q8_32, 64), 80);
    assert_int_equal(moe__act_bytes(MOE_ACT_Q8_256, 512), 2 * (4 + 32 + 256));
}

/*
 * -------------------------------------------------------------------------------- the gguf package's
 * vectors
 */

typedef struct vector {
    uint32_t kind, type, n, n_bytes;
    uint8_t *blocks;
    float *values;
} vector;

static uint32_t read_u32(FILE *f)
{
    uint8_t b[4];
    assert_int_equal(fread(b, 1, 4, f), 4);
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

/* Calls `check` for every vector of a kind; returns how many there were. */
static int for_vectors(uint32_t kind, void (*check)(const moe__type *t, const vector *v))
{
    int count = 0, c;
    FILE *f = fopen("tests/unit/data/quant_vectors.bin", "rb");
    if (!f) fail_msg("tests/unit/data/quant_vectors.bin is missing (run from the top of the source tree)");
    while ((c = getc(f)) != EOF) {
        ungetc(c, f);
        vector v = {read_u32(f), read_u32(f), read_u32(f), read_u32(f), NULL, NULL};
        v.blocks = malloc(v.n_bytes);
        v.values = malloc(v.n * sizeof(float));
        assert_true(v.blocks && v.values);
        assert_int_equal(fread(v.blocks, 1, v.n_bytes, f), v.n_bytes);
        for (uint32_t i = 0; i < v.n; i++) v.values[i] = moe__f32_from_bits(read_u32(f));
        if (v.kind == kind) {
            const moe__type *t = moe__type_get((int)v.type);
            assert_non_null(t);
            assert_int_equal(moe__type_bytes(t, v.n), v.n_bytes);
            check(t, &v);
            count++;
        }
        free(v.blocks);
        free(v.values);
    }
    fclose(f);
    return count;
}

static void check_decoding(const moe__type *t, const vector *v)
{
    float *y = decode(t, v->blocks, v->n);
    for (uint32_t i = 0; i < v->n; i++)
        if (moe__f32_bits(y[i]) != moe__f32_bits(v->values[i]))
            fail_msg("%s: element %u is %a, the gguf package has %a", t->name, i, (double)y[i],
                (double)v->values[i]);
    /* any address will do */
    uint8_t *odd = malloc(v->n_bytes + 1);
    assert_non_null(odd);
    memcpy(odd + 1, v->blocks, v->n_bytes);
    float *z = decode(t, odd + 1, v->n);
    assert_memory_equal(y, z, v->n * sizeof *y);
    free(odd);
    free(z);
    free(y);
}

static void decoding_equals_the_gguf_package(void **state)
{
    (void)state;
    assert_int_equal(for_vectors(1, check_decoding), 15); /* every type but F32 */
}

/* The same bytes where the format leaves no choice, else less error than the package's own encoder. */
static void check_encoding(const moe__type *t, const vector *v)
{
    uint8_t *b = encode(t, v->values, v->n, NULL);
    switch (t->id) {
    case MOE_TYPE_F16:
    case MOE_TYPE_BF16:
    case MOE_TYPE_Q8_0:
    case MOE_TYPE_MXFP4:
        assert_memory_equal(b, v->blocks, v->n_bytes);
        break;
    default: {
        float *ours = decode(t, b, v->n), *theirs = decode(t, v->blocks, v->n);
        assert_true(relative_error(v->values, ours, v->n) < relative_error(v->values, theirs, v->n));
        free(ours);
        free(theirs);
    }
    }
    free(b);
}

static void encoding_is_as_good_as_the_gguf_package(void **state)
{
    (void)state;
    assert_int_equal(for_vectors(2, check_encoding), 8);
}

/*
 * ---------------------------------------------------------------------------------------------- the
 * encoders
 */

/*
 * What an encoder may leave of a normally distributed row, relative (measured, plus 3 %), and a plain
 * encoder it must beat: one f32 scale (and minimum) per `group`, the extreme element on the end of the
 * range 0 .. hi or -lo .. hi. 0: none.
 */
static const struct quality {
    int type;
    double limit;
    int group, lo, hi;
} qualities[] = {
    {MOE_TYPE_F32, 1e-30, 0, 0, 0},
    {MOE_TYPE_F16, 0.00022, 0, 0, 0},
    {MOE_TYPE_BF16, 0.00172, 0, 0, 0},
    {MOE_TYPE_Q4_0, 0.0845, 32, -8, 7},
    {MOE_TYPE_Q4_1, 0.0725, 32, 0, 15},
    {MOE_TYPE_Q5_0, 0.0416, 32, -16, 15},
    {MOE_TYPE_Q5_1, 0.0349, 32, 0, 31},
    {MOE_TYPE_Q8_0, 0.00553, 0, 0, 0},
    {MOE_TYPE_Q2_K, 0.276, 16, 0, 3},
    {MOE_TYPE_Q3_K, 0.150, 16, -4, 3},
    {MOE_TYPE_Q4_K, 0.0730, 32, 0, 15},
    {MOE_TYPE_Q5_K, 0.0358, 32, 0, 31},
    {MOE_TYPE_Q6_K, 0.0175, 16, -32, 31},
    {MOE_TYPE_IQ4_NL, 0.0766, 32, -8, 7},
    {MOE_TYPE_IQ4_XS, 0.0772, 32, -8, 7},
    {MOE_TYPE_MXFP4, 0.119, 0, 0, 0},
};

static float clampf(float x, float lo, float hi) { return x < lo ? lo : x > hi ? hi : x; }

static void plain_encoder(const struct quality *q, const float *x, float *y, size_t n)
{
    for (size_t i = 0; i < n; i += (size_t)q->group) {
        float lo = 0, hi = 0, ext = 0;
        for (size_t j = i; j < i + (size_t)q->group; j++) {
            if (x[j] < lo) lo = x[j];
            if (x[j] > hi) hi = x[j];
            if (fabsf(x[j]) > fabsf(ext)) ext = x[j];
        }
        const float d = q->lo ? ext / (float)q->lo : (hi - lo) / (float)q->hi, m = q->lo ? 0 : lo;
        for (size_t j = i; j < i + (size_t)q->group; j++)
            y[j] = d * clampf(rintf((x[j] - m) / d), (float)q->lo, (float)q->hi) + m;
    }
}

static void encoders_keep_the_error_small(void **state)
{
    (void)state;
    float *x = row_of(N, 11), *plain = row_of(N, 1);
    for (size_t i = 0; i < sizeof qualities / sizeof qualities[0]; i++) {
        const struct quality *q = &qualities[i];
        const moe__type *t = moe__type_get(q->type);
        float *y = round_trip(t, x, N, NULL);
        const double err = relative_error(x, y, N);
        if (err > q->limit) fail_msg("%s leaves %g of a normal row, limit %g", t->name, err, q->limit);
        if (q->group) {
            plain_encoder(q, x, plain, N);
            if (err >= relative_error(x, plain, N)) fail_msg("%s is worse than the plain encoder", t->name);
        }
        free(y);
    }
    free(x);
    free(plain);
}

/*
 * Decoded values encode to themselves in the formats with one scale; in the others what changes is small
 * beside the error.
 */
static void encoding_twice_changes_little(void **state)
{
    (void)state;
    float *x = row_of(N, 12);
    for (size_t i = 0; i < moe__type_count(); i++) {
        const moe__type *t = moe__type_at(i);
        float *y = round_trip(t, x, N, NULL), *z = round_trip(t, y, N, NULL);
        if (t->block < 256) assert_true(relative_error(y, z, N) == 0.0);
        else assert_true(relative_error(y, z, N) < 0.25 * relative_error(x, y, N));
        free(y);
        free(z);
    }
    free(x);
}

static void importance_moves_the_error(void **state)
{
    (void)state;
    static const int searching[] = {MOE_TYPE_Q4_0, MOE_TYPE_Q4_1, MOE_TYPE_Q5_0, MOE_TYPE_Q5_1, MOE_TYPE_Q2_K,
        MOE_TYPE_Q3_K, MOE_TYPE_Q4_K, MOE_TYPE_Q5_K, MOE_TYPE_Q6_K, MOE_TYPE_IQ4_NL, MOE_TYPE_IQ4_XS};
    float *x = row_of(N, 13), *importance = row_of(N, 14);
    for (size_t i = 0; i < N; i++) importance[i] = i % 8 == 0 ? 100.0f : 1.0f;
    for (size_t k = 0; k < sizeof searching / sizeof searching[0]; k++) {
        const moe__type *t = moe__type_get(searching[k]);
        float *a = round_trip(t, x, N, NULL), *b = round_trip(t, x, N, importance);
        double ea = 0, eb = 0;
        for (size_t i = 0; i < N; i += 8) {
            ea += (double)(a[i] - x[i]) * (a[i] - x[i]);
            eb += (double)(b[i] - x[i]) * (b[i] - x[i]);
        }
        if (eb >= 0.9 * ea)
            fail_msg("%s: importance leaves %g of the error of what matters", t->name, eb / ea);
        free(a);
        free(b);
    }
    free(x);
    free(importance);
}

/* Nothing an encoder is given may make it crash or write what decodes to infinities. */
static void encoders_take_anything(void **state)
{
    (void)state;
    enum { M = 512 };
    static const float odd[] = {0.0f, -0.0f, 1e-45f, -1e-38f, 1e-30f, 1e-12f, 6e-8f, 1.0f, -1.0f, 65504.0f,
        -65504.0f, 1e9f, -3e38f, INFINITY, -INFINITY, NAN};
    float x[M], importance[M];
    for (size_t i = 0; i < moe__type_count(); i++) {
        const moe__type *t = moe__type_at(i);
        if (t->block == 1) continue; /* those are plain IEEE conversions */
        rng_state = 99;
        for (int round = 0; round < 60; round++) {
            const uint32_t kinds = 1 + rng() % 16;
            for (size_t j = 0; j < M; j++) {
                x[j] = round < 16 ? odd[round] : rng() % 3 ? odd[rng() % kinds] : normal();
                importance[j] = odd[rng() % 16];
            }
            float *y = round_trip(t, x, M, round > 30 ? importance : NULL);
            for (size_t j = 0; j < M; j++) {
                if (!isfinite(y[j]))
                    fail_msg("%s, round %d: %g became %g", t->name, round, (double)x[j], (double)y[j]);
                if (round < 16 && x[j] == 0.0f) assert_true(y[j] == 0.0f);
                /* a constant is exact up to the scale's rounding (e2m1 has 1; 65504 only in half) */
                if (round < 16 && fabsf(x[j]) == 1.0f && fabsf(y[j] - x[j]) > 0.01f)
                    fail_msg("%s: a row of %g became %g", t->name, (double)x[j], (double)y[j]);
                if (round == 15) assert_true(y[j] == 0.0f);
            }
            free(y);
        }
    }
}

static void encoders_are_deterministic_per_block(void **state)
{
    (void)state;
    float *x = row_of(1024, 15);
    for (size_t i = 0; i < moe__type_count(); i++) { /* a row at once, or block by block */
        const moe__type *t = moe__type_at(i);
        uint8_t *whole = encode(t, x, 1024, NULL), *part = encode(t, x, 1024, NULL);
        memset(part, 0xee, (size_t)moe__type_bytes(t, 1024));
        for (size_t j = 0; j < 1024; j += t->block)
            t->quantize(x + j, part + moe__type_bytes(t, j), t->block, NULL);
        assert_memory_equal(whole, part, (size_t)moe__type_bytes(t, 1024));
        free(whole);
        free(part);
    }
    free(x);
}

/*
 * ----------------------------------------------------------------------------------- activations and
 * products
 */

static void activations_round_to_int8(void **state)
{
    (void)state;
    moe__kernels k;
    assert_int_equal(moe__kernels_init(&k, "ref"), MOE_OK);
    float *x = row_of(512, 16);
    moe__act32 a[16];
    moe__act256 b[2];
    k.act_q8_32(a, x, 512);
    k.act_q8_256(b, x, 512);
    for (size_t i = 0; i < 512; i++) {
        assert_true(fabsf(x[i] - a[i / 32].d * (float)a[i / 32].q[i % 32]) <= 0.5001f * a[i / 32].d);
        assert_true(fabsf(x[i] - b[i / 256].d * (float)b[i / 256].q[i % 256]) <= 0.5001f * b[i / 256].d);
    }
    for (int i = 0; i < 16; i++) {
        int sum = 0;
        for (int j = 0; j < 32; j++) sum += a[i].q[j];
        assert_int_equal(sum, a[i].sum);
    }
    for (int i = 0; i < 32; i++) {
        int sum = 0;
        for (int j = 0; j < 16; j++) sum += b[i / 16].q[i % 16 * 16 + j];
        assert_int_equal(sum, b[i / 16].sum16[i % 16]);
    }
    /* ties to even, both ends of the range */
    memset(x, 0, 512 * sizeof *x);
    x[0] = 127.0f, x[1] = -127.0f, x[2] = 0.5f, x[3] = 1.5f, x[4] = -2.5f;
    x[32] = 1e-37f, x[64] = NAN, x[96] = -INFINITY;
    k.act_q8_32(a, x, 128);
    assert_true(a[0].d == 1.0f && a[0].q[0] == 127 && a[0].q[1] == -127);
    assert_true(a[0].q[2] == 0 && a[0].q[3] == 2 && a[0].q[4] == -2 && a[0].sum == 0);
    assert_true(a[1].d == 0.0f && a[1].q[0] == 0); /* too small to scale */
    assert_true(isnan(a[2].d) && a[2].q[0] == 0 && isnan(a[3].d) && a[3].q[0] == 0 && a[3].sum == 0);
    free(x);
}

/*
 * y against the same product in double over decoded weights and activations; the difference is f32 rounding
 * only.
 */
static void check_product(const moe__kernels *k, const moe__type *t, size_t n, size_t n_rows, size_t n_cols)
{
    const size_t w_bytes = (size_t)moe__type_bytes(t, n) + (t->block > 1 ? 2 : 0);
    const size_t x_bytes = moe__act_bytes(t->act, n) + 8;
    const size_t ldy = n_rows + 3, n_x = n_cols + 2;
    float *w = row_of(n_rows * n, 17), *x = row_of(n_x * n, 18), *y = row_of(n_cols * ldy, 19);
    float *wd = row_of(n, 1), *xd = row_of(n_x * n, 1);
    uint8_t *wq = malloc(n_rows * w_bytes), *xq = malloc(n_x * x_bytes);
    uint32_t col[32];
    assert_true(wq && xq && n_cols <= 32);
    for (size_t r = 0; r < n_rows; r++) t->quantize(w + r * n, wq + r * w_bytes, n, NULL);
    for (size_t c = 0; c < n_x; c++) {
        void *to = xq + c * x_bytes;
        switch (t->act) {
        case MOE_ACT_Q8_32: k->act_q8_32(to, x + c * n, n); break;
        case MOE_ACT_Q8_256: k->act_q8_256(to, x + c * n, n); break;
        default: memcpy(to, x + c * n, n * sizeof *x);
        }
        const moe__act32 *a = to;
        const moe__act256 *b = to;
        for (size_t i = 0; i < n; i++) {
            float *v = &xd[c * n + i];
            if (t->act == MOE_ACT_Q8_32) *v = a[i / 32].d * (float)a[i / 32].q[i % 32];
            else if (t->act == MOE_ACT_Q8_256) *v = b[i / 256].d * (float)b[i / 256].q[i % 256];
            else *v = x[c * n + i];
        }
    }
    for (size_t c = 0; c < n_cols; c++) col[c] = rng() % (uint32_t)n_x;
    moe__gemm g = {y, ldy, wq, w_bytes, xq, x_bytes, n_cols % 2 ? col : NULL, n_rows, n_cols, n};
    moe__kernels_gemm(k, t->id)(&g);
    for (size_t r = 0; r < n_rows; r++) {
        float w_max = 0;
        t->dequant(wq + r * w_bytes, wd, n);
        for (size_t i = 0; i < n; i++) w_max = fabsf(wd[i]) > w_max ? fabsf(wd[i]) : w_max;
        for (size_t c = 0; c < n_cols; c++) {
            double want = 0, size = 0;
            const float *v = xd + (g.col ? col[c] : c) * n;
            for (size_t i = 0; i < n; i++) {
                want += (double)wd[i] * v[i];
                size += fabs((double)v[i]) * w_max;
            }
            /*
             * each product has at most six roundings (weights, activations, scales), a sum one per step;
             * minima double the terms
             */
            const double steps = t->block == 1 ? (double)n / 16 + 5 : (double)n / t->block;
            const double bound = (steps + 6) * 2 * size * 5.97e-8;
            if (!(fabs(y[c * ldy + r] - want) <= bound))
                fail_msg("%s n=%zu: %g instead of %g, bound %g", t->name, n, (double)y[c * ldy + r], want,
                    bound);
        }
    }
    rng_state = 19; /* the gaps between columns of the result are untouched */
    for (size_t i = 0; i < n_cols * ldy; i++) {
        const float was = normal();
        if (i % ldy >= n_rows) assert_true(y[i] == was);
    }
    free(w), free(x), free(y), free(wd), free(xd), free(wq), free(xq);
}

static void products_match_double_arithmetic(void **state)
{
    (void)state;
    moe__kernels k;
    assert_int_equal(moe__kernels_init(&k, "ref"), MOE_OK);
    for (size_t i = 0; i < moe__type_count(); i++) {
        const moe__type *t = moe__type_at(i);
        assert_non_null(moe__kernels_gemm(&k, t->id));
        check_product(&k, t, t->block, 1, 1);
        check_product(&k, t, t->block * 3u, 5, 8);
        check_product(&k, t, t->block == 1 ? 37 : 768, 3, 11);
        check_product(&k, t, t->block == 1 ? 500 : 1024, 2, 17);
        check_product(&k, t, t->block, 2, 0);
    }
    assert_null(moe__kernels_gemm(&k, 4));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_consistent),
        cmocka_unit_test(decoding_equals_the_gguf_package),
        cmocka_unit_test(encoding_is_as_good_as_the_gguf_package),
        cmocka_unit_test(encoders_keep_the_error_small),
        cmocka_unit_test(encoding_twice_changes_little),
        cmocka_unit_test(importance_moves_the_error),
        cmocka_unit_test(encoders_take_anything),
        cmocka_unit_test(encoders_are_deterministic_per_block),
        cmocka_unit_test(activations_round_to_int8),
        cmocka_unit_test(products_match_double_arithmetic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
