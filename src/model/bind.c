/* SPDX-License-Identifier: MIT */
/*
 * Tensors -> roles. A layer is a MoE layer if it has a router. Every required tensor must be there with the
 * shape that the hyper-parameters give, and every tensor of the file must have a role: a variant with tensors
 * that we would not use is refused, because computing without them would be wrong.
 */
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "model/model.h"

static void tensor_name(char *dst, size_t cap, const moe__tensor_row *row, uint32_t layer)
{
    if (row->role < N_MODEL_ROLES)
        snprintf(dst, cap, "%s", row->name);
    else
        snprintf(dst, cap, "blk.%u.%s", layer, row->name);
}

static int check_shape(const moe_model *m, const moe__tensor *t, const moe__tensor_row *row)
{
    for (uint32_t i = 0; i < 4; i++) {
        const uint64_t want = i < 3 ? moe__width_of(&m->hp, (moe__width)row->dim[i]) : 1;
        if (t->dim[i] != want)
            return MOE_FAIL(FORMAT, "%s: tensor %s: dimension %u: expected %llu, found %llu",
                            moe__file_name(m->file), t->name, i, (unsigned long long)want,
                            (unsigned long long)t->dim[i]);
    }
    if (row->dim[1] == W_NONE && t->type->block != 1)
        return MOE_FAIL(UNSUPPORTED, "%s: tensor %s: a vector in type %s; expected F32, F16 or BF16",
                        moe__file_name(m->file), t->name, t->type->name);
    return MOE_OK;
}

static int required(const moe__tensor_row *row, int is_moe)
{
    return row->need == NEED_ALWAYS || (row->need == NEED_MOE && is_moe) ||
           (row->need == NEED_DENSE && !is_moe);
}

static moe__matrix matrix_of(const moe_model *m, const moe__tensor *t)
{
    return (moe__matrix){.type = t->type,
                         .n_out = (uint32_t)t->dim[1],
                         .n_in = (uint32_t)t->dim[0],
                         .row_bytes = (size_t)moe__tensor_row_bytes(t),
                         .gemm = moe__kernels_gemm(&m->k, t->type->id)};
}

static int bind_row(moe_model *m, const moe__tensor_row *row, uint32_t layer, size_t *n_bound)
{
    char name[96];
    tensor_name(name, sizeof name, row, layer);
    moe__layer *l = row->role < N_MODEL_ROLES ? NULL : &m->layers[layer];
    const moe__tensor *t = moe__file_tensor_find(m->file, name);
    if (!t) {
        if (required(row, l ? l->is_moe : 1))
            return MOE_FAIL(FORMAT, "%s: tensor %s is missing, which %s models need", moe__file_name(m->file),
                            name, m->arch->title);
        return MOE_OK;
    }
    if (l && l->is_moe && row->need == NEED_DENSE)
        return MOE_FAIL(UNSUPPORTED,
                        "%s: tensor %s: a dense block beside the experts of layer %u is not supported",
                        moe__file_name(m->file), name, layer);
    if (l && !l->is_moe && row->need == NEED_MOE)
        return MOE_FAIL(FORMAT,
                        "%s: tensor %s: layer %u has no router (ffn_gate_inp.weight) that would use it",
                        moe__file_name(m->file), name, layer);
    MOE_TRY(check_shape(m, t, row));
    (*n_bound)++;
    if (!l) {
        m->top_tensor[row->role] = t;
        return MOE_OK;
    }
    l->tensor[row->role] = t;
    if (row->dim[1] == W_NONE)
        l->vec_n[row->role] = (uint32_t)t->dim[0];
    else
        l->mat[row->role] = matrix_of(m, t);
    return MOE_OK;
}

/* Names the first tensor that no row of the table asks for. */
static int refuse_unknown(const moe_model *m)
{
    const size_t n = moe__file_tensor_count(m->file);
    for (size_t i = 0; i < n; i++) {
        const moe__tensor *t = moe__file_tensor_at(m->file, i);
        int known = 0;
        for (int r = 0; r < N_MODEL_ROLES && !known; r++) known = m->top_tensor[r] == t;
        for (uint32_t l = 0; l < m->hp.n_layers && !known; l++)
            for (int r = 0; r < N_ROLES && !known; r++) known = m->layers[l].tensor[r] == t;
        if (!known)
            return MOE_FAIL(UNSUPPORTED,
                            "%s: tensor %s has no role in the architecture %s as libmoe knows it",
                            moe__file_name(m->file), t->name, m->arch->name);
    }
    return MOE_FAIL(INTERNAL, "%s: tensor counts disagree", moe__file_name(m->file));
}

int moe__bind(moe_model *m)
{
    const moe__tensor *embd = moe__file_tensor_find(m->file, "token_embd.weight");
    if (!embd) return MOE_FAIL(FORMAT, "%s: tensor token_embd.weight is missing", moe__file_name(m->file));
    if (embd->dim[1] > INT32_MAX)
        return MOE_FAIL(FORMAT, "%s: tensor token_embd.weight: %llu tokens are too many",
                        moe__file_name(m->file), (unsigned long long)embd->dim[1]);
    m->hp.n_vocab = (uint32_t)embd->dim[1];
    size_t n_bound = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        char name[96];
        snprintf(name, sizeof name, "blk.%u.ffn_gate_inp.weight", l);
        m->layers[l].is_moe = moe__file_tensor_find(m->file, name) != NULL;
    }
    for (size_t i = 0; i < m->arch->n_tensors; i++) {
        const moe__tensor_row *row = &m->arch->tensors[i];
        const uint32_t n = row->role < N_MODEL_ROLES ? 1 : m->hp.n_layers;
        for (uint32_t l = 0; l < n; l++) MOE_TRY(bind_row(m, row, l, &n_bound));
    }
    m->embd = matrix_of(m, m->top_tensor[ROLE_TOKEN_EMBD]);
    m->head = matrix_of(m, m->top_tensor[m->top_tensor[ROLE_OUTPUT] ? ROLE_OUTPUT : ROLE_TOKEN_EMBD]);
    return n_bound == moe__file_tensor_count(m->file) ? MOE_OK : refuse_unknown(m);
}
