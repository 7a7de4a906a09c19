/* SPDX-License-Identifier: MIT */
/*
 * What traces tell: the examples of the papers, numbers that a NumPy script computes from the definitions,
 * slow definitions against the fast code, and two real traces. Runs in the source folder.
 */
#include "study_case.h"

#include "../alloc/faulty.h"

#define REAL_OLMOE "tests/unit/data/olmoe-1b-7b.trace"
#define REAL_KIMI  "tests/unit/data/kimi-linear-48b.trace"

static const int policies[] = {MOE_CACHE_LRU, MOE_CACHE_LFU, MOE_CACHE_BELADY};

/* ---- making traces ---- */

static moe_trace *new_trace(uint32_t n_layers, uint32_t n_experts)
{
    moe_trace *t;
    assert_int_equal(moe_trace_create(&t, NULL, 0, NULL), MOE_OK);
    assert_int_equal(moe_trace_set_shape(t, n_layers, n_experts), MOE_OK);
    return t;
}

static void add_row(moe_trace *t, uint32_t layer, uint32_t n_experts, const uint32_t *id, uint32_t k)
{
    const uint32_t offset[2] = {0, k};
    const moe_route_view v = {.size = sizeof v,
                              .layer = layer,
                              .n_rows = 1,
                              .n_experts = n_experts,
                              .offset = offset,
                              .expert = id};
    assert_int_equal(moe_trace_observe(&v, t), MOE_OK);
}

/* k different experts of n, all sets alike. */
static void draw_set(moe__rng *r, uint32_t n, uint32_t k, uint32_t *id)
{
    for (uint32_t j = 0; j < k; j++) {
        int again;
        do {
            id[j] = case_draw(r, n);
            again = 0;
            for (uint32_t i = 0; i < j; i++) again |= id[i] == id[j];
        } while (again);
    }
}

static moe_trace *uniform(uint64_t seed, uint32_t n_tokens, uint32_t n_layers, uint32_t n, uint32_t k)
{
    moe__rng r = {.seed = seed};
    uint32_t id[64];
    moe_trace *t = new_trace(n_layers, n);
    for (uint32_t i = 0; i < n_tokens; i++)
        for (uint32_t l = 0; l < n_layers; l++) {
            draw_set(&r, n, k, id);
            add_row(t, l, n, id, k);
        }
    return t;
}

/* Sizes that drift: every token keeps each expert with odds 5 of 8; k changes, requests take turns. */
static moe_trace *drifting(uint64_t seed, uint32_t n_tokens, uint32_t n_layers, uint32_t n)
{
    moe__rng r = {.seed = seed};
    uint32_t id[4][64], k[4] = {0, 0, 0, 0};
    moe_trace *t = new_trace(n_layers, n);
    assert_true(n_layers <= 4 && n <= 64);
    for (uint32_t i = 0; i < n_tokens; i++) {
        if (case_draw(&r, 10) == 0) assert_int_equal(moe_trace_begin(t, case_draw(&r, 3)), MOE_OK);
        for (uint32_t l = 0; l < n_layers; l++) {
            uint32_t kept = 0;
            for (uint32_t j = 0; j < k[l]; j++)
                if (case_draw(&r, 8) < 5) id[l][kept++] = id[l][j];
            for (uint32_t want = case_draw(&r, 4); want > 0 && kept < n; want--) {
                const uint32_t e = case_draw(&r, n);
                int known = 0;
                for (uint32_t j = 0; j < kept; j++) known |= id[l][j] == e;
                if (!known) id[l][kept++] = e;
            }
            k[l] = kept;
            add_row(t, l, n, id[l], k[l]);
        }
    }
    return t;
}

static moe_trace *case_trace(uint32_t flags)
{
    static study_case c;
    static case_view d;
    moe_trace *t;
    draw_case(&c);
    assert_int_equal(moe_trace_create(&t, NULL, flags, NULL), MOE_OK);
    assert_int_equal(moe_trace_set_shape(t, CASE_ROUTERS, CASE_N), MOE_OK);
    for (uint32_t b = 0; b < c.n_batches; b++)
        for (uint32_t l = 0; l < CASE_ROUTERS; l++)
            assert_int_equal(moe_trace_observe(view_case(&c, c.batch[b], c.batch[b + 1], l, &d), t), MOE_OK);
    return t;
}

