/* SPDX-License-Identifier: MIT */
/*
 * Every scenario of the public interface with the n-th allocation failing, n = 1, 2, 3 ... until it succeeds;
 * once with only that one failing and once with all that follow. Each failure must come out as MOE_E_NOMEM
 * with a message, leave no block behind and no object half made, and leave what was there before as it was.
 */
#include "../api/support.h"
#include "../unit/gguf_bytes.h"

#include <stdio.h>

#include "rounds.h"

#define MODEL "tests/golden/data/qwen2moe-dense.gguf"
#define N     24u /* tokens of a prompt */

/* ---- models ---- */

static uint32_t open_flags;

static int open_and_release(env *e)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m = (moe_model *)e;
    o.flags = open_flags;
    o.allocator = &e->f.hook;
    arm(e);
    const int st = told(moe_model_open(&m, MODEL, &o));
    disarm(e);
    if (st != MOE_OK) assert_null(m);
    moe_model_release(m);
    return st;
}

static void opening_a_model(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint32_t flags;
    } ways[] = {
        {"open mapped", 0},
        {"open read", MOE_OPEN_NO_MMAP},
        {"open resident", MOE_OPEN_RESIDENT},
        {"open metadata only", MOE_OPEN_METADATA_ONLY},
        {"open checked", MOE_OPEN_NO_MMAP | MOE_OPEN_RESIDENT | MOE_OPEN_CHECK_DATA},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        open_flags = ways[i].flags;
        all_rounds(ways[i].name, open_and_release);
    }
}

/* A caller's file must be closed once, whatever happens. */
typedef struct held_file {
    FILE *f;
    int n_closed;
} held_file;

static uint64_t held_length(void *user)
{
    held_file *h = user;
    fseek(h->f, 0, SEEK_END);
    return (uint64_t)ftell(h->f);
}

static int held_read(void *user, uint64_t off, void *dst, size_t n)
{
    held_file *h = user;
    if (fseek(h->f, (long)off, SEEK_SET) != 0) return MOE_E_IO;
    return fread(dst, 1, n, h->f) == n ? 0 : MOE_E_IO;
}

static void held_close(void *user) { ((held_file *)user)->n_closed++; }

static int open_callers_file(env *e)
{
    held_file h = {fopen(MODEL, "rb"), 0};
    assert_non_null(h.f);
    moe_file file = MOE_FILE_INIT;
    file.length = held_length;
    file.read_at = held_read;
    file.close = held_close;
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.allocator = &e->f.hook;
    moe_model *m = NULL;
    arm(e);
    const int st = told(moe_model_open_file(&m, &file, &h, &o));
    disarm(e);
    assert_int_equal(h.n_closed, st != MOE_OK);
    moe_model_release(m);
    assert_int_equal(h.n_closed, 1);
    fclose(h.f);
    return st;
}

/* Two files of a split set; the second one comes from the first one's sibling(). Tensors lie in falling
 * order. */
static bytes part[2];
static int n_part_closed;

static void make_part(int no)
{
    static const char *const names[2][2] = {{"a", "b"}, {"c", "d"}};
    const uint64_t dim[1] = {8};
    bytes *b = &part[no];
    bytes_free(b);
    put_header(b, 3, 2, 4);
    put_kv_str(b, "general.architecture", "none of ours");
    put_kv_u32(b, "split.no", (uint32_t)no);
    put_kv_u32(b, "split.count", 2);
    put_kv_u32(b, "split.tensors.count", 4);
    put_tensor(b, names[no][0], 1, dim, MOE_TYPE_F32, 32);
    put_tensor(b, names[no][1], 1, dim, MOE_TYPE_F32, 0);
    put_padding(b, 32);
    for (int i = 0; i < 16; i++) put_u32(b, 0);
}

static void part_closed(void *user)
{
    (void)user;
    n_part_closed++;
}

static int part_sibling(void *user, const char *name, moe_file *out, void **out_user)
{
    (void)user;
    assert_string_equal(name, "x-00002-of-00002.gguf");
    *out = bytes_file(0);
    out->close = part_closed;
    *out_user = &part[1];
    return 0;
}

