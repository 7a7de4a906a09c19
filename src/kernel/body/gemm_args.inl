/* SPDX-License-Identifier: MIT */
/*
 * Rows and columns of a product: pointers past the end repeat the last one, so that a tile is always full;
 * only what exists is stored. And what to ask memory for meanwhile.
 */

static inline const uint8_t *row_at(const moe__gemm *g, size_t r)
{
    return (const uint8_t *)g->w + (r < g->n_rows ? r : g->n_rows - 1) * g->w_bytes;
}

static inline const uint8_t *col_at(const moe__gemm *g, size_t c)
{
    const size_t i = c < g->n_cols ? c : g->n_cols - 1;
    return (const uint8_t *)g->x + (g->col ? g->col[i] : i) * g->x_bytes;
}

/*
 * Few columns are bound by memory. A kernel that computes n rows at a time reads them as n streams: stream k
 * is rows k * len, k * len + 1 ..., a stretch of memory of its own. Processors that prefetch by themselves
 * follow one ascending stream in a page; n rows that are neighbours, read side by side, would look like none.
 * What comes STREAM_AHEAD bytes later in each stream is asked for as well, a little at a time (many at once
 * would fill the queue of misses and stop everything): the hardware stops at the end of a page. Behind the
 * end of its stream a kernel asks for the first rows of the same stream of what the caller reads next.
 */
#define STREAM_AHEAD 1536u
static inline size_t stream_len(const moe__gemm *g, size_t n) { return (g->n_rows + n - 1) / n; }

/* How far in memory what each stream has to ask for is: at first, and from row `until` on. */
typedef struct streams_ahead {
    size_t here, beyond, until;
} streams_ahead;
static inline streams_ahead stream_ahead(const moe__gemm *g, size_t len)
{
    const size_t rows = g->w_bytes ? (STREAM_AHEAD + g->w_bytes - 1) / g->w_bytes : 0;
    const size_t next = g->next ? (uintptr_t)g->next - (uintptr_t)g->w : g->n_rows * g->w_bytes;
    return (streams_ahead){rows * g->w_bytes, next + (rows - len) * g->w_bytes,
                           len > rows ? len - rows : 0};
}
/* Column c of row i of each of n streams; the last streams may be shorter than len. */
ALWAYS_INLINE void stream_store(const moe__gemm *g, size_t len, size_t i, size_t c, const float *t,
                                const size_t n)
{
    float *y = g->y + c * g->ldy + i;
    if (i + (n - 1) * len < g->n_rows)
#pragma GCC unroll 8
        for (size_t k = 0; k < n; k++) y[k * len] = t[k];
    else
        for (size_t k = 0; i + k * len < g->n_rows; k++) y[k * len] = t[k];
}
/* All rows and columns: PRODUCT(rows, column, blocks of `block` elements, ahead) computes one row of each
 * stream. */
#define STREAM_DRIVER(name, n_streams, PRODUCT, STORE, block)                                                \
    static void name(const moe__gemm *g)                                                                     \
    {                                                                                                        \
        const size_t len = stream_len(g, n_streams);                                                         \
        const streams_ahead ahead = stream_ahead(g, len);                                                    \
        for (size_t i = 0; i < len; i++) {                                                                   \
            const uint8_t *rows[n_streams];                                                                  \
            for (size_t k = 0; k < n_streams; k++) rows[k] = row_at(g, i + k * len);                         \
            for (size_t c = 0; c < g->n_cols; c++) {                                                         \
                float t[n_streams];                                                                          \
                STORE(t, PRODUCT(rows, col_at(g, c), g->n / (block),                                         \
                                 i < ahead.until ? ahead.here : ahead.beyond));                              \
                stream_store(g, len, i, c, t, n_streams);                                                    \
            }                                                                                                \
        }                                                                                                    \
    }

/* Many columns: the same places of the group of n rows AHEAD_BYTES or more further on. */
#define AHEAD_BYTES 12288u
static inline size_t ahead_bytes(const moe__gemm *g, size_t n)
{
    const size_t group = n * g->w_bytes;
    return group ? (AHEAD_BYTES + group - 1) / group * group : 0;
}
/* An address past the end does no harm. */
ALWAYS_INLINE void fetch(const uint8_t *p, size_t ahead, const size_t bytes)
{
#pragma GCC unroll 64
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)((uintptr_t)p + ahead + i), 0, 2);
}
/* Streams are near enough for the first-level cache: some 10 KB in all. */
ALWAYS_INLINE void fetch_stream(const uint8_t *p, size_t ahead, const size_t bytes)
{
#pragma GCC unroll 64
    for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)((uintptr_t)p + ahead + i), 0, 3);
}
/*
 * For n rows from `first` on, when block i of `bytes` bytes is computed. Of blocks much shorter than a cache
 * line so many come at once that one stream for all rows is the better way: then place `part` of it, n *
 * bytes long.
 */
ALWAYS_INLINE void fetch_blocks(const uint8_t *const *rows, size_t ahead, size_t i, const size_t first,
                                const size_t n, size_t part, const size_t bytes)
{
    if (bytes <= 32)
        fetch(rows[0] + part * (n * bytes), ahead, n * bytes);
    else
        for (size_t r = first; r < first + n; r++) fetch(rows[r] + i * bytes, ahead, 1);
}
/* For n streams; of blocks shorter than a cache line four at once, for a quarter of the streams. */
ALWAYS_INLINE void fetch_streams(const uint8_t *const *rows, size_t ahead, size_t i, const size_t n,
                                 const size_t bytes)
{
    const size_t first = i % 4 * (n / 4), at = i / 4 * 4 * bytes;
    for (size_t r = first; r < first + n / 4; r++) fetch_stream(rows[r] + at, ahead, 4 * bytes);
}
