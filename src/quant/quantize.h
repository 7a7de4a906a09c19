/* SPDX-License-Identifier: MIT */
/*
 * Encoders behind the type table: n floats (a multiple of the type's block) to blocks. importance [n] (NULL
 * = all equal) weighs the squared error of each element. Deterministic: plain C floats, no libm but sqrtf,
 * no dependence on the instruction set.
 *
 * What is not a usable number: F32, F16 and BF16 convert as IEEE says. The block types take NaN as 0 and
 * clamp to +-65504, the largest half (MXFP4: to the largest f32); importances that are negative or not
 * finite count as 0, and 0 as a millionth of the block's largest.
 */
#ifndef MOE_QUANT_QUANTIZE_H
#define MOE_QUANT_QUANTIZE_H

#include <stddef.h>

void moe__quantize_f32(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_f16(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_bf16(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q4_0(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q4_1(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q5_0(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q5_1(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q8_0(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q2_k(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q3_k(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q4_k(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q5_k(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_q6_k(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_iq4_nl(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_iq4_xs(const float *src, void *dst, size_t n, const float *importance);
void moe__quantize_mxfp4(const float *src, void *dst, size_t n, const float *importance);

#endif
