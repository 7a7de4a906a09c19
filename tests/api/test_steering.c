/* SPDX-License-Identifier: MIT */
/*
 * Steering files: what is saved comes back to the bit, in text and in routing; another model's, damaged and
 * unknown things are refused with their place, and leave the session as it was.
 */
#include "support.h"

#include <math.h>

#include "../alloc/faulty.h"

#define N      24u
#define N_SEQS 3u

typedef struct text {
    char *p;
    size_t n, cap;
} text;

static int keep_text(const void *data, size_t n, void *user)
{
    text *t = user;
    if (n > t->cap - t->n) {
        t->cap = 2 * (t->cap + n) + 1;
        t->p = realloc(t->p, t->cap);
        if (!t->p) abort();
    }
    memcpy(t->p + t->n, data, n);
    t->n += n;
    t->p[t->n] = 0;
    return 0;
}

static text save(const moe_session *s)
{
    text t = {NULL, 0, 0};
    assert_ok(moe_session_save_steering(s, keep_text, &t));
    return t;
}

static void assert_same_text(const text *a, const text *b)
{
    if (a->n != b->n || memcmp(a->p, b->p, a->n) != 0) fail_msg("texts differ:\n%s\n%s", a->p, b->p);
}

#define HEAD        "{\"format\":\"libmoe-steering\",\"version\":1,\"model\":{\"fingerprint\":\"any\"},"
#define LAYER(text) HEAD "\"layers\":[{\"layer\":1," text "}]}"

static uint32_t seed = 1;

static uint32_t draw(uint32_t n)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % n;
}

/* Any finite float up to about `size`, with all its bits. */
static float draw_float(float size) { return ((float)draw(1 << 24) / 8388608.0f - 1.0f) * size; }

typedef struct world {
    moe_model *m;
    moe_model_info info;
    moe_token id[2 * N];
} world;

static world open_world(const char *path)
{
    world w = {.m = open_model(path, 0), .info = MOE_MODEL_INFO_INIT};
    assert_ok(moe_model_get_info(w.m, &w.info));
    fill_tokens(w.m, w.id, 2 * N, 11);
    return w;
}

static moe_session *new_session(const world *w, uint32_t n_seq_max)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = 2;
    o.n_output_max = 2 * N;
    o.n_seq_max = n_seq_max;
    return make_session(w->m, o);
}

static moe_router *router_of(moe_session *s, uint32_t layer)
{
    moe_router *r = NULL;
    const int st = moe_session_router(s, layer, &r);
    assert_true(st == MOE_OK || st == MOE_E_NOTFOUND);
    return r;
}

/* Logits of N tokens in each of two sequences, in one batch. */
static float *run(moe_session *s, const world *w)
{
    moe_seq seq[2 * N];
    uint8_t want[2 * N];
    const size_t row = w->info.n_vocab;
    float *out = malloc(2 * N * row * sizeof *out);
    moe_batch b = MOE_BATCH_INIT;
    assert_non_null(out);
    for (uint32_t i = 0; i < 2 * N; i++) {
        seq[i] = (moe_seq)(i % 2);
        want[i] = MOE_WANT_LOGITS;
    }
    b.n_tokens = 2 * N;
    b.token = w->id;
    b.seq = seq;
    b.want = want;
    moe_session_reset(s);
    assert_ok(moe_session_eval_batch(s, &b));
    for (size_t i = 0; i < 2 * N; i++) {
        const float *x;
        assert_ok(moe_session_logits(s, i, &x, NULL));
        memcpy(out + i * row, x, row * sizeof *x);
    }
    return out;
}

