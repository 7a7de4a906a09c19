/* SPDX-License-Identifier: MIT */
/*
 * Products of the 256-element formats with few columns: four rows at a time against one column, weights
 * unpacked in registers in the order of the elements. The sums of four rows cross lanes together; each row
 * keeps one accumulator.
 *
 * For every format: w_<type>(block, j) = the 32 weights from element 32 j on as signed bytes (value +
 * offset); h_<type>(block) = its scales, one per 16 or 32 elements, and the 16-bit numbers that meet the
 * sums of x: minima, or the scales again where weights carry an offset.
 */

#define FEW_ROWS 4

typedef struct w32 {
    int8x16_t lo, hi; /* elements 0 .. 15, 16 .. 31 */
} w32;

typedef struct heads {
    int32x4_t s[4];   /* 16 scales, or 8 */
    int16x8_t lo, hi; /* what meets sum16[0 .. 7] and [8 .. 15]; one for all 8 sums of 32 elements */
} heads;

ALWAYS_INLINE w32 w32_make(uint8x16_t lo, uint8x16_t hi)
{
    w32 w;
    w.lo = vreinterpretq_s8_u8(lo);
    w.hi = vreinterpretq_s8_u8(hi);
    return w;
}

/* Bits n .. n + width - 1 of 16 bytes, at place `to`; n and to are known after inlining. */
ALWAYS_INLINE uint8x16_t bits16(const uint8_t *p, const int n, const int width, const int to)
{
    const uint8x16_t v = vld1q_u8(p), shifted = vshlq_u8(v, vdupq_n_s8((int8_t)(to - n)));
    return n + width == 8 && to == 0 ? shifted
                                     : vandq_u8(shifted, vdupq_n_u8((uint8_t)(((1 << width) - 1) << to)));
}
ALWAYS_INLINE w32 bits32(const uint8_t *p, const int n, const int width)
{
    return w32_make(bits16(p, n, width, 0), bits16(p + 16, n, width, 0));
}
/* w with the bits of p on top. */
ALWAYS_INLINE w32 w32_or(w32 w, const uint8_t *p, const int n, const int width, const int to)
{
    return w32_make(vorrq_u8(vreinterpretq_u8_s8(w.lo), bits16(p, n, width, to)),
                    vorrq_u8(vreinterpretq_u8_s8(w.hi), bits16(p + 16, n, width, to)));
}

ALWAYS_INLINE w32 w_q4_k(const uint8_t *b, const int j)
{
    return bits32(b + offsetof(moe__q4_k, qs) + 32 * (j / 2), j % 2 * 4, 4);
}
ALWAYS_INLINE w32 w_q5_k(const uint8_t *b, const int j)
{
    const w32 w = bits32(b + offsetof(moe__q5_k, qs) + 32 * (j / 2), j % 2 * 4, 4);
    return w32_or(w, b + offsetof(moe__q5_k, qh), j, 1, 4);
}
ALWAYS_INLINE w32 w_q6_k(const uint8_t *b, const int j)
{
    const w32 w = bits32(b + offsetof(moe__q6_k, ql) + 64 * (j / 4) + 32 * (j % 2), j % 4 / 2 * 4, 4);
    return w32_or(w, b + offsetof(moe__q6_k, qh) + 32 * (j / 4), j % 4 * 2, 2, 4);
}
ALWAYS_INLINE w32 w_q2_k(const uint8_t *b, const int j)
{
    return bits32(b + offsetof(moe__q2_k, qs) + 32 * (j / 4), j % 4 * 2, 2);
}
ALWAYS_INLINE w32 w_q3_k(const uint8_t *b, const int j)
{
    const w32 w = bits32(b + offsetof(moe__q3_k, qs) + 32 * (j / 4), j % 4 * 2, 2);
    return w32_or(w, b + offsetof(moe__q3_k, hmask), j, 1, 2);
}
ALWAYS_INLINE w32 w_iq4_xs(const uint8_t *b, const int j)
{
    const uint8_t *q = b + offsetof(moe__iq4_xs, qs) + 16 * j;
    const uint8x16_t levels = vreinterpretq_u8_s8(vld1q_s8(moe__iq4_levels));
    return w32_make(vqtbl1q_u8(levels, bits16(q, 0, 4, 0)), vqtbl1q_u8(levels, bits16(q, 4, 4, 0)));
}

