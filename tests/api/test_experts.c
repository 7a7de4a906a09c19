/* SPDX-License-Identifier: MIT */
/*
 * Replaced, redirected, scaled experts. The centre is one check: whatever was set, a MoE block's result is,
 * to the bit, the sum over the row's pairs in order of rank of weight * gain * moe_expert_apply(x), taken
 * apart here with hooks. test_expert_calls.c compares moe_expert_apply with the formula.
 */
#include "experts.h"

#include "moe/study.h"

/* ---- the central check ---- */

static void check_row(moe_session *s, uint32_t layer, const layer_log *log, size_t row, int on_input)
{
    float want[MAX_DIM] = {0}, x[MAX_DIM], y[MAX_DIM];
    for (uint32_t p = 0; p < log->n_pairs[row]; p++) {
        const pair at = log->p[row][p];
        moe_expert_info info = MOE_EXPERT_INFO_INIT;
        if (at.expert == MOE_EXPERT_NONE || at.weight == 0) continue;
        moe_expert *e = expert_of(s, layer, at.expert);
        assert_ok(moe_expert_get_info(e, &info));
        if (info.gain == 0) continue;
        for (size_t d = 0; d < log->dim; d++) x[d] = log->x[row * log->dim + d] * (on_input ? at.weight : 1);
        assert_ok(moe_expert_apply(e, x, 1, y));
        const float w = (on_input ? 1 : at.weight) * info.gain;
        for (size_t d = 0; d < log->dim; d++) want[d] = fmaf(w, y[d], want[d]);
    }
    if (memcmp(want, log->y + row * log->dim, log->dim * sizeof *want))
        fail_msg("layer %u, row %zu: the block's result is not the sum of its experts", layer, row);
}

/* Evaluates the prompt with this set-up in several ways and takes every MoE block apart. */
static void check_blocks(moe_session *s)
{
    float *first = NULL;
    for (int threads = 1; threads <= 4; threads++) {
        static const size_t piece[4] = {N, 1, 7, 2};
        assert_ok(moe_session_set_threads(s, threads));
        float *x = run(s, piece[threads - 1]);
        if (first && !same(s, first, x))
            fail_msg("%d threads, pieces of %zu: other bits", threads, piece[threads - 1]);
        if (first) free(x);
        if (!first) first = x;
    }
    memset(seen, 0, sizeof seen);
    watch(s);
    float *x = run(s, 9);
    unwatch(s);
    assert_true(same(s, first, x));
    free(x);
    free(first);
    for (uint32_t l = 0; l < info_of(s).n_layers; l++) {
        moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
        if (!is_moe(s, l)) continue;
        assert_int_equal(seen[l].n_rows, N);
        assert_ok(moe_router_get_spec(router_of(s, l), MOE_SPEC_CURRENT, &spec));
        for (size_t row = 0; row < N; row++)
            check_row(s, l, &seen[l], row, (spec.flags & MOE_ROUTE_ON_INPUT) != 0);
    }
}

/* ---- set-ups of the central check ---- */

static void set_nothing(moe_session *s) { (void)s; }

static void set_mixture(moe_session *s)
{
    const moe_model_info info = info_of(s);
    for (uint32_t l = 0; l < info.n_layers; l++) {
        if (!is_moe(s, l)) continue;
        replace_scaled(s, l, 0, 0.5f);
        assert_ok(moe_expert_redirect(expert_of(s, l, 1), info.n_layers - 1, 2));
        assert_ok(moe_expert_replace_fn(expert_of(s, l, 3), affine, NULL));
        assert_ok(moe_expert_replace_fn(expert_of(s, l, 5), affine, NULL));
    }
}

static void set_gains(moe_session *s)
{
    const moe_model_info info = info_of(s);
    float gain[64];
    for (uint32_t l = 0; l < info.n_layers; l++) {
        if (!is_moe(s, l)) continue;
        for (uint32_t e = 0; e < info.n_experts; e++) gain[e] = (float)((e + l) % 5) * 0.4f - 0.7f;
        gain[(l + 1) % info.n_experts] = 0;
        assert_ok(moe_router_set_values(router_of(s, l), MOE_EDIT_GAIN, gain, info.n_experts));
    }
}