/* Ends with a refusal of the architecture: by then both files have been read. */
static int open_split_set(env *e)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m;
    moe_file file = bytes_file(0);
    o.allocator = &e->f.hook;
    file.name = "x-00001-of-00002.gguf";
    file.sibling = part_sibling;
    file.close = part_closed;
    make_part(0);
    make_part(1);
    n_part_closed = 0;
    arm(e);
    const int st = told(moe_model_open_file(&m, &file, &part[0], &o));
    disarm(e);
    assert_null(m);
    assert_true(n_part_closed == 1 || n_part_closed == 2);
    if (st == MOE_E_UNSUPPORTED) assert_int_equal(n_part_closed, 2);
    bytes_free(&part[0]);
    bytes_free(&part[1]);
    return st == MOE_E_UNSUPPORTED ? MOE_OK : st;
}

static int plan(env *e)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.allocator = &e->f.hook;
    moe_memory mem = MOE_MEMORY_INIT;
    arm(e);
    const int st = told(moe_plan(MODEL, &o, NULL, &mem));
    disarm(e);
    return st;
}

static void other_ways_to_a_model(void **state)
{
    (void)state;
    all_rounds("open a caller's file", open_callers_file);
    all_rounds("open a split set", open_split_set);
    all_rounds("plan", plan);
}

/* ---- tokenizers ---- */

static const char *tokenizer_path;
static const char text[] =
    "Once upon a time, in 1984, there was \xc3\xa9t\xc3\xa9 and \xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e; "
    "    e\xcc\x81 <s> <|endoftext|> \xff\xfe \xf0\x9f\x98\x80 ...";

static int open_tokenizer(env *e)
{
    moe_tokenizer *t = (moe_tokenizer *)e;
    arm(e);
    const int st = told(moe_tokenizer_open(&t, tokenizer_path, &e->f.hook));
    disarm(e);
    if (st != MOE_OK) assert_null(t);
    moe_tokenizer_free(t);
    return st;
}

static int encode(env *e)
{
    moe_tokenizer *t;
    moe_token id[512], again[512];
    size_t n = 0, n_again;
    assert_ok(moe_tokenizer_open(&t, tokenizer_path, &e->f.hook));
    arm(e);
    const int st = told(
        moe_tokenizer_encode(t, text, sizeof text - 1, MOE_ENCODE_BOS | MOE_ENCODE_SPECIAL, id, 512, &n));
    disarm(e);
    /* a failed call changes nothing for the next */
    assert_ok(moe_tokenizer_encode(t, text, sizeof text - 1, MOE_ENCODE_BOS | MOE_ENCODE_SPECIAL, again, 512,
                                   &n_again));
    if (st == MOE_OK) {
        assert_int_equal(n, n_again);
        assert_memory_equal(id, again, n * sizeof id[0]);
    }
    moe_tokenizer_free(t);
    return st;
}

static void tokenizers(void **state)
{
    (void)state;
    static const char *const paths[] = {"tests/token/data/qwen2.gguf", "tests/token/data/llama.gguf",
                                        "tests/token/data/olmo.gguf", MODEL};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        tokenizer_path = paths[i];
        if (i < 3) all_rounds(paths[i], open_tokenizer);
        if (i < 3) all_rounds("encode", encode);
    }
}

/* Decoding, pieces and chat templates take no memory at all: they have no way to fail for lack of it. */
static void text_without_allocation(void **state)
{
    (void)state;
    faulty f;
    faulty_init(&f);
    moe_tokenizer *t;
    moe_token id[512];
    size_t n, len;
    char out[2048];
    assert_ok(moe_tokenizer_open(&t, "tests/token/data/qwen2.gguf", &f.hook));
    assert_ok(moe_tokenizer_encode(t, text, sizeof text - 1, 0, id, 512, &n));
    f.stay_failed = 1;
    faulty_arm(&f, 1);
    assert_ok(moe_tokenizer_decode(t, id, n, 0, out, sizeof out, &len));
    moe_stream stream = MOE_STREAM_INIT;
    for (size_t i = 0; i < n; i++) assert_ok(moe_tokenizer_stream(t, &stream, id[i], out, sizeof out, &len));
    moe_message msg = {sizeof msg, "user", "Hello"};
    (void)moe_tokenizer_chat(t, &msg, 1, MOE_CHAT_ADD_ASSISTANT, out, sizeof out, &len);
    assert_int_equal(atomic_load(&f.n_calls), 0);
    moe_tokenizer_free(t);
    assert_int_equal(atomic_load(&f.n_live), 0);
}

