/* SPDX-License-Identifier: MIT */
/*
 * The KV cache: pages of 64 positions, shared by the sequences of a session through counts and copied when a
 * shared, half-filled page is written to. Positions of a sequence are logical (0, 1, 2 ...), so attention
 * reads the same numbers in the same order wherever the pages lie. An eval reserves first and commits at its
 * end; until then a journal can undo everything.
 */
#ifndef MOE_KV_KV_H
#define MOE_KV_KV_H

#include "arch/arch.h"
#include "base/carve.h"
#include "kernel/kv_tile.h"

#define MOE_KV_PAGE    64u
#define MOE_KV_NO_PAGE UINT32_MAX

typedef struct moe__kv_seq {
    uint32_t len;     /* committed positions */
    uint32_t n_pages; /* entries of its row of the table, reserved ones and those given back included */
    uint32_t first;   /* entries before it were given back */
    uint32_t start;   /* positions before it are gone: what was taken out of a window has shortened it */
    uint32_t whole;   /* length when they went: shorter, its next position would miss some of them */
} moe__kv_seq;

typedef struct moe__kv_change {
    uint32_t seq, slot; /* table entry that changed */
    uint32_t old;       /* page that stood there, or MOE_KV_NO_PAGE */
} moe__kv_change;

typedef struct moe__kv {
    uint32_t n_layers, n_heads, n_pages, n_seq;
    uint32_t n_slots; /* entries of a sequence's row of the table */
    uint32_t window;  /* its layers see so many positions: pages behind them are given back; 0 = see all */
    uint32_t dim_k, dim_v;     /* elements of one head */
    int v_in_k;                /* values are the first dim_v elements of keys: nothing else is kept of them */
    uint32_t width_k, width_v; /* of all heads of one position in one layer, as far as they are kept */
    int type_k, type_v;        /* MOE_TYPE_F32, F16, BF16, Q8_0 or Q4_0 */
    uint32_t cell_k, cell_v;   /* bytes of one position in one layer, as cell.h gives them out */
    size_t tile_k, tile_v;     /* bytes of 16 positions of a key head; of 32 of a value head (kv_tile.h) */
    size_t page_k, page_v;     /* bytes of one head's page */
    uint8_t *k, *v;            /* [n_layers][n_heads][n_pages] pages of one head */
    moe_token *token;          /* [n_pages][MOE_KV_PAGE]; NULL in a cache of windows */
    uint32_t *refs;            /* [n_pages] how many sequences use a page */
    uint32_t *free_page;       /* [n_free] stack */
    uint32_t n_free;
    uint32_t n_cleared;      /* pages 0 .. n_cleared-1 have been in use, the others hold anything */
    moe__kv_seq *seq;        /* [n_seq] */
    uint32_t *table;         /* [n_seq][n_slots] page of every 64 positions, or MOE_KV_NO_PAGE */
    moe__kv_change *journal; /* [n_slots + n_seq] */
    uint32_t n_journal;
} moe__kv;

/* Whether a cache may have this type. */
int moe__kv_takes(int type);
/* Fills the sizes; n_ctx positions always fit, however they are spread over n_seq unshared sequences. */
void moe__kv_size(moe__kv *kv, const moe__hparams *h, uint32_t n_ctx, uint32_t n_seq, int type_k, int type_v);
/*
 * Sizes of a second cache for n_layers that see `window` positions only, beside one for all positions: enough
 * pages for the windows of all sequences, before and after an eval of any length whose sub-batches have
 * n_batch rows, so that it is never full. If that is no less, it keeps all positions as well.
 */
void moe__kv_size_window(moe__kv *w, const moe__kv *all, uint32_t n_layers, uint32_t window,
                         uint32_t n_batch);
/* Takes the arrays from c; called once to count and once for real (see base/carve.h). */
void moe__kv_carve(moe__kv *kv, moe__carve *c, int with_tokens);
/* Empties everything. Keys and values are cleared page by page when they are first used. */
void moe__kv_reset(moe__kv *kv);

