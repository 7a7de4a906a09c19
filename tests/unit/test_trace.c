/* SPDX-License-Identifier: MIT */
/* Traces: recording, reading back, refusing what is wrong, files and their damage. Runs in the source folder.
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

#include "../alloc/faulty.h"
#include "base/hash.h"
#include "base/rng.h"
#include "moe/study.h"

#define MODEL  "tests/golden/data/qwen2moe-dense.gguf" /* layer 0 is dense */
#define MAX_K  8u
#define MAX_N  4096u
#define FILE_A "test_trace_a.tmp"
#define FILE_B "test_trace_b.tmp"

/* ---- what was recorded, kept the plain way ---- */

typedef struct row {
    uint32_t request, k;
    moe_pos pos;
    moe_token token;
    uint32_t expert[MAX_K];
    float weight[MAX_K];
} row;

static uint32_t draw(moe__rng *r, uint32_t n) { return (uint32_t)(moe__rng_unit(r) * n); }

/* One view over rows of one layer. */
typedef struct view_data {
    moe_route_view v;
    uint32_t offset[65], expert[64 * MAX_K];
    float weight[64 * MAX_K], logits[64 * 300];
    moe_token token[64];
    moe_pos pos[64];
    moe_seq seq[64];
} view_data;

static void init_view(view_data *d, uint32_t layer, uint32_t n_rows, uint32_t n_experts)
{
    memset(d, 0, sizeof *d);
    d->v = (moe_route_view){.size = sizeof d->v,
                            .layer = layer,
                            .n_rows = n_rows,
                            .n_experts = n_experts,
                            .n_logits = n_experts,
                            .offset = d->offset,
                            .expert = d->expert,
                            .weight = d->weight,
                            .logits = d->logits,
                            .token = d->token,
                            .pos = d->pos,
                            .seq = d->seq};
}

/* Different experts of one row, k of n. */
static void draw_row(moe__rng *r, uint32_t n, uint32_t k, uint32_t *id)
{
    for (uint32_t j = 0; j < k; j++) {
        int again;
        do {
            id[j] = draw(r, n);
            again = 0;
            for (uint32_t i = 0; i < j; i++) again |= id[i] == id[j];
        } while (again);
    }
}

static moe_trace *new_trace(uint32_t n_layers, uint32_t n_experts, uint32_t flags)
{
    moe_trace *t;
    assert_int_equal(moe_trace_create(&t, NULL, flags, NULL), MOE_OK);
    assert_int_equal(moe_trace_set_shape(t, n_layers, n_experts), MOE_OK);
    return t;
}

static moe_trace_info info_of(const moe_trace *t)
{
    moe_trace_info i = MOE_TRACE_INFO_INIT;
    assert_int_equal(moe_trace_get_info(t, &i), MOE_OK);
    return i;
}

static moe_trace_row row_at(const moe_trace *t, uint64_t i, uint32_t layer)
{
    moe_trace_row r = MOE_TRACE_ROW_INIT;
    assert_int_equal(moe_trace_at(t, i, layer, &r), MOE_OK);
    return r;
}

/* A random trace next to the plain rows [tokens][layers]: several sequences, changing k, two or three
 * requests. */
