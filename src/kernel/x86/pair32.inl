/* SPDX-License-Identifier: MIT */
/*
 * tile32.inl for AVX-512 with VNNI, two vectors of rows at a time: see pair.inl. zmm15 .. 20 and 21 .. 26 are
 * the float sums of the two row vectors, which stay in registers for the blocks that were unpacked together.
 */

static_assert(sizeof(tile32) == 640 && CHUNK == 8,
              "the assembly has the distance to the second row vector's tiles");
static_assert(sizeof(moe__act32) == 40, "and that to the next block");
#define PAIR_NEXT "5120"

/* X(column, second part, sum, second sum). */
#define PAIR_SUMS_2(X, ...) X(0, 6, 15, 21, __VA_ARGS__) X(1, 7, 16, 22, __VA_ARGS__)
#define PAIR_SUMS_4(X, ...) \
    PAIR_SUMS_2(X, __VA_ARGS__) X(2, 8, 17, 23, __VA_ARGS__) X(3, 9, 18, 24, __VA_ARGS__)
#define PAIR_SUMS_6(X, ...) \
    PAIR_SUMS_4(X, __VA_ARGS__) X(4, 10, 19, 25, __VA_ARGS__) X(5, 11, 20, 26, __VA_ARGS__)

/* Text for one column: its sums, in memory at 128 * column. */
#define PAIR_SUMS_LOAD(c, d, s, t, ...) \
    "vmovups 128*" #c "(%[acc]), %%zmm" #s "\n\tvmovups 128*" #c "+64(%[acc]), %%zmm" #t "\n\t"
#define PAIR_SUMS_STORE(c, d, s, t, ...) \
    "vmovups %%zmm" #s ", 128*" #c "(%[acc])\n\tvmovups %%zmm" #t ", 128*" #c "+64(%[acc])\n\t"
/* Parts begin with sum(x) * factor, for the offset of the weights. */
#define PAIR_START(c, d, ...) \
    "vpbroadcastd -4(%[x" #c "],%[i]), %%zmm14\n\t" \
    "vpmaddwd %%zmm14, %[factor], %%zmm" #c "\n\t" \
    "vmovdqa64 %%zmm" #c ", %%zmm" #d "\n\t"
/* sums = fma(d_w * d_x, parts, sums) */
#define PAIR_FMA(c, d, s, t, ...) \
    "vbroadcastss -8(%[x" #c "],%[i]), %%zmm14\n\t" \
    "vcvtdq2ps %%zmm" #c ", %%zmm" #c "\n\tvcvtdq2ps %%zmm" #d ", %%zmm" #d "\n\t" \
    "vmulps %%zmm14, %%zmm12, %%zmm27\n\tvmulps %%zmm14, %%zmm13, %%zmm14\n\t" \
    "vfmadd231ps %%zmm27, %%zmm" #c ", %%zmm" #s "\n\tvfmadd231ps %%zmm14, %%zmm" #d ", %%zmm" #t "\n\t"
/* sums = fma(m_w * d_x, sum(x), sums) */
#define PAIR_FMA_MIN(c, d, s, t, ...) \
    "vbroadcastss -8(%[x" #c "],%[i]), %%zmm14\n\tvpbroadcastd -4(%[x" #c "],%[i]), %%zmm" #c "\n\t" \
    "vcvtdq2ps %%zmm" #c ", %%zmm" #c "\n\t" \
    "vmulps %%zmm14, %%zmm12, %%zmm27\n\tvmulps %%zmm14, %%zmm13, %%zmm14\n\t" \
    "vfmadd231ps %%zmm27, %%zmm" #c ", %%zmm" #s "\n\tvfmadd231ps %%zmm14, %%zmm" #c ", %%zmm" #t "\n\t"

#define PAIR_PRODUCTS(n) \
    PAIR_STEPS_0(n, PAIR_NEXT) \
    PAIR_STEPS_4(n, PAIR_NEXT) PAIR_LOAD(q, PAIR_NEXT, 8) PAIR_SUMS_##n(PAIR_FMA, 0)
#define PAIR_BODY_PLAIN(n)  PAIR_EACH_##n(PAIR_ZERO, 0) PAIR_PRODUCTS(n)
#define PAIR_BODY_OFFSET(n) PAIR_EACH_##n(PAIR_START, 0) PAIR_PRODUCTS(n)
#define PAIR_BODY_MIN(n)    PAIR_LOAD(q, PAIR_NEXT, 9) PAIR_SUMS_##n(PAIR_FMA_MIN, 0)

