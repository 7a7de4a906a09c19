/* SPDX-License-Identifier: MIT */
/*
 * Routers of a session as a program changes them: recipes, steering, policies, hooks, kept routing. Each
 * claim is checked against the plain session, to the bit where nothing may change.
 */
#include "support.h"

#include <math.h>

#define N     40u
#define MODEL "tests/golden/data/qwen3moe.gguf"

typedef struct world {
    moe_model *m;
    moe_model_info info;
    moe_token id[N];
} world;

static world open_world(const char *path)
{
    world w = {.m = open_model(path, 0), .info = MOE_MODEL_INFO_INIT};
    assert_ok(moe_model_get_info(w.m, &w.info));
    fill_tokens(w.m, w.id, N, 11);
    return w;
}

static moe_session *new_session(const world *w, uint32_t flags, int threads)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.flags = flags;
    o.n_threads = threads;
    o.n_output_max = N;
    o.n_seq_max = 3;
    return make_session(w->m, o);
}

static moe_router *router_of(moe_session *s, uint32_t layer)
{
    moe_router *r;
    assert_ok(moe_session_router(s, layer, &r));
    return r;
}

/* Logits of every row of the tokens, evaluated `piece` at a time. */
static float *run(moe_session *s, const world *w, moe_seq seq, size_t piece)
{
    float *out = malloc(N * w->info.n_vocab * sizeof *out);
    moe_seq seqs[N];
    uint8_t want[N];
    assert_non_null(out);
    for (size_t i = 0; i < N; i++) {
        seqs[i] = seq;
        want[i] = MOE_WANT_LOGITS;
    }
    for (size_t at = 0; at < N; at += piece) {
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = N - at < piece ? N - at : piece;
        b.token = w->id + at;
        b.seq = seqs;
        b.want = want;
        assert_ok(moe_session_eval_batch(s, &b));
        for (size_t i = 0; i < b.n_tokens; i++) {
            const float *x;
            assert_ok(moe_session_logits(s, i, &x, NULL));
            memcpy(out + (at + i) * w->info.n_vocab, x, w->info.n_vocab * sizeof *x);
        }
    }
    assert_ok(moe_session_seq_truncate(s, seq, 0));
    return out;
}

static int same(const world *w, const float *a, const float *b)
{
    return memcmp(a, b, N * w->info.n_vocab * sizeof *a) == 0;
}

static float *plain(const world *w)
{
    moe_session *s = new_session(w, 0, 1);
    float *x = run(s, w, 0, N);
    moe_session_free(s);
    return x;
}

/* ---- recipes ---- */

/* Rules that look at one token at a time. */
static const char *const causal[] = {"topk:k=1",
                                     "topk:k=2",
                                     "topp:p=0.5",
                                     "topp:p=0.3,kmin=2,kmax=3",
                                     "threshold:t=0.5,kmin=1,kmax=3",
                                     "minp:p=0.4",
                                     "ranks:1+0",
                                     "random:k=2,seed=5",
                                     "hash:k=2,seed=9",
                                     "all",
                                     "fixed:ids=1+3",
                                     "sparsemixer:k=2",
                                     "topk:k=2,score=sigmoid,norm=sum",
                                     "topk:k=2,score=entmax15",
                                     "topk:k=3,score=sqrtsoftplus,temp=0.7,scale=1.5",
                                     "topk:k=2,weight=one,scale=0.5"};

static void causal_rules_do_not_see_threads_or_splits(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    for (size_t i = 0; i < sizeof causal / sizeof *causal; i++) {
        float *first = NULL;
        for (int threads = 1; threads <= 3; threads++) {
            moe_session *s = new_session(&w, 0, threads);
            assert_ok(moe_router_set_named(router_of(s, MOE_ALL_LAYERS), causal[i]));
            static const size_t pieces[] = {N, 7, 1}; /* 1: prefill equals decode */
            for (size_t p = 0; p < 3; p++) {
                float *x = run(s, &w, 0, pieces[p]);
                if (first && !same(&w, first, x))
                    fail_msg("%s: %d threads, pieces of %zu: other bits", causal[i], threads, pieces[p]);
                if (first)
                    free(x);
                else
                    first = x;
            }
            moe_session_free(s);
        }
        if (same(&w, first, native)) fail_msg("%s: nothing changed", causal[i]);
        free(first);
    }
    free(native);
    moe_model_release(w.m);
}

