/* SPDX-License-Identifier: MIT */
/*
 * The chain: its life, its history of accepted tokens, and the run over candidates. Memory is taken when
 * stages are added and when more candidates come than ever before; after that a pick takes none.
 */
#include "sample/sampler.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

#define HISTORY_FIRST 256u /* tokens of room to begin with */
#define STAGES_FIRST 8u
#define ROW_LOT 64u /* logits looked at together */

/* ---- stages and their life */

int moe__sampler_create(moe_sampler **out, const moe__allocator *a)
{
    moe_sampler *s;
    *out = NULL;
    MOE_TRY(MOE_NEW(a, &s, 1, "sampler"));
    s->alloc = *a;
    moe__kernels k;
    moe__kernels_init_rows(&k);
    s->exp64 = k.exp64;
    *out = s;
    return MOE_OK;
}

void moe__sampler_truncate(moe_sampler *s, size_t n_stages)
{
    while (s->n_stages > n_stages) moe__tokmap_free(&s->stage[--s->n_stages].map, &s->alloc);
}

void moe__sampler_free(moe_sampler *s)
{
    if (!s) return;
    const moe__allocator a = s->alloc;
    moe__sampler_truncate(s, 0);
    moe__tokmap_free(&s->map, &a);
    moe__free(&a, s->stage);
    moe__free(&a, s->history);
    moe__free(&a, s->rank);
    moe__free(&a, s->weight);
    moe__free(&a, s->id);
    moe__free(&a, s->logit);
    moe__free(&a, s->match);
    moe__free(&a, s);
}

static void stage_reset(moe__stage *st)
{
    st->rng.n_drawn = 0;
    st->mu = 2 * (double)st->spec.a; /* mirostat; means nothing elsewhere */
    st->last = MOE_TOKEN_NONE;
}

/* Room for one more stage, and the rule that nothing follows a stage that always picks. */
static int room_for_stage(moe_sampler *s, const char *name)
{
    if (s->n_stages > 0) {
        const moe__kind *before = s->stage[s->n_stages - 1].kind;
        if (before && before->flags & MOE_KIND_PICKS)
            return MOE_FAIL(INVALID, "sampler stage '%s': cannot follow '%s', which ends the chain", name,
                            before->name);
    }
    if (s->n_stages < s->cap_stages) return MOE_OK;
    const size_t cap = s->cap_stages ? s->cap_stages * 2 : STAGES_FIRST;
    MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->stage, cap, sizeof *s->stage, "sampler stages"));
    s->cap_stages = cap;
    return MOE_OK;
}

static int history_room(moe_sampler *s, size_t cap)
{
    if (cap <= s->cap_history) return MOE_OK;
    MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->history, cap, sizeof *s->history, "sampler history"));
    s->cap_history = cap;
    return MOE_OK;
}

/*
 * The n-th random stage draws from stream n, so that stages without draws may come and go without changing
 * it.
 */
static uint64_t next_stream(const moe_sampler *s)
{
    uint64_t n = 0;
    for (size_t i = 0; i < s->n_stages; i++) {
        const moe__kind *k = s->stage[i].kind;
        if (k && k->flags & MOE_KIND_RANDOM) n++;
    }
    return n;
}

int moe__sampler_add(moe_sampler *s, const moe_sample_stage *spec)
{
    const moe__kind *k = moe__kind_find(spec->kind);
    moe__stage st = {.spec = *spec, .kind = k};
    if (!k) return MOE_FAIL(INVALID, "sampler stage: kind is %d, none of MOE_SAMPLE_*", (int)spec->kind);
    MOE_TRY(moe__kind_complete(k, &st.spec));
    MOE_TRY(room_for_stage(s, k->name));
    if (k->flags & MOE_KIND_HISTORY) {
        const size_t window = st.spec.n < 0 ? SIZE_MAX : (size_t)st.spec.n;
        MOE_TRY(history_room(s, window < HISTORY_FIRST / 2 ? window * 2 : HISTORY_FIRST));
        if (window > s->window) s->window = window;
    }
    if (k->flags & MOE_KIND_IDS) {
        MOE_TRY(moe__tokmap_reset(&st.map, &s->alloc, st.spec.n_data));
        for (size_t i = 0; i < st.spec.n_data; i++) {
            moe__tokmap_entry *e = moe__tokmap_put(&st.map, st.spec.ids[i]);
            e->value += k->flags & MOE_KIND_VALUES ? (double)st.spec.values[i] : 0;
        }
    }
    st.spec.ids = NULL;
    st.spec.values = NULL;
    st.rng.seed = st.spec.seed;
    st.rng.stream = next_stream(s);
    stage_reset(&st);
    s->stage[s->n_stages++] = st;
    return MOE_OK;
}

int moe__sampler_add_custom(moe_sampler *s, int (*apply)(moe_candidates *c, void *user), void *user)
{
    MOE_TRY(room_for_stage(s, "user stage"));
    s->stage[s->n_stages] = (moe__stage){.custom = apply, .user = user};
    stage_reset(&s->stage[s->n_stages++]);
    return MOE_OK;
}

