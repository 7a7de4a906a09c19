/* SPDX-License-Identifier: MIT */
/*
 * Several sessions, one token: SCMoE's contrast of two routings of one model (Shi et al. 2024,
 * arXiv:2405.14507) as a way of decoding, mixtures over sessions and models, the check of vocabularies, and
 * what calculators say about opened models.
 */
#include "support.h"

#include <math.h>
#include <stdatomic.h>

#define DEMO      "examples/models/demo.gguf"
#define PROMPT    12u
#define STEPS     24u
#define VOCAB_MAX 8192

static moe_session *new_session(moe_model *m, uint32_t n_seq_max)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = 2;
    o.n_ctx = 512;
    o.n_seq_max = n_seq_max;
    o.n_output_max = n_seq_max;
    return make_session(m, o);
}

/* The weak routing: only the experts that stand at these ranks, in every layer. */
static moe_session *new_weak(moe_model *m, uint32_t n_seq_max, const char *ranks)
{
    moe_session *s = new_session(m, n_seq_max);
    moe_router *all;
    assert_ok(moe_session_router(s, MOE_ALL_LAYERS, &all));
    assert_ok(moe_router_set_named(all, ranks));
    return s;
}

static moe_token best(const float *z, size_t n)
{
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        if (z[i] > z[at]) at = i;
    return (moe_token)at;
}

/* The paper's formula, in double precision with the C library's log. */
static moe_token paper_choice(const moe_session *strong, const moe_session *weak, double alpha, double beta)
{
    const float *s, *w;
    size_t n, top = 0;
    double best_z = -INFINITY, max = -INFINITY;
    assert_ok(moe_session_logits(strong, 0, &s, &n));
    assert_ok(moe_session_logits(weak, 0, &w, &n));
    for (size_t v = 0; v < n; v++)
        if (s[v] > max) max = s[v];
    for (size_t v = 0; v < n; v++) {
        const double z = (1 + beta) * s[v] - beta * w[v];
        if (s[v] >= max + log(alpha) && z > best_z) {
            best_z = z;
            top = v;
        }
    }
    return (moe_token)top;
}

/* Greedy decoding with contrast, both sessions reading the same text. */
static void decode(moe_session *strong, moe_session *weak, const moe_token *prompt, float beta,
                   moe_token *out)
{
    static float z[VOCAB_MAX];
    moe_contrast o = MOE_CONTRAST_INIT;
    const size_t n = vocab_of(moe_session_model(strong));
    o.beta = beta;
    moe_session_reset(strong);
    moe_session_reset(weak);
    assert_ok(moe_session_eval(strong, prompt, PROMPT));
    assert_ok(moe_session_eval(weak, prompt, PROMPT));
    for (uint32_t i = 0; i < STEPS; i++) {
        assert_ok(moe_session_contrast(strong, weak, 0, &o, z, VOCAB_MAX));
        out[i] = best(z, n);
        assert_int_equal(out[i], paper_choice(strong, weak, (double)o.alpha, (double)beta));
        assert_ok(moe_session_eval(strong, &out[i], 1));
        assert_ok(moe_session_eval(weak, &out[i], 1));
    }
}

static void decode_greedy(moe_session *s, const moe_token *prompt, moe_token *out)
{
    const float *z;
    size_t n;
    moe_session_reset(s);
    assert_ok(moe_session_eval(s, prompt, PROMPT));
    for (uint32_t i = 0; i < STEPS; i++) {
        assert_ok(moe_session_logits(s, 0, &z, &n));
        out[i] = best(z, n);
        assert_ok(moe_session_eval(s, &out[i], 1));
    }
}

