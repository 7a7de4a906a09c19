/* SPDX-License-Identifier: MIT */
/* One case per kernel: random arguments, the plain C version into one buffer, the tested one into another,
 * compare. */
#include "tester.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mathx.h"

/* Sizes of row kernels: mostly small with every tail, sometimes larger. */
static size_t rnd_size(tester *t) { return 1 + rnd_below(t, rnd(t) & 3 ? 70 : 1500); }

/* n random floats in a slot, and a second slot with the same. */
static float *floats(tester *t, unsigned slot, size_t n, values v)
{
    float *p = guarded(t, slot, n * sizeof *p);
    rnd_floats(t, p, n, v);
    return p;
}

static float *twin(tester *t, unsigned slot, const float *x, size_t n)
{
    float *p = guarded(t, slot, n * sizeof *p);
    memcpy(p, x, n * sizeof *p);
    return p;
}

/* y = f(x): into another row, or in place. */
#define CASE_MAP(name, call, in_place) \
    void case_##name(tester *t) \
    { \
        const size_t n = rnd_size(t); \
        float *x0 = floats(t, 0, n, rnd_values(t)), *x1 = twin(t, 1, x0, n); \
        float *y0 = in_place && (rnd(t) & 1) ? x0 : guarded(t, 2, n * sizeof *y0); \
        float *y1 = y0 == x0 ? x1 : guarded(t, 3, n * sizeof *y1); \
        const float *z = floats(t, 4, n, rnd_values(t)); \
        const float a = rnd_float(t, VALUES_PLAIN); \
        (void)z; \
        (void)a; \
        { \
            const moe__kernels *k = t->ref; \
            float *y = y0; \
            const float *x = x0; \
            call; \
        } \
        { \
            const moe__kernels *k = t->simd; \
            float *y = y1; \
            const float *x = x1; \
            call; \
        } \
        check_floats(t, #name, y0, y1, n); \
        check_floats(t, #name " (input)", x0, x1, n); \
    }

CASE_MAP(exp, k->exp(y, x, n), 1)
CASE_MAP(sigmoid, k->sigmoid(y, x, n), 1)
CASE_MAP(softmax, k->softmax(y, x, n), 1)
CASE_MAP(swiglu, k->swiglu(y, x, z, n), 1)
CASE_MAP(rms_norm, k->rms_norm(y, x, z, a * a * 1e-5f, n), 1)

/* y op= x: y holds values before. */
#define CASE_UPDATE(name, call) \
    void case_##name(tester *t) \
    { \
        const size_t n = rnd_size(t); \
        const float *x = floats(t, 0, n, rnd_values(t)); \
        float *y0 = floats(t, 1, n, rnd_values(t)), *y1 = twin(t, 2, y0, n); \
        const float a = rnd_float(t, rnd_values(t)); \
        (void)a; \
        (void)x; \
        { \
            const moe__kernels *k = t->ref; \
            float *y = y0; \
            call; \
        } \
        { \
            const moe__kernels *k = t->simd; \
            float *y = y1; \
            call; \
        } \
        check_floats(t, #name, y0, y1, n); \
    }

CASE_UPDATE(add, k->add(y, x, n))
CASE_UPDATE(scale, k->scale(y, a, n))
CASE_UPDATE(axpy, k->axpy(y, a, x, n))

void case_rope(tester *t)
{
    const size_t n = 2 * (1 + rnd_below(t, 150));
    const int half = (int)(rnd(t) & 1);
    const float *cs = floats(t, 0, n, rnd_values(t));
    float *x0 = floats(t, 1, n, rnd_values(t)), *x1 = twin(t, 2, x0, n);
    t->ref->rope(x0, cs, n, half);
    t->simd->rope(x1, cs, n, half);
    check_floats(t, half ? "rope (halves)" : "rope (pairs)", x0, x1, n);
}

/* A half of any bits; NaN payloads survive quietly in both directions, so bits are compared. */
static void rnd_halves(tester *t, uint16_t *x, size_t n, values v)
{
    for (size_t i = 0; i < n; i++) {
        const uint16_t r = (uint16_t)rnd(t);
        if (v == VALUES_SPECIAL)
            x[i] = r;
        else if (v == VALUES_ZERO)
            x[i] = r & 0x8000;
        else
            x[i] = (uint16_t)((r & 0x83ff) | (0x3000 + (r & 0x1c00) % 0x1400)); /* about 0.1 .. 4 */
    }
}

void case_to_f16(tester *t)
{
    const size_t n = rnd_size(t);
    const float *x = floats(t, 0, n, rnd_values(t));
    uint16_t *y0 = guarded(t, 1, 2 * n), *y1 = guarded(t, 2, 2 * n);
    float *f = (float *)(uintptr_t)x;
    if (rnd(t) & 1) /* exponents around those of a half, all roundings */
        for (size_t i = 0; i < n; i++) {
            const uint32_t bits = (uint32_t)(rnd(t) & 0x807fffffu) | (uint32_t)(100 + rnd_below(t, 46)) << 23;
            memcpy(f + i, &bits, sizeof bits);
        }
    t->ref->to_f16(y0, x, n);
    t->simd->to_f16(y1, x, n);
    check_bytes(t, "to_f16", y0, y1, 2 * n);
}

void case_from_f16(tester *t)
{
    const size_t n = rnd_size(t);
    uint16_t *x = guarded(t, 0, 2 * n);
    float *y0 = guarded(t, 1, 4 * n), *y1 = guarded(t, 2, 4 * n);
    rnd_halves(t, x, n, VALUES_SPECIAL);
    t->ref->from_f16(y0, x, n);
    t->simd->from_f16(y1, x, n);
    check_bytes(t, "from_f16", y0, y1, 4 * n);
}

#define CASE_ACT(name, block, type) \
    void case_##name(tester *t) \
    { \
        const size_t n = (block) * (1 + rnd_below(t, 6)), bytes = n / (block) * sizeof(type); \
        float *x = floats(t, 0, n, rnd_values(t)); \
        void *y0 = guarded(t, 1, bytes), *y1 = guarded(t, 2, bytes); \
        /* half of the time one scale for all, from far below the smallest usable one to the largest */ \
        const float k = rnd(t) & 1 ? rnd_float(t, VALUES_WIDE) : 1.0f; \
        for (size_t i = 0; i < n; i++) x[i] *= k; \
        t->ref->name(y0, x, n); \
        t->simd->name(y1, x, n); \
        check_bytes(t, #name, y0, y1, bytes); \
    }

CASE_ACT(act_q8_32, 32, moe__act32)
CASE_ACT(act_q8_256, 256, moe__act256)

/* What a tile holds: float elements, or scales (halves) and bytes. */
static void rnd_cells(tester *t, void *dst, size_t n, size_t elem) { elem == 4 ? rnd_floats(t, dst, n, rnd_values(t)) : rnd_halves(t, dst, n, rnd_values(t)); }

static void rnd_tiles(tester *t, unsigned char *dst, size_t n_tiles, size_t scales, size_t bytes)
{
    const values v = rnd_values(t);
    for (size_t i = 0; i < n_tiles; i++, dst += bytes) {
        rnd_halves(t, (uint16_t *)(void *)dst, scales / 2, v);
        for (size_t b = scales; b < bytes; b++)
            dst[b] = v == VALUES_SPECIAL ? (rnd(t) & 1 ? 0xff : 0) : (unsigned char)rnd(t);
    }
}

/* Queries with keys; bits 0: floats. Rows of q and s have gaps, those of s stay untouched. */
static void case_qk(tester *t, const char *name, void (*fn)(const moe__attn_qk *), void (*ref)(const moe__attn_qk *),
                    size_t elem, unsigned bits)
{
    const size_t dim = bits ? 32 * (1 + rnd_below(t, 5)) : rnd(t) & 1 ? 16 * (1 + rnd_below(t, 8)) : 1 + rnd_below(t, 140);
    const size_t n_tiles = 1 + rnd_below(t, 5), n_q = 1 + rnd_below(t, rnd(t) & 3 ? 21 : 70);
    const size_t lds = 16 * n_tiles + rnd_below(t, 20), n_s = (n_q - 1) * lds + 16 * n_tiles;
    const size_t used = bits ? dim / 32 * sizeof(moe__act32) : 4 * dim, q_bytes = used + 4 * rnd_below(t, 9);
    const size_t bytes = bits ? moe__k_tile_bytes(dim, bits) : MOE_K_TILE * dim * elem;
    unsigned char *k = guarded(t, 0, n_tiles * bytes), *q = guarded(t, 1, (n_q - 1) * q_bytes + used);
    float *s0 = floats(t, 2, n_s, VALUES_PLAIN), *s1 = twin(t, 3, s0, n_s);
    for (size_t i = 0; i < n_q; i++) {
        if (bits)
            rnd_activations(t, MOE_ACT_Q8_32, q + i * q_bytes, dim, rnd_values(t));
        else
            rnd_floats(t, (float *)(void *)(q + i * q_bytes), dim, rnd_values(t));
    }
    if (bits)
        rnd_tiles(t, k, n_tiles, moe__k_tile_scales(dim), bytes);
    else
        rnd_cells(t, k, n_tiles * MOE_K_TILE * dim, elem);
    moe__attn_qk a = {s0, lds, q, q_bytes, k, n_q, n_tiles, dim, rnd(t) & 1 ? k : NULL};
    ref(&a);
    a.s = s1;
    fn(&a);
    check_floats(t, name, s0, s1, n_s);
}

static void case_av(tester *t, const char *name, void (*fn)(const moe__attn_av *), void (*ref)(const moe__attn_av *),
                    size_t elem, unsigned bits)
{
    const size_t dim = bits ? 32 * (1 + rnd_below(t, 5)) : rnd(t) & 1 ? 16 * (1 + rnd_below(t, 12)) : 1 + rnd_below(t, 200);
    const size_t n_tiles = 1 + rnd_below(t, 3), n_q = 1 + rnd_below(t, rnd(t) & 3 ? 21 : 70);
    const size_t n = bits ? n_tiles * MOE_V_TILE : 1 + rnd_below(t, 70);
    const size_t ldy = dim + rnd_below(t, 20), n_y = (n_q - 1) * ldy + dim;
    const size_t used = bits ? n_tiles * dim / 32 * sizeof(moe__act32) : 4 * n, p_bytes = used + 4 * rnd_below(t, 9);
    const size_t bytes = bits ? n_tiles * moe__v_tile_bytes(dim, bits) : n * dim * elem;
    unsigned char *v = guarded(t, 0, bytes), *p = guarded(t, 1, (n_q - 1) * p_bytes + used);
    float *y0 = floats(t, 2, n_y, rnd_values(t)), *y1 = twin(t, 3, y0, n_y);
    for (size_t i = 0; i < n_q; i++) {
        if (bits)
            rnd_activations(t, MOE_ACT_Q8_32, p + i * p_bytes, n_tiles * dim, rnd_values(t));
        else
            rnd_floats(t, (float *)(void *)(p + i * p_bytes), n, rnd_values(t));
    }
    if (bits)
        rnd_tiles(t, v, n_tiles, moe__v_tile_scales(dim), moe__v_tile_bytes(dim, bits));
    else
        rnd_cells(t, v, n * dim, elem);
    moe__attn_av a = {y0, ldy, p, p_bytes, v, n_q, n, dim, rnd(t) & 1 ? v : NULL};
    ref(&a);
    a.y = y1;
    fn(&a);
    check_floats(t, name, y0, y1, n_y);
}

#define CASE_ATTN(type, elem, bits) \
    void case_attn_qk_##type(tester *t) \
    { \
        case_qk(t, "attn_qk_" #type, t->simd->attn_qk_##type, t->ref->attn_qk_##type, elem, bits); \
    } \
    void case_attn_av_##type(tester *t) \
    { \
        case_av(t, "attn_av_" #type, t->simd->attn_av_##type, t->ref->attn_av_##type, elem, bits); \
    }

CASE_ATTN(f32, 4, 0)
CASE_ATTN(f16, 2, 0)
CASE_ATTN(bf16, 2, 0)
CASE_ATTN(q8_0, 1, 8)
CASE_ATTN(q4_0, 1, 4)

void case_attn_weigh(tester *t)
{
    const unsigned bits = rnd(t) & 1 ? 8 : 4;
    const size_t dim = 32 * (1 + rnd_below(t, 6)), n_tiles = 1 + rnd_below(t, 3), n_q = 1 + rnd_below(t, 9);
    const size_t ldp = n_tiles * MOE_V_TILE + rnd_below(t, 9), bytes = moe__v_tile_bytes(dim, bits);
    const size_t n_w = n_q * n_tiles * (dim / 32) * sizeof(moe__act32);
    unsigned char *v = guarded(t, 0, n_tiles * bytes);
    const float *p = floats(t, 1, (n_q - 1) * ldp + n_tiles * MOE_V_TILE, rnd_values(t));
    uint32_t *n = guarded(t, 2, n_q * sizeof *n);
    moe__act32 *w0 = guarded(t, 3, n_w), *w1 = guarded(t, 4, n_w);
    rnd_tiles(t, v, n_tiles, moe__v_tile_scales(dim), bytes);
    for (size_t i = 0; i < n_q; i++)
        n[i] = (uint32_t)(rnd(t) & 1 ? n_tiles * MOE_V_TILE : rnd_below(t, n_tiles * MOE_V_TILE + 1));
    moe__attn_weights a = {w0, p, ldp, v, bytes, n, n_q, n_tiles, dim};
    t->ref->attn_weigh(&a);
    a.w = w1;
    t->simd->attn_weigh(&a);
    check_bytes(t, "attn_weigh", w0, w1, n_w);
}

void case_attn_exp(tester *t)
{
    const size_t n = 1 + rnd_below(t, 300);
    float *s0 = floats(t, 0, n, rnd_values(t));
    const float scale = rnd_float(t, VALUES_PLAIN);
    if (rnd(t) & 1) /* masked positions */
        for (size_t i = 0; i < n; i++)
            s0[i] = rnd(t) % 3 ? s0[i] : (scale < 0 ? 1.0f : -1.0f) * 3e38f * 3e38f;
    float *s1 = twin(t, 1, s0, n), sum[4] = {0, 0, 0, 0};
    sum[0] = t->ref->attn_exp(s0, scale, n, &sum[1]);
    sum[2] = t->simd->attn_exp(s1, scale, n, &sum[3]);
    check_floats(t, "attn_exp", s0, s1, n);
    check_floats(t, "attn_exp: maximum and sum", sum, sum + 2, 2);
}

/* Matrix products: rows with gaps, any address, columns in order, by list, repeated; the result with gaps
 * that stay untouched. */
static void case_gemm(tester *t, const weights *w)
{
    enum { MAX_COLS = 40 };
    const values v = rnd_below(t, 4) == 0 ? VALUES_SPECIAL : VALUES_WIDE;
    const int large = rnd_below(t, 8) == 0; /* several passes of every blocking */
    const int chunks = w->block == 1 && rnd_below(t, 8) == 0; /* rows that a kernel cuts into chunks */
    const size_t n_rows = 1 + rnd_below(t, large && !chunks ? 300 : 40), n_x = 1 + rnd_below(t, 9);
    const size_t n_cols = 1 + rnd_below(t, !chunks && (rnd(t) & 1) ? 9 : large ? 150 : MAX_COLS);
    const size_t blocks = w->block == 1 ? (chunks ? 3000 : 200) : w->block == 32 ? 20 : 3;
    const size_t n = w->block * (1 + rnd_below(t, blocks));
    const size_t used = n / w->block * w->bytes, w_bytes = used + (rnd(t) & 1 ? rnd_below(t, 19) : 0);
    const size_t x_used = w->act == MOE_ACT_F32     ? 4 * n
                          : w->act == MOE_ACT_Q8_32 ? n / 32 * sizeof(moe__act32)
                                                    : n / 256 * sizeof(moe__act256);
    const size_t x_bytes = x_used + 4 * (rnd(t) & 1 ? rnd_below(t, 9) : 0),
                 ldy = n_rows + (rnd(t) & 1 ? rnd_below(t, 9) : 0);
    const int list = n_cols > n_x || (rnd(t) & 1);
    unsigned char *rows = guarded(t, 0, (n_rows - 1) * w_bytes + used),
                  *x = guarded(t, 1, (n_x - 1) * x_bytes + x_used);
    uint32_t *col = guarded(t, 2, n_cols * sizeof *col);
    const size_t ny = (n_cols - 1) * ldy + n_rows;
    float *y0 = guarded(t, 3, 4 * ny), *y1 = guarded(t, 4, 4 * ny);
    for (size_t r = 0; r < n_rows; r++) rnd_weights(t, w, rows + r * w_bytes, n / w->block, v);
    for (size_t i = 0; i < n_x; i++)
        rnd_activations(t, w->act, x + i * x_bytes, n, v == VALUES_SPECIAL ? v : rnd_values(t));
    for (size_t c = 0; c < n_cols; c++) col[c] = (uint32_t)rnd_below(t, n_x);
    const moe__gemm g = {.ldy = ldy,
                         .w = rows,
                         .w_bytes = w_bytes,
                         .x = x,
                         .x_bytes = x_bytes,
                         .col = list ? col : NULL,
                         .n_rows = n_rows,
                         .n_cols = n_cols,
                         .n = n};
    moe__gemm g0 = g, g1 = g;
    g0.y = y0;
    g1.y = y1;
    gemm_of(t->ref, w)(&g0);
    gemm_of(t->simd, w)(&g1);
    char where[96];
    snprintf(where, sizeof where, "%s: %zu rows, %zu columns, n %zu%s", w->kernel, n_rows, n_cols, n,
             v == VALUES_SPECIAL ? ", extreme" : "");
    check_floats(t, where, y0, y1, ny); /* the gaps hold the same pattern on both sides */
}

static const weights *weights_of(const char *kernel)
{
    for (size_t i = 0; i < n_weight_types; i++)
        if (strcmp(weight_types[i].kernel, kernel) == 0) return &weight_types[i];
    abort();
}

#define CASE_GEMM(name) \
    void case_##name(tester *t) { case_gemm(t, weights_of(#name)); }

CASE_GEMM(gemm_f32)
CASE_GEMM(gemm_f16)
CASE_GEMM(gemm_bf16)
CASE_GEMM(gemm_q4_0)
CASE_GEMM(gemm_q4_1)
CASE_GEMM(gemm_q5_0)
CASE_GEMM(gemm_q5_1)
CASE_GEMM(gemm_q8_0)
CASE_GEMM(gemm_q2_k)
CASE_GEMM(gemm_q3_k)
CASE_GEMM(gemm_q4_k)
CASE_GEMM(gemm_q5_k)
CASE_GEMM(gemm_q6_k)
CASE_GEMM(gemm_iq4_nl)
CASE_GEMM(gemm_iq4_xs)
CASE_GEMM(gemm_mxfp4)

/* Rows of doubles in place, from values around 0 to any bits, against the plain C version and against what
 * defines both. */
static void case_of_doubles(tester *t, const char *name, void (*ref)(double *, size_t),
                            void (*simd)(double *, size_t), double (*scalar)(double))
{
    static const double special[] = {0.0,
                                     -0.0,
                                     1.0,
                                     0x1p-1022,
                                     5e-324,
                                     0x1p-70,
                                     -745.2,
                                     -745.1,
                                     709.7,
                                     709.782712893384,
                                     709.78271289338411,
                                     1.4142135623730951,
                                     -708.5,
                                     -746.0,
                                     710.0,
                                     1.7976931348623157e308};
    const size_t n = rnd_size(t);
    const unsigned kind = (unsigned)rnd_below(t, 4);
    double *x0 = guarded(t, 0, n * sizeof *x0), *x1 = guarded(t, 1, n * sizeof *x1),
           *x = guarded(t, 2, n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = rnd(t);
        const double unit = (double)(r >> 11) * 0x1p-53;
        x[i] = kind == 0   ? -40 * unit
               : kind == 1 ? 1600 * unit - 800
                           : special[r % (sizeof special / sizeof *special)];
        if (kind == 3) memcpy(&x[i], &r, sizeof r);
    }
    memcpy(x0, x, n * sizeof *x);
    memcpy(x1, x, n * sizeof *x);
    ref(x0, n);
    simd(x1, n);
    for (size_t i = 0; i < n; i++) {
        const double want = scalar(x[i]);
        const int nan = want != want;
        if (nan ? x0[i] == x0[i] : memcmp(&want, &x0[i], sizeof want) != 0)
            fail(t, "%s(%a) is %a in plain C, expected %a", name, x[i], x0[i], want);
        if (nan ? x1[i] == x1[i] : memcmp(&want, &x1[i], sizeof want) != 0)
            fail(t, "%s(%a) is %a, expected %a", name, x[i], x1[i], want);
    }
}

void case_softcap(tester *t)
{
    const size_t n = 1 + rnd_below(t, 300);
    float *y0 = floats(t, 0, n, rnd_values(t)), *y1 = twin(t, 1, y0, n);
    const float by = rnd_float(t, VALUES_PLAIN), cap = rnd_float(t, VALUES_PLAIN);
    t->ref->softcap(y0, by, cap, n);
    t->simd->softcap(y1, by, cap, n);
    check_floats(t, "softcap", y0, y1, n);
}

void case_exp64(tester *t) { case_of_doubles(t, "exp64", t->ref->exp64, t->simd->exp64, moe__math_exp); }
void case_log64(tester *t) { case_of_doubles(t, "log64", t->ref->log64, t->simd->log64, moe__math_log); }