static double cache_rate(const moe_trace *t, int policy, uint32_t layer, uint32_t window, uint32_t capacity)
{
    double rate;
    assert_int_equal(moe_trace_cache(t, policy, layer, window, &capacity, 1, &rate), MOE_OK);
    return rate;
}

static void near_to(double found, double want, double by)
{
    if (!(fabs(found - want) <= by)) fail_msg("expected %.6f +- %g, found %.6f", want, by, found);
}

/* ---- against NumPy ---- */

static uint32_t layer_of(const char *key)
{
    return key[0] == 'a' ? MOE_ALL_LAYERS : (uint32_t)(key[0] - '0');
}

static void numpy_of(const moe_trace *t)
{
    char name[64];
    double want[64], found[64], rho;
    assert_int_equal(case_numbers("reuse", want, 64), 4);
    for (uint32_t l = 0; l < 4; l++) {
        assert_int_equal(moe_trace_reuse(t, l < 3 ? l : MOE_ALL_LAYERS, found), MOE_OK);
        case_near("reuse", l, found[0], want[l]);
    }
    static const uint32_t window[] = {1, 2, 5, 16};
    static const char *const part[] = {"0", "1", "all", "2"};
    for (size_t w = 0; w < 4; w++)
        for (int level = 1; level <= 3; level++)
            for (size_t l = 0; l < 3; l++) {
                snprintf(name, sizeof name, "srp.%u.%d.%s", window[w], level, part[l]);
                assert_int_equal(case_numbers(name, want, 64), 2);
                assert_int_equal(moe_trace_srp(t, layer_of(part[l]), window[w], level, found, &rho), MOE_OK);
                case_near(name, 0, found[0], want[0]);
                case_near(name, 1, rho, want[1]);
            }
    static const uint32_t size[][8] = {{1, 2, 3, 4, 8, 12, 20}, {0}, {1, 3, 8, 14, 20, 36}, {1, 3, 5, 9}};
    static const size_t n_sizes[] = {7, 0, 6, 4};
    static const char *const title[] = {"lru", "lfu", "belady"};
    static const uint32_t sch[] = {1, 4, 50};
    for (size_t l = 0; l < 4; l++)
        for (int p = 0; p < 9 && n_sizes[l]; p++) {
            const int warm = p / 3,
                      policy = p < 6 ? policies[p % 3] | (warm ? MOE_CACHE_WARM : 0) : MOE_CACHE_SCH;
            if (p < 6)
                snprintf(name, sizeof name, "cache.%s.%s.%d", title[p % 3], part[l], warm);
            else
                snprintf(name, sizeof name, "cache.sch%u.%s", sch[p - 6], part[l]);
            assert_int_equal(case_numbers(name, want, 64), n_sizes[l]);
            assert_int_equal(moe_trace_cache(t, policy, layer_of(part[l]), p < 6 ? 0 : sch[p - 6], size[l],
                                             n_sizes[l], found),
                             MOE_OK);
            for (size_t i = 0; i < n_sizes[l]; i++) case_near(name, i, found[i], want[i]);
        }
}

/* Dropped choices are no uses, whether the trace shows them or left them out. */
static void numpy_agrees(void **state)
{
    (void)state;
    for (uint32_t flags = 0; flags < 4; flags++) {
        moe_trace *t = case_trace(flags);
        numpy_of(t);
        moe_trace_free(t);
    }
}

/* ---- the papers' examples ---- */

