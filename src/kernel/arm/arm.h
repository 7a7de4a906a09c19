/* SPDX-License-Identifier: MIT */
/* What AArch64 offers to select.c; as x86/x86.h: only the levels in the build exist, all only store
 * addresses. */
#ifndef MOE_KERNEL_ARM_ARM_H
#define MOE_KERNEL_ARM_ARM_H

#include "kernel/kernel.h"

void moe__kernels_init_neon(moe__kernels *k);
void moe__kernels_init_dotprod(moe__kernels *k);
void moe__kernels_init_i8mm(moe__kernels *k);

#endif
