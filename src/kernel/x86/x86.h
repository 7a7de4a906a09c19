/* SPDX-License-Identifier: MIT */
/*
 * What the x86 instruction sets offer to select.c. Each function overwrites the slots of *k that its level
 * has a version of; only those in the build exist (MOE_HAVE_<LEVEL>). They may be called on any CPU: they
 * only store addresses.
 */
#ifndef MOE_KERNEL_X86_X86_H
#define MOE_KERNEL_X86_X86_H

#include "kernel/kernel.h"

void moe__kernels_init_avx2(moe__kernels *k);
void moe__kernels_init_avxvnni(moe__kernels *k);
void moe__kernels_init_avx512(moe__kernels *k);
void moe__kernels_init_avx512vnni(moe__kernels *k);
void moe__kernels_init_amx(moe__kernels *k);

#endif