/* Liang et al.: constant routing -> SRP = 1, SCH(k) = 1. */
static void constant_routing(void **state)
{
    (void)state;
    static const uint32_t id[4] = {3, 9, 1, 7};
    double srp, rho, reuse;
    moe_trace *t = new_trace(2, 10);
    for (uint32_t i = 0; i < 50; i++)
        for (uint32_t l = 0; l < 2; l++) add_row(t, l, 10, id, 4);
    for (uint32_t m = 1; m <= 50; m += 7)
        for (int level = 1; level <= 3; level++) {
            assert_int_equal(moe_trace_srp(t, MOE_ALL_LAYERS, m, level, &srp, &rho), MOE_OK);
            assert_true(srp == 1 && rho == 1);
            assert_true(cache_rate(t, MOE_CACHE_SCH, 0, m, 4) == 1);
            assert_true(cache_rate(t, MOE_CACHE_SCH, MOE_ALL_LAYERS, m, 8) == 1);
        }
    assert_int_equal(moe_trace_reuse(t, MOE_ALL_LAYERS, &reuse), MOE_OK);
    assert_true(reuse == 1);
    for (size_t p = 0; p < 3; p++) {
        near_to(cache_rate(t, policies[p], 0, 0, 4), 49 / 50.0, 1e-15); /* the first use of each misses */
        assert_true(cache_rate(t, policies[p] | MOE_CACHE_WARM, 0, 0, 4) == 1);
        near_to(cache_rate(t, policies[p], 0, 0, 2), 49 / 100.0, 1e-15);
    }
    moe_trace_free(t);
}

/* An expert that a token has twice is used once. */
static void doubles(void **state)
{
    (void)state;
    static const uint32_t a[3] = {5, 5, 2}, b[2] = {5, 2}, other[2] = {1, 5};
    moe_trace *t[2] = {new_trace(1, 8), new_trace(1, 8)};
    for (int i = 0; i < 20; i++) {
        add_row(t[0], 0, 8, i % 3 ? a : other, i % 3 ? 3 : 2);
        add_row(t[1], 0, 8, i % 3 ? b : other, 2);
    }
    double x[2], rho[2];
    for (int i = 0; i < 2; i++) assert_int_equal(moe_trace_reuse(t[i], 0, &x[i]), MOE_OK);
    assert_true(x[0] == x[1]);
    for (int i = 0; i < 2; i++)
        assert_int_equal(moe_trace_srp(t[i], 0, 3, MOE_SRP_LAYER, &x[i], &rho[i]), MOE_OK);
    assert_true(x[0] == x[1] && rho[0] == rho[1]);
    for (int p = MOE_CACHE_LRU; p <= MOE_CACHE_SCH; p++)
        for (uint32_t c = 1; c < 4; c++)
            assert_true(cache_rate(t[0], p, 0, p == MOE_CACHE_SCH ? 2 : 0, c) ==
                        cache_rate(t[1], p, 0, p == MOE_CACHE_SCH ? 2 : 0, c));
    moe_trace_free(t[0]);
    moe_trace_free(t[1]);
}

/* Uniform, independent: nobody who does not know the future beats c / E. A simulator that counts a token's
 * own loads as hits, or none of them, fails here. */
static void uniform_routing(void **state)
{
    (void)state;
    moe_trace *t = uniform(11, 60000, 1, 32, 4);
    static const uint32_t c[] = {4, 8, 16, 24};
    double rate[4], reuse, srp, rho;
    for (size_t p = 0; p < 2; p++) {
        assert_int_equal(moe_trace_cache(t, policies[p], 0, 0, c, 4, rate), MOE_OK);
        for (int i = 0; i < 4; i++) near_to(rate[i], c[i] / 32.0, 0.005);
    }
    assert_int_equal(moe_trace_reuse(t, 0, &reuse), MOE_OK);
    near_to(reuse, 4 / 32.0, 0.005);
    assert_int_equal(moe_trace_srp(t, 0, 1, MOE_SRP_LAYER, &srp, &rho), MOE_OK);
    assert_true(srp == 1 && rho == 1); /* windows of one token tell nothing */
    moe_trace_free(t);
}

/* 16 experts, 2 a token, 400 tokens, room for 4, 40 seeds: LRU .248, SCH(4) .414, SCH(64) .309, Belady .444
 * were found by another program on other draws. And SCH is not monotone in the window. */