int moe__sampler_clone(moe_sampler **out, const moe_sampler *p)
{
    moe_sampler *s;
    int st;
    *out = NULL;
    MOE_TRY(MOE_NEW(&p->alloc, &s, 1, "sampler"));
    s->alloc = p->alloc;
    s->exp64 = p->exp64;
    s->window = p->window;
    if (p->cap_history > 0) {
        MOE_TRY_GOTO(history_room(s, p->cap_history), fail);
        memcpy(s->history, p->history, p->n_history * sizeof *s->history);
        s->n_history = p->n_history;
    }
    if (p->cap_stages > 0) {
        MOE_TRY_GOTO(MOE_NEW(&s->alloc, &s->stage, p->cap_stages, "sampler stages"), fail);
        s->cap_stages = p->cap_stages;
    }
    for (; s->n_stages < p->n_stages; s->n_stages++) {
        moe__stage *to = &s->stage[s->n_stages];
        *to = p->stage[s->n_stages];
        MOE_TRY_GOTO(moe__tokmap_copy(&to->map, &p->stage[s->n_stages].map, &s->alloc), fail);
    }
    *out = s;
    return MOE_OK;
fail:
    moe__sampler_free(s);
    *out = NULL;
    return st;
}

void moe__sampler_reset(moe_sampler *s)
{
    s->n_history = 0;
    for (size_t i = 0; i < s->n_stages; i++) stage_reset(&s->stage[i]);
}

void moe__sampler_set_seed(moe_sampler *s, uint64_t seed)
{
    for (size_t i = 0; i < s->n_stages; i++) {
        s->stage[i].rng.seed = seed;
        stage_reset(&s->stage[i]);
    }
}

/* ---- history */

const moe_token *moe__history(const moe_sampler *s, int32_t n, size_t *len)
{
    *len = n >= 0 && (size_t)n < s->n_history ? (size_t)n : s->n_history;
    return *len > 0 ? s->history + (s->n_history - *len) : NULL;
}

/*
 * A full buffer moves its newest tokens to the front where a window bounds what is needed, else it doubles.
 */
static int history_push(moe_sampler *s, moe_token id)
{
    if (s->n_history == s->cap_history) {
        if (s->cap_history / 2 >= s->window) {
            memmove(s->history, s->history + (s->n_history - s->window), s->window * sizeof *s->history);
            s->n_history = s->window;
        } else {
            MOE_TRY(history_room(s, s->cap_history * 2));
        }
    }
    s->history[s->n_history++] = id;
    return MOE_OK;
}

int moe__sampler_accept(moe_sampler *s, moe_token id)
{
    if (s->window > 0) MOE_TRY(history_push(s, id));
    for (size_t i = 0; i < s->n_stages; i++) {
        moe__stage *st = &s->stage[i];
        if (st->last == id) st->mu -= (double)st->spec.b * (st->surprise - (double)st->spec.a);
        st->last = MOE_TOKEN_NONE;
    }
    return MOE_OK;
}

/* ---- the run */

static int reserve(moe_sampler *s, size_t n)
{
    if (n <= s->cap) return MOE_OK;
    MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->rank, n, sizeof *s->rank, "sampler scratch"));
    MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->weight, n, sizeof *s->weight, "sampler scratch"));
    s->cap = n;
    return MOE_OK;
}

/* Does candidate i come before i + 1? */
static int in_order(const moe_candidates *c, size_t i)
{
    return c->logit[i] > c->logit[i + 1] || (c->logit[i] == c->logit[i + 1] && c->id[i] < c->id[i + 1]);
}

/*
 * Makes the invariants true of candidates from outside: those without a finite logit go, `sorted` becomes the
 * truth, `picked` follows its candidate. E_NUMERIC if none is left.
 */
static int admit(moe_candidates *c)
{
    size_t n = 0;
    int64_t picked = -1;
    uint32_t sorted = 1;
    for (size_t i = 0; i < c->n; i++) {
        if (!isfinite(c->logit[i])) continue;
        if ((int64_t)i == c->picked) picked = (int64_t)n;
        c->id[n] = c->id[i];
        c->logit[n] = c->logit[i];
        if (n > 0 && !in_order(c, n - 1)) sorted = 0;
        n++;
    }
    c->n = n;
    c->picked = picked;
    c->sorted = sorted;
    return n > 0 ? MOE_OK : MOE_FAIL(NUMERIC, "sampler: no candidate has a finite logit");
}

