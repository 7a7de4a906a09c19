/* SPDX-License-Identifier: MIT */
/*
 * Products of the 256-element formats with few columns: four rows at a time against one column, weights
 * unpacked in registers in the order of the elements, so that neither needs to be turned. The sums of four
 * rows cross lanes together; each row keeps one accumulator.
 *
 * For every format: w_<type>(block, j) = VI_BYTES weights from element VI_BYTES * j on, unsigned (value +
 * offset); s_<type>(block) = 16 scales of 16 bits, one per 16 elements; m_<type>(block) the same of minima.
 */

#define VI_BYTES (4 * VI_LANES)
#define FEW_ROWS 4

#if MOE_VEC == 512
/* 32 bytes in both halves, shifted right by `lo` and `hi` bits (left where negative). */
static inline vi twice(const uint8_t *p, int lo, int hi)
{
    const vi shift = _mm512_inserti64x4(_mm512_set1_epi32(lo & 31), _mm256_set1_epi32(hi & 31), 1);
    return _mm512_rorv_epi32(_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p)), shift);
}
/* Nibbles of a pair of groups, of one group's 16 bytes each. */
static inline vi nibbles32(const uint8_t *qs, int j)
{
    return vi_and(twice(qs + 32 * j, 0, 4), vi_set1_8(15));
}
static inline vi nibbles16(const uint8_t *qs, int j)
{
    const vi v = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)(qs + 32 * j)));
    const vi lanes = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3), v);
    return vi_and(_mm512_srlv_epi64(lanes, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4)), vi_set1_8(15));
}
/* Bit pairs of Q2_K and Q3_K. */
static inline vi crumbs(const uint8_t *qs, int j)
{
    return vi_and(twice(qs + 32 * (j / 2), j % 2 * 4, j % 2 * 4 + 2), vi_set1_8(3));
}
/* Bit `group` of 32 bytes, at place `to`. */
static inline vi bits(const uint8_t *qh, int j, int to)
{
    return vi_and(twice(qh, 2 * j - to, 2 * j + 1 - to), vi_set1_8(1 << to));
}
static inline vi w_q6_k(const uint8_t *b, int j)
{
    const vi ql = vi_load(b + 64 * (j / 2));
    const vi lo = vi_and(j % 2 ? vi_srl(ql, 4) : ql, vi_set1_8(15));
    const vi hi = twice(b + offsetof(moe__q6_k, qh) + 32 * (j / 2), j % 2 * 4 - 4, j % 2 * 4 - 2);
    return vi_or(lo, vi_and(hi, vi_set1_8(0x30)));
}
#else
/* 32 bytes shifted right by n bits (left where negative). */
static inline vi once(const uint8_t *p, int n)
{
    const vi v = vi_load(p);
    return n >= 0 ? vi_srl(v, n) : vi_sll(v, -n);
}
static inline vi nibbles32(const uint8_t *qs, int j)
{
    return vi_and(once(qs + 32 * (j / 2), j % 2 * 4), vi_set1_8(15));
}
static inline vi nibbles16(const uint8_t *qs, int j)
{
    return vi_and(_mm256_srlv_epi64(vi_bcast128(qs + 16 * j), _mm256_setr_epi64x(0, 0, 4, 4)), vi_set1_8(15));
}
static inline vi crumbs(const uint8_t *qs, int j)
{
    return vi_and(once(qs + 32 * (j / 4), j % 4 * 2), vi_set1_8(3));
}
static inline vi bits(const uint8_t *qh, int j, int to)
{
    return vi_and(once(qh, j - to), vi_set1_8(1 << to));
}
static inline vi w_q6_k(const uint8_t *b, int j)
{
    const vi lo = vi_and(once(b + 64 * (j / 4) + 32 * (j % 2), j % 4 / 2 * 4), vi_set1_8(15));
    const vi hi = once(b + offsetof(moe__q6_k, qh) + 32 * (j / 4), j % 4 * 2 - 4);
    return vi_or(lo, vi_and(hi, vi_set1_8(0x30)));
}
#endif

static inline vi w_q4_k(const uint8_t *b, int j) { return nibbles32(b + offsetof(moe__q4_k, qs), j); }
static inline vi w_q5_k(const uint8_t *b, int j)
{
    return vi_or(nibbles32(b + offsetof(moe__q5_k, qs), j), bits(b + offsetof(moe__q5_k, qh), j, 4));
}
static inline vi w_q2_k(const uint8_t *b, int j) { return crumbs(b + offsetof(moe__q2_k, qs), j); }
static inline vi w_q3_k(const uint8_t *b, int j)
{
    return vi_or(crumbs(b + offsetof(moe__q3_k, qs), j), bits(b, j, 2));
}
static inline vi w_iq4_xs(const uint8_t *b, int j)
{
    const vi levels = vi_xor(vi_bcast128(moe__iq4_levels), vi_set1_8(MOE_VNNI ? 0x80 : 0));
    return vi_shuffle8(levels, nibbles16(b + offsetof(moe__iq4_xs, qs), j));
}

