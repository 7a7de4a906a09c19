/* SPDX-License-Identifier: MIT */
/*
 * Hit rates of caches that evict by a priority: LFU, Belady, segment cache (SCH). One walk over the trace
 * serves all sizes; each size has a heap of what it holds, with the least worth on top. Time O(uses * sizes *
 * log size); memory O(sizes * experts), plus for Belady O(experts * sqrt(tokens)).
 *
 * A step is the uses G of one token in one layer. All of G is looked up first. Then a cache of c experts lets
 * go, of what it holds besides G, the least worthy until G fits (all of it, if G alone is larger), takes G
 * in, and if that is more than c, lets go the least worthy of G. So no expert goes while it is in use, as in
 * an engine that holds what it computes with; and of all policies that obey this rule, Belady's has the most
 * hits at every size.
 *
 * Worth, smaller goes first; `last` is the number of the last use, so that no two are equal:
 *     LFU     (uses so far, last)
 *     Belady  (-(next use), last)
 *     SCH     (uses to come in the `window` tokens that begin with the one at hand, last)
 */
#include "study/analysis.h"

#include <string.h>

#define NEVER    UINT32_MAX /* no next use */
#define NO_PLACE UINT32_MAX

typedef struct cache_worth {
    uint64_t value, last;
} cache_worth;

typedef struct cache_heap {
    uint32_t cap, n;
    uint32_t *unit;  /* [min(cap, units) + max_k] heap of units, least worth first */
    uint32_t *place; /* [n_units] in the heap, or NO_PLACE */
    uint64_t hits;
} cache_heap;

typedef struct cache_sim {
    const moe_trace *t;
    int policy, warm;
    uint32_t window;
    uint32_t l0, n_layers, n_units; /* the trace's layers in play, and their experts */
    cache_heap *heap;               /* [n_heaps] */
    size_t n_heaps;
    cache_worth *worth; /* [n_units] */
    uint64_t n_uses;    /* so far */
    uint32_t n_seen;    /* experts used so far */
    /* Belady: next uses are filled in block by block, from tables kept at the ends of blocks */
    uint32_t block;   /* tokens */
    uint32_t *table;  /* [blocks][n_units] token of the first use behind a block */
    uint32_t *coming; /* [n_units] the same, while a block is walked backwards */
    uint32_t *next;   /* [block * pairs of a token] next use of each use of the block */
    uint64_t cap_next;
    uint64_t *next_at;  /* [block * n_layers] where a step's begin */
    uint32_t *next_now; /* of the step at hand */
} cache_sim;

/* ---- heap ---- */

static int heap_less(const cache_sim *s, uint32_t a, uint32_t b)
{
    const cache_worth *x = &s->worth[a], *y = &s->worth[b];
    return x->value != y->value ? x->value < y->value : x->last < y->last;
}

static void heap_set(cache_heap *h, uint32_t at, uint32_t unit)
{
    h->unit[at] = unit;
    h->place[unit] = at;
}