static void small_run(void **state)
{
    (void)state;
    double lru = 0, sch4 = 0, sch64 = 0, belady = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        moe_trace *t = uniform(100 + seed, 400, 1, 16, 2);
        lru += cache_rate(t, MOE_CACHE_LRU, 0, 0, 4) / 40;
        sch4 += cache_rate(t, MOE_CACHE_SCH, 0, 4, 4) / 40;
        sch64 += cache_rate(t, MOE_CACHE_SCH, 0, 64, 4) / 40;
        belady += cache_rate(t, MOE_CACHE_BELADY, 0, 0, 4) / 40;
        moe_trace_free(t);
    }
    near_to(lru, .248, .01);
    near_to(sch4, .414, .015);
    near_to(sch64, .309, .015);
    near_to(belady, .444, .01);
    assert_true(sch64 < sch4 && sch4 < belady);
}

/* The LRU cliff: one cache for all layers, smaller than what one token uses, hits nothing that LRU could
 * keep. */
static void lru_cliff(void **state)
{
    (void)state;
    static const uint32_t id[2] = {0, 1};
    moe_trace *t = new_trace(8, 4);
    for (uint32_t i = 0; i < 100; i++)
        for (uint32_t l = 0; l < 8; l++) add_row(t, l, 4, id, 2);
    for (uint32_t c = 1; c <= 14; c++) assert_true(cache_rate(t, MOE_CACHE_LRU, MOE_ALL_LAYERS, 0, c) == 0);
    near_to(cache_rate(t, MOE_CACHE_LRU, MOE_ALL_LAYERS, 0, 16), .99, 1e-15);
    assert_true(cache_rate(t, MOE_CACHE_BELADY, MOE_ALL_LAYERS, 0, 8) > .3);
    moe_trace_free(t);
}

/* ---- Belady is the upper bound ---- */

static void check_bound(const moe_trace *t, uint32_t layer, const uint32_t *c, size_t n)
{
    double best[16], rate[16];
    for (int warm = 0; warm <= MOE_CACHE_WARM; warm += MOE_CACHE_WARM) {
        assert_int_equal(moe_trace_cache(t, MOE_CACHE_BELADY | warm, layer, 0, c, n, best), MOE_OK);
        for (size_t p = 0; p < (warm ? 6 : 2); p++) {
            static const uint32_t window[] = {0, 0, 1, 4, 16, 1000};
            const int policy = p < 2 ? policies[p] | warm : MOE_CACHE_SCH;
            assert_int_equal(moe_trace_cache(t, policy, layer, window[p], c, n, rate), MOE_OK);
            for (size_t i = 0; i < n; i++) {
                if (rate[i] > best[i]) fail_msg("size %u: %g over Belady's %g", c[i], rate[i], best[i]);
                if (i > 0) assert_true(best[i] >= best[i - 1] && rate[i] >= rate[i - 1]); /* all are stacks */
            }
        }
    }
}

static void belady_is_best(void **state)
{
    (void)state;
    static const uint32_t c[] = {1, 2, 3, 5, 8, 13, 21, 34};
    for (uint64_t seed = 0; seed < 60; seed++) {
        moe_trace *t = seed % 3 ? drifting(seed, 150, 1 + (uint32_t)seed % 4, 4 + (uint32_t)seed % 17)
                                : uniform(seed, 100, 2, 12, 3);
        check_bound(t, 0, c, 8);
        check_bound(t, MOE_ALL_LAYERS, c, 8);
        moe_trace_free(t);
    }
}

/* ---- the slow way ---- */

enum { SLOW_N = 6, SLOW_T = 9 };

static int ones(uint32_t x)
{
    int n = 0;
    for (; x; x &= x - 1) n++;
    return n;
}

/* Most hits from step i on with `cache` (bits) held, by trying everything that the rule allows to keep. */
static int most_hits(const uint32_t *step, uint32_t i, uint32_t n, uint32_t cache, int c,
                     int (*memo)[1 << SLOW_N])
{
    if (i == n) return 0;
    if (memo[i][cache] >= 0) return memo[i][cache];
    const uint32_t g = step[i], all = cache | g;
    int best = 0;
    for (uint32_t next = 0; next < 1u << SLOW_N; next++) {
        if ((next & ~all) || ones(next) > c) continue;
        if (ones(g) <= c ? (next & g) != g : (next & ~g) != 0) continue; /* what is in use stays */
        const int h = most_hits(step, i + 1, n, next, c, memo);
        if (h > best) best = h;
    }
    return memo[i][cache] = best + ones(cache & g);
}

