/* SPDX-License-Identifier: MIT */
/*
 * One eval from end to end: check the batch, reserve KV room for all of it, run it in sub-batches, compute
 * what is wanted, commit. Nothing of the session's state changes before the commit, so a failure anywhere
 * only has to undo the reservation.
 */
#include <string.h>

#include "base/os.h"
#include "base/status.h"
#include "run/session.h"

static moe_seq seq_at(const moe_batch *b, size_t i) { return b->seq ? b->seq[i] : 0; }

static uint32_t want_at(const moe_session *s, const moe_batch *b, size_t i)
{
    if (b->want) return b->want[i];
    return s->seq_last[seq_at(b, i)] == i ? MOE_WANT_LOGITS : 0;
}

/* Tokens, sequences, positions; counts the tokens of each sequence. */
static int check_tokens(moe_session *s, const moe_batch *b)
{
    memset(s->seq_new, 0, s->o.n_seq_max * sizeof *s->seq_new);
    if (b->n_tokens > (uint64_t)s->kv.n_pages * MOE_KV_PAGE)
        return MOE_FAIL(FULL, "the KV cache is full: %zu tokens in a batch, room for %llu in all", b->n_tokens,
                        (unsigned long long)s->kv.n_pages * MOE_KV_PAGE);
    for (size_t i = 0; i < b->n_tokens; i++) {
        const moe_token id = b->token[i];
        const moe_seq q = seq_at(b, i);
        if (id < 0 || (uint32_t)id >= s->m->hp.n_vocab)
            return MOE_FAIL(RANGE, "batch token %zu: id %d: expected 0 to %u", i, id, s->m->hp.n_vocab - 1);
        if (q < 0 || (uint32_t)q >= s->o.n_seq_max)
            return MOE_FAIL(RANGE, "batch token %zu: sequence %d: expected 0 to %u", i, q,
                            s->o.n_seq_max - 1);
        const uint32_t next = s->kv.seq[q].len + s->seq_new[q];
        if (b->pos && (b->pos[i] < 0 || (uint32_t)b->pos[i] != next))
            return MOE_FAIL(RANGE, "batch token %zu: position %d: sequence %d goes on at %u", i, b->pos[i], q,
                            next);
        s->seq_new[q]++;
        s->seq_last[q] = i;
    }
    return MOE_OK;
}

/* Experts that choose their tokens must see all of them: no token before, no second sub-batch. */
static int check_whole(const moe_session *s, const moe_batch *b)
{
    if (!s->whole) return MOE_OK;
    for (uint32_t q = 0; q < s->o.n_seq_max; q++)
        if (s->seq_new[q] && s->kv.seq[q].len)
            return MOE_FAIL(
                STATE,
                "expert choice looks at whole sequences: sequence %u goes on at %u. For encoders; set "
                "MOE_ROUTE_NONCAUSAL if this is meant",
                q, s->kv.seq[q].len);
    if (b->n_tokens > s->o.n_batch_max)
        return MOE_FAIL(STATE,
                        "expert choice looks at whole sequences: %zu tokens do not fit n_batch_max = %u. Set "
                        "MOE_ROUTE_NONCAUSAL if this is meant",
                        b->n_tokens, s->o.n_batch_max);
    return MOE_OK;
}

static int check_wants(moe_session *s, const moe_batch *b)
{
    s->n_staged = 0;
    for (size_t i = 0; i < b->n_tokens; i++) {
        const uint32_t want = want_at(s, b, i);
        if (want & ~(MOE_WANT_LOGITS | MOE_WANT_HIDDEN))
            return MOE_FAIL(INVALID, "batch token %zu: want 0x%x has unknown bits", i, want);
        if (!want) continue;
        if (s->n_staged == s->o.n_output_max)
            return MOE_FAIL(FULL, "the batch wants results of more than n_output_max = %u rows",
                            s->o.n_output_max);
        s->output[s->n_staged++].want = want;
    }
    return MOE_OK;
}

static int reserve_all(moe_session *s)
{
    for (uint32_t q = 0; q < s->o.n_seq_max; q++)
        if (s->seq_new[q]) {
            MOE_TRY(moe__kv_reserve(&s->kv, q, s->seq_new[q]));
            if (s->win.n_layers && !s->win.window) MOE_TRY(moe__kv_reserve(&s->win, q, s->seq_new[q]));
        }
    return MOE_OK;
}

/* Places rows first .. first+n-1 of the batch. seq_new counts up again from zero; n_out is the next output
 * slot. Windows move on: their cache has room for all, so nothing fails here. */
static int place_rows(moe_session *s, const moe_batch *b, size_t first, uint32_t n, uint32_t *n_out)
{
    s->n_rows = n;
    for (uint32_t q = 0; s->win.window && q < s->o.n_seq_max; q++)
        moe__kv_recycle(&s->win, q, s->kv.seq[q].len + s->seq_new[q]);
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t q = (uint32_t)seq_at(b, first + i);
        s->place[i] = (moe__place){b->token[first + i], q, s->kv.seq[q].len + s->seq_new[q]++};
        *moe__kv_token(&s->kv, q, s->place[i].pos) = s->place[i].token;
        if (s->win.window) MOE_TRY(moe__kv_extend(&s->win, q, s->place[i].pos));
        s->row_output[i] = want_at(s, b, first + i) ? (*n_out)++ : MOE_EXPERT_NONE;
    }
    return MOE_OK;
}