static void native_by_any_name_is_native(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    moe_session *s = new_session(&w, 0, 2);
    moe_router *all = router_of(s, MOE_ALL_LAYERS);
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    assert_ok(moe_model_get_route(w.m, 0, &spec));
    assert_ok(moe_router_set_named(all, "topk:k=1"));
    assert_ok(moe_router_set_spec(all, &spec));
    float *x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    assert_ok(moe_router_set_named(all, "random:k=1"));
    assert_ok(moe_router_set_named(all, "native"));
    x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    assert_ok(moe_router_set_named(all, "random:k=1"));
    assert_ok(moe_router_reset(all));
    x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    free(native);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* p = 1, a threshold of 0 and k = all are the same dense evaluation. */
static void keeping_all_is_dense(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    char k_all[40];
    snprintf(k_all, sizeof k_all, "topk:k=%u", w.info.n_experts);
    const char *const dense[] = {"all", "topp:p=1", "threshold:t=0", k_all};
    float *first = NULL;
    for (size_t i = 0; i < 4; i++) {
        moe_session *s = new_session(&w, 0, 2);
        assert_ok(moe_router_set_named(router_of(s, MOE_ALL_LAYERS), dense[i]));
        float *x = run(s, &w, 0, N);
        if (first && !same(&w, first, x)) fail_msg("%s differs from all", dense[i]);
        moe_stats st = MOE_STATS_INIT;
        assert_ok(moe_session_get_stats(s, &st));
        assert_int_equal(st.pairs, (uint64_t)N * w.info.n_experts * w.info.n_moe_layers);
        if (first)
            free(x);
        else
            first = x;
        moe_session_free(s);
    }
    free(first);
    moe_model_release(w.m);
}

static void refusals_leave_things_alone(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    moe_session *s = new_session(&w, 0, 1);
    moe_router *all = router_of(s, MOE_ALL_LAYERS), *one = router_of(s, 0), *r;
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    moe_router_info info = MOE_ROUTER_INFO_INIT;
    assert_refused(moe_router_set_spec(all, &spec), MOE_E_INVALID, "is unknown");
    assert_refused(moe_router_set_named(all, "topk:k=1000"), MOE_E_INVALID, "1000");
    assert_refused(moe_router_set_named(all, "no-such-rule"), MOE_E_INVALID, "no-such-rule");
    assert_refused(moe_router_get_info(all, &info), MOE_E_STATE, "all layers");
    assert_refused(moe_router_get_spec(all, MOE_SPEC_NATIVE, &spec), MOE_E_STATE, "all layers");
    assert_refused(moe_session_router(s, w.info.n_layers, &r), MOE_E_RANGE, "expected 0 to");
    assert_null(r);
    uint8_t use[64] = {0};
    memset(use, MOE_USE_BAN, sizeof use);
    assert_refused(moe_router_set_use(all, use, w.info.n_experts), MOE_E_INVALID, "banned");
    assert_refused(moe_router_set_use(one, use, 3), MOE_E_INVALID, "experts");
    memset(use, 99, sizeof use);
    assert_refused(moe_router_set_use(all, use, w.info.n_experts), MOE_E_INVALID, "99");
    memset(use, MOE_USE_FORCE, sizeof use);
    assert_refused(moe_router_set_use(all, use, w.info.n_experts), MOE_E_INVALID, "forced");
    float values[64] = {NAN};
    assert_refused(moe_router_set_values(all, MOE_EDIT_PRE, values, w.info.n_experts), MOE_E_NUMERIC,
                   "finite");
    assert_refused(moe_router_set_values(all, 77, NULL, 0), MOE_E_INVALID, "77");
    const uint32_t bad = 1000;
    assert_refused(moe_router_set_limit(all, 0, &bad, 1), MOE_E_RANGE, "1000");
    assert_refused(moe_router_set_limit(all, 9, &bad, 1), MOE_E_RANGE, "sequence 9");
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    assert_refused(moe_router_add_override(all, &o), MOE_E_INVALID, "kind");
    moe_route_view v = {.size = sizeof v};
    assert_refused(moe_router_last(one, &v), MOE_E_STATE, "MOE_SESSION_KEEP_ROUTES");
    assert_ok(moe_router_get_info(one, &info));
    assert_int_equal(info.flags, MOE_ROUTER_NATIVE);
    float *x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    free(native);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* ---- steering ---- */

typedef struct seen {
    uint32_t n_experts, n_rows;
    uint64_t count[8][64];
    float weight[8][64];
    uint32_t expert[8][N][8];
    uint32_t k[8][N];
} seen;

static int look(const moe_route_view *v, void *user)
{
    seen *s = user;
    for (uint32_t t = 0; t < v->n_rows; t++) {
        const uint32_t n = v->offset[t + 1] - v->offset[t];
        s->k[v->layer][t] = n;
        for (uint32_t i = 0; i < n; i++) {
            const uint32_t e = v->expert[v->offset[t] + i];
            if (i < 8) s->expert[v->layer][t][i] = e;
            if (e == MOE_EXPERT_NONE) continue;
            s->count[v->layer][e]++;
            s->weight[v->layer][e] += v->weight[v->offset[t] + i];
        }
    }
    return 0;
}

static seen watch(moe_session *s, const world *w)
{
    seen x;
    memset(&x, 0, sizeof x);
    assert_ok(moe_session_observe(s, look, &x));
    free(run(s, w, 0, N));
    assert_ok(moe_session_observe(s, NULL, NULL));
    return x;
}

static uint64_t acquired(const moe_session *s)
{
    moe_stats st = MOE_STATS_INIT;
    assert_ok(moe_session_get_stats(s, &st));
    return st.experts;
}

/* Banned: never chosen. Dropped: the choice of the others stays, the weight is 0, nothing is acquired for it.
 */
static void bans_and_drops(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 2);
    moe_router *r = router_of(s, 0);
    uint8_t use[64] = {0};
    seen before = watch(s, &w);
    uint32_t busy = 0;
    for (uint32_t e = 1; e < w.info.n_experts; e++)
        if (before.count[0][e] > before.count[0][busy]) busy = e;
    assert_true(before.count[0][busy] > 0);
    static const uint8_t bans[] = {MOE_USE_BAN, MOE_USE_BAN_SCORED};
    for (int i = 0; i < 2; i++) {
        use[busy] = bans[i];
        assert_ok(moe_router_set_use(r, use, w.info.n_experts));
        const seen x = watch(s, &w);
        assert_int_equal(x.count[0][busy], 0);
        for (uint32_t t = 0; t < N; t++) assert_int_equal(x.k[0][t], before.k[0][t]); /* another steps in */
    }
    static const uint8_t drops[] = {MOE_USE_DROP, MOE_USE_DROP_RENORM};
    for (int i = 0; i < 2; i++) {
        use[busy] = drops[i];
        assert_ok(moe_router_set_use(r, use, w.info.n_experts));
        const seen x = watch(s, &w);
        assert_int_equal(x.count[0][busy], before.count[0][busy]);
        assert_true(x.weight[0][busy] == 0);
        assert_memory_equal(x.expert[0], before.expert[0], sizeof x.expert[0]);
    }
    use[busy] = MOE_USE_FORCE;
    assert_ok(moe_router_set_use(r, use, w.info.n_experts));
    const seen x = watch(s, &w);
    assert_int_equal(x.count[0][busy], N);
    for (uint32_t t = 0; t < N; t++) assert_int_equal(x.expert[0][t][0], busy);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* With one expert left the others are never acquired; a dropped layer acquires nothing. */
static void what_is_off_is_not_touched(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 2);
    uint8_t use[64];
    memset(use, MOE_USE_DROP, sizeof use);
    assert_ok(moe_router_set_use(router_of(s, MOE_ALL_LAYERS), use, w.info.n_experts));
    moe_session_reset_stats(s);
    free(run(s, &w, 0, N));
    assert_int_equal(acquired(s), 0);
    memset(use, MOE_USE_BAN, sizeof use);
    use[2] = MOE_USE_FREE;
    assert_ok(moe_router_set_use(router_of(s, MOE_ALL_LAYERS), use, w.info.n_experts));
    moe_session_reset_stats(s);
    free(run(s, &w, 0, N));
    assert_int_equal(acquired(s), w.info.n_moe_layers);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* A limit of one sequence leaves the others alone; with one expert it is the same as banning the rest. */
static void limits_are_per_sequence(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    moe_session *s = new_session(&w, 0, 2), *other = new_session(&w, 0, 2);
    const uint32_t ids[2] = {1, 3};
    assert_ok(moe_router_set_limit(router_of(s, MOE_ALL_LAYERS), 1, ids, 2));
    uint8_t use[64];
    memset(use, MOE_USE_BAN, sizeof use);
    use[1] = use[3] = MOE_USE_FREE;
    assert_ok(moe_router_set_use(router_of(other, MOE_ALL_LAYERS), use, w.info.n_experts));
    float *zero = run(s, &w, 0, N), *one = run(s, &w, 1, N), *banned = run(other, &w, 0, N);
    assert_true(same(&w, zero, native));
    assert_true(same(&w, one, banned));
    assert_false(same(&w, one, native));
    assert_ok(moe_router_set_limit(router_of(s, MOE_ALL_LAYERS), MOE_ALL_SEQS, NULL, 0));
    float *again = run(s, &w, 1, N);
    assert_true(same(&w, again, native));
    free(zero);
    free(one);
    free(banned);
    free(again);
    free(native);
    moe_session_free(s);
    moe_session_free(other);
    moe_model_release(w.m);
}

typedef struct captured {
    float row[8][64];
    uint32_t n;
} captured;

static int capture(const moe_route_view *v, void *user)
{
    captured *c = user;
    c->n = v->n_experts;
    memcpy(c->row[v->layer], v->logits + (size_t)(v->n_rows - 1) * v->n_logits, v->n_experts * sizeof(float));
    return 0;
}

/* C3PO: the model's own row changes nothing; another row at the last position changes that position only. */
static void overrides(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    moe_session *s = new_session(&w, 0, 2);
    captured c = {.n = 0};
    assert_ok(moe_session_observe(s, capture, &c));
    free(run(s, &w, 0, N));
    assert_ok(moe_session_observe(s, NULL, NULL));
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    o.kind = MOE_OVERRIDE_LOGITS;
    o.first = o.last = N - 1;
    for (uint32_t l = 0; l < w.info.n_layers; l++) {
        o.row = c.row[l];
        assert_ok(moe_router_add_override(router_of(s, l), &o));
    }
    float *x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    float flat[64] = {0};
    o.kind = MOE_OVERRIDE_SCORES;
    for (uint32_t e = 0; e < w.info.n_experts; e++) flat[e] = 1.0f / (float)(1 + e);
    o.row = flat;
    assert_ok(moe_router_add_override(router_of(s, MOE_ALL_LAYERS), &o));
    x = run(s, &w, 0, N);
    const size_t head = (N - 1) * (size_t)w.info.n_vocab * sizeof *x;
    assert_memory_equal(x, native, head);
    assert_false(same(&w, x, native));
    free(x);
    assert_ok(moe_router_clear_overrides(router_of(s, MOE_ALL_LAYERS)));
    x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    free(native);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* RICE and MoTE: multipliers before norm share, those behind it scale. */
static void multipliers(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 1);
    moe_router *r = router_of(s, 0);
    const seen before = watch(s, &w);
    float v[64];
    for (uint32_t e = 0; e < w.info.n_experts; e++) v[e] = 1;
    v[0] = 2;
    assert_ok(moe_router_set_values(r, MOE_EDIT_POST, v, w.info.n_experts));
    seen x = watch(s, &w);
    assert_true(fabsf(x.weight[0][0] - 2 * before.weight[0][0]) <= 1e-5f * (1 + before.weight[0][0]));
    assert_true(x.weight[0][1] == before.weight[0][1]);
    assert_ok(moe_router_set_values(r, MOE_EDIT_POST, NULL, 0));
    v[0] = 64;
    assert_ok(moe_router_set_values(r, MOE_EDIT_PRE, v, w.info.n_experts));
    x = watch(s, &w);
    float sum = 0;
    for (uint32_t e = 0; e < w.info.n_experts; e++) sum += x.weight[0][e];
    assert_true(fabsf(sum - (float)N) < 1e-3f); /* this family's weights sum to one */
    assert_true(x.weight[0][0] > before.weight[0][0]);
    float got[64];
    assert_ok(moe_router_get_values(r, MOE_EDIT_PRE, got, w.info.n_experts));
    assert_memory_equal(got, v, w.info.n_experts * sizeof *v);
    moe_session_free(s);
    moe_model_release(w.m);
}

static void copies(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *a = new_session(&w, 0, 1), *b = new_session(&w, 0, 2);
    float v[64];
    uint8_t use[64] = {0};
    for (uint32_t e = 0; e < w.info.n_experts; e++) v[e] = 0.1f * (float)e;
    use[1] = MOE_USE_BAN;
    assert_ok(moe_router_set_named(router_of(a, MOE_ALL_LAYERS), "topp:p=0.6"));
    assert_ok(moe_router_set_values(router_of(a, 0), MOE_EDIT_SELECT_BIAS, v, w.info.n_experts));
    assert_ok(moe_router_set_use(router_of(a, w.info.n_layers - 1), use, w.info.n_experts));
    assert_ok(moe_session_copy_routing(b, a));
    float *x = run(a, &w, 0, N), *y = run(b, &w, 0, 9);
    assert_true(same(&w, x, y));
    assert_ok(moe_router_reset(router_of(a, MOE_ALL_LAYERS))); /* b keeps its own */
    float *z = run(b, &w, 0, N);
    assert_true(same(&w, z, y));
    free(x);
    free(y);
    free(z);
    moe_session_free(a);
    z = run(b, &w, 0, N);
    free(z);
    moe_session_free(b);
    moe_model_release(w.m);
}

/* ---- policies ---- */

/* The two best by choice, like "topk:k=2", written by a program. */
static int two_best(void *state, const moe_route_input *in, moe_route_output *out)
{
    unsigned *calls = state;
    if (calls) ++*calls;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        const float *q = in->choice + t * in->stride;
        uint32_t a = 0, b = UINT32_MAX;
        for (uint32_t e = 1; e < in->n_experts; e++)
            if (q[e] > q[a]) a = e;
        for (uint32_t e = 0; e < in->n_experts; e++)
            if (e != a && (b == UINT32_MAX || q[e] > q[b])) b = e;
        out->offset[t] = 2 * t;
        out->expert[2 * t] = a;
        out->expert[2 * t + 1] = b;
    }
    out->offset[in->n_rows] = 2 * in->n_rows;
    return 0;
}

static moe_policy policy_of(uint32_t flags)
{
    moe_policy p = MOE_POLICY_INIT;
    p.name = "two-best";
    p.flags = flags;
    p.max_k = 2;
    p.route = two_best;
    return p;
}

static void a_policy_does_what_the_rule_does(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *rule = new_session(&w, 0, 2);
    assert_ok(moe_router_set_named(router_of(rule, MOE_ALL_LAYERS), "topk:k=2"));
    float *want = run(rule, &w, 0, N);
    static const uint32_t flags[] = {0, MOE_POLICY_PARALLEL, MOE_POLICY_BATCH_COUPLED, MOE_POLICY_HIDDEN};
    for (size_t i = 0; i < 4; i++) {
        moe_session *s = new_session(&w, 0, 3);
        const moe_policy p = policy_of(flags[i]);
        unsigned calls = 0;
        assert_ok(moe_router_set_policy(router_of(s, MOE_ALL_LAYERS), &p,
                                        flags[i] & MOE_POLICY_PARALLEL ? NULL : &calls));
        moe_router_info info = MOE_ROUTER_INFO_INIT;
        assert_ok(moe_router_get_info(router_of(s, 0), &info));
        assert_string_equal(info.policy, "two-best");
        assert_true(info.flags & MOE_ROUTER_CUSTOM);
        float *x = run(s, &w, 0, 13);
        if (!same(&w, x, want)) fail_msg("flags %u: other bits than the rule", flags[i]);
        free(x);
        if (!(flags[i] & MOE_POLICY_PARALLEL)) assert_int_equal(calls, 4 * w.info.n_moe_layers);
        assert_ok(moe_router_set_policy(router_of(s, MOE_ALL_LAYERS), NULL, NULL));
        x = run(s, &w, 0, N);
        float *native = plain(&w);
        assert_true(same(&w, x, native));
        free(native);
        free(x);
        moe_session_free(s);
    }
    free(want);
    moe_session_free(rule);
    moe_model_release(w.m);
}

typedef struct fault {
    int kind;
} fault;

static int faulty(void *state, const moe_route_input *in, moe_route_output *out)
{
    const fault *f = state;
    two_best(NULL, in, out);
    const uint32_t last = 2 * in->n_rows;
    switch (f->kind) {
    case 1: out->offset[0] = 1; break;
    case 2: out->offset[in->n_rows] = 2 * in->n_rows - 3; break;
    case 3: out->expert[last - 1] = in->n_experts + in->n_null; break;
    case 4: out->expert[last - 1] = 1; break; /* banned in the test */
    case 5: out->weight[last - 1] = NAN; break;
    case 6: out->offset[in->n_rows] = last + 1; break; /* one more than max_k */
    case 7: return 1;
    case 8: return -77;
    default: break;
    }
    return 0;
}

static void a_policy_s_result_is_checked(void **state)
{
    (void)state;
    static const struct {
        int kind, status;
        const char *text;
    } row[] = {{1, MOE_E_POLICY, "start at 0"},     {2, MOE_E_POLICY, "offsets fall"},
               {3, MOE_E_POLICY, "no such expert"}, {4, MOE_E_POLICY, "banned"},
               {5, MOE_E_POLICY, "not finite"},     {6, MOE_E_POLICY, "max_k"},
               {7, MOE_E_ABORTED, "stopped"},       {8, -77, "-77"}};
    world w = open_world(MODEL);
    float *native = plain(&w);
    uint8_t use[64] = {0};
    use[1] = MOE_USE_BAN;
    for (size_t parallel = 0; parallel < 2; parallel++)
        for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
            if (parallel && row[i].kind == 2) continue; /* one row cannot fall */
            moe_session *s = new_session(&w, 0, 2);
            fault f = {row[i].kind};
            moe_policy p = policy_of(MOE_POLICY_WEIGHTS | (parallel ? MOE_POLICY_PARALLEL : 0));
            p.route = faulty;
            moe_router *r = router_of(s, w.info.n_layers - 1);
            assert_ok(moe_router_set_use(r, use, w.info.n_experts));
            assert_ok(moe_router_set_policy(r, &p, &f));
            assert_refused(moe_session_eval(s, w.id, N), row[i].status, row[i].text);
            assert_int_equal(moe_session_seq_len(s, 0), 0);
            assert_ok(moe_router_reset(r));
            float *x = run(s, &w, 0, N);
            assert_true(same(&w, x, native));
            free(x);
            moe_session_free(s);
        }
    free(native);
    moe_model_release(w.m);
}

