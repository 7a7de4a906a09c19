/* SPDX-License-Identifier: MIT */
/* See steer.h. Every setter makes the new thing first and then puts it in place of the old one. */
#include "route/steer.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

#define N_USES (MOE_USE_FORCE + 1)

float moe__steer_neutral(int kind)
{
    return kind == MOE_EDIT_LOGIT_BIAS || kind == MOE_EDIT_SELECT_BIAS ? 0.0f : 1.0f;
}

void moe__steer_clear_overrides(moe__steer *s, const moe__steer_shape *shape)
{
    for (uint32_t i = 0; i < s->n_override; i++) moe__free(shape->alloc, s->override[i].row);
    moe__free(shape->alloc, s->override);
    s->override = NULL;
    s->n_override = 0;
}

static void free_limits(moe__steer *s, const moe__steer_shape *shape)
{
    for (uint32_t q = 0; s->limit && q < shape->n_seq_max; q++) moe__free(shape->alloc, s->limit[q]);
    moe__free(shape->alloc, (void *)s->limit);
    s->limit = NULL;
}

void moe__steer_finish(moe__steer *s, const moe__steer_shape *shape)
{
    moe__free(shape->alloc, s->use);
    for (int i = 0; i < MOE_N_EDITS; i++) moe__free(shape->alloc, s->value[i]);
    free_limits(s, shape);
    moe__steer_clear_overrides(s, shape);
    *s = (moe__steer){0};
}

static int copy_bytes(const moe__allocator *a, void *out, const void *src, size_t n)
{
    void *p = NULL;
    if (src) {
        MOE_TRY(moe__alloc(a, &p, n, "steering"));
        memcpy(p, src, n);
    }
    *(void **)out = p;
    return MOE_OK;
}

/* A table without a limit is none: the router may be native again. */
static void drop_empty_limits(const moe__allocator *a, moe__steer *s, uint32_t n_seq)
{
    for (uint32_t q = 0; q < n_seq; q++)
        if (s->limit[q]) return;
    moe__free(a, (void *)s->limit);
    s->limit = NULL;
}

int moe__steer_copy(moe__steer *dst, const moe__steer_shape *shape, const moe__steer *src,
                    const moe__steer_shape *src_shape)
{
    int st;
    moe__steer s = {0};
    const moe__allocator *a = shape->alloc;
    const size_t n = shape->n;
    MOE_TRY_GOTO(copy_bytes(a, &s.use, src->use, n), fail);
    for (int i = 0; i < MOE_N_EDITS; i++)
        MOE_TRY_GOTO(copy_bytes(a, &s.value[i], src->value[i], n * sizeof(float)), fail);
    if (src->limit) {
        MOE_TRY_GOTO(MOE_NEW(a, &s.limit, shape->n_seq_max, "steering"), fail);
        for (uint32_t q = 0; q < shape->n_seq_max && q < src_shape->n_seq_max; q++)
            MOE_TRY_GOTO(copy_bytes(a, &s.limit[q], src->limit[q], n), fail);
        drop_empty_limits(a, &s, shape->n_seq_max);
    }
    if (src->n_override) {
        MOE_TRY_GOTO(MOE_NEW(a, &s.override, src->n_override, "steering"), fail);
        for (uint32_t i = 0; i < src->n_override; i++) {
            const moe__override *from = &src->override[i];
            moe__override *to = &s.override[s.n_override];
            if (from->seq != MOE_ALL_SEQS && (uint32_t)from->seq >= shape->n_seq_max) continue;
            *to = *from;
            MOE_TRY_GOTO(copy_bytes(a, &to->row, from->row, n * sizeof(float)), fail);
            s.n_override++;
        }
    }
    *dst = s;
    return MOE_OK;
fail:
    moe__steer_finish(&s, shape);
    return st;
}

int moe__steer_set_use(moe__steer *s, const moe__steer_shape *shape, const uint8_t *use)
{
    int any = 0;
    for (uint32_t e = 0; e < shape->n; e++) {
        if (use[e] >= N_USES)
            return MOE_FAIL(INVALID, "layer %u, expert %u: use %u is unknown", shape->layer, e, use[e]);
        any |= use[e];
    }
    uint8_t *copy = NULL;
    if (any) MOE_TRY(copy_bytes(shape->alloc, &copy, use, shape->n));
    moe__free(shape->alloc, s->use);
    s->use = copy;
    return MOE_OK;
}

int moe__steer_set_values(moe__steer *s, const moe__steer_shape *shape, int kind, const float *values)
{
    if (kind < 1 || kind > MOE_N_EDITS) return MOE_FAIL(INVALID, "edit kind %d is unknown", kind);
    int any = 0;
    for (uint32_t e = 0; values && e < shape->n; e++) {
        if (!isfinite(values[e]))
            return MOE_FAIL(NUMERIC, "layer %u, expert %u: the value is not finite", shape->layer, e);
        any |= values[e] < moe__steer_neutral(kind) || values[e] > moe__steer_neutral(kind);
    }
    float *copy = NULL;
    if (any) MOE_TRY(copy_bytes(shape->alloc, &copy, values, shape->n * sizeof *values));
    moe__free(shape->alloc, s->value[kind - 1]);
    s->value[kind - 1] = copy;
    return MOE_OK;
}

static int make_mask(uint8_t **out, const moe__steer_shape *shape, const uint32_t *ids, size_t n)
{
    *out = NULL;
    if (!n) return MOE_OK;
    for (size_t i = 0; i < n; i++)
        if (ids[i] >= shape->n)
            return MOE_FAIL(RANGE, "limit: expert %u: expected 0 to %u", ids[i], shape->n - 1);
    MOE_TRY(MOE_NEW(shape->alloc, out, shape->n, "steering")); /* zeroed */
    for (size_t i = 0; i < n; i++) (*out)[ids[i]] = 1;
    return MOE_OK;
}

