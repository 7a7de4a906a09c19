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
 * Few columns are bound by memory, and rows are too short for the hardware's own prefetching: while a group
 * of n rows is computed, the same places of the group AHEAD_BYTES or more further on are asked for, into the
 * second-level cache, a little at a time: many at once would fill the queue of misses and stop everything.
 * One stream per row keeps more of them in flight than one for all. An address past the end does no harm.
 */
#define AHEAD_BYTES 12288u
static inline size_t ahead_bytes(const moe__gemm *g, size_t n)
{
    const size_t group = n * g->w_bytes;
    return group ? (AHEAD_BYTES + group - 1) / group * group : 0;
}
ALWAYS_INLINE void fetch(const uint8_t *p, size_t ahead, const size_t bytes)
{
#pragma GCC unroll 64
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)((uintptr_t)p + ahead + i), 0, 2);
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