static moe_trace *random_trace(uint64_t seed, uint32_t n_layers, uint32_t n_experts, uint32_t flags, int even,
                               uint32_t n_batches, row *rows, uint32_t *n_tokens)
{
    static view_data d;
    moe__rng r = {.seed = seed};
    moe_trace *t = new_trace(n_layers, n_experts, flags);
    *n_tokens = 0;
    for (uint32_t b = 0; b < n_batches; b++) {
        const uint32_t n_rows = 1 + draw(&r, 40), request = 10 * (b / 4);
        if (b % 4 == 0) assert_int_equal(moe_trace_begin(t, request), MOE_OK);
        for (uint32_t l = 0; l < n_layers; l++) {
            init_view(&d, 2 * l + 1, n_rows, n_experts);
            for (uint32_t i = 0; i < n_rows; i++) {
                row *w = &rows[(*n_tokens + i) * n_layers + l];
                w->k = even ? 3 : draw(&r, MAX_K < n_experts ? MAX_K + 1 : n_experts + 1);
                draw_row(&r, n_experts, w->k, w->expert);
                for (uint32_t j = 0; j < w->k; j++) {
                    w->weight[j] = (float)(int)(draw(&r, 2000) + 1) / 1024; /* exact in f16 below 2 */
                    d.expert[d.offset[i] + j] = w->expert[j];
                    d.weight[d.offset[i] + j] = w->weight[j];
                }
                d.offset[i + 1] = d.offset[i] + w->k;
                for (uint32_t e = 0; e < n_experts; e++)
                    d.logits[i * n_experts + e] = (float)(1000 * (*n_tokens + i) + 10 * l) + (float)e / 512;
                d.seq[i] = (moe_seq)(i % 2);
                d.pos[i] = (moe_pos)(b * 40 + i / 2);
                d.token[i] = (moe_token)(b * 50 + i);
                w->request = request + i % 2;
                w->pos = d.pos[i];
                w->token = d.token[i];
            }
            assert_int_equal(moe_trace_observe(&d.v, t), MOE_OK);
        }
        *n_tokens += n_rows;
    }
    return t;
}

static void check_rows(const moe_trace *t, const row *rows, uint32_t n_tokens)
{
    const moe_trace_info info = info_of(t);
    assert_int_equal(info.n_tokens, n_tokens);
    for (uint32_t i = 0; i < n_tokens; i++)
        for (uint32_t l = 0; l < info.n_layers; l++) {
            const row *w = &rows[i * info.n_layers + l];
            const moe_trace_row r = row_at(t, i, l);
            assert_int_equal(r.request, w->request);
            assert_int_equal(r.pos, w->pos);
            assert_int_equal(r.token, w->token);
            assert_int_equal(r.model_layer, 2 * l + 1);
            assert_int_equal(r.k, w->k);
            assert_int_equal(r.reserved, 0);
            for (uint32_t j = 0; j < w->k; j++) {
                assert_int_equal(r.expert[j], w->expert[j]);
                if (r.weight) assert_true(r.weight[j] == w->weight[j]);
            }
            assert_int_equal(r.weight != NULL, (info.flags & MOE_TRACE_WEIGHTS) != 0);
            assert_int_equal(r.logits != NULL, (info.flags & MOE_TRACE_LOGITS) != 0);
            for (uint32_t e = 0; r.logits && e < info.n_experts; e++)
                assert_true(r.logits[e] == (float)(1000 * i + 10 * l) + (float)e / 512);
        }
}

static row rows_a[MAX_N * 4];

/* What goes in comes out: one and two bytes a number, even and uneven k, with and without weights and logits.
 */
static void rows_come_back(void **state)
{
    (void)state;
    static const uint32_t experts[] = {3, 16, 256, 257};
    for (uint32_t c = 0; c < 32; c++) {
        const uint32_t n_experts = experts[c / 8], flags = c % 4, even = c / 4 % 2, layers = 1 + c % 3;
        uint32_t n;
        moe_trace *t = random_trace(c, layers, n_experts, flags, (int)even, 12, rows_a, &n);
        uint32_t max_k = 0;
        for (uint32_t i = 0; i < n * layers; i++) max_k = rows_a[i].k > max_k ? rows_a[i].k : max_k;
        const moe_trace_info info = info_of(t);
        assert_int_equal(info.flags, flags);
        assert_int_equal(info.n_layers, layers);
        assert_int_equal(info.n_experts, n_experts);
        assert_int_equal(info.max_k, max_k);
        assert_int_equal(info.n_requests, 6);
        assert_int_equal(info.fingerprint, 0);
        check_rows(t, rows_a, n);
        moe_trace_row r = MOE_TRACE_ROW_INIT;
        assert_int_equal(moe_trace_at(t, n, 0, &r), MOE_E_RANGE);
        assert_int_equal(moe_trace_at(t, 0, layers, &r), MOE_E_RANGE);
        moe_trace_free(t);
    }
}

