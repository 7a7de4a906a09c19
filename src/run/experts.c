/* SPDX-License-Identifier: MIT */
/* The feed-forward steps: routed experts in tiles of pairs, the shared expert, dense layers. */
#include <string.h>

#include "run/steps.h"
#include "study/profile.h"

/* Member 0 sets up a run of jobs on the shared description; all see it after the next meeting. `like`: whose
 * shapes all have. */
static moe__ffn *set_ffn(moe_session *s, const moe__ffn_job *like, const moe__rows *in)
{
    moe__ffn *f = &s->ffn;
    *f = (moe__ffn){.k = &s->m->k,
                    .gate = like->gate,
                    .up = like->up,
                    .down = like->down,
                    .in = in,
                    .up_out = s->mid_up,
                    .out = s->slot_out,
                    .job = s->job};
    const uint32_t ff = f->gate->n_out;
    f->mid = (moe__rows){.f32 = s->mid, .width = ff};
    for (int a = 0; a < MOE_N_ACTS; a++) {
        f->mid.act[a] = s->mid_act[a];
        f->mid.act_bytes[a] = moe__act_bytes((moe__act)a, ff);
    }
    return f;
}

/* ---- routed experts ---- */

static uint32_t own_formats(const moe_session *s, uint32_t layer)
{
    const moe__layer *l = &s->m->layers[layer];
    const int exact = moe__session_exact(s);
    return MOE_ACT_BIT(moe__matrix_act(&l->mat[ROLE_GATE_EXPS], exact)) |
           MOE_ACT_BIT(moe__matrix_act(&l->mat[ROLE_UP_EXPS], exact));
}

static uint32_t replaced_formats(const moe_session *s, uint32_t layer)
{
    return s->experts.slots ? s->experts.slots[layer].formats : 0;
}

moe__mix moe__experts_mix(const moe_session *s, uint32_t layer)
{
    const moe__router *r = &s->router[layer];
    return (moe__mix){.gain = r->steer.value[MOE_EDIT_GAIN - 1],
                      .on_input = (r->recipe.spec.flags & MOE_ROUTE_ON_INPUT) != 0,
                      .slot = moe__experts_slot(&s->experts, layer, 0),
                      .side = s->experts.side,
                      .side_rows = s->o.n_batch_max};
}

static uint64_t matrix_bytes(const moe__matrix *w) { return (uint64_t)w->n_out * w->row_bytes; }

/* The weights that stand in the place of one expert. */
static int fill_job(moe_session *s, uint32_t layer, const moe__group *g, moe__ffn_job *j)
{
    const moe__expert_slot *slot = moe__experts_slot(&s->experts, layer, g->expert);
    moe__store *store = s->m->store;
    *j = (moe__ffn_job){.gate = moe__slot_matrix(slot, s->m, layer, MOE_EXPERT_GATE),
                        .up = moe__slot_matrix(slot, s->m, layer, MOE_EXPERT_UP),
                        .down = moe__slot_matrix(slot, s->m, layer, MOE_EXPERT_DOWN),
                        .first = g->first,
                        .n = g->n};
    if (slot && slot->source == MOE_SOURCE_WEIGHTS) {
        j->view = (moe__expert_view){j->gate->data, j->up->data, j->down->data, 0};
        return MOE_OK;
    }
    moe__expert_request want = {layer, g->expert, g->n, g->rank, g->weight};
    if (slot && slot->source == MOE_SOURCE_REDIRECT) {
        want.layer = slot->layer;
        want.expert = slot->index;
    }
    MOE_TRY(store->ops->acquire(store, &want, &j->view));
    j->leased = 1;
    s->stats.experts++;
    s->stats.expert_bytes += matrix_bytes(j->gate) + matrix_bytes(j->up) + matrix_bytes(j->down);
    return MOE_OK;
}

/* One job for each group. After a failure what was acquired is computed and released; the result is thrown
 * away. */
static void acquire_groups(moe_session *s, uint32_t layer)
{
    moe__ffn *f = &s->ffn;
    for (uint32_t i = 0; i < s->dispatch.n_groups; i++) {
        moe__ffn_job *j = &s->job[i];
        const int st = fill_job(s, layer, &s->dispatch.group[i], j);
        if (st < 0) {
            moe__fault(s, st, layer);
            break;
        }
        f->n_jobs++;
        f->n_slots = j->first + j->n;
        f->mid_formats |= MOE_ACT_BIT(moe__matrix_act(j->down, moe__session_exact(s)));
    }
    s->stats.pairs += f->n_slots;
}

