/* SPDX-License-Identifier: MIT */
/*
 * Attention over the cache against sums in double precision, written down anew here: softmax over the scores
 * (limited or not, with a sink or not, in a window or not) times the values, both as the cache holds them.
 * Shapes of usual heads, of expanded and of absorbed latent attention (values are the first part of their
 * keys), every type of the cache, prompts and decoding in several ways; all ways give the same bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "../golden/vec_file.h"

#include "attn/attn.h"
#include "base/status.h"
#include "kv/cell.h"
#include "kv/shift.h"

typedef struct shape {
    const char *name;
    uint32_t n_heads, n_heads_kv, dim_k, dim_v;
    int v_in_k, sinks;
    float scale, cap; /* scale 0: by the key's width */
    uint32_t window;
} shape;

static const shape shapes[] = {
    {"grouped heads", 6, 2, 64, 64, 0, 0, 0, 0, 0},
    {"sinks", 6, 2, 64, 64, 0, 1, 0, 0, 0},
    {"sinks in a window", 8, 1, 64, 64, 0, 1, 0, 0, 100},
    {"narrow window with sinks", 4, 4, 32, 32, 0, 1, 0, 0, 7},
    {"limited scores", 4, 2, 96, 96, 0, 0, 0, 3.0f, 0},
    {"limited scores, sinks, window", 4, 2, 96, 96, 0, 1, 0.2f, 2.0f, 530},
    {"expanded latent", 3, 3, 192, 128, 0, 0, 0, 0, 0},
    {"wide values", 4, 2, 32, 160, 0, 1, 0, 0, 0},
    {"absorbed latent", 3, 1, 576, 512, 1, 0, 0.0721687865f, 0, 0},
    {"absorbed latent, all", 70, 1, 64, 32, 1, 1, 0.2f, 4.0f, 70}, /* more heads than a tile has queries */
    {"two absorbed latents", 4, 2, 64, 64, 1, 0, 0, 0, 0},
};
static const int types[] = {MOE_TYPE_F32, MOE_TYPE_F16, MOE_TYPE_BF16, MOE_TYPE_Q8_0, MOE_TYPE_Q4_0};

enum { LENGTH = 530, N_TYPES = sizeof types / sizeof types[0], N_SHAPES = sizeof shapes / sizeof shapes[0] };

/* A model that is nothing but attention, and its cache. */
typedef struct rig {
    moe_model m;
    moe__arch arch;
    moe__layer layer;
    moe__kv kv;
    moe__attn a;
    moe__place place[LENGTH];
    float *q, *k, *v, *sinks; /* of all positions: what goes in */
    float *scratch;
    void *block, *cache;
} rig;

static uint64_t seed = 88172645463325252u;
static float uniform(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((double)(seed >> 11) / 9007199254740992.0 * 2 - 1);
}

static float *numbers(size_t n, float by)
{
    float *x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++) x[i] = by * uniform();
    return x;
}

static void *carved(void (*carve)(rig *, moe__carve *), rig *r)
{
    moe__carve c = {0};
    carve(r, &c);
    char *block = aligned_alloc(64, (size_t)c.used + 64);
    assert_non_null(block);
    memset(block, 0, (size_t)c.used);
    c = (moe__carve){block, 0};
    carve(r, &c);
    return block;
}

static void carve_cache(rig *r, moe__carve *c) { moe__kv_carve(&r->kv, c, 1); }

static void carve_rows(rig *r, moe__carve *c)
{
    const moe__hparams *h = &r->m.hp;
    MOE_CARVE(c, r->a.q, LENGTH * moe__width_of(h, W_Q));
    MOE_CARVE(c, r->a.k, LENGTH * moe__width_of(h, W_K));
    MOE_CARVE(c, r->a.v, h->v_in_k ? 0 : LENGTH * moe__width_of(h, W_V));
    MOE_CARVE(c, r->a.turn, (uint64_t)LENGTH * (h->n_rot + 1));
    moe__attn_carve(&r->a, c, h, LENGTH, 1, LENGTH);
}