/* A view of one row with the given experts. */
static int observe_row(moe_trace *t, uint32_t layer, uint32_t n_experts, const uint32_t *id, const float *w,
                       uint32_t k)
{
    const uint32_t offset[2] = {0, k};
    moe_route_view v = {.size = sizeof v, .layer = layer, .n_rows = 1, .n_experts = n_experts};
    v.offset = offset;
    v.expert = id;
    v.weight = w;
    return moe_trace_observe(&v, t);
}

/* Null experts are left out; dropped choices stay only where their weight 0 can be seen. */
static void nulls_and_drops(void **state)
{
    (void)state;
    static const uint32_t id[4] = {2, MOE_EXPERT_NONE, 5, 1};
    static const float w[4] = {.5f, .25f, 0, 1e-9f};
    moe_trace *t = new_trace(1, 8, 0), *u = new_trace(1, 8, MOE_TRACE_WEIGHTS);
    assert_int_equal(observe_row(t, 0, 8, id, w, 4), MOE_OK);
    assert_int_equal(observe_row(u, 0, 8, id, w, 4), MOE_OK);
    moe_trace_row r = row_at(t, 0, 0);
    assert_int_equal(r.k, 2);
    assert_int_equal(r.expert[0], 2);
    assert_int_equal(r.expert[1], 1);
    assert_int_equal(r.token, MOE_TOKEN_NONE);
    assert_int_equal(r.pos, 0);
    r = row_at(u, 0, 0);
    assert_int_equal(r.k, 3);
    assert_int_equal(r.expert[1], 5);
    assert_true(r.weight[0] == .5f && r.weight[1] == 0 && r.weight[2] > 0); /* tiny, but not dropped */
    assert_int_equal(observe_row(t, 0, 8, id, NULL, 4), MOE_OK); /* no weights: nothing is dropped */
    assert_int_equal(row_at(t, 1, 0).k, 3);
    assert_int_equal(row_at(t, 1, 0).pos, 1);
    assert_int_equal(moe_trace_begin(t, 7), MOE_OK);
    assert_int_equal(observe_row(t, 0, 8, id, NULL, 4), MOE_OK);
    assert_int_equal(row_at(t, 2, 0).pos, 0);
    assert_int_equal(row_at(t, 2, 0).request, 7);
    moe_trace_free(t);
    moe_trace_free(u);
}

/* Tokens count only when their last layer has come; a new sub-batch replaces what is left of a failed one. */
static void unfinished_tokens(void **state)
{
    (void)state;
    static const uint32_t id[2] = {0, 1};
    moe_trace *t = new_trace(3, 4, 0);
    assert_int_equal(observe_row(t, 5, 4, id, NULL, 2), MOE_OK);
    assert_int_equal(observe_row(t, 6, 4, id, NULL, 1), MOE_OK);
    assert_int_equal(info_of(t).n_tokens, 0);
    assert_int_equal(observe_row(t, 6, 4, id, NULL, 2), MOE_E_STATE); /* not behind 6 */
    assert_int_equal(moe_trace_trim(t), MOE_OK);
    for (uint32_t l = 1; l <= 3; l++) assert_int_equal(observe_row(t, l, 4, id, NULL, 2), MOE_OK);
    assert_int_equal(info_of(t).n_tokens, 1);
    assert_int_equal(row_at(t, 0, 2).model_layer, 3);
    assert_int_equal(observe_row(t, 2, 4, id, NULL, 1), MOE_E_STATE); /* a token begins with layer 1 */
    assert_int_equal(observe_row(t, 1, 4, id, NULL, 1), MOE_OK);
    assert_int_equal(observe_row(t, 3, 4, id, NULL, 1), MOE_E_STATE);
    assert_int_equal(observe_row(t, 1, 4, id + 1, NULL, 1), MOE_OK); /* the failed one is replaced */
    assert_int_equal(observe_row(t, 2, 4, id, NULL, 2), MOE_OK);
    assert_int_equal(observe_row(t, 3, 4, id, NULL, 0), MOE_OK);
    assert_int_equal(info_of(t).n_tokens, 2);
    assert_int_equal(row_at(t, 1, 0).k, 1);
    assert_int_equal(row_at(t, 1, 0).expert[0], 1);
    assert_int_equal(row_at(t, 1, 2).k, 0);
    assert_int_equal(row_at(t, 0, 2).k, 2); /* the counts of earlier tokens stay */
    moe_trace_free(t);
}

