/* SPDX-License-Identifier: MIT */
/*
 * Makes bound weights usable. Vectors (norms, biases) become f32 in one private block whatever their type.
 * Matrices other than routed experts are used in place when the file is mapped, else read into another block.
 * Experts belong to the store.
 */
#include <math.h>
#include <string.h>

#include "base/hash.h"
#include "base/status.h"
#include "model/pieces.h"

/* Reads a whole vector as f32. */
static int read_vector(const moe_model *m, const moe__tensor *t, float *dst)
{
    uint8_t raw[1024];
    const size_t elem = t->type->block_bytes, step = sizeof raw / elem;
    for (uint64_t i = 0; i < t->n; i += step) {
        const size_t n = t->n - i < step ? (size_t)(t->n - i) : step;
        MOE_TRY(moe__file_tensor_read(m->file, t, i * elem, raw, n * elem));
        t->type->dequant(raw, dst + i, n);
        for (size_t j = 0; j < n; j++)
            if (!isfinite(dst[i + j]))
                return MOE_FAIL(FORMAT, "%s: tensor %s: element %llu: expected a finite number",
                                moe__file_name(m->file), t->name, (unsigned long long)(i + j));
    }
    return MOE_OK;
}

/* Places the vectors one after the other in m->vectors; with the block still NULL only counts. */
static int place_vectors(moe_model *m, uint64_t *used)
{
    const moe__tensor *norm = m->top_tensor[ROLE_OUTPUT_NORM], *factors = m->top_tensor[ROLE_ROPE_FREQS];
    uint64_t at = 0;
    if (m->vectors) {
        MOE_TRY(read_vector(m, norm, m->vectors));
        m->out_norm = m->vectors;
    }
    at += moe__padded(norm->n);
    float *inv_freq = m->vectors ? m->vectors + at : NULL;
    at += moe__padded(m->hp.n_rot / 2);
    if (m->vectors) {
        float *f = factors ? m->vectors + at : NULL; /* the divisors are read into the room behind */
        if (f) MOE_TRY(read_vector(m, factors, f));
        MOE_TRY(moe__rope_table(&m->hp, f, inv_freq, &m->rope_gain));
        m->inv_freq = inv_freq;
    }
    if (factors) at += moe__padded(factors->n);
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        for (int r = N_MODEL_ROLES; r < N_ROLES; r++) {
            moe__layer *layer = &m->layers[l];
            if (!layer->vec_n[r]) continue;
            if (m->vectors) {
                MOE_TRY(read_vector(m, layer->tensor[r], m->vectors + at));
                layer->vec[r] = m->vectors + at;
            }
            at += moe__padded(layer->vec_n[r]);
        }
    *used = at;
    return MOE_OK;
}

/* Data of one matrix: mapped in place, or the next bytes of the private block (NULL while counting). */
static int place_matrix(moe_model *m, moe__matrix *w, const moe__tensor *t, uint64_t *at)
{
    if (m->mapped) {
        MOE_TRY(moe__file_tensor_map(m->file, t, &w->data));
        return w->data ? MOE_OK
                       : MOE_FAIL(INTERNAL, "%s: tensor %s is not mapped", moe__file_name(m->file), t->name);
    }
    if (m->dense) {
        MOE_TRY(moe__file_tensor_read(m->file, t, 0, (char *)m->dense + *at, (size_t)t->bytes));
        w->data = (char *)m->dense + *at;
    }
    *at += moe__padded(t->bytes);
    return MOE_OK;
}

static int place_matrices(moe_model *m, uint64_t *used, const moe_model_options *o)
{
    uint64_t at = 0;
    MOE_TRY(place_matrix(m, &m->embd, m->top_tensor[ROLE_TOKEN_EMBD], &at));
    if (m->top_tensor[ROLE_OUTPUT])
        MOE_TRY(place_matrix(m, &m->head, m->top_tensor[ROLE_OUTPUT], &at));
    else
        m->head.data = m->embd.data;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        for (int r = N_MODEL_ROLES; r < N_ROLES; r++) {
            moe__layer *layer = &m->layers[l];
            if (layer->mat[r].type && !moe__role_is_expert(r))
                MOE_TRY(place_matrix(m, &layer->mat[r], layer->tensor[r], &at));
        }
        if (m->dense && o) MOE_TRY(moe__load_report(o, at, m->load_bytes));
    }
    *used = at;
    return MOE_OK;
}

/* Counts only: what moe__weights_load will take (for the plan, and before anything is allocated). */
static int count_bytes(moe_model *m)
{
    MOE_TRY(place_vectors(m, &m->n_vectors));
    if (!m->mapped) MOE_TRY(place_matrices(m, &m->dense_bytes, NULL));
    return m->dense_bytes > SIZE_MAX / 2
               ? MOE_FAIL(NOMEM, "%s: %llu bytes of weights cannot be allocated", moe__file_name(m->file),
                          (unsigned long long)m->dense_bytes)
               : MOE_OK;
}

int moe__weights_load(moe_model *m, const moe_model_options *o)
{
    MOE_TRY(count_bytes(m));
    moe_memory mem = MOE_MEMORY_INIT;
    moe__model_memory(m, &mem);
    m->load_bytes = m->dense_bytes + (moe__store_choose(m) == &moe__store_ram ? mem.experts : 0);
    if (o->memory_budget) {
        if (mem.private_bytes > o->memory_budget)
            return MOE_FAIL(FULL, "%s: the memory budget is %llu bytes, but opening needs at least %llu",
                            moe__file_name(m->file), (unsigned long long)o->memory_budget,
                            (unsigned long long)mem.private_bytes);
    }
    if (m->flags & MOE_OPEN_METADATA_ONLY) return MOE_OK;
    MOE_TRY(MOE_NEW(&m->alloc, &m->vectors, (size_t)m->n_vectors, "norms and biases"));
    MOE_TRY(place_vectors(m, &m->n_vectors));
    if (!m->mapped) MOE_TRY(moe__alloc(&m->alloc, &m->dense, (size_t)m->dense_bytes, "dense weights"));
    uint64_t used;
    return place_matrices(m, &used, o);
}

int moe__weights_fingerprint(moe_model *m)
{
    moe__hash h;
    moe__hash_init(&h);
    const size_t n = moe__file_tensor_count(m->file);
    uint8_t sample[64];
    for (size_t i = 0; i < n; i++) {
        const moe__tensor *t = moe__file_tensor_at(m->file, i);
        moe__hash_add(&h, t->name, strlen(t->name) + 1);
        moe__hash_add(&h, t->dim, sizeof t->dim);
        moe__hash_add(&h, &t->type->id, sizeof t->type->id);
        if (i % (n / 32 + 1) != 0)
            continue; /* 32 samples tell fine-tunes of one shape apart without touching every page */
        const size_t take = t->bytes < sizeof sample ? (size_t)t->bytes : sizeof sample;
        MOE_TRY(moe__file_tensor_read(m->file, t, (t->bytes - take) / 2, sample, take));
        moe__hash_add(&h, sample, take);
    }
    moe__hash_add(&h, m->vectors, m->n_vectors * sizeof(float));
    m->fingerprint = moe__hash_get(&h);
    return MOE_OK;
}