/* ---- sessions ---- */

static moe_model *open_with(env *e)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m;
    o.allocator = &e->f.hook;
    assert_ok(moe_model_open(&m, MODEL, &o));
    return m;
}

static moe_session_options session_options(void)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 128;
    o.n_seq_max = 3;
    o.n_threads = 2;
    return o;
}

/* Runs the tasks of a team of one; refuses more, which no test here asks for. */
static int run_one(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    (void)user;
    if (n != 1) return MOE_E_UNSUPPORTED;
    task(arg, 0);
    return 0;
}

static int with_executor;

static int create_session(env *e)
{
    moe_model *m = open_with(e);
    moe_session *s = (moe_session *)e;
    moe_session_options o = session_options();
    moe_executor ex = {sizeof ex, run_one, NULL};
    moe_token id[N];
    if (with_executor) {
        o.n_threads = 1;
        o.executor = &ex;
    }
    arm(e);
    const int st = told(moe_session_create(&s, m, &o));
    disarm(e);
    if (st != MOE_OK) assert_null(s);
    if (st == MOE_OK) { /* and eval takes nothing: it cannot fail for lack of memory */
        fill_tokens(m, id, N, 1);
        e->f.stay_failed = 1;
        faulty_arm(&e->f, 1);
        assert_ok(moe_session_eval(s, id, N));
        assert_ok(moe_session_seq_copy(s, 0, 1));
        moe_seq seq[N];
        for (size_t i = 0; i < N; i++) seq[i] = (moe_seq)(i % 3);
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = N;
        b.token = id;
        b.seq = seq;
        assert_ok(moe_session_eval_batch(s, &b));
        assert_ok(moe_session_seq_remove(s, 1, 2, 3));
        assert_ok(moe_session_seq_truncate(s, 1, 3));
        float lp[4];
        moe_token best[4];
        assert_ok(moe_session_logprobs(s, 0, 4, best, lp));
        assert_int_equal(atomic_load(&e->f.n_calls), 0);
        faulty_disarm(&e->f);
    }
    moe_model_release(m);
    moe_session_free(s);
    return st;
}

/* A session with three sequences, and its content as one stream. */
typedef struct stream {
    uint8_t data[1 << 19];
    size_t n, at;
} stream;

static stream before, after;

static int write_stream(const void *data, size_t n, void *user)
{
    stream *s = user;
    if (n > sizeof s->data - s->n) return MOE_E_IO;
    memcpy(s->data + s->n, data, n);
    s->n += n;
    return 0;
}

static int read_stream(void *data, size_t n, void *user)
{
    stream *s = user;
    if (n > s->n - s->at) return MOE_E_IO;
    memcpy(data, s->data + s->at, n);
    s->at += n;
    return 0;
}

static moe_session *session_with_content(moe_model *m, uint32_t seed)
{
    moe_token id[N];
    moe_seq seq[N];
    fill_tokens(m, id, N, seed);
    for (size_t i = 0; i < N; i++) seq[i] = (moe_seq)((i + seed) % 3);
    moe_session *s = make_session(m, session_options());
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = N;
    b.token = id;
    b.seq = seq;
    assert_ok(moe_session_eval_batch(s, &b));
    return s;
}

static void save_to(const moe_session *s, stream *to)
{
    to->n = to->at = 0;
    assert_ok(moe_session_save(s, write_stream, to));
}

static void assert_same_content(const moe_session *s, const stream *want)
{
    save_to(s, &after);
    assert_int_equal(after.n, want->n);
    assert_memory_equal(after.data, want->data, want->n);
}

static int load_session(env *e)
{
    static stream other;
    moe_model *m = open_with(e);
    moe_session *donor = session_with_content(m, 5), *s = session_with_content(m, 7);
    save_to(donor, &other);
    save_to(s, &before);
    arm(e);
    const int st = told(moe_session_load(s, read_stream, &other));
    disarm(e);
    assert_same_content(s, st == MOE_OK ? &other : &before);
    moe_session_free(donor);
    moe_session_free(s);
    moe_model_release(m);
    return st;
}

