/* SPDX-License-Identifier: MIT */
/*
 * tile256.inl for AVX-512 with VNNI, two vectors of rows at a time: see pair.inl. a0 .. a5 and b0 .. b5 are
 * the sums of the two row vectors over a block, in registers that the compiler chooses.
 */

static_assert(sizeof(tile256) == 64 * (64 + 16 + 8 + 2), "the assembly has the distance to the second tile");
#define PAIR_NEXT "5760"

/* Text for one column. */
#define PAIR_CLEAR(c, d, ...) \
    "vpxord %[a" #c "], %[a" #c "], %[a" #c "]\n\tvpxord %[b" #c "], %[b" #c "], %[b" #c "]\n\t"
#define PAIR_DOT16(c, d, ...) \
    "vpbroadcastd (%[x" #c "],%[i]), %%zmm14\n\t" \
    "vpdpwssd %%zmm14, %%zmm12, %[a" #c "]\n\t" \
    "vpdpwssd %%zmm14, %%zmm13, %[b" #c "]\n\t"
#define PAIR_DOT_SUM(c, d, at) \
    "vpbroadcastd " at "(%[x" #c "],%[i]), %%zmm14\n\t" \
    "vpdpbusd %%zmm14, %%zmm12, %[a" #c "]\n\t" \
    "vpdpbusd %%zmm14, %%zmm13, %[b" #c "]\n\t"
#define PAIR_SCALE(c, d, ...) \
    "vpdpwssd %%zmm" #c ", %%zmm12, %[a" #c "]\n\t" \
    "vpdpwssd %%zmm" #d ", %%zmm13, %[b" #c "]\n\t"
#define PAIR_MUL(c, d, ...) \
    "vpmulld %%zmm" #c ", %%zmm12, %%zmm" #c "\n\t" \
    "vpmulld %%zmm" #d ", %%zmm13, %%zmm" #d "\n\t"
#define PAIR_ADD(c, d, ...) \
    "vpaddd %%zmm" #c ", %[a" #c "], %[a" #c "]\n\t" \
    "vpaddd %%zmm" #d ", %[b" #c "], %[b" #c "]\n\t"

/* Bodies of the loop over groups: 16 or 32 elements, parts of 4 or 8 vectors, scaled by 16 or 32 bits; or of
 * weights that have their scales in them. */
#define PAIR_BY_SCALE(n)      PAIR_LOAD(s, PAIR_NEXT, 0) PAIR_EACH_##n(PAIR_SCALE, 0)
#define PAIR_BY_MUL(n)        PAIR_LOAD(s, PAIR_NEXT, 0) PAIR_EACH_##n(PAIR_MUL, 0) PAIR_EACH_##n(PAIR_ADD, 0)
#define PAIR_BODY_16_PAIRS(n) PAIR_EACH_##n(PAIR_ZERO, 0) PAIR_STEPS_0(n, PAIR_NEXT) PAIR_BY_SCALE(n)
#define PAIR_BODY_16_MUL(n)   PAIR_EACH_##n(PAIR_ZERO, 0) PAIR_STEPS_0(n, PAIR_NEXT) PAIR_BY_MUL(n)
#define PAIR_BODY_32_PAIRS(n) \
    PAIR_BODY_16_PAIRS(n) PAIR_EACH_##n(PAIR_ZERO, 0) PAIR_STEPS_4(n, PAIR_NEXT) PAIR_BY_SCALE(n)
#define PAIR_BODY_32_MUL(n) \
    PAIR_EACH_##n(PAIR_ZERO, 0) PAIR_STEPS_0(n, PAIR_NEXT) PAIR_STEPS_4(n, PAIR_NEXT) PAIR_BY_MUL(n)

#define PAIR_STEP_SUM(n, at)   PAIR_LOAD(q, PAIR_NEXT, at) PAIR_EACH_##n(PAIR_DOT_SUM, "4*" #at)
#define PAIR_BODY_16_FOLDED(n) PAIR_STEP_SUM(n, 0) PAIR_STEP_SUM(n, 1) PAIR_STEP_SUM(n, 2) PAIR_STEP_SUM(n, 3)

#define PAIR_OUT(c, d, ...) [a##c] "=&v"(a[c]), [b##c] "=&v"(b[c]),

/* a, b = the sums of a block's scaled products for n columns and the rows of t[0], t[1]. x = the columns'
 * blocks. */