static int same_logits(moe_session *a, moe_session *b, const world *w)
{
    float *x = run(a, w), *y = run(b, w);
    const int same = memcmp(x, y, 2 * N * w->info.n_vocab * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

/* ---- steering of every sort, at random */

static void steer_values(moe_router *r, const world *w)
{
    const uint32_t n = w->info.n_experts;
    float v[256];
    for (int kind = MOE_EDIT_LOGIT_BIAS; kind <= MOE_EDIT_GAIN; kind++) {
        if (draw(2)) continue;
        const float neutral = kind <= MOE_EDIT_SELECT_BIAS ? 0.0f : 1.0f;
        for (uint32_t e = 0; e < n; e++) v[e] = draw(3) ? neutral : neutral + draw_float(0.5f);
        assert_ok(moe_router_set_values(r, kind, v, n));
    }
}

static void steer_uses(moe_router *r, const world *w)
{
    static const uint8_t some[] = {MOE_USE_BAN, MOE_USE_BAN_SCORED, MOE_USE_DROP, MOE_USE_DROP_RENORM,
                                   MOE_USE_FORCE};
    const uint32_t n = w->info.n_experts;
    uint8_t use[256] = {0};
    int forced = 0;
    for (uint32_t e = 0; e < n; e++) {
        if (draw(4)) continue;
        use[e] = some[draw(forced ? 4 : 5)];
        forced |= use[e] == MOE_USE_FORCE;
    }
    use[n - 1] = MOE_USE_FREE;
    use[n - 2] = MOE_USE_FREE;
    assert_ok(moe_router_set_use(r, use, n));
}

static void steer_limits(moe_router *r, const world *w, uint32_t n_seqs)
{
    const uint32_t n = w->info.n_experts;
    for (uint32_t q = 0; q < n_seqs; q++) {
        uint32_t ids[256], k = 0;
        if (draw(2)) continue;
        for (uint32_t e = 0; e + 2 < n; e++)
            if (draw(3)) ids[k++] = e;
        ids[k++] = n - 2;
        ids[k++] = n - 1;
        assert_ok(moe_router_set_limit(r, draw(8) ? (moe_seq)q : MOE_ALL_SEQS, ids, k));
    }
}

static void steer_overrides(moe_router *r, const world *w, uint32_t n_seqs)
{
    const uint32_t n = w->info.n_experts;
    for (uint32_t i = draw(3); i > 0; i--) {
        moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
        float row[256];
        o.kind = draw(2) ? MOE_OVERRIDE_LOGITS : MOE_OVERRIDE_SCORES;
        for (uint32_t e = 0; e < n; e++) {
            row[e] = o.kind == MOE_OVERRIDE_LOGITS ? draw_float(4) : fabsf(draw_float(1)) + 0.001f;
            if (o.kind == MOE_OVERRIDE_LOGITS && e < n / 4 && draw(4) == 0) row[e] = -INFINITY;
        }
        if (draw(2)) o.seq = (moe_seq)draw(n_seqs);
        o.first = (moe_pos)draw(N);
        if (draw(2)) o.last = o.first + (moe_pos)draw(8);
        o.row = row;
        assert_ok(moe_router_add_override(r, &o));
    }
}

static void steer_redirects(moe_session *s, moe_router *r, const world *w)
{
    for (uint32_t i = draw(4); i > 0; i--) {
        moe_expert *e;
        uint32_t layer = draw(w->info.n_layers);
        if (!router_of(s, layer)) layer = MOE_ALL_LAYERS;
        assert_ok(moe_router_expert(r, draw(w->info.n_experts), &e));
        assert_ok(moe_expert_redirect(e, layer, draw(w->info.n_experts)));
    }
}

static void steer(moe_session *s, const world *w, uint32_t n_seqs)
{
    static const char *const routes[] = {"native",
                                         "topk:k=3",
                                         "topk:k=1,scale=0.7",
                                         "topp:p=0.6,kmin=2,kmax=4",
                                         "minp:p=0.3",
                                         "topk:temp=1.3333334",
                                         "random:seed=12345678901",
                                         "topk:k=2,score=sigmoid"};
    for (uint32_t l = 0; l < w->info.n_layers; l++) {
        moe_router *r = router_of(s, l);
        if (!r || draw(4) == 0) continue;
        assert_ok(moe_router_set_named(r, routes[draw(sizeof routes / sizeof routes[0])]));
        steer_values(r, w);
        if (draw(2)) steer_uses(r, w);
        steer_limits(r, w, n_seqs);
        steer_overrides(r, w, n_seqs);
        steer_redirects(s, r, w);
    }
}

static void saved_steering_comes_back_to_the_bit(void **state)
{
    (void)state;
    int moved = 0, rounds = 0;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        world w = open_world(test_models[i]);
        moe_session *plain = new_session(&w, N_SEQS), *a = new_session(&w, N_SEQS),
                    *b = new_session(&w, N_SEQS);
        for (int round = 0; round < 12; round++, rounds++) {
            moe_router *all = router_of(a, MOE_ALL_LAYERS);
            assert_ok(moe_router_reset(all));
            steer(a, &w, N_SEQS);
            text t = save(a);
            /* b still has the steering of the round before: all of it is replaced */
            assert_ok(moe_session_load_steering(b, t.p, t.n));
            text u = save(b);
            assert_same_text(&t, &u);
            assert_true(same_logits(a, b, &w));
            moved += !same_logits(a, plain, &w);
            free(t.p);
            free(u.p);
        }
        moe_session_free(plain);
        moe_session_free(a);
        moe_session_free(b);
        moe_model_release(w.m);
    }
    assert_true(moved > rounds * 3 / 4);
}

static void numbers_come_back_through_the_getters(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *a = new_session(&w, N_SEQS), *b = new_session(&w, N_SEQS);
    const uint32_t n = w.info.n_experts;
    float x[256], y[256];
    uint8_t use[256] = {0}, back[256];
    moe_expert *e;
    moe_expert_info info = MOE_EXPERT_INFO_INIT;
    for (uint32_t i = 0; i < n; i++) x[i] = i % 3 ? 1.0f : powf(10.0f, (float)i - 20.0f) * 1.2345678f;
    x[1] = -0.0f;
    use[2] = MOE_USE_DROP_RENORM;
    assert_ok(moe_router_set_values(router_of(a, 1), MOE_EDIT_GAIN, x, n));
    assert_ok(moe_router_set_use(router_of(a, 1), use, n));
    assert_ok(moe_router_expert(router_of(a, 1), 3, &e));
    assert_ok(moe_expert_redirect(e, 0, 5));
    text t = save(a);
    assert_ok(moe_session_load_steering(b, t.p, t.n));
    assert_ok(moe_router_get_values(router_of(b, 1), MOE_EDIT_GAIN, y, n));
    assert_memory_equal(x, y, n * sizeof *x);
    assert_ok(moe_router_get_use(router_of(b, 1), back, n));
    assert_memory_equal(use, back, n);
    assert_ok(moe_router_expert(router_of(b, 1), 3, &e));
    assert_ok(moe_expert_get_info(e, &info));
    assert_int_equal(info.source, MOE_SOURCE_REDIRECT);
    assert_int_equal(info.src_layer, 0);
    assert_int_equal(info.src_index, 5);
    free(t.p);
    moe_session_free(a);
    moe_session_free(b);
    moe_model_release(w.m);
}

/* The smallest files that a small change can make. */
static void one_thing_at_a_time(void **state)
{
    (void)state;
    world w = open_world("tests/golden/data/qwen3moe.gguf");
    moe_session *a = new_session(&w, 1), *b = new_session(&w, 1);
    const uint32_t n = w.info.n_experts, ids[] = {0, 1, 2, 5};
    float x[256] = {0}, y[256];
    moe_router *r = router_of(a, 1), *s = router_of(b, 1);
    moe_expert *e;
    text t;
    /* a redirection alone; one to the expert itself is none */
    assert_ok(moe_router_expert(r, 3, &e));
    assert_ok(moe_expert_redirect(e, 1, 4));
    t = save(a);
    assert_non_null(strstr(t.p, "\"redirects\""));
    free(t.p);
    static const char itself[] = LAYER("\"redirects\":[{\"expert\":3,\"to_expert\":3}]");
    assert_ok(moe_session_load_steering(a, itself, sizeof itself - 1));
    t = save(a);
    assert_null(strstr(t.p, "\"layer\""));
    free(t.p);
    /* a zero with a sign */
    x[1] = 0.5f;
    x[2] = -0.0f;
    assert_ok(moe_router_set_values(r, MOE_EDIT_LOGIT_BIAS, x, n));
    t = save(a);
    assert_ok(moe_session_load_steering(b, t.p, t.n));
    assert_ok(moe_router_get_values(s, MOE_EDIT_LOGIT_BIAS, y, n));
    assert_memory_equal(x, y, n * sizeof *x);
    free(t.p);
    /* the first position alone */
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    o.kind = MOE_OVERRIDE_LOGITS;
    o.last = 0;
    o.row = x;
    assert_ok(moe_router_reset(r));
    assert_ok(moe_router_add_override(r, &o));
    t = save(a);
    assert_non_null(strstr(t.p, "\"last\": 0"));
    free(t.p);
    /* the only sequence is sequence 0, not all that another session has */
    assert_ok(moe_router_reset(r));
    assert_ok(moe_router_set_limit(r, 0, ids, 4));
    t = save(a);
    assert_non_null(strstr(t.p, "\"seq\": 0"));
    free(t.p);
    moe_session_free(a);
    moe_session_free(b);
    moe_model_release(w.m);
}

/* Recipes that need room of their own, in a session that never had them: places of experts, scaled inputs. */
static void recipes_that_take_room(void **state)
{
    (void)state;
    static const char *const routes[] = {"topk:k=2,capacity=1.25", "topk:k=2,input=1",
                                         "expertchoice:c=2,noncausal=1"};
    world w = open_world("examples/models/demo.gguf");
    moe_session *plain = new_session(&w, N_SEQS);
    for (size_t i = 0; i < 3; i++) {
        moe_session *a = new_session(&w, N_SEQS), *b = new_session(&w, N_SEQS);
        assert_ok(moe_router_set_named(router_of(a, MOE_ALL_LAYERS), routes[i]));
        text t = save(a);
        assert_ok(moe_session_load_steering(b, t.p, t.n));
        assert_true(same_logits(a, b, &w));
        assert_false(same_logits(b, plain, &w));
        free(t.p);
        moe_session_free(a);
        moe_session_free(b);
    }
    moe_session_free(plain);
    moe_model_release(w.m);
}

static int keep_first(void *user, const moe_route_input *in, moe_route_output *out)
{
    (void)user;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        out->expert[t] = 0;
        out->weight[t] = 1;
        out->offset[t + 1] = t + 1;
    }
    return 0;
}