static int load_sequence(env *e)
{
    static stream other;
    moe_model *m = open_with(e);
    moe_session *donor = session_with_content(m, 5), *s = session_with_content(m, 7);
    other.n = other.at = 0;
    assert_ok(moe_session_seq_save(donor, 1, write_stream, &other));
    save_to(s, &before);
    arm(e);
    const int st = told(moe_session_seq_load(s, 2, read_stream, &other));
    disarm(e);
    if (st != MOE_OK) assert_same_content(s, &before);
    moe_session_free(donor);
    moe_session_free(s);
    moe_model_release(m);
    return st;
}

static const char state_path[] = "test-alloc.state";

static int save_file(env *e)
{
    moe_model *m = open_with(e);
    moe_session *s = session_with_content(m, 3);
    remove(state_path);
    save_to(s, &before);
    arm(e);
    const int st = told(moe_session_save_file(s, state_path));
    disarm(e);
    FILE *f = fopen(state_path, "rb");
    assert_int_equal(f != NULL, st == MOE_OK);
    if (f) fclose(f);
    assert_same_content(s, &before);
    moe_session_free(s);
    moe_model_release(m);
    return st;
}

static int load_file(env *e)
{
    moe_model *m = open_with(e);
    moe_session *s = session_with_content(m, 3);
    assert_ok(moe_session_save_file(s, state_path));
    save_to(s, &before);
    arm(e);
    const int st = told(moe_session_load_file(s, state_path));
    disarm(e);
    assert_same_content(s, &before); /* it is the same content: loaded or not */
    remove(state_path);
    moe_session_free(s);
    moe_model_release(m);
    return st;
}

static int set_threads(env *e)
{
    moe_model *m = open_with(e);
    moe_session *s = session_with_content(m, 3), *same = session_with_content(m, 3);
    moe_session_info was = MOE_SESSION_INFO_INIT, info = MOE_SESSION_INFO_INIT;
    assert_ok(moe_session_get_info(s, &was)); /* one thread in a serial build */
    save_to(s, &before);
    arm(e);
    const int st = told(moe_session_set_threads(s, 3));
    disarm(e);
    assert_ok(moe_session_get_info(s, &info));
    if (st != MOE_OK) assert_int_equal(info.n_threads, was.n_threads);
    assert_same_content(s, &before);
    moe_token id[N];
    fill_tokens(m, id, N, 11);
    assert_ok(moe_session_eval(s, id, N));
    assert_ok(moe_session_eval(same, id, N));
    save_to(same, &before);
    assert_same_content(s, &before);
    moe_session_free(same);
    moe_session_free(s);
    moe_model_release(m);
    return st;
}

static void sessions(void **state)
{
    (void)state;
    with_executor = 0;
    all_rounds("session", create_session);
    with_executor = 1;
    all_rounds("session with an executor", create_session);
    all_rounds("load a session", load_session);
    all_rounds("load a sequence", load_sequence);
    all_rounds("save a session to a file", save_file);
    all_rounds("load a session from a file", load_file);
    all_rounds("set threads", set_threads);
}

/* ---- samplers ---- */

static const char chain[] = "penalties:repeat=1.1;dry:mult=0.8;top-k:k=40;typical:p=0.9;temp:t=0.8";

static int create_sampler(env *e)
{
    moe_sampler *p = (moe_sampler *)e;
    arm(e);
    const int st = told(moe_sampler_create(&p, &e->f.hook));
    disarm(e);
    if (st != MOE_OK) assert_null(p);
    moe_sampler_free(p);
    return st;
}

#define VOCAB 300

static void make_logits(float *x)
{
    for (int i = 0; i < VOCAB; i++) x[i] = (float)((i * 7919) % 257) / 16.0f;
}

/* Picks and accepts n tokens. */
static void pick_some(moe_sampler *p, moe_token *dst, int n)
{
    float x[VOCAB];
    make_logits(x);
    for (int i = 0; i < n; i++) {
        assert_ok(moe_sampler_pick_logits(p, x, VOCAB, &dst[i]));
        assert_ok(moe_sampler_accept(p, dst[i]));
    }
}

static moe_sampler *make_sampler(env *e)
{
    moe_sampler *p;
    moe_token id[20];
    assert_ok(moe_sampler_create(&p, &e->f.hook));
    assert_ok(moe_sampler_add_named(p, chain));
    pick_some(p, id, 20);
    return p;
}

static void assert_same_sampler(moe_sampler *a, moe_sampler *b)
{
    moe_token x[30], y[30];
    pick_some(a, x, 30);
    pick_some(b, y, 30);
    assert_memory_equal(x, y, sizeof x);
}