ALWAYS_INLINE uint32_t dword(const uint8_t *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}
/* Eight bytes from two dwords. */
ALWAYS_INLINE uint8x8_t bytes8(uint32_t lo, uint32_t hi) { return vcreate_u8(lo | (uint64_t)hi << 32); }

/* 16 scales of 16 bits, as 32-bit numbers and as they are. */
ALWAYS_INLINE heads heads16(int16x8_t lo, int16x8_t hi)
{
    heads h;
    h.s[0] = vmovl_s16(vget_low_s16(lo));
    h.s[1] = vmovl_high_s16(lo);
    h.s[2] = vmovl_s16(vget_low_s16(hi));
    h.s[3] = vmovl_high_s16(hi);
    h.lo = lo;
    h.hi = hi;
    return h;
}

/* 8 scales and 8 minima of 6 bits in the three dwords after d and dmin. */
ALWAYS_INLINE heads h_q4_k(const uint8_t *b)
{
    const uint32_t x = dword(b + 4), y = dword(b + 8), z = dword(b + 12);
    const uint32_t m6 = 0x3f3f3f3fu, m4 = 0x0f0f0f0fu, top = 0x30303030u;
    const uint8x8_t scale = bytes8(x & m6, (z & m4) | (x >> 2 & top));
    const uint8x8_t min = bytes8(y & m6, (z >> 4 & m4) | (y >> 2 & top));
    heads h = heads16(vreinterpretq_s16_u16(vmovl_u8(scale)), vdupq_n_s16(0));
    h.lo = vreinterpretq_s16_u16(vmovl_u8(min));
    return h;
}
ALWAYS_INLINE heads h_q5_k(const uint8_t *b) { return h_q4_k(b); }

ALWAYS_INLINE heads h_q6_k(const uint8_t *b)
{
    const int8x16_t s = vreinterpretq_s8_u8(vld1q_u8(b + offsetof(moe__q6_k, scales)));
    return heads16(vmovl_s8(vget_low_s8(s)), vmovl_high_s8(s));
}

ALWAYS_INLINE heads h_q2_k(const uint8_t *b)
{
    const uint8x16_t v = vld1q_u8(b + offsetof(moe__q2_k, scales)), s = vandq_u8(v, vdupq_n_u8(15)),
                     m = vshrq_n_u8(v, 4);
    heads h =
        heads16(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(s))), vreinterpretq_s16_u16(vmovl_high_u8(s)));
    h.lo = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(m)));
    h.hi = vreinterpretq_s16_u16(vmovl_high_u8(m));
    return h;
}

ALWAYS_INLINE heads h_q3_k(const uint8_t *b)
{
    /* 8 bytes of low nibbles, 4 bytes of bit pairs */
    const uint8_t *p = b + offsetof(moe__q3_k, scales);
    const uint32_t x = dword(p), y = dword(p + 4), z = dword(p + 8), m4 = 0x0f0f0f0fu, top = 0x30303030u;
    const uint8x8_t lo = bytes8((x & m4) | (z << 4 & top), (y & m4) | (z << 2 & top));
    const uint8x8_t hi = bytes8((x >> 4 & m4) | (z & top), (y >> 4 & m4) | (z >> 2 & top));
    const int16x8_t minus = vdupq_n_s16(32);
    return heads16(vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(lo)), minus),
                   vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(hi)), minus));
}

ALWAYS_INLINE heads h_iq4_xs(const uint8_t *b)
{
    static const int32_t place[8] = {0, 4, 8, 12, 16, 20, 24, 28};
    const uint32x4_t l = vdupq_n_u32(dword(b + offsetof(moe__iq4_xs, scales_l)));
    const uint32x4_t u = vdupq_n_u32(dword(b) >> 16); /* d, then the upper bits */
    const uint32x4_t m4 = vdupq_n_u32(15), top = vdupq_n_u32(0x30);
    heads h = {{vdupq_n_s32(0)}, vdupq_n_s16(0), vdupq_n_s16(0)};
    for (int k = 0; k < 2; k++) {
        const int32x4_t at = vld1q_s32(place + 4 * k);
        const uint32x4_t lo = vandq_u32(vshlq_u32(l, vnegq_s32(at)), m4);
        /* bit pair g, shifted to bit 4 */
        const uint32x4_t hi = vandq_u32(vshlq_u32(u, vsubq_s32(vdupq_n_s32(4), vshrq_n_s32(at, 1))), top);
        h.s[k] = vsubq_s32(vreinterpretq_s32_u32(vorrq_u32(lo, hi)), vdupq_n_s32(32));
    }
    return h;
}

