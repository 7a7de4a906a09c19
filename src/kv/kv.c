/* SPDX-License-Identifier: MIT */
/* See kv.h. */
#include "kv/kv.h"

#include <string.h>

#include "base/status.h"
#include "quant/types.h"

int moe__kv_takes(int type)
{
    return type == MOE_TYPE_F32 || type == MOE_TYPE_F16 || type == MOE_TYPE_BF16 || type == MOE_TYPE_Q8_0 ||
           type == MOE_TYPE_Q4_0;
}

void moe__kv_size(moe__kv *kv, const moe__hparams *h, uint32_t n_ctx, uint32_t n_seq, int type_k, int type_v)
{
    memset(kv, 0, sizeof *kv);
    kv->n_layers = h->n_layers;
    kv->n_seq = n_seq;
    kv->n_pages = (n_ctx + MOE_KV_PAGE - 1) / MOE_KV_PAGE + n_seq -
                  1; /* each further sequence may leave a page half empty */
    kv->n_slots = kv->n_pages;
    kv->n_heads = h->n_heads_kv;
    kv->dim_k = h->dim_head_k;
    kv->dim_v = h->dim_head_v;
    kv->width_k = h->n_heads_kv * h->dim_head_k;
    kv->v_in_k = h->v_in_k != 0;
    kv->width_v = kv->v_in_k ? 0 : h->n_heads_kv * h->dim_head_v;
    kv->type_k = type_k;
    kv->type_v = type_v;
    kv->cell_k = (uint32_t)moe__type_bytes(moe__type_get(type_k), kv->width_k);
    kv->cell_v = (uint32_t)moe__type_bytes(moe__type_get(type_v), kv->width_v);
    /* tiles hold the same numbers in another order */
    kv->tile_k = (size_t)moe__type_bytes(moe__type_get(type_k), kv->dim_k) * MOE_K_TILE;
    kv->tile_v = (size_t)moe__type_bytes(moe__type_get(type_v), kv->dim_v) * MOE_V_TILE;
    kv->page_k = kv->tile_k * (MOE_KV_PAGE / MOE_K_TILE);
    kv->page_v = kv->v_in_k ? 0 : kv->tile_v * (MOE_KV_PAGE / MOE_V_TILE);
}

void moe__kv_size_window(moe__kv *w, const moe__kv *all, uint32_t n_layers, uint32_t window, uint32_t n_batch)
{
    /* of each sequence the window before the eval, that of its next rows, and a page that was shared */
    const uint64_t pages =
        (uint64_t)all->n_seq * (2 * (uint64_t)(window / MOE_KV_PAGE) + 6) + n_batch / MOE_KV_PAGE + 1;
    *w = *all;
    w->n_layers = n_layers;
    if (pages < all->n_pages) {
        w->n_pages = (uint32_t)pages;
        w->window = window;
    }
    if (!n_layers) w->n_pages = w->n_slots = w->n_seq = 0;
}

void moe__kv_carve(moe__kv *kv, moe__carve *c, int with_tokens)
{
    const uint64_t n = (uint64_t)kv->n_layers * kv->n_heads *
                       kv->n_pages; /* < 2^10 * 2^12 * 2^25: the products below are checked */
    kv->k = moe__carve_take(c, n, kv->page_k);
    kv->v = moe__carve_take(c, n, kv->page_v);
    kv->token = NULL;
    if (with_tokens) MOE_CARVE(c, kv->token, (uint64_t)kv->n_pages * MOE_KV_PAGE);
    MOE_CARVE(c, kv->refs, kv->n_pages);
    MOE_CARVE(c, kv->free_page, kv->n_pages);
    MOE_CARVE(c, kv->seq, kv->n_seq);
    MOE_CARVE(c, kv->table, (uint64_t)kv->n_seq * kv->n_slots);
    MOE_CARVE(c, kv->journal, (uint64_t)kv->n_slots + kv->n_seq);
}

void moe__kv_reset(moe__kv *kv)
{
    memset(kv->refs, 0, kv->n_pages * sizeof *kv->refs);
    memset(kv->seq, 0, kv->n_seq * sizeof *kv->seq);
    kv->n_free = kv->n_pages;
    for (uint32_t i = 0; i < kv->n_pages; i++) kv->free_page[i] = kv->n_pages - 1 - i;
    kv->n_journal = 0;
}