/* Bytes: scales 0-3, minima 0-3, scales 4-7, minima 4-7. */
static inline __m128i scale_min_bytes(const uint8_t *b)
{
    const __m128i x = _mm_loadu_si128((const __m128i *)b), four = _mm_setr_epi32(0, 0, 0, 4);
    const __m128i low = _mm_setr_epi32(0x3f3f3f3f, 0x3f3f3f3f, 0x0f0f0f0f, 0x0f0f0f0f);
    const __m128i top = _mm_setr_epi32(0, 0, 0x30303030, 0x30303030);
    const __m128i z =
        _mm_and_si128(_mm_srlv_epi32(_mm_shuffle_epi32(x, 0xf9), four), low);            /* dwords 1 2 3 3 */
    const __m128i u = _mm_and_si128(_mm_srli_epi32(_mm_shuffle_epi32(x, 0x90), 2), top); /* dwords 0 0 1 2 */
    return _mm_or_si128(z, u);
}
static inline __m256i scale_min_spread(__m128i bytes, int from)
{
    const __m256i idx = _mm256_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1, 8, -1, 8, -1,
                                         9, -1, 9, -1, 10, -1, 10, -1, 11, -1, 11, -1);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(bytes),
                               _mm256_add_epi8(idx, _mm256_set1_epi16((short)from)));
}
static inline __m256i s_q4_k(const uint8_t *b) { return scale_min_spread(scale_min_bytes(b), 0); }
static inline __m256i m_q4_k(const uint8_t *b) { return scale_min_spread(scale_min_bytes(b), 4); }
static inline __m256i s_q5_k(const uint8_t *b) { return s_q4_k(b); }
static inline __m256i m_q5_k(const uint8_t *b) { return m_q4_k(b); }

static inline __m256i s_q6_k(const uint8_t *b)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(b + offsetof(moe__q6_k, scales))));
}
static inline __m256i s_q2_k(const uint8_t *b)
{
    return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_loadu_si128((const __m128i *)b), _mm_set1_epi8(15)));
}
static inline __m256i m_q2_k(const uint8_t *b)
{
    return _mm256_cvtepu8_epi16(
        _mm_and_si128(_mm_srli_epi16(_mm_loadu_si128((const __m128i *)b), 4), _mm_set1_epi8(15)));
}
static inline __m256i s_q3_k(const uint8_t *b)
{
    /* dwords: quants, 8 bytes of low nibbles, 4 bytes of bit pairs */
    const __m128i x = _mm_loadu_si128((const __m128i *)(b + offsetof(moe__q3_k, scales) - 4));
    const __m128i lo = _mm_srlv_epi32(_mm_shuffle_epi32(x, 0x99), _mm_setr_epi32(0, 0, 4, 4));
    const __m128i hi = _mm_srlv_epi32(_mm_sllv_epi32(_mm_shuffle_epi32(x, 0xff), _mm_setr_epi32(4, 2, 0, 0)),
                                      _mm_setr_epi32(0, 0, 0, 2));
    const __m128i v =
        _mm_or_si128(_mm_and_si128(lo, _mm_set1_epi8(15)), _mm_and_si128(hi, _mm_set1_epi8(0x30)));
    return _mm256_cvtepi8_epi16(_mm_sub_epi8(v, _mm_set1_epi8(32)));
}
static inline __m256i s_iq4_xs(const uint8_t *b)
{
    const __m256i l = _mm256_set1_epi32(*(const alias_i32_any *)(b + offsetof(moe__iq4_xs, scales_l)));
    const __m256i h = _mm256_set1_epi32(*(const alias_i32_any *)(b + 0)); /* d, then the upper bits */
    const __m256i lo = _mm256_and_si256(_mm256_srlv_epi32(l, _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28)),
                                        _mm256_set1_epi32(15));
    const __m256i hi = _mm256_and_si256(
        _mm256_srlv_epi32(h, _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30)), _mm256_set1_epi32(3));
    const __m256i v = _mm256_sub_epi32(_mm256_or_si256(lo, _mm256_slli_epi32(hi, 4)), _mm256_set1_epi32(32));
    return _mm256_or_si256(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)),
                           _mm256_slli_epi32(v, 16)); /* each twice */
}

/*
 * The scales of vector j, one per lane: with VNNI in the low half of each lane, else in both. `s` comes from
 * spread_scales().
 */