static int double_rows(const moe_expert_call *c, void *user)
{
    (void)user;
    for (size_t i = 0; i < (size_t)c->n_rows * c->dim; i++) c->y[i] = 2 * c->x[i];
    return 0;
}

static void set_policy(moe_session *s, uint32_t layer)
{
    moe_policy p = MOE_POLICY_INIT;
    p.name = "keep-first";
    p.flags = MOE_POLICY_WEIGHTS;
    p.max_k = 1;
    p.route = keep_first;
    assert_ok(moe_router_set_policy(router_of(s, layer), &p, NULL));
}

/* What a file cannot hold is told before a byte is written; a load takes such things away. */
static void code_and_weights_cannot_be_saved(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *s = new_session(&w, 1), *plain = new_session(&w, N_SEQS);
    text none = {NULL, 0, 0}, own = save(s);
    moe_expert *e;
    set_policy(s, 1);
    assert_refused(moe_session_save_steering(s, keep_text, &none), MOE_E_UNSUPPORTED,
                   "layer 1: the policy keep-first");
    assert_refused(moe_session_save_steering_file(s, "steering-test.json"), MOE_E_UNSUPPORTED, "layer 1");
    assert_ok(moe_router_reset(router_of(s, MOE_ALL_LAYERS)));
    assert_ok(moe_router_expert(router_of(s, 0), 2, &e));
    assert_ok(moe_expert_replace_fn(e, double_rows, NULL));
    assert_refused(moe_session_save_steering(s, keep_text, &none), MOE_E_UNSUPPORTED,
                   "layer 0, expert 2 uses a function");
    assert_null(none.p);
    moe_session *t = new_session(&w, N_SEQS);
    set_policy(t, 1);
    assert_ok(moe_router_expert(router_of(t, 0), 2, &e));
    assert_ok(moe_expert_replace_fn(e, double_rows, NULL));
    assert_false(same_logits(t, plain, &w));
    assert_ok(moe_session_load_steering(t, own.p, own.n));
    assert_true(same_logits(t, plain, &w));
    moe_router_info info = MOE_ROUTER_INFO_INIT;
    assert_ok(moe_router_get_info(router_of(t, 1), &info));
    assert_true(info.flags & MOE_ROUTER_NATIVE);
    free(own.p);
    moe_session_free(s);
    moe_session_free(t);
    moe_session_free(plain);
    moe_model_release(w.m);
}

