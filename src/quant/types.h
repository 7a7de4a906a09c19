/* SPDX-License-Identifier: MIT */
/*
 * The table of tensor types: one row per type. Everything that depends on a type (sizes, names, conversion,
 * which activation format its dot product takes) is looked up here. Block layouts are in quant/blocks.h.
 */
#ifndef MOE_QUANT_TYPES_H
#define MOE_QUANT_TYPES_H

#include <stddef.h>
#include <stdint.h>

/* How a row of activations is stored for a dot product with a type. */
typedef enum moe__act {
    MOE_ACT_F32,    /* as it is: F32, F16, BF16 weights */
    MOE_ACT_Q8_32,  /* blocks of 32 int8 (moe__act32): Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4 */
    MOE_ACT_Q8_256, /* blocks of 256 int8 (moe__act256): Q2_K .. Q6_K IQ4_XS */
    MOE_N_ACTS
} moe__act;

typedef struct moe__type {
    int id;               /* MOE_TYPE_* = the GGUF number */
    const char *name;     /* "Q4_K" */
    uint32_t block;       /* elements of a block */
    uint32_t block_bytes;
    moe__act act;
    /* n a multiple of block; the definition of the format */
    void (*dequant)(const void *src, float *dst, size_t n);
    /* n a multiple of block; importance [n] may be NULL. Writes n / block blocks. */
    void (*quantize)(const float *src, void *dst, size_t n, const float *importance);
} moe__type;

/* NULL if the type is unknown. */
const moe__type *moe__type_get(int id);
const moe__type *moe__type_find(const char *name); /* case-insensitive */
size_t moe__type_count(void);
const moe__type *moe__type_at(size_t i);

/* Bytes of n elements; n must be a multiple of the block (0 on overflow or remainder). */
uint64_t moe__type_bytes(const moe__type *t, uint64_t n);

/*
 * Activation blocks (see design of the numerics in docs/architecture.md: integer sums inside a block are
 * exact).
 */
typedef struct moe__act32 {
    float d;      /* scale: x = d * q */
    int32_t sum;  /* sum of q */
    int8_t q[32]; /* -127 .. 127 */
} moe__act32;

typedef struct moe__act256 {
    float d;
    int16_t sum16[16]; /* sums of 16 consecutive q */
    int8_t q[256];     /* -127 .. 127 */
} moe__act256;

/* Bytes of a row of n elements in an activation format (n a multiple of the format's block, for F32 any). */
size_t moe__act_bytes(moe__act act, size_t n);

#endif
