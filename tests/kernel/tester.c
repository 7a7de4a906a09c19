/* SPDX-License-Identifier: MIT */
/* Runs the cases and prints TAP; options: --seed N --filter TEXT --isa LEVEL --rounds N --bench --list. See
 * tester.h. */
#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#endif
#include "tester.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/half.h"
#include "base/status.h"

#define PATTERN 0xa5

uint64_t rnd(tester *t)
{
    uint64_t z = t->rng += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

size_t rnd_below(tester *t, size_t n) { return (size_t)(rnd(t) % n); }

float rnd_float(tester *t, values v)
{
    static const uint32_t special[] = {0,           0x80000000u, 1,           0x80000001u, 0x007fffffu,
                                       0x00800000u, 0x7f7fffffu, 0xff7fffffu, 0x7f800000u, 0xff800000u,
                                       0x7fc00000u, 0x3f800000u, 0x42b17218u, 0xc2d00000u};
    const uint64_t r = rnd(t);
    const float plain = ((float)(int32_t)(r >> 32) * 4.6566128730773926e-10f) * 4.0f;
    switch (v) {
    case VALUES_WIDE:
        return moe__f32_from_bits((uint32_t)(r & 0x807fffffu) | (uint32_t)(r >> 32) % 255u << 23);
    case VALUES_SPECIAL:
        return r % 5 ? plain : moe__f32_from_bits(special[(r >> 8) % (sizeof special / sizeof *special)]);
    case VALUES_ZERO:
        return r & 1 ? 0.0f : -0.0f;
    default:
        return plain;
    }
}

void rnd_floats(tester *t, float *x, size_t n, values v)
{
    for (size_t i = 0; i < n; i++) x[i] = rnd_float(t, v);
}

/* Plain values half of the time. */
values rnd_values(tester *t) { return (values)(rnd(t) & 1 ? VALUES_PLAIN : rnd_below(t, N_VALUES)); }

static struct slot {
    unsigned char *base, *block;
    size_t n;
} slots[N_SLOTS];

static void slots_init(void)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (unsigned i = 0; i < N_SLOTS; i++) {
        unsigned char *p = mmap(NULL, SLOT_BYTES + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED || mprotect(p + page, SLOT_BYTES, PROT_READ | PROT_WRITE)) {
            puts("Bail out! no memory");
            exit(1);
        }
        slots[i].base = p + page;
    }
}

void *guarded(tester *t, unsigned slot, size_t n)
{
    struct slot *s = &slots[slot];
    if (slot >= N_SLOTS || n > SLOT_BYTES) {
        printf("Bail out! slot %u of %zu bytes\n", slot, n);
        exit(1);
    }
    /* Wipe what the last case may have left: the block itself and a page around it. */
    memset(s->base, PATTERN, n + 8192 < SLOT_BYTES ? n + 8192 : SLOT_BYTES);
    memset(s->base + (SLOT_BYTES - (n + 8192 < SLOT_BYTES ? n + 8192 : SLOT_BYTES)), PATTERN,
           n + 8192 < SLOT_BYTES ? n + 8192 : SLOT_BYTES);
    s->block = rnd(t) & 1 ? s->base : s->base + (SLOT_BYTES - n);
    s->n = n;
    return s->block;
}

int guard_broken(unsigned slot)
{
    const struct slot *s = &slots[slot];
    if (!s->block) return 0;
    const unsigned char *from = s->block - s->base > 4096 ? s->block - 4096 : s->base;
    const unsigned char *end = s->base + SLOT_BYTES,
                        *to = end - (s->block + s->n) > 4096 ? s->block + s->n + 4096 : end;
    for (const unsigned char *p = from; p < s->block; p++)
        if (*p != PATTERN) return 1;
    for (const unsigned char *p = s->block + s->n; p < to; p++)
        if (*p != PATTERN) return 1;
    return 0;
}

void fail(tester *t, const char *fmt, ...)
{
    va_list ap;
    if (t->failed) return;
    t->failed = 1;
    va_start(ap, fmt);
    vsnprintf(t->what, sizeof t->what, fmt, ap);
    va_end(ap);
}

