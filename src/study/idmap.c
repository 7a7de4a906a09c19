/* SPDX-License-Identifier: MIT */
/* See idmap.h. */
#include "study/idmap.h"

#include <string.h>

#include "base/status.h"

/* The slot that has the number, or the free one where it belongs. */
static uint32_t *idmap_slot(const moe__idmap *m, uint32_t key)
{
    const uint64_t h = key * UINT64_C(0x9e3779b97f4a7c15); /* Fibonacci hashing: the upper bits are mixed */
    for (uint32_t i = (uint32_t)(h >> 32) & m->mask;; i = (i + 1) & m->mask)
        if (m->slot[i] == 0 || m->key[m->slot[i] - 1] == key) return &m->slot[i];
}

int moe__idmap_reserve(moe__idmap *m, const moe__allocator *a, uint64_t n)
{
    if (n <= m->cap) return MOE_OK;
    if (n > UINT32_MAX / 4) return MOE_FAIL(NOMEM, "%llu numbers do not fit a map", (unsigned long long)n);
    uint64_t cap = m->cap ? m->cap : 16;
    while (cap < n) cap *= 2;
    uint32_t *slot;
    MOE_TRY(MOE_NEW(a, &slot, (size_t)cap * 2, "map of numbers"));
    const int st = moe__realloc_array(a, (void **)&m->key, (size_t)cap, sizeof *m->key, "map of numbers");
    if (st < 0) {
        moe__free(a, slot);
        return st;
    }
    moe__free(a, m->slot);
    m->slot = slot;
    m->cap = (uint32_t)cap;
    m->mask = (uint32_t)(cap * 2 - 1);
    for (uint32_t i = 0; i < m->n; i++) *idmap_slot(m, m->key[i]) = i + 1;
    return MOE_OK;
}

uint32_t moe__idmap_get(const moe__idmap *m, uint32_t key)
{
    if (m->n == 0) return MOE_IDMAP_NONE;
    return *idmap_slot(m, key) - 1; /* a free slot: 0 - 1 = NONE */
}

uint32_t moe__idmap_put(moe__idmap *m, uint32_t key)
{
    if (m->cap == 0) return MOE_IDMAP_NONE;
    uint32_t *slot = idmap_slot(m, key);
    if (*slot == 0) {
        if (m->n == m->cap) return MOE_IDMAP_NONE;
        m->key[m->n++] = key;
        *slot = m->n;
    }
    return *slot - 1;
}

void moe__idmap_clear(moe__idmap *m)
{
    m->n = 0;
    if (m->slot) memset(m->slot, 0, ((size_t)m->mask + 1) * sizeof *m->slot);
}

void moe__idmap_free(moe__idmap *m, const moe__allocator *a)
{
    moe__free(a, m->key);
    moe__free(a, m->slot);
    *m = (moe__idmap){0};
}