/* Nobody, an expert twice, no pair at all: legal. */
static int odd_but_legal(void *state, const moe_route_input *in, moe_route_output *out)
{
    (void)state;
    uint32_t at = 0;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        out->offset[t] = at;
        if (in->pos[t] % 3 == 0) continue;
        out->expert[at] = in->pos[t] % 3 == 1 ? MOE_EXPERT_NONE : 2;
        out->weight[at++] = 0.25f;
        out->expert[at] = 2;
        out->weight[at++] = 0.25f;
    }
    out->offset[in->n_rows] = at;
    return 0;
}

static void nobody_and_duplicates(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *first = NULL;
    for (size_t piece = 1; piece <= N; piece += 13) {
        moe_session *s = new_session(&w, 0, 2);
        moe_policy p = policy_of(MOE_POLICY_WEIGHTS);
        p.route = odd_but_legal;
        assert_ok(moe_router_set_named(router_of(s, MOE_ALL_LAYERS), "topk:weight=raw,norm=none"));
        assert_ok(moe_router_set_policy(router_of(s, MOE_ALL_LAYERS), &p, NULL));
        float *x = run(s, &w, 0, piece);
        for (size_t i = 0; i < N * (size_t)w.info.n_vocab; i++) assert_true(isfinite(x[i]));
        if (first) {
            assert_true(same(&w, first, x));
            free(x);
        } else {
            first = x;
        }
        moe_session_free(s);
    }
    free(first);
    moe_model_release(w.m);
}

