/* SPDX-License-Identifier: MIT */
/*
 * Speed of the kernels on one thread, in CPU time. Matrix products: decode (one column over weights far
 * larger than the caches, and over weights in the second-level cache: GB/s of weights) and prompt (2 to 128
 * columns, weights in the cache: 10^9 multiplications and additions per second). Others: a row of 4096 in the
 * cache, in values per nanosecond. The first line is what plain reading of the large buffer gives.
 */
#include "tester.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DECODE_BYTES ((size_t)192 << 20)
#define N 2048u
#define ROWS 256u
#define COLS 128u

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts); /* other processes do not count */
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* Buffers of all benchmarks, filled once per type. */
static unsigned char *big;
static unsigned char x[COLS * 4 * N + 64];

static double best_of(void (*run)(void *arg), void *arg, double seconds)
{
    double best = 1e30;
    const double end = now() + seconds;
    for (int i = 0; i < 3 || now() < end; i++) {
        const double t0 = now();
        run(arg);
        const double t1 = now() - t0;
        best = t1 < best ? t1 : best;
    }
    return best;
}

typedef struct job {
    moe__gemm g;
    moe__gemm_fn fn;
    const moe__kernels *k;
    size_t i;
} job;

static void run_gemm(void *arg)
{
    const job *j = arg;
    j->fn(&j->g);
}

static void bench_gemm(const char *isa, const moe__kernels *k, const weights *w)
{
    tester t = {.rng = 1};
    const size_t row = N / w->block * w->bytes, rows = DECODE_BYTES / row;
    const size_t x_bytes = w->act == MOE_ACT_F32     ? 4 * N
                           : w->act == MOE_ACT_Q8_32 ? N / 32 * sizeof(moe__act32)
                                                     : N / 256 * sizeof(moe__act256);
    float *out = malloc(sizeof *out * (rows + ROWS * COLS));
    if (!out) abort();
    for (size_t r = 0; r < 64; r++) rnd_weights(&t, w, big + r * row, N / w->block, VALUES_PLAIN);
    for (size_t r = 64; r < rows; r++) memcpy(big + r * row, big + (r - 64) * row, row);
    for (size_t c = 0; c < COLS; c++) rnd_activations(&t, w->act, x + c * x_bytes, N, VALUES_PLAIN);
    job j = {.g = {.y = out,
                   .ldy = rows,
                   .w = big,
                   .w_bytes = row,
                   .x = x,
                   .x_bytes = x_bytes,
                   .n_rows = rows,
                   .n_cols = 1,
                   .n = N},
             .fn = gemm_of(k, w)};
    const int ref = strcmp(isa, "ref") == 0;
    if (ref) j.g.n_rows /= 16;
    const double decode = best_of(run_gemm, &j, 0.1);
    const double gb = (double)(j.g.n_rows * row) / decode * 1e-9;
    j.g.n_cols = 4; /* the result of four columns has room for fewer rows */
    j.g.n_rows = j.g.ldy = j.g.n_rows / 4;
    const double few = best_of(run_gemm, &j, 0.1), few_gb = (double)(j.g.n_rows * row) / few * 1e-9;
    static const size_t cols[] = {1, 2, 4, 8, 16, 32, 64, COLS};
    enum { N_COLS = sizeof cols / sizeof cols[0] };
    double gops[N_COLS];
    for (int i = 0; i < N_COLS; i++) {
        j.g.ldy = j.g.n_rows = ROWS;
        j.g.n_cols = cols[i];
        gops[i] = 2.0 * N * ROWS * (double)cols[i] / best_of(run_gemm, &j, 0.02) * 1e-9;
    }
    const double cached = gops[0] / (2.0 * N) * (double)row;
    printf("# %-11s %-10s decode %6.2f, of 4 columns %6.2f, cached %6.2f GB/s   columns", w->kernel, isa, gb, few_gb,
           cached);
    for (int i = 1; i < N_COLS; i++) printf("%s %zu: %6.1f", i > 1 ? " " : "", cols[i], gops[i]);
    puts(" GOP/s");
    free(out);
}

