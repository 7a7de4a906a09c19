/* SPDX-License-Identifier: MIT */
/* Which instruction sets this CPU and operating system (XSAVE state included) really offer. */
#ifndef MOE_BASE_CPU_H
#define MOE_BASE_CPU_H

#include <stdint.h>

#define MOE_CPU_AVX2 1u /* with FMA, F16C, BMI2 */
#define MOE_CPU_AVX_VNNI 2u
#define MOE_CPU_AVX512 4u /* F, BW, DQ, VL */
#define MOE_CPU_AVX512_VNNI 8u
#define MOE_CPU_AVX512_BF16 16u
#define MOE_CPU_NEON 32u    /* AArch64 with Advanced SIMD */
#define MOE_CPU_DOTPROD 64u /* SDOT, UDOT */
#define MOE_CPU_AMX 256u     /* tiles with int8 and bf16 products, and VBMI; needs moe__os_allow_amx() */
#define MOE_CPU_I8MM 128u   /* SMMLA and its kind */

uint32_t moe__cpu_flags(void);

#endif
