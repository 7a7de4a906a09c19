/* SPDX-License-Identifier: MIT */
/*
 * Layouts of the quantised block formats, byte for byte as they stand in a GGUF file
 * (docs/formats/blocks.md draws them).
 *
 * A row of n elements is n / block blocks one after the other. All members are bytes, so a block may stand
 * at any address and the layout is the same on every machine; numbers of two bytes are little-endian and
 * read with moe__le16(). QK = 32 for the older formats, 256 for the K formats and IQ4_XS.
 */
#ifndef MOE_QUANT_BLOCKS_H
#define MOE_QUANT_BLOCKS_H

#include <assert.h>
#include <stdint.h>

#include "base/half.h"

typedef struct moe__u16le {
    uint8_t b[2];
} moe__u16le;

static inline uint16_t moe__le16(moe__u16le v) { return (uint16_t)(v.b[0] | v.b[1] << 8); }
static inline moe__u16le moe__to_le16(uint16_t v) { return (moe__u16le){{(uint8_t)v, (uint8_t)(v >> 8)}}; }
static inline float moe__le_f16(moe__u16le v) { return moe__f16_to_f32(moe__le16(v)); }
static inline moe__u16le moe__to_le_f16(float x) { return moe__to_le16(moe__f32_to_f16(x)); }

/* 32 elements. Nibbles: element i < 16 is the low half of qs[i], element i + 16 the high half. */
typedef struct moe__q4_0 { /* x = d (q - 8) */
    moe__u16le d;
    uint8_t qs[16];
} moe__q4_0;

typedef struct moe__q4_1 { /* x = d q + m */
    moe__u16le d, m;
    uint8_t qs[16];
} moe__q4_1;

typedef struct moe__q5_0 { /* x = d (q - 16) */
    moe__u16le d;
    uint8_t qh[4]; /* bit i % 8 of qh[i / 8]: fifth bit of element i */
    uint8_t qs[16];
} moe__q5_0;

typedef struct moe__q5_1 { /* x = d q + m */
    moe__u16le d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} moe__q5_1;

typedef struct moe__q8_0 { /* x = d q */
    moe__u16le d;
    int8_t qs[32];
} moe__q8_0;

typedef struct moe__iq4_nl { /* x = d iq4[q], the table of unpack.h */
    moe__u16le d;
    uint8_t qs[16];
} moe__iq4_nl;

typedef struct moe__mxfp4 { /* x = 2^(e - 127) fp4[q]: OCP MX, e8m0 exponent and e2m1 elements */
    uint8_t e;
    uint8_t qs[16];
} moe__mxfp4;

/* 256 elements. */
typedef struct moe__q2_k {  /* 16 groups of 16: x = d (scales & 15) q - dmin (scales >> 4) */
    uint8_t scales[16];
    uint8_t qs[64]; /* bit pair p of qs[32 h + i]: element 128 h + 32 p + i */
    moe__u16le d, dmin;
} moe__q2_k;

typedef struct moe__q3_k {  /* 16 groups of 16: x = d (scale - 32) (q - 4) */
    uint8_t hmask[32]; /* bit p of hmask[i]: third bit of element 32 p + i */
    uint8_t qs[64];    /* low two bits, as Q2_K */
    uint8_t scales[12]; /* low nibbles of 16 scales in [0..7], their upper two bits in [8..11] */
    moe__u16le d;
} moe__q3_k;

typedef struct moe__q4_k {  /* 8 groups of 32: x = d scale q - dmin min */
    moe__u16le d, dmin;
    uint8_t scales[12]; /* 8 scales and 8 minima of 6 bits, see moe__scale_min() */
    uint8_t qs[128];    /* qs[32 p + (0..31)]: group 2 p in the low nibbles, group 2 p + 1 in the high ones */
} moe__q4_k;

typedef struct moe__q5_k {  /* 8 groups of 32: x = d scale q - dmin min */
    moe__u16le d, dmin;
    uint8_t scales[12];
    uint8_t qh[32]; /* bit g of qh[i]: fifth bit of element i of group g */
    uint8_t qs[128];
} moe__q5_k;

typedef struct moe__q6_k {  /* 16 groups of 16: x = d scale (q - 32) */
    uint8_t ql[128]; /* ql[64 h + (0..63)]: low nibbles elements 128 h + (0..63), high ones the next 64 */
    uint8_t qh[64];  /* bit pair p of qh[32 h + i]: upper bits of element 128 h + 32 p + i */
    int8_t scales[16];
    moe__u16le d;
} moe__q6_k;

typedef struct moe__iq4_xs { /* 8 groups of 32: x = d (scale - 32) iq4[q] */
    moe__u16le d;
    moe__u16le scales_h; /* bit pair g: upper two bits of scale g */
    uint8_t scales_l[4]; /* nibble g: low four bits of scale g */
    uint8_t qs[128];     /* group g in qs[16 g + (0..15)], nibbles as in a block of 32 */
} moe__iq4_xs;

static_assert(sizeof(moe__q4_0) == 18, "Q4_0");
static_assert(sizeof(moe__q4_1) == 20, "Q4_1");
static_assert(sizeof(moe__q5_0) == 22, "Q5_0");
static_assert(sizeof(moe__q5_1) == 24, "Q5_1");
static_assert(sizeof(moe__q8_0) == 34, "Q8_0");
static_assert(sizeof(moe__iq4_nl) == 18, "IQ4_NL");
static_assert(sizeof(moe__mxfp4) == 17, "MXFP4");
static_assert(sizeof(moe__q2_k) == 84, "Q2_K");
static_assert(sizeof(moe__q3_k) == 110, "Q3_K");
static_assert(sizeof(moe__q4_k) == 144, "Q4_K");
static_assert(sizeof(moe__q5_k) == 176, "Q5_K");
static_assert(sizeof(moe__q6_k) == 210, "Q6_K");
static_assert(sizeof(moe__iq4_xs) == 136, "IQ4_XS");

#endif