static int add_stages(env *e)
{
    moe_sampler *p = make_sampler(e), *same = make_sampler(e);
    static const moe_token ids[3] = {5, 7, 9};
    static const float values[3] = {1, -2, 3};
    moe_sample_stage bias = MOE_SAMPLE_STAGE_INIT;
    bias.kind = MOE_SAMPLE_LOGIT_BIAS;
    bias.ids = ids;
    bias.values = values;
    bias.n_data = 3;
    arm(e);
    const int st = told(moe_sampler_add(p, &bias));
    disarm(e);
    if (st == MOE_OK) assert_ok(moe_sampler_add(same, &bias));
    assert_same_sampler(p, same); /* all of it or nothing */
    moe_sampler_free(p);
    moe_sampler_free(same);
    return st;
}

static int add_named(env *e)
{
    moe_sampler *p = make_sampler(e), *same = make_sampler(e);
    static const char more[] = "min-p:p=0.05;xtc:p=0.5;top-n-sigma:n=2;penalties:repeat=1.3;dry;dist:seed=4";
    arm(e);
    const int st = told(moe_sampler_add_named(p, more));
    disarm(e);
    if (st == MOE_OK) assert_ok(moe_sampler_add_named(same, more));
    assert_same_sampler(p, same);
    moe_sampler_free(p);
    moe_sampler_free(same);
    return st;
}

static int clone_sampler(env *e)
{
    moe_sampler *p = make_sampler(e), *same = make_sampler(e), *copy = (moe_sampler *)e;
    arm(e);
    const int st = told(moe_sampler_clone(&copy, p));
    disarm(e);
    if (st != MOE_OK) {
        assert_null(copy);
        assert_same_sampler(p, same);
    } else {
        assert_same_sampler(copy, same);
    }
    moe_sampler_free(p);
    moe_sampler_free(same);
    moe_sampler_free(copy);
    return st;
}

/* The first pick may take room for candidates, an accept room for the history. */
static int pick_and_accept(env *e)
{
    moe_sampler *p, *same;
    float x[VOCAB];
    make_logits(x);
    assert_ok(moe_sampler_create(&p, &e->f.hook));
    assert_ok(moe_sampler_add_named(p, chain));
    assert_ok(moe_sampler_clone(&same, p));
    moe_token id = 1;
    int st = MOE_OK;
    int n_accepted = 0;
    arm(e);
    for (int i = 0; i < 200 && st == MOE_OK; i++) {
        st = told(moe_sampler_pick_logits(p, x, VOCAB, &id));
        if (st != MOE_OK) assert_int_equal(id, MOE_TOKEN_NONE);
        if (st == MOE_OK) {
            st = told(moe_sampler_accept(p, id));
            n_accepted += st == MOE_OK;
        }
    }
    disarm(e);
    moe_token ids[200];
    pick_some(same, ids, n_accepted);
    if (st == MOE_OK) assert_same_sampler(p, same);
    moe_sampler_free(p);
    moe_sampler_free(same);
    return st;
}

static void samplers(void **state)
{
    (void)state;
    all_rounds("sampler", create_sampler);
    all_rounds("add a stage", add_stages);
    all_rounds("add stages by name", add_named);
    all_rounds("clone a sampler", clone_sampler);
    all_rounds("pick and accept", pick_and_accept);
}

/* ---- quantising ---- */

static int quantise(env *e)
{
    static const char path[] = "test-alloc.gguf";
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    o.recipe = "Q4_K_M";
    o.n_threads = 2;
    o.allocator = &e->f.hook;
    remove(path);
    arm(e);
    const int st = told(moe_quantize(MODEL, path, &o));
    disarm(e);
    FILE *f = fopen(path, "rb");
    assert_int_equal(f != NULL, st == MOE_OK);
    if (f) fclose(f);
    remove(path);
    return st;
}

static void quantising(void **state)
{
    (void)state;
    all_rounds("quantise", quantise);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_a_model), cmocka_unit_test(other_ways_to_a_model),
        cmocka_unit_test(tokenizers),      cmocka_unit_test(text_without_allocation),
        cmocka_unit_test(sessions),        cmocka_unit_test(samplers),
        cmocka_unit_test(quantising),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
