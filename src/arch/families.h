/* SPDX-License-Identifier: MIT */
/* One line per family; the table itself is in the file of that name. */
#ifndef MOE_ARCH_FAMILIES_H
#define MOE_ARCH_FAMILIES_H

#include "arch/arch.h"

extern const moe__arch moe__arch_qwen3moe;
extern const moe__arch moe__arch_olmoe;
extern const moe__arch moe__arch_llama;
extern const moe__arch moe__arch_qwen2moe;
extern const moe__arch moe__arch_granitemoe;

#endif
