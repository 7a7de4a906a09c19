/* SPDX-License-Identifier: MIT */
/*
 * Which kernels run here: the reference table is filled first, then each instruction set of this build
 * overwrites what it does better, in rising order, as far as the CPU has it and isa_max allows. There is no
 * state: a model keeps its own table.
 */
#include <assert.h>
#include <string.h>

#include "base/cpu.h"
#include "base/os_thread.h"
#include "base/status.h"
#include "kernel/kernel.h"
#include "kernel/ref/ref.h"
#if defined(MOE_HAVE_AVX2) || defined(MOE_HAVE_AVX512)
#include "kernel/x86/x86.h"
#endif
#if defined(MOE_HAVE_NEON) || defined(MOE_HAVE_DOTPROD) || defined(MOE_HAVE_I8MM)
#include "kernel/arm/arm.h"
#endif

/* Every slot of moe__kernels is one function pointer, so that slots can be compared by index. */
typedef void (*any_fn)(void);
static_assert(sizeof(moe__kernels) == MOE_N_KERNELS * sizeof(any_fn), "function pointers and nothing else");

static void init_ref(moe__kernels *k)
{
#define MOE_KERNEL(name, ret, args, doc) k->name = moe__ref_##name;
#include "kernel/kernels.def"
#undef MOE_KERNEL
}

typedef struct level {
    const char *name;
    uint32_t flags; /* all of these the CPU must have */
    void (*init)(moe__kernels *k); /* NULL: not in this build */
} level;

#ifdef MOE_HAVE_AVX2
#define IF_AVX2(fn) fn
#else
#define IF_AVX2(fn) NULL
#endif
#ifdef MOE_HAVE_AVXVNNI
#define IF_AVXVNNI(fn) fn
#else
#define IF_AVXVNNI(fn) NULL
#endif
#ifdef MOE_HAVE_AVX512
#define IF_AVX512(fn) fn
#else
#define IF_AVX512(fn) NULL
#endif
#ifdef MOE_HAVE_AVX512VNNI
#define IF_AVX512VNNI(fn) fn
#else
#define IF_AVX512VNNI(fn) NULL
#endif
#ifdef MOE_HAVE_AMX
#define IF_AMX(fn) fn
#else
#define IF_AMX(fn) NULL
#endif
#ifdef MOE_HAVE_NEON
#define IF_NEON(fn) fn
#else
#define IF_NEON(fn) NULL
#endif
#ifdef MOE_HAVE_DOTPROD
#define IF_DOTPROD(fn) fn
#else
#define IF_DOTPROD(fn) NULL
#endif
#ifdef MOE_HAVE_I8MM
#define IF_I8MM(fn) fn
#else
#define IF_I8MM(fn) NULL
#endif

/* Rising for each kind of CPU: a later level may replace what an earlier one set. */
static const level levels[] = {
    {"ref", 0, init_ref},
    {"avx2", MOE_CPU_AVX2, IF_AVX2(moe__kernels_init_avx2)},
    {"avxvnni", MOE_CPU_AVX2 | MOE_CPU_AVX_VNNI, IF_AVXVNNI(moe__kernels_init_avxvnni)},
    {"avx512", MOE_CPU_AVX2 | MOE_CPU_AVX512, IF_AVX512(moe__kernels_init_avx512)},
    {"avx512vnni", MOE_CPU_AVX2 | MOE_CPU_AVX512 | MOE_CPU_AVX512_VNNI,
     IF_AVX512VNNI(moe__kernels_init_avx512vnni)},
    {"amx", MOE_CPU_AVX2 | MOE_CPU_AVX512 | MOE_CPU_AVX512_VNNI | MOE_CPU_AMX, IF_AMX(moe__kernels_init_amx)},
    {"neon", MOE_CPU_NEON, IF_NEON(moe__kernels_init_neon)},
    {"dotprod", MOE_CPU_NEON | MOE_CPU_DOTPROD, IF_DOTPROD(moe__kernels_init_dotprod)},
    {"i8mm", MOE_CPU_NEON | MOE_CPU_DOTPROD | MOE_CPU_I8MM, IF_I8MM(moe__kernels_init_i8mm)},
};

enum { N_LEVELS = sizeof levels / sizeof levels[0] };

/*
 * What may be used up to isa_max. The operating system must be asked for AMX, for the whole process; it is
 * not where a lower level was asked for.
 */