#if MOE_VEC == 512
static inline vi spread_scales(__m256i s) { return _mm512_castsi256_si512(s); }
static inline vi scales_of(vi s, int j)
{
    const vi four = _mm512_setr_epi32(0, 0, 0, 0, 0x10001, 0x10001, 0x10001, 0x10001, 0x20002, 0x20002,
                                      0x20002, 0x20002, 0x30003, 0x30003, 0x30003, 0x30003);
    const vi idx = _mm512_add_epi16(four, _mm512_set1_epi16((short)(4 * j)));
    return MOE_VNNI ? _mm512_maskz_permutexvar_epi16(0x55555555u, idx, s) : _mm512_permutexvar_epi16(idx, s);
}
static inline vi widen(__m256i x) { return _mm512_zextsi256_si512(x); }
#else
static inline vi spread_scales(__m256i s) /* even ones in the low half, odd ones in the high half */
{
    const __m256i idx = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15, 0, 1, 4, 5, 8,
                                         9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    return _mm256_permute4x64_epi64(_mm256_shuffle_epi8(s, idx), 0xd8);
}
static inline vi scales_of(vi s, int j)
{
    const int idx = (2 * j) | (2 * j + 1) << 8;
    return _mm256_shuffle_epi8(s, _mm256_set1_epi32(MOE_VNNI ? idx | (int)0x80800000 : idx | idx << 16));
}
static inline vi widen(__m256i x) { return x; }
#endif

/* s + the products of vector j with their scales. */
ALWAYS_INLINE vi few_dot(vi s, vi w, vi x, vi scale, const int mode)
{
#if MOE_VNNI
    const vi part = vi_dot(vi_zero(), w, x);
    if (mode == BY_MUL) return vi_add(s, vi_mul(part, vi_sra(vi_sll(scale, 16), 16)));
    return vi_dot16(s, part, scale);
#else
    return vi_dot16(s, mode == BY_SIGN ? vi_maddubs(vi_abs8(w), vi_sign8(x, w)) : vi_maddubs(w, x), scale);
#endif
}

/* The half at `off` of four rows. */
static inline __m128 halves4(const uint8_t *const *row, size_t off)
{
    uint16_t h[FEW_ROWS];
    __m128i v = _mm_setzero_si128();
    for (int r = 0; r < FEW_ROWS; r++) memcpy(&h[r], row[r] + off, 2);
    v = _mm_insert_epi16(v, h[0], 0);
    v = _mm_insert_epi16(v, h[1], 1);
    v = _mm_insert_epi16(v, h[2], 2);
    v = _mm_insert_epi16(v, h[3], 3);
    return _mm_cvtph_ps(v);
}

/*
 * mode: how parts of one vector meet their scale (BY_PAIRS: four products of bytes stay below 2^15, without
 * VNNI two). M is the macro that computes minima, or NO_MIN.
 */
#define NO_MIN(b) _mm256_setzero_si256()
#define FEW_256_ROWS(type, mode, offset_bits, has_min, M, dmin_at) \
    ALWAYS_INLINE __m128 few4_##type(const uint8_t *const *rows, const uint8_t *xp, size_t n_blocks, \
                                     size_t ahead) \
    { \
        __m128 acc = _mm_setzero_ps(), accm = _mm_setzero_ps(); \
        for (size_t i = 0; i < n_blocks; i++) { \
            const moe__act256 *a = (const moe__act256 *)xp + i; \
            const __m256i sum16 = _mm256_loadu_si256((const __m256i *)a->sum16); \
            const uint8_t *b[FEW_ROWS]; \
            vi s[FEW_ROWS]; \
            __m256i m[FEW_ROWS]; \
            for (int r = 0; r < FEW_ROWS; r++) { \
                b[r] = rows[r] + i * sizeof(moe__##type); \
                fetch_stream(b[r], ahead, sizeof(moe__##type)); \
                const __m256i scale = s_##type(b[r]); \
                const vi spread = spread_scales(scale); \
                s[r] = vi_zero(); \
                _Pragma("GCC unroll 8") for (int j = 0; j < 256 / VI_BYTES; j++) \
                    s[r] = few_dot(s[r], w_##type(b[r], j), vi_load(a->q + VI_BYTES * j), \
                                   scales_of(spread, j), mode); \
                if (offset_bits) \
                    s[r] = vi_sub(s[r], \
                                  widen(_mm256_slli_epi32(_mm256_madd_epi16(scale, sum16), offset_bits))); \
                m[r] = has_min ? _mm256_madd_epi16(M(b[r]), sum16) : scale; \
            } \
            const __m128 dx = _mm_set1_ps(a->d); \
            acc = _mm_fmadd_ps(_mm_mul_ps(halves4(b, offsetof(moe__##type, d)), dx), \
                               _mm_cvtepi32_ps(vi_sum4(s[0], s[1], s[2], s[3])), acc); \
            if (has_min) \
                accm = _mm_fmadd_ps(_mm_mul_ps(halves4(b, dmin_at), dx), \
                                    _mm_cvtepi32_ps(ymm_sum4(m[0], m[1], m[2], m[3])), accm); \
        } \
        return has_min ? _mm_sub_ps(acc, accm) : acc; \
    }