static void drop_page(moe__kv *kv, uint32_t page)
{
    if (page != MOE_KV_NO_PAGE && --kv->refs[page] == 0) kv->free_page[kv->n_free++] = page;
}

/* Copies a page in all layers, of its tokens the first n: what else is in the tiles is not looked at. */
static void copy_page(moe__kv *kv, uint32_t from, uint32_t to, uint32_t n)
{
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_heads; h++) {
            memcpy(moe__kv_page_k(kv, l, h, to), moe__kv_page_k(kv, l, h, from), kv->page_k);
            memcpy(moe__kv_page_v(kv, l, h, to), moe__kv_page_v(kv, l, h, from), kv->page_v);
        }
    if (!kv->token) return;
    memcpy(kv->token + (size_t)to * MOE_KV_PAGE, kv->token + (size_t)from * MOE_KV_PAGE,
           n * sizeof *kv->token);
}

/* What stands behind a sequence's end is multiplied by zero, so it must be a number. Pages that were never
 * used are taken in ascending order. */
static void clear_page(moe__kv *kv, uint32_t page)
{
    if (page < kv->n_cleared) return;
    for (uint32_t l = 0; l < kv->n_layers; l++)
        for (uint32_t h = 0; h < kv->n_heads; h++) {
            memset(moe__kv_page_k(kv, l, h, page), 0, kv->page_k);
            memset(moe__kv_page_v(kv, l, h, page), 0, kv->page_v);
        }
    kv->n_cleared = page + 1;
}

/* Puts a fresh page at a table entry and notes what stood there. */
static int fresh_page(moe__kv *kv, uint32_t q, uint32_t slot, uint32_t old)
{
    if (kv->n_free == 0)
        return MOE_FAIL(
            FULL, "the KV cache is full: all %u pages of %u positions are taken (sequence %u has %u tokens)",
            kv->n_pages, MOE_KV_PAGE, q, kv->seq[q].len);
    const uint32_t page = kv->free_page[--kv->n_free];
    clear_page(kv, page);
    kv->refs[page] = 1;
    kv->table[(size_t)q * kv->n_slots + slot] = page;
    kv->journal[kv->n_journal++] = (moe__kv_change){q, slot, old};
    return MOE_OK;
}

/* Sequences that use a page, without those that have just got another for it. */
static uint32_t users(const moe__kv *kv, uint32_t page)
{
    uint32_t n = kv->refs[page];
    for (uint32_t i = 0; i < kv->n_journal && n > 1; i++) n -= kv->journal[i].old == page;
    return n;
}

int moe__kv_own(moe__kv *kv, uint32_t q, uint32_t slot, uint32_t keep)
{
    const uint32_t old = kv->table[(size_t)q * kv->n_slots + slot];
    if (old != MOE_KV_NO_PAGE && users(kv, old) == 1) return MOE_OK;
    MOE_TRY(fresh_page(kv, q, slot, old));
    if (old != MOE_KV_NO_PAGE) copy_page(kv, old, kv->table[(size_t)q * kv->n_slots + slot], keep);
    return MOE_OK;
}

int moe__kv_reserve(moe__kv *kv, uint32_t q, uint32_t n)
{
    moe__kv_seq *s = &kv->seq[q];
    const uint32_t have = s->len % MOE_KV_PAGE;
    if (n && have) MOE_TRY(moe__kv_own(kv, q, s->len / MOE_KV_PAGE, have));
    const uint64_t want = ((uint64_t)s->len + n + MOE_KV_PAGE - 1) / MOE_KV_PAGE;
    for (; s->n_pages < want; s->n_pages++) MOE_TRY(fresh_page(kv, q, s->n_pages, MOE_KV_NO_PAGE));
    return MOE_OK;
}

int moe__kv_extend(moe__kv *kv, uint32_t q, uint32_t pos)
{
    moe__kv_seq *s = &kv->seq[q];
    if (pos == s->len && pos % MOE_KV_PAGE) return moe__kv_own(kv, q, pos / MOE_KV_PAGE, pos % MOE_KV_PAGE);
    if (pos / MOE_KV_PAGE < s->n_pages) return MOE_OK;
    MOE_TRY(fresh_page(kv, q, s->n_pages, MOE_KV_NO_PAGE));
    s->n_pages++;
    return MOE_OK;
}