/* A trace in whose first token a layer is missing knows no numbers of layers: its file is none the worse. */
static void a_file_without_a_token(void **state)
{
    (void)state;
    static const uint32_t id[2] = {0, 1};
    moe_trace *t = new_trace(2, 8, 0), *u = NULL;
    assert_int_equal(observe_row(t, 5, 8, id, NULL, 2), MOE_OK);
    assert_int_equal(moe_trace_save_file(t, "test-trace-none.moetrace"), MOE_OK);
    assert_int_equal(moe_trace_load_file(&u, "test-trace-none.moetrace", NULL), MOE_OK);
    assert_int_equal(info_of(u).n_tokens, 0);
    assert_int_equal(info_of(u).n_layers, 2);
    remove("test-trace-none.moetrace");
    moe_trace_free(t);
    moe_trace_free(u);
}

/* The number of rows may not change between layers; other refusals leave the trace as it was. */
static void wrong_views(void **state)
{
    (void)state;
    static const uint32_t id[3] = {0, 1, 8}, low[3] = {0, 2, 1};
    static const float bad[2] = {1, NAN};
    static view_data d;
    moe_trace *t = new_trace(2, 8, MOE_TRACE_WEIGHTS);
    assert_int_equal(observe_row(t, 0, 8, id, NULL, 2), MOE_E_INVALID); /* weights are missing */
    assert_int_equal(observe_row(t, 0, 9, id, bad, 1), MOE_E_INVALID);  /* another shape */
    assert_int_equal(observe_row(t, 0, 8, id + 1, bad, 2), MOE_E_RANGE);
    assert_int_equal(observe_row(t, 0, 8, id, bad, 2), MOE_E_INVALID);
    init_view(&d, 0, 2, 8);
    d.v.offset = low;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_INVALID);
    d.v.offset = d.offset;
    d.v.n_logits = 7;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_INVALID);
    d.v.n_logits = 8;
    d.seq[1] = -1;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_RANGE);
    d.seq[1] = 1;
    d.pos[0] = -1;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_RANGE);
    d.pos[0] = 0;
    assert_int_equal(moe_trace_begin(t, UINT32_MAX), MOE_OK);
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_RANGE); /* request + sequence */
    assert_int_equal(moe_trace_begin(t, 0), MOE_OK);
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_OK);
    d.v.layer = 1;
    d.v.n_rows = 1;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_STATE);
    d.v.n_rows = 0;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_INVALID);
    d.v.n_rows = 2;
    d.v.size = 0;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_E_INVALID);
    d.v.size = sizeof d.v;
    assert_int_equal(moe_trace_observe(&d.v, t), MOE_OK);
    assert_int_equal(info_of(t).n_tokens, 2);
    assert_int_equal(moe_trace_observe(NULL, t), MOE_E_INVALID);
    assert_int_equal(moe_trace_observe(&d.v, NULL), MOE_E_INVALID);
    assert_int_equal(moe_trace_set_shape(t, 1, 8), MOE_E_STATE);
    moe_trace_free(t);
    moe_trace_free(NULL);
}

static void shapes(void **state)
{
    (void)state;
    static const uint32_t id[1] = {0};
    moe_trace *t;
    assert_int_equal(moe_trace_create(&t, NULL, 4, NULL), MOE_E_INVALID);
    assert_null(t);
    assert_int_equal(moe_trace_create(NULL, NULL, 0, NULL), MOE_E_INVALID);
    assert_int_equal(moe_trace_create(&t, NULL, 0, NULL), MOE_OK);
    assert_int_equal(observe_row(t, 0, 1, id, NULL, 1), MOE_E_STATE);
    assert_int_equal(moe_trace_save_file(t, FILE_A), MOE_E_STATE);
    assert_int_equal(moe_trace_set_shape(t, 0, 1), MOE_E_INVALID);
    assert_int_equal(moe_trace_set_shape(t, 1025, 1), MOE_E_INVALID);
    assert_int_equal(moe_trace_set_shape(t, 1, 0), MOE_E_INVALID);
    assert_int_equal(moe_trace_set_shape(t, 1, 65537), MOE_E_INVALID);
    assert_int_equal(moe_trace_set_shape(t, 1, 65536), MOE_OK);
    assert_int_equal(moe_trace_set_shape(t, 1, 1), MOE_OK);
    assert_int_equal(observe_row(t, 0, 1, id, NULL, 1), MOE_OK);
    moe_trace_free(t);
}

