/* SPDX-License-Identifier: MIT */
/*
 * Matrix products with F32, F16 and BF16 weights; ref/gemm_f.c is the definition. A register tile is a few
 * rows by a few columns (V16_* of vec.h), and there are two ways to feed it:
 *
 * - direct: tiles load the weights and convert them. For few columns, which a row meets while it is in
 *   registers or near; the rows of a tile come from as many streams (gemm_args.inl). And for F32, which has
 *   nothing to convert and whose rows are long enough for the hardware's prefetching.
 * - strips: the tiles of the first group of columns leave the weights of a block of rows (of long rows: of a
 *   chunk of their elements) converted, V16_ROWS rows to a strip, in the order in which tiles read them. The
 *   other groups meet the strips: a group stays in the first-level cache while the strips pass by from the
 *   second, and the next block is asked for. With several chunks the lanes of the sums wait in memory.
 *
 * Sums are reduced many at a time. The last rows of a tile repeat the last pointer; only what exists is
 * stored.
 */

#define STRIPS_FROM 13   /* columns; fewer are converted again for each group */
#define DIRECT_ROWS 32   /* rows that stay in the second-level cache while all groups of columns pass */
#define BLOCK_ROWS  8    /* the same of strips; a multiple of V16_ROWS */
#define CHUNK       1024 /* elements; a multiple of 16 */
#define PART_COLS   64   /* columns at a time where there are several chunks */
#define REG_LANES   (16 / V16_REGS)
#define TILE_SUMS   (V16_ROWS * V16_COLS > V16_FEW_ROWS ? V16_ROWS * V16_COLS : V16_FEW_ROWS)

/* Rows r0, r0 + stride ... and columns from c0 on. */
typedef struct tile {
    const moe__gemm *g;
    size_t r0, stride, c0;
    size_t n, at;               /* elements of the chunk, and bytes of a weight row before it */
    int first, last;            /* of the chunks of a row */
    const uint8_t *x[V16_COLS]; /* the columns from the chunk on */
    float *strip;               /* [n / 16, rounded up][V16_ROWS][16] */
    float *part;                /* [columns][rows][16] lanes of the sums of earlier chunks */
    uintptr_t next;             /* with strips: what is asked for, so much for each 16 elements; */
    size_t ahead;               /* else what is, so far ahead */
} tile;

/* A loop over registers: unrolled, or they would be memory. */
#ifdef __clang__
#define EACH(i, n) _Pragma("clang loop unroll(full)") for (size_t i = 0; i < (n); i++)
#else
#define EACH(i, n) _Pragma("GCC unroll 32") for (size_t i = 0; i < (n); i++)
#endif

/* Sums of 16 lanes, the rows of the first column first. */
typedef vreg sums[TILE_SUMS][V16_REGS];

ALWAYS_INLINE void sums_store(float *to, sums acc, const size_t n)
{
    EACH (i, n)
        EACH (p, V16_REGS) vreg_store(to + 16 * i + REG_LANES * p, acc[i][p]);
}
ALWAYS_INLINE void sums_load(sums acc, const float *from, const size_t n)
{
    EACH (i, n)
        EACH (p, V16_REGS) acc[i][p] = vreg_load(from + 16 * i + REG_LANES * p);
}

ALWAYS_INLINE void tile_begin(const tile *t, sums acc, const size_t n)
{
    if (!t->first) {
        sums_load(acc, t->part, n);
        return;
    }
    EACH (i, n)
        EACH (p, V16_REGS) acc[i][p] = vreg_zero();
}

/* 16 elements of nr rows, register p of each in w, with nc columns, where they start at byte `at`. */
ALWAYS_INLINE void tile_step(sums acc, const vreg *w, const uint8_t *const *x, size_t at, const size_t p,
                             const size_t nr, const size_t nc)
{
    EACH (c, nc) {
        const vreg v = vreg_once(x[c] + at + 4 * REG_LANES * p);
        EACH (r, nr) acc[c * nr + r][p] = vreg_fma(w[r], v, acc[c * nr + r][p]);
    }
}

