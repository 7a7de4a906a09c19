/* SPDX-License-Identifier: MIT */
/* Matrix products with float weights of one level. */
#include "kernel/arm/vec.h"

#include "kernel/body/gemm_args.inl"
#include "kernel/body/gemm_f.inl"