void check_floats(tester *t, const char *where, const float *expected, const float *found, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t a = moe__f32_bits(expected[i]), b = moe__f32_bits(found[i]);
        if (a == b || (isnan(expected[i]) && isnan(found[i]))) continue;
        fail(t, "%s: element %zu of %zu is %.9g (%08" PRIx32 "), expected %.9g (%08" PRIx32 ")", where, i, n,
             (double)found[i], b, (double)expected[i], a);
        return;
    }
}

void check_bytes(tester *t, const char *where, const void *expected, const void *found, size_t n)
{
    const unsigned char *a = expected, *b = found;
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i]) continue;
        fail(t, "%s: byte %zu of %zu is %02x, expected %02x", where, i, n, b[i], a[i]);
        return;
    }
}

void check_guards(tester *t)
{
    for (unsigned i = 0; i < N_SLOTS; i++)
        if (guard_broken(i)) fail(t, "wrote outside of buffer %u", i);
}

static const struct {
    const char *name;
    void (*run)(tester *t);
} cases[MOE_N_KERNELS] = {
#define MOE_KERNEL(name, ret, args, doc) {#name, case_##name},
#include "kernel/kernels.def"
#undef MOE_KERNEL
};

static const char *const levels[] = {"ref",        "avx2", "avxvnni", "avx512",
                                     "avx512vnni", "amx", "neon", "dotprod", "i8mm"};
enum { N_LEVELS = sizeof levels / sizeof levels[0] };

static size_t level_index(const char *name)
{
    size_t i = 0;
    while (i < N_LEVELS && strcmp(levels[i], name) != 0) i++;
    return i;
}

/* isa_max is obeyed: nothing above it is chosen, unknown names are refused, and what a table holds has a
 * name. */
static int selection_ok(char *what, size_t cap)
{
    moe__kernels k;
    if (moe__kernels_init(&k, "no-such-level") != MOE_E_INVALID)
        return snprintf(what, cap, "an unknown level was accepted") < 0;
    if (moe__kernels_init(&k, NULL) != MOE_OK) return snprintf(what, cap, "the best level was refused") < 0;
    if (level_index(moe__kernels_best()) >= N_LEVELS)
        return snprintf(what, cap, "the best level has a name unknown here") < 0;
    for (size_t l = 0; l < N_LEVELS; l++) {
        const int st = moe__kernels_init(&k, levels[l]);
        if (st != MOE_OK && st != MOE_E_UNSUPPORTED)
            return snprintf(what, cap, "%s: status %d", levels[l], st) < 0;
        if (l > level_index(moe__kernels_best()) && st == MOE_OK)
            return snprintf(what, cap, "%s is above the best", levels[l]) < 0;
        if (st != MOE_OK) continue;
        for (size_t i = 0; i < MOE_N_KERNELS; i++) {
            const char *isa = moe__kernel_isa(i, levels[l]);
            if (isa && level_index(isa) <= l) continue;
            return snprintf(what, cap, "%s at %s is said to be %s", moe__kernel_name(i), levels[l],
                            isa ? isa : "nothing") < 0;
        }
    }
    return 1;
}

#if defined(__aarch64__) && defined(__linux__)
/* What the kernel prints about the first CPU. 0: nothing of the kind. */
static int cpuinfo_features(int *asimd, int *dotprod, int *i8mm)
{
    char line[2048] = "";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f) && strncmp(line, "Features", 8) != 0) line[0] = '\0';
    if (f) fclose(f);
    *asimd = strstr(line, " asimd ") != NULL;
    *dotprod = strstr(line, " asimddp") != NULL;
    *i8mm = strstr(line, " i8mm") != NULL;
    return line[0] != '\0';
}
#endif

/* moe__cpu_flags() against the compiler's own detection or what the kernel prints. */
static int detection_ok(void)
{
#if defined(__x86_64__) && defined(__GNUC__)
    const uint32_t cpu = moe__cpu_flags();
    __builtin_cpu_init();
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    const int vnni = avx512 && __builtin_cpu_supports("avx512vnni");
    return avx2 == !!(cpu & MOE_CPU_AVX2) && avx512 == !!(cpu & MOE_CPU_AVX512) &&
           vnni == !!(cpu & MOE_CPU_AVX512_VNNI);
#elif defined(__aarch64__) && defined(__linux__)
    const uint32_t cpu = moe__cpu_flags();
    int asimd, dotprod, i8mm;
    /* no such file, or of another CPU: an emulator */
    if (!cpuinfo_features(&asimd, &dotprod, &i8mm)) return 1;
    return asimd == !!(cpu & MOE_CPU_NEON) && dotprod == !!(cpu & MOE_CPU_DOTPROD) &&
           i8mm == !!(cpu & MOE_CPU_I8MM);
#else
    return 1;
#endif
}

