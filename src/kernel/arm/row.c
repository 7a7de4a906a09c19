/* SPDX-License-Identifier: MIT */
/* Row, activation and attention kernels of one level. */
#include "kernel/arm/vec.h"

#include "kernel/body/row.inl"
#include "kernel/body/act.inl"
#include "kernel/body/attn.inl"
