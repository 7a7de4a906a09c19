/* SPDX-License-Identifier: MIT */
/*
 * The sampler: every stage against vectors computed in NumPy from the papers (tools/make_sampler_vectors.py),
 * draws against their distribution, reproducibility, refusals, user stages, memory, log-probabilities.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mathx.h"
#include "base/rng.h"
#include "moe/moe.h"
#include "sample/sampler.h"

#define VECTORS "tests/unit/data/sampler.txt"
#define MAX_N 64

static moe_sampler *chain(const char *text)
{
    moe_sampler *s;
    assert_int_equal(moe_sampler_create(&s, NULL), MOE_OK);
    if (moe_sampler_add_named(s, text) != MOE_OK) fail_msg("%s: %s", text, moe_last_error());
    return s;
}

/* ---- vectors */

typedef struct vector {
    char spec[128];
    moe_token history[128];
    float logit[MAX_N];
    size_t n_history, n;
} vector;

static size_t read_floats(const char *s, float *x)
{
    size_t n = 0;
    char *end;
    for (; x[n] = strtof(s, &end), end != s; s = end) n++;
    return n;
}

static size_t read_tokens(const char *s, moe_token *id)
{
    size_t n = 0;
    char *end;
    for (; id[n] = (moe_token)strtol(s, &end, 10), end != s; s = end) n++;
    return n;
}

static moe_sampler *vector_chain(const vector *v)
{
    moe_sampler *s = chain(v->spec);
    for (size_t i = 0; i < v->n_history; i++) assert_int_equal(moe_sampler_accept(s, v->history[i]), MOE_OK);
    return s;
}

static int in_best_order(const moe_candidates *c)
{
    for (size_t i = 1; i < c->n; i++)
        if (c->logit[i - 1] < c->logit[i] || (c->logit[i - 1] == c->logit[i] && c->id[i - 1] > c->id[i]))
            return 0;
    return 1;
}

/* "token:logit ..." in order of tokens must be exactly what is left. */
static void check_keep(const vector *v, const char *want)
{
    moe_sampler *s = vector_chain(v);
    moe_token id[MAX_N];
    float logit[MAX_N];
    moe_candidates c = MOE_CANDIDATES_INIT;
    for (size_t i = 0; i < v->n; i++) {
        id[i] = (moe_token)i;
        logit[i] = v->logit[i];
    }
    c.n = v->n;
    c.id = id;
    c.logit = logit;
    assert_int_equal(moe_sampler_apply(s, &c), MOE_OK);
    assert_int_equal(c.picked, -1);
    if (c.sorted) assert_true(in_best_order(&c));
    size_t n_want = 0;
    for (int used, tok; sscanf(want, " %d:%n", &tok, &used) == 1; n_want++) {
        char *end;
        const float x = strtof(want + used, &end);
        size_t i = 0;
        want = end;
        while (i < c.n && c.id[i] != tok) i++;
        if (i == c.n) fail_msg("%s: token %d is gone", v->spec, tok);
        if (!(fabsf(c.logit[i] - x) <= 1e-6f * (1 + fabsf(x))))
            fail_msg("%s: token %d has logit %g, expected %g", v->spec, tok, (double)c.logit[i], (double)x);
    }
    if (c.n != n_want) fail_msg("%s: %zu candidates are left, expected %zu", v->spec, c.n, n_want);
    moe_sampler_free(s);
}

static void check_picks(const vector *v, const char *text)
{
    moe_token want[MAX_N], got;
    const size_t n = read_tokens(text, want);
    moe_sampler *s = vector_chain(v);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(moe_sampler_pick_logits(s, v->logit, v->n, &got), MOE_OK);
        if (got != want[i]) fail_msg("%s: pick %zu is %d, expected %d", v->spec, i, (int)got, (int)want[i]);
        assert_int_equal(moe_sampler_accept(s, got), MOE_OK);
    }
    moe_sampler_free(s);
}

static void test_vectors(void **state)
{
    (void)state;
    static char line[8192];
    vector v = {.n = 0};
    int n_keep = 0, n_picks = 0;
    FILE *f = fopen(VECTORS, "r");
    if (!f) fail_msg("%s is missing; run from the source directory", VECTORS);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *rest = strchr(line, ' ');
        if (!rest || line[0] == '#') continue;
        *rest++ = '\0';
        if (strcmp(line, "case") == 0) {
            v.n_history = 0;
            snprintf(v.spec, sizeof v.spec, "%s", rest);
        } else if (strcmp(line, "history") == 0) {
            v.n_history = read_tokens(rest, v.history);
        } else if (strcmp(line, "logits") == 0) {
            v.n = read_floats(rest, v.logit);
        } else if (strcmp(line, "keep") == 0) {
            check_keep(&v, rest);
            n_keep++;
        } else if (strcmp(line, "picks") == 0) {
            check_picks(&v, rest);
            n_picks++;
        } else {
            fail_msg("%s: unknown line '%s'", VECTORS, line);
        }
    }
    fclose(f);
    assert_true(n_keep >= 120 && n_picks >= 12);
}

/* ---- draws */