/* acc += n_blocks blocks of n columns at x with the tiles t and t + CHUNK. */
#define PAIR_LOOP(n, body) \
    ALWAYS_INLINE void pair_##body##_##n(float(*acc)[2][VI_LANES], const tile32 *t, \
                                         const moe__act32 *const *x, size_t n_blocks, const int offset) \
    { \
        const tile32 *q = t; \
        ptrdiff_t i = -(ptrdiff_t)(n_blocks * sizeof **x); \
        __asm__ __volatile__( \
            PAIR_SUMS_##n(PAIR_SUMS_LOAD, 0) "1:\n\t" PAIR_BODY_##body( \
                n) "add $640, %[q]\n\tadd $40, %[i]\n\tjnz 1b\n\t" PAIR_SUMS_##n(PAIR_SUMS_STORE, 0) \
            : [i] "+&r"(i), [q] "+&r"(q) \
            : [acc] "r"(acc), [factor] "v"(vi_set1_32(-offset & 0xffff)) \
                                  PAIR_EACH_##n(PAIR_IN, n_blocks * sizeof **x + offsetof(moe__act32, q)) \
            : PAIR_CLOBBERS, "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", \
              "xmm23", "xmm24", "xmm25", "xmm26", "xmm27"); \
    }
#define PAIR_FOR(n) PAIR_LOOP(n, PLAIN) PAIR_LOOP(n, OFFSET) PAIR_LOOP(n, MIN)
PAIR_FOR(2)
PAIR_FOR(4)
PAIR_FOR(6)

/* Blocks b .. b + nb - 1 of nc columns from c0 on. */
ALWAYS_INLINE void pair_cols(pair_pass *p, const tile32 *t, size_t c0, size_t b, size_t nb, int last,
                             const int offset, const int has_min, const int nc)
{
    const moe__act32 *x[PAIR_COLS];
    float(*acc)[2][VI_LANES] = p->acc + c0, (*accm)[2][VI_LANES] = p->accm + c0;
#pragma GCC unroll 8
    for (int c = 0; c < nc; c++) {
        x[c] = (const moe__act32 *)p->x[c0 + (size_t)c] + b;
        fetch_near(p->x[c0 + (size_t)(c + nc)] + b * sizeof **x, CHUNK * sizeof **x);
        if (last) fetch_results(p->y[c0 + (size_t)c]);
    }
#define PAIR_CALL(n) \
    if (nc == n && offset) pair_OFFSET_##n(acc, t, x, nb, offset); \
    if (nc == n && !offset) pair_PLAIN_##n(acc, t, x, nb, 0); \
    if (nc == n && has_min) pair_MIN_##n(accm, t, x, nb, 0);
    PAIR_CALL(2)
    PAIR_CALL(4)
    PAIR_CALL(6)
}

/* Asks for `bytes` bytes of a stream and returns where it goes on. */
static inline const uint8_t *fetch_on(const uint8_t *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)((uintptr_t)p + i), 0, 2);
    return (const uint8_t *)((uintptr_t)p + bytes);
}

#define PAIR_32(type, offset, has_min) \
    static void pair_##type(const moe__gemm *g) \
    { \
        const size_t distance = ahead_bytes(g, PAIR_ROWS), n_blocks = g->n / 32, width = pair_width(g); \
        const moe__gemm rest = g->n_cols < PAIR_MIN ? *g : pair_rest(g); \
        for (size_t c0 = 0; g->n_cols >= PAIR_MIN && c0 < g->n_cols; c0 += width) \
            for (size_t r0 = 0; r0 + PAIR_ROWS <= g->n_rows; r0 += PAIR_ROWS) { \
                pair_pass p; \
                tile32 t[2][CHUNK]; \
                pair_begin(&p, g, r0, c0, width); \
                memset(p.acc, 0, sizeof p.acc[0] * (p.n_cols + PAIR_COLS)); \
                if (has_min) memset(p.accm, 0, sizeof p.accm[0] * (p.n_cols + PAIR_COLS)); \
                const uint8_t *next = (const uint8_t *)((uintptr_t)p.rows[0] + distance); \
                for (size_t b = 0; b < n_blocks; b += CHUNK) { \
                    const size_t nb = n_blocks - b < CHUNK ? n_blocks - b : CHUNK; \
                    const size_t bytes = nb * PAIR_ROWS * sizeof(moe__##type); \
                    const int last = b + nb == n_blocks; \
                    for (size_t i = 0; i < 2 * nb; i++) \
                        unpack_##type(&t[i % 2][i / 2], p.rows + i % 2 * VI_LANES, \
                                      (b + i / 2) * sizeof(moe__##type)); \
                    for (size_t c = 0; c < p.n_cols;) { \
                        const int nc = pair_tile(c, p.n_cols); \
                        next = fetch_on(next, bytes * (size_t)nc / p.n_cols); \
                        if (nc == 6) pair_cols(&p, t[0], c, b, nb, last, offset, has_min, 6); \
                        if (nc == 4) pair_cols(&p, t[0], c, b, nb, last, offset, has_min, 4); \
                        if (nc == 2) pair_cols(&p, t[0], c, b, nb, last, offset, has_min, 2); \
                        c += (size_t)nc; \
                    } \
                } \
                pair_end(&p, has_min ? 1 : 0); \
            } \
        if (rest.n_rows) tile_##type(&rest); \
    }