/* The last elements of rows, fewer than 16 of them: w is nr x 16, with zeros behind them. */
ALWAYS_INLINE void tile_tail(const tile *t, sums acc, const float *w, const size_t nr, const size_t nc)
{
    float sum[TILE_SUMS * 16];
    const size_t k = t->n % 16;
    sums_store(sum, acc, nr * nc);
    for (size_t c = 0; c < nc; c++) {
        const v16 x = v16_load_n(t->x[c] + 4 * (t->n - k), k);
        for (size_t r = 0; r < nr; r++) {
            float *at = sum + 16 * (c * nr + r);
            const v16 a = v16_load(at);
            v16_store(at, v16_pick_n(v16_fma(v16_load(w + 16 * r), x, a), a, k));
        }
    }
    sums_load(acc, sum, nr * nc);
}

ALWAYS_INLINE void tile_end(const tile *t, sums acc, const size_t nr, const size_t nc)
{
    const moe__gemm *g = t->g;
    const size_t n = g->n_rows - t->r0, ldy = g->ldy, stride = t->stride;
    float *y = g->y + t->c0 * ldy + t->r0, s[TILE_SUMS + 2];
    v16 v[TILE_SUMS];
    if (!t->last) {
        sums_store(t->part, acc, nr * nc);
        return;
    }
    EACH (i, nc * nr) v[i] = v16_of(acc[i]);
    v16_sums(s, v, nr * nc);
    if (stride == 1 && n >= nr) {
        EACH (c, nc) memcpy(y + c * ldy, s + c * nr, nr * sizeof *y);
    } else {
        for (size_t c = 0; c < nc; c++)
            for (size_t r = 0; r < nr && r * stride < n; r++) y[c * ldy + r * stride] = s[c * nr + r];
    }
}

/* A tile that meets the weights themselves, of `size` bytes each; keep: it leaves a strip. */
#define WEIGHTS_TILE(type, size, LD, LDN) \
    ALWAYS_INLINE void tile_##type(const tile *t, const size_t nr, const size_t nc, const int keep) \
    { \
        sums acc; \
        const uint8_t *row[V16_FEW_ROWS], *x[V16_COLS]; \
        float *strip = t->strip; \
        uintptr_t next = t->next; \
        EACH (r, nr) row[r] = row_at(t->g, t->r0 + r * t->stride) + t->at; \
        EACH (c, nc) x[c] = t->x[c]; \
        tile_begin(t, acc, nr * nc); \
        const size_t full = t->n / 16 * 16, k = t->n - full, ahead = t->ahead; \
        for (size_t i = 0; i < full; i += 16) { \
            if (keep) \
                __builtin_prefetch((const void *)next, 0, 2); \
            else if ((size) < 4 && i % (64 / (size)) == 0) \
                EACH (r, nr) fetch_stream(row[r] + (size) * i, ahead, 1); \
            EACH (p, V16_REGS) { \
                vreg w[V16_FEW_ROWS]; \
                EACH (r, nr) w[r] = LD(row[r] + (size) * (i + REG_LANES * p)); \
                if (keep) EACH (r, nr) vreg_store(strip + 16 * r + REG_LANES * p, w[r]); \
                tile_step(acc, w, x, 4 * i, p, nr, nc); \
            } \
            strip += keep ? 16 * nr : 0; \
            next += keep ? ahead : 0; \
        } \
        if (k) { \
            float tail[V16_FEW_ROWS * 16], *w = keep ? strip : tail; \
            for (size_t r = 0; r < nr; r++) v16_store(w + 16 * r, LDN(row[r] + (size) * full, k)); \
            tile_tail(t, acc, w, nr, nc); \
        } \
        tile_end(t, acc, nr, nc); \
    }

