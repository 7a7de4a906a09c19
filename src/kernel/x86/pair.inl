/* SPDX-License-Identifier: MIT */
/*
 * What pair256.inl and pair32.inl share: the tile kernels of AVX-512 with VNNI. 32 weight rows, two vectors,
 * meet up to six columns at a time, so that four elements of a column that are broadcast serve both, and the
 * columns are read half as often. The loops are assembly: twelve sums, twelve parts and three more are nearly
 * all registers there are, and gcc 12 moves them about.
 *
 * zmm0 .. 5 and 6 .. 11 are parts of the two row vectors, 12 and 13 weights, 14 a broadcast. x0 .. x5 point
 * behind the columns' blocks, i counts up to 0.
 */

#define PAIR_COLS 6
#define PAIR_ROWS (2 * VI_LANES)
#define PAIR_PASS 96 /* columns of one pass over the weights */
#define PAIR_MIN \
    17 /* fewer columns than this wait for memory more than for the loops: one vector at a time */

/* X(column, number of the second row's part) for each column. */
#define PAIR_EACH_2(X, ...) X(0, 6, __VA_ARGS__) X(1, 7, __VA_ARGS__)
#define PAIR_EACH_4(X, ...) PAIR_EACH_2(X, __VA_ARGS__) X(2, 8, __VA_ARGS__) X(3, 9, __VA_ARGS__)
#define PAIR_EACH_6(X, ...) PAIR_EACH_4(X, __VA_ARGS__) X(4, 10, __VA_ARGS__) X(5, 11, __VA_ARGS__)

/* Text for one column: a part is 0; it gets the products of weights with four elements at `at`. */
#define PAIR_ZERO(c, d, ...) \
    "vpxor %%xmm" #c ", %%xmm" #c ", %%xmm" #c "\n\tvpxor %%xmm" #d ", %%xmm" #d ", %%xmm" #d "\n\t"
#define PAIR_DOT(c, d, at) \
    "vpbroadcastd " at "(%[x" #c "],%[i]), %%zmm14\n\t" \
    "vpdpbusd %%zmm14, %%zmm12, %%zmm" #c "\n\t" \
    "vpdpbusd %%zmm14, %%zmm13, %%zmm" #d "\n\t"

/* Vector `at` of weights (or others that stand like them) of both rows, the second one `next` bytes further
 * on. */
#define PAIR_LOAD(reg, next, at) \
    "vmovdqa64 64*" #at "(%[" #reg "]), %%zmm12\n\tvmovdqa64 " next "+64*" #at "(%[" #reg "]), %%zmm13\n\t"
#define PAIR_STEP(n, next, at) PAIR_LOAD(q, next, at) PAIR_EACH_##n(PAIR_DOT, "4*" #at)
#define PAIR_STEPS_0(n, next) \
    PAIR_STEP(n, next, 0) PAIR_STEP(n, next, 1) PAIR_STEP(n, next, 2) PAIR_STEP(n, next, 3)
#define PAIR_STEPS_4(n, next) \
    PAIR_STEP(n, next, 4) PAIR_STEP(n, next, 5) PAIR_STEP(n, next, 6) PAIR_STEP(n, next, 7)

#define PAIR_IN(c, d, from) , [x##c] "r"((const uint8_t *)x[c] + (from))
#define PAIR_CLOBBERS \
    "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
        "xmm11", "xmm12", "xmm13", "xmm14"

/* The sums of a pass; the second index is the row vector. Tiles may have columns that do not exist. */
typedef struct pair_pass {
    float acc[PAIR_PASS + 2 * PAIR_COLS][2][VI_LANES], accm[PAIR_PASS + 2 * PAIR_COLS][2][VI_LANES];
    const uint8_t *x[PAIR_PASS + 2 * PAIR_COLS];
    float *y[PAIR_PASS + 2 * PAIR_COLS]; /* where to store the results */
    const uint8_t *rows[PAIR_ROWS];
    size_t n_cols;
} pair_pass;

/* Columns of each pass: as few passes as possible, of nearly the same width. */
static inline size_t pair_width(const moe__gemm *g)
{
    const size_t passes = (g->n_cols + PAIR_PASS - 1) / PAIR_PASS;
    return (g->n_cols + passes - 1) / passes;
}

static inline void pair_begin(pair_pass *p, const moe__gemm *g, size_t r0, size_t c0, size_t width)
{
    const size_t left = g->n_cols - c0;
    p->n_cols = left < width ? left : width;
    for (size_t r = 0; r < PAIR_ROWS; r++) p->rows[r] = row_at(g, r0 + r);
    for (size_t c = 0; c < p->n_cols + 2 * PAIR_COLS; c++) {
        p->x[c] = col_at(g, c0 + c);
        p->y[c] = g->y + (c0 + (c < p->n_cols ? c : 0)) * g->ldy + r0;
    }
}

/* Stores the sums of 32 rows: acc, or acc + sign * accm. */
ALWAYS_INLINE void pair_end(const pair_pass *p, const int sign)
{
    for (size_t c = 0; c < p->n_cols; c++)
#pragma GCC unroll 2
        for (size_t k = 0; k < 2; k++) {
            vf v = vf_load(p->acc[c][k]);
            if (sign > 0) v = vf_add(v, vf_load(p->accm[c][k]));
            if (sign < 0) v = vf_sub(v, vf_load(p->accm[c][k]));
            vf_store(p->y[c] + k * VI_LANES, v);
        }
}

/* How many columns the tile at c has: 8 are 4 + 4, since two are too few to hide what a product takes. */
static inline int pair_tile(size_t c, size_t n_cols)
{
    const size_t left = n_cols - c;
    return left > 4 && left != 8 ? 6 : left > 2 ? 4 : 2;
}

/* `bytes` bytes of a column, into the first-level cache. */
ALWAYS_INLINE void fetch_near(const uint8_t *p, const size_t bytes)
{
#pragma GCC unroll 8
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)((uintptr_t)p + i), 0, 3);
}
/* The place of 32 results: they are stored a page apart, which stops everything if it comes unprepared. */
static inline void fetch_results(const float *y)
{
    __builtin_prefetch(y, 1, 3);
    __builtin_prefetch(y + 16, 1, 3);
    __builtin_prefetch(y + 31, 1, 3);
}

/* The rows that are left when 32 at a time were computed. */
static inline moe__gemm pair_rest(const moe__gemm *g)
{
    const size_t done = g->n_rows / PAIR_ROWS * PAIR_ROWS;
    moe__gemm rest = *g;
    rest.y += done;
    rest.w = (const uint8_t *)g->w + done * g->w_bytes;
    rest.n_rows -= done;
    return rest;
}