typedef struct life {
    int made, ended, resets, copied, cut, removed;
} life;

static int life_create(void **st, const moe_policy_info *info, void *user)
{
    life *l = user;
    assert_int_equal(info->n_seq_max, 3);
    l->made++;
    *st = l;
    return l->made == 3 ? MOE_E_NOMEM : 0;
}
static void life_destroy(void *st) { ((life *)st)->ended++; }
static void life_reset(void *st, moe_seq q)
{
    (void)q;
    ((life *)st)->resets++;
}
static void life_copy(void *st, moe_seq a, moe_seq b)
{
    (void)a;
    (void)b;
    ((life *)st)->copied++;
}
static void life_cut(void *st, moe_seq q, moe_pos keep)
{
    (void)q;
    (void)keep;
    ((life *)st)->cut++;
}
static void life_remove(void *st, moe_seq q, moe_pos first, moe_pos n)
{
    if (q == 1 && first == 1 && n == 2) ((life *)st)->removed++;
}
static int life_route(void *st, const moe_route_input *in, moe_route_output *out)
{
    (void)st;
    return two_best(NULL, in, out);
}

typedef struct stored {
    char data[1 << 20];
    size_t n, at;
} stored;

static int store(const void *data, size_t n, void *user)
{
    stored *x = user;
    if (n > sizeof x->data - x->n) return -1;
    memcpy(x->data + x->n, data, n);
    x->n += n;
    return 0;
}