static void release_groups(moe_session *s)
{
    for (uint32_t i = 0; i < s->ffn.n_jobs; i++)
        if (s->job[i].leased) s->m->store->ops->release(s->m->store, &s->job[i].view);
}

/* Member 0: the tile that starts at `row`. */
static void plan_tile(moe_session *s, const moe__run_step *step, uint32_t row)
{
    const moe__matrix *mat = s->m->layers[step->layer].mat;
    const moe__ffn_job like = {
        .gate = &mat[ROLE_GATE_EXPS], .up = &mat[ROLE_UP_EXPS], .down = &mat[ROLE_DOWN_EXPS]};
    s->dispatch.mix = moe__experts_mix(s, step->layer);
    moe__dispatch_plan(&s->dispatch, &s->routes, row, s->n_rows);
    moe__ffn *f = set_ffn(s, &like, s->dispatch.mix.on_input ? &s->experts.scaled : &s->buf[step->in]);
    if (!s->dispatch.mix.on_input) f->col = s->dispatch.col;
    acquire_groups(s, step->layer);
}

/* Packs rows in formats that only replaced experts read, and so the step that made them did not. */
static void pack_more(moe_session *s, moe__worker *w, const moe__run_step *step, const moe__rows *in)
{
    const moe__run_step *maker = step - 1;
    if (!replaced_formats(s, step->layer)) return;
    while (maker->out != step->in) maker--;
    const uint32_t missing = replaced_formats(s, step->layer) & ~(maker->formats | MOE_ACT_BIT(MOE_ACT_F32));
    if (!missing) return;
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) moe__rows_pack(in, &s->m->k, i, missing);
    moe__work_next(w);
}

/* Inputs of the tile's pairs, each times its weight. */
static void scale_inputs(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__rows *in = &s->buf[step->in], *to = &s->experts.scaled;
    const uint32_t formats = own_formats(s, step->layer) | replaced_formats(s, step->layer);
    for (size_t i; (i = moe__work_take(w)) < s->ffn.n_slots;) {
        memcpy(moe__row(to, i), moe__row(in, s->dispatch.col[i]), in->width * sizeof(float));
        s->m->k.scale(moe__row(to, i), s->routes.weight[s->dispatch.pair[i]], in->width);
        moe__rows_pack(to, &s->m->k, i, formats);
    }
    moe__work_next(w);
}

/* ---- outputs, for the profile ---- */

static int measures(const moe_session *s) { return s->profile && moe__profile_wants_outputs(s->profile); }

/* Raw outputs of a row's pairs. */
static void measure_row(moe_session *s, uint32_t row, size_t dim)
{
    const moe__measured *m = &s->measured;
    const uint32_t first = s->routes.offset[s->dispatch.row];
    for (uint32_t p = s->routes.offset[row]; p < s->routes.offset[row + 1]; p++) {
        const float *y = moe__dispatch_result(&s->dispatch, &s->routes, row, p, s->slot_out, dim);
        const uint32_t i = p - first;
        if (y) moe__profile_measure(y, dim, &m->norm[i], &m->max[i], &m->channel[i]);
    }
}

/* Member 0, behind the meeting: hands over what the tile's pairs gave, leaving out those that gave nothing.
 */
static void report_tile(moe_session *s, uint32_t layer, size_t dim)
{
    const moe__measured *m = &s->measured;
    const uint32_t first = s->routes.offset[s->dispatch.row];
    uint32_t n = 0;
    for (uint32_t row = s->dispatch.row; row < s->dispatch.row + s->dispatch.n_rows; row++)
        for (uint32_t p = s->routes.offset[row]; p < s->routes.offset[row + 1]; p++) {
            if (!moe__dispatch_result(&s->dispatch, &s->routes, row, p, s->slot_out, dim)) continue;
            m->norm[n] = m->norm[p - first];
            m->max[n] = m->max[p - first];
            m->channel[n] = m->channel[p - first];
            m->expert[n] = s->routes.expert[p];
            m->weight[n++] = s->dispatch.mix.on_input ? 1 : s->routes.weight[p]; /* of the output */
        }
    const moe__outputs o = {n, m->expert, m->weight, m->norm, m->max, m->channel};
    moe__profile_outputs(s->profile, layer, &o);
}