static void heap_up(const cache_sim *s, cache_heap *h, uint32_t at)
{
    const uint32_t unit = h->unit[at];
    while (at > 0 && heap_less(s, unit, h->unit[(at - 1) / 2])) {
        heap_set(h, at, h->unit[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(h, at, unit);
}

static void heap_down(const cache_sim *s, cache_heap *h, uint32_t at)
{
    const uint32_t unit = h->unit[at];
    for (uint32_t child; (child = 2 * at + 1) < h->n; at = child) {
        if (child + 1 < h->n && heap_less(s, h->unit[child + 1], h->unit[child])) child++;
        if (!heap_less(s, h->unit[child], unit)) break;
        heap_set(h, at, h->unit[child]);
    }
    heap_set(h, at, unit);
}

/* After a unit's worth has changed. */
static void heap_moved(const cache_sim *s, cache_heap *h, uint32_t unit)
{
    if (h->place[unit] == NO_PLACE) return;
    heap_up(s, h, h->place[unit]);
    heap_down(s, h, h->place[unit]);
}

static void heap_put(const cache_sim *s, cache_heap *h, uint32_t unit)
{
    h->unit[h->n] = unit;
    heap_up(s, h, h->n++);
}

static void heap_take(const cache_sim *s, cache_heap *h, uint32_t at)
{
    const uint32_t last = h->unit[--h->n];
    h->place[h->unit[at]] = NO_PLACE;
    if (at == h->n) return;
    heap_set(h, at, last);
    heap_moved(s, h, last);
}

/* ---- a step ---- */

/* Looks G up and makes room: what is in use leaves the heap until its worth is known. */
static void step_look_up(const cache_sim *s, cache_heap *h, const uint32_t *g, uint32_t n)
{
    uint32_t fresh = 0;
    for (uint32_t j = 0; j < n; j++) {
        if (h->place[g[j]] != NO_PLACE) {
            h->hits++;
            heap_take(s, h, h->place[g[j]]);
        } else if (s->worth[g[j]].last == 0) {
            h->hits += s->warm && s->n_seen + fresh < h->cap;
            fresh++;
        }
    }
    while (h->n > 0 && h->n + n > h->cap) heap_take(s, h, 0);
}

static void step_take_in(const cache_sim *s, cache_heap *h, const uint32_t *g, uint32_t n)
{
    for (uint32_t j = 0; j < n; j++) heap_put(s, h, g[j]);
    while (h->n > h->cap) heap_take(s, h, 0);
}

/* The later the next use, token first, then layer, the smaller. */
static uint64_t next_worth(const cache_sim *s, uint32_t token, uint32_t l)
{
    return token == NEVER ? 0 : (uint64_t)(NEVER - token) * s->n_layers + (s->n_layers - 1 - l);
}

static void step_update(cache_sim *s, const uint32_t *g, uint32_t n, uint32_t l)
{
    for (uint32_t j = 0; j < n; j++) {
        cache_worth *w = &s->worth[g[j]];
        s->n_seen += w->last == 0;
        w->last = ++s->n_uses;
        if (s->policy == MOE_CACHE_LFU) w->value++;
        if (s->policy == MOE_CACHE_SCH) w->value--; /* this use is no longer to come */
        if (s->policy == MOE_CACHE_BELADY) w->value = next_worth(s, s->next_now[j], l);
    }
}

/* Uses of token i in the layer, as units. */
static uint32_t step_uses(const cache_sim *s, moe__uses *u, uint32_t l, uint32_t i)
{
    moe__uses_layer(u, s->l0 + l);
    const uint32_t n = moe__uses_of(u, i);
    for (uint32_t j = 0; j < n; j++) u->id[j] += l * s->t->n_experts;
    return n;
}

static void step_run(cache_sim *s, moe__uses *u, uint32_t l, uint32_t i)
{
    const uint32_t n = step_uses(s, u, l, i);
    for (size_t c = 0; c < s->n_heaps; c++) step_look_up(s, &s->heap[c], u->id, n);
    step_update(s, u->id, n, l);
    for (size_t c = 0; c < s->n_heaps; c++) step_take_in(s, &s->heap[c], u->id, n);
}

/* ---- SCH: the window ---- */

/* Token i enters the window. */
static void window_enter(cache_sim *s, moe__uses *u, uint32_t i)
{
    for (uint32_t l = 0; l < s->n_layers; l++) {
        const uint32_t n = step_uses(s, u, l, i);
        for (uint32_t j = 0; j < n; j++) {
            s->worth[u->id[j]].value++;
            for (size_t c = 0; c < s->n_heaps; c++) heap_moved(s, &s->heap[c], u->id[j]);
        }
    }
}

/* ---- Belady: next uses ---- */

static uint32_t block_end(const cache_sim *s, uint32_t first)
{
    return s->t->n_tokens - first < s->block ? s->t->n_tokens : first + s->block;
}

/* One backward walk leaves, for every block, where each expert is used first behind it. */
static int next_tables(cache_sim *s, moe__uses *u)
{
    const moe__allocator *a = &s->t->alloc;
    const uint32_t n_tokens = s->t->n_tokens;
    for (s->block = 1; (uint64_t)s->block * s->block < n_tokens;) s->block++;
    const uint32_t n_blocks = (n_tokens + s->block - 1) / s->block;
    MOE_TRY(moe__alloc_array(a, (void **)&s->table, n_blocks, s->n_units * sizeof *s->table, "next uses"));
    MOE_TRY(MOE_NEW(a, &s->coming, s->n_units, "next uses"));
    MOE_TRY(
        moe__alloc_array(a, (void **)&s->next_at, s->block, s->n_layers * sizeof *s->next_at, "next uses"));
    memset(s->coming, 0xff, s->n_units * sizeof *s->coming);
    for (uint32_t b = n_blocks; b-- > 0;) {
        const uint32_t first = b * s->block;
        memcpy(s->table + (size_t)b * s->n_units, s->coming, s->n_units * sizeof *s->coming);
        for (uint32_t i = block_end(s, first); i-- > first;)
            for (uint32_t l = 0; l < s->n_layers; l++) {
                const uint32_t n = step_uses(s, u, l, i);
                for (uint32_t j = 0; j < n; j++) s->coming[u->id[j]] = i;
            }
    }
    return MOE_OK;
}

/* Next uses of all uses of the block that begins with token `first`. */
static int next_fill(cache_sim *s, moe__uses *u, uint32_t first)
{
    uint64_t total = 0, at;
    const uint32_t end = block_end(s, first);
    for (uint32_t i = first; i < end; i++)
        for (uint32_t l = 0; l < s->n_layers; l++) {
            s->next_at[(size_t)(i - first) * s->n_layers + l] = total;
            total += step_uses(s, u, l, i);
        }
    if (total > s->cap_next) {
        moe__free(&s->t->alloc, s->next);
        s->cap_next = 0;
        MOE_TRY(MOE_NEW(&s->t->alloc, &s->next, (size_t)total, "next uses"));
        s->cap_next = total;
    }
    memcpy(s->coming, s->table + (size_t)(first / s->block) * s->n_units, s->n_units * sizeof *s->coming);
    for (uint32_t i = end; i-- > first;)
        for (uint32_t l = 0; l < s->n_layers; l++) {
            const uint32_t n = step_uses(s, u, l, i);
            at = s->next_at[(size_t)(i - first) * s->n_layers + l];
            for (uint32_t j = 0; j < n; j++) {
                s->next[at + j] = s->coming[u->id[j]];
                s->coming[u->id[j]] = i;
            }
        }
    return MOE_OK;
}

/* ---- the walk ---- */

static int sim_walk(cache_sim *s, moe__uses *u)
{
    const uint32_t n_tokens = s->t->n_tokens;
    if (s->policy == MOE_CACHE_SCH)
        for (uint32_t i = 0; i < n_tokens && i < s->window; i++) window_enter(s, u, i);
    if (s->policy == MOE_CACHE_BELADY && n_tokens) MOE_TRY(next_tables(s, u));
    for (uint32_t i = 0; i < n_tokens; i++) {
        const uint32_t in_block = s->policy == MOE_CACHE_BELADY ? i % s->block : 0;
        if (s->policy == MOE_CACHE_BELADY && in_block == 0) MOE_TRY(next_fill(s, u, i));
        for (uint32_t l = 0; l < s->n_layers; l++) {
            if (s->next) s->next_now = s->next + s->next_at[(size_t)in_block * s->n_layers + l];
            step_run(s, u, l, i);
        }
        if (s->policy == MOE_CACHE_SCH && n_tokens - i > s->window) window_enter(s, u, i + s->window);
    }
    return s->n_uses ? MOE_OK : MOE_FAIL(NOTFOUND, "moe_trace_cache: the trace is empty");
}

static int sim_init(cache_sim *s, uint32_t layer, const uint32_t *capacity)
{
    const moe__allocator *a = &s->t->alloc;
    const int joint = layer == MOE_ALL_LAYERS;
    s->l0 = joint ? 0 : layer;
    s->n_layers = joint ? s->t->n_layers : 1;
    const uint64_t n_units = (uint64_t)s->n_layers * s->t->n_experts;
    if (n_units > UINT32_MAX / 2) return MOE_FAIL(NOMEM, "%llu experts", (unsigned long long)n_units);
    s->n_units = (uint32_t)n_units;
    MOE_TRY(MOE_NEW(a, &s->worth, s->n_units, "worth of experts"));
    MOE_TRY(MOE_NEW(a, &s->heap, s->n_heaps, "caches"));
    for (size_t c = 0; c < s->n_heaps; c++) {
        cache_heap *h = &s->heap[c];
        h->cap = capacity[c] < s->n_units ? capacity[c] : s->n_units;
        MOE_TRY(MOE_NEW(a, &h->unit, (size_t)h->cap + s->t->max_k, "experts in a cache"));
        MOE_TRY(MOE_NEW(a, &h->place, s->n_units, "places in a cache"));
        memset(h->place, 0xff, s->n_units * sizeof *h->place);
    }
    return MOE_OK;
}

static void sim_finish(cache_sim *s)
{
    const moe__allocator *a = &s->t->alloc;
    for (size_t c = 0; s->heap && c < s->n_heaps; c++) {
        moe__free(a, s->heap[c].unit);
        moe__free(a, s->heap[c].place);
    }
    moe__free(a, s->heap);
    moe__free(a, s->worth);
    moe__free(a, s->table);
    moe__free(a, s->coming);
    moe__free(a, s->next_at);
    moe__free(a, s->next);
}

int moe__trace_cache(const moe_trace *t, int policy, uint32_t layer, uint32_t window, int warm,
                     const uint32_t *capacity, size_t n, double *hit_rate)
{
    cache_sim s = {.t = t, .policy = policy, .window = window, .warm = warm, .n_heaps = n};
    moe__uses u;
    int st = moe__uses_init(&u, t);
    if (st >= 0) st = sim_init(&s, layer, capacity);
    if (st >= 0) st = sim_walk(&s, &u);
    for (size_t c = 0; c < n && st >= 0; c++) hit_rate[c] = (double)s.heap[c].hits / (double)s.n_uses;
    sim_finish(&s);
    moe__uses_finish(&u);
    return st;
}