/* A tile that meets a strip. */
ALWAYS_INLINE void tile_strip(const tile *t, const size_t nc)
{
    sums acc;
    const uint8_t *x[V16_COLS];
    const float *strip = t->strip;
    uintptr_t next = t->next;
    EACH (c, nc) x[c] = t->x[c];
    tile_begin(t, acc, V16_ROWS * nc);
    const size_t full = t->n / 16 * 16, ahead = t->ahead;
    for (size_t i = 0; i < full; i += 16, strip += 16 * V16_ROWS, next += ahead) {
        __builtin_prefetch((const void *)next, 0, 2);
        EACH (p, V16_REGS) {
            vreg w[V16_ROWS];
            EACH (r, V16_ROWS) w[r] = vreg_load(strip + 16 * r + REG_LANES * p);
            tile_step(acc, w, x, 4 * i, p, V16_ROWS, nc);
        }
    }
    if (full < t->n) tile_tail(t, acc, strip, V16_ROWS, nc);
    tile_end(t, acc, V16_ROWS, nc);
}

/* ---- the tiles that there are: at [nc - 1] those of nc columns ---- */

typedef void (*tile_fn)(const tile *t);
#define DIRECT_TILE(type, nr, nc) \
    static void direct##nc##_##type(const tile *t) { tile_##type(t, nr, nc, 0); }
#define STRIP_TILE(nc) \
    static void strip##nc(const tile *t) { tile_strip(t, nc); }
STRIP_TILE(1)
STRIP_TILE(2)
STRIP_TILE(3)
#if V16_COLS == 6
STRIP_TILE(4)
STRIP_TILE(5)
STRIP_TILE(6)
static const tile_fn strip_tiles[] = {strip1, strip2, strip3, strip4, strip5, strip6};
#define DIRECT_TILES(type) \
    DIRECT_TILE(type, V16_FEW_ROWS, 1) \
    DIRECT_TILE(type, V16_FEW_ROWS / 2, 2) \
    DIRECT_TILE(type, V16_ROWS, 3) \
    DIRECT_TILE(type, V16_ROWS, 4) \
    DIRECT_TILE(type, V16_ROWS, 5) \
    DIRECT_TILE(type, V16_ROWS, 6) \
    static const tile_fn direct_##type[] = {direct1_##type, direct2_##type, direct3_##type, \
                                            direct4_##type, direct5_##type, direct6_##type};
#elif V16_COLS == 3
static const tile_fn strip_tiles[] = {strip1, strip2, strip3};
#define DIRECT_TILES(type) \
    DIRECT_TILE(type, V16_FEW_ROWS, 1) \
    DIRECT_TILE(type, V16_FEW_ROWS / 2, 2) \
    DIRECT_TILE(type, V16_ROWS, 3) \
    static const tile_fn direct_##type[] = {direct1_##type, direct2_##type, direct3_##type};
#else
#error "V16_COLS is 3 or 6"
#endif

static void tile_columns(tile *t, size_t c0, size_t nc, size_t k0)
{
    t->c0 = c0;
    for (size_t c = 0; c < nc; c++) t->x[c] = col_at(t->g, c0 + c) + 4 * k0;
}

/* Groups of columns are as even as can be. One or two meet rows that are read as streams; of more each meets
 * a block of rows before the next one does. */
static void direct(const moe__gemm *g, const tile_fn *tiles)
{
    const size_t groups = (g->n_cols + V16_COLS - 1) / V16_COLS;
    const size_t rows = g->n_cols == 1 ? V16_FEW_ROWS : g->n_cols == 2 ? V16_FEW_ROWS / 2 : V16_ROWS;
    const size_t len = groups > 2 ? g->n_rows : stream_len(g, rows), block = groups > 2 ? DIRECT_ROWS : 1;
    const streams_ahead ahead = stream_ahead(g, len);
    tile t = {.g = g, .n = g->n, .first = 1, .last = 1, .stride = groups > 2 ? 1 : len};
    for (size_t r0 = 0; r0 < len; r0 += block)
        for (size_t i = 0; i < groups; i++) {
            const size_t c = g->n_cols * i / groups, nc = g->n_cols * (i + 1) / groups - c;
            tile_columns(&t, c, nc, 0);
            t.ahead = r0 < ahead.until ? ahead.here : ahead.beyond;
            for (t.r0 = r0; t.r0 < len && t.r0 < r0 + block; t.r0 += rows) tiles[nc - 1](&t);
        }
}

