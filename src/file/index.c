/* SPDX-License-Identifier: MIT */
/* See index.h: open addressing with linear probing, at most half full. */
#include "file/index.h"

#include <string.h>

#include "base/status.h"

#define SLOTS_MIN  16u
#define PROBES_MAX 512u /* a half-full table of a million random names has chains of about 70 */

struct moe__index_slot {
    uint32_t entry; /* number + 1; 0 = empty */
    uint32_t hash;
};

static uint64_t hash_name(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed so that the low bits depend on all */
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static const char *name_at(const void *base, size_t stride, size_t i)
{
    const char *name;
    memcpy(&name, (const char *)base + i * stride, sizeof name);
    return name;
}

void moe__index_free(moe__index *ix, const moe__allocator *a)
{
    moe__free(a, ix->slot);
    memset(ix, 0, sizeof *ix);
}

uint64_t moe__index_bytes(const moe__index *ix)
{
    return ix->slot ? MOE_BLOCK_BYTES((ix->mask + 1) * sizeof *ix->slot) : 0;
}

/* The slot that holds `name`, or the empty one where it belongs; NULL after too many probes. */
static struct moe__index_slot *probe(const moe__index *ix, const void *base, size_t stride, const char *name,
                                     uint64_t h)
{
    for (size_t k = 0; k < PROBES_MAX; k++) {
        struct moe__index_slot *s = &ix->slot[(h + k) & ix->mask];
        if (s->entry == 0) return s;
        if (s->hash == (uint32_t)(h >> 32) && strcmp(name_at(base, stride, s->entry - 1), name) == 0)
            return s;
    }
    return NULL;
}

static int grow(moe__index *ix, const moe__allocator *a, const void *base, size_t stride)
{
    const size_t cap = ix->slot ? (ix->mask + 1) * 2 : SLOTS_MIN;
    moe__index bigger = {NULL, cap - 1, ix->n};
    MOE_TRY(MOE_NEW(a, &bigger.slot, cap, "name index"));
    for (size_t i = 0; i < ix->n; i++) {
        const uint64_t h = hash_name(name_at(base, stride, i));
        size_t k = 0;
        while (k < PROBES_MAX && bigger.slot[(h + k) & bigger.mask].entry != 0) k++;
        if (k == PROBES_MAX) {
            moe__index_free(&bigger, a);
            return MOE_FAIL(FORMAT, "names collide on purpose: %u in one chain", PROBES_MAX);
        }
        bigger.slot[(h + k) & bigger.mask] = (struct moe__index_slot){(uint32_t)i + 1, (uint32_t)(h >> 32)};
    }
    moe__free(a, ix->slot);
    *ix = bigger;
    return MOE_OK;
}

int moe__index_add(moe__index *ix, const moe__allocator *a, const void *base, size_t stride, uint32_t *dup)
{
    *dup = MOE_INDEX_NONE;
    if (ix->n >= MOE_INDEX_MAX) return MOE_FAIL(UNSUPPORTED, "more than %zu names", MOE_INDEX_MAX);
    if (!ix->slot || ix->n * 2 > ix->mask) MOE_TRY(grow(ix, a, base, stride));
    const char *name = name_at(base, stride, ix->n);
    const uint64_t h = hash_name(name);
    struct moe__index_slot *s = probe(ix, base, stride, name, h);
    if (!s) return MOE_FAIL(FORMAT, "names collide on purpose: %u in one chain", PROBES_MAX);
    if (s->entry != 0) {
        *dup = s->entry - 1;
        return MOE_OK;
    }
    *s = (struct moe__index_slot){(uint32_t)ix->n + 1, (uint32_t)(h >> 32)};
    ix->n++;
    return MOE_OK;
}

uint32_t moe__index_find(const moe__index *ix, const void *base, size_t stride, const char *name)
{
    if (!ix->slot) return MOE_INDEX_NONE;
    const struct moe__index_slot *s = probe(ix, base, stride, name, hash_name(name));
    return s && s->entry != 0 ? s->entry - 1 : MOE_INDEX_NONE;
}