int moe__steer_set_limit(moe__steer *s, const moe__steer_shape *shape, moe_seq seq, const uint32_t *ids,
                         size_t n)
{
    if (seq != MOE_ALL_SEQS && (seq < 0 || (uint32_t)seq >= shape->n_seq_max))
        return MOE_FAIL(RANGE, "limit: sequence %d: expected 0 to %u", seq, shape->n_seq_max - 1);
    if (!s->limit && !n) return MOE_OK;
    const uint32_t first = seq == MOE_ALL_SEQS ? 0 : (uint32_t)seq,
                   last = seq == MOE_ALL_SEQS ? shape->n_seq_max - 1 : (uint32_t)seq;
    moe__steer next = {0};
    int st;
    MOE_TRY_GOTO(MOE_NEW(shape->alloc, &next.limit, shape->n_seq_max, "steering"), fail);
    for (uint32_t q = 0; q < shape->n_seq_max; q++) {
        if (q >= first && q <= last)
            MOE_TRY_GOTO(make_mask(&next.limit[q], shape, ids, n), fail);
        else if (s->limit)
            MOE_TRY_GOTO(copy_bytes(shape->alloc, &next.limit[q], s->limit[q], shape->n), fail);
    }
    free_limits(s, shape);
    for (uint32_t q = 0; q < shape->n_seq_max && !s->limit; q++)
        if (next.limit[q]) s->limit = next.limit;
    if (!s->limit) moe__free(shape->alloc, (void *)next.limit); /* all were NULL */
    return MOE_OK;
fail:
    moe__steer_finish(&next, shape);
    return st;
}

static int check_override(const moe__steer_shape *shape, const moe_route_override *o)
{
    if (o->kind != MOE_OVERRIDE_LOGITS && o->kind != MOE_OVERRIDE_SCORES)
        return MOE_FAIL(INVALID, "override: kind %d is unknown", o->kind);
    if (o->seq != MOE_ALL_SEQS && (o->seq < 0 || (uint32_t)o->seq >= shape->n_seq_max))
        return MOE_FAIL(RANGE, "override: sequence %d: expected 0 to %u", o->seq, shape->n_seq_max - 1);
    if (o->first < 0 || o->last < -1 || (o->last >= 0 && o->last < o->first))
        return MOE_FAIL(RANGE, "override: positions %d to %d", o->first, o->last);
    if (!o->row) return MOE_FAIL(INVALID, "override: row is NULL");
    int any = 0;
    for (uint32_t e = 0; e < shape->n; e++) {
        if (isnan(o->row[e]) || (isinf(o->row[e]) && o->row[e] > 0))
            return MOE_FAIL(NUMERIC, "override: expert %u: NaN or +infinity", e);
        any |= !isinf(o->row[e]);
    }
    return any ? MOE_OK : MOE_FAIL(NUMERIC, "override: nothing in the row is above -infinity");
}

int moe__steer_add_override(moe__steer *s, const moe__steer_shape *shape, const moe_route_override *o)
{
    MOE_TRY(check_override(shape, o));
    moe__override *list;
    float *row;
    MOE_TRY(copy_bytes(shape->alloc, &row, o->row, shape->n * sizeof *row));
    const int st =
        moe__alloc_array(shape->alloc, (void **)&list, (size_t)s->n_override + 1, sizeof *list, "steering");
    if (st < 0) {
        moe__free(shape->alloc, row);
        return st;
    }
    for (uint32_t i = 0; i < s->n_override; i++) list[i] = s->override[i];
    list[s->n_override] = (moe__override){o->kind, o->seq, o->first, o->last, row};
    moe__free(shape->alloc, s->override);
    s->override = list;
    s->n_override++;
    return MOE_OK;
}

static uint32_t count_left(const moe__steer *s, const uint8_t *limit, uint32_t n)
{
    uint32_t left = 0;
    for (uint32_t e = 0; e < n; e++) {
        const uint8_t use = s->use ? s->use[e] : MOE_USE_FREE;
        left += use != MOE_USE_BAN && use != MOE_USE_BAN_SCORED && (!limit || limit[e]);
    }
    return left;
}

int moe__steer_check(const moe__steer *s, const moe__steer_shape *shape)
{
    if (!count_left(s, NULL, shape->n))
        return MOE_FAIL(INVALID, "layer %u: all %u experts are banned", shape->layer, shape->n);
    for (uint32_t q = 0; s->limit && q < shape->n_seq_max; q++)
        if (!count_left(s, s->limit[q], shape->n))
            return MOE_FAIL(INVALID, "layer %u, sequence %u: bans and limit together leave no expert",
                            shape->layer, q);
    return MOE_OK;
}

int moe__steer_is_empty(const moe__steer *s)
{
    int any = s->use || s->n_override;
    for (int i = 0; i < MOE_N_EDITS; i++) any |= s->value[i] != NULL;
    return !any && !s->limit;
}

const float *moe__steer_override(const moe__steer *s, int kind, moe_seq seq, moe_pos pos)
{
    for (uint32_t i = s->n_override; i-- > 0;) {
        const moe__override *o = &s->override[i];
        if (o->kind == kind && (o->seq == MOE_ALL_SEQS || o->seq == seq) && pos >= o->first &&
            (o->last < 0 || pos <= o->last))
            return o->row;
    }
    return NULL;
}