static void set_mixture_and_gains(moe_session *s)
{
    set_mixture(s);
    set_gains(s);
    assert_ok(moe_expert_set_use(expert_of(s, MOE_ALL_LAYERS, 3), MOE_USE_DROP));
}

static void set_flags(moe_session *s, uint32_t flags)
{
    for (uint32_t l = 0; l < info_of(s).n_layers; l++) {
        moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
        if (!is_moe(s, l)) continue;
        assert_ok(moe_router_get_spec(router_of(s, l), MOE_SPEC_CURRENT, &spec));
        spec.flags |= flags;
        assert_ok(moe_router_set_spec(router_of(s, l), &spec));
    }
}

static void set_on_input(moe_session *s) { set_flags(s, MOE_ROUTE_ON_INPUT); }

static void set_on_input_after(moe_session *s)
{
    set_mixture_and_gains(s);
    set_flags(s, MOE_ROUTE_ON_INPUT);
}

static void set_on_input_before(moe_session *s)
{
    set_flags(s, MOE_ROUTE_ON_INPUT);
    set_mixture_and_gains(s);
}

static void set_all_experts(moe_session *s)
{
    moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
    set_mixture(s);
    for (uint32_t l = 0; l < info_of(s).n_layers; l++) {
        if (!is_moe(s, l)) continue;
        assert_ok(moe_router_get_spec(router_of(s, l), MOE_SPEC_CURRENT, &spec));
        spec.select = MOE_SELECT_ALL;
        spec.top_k = info_of(s).n_experts;
        assert_ok(moe_router_set_spec(router_of(s, l), &spec));
    }
}

/* Five pairs a row: two experts twice each, and nobody. */
static int twice(void *state, const moe_route_input *in, moe_route_output *out)
{
    (void)state;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        const uint32_t a = ((uint32_t)in->pos[t] + in->layer) % in->n_experts, b = (a + 2) % in->n_experts;
        const uint32_t id[5] = {a, b, MOE_EXPERT_NONE, a, b};
        out->offset[t] = 5 * t;
        for (uint32_t i = 0; i < 5; i++) {
            out->expert[5 * t + i] = id[i];
            out->weight[5 * t + i] = 0.5f - 0.2f * (float)i;
        }
    }
    out->offset[in->n_rows] = 5 * in->n_rows;
    return 0;
}

static void set_twice(moe_session *s)
{
    moe_policy p = MOE_POLICY_INIT;
    set_mixture(s);
    p.name = "twice";
    p.flags = MOE_POLICY_WEIGHTS;
    p.max_k = 5;
    p.route = twice;
    assert_ok(moe_router_set_policy(router_of(s, MOE_ALL_LAYERS), &p, NULL));
}

static const struct {
    const char *name;
    void (*set)(moe_session *s);
} setups[] = {
    {"nothing", set_nothing},
    {"mixture", set_mixture},
    {"gains", set_gains},
    {"mixture and gains", set_mixture_and_gains},
    {"on input", set_on_input},
    {"mixture, then on input", set_on_input_after},
    {"on input, then mixture", set_on_input_before},
    {"all experts", set_all_experts},
    {"experts twice", set_twice},
};

static void blocks_are_the_sums_of_their_experts(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        moe_model *m = open_model(models[i], i % 2 ? MOE_OPEN_RESIDENT : 0);
        for (size_t k = 0; k < sizeof setups / sizeof setups[0]; k++) {
            moe_session *s = session_with(m, 1, k % 2 ? MOE_SESSION_EXACT_ACT : 0),
                        *plain = session_with(m, 1, 0);
            print_message("# %s: %s\n", models[i], setups[k].name);
            setups[k].set(s);
            check_blocks(s);
            if (k % 2 == 0) {
                check_same(s, plain, k == 0);
                assert_ok(moe_router_reset(router_of(s, MOE_ALL_LAYERS)));
                check_same(s, plain, 1);
                setups[k].set(plain); /* a copy of the routing is as good as setting it */
                if (setups[k].set != set_twice) assert_ok(moe_session_copy_routing(s, plain));
                if (setups[k].set != set_twice) check_same(s, plain, 1);
            }
            moe_session_free(s);
            moe_session_free(plain);
        }
        moe_model_release(m);
    }
}

