/* SPDX-License-Identifier: MIT */
/*
 * Contrast and mixtures of logits, comparison of vocabularies, calculators. Expected numbers are those of the
 * papers' examples, or computed here with the C library's long double functions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "../check.h"
#include "base/mathx.h"
#include "sample/sampler.h"
#include "token/token.h"

#define assert_near(found, want, tol)                                                                        \
    do {                                                                                                     \
        const double found_ = (double)(found), want_ = (double)(want);                                       \
        if (!(fabs(found_ - want_) <= (tol)))                                                                \
            fail_msg("%s: expected %.9g, found %.9g", #found, want_, found_);                                \
    } while (0)

static uint64_t noise_state = 88172645463325252u;

/* Uniform in [0, 1). */
static double noise(void)
{
    noise_state ^= noise_state << 13;
    noise_state ^= noise_state >> 7;
    noise_state ^= noise_state << 17;
    return (double)(noise_state >> 11) * 0x1p-53;
}

static void fill(float *x, size_t n, double spread)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)((noise() - 0.5) * spread);
}

static size_t argmax(const float *x, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return best;
}

/* ---- contrast */

/* 2405.14507: cut at 2 + ln 0.1 = -0.302585; z = 1.5 s - 0.5 w; the greedy choice 0 becomes 1. */
static void scmoe_example(void **state)
{
    (void)state;
    const float s[4] = {2, 1.5f, 0, -3}, w[4] = {1.8f, .2f, 0, -14};
    float z[4];
    moe_contrast o = MOE_CONTRAST_INIT;
    assert_int_equal(moe_contrast_logits(s, w, 4, &o, z), MOE_OK);
    assert_near(z[0], 2.1, 1e-6);
    assert_near(z[1], 2.15, 1e-6);
    assert_near(z[2], 0, 1e-6);
    assert_true(z[3] == -INFINITY);
    assert_int_equal(argmax(z, 4), 1);
    assert_int_equal(argmax(s, 4), 0);
    /* NULL and zeros mean the paper's settings, but for beta, of which 0 is a value */
    float z2[4];
    assert_int_equal(moe_contrast_logits(s, w, 4, NULL, z2), MOE_OK);
    assert_memory_equal(z, z2, sizeof z);
    o.alpha = o.temp = o.temp_weak = 0;
    assert_int_equal(moe_contrast_logits(s, w, 4, &o, z2), MOE_OK);
    assert_memory_equal(z, z2, sizeof z);
    /* in place */
    memcpy(z2, w, sizeof w);
    assert_int_equal(moe_contrast_logits(s, z2, 4, NULL, z2), MOE_OK);
    assert_memory_equal(z, z2, sizeof z);
    memcpy(z2, s, sizeof s);
    assert_int_equal(moe_contrast_logits(z2, w, 4, NULL, z2), MOE_OK);
    assert_memory_equal(z, z2, sizeof z);
}

/* With beta 0 what is left are the strong logits to the bit: greedy picks the same token. */
static void scmoe_beta_zero_is_greedy(void **state)
{
    (void)state;
    float s[300], w[300], z[300];
    moe_contrast o = MOE_CONTRAST_INIT;
    o.beta = 0;
    for (int round = 0; round < 50; round++) {
        fill(s, 300, 20);
        fill(w, 300, 20);
        if (round % 2) w[round] = -INFINITY;
        assert_int_equal(moe_contrast_logits(s, w, 300, &o, z), MOE_OK);
        assert_int_equal(argmax(z, 300), argmax(s, 300));
        for (size_t v = 0; v < 300; v++) {
            const int in = s[v] >= s[argmax(s, 300)] + log((double)o.alpha);
            assert_true(in ? memcmp(&z[v], &s[v], sizeof z[v]) == 0 : z[v] == -INFINITY);
        }
    }
}

/* Log-probabilities in the place of logits give the same distribution (papers: "logits or log-probs gives the
 * same result"). */
