/* SPDX-License-Identifier: MIT */
/* The plain C kernels, moe__ref_<name>: the definition of each kernel in kernels.def. */
#ifndef MOE_KERNEL_REF_REF_H
#define MOE_KERNEL_REF_REF_H

#include "kernel/kernel.h"

#define MOE_KERNEL(name, ret, args, doc) ret moe__ref_##name args;
#include "kernel/kernels.def"
#undef MOE_KERNEL

#endif
