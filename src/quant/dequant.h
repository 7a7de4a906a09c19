/* SPDX-License-Identifier: MIT */
/*
 * Conversions behind the type table. n is a multiple of the type's block; src and dst may stand at any
 * address.
 */
#ifndef MOE_QUANT_DEQUANT_H
#define MOE_QUANT_DEQUANT_H

#include <stddef.h>

void moe__dequant_f32(const void *src, float *dst, size_t n);
void moe__dequant_f16(const void *src, float *dst, size_t n);
void moe__dequant_bf16(const void *src, float *dst, size_t n);
void moe__dequant_q4_0(const void *src, float *dst, size_t n);
void moe__dequant_q4_1(const void *src, float *dst, size_t n);
void moe__dequant_q5_0(const void *src, float *dst, size_t n);
void moe__dequant_q5_1(const void *src, float *dst, size_t n);
void moe__dequant_q8_0(const void *src, float *dst, size_t n);
void moe__dequant_q2_k(const void *src, float *dst, size_t n);
void moe__dequant_q3_k(const void *src, float *dst, size_t n);
void moe__dequant_q4_k(const void *src, float *dst, size_t n);
void moe__dequant_q5_k(const void *src, float *dst, size_t n);
void moe__dequant_q6_k(const void *src, float *dst, size_t n);
void moe__dequant_iq4_nl(const void *src, float *dst, size_t n);
void moe__dequant_iq4_xs(const void *src, float *dst, size_t n);
void moe__dequant_mxfp4(const void *src, float *dst, size_t n);

#endif
