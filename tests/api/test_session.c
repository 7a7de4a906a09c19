/* SPDX-License-Identifier: MIT */
/* Sessions: what a failed, interrupted or refused call leaves behind; sequences; save and load; observation;
 * the memory plan. */
#include "../counting.h"
#include "stream.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

static moe_session_options small(void)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = 2;
    o.n_ctx = 128;
    return o;
}

/* ---- what a session is, seen from outside ---- */

typedef struct snapshot {
    size_t len[4];
    float *logits;
    size_t n;
} snapshot;

static snapshot take(const moe_session *s)
{
    snapshot x = {{0}, NULL, 0};
    const float *p;
    for (int q = 0; q < 4; q++) x.len[q] = moe_session_seq_len(s, q);
    assert_ok(moe_session_logits(s, 0, &p, &x.n));
    x.logits = malloc(x.n * sizeof(float));
    assert_non_null(x.logits);
    memcpy(x.logits, p, x.n * sizeof(float));
    return x;
}

static void assert_unchanged(const moe_session *s, snapshot *x)
{
    const float *p;
    for (int q = 0; q < 4; q++) assert_int_equal(moe_session_seq_len(s, q), x->len[q]);
    assert_ok(moe_session_logits(s, 0, &p, NULL));
    assert_memory_equal(p, x->logits, x->n * sizeof(float));
    free(x->logits);
}

/* ---- refusals ---- */

static void wrong_arguments_are_refused_with_reasons(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_session *s = make_session(m, small());
    moe_token id[200];
    fill_tokens(m, id, 200, 1);
    assert_ok(moe_session_eval(s, id, 10));
    snapshot before = take(s);
    assert_refused(moe_session_eval(s, NULL, 3), MOE_E_INVALID, "token");
    assert_refused(moe_session_eval(s, id, 0), MOE_E_INVALID, "empty");
    id[5] = 1000000;
    assert_refused(moe_session_eval(s, id, 10), MOE_E_RANGE, "batch token 5");
    id[5] = -1;
    assert_refused(moe_session_eval(s, id, 10), MOE_E_RANGE, "id -1");
    id[5] = 0;
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 2;
    b.token = id;
    const moe_seq seq[2] = {0, 1};
    b.seq = seq;
    assert_refused(moe_session_eval_batch(s, &b), MOE_E_RANGE, "sequence 1");
    b.seq = NULL;
    const moe_pos pos[2] = {10, 12};
    b.pos = pos;
    assert_refused(moe_session_eval_batch(s, &b), MOE_E_RANGE, "goes on at 11");
    b.pos = NULL;
    const uint8_t want[2] = {1, 1};
    b.want = want;
    assert_refused(moe_session_eval_batch(s, &b), MOE_E_FULL, "n_output_max");
    const uint8_t odd[2] = {0, 128};
    b.want = odd;
    assert_refused(moe_session_eval_batch(s, &b), MOE_E_INVALID, "unknown bits");
    assert_refused(moe_session_eval(s, id, 200), MOE_E_FULL, "KV cache is full");
    assert_refused(moe_session_seq_truncate(s, 0, 11), MOE_E_RANGE, "it has 10");
    assert_refused(moe_session_seq_copy(s, 0, 7), MOE_E_RANGE, "sequence 7");
    const float *p;
    assert_refused(moe_session_logits(s, 1, &p, NULL), MOE_E_RANGE, "1 rows");
    assert_refused(moe_session_hidden(s, 0, &p, NULL), MOE_E_RANGE, "0 rows");
    assert_unchanged(s, &before);
    moe_session_free(s);
    moe_model_release(m);
}

/* Refuses what no test needs: the system might well promise it, and zeroing it would take the machine down.
 */
static void *modest_alloc(size_t n, size_t align, void *user)
{
    (void)user;
    return n > (size_t)1 << 30 ? NULL : aligned_alloc(align, (n + align - 1) / align * align);
}

static void modest_free(void *p, size_t n, void *user)
{
    (void)n;
    (void)user;
    free(p);
}

