/* SPDX-License-Identifier: MIT */
/* See pieces.h. */
#include "model/pieces.h"

#include <math.h>

#include "base/parallel.h"
#include "base/status.h"

#define PIECE_BYTES ((uint64_t)8 << 20)

typedef struct job {
    const moe_model *m;
    const moe_model_options *o;
    const moe__piece_list *list;
    moe__piece_fn fn;
    uint64_t before, total;
    moe__chunks next;     /* piece to take */
    atomic_ullong done;   /* bytes */
    atomic_size_t failed; /* lowest piece that failed, SIZE_MAX if none */
    int stopped;          /* by the callback; written by the calling thread */
    atomic_int stop;
} job;

/* Bytes of a tensor's pieces: whole blocks, near PIECE_BYTES. */
static uint64_t piece_bytes(const moe__tensor *t)
{
    return PIECE_BYTES / t->type->block_bytes * t->type->block_bytes;
}

static uint64_t piece_count(const moe__tensor *t) { return (t->bytes + piece_bytes(t) - 1) / piece_bytes(t); }

#define NO_MORE 1 /* no status: those of callers' files come out unchanged, whatever they are */

/* Runs one piece; NO_MORE past the last. */
static int run_piece(job *j, size_t i)
{
    for (size_t k = 0; k < j->list->n; k++) {
        const moe__tensor *t = j->list->tensor[k];
        const uint64_t n_pieces = piece_count(t), step = piece_bytes(t), off = i * step;
        if (i >= n_pieces) {
            i -= (size_t)n_pieces;
            continue;
        }
        const size_t n = t->bytes - off < step ? (size_t)(t->bytes - off) : (size_t)step;
        MOE_TRY(j->fn(j->m, t, off, n, j->list->dst ? j->list->dst[k] + off : NULL));
        atomic_fetch_add(&j->done, n);
        return MOE_OK;
    }
    return NO_MORE;
}

int moe__load_report(const moe_model_options *o, uint64_t done, uint64_t total)
{
    const moe_progress p = {sizeof p, MOE_PROGRESS_LOAD, 0, done, total};
    if (!o->progress || o->progress(&p, o->progress_user) == 0) return MOE_OK;
    return MOE_FAIL(ABORTED, "loading was stopped by the progress callback");
}

static void work(moe__member *member, void *arg)
{
    job *j = arg;
    while (!atomic_load(&j->stop)) {
        const size_t i = moe__chunks_take(&j->next);
        const int st = run_piece(j, i);
        if (st == NO_MORE) break;
        if (st < 0) {
            size_t lowest = atomic_load(&j->failed);
            while (i < lowest && !atomic_compare_exchange_weak(&j->failed, &lowest, i)) {}
            atomic_store(&j->stop, 1);
        } else if (member->index == 0 &&
                   moe__load_report(j->o, j->before + atomic_load(&j->done), j->total) < 0) {
            j->stopped = 1;
            atomic_store(&j->stop, 1);
        }
    }
}

int moe__pieces_run(const moe_model *m, const moe_model_options *o, const moe__piece_list *list,
                    moe__piece_fn fn, uint64_t before, uint64_t total)
{
    job j = {.m = m, .o = o, .list = list, .fn = fn, .before = before, .total = total};
    atomic_init(&j.failed, SIZE_MAX);
    moe__team *team;
    MOE_TRY(moe__team_create(&team, &m->alloc, m->load_threads, NULL));
    int st = moe__team_run(team, work, &j);
    moe__team_free(team);
    MOE_TRY(st);
    const size_t failed = atomic_load(&j.failed);
    if (failed != SIZE_MAX) { /* its message went to the thread that met it: meet it again here */
        st = run_piece(&j, failed);
        return st < 0
                   ? st
                   : MOE_FAIL(IO, "%s: a part could be read only the second time", moe__file_name(m->file));
    }
    return j.stopped ? MOE_E_ABORTED : MOE_OK; /* the calling thread wrote the message */
}

int moe__piece_read(const moe_model *m, const moe__tensor *t, uint64_t off, size_t n, uint8_t *dst)
{
    return moe__file_tensor_read(m->file, t, off, dst, n);
}

int moe__piece_check(const moe_model *m, const moe__tensor *t, uint64_t off, size_t n, uint8_t *dst)
{
    (void)dst;
    const moe__type *type = t->type;
    float x[1024];
    uint8_t raw[4096];
    const size_t step =
        sizeof x / sizeof x[0] / type->block * type->block_bytes; /* whole blocks that fit both */
    for (size_t i = 0; i < n; i += step) {
        const size_t bytes = n - i < step ? n - i : step, count = bytes / type->block_bytes * type->block;
        MOE_TRY(moe__file_tensor_read(m->file, t, off + i, raw, bytes));
        type->dequant(raw, x, count);
        for (size_t e = 0; e < count; e++)
            if (!isfinite(x[e]))
                return MOE_FAIL(NUMERIC, "%s: tensor %s: element %llu: expected a finite number, found %g",
                                moe__file_name(m->file), t->name,
                                (unsigned long long)((off + i) / type->block_bytes * type->block + e),
                                (double)x[e]);
    }
    return MOE_OK;
}
