/* SPDX-License-Identifier: MIT */
/*
 * Products of the 32-element formats with few columns: eight rows at a time against one column, 256-bit
 * vectors at every level (a block is 32 bytes). w_<type>(block) = the 32 weights, unsigned (value + offset)
 * or, for BY_SIGN without VNNI, signed.
 */

#define FEW_ROWS 8

static inline __m256i y_set1(int x) { return _mm256_set1_epi8((char)x); }

/* Nibbles in the order of the elements. */
static inline __m256i y_nibbles(const uint8_t *qs)
{
    const __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)qs));
    return _mm256_and_si256(_mm256_srlv_epi64(v, _mm256_setr_epi64x(0, 0, 4, 4)), y_set1(15));
}
static inline __m256i y_table(const int8_t *table, int plus, __m256i idx)
{
    const __m256i t = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)table));
    return _mm256_shuffle_epi8(_mm256_add_epi8(t, y_set1(plus)), idx);
}
/* 16 where bit i of the dword at qh is set. */
static inline __m256i y_fifth(const uint8_t *qh)
{
    const __m256i idx = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2,
                                         2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i mask = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32(*(const alias_i32_any *)qh), idx);
    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, mask), mask), y_set1(16));
}

static inline __m256i w_q4_0(const uint8_t *b) { return y_nibbles(b + offsetof(moe__q4_0, qs)); }
static inline __m256i w_q4_1(const uint8_t *b) { return y_nibbles(b + offsetof(moe__q4_1, qs)); }
static inline __m256i w_q5_0(const uint8_t *b)
{
    return _mm256_or_si256(y_nibbles(b + offsetof(moe__q5_0, qs)), y_fifth(b + offsetof(moe__q5_0, qh)));
}
static inline __m256i w_q5_1(const uint8_t *b)
{
    return _mm256_or_si256(y_nibbles(b + offsetof(moe__q5_1, qs)), y_fifth(b + offsetof(moe__q5_1, qh)));
}
static inline __m256i w_q8_0(const uint8_t *b)
{
    const __m256i v = _mm256_loadu_si256((const __m256i *)(b + offsetof(moe__q8_0, qs)));
    return MOE_VNNI ? _mm256_xor_si256(v, y_set1(0x80)) : v;
}
static inline __m256i w_iq4_nl(const uint8_t *b)
{
    return y_table(moe__iq4_levels, MOE_VNNI ? 0x80 : 0, y_nibbles(b + offsetof(moe__iq4_nl, qs)));
}
static inline __m256i w_mxfp4(const uint8_t *b)
{
    return y_table(moe__fp4_levels, 12, y_nibbles(b + offsetof(moe__mxfp4, qs)));
}

/* Sums of products in eight lanes. */
ALWAYS_INLINE __m256i few_dot(__m256i w, __m256i x, const int mode)
{
#if MOE_VNNI
    (void)mode;
    return ymm_dot(_mm256_setzero_si256(), w, x);
#else
    const __m256i m = mode == BY_SIGN ? _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
                                      : _mm256_maddubs_epi16(w, x);
    return _mm256_madd_epi16(m, _mm256_set1_epi16(1));
#endif
}

/* The half at `off` of eight rows. */
static inline __m256 halves8(const uint8_t *const *row, size_t off)
{
    uint16_t h[FEW_ROWS];
    __m128i v = _mm_setzero_si128();
    for (int r = 0; r < FEW_ROWS; r++) memcpy(&h[r], row[r] + off, 2);
    v = _mm_insert_epi16(v, h[0], 0);
    v = _mm_insert_epi16(v, h[1], 1);
    v = _mm_insert_epi16(v, h[2], 2);
    v = _mm_insert_epi16(v, h[3], 3);
    v = _mm_insert_epi16(v, h[4], 4);
    v = _mm_insert_epi16(v, h[5], 5);
    v = _mm_insert_epi16(v, h[6], 6);
    v = _mm_insert_epi16(v, h[7], 7);
    return _mm256_cvtph_ps(v);
}
static inline __m256 e8m0s8(const uint8_t *const *row, size_t off)
{
    __m128i v = _mm_setzero_si128();
    v = _mm_insert_epi8(v, row[0][off], 0);
    v = _mm_insert_epi8(v, row[1][off], 1);
    v = _mm_insert_epi8(v, row[2][off], 2);
    v = _mm_insert_epi8(v, row[3][off], 3);
    v = _mm_insert_epi8(v, row[4][off], 4);
    v = _mm_insert_epi8(v, row[5][off], 5);
    v = _mm_insert_epi8(v, row[6][off], 6);
    v = _mm_insert_epi8(v, row[7][off], 7);
    /* moe__e8m0_half: exponents 0 and 1 give subnormals */
    const __m256i e = _mm256_cvtepu8_epi32(v), two = _mm256_set1_epi32(2);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
    const __m256i small = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_castsi256_ps(_mm256_blendv_epi8(normal, small, _mm256_cmpgt_epi32(two, e)));
}

/* D(rows, offset) = the scales of eight rows. */
#define FEW_32(type, mode, offset, has_min, D, d_at, m_at) \
    ALWAYS_INLINE __m256 few8_##type(const uint8_t *const *rows, const uint8_t *xp, size_t n_blocks, \
                                     size_t ahead) \
    { \
        __m256 acc = _mm256_setzero_ps(), accm = _mm256_setzero_ps(); \
        for (size_t i = 0; i < n_blocks; i++) { \
            const moe__act32 *a = (const moe__act32 *)xp + i; \
            const __m256i x = _mm256_loadu_si256((const __m256i *)a->q); \
            const __m256 dx = _mm256_set1_ps(a->d); \
            const size_t at = i * sizeof(moe__##type); \
            __m256i s[FEW_ROWS]; \
            fetch_streams(rows, ahead, i, FEW_ROWS, sizeof(moe__##type)); \
            _Pragma("GCC unroll 8") for (int r = 0; r < FEW_ROWS; r++) \
                s[r] = few_dot(w_##type(rows[r] + at), x, mode); \
            const __m256i sum = _mm256_sub_epi32(ymm_sum8(s), _mm256_set1_epi32((offset) * a->sum)); \
            acc = _mm256_fmadd_ps(_mm256_mul_ps(D(rows, at + (d_at)), dx), _mm256_cvtepi32_ps(sum), acc); \
            if (has_min) \
                accm = _mm256_fmadd_ps(_mm256_mul_ps(D(rows, at + (m_at)), dx), \
                                       _mm256_set1_ps((float)a->sum), accm); \
        } \
        return has_min ? _mm256_add_ps(acc, accm) : acc; \
    } \
    STREAM_DRIVER(few_##type, FEW_ROWS, few8_##type, _mm256_storeu_ps, 32)
