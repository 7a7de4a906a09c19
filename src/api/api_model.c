/* SPDX-License-Identifier: MIT */
/* Entry points of models: arguments are checked and options copied here, the work is in model/ and file/. */
#include <string.h>

#include "base/opts.h"
#include "base/rounding.h"
#include "base/status.h"
#include "model/model.h"
#include "model/shape.h"
#include "run/session.h"

static int copy_options(moe_model_options *out, moe__allocator *alloc, const moe_model_options *o)
{
    *out = (moe_model_options)MOE_MODEL_OPTIONS_INIT;
    if (o) MOE_TRY(moe__opts_copy(out, sizeof *out, o, "moe_model_options"));
    if (out->flags & ~(MOE_OPEN_NO_MMAP | MOE_OPEN_METADATA_ONLY | MOE_OPEN_CHECK_DATA | MOE_OPEN_RESIDENT))
        return MOE_FAIL(INVALID, "model options: flags 0x%x are unknown", out->flags);
    if (out->n_threads < 0 || (uint32_t)out->n_threads > MOE_TEAM_MAX)
        return MOE_FAIL(INVALID, "model options: n_threads %d: expected 0 to %u", out->n_threads,
                        MOE_TEAM_MAX);
    return moe__allocator_init(alloc, out->allocator);
}

int moe_model_open(moe_model **out, const char *path, const moe_model_options *o)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(path != NULL);
    moe_model_options opts;
    moe__allocator alloc;
    moe__file *f;
    MOE_TRY(copy_options(&opts, &alloc, o));
    MOE_TRY(moe__file_open(&f, path, &alloc, opts.flags));
    MOE_RETURN_ROUNDED(moe__model_open(out, f, &alloc, &opts));
}

int moe_model_open_file(moe_model **out, const moe_file *file, void *user, const moe_model_options *o)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(file != NULL);
    moe_file own = MOE_FILE_INIT;
    moe_model_options opts;
    moe__allocator alloc;
    moe__file *f;
    MOE_TRY(moe__opts_copy(&own, sizeof own, file, "moe_file"));
    const int st = copy_options(&opts, &alloc, o);
    if (st < 0) { /* from here on the file is ours to close, whatever happens */
        if (own.close) own.close(user);
        return st;
    }
    MOE_TRY(moe__file_open_user(&f, &own, user, &alloc, opts.flags));
    MOE_RETURN_ROUNDED(moe__model_open(out, f, &alloc, &opts));
}

moe_model *moe_model_retain(moe_model *m)
{
    if (m) atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    return m;
}

void moe_model_release(moe_model *m)
{
    if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1) moe__model_free(m);
}

int moe_model_get_info(const moe_model *m, moe_model_info *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    return moe__opts_fill(out, &m->info, sizeof m->info, "moe_model_info");
}

static int check_layer(const moe_model *m, uint32_t layer)
{
    if (layer >= m->hp.n_layers)
        return MOE_FAIL(RANGE, "layer %u: expected 0 to %u", layer, m->hp.n_layers - 1);
    return MOE_OK;
}

int moe_model_get_layer(const moe_model *m, uint32_t layer, moe_layer_info *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    MOE_TRY(check_layer(m, layer));
    moe_layer_info info;
    moe__layer_info(m, layer, &info);
    return moe__opts_fill(out, &info, sizeof info, "moe_layer_info");
}

int moe_model_get_route(const moe_model *m, uint32_t layer, moe_route_spec *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    MOE_TRY(check_layer(m, layer));
    if (!m->layers[layer].is_moe) return MOE_FAIL(NOTFOUND, "layer %u is dense: it has no router", layer);
    return moe__opts_fill(out, &m->route, sizeof m->route, "moe_route_spec");
}

size_t moe_model_meta_count(const moe_model *m) { return m ? moe__file_meta_count(m->file) : 0; }

int moe_model_meta_at(const moe_model *m, size_t i, moe_meta *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    moe_meta meta = MOE_META_INIT;
    MOE_TRY(moe__file_meta_at(m->file, i, &meta));
    return moe__opts_fill(out, &meta, sizeof meta, "moe_meta");
}

int moe_model_meta_find(const moe_model *m, const char *key, moe_meta *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && key != NULL && out != NULL);
    moe_meta meta = MOE_META_INIT;
    MOE_TRY(moe__file_meta_find(m->file, key, &meta));
    return moe__opts_fill(out, &meta, sizeof meta, "moe_meta");
}

int moe_model_meta_elem(const moe_model *m, const char *key, uint64_t j, moe_meta *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && key != NULL && out != NULL);
    moe_meta meta = MOE_META_INIT;
    MOE_TRY(moe__file_meta_elem(m->file, key, j, &meta));
    return moe__opts_fill(out, &meta, sizeof meta, "moe_meta");
}

size_t moe_model_tensor_count(const moe_model *m) { return m ? moe__file_tensor_count(m->file) : 0; }

