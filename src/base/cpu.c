/* SPDX-License-Identifier: MIT */
/*
 * Asks the CPU (cpuid) and the operating system (xgetbv: which registers it saves on a switch) what may be
 * used; on AArch64 asks the operating system, which alone may read the CPU's registers. Nothing is cached: a
 * model asks once when it is opened. Sources: Intel SDM vol. 1 chapter 13 and vol. 2 (CPUID), AMD APM vol. 3;
 * the Linux kernel's Documentation/arch/arm64/elf_hwcaps.rst. Other machines answer 0, which leaves the plain
 * C kernels.
 */
#include "base/cpu.h"

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#include <cpuid.h>

/* Bits of XCR0: the state components that the operating system saves. */
#define XCR0_AVX 0x06u    /* xmm, ymm */
#define XCR0_AVX512 0xe6u /* and opmasks, the upper halves of zmm0-15, zmm16-31 */
#define XCR0_TILES 0x60000u /* configuration and data of AMX tiles */

typedef struct leaf {
    unsigned a, b, c, d;
} leaf;

static leaf cpuid(unsigned n, unsigned sub)
{
    leaf l = {0, 0, 0, 0};
    if (!__get_cpuid_count(n, sub, &l.a, &l.b, &l.c, &l.d)) return (leaf){0, 0, 0, 0};
    return l;
}

/* Low half of XCR0; only legal where cpuid reports OSXSAVE. */
static unsigned xcr0(void)
{
    unsigned lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return lo;
}

static int has(unsigned word, unsigned bits) { return (word & bits) == bits; }

uint32_t moe__cpu_flags(void)
{
    const leaf l1 = cpuid(1, 0), l7 = cpuid(7, 0);
    /* A CPU without subleaf 1 answers eax = 0 in leaf 7 (the highest subleaf). */
    const leaf l71 = l7.a >= 1 ? cpuid(7, 1) : (leaf){0, 0, 0, 0};
    uint32_t flags = 0;
    if (!has(l1.c, 1u << 27 | 1u << 28)) return 0; /* OSXSAVE, AVX */
    const unsigned state = xcr0();
    if (!has(state, XCR0_AVX)) return 0;
    if (!has(l1.c, 1u << 12 | 1u << 29)) return 0;         /* FMA, F16C */
    if (!has(l7.b, 1u << 3 | 1u << 5 | 1u << 8)) return 0; /* BMI1, AVX2, BMI2 */
    flags |= MOE_CPU_AVX2;
    if (has(l71.a, 1u << 4)) flags |= MOE_CPU_AVX_VNNI;
    if (!has(state, XCR0_AVX512)) return flags;
    if (!has(l7.b, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31)) return flags; /* F, DQ, BW, VL */
    flags |= MOE_CPU_AVX512;
    if (has(l7.c, 1u << 11)) flags |= MOE_CPU_AVX512_VNNI;
    if (has(l71.a, 1u << 5)) flags |= MOE_CPU_AVX512_BF16;
    /* BF16, TILE, INT8; VBMI */
    if (has(state, XCR0_TILES) && has(l7.d, 1u << 22 | 1u << 24 | 1u << 25) && has(l7.c, 1u << 1))
        flags |= MOE_CPU_AMX;
    return flags;
}

#elif defined(__aarch64__) && defined(__linux__) && !defined(__AARCH64EB__)
#include <sys/auxv.h>

/* Bits of AT_HWCAP and AT_HWCAP2, named so that old headers do as well. */
#define HWCAP_BIT_ASIMD (1ul << 1)
#define HWCAP_BIT_ASIMDDP (1ul << 20)
#define HWCAP2_BIT_I8MM (1ul << 13)

uint32_t moe__cpu_flags(void)
{
    const unsigned long caps = getauxval(AT_HWCAP);
    if (!(caps & HWCAP_BIT_ASIMD)) return 0;
    return MOE_CPU_NEON | (caps & HWCAP_BIT_ASIMDDP ? MOE_CPU_DOTPROD : 0u) |
           (getauxval(AT_HWCAP2) & HWCAP2_BIT_I8MM ? MOE_CPU_I8MM : 0u);
}

#elif defined(__aarch64__) && !defined(__AARCH64EB__)

/* Elsewhere Advanced SIMD is part of the platform, and what the compiler may use is there. */
uint32_t moe__cpu_flags(void)
{
    uint32_t flags = MOE_CPU_NEON;
#ifdef __ARM_FEATURE_DOTPROD
    flags |= MOE_CPU_DOTPROD;
#endif
#ifdef __ARM_FEATURE_MATMUL_INT8
    flags |= MOE_CPU_I8MM;
#endif
    return flags;
}

#else

uint32_t moe__cpu_flags(void) { return 0; }

#endif