static void belady_by_trying_all(void **state)
{
    (void)state;
    static int memo[SLOW_T][1 << SLOW_N];
    for (uint64_t seed = 0; seed < 200; seed++) {
        moe__rng r = {.seed = seed, .stream = 5};
        uint32_t step[SLOW_T], uses = 0;
        moe_trace *t = new_trace(1, SLOW_N);
        for (uint32_t i = 0; i < SLOW_T; i++) {
            uint32_t id[SLOW_N], k = case_draw(&r, 4);
            if (i == 0) k = 2;
            draw_set(&r, SLOW_N, k, id);
            add_row(t, 0, SLOW_N, id, k);
            step[i] = 0;
            for (uint32_t j = 0; j < k; j++) step[i] |= 1u << id[j];
            uses += k;
        }
        for (int c = 1; c <= SLOW_N; c++) {
            memset(memo, 0xff, sizeof memo);
            near_to(cache_rate(t, MOE_CACHE_BELADY, 0, 0, (uint32_t)c),
                    most_hits(step, 0, SLOW_T, 0, c, memo) / (double)uses, 1e-15);
        }
        moe_trace_free(t);
    }
}

/* Copies a trace into bits [token][layer], and its requests. */
static uint32_t to_bits(const moe_trace *t, uint64_t (*bits)[4], uint32_t *request)
{
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    assert_int_equal(moe_trace_get_info(t, &info), MOE_OK);
    const uint32_t n_tokens = (uint32_t)info.n_tokens;
    for (uint32_t i = 0; i < n_tokens; i++)
        for (uint32_t l = 0; l < info.n_layers; l++) {
            moe_trace_row row = MOE_TRACE_ROW_INIT;
            assert_int_equal(moe_trace_at(t, i, l, &row), MOE_OK);
            bits[i][l] = 0;
            for (uint32_t j = 0; j < row.k; j++) bits[i][l] |= UINT64_C(1) << row.expert[j];
            request[i] = row.request;
        }
    return n_tokens;
}

/* SRP of one layer with one threshold, window by window. */
static void windows_by_counting(void **state)
{
    (void)state;
    static uint64_t bits[300][4];
    static uint32_t request[300], order[300];
    for (uint64_t seed = 0; seed < 40; seed++) {
        const uint32_t n = 5 + (uint32_t)seed % 20, m = 1 + (uint32_t)seed % 9;
        moe_trace *t = drifting(seed, 250, 2, n);
        const uint32_t n_tokens = to_bits(t, bits, request);
        double best = 0, size = 0, srp, rho;
        for (uint32_t want = 1; want <= m; want++) {
            double match = 0, predicted = 0, all = 0;
            for (uint32_t r = 0; r < 3; r++) {
                uint32_t len = 0;
                for (uint32_t i = 0; i < n_tokens; i++)
                    if (request[i] == r) order[len++] = i;
                for (uint32_t s = 0; s + m <= len; s++)
                    for (uint32_t e = 0; e < n; e++) {
                        uint32_t uses = 0;
                        for (uint32_t i = s; i < s + m; i++) uses += bits[order[i]][1] >> e & 1;
                        all += uses;
                        if (uses < want) continue;
                        match += uses;
                        predicted += m;
                    }
            }
            if (2 * match / (predicted + all) > best) {
                best = 2 * match / (predicted + all);
                size = predicted / all;
            }
        }
        assert_int_equal(moe_trace_srp(t, 1, m, MOE_SRP_LAYER, &srp, &rho), MOE_OK);
        near_to(srp, best, 1e-13);
        near_to(rho, size, 1e-13);
        moe_trace_free(t);
    }
}

/* ---- real traces ---- */

/*
 * OLMoE-1B-7B and Kimi-Linear-48B, batch-1 decode (data/README.md). Their source publishes a reuse of 43.5 %
 * and 33.6 %. The other bounds hold what we found, docs/studying-routing.md has the figures.
 */
