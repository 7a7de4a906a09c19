/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at most. Every figure is the best of several passes: others' work can only lower
 * it.
 *
 * Reading: each thread reads its part of a large anonymous buffer, in one stream or several, asking for lines
 * some KB ahead; the kernel is asked for large pages. Which way is the fastest differs between CPUs, so all
 * are tried.
 *
 * Products: independent chains of the instruction that the kernels of a level are built on, without memory.
 * One product counts as two operations, as is usual. Known for x86; elsewhere the peak stays unknown.
 */
#include "limits.h"

#include "limits_os.h"
#include "term.h"

#include <string.h>

#define PASSES     3
#define LINE       64
#define BUFFER_MAX ((size_t)1 << 30)

struct share {
    void (*work)(struct share *s);
    unsigned char *from; /* read: part of the buffer */
    size_t n_bytes;
    uint32_t streams, ahead; /* read: streams, bytes asked for ahead of each */
    uint64_t rounds;         /* products: repetitions */
    volatile uint64_t sink;  /* keeps the compiler from leaving the work out */
};

static void work_of(void *shares, size_t i)
{
    struct share *s = (struct share *)shares + i;
    s->work(s);
}

/* Seconds that n threads take for their shares; the calling thread is one of them. 0 if there are no more
 * threads. */
static double run_team(struct share *share, size_t n)
{
    const uint64_t begin = clock_ns();
    const bool all = os_run_team(work_of, share, n);
    return all ? (double)(clock_ns() - begin) * 1e-9 : 0.0;
}

/* ------------------------------------------------------------------------------------------------ reading */

static inline uint64_t read_line(const unsigned char *p, uint32_t ahead)
{
    const uint64_t *q = (const uint64_t *)(const void *)p;
#if defined(__GNUC__)
    __builtin_prefetch(p + ahead, 0, 2); /* past the end of the buffer it does nothing */
#else
    (void)ahead;
#endif
    return q[0] ^ q[1] ^ q[2] ^ q[3] ^ q[4] ^ q[5] ^ q[6] ^ q[7];
}

static void read_share(struct share *s)
{
    const size_t step = s->n_bytes / s->streams / LINE * LINE;
    uint64_t x = 0;
    for (size_t i = 0; i < step; i += LINE)
        for (size_t k = 0; k < s->streams; k++) x ^= read_line(s->from + k * step + i, s->ahead);
    s->sink = x;
}

static void write_share(struct share *s) { memset(s->from, 1, s->n_bytes); }

/* At most a quarter of the memory that is free. */
static size_t buffer_bytes(void)
{
    const uint64_t free = os_free_memory();
    size_t n = BUFFER_MAX;
    while (n > free / 4) n /= 2;
    return n;
}

static double measure_read(struct share *share, size_t n_threads)
{
    static const struct {
        uint32_t streams, ahead;
    } way[] = {{1, 4096}, {1, 1024}, {4, 1024}, {8, 512}};
    const size_t n = buffer_bytes(), part = n / n_threads / 4096 * 4096;
    unsigned char *buffer = n >= 4096 * n_threads ? os_buffer(n) : NULL;
    double best = 0.0;
    if (!buffer) return 0.0;
    for (size_t t = 0; t < n_threads; t++)
        share[t] = (struct share){.work = write_share, .from = buffer + t * part, .n_bytes = part};
    run_team(share, n_threads);
    for (size_t w = 0; w < sizeof way / sizeof *way; w++) {
        for (size_t t = 0; t < n_threads; t++) {
            share[t].work = read_share;
            share[t].streams = way[w].streams;
            share[t].ahead = way[w].ahead;
        }
        for (int pass = 0; pass < PASSES; pass++) {
            const double s = run_team(share, n_threads);
            if (s > 0.0 && (double)(part * n_threads) / s > best) best = (double)(part * n_threads) / s;
        }
    }
    os_buffer_free(buffer, n);
    return best;
}

/* ----------------------------------------------------------------------------------------------- products */

#if defined(__x86_64__) && defined(__GNUC__)

/* Twelve chains hide the latency of two multipliers; registers are named because compilers copy accumulators.
 */
#define CHAIN12(OP, R)                                                                                       \
    OP(R, 0)                                                                                                 \
    OP(R, 1) OP(R, 2) OP(R, 3) OP(R, 4) OP(R, 5) OP(R, 6) OP(R, 7) OP(R, 8) OP(R, 9) OP(R, 10) OP(R, 11)