static void brought_weights_cannot_be_saved(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *s = new_session(&w, 1);
    text none = {NULL, 0, 0};
    moe_expert_weights x = MOE_EXPERT_WEIGHTS_INIT;
    moe_weights *brought;
    moe_expert *e;
    const size_t n = (size_t)w.info.dim * w.info.dim_ff_expert;
    float *zero = calloc(n, sizeof *zero);
    assert_non_null(zero);
    x.type_gate = x.type_up = x.type_down = MOE_TYPE_F32;
    x.dim = w.info.dim;
    x.dim_ff = w.info.dim_ff_expert;
    x.gate = x.up = x.down = zero;
    x.gate_bytes = x.up_bytes = x.down_bytes = n * sizeof *zero;
    assert_ok(moe_weights_create(&brought, w.m, &x));
    assert_ok(moe_router_expert(router_of(s, 1), 4, &e));
    assert_ok(moe_expert_replace(e, brought));
    assert_refused(moe_session_save_steering(s, keep_text, &none), MOE_E_UNSUPPORTED,
                   "layer 1, expert 4 uses weights");
    assert_null(none.p);
    free(zero);
    moe_weights_release(brought);
    moe_session_free(s);
    moe_model_release(w.m);
}

static void another_model_is_refused(void **state)
{
    (void)state;
    world w = open_world(test_models[1]), v = open_world(test_models[0]);
    moe_session *a = new_session(&w, 1), *b = new_session(&v, 1);
    assert_ok(moe_router_set_named(router_of(a, MOE_ALL_LAYERS), "topk:k=1"));
    text t = save(a), before = save(b);
    char want[64], found[64];
    snprintf(want, sizeof want, "its fingerprint is %016llx", (unsigned long long)w.info.fingerprint);
    snprintf(found, sizeof found, "the session's %016llx", (unsigned long long)v.info.fingerprint);
    assert_true(w.info.fingerprint != v.info.fingerprint && w.info.fingerprint != 0);
    assert_refused(moe_session_load_steering(b, t.p, t.n), MOE_E_STATE, want);
    assert_refused(moe_session_load_steering(b, t.p, t.n), MOE_E_STATE, found);
    text after = save(b);
    assert_same_text(&before, &after);
    static const char any[] =
        "{\"format\": \"libmoe-steering\", \"version\": 1, \"model\": {\"fingerprint\": \"any\"}, "
        "\"layers\": [{\"layer\": 1, \"route\": \"topk:k=1\"}]}";
    assert_ok(moe_session_load_steering(b, any, sizeof any - 1));
    free(t.p);
    free(before.p);
    free(after.p);
    moe_session_free(a);
    moe_session_free(b);
    moe_model_release(w.m);
    moe_model_release(v.m);
}

/* ---- damage */

/* Layer 0 of this model is dense, layer 1 and those behind it have experts. */
#define DAMAGE_MODEL "tests/golden/data/qwen3moe-dense.gguf"

