/* SPDX-License-Identifier: MIT */
/* See shift.h. */
#include "kv/shift.h"

#include "base/mathx.h"
#include "base/status.h"
#include "kv/cell.h"

void moe__shift_init(moe__shift *t)
{
    const uint32_t have = moe__kv_sees_from(t->kv, t->window, t->q, t->len), behind = t->first + t->n;
    t->from = have > behind ? have - t->n : t->first;
    t->start = have < t->first ? have : t->from;
}

int moe__shift_begin(const moe__shift *t)
{
    moe__kv *kv = t->kv;
    const uint32_t end = t->len - t->n;
    if (t->from >= end) return MOE_OK; /* nothing moves */
    for (uint32_t slot = t->from / MOE_KV_PAGE; slot * MOE_KV_PAGE < end; slot++)
        MOE_TRY(moe__kv_own(kv, t->q, slot, t->from > slot * MOE_KV_PAGE ? t->from - slot * MOE_KV_PAGE : 0));
    return MOE_OK;
}

/* The page that held a position before begin. Entries of the journal ascend by slot; there are few. */
static uint32_t page_before(const moe__shift *t, uint32_t pos)
{
    const moe__kv *kv = t->kv;
    const uint32_t slot = pos / MOE_KV_PAGE;
    for (uint32_t i = 0; i < kv->n_journal; i++)
        if (kv->journal[i].slot == slot) return kv->journal[i].old;
    return moe__kv_page(kv, t->q, pos);
}

void moe__shift_turn(const moe__shift *t, const float *inv_freq, uint32_t pos, float *cs)
{
    for (uint32_t j = 0; j < t->n_rot / 2; j++) {
        /* the angles as they were and as they will be used, both rounded to f32: their difference is exact */
        const float from = (float)(pos + t->n) * inv_freq[j], to = (float)pos * inv_freq[j];
        double s, c;
        moe__math_sincos((double)to - (double)from, &s, &c);
        cs[2 * j] = (float)c;
        cs[2 * j + 1] = (float)s;
    }
}

void moe__shift_layer(const moe__shift *t, uint32_t layer, uint32_t from, uint32_t count, const float *turn,
                      float *row)
{
    moe__kv *kv = t->kv;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t pos = from + i, old = pos + t->n;
        const moe__kv_place source = {layer, page_before(t, old), old % MOE_KV_PAGE},
                            target = moe__kv_at(kv, layer, t->q, pos);
        moe__kv_load_k(kv, source, row);
        for (uint32_t h = 0; h < t->n_heads; h++)
            t->k->rope(row + (size_t)h * t->dim + t->rot_at, turn + (size_t)i * t->n_rot, t->n_rot,
                       t->rope_half);
        moe__kv_store_k(kv, t->k, target, row);
        moe__kv_move_v(kv, source, target);
    }
}

void moe__shift_end(const moe__shift *t)
{
    moe__kv *kv = t->kv;
    const uint32_t end = t->len - t->n;
    for (uint32_t pos = t->first; kv->token && pos < end; pos++)
        *moe__kv_token(kv, t->q, pos) =
            kv->token[(size_t)page_before(t, pos + t->n) * MOE_KV_PAGE + (pos + t->n) % MOE_KV_PAGE];
    moe__kv_set_len(kv, t->q, end);
    if (t->window) moe__kv_set_start(kv, t->q, t->start, end);
    moe__kv_commit(kv);
}