static void make(rig *r, const shape *s, int type_k, int type_v, const char *isa)
{
    memset(r, 0, sizeof *r);
    r->m.hp = (moe__hparams){.n_layers = 1,
                             .n_heads = s->n_heads,
                             .n_heads_kv = s->n_heads_kv,
                             .dim_head_k = s->dim_k,
                             .dim_head_v = s->dim_v,
                             .v_in_k = (uint32_t)s->v_in_k,
                             .attn_softcap = s->cap,
                             .window = s->window};
    r->m.attn_scale = s->scale > 0 ? s->scale : 1.0f / sqrtf((float)s->dim_k);
    r->m.arch = &r->arch;
    r->m.layers = &r->layer;
    r->layer.window = s->window;
    assert_int_equal(moe__kernels_init(&r->m.k, isa), MOE_OK);
    moe__kv_size(&r->kv, &r->m.hp, LENGTH, 1, type_k, type_v);
    r->cache = carved(carve_cache, r);
    r->block = carved(carve_rows, r);
    moe__kv_reset(&r->kv);
    r->a.m = &r->m;
    r->a.kv = r->a.win = &r->kv;
    r->a.place = r->place;
    r->scratch = malloc((moe__attn_scratch(&r->kv, &r->m.hp, LENGTH) + 16) * sizeof(float));
    assert_non_null(r->scratch);
    seed = 88172645463325252u;
    r->q = numbers(LENGTH * moe__width_of(&r->m.hp, W_Q), 3.0f);
    r->k = numbers(LENGTH * moe__width_of(&r->m.hp, W_K), 1.0f);
    r->v = numbers(LENGTH * moe__width_of(&r->m.hp, W_V), 1.0f);
    r->sinks = numbers(s->n_heads, 8.0f);
    if (s->sinks) r->layer.vec[ROLE_ATTN_SINKS] = r->sinks;
}

