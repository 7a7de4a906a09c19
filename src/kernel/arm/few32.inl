/* SPDX-License-Identifier: MIT */
/*
 * Products of the 32-element formats with few columns: four rows at a time against one column.
 * w_<type>(block) = the 32 weights as signed bytes (value + offset), in the order of the elements.
 */

#define FEW_ROWS 4

typedef struct w32 {
    int8x16_t lo, hi; /* elements 0 .. 15, 16 .. 31 */
} w32;

ALWAYS_INLINE w32 w32_make(int8x16_t lo, int8x16_t hi)
{
    w32 w;
    w.lo = lo;
    w.hi = hi;
    return w;
}
ALWAYS_INLINE w32 w_nibbles(const uint8_t *qs)
{
    const uint8x16_t v = vld1q_u8(qs);
    return w32_make(vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15))), vreinterpretq_s8_u8(vshrq_n_u8(v, 4)));
}
/* Nibbles as places in a table of 16. */
ALWAYS_INLINE w32 w_table(const int8_t *table, const uint8_t *qs)
{
    const int8x16_t t = vld1q_s8(table);
    const w32 i = w_nibbles(qs);
    return w32_make(vqtbl1q_s8(t, vreinterpretq_u8_s8(i.lo)), vqtbl1q_s8(t, vreinterpretq_u8_s8(i.hi)));
}
/* w + 16 where bit i of the four bytes at qh is set. */
ALWAYS_INLINE w32 w_fifth(w32 w, const uint8_t *qh)
{
    static const uint8_t place[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1,
                                      2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
    const uint8x16_t mask = vreinterpretq_u8_u64(vdupq_n_u64(UINT64_C(0x8040201008040201)));
    const uint8x16_t bit = vdupq_n_u8(16);
    uint32_t h;
    memcpy(&h, qh, sizeof h);
    const uint8x16_t v = vreinterpretq_u8_u32(vdupq_n_u32(h));
    const uint8x16_t lo = vtstq_u8(vqtbl1q_u8(v, vld1q_u8(place)), mask);
    const uint8x16_t hi = vtstq_u8(vqtbl1q_u8(v, vld1q_u8(place + 16)), mask);
    return w32_make(vorrq_s8(w.lo, vreinterpretq_s8_u8(vandq_u8(lo, bit))),
                    vorrq_s8(w.hi, vreinterpretq_s8_u8(vandq_u8(hi, bit))));
}

ALWAYS_INLINE w32 w_q4_0(const uint8_t *b) { return w_nibbles(b + offsetof(moe__q4_0, qs)); }
ALWAYS_INLINE w32 w_q4_1(const uint8_t *b) { return w_nibbles(b + offsetof(moe__q4_1, qs)); }
ALWAYS_INLINE w32 w_q5_0(const uint8_t *b)
{
    return w_fifth(w_nibbles(b + offsetof(moe__q5_0, qs)), b + offsetof(moe__q5_0, qh));
}
ALWAYS_INLINE w32 w_q5_1(const uint8_t *b)
{
    return w_fifth(w_nibbles(b + offsetof(moe__q5_1, qs)), b + offsetof(moe__q5_1, qh));
}
ALWAYS_INLINE w32 w_q8_0(const uint8_t *b)
{
    const uint8_t *q = b + offsetof(moe__q8_0, qs);
    return w32_make(vreinterpretq_s8_u8(vld1q_u8(q)), vreinterpretq_s8_u8(vld1q_u8(q + 16)));
}
ALWAYS_INLINE w32 w_iq4_nl(const uint8_t *b)
{
    return w_table(moe__iq4_levels, b + offsetof(moe__iq4_nl, qs));
}
ALWAYS_INLINE w32 w_mxfp4(const uint8_t *b) { return w_table(moe__fp4_levels, b + offsetof(moe__mxfp4, qs)); }

ALWAYS_INLINE float32x4_t e8m0s4(const uint8_t *const *row, size_t off)
{
    float d[4];
    for (int r = 0; r < 4; r++) d[r] = moe__e8m0_half(row[r][off]);
    return f4_load(d);
}

/* D(rows, offset) = the scales of four rows. */
#define FEW_32(type, small, offset, has_min, D, d_at, m_at) \
    ALWAYS_INLINE float32x4_t few4_##type(const uint8_t *const *rows, const uint8_t *xp, size_t n_blocks, \
                                          size_t ahead) \
    { \
        float32x4_t acc = vdupq_n_f32(0.0f), accm = acc; \
        for (size_t i = 0; i < n_blocks; i++) { \
            const moe__act32 *a = (const moe__act32 *)xp + i; \
            const int8x16_t x0 = vld1q_s8(a->q), x1 = vld1q_s8(a->q + 16); \
            const float32x4_t dx = vdupq_n_f32(a->d); \
            const size_t at = i * sizeof(moe__##type); \
            int32x4_t s[FEW_ROWS]; \
            fetch_streams(rows, ahead, i, FEW_ROWS, sizeof(moe__##type)); \
            _Pragma("GCC unroll 4") for (int r = 0; r < FEW_ROWS; r++) \
            { \
                const w32 w = w_##type(rows[r] + at); \
                s[r] = b32_dot(w.lo, w.hi, x0, x1, small); \
            } \
            const int32x4_t sum = vsubq_s32(i4_sum4(s), vdupq_n_s32((offset)*a->sum)); \
            acc = vfmaq_f32(acc, vmulq_f32(D(rows, at + (d_at)), dx), vcvtq_f32_s32(sum)); \
            if (has_min) \
                accm = vfmaq_f32(accm, vmulq_f32(D(rows, at + (m_at)), dx), vdupq_n_f32((float)a->sum)); \
        } \
        return has_min ? vaddq_f32(acc, accm) : acc; \
    } \
    STREAM_DRIVER(few_##type, FEW_ROWS, few4_##type, f4_store, 32)