#define CLOBBER_X                                                                                            \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",        \
        "xmm12", "xmm13", "xmm14", "xmm15"

#define DPBUSD(R, I)     "vpdpbusd %%" R "15, %%" R "14, %%" R #I "\n\t"
#define DPBUSD_VEX(R, I) "%{vex%} vpdpbusd %%" R "15, %%" R "14, %%" R #I "\n\t"
/* Before VNNI: products into pairs of 16 bits, added up. Kernels need a little more, to get to 32 bits. */
#define MADD(R, I)                                                                                           \
    "vpmaddubsw %%" R "15, %%" R "14, %%" R "12\n\tvpaddw %%" R "12, %%" R #I ", %%" R #I "\n\t"

/* The last instruction spares code of the oldest kind a penalty. */
#define WORK(name, OP, R)                                                                                    \
    static void name(struct share *s)                                                                        \
    {                                                                                                        \
        for (uint64_t i = 0; i < s->rounds; i++) __asm__ volatile(CHAIN12(OP, R)::: CLOBBER_X);              \
        __asm__ volatile("vzeroupper" ::: CLOBBER_X);                                                        \
    }
WORK(work_avx512vnni, DPBUSD, "zmm")
WORK(work_avxvnni, DPBUSD_VEX, "ymm")
WORK(work_avx512, MADD, "zmm")
WORK(work_avx2, MADD, "ymm")

/* Four sums of 16 x 16 values, from two tiles of each side, all zero: 16 x 16 x 64 products an instruction.
 */
static void work_amx(struct share *s)
{
    struct {
        uint8_t palette, first, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        tiles.row_bytes[i] = 64;
        tiles.rows[i] = 16;
    }
    __asm__ volatile("ldtilecfg %0" : : "m"(tiles));
    for (uint64_t i = 0; i < s->rounds; i++)
        __asm__ volatile("tdpbssd %tmm6, %tmm4, %tmm0\n\ttdpbssd %tmm7, %tmm4, %tmm1\n\t"
                         "tdpbssd %tmm6, %tmm5, %tmm2\n\ttdpbssd %tmm7, %tmm5, %tmm3");
    __asm__ volatile("tilerelease");
}

static const struct level {
    const char *isa, *how; /* level of the library; the instructions that count for it */
    void (*work)(struct share *s);
    double ops; /* of one round */
    uint64_t rounds;
} levels[] = {
    {"avx2", "avx2", work_avx2, 12 * 64, 2000000},
    {"avxvnni", "avxvnni", work_avxvnni, 12 * 64, 2000000},
    {"avx512", "avx512", work_avx512, 12 * 128, 2000000},
    {"avx512vnni", "avx512vnni", work_avx512vnni, 12 * 128, 2000000},
    {"amx", "avx512vnni", work_avx512vnni, 12 * 128, 2000000},
    {"amx", "amx", work_amx, 4 * 2 * 16384, 500000},
};

static void measure_products(struct share *share, size_t n_threads, const char *isa, struct limits *out)
{
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const struct level *l = &levels[i];
        struct peak peak = {l->how, 0.0};
        if (strcmp(isa, l->isa) != 0 || (l->work == work_amx && !os_allow_amx())) continue;
        for (size_t t = 0; t < n_threads; t++)
            share[t] = (struct share){.work = l->work, .rounds = l->rounds};
        for (int pass = 0; pass < PASSES; pass++) {
            const double s = run_team(share, n_threads);
            const double rate = s > 0.0 ? l->ops * (double)(l->rounds * n_threads) / s : 0.0;
            if (rate > peak.ops) peak.ops = rate;
        }
        if (peak.ops > 0.0) out->int8[out->n_int8++] = peak;
    }
}

#else

static void measure_products(struct share *share, size_t n_threads, const char *isa, struct limits *out)
{
    (void)share;
    (void)n_threads;
    (void)isa;
    (void)out;
}

#endif

struct limits limits_measure(uint32_t threads, const char *isa)
{
    static struct share share[OS_THREADS_MAX];
    struct limits out = {0};
    const size_t n = threads == 0 ? 1 : threads < OS_THREADS_MAX ? threads : OS_THREADS_MAX;
    out.read = measure_read(share, n);
    measure_products(share, n, isa ? isa : moe_cpu_isa(), &out);
    return out;
}
