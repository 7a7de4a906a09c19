/* SPDX-License-Identifier: MIT */
/*
 * The routing part of the interface with failing allocations: a setter that fails has changed nothing, in no
 * layer, and whatever was set, an eval allocates nothing.
 */
#include "../../include/moe/ext.h"
#include "rounds.h"

#define MODEL "tests/golden/data/qwen3moe.gguf"
#define N     9u

static float *logits_of(moe_session *s, moe_model *m)
{
    const size_t vocab = vocab_of(m);
    const float *x;
    moe_token id[N];
    float *copy = malloc(vocab * sizeof *copy);
    assert_non_null(copy);
    fill_tokens(m, id, N, 4);
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(copy, x, vocab * sizeof *x);
    assert_ok(moe_session_seq_truncate(s, 0, 0));
    return copy;
}

/* What is tried, on the handle of all layers. */
typedef int (*change)(moe_session *s, moe_router *r, moe_session *other);

static uint32_t n_experts;

static int set_spec(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    return moe_router_set_named(r, "fixed:ids=1+2");
}

static int set_coupled(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    return moe_router_set_named(r, "expertchoice:c=2,noncausal=1");
}

static int set_use(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    uint8_t use[64] = {MOE_USE_BAN};
    return moe_router_set_use(r, use, n_experts);
}

static int set_values(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    float v[64] = {1.5f};
    return moe_router_set_values(r, MOE_EDIT_LOGIT_BIAS, v, n_experts);
}

static int set_limit(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    static const uint32_t ids[2] = {0, 3};
    return moe_router_set_limit(r, MOE_ALL_SEQS, ids, 2);
}

static int add_override(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    float row[64] = {3.0f};
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    o.kind = MOE_OVERRIDE_LOGITS;
    o.row = row;
    return moe_router_add_override(r, &o);
}

static int nobody(void *state, const moe_route_input *in, moe_route_output *out)
{
    (void)state;
    for (uint32_t t = 0; t <= in->n_rows; t++) out->offset[t] = 0;
    return 0;
}

static int set_policy(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    moe_policy p = MOE_POLICY_INIT;
    p.route = nobody;
    return moe_router_set_policy(r, &p, NULL);
}

static int double_it(const moe_expert_call *call, void *user)
{
    (void)user;
    for (size_t i = 0; i < (size_t)call->n_rows * call->dim; i++) call->y[i] = 2 * call->x[i];
    return 0;
}

static int replace_fn(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    moe_expert *e;
    assert_ok(moe_router_expert(r, 1, &e));
    return moe_expert_replace_fn(e, double_it, NULL);
}

static int redirect(moe_session *s, moe_router *r, moe_session *other)
{
    (void)s;
    (void)other;
    moe_expert *e;
    assert_ok(moe_router_expert(r, 1, &e));
    return moe_expert_redirect(e, MOE_ALL_LAYERS, 0);
}

/* Everything that the other session has. */
static int copy_all(moe_session *s, moe_router *r, moe_session *other)
{
    (void)r;
    return moe_session_copy_routing(s, other);
}

static const struct {
    const char *name;
    change fn;
} changes[] = {{"set a recipe", set_spec},      {"set a coupled recipe", set_coupled},
               {"set uses", set_use},           {"set values", set_values},
               {"set limits", set_limit},       {"add an override", add_override},
               {"set a policy", set_policy},    {"replace by a function", replace_fn},
               {"redirect an expert", redirect}};

static change current;

static int try_change(env *e)
{
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model *m;
    moe_session *s, *other;
    moe_router *r;
    mo.allocator = &e->f.hook;
    assert_ok(moe_model_open(&m, MODEL, &mo));
    assert_ok(moe_model_get_info(m, &info));
    n_experts = info.n_experts;
    o.n_ctx = 64;
    o.n_threads = 2;
    o.n_seq_max = 2;
    assert_ok(moe_session_create(&s, m, &o));
    assert_ok(moe_session_create(&other, m, &o));
    assert_ok(moe_session_router(other, MOE_ALL_LAYERS, &r));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        if (changes[i].fn != set_coupled && changes[i].fn != set_policy && changes[i].fn != add_override)
            assert_ok(changes[i].fn(other, r, s));
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &r));
    float *before = logits_of(s, m);
    arm(e);
    const int st = told(current(s, r, other));
    disarm(e);
    const size_t was = atomic_load(&e->f.n_calls);
    float *after = logits_of(s, m);
    assert_int_equal(atomic_load(&e->f.n_calls), was);
    const int equal = !memcmp(before, after, info.n_vocab * sizeof *before);
    if (st != MOE_OK && !equal) fail_msg("a failed change has changed something");
    if (st == MOE_OK && equal) fail_msg("the change did nothing");
    free(before);
    free(after);
    moe_session_free(s);
    moe_session_free(other);
    moe_model_release(m);
    return st;
}

static void every_change(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        current = changes[i].fn;
        all_rounds(changes[i].name, try_change);
    }
}

static void copying(void **state)
{
    (void)state;
    current = copy_all;
    all_rounds("copy routing", try_change);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_change), cmocka_unit_test(copying)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