/* ---- with a model ---- */

static void of_a_session(void **state)
{
    (void)state;
    moe_model *m;
    moe_session *s;
    moe_trace *t;
    static const moe_token ids[5] = {1, 2, 3, 4, 5};
    moe_model_info mi = MOE_MODEL_INFO_INIT;
    assert_int_equal(moe_model_open(&m, MODEL, NULL), MOE_OK);
    assert_int_equal(moe_model_get_info(m, &mi), MOE_OK);
    assert_int_equal(moe_session_create(&s, m, NULL), MOE_OK);
    assert_int_equal(moe_trace_create(&t, m, MOE_TRACE_LOGITS | MOE_TRACE_WEIGHTS, NULL), MOE_OK);
    assert_int_equal(moe_trace_set_shape(t, 1, 8), MOE_E_STATE);
    assert_int_equal(moe_session_observe(s, moe_trace_observe, t), MOE_OK);
    assert_int_equal(moe_session_eval(s, ids, 4), MOE_OK);
    assert_int_equal(moe_session_eval(s, ids + 4, 1), MOE_OK);
    const moe_trace_info info = info_of(t);
    assert_int_equal(info.n_tokens, 5);
    assert_int_equal(info.n_layers, mi.n_moe_layers);
    assert_true(mi.n_moe_layers < mi.n_layers);
    assert_true(info.fingerprint != 0);
    assert_int_equal(info.max_k, mi.top_k);
    for (uint32_t i = 0; i < 5; i++) {
        const moe_trace_row r = row_at(t, i, 0);
        assert_int_equal(r.token, ids[i]);
        assert_int_equal(r.pos, i);
        assert_true(r.model_layer > 0);
        assert_int_equal(r.k, mi.top_k);
        for (uint32_t j = 0; j + 1 < r.k; j++) /* the best first, by the recorded logits */
            assert_true(r.logits[r.expert[j]] >= r.logits[r.expert[j + 1]]);
    }
    moe_trace_free(t);
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- files ---- */

static uint8_t *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    static uint8_t buf[1 << 22];
    *n = fread(buf, 1, sizeof buf, f);
    assert_true(*n < sizeof buf);
    fclose(f);
    return buf;
}