static void scmoe_of_log_probabilities(void **state)
{
    (void)state;
    float s[50], w[50], ls[50], lw[50], a[50], b[50];
    fill(s, 50, 6);
    fill(w, 50, 6);
    double sum_s = 0, sum_w = 0;
    for (int v = 0; v < 50; v++) {
        sum_s += exp(s[v]);
        sum_w += exp(w[v]);
    }
    for (int v = 0; v < 50; v++) {
        ls[v] = (float)(s[v] - log(sum_s));
        lw[v] = (float)(w[v] - log(sum_w));
    }
    assert_int_equal(moe_contrast_logits(s, w, 50, NULL, a), MOE_OK);
    assert_int_equal(moe_contrast_logits(ls, lw, 50, NULL, b), MOE_OK);
    const size_t top = argmax(a, 50);
    for (int v = 0; v < 50; v++) {
        assert_int_equal(isinf(a[v]) != 0, isinf(b[v]) != 0);
        if (!isinf(a[v])) assert_near(a[v] - a[top], b[v] - b[top], 1e-5);
    }
}

static void temperatures_divide_before_the_cut(void **state)
{
    (void)state;
    const float s[3] = {4, 2, 0}, w[3] = {3, -3, 6};
    float z[3];
    moe_contrast o = MOE_CONTRAST_INIT;
    o.temp = 2;
    o.temp_weak = 3;
    o.beta = 1;
    assert_int_equal(moe_contrast_logits(s, w, 3, &o, z), MOE_OK); /* s: 2 1 0, cut -0.30 */
    assert_near(z[0], 4 - 1, 1e-6);
    assert_near(z[1], 2 + 1, 1e-6);
    assert_near(z[2], 0 - 2, 1e-6);
    o.alpha = 1; /* only the best stay */
    assert_int_equal(moe_contrast_logits(s, w, 3, &o, z), MOE_OK);
    assert_true(z[0] == 3 && z[1] == -INFINITY && z[2] == -INFINITY);
}

