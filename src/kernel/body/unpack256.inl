/* SPDX-License-Identifier: MIT */
/*
 * A block of VI_LANES rows of each 256-element format, turned and unpacked into a tile256 (tile256.inl). Bits
 * are unpacked after the turn: that is half the shuffles or less. Scales are turned to one row per lane,
 * quants to what the products want. quant/blocks.h has the layouts, quant/unpack.h the meaning.
 */

/* Byte k of each dword, unsigned: as a 32-bit number, or as a pair of equal 16-bit numbers. */
ALWAYS_INLINE vi byte_alone(vi x, int k)
{
    static const uint32_t idx[4] = {0x80808000u, 0x80808004u, 0x80808008u, 0x8080800cu};
    return vi_shuffle8(x, vi_add(vi_bcast128(idx), vi_set1_32(k)));
}
ALWAYS_INLINE vi byte_pair(vi x, int k)
{
    static const uint32_t idx[4] = {0x80008000u, 0x80048004u, 0x80088008u, 0x800c800cu};
    return vi_shuffle8(x, vi_add(vi_bcast128(idx), vi_set1_32(k | k << 16)));
}
/* The same as a scale: what scale_form() makes of it. */
ALWAYS_INLINE vi byte_scale(vi x, int k) { return VI_PAIRS ? byte_pair(x, k) : byte_alone(x, k); }
ALWAYS_INLINE vi byte_signed(vi x, int k) { return vi_sra(vi_sll(x, 24 - 8 * k), 24); }
/* Two signed numbers as a pair of 16-bit numbers. */
ALWAYS_INLINE vi pair(vi lo, vi hi) { return vi_or(vi_and(lo, vi_set1_32(0xffff)), vi_sll(hi, 16)); }

/* 8 scales and 8 minima of 6 bits in dwords s[1..3]; s[0] holds d and dmin. */
ALWAYS_INLINE void unpack_scale_min(tile256 *t, const vi s[4])
{
    const vi m6 = vi_set1_32(0x3f3f3f3f), m4 = vi_set1_32(0x0f0f0f0f), top = vi_set1_32(0x30303030);
    const vi scale_lo = vi_and(s[1], m6), min_lo = vi_and(s[2], m6);
    const vi scale_hi = vi_or(vi_and(s[3], m4), vi_and(vi_srl(s[1], 2), top));
    const vi min_hi = vi_or(vi_and(vi_srl(s[3], 4), m4), vi_and(vi_srl(s[2], 2), top));
    t->d = vf_low_halves(vi_and(s[0], vi_set1_32(0xffff)));
    t->dmin = vf_low_halves(vi_srl(s[0], 16));
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        t->scale[k] = byte_scale(scale_lo, k);
        t->scale[k + 4] = byte_scale(scale_hi, k);
        t->corr[k] = vc_make(byte_pair(min_lo, k));
        t->corr[k + 4] = vc_make(byte_pair(min_hi, k));
    }
}

ALWAYS_INLINE void unpack_q4_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    (void)mode;
    const vi m4 = vi_set1_8(15);
    vi s[4];
    vi_rows16(row, off, s);
    unpack_scale_min(t, s);
    for (int i = 0; i < 8; i++) { /* 16 bytes: half of a pair of groups */
        vi v[4], *q = t->q + i / 2 * 16 + i % 2 * 4;
        vi_weights16(row, off + offsetof(moe__q4_k, qs) + 16 * (size_t)i, v);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            q[k] = vi_and(v[k], m4);
            q[k + 8] = vi_and(vi_srl(v[k], 4), m4);
        }
    }
}

