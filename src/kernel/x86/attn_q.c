/* SPDX-License-Identifier: MIT */
/* Attention with quantised keys and values. */
#include "kernel/x86/vint.h"

#include "kernel/body/attn_q.inl"
