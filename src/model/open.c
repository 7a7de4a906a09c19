/* SPDX-License-Identifier: MIT */
/* Opening a model: file -> family -> hyper-parameters -> roles -> weights -> tokenizer -> store. Each step
 * undoes itself on failure. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/parallel.h"
#include "base/status.h"
#include "model/pieces.h"
#include "token/tokenizer.h"

static int find_arch(moe_model *m)
{
    const char *name;
    size_t len;
    MOE_TRY(moe__file_get_str(m->file, "general.architecture", &name, &len));
    m->arch = moe__arch_find(name);
    if (m->arch) return MOE_OK;
    char list[256] = "";
    for (size_t i = 0; i < moe__arch_count(); i++) {
        const size_t at = strlen(list);
        snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", moe__arch_at(i)->name);
    }
    return MOE_FAIL(UNSUPPORTED, "%s: architecture \"%.60s\" is not supported; supported: %s",
                    moe__file_name(m->file), name, list);
}

/* All tensors can be used in place only if all are mapped, and aligned for the 16-bit fields of blocks and
 * for floats. */
static int all_mapped(const moe_model *m, int *out)
{
    *out = 0;
    if (m->flags & MOE_OPEN_NO_MMAP) return MOE_OK;
    for (size_t i = 0; i < moe__file_tensor_count(m->file); i++) {
        const void *p = NULL;
        const int st = moe__file_tensor_map(m->file, moe__file_tensor_at(m->file, i), &p);
        if (st < 0 && m->flags & MOE_OPEN_METADATA_ONLY) { /* a cut download: taken for what it will be */
            moe__clear_error();
            continue;
        }
        MOE_TRY(st);
        if (!p || (uintptr_t)p % 4) return MOE_OK;
    }
    *out = 1;
    return MOE_OK;
}

/* Scans all weights with all loading threads. */
static int check_data(const moe_model *m, const moe_model_options *o)
{
    moe__piece_list list = {.n = moe__file_tensor_count(m->file)};
    moe_model_options quiet = *o; /* loading is what progress is about */
    quiet.progress = NULL;
    MOE_TRY(MOE_NEW(&m->alloc, &list.tensor, list.n, "tensors"));
    for (size_t i = 0; i < list.n; i++) list.tensor[i] = moe__file_tensor_at(m->file, i);
    const int st = moe__pieces_run(m, &quiet, &list, moe__piece_check, 0, m->info.bytes);
    moe__free(&m->alloc, (void *)list.tensor);
    return st;
}

static int load_tokenizer(moe_model *m)
{
    const int st = moe__tokenizer_create(&m->tokenizer, m->file, &m->alloc);
    if (st == MOE_E_NOTFOUND) {
        moe__clear_error();
        return MOE_OK;
    }
    MOE_TRY(st);
    if (moe_tokenizer_size(m->tokenizer) > m->hp.n_vocab)
        return MOE_FAIL(FORMAT, "%s: the tokenizer has %zu tokens, but token_embd.weight has %u rows",
                        moe__file_name(m->file), moe_tokenizer_size(m->tokenizer), m->hp.n_vocab);
    return MOE_OK;
}

static int load(moe_model *m, const moe_model_options *o)
{
    MOE_TRY(find_arch(m));
    MOE_TRY(moe__hparams_read(&m->hp, m->file, m->arch));
    MOE_TRY(moe__route_read(&m->route, m->file, m->arch, &m->hp));
    MOE_TRY(moe__kernels_init(&m->k, o->isa_max));
    MOE_TRY(MOE_NEW(&m->alloc, &m->layers, m->hp.n_layers, "layers"));
    MOE_TRY(moe__window_read(m));
    MOE_TRY(moe__bind(m));
    MOE_TRY(all_mapped(m, &m->mapped));
    m->attn_scale = m->hp.attn_scale != 0 ? m->hp.attn_scale : 1.0f / sqrtf((float)m->hp.dim_head_k);
    moe__model_count(m);
    MOE_TRY(moe__weights_load(m, o));
    MOE_TRY(load_tokenizer(m));
    if (m->flags & MOE_OPEN_METADATA_ONLY) return MOE_OK;
    if (m->flags & MOE_OPEN_CHECK_DATA) MOE_TRY(check_data(m, o));
    MOE_TRY(moe__weights_fingerprint(m));
    m->info.fingerprint = m->fingerprint;
    MOE_TRY(moe__store_choose(m)->open(&m->store, m, o));
    MOE_LOG(&m->log, INFO, "model", "%s: %s, %u layers, %u experts top-%u, %llu bytes, store %s",
            moe__file_name(m->file), m->arch->title, m->hp.n_layers, m->hp.n_experts, m->hp.top_k,
            (unsigned long long)m->info.bytes, m->store->ops->name);
    return moe__load_report(o, m->load_bytes, m->load_bytes);
}

int moe__model_open(moe_model **out, moe__file *file, const moe__allocator *a, const moe_model_options *o)
{
    moe_model *m;
    const int st = MOE_NEW(a, &m, 1, "model");
    if (st < 0) {
        moe__file_close(file);
        return st;
    }
    m->alloc = *a;
    m->file = file;
    m->flags = o->flags;
    m->load_threads = moe__team_members((uint32_t)o->n_threads, 0);
    atomic_init(&m->refs, 1);
    int loaded = moe__logger_init(&m->log, o->logger);
    if (loaded == MOE_OK) loaded = load(m, o);
    if (loaded < 0) {
        moe__model_free(m);
        return loaded;
    }
    *out = m;
    return MOE_OK;
}

void moe__model_free(moe_model *m)
{
    if (!m) return;
    if (m->store) m->store->ops->close(m->store);
    moe__tokenizer_destroy(m->tokenizer);
    moe__free(&m->alloc, m->vectors);
    moe__free(&m->alloc, m->dense);
    moe__free(&m->alloc, m->layers);
    moe__file_close(m->file);
    const moe__allocator a = m->alloc;
    moe__free(&a, m);
}