ALWAYS_INLINE void unpack_q5_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    (void)mode;
    const vi m4 = vi_set1_8(15), bit = vi_set1_8(16);
    vi s[4], h[8];
    vi_rows16(row, off, s);
    unpack_scale_min(t, s);
    vi_weights16(row, off + offsetof(moe__q5_k, qh), h);
    vi_weights16(row, off + offsetof(moe__q5_k, qh) + 16, h + 4);
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        vi v[4], *q = t->q + i / 2 * 16 + i % 2 * 4;
        vi_weights16(row, off + offsetof(moe__q5_k, qs) + 16 * (size_t)i, v);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const vi hk = h[i % 2 * 4 + k];
            q[k] = vi_or(vi_and(v[k], m4), vi_and(vi_sll(hk, 4), bit));
            q[k + 8] = vi_or(vi_and(vi_srl(v[k], 4), m4), vi_and(vi_sll(hk, 3), bit));
        }
        if (i % 2 == 1) /* the next pair of groups has its bits two places higher */
            for (int k = 0; k < 8; k++) h[k] = vi_srl(h[k], 2);
    }
}

/* 16 signed scales, one per 16 elements, in four dwords. */
ALWAYS_INLINE void unpack_scales16(tile256 *t, const vi s[4], int minus, const int mode)
{
    const vi m = vi_set1_32(minus);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const vi a = vi_sub(byte_signed(s[j / 2], j % 2 * 2), m),
                 b = vi_sub(byte_signed(s[j / 2], j % 2 * 2 + 1), m);
        t->scale[2 * j] = scale_form(a, mode);
        t->scale[2 * j + 1] = scale_form(b, mode);
        t->corr[j] = vc_make(pair(a, b));
    }
}

ALWAYS_INLINE void unpack_q6_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    const vi m4 = vi_set1_8(15), top = vi_set1_8(0x30);
    vi s[4];
    t->d = vf_rows_half(row, off + offsetof(moe__q6_k, d));
    vi_rows16(row, off + offsetof(moe__q6_k, scales), s);
    unpack_scales16(t, s, 0, mode);
    for (int i = 0; i < 4; i++) { /* elements 32 p + 16 (i % 2) + (0 .. 15) of half i / 2, for p = 0 .. 3 */
        vi a[4], b[4], h[4], *q = t->q + i / 2 * 32 + i % 2 * 4;
        const size_t ql = off + 64 * (size_t)(i / 2) + 16 * (size_t)(i % 2);
        vi_weights16(row, ql, a);
        vi_weights16(row, ql + 32, b);
        vi_weights16(row, off + offsetof(moe__q6_k, qh) + 16 * (size_t)i, h);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            q[k] = vi_or(vi_and(a[k], m4), vi_and(vi_sll(h[k], 4), top));
            q[k + 8] = vi_or(vi_and(b[k], m4), vi_and(vi_sll(h[k], 2), top));
            q[k + 16] = vi_or(vi_and(vi_srl(a[k], 4), m4), vi_and(h[k], top));
            q[k + 24] = vi_or(vi_and(vi_srl(b[k], 4), m4), vi_and(vi_srl(h[k], 2), top));
        }
    }
}

ALWAYS_INLINE void unpack_q2_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    (void)mode;
    const vi m2 = vi_set1_8(3), m4 = vi_set1_8(15), dd = vi_rows32(row, off + offsetof(moe__q2_k, d));
    vi s[4];
    t->d = vf_low_halves(vi_and(dd, vi_set1_32(0xffff)));
    t->dmin = vf_low_halves(vi_srl(dd, 16));
    vi_rows16(row, off, s);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const vi lo = vi_and(s[j / 2], m4), hi = vi_and(vi_srl(s[j / 2], 4), m4);
        t->scale[2 * j] = byte_scale(lo, j % 2 * 2);
        t->scale[2 * j + 1] = byte_scale(lo, j % 2 * 2 + 1);
        t->corr[j] = vc_make(pair(byte_alone(hi, j % 2 * 2), byte_alone(hi, j % 2 * 2 + 1)));
    }
    for (int i = 0; i < 4; i++) {
        vi v[4], *q = t->q + i / 2 * 32 + i % 2 * 4;
        vi_weights16(row, off + offsetof(moe__q2_k, qs) + 16 * (size_t)i, v);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            q[k] = vi_and(v[k], m2);
            q[k + 8] = vi_and(vi_srl(v[k], 2), m2);
            q[k + 16] = vi_and(vi_srl(v[k], 4), m2);
            q[k + 24] = vi_and(vi_srl(v[k], 6), m2);
        }
    }
}

