/* SPDX-License-Identifier: MIT */
/* What a model is in numbers: parameters, active parameters, bytes of each part. From the directory alone, no
 * weight is read. */
#include <string.h>

#include "base/parallel.h"
#include "base/status.h"
#include "model/model.h"
#include "token/tokenizer.h"

uint64_t moe__tensor_row_bytes(const moe__tensor *t) { return t->bytes / (t->n / t->dim[0]); }

/* The type that most bytes have. */
static const char *main_type(const moe__file *f)
{
    uint64_t best = 0;
    const char *name = "";
    for (size_t i = 0; i < moe__type_count(); i++) {
        uint64_t sum = 0;
        for (size_t j = 0; j < moe__file_tensor_count(f); j++) {
            const moe__tensor *t = moe__file_tensor_at(f, j);
            if (t->type == moe__type_at(i)) sum += t->bytes;
        }
        if (sum > best) {
            best = sum;
            name = moe__type_at(i)->name;
        }
    }
    return name;
}

void moe__model_count(moe_model *m)
{
    const moe__hparams *h = &m->hp;
    const char *name = "";
    size_t len;
    if (moe__file_get_str(m->file, "general.name", &name, &len) < 0) name = "";
    moe__clear_error();
    m->info = (moe_model_info){.size = sizeof m->info,
                               .arch = m->arch->name,
                               .name = name,
                               .file_type = main_type(m->file),
                               .n_layers = h->n_layers,
                               .n_experts = h->n_experts,
                               .n_null = h->n_null,
                               .n_shared = h->dim_ff_shared != 0,
                               .top_k = h->top_k,
                               .dim = h->dim,
                               .dim_ff_expert = h->dim_ff_expert,
                               .dim_ff_dense = h->dim_ff,
                               .dim_ff_shared = h->dim_ff_shared,
                               .n_heads = h->n_heads,
                               .n_heads_kv = h->n_heads_kv,
                               .dim_head = h->dim_head_k,
                               .n_vocab = h->n_vocab,
                               .n_ctx_train = h->n_ctx_train};
    uint64_t idle = 0;
    for (size_t i = 0; i < moe__file_tensor_count(m->file); i++) {
        const moe__tensor *t = moe__file_tensor_at(m->file, i);
        m->info.n_params += t->n;
        m->info.bytes += t->bytes;
    }
    for (uint32_t l = 0; l < h->n_layers; l++) {
        m->info.n_moe_layers += (uint32_t)m->layers[l].is_moe;
        for (int r = 0; r < N_ROLES; r++)
            if (moe__role_is_expert(r) && m->layers[l].tensor[r])
                idle += m->layers[l].tensor[r]->n / h->n_experts * (h->n_experts - h->top_k);
    }
    m->info.n_active = m->info.n_params - idle;
    if (m->info.n_moe_layers == h->n_layers) m->info.dim_ff_dense = 0;
}

void moe__model_memory(const moe_model *m, moe_memory *out)
{
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (int r = 0; r < N_ROLES; r++)
            if (moe__role_is_expert(r) && m->layers[l].tensor[r])
                out->experts += m->layers[l].tensor[r]->bytes;
    out->dense = m->info.bytes - out->experts;
    out->overhead = MOE_BLOCK_BYTES(sizeof *m) +
                    MOE_BLOCK_BYTES((uint64_t)m->hp.n_layers * sizeof *m->layers) +
                    MOE_BLOCK_BYTES(m->n_vectors * sizeof(float)) + moe__file_overhead(m->file) +
                    moe__tokenizer_overhead(m->file) + moe__store_choose(m)->overhead(m);
    if (m->flags & MOE_OPEN_CHECK_DATA) /* only while it is opened, but then it is there */
        out->overhead += MOE_BLOCK_BYTES(moe__file_tensor_count(m->file) * sizeof(void *)) +
                         moe__team_bytes(m->load_threads);
    out->private_bytes =
        out->overhead + (m->mapped ? 0 : MOE_BLOCK_BYTES(m->dense_bytes)) + moe__store_choose(m)->resident(m);
}
