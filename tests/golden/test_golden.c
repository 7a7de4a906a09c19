/* SPDX-License-Identifier: MIT */
/*
 * Golden tests: tiny models of every family against what `transformers` computed with them
 * (docs/formats/golden.md).
 *
 * Every case is evaluated with F32 KV in several ways - prompt at once and then token by token, in odd
 * pieces, token by token from the start, all at once; mapped, resident, and with the plain C kernels. Each
 * time all logits must agree within 1e-4 of the row's largest, the routers' ids must be equal and in order,
 * their weights within 1e-5. All ways of one model must agree with one another to the bit. At the end a table
 * says how large the differences were.
 *
 * Usage: test_golden [folder with the .vec and .gguf files]
 */
#include <math.h>
#include "vec_file.h"

#include <moe/moe.h>

#define MAX_TOKENS 64
#define MAX_LAYERS 8
#define MAX_K 8
#define LOGIT_TOLERANCE 1e-4
#define WEIGHT_TOLERANCE 1e-5

typedef struct decision {
    uint32_t k;
    uint32_t id[MAX_K];
    float weight[MAX_K];
} decision;

/* Logits and routes of one sequence, expected or computed. */
typedef struct result {
    float *logits;                          /* [n_tokens][n_vocab], owned */
    decision route[MAX_LAYERS][MAX_TOKENS]; /* k = 0: nothing was seen */
} result;

typedef struct golden {
    char model[128];
    size_t n_vocab, n_prompt, n_tokens;
    moe_token token[MAX_TOKENS];
    result want;
} golden;

/* A way of evaluating the sequence: sizes of the batches, the last one repeats. 0: the prompt, -1: all. */
typedef struct way {
    const char *name;
    int batch[8];
    uint32_t n_batch_max;
} way;

static const way ways[] = {
    {"prompt at once, then one by one", {0, 1}, 64},
    {"odd pieces, small sub-batches", {1, 6, 2, 11, 3}, 4},
    {"one by one", {1}, 64},
    {"all at once", {-1}, 64},
};

typedef struct opening {
    const char *name, *isa;
    uint32_t flags;
} opening;