/* Makes room for n more positions of sequence q, its own to write to. E_FULL leaves the journal to be undone.
 */
int moe__kv_reserve(moe__kv *kv, uint32_t q, uint32_t n);
/* Makes a page of a sequence its own before it is written to: a shared one is copied as far as its first
 * `keep` positions. E_FULL as above. */
int moe__kv_own(moe__kv *kv, uint32_t q, uint32_t slot, uint32_t keep);
/* The same for position pos of a cache with a window, as rows are placed, ascending. */
int moe__kv_extend(moe__kv *kv, uint32_t q, uint32_t pos);
/* Gives back what an eval has made and no position from `from` on sees. */
void moe__kv_recycle(moe__kv *kv, uint32_t q, uint32_t from);
/* Room for positions from .. len-1 of an empty sequence; those before are gone. */
int moe__kv_restore(moe__kv *kv, uint32_t q, uint32_t from, uint32_t len);
/* What stands before position `start` of a sequence of `len` positions is gone: pages wholly before it are
 * given back, or were. */
void moe__kv_set_start(moe__kv *kv, uint32_t q, uint32_t start, uint32_t len);
/* Ends an eval: sequences keep the lengths that were set with moe__kv_set_len, spare reserved pages go back.
 */
void moe__kv_commit(moe__kv *kv);
/* Ends an eval as if it had not been. */
void moe__kv_rollback(moe__kv *kv);
static inline void moe__kv_set_len(moe__kv *kv, uint32_t q, uint32_t len) { kv->seq[q].len = len; }

void moe__kv_copy(moe__kv *kv, uint32_t from, uint32_t to);
void moe__kv_truncate(moe__kv *kv, uint32_t q, uint32_t keep);
/* Where the window of position pos begins. */
static inline uint32_t moe__kv_window_from(uint32_t window, uint32_t pos)
{
    return window && pos + 1 > window ? pos + 1 - window : 0;
}
/* First position that one at pos sees of a sequence. */
static inline uint32_t moe__kv_sees_from(const moe__kv *kv, uint32_t window, uint32_t q, uint32_t pos)
{
    const uint32_t from = moe__kv_window_from(window, pos);
    return from > kv->seq[q].start ? from : kv->seq[q].start;
}
/* Whether what follows position keep-1 still has its window, or one that was as short before. */
static inline int moe__kv_can_keep(const moe__kv *kv, uint32_t window, uint32_t q, uint32_t keep)
{
    const moe__kv_seq *s = &kv->seq[q];
    const int same = keep >= s->whole || moe__kv_window_from(window, keep) >= s->start;
    return keep == 0 || (same && moe__kv_sees_from(kv, window, q, keep) / MOE_KV_PAGE >= s->first);
}

static inline uint32_t moe__kv_page(const moe__kv *kv, uint32_t q, uint32_t pos)
{
    return kv->table[(size_t)q * kv->n_slots + pos / MOE_KV_PAGE];
}

/* A head's page of keys (values), laid out as kernel/kv_tile.h says. */
static inline uint8_t *moe__kv_page_k(const moe__kv *kv, uint32_t layer, uint32_t head, uint32_t page)
{
    return kv->k + (((size_t)layer * kv->n_heads + head) * kv->n_pages + page) * kv->page_k;
}

static inline uint8_t *moe__kv_page_v(const moe__kv *kv, uint32_t layer, uint32_t head, uint32_t page)
{
    return kv->v + (((size_t)layer * kv->n_heads + head) * kv->n_pages + page) * kv->page_v;
}

/* Where v_in_k: n positions of a page of keys as a page of values, MOE_KV_PAGE / MOE_V_TILE * tile_v bytes.
 * (turn.c) */
void moe__kv_turn(const moe__kv *kv, const uint8_t *keys, uint32_t n, uint8_t *dst);

static inline moe_token *moe__kv_token(const moe__kv *kv, uint32_t q, uint32_t pos)
{
    return &kv->token[(size_t)moe__kv_page(kv, q, pos) * MOE_KV_PAGE + pos % MOE_KV_PAGE];
}

#endif