/* ---- replaced, redirected ---- */

static void own_weights_change_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) { /* exact: the demo's experts are not F32 */
        moe_model *m = open_model(models[i], 0);
        moe_session *s = session_with(m, 2, MOE_SESSION_EXACT_ACT),
                    *plain = session_with(m, 1, MOE_SESSION_EXACT_ACT);
        for (uint32_t l = 0; l < info_of(s).n_layers; l++)
            for (uint32_t e = 0; is_moe(s, l) && e < info_of(s).n_experts; e++) replace_scaled(s, l, e, 1);
        check_same(s, plain, 1);
        moe_session_free(s);
        moe_session_free(plain);
        moe_model_release(m);
    }
}

/* All experts are one: with weights that add up to 1 the block is that expert, whoever was chosen. */
static void all_redirected_to_one(void **state)
{
    (void)state;
    moe_model *m = open_model(models[0], 0); /* sum to one */
    moe_session *s = session_with(m, 1, 0);
    for (uint32_t e = 0; e < info_of(s).n_experts; e++)
        assert_ok(moe_expert_redirect(expert_of(s, MOE_ALL_LAYERS, e), MOE_ALL_LAYERS, 5));
    memset(seen, 0, sizeof seen);
    watch(s);
    free(run(s, N));
    unwatch(s);
    for (uint32_t l = 0; l < info_of(s).n_layers; l++) {
        moe_expert_info info = MOE_EXPERT_INFO_INIT;
        assert_ok(moe_expert_get_info(expert_of(s, l, 5), &info));
        assert_int_equal(info.source, MOE_SOURCE_OWN); /* to itself is no redirection */
        for (size_t row = 0; row < N; row++) {
            float y[MAX_DIM], most = 0;
            const size_t dim = seen[l].dim;
            assert_ok(moe_expert_apply(expert_of(s, l, 5), seen[l].x + row * dim, 1, y));
            for (size_t d = 0; d < dim; d++) most = fmaxf(most, fabsf(y[d]));
            for (size_t d = 0; d < dim; d++)
                assert_true(fabsf(y[d] - seen[l].y[row * dim + d]) <= 1e-6f * most);
        }
    }
    moe_session_free(s);
    moe_model_release(m);
}

/* Nothing is rounded to fewer bits than f32, so that what differs by a rounding stays that close. */
static moe_session *exact_session(moe_model *m)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.flags = MOE_SESSION_EXACT_ACT;
    o.n_threads = 1;
    o.n_output_max = N;
    o.kv_type_k = o.kv_type_v = MOE_KV_F32;
    return make_session(m, o);
}

static void gains(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_MODELS; i++) {
        moe_model *m = open_model(models[i], 0);
        moe_session *a = session_with(m, 1, 0), *b = session_with(m, 1, 0);
        assert_ok(moe_expert_set_value(expert_of(a, MOE_ALL_LAYERS, 2), MOE_EDIT_GAIN, 0));
        assert_ok(moe_expert_set_use(expert_of(b, MOE_ALL_LAYERS, 2), MOE_USE_DROP));
        check_same(a, b, 1); /* gain 0 = drop */
        assert_ok(moe_router_reset(router_of(a, MOE_ALL_LAYERS)));
        check_same(a, b, 0);
        assert_ok(moe_router_reset(router_of(b, MOE_ALL_LAYERS)));
        check_same(a, b, 1);
        moe_session_free(a);
        moe_session_free(b);
        a = exact_session(m), b = exact_session(m);
        for (uint32_t l = 0; l < info_of(a).n_layers; l++) {
            if (!is_moe(a, l)) continue;
            assert_ok(moe_expert_set_value(expert_of(a, l, 1), MOE_EDIT_GAIN, -2));
            replace_scaled(b, l, 1, -2);
        }
        check_same(a, b, 1); /* a power of two is exact: gain = scaled down rows, to the bit */
        for (uint32_t l = 0; l < info_of(a).n_layers; l++) {
            if (!is_moe(a, l)) continue;
            assert_ok(moe_expert_set_value(expert_of(a, l, 1), MOE_EDIT_GAIN, 1.7f));
            assert_ok(moe_expert_restore(expert_of(b, l, 1)));
            replace_scaled(b, l, 1, 1.7f);
        }
        const size_t n = N * vocab_of(m);
        float *x = run(a, N), *y = run(b, N), most = 0;
        for (size_t j = 0; j < n; j++) most = fmaxf(most, fabsf(x[j]));
        for (size_t j = 0; j < n; j++) assert_true(fabsf(x[j] - y[j]) <= 1e-5f * most);
        free(x);
        free(y);
        moe_session_free(a);
        moe_session_free(b);
        moe_model_release(m);
    }
}