static void faults_are_refused_with_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
        const char *message;
    } row[] = {
        {"", MOE_E_FORMAT, "steering: line 1, column 1 (byte 0): expected a value"},
        {"[]", MOE_E_FORMAT, "expected an object"},
        {"{}", MOE_E_FORMAT, "expected \"format\""},
        {"{\"format\":\"other\",\"version\":1}", MOE_E_FORMAT, "column 11 (byte 10): expected \"format\""},
        {"{\"format\":\"libmoe-steering\"}", MOE_E_FORMAT, "\"version\" is missing"},
        {"{\"format\":\"libmoe-steering\",\"version\":2,\"new\":{}}", MOE_E_VERSION, "version 2"},
        {"{\"format\":\"libmoe-steering\",\"version\":0}", MOE_E_VERSION, "version 0"},
        {"{\"format\":\"libmoe-steering\",\"version\":\"1\"}", MOE_E_FORMAT, "version: expected a number"},
        {"{\"format\":\"libmoe-steering\",\"version\":1,\"layers\":[]}", MOE_E_FORMAT,
         "\"model\" is missing"},
        {"{\"format\":\"libmoe-steering\",\"version\":1,\"model\":{}}", MOE_E_FORMAT,
         "\"fingerprint\" is missing"},
        {"{\"format\":\"libmoe-steering\",\"version\":1,\"model\":{\"fingerprint\":\"12\"}}", MOE_E_STATE,
         "another model"},
        {HEAD "\"extra\":1}", MOE_E_FORMAT, "the key \"extra\" is not known here"},
        {HEAD "\"layers\":{}}", MOE_E_FORMAT, "layers: expected an array"},
        {HEAD "\"layers\":[7]}", MOE_E_FORMAT, "layers: expected an object, found a number"},
        {HEAD "\"layers\":[{}]}", MOE_E_FORMAT, "\"layer\" is missing"},
        {HEAD "\"layers\":[{\"layer\":99}]}", MOE_E_RANGE, "layer 99"},
        {HEAD "\"layers\":[{\"layer\":-1}]}", MOE_E_FORMAT, "layer: expected a whole number"},
        {HEAD "\"layers\":[{\"layer\":1.0}]}", MOE_E_FORMAT, "layer: expected a whole number"},
        {HEAD "\"layers\":[{\"layer\":0}]}", MOE_E_RANGE, "layer 0 is dense"},
        {HEAD "\"layers\":[{\"layer\":1},{\"layer\":1}]}", MOE_E_FORMAT, "layer 1 stands here twice"},
        {LAYER("\"rout\":\"native\""), MOE_E_FORMAT,
         "the key \"rout\" is not known here; known are: layer, route, use"},
        {LAYER("\"route\":7"), MOE_E_FORMAT, "route: expected a string"},
        {LAYER("\"route\":\"best\""), MOE_E_INVALID,
         "(byte 99): routing text, byte 0: there is no recipe 'best'"},
        {LAYER("\"route\":\"topk:k=900\""), MOE_E_INVALID, "top_k"},
        {LAYER("\"route\":\"native\\u0000x\""), MOE_E_FORMAT, "zero byte"},
        {LAYER("\"use\":{}"), MOE_E_FORMAT, "use: expected an array"},
        {LAYER("\"use\":[{}]"), MOE_E_FORMAT, "use: \"expert\" is missing"},
        {LAYER("\"use\":[{\"expert\":0}]"), MOE_E_FORMAT, "use: \"what\" is missing"},
        {LAYER("\"use\":[{\"expert\":0,\"what\":\"off\"}]"), MOE_E_FORMAT,
         "what: expected one of free, ban, ban-scored"},
        {LAYER("\"use\":[{\"expert\":0,\"what\":3}]"), MOE_E_FORMAT, "what: expected a string"},
        {LAYER("\"use\":[{\"expert\":0,\"what\":\"ban\",\"why\":1}]"), MOE_E_FORMAT, "\"why\""},
        {LAYER("\"use\":[{\"expert\":500,\"what\":\"ban\"}]"), MOE_E_RANGE, "expert 500"},
        {LAYER("\"use\":[{\"expert\":1,\"what\":\"ban\"},{\"expert\":1,\"what\":\"drop\"}]"), MOE_E_FORMAT,
         "expert 1 stands here twice"},
        {LAYER("\"gain\":[{\"expert\":0}]"), MOE_E_FORMAT, "gain: \"value\" is missing"},
        {LAYER("\"gain\":[{\"expert\":0,\"value\":1e39}]"), MOE_E_FORMAT, "value: 1e39 is beyond"},
        {LAYER("\"gain\":[{\"expert\":0,\"value\":null}]"), MOE_E_FORMAT,
         "value: expected a number, found null"},
        {LAYER("\"logit_bias\":[1,2]"), MOE_E_FORMAT, "logit_bias: expected an object"},
        {LAYER("\"limits\":[{\"seq\":0}]"), MOE_E_FORMAT, "\"experts\" is missing"},
        {LAYER("\"limits\":[{\"seq\":0,\"experts\":[]}]"), MOE_E_FORMAT, "experts: expected 1 to"},
        {LAYER("\"limits\":[{\"seq\":9,\"experts\":[0]}]"), MOE_E_RANGE, "seq 9"},
        {LAYER("\"limits\":[{\"seq\":-1,\"experts\":[0]}]"), MOE_E_FORMAT, "seq: expected a whole number"},
        {LAYER("\"limits\":[{\"seq\":0,\"experts\":[0,400]}]"), MOE_E_RANGE, "expert 400"},
        {LAYER("\"limits\":[{\"experts\":[0]},{\"seq\":1,\"experts\":[1]}]"), MOE_E_FORMAT,
         "sequence 1 stands here twice"},
        {LAYER("\"use\":[{\"expert\":0,\"what\":\"ban\"}],\"limits\":[{\"experts\":[0]}]"), MOE_E_INVALID,
         "leave no expert"},
        {LAYER("\"overrides\":[{\"kind\":\"logits\"}]"), MOE_E_FORMAT, "\"row\" is missing"},
        {LAYER("\"overrides\":[{\"kind\":\"logit\",\"row\":[]}]"), MOE_E_FORMAT,
         "kind: expected one of logits, scores"},
        {LAYER("\"overrides\":[{\"kind\":\"logits\",\"row\":[1,2]}]"), MOE_E_FORMAT, "row: expected"},
        {LAYER("\"overrides\":[{\"kind\":\"logits\",\"first\":5,\"last\":4,\"row\":[1,2]}]"), MOE_E_FORMAT,
         "last: expected a whole number, 5 to"},
        {LAYER("\"overrides\":[{\"kind\":\"logits\",\"first\":-2,\"row\":[1,2]}]"), MOE_E_FORMAT,
         "first: expected"},
        {LAYER("\"redirects\":[{\"expert\":0}]"), MOE_E_FORMAT, "\"to_expert\" is missing"},
        {LAYER("\"redirects\":[{\"expert\":0,\"to_expert\":400}]"), MOE_E_RANGE, "to_expert 400"},
        {LAYER("\"redirects\":[{\"expert\":0,\"to_expert\":1,\"to_layer\":0}]"), MOE_E_RANGE,
         "to_layer 0 is dense"},
        {LAYER("\"redirects\":[{\"expert\":0,\"to_expert\":1},{\"expert\":0,\"to_expert\":2}]"), MOE_E_FORMAT,
         "expert 0 stands here twice"},
        {HEAD "\"maps\":[{\"kind\":\"gain\"}]}", MOE_E_FORMAT, "\"values\" is missing"},
        {HEAD "\"maps\":[{\"kind\":\"gain\",\"values\":[null,[1,1,1,1,1,1,1,2],null]},{\"kind\":\"gain\","
              "\"values\":[null,[1,1,1,1,1,1,1,2],null]}]}",
         MOE_E_FORMAT, "gain of layer 1 stands here twice"},
        {HEAD "\"maps\":[{\"kind\":\"gains\",\"values\":[]}]}", MOE_E_FORMAT,
         "kind: expected one of logit_bias"},
        {HEAD "\"maps\":[{\"kind\":\"gain\",\"values\":[[1]]}]}", MOE_E_FORMAT, "rows, one for each layer"},
    };
    world w = open_world(DAMAGE_MODEL);
    moe_session *s = new_session(&w, N_SEQS);
    seed = 5;
    steer(s, &w, N_SEQS);
    text before = save(s);
    float *x = run(s, &w);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        const int st = moe_session_load_steering(s, row[i].text, strlen(row[i].text));
        if (st != row[i].status || !strstr(moe_last_error(), row[i].message))
            fail_msg("%s\n expected %s '%s'\n found %s '%s'", row[i].text, moe_status_name(row[i].status),
                     row[i].message, moe_status_name(st), moe_last_error());
        if (st != MOE_E_VERSION && !strstr(moe_last_error(), "steering: line 1, column "))
            fail_msg("no place: %s", moe_last_error());
        text after = save(s);
        assert_same_text(&before, &after);
        free(after.p);
    }
    float *y = run(s, &w);
    assert_memory_equal(x, y, 2 * N * w.info.n_vocab * sizeof *x);
    free(x);
    free(y);
    free(before.p);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* Forced experts that the recipe cannot honour: both orders of the file are refused alike. */