static uint32_t cpu_flags(const char *isa_max)
{
    const uint32_t cpu = moe__cpu_flags();
    const int wanted = !isa_max || strcmp(isa_max, "amx") == 0;
    return cpu & MOE_CPU_AMX && !(wanted && moe__os_allow_amx()) ? cpu & ~MOE_CPU_AMX : cpu;
}

static int usable(const level *l, uint32_t cpu) { return l->init != NULL && (l->flags & cpu) == l->flags; }

static size_t best_level(uint32_t cpu)
{
    size_t best = 0;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (usable(&levels[i], cpu)) best = i;
    return best;
}

const char *moe__kernels_best(void) { return levels[best_level(cpu_flags(NULL))].name; }

/* Index of the level named isa_max (NULL: the best one). */
static int find_level(const char *isa_max, uint32_t cpu, size_t *out)
{
    *out = best_level(cpu);
    if (!isa_max) return MOE_OK;
    for (size_t i = 0; i < N_LEVELS; i++) {
        if (strcmp(levels[i].name, isa_max) != 0) continue;
        if (!usable(&levels[i], cpu))
            return MOE_FAIL(UNSUPPORTED, "this %s has no %s; the best usable here is %s",
                levels[i].init ? "CPU" : "build", isa_max, moe__kernels_best());
        *out = i;
        return MOE_OK;
    }
    return MOE_FAIL(INVALID,
                    "unknown instruction set \"%s\"; known: ref, avx2, avxvnni, avx512, avx512vnni, amx, "
                    "neon, dotprod, i8mm",
                    isa_max);
}

int moe__kernels_init(moe__kernels *k, const char *isa_max)
{
    const uint32_t cpu = cpu_flags(isa_max);
    size_t last;
    MOE_TRY(find_level(isa_max, cpu, &last));
    for (size_t i = 0; i <= last; i++)
        if (usable(&levels[i], cpu)) levels[i].init(k);
    return MOE_OK;
}

void moe__kernels_init_rows(moe__kernels *k)
{
    const uint32_t cpu = moe__cpu_flags() & ~MOE_CPU_AMX;
    for (size_t i = 0; i < N_LEVELS; i++)
        if (usable(&levels[i], cpu)) levels[i].init(k);
}

const char *moe__kernel_name(size_t i)
{
    static const char *const names[MOE_N_KERNELS] = {
#define MOE_KERNEL(name, ret, args, doc) #name,
#include "kernel/kernels.def"
#undef MOE_KERNEL
    };
    return i < MOE_N_KERNELS ? names[i] : NULL;
}

static any_fn slot(const moe__kernels *k, size_t i)
{
    any_fn fn;
    memcpy(&fn, (const char *)k + i * sizeof fn, sizeof fn);
    return fn;
}

const char *moe__kernel_isa(size_t i, const char *isa_max)
{
    const uint32_t cpu = cpu_flags(isa_max);
    const char *winner = levels[0].name;
    moe__kernels k;
    size_t last;
    if (i >= MOE_N_KERNELS || find_level(isa_max, cpu, &last) < 0) return NULL;
    init_ref(&k);
    for (size_t l = 1; l <= last; l++) {
        const any_fn before = slot(&k, i);
        if (!usable(&levels[l], cpu)) continue;
        levels[l].init(&k);
        if (slot(&k, i) != before) winner = levels[l].name;
    }
    return winner;
}

moe__gemm_fn moe__kernels_gemm(const moe__kernels *k, int type)
{
    switch (type) {
    case MOE_TYPE_F32: return k->gemm_f32;
    case MOE_TYPE_F16: return k->gemm_f16;
    case MOE_TYPE_BF16: return k->gemm_bf16;
    case MOE_TYPE_Q4_0: return k->gemm_q4_0;
    case MOE_TYPE_Q4_1: return k->gemm_q4_1;
    case MOE_TYPE_Q5_0: return k->gemm_q5_0;
    case MOE_TYPE_Q5_1: return k->gemm_q5_1;
    case MOE_TYPE_Q8_0: return k->gemm_q8_0;
    case MOE_TYPE_Q2_K: return k->gemm_q2_k;
    case MOE_TYPE_Q3_K: return k->gemm_q3_k;
    case MOE_TYPE_Q4_K: return k->gemm_q4_k;
    case MOE_TYPE_Q5_K: return k->gemm_q5_k;
    case MOE_TYPE_Q6_K: return k->gemm_q6_k;
    case MOE_TYPE_IQ4_NL: return k->gemm_iq4_nl;
    case MOE_TYPE_IQ4_XS: return k->gemm_iq4_xs;
    case MOE_TYPE_MXFP4: return k->gemm_mxfp4;
    default: return NULL;
    }
}
