/* SPDX-License-Identifier: MIT */
/* Entry points of sessions: arguments are checked here, the work is in run/. */
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "base/opts.h"
#include "base/rounding.h"
#include "base/os.h"
#include "base/status.h"
#include "run/session.h"
#include "study/profile.h"

int moe_session_create(moe_session **out, moe_model *m, const moe_session_options *o)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(m != NULL);
    return moe__session_create(out, m, o);
}

void moe_session_free(moe_session *s) { moe__session_free(s); }

moe_model *moe_session_model(const moe_session *s) { return s ? s->m : NULL; }

int moe_session_get_info(const moe_session *s, moe_session_info *out)
{
    moe__clear_error();
    MOE_ARG(s != NULL && out != NULL);
    const moe_session_info info = {.size = sizeof info,
                                   .flags = s->o.flags,
                                   .n_ctx = s->o.n_ctx,
                                   .n_seq_max = s->o.n_seq_max,
                                   .n_batch_max = s->o.n_batch_max,
                                   .n_output_max = s->o.n_output_max,
                                   .n_threads = s->n_threads,
                                   .kv_type_k = (uint32_t)s->kv.type_k,
                                   .kv_type_v = (uint32_t)s->kv.type_v,
                                   .n_cells_used = (s->kv.n_pages - s->kv.n_free) * MOE_KV_PAGE,
                                   .n_outputs = s->n_logits};
    return moe__opts_fill(out, &info, sizeof info, "moe_session_info");
}

static int take_batch(moe_batch *dst, const moe_batch *b)
{
    *dst = (moe_batch)MOE_BATCH_INIT;
    MOE_TRY(moe__opts_copy(dst, sizeof *dst, b, "moe_batch"));
    if (dst->n_tokens == 0) return MOE_FAIL(INVALID, "the batch is empty");
    if (!dst->token) return MOE_FAIL(INVALID, "moe_batch: token is NULL");
    return MOE_OK;
}

int moe_session_eval_batch(moe_session *s, const moe_batch *b)
{
    moe__clear_error();
    MOE_ARG(s != NULL && b != NULL);
    MOE_IDLE(s);
    moe_batch batch;
    MOE_TRY(take_batch(&batch, b));
    MOE_RETURN_ROUNDED(moe__eval(s, &batch));
}

int moe_session_eval_begin(moe_session *s, const moe_batch *b)
{
    moe__clear_error();
    MOE_ARG(s != NULL && b != NULL);
    MOE_IDLE(s);
    moe_batch batch;
    MOE_TRY(take_batch(&batch, b));
    return moe__eval_begin(s, &batch);
}

static int check_between(const moe_session *s)
{
    if (s->busy == MOE_BUSY_BETWEEN) return MOE_OK;
    return MOE_FAIL(STATE, "no eval in slices is waiting to go on");
}

int moe_session_eval_slice(moe_session *s, uint64_t max_ns, int *more)
{
    moe__clear_error();
    MOE_ARG(s != NULL && more != NULL);
    *more = 0;
    MOE_TRY(check_between(s));
    MOE_RETURN_ROUNDED(moe__eval_slice(s, max_ns, more));
}

int moe_session_eval_cancel(moe_session *s)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_TRY(check_between(s));
    moe__eval_cancel(s);
    return MOE_OK;
}

int moe_session_warm_up(moe_session *s)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    MOE_RETURN_ROUNDED(moe__warm_up(s));
}

int moe_session_eval(moe_session *s, const moe_token *ids, size_t n)
{
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = n;
    b.token = ids;
    return moe_session_eval_batch(s, &b);
}

int moe_session_logits(const moe_session *s, size_t row, const float **out, size_t *n)
{
    moe__clear_error();
    MOE_ARG(s != NULL && out != NULL);
    *out = NULL;
    if (row >= s->n_logits)
        return MOE_FAIL(RANGE, "row %zu: the last evaluation left logits of %u rows", row, s->n_logits);
    *out = s->logits + row * s->m->hp.n_vocab;
    if (n) *n = s->m->hp.n_vocab;
    return MOE_OK;
}

