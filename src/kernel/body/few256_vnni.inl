/* SPDX-License-Identifier: MIT */
/*
 * few256.inl for AVX-512 with VNNI, where only two ports take 512-bit operations and every one counts: the
 * scales of four rows are unpacked together, one row per 128-bit lane, and the products of two vectors are
 * packed to 16 bits before they meet their scales.
 *
 * h_<type>(blocks) gives, for each row in its lane: 16-bit scales of the first and second half of the block
 * (lo, hi), and the 16-bit numbers that meet the sums of x (mlo, mhi): minima, or the scales again where
 * weights carry an offset.
 */

typedef struct heads {
    vi lo, hi, mlo, mhi;
    __m256 d; /* d of four rows, then dmin of four rows or 0 */
} heads;

/* 16 bytes at `off` of four blocks. */
static inline vi lanes16(const uint8_t *const *b, size_t off)
{
    vi v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(b[0] + off)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(b[1] + off)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(b[2] + off)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(b[3] + off)), 3);
}
/* The first dword of each lane. */
static inline __m128i lane_firsts(vi v)
{
    return _mm512_castsi512_si128(_mm512_maskz_compress_epi32(0x1111, v));
}
/* d and dmin of four rows, where each lane begins with them. */
static inline __m256 lane_d_dmin(vi v)
{
    const __m128i idx = _mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_cvtph_ps(_mm_shuffle_epi8(lane_firsts(v), idx));
}
static inline __m256 lane_d(const uint8_t *const *b, size_t off)
{
    return _mm256_insertf128_ps(_mm256_setzero_ps(), halves4(b, off), 0);
}

/* Bytes to words, within lanes. */
static inline vi words_lo(vi v) { return _mm512_unpacklo_epi8(v, vi_zero()); }
static inline vi words_hi(vi v) { return _mm512_unpackhi_epi8(v, vi_zero()); }
static inline vi signed_lo(vi v) { return _mm512_srai_epi16(_mm512_unpacklo_epi8(v, v), 8); }
static inline vi signed_hi(vi v) { return _mm512_srai_epi16(_mm512_unpackhi_epi8(v, v), 8); }

/* 8 scales and minima of 6 bits: lo = scales 0-3, minima 0-3; hi = scales 4-7, minima 4-7. */
static inline heads h_q4_k(const uint8_t *const *b)
{
    const vi x = lanes16(b, 0);
    const vi four = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 4));
    const vi low = _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f3f3f, 0x3f3f3f3f, 0x0f0f0f0f, 0x0f0f0f0f));
    const vi top = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0x30303030, 0x30303030));
    const vi z = vi_and(_mm512_srlv_epi32(_mm512_shuffle_epi32(x, 0xf9), four), low); /* dwords 1 2 3 3 */
    const vi v = vi_or(z, vi_and(vi_srl(_mm512_shuffle_epi32(x, 0x90), 2), top));     /* dwords 0 0 1 2 */
    const heads h = {words_lo(v), words_hi(v), words_lo(v), words_hi(v), lane_d_dmin(x)};
    return h;
}
static inline heads h_q5_k(const uint8_t *const *b) { return h_q4_k(b); }

static inline heads h_q6_k(const uint8_t *const *b)
{
    const vi v = lanes16(b, offsetof(moe__q6_k, scales));
    const vi lo = signed_lo(v), hi = signed_hi(v);
    const heads h = {lo, hi, lo, hi, lane_d(b, offsetof(moe__q6_k, d))};
    return h;
}

static inline heads h_q2_k(const uint8_t *const *b)
{
    const vi x = lanes16(b, 0), m4 = vi_set1_8(15);
    const vi s = vi_and(x, m4), m = vi_and(vi_srl(x, 4), m4);
    const __m256 d =
        _mm256_set_m128(halves4(b, offsetof(moe__q2_k, dmin)), halves4(b, offsetof(moe__q2_k, d)));
    const heads h = {words_lo(s), words_hi(s), words_lo(m), words_hi(m), d};
    return h;
}

static inline heads h_q3_k(const uint8_t *const *b)
{
    /* dwords: quants, 8 bytes of low nibbles, 4 bytes of bit pairs */
    const vi x = lanes16(b, offsetof(moe__q3_k, scales) - 4);
    const vi right = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 4, 4)),
             turn = _mm512_broadcast_i32x4(_mm_setr_epi32(4, 2, 0, 30));
    const vi low = vi_and(_mm512_srlv_epi32(_mm512_shuffle_epi32(x, 0x99), right), vi_set1_8(15));
    const vi top = vi_and(_mm512_rolv_epi32(_mm512_shuffle_epi32(x, 0xff), turn), vi_set1_8(0x30));
    const vi v = _mm512_sub_epi8(vi_or(low, top), vi_set1_8(32));
    const vi lo = signed_lo(v), hi = signed_hi(v);
    const heads h = {lo, hi, lo, hi, lane_d(b, offsetof(moe__q3_k, d))};
    return h;
}

