/* SPDX-License-Identifier: MIT */
/*
 * Encoders of IQ4_NL and IQ4_XS: the search of quantize_fit.c over the sixteen uneven levels, then packing.
 */
#include <string.h>

#include "quant/quantize.h"
#include "quant/quantize_fit.h"

enum { LO = -127, HI = 113 };

/*
 * The level nearest to each integer t in LO .. HI. Where t comes from a rounding, the level is at most half
 * a step beyond a midpoint between two levels, where both are about equally good.
 */
static void fill_nearest(int8_t nearest[HI - LO + 1])
{
    int level = 0;
    for (int t = LO; t <= HI; t++) {
        while (level < 15 && 2 * t > moe__iq4_levels[level] + moe__iq4_levels[level + 1]) level++;
        nearest[t - LO] = moe__iq4_levels[level];
    }
}

/* Index of a level. */
static uint8_t index_of(int8_t level)
{
    uint8_t i = 0;
    while (i < 15 && moe__iq4_levels[i] < level) i++;
    return i;
}

static void pack_levels(const int8_t q[32], uint8_t qs[16])
{
    for (int i = 0; i < 16; i++) qs[i] = (uint8_t)(index_of(q[i]) | index_of(q[i + 16]) << 4);
}

void moe__quantize_iq4_nl(const float *src, void *dst, size_t n, const float *importance)
{
    int8_t nearest[HI - LO + 1];
    const moe__lattice g = {LO, HI, nearest};
    moe__iq4_nl *b = dst;
    fill_nearest(nearest);
    for (size_t i = 0; i < n; i += 32, b++) {
        float x[32], w[32], d;
        int8_t q[32];
        moe__fit_prepare(src + i, importance ? importance + i : NULL, 32, x, w);
        moe__fit_scale(&g, x, w, 32, &d, q);
        b->d = moe__to_le_f16(d);
        pack_levels(q, b->qs);
    }
}

void moe__quantize_iq4_xs(const float *src, void *dst, size_t n, const float *importance)
{
    int8_t nearest[HI - LO + 1];
    const moe__super_shape shape = {
        .q = {LO, HI, nearest}, .group = 32, .scale_lo = -32, .scale_hi = 31, .min_hi = 0};
    moe__iq4_xs *b = dst;
    fill_nearest(nearest);
    for (size_t i = 0; i < n; i += 256, b++) {
        float x[256], w[256];
        moe__unpacked256 u;
        moe__fit_prepare(src + i, importance ? importance + i : NULL, 256, x, w);
        moe__fit_super(&shape, x, w, &u);
        int high = 0;
        memset(b, 0, sizeof *b);
        b->d = moe__to_le_f16(u.d);
        for (int g = 0; g < 8; g++) {
            const int scale = u.scale[2 * g] + 32;
            b->scales_l[g / 2] = (uint8_t)(b->scales_l[g / 2] | (scale & 15) << (g % 2 * 4));
            high |= scale >> 4 << 2 * g;
            pack_levels(u.q + 32 * g, b->qs + 16 * g);
        }
        b->scales_h = moe__to_le16((uint16_t)high);
    }
}