static int tensor_at(const moe_model *m, size_t i, const moe__tensor **out)
{
    *out = moe__file_tensor_at(m->file, i);
    return *out ? MOE_OK
                : MOE_FAIL(RANGE, "tensor %zu: the file has %zu", i, moe__file_tensor_count(m->file));
}

int moe_model_tensor_at(const moe_model *m, size_t i, moe_tensor_info *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    const moe__tensor *t;
    MOE_TRY(tensor_at(m, i, &t));
    moe_tensor_info info = {
        .size = sizeof info, .name = t->name, .type = t->type->id, .n_dims = t->n_dims, .bytes = t->bytes};
    memcpy(info.dim, t->dim, sizeof info.dim);
    return moe__opts_fill(out, &info, sizeof info, "moe_tensor_info");
}

int moe_model_tensor_find(const moe_model *m, const char *name, size_t *i)
{
    moe__clear_error();
    MOE_ARG(m != NULL && name != NULL && i != NULL);
    const moe__tensor *t = moe__file_tensor_find(m->file, name);
    for (size_t j = 0; t && j < moe__file_tensor_count(m->file); j++)
        if (moe__file_tensor_at(m->file, j) == t) {
            *i = j;
            return MOE_OK;
        }
    return MOE_FAIL(NOTFOUND, "%s: there is no tensor %.80s", moe__file_name(m->file), name);
}

/* Converts block by block; the first and the last block may be wanted in part. */
static int read_elements(const moe_model *m, const moe__tensor *t, uint64_t first, size_t n, float *dst)
{
    const moe__type *type = t->type;
    uint8_t raw[1024];
    float block[256];
    for (size_t done = 0; done < n;) {
        const uint64_t at = first + done, b = at / type->block;
        const size_t skip = (size_t)(at % type->block), have = type->block - skip,
                     take = n - done < have ? n - done : have;
        MOE_TRY(moe__file_tensor_read(m->file, t, b * type->block_bytes, raw, type->block_bytes));
        type->dequant(raw, block, type->block);
        memcpy(dst + done, block + skip, take * sizeof *dst);
        done += take;
    }
    return MOE_OK;
}

int moe_model_tensor_read(const moe_model *m, size_t i, uint64_t first, size_t n, float *dst)
{
    moe__clear_error();
    MOE_ARG(m != NULL && (dst != NULL || n == 0));
    const moe__tensor *t;
    MOE_TRY(tensor_at(m, i, &t));
    if (m->flags & MOE_OPEN_METADATA_ONLY)
        return MOE_FAIL(STATE, "the model was opened with MOE_OPEN_METADATA_ONLY: it has no weights");
    if (first > t->n || n > t->n - first)
        return MOE_FAIL(RANGE, "tensor %s: elements %llu to %llu: it has %llu", t->name,
                        (unsigned long long)first, (unsigned long long)(first + n), (unsigned long long)t->n);
    MOE_RETURN_ROUNDED(read_elements(m, t, first, n, dst));
}

int moe_model_tokenizer(const moe_model *m, const moe_tokenizer **out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    *out = m->tokenizer;
    return *out ? MOE_OK : MOE_FAIL(NOTFOUND, "%s: the file has no tokenizer", moe__file_name(m->file));
}

/* The model's part and a session's; the session is laid out without taking memory. */
static int plan(const moe_model *m, const moe_session_options *so, moe_memory *out)
{
    moe_memory mem = MOE_MEMORY_INIT;
    moe__model_memory(m, &mem);
    MOE_TRY(moe__session_memory(m, so, &mem));
    mem.total = mem.dense + mem.experts + mem.kv + mem.scratch + mem.overhead;
    return moe__opts_fill(out, &mem, sizeof mem, "moe_memory");
}

int moe_model_get_memory(const moe_model *m, const moe_session_options *so, moe_memory *out)
{
    moe__clear_error();
    MOE_ARG(m != NULL && out != NULL);
    return plan(m, so, out);
}

int moe_plan(const char *path, const moe_model_options *mo, const moe_session_options *so, moe_memory *out)
{
    moe__clear_error();
    MOE_ARG(path != NULL && out != NULL);
    moe_model_options opts;
    moe__allocator alloc;
    moe__file *f;
    moe_model *m;
    MOE_TRY(copy_options(&opts, &alloc, mo));
    opts.flags |= MOE_OPEN_METADATA_ONLY;
    MOE_TRY(moe__file_open(&f, path, &alloc, opts.flags));
    MOE_TRY(moe__model_open(&m, f, &alloc, &opts));
    const int st = plan(m, so, out);
    moe_model_release(m);
    return st;
}

size_t moe_arch_count(void) { return moe__arch_count(); }

const char *moe_arch_name(size_t i)
{
    const moe__arch *a = moe__arch_at(i);
    return a ? a->name : NULL;
}