int moe_session_hidden(const moe_session *s, size_t row, const float **out, size_t *n)
{
    moe__clear_error();
    MOE_ARG(s != NULL && out != NULL);
    *out = NULL;
    if (row >= s->n_hidden)
        return MOE_FAIL(RANGE, "row %zu: the last evaluation left hidden states of %u rows", row,
                        s->n_hidden);
    *out = s->hidden + row * s->m->hp.dim;
    if (n) *n = s->m->hp.dim;
    return MOE_OK;
}

void moe_session_reset(moe_session *s)
{
    if (!s || s->busy == MOE_BUSY_RUNNING) return;
    if (s->busy) moe__eval_cancel(s);
    moe__kv_reset(&s->kv);
    moe__kv_reset(&s->win);
    s->n_logits = s->n_hidden = 0;
    moe__routers_reset_seq(s, MOE_ALL_SEQS);
}

size_t moe_session_seq_len(const moe_session *s, moe_seq q)
{
    return s && q >= 0 && (uint32_t)q < s->o.n_seq_max ? s->kv.seq[q].len : 0;
}

static int check_seq(const moe_session *s, moe_seq q)
{
    if (q < 0 || (uint32_t)q >= s->o.n_seq_max)
        return MOE_FAIL(RANGE, "sequence %d: expected 0 to %u", q, s->o.n_seq_max - 1);
    return MOE_OK;
}

int moe_session_seq_copy(moe_session *s, moe_seq from, moe_seq to)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, from));
    MOE_TRY(check_seq(s, to));
    moe__kv_copy(&s->kv, (uint32_t)from, (uint32_t)to);
    if (s->win.n_layers) moe__kv_copy(&s->win, (uint32_t)from, (uint32_t)to);
    moe__routers_copy_seq(s, from, to);
    return MOE_OK;
}

int moe_session_seq_truncate(moe_session *s, moe_seq q, moe_pos keep)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, q));
    if (keep < 0 || (uint32_t)keep > s->kv.seq[q].len)
        return MOE_FAIL(RANGE, "sequence %d: keep %d: it has %u tokens", q, keep, s->kv.seq[q].len);
    MOE_TRY(moe__session_truncate(s, (uint32_t)q, (uint32_t)keep));
    moe__routers_truncate_seq(s, q, keep);
    return MOE_OK;
}

int moe_session_seq_remove(moe_session *s, moe_seq q, moe_pos first, size_t n)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, q));
    const uint32_t len = s->kv.seq[q].len;
    if (first < 0 || (uint32_t)first > len || n > len - (uint32_t)first)
        return MOE_FAIL(RANGE, "sequence %d: %zu tokens from position %d: it has %u tokens", q, n, first,
                        len);
    MOE_RETURN_ROUNDED(moe__session_remove(s, (uint32_t)q, (uint32_t)first, (uint32_t)n));
}

int moe_session_seq_tokens(const moe_session *s, moe_seq q, moe_token *dst, size_t cap, size_t *n)
{
    moe__clear_error();
    MOE_ARG(s != NULL && n != NULL && (dst != NULL || cap == 0));
    MOE_TRY(check_seq(s, q));
    *n = s->kv.seq[q].len;
    if (!dst) return MOE_OK;
    if (*n > cap) return MOE_FAIL(BUFFER, "sequence %d: room for %zu tokens, needed %zu", q, cap, *n);
    for (uint32_t i = 0; i < s->kv.seq[q].len; i++) dst[i] = *moe__kv_token(&s->kv, (uint32_t)q, i);
    return MOE_OK;
}

int moe_session_save(const moe_session *s, moe_write_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL && fn != NULL);
    MOE_IDLE(s);
    return moe__session_save(s, fn, user);
}

int moe_session_load(moe_session *s, moe_read_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL && fn != NULL);
    MOE_IDLE(s);
    return moe__session_load(s, fn, user);
}

int moe_session_seq_save(const moe_session *s, moe_seq q, moe_write_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL && fn != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, q));
    return moe__session_seq_save(s, (uint32_t)q, fn, user);
}

int moe_session_seq_load(moe_session *s, moe_seq q, moe_read_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL && fn != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, q));
    return moe__session_seq_load(s, (uint32_t)q, fn, user);
}