static const opening openings[] = {
    {"mapped", NULL, 0},
    {"read, resident experts", NULL, MOE_OPEN_NO_MMAP | MOE_OPEN_RESIDENT},
    {"plain C kernels", "ref", 0},
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* What the table at the end tells, per family. */
typedef struct family {
    const char *arch;
    int cases, routes;
    double logit_error, weight_error; /* largest seen; logits relative to the row's largest */
    int unequal;                      /* decisions with other ids */
} family;

static family families[] = {{"qwen3moe"}, {"olmoe"}, {"mixtral"}, {"qwen2moe"}, {"granitemoe"}};
static const char *folder = "tests/golden/data";

static family *family_of(const char *name)
{
    for (size_t i = 0; i < COUNT(families); i++)
        if (strncmp(name, families[i].arch, strlen(families[i].arch)) == 0) return &families[i];
    fail_msg("%s: no such family", name);
    return NULL;
}

static void read_route(vec_file *f, golden *g)
{
    const long layer = vec_int(f), row = vec_int(f), k = vec_int(f);
    if (layer < 0 || layer >= MAX_LAYERS || row < 0 || row >= (long)g->n_tokens || k < 1 || k > MAX_K)
        fail_msg("%s:%d: route out of range", f->path, f->line);
    decision *d = &g->want.route[layer][row];
    d->k = (uint32_t)k;
    for (uint32_t i = 0; i < d->k; i++) {
        char *colon = strchr(f->at, ':');
        assert_non_null(colon);
        *colon = ' ';
        d->id[i] = (uint32_t)vec_int(f);
        d->weight[i] = vec_float(f);
    }
}

static void read_tokens(vec_file *f, golden *g)
{
    const long n = vec_int(f);
    if (n < 1 || n > MAX_TOKENS || !g->n_vocab) fail_msg("%s:%d: tokens out of range", f->path, f->line);
    g->n_tokens = (size_t)n;
    for (size_t i = 0; i < g->n_tokens; i++) g->token[i] = (moe_token)vec_int(f);
    g->want.logits = calloc(g->n_tokens * g->n_vocab, sizeof(float));
    assert_non_null(g->want.logits);
}

static void read_golden(golden *g, const char *name)
{
    vec_file f;
    size_t n_rows = 0;
    int ended = 0;
    memset(g, 0, sizeof *g);
    vec_open(&f, folder, name, "libmoe-golden 1");
    while (!ended && vec_line(&f)) {
        const char *key = vec_word(&f);
        if (strcmp(key, "model") == 0) snprintf(g->model, sizeof g->model, "%s", vec_word(&f));
        else if (strcmp(key, "vocab") == 0) g->n_vocab = (size_t)vec_int(&f);
        else if (strcmp(key, "prompt") == 0) g->n_prompt = (size_t)vec_int(&f);
        else if (strcmp(key, "tokens") == 0) read_tokens(&f, g);
        else if (strcmp(key, "route") == 0) read_route(&f, g);
        else if (strcmp(key, "logits") == 0) {
            assert_int_equal(vec_int(&f), n_rows);
            assert_true(n_rows < g->n_tokens);
            for (size_t v = 0; v < g->n_vocab; v++) g->want.logits[n_rows * g->n_vocab + v] = vec_float(&f);
            n_rows++;
        } else if (strcmp(key, "end") == 0) ended = 1;
        else assert_string_equal(key, "case");
    }
    if (!ended || n_rows != g->n_tokens) fail_msg("%s: truncated", f.path);
    vec_close(&f);
}

static int see_route(const moe_route_view *v, void *user)
{
    result *r = user;
    if (v->layer >= MAX_LAYERS) return -1;
    for (uint32_t t = 0; t < v->n_rows; t++) {
        const uint32_t first = v->offset[t], k = v->offset[t + 1] - first;
        if (k > MAX_K || v->pos[t] < 0 || v->pos[t] >= MAX_TOKENS) return -1;
        decision *d = &r->route[v->layer][v->pos[t]];
        d->k = k;
        memcpy(d->id, v->expert + first, k * sizeof *d->id);
        memcpy(d->weight, v->weight + first, k * sizeof *d->weight);
    }
    return 0;
}

static void must(int status, const char *what)
{
    if (status != MOE_OK) fail_msg("%s: %s: %s", what, moe_status_name(status), moe_last_error());
}

/* Evaluates the sequence in the given way into *r, whose logits have room. */
static void evaluate(moe_model *m, const golden *g, const way *w, result *r)
{
    uint8_t want[MAX_TOKENS];
    memset(want, MOE_WANT_LOGITS, sizeof want);
    memset(r->route, 0, sizeof r->route);
    moe_session *s = NULL;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = MAX_TOKENS;
    o.n_batch_max = w->n_batch_max;
    o.n_output_max = MAX_TOKENS;
    o.n_threads = 2;
    o.kv_type_k = o.kv_type_v = MOE_KV_F32;
    must(moe_session_create(&s, m, &o), "moe_session_create");
    must(moe_session_observe(s, see_route, r), "moe_session_observe");
    size_t step = 0;
    for (size_t at = 0; at < g->n_tokens;) {
        size_t n = w->batch[step] == 0 ? g->n_prompt : (size_t)w->batch[step]; /* -1 is larger than all */
        if (n > g->n_tokens - at) n = g->n_tokens - at;
        if (step + 1 < COUNT(w->batch) && w->batch[step + 1] != 0) step++;
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = n;
        b.token = g->token + at;
        b.want = want;
        must(moe_session_eval_batch(s, &b), "moe_session_eval_batch");
        for (size_t i = 0; i < n; i++) {
            const float *row = NULL;
            size_t n_vocab = 0;
            must(moe_session_logits(s, i, &row, &n_vocab), "moe_session_logits");
            assert_int_equal(n_vocab, g->n_vocab);
            memcpy(r->logits + (at + i) * n_vocab, row, n_vocab * sizeof *row);
        }
        at += n;
    }
    assert_int_equal(moe_session_seq_len(s, 0), g->n_tokens);
    moe_session_free(s);
}

/* Largest difference of any logit, relative to its row's largest expected one; infinite for not-a-number. */
static double logit_error(const golden *g, const result *r)
{
    double worst = 0.0;
    for (size_t t = 0; t < g->n_tokens; t++) {
        const float *want = g->want.logits + t * g->n_vocab, *got = r->logits + t * g->n_vocab;
        double largest = 0.0, diff = 0.0;
        for (size_t v = 0; v < g->n_vocab; v++) {
            if (!isfinite(got[v])) return INFINITY;
            largest = fmax(largest, fabs((double)want[v]));
            diff = fmax(diff, fabs((double)want[v] - (double)got[v]));
        }
        worst = fmax(worst, diff / largest);
    }
    return worst;
}

/* Compares the routes; returns the number of decisions with other ids. */
static int compare_routes(const golden *g, const result *r, family *fam, double *weight_error)
{
    int unequal = 0;
    for (size_t layer = 0; layer < MAX_LAYERS; layer++)
        for (size_t t = 0; t < g->n_tokens; t++) {
            const decision *want = &g->want.route[layer][t], *got = &r->route[layer][t];
            fam->routes += want->k > 0;
            if (want->k != got->k || memcmp(want->id, got->id, want->k * sizeof *want->id) != 0) {
                unequal++;
                continue;
            }
            for (uint32_t i = 0; i < want->k; i++) {
                const double diff = fabs((double)want->weight[i] - (double)got->weight[i]);
                *weight_error = diff <= *weight_error ? *weight_error : diff; /* not-a-number stays */
            }
        }
    return unequal;
}

static void check(const char *name, const golden *g, const result *r, const opening *op, const way *w)
{
    family *fam = family_of(name);
    double weight_error = 0.0;
    const double error = logit_error(g, r);
    const int unequal = compare_routes(g, r, fam, &weight_error);
    fam->logit_error = fmax(fam->logit_error, error);
    fam->weight_error = fmax(fam->weight_error, weight_error);
    fam->unequal += unequal;
    if (unequal || !(error <= LOGIT_TOLERANCE) || !(weight_error <= WEIGHT_TOLERANCE))
        fail_msg("%s, %s, %s: logits differ by %.3g (allowed %.3g), weights by %.3g (allowed %.3g), ids of "
                 "%d decisions",
                 name, op->name, w->name, error, LOGIT_TOLERANCE, weight_error, WEIGHT_TOLERANCE, unequal);
}

/* One model opened in one way: all ways of evaluating it. */
static void check_opening(const char *name, const golden *g, const opening *op, result *r, result *first)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, g->model);
    moe_model *m = NULL;
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.flags = op->flags;
    o.isa_max = op->isa;
    must(moe_model_open(&m, path, &o), path);
    for (size_t i = 0; i < COUNT(ways); i++) {
        result *into = i ? r : first;
        evaluate(m, g, &ways[i], into);
        check(name, g, into, op, &ways[i]);
        if (i && memcmp(r->logits, first->logits, g->n_tokens * g->n_vocab * sizeof(float)) != 0)
            fail_msg("%s, %s: '%s' and '%s' do not agree to the bit", name, op->name, ways[0].name,
                     ways[i].name);
    }
    moe_model_release(m);
}