/* The address in slot i. */
static int same_slot(const moe__kernels *a, const moe__kernels *b, size_t i)
{
    return memcmp((const char *)a + i * sizeof(void (*)(void)), (const char *)b + i * sizeof(void (*)(void)),
                  sizeof(void (*)(void))) == 0;
}

typedef struct options {
    uint64_t seed;
    const char *filter, *isa;
    int rounds, bench;
} options;

static int usage(const char *self)
{
    fprintf(stderr, "usage: %s [--seed N] [--filter TEXT] [--isa LEVEL] [--rounds N] [--bench]\n", self);
    return 2;
}

static int parse(int argc, char **argv, options *o)
{
    *o = (options){(uint64_t)time(NULL), "", NULL, 60, 0};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            o->bench = 1;
        else if (i + 1 >= argc)
            return 0;
        else if (!strcmp(argv[i], "--seed"))
            o->seed = strtoull(argv[++i], NULL, 0);
        else if (!strcmp(argv[i], "--filter"))
            o->filter = argv[++i];
        else if (!strcmp(argv[i], "--isa"))
            o->isa = argv[++i];
        else if (!strcmp(argv[i], "--rounds"))
            o->rounds = atoi(argv[++i]);
        else
            return 0;
    }
    return 1;
}

/* One kernel at one level: `rounds` cases, each from its own seed so that any of them can be repeated alone.
 */
static void run_kernel(tester *t, size_t i, const options *o)
{
    t->failed = 0;
    for (int round = 0; round < o->rounds && !t->failed; round++) {
        t->rng = o->seed + (uint64_t)round * UINT64_C(0x100000001b3) + i;
        cases[i].run(t);
        check_guards(t);
    }
}

int main(int argc, char **argv)
{
    options o;
    moe__kernels ref, below, k;
    tester t = {0};
    int n = 0, n_failed = 0;
    char what[256] = "";
    if (!parse(argc, argv, &o)) return usage(argv[0]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    slots_init();
    if (moe__kernels_init(&ref, "ref") != MOE_OK) return 1;
    printf("# seed %" PRIu64 ", best level %s\n", o.seed, moe__kernels_best());
    const int selected = selection_ok(what, sizeof what);
    printf("%s %d - selection of levels%s%s\n", selected ? "ok" : "not ok", ++n, selected ? "" : ": ", what);
    n_failed += !selected;
    const int detected = detection_ok();
    printf("%s %d - detection agrees with the compiler's\n", detected ? "ok" : "not ok", ++n);
    n_failed += !detected;
    below = ref;
    for (size_t l = 0; l < N_LEVELS; l++) {
        if (moe__kernels_init(&k, levels[l]) != MOE_OK) continue;
        if (o.isa && strcmp(o.isa, levels[l]) != 0) {
            below = k;
            continue;
        }
        if (o.bench) bench(levels[l], &k, o.filter);
        for (size_t i = 0; i < MOE_N_KERNELS && !o.bench; i++) {
            if (!strstr(cases[i].name, o.filter)) continue;
            if (l > 0 && same_slot(&k, &below, i)) continue; /* the level below was tested */
            t.ref = &ref;
            t.simd = &k;
            run_kernel(&t, i, &o);
            printf("%s %d - %s %s", t.failed ? "not ok" : "ok", ++n, cases[i].name, levels[l]);
            if (t.failed)
                printf(": %s (--seed %" PRIu64 " --filter %s --isa %s)", t.what, o.seed, cases[i].name,
                       levels[l]);
            putchar('\n');
            n_failed += t.failed;
        }
        below = k;
    }
    printf("1..%d\n", n);
    return n_failed != 0;
}
