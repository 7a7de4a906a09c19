/* SPDX-License-Identifier: MIT */
/* Life of an open file, its tensors and their data. See file.h. */
#include "file/file.h"

#include <string.h>

#include "base/opts.h"
#include "base/status.h"
#include "file/dir.h"
#include "file/reader.h"

static int file_new(moe__file **out, const moe__allocator *a, uint32_t flags)
{
    MOE_TRY(MOE_NEW(a, out, 1, "file directory"));
    (*out)->a = *a;
    (*out)->flags = flags;
    moe__pool_init(&(*out)->pool, &(*out)->a);
    return MOE_OK;
}

int moe__file_shard_add(moe__file *f, size_t *i)
{
    MOE_TRY(
        moe__realloc_array(&f->a, (void **)&f->shard, f->n_shards + 1, sizeof *f->shard, "list of files"));
    *i = f->n_shards++;
    return MOE_OK;
}

/* Source 0 is open: read everything, or leave nothing. */
static int file_finish(moe__file **out, moe__file *f)
{
    int st = moe__gguf_parse(f, 0, &f->metas);
    if (st >= 0) st = moe__shards_open(f);
    if (st < 0) {
        moe__file_close(f);
        return st;
    }
    *out = f;
    return MOE_OK;
}

int moe__file_open(moe__file **out, const char *path, const moe__allocator *a, uint32_t flags)
{
    moe__file *f;
    char *name;
    size_t i;
    int st;
    *out = NULL;
    MOE_TRY(file_new(&f, a, flags));
    MOE_TRY_GOTO(moe__file_shard_add(f, &i), fail);
    MOE_TRY_GOTO(moe__pool_copy(&f->pool, &name, path, strlen(path)), fail);
    MOE_TRY_GOTO(moe__source_open_path(&f->shard[i], name, !(flags & MOE_OPEN_NO_MMAP)), fail);
    return file_finish(out, f);
fail:
    moe__file_close(f);
    return st;
}

int moe__file_open_user(moe__file **out, const moe_file *user_file, void *user, const moe__allocator *a,
                        uint32_t flags)
{
    moe_file uf = MOE_FILE_INIT;
    moe__file *f = NULL;
    char *name;
    size_t i;
    int st;
    *out = NULL;
    MOE_TRY(moe__opts_copy(&uf, sizeof uf, user_file,
                           "moe_file")); /* of a struct that is not one nothing can be called */
    MOE_TRY_GOTO(file_new(&f, a, flags), fail);
    MOE_TRY_GOTO(moe__file_shard_add(f, &i), fail);
    if (!uf.name) uf.name = "(memory)";
    MOE_TRY_GOTO(moe__pool_copy(&f->pool, &name, uf.name, strlen(uf.name)), fail);
    uf.name = name;
    st = moe__source_open_user(&f->shard[i], &uf, user, name, !(flags & MOE_OPEN_NO_MMAP));
    if (st < 0) { /* which has closed it */
        moe__file_close(f);
        return st;
    }
    return file_finish(out, f);
fail:
    if (uf.close) uf.close(user);
    moe__file_close(f);
    return st;
}

void moe__file_close(moe__file *f)
{
    if (!f) return;
    const moe__allocator a = f->a;
    for (size_t i = f->n_shards; i > 0; i--) moe__source_close(&f->shard[i - 1]);
    moe__metas_free(&f->metas, &a);
    moe__index_free(&f->tensor_index, &a);
    moe__free(&a, f->tensor);
    moe__free(&a, f->shard);
    moe__pool_free(&f->pool);
    moe__free(&a, f);
}

const char *moe__file_name(const moe__file *f)
{
    return f->n_shards > 0 && f->shard[0].name ? f->shard[0].name : "file";
}

uint64_t moe__file_overhead(const moe__file *f)
{
    uint64_t n = MOE_BLOCK_BYTES(sizeof *f) + f->pool.bytes + moe__index_bytes(&f->metas.index) +
                 moe__index_bytes(&f->tensor_index);
    n += MOE_BLOCK_BYTES(f->n_shards * sizeof *f->shard);
    if (f->metas.cap > 0) n += MOE_BLOCK_BYTES(f->metas.cap * sizeof *f->metas.entry);
    if (f->cap_tensors > 0) n += MOE_BLOCK_BYTES(f->cap_tensors * sizeof *f->tensor);
    return n;
}

/* ------------------------------------------------------------------------------------------------ tensors */

size_t moe__file_tensor_count(const moe__file *f) { return f->n_tensors; }