static void write_all(const char *path, const uint8_t *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

static void fix_sum(uint8_t *p, size_t n)
{
    const uint64_t sum = moe__hash_of(p, n - 8);
    for (int i = 0; i < 8; i++) p[n - 8 + (size_t)i] = (uint8_t)(sum >> 8 * i);
}

static void files_come_back(void **state)
{
    (void)state;
    static const uint32_t experts[] = {16, 256, 257};
    for (uint32_t c = 0; c < 24; c++) {
        uint32_t n;
        size_t n_a, n_b;
        const uint32_t flags = c % 4;
        moe_trace *t = random_trace(100 + c, 2, experts[c / 8], flags, c / 4 % 2, 10, rows_a, &n), *u;
        assert_int_equal(moe_trace_save_file(t, FILE_A), MOE_OK);
        assert_int_equal(moe_trace_load_file(&u, FILE_A, NULL), MOE_OK);
        check_rows(u, rows_a, n);
        const moe_trace_info x = info_of(t), y = info_of(u);
        assert_memory_equal(&x, &y, sizeof x);
        assert_int_equal(moe_trace_save_file(u, FILE_B), MOE_OK);
        static uint8_t first[1 << 22];
        memcpy(first, read_all(FILE_A, &n_a), sizeof first);
        const uint8_t *second = read_all(FILE_B, &n_b);
        assert_int_equal(n_a, n_b);
        assert_memory_equal(first, second, n_a);
        /* A loaded trace goes on. */
        static const uint32_t id[1] = {1};
        if (flags == 0) {
            assert_int_equal(observe_row(u, 1, experts[c / 8], id, NULL, 1), MOE_OK);
            assert_int_equal(observe_row(u, 3, experts[c / 8], id, NULL, 1), MOE_OK);
            assert_int_equal(row_at(u, n, 1).k, 1);
            assert_int_equal(moe_trace_set_shape(u, 1, 1), MOE_E_STATE);
        }
        moe_trace_free(t);
        moe_trace_free(u);
    }
    moe_trace *t = new_trace(2, 3, 0), *u;
    assert_int_equal(moe_trace_save_file(t, FILE_A), MOE_OK); /* empty */
    assert_int_equal(moe_trace_load_file(&u, FILE_A, NULL), MOE_OK);
    assert_int_equal(info_of(u).n_tokens, 0);
    assert_int_equal(info_of(u).n_layers, 2);
    assert_int_equal(moe_trace_save_file(u, "no/such/folder/x"), MOE_E_NOTFOUND);
    moe_trace_free(t);
    moe_trace_free(u);
    assert_int_equal(moe_trace_load_file(&u, "no_such_file", NULL), MOE_E_NOTFOUND);
    assert_null(u);
    remove(FILE_A);
    remove(FILE_B);
}

static int load_bytes(const uint8_t *p, size_t n)
{
    moe_trace *t;
    write_all(FILE_B, p, n);
    const int st = moe_trace_load_file(&t, FILE_B, NULL);
    if (st == MOE_OK) {
        moe_trace_free(t);
    } else {
        assert_null(t);
        assert_true(*moe_last_error() != 0);
    }
    return st;
}

/* Every cut and every changed byte is refused; with the sum put right, what is wrong is named. */
static void damaged_files(void **state)
{
    (void)state;
    uint32_t n_tokens;
    size_t n;
    static uint8_t good[1 << 22];
    moe_trace *t = random_trace(5, 2, 10, 3, 0, 2, rows_a, &n_tokens);
    assert_int_equal(moe_trace_save_file(t, FILE_A), MOE_OK);
    memcpy(good, read_all(FILE_A, &n), sizeof good);
    moe_trace_free(t);
    uint8_t *p = malloc(n + 8);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) assert_int_equal(load_bytes(good, i), MOE_E_FORMAT);
    for (size_t i = 0; i < n; i++) {
        memcpy(p, good, n);
        p[i] ^= (uint8_t)(1u << i % 8);
        const int st = load_bytes(p, n);
        if (i >= 16 && i < 20)
            assert_int_equal(st, MOE_E_VERSION);
        else
            assert_int_equal(st, MOE_E_FORMAT);
    }
    memcpy(p, good, n);
    memset(p + n, 0, 8);
    assert_int_equal(load_bytes(p, n + 8), MOE_E_FORMAT); /* too long */
    /* {offset, new value of 4 bytes}: flags, layers, experts, tokens, layer numbers, k */
    static const struct {
        size_t at;
        uint32_t value;
    } edit[] = {{20, 4}, {24, 0},          {24, 1025},       {24, 3}, {28, 0}, {28, 65537}, {28, 2},
                {32, 1}, {32, 0xffffffff}, {36, 1},          {40, 9}, {44, 3}, {44, 65536}, {48, 1},
                {52, 0}, {28, 65536},      {32, 1000000000}, {20, 0}, {20, 1}, {20, 2}};
    for (size_t i = 0; i < sizeof edit / sizeof edit[0]; i++) {
        memcpy(p, good, n);
        for (int j = 0; j < 4; j++) p[edit[i].at + (size_t)j] = (uint8_t)(edit[i].value >> 8 * j);
        fix_sum(p, n);
        assert_int_equal(load_bytes(p, n), MOE_E_FORMAT);
    }
    /* tokens: behind the layers lie requests, positions, tokens */
    const size_t pos = 56 + 4 * (size_t)n_tokens, token = pos + 4 * (size_t)n_tokens,
                 count = token + 4 * (size_t)n_tokens;
    for (int i = 0; i < 2; i++) {
        memcpy(p, good, n);
        memset(p + (i ? token : pos), 0xff, 3);
        p[(i ? token : pos) + 3] = 0x80;
        fix_sum(p, n);
        assert_int_equal(load_bytes(p, n), MOE_E_FORMAT);
    }
    uint64_t pairs = 0;
    for (uint32_t i = 0; i < n_tokens; i++) pairs += rows_a[2 * i].k;
    memcpy(p, good, n);
    p[count + 2 * (size_t)n_tokens] = 10; /* an expert past the end */
    fix_sum(p, n);
    assert_int_equal(load_bytes(p, n), MOE_E_FORMAT);
    assert_non_null(strstr(moe_last_error(), "expert 10 of 10"));
    memcpy(p, good, n);
    p[count + 2 * (size_t)n_tokens + pairs + 1] = 0x7c; /* a weight that is not finite */
    fix_sum(p, n);
    assert_int_equal(load_bytes(p, n), MOE_E_FORMAT);
    assert_non_null(strstr(moe_last_error(), "finite"));
    memcpy(p, good, n);
    fix_sum(p, n);
    assert_int_equal(load_bytes(p, n), MOE_OK);
    free(p);
    remove(FILE_A);
    remove(FILE_B);
}