static void combinations_are_checked(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *s = new_session(&w, 1);
    char many[4096] = HEAD "\"layers\":[{\"layer\":1,\"use\":[";
    text before = save(s);
    for (uint32_t e = 0; e <= w.info.top_k; e++)
        sprintf(many + strlen(many), "%s{\"expert\":%u,\"what\":\"force\"}", e ? "," : "", e);
    strcat(many, "]}]}");
    assert_refused(moe_session_load_steering(s, many, strlen(many)), MOE_E_INVALID, "are forced");
    assert_refused(moe_session_load_steering(s, many, strlen(many)), MOE_E_INVALID, "steering: line 1");
    static const char ranks[] = LAYER("\"use\":[{\"expert\":0,\"what\":\"force\"}],\"route\":\"ranks:0\"");
    assert_refused(moe_session_load_steering(s, ranks, sizeof ranks - 1), MOE_E_INVALID, "do not go with");
    text after = save(s);
    assert_same_text(&before, &after);
    free(before.p);
    free(after.p);
    moe_session_free(s);
    moe_model_release(w.m);
}

/* Every prefix is refused; single bytes changed are refused, or loaded into something that can be saved. */
static void damaged_texts_leave_the_session_alone(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *s = new_session(&w, N_SEQS), *from = new_session(&w, N_SEQS);
    seed = 77;
    steer(from, &w, N_SEQS);
    text t = save(from), before = save(s);
    size_t refused = 0;
    for (size_t n = 0; n + 2 < t.n; n += 1 + n / 40) {
        assert_int_equal(moe_session_load_steering(s, t.p, n), MOE_E_FORMAT);
        text after = save(s);
        assert_same_text(&before, &after);
        free(after.p);
    }
    char *copy = malloc(t.n);
    assert_non_null(copy);
    for (int i = 0; i < 1500; i++) {
        text now = save(s);
        memcpy(copy, t.p, t.n);
        copy[draw((uint32_t)t.n)] = (char)draw(256);
        const int st = moe_session_load_steering(s, copy, t.n);
        text after = save(s);
        if (st != MOE_OK) assert_same_text(&now, &after);
        refused += st != MOE_OK;
        free(now.p);
        free(after.p);
    }
    assert_true(refused > 700);
    free(copy);
    free(t.p);
    free(before.p);
    moe_session_free(s);
    moe_session_free(from);
    moe_model_release(w.m);
}

/* ---- maps: layers x experts, as other programs write them */