/* beta 0 is greedy decoding of the strong routing; with beta the weak one has a say. */
static void scmoe_decoding(void **state)
{
    (void)state;
    static const char *const models[] = {DEMO, "tests/golden/data/qwen3moe.gguf",
                                         "tests/golden/data/olmoe.gguf"};
    int moved = 0;
    for (size_t i = 0; i < 3; i++) {
        moe_model *m = open_model(models[i], 0);
        moe_token prompt[PROMPT], greedy[STEPS], same[STEPS], other[STEPS];
        moe_session *strong = new_session(m, 1), *weak = new_weak(m, 1, "ranks:1"),
                    *alone = new_session(m, 1);
        fill_tokens(m, prompt, PROMPT, 7);
        decode_greedy(alone, prompt, greedy);
        decode(strong, weak, prompt, 0, same);
        assert_memory_equal(greedy, same, sizeof greedy);
        decode(strong, weak, prompt, 0.5f, other);
        moved += memcmp(greedy, other, sizeof greedy) != 0;
        moe_session_free(strong);
        moe_session_free(weak);
        moe_session_free(alone);
        moe_model_release(m);
    }
    assert_true(moved > 0);
}

typedef struct ranked {
    uint32_t rank, rows;
    int norm; /* the family's weights add up to 1 */
} ranked;

/* Every token gets the expert at that rank of the router's logits, alone. */
static int check_rank(const moe_route_view *v, void *user)
{
    ranked *k = user;
    for (uint32_t t = 0; t < v->n_rows; t++, k->rows++) {
        const float *z = v->logits + (size_t)t * v->n_logits;
        assert_int_equal(v->offset[t + 1] - v->offset[t], 1);
        const uint32_t e = v->expert[v->offset[t]];
        uint32_t better = 0;
        double sum = 0;
        for (uint32_t i = 0; i < v->n_experts; i++) {
            better += z[i] > z[e] || (z[i] == z[e] && i < e);
            sum += exp((double)z[i] - (double)z[e]);
        }
        assert_int_equal(better, k->rank);
        const double want = k->norm ? 1 : 1 / sum;
        assert_true(fabs((double)v->weight[v->offset[t]] - want) < 1e-6);
    }
    return 0;
}

/* A single rank of a normalising router has weight 1, of another its own probability (papers: Mixtral,
 * DeepSeekMoE). */
static void weak_routing_takes_one_rank(void **state)
{
    (void)state;
    static const struct {
        const char *path, *ranks;
        ranked k;
    } row[] = {{"tests/golden/data/mixtral.gguf", "ranks:1", {1, 0, 1}},
               {"tests/golden/data/olmoe.gguf", "ranks:2", {2, 0, 0}}};
    for (size_t i = 0; i < 2; i++) {
        moe_model *m = open_model(row[i].path, 0);
        moe_session *s = new_weak(m, 1, row[i].ranks);
        moe_token id[PROMPT];
        ranked k = row[i].k;
        fill_tokens(m, id, PROMPT, 3);
        assert_ok(moe_session_observe(s, check_rank, &k));
        assert_ok(moe_session_eval(s, id, PROMPT));
        assert_int_equal(k.rows, 2 * PROMPT);
        moe_session_free(s);
        moe_model_release(m);
    }
}

static atomic_size_t n_bytes;

static void *count_alloc(size_t n, size_t align, void *user)
{
    (void)user;
    atomic_fetch_add(&n_bytes, n);
    return aligned_alloc(align, (n + align - 1) / align * align);
}

static void count_free(void *p, size_t n, void *user)
{
    (void)user;
    atomic_fetch_sub(&n_bytes, n);
    free(p);
}

/* A second session has a KV cache and rows of its own, no weights. */
static void weights_are_shared(void **state)
{
    (void)state;
    const moe_allocator counting = {sizeof counting, count_alloc, count_free, NULL};
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    moe_model *m;
    moe_memory mem = MOE_MEMORY_INIT;
    o.allocator = &counting;
    o.flags = MOE_OPEN_RESIDENT;
    assert_ok(moe_model_open(&m, DEMO, &o));
    so.n_ctx = 64;
    so.n_batch_max = 8;
    so.n_threads = 1;
    assert_ok(moe_model_get_memory(m, &so, &mem));
    const size_t model_bytes = atomic_load(&n_bytes);
    assert_true(model_bytes > mem.experts);
    moe_session *s[2];
    for (int i = 0; i < 2; i++) {
        const size_t before = atomic_load(&n_bytes);
        moe_router *all;
        moe_token id[8];
        fill_tokens(m, id, 8, 3);
        assert_ok(moe_session_create(&s[i], m, &so));
        assert_ok(moe_session_router(s[i], MOE_ALL_LAYERS, &all));
        assert_ok(moe_router_set_named(all, i ? "ranks:1" : "native"));
        assert_ok(moe_session_eval(s[i], id, 8));
        const size_t took = atomic_load(&n_bytes) - before;
        assert_true(took < mem.kv + mem.scratch + 65536);
        assert_true(took < mem.experts / 2);
    }
    moe_session_free(s[0]);
    moe_session_free(s[1]);
    moe_model_release(m);
    assert_int_equal(atomic_load(&n_bytes), 0);
}

