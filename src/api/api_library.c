/* SPDX-License-Identifier: MIT */
/* Entry points about the library itself: versions, what this build and this CPU can do, statuses. */
#include <string.h>

#include "base/parallel.h"
#include "base/status.h"
#include "kernel/kernel.h"
#include "quant/types.h"

uint32_t moe_version(void) { return MOE_VERSION; }

#define QUOTED(x)       #x
#define DOTTED(a, b, c) QUOTED(a) "." QUOTED(b) "." QUOTED(c)
const char *moe_version_string(void)
{
    return DOTTED(MOE_VERSION_MAJOR, MOE_VERSION_MINOR, MOE_VERSION_PATCH);
}

/* ---- the build; the macros come from the meson.build files, or from moe_all.c */

#if defined(__clang__)
#define COMPILER "clang " DOTTED(__clang_major__, __clang_minor__, __clang_patchlevel__)
#elif defined(__GNUC__)
#define COMPILER "gcc " DOTTED(__GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__)
#else
#define COMPILER "unknown compiler"
#endif

#ifdef __OPTIMIZE__
#define BUILD "optimised"
#else
#define BUILD "not optimised"
#endif

#if defined(MOE_THREADS_OPENMP)
#define THREADS "openmp"
#elif defined(MOE_THREADS_POOL)
#define THREADS "pool"
#else
#define THREADS "serial"
#endif

#ifdef MOE_HAVE_AVX2
#define ISA_AVX2 " avx2"
#else
#define ISA_AVX2 ""
#endif
#ifdef MOE_HAVE_AVXVNNI
#define ISA_AVXVNNI " avxvnni"
#else
#define ISA_AVXVNNI ""
#endif
#ifdef MOE_HAVE_AVX512
#define ISA_AVX512 " avx512"
#else
#define ISA_AVX512 ""
#endif
#ifdef MOE_HAVE_AVX512VNNI
#define ISA_AVX512VNNI " avx512vnni"
#else
#define ISA_AVX512VNNI ""
#endif

#ifdef MOE_HAVE_AMX
#define ISA_AMX " amx"
#else
#define ISA_AMX ""
#endif

#ifdef MOE_HAVE_NEON
#define ISA_NEON " neon"
#else
#define ISA_NEON ""
#endif
#ifdef MOE_HAVE_DOTPROD
#define ISA_DOTPROD " dotprod"
#else
#define ISA_DOTPROD ""
#endif
#ifdef MOE_HAVE_I8MM
#define ISA_I8MM " i8mm"
#else
#define ISA_I8MM ""
#endif

const char *moe_build_info(void)
{
    return COMPILER
        ", " BUILD ", threads: " THREADS
        ", kernels: ref" ISA_AVX2 ISA_AVXVNNI ISA_AVX512 ISA_AVX512VNNI ISA_AMX ISA_NEON ISA_DOTPROD ISA_I8MM;
}

int moe_has_feature(const char *name)
{
    static const char *const features[] = {
        THREADS,
        "mmap",
#ifdef MOE_HAVE_AVX2
        "avx2",
#endif
#ifdef MOE_HAVE_AVX512
        "avx512",
#endif
#if defined(MOE_HAVE_AVXVNNI) || defined(MOE_HAVE_AVX512VNNI)
        "vnni",
#endif
#ifdef MOE_HAVE_AMX
        "amx",
#endif
#ifdef MOE_HAVE_NEON
        "neon",
#endif
#ifdef MOE_HAVE_DOTPROD
        "dotprod",
#endif
#ifdef MOE_HAVE_I8MM
        "i8mm",
#endif
    };
    for (size_t i = 0; name && i < sizeof features / sizeof features[0]; i++)
        if (strcmp(name, features[i]) == 0) return 1;
    return 0;
}

const char *moe_cpu_isa(void) { return moe__kernels_best(); }

size_t moe_kernel_count(void) { return MOE_N_KERNELS; }

int moe_kernel_at(size_t i, const char **name, const char **isa)
{
    moe__clear_error();
    MOE_ARG(name != NULL && isa != NULL);
    *name = *isa = NULL;
    if (i >= MOE_N_KERNELS) return MOE_FAIL(RANGE, "kernel %zu: there are %d", i, (int)MOE_N_KERNELS);
    *name = moe__kernel_name(i);
    *isa = moe__kernel_isa(i, NULL);
    return MOE_OK;
}

/* ---- tensor types */

size_t moe_type_count(void) { return moe__type_count(); }

int moe_type_at(size_t i)
{
    const moe__type *t = moe__type_at(i);
    return t ? t->id : -1;
}

const char *moe_type_name(int type)
{
    const moe__type *t = moe__type_get(type);
    return t ? t->name : NULL;
}

/* ---- statuses */

const char *moe_status_name(int status) { return moe__status_name(status); }

const char *moe_last_error(void) { return moe__last_error(); }
