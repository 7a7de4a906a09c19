/* SPDX-License-Identifier: MIT */
/*
 * DRY ("don't repeat yourself", p-e-w 2024): a token that would prolong a repetition of what was already said
 * is penalised, the longer the repetition the more. With L = the longest end of the history that also stands
 * earlier in it, followed there by the token:
 *     logit -= multiplier * base^(L - allowed)   if L >= allowed
 * Repetitions do not reach across breaker tokens, and breakers are never penalised.
 *
 * All L come from one pass in linear time: the Z function (Gusfield 1997, section 1.3) of the history read
 * backwards, whose value at i is the length of the common prefix of the whole and of what starts at i.
 */
#include "base/mathx.h"
#include "base/status.h"
#include "sample/sampler.h"

/* z[i] for i >= 1 of the text h[len-1], h[len-2], ..., h[0]. */
static void z_backwards(const moe_token *h, size_t len, uint32_t *z)
{
    size_t left = 0, right = 0; /* the match that reaches farthest: [left, right) equals the text's start */
    z[0] = (uint32_t)len;
    for (size_t i = 1; i < len; i++) {
        size_t k = 0;
        if (i < right) k = z[i - left] < right - i ? z[i - left] : right - i;
        while (i + k < len && h[len - 1 - k] == h[len - 1 - i - k]) k++;
        z[i] = (uint32_t)k;
        if (i + k > right) {
            left = i;
            right = i + k;
        }
    }
}

int moe__stage_dry(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    size_t len, reach = 0;
    const moe_token *h = moe__history(s, st->spec.n, &len);
    const uint32_t allowed = (uint32_t)st->spec.m;
    /* How far back matches reach: to the last breaker. */
    while (reach < len && !moe__tokmap_get(&st->map, h[len - 1 - reach])) reach++;
    if (reach < allowed || len <= allowed) return MOE_OK;

    if (len > s->cap_match) {
        MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->match, s->cap_history, sizeof *s->match,
                                   "sampler: DRY matches"));
        s->cap_match = s->cap_history;
    }
    MOE_TRY(moe__tokmap_reset(&s->map, &s->alloc, len));
    z_backwards(h, len, s->match);
    for (size_t i = 1; i < len; i++) {
        const uint32_t n = s->match[i] < reach ? s->match[i] : (uint32_t)reach;
        const moe_token next = h[len - i];
        if (n < allowed || moe__tokmap_get(&st->map, next)) continue;
        moe__tokmap_entry *e = moe__tokmap_put(&s->map, next);
        if (n > e->n) e->n = n;
    }
    if (s->map.n == 0) return MOE_OK;
    for (size_t i = 0; i < c->n; i++) {
        const moe__tokmap_entry *e = moe__tokmap_get(&s->map, c->id[i]);
        if (!e) continue;
        const double penalty = st->spec.a * moe__math_pow(st->spec.b, (double)(e->n - allowed));
        c->logit[i] = moe__finite(c->logit[i] - penalty);
        c->sorted = 0;
    }
    return MOE_OK;
}
