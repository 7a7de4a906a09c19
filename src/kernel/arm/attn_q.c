/* SPDX-License-Identifier: MIT */
/* Attention with quantised keys and values. */
#include "kernel/arm/vint.h"

#include "kernel/body/attn_q.inl"
