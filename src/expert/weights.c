/* SPDX-License-Identifier: MIT */
/* See weights.h. */
#include "expert/weights.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

static const char *const matrix_names[3] = {"gate", "up", "down"};

/* One matrix as the caller describes it. */
typedef struct brought {
    const void *data;
    int32_t type;
    uint32_t n_out, n_in;
    uint64_t bytes;
} brought;

static int check_widths(const moe_model *m, const moe_expert_weights *w)
{
    if (!m->hp.n_experts) return MOE_FAIL(INVALID, "expert weights: the model has no routed experts");
    if (w->flags & ~MOE_WEIGHTS_BORROW)
        return MOE_FAIL(INVALID, "expert weights: flags 0x%x are unknown", w->flags);
    if (w->dim != m->hp.dim)
        return MOE_FAIL(INVALID, "expert weights: dim %u: expected the model's %u", w->dim, m->hp.dim);
    if (w->dim_ff != m->hp.dim_ff_expert)
        return MOE_FAIL(INVALID, "expert weights: dim_ff %u: expected the model's %u", w->dim_ff,
                        m->hp.dim_ff_expert);
    return MOE_OK;
}

/* Fills in *out but for its data. */
static int check_matrix(moe__matrix *out, const moe_model *m, const brought *b, const char *name, int borrow)
{
    const moe__type *t = moe__type_get(b->type);
    if (!t) return MOE_FAIL(UNSUPPORTED, "expert weights: type_%s %d is unknown", name, b->type);
    if (b->n_in % t->block != 0)
        return MOE_FAIL(UNSUPPORTED, "expert weights: type_%s: rows of %u elements cannot be %s", name,
                        b->n_in, t->name);
    const uint64_t row_bytes = moe__type_bytes(t, b->n_in), want = row_bytes * b->n_out; /* widths < 2^25 */
    if (!b->data) return MOE_FAIL(INVALID, "expert weights: %s is NULL", name);
    if (b->bytes != want)
        return MOE_FAIL(INVALID, "expert weights: %s_bytes %llu: %u rows of %u %s elements have %llu", name,
                        (unsigned long long)b->bytes, b->n_out, b->n_in, t->name, (unsigned long long)want);
    if (borrow && (uintptr_t)b->data % 4 != 0)
        return MOE_FAIL(INVALID, "expert weights: %s is borrowed, but not aligned to 4 bytes", name);
    *out = (moe__matrix){.type = t,
                         .n_out = b->n_out,
                         .n_in = b->n_in,
                         .row_bytes = (size_t)row_bytes,
                         .gemm = moe__kernels_gemm(&m->k, t->id)};
    return MOE_OK;
}

static int check_finite(const moe__matrix *w, const char *name)
{
    float x[256]; /* whole blocks of every type */
    const uint64_t n = (uint64_t)w->n_out * w->n_in;
    const size_t step_bytes = (size_t)moe__type_bytes(w->type, 256);
    const char *src = w->data;
    for (uint64_t i = 0; i < n; i += 256, src += step_bytes) {
        const size_t some = n - i < 256 ? (size_t)(n - i) : 256;
        w->type->dequant(src, x, some);
        for (size_t j = 0; j < some; j++)
            if (!isfinite(x[j]))
                return MOE_FAIL(NUMERIC, "expert weights: %s: row %llu, element %llu is not a finite number",
                                name, (unsigned long long)((i + j) / w->n_in),
                                (unsigned long long)((i + j) % w->n_in));
    }
    return MOE_OK;
}

/* Takes the data over: in place, or copied behind one another on cache lines. */
static int take_data(moe_weights *w, const brought *b, int borrow)
{
    uint64_t at = 0;
    for (int i = 0; i < 3; i++) {
        w->bytes += b[i].bytes;
        at += moe__padded(b[i].bytes);
    }
    if (!borrow) {
        if (at > SIZE_MAX) return MOE_FAIL(NOMEM, "expert weights cannot be allocated");
        MOE_TRY(moe__alloc(&w->model->alloc, &w->block, (size_t)at, "expert weights"));
    }
    at = 0;
    for (int i = 0; i < 3; i++) {
        if (!borrow) memcpy((char *)w->block + at, b[i].data, (size_t)b[i].bytes);
        w->mat[i].data = borrow ? b[i].data : (char *)w->block + at;
        at += moe__padded(b[i].bytes);
    }
    return MOE_OK;
}

int moe__weights_create(moe_weights **out, moe_model *m, const moe_expert_weights *e)
{
    const brought b[3] = {{e->gate, e->type_gate, e->dim_ff, e->dim, e->gate_bytes},
                          {e->up, e->type_up, e->dim_ff, e->dim, e->up_bytes},
                          {e->down, e->type_down, e->dim, e->dim_ff, e->down_bytes}};
    const int borrow = (e->flags & MOE_WEIGHTS_BORROW) != 0;
    moe__matrix mat[3];
    MOE_TRY(check_widths(m, e));
    for (int i = 0; i < 3; i++) {
        MOE_TRY(check_matrix(&mat[i], m, &b[i], matrix_names[i], borrow));
        mat[i].data = b[i].data;
        MOE_TRY(check_finite(&mat[i], matrix_names[i]));
    }
    moe_weights *w;
    MOE_TRY(MOE_NEW(&m->alloc, &w, 1, "expert weights"));
    atomic_init(&w->refs, 1);
    w->model = moe_model_retain(m);
    memcpy(w->mat, mat, sizeof mat);
    const int st = take_data(w, b, borrow);
    if (st < 0) {
        moe_weights_release(w);
        return st;
    }
    *out = w;
    return MOE_OK;
}

moe_weights *moe_weights_retain(moe_weights *w)
{
    if (w) atomic_fetch_add_explicit(&w->refs, 1, memory_order_relaxed);
    return w;
}

void moe_weights_release(moe_weights *w)
{
    if (!w || atomic_fetch_sub_explicit(&w->refs, 1, memory_order_acq_rel) != 1) return;
    moe_model *m = w->model;
    moe__free(&m->alloc, w->block);
    moe__free(&m->alloc, w);
    moe_model_release(m);
}
