/* SPDX-License-Identifier: MIT */
/*
 * Experts with failing allocations: making weights, putting them and functions in the place of experts of all
 * layers, weights on inputs with formats that the model lacks. What failed has changed nothing; what was set
 * is evaluated without an allocation.
 */
#include "../../include/moe/ext.h"
#include "rounds.h"

#define MODEL "examples/models/demo.gguf" /* Q6_K: F32 weights need no packed rows, Q8_0 ones do */
#define N     5u
enum { DIM = 256, Q8_BYTES = DIM * DIM / 32 * 34 };

static unsigned char q8[Q8_BYTES];

/* Blocks of scale 2^-6 and small integers. */
static void fill_q8(void)
{
    for (size_t i = 0; i < Q8_BYTES; i++) {
        const size_t in = i % 34;
        q8[i] = (unsigned char)(in == 0 ? 0 : in == 1 ? 0x24 : (i * 37) % 7);
    }
}

static int make_weights(moe_weights **out, moe_model *m, uint32_t flags)
{
    moe_expert_weights w = MOE_EXPERT_WEIGHTS_INIT;
    w.flags = flags;
    w.dim = w.dim_ff = DIM;
    w.type_gate = w.type_up = w.type_down = MOE_TYPE_Q8_0;
    w.gate = w.up = w.down = q8;
    w.gate_bytes = w.up_bytes = w.down_bytes = Q8_BYTES;
    return moe_weights_create(out, m, &w);
}

static moe_model *open_with(env *e)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m;
    o.allocator = &e->f.hook;
    assert_ok(moe_model_open(&m, MODEL, &o));
    return m;
}

static int making_weights(env *e)
{
    moe_model *m = open_with(e);
    moe_weights *w = (moe_weights *)e;
    arm(e);
    const int st = told(make_weights(&w, m, 0));
    disarm(e);
    if (st != MOE_OK) assert_null(w);
    moe_weights_release(w);
    moe_model_release(m);
    return st;
}

static float *logits_of(moe_session *s)
{
    const size_t n = vocab_of(moe_session_model(s)) * sizeof(float);
    const float *x;
    moe_token id[N];
    float *copy = malloc(n);
    assert_non_null(copy);
    fill_tokens(moe_session_model(s), id, N, 4);
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(copy, x, n);
    moe_session_reset(s);
    return copy;
}

static int twice_input(const moe_expert_call *call, void *user)
{
    (void)user;
    for (size_t i = 0; i < (size_t)call->n_rows * call->dim; i++) call->y[i] = 2 * call->x[i];
    return 0;
}

/* What is tried; the weights are there. */
typedef int (*change)(moe_session *s, moe_router *all, moe_weights *w);

static moe_expert *expert_at(moe_router *r, uint32_t index)
{
    moe_expert *e;
    assert_ok(moe_router_expert(r, index, &e));
    return e;
}

/* Every expert of every layer: a failure half way must leave none. */
static int replace_one(moe_session *s, moe_router *all, moe_weights *w)
{
    (void)s;
    return moe_expert_replace(expert_at(all, 3), w);
}

static int function_one(moe_session *s, moe_router *all, moe_weights *w)
{
    (void)s;
    (void)w;
    return moe_expert_replace_fn(expert_at(all, 3), twice_input, NULL);
}

static int set_on_input(moe_session *s, moe_router *all, moe_weights *w)
{
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    moe_router *r;
    (void)w;
    assert_ok(moe_session_router(s, 0, &r));
    assert_ok(moe_router_get_spec(r, MOE_SPEC_CURRENT, &spec));
    spec.flags |= MOE_ROUTE_ON_INPUT;
    return moe_router_set_spec(all, &spec);
}

static int gain_one(moe_session *s, moe_router *all, moe_weights *w)
{
    (void)s;
    (void)w;
    return moe_expert_set_value(expert_at(all, 3), MOE_EDIT_GAIN, 0.25f);
}

static int drop_one(moe_session *s, moe_router *all, moe_weights *w)
{
    (void)s;
    (void)w;
    return moe_expert_set_use(expert_at(all, 3), MOE_USE_DROP);
}

static const struct {
    const char *name;
    change before, fn; /* before: set without failures, may be NULL */
} changes[] = {{"replace an expert", NULL, replace_one},
               {"replace an expert, weights on inputs", set_on_input, replace_one},
               {"weights on inputs, an expert replaced", replace_one, set_on_input},
               {"a function in the place of weights", replace_one, function_one},
               {"weights in the place of a function", function_one, replace_one},
               {"gain of an expert", NULL, gain_one},
               {"use of an expert", gain_one, drop_one}};

static size_t current;

static int try_change(env *e)
{
    moe_model *m = open_with(e);
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_session *s;
    moe_router *all;
    moe_weights *w;
    o.n_ctx = 64;
    o.n_threads = 2;
    assert_ok(moe_session_create(&s, m, &o));
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &all));
    assert_ok(make_weights(&w, m, MOE_WEIGHTS_BORROW));
    if (changes[current].before) assert_ok(changes[current].before(s, all, w));
    float *before = logits_of(s);
    arm(e);
    const int st = told(changes[current].fn(s, all, w));
    disarm(e);
    const size_t was = atomic_load(&e->f.n_calls);
    float *after = logits_of(s), x[DIM] = {1}, y[DIM];
    moe_router *r;
    assert_ok(moe_session_router(s, 2, &r));
    assert_ok(moe_expert_apply(expert_at(r, 3), x, 1, y));
    assert_int_equal(atomic_load(&e->f.n_calls), was);
    const int equal = !memcmp(before, after, vocab_of(m) * sizeof *before);
    if (st != MOE_OK && !equal) fail_msg("%s: failed and changed something", changes[current].name);
    if (st == MOE_OK && equal) fail_msg("%s: did nothing", changes[current].name);
    free(before);
    free(after);
    moe_weights_release(w);
    moe_session_free(s);
    moe_model_release(m);
    return st;
}

static void weights(void **state)
{
    (void)state;
    all_rounds("make weights", making_weights);
}

static void every_change(void **state)
{
    (void)state;
    for (current = 0; current < sizeof changes / sizeof *changes; current++)
        all_rounds(changes[current].name, try_change);
}

static int setup(void **state)
{
    (void)state;
    fill_q8();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(weights), cmocka_unit_test(every_change)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