const moe__tensor *moe__file_tensor_at(const moe__file *f, size_t i)
{
    return i < f->n_tensors ? &f->tensor[i] : NULL;
}

const moe__tensor *moe__file_tensor_find(const moe__file *f, const char *name)
{
    const uint32_t i = moe__index_find(&f->tensor_index, f->tensor, sizeof *f->tensor, name);
    return i == MOE_INDEX_NONE ? NULL : &f->tensor[i];
}

/* Restores the heap order below `root` in a heap of n tensor numbers, largest offset on top. */
static void sift(const moe__tensor *t, uint32_t *v, size_t root, size_t n)
{
    for (size_t child; (child = 2 * root + 1) < n; root = child) {
        if (child + 1 < n && t[v[child]].offset < t[v[child + 1]].offset) child++;
        if (t[v[root]].offset >= t[v[child]].offset) return;
        const uint32_t swap = v[root];
        v[root] = v[child];
        v[child] = swap;
    }
}

/* A tensor's name, fit for a message. */
typedef struct shown {
    char text[96];
} shown;

static const char *show(shown *s, const moe__tensor *t)
{
    return moe__printable(s->text, sizeof s->text, t->name, strlen(t->name));
}

/* a starts at or before b. */
static int overlap(const moe__file *f, size_t shard, const moe__tensor *a, const moe__tensor *b)
{
    shown sa, sb;
    if (b->offset - a->offset >= a->bytes) return MOE_OK;
    return MOE_FAIL(FORMAT,
                    "%s: tensor '%s' at offset %llu: expected data of its own, found %llu bytes of tensor "
                    "'%s' at offset %llu",
                    f->shard[shard].name, show(&sb, b), (unsigned long long)b->offset,
                    (unsigned long long)a->bytes, show(&sa, a), (unsigned long long)a->offset);
}

int moe__tensors_check_overlap(moe__file *f, size_t shard, size_t first)
{
    const size_t n = f->n_tensors - first;
    const moe__tensor *t = n > 0 ? f->tensor + first : NULL;
    uint32_t *order = NULL;
    size_t k = 1;
    int st = MOE_OK;
    if (n < 2) return MOE_OK;
    while (k < n && t[k].offset >= t[k - 1].offset && t[k].offset - t[k - 1].offset >= t[k - 1].bytes) k++;
    if (k >= n) return MOE_OK; /* in file order already, as good as always */
    MOE_TRY(MOE_NEW(&f->a, &order, n, "order of tensors"));
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (size_t i = n / 2; i > 0; i--) sift(t, order, i - 1, n);
    for (size_t i = n; i > 1; i--) { /* heap sort: bounded time for any order, no memory of its own */
        const uint32_t top = order[0];
        order[0] = order[i - 1];
        order[i - 1] = top;
        sift(t, order, 0, i - 1);
    }
    for (size_t i = 1; i < n && st >= 0; i++) st = overlap(f, shard, &t[order[i - 1]], &t[order[i]]);
    moe__free(&f->a, order);
    return st;
}

/* MOE_E_RANGE unless [off, off + n) lies in the tensor; MOE_E_FORMAT if the file ends before it (possible
 * with METADATA_ONLY). */
static int check_range(const moe__file *f, const moe__tensor *t, uint64_t off, uint64_t n)
{
    const moe__source *s = &f->shard[t->shard];
    shown sn;
    if (off > t->bytes || n > t->bytes - off)
        return MOE_FAIL(RANGE, "%s: tensor '%s': bytes %llu to %llu: expected at most %llu", s->name,
                        show(&sn, t), (unsigned long long)off, (unsigned long long)(off + n),
                        (unsigned long long)t->bytes);
    if (t->offset + off > s->length || n > s->length - t->offset - off)
        return MOE_FAIL(FORMAT,
                        "%s: tensor '%s' at offset %llu: expected %llu bytes, found the end of the file at "
                        "%llu",
                        s->name, show(&sn, t), (unsigned long long)t->offset, (unsigned long long)t->bytes,
                        (unsigned long long)s->length);
    return MOE_OK;
}

int moe__file_tensor_map(const moe__file *f, const moe__tensor *t, const void **out)
{
    const moe__source *s = &f->shard[t->shard];
    *out = NULL;
    MOE_TRY(check_range(f, t, 0, t->bytes));
    if (s->map) *out = s->map + t->offset;
    return MOE_OK;
}

int moe__file_tensor_read(const moe__file *f, const moe__tensor *t, uint64_t off, void *dst, size_t n)
{
    MOE_TRY(check_range(f, t, off, n));
    return moe__source_read(&f->shard[t->shard], t->offset + off, dst, n);
}
