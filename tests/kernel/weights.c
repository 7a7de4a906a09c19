/* SPDX-License-Identifier: MIT */
/* Random weights and activations of every format, legal but not tame. */
#include "tester.h"

#include <string.h>

#include "base/half.h"
#include "quant/blocks.h"

#define AT(type, m) offsetof(moe__##type, m)

#define BLOCKS(type, block, act, n_f16, at0, at1) \
    { \
        "gemm_" #type, offsetof(moe__kernels, gemm_##type), block, sizeof(moe__##type), act, n_f16, \
        { \
            at0, at1 \
        } \
    }
#define FLOATS(type, bytes) \
    { \
        "gemm_" #type, offsetof(moe__kernels, gemm_##type), 1, bytes, MOE_ACT_F32, 0, { 0, 0 } \
    }

const weights weight_types[] = {
    FLOATS(f32, 4),
    FLOATS(f16, 2),
    FLOATS(bf16, 2),
    BLOCKS(q4_0, 32, MOE_ACT_Q8_32, 1, AT(q4_0, d), 0),
    BLOCKS(q4_1, 32, MOE_ACT_Q8_32, 2, AT(q4_1, d), AT(q4_1, m)),
    BLOCKS(q5_0, 32, MOE_ACT_Q8_32, 1, AT(q5_0, d), 0),
    BLOCKS(q5_1, 32, MOE_ACT_Q8_32, 2, AT(q5_1, d), AT(q5_1, m)),
    BLOCKS(q8_0, 32, MOE_ACT_Q8_32, 1, AT(q8_0, d), 0),
    BLOCKS(iq4_nl, 32, MOE_ACT_Q8_32, 1, AT(iq4_nl, d), 0),
    BLOCKS(mxfp4, 32, MOE_ACT_Q8_32, 0, 0, 0),
    BLOCKS(q2_k, 256, MOE_ACT_Q8_256, 2, AT(q2_k, d), AT(q2_k, dmin)),
    BLOCKS(q3_k, 256, MOE_ACT_Q8_256, 1, AT(q3_k, d), 0),
    BLOCKS(q4_k, 256, MOE_ACT_Q8_256, 2, AT(q4_k, d), AT(q4_k, dmin)),
    BLOCKS(q5_k, 256, MOE_ACT_Q8_256, 2, AT(q5_k, d), AT(q5_k, dmin)),
    BLOCKS(q6_k, 256, MOE_ACT_Q8_256, 1, AT(q6_k, d), 0),
    BLOCKS(iq4_xs, 256, MOE_ACT_Q8_256, 1, AT(iq4_xs, d), 0),
};
const size_t n_weight_types = sizeof weight_types / sizeof weight_types[0];

moe__gemm_fn gemm_of(const moe__kernels *k, const weights *w)
{
    moe__gemm_fn fn;
    memcpy(&fn, (const char *)k + w->slot, sizeof fn);
    return fn;
}

/* A scale: small ones mostly, then any finite half, now and then infinity or NaN. */
static uint16_t rnd_scale(tester *t, values v)
{
    const uint16_t r = (uint16_t)rnd(t);
    if (v == VALUES_SPECIAL) return (uint16_t)((r & 0x8000u) | 0x7bffu); /* 65504 */
    switch (v == VALUES_PLAIN ? 3 : rnd_below(t, 40)) {
    case 0:
        return r;
    case 1:
        return r & 0x8000u;
    case 2:
        return r & 0x83ffu; /* subnormal */
    default:
        return (uint16_t)((r & 0x83ffu) | 0x1c00u); /* about 1/256 */
    }
}

static void rnd_float_weights(tester *t, const weights *w, unsigned char *p, size_t n, values v)
{
    for (size_t i = 0; i < n; i++) {
        const float x = rnd_float(t, v);
        const uint16_t h = strcmp(w->kernel, "gemm_f16") == 0 ? moe__f32_to_f16(x) : moe__f32_to_bf16(x);
        if (w->bytes == 4)
            memcpy(p + 4 * i, &x, 4);
        else
            memcpy(p + 2 * i, &h, 2);
    }
}

void rnd_weights(tester *t, const weights *w, void *dst, size_t n, values v)
{
    const int extreme = v == VALUES_SPECIAL;
    unsigned char *p = dst;
    if (w->block == 1) {
        rnd_float_weights(t, w, p, n, v);
        return;
    }
    for (; n > 0; n--, p += w->bytes) {
        const int fill = extreme ? (int)rnd_below(t, 3) : 2;
        for (size_t i = 0; i < w->bytes; i++)
            p[i] = fill == 0 ? 0x00 : fill == 1 ? 0xff : (unsigned char)rnd(t);
        if (fill == 2 && extreme && (rnd(t) & 1)) memset(p, 0x80, w->bytes);
        for (int i = 0; i < w->n_f16; i++) {
            const uint16_t s = rnd_scale(t, v);
            p[w->f16_at[i]] = (unsigned char)s;
            p[w->f16_at[i] + 1] = (unsigned char)(s >> 8);
        }
        if (strcmp(w->kernel, "gemm_mxfp4") == 0 && !extreme && (rnd(t) & 7))
            p[0] = (unsigned char)(110 + rnd_below(t, 20));
    }
}

/* q of a block: random, all the largest, or alternating ends. */
static void rnd_q(tester *t, int8_t *q, size_t n, int extreme)
{
    const size_t kind = extreme ? rnd_below(t, 4) : 3;
    for (size_t i = 0; i < n; i++)
        q[i] = (int8_t)(kind == 0   ? 127
                        : kind == 1 ? -127
                        : kind == 2 ? (i & 1 ? 127 : -127)
                                    : (int)rnd_below(t, 255) - 127);
}

void rnd_activations(tester *t, moe__act act, void *dst, size_t n, values v)
{
    const int extreme = v == VALUES_SPECIAL;
    if (act == MOE_ACT_F32) rnd_floats(t, dst, n, v);
    if (act == MOE_ACT_Q8_32)
        for (moe__act32 *b = dst; n >= 32; n -= 32, b++) {
            b->d = rnd_float(t, v);
            rnd_q(t, b->q, 32, extreme);
            b->sum = 0;
            for (int i = 0; i < 32; i++) b->sum += b->q[i];
        }
    if (act == MOE_ACT_Q8_256)
        for (moe__act256 *b = dst; n >= 256; n -= 256, b++) {
            b->d = rnd_float(t, v);
            rnd_q(t, b->q, 256, extreme);
            for (int j = 0; j < 16; j++) {
                int sum = 0;
                for (int i = 0; i < 16; i++) sum += b->q[16 * j + i];
                b->sum16[j] = (int16_t)sum;
            }
        }
}