static void drop(rig *r)
{
    void *const all[] = {r->q, r->k, r->v, r->sinks, r->scratch, r->block, r->cache};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

/* The next n positions; results to out. Items in an order of their own. */
static void eval(rig *r, uint32_t n, uint32_t n_threads, float *out)
{
    const uint32_t from = r->kv.seq[0].len;
    const size_t q = moe__width_of(&r->m.hp, W_Q), k = moe__width_of(&r->m.hp, W_K),
                 v = r->m.hp.v_in_k ? 0 : moe__width_of(&r->m.hp, W_V);
    assert_int_equal(moe__kv_reserve(&r->kv, 0, n), MOE_OK);
    for (uint32_t i = 0; i < n; i++) r->place[i] = (moe__place){.seq = 0, .pos = from + i};
    memcpy(r->a.q, r->q + from * q, n * q * sizeof(float));
    memcpy(r->a.k, r->k + from * k, n * k * sizeof(float));
    if (v) memcpy(r->a.v, r->v + from * v, n * v * sizeof(float));
    moe__attn_begin(&r->a, n, n_threads);
    for (uint32_t i = 0; i < r->a.n_runs; i++) moe__attn_prepare(&r->a, 0, i);
    for (size_t i = 0; i < r->a.n_items; i++)
        moe__attn_item(&r->a, 0, n_threads % 2 ? i : r->a.n_items - 1 - i, out, r->scratch);
    moe__kv_set_len(&r->kv, 0, from + n);
    moe__kv_commit(&r->kv);
}

/* All positions in pieces: sizes, the last one repeats. */
static void eval_all(rig *r, const uint32_t *sizes, uint32_t n_threads, uint32_t length, float *out)
{
    moe__kv_reset(&r->kv);
    for (uint32_t at = 0; at < length;) {
        const uint32_t n = length - at < *sizes ? length - at : *sizes;
        eval(r, n, n_threads, out + at * moe__width_of(&r->m.hp, W_ATTN));
        at += n;
        if (sizes[1]) sizes++;
    }
}

/* One row of the result in double precision, from what the cache holds. */
static void expected(const rig *r, const shape *s, uint32_t pos, double *out)
{
    const uint32_t group = s->n_heads / s->n_heads_kv,
                   from = s->window && pos + 1 > s->window ? pos + 1 - s->window : 0;
    const size_t wk = s->n_heads_kv * s->dim_k, wv = s->n_heads_kv * s->dim_v;
    float *k = malloc((pos + 1) * wk * sizeof *k), *v = malloc((pos + 1) * wv * sizeof *v);
    double *p = malloc((pos + 1) * sizeof *p);
    assert_true(k && v && p);
    for (uint32_t i = from; i <= pos; i++) {
        moe__kv_load_k(&r->kv, moe__kv_at(&r->kv, 0, 0, i), k + i * wk);
        moe__kv_load_v(&r->kv, moe__kv_at(&r->kv, 0, 0, i), v + i * wv);
    }
    for (uint32_t h = 0; h < s->n_heads; h++) {
        const float *q = r->q + ((size_t)pos * s->n_heads + h) * s->dim_k;
        double top = s->sinks ? (double)r->sinks[h] : -1e300;
        for (uint32_t i = from; i <= pos; i++) {
            double x = 0;
            for (uint32_t d = 0; d < s->dim_k; d++)
                x += (double)q[d] * (double)k[i * wk + h / group * s->dim_k + d];
            x *= (double)r->m.attn_scale;
            p[i] = s->cap > 0 ? (double)s->cap * tanh(x / (double)s->cap) : x;
            top = p[i] > top ? p[i] : top;
        }
        double sum = s->sinks ? exp((double)r->sinks[h] - top) : 0;
        for (uint32_t i = from; i <= pos; i++) sum += p[i] = exp(p[i] - top);
        for (uint32_t d = 0; d < s->dim_v; d++) {
            double y = 0;
            for (uint32_t i = from; i <= pos; i++)
                y += p[i] / sum * (double)v[i * wv + h / group * s->dim_v + d];
            out[h * s->dim_v + d] = y;
        }
    }
    free(k);
    free(v);
    free(p);
}

/* Largest difference of some rows to the expected ones. */
static double largest_error(const rig *r, const shape *s, const float *out, uint32_t length)
{
    static const uint32_t rows[] = {0, 1, 6, 63, 64, 130, 511, 512, LENGTH - 1};
    const size_t n = s->n_heads * s->dim_v;
    double *want = malloc(n * sizeof *want), worst = 0;
    assert_non_null(want);
    for (size_t t = 0; t < sizeof rows / sizeof rows[0] && rows[t] < length; t++) {
        expected(r, s, rows[t], want);
        for (size_t i = 0; i < n; i++) {
            const double e = fabs((double)out[rows[t] * n + i] - want[i]);
            worst = e <= worst ? worst : e; /* a NaN is seen */
        }
    }
    free(want);
    return worst;
}

static double tolerance(int type)
{
    return type == MOE_TYPE_Q8_0 || type == MOE_TYPE_Q4_0 ? 0.02
                                                          : 3e-6; /* queries and weights in int8; f32 */
}

static void agrees_with_sums_in_double(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {13, 1, 70, 200, 5, 128, 0}, once[] = {LENGTH, 0},
                          decode[] = {LENGTH - 9, 1, 0};
    for (size_t i = 0; i < N_SHAPES; i++)
        for (size_t t = 0; t < N_TYPES; t++) {
            const shape *s = &shapes[i];
            const size_t bytes = (size_t)LENGTH * s->n_heads * s->dim_v * sizeof(float);
            float *a = malloc(bytes), *b = malloc(bytes);
            rig r;
            assert_true(a && b);
            make(&r, s, types[t], types[t], NULL);
            eval_all(&r, once, 1, LENGTH, a);
            const double e = largest_error(&r, s, a, LENGTH);
            if (!(e <= tolerance(types[t])))
                fail_msg("%s, %s: error %g", s->name, moe__type_get(types[t])->name, e);
            const uint32_t *const ways[] = {once, pieces, decode, decode};
            static const uint32_t threads[] = {7, 2, 1, 4};
            for (int w = 0; w < 4; w++) {
                memset(b, 0xff, bytes);
                eval_all(&r, ways[w], threads[w], LENGTH, b);
                if (memcmp(a, b, bytes) != 0)
                    fail_msg("%s, %s: way %d", s->name, moe__type_get(types[t])->name, w);
            }
            drop(&r);
            free(a);
            free(b);
        }
}

/* Keys and values of different types; the plain C kernels; one by one from the start. */
static void same_bits_in_plain_c(void **state)
{
    (void)state;
    enum { SHORT = 70 };
    static const uint32_t once[] = {SHORT, 0}, single[] = {1, 0};
    for (size_t i = 0; i < N_SHAPES; i++)
        for (size_t t = 0; t < N_TYPES; t++) {
            const shape *s = &shapes[i];
            const int type_v = s->v_in_k ? types[t] : types[(t + i) % N_TYPES];
            const size_t bytes = (size_t)SHORT * s->n_heads * s->dim_v * sizeof(float);
            float *a = malloc(bytes), *b = malloc(bytes);
            rig r[2];
            assert_true(a && b);
            make(&r[0], s, types[t], type_v, NULL);
            make(&r[1], s, types[t], type_v, "ref");
            eval_all(&r[0], once, 1, SHORT, a);
            const double near = tolerance(types[t]), near_v = tolerance(type_v);
            assert_true(largest_error(&r[0], s, a, SHORT) <= (near > near_v ? near : near_v));
            eval_all(&r[1], single, 1, SHORT, b);
            if (memcmp(a, b, bytes) != 0) fail_msg("%s, %s", s->name, moe__type_get(types[t])->name);
            drop(&r[0]);
            drop(&r[1]);
            free(a);
            free(b);
        }
}

/* Values that are part of their keys give the bits of a cache that keeps them once more, and take no room. */
static void values_in_keys(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {200, 70, 1, 0};
    enum { N = 290 };
    for (size_t i = 0; i < N_SHAPES; i++)
        for (size_t t = 0; t < N_TYPES && shapes[i].v_in_k; t++) {
            shape s = shapes[i];
            const size_t bytes = (size_t)N * s.n_heads * s.dim_v * sizeof(float),
                         n_v = (size_t)s.n_heads_kv * s.dim_v;
            float *a = malloc(bytes), *b = malloc(bytes), *row = malloc(2 * n_v * sizeof *row);
            rig in, apart;
            assert_true(a && b && row);
            make(&in, &s, types[t], types[t], NULL);
            s.v_in_k = 0;
            make(&apart, &s, types[t], types[t], NULL);
            for (size_t p = 0; p < LENGTH * (size_t)s.n_heads_kv; p++)
                memcpy(apart.v + p * s.dim_v, apart.k + p * s.dim_k, s.dim_v * sizeof(float));
            eval_all(&in, pieces, 2, N, a);
            eval_all(&apart, pieces, 2, N, b);
            assert_memory_equal(a, b, bytes);
            for (uint32_t p = 0; p < N; p += 17) {
                moe__kv_load_v(&in.kv, moe__kv_at(&in.kv, 0, 0, p), row);
                moe__kv_load_v(&apart.kv, moe__kv_at(&apart.kv, 0, 0, p), row + n_v);
                assert_memory_equal(row, row + n_v, n_v * sizeof *row);
            }
            moe__carve c[2] = {{0}, {0}};
            carve_cache(&in, &c[0]);
            carve_cache(&apart, &c[1]);
            assert_int_equal(in.kv.width_v + in.kv.cell_v + in.kv.page_v, 0);
            assert_int_equal(c[1].used - c[0].used,
                             (uint64_t)apart.kv.page_v * apart.kv.n_pages * s.n_heads_kv);
            drop(&in);
            drop(&apart);
            free(a);
            free(b);
            free(row);
        }
}

/* A sink far below the scores does nothing; far above them nothing is left; no infinities on the way. */
static void sinks_at_the_ends(void **state)
{
    (void)state;
    static const uint32_t once[] = {130, 0};
    shape s = shapes[0];
    const size_t n = (size_t)130 * s.n_heads * s.dim_v;
    float *without = malloc(n * sizeof(float)), *with = malloc(n * sizeof(float));
    assert_true(without && with);
    rig r;
    make(&r, &s, MOE_TYPE_F16, MOE_TYPE_F16, NULL);
    eval_all(&r, once, 1, 130, without);
    r.layer.vec[ROLE_ATTN_SINKS] = r.sinks;
    for (uint32_t h = 0; h < s.n_heads; h++) r.sinks[h] = -1e30f;
    eval_all(&r, once, 1, 130, with);
    assert_memory_equal(without, with, n * sizeof(float));
    for (uint32_t h = 0; h < s.n_heads; h++) r.sinks[h] = 1e30f;
    eval_all(&r, once, 1, 130, with);
    for (size_t i = 0; i < n; i++) assert_true(with[i] == 0.0f);
    drop(&r);
    free(without);
    free(with);
}

/* Rotation of the last part of a head, before keys are kept and when positions move down. */
static void rotated_part(void **state)
{
    (void)state;
    enum { ROT = 8, AT = 24, GONE = 70, N = 150 };
    const shape s = {"rotated", 3, 1, AT + ROT, 32, 1, 0, 0, 0, 0};
    float inv_freq[ROT / 2], kept[AT + ROT], turns[N * ROT], row[AT + ROT];
    float out[N * 3 * 32];
    rig r;
    make(&r, &s, MOE_TYPE_F32, MOE_TYPE_F32, NULL);
    r.m.hp.n_rot = ROT;
    r.m.hp.rot_at = AT;
    r.m.rope_gain = 1;
    r.m.inv_freq = inv_freq;
    r.a.turn = turns;
    for (int i = 0; i < ROT / 2; i++) inv_freq[i] = powf(0.1f, (float)i);
    for (uint32_t i = 0; i < N; i++) r.place[i] = (moe__place){.pos = i};
    for (uint32_t i = 0; i < N; i++) moe__attn_turn(&r.a, i);
    eval(&r, N, 1, out);
    for (int gone = 0; gone < 2; gone++) {
        for (uint32_t p = 0; p < N - (gone ? GONE : 0); p++) {
            const uint32_t from = gone && p >= 5 ? p + GONE : p; /* positions 5 .. GONE+4 are taken out */
            const float *k = r.k + from * (AT + ROT);
            moe__kv_load_k(&r.kv, moe__kv_at(&r.kv, 0, 0, p), kept);
            assert_memory_equal(kept, k, AT * sizeof(float));
            for (int i = 0; i < ROT / 2; i++) {
                const double x = (double)k[AT + 2 * i], y = (double)k[AT + 2 * i + 1],
                             angle = p * (double)inv_freq[i];
                assert_true(fabs((double)kept[AT + 2 * i] - (x * cos(angle) - y * sin(angle))) < 2e-5);
                assert_true(fabs((double)kept[AT + 2 * i + 1] - (x * sin(angle) + y * cos(angle))) < 2e-5);
            }
        }
        if (gone) break;
        moe__shift t = {.kv = &r.kv,
                        .k = &r.m.k,
                        .first = 5,
                        .n = GONE,
                        .len = N,
                        .n_heads = 1,
                        .dim = AT + ROT,
                        .n_rot = ROT,
                        .rot_at = AT};
        moe__shift_init(&t);
        assert_int_equal(moe__shift_begin(&t), MOE_OK);
        for (uint32_t p = 5; p < N - GONE; p++) moe__shift_turn(&t, inv_freq, p, turns + (p - 5) * ROT);
        moe__shift_layer(&t, 0, 5, N - GONE - 5, turns, row);
        moe__shift_end(&t);
    }
    drop(&r);
}

/* ---- what transformers computed (tools/make_attention_vectors.py) ---- */

static void read_floats(vec_file *f, const char *kind, float *x, size_t n)
{
    if (!vec_line(f) || strcmp(vec_word(f), kind) != 0)
        fail_msg("%s:%d: expected %s", f->path, f->line, kind);
    for (size_t i = 0; i < n; i++) x[i] = vec_float(f);
    assert_int_equal(*f->at, 0);
}

/* A row of results against a line; where there are matrices u, each head's part is multiplied by one first.
 */
static void compare_row(vec_file *f, const rig *r, const float *y, const float *u, uint32_t dim_u)
{
    const uint32_t n_heads = r->m.hp.n_heads, dim_v = r->m.hp.dim_head_v, wide = dim_u ? dim_u : dim_v;
    float want[256];
    assert_true(n_heads * wide <= 256);
    read_floats(f, "O", want, n_heads * wide);
    for (uint32_t i = 0; i < n_heads * wide; i++) {
        double x = dim_u ? 0 : (double)y[i];
        for (uint32_t d = 0; dim_u && d < dim_v; d++)
            x += (double)u[i * dim_v + d] * (double)y[i / wide * dim_v + d];
        if (!(fabs(x - (double)want[i]) <= 4e-6))
            fail_msg("%s:%d: %u: %g, not %g", f->path, f->line, i, x, want[i]);
    }
}

static void one_case(vec_file *f, const char *isa)
{
    shape s = {.name = vec_word(f)};
    s.sinks = strncmp(s.name, "sinks", 5) == 0;
    uint32_t *const counts[] = {&s.n_heads, &s.n_heads_kv, &s.dim_k, &s.dim_v};
    for (int i = 0; i < 4; i++) *counts[i] = (uint32_t)vec_int(f);
    s.v_in_k = (int)vec_int(f);
    s.scale = vec_float(f);
    s.cap = vec_float(f);
    s.window = (uint32_t)vec_int(f);
    const uint32_t n = (uint32_t)vec_int(f), dim_u = (uint32_t)vec_int(f), sizes[] = {n - 2, 1, 0};
    float u[4096], out[4096];
    rig r;
    assert_true(n > 2 && n * s.n_heads * s.dim_v <= 4096 && s.n_heads * dim_u * s.dim_v <= 4096);
    make(&r, &s, MOE_TYPE_F32, MOE_TYPE_F32, isa);
    if (s.sinks) read_floats(f, "S", r.sinks, s.n_heads);
    struct {
        const char *kind;
        float *x;
        size_t n;
    } rows[] = {{"K", r.k, s.n_heads_kv * s.dim_k},
                {"V", r.v, s.n_heads_kv * s.dim_v},
                {"Q", r.q, s.n_heads * s.dim_k}};
    for (int i = 0; i < 3; i++)
        for (uint32_t p = 0; p < n && !(i == 1 && s.v_in_k); p++)
            read_floats(f, rows[i].kind, rows[i].x + p * rows[i].n, rows[i].n);
    for (uint32_t h = 0; h < s.n_heads && dim_u; h++)
        read_floats(f, "U", u + h * dim_u * s.dim_v, dim_u * s.dim_v);
    eval_all(&r, sizes, 2, n, out);
    for (uint32_t p = 0; p < n; p++) compare_row(f, &r, out + p * s.n_heads * s.dim_v, u, dim_u);
    drop(&r);
}

static void agrees_with_transformers(void **state)
{
    (void)state;
    static const char *const levels[] = {"ref", NULL};
    for (int i = 0; i < 2; i++) {
        vec_file f;
        int n = 0;
        vec_open(&f, "tests/unit/data", "attention", "attention 1");
        for (; vec_line(&f); n++) {
            assert_string_equal(vec_word(&f), "A");
            one_case(&f, levels[i]);
        }
        assert_int_equal(n, 5);
        vec_close(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_sums_in_double),
        cmocka_unit_test(same_bits_in_plain_c),
        cmocka_unit_test(values_in_keys),
        cmocka_unit_test(sinks_at_the_ends),
        cmocka_unit_test(rotated_part),
        cmocka_unit_test(agrees_with_transformers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
