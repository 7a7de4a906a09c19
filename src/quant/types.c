/* SPDX-License-Identifier: MIT */
/*
 * The type table. A new type is one row here, a layout, an unpacker, an encoder and a kernel:
 * docs/adding-a-format.md.
 */
#include "quant/types.h"

#include "moe/moe.h"
#include "quant/blocks.h"
#include "quant/dequant.h"
#include "quant/quantize.h"

#define TYPE(id, name, block, bytes, act) \
    {MOE_TYPE_##id, #id, block, bytes, act, moe__dequant_##name, moe__quantize_##name}

/* By rising id. */
static const moe__type types[] = {
    TYPE(F32, f32, 1, 4, MOE_ACT_F32),
    TYPE(F16, f16, 1, 2, MOE_ACT_F32),
    TYPE(Q4_0, q4_0, 32, sizeof(moe__q4_0), MOE_ACT_Q8_32),
    TYPE(Q4_1, q4_1, 32, sizeof(moe__q4_1), MOE_ACT_Q8_32),
    TYPE(Q5_0, q5_0, 32, sizeof(moe__q5_0), MOE_ACT_Q8_32),
    TYPE(Q5_1, q5_1, 32, sizeof(moe__q5_1), MOE_ACT_Q8_32),
    TYPE(Q8_0, q8_0, 32, sizeof(moe__q8_0), MOE_ACT_Q8_32),
    TYPE(Q2_K, q2_k, 256, sizeof(moe__q2_k), MOE_ACT_Q8_256),
    TYPE(Q3_K, q3_k, 256, sizeof(moe__q3_k), MOE_ACT_Q8_256),
    TYPE(Q4_K, q4_k, 256, sizeof(moe__q4_k), MOE_ACT_Q8_256),
    TYPE(Q5_K, q5_k, 256, sizeof(moe__q5_k), MOE_ACT_Q8_256),
    TYPE(Q6_K, q6_k, 256, sizeof(moe__q6_k), MOE_ACT_Q8_256),
    TYPE(IQ4_NL, iq4_nl, 32, sizeof(moe__iq4_nl), MOE_ACT_Q8_32),
    TYPE(IQ4_XS, iq4_xs, 256, sizeof(moe__iq4_xs), MOE_ACT_Q8_256),
    TYPE(BF16, bf16, 1, 2, MOE_ACT_F32),
    TYPE(MXFP4, mxfp4, 32, sizeof(moe__mxfp4), MOE_ACT_Q8_32),
};

enum { N_TYPES = sizeof types / sizeof types[0] };

const moe__type *moe__type_get(int id)
{
    for (size_t i = 0; i < N_TYPES; i++)
        if (types[i].id == id) return &types[i];
    return NULL;
}

static char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

const moe__type *moe__type_find(const char *name)
{
    for (size_t i = 0; i < N_TYPES; i++) {
        const char *a = types[i].name, *b = name;
        while (*a && *a == ascii_upper(*b)) a++, b++;
        if (*a == '\0' && *b == '\0') return &types[i];
    }
    return NULL;
}

size_t moe__type_count(void) { return N_TYPES; }

const moe__type *moe__type_at(size_t i) { return i < N_TYPES ? &types[i] : NULL; }

uint64_t moe__type_bytes(const moe__type *t, uint64_t n)
{
    const uint64_t blocks = n / t->block;
    if (n % t->block != 0 || blocks > UINT64_MAX / t->block_bytes) return 0;
    return blocks * t->block_bytes;
}

size_t moe__act_bytes(moe__act act, size_t n)
{
    switch (act) {
    case MOE_ACT_Q8_32: return n / 32 * sizeof(moe__act32);
    case MOE_ACT_Q8_256: return n / 256 * sizeof(moe__act256);
    default: return n * sizeof(float);
    }
}