/* Pearson's statistic of n draws against softmax(logit). */
static double chi_square(const char *text, const float *logit, const double *p, size_t n, int n_draws)
{
    int count[MAX_N] = {0};
    double chi = 0;
    moe_sampler *s = chain(text);
    for (int i = 0; i < n_draws; i++) {
        moe_token t;
        assert_int_equal(moe_sampler_pick_logits(s, logit, n, &t), MOE_OK);
        assert_in_range(t, 0, n - 1);
        count[t]++;
    }
    for (size_t i = 0; i < n; i++) {
        const double want = p[i] * n_draws, off = count[i] - want;
        chi += off * off / want;
    }
    moe_sampler_free(s);
    return chi;
}

/*
 * 8 tokens of probability 1/36 ... 8/36: 7 degrees of freedom, above 24.3 in one of 1000 cases; the seeds are
 * fixed.
 */
static void test_distribution(void **state)
{
    (void)state;
    float logit[8];
    double p[8], square[8], sum = 0;
    for (int i = 0; i < 8; i++) {
        p[i] = (i + 1) / 36.0;
        logit[i] = (float)log(p[i]) + 3;
        sum += p[i] * p[i];
    }
    for (int i = 0; i < 8; i++) square[i] = p[i] * p[i] / sum;
    double total = 0;
    for (int seed = 0; seed < 10; seed++) {
        char text[40];
        snprintf(text, sizeof text, "dist:seed=%d", seed);
        const double chi = chi_square(text, logit, p, 8, 20000);
        assert_true(chi < 24.3);
        total += chi;
    }
    assert_true(total > 40 && total < 105); /* 70 degrees of freedom: mean 70, both bounds near one in 500 */
    assert_true(chi_square("temp:t=0.5;dist", logit, square, 8, 20000) < 24.3);
    assert_true(chi_square("top-k:k=8;top-p:p=1;min-p:p=0;dist:seed=3", logit, p, 8, 20000) < 24.3);
    assert_true(chi_square("dist", logit, square, 8, 20000) > 1000); /* the statistic does tell them apart */
}

/* XTC with two candidates above the threshold: the better one must go in a share p of the picks. */
static void test_xtc_rate(void **state)
{
    (void)state;
    const float logit[3] = {2.0f, 1.8f, -3.0f};
    moe_sampler *s = chain("xtc:p=0.3,t=0.1,seed=5;greedy");
    int n = 0;
    for (int i = 0; i < 20000; i++) {
        moe_token t;
        assert_int_equal(moe_sampler_pick_logits(s, logit, 3, &t), MOE_OK);
        assert_true(t == 0 || t == 1);
        n += t == 1;
    }
    assert_true(abs(n - 6000) < 5 * 65); /* standard deviation 64.8 */
    moe_sampler_free(s);
}

/* Mirostat steers the mean surprise to tau. */
static void test_mirostat_converges(void **state)
{
    (void)state;
    enum { N = 2000 };
    static float logit[N];
    double sum = 0, surprise = 0;
    for (int i = 0; i < N; i++) sum += exp(logit[i] = -1.1f * (float)log(i + 1.0)); /* Zipf */
    moe_sampler *s = chain("mirostat:tau=4,eta=0.1,seed=2");
    for (int i = 0; i < 3000; i++) {
        moe_token t;
        assert_int_equal(moe_sampler_pick_logits(s, logit, N, &t), MOE_OK);
        assert_int_equal(moe_sampler_accept(s, t), MOE_OK);
        if (i >= 500) surprise += s->stage[0].mu; /* settled: mu stays near a constant */
    }
    assert_true(s->stage[0].mu > 2 && s->stage[0].mu < 12);
    const double mu = surprise / 2500;
    /* Surprise within the cut at mu, by hand: mean of -log2 of the renormalised distribution. */
    double z = 0, h = 0;
    for (int i = 0; i < N; i++)
        if (-log2(exp(logit[i]) / sum) <= mu) z += exp(logit[i]);
    for (int i = 0; i < N; i++)
        if (-log2(exp(logit[i]) / sum) <= mu) h -= exp(logit[i]) / z * log2(exp(logit[i]) / z);
    assert_true(fabs(h - 4) < 0.25);
    moe_sampler_free(s);
}

/* A seed starts it anew, what it had learned included. */
static void test_mirostat_starts_anew(void **state)
{
    (void)state;
    static float logit[200];
    moe_token first[20], t;
    for (int i = 0; i < 200; i++) logit[i] = -0.03f * (float)i;
    moe_sampler *s = chain("mirostat:tau=3");
    for (int run = 0; run < 2; run++) {
        assert_int_equal(moe_sampler_set_seed(s, 7), MOE_OK);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(moe_sampler_pick_logits(s, logit, 200, &t), MOE_OK);
            if (run == 0) first[i] = t;
            assert_int_equal(t, first[i]);
            assert_int_equal(moe_sampler_accept(s, t), MOE_OK);
        }
    }
    moe_sampler_free(s);
}

/* Logits that a temperature makes one are a tie: the lower id, sorted before or not. */
static void test_ties_made_by_temperature(void **state)
{
    (void)state;
    static const char *const text[] = {"temp:t=1.5;greedy", "top-k:k=2;temp:t=1.5;greedy"};
    const float x[6] = {0, 0, 0, 1.50000012f, 0, 1.50000024f};
    assert_true(x[3] < x[5] && (float)(x[3] / 1.5) == (float)(x[5] / 1.5));
    for (int i = 0; i < 2; i++) {
        moe_token t;
        moe_sampler *s = chain(text[i]);
        assert_int_equal(moe_sampler_pick_logits(s, x, 6, &t), MOE_OK);
        assert_int_equal(t, 3);
        moe_sampler_free(s);
    }
}