static void contrast_edges(void **state)
{
    (void)state;
    float s[3] = {1, 2, -INFINITY}, w[3] = {0, -INFINITY, 0}, z[3] = {7, 7, 7};
    /* a token that only the weak routing rules out wins, with a finite logit */
    assert_int_equal(moe_contrast_logits(s, w, 3, NULL, z), MOE_OK);
    assert_true(z[0] == 1.5f && z[1] > 1e37f && isfinite(z[1]) && z[2] == -INFINITY);
    /* overflow ends at the largest float */
    const float big[2] = {FLT_MAX, -FLT_MAX}, small[2] = {-FLT_MAX, FLT_MAX};
    moe_contrast o = MOE_CONTRAST_INIT;
    o.beta = FLT_MAX;
    assert_int_equal(moe_contrast_logits(big, small, 2, &o, z), MOE_OK);
    assert_true(z[0] == FLT_MAX && z[1] == -INFINITY);
    o = (moe_contrast)MOE_CONTRAST_INIT;
    o.temp = FLT_MIN; /* so cold that quotients pass every float */
    assert_int_equal(moe_contrast_logits(big, small, 2, &o, z), MOE_OK);
    assert_true(z[0] == FLT_MAX && z[1] == -INFINITY);
    /* refusals leave out alone */
    z[0] = 7;
    s[0] = NAN;
    assert_refused(moe_contrast_logits(s, w, 3, NULL, z), MOE_E_NUMERIC,
                   "strong row 0: token 0: the logit is NaN");
    s[0] = 1;
    w[2] = NAN;
    assert_refused(moe_contrast_logits(s, w, 3, NULL, z), MOE_E_NUMERIC, "weak row 0: token 2");
    w[2] = INFINITY;
    assert_refused(moe_contrast_logits(s, w, 3, NULL, z), MOE_E_NUMERIC, "+infinity");
    s[0] = s[1] = -INFINITY;
    assert_refused(moe_contrast_logits(s, w, 3, NULL, z), MOE_E_NUMERIC, "none of the 3");
    assert_true(z[0] == 7);
    assert_refused(moe_contrast_logits(s, w, 0, NULL, z), MOE_E_INVALID, "n >= 1");
    assert_refused(moe_contrast_logits(s, NULL, 3, NULL, z), MOE_E_INVALID, "weak");
    static const struct {
        float alpha, beta, temp, temp_weak;
        const char *word;
    } bad[] = {{-.1f, 0, 1, 1, "alpha"}, {1.5f, 0, 1, 1, "alpha"},      {NAN, 0, 1, 1, "alpha"},
               {.1f, -1, 1, 1, "beta"},  {.1f, INFINITY, 1, 1, "beta"}, {.1f, NAN, 1, 1, "beta"},
               {.1f, 0, -1, 1, "temp:"}, {.1f, 0, NAN, 1, "temp:"},     {.1f, 0, 1, -2, "temp_weak"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        o.alpha = bad[i].alpha;
        o.beta = bad[i].beta;
        o.temp = bad[i].temp;
        o.temp_weak = bad[i].temp_weak;
        assert_refused(moe_contrast_logits(big, small, 2, &o, z), MOE_E_INVALID, bad[i].word);
    }
    o.size = 0;
    assert_refused(moe_contrast_logits(big, small, 2, &o, z), MOE_E_INVALID, "moe_contrast");
}

/* ---- mixtures */

enum { VOCAB = 400 };

/* p = softmax(x) in long double. */
static void softmax_of(const float *x, size_t n, long double *p)
{
    long double max = -INFINITY, sum = 0;
    for (size_t v = 0; v < n; v++)
        if (x[v] > max) max = x[v];
    for (size_t v = 0; v < n; v++) sum += p[v] = expl(x[v] - max);
    for (size_t v = 0; v < n; v++) p[v] /= sum;
}

/* Two copies are one model: logits unchanged to the bit, probabilities unchanged. */
static void two_copies_unchanged(void **state)
{
    (void)state;
    static float x[VOCAB], y[VOCAB];
    static long double p[VOCAB], q[VOCAB];
    const float *rows[2] = {x, x};
    const float uneven[2] = {.3f, 1.9f};
    for (int round = 0; round < 20; round++) {
        fill(x, VOCAB, 30);
        x[3] = -INFINITY;
        for (int w = 0; w < 2; w++) {
            assert_int_equal(moe_mix_logits(MOE_MIX_LOGITS, rows, w ? uneven : NULL, 2, VOCAB, y), MOE_OK);
            assert_memory_equal(x, y, sizeof x);
            assert_int_equal(moe_mix_logits(MOE_MIX_PROBS, rows, w ? uneven : NULL, 2, VOCAB, y), MOE_OK);
            softmax_of(x, VOCAB, p);
            for (size_t v = 0; v < VOCAB; v++)
                if (v != 3) assert_near(y[v], logl(p[v]), 4e-6);
            assert_true(y[3] == -INFINITY);
            assert_int_equal(moe_mix_logits(MOE_MIX_LSE, rows, w ? uneven : NULL, 2, VOCAB, y), MOE_OK);
            softmax_of(y, VOCAB, q);
            for (size_t v = 0; v < VOCAB; v++) assert_near(q[v], p[v], 1e-6);
        }
    }
}

/* 2507.07129: the softmax of mean logits is the normalised geometric mean of the softmaxes. */
static void mean_logits_are_a_geometric_mean(void **state)
{
    (void)state;
    enum { N = 3 };
    static float x[N][VOCAB], y[VOCAB];
    static long double p[N][VOCAB], q[VOCAB];
    const float *rows[N] = {x[0], x[1], x[2]};
    const float weights[N] = {1, 2.5f, .25f};
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < N; i++) {
            fill(x[i], VOCAB, 16);
            softmax_of(x[i], VOCAB, p[i]);
        }
        assert_int_equal(moe_mix_logits(MOE_MIX_LOGITS, rows, weights, N, VOCAB, y), MOE_OK);
        softmax_of(y, VOCAB, q);
        long double mean[VOCAB], sum = 0;
        for (size_t v = 0; v < VOCAB; v++) {
            mean[v] = 0;
            for (int i = 0; i < N; i++) mean[v] += weights[i] / 3.75L * logl(p[i][v]);
            sum += mean[v] = expl(mean[v]);
        }
        for (size_t v = 0; v < VOCAB; v++) assert_near(q[v], mean[v] / sum, 1e-6);
    }
}