/* Calls a user stage and checks what it made of the candidates. */
static int run_custom(moe__stage *st, size_t i, moe_candidates *c, moe_token id_max)
{
    moe_candidates user = *c;
    const int r = st->custom(&user, st->user);
    if (r < 0) return moe__fail(r, "user stage %zu failed with %d", i, r);
    if (r > 0) return MOE_FAIL(ABORTED, "user stage %zu stopped the pick", i);
    if (user.id != c->id || user.logit != c->logit)
        return MOE_FAIL(CALLBACK, "user stage %zu replaced the arrays; edit them in place", i);
    if (user.n < 1 || user.n > c->n)
        return MOE_FAIL(CALLBACK, "user stage %zu left n = %zu, expected 1 to %zu", i, user.n,
                        c->n);
    if (user.picked < -1 || user.picked >= (int64_t)user.n)
        return MOE_FAIL(CALLBACK, "user stage %zu picked %lld of %zu", i, (long long)user.picked,
                        user.n);
    for (size_t j = 0; j < user.n; j++)
        if (user.id[j] < 0 || user.id[j] > id_max)
            return MOE_FAIL(CALLBACK, "user stage %zu made token %zu %d, expected 0 to %d", i, j,
                            (int)user.id[j], (int)id_max);
    const int had_pick = user.picked >= 0;
    MOE_TRY(admit(&user));
    if (had_pick && user.picked < 0)
        return MOE_FAIL(CALLBACK, "user stage %zu picked a candidate without a finite logit", i);
    *c = user;
    return MOE_OK;
}

/* Do stages i and i + 1 keep what is likely and draw from it? */
static int keeps_then_draws(const moe_sampler *s, size_t i)
{
    if (i + 1 >= s->n_stages || !s->stage[i].kind || !s->stage[i + 1].kind) return 0;
    const int32_t first = s->stage[i].kind->kind, then = s->stage[i + 1].kind->kind;
    return (first == MOE_SAMPLE_TOP_P || first == MOE_SAMPLE_TYPICAL) && then == MOE_SAMPLE_DIST;
}

/* c holds the invariants. only_token: nobody wants the candidates that are left. */
static int run(moe_sampler *s, moe_candidates *c, moe_token id_max, int only_token)
{
    MOE_TRY(reserve(s, c->n));
    for (size_t i = 0; i < s->n_stages && c->picked < 0; i++) {
        moe__stage *st = &s->stage[i];
        if (only_token && keeps_then_draws(s, i) && moe__draw_kept(s, st, st + 1, c)) break;
        if (st->custom) MOE_TRY(run_custom(st, i, c, id_max));
        else MOE_TRY(st->kind->apply(s, st, c));
    }
    return MOE_OK;
}

int moe__sampler_apply(moe_sampler *s, moe_candidates *c)
{
    moe_token id_max = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (c->id[i] < 0) return MOE_FAIL(RANGE, "moe_candidates: id[%zu] is %d", i, (int)c->id[i]);
        if (c->id[i] > id_max) id_max = c->id[i];
    }
    c->picked = -1;
    MOE_TRY(admit(c));
    return run(s, c, id_max, 0);
}

static int all_finite(const float *x)
{
    uint32_t u[ROW_LOT];
    int32_t none = 0;
    memcpy(u, x, sizeof u);
    for (size_t i = 0; i < ROW_LOT; i++) none |= (u[i] & 0x7f800000u) == 0x7f800000u;
    return !none;
}

/* Candidates of a row: its finite logits. */
static size_t candidates_of_row(moe_sampler *s, const float *logits, size_t n_vocab)
{
    size_t n = 0;
    for (size_t i = 0; i < n_vocab; i += ROW_LOT) {
        if (i + ROW_LOT <= n_vocab && all_finite(logits + i)) { /* for vectors */
            memcpy(s->logit + n, logits + i, ROW_LOT * sizeof *logits);
            for (size_t j = 0; j < ROW_LOT; j++) s->id[n + j] = (moe_token)(i + j);
            n += ROW_LOT;
            continue;
        }
        const size_t end = i + ROW_LOT < n_vocab ? i + ROW_LOT : n_vocab;
        for (size_t j = i; j < end; j++) {
            s->id[n] = (moe_token)j;
            s->logit[n] = logits[j];
            n += isfinite(logits[j]) != 0; /* others are overwritten */
        }
    }
    return n;
}

int moe__sampler_pick(moe_sampler *s, const float *logits, size_t n_vocab, moe_token *out)
{
    if (n_vocab > s->cap_row) {
        MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->id, n_vocab, sizeof *s->id, "sampler candidates"));
        MOE_TRY(moe__realloc_array(&s->alloc, (void **)&s->logit, n_vocab, sizeof *s->logit,
                                   "sampler candidates"));
        s->cap_row = n_vocab;
    }
    MOE_TRY(reserve(s, n_vocab));
    const size_t n = candidates_of_row(s, logits, n_vocab);
    if (n == 0) return MOE_FAIL(NUMERIC, "sampler: none of the %zu logits is finite", n_vocab);
    moe_candidates c = {sizeof c, n, s->id, s->logit, -1, 0, 0};
    MOE_TRY(run(s, &c, (moe_token)(n_vocab - 1), 1));
    *out = c.id[c.picked >= 0 ? (size_t)c.picked : moe__best(&c)];
    return MOE_OK;
}
