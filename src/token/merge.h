/* SPDX-License-Identifier: MIT */
/*
 * Merging neighbours of a sequence, best pair first, in O(n log n): a linked list of symbols and a heap of
 * candidate pairs. Both tokenizer models are this with another idea of "best"; ties go to the leftmost pair.
 */
#ifndef MOE_TOKEN_MERGE_H
#define MOE_TOKEN_MERGE_H

#include "token/token.h"

/* A symbol: bytes at .. at+len-1 of the text. len = 0: swallowed by a neighbour. */
typedef struct moe__symbol {
    uint32_t at, len;
    moe_token id;        /* MOE_TOKEN_NONE if no token has these bytes (spm) */
    moe_token merged;    /* what this symbol and the next one would become */
    uint32_t key;        /* how soon they do: lower first, MOE_NO_KEY never */
    uint32_t prev, next; /* indices, MOE_NO_KEY at the ends */
} moe__symbol;

/* Sets l->key and l->merged for the neighbours l and r of the text s. */
typedef void (*moe__pair_fn)(const moe_tokenizer *t, const uint8_t *s, moe__symbol *l, const moe__symbol *r);

/* Room to merge n symbols. */
typedef struct moe__merge_room {
    uint64_t *heap; /* owned: both arrays are this block */
    moe__symbol *v; /* [n] */
} moe__merge_room;

/* Takes the room; the caller frees room->heap. */
int moe__merge_room_init(moe__merge_room *room, const moe__allocator *a, size_t n);
/* Merges v[0..n), of which at, len and id are set. Swallowed symbols have len 0 then, the rest are the result
 * in order. */
void moe__merge_run(const moe_tokenizer *t, const uint8_t *s, const moe__merge_room *room, size_t n,
                    moe__pair_fn pair);

#endif