static void probabilities_and_sums(void **state)
{
    (void)state;
    static float x[2][VOCAB], y[VOCAB];
    static long double p[2][VOCAB];
    const float *rows[2] = {x[0], x[1]};
    const float weights[2] = {3, 1};
    for (int i = 0; i < 2; i++) fill(x[i], VOCAB, 60);
    x[0][5] = -INFINITY;
    x[1][6] = -INFINITY;
    x[0][7] = x[1][7] = -INFINITY;
    for (int i = 0; i < 2; i++) softmax_of(x[i], VOCAB, p[i]);
    assert_int_equal(moe_mix_logits(MOE_MIX_PROBS, rows, weights, 2, VOCAB, y), MOE_OK);
    long double sum = 0;
    for (size_t v = 0; v < VOCAB; v++) {
        sum += expl(y[v]);
        if (v != 7) assert_near(y[v], logl(.75L * p[0][v] + .25L * p[1][v]), 1e-5);
    }
    assert_true(y[7] == -INFINITY);
    assert_near(sum, 1, 1e-5);
    assert_int_equal(moe_mix_logits(MOE_MIX_LSE, rows, weights, 2, VOCAB, y), MOE_OK);
    for (size_t v = 0; v < VOCAB; v++)
        if (v != 7) assert_near(y[v], logl(3 * expl(x[0][v]) + expl(x[1][v])), 1e-5);
    assert_true(y[7] == -INFINITY);
    /* by hand: log(e^0 + e^0) and half of it */
    const float zero[1] = {0};
    const float *two[2] = {zero, zero};
    assert_int_equal(moe_mix_logits(MOE_MIX_LSE, two, NULL, 2, 1, y), MOE_OK);
    assert_near(y[0], 0.693147181, 1e-7);
    assert_int_equal(moe_mix_logits(MOE_MIX_PROBS, two, NULL, 2, 1, y), MOE_OK);
    assert_true(y[0] == 0);
}

/* What exp cannot hold is kept; a row of weight 0 has no say. */
static void mixtures_far_from_zero(void **state)
{
    (void)state;
    float a[3] = {3e38f, -3e38f, 0}, b[3] = {3e38f, -3e38f, 1}, y[3];
    const float *rows[2] = {a, b};
    for (int mode = MOE_MIX_LOGITS; mode <= MOE_MIX_LSE; mode++) {
        assert_int_equal(moe_mix_logits(mode, rows, NULL, 2, 3, y), MOE_OK);
        for (int v = 0; v < 3; v++) assert_true(isfinite(y[v]));
        assert_true(y[0] > y[2] && y[2] > y[1]);
    }
    const float far[2][2] = {{0, -2000}, {0, -3000}};
    const float *far_rows[2] = {far[0], far[1]};
    assert_int_equal(moe_mix_logits(MOE_MIX_PROBS, far_rows, NULL, 2, 2, y), MOE_OK);
    assert_near(y[1], -2000 - log(2.0), 1e-3);
    const float first[2] = {2, 0};
    b[0] = b[1] = -INFINITY;
    a[0] = 4;
    a[1] = 2;
    for (int mode = MOE_MIX_LOGITS; mode <= MOE_MIX_LSE; mode++) {
        assert_int_equal(moe_mix_logits(mode, rows, first, 2, 3, y), MOE_OK);
        assert_near(y[0] - y[1], 2, 1e-6);
        assert_near(y[0] - y[2], 4, 1e-6);
    }
}