static int write_state(const void *data, size_t n, void *user) { return moe__os_write(user, data, n); }

/* The whole session, or one sequence. */
static int save_file(const moe_session *s, moe_seq q, const char *path)
{
    moe__os_writer w = {0};
    MOE_TRY(moe__os_writer_open(&w, path, &s->m->alloc));
    const int st = q == MOE_ALL_SEQS ? moe__session_save(s, write_state, &w)
                                     : moe__session_seq_save(s, (uint32_t)q, write_state, &w);
    if (st < 0) {
        moe__os_writer_cancel(&w);
        return st;
    }
    return moe__os_writer_commit(&w);
}

int moe_session_save_file(const moe_session *s, const char *path)
{
    moe__clear_error();
    MOE_ARG(s != NULL && path != NULL);
    MOE_IDLE(s);
    return save_file(s, MOE_ALL_SEQS, path);
}

int moe_session_seq_save_file(const moe_session *s, moe_seq q, const char *path)
{
    moe__clear_error();
    MOE_ARG(s != NULL && path != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, q));
    return save_file(s, q, path);
}

typedef struct file_reader {
    moe__os_file file;
    const char *path;
    uint64_t at;
} file_reader;

static int read_state(void *data, size_t n, void *user)
{
    file_reader *r = user;
    if (n > r->file.length - r->at)
        return MOE_FAIL(FORMAT, "%s: offset %llu: expected %zu more bytes, found %llu", r->path,
                        (unsigned long long)r->at, n, (unsigned long long)(r->file.length - r->at));
    MOE_TRY(moe__os_read_at(&r->file, r->at, data, n, r->path));
    r->at += n;
    return MOE_OK;
}

static int load_file(moe_session *s, moe_seq q, const char *path)
{
    file_reader r = {.path = path};
    MOE_TRY(moe__os_open(&r.file, path));
    const int st = q == MOE_ALL_SEQS ? moe__session_load(s, read_state, &r)
                                     : moe__session_seq_load(s, (uint32_t)q, read_state, &r);
    moe__os_close(&r.file);
    return st;
}

int moe_session_load_file(moe_session *s, const char *path)
{
    moe__clear_error();
    MOE_ARG(s != NULL && path != NULL);
    MOE_IDLE(s);
    return load_file(s, MOE_ALL_SEQS, path);
}

int moe_session_seq_load_file(moe_session *s, moe_seq q, const char *path)
{
    moe__clear_error();
    MOE_ARG(s != NULL && path != NULL);
    MOE_IDLE(s);
    MOE_TRY(check_seq(s, q));
    return load_file(s, q, path);
}

int moe_session_set_threads(moe_session *s, int n)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    if (n < 0 || (uint32_t)n > MOE_TEAM_MAX)
        return MOE_FAIL(INVALID, "threads %d: expected 0 to %u", n, MOE_TEAM_MAX);
    return moe__session_threads(s, (uint32_t)n);
}

void moe_session_interrupt(moe_session *s)
{
    if (s) atomic_store(&s->interrupt, 1);
}

int moe_session_observe(moe_session *s, int (*fn)(const moe_route_view *v, void *user), void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    s->observer = (moe__observer){fn, user};
    moe__park_update(s);
    return MOE_OK;
}

int moe_session_set_profile(moe_session *s, moe_profile *p)
{
    moe__clear_error();
    MOE_ARG(s != NULL);
    MOE_IDLE(s);
    if (p && !p->m) return MOE_FAIL(STATE, "the profile was loaded without a model");
    if (p && p->m != s->m && p->info.fingerprint != s->m->fingerprint)
        return MOE_FAIL(STATE, "the profile belongs to another model");
    s->profile = p;
    moe__park_update(s);
    return MOE_OK;
}

int moe_session_get_stats(const moe_session *s, moe_stats *out)
{
    moe__clear_error();
    MOE_ARG(s != NULL && out != NULL);
    return moe__opts_fill(out, &s->stats, sizeof s->stats, "moe_stats");
}

void moe_session_reset_stats(moe_session *s)
{
    if (s) s->stats = (moe_stats){.size = sizeof s->stats};
}