static void bad_options_are_refused(void **state)
{
    (void)state;
    const moe_allocator modest = {sizeof modest, modest_alloc, modest_free, NULL};
    moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
    mo.allocator = &modest;
    moe_model *m;
    assert_ok(moe_model_open(&m, test_models[0], &mo));
    moe_session *s = (moe_session *)&s;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.flags = 0x4000;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_INVALID, "flags");
    assert_null(s);
    o = (moe_session_options)MOE_SESSION_OPTIONS_INIT;
    o.kv_type_k = MOE_TYPE_Q5_0;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_INVALID, "kv_type_k");
    o.kv_type_k = MOE_TYPE_Q4_0; /* the heads are no multiple of its block */
    assert_refused(moe_session_create(&s, m, &o), MOE_E_UNSUPPORTED, "kv_type_k Q4_0");
    o = (moe_session_options)MOE_SESSION_OPTIONS_INIT;
    o.n_threads = -3;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_INVALID, "n_threads");
    o = (moe_session_options)MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 1u << 30;
    o.n_seq_max = 65536;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_NOMEM, "session");
    o.size = 0;
    assert_refused(moe_session_create(&s, m, &o), MOE_E_INVALID, "size");
    moe_model_release(m);
    m = open_model(test_models[0], MOE_OPEN_METADATA_ONLY);
    assert_refused(moe_session_create(&s, m, NULL), MOE_E_STATE, "METADATA_ONLY");
    moe_model_release(m);
}

/* ---- stopping ---- */

typedef struct stopper {
    moe_session *s;
    uint64_t after;
    int status;
} stopper;

static int stop_after(const moe_progress *p, void *user)
{
    const stopper *t = user;
    assert_int_equal(p->stage, MOE_PROGRESS_PREFILL);
    assert_true(p->done < p->total);
    return p->done >= t->after;
}

/* After a stop the session must go on as if nothing had been: same logits as one that was never stopped. */
static void assert_goes_on(moe_model *m, moe_session *s, const moe_token *id, size_t have, size_t n)
{
    moe_session *clean = make_session(m, small());
    const float *a, *b;
    size_t n_vocab;
    assert_ok(moe_session_eval(clean, id, n));
    assert_ok(moe_session_eval(s, id + have, n - have));
    assert_ok(moe_session_logits(clean, 0, &a, &n_vocab));
    assert_ok(moe_session_logits(s, 0, &b, NULL));
    assert_memory_equal(a, b, n_vocab * sizeof(float));
    moe_session_free(clean);
}

static void a_stopped_eval_leaves_no_trace(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_model *m = open_model(test_models[i], 0);
        stopper t = {NULL, 24, 0};
        moe_session_options o = small();
        o.n_batch_max = 8;
        o.progress = stop_after;
        o.progress_user = &t;
        moe_session *s = make_session(m, o);
        moe_token id[100];
        fill_tokens(m, id, 100, 3);
        t.after = UINT64_MAX;
        assert_ok(moe_session_eval(s, id, 20));
        snapshot before = take(s);
        t.after = 24;
        assert_refused(moe_session_eval(s, id + 20, 60), MOE_E_ABORTED, "24 of 60");
        assert_unchanged(s, &before);
        before = take(s);
        moe_session_interrupt(s); /* nothing runs: the next eval is the one that stops, once */
        assert_refused(moe_session_eval(s, id + 20, 60), MOE_E_ABORTED, "interrupted");
        assert_unchanged(s, &before);
        t.after = UINT64_MAX;
        assert_goes_on(m, s, id, 20, 80);
        moe_session_free(s);
        moe_model_release(m);
    }
}