static void mixtures_refuse(void **state)
{
    (void)state;
    float a[2] = {0, 1}, b[2] = {1, 0}, y[2] = {7, 7};
    const float *rows[2] = {a, b};
    const float none[2] = {0, 0}, minus[2] = {1, -1}, nan[2] = {1, NAN}, inf[2] = {INFINITY, 1};
    assert_refused(moe_mix_logits(0, rows, NULL, 2, 2, y), MOE_E_INVALID, "mode 0");
    assert_refused(moe_mix_logits(4, rows, NULL, 2, 2, y), MOE_E_INVALID, "mode 4");
    assert_refused(moe_mix_logits(1, rows, none, 2, 2, y), MOE_E_INVALID, "all 2 weights are 0");
    assert_refused(moe_mix_logits(1, rows, minus, 2, 2, y), MOE_E_INVALID, "weight 1");
    assert_refused(moe_mix_logits(1, rows, nan, 2, 2, y), MOE_E_INVALID, "weight 1");
    assert_refused(moe_mix_logits(1, rows, inf, 2, 2, y), MOE_E_INVALID, "weight 0");
    assert_refused(moe_mix_logits(1, rows, NULL, 0, 2, y), MOE_E_INVALID, "found 0");
    assert_refused(moe_mix_logits(1, rows, NULL, 2, 0, y), MOE_E_INVALID, "n_vocab");
    b[1] = NAN;
    for (int mode = MOE_MIX_LOGITS; mode <= MOE_MIX_LSE; mode++)
        assert_refused(moe_mix_logits(mode, rows, NULL, 2, 2, y), MOE_E_NUMERIC,
                       "row 1: token 1: the logit is NaN");
    b[1] = INFINITY;
    assert_refused(moe_mix_logits(1, rows, NULL, 2, 2, y), MOE_E_NUMERIC, "+infinity");
    b[0] = b[1] = -INFINITY;
    assert_refused(moe_mix_logits(2, rows, NULL, 2, 2, y), MOE_E_NUMERIC, "row 1: none");
    b[0] = 0;
    a[0] = -INFINITY;
    assert_refused(moe_mix_logits(1, rows, NULL, 2, 2, y), MOE_E_NUMERIC, "no token");
    rows[1] = NULL;
    assert_refused(moe_mix_logits(1, rows, NULL, 2, 2, y), MOE_E_INVALID, "logits[i]");
    assert_true(y[0] == 7 && y[1] == 7);
}

/* ---- vocabularies */

static moe_tokenizer *open_tokenizer(const char *path)
{
    moe_tokenizer *t = NULL;
    if (moe_tokenizer_open(&t, path, NULL) != MOE_OK) fail_msg("%s", moe_last_error());
    return t;
}

static void vocabularies_are_compared(void **state)
{
    (void)state;
    moe_tokenizer *a = open_tokenizer("tests/golden/data/qwen3moe.gguf"),
                  *a2 = open_tokenizer("tests/golden/data/qwen3moe.gguf"),
                  *b = open_tokenizer("examples/models/demo.gguf");
    moe_token first = 77;
    assert_int_equal(moe_tokenizer_same(a, a, &first), 1);
    assert_int_equal(first, MOE_TOKEN_NONE);
    assert_int_equal(moe_tokenizer_same(a, a2, NULL), 1);
    assert_int_equal(moe_tokenizer_same(a, b, &first), 0);
    assert_true(first >= 0);
    const char *pa, *pb;
    size_t na, nb;
    /* all before it are equal, it is not */
    for (moe_token id = 0; id <= first; id++) {
        if (moe_tokenizer_piece(a, id, &pa, &na) != MOE_OK ||
            moe_tokenizer_piece(b, id, &pb, &nb) != MOE_OK) {
            assert_int_equal(id, first);
            break;
        }
        const uint32_t kinds = (moe_tokenizer_attr(a, id) ^ moe_tokenizer_attr(b, id)) & ~MOE_ATTR_END;
        assert_int_equal(na == nb && memcmp(pa, pb, na) == 0 && kinds == 0, id < first);
    }
    first = 77;
    assert_int_equal(moe_tokenizer_same(a, NULL, &first), 0);
    assert_int_equal(first, MOE_TOKEN_NONE);
    assert_int_equal(moe_tokenizer_same(NULL, NULL, NULL), 0);
    moe_tokenizer_free(a);
    moe_tokenizer_free(a2);
    moe_tokenizer_free(b);
}