/* ---- reproducibility */

static void random_row(float *x, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(moe__rng_at(seed, 9, i) >> 40) / 2097152.0f - 4;
}

static void picks(moe_sampler *s, moe_token *out, int n, uint64_t seed)
{
    float x[50];
    for (int i = 0; i < n; i++) {
        random_row(x, 50, seed + (uint64_t)i);
        assert_int_equal(moe_sampler_pick_logits(s, x, 50, &out[i]), MOE_OK);
        assert_int_equal(moe_sampler_accept(s, out[i]), MOE_OK);
    }
}

static void test_reproducible(void **state)
{
    (void)state;
    enum { N = 60 };
    const char *text = "penalties:repeat=1.2,freq=0.1;dry:allowed=1,ids=4+5;logit-bias:3=-inf,7=1;xtc:t=0.02;"
                       "mirostat:tau=3";
    moe_token a[N], b[N];
    moe_sampler *s = chain(text), *t = chain(text), *copy;
    picks(s, a, N, 1);
    picks(t, b, N, 1);
    assert_memory_equal(a, b, sizeof a);
    /* Midway: a clone goes on as the original does. */
    assert_int_equal(moe_sampler_clone(&copy, s), MOE_OK);
    picks(s, a, N, 77);
    moe_sampler_free(s);
    picks(copy, b, N, 77);
    assert_memory_equal(a, b, sizeof a);
    moe_sampler_free(copy);
    /* Reset starts over, another seed differs, the same seed does not. */
    assert_int_equal(moe_sampler_reset(t), MOE_OK);
    picks(t, a, N, 1);
    assert_int_equal(moe_sampler_reset(t), MOE_OK);
    assert_int_equal(moe_sampler_set_seed(t, 8), MOE_OK);
    picks(t, b, N, 1);
    assert_memory_not_equal(a, b, sizeof a);
    assert_int_equal(moe_sampler_reset(t), MOE_OK);
    assert_int_equal(moe_sampler_set_seed(t, 0), MOE_OK);
    picks(t, b, N, 1);
    assert_memory_equal(a, b, sizeof a);
    moe_sampler_free(t);
}

/* A struct with zeros and a text without keys mean the same where zero means "standard". */
static void test_struct_and_text(void **state)
{
    (void)state;
    static const struct { moe_sample_stage stage; const char *text; } pair[] = {
        {{.kind = MOE_SAMPLE_DIST, .seed = 12}, "dist:seed=12"},
        {{.kind = MOE_SAMPLE_TEMP, .a = 0.8f}, " temp "},
        {{.kind = MOE_SAMPLE_TEMP_DYNAMIC, .a = 0.8f, .b = 0.5f}, "temp-dynamic"},
        {{.kind = MOE_SAMPLE_TOP_K, .n = 40}, "top-k"},
        {{.kind = MOE_SAMPLE_TOP_P, .a = 0.95f}, ";top-p;"},
        {{.kind = MOE_SAMPLE_MIN_P, .a = 5e-2f, .n = 3}, "min-p:p=+5e-2, keep = 3"},
        {{.kind = MOE_SAMPLE_PENALTIES}, "penalties"},
        {{.kind = MOE_SAMPLE_PENALTIES, .n = -1, .a = 1.5f, .b = -0.25f, .c = 1e1f},
         "penalties:last=-1,repeat=1.5,freq=-.25,present=1e1"},
        {{.kind = MOE_SAMPLE_DRY}, "dry"},
        {{.kind = MOE_SAMPLE_MIROSTAT}, "mirostat"},
        {{.kind = MOE_SAMPLE_XTC, .a = 0.5f, .b = 0.1f}, "xtc"},
    };
    for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) {
        moe_sample_stage stage = pair[i].stage;
        moe_sampler *s, *t = chain(pair[i].text);
        stage.size = sizeof stage;
        assert_int_equal(moe_sampler_create(&s, NULL), MOE_OK);
        assert_int_equal(moe_sampler_add(s, &stage), MOE_OK);
        assert_int_equal(s->n_stages, 1);
        assert_int_equal(t->n_stages, 1);
        assert_memory_equal(&s->stage[0].spec, &t->stage[0].spec, sizeof stage);
        moe_sampler_free(s);
        moe_sampler_free(t);
    }
}

/* ---- refusals */

static void check_message(const char *word)
{
    if (!strstr(moe_last_error(), word)) fail_msg("'%s' is not in: %s", word, moe_last_error());
}