/* The prompt is read once; copies of its sequence go on with settings of their own, together, as they would
 * alone. */
static void copies_of_sequences(void **state)
{
    (void)state;
    enum { COPIES = 3 };
    static float z[VOCAB_MAX];
    const float beta[COPIES] = {0, 0.5f, 2};
    moe_model *m = open_model("tests/golden/data/qwen3moe.gguf", 0);
    const size_t n = vocab_of(m);
    moe_session *strong = new_session(m, COPIES), *weak = new_weak(m, COPIES, "ranks:2");
    moe_session *strong1 = new_session(m, 1), *weak1 = new_weak(m, 1, "ranks:2");
    moe_session *const both[2] = {strong, weak};
    moe_token prompt[PROMPT], alone[COPIES][STEPS], next[COPIES];
    fill_tokens(m, prompt, PROMPT, 9);
    for (int c = 0; c < COPIES; c++) decode(strong1, weak1, prompt, beta[c], alone[c]);
    for (int k = 0; k < 2; k++) {
        assert_ok(moe_session_eval(both[k], prompt, PROMPT));
        for (moe_seq q = 1; q < COPIES; q++) assert_ok(moe_session_seq_copy(both[k], 0, q));
    }
    for (uint32_t i = 0; i < STEPS; i++) {
        for (int c = 0; c < COPIES; c++) {
            moe_contrast o = MOE_CONTRAST_INIT;
            o.beta = beta[c];
            assert_ok(moe_session_contrast(strong, weak, i ? (size_t)c : 0, &o, z, n));
            next[c] = best(z, n);
            assert_int_equal(next[c], alone[c][i]);
        }
        static const moe_seq seq[COPIES] = {0, 1, 2};
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = COPIES;
        b.token = next;
        b.seq = seq;
        for (int k = 0; k < 2; k++) assert_ok(moe_session_eval_batch(both[k], &b));
    }
    moe_session_free(strong);
    moe_session_free(weak);
    moe_session_free(strong1);
    moe_session_free(weak1);
    moe_model_release(m);
}

/* A chain of sampling stages takes the row: what is cut off is never drawn. */
static void contrast_feeds_the_sampler(void **state)
{
    (void)state;
    static float z[VOCAB_MAX];
    moe_model *m = open_model(DEMO, 0);
    moe_session *strong = new_session(m, 1), *weak = new_weak(m, 1, "ranks:1");
    moe_token id[PROMPT], t;
    moe_sampler *p;
    fill_tokens(m, id, PROMPT, 5);
    assert_ok(moe_session_eval(strong, id, PROMPT));
    assert_ok(moe_session_eval(weak, id, PROMPT));
    assert_ok(moe_session_contrast(strong, weak, 0, NULL, z, VOCAB_MAX));
    assert_ok(moe_sampler_create(&p, NULL));
    assert_ok(moe_sampler_add_named(p, "temp:t=3;dist:seed=4"));
    for (int i = 0; i < 50; i++) {
        assert_ok(moe_sampler_pick_logits(p, z, vocab_of(m), &t));
        assert_true(z[t] > -INFINITY);
    }
    moe_sampler_free(p);
    moe_session_free(strong);
    moe_session_free(weak);
    moe_model_release(m);
}

/* ---- mixtures */

