/* SPDX-License-Identifier: MIT */
/*
 * See quantize.h. In: a GGUF file or split set. Out: one GGUF v3 file with the same keys (split.* dropped,
 * general.file_type and general.quantization_version set) and tensors in the same order. Tensors go through
 * in batches of a fixed number of elements, a batch in units of a fixed number of elements, so that the
 * result does not depend on the number of threads; formats are made of independent blocks, so that a unit may
 * end anywhere between two blocks, rows or not.
 */
#include "model/quantize.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "base/parallel.h"
#include "base/status.h"
#include "file/file.h"
#include "file/gguf_write.h"
#include "file/reader.h"
#include "model/recipe.h"

#define UNIT          16384u       /* elements one thread converts at a time: a multiple of every block */
#define BATCH         (64u * UNIT) /* elements read, converted and written at a time */
#define QUANT_VERSION 2u           /* of the block layouts, as GGUF counts them */

/* One run of moe__quantize_file. */
typedef struct quantize_run {
    const moe_quantize_options *o;
    const moe__allocator *a;
    moe__file *file;
    const moe__quant_recipe *recipe;
    moe__recipe_model model;
    moe__team *team;
    moe__gguf_writer out;
    unsigned char *from, *to; /* [BATCH] elements of the widest type */
    float *scratch;           /* [team size][UNIT] */
    uint64_t done, total;     /* source bytes */
    /* the batch under way */
    const moe__type *type_from, *type_to;
    size_t n;
    moe__chunks chunks;
    atomic_size_t bad; /* first element that the target cannot hold, SIZE_MAX = none */
} quantize_run;

/* --------------------------------------------------------------------------------------------- conversion */

/* First element that is not finite or, for F16 and BF16, would become infinite; n if there is none. */
static size_t find_bad(const float *x, size_t n, int type)
{
    /* the largest that round to finite; for BF16 0x7f7f7fff */
    const float max = type == MOE_TYPE_F16    ? 65519.996f
                      : type == MOE_TYPE_BF16 ? 3.3961773e38f
                                              : 3.4028234663852886e38f;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) <= max)) return i;
    return n;
}

static void note_bad(quantize_run *q, size_t at)
{
    size_t seen = atomic_load_explicit(&q->bad, memory_order_relaxed);
    while (at < seen && !atomic_compare_exchange_weak_explicit(&q->bad, &seen, at, memory_order_relaxed,
                                                               memory_order_relaxed)) {}
}

static void convert_units(moe__member *m, void *arg)
{
    quantize_run *q = arg;
    float *x = q->scratch + (size_t)m->index * UNIT;
    for (size_t at; (at = moe__chunks_take(&q->chunks) * UNIT) < q->n;) {
        const size_t n = q->n - at < UNIT ? q->n - at : UNIT;
        q->type_from->dequant(q->from + at / q->type_from->block * q->type_from->block_bytes, x, n);
        const size_t bad = find_bad(x, n, q->type_to->id);
        if (bad < n) note_bad(q, at + bad);
        q->type_to->quantize(x, q->to + at / q->type_to->block * q->type_to->block_bytes, n, NULL);
    }
}

/* n elements from `first` of t, which are in q->from, to q->to. */
static int convert_batch(quantize_run *q, const moe__tensor *t, const moe__type *to, uint64_t first, size_t n)
{
    q->type_from = t->type;
    q->type_to = to;
    q->n = n;
    moe__chunks_reset(&q->chunks);
    atomic_store(&q->bad, SIZE_MAX);
    MOE_TRY(moe__team_run(q->team, convert_units, q));
    const size_t bad = atomic_load(&q->bad);
    if (bad == SIZE_MAX) return MOE_OK;
    char name[96];
    return MOE_FAIL(NUMERIC,
                    "%s: tensor '%s': element %llu: expected a finite number that fits %s, found another",
                    moe__file_name(q->file), moe__printable(name, sizeof name, t->name, strlen(t->name)),
                    (unsigned long long)(first + bad), to->name);
}

static int report_bytes(quantize_run *q, uint64_t bytes)
{
    q->done += bytes;
    if (!q->o->progress) return MOE_OK;
    const moe_progress p = {sizeof p, MOE_PROGRESS_QUANTIZE, 0, q->done, q->total};
    if (q->o->progress(&p, q->o->progress_user) == 0) return MOE_OK;
    return MOE_FAIL(ABORTED, "quantising was stopped after %llu of %llu bytes", (unsigned long long)q->done,
                    (unsigned long long)q->total);
}