/* A gain acts on what something else put in the expert's place, too. */
static void gains_reach_functions(void **state)
{
    (void)state;
    moe_model *m = open_model(models[1], 0);
    moe_session *a = session_with(m, 1, 0), *b = session_with(m, 1, 0);
    assert_ok(moe_expert_replace_fn(expert_of(a, MOE_ALL_LAYERS, 4), affine, NULL));
    assert_ok(moe_session_copy_routing(b, a));
    check_same(a, b, 1);
    assert_ok(moe_expert_set_value(expert_of(a, MOE_ALL_LAYERS, 4), MOE_EDIT_GAIN, 0.5f));
    check_same(a, b, 0);
    check_blocks(a);
    moe_session_free(a);
    moe_session_free(b);
    moe_model_release(m);
}

/* A row with a function twice needs two results where weights scale inputs: refused, not guessed. */
static void a_function_twice_on_scaled_inputs(void **state)
{
    (void)state;
    moe_model *m = open_model(models[0], 0);
    moe_session *s = session_with(m, 1, 0);
    moe_token id[N];
    fill_tokens(m, id, N, 5);
    set_flags(s, MOE_ROUTE_ON_INPUT);
    set_twice(s);
    assert_refused(moe_session_eval(s, id, N), MOE_E_UNSUPPORTED, "comes twice");
    for (uint32_t e = 0; e < info_of(s).n_experts; e++) {
        moe_expert_info info = MOE_EXPERT_INFO_INIT;
        assert_ok(moe_expert_get_info(expert_of(s, 0, e), &info));
        if (info.source == MOE_SOURCE_FUNCTION)
            assert_ok(moe_expert_redirect(expert_of(s, MOE_ALL_LAYERS, e), MOE_ALL_LAYERS, 6));
    }
    check_blocks(s); /* weights twice are fine */
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- what a profile sees of the outputs ---- */

typedef struct output_sums {
    double n, norm, saliency, max;
    size_t channel;
} output_sums;

/* The definitions over the pairs of one expert in the log. */
static output_sums sum_outputs(moe_session *s, uint32_t layer, uint32_t expert, int on_input)
{
    const layer_log *log = &seen[layer];
    output_sums o = {0};
    moe_expert_info info = MOE_EXPERT_INFO_INIT;
    assert_ok(moe_expert_get_info(expert_of(s, layer, expert), &info));
    for (size_t row = 0; row < N; row++)
        for (uint32_t p = 0; p < log->n_pairs[row]; p++) {
            const pair at = log->p[row][p];
            float x[MAX_DIM], y[MAX_DIM];
            double squares = 0;
            if (at.expert != expert || at.weight == 0 || info.gain == 0) continue;
            for (size_t d = 0; d < log->dim; d++)
                x[d] = log->x[row * log->dim + d] * (on_input ? at.weight : 1);
            assert_ok(moe_expert_apply(expert_of(s, layer, expert), x, 1, y));
            for (size_t d = 0; d < log->dim; d++) {
                squares += (double)y[d] * (double)y[d];
                if (fabs((double)y[d]) > o.max) {
                    o.max = fabs((double)y[d]);
                    o.channel = d;
                }
            }
            o.n++;
            o.norm += sqrt(squares);
            o.saliency += sqrt(squares) * (double)(on_input ? 1 : at.weight);
        }
    return o;
}

static void check_near(double got, double want)
{
    if (fabs(got - want) > 1e-6 * fabs(want)) fail_msg("expected %g, got %g", want, got);
}

static void check_outputs(moe_session *s, moe_profile *p, uint32_t layer, int on_input)
{
    static const int what[4] = {MOE_PROFILE_NORM, MOE_PROFILE_SALIENCY, MOE_PROFILE_MAX,
                                MOE_PROFILE_MAX_CHANNEL};
    double got[4][64];
    size_t n;
    for (int i = 0; i < 4; i++) assert_ok(moe_profile_read(p, layer, what[i], got[i], 64, &n));
    for (uint32_t e = 0; e < info_of(s).n_experts; e++) {
        const output_sums o = sum_outputs(s, layer, e, on_input);
        check_near(got[0][e], o.n > 0 ? o.norm / o.n : 0);
        check_near(got[1][e], o.n > 0 ? o.saliency / o.n : 0);
        assert_true(got[2][e] == o.max);
        if (o.n > 0) assert_true(got[3][e] == (double)o.channel);
    }
}

static void profiles_see_raw_outputs(void **state)
{
    (void)state;
    void (*const sets[])(moe_session *) = {set_nothing, set_mixture_and_gains, set_on_input_after, set_twice};
    moe_model *m = open_model(models[0], 0);
    for (size_t k = 0; k < sizeof sets / sizeof sets[0]; k++) {
        moe_profile_options o = MOE_PROFILE_OPTIONS_INIT;
        moe_session *s = session_with(m, 1 + (int)k % 3, 0);
        moe_profile *p;
        o.flags = MOE_PROFILE_OUTPUTS;
        assert_ok(moe_profile_create(&p, m, &o));
        sets[k](s);
        memset(seen, 0, sizeof seen);
        float *plain = run(s, 10);
        watch(s);
        assert_ok(moe_session_set_profile(s, p));
        float *x = run(s, 10);
        assert_true(same(s, plain, x)); /* looking changes nothing */
        assert_ok(moe_session_set_profile(s, NULL));
        unwatch(s);
        for (uint32_t l = 0; l < info_of(s).n_layers; l++)
            check_outputs(s, p, l, sets[k] == set_on_input_after);
        free(plain);
        free(x);
        moe_session_free(s);
        moe_profile_free(p);
    }
    moe_model_release(m);
}

/* Two sessions of one model, different experts; one's changes never show in the other. */
static void sessions_do_not_see_each_other(void **state)
{
    (void)state;
    moe_model *m = open_model(DEMO, 0);
    moe_session *a = session_with(m, 2, 0), *b = session_with(m, 1, 0), *plain = session_with(m, 1, 0);
    set_mixture(a);
    check_same(b, plain, 1);
    set_gains(b);
    check_same(a, plain, 0);
    assert_ok(moe_session_copy_routing(plain, a));
    moe_session_free(a); /* its weights live on in the copy */
    a = session_with(m, 1, 0);
    set_mixture(a);
    check_same(a, plain, 1);
    assert_ok(moe_session_copy_routing(plain, b)); /* no replaced experts: those go */
    check_same(b, plain, 1);
    moe_session_free(a);
    moe_session_free(b);
    moe_session_free(plain);
    moe_model_release(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_the_sums_of_their_experts),
        cmocka_unit_test(own_weights_change_nothing),
        cmocka_unit_test(all_redirected_to_one),
        cmocka_unit_test(gains),
        cmocka_unit_test(gains_reach_functions),
        cmocka_unit_test(a_function_twice_on_scaled_inputs),
        cmocka_unit_test(profiles_see_raw_outputs),
        cmocka_unit_test(sessions_do_not_see_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