static void keep_partial_keeps_whole_sub_batches(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    stopper t = {NULL, 24, 0};
    moe_session_options o = small();
    o.flags = MOE_SESSION_KEEP_PARTIAL;
    o.n_batch_max = 8;
    o.progress = stop_after;
    o.progress_user = &t;
    moe_session *s = make_session(m, o);
    moe_token id[100];
    const float *p;
    fill_tokens(m, id, 100, 3);
    assert_int_equal(moe_session_eval(s, id, 90), MOE_E_ABORTED);
    assert_int_equal(moe_session_seq_len(s, 0), 24);
    assert_int_equal(moe_session_logits(s, 0, &p, NULL), MOE_E_RANGE);
    t.after = UINT64_MAX;
    assert_goes_on(m, s, id, 24, 90);
    moe_session_free(s);
    moe_model_release(m);
}

static atomic_int stop_thread;

static void *interrupt_often(void *user)
{
    while (!atomic_load(&stop_thread)) {
        moe_session_interrupt(user);
        for (volatile int i = 0; i < 20000; i++) {}
    }
    return NULL;
}

static void interrupts_from_another_thread(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[1], 0);
    moe_session *s = make_session(m, small());
    moe_token id[100];
    fill_tokens(m, id, 100, 3);
    assert_ok(moe_session_eval(s, id, 20));
    pthread_t thread;
    int n_stopped = 0;
    atomic_store(&stop_thread, 0);
    assert_int_equal(pthread_create(&thread, NULL, interrupt_often, s), 0);
    for (int i = 0; i < 200; i++) {
        const int st = moe_session_eval(s, id + 20, 60);
        if (st == MOE_OK) {
            assert_int_equal(moe_session_seq_len(s, 0), 80);
            assert_ok(moe_session_seq_truncate(s, 0, 20));
        } else {
            assert_int_equal(st, MOE_E_ABORTED);
            assert_int_equal(moe_session_seq_len(s, 0), 20);
            n_stopped++;
        }
    }
    atomic_store(&stop_thread, 1);
    pthread_join(thread, NULL);
    assert_true(n_stopped > 0);
    (void)moe_session_eval(s, id + 20, 1); /* takes a request that may be left over */
    assert_ok(moe_session_seq_truncate(s, 0, 20));
    assert_goes_on(m, s, id, 20, 80);
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- observation ---- */

typedef struct seen {
    uint32_t n_calls, n_rows, layer;
    int result;
    moe_session *s;
} seen;

static int observe(const moe_route_view *v, void *user)
{
    seen *x = user;
    x->n_calls++;
    x->n_rows += v->n_rows;
    x->layer = v->layer;
    assert_int_equal(v->size, sizeof *v);
    for (uint32_t t = 0; t < v->n_rows; t++) {
        assert_true(v->offset[t] <= v->offset[t + 1]);
        for (uint32_t p = v->offset[t]; p < v->offset[t + 1]; p++) {
            assert_true(v->expert[p] < v->n_experts);
            assert_true(isfinite(v->weight[p]));
            /* rank order: no expert that was chosen later has a larger logit */
            if (p > v->offset[t])
                assert_true(v->logits[t * v->n_experts + v->expert[p]] <=
                            v->logits[t * v->n_experts + v->expert[p - 1]]);
        }
    }
    assert_refused(moe_session_seq_truncate(x->s, 0, 0), MOE_E_STATE, "callbacks");
    return x->result;
}