/* ---- the step ---- */

/* Tiles of rows: plan and acquire, compute, combine in order of rank, release. */
void moe__op_experts(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const int on_input = moe__experts_mix(s, step->layer).on_input;
    if (!on_input) pack_more(s, w, step, in);
    for (uint32_t row = 0, next; row < s->n_rows; row = next) {
        if (w->index == 0) plan_tile(s, step, row);
        moe__work_next(w);
        if (on_input) scale_inputs(s, w, step);
        moe__ffn_run(w, &s->ffn, moe__session_exact_row(s, w));
        for (size_t i; (i = moe__work_take(w)) < s->dispatch.n_rows;) {
            const uint32_t r = row + (uint32_t)i;
            moe__dispatch_combine(&s->dispatch, &s->routes, &s->m->k, r, s->slot_out, moe__row(out, r),
                                  out->width);
            if (measures(s)) measure_row(s, r, out->width);
        }
        if (w->index == 0) release_groups(s);
        next =
            row + s->dispatch.n_rows; /* read before the meeting: behind it member 0 may plan the next tile */
        moe__work_next(w);
        if (w->index == 0 && measures(s)) report_tile(s, step->layer, out->width);
    }
}

/* ---- one job over rows as they stand ---- */

void moe__experts_job(moe_session *s, moe__worker *w, const moe__ffn_job *job, const moe__rows *in,
                      uint32_t row, uint32_t n, float *out)
{
    if (w->index == 0) {
        moe__ffn *f = set_ffn(s, job, in);
        s->job[0] = *job;
        s->job[0].n = n;
        f->mid_formats = MOE_ACT_BIT(moe__matrix_act(job->down, moe__session_exact(s)));
        f->n_jobs = 1;
        f->n_slots = n;
        f->first_row = row;
        f->out = out;
    }
    moe__work_next(w);
    moe__ffn_run(w, &s->ffn, moe__session_exact_row(s, w));
}

uint32_t moe__experts_tile(const moe_session *s, uint32_t ff)
{
    const uint64_t n = s->mid_floats / ff;
    return n < s->max_slots ? (uint32_t)n : s->max_slots;
}

static moe__ffn_job dense_job(const moe__matrix *gate, const moe__matrix *up, const moe__matrix *down)
{
    return (moe__ffn_job){gate, up, down, {gate->data, up->data, down->data, 0}, 0, 0, 0};
}

void moe__op_shared(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const moe__ffn_job job =
        dense_job(&l->mat[ROLE_GATE_SHEXP], &l->mat[ROLE_UP_SHEXP], &l->mat[ROLE_DOWN_SHEXP]);
    const uint32_t tile = moe__experts_tile(s, job.gate->n_out);
    const int gated = l->tensor[ROLE_SHARED_GATE] != NULL;
    if (gated) {
        const moe__task t = {&l->mat[ROLE_SHARED_GATE], s->shared_gate};
        moe__run_products(s, w, in, &t, 1);
    }
    for (uint32_t row = 0; row < s->n_rows; row += tile) {
        const uint32_t n = s->n_rows - row < tile ? s->n_rows - row : tile;
        moe__experts_job(s, w, &job, in, row, n, s->slot_out);
        for (size_t i; (i = moe__work_take(w)) < n;) {
            float weight = 1;
            if (gated) s->m->k.sigmoid(&weight, &s->shared_gate[row + i], 1);
            s->m->k.axpy(moe__row(out, row + i), weight, s->slot_out + i * out->width, out->width);
        }
        moe__work_next(w);
    }
}

void moe__op_ffn(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in], *out = &s->buf[step->out];
    const moe__ffn_job job = dense_job(&l->mat[ROLE_FFN_GATE], &l->mat[ROLE_FFN_UP], &l->mat[ROLE_FFN_DOWN]);
    const uint32_t tile = moe__experts_tile(s, job.gate->n_out);
    for (uint32_t row = 0; row < s->n_rows; row += tile) {
        const uint32_t n = s->n_rows - row < tile ? s->n_rows - row : tile;
        moe__experts_job(s, w, &job, in, row, n, moe__row(out, row));
    }
}