static void real_traces(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        uint32_t n_tokens, n_layers, n_experts;
        double reuse, srp, lru; /* SRP of 16 tokens, LRU of a quarter of the experts: means over layers */
    } real[] = {{REAL_OLMOE, 299, 16, 64, .435, .4965, .597}, {REAL_KIMI, 300, 26, 256, .336, .4171, .729}};
    for (size_t i = 0; i < 2; i++) {
        moe_trace *t;
        moe_trace_info info = MOE_TRACE_INFO_INIT;
        double reuse, srp[3], rho, wider;
        assert_int_equal(moe_trace_load_file(&t, real[i].path, NULL), MOE_OK);
        assert_int_equal(moe_trace_get_info(t, &info), MOE_OK);
        assert_int_equal(info.n_tokens, real[i].n_tokens);
        assert_int_equal(info.n_layers, real[i].n_layers);
        assert_int_equal(info.n_experts, real[i].n_experts);
        assert_int_equal(info.max_k, 8);
        assert_int_equal(moe_trace_reuse(t, MOE_ALL_LAYERS, &reuse), MOE_OK);
        near_to(reuse, real[i].reuse, .0005);
        for (int level = 1; level <= 3; level++)
            assert_int_equal(moe_trace_srp(t, MOE_ALL_LAYERS, 16, level, &srp[level - 1], &rho), MOE_OK);
        assert_int_equal(moe_trace_srp(t, MOE_ALL_LAYERS, 64, MOE_SRP_LAYER, &wider, &rho), MOE_OK);
        near_to(srp[1], real[i].srp, .0005);
        assert_true(wider < srp[1] && srp[1] < 1); /* one set has to serve more tokens */
        const uint32_t n = info.n_experts, all = n * info.n_layers;
        const uint32_t one[] = {8, n / 8, n / 4, n / 2, n},
                       joint[] = {all / 16, all / 8, all / 4, all / 2, all};
        double lru = 0;
        for (uint32_t l = 0; l < info.n_layers; l++)
            lru += cache_rate(t, MOE_CACHE_LRU, l, 0, n / 4) / info.n_layers;
        near_to(lru, real[i].lru, .0005);
        for (uint32_t l = 0; l < info.n_layers; l += 5) check_bound(t, l, one, 5);
        check_bound(t, MOE_ALL_LAYERS, joint, 5);
        /* a trained router repeats itself: better than c / E everywhere */
        assert_true(cache_rate(t, MOE_CACHE_LRU, MOE_ALL_LAYERS, 0, all / 2) > .6);
        assert_true(cache_rate(t, MOE_CACHE_LRU | MOE_CACHE_WARM, MOE_ALL_LAYERS, 0, all) == 1);
        moe_trace_free(t);
    }
}

/* ---- refusals ---- */