static void the_observer_sees_every_row_of_every_layer(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_model_info info = MOE_MODEL_INFO_INIT;
    assert_ok(moe_model_get_info(m, &info));
    moe_session *s = make_session(m, small());
    moe_token id[40];
    fill_tokens(m, id, 40, 3);
    assert_ok(moe_session_eval(s, id, 30));
    snapshot before = take(s);
    seen x = {.s = s};
    assert_ok(moe_session_seq_truncate(s, 0, 0));
    assert_ok(moe_session_observe(s, observe, &x));
    assert_ok(moe_session_eval(s, id, 30));
    assert_int_equal(x.n_calls, info.n_moe_layers);
    assert_int_equal(x.n_rows, info.n_moe_layers * 30);
    assert_unchanged(s, &before); /* looking changes nothing */
    x.result = -77;
    assert_int_equal(moe_session_eval(s, id, 5), -77);
    assert_true(strlen(moe_last_error()) > 0);
    x.result = 5;
    assert_refused(moe_session_eval(s, id, 5), MOE_E_ABORTED, "observer");
    assert_int_equal(moe_session_seq_len(s, 0), 30);
    assert_ok(moe_session_observe(s, NULL, NULL));
    moe_stats stats = MOE_STATS_INIT;
    assert_ok(moe_session_get_stats(s, &stats));
    assert_int_equal(stats.tokens_prefill, 60);
    assert_true(stats.ns_prefill > 0 && stats.pairs > 0 && stats.expert_bytes > 0);
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- save and load ---- */

static void a_saved_session_goes_on_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_TEST_MODELS; i++) {
        moe_model *m = open_model(test_models[i], 0);
        moe_session_options o = small();
        o.n_seq_max = 2;
        moe_session *s = make_session(m, o), *t = make_session(m, o);
        moe_token id[100], back[100];
        size_t n;
        fill_tokens(m, id, 100, 3);
        assert_ok(moe_session_eval(s, id, 40));
        assert_ok(moe_session_seq_copy(s, 0, 1));
        assert_ok(moe_session_eval(s, id + 40, 3));
        snapshot before = take(s);
        stream file = save_all(s);
        assert_ok(moe_session_eval(t, id, 7)); /* what was there before is replaced */
        assert_ok(load_all(t, &file));
        assert_int_equal(moe_session_seq_len(t, 1), 40);
        assert_ok(moe_session_seq_tokens(t, 0, back, 100, &n));
        assert_int_equal(n, 43);
        assert_memory_equal(back, id, 43 * sizeof *id);
        assert_unchanged(t, &before);
        assert_goes_on(m, t, id, 43, 70);
        free(file.data);
        moe_session_free(s);
        moe_session_free(t);
        moe_model_release(m);
    }
}

static void damaged_and_foreign_sessions_are_refused(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0), *other = open_model(test_models[1], 0);
    moe_session *s = make_session(m, small()), *foreign = make_session(other, small());
    moe_token id[20];
    fill_tokens(m, id, 20, 3);
    assert_ok(moe_session_eval(s, id, 9));
    stream file = save_all(s);
    assert_ok(moe_session_eval(s, id + 9, 5));
    snapshot before = take(s);
    assert_refused(load_all(foreign, &file), MOE_E_STATE, "another model");
    const size_t n = file.n;
    for (size_t i = 0; i < n; i += n / 300 + 1) { /* every truncation and many flipped bits */
        file.n = i;
        assert_int_equal(load_all(s, &file), STREAM_SHORT);
        file.n = n;
        file.data[i] ^= 0x10;
        assert_true(load_all(s, &file) < 0);
        file.data[i] ^= 0x10;
    }
    file.data[20] = 9;
    assert_refused(load_all(s, &file), MOE_E_STATE, "does not fit");
    file.limit = n / 2;
    file.n = 0;
    assert_int_equal(moe_session_save(s, put_stream, &file), STREAM_FULL);
    assert_unchanged(s, &before);
    moe_session_options o = small();
    o.kv_type_v = MOE_KV_F32;
    moe_session *f32 = make_session(m, o);
    file.n = file.limit = 0;
    assert_ok(moe_session_save(s, put_stream, &file));
    assert_refused(load_all(f32, &file), MOE_E_STATE, "value type");
    free(file.data);
    moe_session_free(f32);
    moe_session_free(s);
    moe_session_free(foreign);
    moe_model_release(m);
    moe_model_release(other);
}

