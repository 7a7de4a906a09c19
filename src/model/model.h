/* SPDX-License-Identifier: MIT */
/*
 * An opened model: hyper-parameters, weights bound to their roles, rotation table, tokenizer, expert store.
 * Immutable after open, shared by all sessions through a count. Shapes were checked once (bind.c), so later
 * code trusts them.
 */
#ifndef MOE_MODEL_MODEL_H
#define MOE_MODEL_MODEL_H

#include <stdatomic.h>

#include "arch/arch.h"
#include "base/alloc.h"
#include "base/log.h"
#include "file/file.h"
#include "kernel/matrix.h"
#include "model/store.h"

/* One layer's weights. Roles that the layer lacks have NULL data and NULL tensors. */
typedef struct moe__layer {
    moe__matrix
        mat[N_ROLES]; /* data of expert roles is expert 0's place in the file's order, set by the store */
    const float *vec[N_ROLES]; /* norms and biases, f32 */
    uint32_t vec_n[N_ROLES];   /* their lengths */
    const moe__tensor *tensor[N_ROLES];
    uint32_t window;   /* positions that attention sees, its own included; 0 = all before */
    uint32_t kv_index; /* among the layers with a window, or among those without */
    int is_moe;
} moe__layer;

struct moe_model {
    atomic_uint refs;
    moe__allocator alloc;
    moe__file *file;
    const moe__arch *arch;
    moe__hparams hp;
    moe_route_spec route; /* the file's recipe, top_k filled in */
    uint32_t flags;       /* MOE_OPEN_* */
    uint32_t load_threads;
    moe__logger log;
    int mapped; /* weights are read in place */

    moe__kernels k;

    const moe__tensor *top_tensor[N_MODEL_ROLES];
    moe__matrix embd, head;
    const float *out_norm;
    const float *inv_freq; /* [n_rot/2] angle per position */
    float rope_gain;       /* factor on cos and sin */
    float attn_scale;
    moe__layer *layers; /* [n_layers] */
    uint32_t n_windowed; /* layers with a sliding window */

    float *vectors;       /* owns all vec, out_norm, inv_freq */
    uint64_t n_vectors;   /* floats in it */
    void *dense;          /* owns dense matrices that are not mapped */
    uint64_t dense_bytes; /* its size */
    uint64_t load_bytes;  /* what is read at open: private dense weights and experts */
    moe__store *store;
    moe_tokenizer *tokenizer; /* NULL if the file has none */
    moe_model_info info;
    uint64_t fingerprint; /* of directory and samples of the weights: does a saved session belong here? */
};

/* Matrices of routed experts: they belong to the store. */
static inline int moe__role_is_expert(int r)
{
    return r == ROLE_GATE_EXPS || r == ROLE_UP_EXPS || r == ROLE_DOWN_EXPS;
}

/* open.c */
int moe__model_open(moe_model **out, moe__file *file, const moe__allocator *a, const moe_model_options *o);
void moe__model_free(moe_model *m);

/* hparams.c: metadata -> hyper-parameters, every value range-checked. n_vocab comes from the embedding's
 * shape. */
int moe__hparams_read(moe__hparams *h, const moe__file *f, const moe__arch *arch);
/* window.c: which layers have a sliding window. */
int moe__window_read(moe_model *m);
/* The recipe of the router: the family's, with what the file says about it. */
int moe__route_read(moe_route_spec *out, const moe__file *f, const moe__arch *arch, const moe__hparams *h);

/* bind.c: tensors -> roles; every shape is checked, every tensor must have a role. */
int moe__bind(moe_model *m);
/* weights.c: makes matrices and vectors usable: mapped in place or read. */
int moe__weights_load(moe_model *m, const moe_model_options *o);
int moe__weights_fingerprint(moe_model *m);

/* rope.c: angles per position and the gain, linear and yarn scaling and per-pair factors applied. out
 * [n_rot/2]. */
int moe__rope_table(const moe__hparams *h, const float *factors, float *out, float *gain);

/* memory.c */
void moe__model_count(moe_model *m); /* fills info */
void moe__model_memory(const moe_model *m,
                       moe_memory *out); /* dense, experts, overhead and their private part */
uint64_t moe__tensor_row_bytes(const moe__tensor *t);

#endif
