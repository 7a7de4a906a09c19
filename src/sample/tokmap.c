/* SPDX-License-Identifier: MIT */
/* See tokmap.h. */
#include "sample/tokmap.h"

#include <string.h>

#include "base/status.h"

int moe__tokmap_reset(moe__tokmap *m, const moe__allocator *a, size_t n)
{
    size_t places = 16;
    while (places / 2 < n && places <= SIZE_MAX / 4) places *= 2;
    if (places > m->cap) {
        moe__tokmap_entry *entry;
        MOE_TRY(MOE_NEW(a, &entry, places, "sampler: token table"));
        moe__free(a, m->entry);
        m->entry = entry;
        m->cap = places;
    }
    m->mask = places - 1;
    m->n = 0;
    for (size_t i = 0; i < places; i++) m->entry[i] = (moe__tokmap_entry){MOE_TOKEN_NONE, 0, 0};
    return MOE_OK;
}

moe__tokmap_entry *moe__tokmap_put(moe__tokmap *m, moe_token id)
{
    size_t i = moe__tokmap_place(m, id);
    while (m->entry[i].id != id && m->entry[i].id != MOE_TOKEN_NONE) i = (i + 1) & m->mask;
    if (m->entry[i].id != id) {
        m->entry[i].id = id;
        m->n++;
    }
    return &m->entry[i];
}

int moe__tokmap_copy(moe__tokmap *to, const moe__tokmap *from, const moe__allocator *a)
{
    *to = (moe__tokmap){NULL, 0, 0, 0};
    if (!from->entry) return MOE_OK;
    MOE_TRY(MOE_NEW(a, &to->entry, from->mask + 1, "sampler: token table"));
    memcpy(to->entry, from->entry, (from->mask + 1) * sizeof *to->entry);
    to->cap = from->mask + 1;
    to->mask = from->mask;
    to->n = from->n;
    return MOE_OK;
}

void moe__tokmap_free(moe__tokmap *m, const moe__allocator *a)
{
    moe__free(a, m->entry);
    *m = (moe__tokmap){NULL, 0, 0, 0};
}