#define PAIR_DOTS(n, size, mode) \
    ALWAYS_INLINE void pair_dots_##size##_##mode##_##n(vi *a, vi *b, const tile256 *t, \
                                                       const uint8_t *const *x) \
    { \
        const vi *q = t->q, *s = t->scale; \
        ptrdiff_t i = -256; \
        __asm__(PAIR_EACH_##n(PAIR_CLEAR, 0) "1:\n\t" PAIR_BODY_##size##_##mode( \
                    n) "add $64*" #size "/4, %[q]\n\tadd $64, %[s]\n\tadd $" #size ", %[i]\n\tjnz 1b" \
                : PAIR_EACH_##n(PAIR_OUT, 0)[i] "+&r"(i), [q] "+&r"(q), [s] "+&r"(s) \
                : "m"(*(const tile256(*)[2])t)PAIR_EACH_##n(PAIR_IN, offsetof(moe__act256, q) + 256) \
                : PAIR_CLOBBERS); \
    }
/* The same of the pairs in t->corr with the sums of 16 elements. */
#define PAIR_CORR(n) \
    ALWAYS_INLINE void pair_corr_##n(vi *a, vi *b, const tile256 *t, const uint8_t *const *x) \
    { \
        const vc *q = t->corr; \
        ptrdiff_t i = -32; \
        __asm__(PAIR_EACH_##n(PAIR_CLEAR, 0) "1:\n\t" PAIR_LOAD(q, PAIR_NEXT, 0) \
                    PAIR_EACH_##n(PAIR_DOT16, 0) "add $64, %[q]\n\tadd $4, %[i]\n\tjnz 1b" \
                : PAIR_EACH_##n(PAIR_OUT, 0)[i] "+&r"(i), [q] "+&r"(q) \
                : "m"(*(const tile256(*)[2])t)PAIR_EACH_##n(PAIR_IN, offsetof(moe__act256, sum16) + 32) \
                : PAIR_CLOBBERS); \
    }

/* Elements of a group and how its parts of 16 or 32 elements meet their scale. */
enum { PAIR_16_FOLDED, PAIR_16_MUL, PAIR_32_PAIRS, PAIR_32_MUL };
#define PAIR_FOR(n) \
    PAIR_DOTS(n, 16, FOLDED) \
    PAIR_DOTS(n, 16, MUL) \
    PAIR_DOTS(n, 32, PAIRS) \
    PAIR_DOTS(n, 32, MUL) \
    PAIR_CORR(n) \
    ALWAYS_INLINE void pair_dots_##n(vi *a, vi *b, const tile256 *t, const uint8_t *const *x, \
                                     const int shape) \
    { \
        if (shape == PAIR_16_FOLDED) pair_dots_16_FOLDED_##n(a, b, t, x); \
        if (shape == PAIR_16_MUL) pair_dots_16_MUL_##n(a, b, t, x); \
        if (shape == PAIR_32_PAIRS) pair_dots_32_PAIRS_##n(a, b, t, x); \
        if (shape == PAIR_32_MUL) pair_dots_32_MUL_##n(a, b, t, x); \
    }
PAIR_FOR(2)
PAIR_FOR(4)
PAIR_FOR(6)

/*
 * Weights times their scales, where that fits a byte: Q2_K, q s <= 45, and Q3_K, (q - 4)(s - 32) + 124 <=
 * 252, with 124 sum(x) to be taken off again. A product of two bytes that each stay below 256 is one of 16
 * bits.
 */
ALWAYS_INLINE void unpack_folded_q2_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    unpack_q2_k(t, row, off, mode);
    for (int j = 0; j < 16; j++) {
        const vi s = vi_or(t->scale[j], vi_sll(t->scale[j], 16));
#pragma GCC unroll 4
        for (int k = 4 * j; k < 4 * j + 4; k++) t->q[k] = _mm512_mullo_epi16(t->q[k], s);
    }
}
ALWAYS_INLINE void unpack_folded_q3_k(tile256 *t, const uint8_t *const *row, size_t off, const int mode)
{
    unpack_q3_k(t, row, off, mode);
    for (int j = 0; j < 16; j++) {
        const vi s = vi_or(t->scale[j], vi_sll(t->scale[j], 16));
        const vi plus = _mm512_sub_epi16(_mm512_set1_epi16(124), _mm512_slli_epi16(s, 2));
        const vi both = vi_add16(plus, _mm512_slli_epi16(plus, 8));
#pragma GCC unroll 4
        for (int k = 4 * j; k < 4 * j + 4; k++) t->q[k] = vi_add16(_mm512_mullo_epi16(t->q[k], s), both);
    }
    for (int j = 0; j < 8; j++) t->corr[j] = vc_make(_mm512_set1_epi16(124));
}