/* Row kernels: `a`, `b`, `c` are rows of LEN floats, `h` of halves. */
#define LEN 4096u
static float a[LEN], b[LEN], c[LEN];
static uint16_t h[LEN];

#define ROW_BENCHES(X) \
    X(rms_norm, k->rms_norm(c, a, b, 1e-5f, LEN)) \
    X(add, k->add(c, a, LEN)) \
    X(axpy, k->axpy(c, 0.5f, a, LEN)) \
    X(swiglu, k->swiglu(c, a, b, LEN)) \
    X(softmax, k->softmax(c, a, LEN)) \
    X(exp, k->exp(c, a, LEN)) \
    X(softcap, k->softcap(c, 0.5f, 2.0f, LEN)) \
    X(rope, for (size_t r = 0; r < LEN; r += 128) k->rope(c + r, a, 128, 1)) \
    X(to_f16, k->to_f16(h, a, LEN)) \
    X(from_f16, k->from_f16(c, h, LEN)) \
    X(act_q8_32, k->act_q8_32(x, a, LEN)) \
    X(act_q8_256, k->act_q8_256(x, a, LEN))

#define ROW_RUN(name, call) \
    static void run_##name(void *arg) \
    { \
        const moe__kernels *k = arg; \
        for (int i = 0; i < 64; i++) { call; } \
    }
ROW_BENCHES(ROW_RUN)

static void bench_rows(const char *isa, const moe__kernels *k, const char *filter)
{
    static const struct {
        const char *name;
        void (*run)(void *arg);
    } rows[] = {
#define ROW_ENTRY(name, call) {#name, run_##name},
        ROW_BENCHES(ROW_ENTRY)};
    tester t = {.rng = 2};
    rnd_floats(&t, a, LEN, VALUES_PLAIN);
    rnd_floats(&t, b, LEN, VALUES_PLAIN);
    memset(h, 0x31, sizeof h);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!strstr(rows[i].name, filter)) continue;
        memset(c, 0, sizeof c);
        const double s = best_of(rows[i].run, (void *)(uintptr_t)k, 0.01);
        printf("# %-11s %-10s %6.2f values/ns\n", rows[i].name, isa, 64.0 * LEN / s * 1e-9);
    }
}

/*
 * Attention of heads of 128 over a page of 64 positions: with one query over pages far larger than the caches (GB/s of
 * the cache), and with 16 queries and a page in the cache (10^9 multiplications and additions per second).
 */
#define HEAD 128u
#define PAGE 64u
typedef struct attn_job {
    const moe__kernels *k;
    void (*qk)(const moe__attn_qk *a);
    void (*av)(const moe__attn_av *a);
    size_t page; /* bytes */
    size_t n_pages, n_q, q_bytes;
} attn_job;
static _Alignas(64) float attn_out[16 * HEAD];

static void run_qk(void *arg)
{
    const attn_job *j = arg;
    for (size_t i = 0; i < j->n_pages; i++) {
        const moe__attn_qk args = {attn_out, PAGE, x, j->q_bytes, big + i * j->page, j->n_q, PAGE / MOE_K_TILE, HEAD,
                                j->n_pages > 16 ? big + (i + 1) * j->page : NULL};
        j->qk(&args);
    }
}

static void run_av(void *arg)
{
    const attn_job *j = arg;
    for (size_t i = 0; i < j->n_pages; i++) {
        const moe__attn_av args = {attn_out, HEAD, x, j->q_bytes, big + i * j->page, j->n_q, PAGE, HEAD,
                                j->n_pages > 16 ? big + (i + 1) * j->page : NULL};
        j->av(&args);
    }
}