static int fetch(void *data, size_t n, void *user)
{
    stored *x = user;
    if (n > x->n - x->at) return -1;
    memcpy(data, x->data + x->at, n);
    x->at += n;
    return 0;
}

/* A saved session that takes the place of what was there ends what policies knew of it. */
static void save_and_load(moe_session *s)
{
    stored *x = calloc(1, sizeof *x);
    assert_non_null(x);
    assert_ok(moe_session_save(s, store, x));
    assert_ok(moe_session_load(s, fetch, x));
    free(x);
}

/* create and destroy come in pairs, whatever fails; sequences are told about. */
static void states_of_policies(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 1);
    life l = {0};
    moe_policy p = policy_of(0);
    p.create = life_create;
    p.destroy = life_destroy;
    p.seq_reset = life_reset;
    p.seq_copy = life_copy;
    p.seq_truncate = life_cut;
    p.route = life_route;
    p.seq_remove = life_remove;
    moe_router *r = router_of(s, 0);
    assert_ok(moe_router_set_policy(r, &p, &l));
    assert_ok(moe_session_eval(s, w.id, 5));
    assert_ok(moe_session_seq_copy(s, 0, 1));
    assert_ok(moe_session_seq_remove(s, 1, 1, 2));
    assert_ok(moe_session_seq_truncate(s, 1, 2));
    moe_session_reset(s);
    assert_int_equal(l.removed, 1);
    assert_int_equal(l.copied, 1);
    assert_int_equal(l.cut, 1);
    assert_int_equal(l.resets, 1);
    save_and_load(s);
    assert_int_equal(l.resets, 2);
    moe_session_interrupt(s);
    assert_int_equal(moe_session_eval(s, w.id, 5), MOE_E_ABORTED);
    assert_int_equal(l.cut, 2);
    moe_session *copy = new_session(&w, 0, 1);
    assert_ok(moe_session_copy_routing(copy, s)); /* the second state */
    l.made = 2;
    assert_refused(moe_router_set_policy(r, &p, &l), MOE_E_NOMEM,
                   "create"); /* the third fails: the old one stays */
    assert_ok(moe_session_eval(s, w.id, 5));
    moe_session_free(copy);
    assert_int_equal(l.ended, 1);
    assert_ok(moe_router_reset(r));
    assert_int_equal(l.ended, 2);
    moe_session_free(s);
    assert_int_equal(l.ended, 2);
    moe_model_release(w.m);
}

