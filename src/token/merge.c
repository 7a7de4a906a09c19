/* SPDX-License-Identifier: MIT */
/* See merge.h. */
#include "token/merge.h"

#include "base/status.h"

/*
 * Heap entries are key << 32 | index of the left symbol, smallest on top. An entry is stale if its symbol's
 * key has changed since. Each merge removes a symbol and adds at most two entries, so 3 n entries are room
 * enough.
 */
#define HEAP_PER_SYMBOL 3u

typedef struct heap {
    uint64_t *v;
    size_t n;
} heap;

static void push(heap *h, uint64_t x)
{
    size_t i = h->n++;
    for (; i > 0 && h->v[(i - 1) / 2] > x; i = (i - 1) / 2) h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = x;
}

static uint64_t pop(heap *h)
{
    const uint64_t top = h->v[0], x = h->v[--h->n];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < h->n; i = child) {
        if (child + 1 < h->n && h->v[child + 1] < h->v[child]) child++;
        if (h->v[child] >= x) break;
        h->v[i] = h->v[child];
    }
    h->v[i] = x;
    return top;
}

/* Finds out what v[i] and its right neighbour would become, and queues it. */
static void consider(const moe_tokenizer *t, const uint8_t *s, moe__symbol *v, uint32_t i, heap *h,
                     moe__pair_fn pair)
{
    v[i].key = MOE_NO_KEY;
    if (v[i].next == MOE_NO_KEY) return;
    pair(t, s, &v[i], &v[v[i].next]);
    if (v[i].key != MOE_NO_KEY) push(h, (uint64_t)v[i].key << 32 | i);
}

int moe__merge_room_init(moe__merge_room *room, const moe__allocator *a, size_t n)
{
    room->heap = NULL;
    MOE_TRY(moe__alloc_array(a, (void **)&room->heap, n,
                             HEAP_PER_SYMBOL * sizeof(uint64_t) + sizeof(moe__symbol), "merging text"));
    room->v = (moe__symbol *)(void *)(room->heap + HEAP_PER_SYMBOL * n);
    return MOE_OK;
}

void moe__merge_run(const moe_tokenizer *t, const uint8_t *s, const moe__merge_room *room, size_t n,
                    moe__pair_fn pair)
{
    moe__symbol *v = room->v;
    heap h = {room->heap, 0};
    for (size_t i = 0; i < n; i++) {
        v[i].prev = i > 0 ? (uint32_t)(i - 1) : MOE_NO_KEY;
        v[i].next = i + 1 < n ? (uint32_t)(i + 1) : MOE_NO_KEY;
    }
    for (size_t i = 0; i < n; i++) consider(t, s, v, (uint32_t)i, &h, pair);
    while (h.n > 0) {
        const uint64_t top = pop(&h);
        const uint32_t i = (uint32_t)top;
        if (v[i].len == 0 || v[i].key != (uint32_t)(top >> 32)) continue;
        const uint32_t right = v[i].next;
        v[i].id = v[i].merged;
        v[i].len += v[right].len;
        v[i].next = v[right].next;
        v[right].len = 0;
        if (v[i].next != MOE_NO_KEY) v[v[i].next].prev = i;
        consider(t, s, v, i, &h, pair);
        if (v[i].prev != MOE_NO_KEY) consider(t, s, v, v[i].prev, &h, pair);
    }
}