/* ---- memory ---- */

/* Every allocation fails once: nothing leaks, and what was recorded before is still there and can go on. */
static void allocations_fail(void **state)
{
    (void)state;
    static view_data d;
    faulty f;
    faulty_init(&f);
    for (size_t at = 1;; at++) {
        moe_trace *t = NULL;
        int st = MOE_OK;
        atomic_store(&f.n_failed, 0);
        faulty_arm(&f, at);
        if (moe_trace_create(&t, NULL, 3, &f.hook) == MOE_OK && moe_trace_set_shape(t, 2, 10) == MOE_OK)
            for (uint32_t i = 0; i < 8 && st == MOE_OK; i++)
                for (uint32_t l = 0; l < 2 && st == MOE_OK; l++) {
                    init_view(&d, l, 30, 10);
                    for (uint32_t r = 0; r < 30; r++) {
                        d.offset[r + 1] = d.offset[r] + (i < 3 ? 2 : r % 4);
                        d.token[r] = (moe_token)(30 * i + r);
                    }
                    const uint64_t before = info_of(t).n_tokens;
                    st = moe_trace_observe(&d.v, t);
                    if (st == MOE_OK) continue;
                    assert_int_equal(st, MOE_E_NOMEM);
                    assert_int_equal(info_of(t).n_tokens, before);
                    for (uint32_t j = 0; j < before; j++) assert_int_equal(row_at(t, j, 1).token, j);
                    faulty_disarm(&f); /* and on it goes */
                    for (d.v.layer = 0; d.v.layer < 2; d.v.layer++)
                        assert_int_equal(moe_trace_observe(&d.v, t), MOE_OK);
                    assert_int_equal(info_of(t).n_tokens, before + 30);
                    for (uint32_t j = 0; j < before + 30; j++) assert_int_equal(row_at(t, j, 1).token, j);
                }
        if (t && moe_trace_save_file(t, FILE_A) == MOE_OK) {
            moe_trace *u;
            if (moe_trace_load_file(&u, FILE_A, &f.hook) == MOE_OK) moe_trace_free(u);
        }
        moe_trace_free(t);
        assert_int_equal(atomic_load(&f.n_live), 0);
        assert_int_equal(atomic_load(&f.n_wrong), 0);
        if (atomic_load(&f.n_failed) == 0) break;
        assert_true(at < 1000);
    }
    remove(FILE_A);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(nulls_and_drops),
        cmocka_unit_test(unfinished_tokens),
        cmocka_unit_test(a_file_without_a_token),
        cmocka_unit_test(wrong_views),
        cmocka_unit_test(shapes),
        cmocka_unit_test(of_a_session),
        cmocka_unit_test(files_come_back),
        cmocka_unit_test(damaged_files),
        cmocka_unit_test(allocations_fail),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