static void test_bad_stages(void **state)
{
    (void)state;
    static const moe_token ids[] = {1, -5};
    static const float values[] = {INFINITY, NAN}, fine[] = {1, 2};
    static const struct { moe_sample_stage stage; const char *word; } bad[] = {
        {{.kind = 0}, "kind is 0"},
        {{.kind = 99}, "kind is 99"},
        {{.kind = MOE_SAMPLE_GREEDY, .a = 1}, "field a"},
        {{.kind = MOE_SAMPLE_TOP_K, .n = -1}, "field n"},
        {{.kind = MOE_SAMPLE_TOP_K, .n = 3, .m = 1}, "field m"},
        {{.kind = MOE_SAMPLE_TEMP, .a = -0.1f}, "field a"},
        {{.kind = MOE_SAMPLE_TEMP, .a = NAN}, "field a"},
        {{.kind = MOE_SAMPLE_TEMP, .a = INFINITY}, "field a"},
        {{.kind = MOE_SAMPLE_TEMP_DYNAMIC, .a = 1, .b = -1}, "field b"},
        {{.kind = MOE_SAMPLE_TEMP_DYNAMIC, .a = 1, .c = -1}, "field c"},
        {{.kind = MOE_SAMPLE_TOP_P, .a = 1.01f}, "field a"},
        {{.kind = MOE_SAMPLE_TOP_P, .a = 0.5f, .n = -2}, "field n"},
        {{.kind = MOE_SAMPLE_MIN_P, .a = -0.5f}, "field a"},
        {{.kind = MOE_SAMPLE_TYPICAL, .a = 2}, "field a"},
        {{.kind = MOE_SAMPLE_TOP_N_SIGMA, .a = -1}, "field a"},
        {{.kind = MOE_SAMPLE_XTC, .a = 1.5f}, "field a"},
        {{.kind = MOE_SAMPLE_XTC, .a = 0.5f, .b = 1.5f}, "field b"},
        {{.kind = MOE_SAMPLE_PENALTIES, .n = -2}, "field n"},
        {{.kind = MOE_SAMPLE_PENALTIES, .a = -1}, "field a"},
        {{.kind = MOE_SAMPLE_PENALTIES, .b = 1e9f}, "field b"},
        {{.kind = MOE_SAMPLE_PENALTIES, .c = NAN}, "field c"},
        {{.kind = MOE_SAMPLE_DRY, .b = 0.5f}, "field b"},
        {{.kind = MOE_SAMPLE_DRY, .m = -1}, "field m"},
        {{.kind = MOE_SAMPLE_DRY, .ids = ids, .n_data = 2}, "ids[1] is -5"},
        {{.kind = MOE_SAMPLE_DRY, .n_data = 2}, "ids is NULL"},
        {{.kind = MOE_SAMPLE_MIROSTAT, .a = -5}, "field a"},
        {{.kind = MOE_SAMPLE_MIROSTAT, .b = 11}, "field b"},
        {{.kind = MOE_SAMPLE_TEMP, .a = 1, .ids = ids, .n_data = 1}, "n_data"},
        {{.kind = MOE_SAMPLE_LOGIT_BIAS, .ids = ids, .n_data = 1}, "values is NULL"},
        {{.kind = MOE_SAMPLE_LOGIT_BIAS, .ids = ids, .values = values, .n_data = 1}, "values[0]"},
        {{.kind = MOE_SAMPLE_LOGIT_BIAS, .ids = ids, .values = values + 1, .n_data = 1}, "values[0]"},
        {{.kind = MOE_SAMPLE_LOGIT_BIAS, .ids = ids, .values = fine, .n_data = 2}, "ids[1]"},
    };
    moe_sampler *s = chain("");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        moe_sample_stage stage = bad[i].stage;
        stage.size = sizeof stage;
        assert_int_equal(moe_sampler_add(s, &stage), MOE_E_INVALID);
        check_message(bad[i].word);
    }
    assert_int_equal(s->n_stages, 0);
    moe_sampler_free(s);
}

static void test_bad_texts(void **state)
{
    (void)state;
    static const struct { const char *text, *word; } bad[] = {
        {"topk", "byte 0: there is no stage 'topk'"}, {"top-k:k=3;bottom", "byte 10"}, {"top-k:", "no '='"},
        {"top-k:k", "no '='"}, {"top-k:k=", "no number"}, {"top-k:k=3.5", "no number"},
        {"top-k:k=3x", "no number"}, {"top-k:k=99999999999", "expected"}, {"top-k:q=3", "one of: k, seed"},
        {"top-k:k=-1", "k of 'top-k' is -1"}, {"top-p:p=1.5", "byte 8: p of 'top-p' is 1.5, expected 0 to 1"},
        {"top-p:p=nan", "no number"}, {"top-p:p=1e999", "no number"}, {"top-p:p=.", "no number"},
        {"top-p:p=1e", "no number"}, {"top-p:p=inf", "expected"},
        {"top-p:p=0.99999999999999999999999", "no number"}, {"min-p:keep=0", "expected"},
        {"penalties:last=0", "not 0"}, {"penalties:last=-2", "expected"}, {"dist:seed=-1", "no number"},
        {"dist:seed=18446744073709551616", "no number"}, {"dry:ids=", "no number"},
        {"dry:ids=1+", "no number"}, {"dry:ids=1+2147483648", "no number"}, {"logit-bias:x=1", "no number"},
        {"logit-bias:1=inf", "no number"}, {"logit-bias:1", "no '='"},
        {"greedy;dist", "cannot follow 'greedy'"}, {"dist;top-k", "cannot follow"},
        {"mirostat;temp", "cannot follow"}, {"greedy:k=1", "one of: seed"},
    };
    moe_sampler *s = chain("temp:t=0.5");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "min-p ; %s", bad[i].text); /* the good stage before must not stay */
        assert_int_equal(moe_sampler_add_named(s, bad[i].text), MOE_E_INVALID);
        check_message(bad[i].word);
        assert_int_equal(moe_sampler_add_named(s, text), MOE_E_INVALID);
        assert_int_equal(s->n_stages, 1);
    }
    moe_sampler_free(s);
}

