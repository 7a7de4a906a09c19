/* SPDX-License-Identifier: MIT */
/* See ffn.h. Phases: gate and up with the activation, packing of the middle rows, down. */
#include "expert/ffn.h"

static uint32_t blocks(uint32_t n, uint32_t step) { return (n + step - 1) / step; }

/* The product of one job's matrix with its rows. */
static moe__product product(const moe__ffn *f, const moe__ffn_job *j, const moe__matrix *w, const void *data,
                            float *y)
{
    return (moe__product){.w = w,
                          .data = data,
                          .x = f->in,
                          .col = f->col ? f->col + j->first : NULL,
                          .first_col = f->first_row + j->first,
                          .n_cols = j->n,
                          .y = y + (size_t)j->first * w->n_out,
                          .ldy = w->n_out};
}

static int is_last(const moe__ffn *f, const moe__ffn_job *j) { return j + 1 == f->job + f->n_jobs; }

/* mid = silu(gate x) * (up x) for some middle rows of one job. */
static void gate_up(const moe__ffn *f, const moe__ffn_job *j, uint32_t first, uint32_t n, float *exact)
{
    const size_t ff = f->gate->n_out;
    moe__product g = product(f, j, j->gate, j->view.gate, f->mid.f32),
                 u = product(f, j, j->up, j->view.up, f->up_out);
    g.next = moe__matrix_row(j->up, j->view.up, first);
    if (first + n < ff)
        u.next = moe__matrix_row(j->gate, j->view.gate, first + n);
    else if (!is_last(f, j))
        u.next = j[1].view.gate;
    moe__product_rows(&g, f->k, first, n, exact);
    moe__product_rows(&u, f->k, first, n, exact);
    for (size_t s = j->first; s < (size_t)j->first + j->n; s++) {
        float *y = f->mid.f32 + s * ff + first;
        f->k->swiglu(y, y, f->up_out + s * ff + first, n);
    }
}

static void down(const moe__ffn *f, const moe__ffn_job *j, uint32_t first, uint32_t n, float *exact)
{
    const moe__product p = {.w = j->down,
                            .data = j->view.down,
                            .x = &f->mid,
                            .first_col = j->first,
                            .n_cols = j->n,
                            .y = f->out + (size_t)j->first * f->down->n_out,
                            .ldy = f->down->n_out,
                            .next = first + n == f->down->n_out && !is_last(f, j) ? j[1].view.down : NULL};
    moe__product_rows(&p, f->k, first, n, exact);
}

static uint32_t item_rows(const moe__worker *w, const moe__ffn *f, const moe__matrix *m)
{
    return moe__rows_per_item(m, f->n_jobs, f->n_slots / (f->n_jobs ? f->n_jobs : 1), w->member->n);
}

typedef void (*job_part)(const moe__ffn *f, const moe__ffn_job *j, uint32_t first, uint32_t n, float *exact);

/* Every block of the rows of `m` of every job, once. */
static void share(moe__worker *w, const moe__ffn *f, const moe__matrix *m, job_part part, float *exact)
{
    const uint32_t step = item_rows(w, f, m), n = blocks(m->n_out, step);
    moe__run run = {0};
    for (size_t i; moe__work_item(w, &run, (size_t)n * f->n_jobs, &i);) {
        const uint32_t first = (uint32_t)(i % n) * step;
        part(f, &f->job[i / n], first, m->n_out - first < step ? m->n_out - first : step, exact);
    }
    moe__work_close(w);
}

/* The first rows of `down` that this member is to read. */
static void first_down_ahead(moe__worker *w, const moe__ffn *f)
{
    const uint32_t step = item_rows(w, f, f->down), n = blocks(f->down->n_out, step);
    const size_t i = moe__work_part(w, (size_t)n * f->n_jobs, w->index);
    if (i >= (size_t)n * f->n_jobs) return;
    const moe__ffn_job *j = &f->job[i / n];
    const uint32_t first = (uint32_t)(i % n) * step, left = f->down->n_out - first;
    moe__work_ahead(w, moe__matrix_row(j->down, j->view.down, first),
                    (left < step ? left : step) * j->down->row_bytes);
}

/* So few numbers are packed by one member while the others wait. */
#define SOLO_FLOATS 16384u

static void pack_slot(moe__worker *w, void *arg, const void *what, size_t i)
{
    const moe__ffn *f = what;
    (void)w;
    (void)arg;
    moe__rows_pack(&f->mid, f->k, i, f->mid_formats);
}

static void pack_slots(moe__worker *w, void *arg, const void *what, size_t i)
{
    for (i = 0; i < ((const moe__ffn *)what)->n_slots; i++) pack_slot(w, arg, what, i);
}

void moe__ffn_run(moe__worker *w, const moe__ffn *f, float *exact)
{
    moe__work_settle(w); /* *f is filled in */
    share(w, f, f->gate, gate_up, exact);
    if (f->mid_formats & ~MOE_ACT_BIT(MOE_ACT_F32)) {
        if ((size_t)f->n_slots * f->mid.width <= SOLO_FLOATS)
            moe__work_once(w, pack_slots, NULL, f, 0);
        else
            moe__work_after(w, pack_slot, NULL, f, f->n_slots);
    }
    first_down_ahead(w, f);
    share(w, f, f->down, down, exact);
}