/* ---- batch-coupled rules ---- */

static void expert_choice_wants_whole_sequences(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 2);
    moe_router *all = router_of(s, MOE_ALL_LAYERS);
    assert_ok(moe_router_set_named(all, "expertchoice:c=2"));
    moe_router_info info = MOE_ROUTER_INFO_INIT;
    assert_ok(moe_router_get_info(router_of(s, 0), &info));
    assert_true(info.flags & MOE_ROUTER_BATCH_COUPLED);
    assert_ok(moe_session_eval(s, w.id, N));
    assert_refused(moe_session_eval(s, w.id, 1), MOE_E_STATE, "whole sequences");
    assert_int_equal(moe_session_seq_len(s, 0), N);
    assert_ok(moe_router_set_named(all, "expertchoice:c=2,noncausal=1"));
    assert_ok(moe_session_eval(s, w.id, 1));
    moe_session_free(s);
    moe_model_release(w.m);
}

/* Room for everybody drops nobody; room for few drops late rows first. */
static void capacity_drops(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    moe_session *s = new_session(&w, 0, 2);
    moe_router *all = router_of(s, MOE_ALL_LAYERS);
    char text[64];
    snprintf(text, sizeof text, "topk:capacity=%u", w.info.n_experts);
    assert_ok(moe_router_set_named(all, text));
    float *x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    assert_ok(moe_router_set_named(all, "topk:capacity=0.25"));
    x = run(s, &w, 0, N);
    assert_false(same(&w, x, native));
    free(x);
    x = run(s, &w, 0, 1); /* one row at a time: every expert has a place */
    free(x);
    free(native);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* ---- looking ---- */

static int keep_view(const moe_route_view *v, void *user)
{
    moe_route_view *into = user;
    if (v->layer != 0) return 0;
    float *w = (float *)(uintptr_t)into->weight;
    uint32_t *e = (uint32_t *)(uintptr_t)into->expert;
    into->n_rows = v->n_rows;
    memcpy(w, v->weight, v->offset[v->n_rows] * sizeof *w);
    memcpy(e, v->expert, v->offset[v->n_rows] * sizeof *e);
    return 0;
}

static void kept_routes_are_what_was_observed(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, MOE_SESSION_KEEP_ROUTES, 2);
    static uint32_t expert[N * 64];
    static float weight[N * 64];
    moe_route_view mine = {.size = sizeof mine, .expert = expert, .weight = weight}, v = {.size = sizeof v};
    assert_refused(moe_router_last(router_of(s, 0), &v), MOE_E_STATE, "nothing was evaluated");
    assert_ok(moe_session_observe(s, keep_view, &mine));
    assert_ok(moe_session_eval(s, w.id, N));
    assert_ok(moe_router_last(router_of(s, 0), &v));
    assert_int_equal(v.n_rows, N);
    assert_int_equal(v.layer, 0);
    assert_memory_equal(v.expert, expert, v.offset[N] * sizeof *expert);
    assert_memory_equal(v.weight, weight, v.offset[N] * sizeof *weight);
    assert_int_equal(v.token[N - 1], w.id[N - 1]);
    moe_session_free(s);
    moe_model_release(w.m);
}