static void test_bad_arguments(void **state)
{
    (void)state;
    moe_token t = 5, id[2] = {0, 1};
    float x[2] = {1, 2};
    moe_sampler *s = chain("greedy");
    moe_candidates c = {sizeof c, 2, id, x, -1, 0, 0};
    assert_int_equal(moe_sampler_create(NULL, NULL), MOE_E_INVALID);
    assert_int_equal(moe_sampler_add(s, NULL), MOE_E_INVALID);
    assert_int_equal(moe_sampler_add_named(NULL, "greedy"), MOE_E_INVALID);
    assert_int_equal(moe_sampler_add_named(s, NULL), MOE_E_INVALID);
    assert_int_equal(moe_sampler_add_custom(s, NULL, NULL), MOE_E_INVALID);
    assert_int_equal(moe_sampler_accept(s, -1), MOE_E_RANGE);
    assert_int_equal(moe_sampler_pick_logits(s, x, 0, &t), MOE_E_INVALID);
    assert_int_equal(t, MOE_TOKEN_NONE);
    assert_int_equal(moe_sampler_pick_logits(s, NULL, 2, &t), MOE_E_INVALID);
    assert_int_equal(moe_sampler_pick_logits(NULL, x, 2, &t), MOE_E_INVALID);
    assert_int_equal(moe_sampler_apply(s, NULL), MOE_E_INVALID);
    c.n = 0;
    assert_int_equal(moe_sampler_apply(s, &c), MOE_E_INVALID);
    c.n = 2;
    c.id = NULL;
    assert_int_equal(moe_sampler_apply(s, &c), MOE_E_INVALID);
    c.id = id;
    id[1] = -3;
    assert_int_equal(moe_sampler_apply(s, &c), MOE_E_RANGE);
    id[1] = 1;
    c.size = 3;
    assert_int_equal(moe_sampler_apply(s, &c), MOE_E_INVALID);
    c.size = sizeof c;
    assert_int_equal(moe_sampler_apply(s, &c), MOE_OK);
    assert_int_equal(c.picked, 1);
    moe_sampler_free(s);
    moe_sampler_free(NULL);
}

static void test_not_finite(void **state)
{
    (void)state;
    const float bad[4] = {NAN, INFINITY, -INFINITY, NAN};
    const float some[5] = {NAN, INFINITY, -3e38f, -INFINITY, -3.1e38f};
    static const char *const texts[] = {
        "", "greedy", "dist", "top-p:p=0.5;dist", "typical;dist", "temp:t=0.00002;dist",
        "top-n-sigma:n=0;dist", "mirostat", "temp-dynamic;xtc:p=1;dist",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        moe_token t;
        moe_sampler *s = chain(texts[i]);
        assert_int_equal(moe_sampler_pick_logits(s, bad, 4, &t), MOE_E_NUMERIC);
        assert_int_equal(moe_sampler_pick_logits(s, some, 5, &t), MOE_OK);
        assert_int_equal(t, 2);
        moe_sampler_free(s);
    }
    moe_token t;
    moe_sampler *s = chain("logit-bias:2=-inf,4=-inf");
    assert_int_equal(moe_sampler_pick_logits(s, some, 5, &t), MOE_E_NUMERIC);
    assert_non_null(strstr(moe_last_error(), "bans every"));
    moe_sampler_free(s);
}

/* ---- user stages */

/* What the user stage below does to its candidates. */
typedef struct plan {
    size_t n;
    int64_t picked;
    int result, swap, bad_id, bad_logit, replace, n_calls;
} plan;

static int act(moe_candidates *c, void *user)
{
    static moe_token other[8];
    plan *p = user;
    p->n_calls++;
    assert_int_equal(c->size, sizeof *c);
    assert_int_equal(c->picked, -1);
    if (p->swap) {
        const float x = c->logit[0];
        c->logit[0] = c->logit[1];
        c->logit[1] = x;
    }
    if (p->bad_id) c->id[0] = p->bad_id;
    if (p->bad_logit) c->logit[0] = NAN;
    if (p->replace) c->id = other;
    if (p->n) c->n = p->n;
    c->picked = p->picked;
    c->sorted = 1; /* not to be believed */
    return p->result;
}

static int pick_with(plan p, const char *after, moe_token *t)
{
    const float x[4] = {1, 5, 3, 2};
    moe_sampler *s = chain("");
    assert_int_equal(moe_sampler_add_custom(s, act, &p), MOE_OK);
    assert_int_equal(moe_sampler_add_named(s, after), MOE_OK);
    const int st = moe_sampler_pick_logits(s, x, 4, t);
    assert_int_equal(p.n_calls, 1);
    moe_sampler_free(s);
    return st;
}