static void sessions_as_files(void **state)
{
    (void)state;
    const char *path = "test-session.state";
    moe_model *m = open_model(test_models[0], 0);
    moe_session *s = make_session(m, small());
    moe_token id[20];
    fill_tokens(m, id, 20, 3);
    assert_ok(moe_session_eval(s, id, 9));
    snapshot before = take(s);
    assert_ok(moe_session_save_file(s, path));
    moe_session_reset(s);
    assert_int_equal(moe_session_seq_len(s, 0), 0);
    assert_ok(moe_session_load_file(s, path));
    assert_unchanged(s, &before);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -3, SEEK_END), 0);
    fputc('x', f);
    fclose(f);
    assert_refused(moe_session_load_file(s, path), MOE_E_FORMAT, "checksum");
    remove(path);
    assert_true(moe_session_load_file(s, path) < 0);
    assert_refused(moe_session_save_file(s, "/nonexistent/dir/x"), MOE_E_NOTFOUND, "/nonexistent/dir/x");
    moe_session_free(s);
    moe_model_release(m);
}

/* ---- the cache ---- */

static void sequences_share_copy_and_give_back_pages(void **state)
{
    (void)state;
    moe_model *m = open_model(test_models[0], 0);
    moe_session_options o = small();
    o.n_seq_max = 4;
    moe_session *s = make_session(m, o);
    moe_session_info info = MOE_SESSION_INFO_INIT;
    moe_token id[128];
    fill_tokens(m, id, 128, 3);
    assert_ok(moe_session_eval(s, id, 100));
    assert_ok(moe_session_get_info(s, &info));
    assert_int_equal(info.n_cells_used, 128);
    for (int q = 1; q < 4; q++) assert_ok(moe_session_seq_copy(s, 0, q));
    assert_ok(moe_session_get_info(s, &info));
    assert_int_equal(info.n_cells_used, 128);
    moe_seq one[1] = {2};
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 1;
    b.token = id;
    b.seq = one;
    assert_ok(moe_session_eval_batch(s, &b)); /* writes into a shared page: one page is copied */
    assert_ok(moe_session_get_info(s, &info));
    assert_int_equal(info.n_cells_used, 192);
    assert_int_equal(moe_session_seq_len(s, 2), 101);
    assert_int_equal(moe_session_seq_len(s, 3), 100);
    for (int q = 0; q < 4; q++) assert_ok(moe_session_seq_truncate(s, q, 0));
    assert_ok(moe_session_get_info(s, &info));
    assert_int_equal(info.n_cells_used, 0);
    /* n_ctx tokens fit however they are spread */
    moe_seq spread[128];
    for (int i = 0; i < 128; i++) spread[i] = i < 65 ? 0 : 1 + i % 3;
    b.n_tokens = 128;
    b.seq = spread;
    assert_ok(moe_session_eval_batch(s, &b));
    moe_session_free(s);
    moe_model_release(m);
}

static float largest(const float *x, size_t n)
{
    float most = 0;
    for (size_t i = 0; i < n; i++) most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    return most;
}

/* f16 keys and values, and quantised activations, stay near the exact result; hidden states are what the
 * logits are made of. */
static void exactness(void **state)
{
    (void)state;
    moe_quantize_options q = MOE_QUANTIZE_OPTIONS_INIT;
    q.recipe = "Q8_0";
    assert_ok(moe_quantize(test_models[1], "test-exact.gguf", &q));
    moe_model *m = open_model("test-exact.gguf", 0);
    moe_session_options o = small();
    moe_session *plain = make_session(m, o);
    o.flags = MOE_SESSION_EXACT_ACT;
    o.kv_type_k = o.kv_type_v = MOE_KV_F32;
    moe_session *exact = make_session(m, o);
    moe_token id[60];
    uint8_t want[60] = {0};
    want[59] = MOE_WANT_LOGITS | MOE_WANT_HIDDEN;
    fill_tokens(m, id, 60, 3);
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 60;
    b.token = id;
    b.want = want;
    assert_ok(moe_session_eval_batch(plain, &b));
    assert_ok(moe_session_eval_batch(exact, &b));
    const float *x, *y, *h;
    size_t n, dim;
    assert_ok(moe_session_logits(plain, 0, &x, &n));
    assert_ok(moe_session_logits(exact, 0, &y, NULL));
    assert_ok(moe_session_hidden(exact, 0, &h, &dim));
    float worst = 0;
    for (size_t i = 0; i < n; i++) worst = fabsf(x[i] - y[i]) > worst ? fabsf(x[i] - y[i]) : worst;
    assert_true(worst > 0);
    assert_true(worst < 0.1f * largest(y, n));
    /* the exact session's logits are its hidden state times the output matrix, recomputed here in double */
    size_t t;
    if (moe_model_tensor_find(m, "output.weight", &t) != MOE_OK)
        assert_ok(moe_model_tensor_find(m, "token_embd.weight", &t));
    float *row = malloc(dim * sizeof *row);
    assert_non_null(row);
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        assert_ok(moe_model_tensor_read(m, t, i * dim, dim, row));
        for (size_t j = 0; j < dim; j++) sum += (double)row[j] * (double)h[j];
        assert_true(fabs(sum - (double)y[i]) < 1e-4 * (double)largest(y, n));
    }
    free(row);
    moe_session_free(plain);
    moe_session_free(exact);
    moe_model_release(m);
    remove("test-exact.gguf");
}