static void mixtures_of_sessions(void **state)
{
    (void)state;
    static float z[VOCAB_MAX], want[VOCAB_MAX];
    moe_model *m = open_model("tests/golden/data/qwen3moe.gguf", 0),
              *again = open_model("tests/golden/data/qwen3moe.gguf", 0);
    const size_t n = vocab_of(m);
    moe_session *a = new_session(m, 1), *b = new_weak(m, 1, "topk:k=1"), *c = new_session(again, 1);
    const moe_session *s[3] = {a, b, c};
    const float weights[3] = {1, 2, 0.5f};
    const float *rows[3];
    moe_token id[PROMPT];
    fill_tokens(m, id, PROMPT, 5);
    assert_ok(moe_session_eval(a, id, PROMPT));
    assert_ok(moe_session_eval(b, id, PROMPT));
    assert_ok(moe_session_eval(c, id, PROMPT));
    for (int i = 0; i < 3; i++) assert_ok(moe_session_logits(s[i], 0, &rows[i], NULL));
    for (int mode = MOE_MIX_LOGITS; mode <= MOE_MIX_LSE; mode++) {
        assert_ok(moe_session_mix(mode, s, weights, 3, 0, z, VOCAB_MAX));
        assert_ok(moe_mix_logits(mode, rows, weights, 3, n, want));
        assert_memory_equal(z, want, n * sizeof *z);
    }
    /* a session with itself, and with the same file opened twice */
    const moe_session *same[2] = {a, c};
    assert_ok(moe_session_mix(MOE_MIX_LOGITS, same, NULL, 2, 0, z, n));
    assert_memory_equal(z, rows[0], n * sizeof *z);
    assert_refused(moe_session_mix(MOE_MIX_LOGITS, s, NULL, 3, 0, z, n - 1), MOE_E_BUFFER, "needed 272");
    assert_refused(moe_session_mix(MOE_MIX_LOGITS, s, NULL, 3, 1, z, n), MOE_E_RANGE, "session 0, row 1");
    moe_session_reset(b);
    assert_refused(moe_session_mix(MOE_MIX_LOGITS, s, NULL, 3, 0, z, n), MOE_E_RANGE, "session 1, row 0");
    assert_refused(moe_session_contrast(a, b, 0, NULL, z, n), MOE_E_RANGE, "session 1, row 0");
    assert_refused(moe_session_contrast(a, c, 0, NULL, z, n - 1), MOE_E_BUFFER, "needed 272");
    assert_refused(moe_session_mix(MOE_MIX_LOGITS, s, NULL, 0, 0, z, n), MOE_E_INVALID, "n >= 1");
    const moe_session *none[2] = {a, NULL};
    assert_refused(moe_session_mix(MOE_MIX_LOGITS, none, NULL, 2, 0, z, n), MOE_E_INVALID, "s[i]");
    moe_session_free(a);
    moe_session_free(b);
    moe_session_free(c);
    moe_model_release(m);
    moe_model_release(again);
}