ALWAYS_INLINE void unpack_q3_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    const vi m2 = vi_set1_8(3), m4 = vi_set1_32(0x0f0f0f0f), top = vi_set1_32(0x30303030), bit = vi_set1_8(4);
    vi s[4], e[4], h[8];
    t->d = vf_rows_half(row, off + offsetof(moe__q3_k, d));
    /* The 12 bytes of scales are the last of 16; s[1], s[2] hold 16 low nibbles, the bit pairs of s[3] their
     * upper bits. */
    vi_rows16(row, off + offsetof(moe__q3_k, scales) - 4, s);
    e[0] = vi_or(vi_and(s[1], m4), vi_and(vi_sll(s[3], 4), top));
    e[1] = vi_or(vi_and(s[2], m4), vi_and(vi_sll(s[3], 2), top));
    e[2] = vi_or(vi_and(vi_srl(s[1], 4), m4), vi_and(s[3], top));
    e[3] = vi_or(vi_and(vi_srl(s[2], 4), m4), vi_and(vi_srl(s[3], 2), top));
    unpack_scales16(t, e, 32, mode);
    vi_weights16(row, off, h);
    vi_weights16(row, off + 16, h + 4);
    for (int i = 0; i < 4; i++) {
        vi v[4], *q = t->q + i / 2 * 32 + i % 2 * 4;
        vi_weights16(row, off + offsetof(moe__q3_k, qs) + 16 * (size_t)i, v);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            const vi hk = i / 2 ? vi_srl(h[i % 2 * 4 + k], 4) : h[i % 2 * 4 + k];
            q[k] = vi_or(vi_and(v[k], m2), vi_and(vi_sll(hk, 2), bit));
            q[k + 8] = vi_or(vi_and(vi_srl(v[k], 2), m2), vi_and(vi_sll(hk, 1), bit));
            q[k + 16] = vi_or(vi_and(vi_srl(v[k], 4), m2), vi_and(hk, bit));
            q[k + 24] = vi_or(vi_and(vi_srl(v[k], 6), m2), vi_and(vi_srl(hk, 1), bit));
        }
    }
}

/* With VNNI the levels are stored plus 128 (VI_FLIP), else as they are. */
ALWAYS_INLINE void unpack_iq4_xs(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    const vi m4 = vi_set1_8(15),
             levels = vi_xor(vi_bcast128(moe__iq4_levels), vi_set1_8(mode == BY_SIGN ? 0 : VI_FLIP));
    vi s[4];
    vi_rows16(row, off, s); /* d and upper bits, low nibbles, quants */
    t->d = vf_low_halves(vi_and(s[0], vi_set1_32(0xffff)));
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++) {
        const vi lo = vi_and(vi_srl(s[1], 4 * j), vi_set1_32(15)),
                 hi = vi_and(vi_srl(s[0], 16 + 2 * j), vi_set1_32(3));
        const vi v = vi_sub(vi_or(lo, vi_sll(hi, 4)), vi_set1_32(32));
        t->scale[j] = scale_form(v, mode);
        t->corr[j] = vc_make(pair(v, v));
    }
    for (int i = 0; i < 8; i++) {
        vi v[4], *q = t->q + 8 * i;
        vi_weights16(row, off + offsetof(moe__iq4_xs, qs) + 16 * (size_t)i, v);
#pragma GCC unroll 4
        for (int k = 0; k < 4; k++) {
            q[k] = vi_shuffle8(levels, vi_and(v[k], m4));
            q[k + 4] = vi_shuffle8(levels, vi_and(vi_srl(v[k], 4), m4));
        }
    }
}