static void test_custom(void **state)
{
    (void)state;
    moe_token t;
    assert_int_equal(pick_with((plan){.picked = -1}, "", &t), MOE_OK);
    assert_int_equal(t, 1);
    assert_int_equal(pick_with((plan){.picked = -1, .swap = 1}, "greedy", &t), MOE_OK);
    assert_int_equal(t, 0);
    assert_int_equal(pick_with((plan){.picked = -1, .n = 1}, "dist", &t), MOE_OK);
    assert_int_equal(t, 0);
    assert_int_equal(pick_with((plan){.picked = 3}, "greedy", &t), MOE_OK); /* picked: the chain ends there */
    assert_int_equal(t, 3);
    assert_int_equal(pick_with((plan){.picked = 2, .bad_logit = 1}, "", &t), MOE_OK);
    assert_int_equal(t, 2);
    assert_int_equal(pick_with((plan){.picked = -1, .result = -42}, "", &t), -42);
    assert_int_equal(pick_with((plan){.picked = -1, .result = 1}, "", &t), MOE_E_ABORTED);
    assert_int_equal(t, MOE_TOKEN_NONE);
    assert_int_equal(pick_with((plan){.picked = -1, .n = 5}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = 4}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = 1, .n = 1}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = -2}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = -1, .bad_id = 4}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = -1, .bad_id = -7}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = -1, .replace = 1}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = 0, .bad_logit = 1}, "", &t), MOE_E_CALLBACK);
    assert_int_equal(pick_with((plan){.picked = -1, .bad_logit = 1, .n = 1}, "", &t), MOE_E_NUMERIC);
}

static int empty(moe_candidates *c, void *user)
{
    (void)user;
    c->n = 0;
    return 0;
}

static void test_custom_empty(void **state)
{
    (void)state;
    const float x[2] = {1, 2};
    moe_token t;
    moe_sampler *s = chain("");
    assert_int_equal(moe_sampler_add_custom(s, empty, NULL), MOE_OK);
    assert_int_equal(moe_sampler_pick_logits(s, x, 2, &t), MOE_E_CALLBACK);
    moe_sampler_free(s);
}

/* ---- memory */

typedef struct tally { size_t n, n_blocks, n_calls, fail_at; } tally;

static void *tally_alloc(size_t n, size_t align, void *user)
{
    tally *t = user;
    if (++t->n_calls == t->fail_at) return NULL;
    t->n += n;
    t->n_blocks++;
    return aligned_alloc(align, (n + align - 1) / align * align);
}

static void tally_free(void *p, size_t n, void *user)
{
    tally *t = user;
    t->n -= n;
    t->n_blocks--;
    free(p);
}

static int scenario(const moe_allocator *hook)
{
    moe_sampler *s = NULL, *copy = NULL;
    float x[200];
    moe_token t;
    int st = moe_sampler_create(&s, hook);
    if (st == MOE_OK)
        st = moe_sampler_add_named(s, "penalties:last=3,repeat=1.1;dry:ids=1+2;logit-bias:4=1;top-k:k=50;"
                                      "top-p:p=0.9;temp;dist");
    for (int i = 0; st == MOE_OK && i < 600; i++) {
        random_row(x, 200, (uint64_t)i);
        st = moe_sampler_pick_logits(s, x, 200, &t);
        if (st == MOE_OK) st = moe_sampler_accept(s, t);
        if (st == MOE_OK && i == 300) st = moe_sampler_clone(&copy, s);
    }
    moe_sampler_free(copy);
    moe_sampler_free(s);
    return st;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    int st = MOE_E_NOMEM;
    for (size_t i = 1; st != MOE_OK; i++) {
        tally count = {0, 0, 0, i};
        const moe_allocator hook = {sizeof hook, tally_alloc, tally_free, &count};
        st = scenario(&hook);
        assert_true(st == MOE_OK ? count.n_calls < i : st == MOE_E_NOMEM);
        assert_int_equal(count.n_blocks, 0);
        assert_int_equal(count.n, 0);
        assert_true(i < 200);
    }
}

static void test_pick_allocates_nothing(void **state)
{
    (void)state;
    tally count = {0, 0, 0, 0};
    const moe_allocator hook = {sizeof hook, tally_alloc, tally_free, &count};
    moe_sampler *s;
    float x[500];
    moe_token t;
    assert_int_equal(moe_sampler_create(&s, &hook), MOE_OK);
    assert_int_equal(moe_sampler_add_named(s, "penalties:last=64,repeat=1.1;dry:last=64,allowed=1;typical;"
                                              "top-p:p=0.9;min-p;xtc;dist"), MOE_OK);
    size_t first = 0;
    for (int i = 0; i < 1000; i++) {
        random_row(x, 500, (uint64_t)i);
        assert_int_equal(moe_sampler_pick_logits(s, x, 500, &t), MOE_OK);
        assert_int_equal(moe_sampler_accept(s, t), MOE_OK);
        if (i == 64) first = count.n_calls; /* the window is full */
    }
    assert_int_equal(count.n_calls, first);
    moe_sampler_free(s);
    assert_int_equal(count.n_blocks, 0);
}

/* ---- tools */

static int compare(const void *a, const void *b)
{
    return moe__rank_less(a, b) ? -1 : moe__rank_less(b, a);
}