/* `old`: 0 for the first block, when there is nothing yet, else 0xffff. */
ALWAYS_INLINE void pair_add(float sum[2][VI_LANES], __mmask16 old, vf d0, vf d1, vf dx, vi a, vi b)
{
    vf_store(sum[0], vf_fma(vf_mul(d0, dx), vf_from(a), _mm512_maskz_loadu_ps(old, sum[0])));
    vf_store(sum[1], vf_fma(vf_mul(d1, dx), vf_from(b), _mm512_maskz_loadu_ps(old, sum[1])));
}

/* Block `block` of nc columns from c0 on. offset_bits: corr << offset_bits is taken off; -1 = nothing is. */
ALWAYS_INLINE void pair_cols(pair_pass *p, const tile256 *t, size_t c0, size_t block, int last,
                             const int shape, const int offset_bits, const int has_min, const int nc)
{
    const __mmask16 old = block ? 0xffff : 0;
    const uint8_t *x[PAIR_COLS];
    vi a[PAIR_COLS], b[PAIR_COLS], ca[PAIR_COLS], cb[PAIR_COLS];
    float(*acc)[2][VI_LANES] = p->acc + c0, (*accm)[2][VI_LANES] = p->accm + c0;
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        x[c] = p->x[c0 + (size_t)c] + block * sizeof(moe__act256);
        fetch_near(p->x[c0 + (size_t)(c + nc)] + block * sizeof(moe__act256), sizeof(moe__act256));
        if (last) fetch_results(p->y[c0 + (size_t)c]);
    }
    if (nc == 6) pair_dots_6(a, b, t, x, shape);
    if (nc == 4) pair_dots_4(a, b, t, x, shape);
    if (nc == 2) pair_dots_2(a, b, t, x, shape);
    if (offset_bits < 0)
#pragma GCC unroll 8
        for (int c = 0; c < nc; c++)
            pair_add(acc[c], old, t[0].d, t[1].d, vf_set1(((const moe__act256 *)x[c])->d), a[c], b[c]);
    if (offset_bits < 0 && !has_min) return;
    if (nc == 6) pair_corr_6(ca, cb, t, x);
    if (nc == 4) pair_corr_4(ca, cb, t, x);
    if (nc == 2) pair_corr_2(ca, cb, t, x);
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        const vf dx = vf_set1(((const moe__act256 *)x[c])->d);
        if (has_min) {
            pair_add(accm[c], old, t[0].dmin, t[1].dmin, dx, ca[c], cb[c]);
        } else {
            a[c] = vi_sub(a[c], vi_sll(ca[c], offset_bits));
            b[c] = vi_sub(b[c], vi_sll(cb[c], offset_bits));
            pair_add(acc[c], old, t[0].d, t[1].d, dx, a[c], b[c]);
        }
    }
}

#define PAIR_256(type, unpack, shape, mode, offset_bits, has_min) \
    static void pair_##type(const moe__gemm *g) \
    { \
        const size_t distance = ahead_bytes(g, PAIR_ROWS), n_blocks = g->n / 256, width = pair_width(g); \
        const moe__gemm rest = g->n_cols < PAIR_MIN ? *g : pair_rest(g); \
        for (size_t c0 = 0; g->n_cols >= PAIR_MIN && c0 < g->n_cols; c0 += width) \
            for (size_t r0 = 0; r0 + PAIR_ROWS <= g->n_rows; r0 += PAIR_ROWS) { \
                pair_pass p; \
                tile256 t[2]; \
                pair_begin(&p, g, r0, c0, width); \
                for (size_t b = 0; b < n_blocks; b++) { \
                    const size_t at = b * sizeof(moe__##type); \
                    unpack(&t[0], p.rows, at, mode); \
                    unpack(&t[1], p.rows + VI_LANES, at, mode); \
                    for (size_t c = 0; c < p.n_cols;) { \
                        const int nc = pair_tile(c, p.n_cols), last = b + 1 == n_blocks; \
                        size_t r = PAIR_ROWS * c / p.n_cols, end = PAIR_ROWS * (c + (size_t)nc) / p.n_cols; \
                        for (; r < end && r < PAIR_ROWS; r++) \
                            fetch(p.rows[r], at + distance, sizeof(moe__##type)); \
                        if (nc == 6) pair_cols(&p, t, c, b, last, shape, offset_bits, has_min, 6); \
                        if (nc == 4) pair_cols(&p, t, c, b, last, shape, offset_bits, has_min, 4); \
                        if (nc == 2) pair_cols(&p, t, c, b, last, shape, offset_bits, has_min, 2); \
                        c += (size_t)nc; \
                    } \
                } \
                pair_end(&p, has_min ? -1 : 0); \
            } \
        if (rest.n_rows) tile_##type(&rest); \
    }
