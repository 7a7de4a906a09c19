/* SPDX-License-Identifier: MIT */
/* The feed-forward steps: routed experts in tiles of pairs, the shared expert, dense layers. */
#include <string.h>

#include "run/steps.h"
#include "study/profile.h"

/* Sets up a run of jobs on the shared description. `like`: whose shapes all have. */
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

/* The tile that starts at `row`: its groups, their experts' weights. */
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

static void plan_first(moe__worker *w, void *arg, const void *what, size_t i)
{
    (void)w;
    (void)i;
    plan_tile(arg, what, 0);
}

static void plan_next(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    (void)w;
    (void)i;
    plan_tile(s, what, s->dispatch.row + s->dispatch.n_rows);
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
    moe__work_close(w);
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
    moe__work_close(w);
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

/* Hands over what the tile's pairs gave, leaving out those that gave nothing. */
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

/* Row i of the tile. */
static void combine_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    const moe__rows *out = &s->buf[((const moe__run_step *)what)->out];
    const uint32_t row = s->dispatch.row + (uint32_t)i;
    (void)w;
    moe__dispatch_combine(&s->dispatch, &s->routes, &s->m->k, row, s->slot_out, moe__row(out, row),
                          out->width);
    if (measures(s)) measure_row(s, row, out->width);
}

static void end_tile(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    const moe__run_step *step = what;
    (void)w;
    (void)i;
    release_groups(s);
    if (measures(s)) report_tile(s, step->layer, s->buf[step->out].width);
}

/* Tiles of rows: plan and acquire, compute, combine in order of rank, release. */
void moe__op_experts(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const int on_input = moe__experts_mix(s, step->layer).on_input;
    if (!on_input) pack_more(s, w, step, &s->buf[step->in]);
    for (uint32_t row = 0; row < s->n_rows; row += s->dispatch.n_rows) {
        moe__work_once(w, row ? plan_next : plan_first, s, step, 0);
        moe__work_settle(w);
        if (on_input) scale_inputs(s, w, step);
        moe__ffn_run(w, &s->ffn, moe__session_exact_row(s, w));
        moe__work_after(w, combine_row, s, step, s->dispatch.n_rows);
        moe__work_once(w, end_tile, s, step, 0);
    }
}

/* ---- one job over rows as they stand ---- */

typedef struct job_args {
    const moe__ffn_job *job;
    const moe__rows *in;
    uint32_t row, n;
    float *out;
} job_args;

static void plan_job(moe__worker *w, void *arg, const void *what, size_t i)
{
    moe_session *s = arg;
    const job_args *a = what;
    moe__ffn *f = set_ffn(s, a->job, a->in);
    (void)w;
    s->job[i] = *a->job;
    s->job[i].n = a->n;
    f->mid_formats = MOE_ACT_BIT(moe__matrix_act(a->job->down, moe__session_exact(s)));
    f->n_jobs = 1;
    f->n_slots = a->n;
    f->first_row = a->row;
    f->out = a->out;
}

void moe__experts_job(moe_session *s, moe__worker *w, const moe__ffn_job *job, const moe__rows *in,
                      uint32_t row, uint32_t n, float *out)
{
    const job_args a = {job, in, row, n, out};
    moe__work_once(w, plan_job, s, &a, 0);
    moe__work_settle(w);
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

/* The shared expert's part of row i of the tile, gated where the layer has a gate. */
static void add_shared_row(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe_session *s = arg;
    const moe__run_step *step = what;
    const moe__rows *out = &s->buf[step->out];
    const size_t row = s->ffn.first_row + i;
    float weight = 1;
    (void)w;
    if (s->m->layers[step->layer].tensor[ROLE_SHARED_GATE]) s->m->k.sigmoid(&weight, &s->shared_gate[row], 1);
    s->m->k.axpy(moe__row(out, row), weight, s->slot_out + i * out->width, out->width);
}

void moe__op_shared(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const moe__layer *l = &s->m->layers[step->layer];
    const moe__rows *in = &s->buf[step->in];
    const moe__ffn_job job =
        dense_job(&l->mat[ROLE_GATE_SHEXP], &l->mat[ROLE_UP_SHEXP], &l->mat[ROLE_DOWN_SHEXP]);
    const uint32_t tile = moe__experts_tile(s, job.gate->n_out);
    if (l->tensor[ROLE_SHARED_GATE]) {
        const moe__task t = {&l->mat[ROLE_SHARED_GATE], s->shared_gate};
        moe__run_products(s, w, in, &t, 1);
    }
    for (uint32_t row = 0; row < s->n_rows; row += tile) {
        const uint32_t n = s->n_rows - row < tile ? s->n_rows - row : tile;
        moe__experts_job(s, w, &job, in, row, n, s->slot_out);
        moe__work_after(w, add_shared_row, s, step, n);
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