/* Sorted prefixes of random, constant, falling and rising sequences, with and without ties. */
static void test_rank_sort(void **state)
{
    (void)state;
    enum { N = 3000 };
    static moe__rank r[N], want[N];
    for (int shape = 0; shape < 5; shape++) {
        for (size_t n = 0; n <= N; n = n < 70 ? n + 1 : n * 3) {
            for (size_t i = 0; i < n; i++) {
                const uint64_t u = moe__rng_at(3, (uint64_t)shape, i);
                const double x[5] = {(double)(u >> 40), (double)(u % 4), (double)i, -(double)i,
                                     (double)(i * i % 97)};
                r[i] = (moe__rank){moe__rank_key(x[shape] - 1), (moe_token)((i * 7919) % N), 0};
            }
            memcpy(want, r, n * sizeof *r);
            qsort(want, n, sizeof *want, compare);
            const size_t ks[] = {0, 1, n / 3, n > 0 ? n - 1 : 0, n};
            for (size_t k = 0; k < 5; k++) {
                moe__rank_sort(r, n, ks[k]); /* already in some order from the last round */
                for (size_t i = 0; i < ks[k]; i++) assert_memory_equal(&r[i], &want[i], sizeof r[i]);
            }
        }
    }
    assert_true(moe__rank_key(-1) < moe__rank_key(-0.5) && moe__rank_key(-0.5) < moe__rank_key(0));
    assert_true(moe__rank_key(-0.0) == moe__rank_key(0.0) && moe__rank_key(0) < moe__rank_key(1e-300));
}

/* Whatever the window, the last tokens accepted are at hand. */
static void test_history(void **state)
{
    (void)state;
    static const int windows[] = {1, 2, 3, 100, 127, 128, 129, 200, 256, 257, 1000, -1};
    for (size_t w = 0; w < sizeof windows / sizeof windows[0]; w++) {
        char text[40];
        snprintf(text, sizeof text, "penalties:last=%d", windows[w]);
        moe_sampler *s = chain(text);
        for (int i = 0; i < 1500; i++) {
            const int want = windows[w] < 0 || windows[w] > i ? i : windows[w];
            size_t n;
            const moe_token *h = moe__history(s, windows[w], &n);
            assert_int_equal(n, want);
            for (int j = 0; j < want; j++) assert_int_equal(h[j], i - want + j);
            assert_int_equal(moe_sampler_accept(s, i), MOE_OK);
        }
        moe_sampler_free(s);
    }
}

/* Filters over many candidates with ties, in any order of ids, against a plain sort. */
static void test_many_candidates(void **state)
{
    (void)state;
    enum { N = 5000 };
    static moe_token id[N];
    static float logit[N];
    static moe__rank want[N];
    static const struct { const char *text; size_t k; double p; } pass[] = {
        {"top-k:k=40", 40, 0}, {"top-k:k=256", 256, 0}, {"top-k:k=257", 257, 0}, {"top-k:k=4999", 4999, 0},
        {"top-p:p=0.05", 0, 0.05}, {"top-p:p=0.5", 0, 0.5}, {"top-p:p=0.99", 0, 0.99},
        {"top-p:p=0.01,keep=700", 700, 0.01},
    };
    for (size_t t = 0; t < sizeof pass / sizeof pass[0]; t++) {
        double sum = 0, mass = 0;
        size_t n = 0;
        for (int i = 0; i < N; i++) {
            id[i] = t % 2 ? i : N - 1 - i;
            logit[i] = (float)(moe__rng_at(8, 0, (uint64_t)i) % 40) / 16;
            want[i] = moe__rank_of(id[i], logit[i]);
            sum += exp(logit[i]);
        }
        qsort(want, N, sizeof *want, compare);
        while (n < pass[t].k || mass < pass[t].p * sum) mass += exp(want[n++].logit);
        moe_sampler *s = chain(pass[t].text);
        moe_candidates c = {sizeof c, N, id, logit, -1, 0, 0};
        assert_int_equal(moe_sampler_apply(s, &c), MOE_OK);
        assert_int_equal(c.n, n);
        assert_int_equal(c.sorted, 1);
        for (size_t i = 0; i < n; i++) assert_true(c.id[i] == want[i].id && c.logit[i] == want[i].logit);
        moe_sampler_free(s);
    }
}

/*
 * Top-p and draws over a vocabulary, bit by bit what the definition gives one candidate at a time: other ways
 * are taken for many candidates and for tokens that do not rise.
 */