static void golden_case(void **state)
{
    const char *name = *state;
    static golden g;
    static result r, first, mapped;
    read_golden(&g, name);
    const size_t bytes = g.n_tokens * g.n_vocab * sizeof(float);
    r.logits = malloc(bytes);
    first.logits = malloc(bytes);
    mapped.logits = malloc(bytes);
    assert_true(r.logits && first.logits && mapped.logits);
    family_of(name)->cases++;
    for (size_t i = 0; i < COUNT(openings); i++) {
        check_opening(name, &g, &openings[i], &r, &first);
        if (i == 0) memcpy(mapped.logits, first.logits, bytes);
        if (!openings[i].isa && memcmp(mapped.logits, first.logits, bytes) != 0)
            fail_msg("%s: '%s' and '%s' do not agree to the bit", name, openings[0].name, openings[i].name);
    }
    free(r.logits);
    free(first.logits);
    free(mapped.logits);
    free(g.want.logits);
}

static int print_table(void **state)
{
    (void)state;
    printf("# %-12s %5s %10s %18s %18s %10s\n", "family", "cases", "decisions", "logits, relative",
           "router weights", "ids equal");
    for (size_t i = 0; i < COUNT(families); i++)
        printf("# %-12s %5d %10d %18.2e %18.2e %10s\n", families[i].arch, families[i].cases,
               families[i].routes, families[i].logit_error, families[i].weight_error,
               families[i].unequal ? "NO" : "yes");
    return 0;
}

#define CASE(name) {name, golden_case, NULL, NULL, (void *)(uintptr_t)name}

int main(int argc, char **argv)
{
    if (argc > 1) folder = argv[1];
    const struct CMUnitTest tests[] = {
        CASE("qwen3moe"),       CASE("qwen3moe-dense"), CASE("qwen3moe-yarn"),     CASE("olmoe"),
        CASE("olmoe-norm"),     CASE("mixtral"),        CASE("mixtral-llama3"),    CASE("qwen2moe"),
        CASE("qwen2moe-dense"), CASE("granitemoe"),     CASE("granitemoe-linear"),
        CASE("mixtral-window"), CASE("qwen2moe-window"), CASE("mixtral-sinks"), CASE("qwen3moe-capped"),
    };
    return cmocka_run_group_tests_name("golden", tests, NULL, print_table);
}