static int report_tokens(const moe_session *s, size_t done, size_t total)
{
    const moe_progress p = {sizeof p, MOE_PROGRESS_PREFILL, 0, done, total};
    if (s->o.progress && done < total && s->o.progress(&p, s->o.progress_user) != 0)
        return MOE_FAIL(ABORTED,
                        "the evaluation was stopped by the progress callback after %zu of %zu tokens", done,
                        total);
    return MOE_OK;
}

/* Goes on with the sub-batches until all are done and the results computed, or the time is over. */
static int run_batches(moe_session *s, int *more)
{
    moe__eval_state *e = &s->eval;
    *more = 1;
    while (e->done < e->batch.n_tokens) {
        if (!e->walking) {
            const size_t left = e->batch.n_tokens - e->done;
            MOE_TRY(place_rows(s, &e->batch, e->done,
                               left < s->o.n_batch_max ? (uint32_t)left : s->o.n_batch_max, &e->n_out));
            moe__forward_begin(s);
            e->walking = 1;
        }
        MOE_TRY(moe__forward(s));
        if (s->pc < s->n_steps) return MOE_OK;
        e->walking = 0;
        e->done += s->n_rows;
        MOE_TRY(report_tokens(s, e->done, e->batch.n_tokens));
        if (s->clock >= s->deadline) return MOE_OK;
    }
    *more = 0;
    return moe__head(s);
}

static int seq_in(const moe_batch *b, uint32_t q)
{
    for (size_t i = 0; i < b->n_tokens; i++)
        if (seq_at(b, i) == (moe_seq)q) return 1;
    return 0;
}

static void commit(moe_session *s, const moe_batch *b, size_t n_tokens)
{
    memset(s->seq_new, 0, s->o.n_seq_max * sizeof *s->seq_new);
    for (size_t i = 0; i < n_tokens; i++) s->seq_new[seq_at(b, i)]++;
    for (uint32_t q = 0; q < s->o.n_seq_max; q++)
        if (s->seq_new[q]) {
            moe__kv_set_len(&s->kv, q, s->kv.seq[q].len + s->seq_new[q]);
            if (s->win.n_layers) moe__kv_set_len(&s->win, q, s->kv.seq[q].len);
        }
    moe__kv_commit(&s->kv);
    moe__kv_commit(&s->win);
}

/* A batch of one token per sequence is a decode step. */
static void count_tokens(moe_session *s, const moe_batch *b, uint64_t ns)
{
    int decode = 1;
    for (uint32_t q = 0; q < s->o.n_seq_max; q++) decode &= s->seq_new[q] <= 1;
    *(decode ? &s->stats.tokens_decode : &s->stats.tokens_prefill) += b->n_tokens;
    *(decode ? &s->stats.ns_decode : &s->stats.ns_prefill) += ns;
}

/* Undoes what a failed eval has done, but for whole sub-batches where those are to be kept. */
static void roll_back(moe_session *s, int st)
{
    const moe__eval_state *e = &s->eval;
    atomic_store(&s->interrupt, 0); /* the eval that stopped takes the request with it */
    if (st == MOE_E_ABORTED && (s->o.flags & MOE_SESSION_KEEP_PARTIAL) && e->done) {
        commit(s, &e->batch, e->done);
        s->n_logits = s->n_hidden = 0; /* results of an earlier position would mislead */
    } else {
        moe__kv_rollback(&s->kv);
        moe__kv_rollback(&s->win);
    }
    for (uint32_t q = 0; q < s->o.n_seq_max; q++) /* what their policies saw is undone */
        if (seq_in(&e->batch, q)) moe__routers_truncate_seq(s, (moe_seq)q, (moe_pos)s->kv.seq[q].len);
}

int moe__eval_begin(moe_session *s, const moe_batch *b)
{
    MOE_TRY(check_tokens(s, b));
    MOE_TRY(check_whole(s, b));
    MOE_TRY(check_wants(s, b));
    const int st = reserve_all(s);
    if (st < 0) {
        moe__kv_rollback(&s->kv);
        moe__kv_rollback(&s->win);
        return st;
    }
    memset(s->seq_new, 0, s->o.n_seq_max * sizeof *s->seq_new); /* place_rows counts up again */
    s->eval = (moe__eval_state){.batch = *b};
    s->busy = MOE_BUSY_BETWEEN;
    return MOE_OK;
}

int moe__eval_slice(moe_session *s, uint64_t max_ns, int *more)
{
    const uint64_t start = moe__os_now_ns();
    s->clock = start;
    s->deadline = max_ns > UINT64_MAX - start ? UINT64_MAX : start + max_ns;
    s->busy = MOE_BUSY_RUNNING;
    const int st = run_batches(s, more);
    s->eval.ns += moe__os_now_ns() - start;
    s->busy = st == MOE_OK && *more ? MOE_BUSY_BETWEEN : 0;
    if (s->busy) return MOE_OK;
    *more = 0;
    if (st != MOE_OK) {
        roll_back(s, st);
        return st;
    }
    commit(s, &s->eval.batch, s->eval.batch.n_tokens);
    count_tokens(s, &s->eval.batch, s->eval.ns);
    return MOE_OK;
}

void moe__eval_cancel(moe_session *s)
{
    s->busy = 0;
    roll_back(s, MOE_E_ABORTED);
}

int moe__eval(moe_session *s, const moe_batch *b)
{
    int more;
    MOE_TRY(moe__eval_begin(s, b));
    return moe__eval_slice(s, UINT64_MAX, &more);
}