static int write_tensor_data(quantize_run *q, const moe__tensor *t)
{
    const moe__type *to = moe__recipe_type(q->recipe, q->o->rules, &q->model, t);
    for (uint64_t first = 0; first < t->n; first += BATCH) {
        const size_t n = t->n - first < BATCH ? (size_t)(t->n - first) : BATCH;
        const size_t bytes = (size_t)moe__type_bytes(t->type, n);
        MOE_TRY(moe__file_tensor_read(q->file, t, moe__type_bytes(t->type, first), q->from, bytes));
        if (to == t->type) {
            MOE_TRY(moe__gguf_write_data(&q->out, q->from, bytes));
        } else {
            MOE_TRY(convert_batch(q, t, to, first, n));
            MOE_TRY(moe__gguf_write_data(&q->out, q->to, (size_t)moe__type_bytes(to, n)));
        }
        MOE_TRY(report_bytes(q, bytes));
    }
    return moe__gguf_write_align(&q->out);
}

/* ------------------------------------------------------------------------------------------------- header */

static const char key_file_type[] = "general.file_type", key_version[] = "general.quantization_version";

static int is_own_key(const char *key)
{
    return strcmp(key, key_file_type) == 0 || strcmp(key, key_version) == 0 || strncmp(key, "split.", 6) == 0;
}

static int write_keys(quantize_run *q)
{
    uint32_t alignment = 32;
    uint64_t n = 2;
    moe_meta m = MOE_META_INIT;
    if (moe__file_meta_find(q->file, "general.alignment", &m) == MOE_OK) alignment = (uint32_t)m.u64;
    for (size_t i = 0; i < moe__file_meta_count(q->file); i++) {
        MOE_TRY(moe__file_meta_at(q->file, i, &m));
        n += !is_own_key(m.key);
    }
    MOE_TRY(moe__gguf_write_header(&q->out, moe__file_tensor_count(q->file), n, alignment));
    for (size_t i = 0; i < moe__file_meta_count(q->file); i++) {
        MOE_TRY(moe__file_meta_at(q->file, i, &m));
        if (!is_own_key(m.key)) MOE_TRY(moe__gguf_write_kv_copy(&q->out, q->file, i));
    }
    MOE_TRY(moe__gguf_write_kv_u32(&q->out, key_version, QUANT_VERSION));
    return moe__gguf_write_kv_u32(&q->out, key_file_type, moe__recipe_file_type(q->recipe));
}

static int write_file(quantize_run *q)
{
    MOE_TRY(write_keys(q));
    for (size_t i = 0; i < moe__file_tensor_count(q->file); i++) {
        const moe__tensor *t = moe__file_tensor_at(q->file, i);
        const moe__type *to = moe__recipe_type(q->recipe, q->o->rules, &q->model, t);
        MOE_TRY(moe__gguf_write_tensor(&q->out, t->name, t->n_dims, t->dim, to));
        q->total += t->bytes;
    }
    MOE_TRY(moe__gguf_write_align(&q->out));
    for (size_t i = 0; i < moe__file_tensor_count(q->file); i++)
        MOE_TRY(write_tensor_data(q, moe__file_tensor_at(q->file, i)));
    return moe__gguf_write_commit(&q->out);
}

/* ---------------------------------------------------------------------------------------------------- run */

static int unknown_recipe(const char *name)
{
    char list[256];
    size_t used = 0;
    list[0] = '\0';
    for (size_t i = 0; moe__recipe_name(i); i++) {
        const size_t n = strlen(moe__recipe_name(i));
        if (used + n + 2 > sizeof list) break;
        list[used++] = ' ';
        memcpy(list + used, moe__recipe_name(i), n + 1);
        used += n;
    }
    return MOE_FAIL(INVALID, "recipe '%.40s' is unknown; known are:%s", name, list);
}

static int prepare(quantize_run *q, const char *src, const char *dst)
{
    q->recipe = moe__recipe_find(q->o->recipe);
    if (!q->recipe) return unknown_recipe(q->o->recipe);
    MOE_TRY(moe__rules_check(q->o->rules));
    MOE_TRY(moe__file_open(&q->file, src, q->a, 0));
    q->model = moe__recipe_look(q->file);
    MOE_TRY(moe__team_create(&q->team, q->a, (uint32_t)q->o->n_threads, NULL));
    MOE_TRY(MOE_NEW(q->a, &q->from, (size_t)BATCH * sizeof(float), "quantisation input"));
    MOE_TRY(MOE_NEW(q->a, &q->to, (size_t)BATCH * sizeof(float), "quantisation output"));
    MOE_TRY(MOE_NEW(q->a, &q->scratch, (size_t)moe__team_size(q->team) * UNIT, "quantisation scratch"));
    return moe__gguf_write_open(&q->out, dst, q->a);
}

int moe__quantize_file(const char *src, const char *dst, const moe_quantize_options *o,
                       const moe__allocator *a)
{
    quantize_run q = {.o = o, .a = a, .out.a = a};
    int st = prepare(&q, src, dst);
    if (st >= 0) st = write_file(&q);
    moe__gguf_write_cancel(&q.out);
    moe__free(a, q.scratch);
    moe__free(a, q.to);
    moe__free(a, q.from);
    moe__team_free(q.team);
    moe__file_close(q.file);
    return st;
}