static void test_whole_vocabulary(void **state)
{
    (void)state;
    enum { N = 20011 };
    static moe_token id[N];
    static float row[N], logit[N];
    static moe__rank want[N];
    static const double ps[] = {0, 0.1, 0.5, 0.9, 0.999, 0.9999999};
    for (int shape = 0; shape < 8; shape++) {
        size_t n_all = 0;
        for (int i = 0; i < N; i++) {
            const double u = (double)(moe__rng_at(4, (uint64_t)shape, (uint64_t)i) >> 40) * 0x1p-24;
            const double v = (double)(moe__rng_at(5, (uint64_t)shape, (uint64_t)i) >> 40) * 0x1p-24;
            const double normal = sqrt(-2 * log(u + 1e-9)) * cos(6.283185307179586 * v);
            const double x[8] = {3 * normal,
                                 0.01 * normal,
                                 2 * normal + 25 * (i % 9001 == 77),
                                 (int)(u * 40) / 16.0,
                                 1,
                                 u < 0.1 ? (v < 0.5   ? -INFINITY
                                            : v < 0.8 ? (double)NAN
                                                      : INFINITY)
                                         : 3 * normal,
                                 u < 0.3 ? (v < 0.5 ? 0.0 : -0.0) : 0.1 * normal,
                                 1e38 * normal};
            row[i] = (float)x[shape];
            if (isfinite(row[i])) want[n_all++] = moe__rank_of(i, row[i]);
        }
        qsort(want, n_all, sizeof *want, compare);
        double sum = 0;
        for (int i = 0; i < N; i++)
            if (isfinite(row[i])) sum += moe__math_exp(row[i] - (double)want[0].logit);
        for (size_t p = 0; p < 2 * sizeof ps / sizeof *ps; p++) {
            const int backwards = p % 2 != 0; /* the sum too */
            const double share = (double)(float)ps[p / 2];
            double total = sum, mass = 0, left = 0, run = 0;
            size_t n = 0;
            char text[64];
            if (backwards) {
                total = 0;
                for (int i = N; i-- > 0;)
                    if (isfinite(row[i])) total += moe__math_exp(row[i] - (double)want[0].logit);
            }
            do mass += moe__math_exp(want[n++].logit - (double)want[0].logit);
            while (mass < share * total && n < n_all);
            for (int i = 0; i < N; i++) {
                id[i] = backwards ? N - 1 - i : i;
                logit[i] = row[id[i]];
            }
            snprintf(text, sizeof text, "top-p:p=%.9g", share);
            moe_sampler *s = chain(text);
            moe_candidates c = {sizeof c, N, id, logit, -1, 0, 0};
            assert_int_equal(moe_sampler_apply(s, &c), MOE_OK);
            assert_int_equal(c.n, n);
            assert_int_equal(c.sorted, 1);
            for (size_t i = 0; i < n; i++) {
                assert_int_equal(c.id[i], want[i].id);
                assert_memory_equal(&c.logit[i], &want[i].logit, sizeof(float));
                left += moe__math_exp(want[i].logit - (double)want[0].logit);
            }
            assert_int_equal(moe_sampler_add_named(s, "dist:seed=3"), MOE_OK);
            if (!backwards) {
                moe__rng rng = s->stage[1].rng;
                const double goal = moe__rng_unit(&rng) * left;
                size_t i = 0;
                moe_token t;
                while (run += moe__math_exp(want[i].logit - (double)want[0].logit), run <= goal) i++;
                assert_int_equal(moe_sampler_pick_logits(s, row, N, &t), MOE_OK);
                assert_int_equal(t, want[i].id);
            }
            moe_sampler_free(s);
        }
    }
}

static void test_logprobs(void **state)
{
    moe__kernels k;
    moe__kernels_init_rows(&k);
    (void)state;
    enum { N = 300 };
    float x[N], lp[N], one;
    moe_token id[N];
    double sum = 0;
    random_row(x, N, 5);
    x[7] = x[9];
    x[20] = NAN;
    x[30] = INFINITY;
    for (int i = 0; i < N; i++) sum += isfinite(x[i]) ? exp(x[i]) : 0;
    for (size_t n_best = 0; n_best <= N; n_best += 60) {
        assert_int_equal(moe__logprob_top(&k, x, N, n_best, id, lp), MOE_OK);
        for (size_t i = 0; i < n_best; i++) {
            const float v = x[id[i]];
            if (isfinite(v)) assert_true(fabs(lp[i] - (v - log(sum))) < 1e-5);
            else assert_true(lp[i] == -INFINITY && i >= N - 2);
            assert_int_equal(moe__logprob_of(&k, x, N, id[i], &one), MOE_OK);
            assert_true(one == lp[i]);
            if (i > 0) assert_true(lp[i] < lp[i - 1] || (lp[i] == lp[i - 1] && (id[i] > id[i - 1])));
            size_t better = 0; /* a naive rank */
            for (moe_token j = 0; j < N; j++)
                better += isfinite(x[j]) && (x[j] > v || (x[j] == v && j < id[i]));
            if (isfinite(v)) assert_int_equal(better, i);
        }
    }
    const float huge[3] = {3e38f, -3e38f, 3e38f};
    assert_int_equal(moe__logprob_of(&k, huge, 3, 0, &one), MOE_OK);
    assert_true(fabsf(one + 0.69314718f) < 1e-6f);
    const float none[2] = {NAN, -INFINITY};
    assert_int_equal(moe__logprob_of(&k, none, 2, 0, &one), MOE_E_NUMERIC);
    assert_int_equal(moe__logprob_top(&k, none, 2, 1, id, lp), MOE_E_NUMERIC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_xtc_rate),
        cmocka_unit_test(test_mirostat_converges), cmocka_unit_test(test_mirostat_starts_anew),
        cmocka_unit_test(test_ties_made_by_temperature),
        cmocka_unit_test(test_reproducible),
        cmocka_unit_test(test_struct_and_text),
        cmocka_unit_test(test_bad_stages),
        cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_bad_arguments),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_custom),
        cmocka_unit_test(test_custom_empty),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_pick_allocates_nothing),
        cmocka_unit_test(test_rank_sort),
        cmocka_unit_test(test_history),
        cmocka_unit_test(test_many_candidates),
        cmocka_unit_test(test_whole_vocabulary),
        cmocka_unit_test(test_logprobs),
    };
    return cmocka_run_group_tests_name("sampler", tests, NULL, NULL);
}