/* ---- strips ---- */

/* The rows of a block, from r0 on, with the columns that t has. */
static void block_columns(tile *t, tile_fn fn, size_t r0, size_t n_strips, size_t nc)
{
    float *const strip = t->strip;
    for (size_t s = 0; s < n_strips; s++) {
        t->r0 = r0 + s * V16_ROWS;
        fn(t);
        t->strip += V16_ROWS * ((t->n + 15) / 16 * 16);
        t->next += t->ahead * (t->n / 16);
        if (!t->first || !t->last) t->part += 16 * V16_ROWS * nc;
    }
    t->strip = strip;
}

/* A block of rows with some columns, more than V16_COLS. */
static void block(const moe__gemm *g, tile_fn keep, size_t size, size_t r0, size_t c0, size_t n_cols)
{
    _Alignas(64) float strip[BLOCK_ROWS * CHUNK];
    _Alignas(64) float part[BLOCK_ROWS * PART_COLS * 16];
    const size_t n_rows = g->n_rows - r0 < BLOCK_ROWS ? g->n_rows - r0 : BLOCK_ROWS;
    const size_t n_strips = (n_rows + V16_ROWS - 1) / V16_ROWS;
    const size_t more = n_cols - V16_COLS, groups = (more + V16_COLS - 1) / V16_COLS;
    const size_t chunks = (g->n + CHUNK - 1) / CHUNK, chunk = ((g->n + chunks - 1) / chunks + 15) / 16 * 16;
    const size_t steps = (groups + 1) * n_strips * ((g->n + 15) / 16);
    tile t = {.g = g,
              .stride = 1,
              .strip = strip,
              .next = (uintptr_t)g->w + (r0 + n_rows) * g->w_bytes,
              .ahead = (n_rows * g->w_bytes + steps - 1) / steps};
    for (size_t k0 = 0; k0 < g->n; k0 += chunk) {
        t.n = g->n - k0 < chunk ? g->n - k0 : chunk;
        t.at = k0 * size;
        t.first = k0 == 0;
        t.last = k0 + t.n == g->n;
        t.part = part;
        tile_columns(&t, c0, V16_COLS, k0);
        block_columns(&t, keep, r0, n_strips, V16_COLS);
        for (size_t i = 0; i < groups; i++) {
            const size_t c = more * i / groups, nc = more * (i + 1) / groups - c;
            tile_columns(&t, c0 + V16_COLS + c, nc, k0);
            block_columns(&t, strip_tiles[nc - 1], r0, n_strips, nc);
        }
    }
}

static void strips(const moe__gemm *g, tile_fn keep, size_t size)
{
    const size_t most = g->n > CHUNK ? PART_COLS : g->n_cols, passes = (g->n_cols + most - 1) / most;
    for (size_t r = 0; r < g->n_rows; r += BLOCK_ROWS)
        for (size_t p = 0; p < passes; p++) {
            const size_t c = g->n_cols * p / passes;
            block(g, keep, size, r, c, g->n_cols * (p + 1) / passes - c);
        }
}

/* ---- the kernels ---- */

#define GEMM_HALF(type, LD, LDN) \
    WEIGHTS_TILE(type, 2, LD, LDN) \
    DIRECT_TILES(type) \
    static void keep_##type(const tile *t) { tile_##type(t, V16_ROWS, V16_COLS, 1); } \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        if (g->n_cols < STRIPS_FROM) \
            direct(g, direct_##type); \
        else \
            strips(g, keep_##type, 2); \
    }

GEMM_HALF(f16, vreg_load_f16, v16_load_f16_n)
GEMM_HALF(bf16, vreg_load_bf16, v16_load_bf16_n)

WEIGHTS_TILE(f32, 4, vreg_load, v16_load_n)
DIRECT_TILES(f32)
void MOE_FN(gemm_f32)(const moe__gemm *g) { direct(g, direct_f32); }