static void dense_maps(void **state)
{
    (void)state;
    world w = open_world(DAMAGE_MODEL);
    moe_session *a = new_session(&w, N_SEQS), *b = new_session(&w, N_SEQS), *c = new_session(&w, N_SEQS);
    const uint32_t n = w.info.n_experts;
    char *all = malloc(1 << 16), *moe = malloc(1 << 16);
    float v[256];
    assert_true(all && moe);
    strcpy(all, HEAD "\"maps\":[{\"kind\":\"gain\",\"values\":[");
    strcpy(moe, HEAD "\"maps\":[{\"kind\":\"post\",\"values\":[null");
    for (uint32_t l = 0, k = 0; l < w.info.n_layers; l++) {
        moe_router *r = router_of(a, l);
        if (l) strcat(all, ",");
        if (!r) {
            strcat(all, "null");
            continue;
        }
        strcat(all, "[");
        if (k) strcat(moe, ",[");
        for (uint32_t e = 0; e < n; e++) {
            v[e] = e % 4 ? (float)((l + e) % 5) * 0.25f : 1.0f;
            sprintf(all + strlen(all), "%s%g", e ? "," : "", (double)v[e]);
            if (k) sprintf(moe + strlen(moe), "%s%g", e ? "," : "", (double)v[e]);
        }
        strcat(all, "]");
        if (k) strcat(moe, "]");
        assert_ok(moe_router_set_values(r, MOE_EDIT_GAIN, v, n));
        if (k) assert_ok(moe_router_set_values(router_of(c, l), MOE_EDIT_POST, v, n));
        k++;
    }
    strcat(all, "]}]}");
    strcat(moe, "]}]}");
    assert_ok(moe_session_load_steering(b, all, strlen(all)));
    text x = save(a), y = save(b);
    assert_same_text(&x, &y);
    free(y.p);
    /* a row for each layer with experts; null: all neutral */
    assert_ok(moe_session_load_steering(b, moe, strlen(moe)));
    y = save(b);
    text z = save(c);
    assert_same_text(&y, &z);
    assert_true(same_logits(b, c, &w));
    /* dense layers have no row; a kind may not come twice */
    char *at = strstr(all, "null");
    memcpy(at, "[01]", 4);
    assert_int_equal(moe_session_load_steering(b, all, strlen(all)), MOE_E_FORMAT);
    memcpy(at, "[10]", 4);
    assert_refused(moe_session_load_steering(b, all, strlen(all)), MOE_E_RANGE, "layer 0 is dense");
    memcpy(at, "null", 4);
    all[strlen(all) - 1] = 0;
    strcat(all, ",\"layers\":[{\"layer\":1,\"gain\":[]}]}");
    assert_refused(moe_session_load_steering(b, all, strlen(all)), MOE_E_FORMAT, "stands in \"maps\" too");
    free(x.p);
    free(y.p);
    free(z.p);
    free(all);
    free(moe);
    moe_session_free(a);
    moe_session_free(b);
    moe_session_free(c);
    moe_model_release(w.m);
}

/* ---- sequences, files, callbacks, memory */

static void sequences(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *three = new_session(&w, 3), *one = new_session(&w, 1);
    const uint32_t ids[] = {1, 2, 3, 5, 7, 0};
    assert_ok(moe_router_set_limit(router_of(three, 1), MOE_ALL_SEQS, ids, 6));
    text t = save(three), u = {NULL, 0, 0};
    assert_null(strstr(t.p, "\"seq\""));
    assert_ok(moe_session_load_steering(one, t.p, t.n)); /* "all" fits any number of sequences */
    free(t.p);
    assert_ok(moe_router_set_limit(router_of(three, 1), 2, ids, 5));
    t = save(three);
    u = save(one);
    assert_refused(moe_session_load_steering(one, t.p, t.n), MOE_E_RANGE, "seq 1: expected 0 to 0");
    text v = save(one);
    assert_same_text(&u, &v);
    free(t.p);
    free(u.p);
    free(v.p);
    moe_session_free(three);
    moe_session_free(one);
    moe_model_release(w.m);
}

static void files(void **state)
{
    (void)state;
    static const char path[] = "steering-test.json";
    world w = open_world(test_models[2]);
    moe_session *a = new_session(&w, N_SEQS), *b = new_session(&w, N_SEQS);
    seed = 3;
    steer(a, &w, N_SEQS);
    assert_ok(moe_session_save_steering_file(a, path));
    assert_ok(moe_session_save_steering_file(a, path)); /* replaces */
    assert_ok(moe_session_load_steering_file(b, path));
    assert_true(same_logits(a, b, &w));
    text t = save(a), u;
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    u.p = malloc(t.n + 2);
    assert_non_null(u.p);
    u.n = fread(u.p, 1, t.n + 1, f);
    u.p[u.n] = 0;
    fclose(f);
    assert_same_text(&t, &u);
    f = fopen(path, "wb");
    assert_non_null(f);
    fputs("{\n\n  \"format\": 1}", f);
    fclose(f);
    assert_refused(moe_session_load_steering_file(b, path), MOE_E_FORMAT,
                   "steering-test.json: line 3, column 13");
    remove(path);
    assert_int_equal(moe_session_load_steering_file(b, path), MOE_E_NOTFOUND);
    assert_int_equal(moe_session_save_steering_file(a, "no/such/folder/x.json"), MOE_E_NOTFOUND);
    assert_refused(moe_session_load_steering_file(b, NULL), MOE_E_INVALID, "path");
    free(t.p);
    free(u.p);
    moe_session_free(a);
    moe_session_free(b);
    moe_model_release(w.m);
}

static int refuse_bytes(const void *data, size_t n, void *user)
{
    (void)data;
    (void)n;
    return *(int *)user;
}

static int save_within(const moe_route_view *v, void *user)
{
    moe_session *s = user;
    text t = {NULL, 0, 0};
    (void)v;
    assert_refused(moe_session_save_steering(s, keep_text, &t), MOE_E_STATE, "evaluated");
    assert_refused(moe_session_load_steering(s, "{}", 2), MOE_E_STATE, "evaluated");
    return 0;
}

