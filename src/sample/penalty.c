/* SPDX-License-Identifier: MIT */
/* Stages that change logits by token: repetition, frequency and presence penalties, and a fixed bias. */
#include <math.h>

#include "base/status.h"
#include "sample/sampler.h"

int moe__stage_penalties(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    const double repeat = st->spec.a, freq = st->spec.b, present = st->spec.c;
    size_t len;
    const moe_token *h = moe__history(s, st->spec.n, &len);
    if (len == 0 || (repeat == 1 && freq == 0 && present == 0)) return MOE_OK;
    MOE_TRY(moe__tokmap_reset(&s->map, &s->alloc, len));
    for (size_t i = 0; i < len; i++) moe__tokmap_put(&s->map, h[i])->n++;
    for (size_t i = 0; i < c->n; i++) {
        const moe__tokmap_entry *e = moe__tokmap_get(&s->map, c->id[i]);
        if (!e) continue;
        const double x = c->logit[i];
        c->logit[i] = moe__finite((x > 0 ? x / repeat : x * repeat) - e->n * freq - present);
        c->sorted = 0;
    }
    return MOE_OK;
}

int moe__stage_logit_bias(moe_sampler *s, moe__stage *st, moe_candidates *c)
{
    (void)s;
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++) {
        const moe__tokmap_entry *e = moe__tokmap_get(&st->map, c->id[i]);
        if (e) c->sorted = 0;
        if (e && e->value == -INFINITY) continue; /* banned */
        c->id[n] = c->id[i];
        c->logit[n++] = e ? moe__finite(c->logit[i] + e->value) : c->logit[i];
    }
    c->n = n;
    return n > 0 ? MOE_OK : MOE_FAIL(NUMERIC, "sampler stage 'logit-bias': it bans every candidate");
}
