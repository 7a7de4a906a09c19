/* SPDX-License-Identifier: MIT */
/*
 * Tile registers of AMX: eight matrices of 16 rows of 64 bytes. C (16 x 16 dwords) += A x B: row r of A holds
 * 64 bytes of weight row r, row i of B the bytes 4 i .. 4 i + 3 of 16 columns. Sums of int8 products are
 * exact in 32 bits; the bf16 product of integers up to 2^8 is exact as long as sums stay below 2^24. Source:
 * Intel SDM vol. 1 chapter 18 and vol. 2; Intel 64 and IA-32 optimization reference manual, chapter 20.
 *
 * Assembly, as the tile intrinsics of gcc 12 name no memory, so that stores may be moved over a tile load.
 * Registers: 0 - 3 C, 4 and 5 A, 6 and 7 B. Configured at the start of a kernel and released at its end, so
 * that neither state nor slower context switches are left behind.
 */
#ifndef MOE_KERNEL_X86_AMX_H
#define MOE_KERNEL_X86_AMX_H

#include "kernel/kernel.h"
#include "kernel/x86/vint.h"

#define AMX_LOAD_AT(t, p, stride)                                                                            \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((size_t)(stride)) : "memory")
#define AMX_LOAD(t, p) AMX_LOAD_AT(t, p, 64)
#define AMX_STORE(t, p)                                                                                      \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"((size_t)64) : "memory")
#define AMX_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::)
/* C += A x B: unsigned or signed weights with signed activations; bf16. */
#define AMX_DOT_US(c, a, b)   __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define AMX_DOT_SS(c, a, b)   __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)
#define AMX_DOT_BF16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::)

typedef struct amx_config {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_config;

/* Rows of A of a_bytes, and as many bytes of a column in B. */
static inline void amx_begin(size_t a_bytes)
{
    amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = t == 4 || t == 5 ? (uint16_t)a_bytes : 64;
        c.rows[t] = t < 6 ? 16 : (uint8_t)(a_bytes / 4);
    }
    __asm__ volatile("ldtilecfg %0" ::"m"(c));
}
static inline void amx_end(void) { __asm__ volatile("tilerelease" ::); }

/*
 * The rows that come next in memory, asked for a little at a time and evenly between the products: a burst
 * would fill the queue of misses, and then leave it empty. One stream; rows stand one after the other.
 */
typedef struct amx_ahead {
    uintptr_t at, to; /* asked for up to `at`; due */
    size_t step;      /* what becomes due in a step */
} amx_ahead;

/* While `group` rows from r0 on are multiplied in n_steps, the ones that follow them. */
ALWAYS_INLINE void amx_fetch_begin(amx_ahead *a, const moe__gemm *g, size_t r0, size_t group, size_t n_steps,
                                   int on)
{
    const size_t left = g->n_rows - r0, n = left < group ? left : group;
    a->at = a->to = (uintptr_t)g->w + (r0 + n) * g->w_bytes;
    a->step = on ? (n * g->w_bytes + n_steps - 1) / n_steps : 0;
}
ALWAYS_INLINE void amx_fetch(amx_ahead *a)
{
    for (a->to += a->step; a->at < a->to; a->at += 64) __builtin_prefetch((const char *)a->at, 0, 2);
}

/*
 * Where the results of 16 rows from r0 on with column c0 go, and asking for that of the i-th column from
 * there on: a line of memory each, which else the stores would wait for. One past the last column does no
 * harm.
 */
static inline const float *amx_place(const moe__gemm *g, size_t r0, size_t c0)
{
    return g->y + c0 * g->ldy + r0;
}
ALWAYS_INLINE void amx_claim(const float *y, size_t i, size_t ldy)
{
    __builtin_prefetch((const char *)((uintptr_t)y + i * ldy * sizeof *y), 1, 3);
}

/*
 * The results of 16 rows from r0 on with n_tiles tiles of 16 columns from c0 on, which stand one row after
 * the other in each tile: acc, or acc + sign * accm.
 */
ALWAYS_INLINE void amx_results(const moe__gemm *g, float (*acc)[16][16], float (*accm)[16][16],
                               const int sign, size_t n_tiles, size_t r0, size_t c0)
{
    const size_t n_rows = g->n_rows - r0 < 16 ? g->n_rows - r0 : 16, left = g->n_cols - c0;
    for (size_t c = 0; c < 16 * n_tiles && c < left; c += 4) {
        const uint8_t *rows[16];
        vi v[4], m[4] = {vi_zero(), vi_zero(), vi_zero(), vi_zero()};
        for (size_t i = 0; i < 16; i++) rows[i] = (const uint8_t *)acc[c / 16][i];
        vi_rows16(rows, 4 * (c % 16), v);
        if (accm) {
            for (size_t i = 0; i < 16; i++) rows[i] = (const uint8_t *)accm[c / 16][i];
            vi_rows16(rows, 4 * (c % 16), m);
        }
        for (size_t i = 0; i < 4 && c + i < left; i++) {
            vf y = _mm512_castsi512_ps(v[i]);
            if (accm && sign < 0) y = vf_sub(y, _mm512_castsi512_ps(m[i]));
            if (accm && sign > 0) y = vf_add(y, _mm512_castsi512_ps(m[i]));
            vf_store_n(g->y + (c0 + c + i) * g->ldy + r0, y, n_rows);
        }
    }
}

#endif