static void callbacks(void **state)
{
    (void)state;
    world w = open_world(test_models[1]);
    moe_session *s = new_session(&w, N_SEQS);
    int answer = -77;
    assert_int_equal(moe_session_save_steering(s, refuse_bytes, &answer), -77);
    answer = 3;
    assert_refused(moe_session_save_steering(s, refuse_bytes, &answer), MOE_E_CALLBACK, "returned 3");
    assert_ok(moe_session_observe(s, save_within, s));
    free(run(s, &w));
    assert_refused(moe_session_save_steering(s, NULL, NULL), MOE_E_INVALID, "fn");
    assert_refused(moe_session_load_steering(s, NULL, 3), MOE_E_INVALID, "text");
    assert_refused(moe_session_load_steering(NULL, "{}", 2), MOE_E_INVALID, "s != NULL");
    moe_session_free(s);
    moe_model_release(w.m);
}

/* Any allocation of a load may fail: then nothing has changed and nothing is lost. */
static void out_of_memory(void **state)
{
    (void)state;
    faulty f;
    faulty_init(&f);
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.allocator = &f.hook;
    world w = {.info = MOE_MODEL_INFO_INIT};
    assert_ok(moe_model_open(&w.m, test_models[1], &o));
    assert_ok(moe_model_get_info(w.m, &w.info));
    fill_tokens(w.m, w.id, 2 * N, 11);
    moe_session *s = new_session(&w, N_SEQS), *from = new_session(&w, N_SEQS);
    seed = 21;
    steer(from, &w, N_SEQS);
    text t = save(from), before = save(s);
    size_t at = 1;
    for (int st = MOE_E_NOMEM; st != MOE_OK; at++) {
        const size_t live = f.n_live;
        faulty_arm(&f, at);
        st = moe_session_load_steering(s, t.p, t.n);
        faulty_disarm(&f);
        if (st == MOE_OK) break;
        assert_int_equal(st, MOE_E_NOMEM);
        assert_null(strstr(moe_last_error(), ": line ")); /* no fault of the text */
        assert_true(f.n_live <= live + 4); /* room for rows that was made stays: it is no steering */
        text after = save(s);
        assert_same_text(&before, &after);
        free(after.p);
        assert_true(at < 2000);
    }
    assert_true(at > 20);
    assert_true(same_logits(s, from, &w));
    for (size_t i = 1, st = 1; st != 0; i++) {
        text u = {NULL, 0, 0};
        faulty_arm(&f, i);
        st = moe_session_save_steering(from, keep_text, &u) != MOE_OK;
        faulty_disarm(&f);
        free(u.p);
        assert_true(i < 2000);
    }
    free(t.p);
    free(before.p);
    moe_session_free(s);
    moe_session_free(from);
    moe_model_release(w.m);
    assert_int_equal(f.n_live, 0);
    assert_int_equal(f.n_wrong, 0);
}

/* What is copied for sequences is copied for those that both have: the copy's steering is whole. */
static void fewer_sequences(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_router *from, *to;
    moe_route_override row = MOE_ROUTE_OVERRIDE_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_router_info r = MOE_ROUTER_INFO_INIT;
    static const uint32_t allowed[] = {0, 1, 2, 3};
    static float numbers[256];
    o.n_seq_max = 3;
    moe_session *src = make_session(m, o);
    o.n_seq_max = 2;
    moe_session *dst = make_session(m, o);
    assert_ok(moe_model_get_info(m, &info));
    assert_true(info.n_experts <= 256);
    assert_ok(moe_session_router(src, 1, &from));
    assert_ok(moe_session_router(dst, 1, &to));
    row.kind = MOE_OVERRIDE_LOGITS;
    row.row = numbers;
    row.last = -1;
    row.seq = 2;
    assert_ok(moe_router_add_override(from, &row));
    assert_ok(moe_router_set_limit(from, 2, allowed, 4));
    assert_ok(moe_session_copy_routing(dst, src));
    assert_ok(moe_router_get_info(to, &r));
    assert_true(r.flags & MOE_ROUTER_NATIVE);
    row.seq = 1;
    assert_ok(moe_router_add_override(from, &row));
    assert_ok(moe_session_copy_routing(dst, src));
    text t = save(dst);
    assert_ok(moe_session_load_steering(dst, t.p, t.n));
    free(t.p);
    moe_session_free(src);
    moe_session_free(dst);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(saved_steering_comes_back_to_the_bit),
        cmocka_unit_test(numbers_come_back_through_the_getters),
        cmocka_unit_test(one_thing_at_a_time),
        cmocka_unit_test(recipes_that_take_room),
        cmocka_unit_test(code_and_weights_cannot_be_saved),
        cmocka_unit_test(brought_weights_cannot_be_saved),
        cmocka_unit_test(another_model_is_refused),
        cmocka_unit_test(faults_are_refused_with_their_place),
        cmocka_unit_test(combinations_are_checked),
        cmocka_unit_test(damaged_texts_leave_the_session_alone),
        cmocka_unit_test(dense_maps),
        cmocka_unit_test(sequences),
        cmocka_unit_test(files),
        cmocka_unit_test(callbacks),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(fewer_sequences),
    };
    return cmocka_run_group_tests_name("steering", tests, NULL, NULL);
}