/* Sums of the products of the numbers in h with those of x: `groups` of each. */
ALWAYS_INLINE int32x4_t heads_dot(const heads *h, int16x8_t x0, int16x8_t x1, const int groups)
{
    if (groups == 8) {
        const int16x8_t x = vpaddq_s16(x0, x1); /* at most 32 * 127 */
        return vmlal_high_s16(vmull_s16(vget_low_s16(h->lo), vget_low_s16(x)), h->lo, x);
    }
    const int32x4_t s = vmlal_high_s16(vmull_s16(vget_low_s16(h->lo), vget_low_s16(x0)), h->lo, x0);
    return vmlal_high_s16(vmlal_s16(s, vget_low_s16(h->hi), vget_low_s16(x1)), h->hi, x1);
}

/* acc + the products of the 32 elements from 32 j on with their scales. */
ALWAYS_INLINE int32x4_t few_dot(int32x4_t acc, w32 w, const int8_t *x, const heads *h, const int j,
                                const int groups, const int small)
{
    const int8x16_t x0 = vld1q_s8(x + 32 * j), x1 = vld1q_s8(x + 32 * j + 16);
    if (groups == 8) return vmlaq_n_s32(acc, b32_dot(w.lo, w.hi, x0, x1, small), h->s[j / 4][j % 4]);
    acc = vmlaq_n_s32(acc, b16_dot(w.lo, x0), h->s[j / 2][j % 2 * 2]);
    return vmlaq_n_s32(acc, b16_dot(w.hi, x1), h->s[j / 2][j % 2 * 2 + 1]);
}

#define FEW_256(type, groups, small, offset_bits, has_min, dmin_at) \
    ALWAYS_INLINE float32x4_t few4_##type(const uint8_t *const *rows, const uint8_t *xp, size_t n_blocks, \
                                          size_t ahead) \
    { \
        float32x4_t acc = vdupq_n_f32(0.0f), accm = acc; \
        for (size_t i = 0; i < n_blocks; i++) { \
            const moe__act256 *a = (const moe__act256 *)xp + i; \
            const int16x8_t x0 = vld1q_s16(a->sum16), x1 = vld1q_s16(a->sum16 + 8); \
            const float32x4_t dx = vdupq_n_f32(a->d); \
            const uint8_t *b[FEW_ROWS]; \
            int32x4_t s[FEW_ROWS], m[FEW_ROWS]; \
            _Pragma("GCC unroll 4") for (int r = 0; r < FEW_ROWS; r++) \
            { \
                b[r] = rows[r] + i * sizeof(moe__##type); \
                fetch_stream(b[r], ahead, sizeof(moe__##type)); \
                const heads h = h_##type(b[r]); \
                s[r] = vdupq_n_s32(0); \
                _Pragma("GCC unroll 8") for (int j = 0; j < 8; j++) s[r] = \
                    few_dot(s[r], w_##type(b[r], j), a->q, &h, j, groups, small); \
                m[r] = s[r]; \
                if (has_min || offset_bits) m[r] = heads_dot(&h, x0, x1, groups); \
                if (offset_bits) s[r] = vsubq_s32(s[r], vshlq_n_s32(m[r], offset_bits)); \
            } \
            acc = vfmaq_f32(acc, vmulq_f32(f4_rows_half(b, offsetof(moe__##type, d)), dx), \
                            vcvtq_f32_s32(i4_sum4(s))); \
            if (has_min) \
                accm = vfmaq_f32(accm, vmulq_f32(f4_rows_half(b, dmin_at), dx), vcvtq_f32_s32(i4_sum4(m))); \
        } \
        return has_min ? vsubq_f32(acc, accm) : acc; \
    } \
    STREAM_DRIVER(few_##type, FEW_ROWS, few4_##type, f4_store, 256)