static int stop_at_once(const moe_layer_event *e, void *user)
{
    (void)e;
    (void)user;
    return 1;
}

/* They stay together with their tokens, whatever is routed or stopped afterwards. */
static void kept_routes_have_their_tokens(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, MOE_SESSION_KEEP_ROUTES, 2);
    moe_route_view v = {.size = sizeof v}, own = {.size = sizeof own};
    static float x[2 * 512];
    assert_ok(moe_session_eval(s, w.id, 10));
    assert_ok(moe_router_route(router_of(s, 0), x, 2, &own));
    assert_int_equal(own.token[0], MOE_TOKEN_NONE);
    assert_ok(moe_session_on_layer(s, 0, MOE_AT_OUTPUT, stop_at_once, NULL));
    assert_refused(moe_session_eval(s, w.id + 20, 3), MOE_E_ABORTED, "");
    assert_ok(moe_router_last(router_of(s, 1), &v));
    assert_int_equal(v.n_rows, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(v.token[i], w.id[i]);
        assert_int_equal(v.pos[i], i);
        assert_int_equal(v.seq[i], 0);
    }
    moe_session_free(s);
    moe_model_release(w.m);
}

/* Looks for the forced expert 3 among those that may be chosen; needs no hidden rows, and gets none. */
static int note_choice(void *state, const moe_route_input *in, moe_route_output *out)
{
    float *choice = state;
    assert_null(in->hidden);
    out->offset[0] = 0;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        *choice = in->choice[t * in->stride + 3];
        out->expert[t] = 1;
        out->offset[t + 1] = t + 1;
    }
    return 0;
}

/* A limit is stronger than a force, for a program's own policy too. */
static void limits_before_forces(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 2);
    moe_router *r = router_of(s, 1);
    static const uint32_t allowed[] = {1, 2};
    uint8_t use[64] = {0};
    float choice = 0;
    moe_policy p = MOE_POLICY_INIT;
    p.name = "choice";
    p.route = note_choice;
    p.max_k = 1;
    use[3] = MOE_USE_FORCE;
    assert_ok(moe_router_set_use(r, use, w.info.n_experts));
    assert_ok(moe_router_set_policy(r, &p, &choice));
    assert_ok(moe_session_eval(s, w.id, 1));
    assert_true(choice == INFINITY);
    assert_ok(moe_router_set_limit(r, 0, allowed, 2));
    assert_ok(moe_session_eval(s, w.id, 1));
    assert_true(choice == -INFINITY);
    moe_session_free(s);
    moe_model_release(w.m);
}

typedef struct hidden_rows {
    float x[N * 512];
    uint32_t dim, calls;
    int layer, where;
    float add;
} hidden_rows;

static int hook(const moe_layer_event *e, void *user)
{
    hidden_rows *h = user;
    h->calls++;
    h->dim = e->dim;
    assert_int_equal((int)e->layer, h->layer);
    assert_int_equal(e->where, h->where);
    memcpy(h->x, e->hidden, (size_t)e->n_rows * e->dim * sizeof *h->x);
    for (size_t i = 0; h->add != 0 && i < (size_t)e->n_rows * e->dim; i++) e->hidden[i] += h->add;
    return 0;
}