/* Tokens made by hand: bytes, their number and the kind count; where generation ends does not. */
static void tokens_are_compared(void **state)
{
    (void)state;
    uint8_t text_a[] = "ab\0c\0d", text_b[] = "ab\0c\0d", text_c[] = "ab\0cx\0d", text_d[] = "ab\0x\0d";
    uint32_t at[4] = {0, 3, 5, 7}, at_c[4] = {0, 3, 6, 8};
    uint8_t attr[3] = {MOE_ATTR_NORMAL, MOE_ATTR_NORMAL, MOE_ATTR_CONTROL},
            end[3] = {MOE_ATTR_NORMAL, MOE_ATTR_NORMAL, MOE_ATTR_CONTROL | MOE_ATTR_END},
            kind[3] = {MOE_ATTR_NORMAL, MOE_ATTR_NORMAL, MOE_ATTR_USER};
    const moe_tokenizer a = {.n = 3, .text = text_a, .at = at, .attr = attr};
    const struct {
        moe_tokenizer t;
        moe_token first;
    } row[] = {{{.n = 3, .text = text_b, .at = at, .attr = end}, MOE_TOKEN_NONE},
               {{.n = 3, .text = text_b, .at = at, .attr = kind}, 2},
               {{.n = 3, .text = text_c, .at = at_c, .attr = attr}, 1},
               {{.n = 3, .text = text_d, .at = at, .attr = attr}, 1},
               {{.n = 2, .text = text_b, .at = at, .attr = attr}, 2}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        moe_token first = 77;
        assert_int_equal(moe_tokenizer_same(&a, &row[i].t, &first), row[i].first == MOE_TOKEN_NONE);
        assert_int_equal(first, row[i].first);
        assert_int_equal(moe_tokenizer_same(&row[i].t, &a, &first), row[i].first == MOE_TOKEN_NONE);
        assert_int_equal(first, row[i].first);
        assert_int_equal(moe__vocab_hash(&a) == moe__vocab_hash(&row[i].t), row[i].first == MOE_TOKEN_NONE);
    }
}

/* ---- calculators */

/* 2507.17702 with the header of DeepSeekMoE-16B: 64 routed, 6 active, 2 shared of width 1408, hidden 2048. */
static void deepseekmoe_16b_shape(void **state)
{
    (void)state;
    moe_shape s = MOE_SHAPE_INIT;
    moe_shape_info x = MOE_SHAPE_INFO_INIT;
    s.dim = 2048;
    s.dim_ff_expert = 1408;
    s.dim_ff_shared = 2 * 1408;
    s.n_experts = 64;
    s.top_k = 6;
    assert_int_equal(moe_shape_measure(&s, &x), MOE_OK);
    assert_near(x.activation, .1212, 5e-5);
    assert_near(x.activation, 8.0 / 66, 1e-15);
    assert_near(x.granularity, 2.909, 5e-4);
    assert_true(x.n_params == 64ull * 2048 + 66ull * 3 * 2048 * 1408);
    assert_true(x.n_active == 64ull * 2048 + 8ull * 3 * 2048 * 1408);
    s.n_matrices = 2;
    s.dim_ff_shared = 0;
    assert_int_equal(moe_shape_measure(&s, &x), MOE_OK);
    assert_near(x.activation, 6.0 / 64, 1e-15);
    assert_true(x.n_params == 64ull * 2048 + 64ull * 2 * 2048 * 1408);
}

/* 2503.23100's layer: 60 experts of 3 x 2048 x 1408 are 519.0 M parameters; the router comes on top. */
static void qwen15_moe_layer(void **state)
{
    (void)state;
    moe_shape s = MOE_SHAPE_INIT;
    moe_shape_info x = MOE_SHAPE_INFO_INIT;
    s.dim = 2048;
    s.dim_ff_expert = 1408;
    s.n_experts = 60;
    s.top_k = 4;
    assert_int_equal(moe_shape_measure(&s, &x), MOE_OK);
    assert_near((double)(x.n_params - 60 * 2048) / 1e6, 519.0, .05);
}

