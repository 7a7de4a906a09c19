/* SPDX-License-Identifier: MIT */
/* The resident store: all experts in one private block, read at open. For files that cannot be mapped, and
 * for hosts that must not wait for an expert's pages. */
#include "base/alloc.h"
#include "base/os.h"
#include "base/parallel.h"
#include "base/status.h"
#include "model/model.h"
#include "model/pieces.h"

typedef struct ram_store {
    moe__store base;
    const moe_model *model;
    uint8_t *block;
    uint64_t *first; /* [n_layers][3] offset of expert 0 of gate, up, down in the block */
} ram_store;

static const moe__role ram_roles[3] = {ROLE_GATE_EXPS, ROLE_UP_EXPS, ROLE_DOWN_EXPS};

static uint64_t ram_overhead(const moe_model *m)
{
    const uint64_t n = (uint64_t)m->hp.n_layers * 3;
    return MOE_BLOCK_BYTES(sizeof(ram_store)) + MOE_BLOCK_BYTES(n * sizeof(uint64_t)) +
           2 * MOE_BLOCK_BYTES(n * sizeof(void *)) + moe__team_bytes(m->load_threads);
}

/* Matrices start on cache lines. */
static uint64_t block_bytes(const moe_model *m)
{
    uint64_t n = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (int i = 0; i < 3 && m->layers[l].is_moe; i++)
            n += moe__padded(m->layers[l].tensor[ram_roles[i]]->bytes);
    return n;
}

static uint64_t ram_resident(const moe_model *m) { return MOE_BLOCK_BYTES(block_bytes(m)); }

static void ram_close(moe__store *base)
{
    ram_store *s = (ram_store *)base;
    if (!s) return;
    moe__free(&s->model->alloc, s->block);
    moe__free(&s->model->alloc, s->first);
    moe__free(&s->model->alloc, s);
}

/* Lists the tensors and where each goes, then reads them with all loading threads. */
static int read_all(ram_store *s, const moe_model_options *o)
{
    const moe_model *m = s->model;
    const size_t most = (size_t)m->hp.n_layers * 3;
    moe__piece_list list = {0};
    uint64_t at = 0, bytes = 0;
    int st = MOE_NEW(&m->alloc, &list.tensor, most, "expert store");
    if (st == MOE_OK) st = MOE_NEW(&m->alloc, &list.dst, most, "expert store");
    for (uint32_t l = 0; st == MOE_OK && l < m->hp.n_layers; l++)
        for (uint32_t i = 0; i < 3 && m->layers[l].is_moe; i++) {
            const moe__tensor *t = m->layers[l].tensor[ram_roles[i]];
            s->first[l * 3 + i] = at;
            list.tensor[list.n] = t;
            list.dst[list.n++] = s->block + at;
            at += moe__padded(t->bytes);
            bytes += t->bytes;
        }
    if (st == MOE_OK)
        st = moe__pieces_run(m, o, &list, moe__piece_read, m->dense_bytes, m->dense_bytes + bytes);
    moe__free(&m->alloc, (void *)list.tensor);
    moe__free(&m->alloc, (void *)list.dst);
    return st;
}

static int ram_open(moe__store **out, const moe_model *m, const moe_model_options *o)
{
    int st;
    ram_store *s = NULL;
    const uint64_t n = block_bytes(m);
    if (n > SIZE_MAX)
        return MOE_FAIL(NOMEM, "%s: %llu bytes of experts cannot be allocated", moe__file_name(m->file),
                        (unsigned long long)n);
    MOE_TRY_GOTO(MOE_NEW(&m->alloc, &s, 1, "expert store"), fail);
    s->base.ops = &moe__store_ram;
    s->model = m;
    MOE_TRY_GOTO(MOE_NEW(&m->alloc, &s->first, (size_t)m->hp.n_layers * 3, "expert store"), fail);
    MOE_TRY_GOTO(moe__alloc_raw(&m->alloc, (void **)&s->block, (size_t)n, "resident experts"), fail);
    moe__os_advise(s->block, (size_t)n, MOE_ADVISE_HUGE); /* 4 KB pages cost a third of the bandwidth */
    MOE_TRY_GOTO(read_all(s, o), fail);
    *out = &s->base;
    return MOE_OK;
fail:
    ram_close(s ? &s->base : NULL);
    return st;
}

static int ram_acquire(moe__store *base, const moe__expert_request *want, moe__expert_view *out)
{
    const ram_store *s = (const ram_store *)base;
    const moe__layer *l = &s->model->layers[want->layer];
    const uint8_t *p[3];
    for (uint32_t i = 0; i < 3; i++) {
        const moe__matrix *w = &l->mat[ram_roles[i]];
        p[i] = s->block + s->first[want->layer * 3 + i] + (size_t)want->expert * w->n_out * w->row_bytes;
    }
    *out = (moe__expert_view){p[0], p[1], p[2], 0};
    return MOE_OK;
}

static void ram_release(moe__store *base, const moe__expert_view *view)
{
    (void)base;
    (void)view;
}

const moe__store_ops moe__store_ram = {"resident", ram_overhead, ram_resident, ram_open,
                                       ram_close,  ram_acquire,  ram_release};

const moe__store_ops *moe__store_choose(const moe_model *m)
{
    return m->mapped && !(m->flags & MOE_OPEN_RESIDENT) ? &moe__store_map : &moe__store_ram;
}
