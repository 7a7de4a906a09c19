/* SPDX-License-Identifier: MIT */
/*
 * Warm-up: reads one byte of every page of the model's weights, so that the system has mapped ones in memory
 * before the first eval needs them. The weights are gone through in rounds of some 32 MiB; the team shares a
 * round, and between rounds the calling thread reports and looks for an interrupt.
 *
 * Experts are asked of the store one by one and given back at once: stores of today lend addresses that stay
 * as long as the model does.
 */
#include "base/os.h"
#include "base/status.h"
#include "run/session.h"

#define ROUND_BYTES ((size_t)32 << 20)
#define CHUNK_BYTES ((size_t)256 << 10) /* what a member takes at a time */

/* Where the walk through the weights stands: the next matrix, and what of it is left. */
typedef struct warm_walk {
    uint32_t layer, expert;
    int role; /* 0, 1: embedding, head; then N_MODEL_ROLES .. N_ROLES-1 of a layer */
} warm_walk;

typedef struct warm_span {
    const volatile uint8_t *p; /* volatile: reading is the purpose */
    size_t n;
} warm_span;

typedef struct warm_round {
    warm_span span;
    size_t page;
    moe__chunks chunks;
    const atomic_int *interrupt;
} warm_round;

static size_t warm_bytes(const moe__matrix *w) { return w->data ? (size_t)w->n_out * w->row_bytes : 0; }

static int expert_span(const moe_session *s, uint32_t layer, uint32_t expert, int role, warm_span *out)
{
    moe__store *store = s->m->store;
    const moe__expert_request want = {.layer = layer, .expert = expert};
    const moe__matrix *w = &s->m->layers[layer].mat[role];
    moe__expert_view v;
    MOE_TRY(store->ops->acquire(store, &want, &v));
    const void *p = role == ROLE_GATE_EXPS ? v.gate : role == ROLE_UP_EXPS ? v.up : v.down;
    *out = (warm_span){p, p ? (size_t)w->n_out * w->row_bytes : 0};
    store->ops->release(store, &v);
    return MOE_OK;
}

/* The next matrix (n may be 0); 0 when all have been handed out, a negative status, else 1. */
static int next_span(const moe_session *s, warm_walk *at, warm_span *out)
{
    const moe_model *m = s->m;
    *out = (warm_span){NULL, 0};
    if (at->role < N_MODEL_ROLES) {
        const moe__matrix *w = at->role == 0 ? &m->embd : &m->head;
        const int again = at->role == 1 && m->head.data == m->embd.data; /* tied */
        if (at->role < 2 && !again) *out = (warm_span){w->data, warm_bytes(w)};
        at->role = at->role == 0 ? 1 : N_MODEL_ROLES;
        return 1;
    }
    if (at->layer == m->hp.n_layers) return 0;
    const moe__layer *l = &m->layers[at->layer];
    const moe__matrix *w = &l->mat[at->role];
    if (l->is_moe && moe__role_is_expert(at->role) && w->type) {
        MOE_TRY(expert_span(s, at->layer, at->expert, at->role, out));
        if (++at->expert < m->hp.n_experts) return 1;
    } else {
        *out = (warm_span){w->data, warm_bytes(w)};
    }
    at->expert = 0;
    if (++at->role == N_ROLES) {
        at->role = N_MODEL_ROLES;
        at->layer++;
    }
    return 1;
}

/* Each member touches chunks of the round until none is left. */
static void touch_chunks(moe__member *member, void *arg)
{
    warm_round *r = arg;
    (void)member;
    for (size_t at; (at = moe__chunks_take(&r->chunks) * CHUNK_BYTES) < r->span.n;) {
        const size_t end = r->span.n - at < CHUNK_BYTES ? r->span.n : at + CHUNK_BYTES;
        if (atomic_load_explicit(r->interrupt, memory_order_relaxed)) break;
        for (size_t i = at; i < end; i += r->page) (void)r->span.p[i];
        (void)r->span.p[end - 1];
    }
}

static int report_warm(const moe_session *s, uint64_t done, uint64_t total)
{
    const moe_progress p = {sizeof p, MOE_PROGRESS_WARM_UP, 0, done, total};
    if (s->o.progress && s->o.progress(&p, s->o.progress_user) != 0)
        return MOE_FAIL(ABORTED, "the warm-up was stopped by the progress callback");
    return MOE_OK;
}

static int run_round(moe_session *s, warm_round *r, uint64_t *done, uint64_t total)
{
    if (r->span.n == 0) return MOE_OK;
    moe__os_advise((const void *)(uintptr_t)r->span.p, r->span.n, MOE_ADVISE_WILLNEED);
    moe__chunks_reset(&r->chunks);
    MOE_TRY(moe__team_run(s->team, touch_chunks, r));
    if (atomic_load(&s->interrupt)) return MOE_FAIL(ABORTED, "the warm-up was interrupted");
    *done += r->span.n;
    r->span.n = 0;
    return report_warm(s, *done, total);
}

/* Neighbours in memory become one round, up to its size. */
static int run_rounds(moe_session *s, uint64_t total)
{
    warm_round r = {.page = moe__os_page_size(), .interrupt = &s->interrupt};
    warm_walk at = {0, 0, 0};
    warm_span next;
    uint64_t done = 0;
    int st;
    while ((st = next_span(s, &at, &next)) > 0)
        while (next.n > 0) {
            if (r.span.n && (r.span.p + r.span.n != next.p || r.span.n == ROUND_BYTES))
                MOE_TRY(run_round(s, &r, &done, total));
            if (r.span.n == 0) r.span.p = next.p;
            const size_t room = ROUND_BYTES - r.span.n, n = next.n < room ? next.n : room;
            r.span.n += n;
            next.p += n;
            next.n -= n;
        }
    MOE_TRY(st);
    return run_round(s, &r, &done, total);
}

int moe__warm_up(moe_session *s)
{
    warm_walk at = {0, 0, 0};
    warm_span next;
    uint64_t total = 0;
    int st;
    while ((st = next_span(s, &at, &next)) > 0) total += next.n;
    MOE_TRY(st);
    s->busy = MOE_BUSY_RUNNING;
    st = run_rounds(s, total);
    s->busy = 0;
    if (st < 0) atomic_store(&s->interrupt, 0); /* the call that stopped takes the request with it */
    return st;
}
