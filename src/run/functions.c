/* SPDX-License-Identifier: MIT */
/*
 * Experts that are functions of the caller's. They run on the calling thread between routing and experts,
 * once per layer and sub-batch; their results wait in a side buffer until the rows are combined
 * (dispatch/combine.c).
 */
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "run/steps.h"

static int check_result(const moe_session *s, uint32_t layer, uint32_t index, const float *y, uint32_t n)
{
    const size_t dim = s->m->hp.dim;
    for (size_t i = 0; i < n * dim; i++)
        if (!isfinite(y[i]))
            return MOE_FAIL(CALLBACK,
                            "layer %u, expert %u: its function left row %zu, element %zu that is not finite",
                            layer, index, i / dim, i % dim);
    return MOE_OK;
}

int moe__function_run(moe_session *s, uint32_t layer, uint32_t index, uint32_t n)
{
    const moe__experts *x = &s->experts;
    const moe__expert_slot *slot = moe__experts_slot(x, layer, index);
    const size_t dim = s->m->hp.dim;
    float *y = x->side + slot->side * s->o.n_batch_max * dim;
    for (size_t i = 0; i < n * dim; i++) y[i] = NAN; /* what the function forgets is noticed */
    const moe_expert_call call = {.size = sizeof call,
                                  .layer = layer,
                                  .index = index,
                                  .n_rows = n,
                                  .dim = s->m->hp.dim,
                                  .x = x->side_in,
                                  .y = y,
                                  .token = x->side_token,
                                  .pos = x->side_pos,
                                  .seq = x->side_seq};
    const int st = slot->fn(&call, slot->user);
    if (st > 0) return MOE_FAIL(ABORTED, "layer %u: the function of expert %u stopped it", layer, index);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "layer %u: the function of expert %u failed with status %d", layer, index, st);
    return st < 0 ? st : check_result(s, layer, index, y, n);
}

/* Gathers the rows that are routed to an expert, each once. With weights on inputs a row that has it twice
 * would need two results. */
static int gather(const moe_session *s, const moe__run_step *step, const moe__mix *mix, uint32_t e,
                  uint32_t *n)
{
    const moe__experts *x = &s->experts;
    const moe__routes *r = &s->routes;
    const size_t dim = s->m->hp.dim;
    *n = 0;
    for (uint32_t t = 0; t < s->n_rows; t++)
        for (uint32_t p = r->offset[t]; p < r->offset[t + 1]; p++) {
            if (r->expert[p] != e || !moe__mix_live(mix, s->m->hp.n_experts, e, r->weight[p])) continue;
            if (*n && x->side_row[*n - 1] == t) {
                if (!mix->on_input) continue;
                return MOE_FAIL(
                    UNSUPPORTED,
                    "layer %u, row %u: expert %u, a function, comes twice while weights scale inputs",
                    step->layer, t, e);
            }
            float *to = x->side_in + *n * dim;
            memcpy(to, moe__row(&s->buf[step->in], t), dim * sizeof *to);
            if (mix->on_input) s->m->k.scale(to, r->weight[p], dim);
            x->side_row[*n] = t;
            x->side_token[*n] = s->place[t].token;
            x->side_pos[*n] = (moe_pos)s->place[t].pos;
            x->side_seq[*n] = (moe_seq)s->place[t].seq;
            ++*n;
        }
    return MOE_OK;
}

/* Rows 0 .. n-1 go to the places of their rows, which lie at or behind them: last one first. */
static void spread(const moe_session *s, const moe__expert_slot *slot, uint32_t n)
{
    const size_t dim = s->m->hp.dim;
    float *y = s->experts.side + slot->side * s->o.n_batch_max * dim;
    for (uint32_t i = n; i-- > 0;)
        if (s->experts.side_row[i] != i)
            memcpy(y + s->experts.side_row[i] * dim, y + i * dim, dim * sizeof *y);
}

int moe__experts_functions(const moe_session *s, uint32_t layer)
{
    return s->experts.slots && s->experts.slots[layer].n_fn > 0;
}

int moe__experts_call(moe_session *s, const moe__run_step *step)
{
    if (!moe__experts_functions(s, step->layer)) return MOE_OK;
    const moe__mix mix = moe__experts_mix(s, step->layer);
    for (uint32_t e = 0; e < s->m->hp.n_experts; e++) {
        uint32_t n;
        if (!moe__mix_is_side(&mix, e)) continue;
        MOE_TRY(gather(s, step, &mix, e, &n));
        if (!n) continue;
        MOE_TRY(moe__function_run(s, step->layer, e, n));
        spread(s, &mix.slot[e], n);
        s->stats.pairs += n;
    }
    return MOE_OK;
}