static void wrong_questions(void **state)
{
    (void)state;
    static const uint32_t id[3] = {0, 1, 2}, zero[2] = {1, 0};
    double x, y;
    uint32_t c = 1;
    moe_trace *t = new_trace(2, 4);
    assert_int_equal(moe_trace_reuse(t, 0, &x), MOE_E_NOTFOUND);
    assert_int_equal(moe_trace_srp(t, 0, 1, MOE_SRP_LAYER, &x, NULL), MOE_E_NOTFOUND);
    for (int p = MOE_CACHE_LRU; p <= MOE_CACHE_SCH; p++)
        assert_int_equal(moe_trace_cache(t, p, MOE_ALL_LAYERS, p == MOE_CACHE_SCH, &c, 1, &x),
                         MOE_E_NOTFOUND);
    for (uint32_t l = 0; l < 2; l++) add_row(t, l, 4, id, 0);
    assert_int_equal(moe_trace_srp(t, 0, 1, MOE_SRP_LAYER, &x, &y), MOE_E_NOTFOUND); /* no expert */
    assert_int_equal(moe_trace_cache(t, MOE_CACHE_BELADY, 0, 0, &c, 1, &x), MOE_E_NOTFOUND);
    for (uint32_t l = 0; l < 2; l++) add_row(t, l, 4, id, 3);
    assert_int_equal(moe_trace_reuse(t, 0, &x), MOE_OK);
    assert_true(x == 0);
    assert_int_equal(moe_trace_reuse(t, 2, &x), MOE_E_RANGE);
    assert_int_equal(moe_trace_srp(t, 0, 3, MOE_SRP_LAYER, &x, &y),
                     MOE_E_NOTFOUND); /* longer than the request */
    assert_int_equal(moe_trace_srp(t, 0, 0, MOE_SRP_LAYER, &x, &y), MOE_E_INVALID);
    assert_int_equal(moe_trace_srp(t, 0, 1, 0, &x, &y), MOE_E_INVALID);
    assert_int_equal(moe_trace_srp(t, 0, 1, 4, &x, &y), MOE_E_INVALID);
    assert_int_equal(moe_trace_srp(t, 5, 1, 1, &x, &y), MOE_E_RANGE);
    assert_int_equal(moe_trace_cache(t, 0, 0, 0, &c, 1, &x), MOE_E_INVALID);
    assert_int_equal(moe_trace_cache(t, 5, 0, 0, &c, 1, &x), MOE_E_INVALID);
    assert_int_equal(moe_trace_cache(t, MOE_CACHE_SCH, 0, 0, &c, 1, &x), MOE_E_INVALID);
    assert_int_equal(moe_trace_cache(t, MOE_CACHE_LRU, 0, 2, &c, 1, &x), MOE_E_INVALID);
    assert_int_equal(moe_trace_cache(t, MOE_CACHE_LRU, 0, 0, zero, 2, &x), MOE_E_INVALID);
    assert_int_equal(moe_trace_cache(t, MOE_CACHE_LRU, 0, 0, &c, 0, &x), MOE_E_INVALID);
    assert_int_equal(moe_trace_cache(t, MOE_CACHE_LRU, 2, 0, &c, 1, &x), MOE_E_RANGE);
    moe_trace_begin(t, 1);
    for (uint32_t l = 0; l < 2; l++) add_row(t, l, 4, id, 2);
    assert_int_equal(moe_trace_srp(t, 0, 3, MOE_SRP_LAYER, &x, &y),
                     MOE_E_NOTFOUND); /* requests do not join */
    moe_trace_free(t);
}

static void allocations_fail(void **state)
{
    (void)state;
    static const uint32_t id[3] = {0, 1, 2}, c[2] = {1, 3};
    double x[2];
    faulty f;
    faulty_init(&f);
    for (int what = 0; what < 7; what++)
        for (size_t at = 1;; at++) {
            moe_trace *t;
            faulty_disarm(&f);
            assert_int_equal(moe_trace_create(&t, NULL, 0, &f.hook), MOE_OK);
            assert_int_equal(moe_trace_set_shape(t, 2, 4), MOE_OK);
            for (uint32_t i = 0; i < 20; i++)
                for (uint32_t l = 0; l < 2; l++) add_row(t, l, 4, id, 1 + i % 3);
            atomic_store(&f.n_failed, 0);
            faulty_arm(&f, at);
            const int st = what == 0   ? moe_trace_reuse(t, 0, x)
                           : what == 1 ? moe_trace_srp(t, MOE_ALL_LAYERS, 4, 1, x, NULL)
                           : what == 6
                               ? moe_trace_cache(t, MOE_CACHE_SCH, 0, 3, c, 2, x)
                               : moe_trace_cache(t, what - 1, MOE_ALL_LAYERS, what == 5 ? 4 : 0, c, 2, x);
            assert_int_equal(st, atomic_load(&f.n_failed) ? MOE_E_NOMEM : MOE_OK);
            faulty_disarm(&f);
            moe_trace_free(t);
            assert_int_equal(atomic_load(&f.n_live), 0);
            if (st == MOE_OK) break;
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numpy_agrees),
        cmocka_unit_test(constant_routing),
        cmocka_unit_test(doubles),
        cmocka_unit_test(uniform_routing),
        cmocka_unit_test(small_run),
        cmocka_unit_test(lru_cliff),
        cmocka_unit_test(belady_is_best),
        cmocka_unit_test(belady_by_trying_all),
        cmocka_unit_test(windows_by_counting),
        cmocka_unit_test(real_traces),
        cmocka_unit_test(wrong_questions),
        cmocka_unit_test(allocations_fail),
    };
    return cmocka_run_group_tests_name("analysis", tests, NULL, NULL);
}