/* What the hook sees before the router, routed again, gives what the layer chose; reading changes nothing. */
static void rows_of_the_program_s_own(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    float *native = plain(&w);
    static hidden_rows h;
    memset(&h, 0, sizeof h);
    h.layer = 1;
    h.where = MOE_AT_ROUTER;
    moe_session *s = new_session(&w, MOE_SESSION_KEEP_ROUTES, 2);
    assert_ok(moe_session_on_layer(s, 1, MOE_AT_ROUTER, hook, &h));
    float *x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    assert_int_equal(h.calls, 1);
    free(x);
    moe_route_view last = {.size = sizeof last}, v = {.size = sizeof v};
    assert_ok(moe_router_last(router_of(s, 1), &last));
    assert_ok(moe_router_route(router_of(s, 1), h.x, N, &v));
    assert_int_equal(v.n_rows, N);
    assert_memory_equal(v.offset, last.offset, (N + 1) * sizeof *v.offset);
    assert_memory_equal(v.expert, last.expert, v.offset[N] * sizeof *v.expert);
    assert_memory_equal(v.weight, last.weight, v.offset[N] * sizeof *v.weight);
    assert_refused(moe_router_route(router_of(s, 1), h.x, 0, &v), MOE_E_INVALID, "rows");
    assert_refused(moe_router_route(router_of(s, 1), h.x, 100000, &v), MOE_E_INVALID, "rows");
    x = run(s, &w, 0, N);
    assert_true(same(&w, x, native));
    free(x);
    free(native);
    moe_session_free(s);
    moe_model_release(w.m);
}

static void hooks_see_and_edit_every_place(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        world w = open_world(test_models[i]);
        float *native = plain(&w);
        for (int where = MOE_AT_INPUT; where <= MOE_AT_OUTPUT; where++)
            for (uint32_t l = 0; l < w.info.n_layers; l++) {
                static hidden_rows h;
                memset(&h, 0, sizeof h);
                h.layer = (int)l;
                h.where = where;
                moe_session *s = new_session(&w, 0, 2);
                assert_ok(moe_session_on_layer(s, l, where, hook, &h));
                float *x = run(s, &w, 0, N);
                if (!same(&w, x, native))
                    fail_msg("%s: looking at layer %u, place %d changed bits", test_models[i], l, where);
                if (h.calls != 1)
                    fail_msg("%s: layer %u, place %d: %u calls", test_models[i], l, where, h.calls);
                free(x);
                h.add = 0.125f;
                float *a = run(s, &w, 0, N), *b = run(s, &w, 0, 1);
                assert_false(same(&w, a, native));
                assert_true(same(&w, a, b));
                free(a);
                free(b);
                assert_ok(moe_session_on_layer(s, l, where, NULL, NULL));
                x = run(s, &w, 0, N);
                assert_true(same(&w, x, native));
                free(x);
                moe_session_free(s);
            }
        free(native);
        moe_model_release(w.m);
    }
}

static int meddle(const moe_route_view *v, void *user)
{
    (void)v;
    moe_session *s = user;
    moe_router *r;
    assert_ok(moe_session_router(s, 0, &r));
    assert_int_equal(moe_router_set_named(r, "topk:k=1"), MOE_E_STATE);
    assert_int_equal(moe_router_reset(r), MOE_E_STATE);
    assert_int_equal(moe_router_set_values(r, MOE_EDIT_PRE, NULL, 0), MOE_E_STATE);
    moe_router_info info = MOE_ROUTER_INFO_INIT;
    assert_ok(moe_router_get_info(r, &info));
    return 0;
}

static void callbacks_cannot_change_the_session(void **state)
{
    (void)state;
    world w = open_world(MODEL);
    moe_session *s = new_session(&w, 0, 2);
    assert_ok(moe_session_observe(s, meddle, s));
    assert_ok(moe_session_eval(s, w.id, 3));
    moe_session_free(s);
    moe_model_release(w.m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(causal_rules_do_not_see_threads_or_splits),
        cmocka_unit_test(native_by_any_name_is_native),
        cmocka_unit_test(keeping_all_is_dense),
        cmocka_unit_test(refusals_leave_things_alone),
        cmocka_unit_test(bans_and_drops),
        cmocka_unit_test(what_is_off_is_not_touched),
        cmocka_unit_test(limits_are_per_sequence),
        cmocka_unit_test(overrides),
        cmocka_unit_test(multipliers),
        cmocka_unit_test(copies),
        cmocka_unit_test(a_policy_does_what_the_rule_does),
        cmocka_unit_test(a_policy_s_result_is_checked),
        cmocka_unit_test(nobody_and_duplicates),
        cmocka_unit_test(states_of_policies),
        cmocka_unit_test(expert_choice_wants_whole_sequences),
        cmocka_unit_test(capacity_drops),
        cmocka_unit_test(kept_routes_are_what_was_observed),
        cmocka_unit_test(kept_routes_have_their_tokens),
        cmocka_unit_test(limits_before_forces),
        cmocka_unit_test(rows_of_the_program_s_own),
        cmocka_unit_test(hooks_see_and_edit_every_place),
        cmocka_unit_test(callbacks_cannot_change_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
