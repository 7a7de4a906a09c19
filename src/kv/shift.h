/* SPDX-License-Identifier: MIT */
/*
 * Taking positions out of the middle of a sequence: what follows moves down, its keys turned by the
 * difference of the angles (they were turned by their positions before they were stored). Pages before the
 * gap are not touched; of those behind it, the ones that other sequences use too are replaced by own ones
 * first. Begin can fail and be rolled back (kv.h); the moves between begin and end cannot fail.
 *
 * Of a cache with a window the positions that the next one sees are moved. Where the gap brings others into
 * the window that were given back long ago, it stays shorter until new positions fill it.
 */
#ifndef MOE_KV_SHIFT_H
#define MOE_KV_SHIFT_H

#include "kernel/kernel.h"
#include "kv/kv.h"

typedef struct moe__shift {
    moe__kv *kv;
    const moe__kernels *k;
    uint32_t q, first, n, len; /* positions first .. first+n-1 of sequence q go; len: before */
    uint32_t window;           /* that the layers see; 0 = all */
    uint32_t from;             /* first position that something moves to: in a window not all is there */
    uint32_t start;            /* first position that is there afterwards */
    uint32_t n_heads, dim;     /* a key: n_heads of dim elements */
    uint32_t n_rot, rot_at;    /* of each head so many are turned, from element rot_at on */
    int rope_half;             /* pairs (i, i + n/2), or (2i, 2i + 1) */
} moe__shift;

/* Fills in what moves: kv, q, first, n, len and window are set. */
void moe__shift_init(moe__shift *t);
/* Makes every page that will be written the sequence's own. E_FULL leaves the journal to be undone. */
int moe__shift_begin(const moe__shift *t);
/* The turn of a key that moves down to position pos: n_rot/2 pairs {cos, sin}. */
void moe__shift_turn(const moe__shift *t, const float *inv_freq, uint32_t pos, float *cs);
/*
 * Moves one layer's keys and values to positions from .. from+count-1; turn: their pairs; row: scratch of one
 * key in f32. Ascending runs of positions, layers in any order or at once.
 */
void moe__shift_layer(const moe__shift *t, uint32_t layer, uint32_t from, uint32_t count, const float *turn,
                      float *row);
/* Moves the tokens and ends the change. */
void moe__shift_end(const moe__shift *t);

#endif
