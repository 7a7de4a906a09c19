/* SPDX-License-Identifier: MIT */
/*
 * Hit rates of LRU caches of all sizes in one pass: an access hits a cache of c experts exactly if fewer than
 * c other experts were used since its last use (Mattson et al. 1970, the stack distance). Marks on a time
 * line, one for each expert at its last use, are counted by a Fenwick tree: O(uses * log experts) time,
 * O(experts) memory. When the time line is full the marks move to its beginning.
 *
 * The experts that a token has in a layer are looked up together, before any of them moves to the front.
 */
#include "study/analysis.h"

#include <string.h>

typedef struct lru {
    uint32_t n_units; /* experts in play */
    uint32_t n_slots; /* of the time line */
    uint32_t now;     /* next free slot */
    uint32_t n_seen;  /* marks */
    uint32_t *tree;   /* [n_slots + 1] Fenwick tree over marks */
    uint32_t *slot;   /* [n_units] slot + 1 of an expert's mark, 0 = never used */
    uint32_t *owner;  /* [n_slots] unit + 1 */
    uint64_t *hist;   /* [n_units] accesses by distance */
    uint64_t n_uses;
} lru;

static void lru_add(lru *c, uint32_t slot, uint32_t by)
{
    for (uint32_t i = slot + 1; i <= c->n_slots; i += i & (0 - i))
        c->tree[i] += by; /* by = 1, or -1 modulo 2^32 */
}

/* Marks at slots 0 .. slot. */
static uint32_t lru_sum(const lru *c, uint32_t slot)
{
    uint32_t sum = 0;
    for (uint32_t i = slot + 1; i > 0; i -= i & (0 - i)) sum += c->tree[i];
    return sum;
}

/* Moves all marks to the beginning, in their order. */
static void lru_compact(lru *c)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < c->now; s++) {
        const uint32_t unit = c->owner[s];
        if (!unit || c->slot[unit - 1] != s + 1) continue;
        c->owner[n++] = unit;
        c->slot[unit - 1] = n;
    }
    memset(c->tree, 0, ((size_t)c->n_slots + 1) * sizeof *c->tree);
    for (uint32_t s = 0; s < n; s++) lru_add(c, s, 1);
    c->now = n;
}

static void lru_move(lru *c, uint32_t unit)
{
    if (c->now == c->n_slots) lru_compact(c);
    if (c->slot[unit])
        lru_add(c, c->slot[unit] - 1, UINT32_MAX);
    else
        c->n_seen++;
    lru_add(c, c->now, 1);
    c->owner[c->now++] = unit + 1;
    c->slot[unit] = c->now;
}

/* The uses of one token in one layer; units of the layer begin at base. */
static void lru_access(lru *c, const uint32_t *id, uint32_t n, uint32_t base, int warm)
{
    uint32_t fresh = 0;
    for (uint32_t j = 0; j < n; j++) {
        const uint32_t slot = c->slot[base + id[j]];
        if (slot)
            c->hist[c->n_seen - lru_sum(c, slot - 1)]++;
        else if (warm)
            c->hist[c->n_seen + fresh++]++;
    }
    for (uint32_t j = 0; j < n; j++) lru_move(c, base + id[j]);
    c->n_uses += n;
}

static int lru_init(lru *c, const moe_trace *t, uint64_t n_units)
{
    const moe__allocator *a = &t->alloc;
    const uint64_t n_slots = 2 * n_units + 1024;
    if (n_slots > UINT32_MAX / 2) return MOE_FAIL(NOMEM, "%llu experts", (unsigned long long)n_units);
    c->n_units = (uint32_t)n_units;
    c->n_slots = (uint32_t)n_slots;
    MOE_TRY(MOE_NEW(a, &c->tree, (size_t)n_slots + 1, "LRU tree"));
    MOE_TRY(MOE_NEW(a, &c->slot, (size_t)n_units, "LRU places"));
    MOE_TRY(MOE_NEW(a, &c->owner, (size_t)n_slots, "LRU owners"));
    return MOE_NEW(a, &c->hist, (size_t)n_units, "LRU distances");
}

static int lru_run(lru *c, moe__uses *u, uint32_t layer, int warm)
{
    const moe_trace *t = u->t;
    const int joint = layer == MOE_ALL_LAYERS;
    const uint32_t l0 = joint ? 0 : layer, l1 = joint ? t->n_layers : layer + 1;
    MOE_TRY(lru_init(c, t, (uint64_t)(l1 - l0) * t->n_experts));
    for (uint32_t i = 0; i < t->n_tokens; i++)
        for (uint32_t l = l0; l < l1; l++) {
            if (joint || i == 0) moe__uses_layer(u, l);
            const uint32_t n = moe__uses_of(u, i);
            lru_access(c, u->id, n, (l - l0) * t->n_experts, warm);
        }
    return c->n_uses ? MOE_OK : MOE_FAIL(NOTFOUND, "moe_trace_cache: the trace is empty");
}

int moe__trace_lru(const moe_trace *t, uint32_t layer, int warm, const uint32_t *capacity, size_t n,
                   double *hit_rate)
{
    const moe__allocator *a = &t->alloc;
    lru c = {0};
    moe__uses u;
    int st = moe__uses_init(&u, t);
    if (st >= 0) st = lru_run(&c, &u, layer, warm);
    if (st >= 0) {
        for (uint32_t d = 1; d < c.n_units; d++) c.hist[d] += c.hist[d - 1];
        for (size_t i = 0; i < n; i++) {
            const uint32_t d = capacity[i] < c.n_units ? capacity[i] : c.n_units;
            hit_rate[i] = (double)c.hist[d - 1] / (double)c.n_uses;
        }
    }
    moe__free(a, c.hist);
    moe__free(a, c.owner);
    moe__free(a, c.slot);
    moe__free(a, c.tree);
    moe__uses_finish(&u);
    return st;
}
