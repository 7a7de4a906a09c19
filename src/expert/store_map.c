/* SPDX-License-Identifier: MIT */
/* The mapped store: experts are views into the file's mapping, the operating system decides what is in
 * memory. Costs nothing, never waits. */
#include "base/alloc.h"
#include "base/status.h"
#include "model/model.h"

typedef struct map_store {
    moe__store base;
    const moe_model *model;
    const uint8_t **first; /* [n_layers][3] expert 0 of gate, up, down; NULL in dense layers */
} map_store;

static const moe__role map_roles[3] = {ROLE_GATE_EXPS, ROLE_UP_EXPS, ROLE_DOWN_EXPS};

static uint64_t map_overhead(const moe_model *m)
{
    return MOE_BLOCK_BYTES(sizeof(map_store)) +
           MOE_BLOCK_BYTES((uint64_t)m->hp.n_layers * 3 * sizeof(uint8_t *));
}

static uint64_t map_resident(const moe_model *m)
{
    (void)m;
    return 0;
}

static void map_close(moe__store *base)
{
    map_store *s = (map_store *)base;
    if (!s) return;
    moe__free(&s->model->alloc, (void *)s->first);
    moe__free(&s->model->alloc, s);
}

static int map_open(moe__store **out, const moe_model *m, const moe_model_options *o)
{
    (void)o;
    int st;
    map_store *s = NULL;
    MOE_TRY_GOTO(MOE_NEW(&m->alloc, &s, 1, "expert store"), fail);
    s->base.ops = &moe__store_map;
    s->model = m;
    MOE_TRY_GOTO(MOE_NEW(&m->alloc, &s->first, (size_t)m->hp.n_layers * 3, "expert store"), fail);
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (int i = 0; i < 3 && m->layers[l].is_moe; i++) {
            const void *p;
            MOE_TRY_GOTO(moe__file_tensor_map(m->file, m->layers[l].tensor[map_roles[i]], &p), fail);
            if (!p) {
                st = MOE_FAIL(INTERNAL, "%s: tensor %s is not mapped", moe__file_name(m->file),
                              m->layers[l].tensor[map_roles[i]]->name);
                goto fail;
            }
            s->first[l * 3 + (uint32_t)i] = p;
        }
    *out = &s->base;
    return MOE_OK;
fail:
    map_close(s ? &s->base : NULL);
    return st;
}

static int map_acquire(moe__store *base, const moe__expert_request *want, moe__expert_view *out)
{
    const map_store *s = (const map_store *)base;
    const moe__layer *l = &s->model->layers[want->layer];
    const uint8_t *const *first = &s->first[want->layer * 3];
    const void *p[3];
    for (int i = 0; i < 3; i++) {
        const moe__matrix *w = &l->mat[map_roles[i]];
        p[i] = first[i] + (size_t)want->expert * w->n_out * w->row_bytes;
    }
    *out = (moe__expert_view){p[0], p[1], p[2], 0};
    return MOE_OK;
}

static void map_release(moe__store *base, const moe__expert_view *view)
{
    (void)base;
    (void)view;
}

const moe__store_ops moe__store_map = {"map",     map_overhead, map_resident, map_open,
                                       map_close, map_acquire,  map_release};