/* The sums of x that go with mlo and mhi, in every lane: of 16 elements each, or of 32 in the upper half of
 * the lane. */
ALWAYS_INLINE void lane_sums(const int16_t *sum16, const int groups, vi *lo, vi *hi)
{
    const __m256i s = _mm256_loadu_si256((const __m256i *)sum16);
    __m256i v = s;
    if (groups == 8) {
        const __m256i t = _mm256_madd_epi16(s, _mm256_set1_epi16(1));
        v = _mm256_slli_si256(_mm256_packs_epi32(t, t), 8);
    }
    *lo = _mm512_broadcast_i32x4(_mm256_castsi256_si128(v));
    *hi = _mm512_broadcast_i32x4(_mm256_extracti128_si256(v, 1));
}

/* Which scale (word of lo or hi) each 16-bit part of row r meets: parts of vector 2 h and 2 h + 1 alternate
 * by four. */
ALWAYS_INLINE vi scale_index(const int r, const int groups)
{
    const vi g16 = _mm512_setr_epi32(0x00000, 0x00000, 0x40004, 0x40004, 0x10001, 0x10001, 0x50005, 0x50005,
                                     0x20002, 0x20002, 0x60006, 0x60006, 0x30003, 0x30003, 0x70007, 0x70007);
    const vi g8 = _mm512_setr_epi32(0x00000, 0x00000, 0x20002, 0x20002, 0x00000, 0x00000, 0x20002, 0x20002,
                                    0x10001, 0x10001, 0x30003, 0x30003, 0x10001, 0x10001, 0x30003, 0x30003);
    return _mm512_add_epi16(groups == 8 ? g8 : g16, _mm512_set1_epi16((short)(8 * r)));
}

/* The exact sum of scaled products of row r, in 16 lanes. W(block, j) = vector j. */
#define LANES_DOT(s, W, block, h, r, x, groups) \
    do { \
        const vi i_ = scale_index(r, groups); \
        const vi p0_ = vi_dot(vi_zero(), W(block, 0), x[0]), p1_ = vi_dot(vi_zero(), W(block, 1), x[1]); \
        const vi p2_ = vi_dot(vi_zero(), W(block, 2), x[2]), p3_ = vi_dot(vi_zero(), W(block, 3), x[3]); \
        s = _mm512_madd_epi16(_mm512_packs_epi32(p0_, p1_), _mm512_permutexvar_epi16(i_, h.lo)); \
        s = vi_dot16(s, _mm512_packs_epi32(p2_, p3_), _mm512_permutexvar_epi16(i_, h.hi)); \
    } while (0)

#define FEW_256(type, groups, offset_bits, has_min) \
    ALWAYS_INLINE __m128 few4_##type(const uint8_t *const *rows, const uint8_t *xp, size_t n_blocks, \
                                     size_t ahead) \
    { \
        __m256 acc = _mm256_setzero_ps(); \
        for (size_t i = 0; i < n_blocks; i++) { \
            const moe__act256 *a = (const moe__act256 *)xp + i; \
            const size_t at = i * sizeof(moe__##type); \
            const uint8_t *const b[FEW_ROWS] = {rows[0] + at, rows[1] + at, rows[2] + at, rows[3] + at}; \
            const vi x[4] = {vi_load(a->q), vi_load(a->q + 64), vi_load(a->q + 128), vi_load(a->q + 192)}; \
            vi s0, s1, s2, s3, lo, hi; \
            const heads h = h_##type(b); \
            lane_sums(a->sum16, groups, &lo, &hi); \
            vi m = vi_dot16(_mm512_madd_epi16(h.mlo, lo), h.mhi, hi); \
            fetch_stream(b[0], ahead, sizeof(moe__##type)); \
            LANES_DOT(s0, w_##type, b[0], h, 0, x, groups); \
            fetch_stream(b[1], ahead, sizeof(moe__##type)); \
            LANES_DOT(s1, w_##type, b[1], h, 1, x, groups); \
            fetch_stream(b[2], ahead, sizeof(moe__##type)); \
            LANES_DOT(s2, w_##type, b[2], h, 2, x, groups); \
            fetch_stream(b[3], ahead, sizeof(moe__##type)); \
            LANES_DOT(s3, w_##type, b[3], h, 3, x, groups); \
            m = vi_add(m, _mm512_shuffle_epi32(m, 0x4e)); \
            m = vi_add(m, _mm512_shuffle_epi32(m, 0xb1)); \
            const __m128i second = lane_firsts(m); \
            __m128i first = vi_sum4(s0, s1, s2, s3); \
            if (!(has_min)) first = _mm_sub_epi32(first, _mm_slli_epi32(second, offset_bits)); \
            const __m256i sums = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1); \
            acc = _mm256_fmadd_ps(_mm256_mul_ps(h.d, _mm256_set1_ps(a->d)), _mm256_cvtepi32_ps(sums), acc); \
        } \
        const __m128 v = _mm256_castps256_ps128(acc); \
        return has_min ? _mm_sub_ps(v, _mm256_extractf128_ps(acc, 1)) : v; \
    }