/* Models of different families mix if their tokens are the same; else the first that differs is named. */
static void vocabularies_are_checked(void **state)
{
    (void)state;
    static const char *const paths[] = {DEMO,
                                        "tests/golden/data/qwen3moe.gguf",
                                        "tests/golden/data/qwen2moe.gguf",
                                        "tests/golden/data/olmoe.gguf",
                                        "tests/golden/data/granitemoe.gguf",
                                        "tests/golden/data/mixtral.gguf",
                                        "tests/golden/data/qwen3moe-yarn.gguf"};
    enum { N_MODELS = 7 };
    static float z[VOCAB_MAX];
    moe_model *m[N_MODELS];
    moe_session *s[N_MODELS];
    int agree = 0, differ = 0, unknown = 0;
    for (int i = 0; i < N_MODELS; i++) {
        moe_token id[PROMPT];
        m[i] = open_model(paths[i], 0);
        s[i] = new_session(m[i], 1);
        fill_tokens(m[i], id, PROMPT, 5);
        assert_ok(moe_session_eval(s[i], id, PROMPT));
    }
    for (int i = 0; i < N_MODELS; i++)
        for (int j = 0; j < N_MODELS; j++) {
            const moe_tokenizer *t = NULL, *u = NULL;
            const moe_session *two[2] = {s[i], s[j]};
            const int have =
                moe_model_tokenizer(m[i], &t) == MOE_OK && moe_model_tokenizer(m[j], &u) == MOE_OK;
            moe_token first = MOE_TOKEN_NONE;
            const int same = moe_tokenizer_same(t, u, &first) && vocab_of(m[i]) == vocab_of(m[j]);
            const int st = moe_session_mix(MOE_MIX_PROBS, two, NULL, 2, 0, z, VOCAB_MAX);
            assert_int_equal(st, same || i == j ? MOE_OK : MOE_E_STATE);
            if (st == MOE_OK) {
                agree += i != j;
                continue;
            }
            assert_int_equal(moe_session_contrast(s[i], s[j], 0, NULL, z, VOCAB_MAX), MOE_E_STATE);
            char word[48];
            snprintf(word, sizeof word, "token %d is", (int)first);
            const int sized = strstr(moe_last_error(), "logits a row") != NULL;
            if (have && !sized && !strstr(moe_last_error(), word))
                fail_msg("without '%s': %s", word, moe_last_error());
            if (!have && !sized) assert_non_null(strstr(moe_last_error(), "has no tokenizer"));
            differ += have && !sized;
            unknown += !have;
        }
    print_message("# pairs: %d of the same vocabulary, %d told by a token, %d without a tokenizer\n", agree,
                  differ, unknown);
    assert_true(agree > 0 && unknown > 0 && differ == 0); /* one that differs in a token: the next test */
    for (int i = 0; i < N_MODELS; i++) {
        moe_session_free(s[i]);
        moe_model_release(m[i]);
    }
}

typedef struct image {
    uint8_t *p;
    size_t n;
} image;

static uint64_t image_length(void *f) { return ((image *)f)->n; }

static int image_read(void *f, uint64_t off, void *dst, size_t n)
{
    memcpy(dst, ((image *)f)->p + off, n);
    return 0;
}

static image load_image(const char *path)
{
    FILE *f = fopen(path, "rb");
    image x = {malloc(1 << 20), 0};
    assert_true(f && x.p);
    x.n = fread(x.p, 1, 1 << 20, f);
    fclose(f);
    assert_true(x.n > 0 && x.n < 1 << 20);
    return x;
}

/* The same weights under a vocabulary with one other token: refused, and that token is named. */
static void one_other_token(void **state)
{
    (void)state;
    static const char path[] = "tests/golden/data/qwen3moe.gguf";
    static float z[VOCAB_MAX];
    image x = load_image(path);
    moe_model *m = open_model(path, 0), *other = NULL;
    const moe_tokenizer *t, *u;
    const char *piece;
    size_t len, places = 0;
    moe_token special = 0, first, id[PROMPT];
    assert_ok(moe_model_tokenizer(m, &t));
    while (!(moe_tokenizer_attr(t, special) & MOE_ATTR_CONTROL)) special++;
    assert_ok(moe_tokenizer_piece(t, special, &piece, &len));
    for (size_t i = 8; i + len <= x.n; i++) {
        if (memcmp(x.p + i, piece, len) != 0 || x.p[i - 8] != len) continue;
        x.p[i + len / 2] ^= 1;
        places++;
        break;
    }
    assert_int_equal(places, 1);
    moe_file f = MOE_FILE_INIT;
    f.length = image_length;
    f.read_at = image_read;
    assert_ok(moe_model_open_file(&other, &f, &x, NULL));
    assert_ok(moe_model_tokenizer(other, &u));
    assert_int_equal(moe_tokenizer_same(t, u, &first), 0);
    assert_int_equal(first, special);
    moe_session *a = new_session(m, 1), *b = new_session(other, 1);
    const moe_session *two[2] = {a, b};
    char word[64];
    fill_tokens(m, id, PROMPT, 5);
    assert_ok(moe_session_eval(a, id, PROMPT));
    assert_ok(moe_session_eval(b, id, PROMPT));
    snprintf(word, sizeof word, "token %d is \"%.*s\"", (int)special, (int)len, piece);
    assert_refused(moe_session_mix(MOE_MIX_LOGITS, two, NULL, 2, 0, z, VOCAB_MAX), MOE_E_STATE, word);
    assert_refused(moe_session_contrast(a, b, 0, NULL, z, VOCAB_MAX), MOE_E_STATE, word);
    moe_session_free(a);
    moe_session_free(b);
    moe_model_release(other);
    moe_model_release(m);
    free(x.p);
}