static void wrong_shapes(void **state)
{
    (void)state;
    const moe_shape good = {sizeof good, 8, 4, 0, 4, 2, 0};
    moe_shape_info x = MOE_SHAPE_INFO_INIT;
    moe_shape s = good;
    s.dim = 0;
    assert_refused(moe_shape_measure(&s, &x), MOE_E_INVALID, "dim:");
    s = good;
    s.dim_ff_expert = 0;
    assert_refused(moe_shape_measure(&s, &x), MOE_E_INVALID, "dim_ff_expert");
    s = good;
    s.n_experts = 0;
    assert_refused(moe_shape_measure(&s, &x), MOE_E_INVALID, "n_experts");
    s = good;
    s.top_k = 0;
    assert_refused(moe_shape_measure(&s, &x), MOE_E_INVALID, "top_k");
    s.top_k = 5;
    assert_refused(moe_shape_measure(&s, &x), MOE_E_INVALID, "top_k");
    s = (moe_shape){sizeof s, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, 1, UINT32_MAX};
    assert_refused(moe_shape_measure(&s, &x), MOE_E_RANGE, "64 bits");
    s.size = 0;
    assert_refused(moe_shape_measure(&s, &x), MOE_E_INVALID, "moe_shape");
    assert_refused(moe_shape_measure(NULL, &x), MOE_E_INVALID, "shape");
    assert_true(x.n_params == 0 && x.activation == 0);
}

/* log of the sum over rows of exp(shift + x), for one token: what mixtures are, to the bit. */
static float mixed(const double *shift, const float *const *x, size_t n, size_t v)
{
    double best = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        if (shift[i] + x[i][v] > best) best = shift[i] + x[i][v];
    for (size_t i = 0; i < n; i++) sum += moe__math_exp(shift[i] + x[i][v] - best);
    return best == -INFINITY ? -INFINITY : moe__finite(best + moe__math_log(sum));
}

/* Whole vocabularies are mixed by pieces and by the kernels of the CPU: the bits are those of one token at a
 * time. */
static void mixtures_by_pieces(void **state)
{
    (void)state;
    enum { N = 3, WIDE = 1300 };
    static float x[N][WIDE], y[WIDE];
    const float *const rows[N] = {x[0], x[1], x[2]}, weights[N] = {0.5f, 0, 1.25f};
    for (int shape = 0; shape < 4; shape++) {
        for (size_t i = 0; i < N; i++) {
            fill(x[i], WIDE, shape == 0 ? 0.01 : shape == 1 ? 30 : 2000);
            for (size_t v = 0; v < WIDE; v++)
                if (shape == 2)
                    x[i][v] = (float)(int)(x[i][v] / 400); /* ties */
                else if (shape == 3 && noise() < 0.4)
                    x[i][v] = -INFINITY;
        }
        for (int mode = MOE_MIX_PROBS; mode <= MOE_MIX_LSE; mode++) {
            double shift[N];
            for (size_t i = 0; i < N; i++) {
                double best = -INFINITY, total = 0;
                shift[i] = moe__math_log(weights[i]);
                if (mode == MOE_MIX_LSE || weights[i] == 0) continue;
                for (size_t v = 0; v < WIDE; v++) best = x[i][v] > best ? x[i][v] : best;
                for (size_t v = 0; v < WIDE; v++) total += moe__math_exp(x[i][v] - best);
                shift[i] -= moe__math_log(1.75) + best + moe__math_log(total);
            }
            assert_int_equal(moe_mix_logits(mode, rows, weights, N, WIDE, y), MOE_OK);
            for (size_t v = 0; v < WIDE; v++) {
                const float want = mixed(shift, rows, N, v);
                assert_memory_equal(&y[v], &want, sizeof want);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scmoe_example),
        cmocka_unit_test(scmoe_beta_zero_is_greedy),
        cmocka_unit_test(scmoe_of_log_probabilities),
        cmocka_unit_test(temperatures_divide_before_the_cut),
        cmocka_unit_test(contrast_edges),
        cmocka_unit_test(two_copies_unchanged),
        cmocka_unit_test(mean_logits_are_a_geometric_mean),
        cmocka_unit_test(probabilities_and_sums),
        cmocka_unit_test(mixtures_far_from_zero),
        cmocka_unit_test(mixtures_by_pieces),
        cmocka_unit_test(mixtures_refuse),
        cmocka_unit_test(vocabularies_are_compared),
        cmocka_unit_test(tokens_are_compared),
        cmocka_unit_test(deepseekmoe_16b_shape),
        cmocka_unit_test(qwen15_moe_layer),
        cmocka_unit_test(wrong_shapes),
    };
    return cmocka_run_group_tests_name("mix", tests, NULL, NULL);
}