static void bench_attention(const char *isa, const moe__kernels *k, const char *filter)
{
    const struct {
        const char *name;
        void (*qk)(const moe__attn_qk *a);
        void (*av)(const moe__attn_av *a);
        size_t bits; /* of a position's element, scales included, times 2 */
        int quantised;
    } types[] = {{"attn_f32", k->attn_qk_f32, k->attn_av_f32, 64, 0},
                 {"attn_f16", k->attn_qk_f16, k->attn_av_f16, 32, 0},
                 {"attn_bf16", k->attn_qk_bf16, k->attn_av_bf16, 32, 0},
                 {"attn_q8_0", k->attn_qk_q8_0, k->attn_av_q8_0, 17, 1},
                 {"attn_q4_0", k->attn_qk_q4_0, k->attn_av_q4_0, 9, 1}};
    tester t = {.rng = 3};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (!strstr(types[i].name, filter)) continue;
        double gb[2], gops[2];
        attn_job j = {k, types[i].qk, types[i].av, HEAD * PAGE * types[i].bits / 16, 0, 1, 4 * HEAD};
        if (types[i].quantised) {
            j.q_bytes = 2 * HEAD / 32 * sizeof(moe__act32);
            for (size_t r = 0; r < 16; r++) rnd_activations(&t, MOE_ACT_Q8_32, x + r * j.q_bytes, 2 * HEAD, VALUES_PLAIN);
        } else {
            for (size_t r = 0; r < 16; r++) rnd_floats(&t, (float *)(void *)(x + r * j.q_bytes), HEAD, VALUES_PLAIN);
        }
        memset(big, 0x31, DECODE_BYTES);
        for (int av = 0; av < 2; av++) {
            void (*const run)(void *) = av ? run_av : run_qk;
            memset(attn_out, 0, sizeof attn_out);
            j.n_q = 1;
            j.n_pages = DECODE_BYTES / j.page - 1;
            if (strcmp(isa, "ref") == 0) j.n_pages /= 32;
            gb[av] = (double)(j.n_pages * j.page) / best_of(run, &j, 0.1) * 1e-9;
            j.n_q = 16;
            j.n_pages = 16;
            gops[av] = 2.0 * 16 * 16 * PAGE * HEAD / best_of(run, &j, 0.02) * 1e-9;
        }
        printf("# %-11s %-10s keys %6.2f GB/s %7.1f GOP/s   values %6.2f GB/s %7.1f GOP/s\n", types[i].name, isa, gb[0],
               gops[0], gb[1], gops[1]);
    }
}

static moe__act32 bench_w[16 * 2 * HEAD / 32];
static void run_weigh(void *arg)
{
    static const uint32_t n[16] = {64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64};
    const moe__attn_weights args = {bench_w, a, PAGE, big, HEAD * 34, n, 16, 2, HEAD};
    for (int i = 0; i < 64; i++) ((const moe__kernels *)arg)->attn_weigh(&args);
}

static void run_attn_exp(void *arg)
{
    float sum;
    for (int i = 0; i < 64; i++) {
        memcpy(c, b, 512 * sizeof *c);
        ((const moe__kernels *)arg)->attn_exp(c, 0.3f, 512, &sum);
    }
}

/* Reads the large buffer once, word by word. */
static void run_read(void *arg)
{
    const volatile uint64_t *p = arg;
    for (size_t i = 0; i < DECODE_BYTES / sizeof *p; i += 8) {
        (void)p[i];
        (void)p[i + 1];
        (void)p[i + 2];
        (void)p[i + 3];
        (void)p[i + 4];
        (void)p[i + 5];
        (void)p[i + 6];
        (void)p[i + 7];
    }
}

void bench(const char *isa, const moe__kernels *k, const char *filter)
{
    if (!big && !(big = aligned_alloc(64, DECODE_BYTES))) abort();
    if (strcmp(isa, "ref") == 0) {
        memset(big, 1, DECODE_BYTES);
        printf("# read %.2f GB/s\n", (double)DECODE_BYTES / best_of(run_read, big, 0.1) * 1e-9);
    }
    for (size_t i = 0; i < n_weight_types; i++)
        if (strstr(weight_types[i].kernel, filter)) bench_gemm(isa, k, &weight_types[i]);
    bench_rows(isa, k, filter);
    bench_attention(isa, k, filter);
    if (strstr("attn_weigh", filter))
        printf("# attn_weigh  %-10s %6.2f values/ns\n", isa, 64 * 16e-9 * PAGE * HEAD / 32 / best_of(run_weigh, (void *)(uintptr_t)k, 0.02));
    if (strstr("attn_exp", filter))
        printf("# attn_exp    %-10s %6.2f values/ns\n", isa, 64 * 512e-9 / best_of(run_attn_exp, (void *)(uintptr_t)k, 0.02));
}