/* ---- memory ---- */

static void the_plan_holds_and_eval_allocates_nothing(void **state)
{
    (void)state;
    static const uint32_t flags[] = {0, MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT};
    for (size_t i = 0; i < N_TEST_MODELS * 3; i++) {
        const char *path = test_models[i / 3];
        counter c = {0};
        moe_allocator a = MOE_ALLOCATOR_INIT;
        a.alloc = count_alloc;
        a.free = count_free;
        a.user = &c;
        moe_model_options mo = MOE_MODEL_OPTIONS_INIT;
        mo.flags = flags[i % 3];
        mo.allocator = &a;
        moe_session_options so = small();
        so.n_seq_max = 3;
        moe_memory plan = MOE_MEMORY_INIT, opened = MOE_MEMORY_INIT;
        assert_ok(moe_plan(path, &mo, &so, &plan));
        assert_int_equal(atomic_load(&c.now), 0);
        assert_int_equal(plan.total, plan.dense + plan.experts + plan.kv + plan.scratch + plan.overhead);
        atomic_store(&c.most, 0);
        moe_model *m;
        assert_ok(moe_model_open(&m, path, &mo));
        assert_ok(moe_model_get_memory(m, &so, &opened));
        assert_int_equal(opened.private_bytes, plan.private_bytes);
        moe_session *s = make_session(m, so);
        moe_token id[100];
        fill_tokens(m, id, 100, 3);
        const size_t calls = atomic_load(&c.n_calls);
        assert_ok(moe_session_eval(s, id, 60));
        for (int j = 60; j < 70; j++) assert_ok(moe_session_eval(s, id + j, 1));
        assert_int_equal(atomic_load(&c.n_calls), calls);
        if (atomic_load(&c.most) > plan.private_bytes)
            fail_msg("%s flags %u: planned %llu bytes, took %zu", path, mo.flags,
                     (unsigned long long)plan.private_bytes, atomic_load(&c.most));
        moe_session_free(s);
        moe_model_release(m);
        assert_int_equal(atomic_load(&c.now), 0);
        /* the budget is a hard limit, and the message names the need */
        mo.memory_budget = 1000;
        assert_refused(moe_model_open(&m, path, &mo), MOE_E_FULL, "at least");
        assert_int_equal(atomic_load(&c.now), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_arguments_are_refused_with_reasons),
        cmocka_unit_test(bad_options_are_refused),
        cmocka_unit_test(a_stopped_eval_leaves_no_trace),
        cmocka_unit_test(keep_partial_keeps_whole_sub_batches),
        cmocka_unit_test(interrupts_from_another_thread),
        cmocka_unit_test(the_observer_sees_every_row_of_every_layer),
        cmocka_unit_test(a_saved_session_goes_on_the_same),
        cmocka_unit_test(damaged_and_foreign_sessions_are_refused),
        cmocka_unit_test(sessions_as_files),
        cmocka_unit_test(sequences_share_copy_and_give_back_pages),
        cmocka_unit_test(exactness),
        cmocka_unit_test(the_plan_holds_and_eval_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
