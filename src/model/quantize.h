/* SPDX-License-Identifier: MIT */
/* Writes a quantised copy of a model file. The work behind moe_quantize(). */
#ifndef MOE_MODEL_QUANTIZE_H
#define MOE_MODEL_QUANTIZE_H

#include "base/alloc.h"
#include "moe/moe.h"

/* o is a full struct whose recipe is set. Memory is a few MiB plus the source's directory, whatever the
 * model's size. */
int moe__quantize_file(const char *src, const char *dst, const moe_quantize_options *o,
                       const moe__allocator *a);

#endif