/* ---- what an opened model says of itself */

static void layers_add_up(void **state)
{
    (void)state;
    static const char *const paths[] = {DEMO, "tests/golden/data/qwen2moe.gguf",
                                        "tests/golden/data/qwen3moe-dense.gguf",
                                        "tests/golden/data/mixtral.gguf"};
    for (size_t i = 0; i < 4; i++) {
        moe_model *m = open_model(paths[i], 0);
        moe_model_info info = MOE_MODEL_INFO_INIT;
        uint64_t params = 0, active = 0, outside = 0;
        assert_ok(moe_model_get_info(m, &info));
        for (size_t t = 0; t < moe_model_tensor_count(m); t++) {
            moe_tensor_info x = MOE_TENSOR_INFO_INIT;
            assert_ok(moe_model_tensor_at(m, t, &x));
            if (strncmp(x.name, "blk.", 4) != 0) outside += x.dim[0] * x.dim[1] * x.dim[2] * x.dim[3];
        }
        for (uint32_t l = 0; l < info.n_layers; l++) {
            moe_layer_info x = MOE_LAYER_INFO_INIT;
            assert_ok(moe_model_get_layer(m, l, &x));
            params += x.n_params;
            active += x.n_active;
            if (x.ffn_kind == MOE_FFN_DENSE) {
                assert_true(x.activation == 1 && x.granularity == 0 && x.n_params == x.n_active);
                continue;
            }
            const double shared = (double)info.dim_ff_shared / info.dim_ff_expert;
            assert_true(fabs(x.activation - (info.top_k + shared) / (info.n_experts + shared)) < 1e-12);
            assert_true(fabs(x.granularity - 2.0 * info.dim / info.dim_ff_expert) < 1e-12);
            const uint64_t expert = 3ull * info.dim * info.dim_ff_expert;
            assert_true(x.n_params - x.n_active == expert * (info.n_experts - info.top_k));
        }
        assert_true(params + outside == info.n_params);
        assert_true(active + outside == info.n_active);
        moe_model_release(m);
    }
}

static void fingerprints(void **state)
{
    (void)state;
    uint64_t seen[N_TEST_MODELS];
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_model_info info = MOE_MODEL_INFO_INIT;
        moe_model *m = open_model(test_models[i], 0),
                  *n = open_model(test_models[i], MOE_OPEN_NO_MMAP | MOE_OPEN_RESIDENT);
        assert_ok(moe_model_get_info(m, &info));
        seen[i] = info.fingerprint;
        assert_ok(moe_model_get_info(n, &info));
        assert_true(info.fingerprint == seen[i] && seen[i] != 0);
        for (size_t j = 0; j < i; j++) assert_true(seen[j] != seen[i]);
        moe_model_release(m);
        moe_model_release(n);
        m = open_model(test_models[i], MOE_OPEN_METADATA_ONLY);
        assert_ok(moe_model_get_info(m, &info));
        assert_true(info.fingerprint == 0);
        moe_model_release(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scmoe_decoding),
        cmocka_unit_test(weak_routing_takes_one_rank),
        cmocka_unit_test(weights_are_shared),
        cmocka_unit_test(copies_of_sequences),
        cmocka_unit_test(contrast_feeds_the_sampler),
        cmocka_unit_test(mixtures_of_sessions),
        cmocka_unit_test(vocabularies_are_checked),
        cmocka_unit_test(one_other_token),
        cmocka_unit_test(layers_add_up),
        cmocka_unit_test(fingerprints),
    };
    return cmocka_run_group_tests_name("mixing", tests, NULL, NULL);
}
