/* SPDX-License-Identifier: MIT */
/* Size-prefixed structs of the public header: the rule that lets old programs run on new libraries and makes
 * new ones fail loudly. */
#ifndef MOE_BASE_OPTS_H
#define MOE_BASE_OPTS_H

#include <stddef.h>

/*
 * Copies the caller's struct over *dst (dst_size bytes, defaults already in it, first member size_t size).
 * Bytes the library does not know must be zero (MOE_E_VERSION); a size below that of a size_t is
 * MOE_E_INVALID. dst->size becomes dst_size.
 */
int moe__opts_copy(void *dst, size_t dst_size, const void *src, const char *name);
/* Hands a filled struct out: copies min(dst->size, src_size) bytes to the caller's *dst, whose size member is
 * kept. */
int moe__opts_fill(void *dst, const void *src, size_t src_size, const char *name);

#endif
