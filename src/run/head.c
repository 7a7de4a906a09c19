/* SPDX-License-Identifier: MIT */
/*
 * From the last layer's rows to results: final norm (the hidden state), product with the output matrix, logit
 * scale. The last thing an eval does, and the only one that overwrites earlier results; by then nothing can
 * fail any more.
 */
#include <string.h>

#include "base/os.h"
#include "base/status.h"
#include "run/session.h"

/* One team runs all passes: H holds up to n_batch_max normed rows at a time, those that want logits side by
 * side. */
typedef struct pass {
    moe_session *s;
    uint32_t first, n;  /* staged rows */
    uint32_t n_columns; /* of them want logits */
    uint32_t logits_at; /* row of the result */
} pass;

static void norm_rows(pass *p, moe__worker *w)
{
    moe_session *s = p->s;
    const moe__rows *h = &s->buf[BUF_H];
    const size_t dim = h->width;
    for (size_t i; (i = moe__work_take(w)) < p->n;) {
        const size_t row = p->first + i;
        float *y = s->hidden_next + row * dim;
        s->m->k.rms_norm(y, s->stage + row * dim, s->m->out_norm, s->m->hp.eps, dim);
    }
    moe__work_next(w);
    if (w->index == 0) {
        uint32_t column = 0;
        for (uint32_t i = 0; i < p->n; i++) {
            if (!(s->output[p->first + i].want & MOE_WANT_LOGITS)) continue;
            memcpy(moe__row(h, column), s->hidden_next + (size_t)(p->first + i) * dim, dim * sizeof(float));
            moe__rows_pack(h, &s->m->k, column++,
                           MOE_ACT_BIT(moe__matrix_act(&s->m->head, moe__session_exact(s))));
        }
        p->n_columns = column;
    }
    moe__work_next(w);
}

static void logit_rows(const pass *p, moe__worker *w)
{
    const moe_session *s = p->s;
    const moe__matrix *head = &s->m->head;
    const uint32_t step = moe__rows_per_item(head, 1, p->n_columns, w->member->n);
    float *y = s->logits + (size_t)p->logits_at * head->n_out;
    const moe__product product = {.w = head,
                                  .data = head->data,
                                  .x = &s->buf[BUF_H],
                                  .n_cols = p->n_columns,
                                  .y = y,
                                  .ldy = head->n_out};
    const size_t n_items = p->n_columns ? (head->n_out + step - 1) / step : 0;
    moe__run run = {0};
    for (size_t i; moe__work_item(w, &run, n_items, &i);) {
        const uint32_t first = (uint32_t)i * step,
                       n = head->n_out - first < step ? head->n_out - first : step;
        moe__product_rows(&product, &s->m->k, first, n, moe__session_exact_row(s, w));
        const float scale = s->m->hp.logit_scale, cap = s->m->hp.final_softcap;
        for (uint32_t c = 0; c < p->n_columns && (scale != 1 || cap > 0); c++) {
            float *part = y + (size_t)c * head->n_out + first;
            if (scale != 1) s->m->k.scale(part, 1.0f / scale, n);
            if (cap > 0) s->m->k.softcap(part, 1.0f / cap, cap, n);
        }
    }
    moe__work_next(w);
}

static void walk_outputs(moe__member *member, void *arg)
{
    pass *p = arg;
    const moe_session *s = p->s;
    moe__worker w = {.member = member, .work = &p->s->work, .index = member->index};
    for (uint32_t first = 0; first < s->n_staged; first += s->o.n_batch_max) {
        if (w.index == 0) {
            p->logits_at += p->n_columns;
            p->first = first;
            p->n = s->n_staged - first < s->o.n_batch_max ? s->n_staged - first : s->o.n_batch_max;
        }
        moe__work_next(&w);
        norm_rows(p, &w);
        logit_rows(p, &w);
    }
}

/* Hidden rows that were only needed for logits make way for those that were wanted. */
static uint32_t keep_wanted(moe_session *s)
{
    uint32_t n = 0;
    const size_t dim = s->m->hp.dim;
    for (uint32_t i = 0; i < s->n_staged; i++) {
        if (!(s->output[i].want & MOE_WANT_HIDDEN)) continue;
        if (n != i) memcpy(s->hidden_next + n * dim, s->hidden_next + i * dim, dim * sizeof(float));
        n++;
    }
    return n;
}

int moe__head(moe_session *s)
{
    const uint64_t start = moe__os_now_ns();
    pass p = {.s = s};
    moe__work_reset(&s->work);
    MOE_TRY(moe__team_run(s->team, walk_outputs, &p));
    s->n_logits = p.logits_at + p.n_columns;
    s->n_hidden = keep_wanted(s);
    float *old = s->hidden;
    s->hidden = s->hidden_next;
    s->hidden_next = old;
    s->stats.ns_head += moe__os_now_ns() - start;
    return MOE_OK;
}