/* Gives back the pages of entries first .. end-1. */
static void free_entries(moe__kv *kv, uint32_t q, uint32_t first, uint32_t end)
{
    uint32_t *row = kv->table + (size_t)q * kv->n_slots;
    for (uint32_t slot = first; slot < end && slot < kv->seq[q].n_pages; slot++) {
        drop_page(kv, row[slot]);
        row[slot] = MOE_KV_NO_PAGE;
    }
}

void moe__kv_set_start(moe__kv *kv, uint32_t q, uint32_t start, uint32_t len)
{
    moe__kv_seq *s = &kv->seq[q];
    if (start / MOE_KV_PAGE > s->first) free_entries(kv, q, s->first, start / MOE_KV_PAGE);
    s->first = start / MOE_KV_PAGE;
    s->start = start;
    s->whole = start ? len : 0;
}

void moe__kv_recycle(moe__kv *kv, uint32_t q, uint32_t from)
{
    if (kv->window) /* what stood there before the eval stays until its end */
        free_entries(kv, q, (kv->seq[q].len + MOE_KV_PAGE - 1) / MOE_KV_PAGE,
                     moe__kv_sees_from(kv, kv->window, q, from) / MOE_KV_PAGE);
}

int moe__kv_restore(moe__kv *kv, uint32_t q, uint32_t from, uint32_t len)
{
    moe__kv_seq *s = &kv->seq[q];
    moe__kv_set_start(kv, q, from, len);
    for (; s->n_pages < s->first; s->n_pages++)
        kv->table[(size_t)q * kv->n_slots + s->n_pages] = MOE_KV_NO_PAGE;
    for (; (uint64_t)s->n_pages * MOE_KV_PAGE < len; s->n_pages++)
        MOE_TRY(fresh_page(kv, q, s->n_pages, MOE_KV_NO_PAGE));
    return MOE_OK;
}

void moe__kv_commit(moe__kv *kv)
{
    for (uint32_t i = 0; i < kv->n_journal; i++) drop_page(kv, kv->journal[i].old);
    kv->n_journal = 0;
    for (uint32_t q = 0; q < kv->n_seq; q++) {
        moe__kv_seq *s = &kv->seq[q];
        moe__kv_truncate(kv, q, s->len);
        if (!kv->window) continue;
        /* the page that is written to next stays */
        const uint32_t end = moe__kv_sees_from(kv, kv->window, q, s->len) / MOE_KV_PAGE;
        free_entries(kv, q, s->first, end);
        if (end > s->first) s->first = end;
    }
}

void moe__kv_rollback(moe__kv *kv)
{
    while (kv->n_journal) {
        const moe__kv_change c = kv->journal[--kv->n_journal];
        uint32_t *entry = &kv->table[(size_t)c.seq * kv->n_slots + c.slot];
        drop_page(kv, *entry);
        *entry = c.old;
        if (c.old == MOE_KV_NO_PAGE && c.slot + 1 == kv->seq[c.seq].n_pages) kv->seq[c.seq].n_pages--;
    }
}

void moe__kv_copy(moe__kv *kv, uint32_t from, uint32_t to)
{
    if (from == to) return;
    moe__kv_truncate(kv, to, 0);
    const moe__kv_seq s = kv->seq[from];
    for (uint32_t i = 0; i < s.n_pages; i++) {
        const uint32_t page = kv->table[(size_t)from * kv->n_slots + i];
        kv->table[(size_t)to * kv->n_slots + i] = page;
        if (page != MOE_KV_NO_PAGE) kv->refs[page]++;
    }
    kv->seq[to] = s;
}

void moe__kv_truncate(moe__kv *kv, uint32_t q, uint32_t keep)
{
    moe__kv_seq *s = &kv->seq[q];
    const uint32_t want = (keep + MOE_KV_PAGE - 1) / MOE_KV_PAGE;
    while (s->n_pages > want) drop_page(kv, kv->table[(size_t)q * kv->n_slots + --s->n_pages]);
    s->len = keep;
    if (!keep) s->first = s->start = s->whole = 0;
}
