/* SPDX-License-Identifier: MIT */
/* Models: what they say about themselves, tensors and metadata, callers' files, and everything that is
 * refused, with the reason in the message. */
#include "support.h"

#include "../alloc/faulty.h"
#include "tiny_model.h"

/* ---- opening the tiny model, with all books kept ---- */

static const tiny_fault sound;

typedef struct opened {
    bytes b;
    faulty f;
    moe_model *m;
} opened;

static int open_tiny(opened *o, const tiny_fault *fault, moe_model_options options, int mapped)
{
    memset(o, 0, sizeof *o);
    o->b = tiny_model(fault);
    faulty_init(&o->f);
    options.allocator = &o->f.hook;
    const moe_file file = bytes_file(mapped);
    return moe_model_open_file(&o->m, &file, &o->b, &options);
}

static void close_tiny(opened *o)
{
    moe_model_release(o->m);
    assert_int_equal(atomic_load(&o->f.n_live), 0);
    assert_int_equal(atomic_load(&o->f.n_wrong), 0);
    bytes_free(&o->b);
}

static moe_model_options with_flags(uint32_t flags)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.flags = flags;
    return o;
}

/* The model must be refused with a status and words in the message, and leave nothing behind. */
static void refused(const tiny_fault *fault, uint32_t flags, int status, const char *const words[3])
{
    for (int mapped = 0; mapped <= 1; mapped++) {
        opened o;
        const int st = open_tiny(&o, fault, with_flags(flags), mapped);
        if (st != status)
            fail_msg("expected %s, got %s: %s", moe_status_name(status), moe_status_name(st),
                     moe_last_error());
        assert_null(o.m);
        for (int i = 0; i < 3 && words[i]; i++)
            if (!strstr(moe_last_error(), words[i]))
                fail_msg("no \"%s\" in the message: %s", words[i], moe_last_error());
        close_tiny(&o);
    }
}

/* ---- what a model is ---- */

static void info_layers_and_routes(void **state)
{
    (void)state;
    opened o;
    assert_ok(open_tiny(&o, &sound, with_flags(0), 1));
    moe_model_info i = MOE_MODEL_INFO_INIT;
    assert_ok(moe_model_get_info(o.m, &i));
    assert_string_equal(i.arch, "qwen3moe");
    assert_string_equal(i.name, "tiny");
    assert_string_equal(i.file_type, "F32");
    assert_int_equal(i.n_layers, 2);
    assert_int_equal(i.n_moe_layers, 1);
    assert_int_equal(i.n_experts, TINY_EXPERTS);
    assert_int_equal(i.n_shared, 0);
    assert_int_equal(i.top_k, 2);
    assert_int_equal(i.dim, TINY_DIM);
    assert_int_equal(i.dim_ff_expert, TINY_DIM);
    assert_int_equal(i.dim_ff_dense, TINY_FF);
    assert_int_equal(i.n_heads, 2);
    assert_int_equal(i.n_heads_kv, 1);
    assert_int_equal(i.dim_head, TINY_HEAD);
    assert_int_equal(i.n_vocab, TINY_VOCAB);
    assert_int_equal(i.n_ctx_train, 128);
    uint64_t n = 0, n_bytes = 0;
    for (size_t t = 0; t < TINY_TENSORS; t++) {
        uint64_t elems = 1;
        for (uint32_t d = 0; d < tiny_tensors[t].n_dims; d++) elems *= tiny_tensors[t].dim[d];
        n += elems;
        n_bytes += tiny_bytes(tiny_tensors[t].type, elems);
    }
    assert_int_equal(i.n_params, n);
    assert_int_equal(i.bytes, n_bytes);
    assert_int_equal(i.n_active, n - 2 * 3 * TINY_DIM * TINY_DIM); /* two of four experts are idle */

    moe_layer_info l = MOE_LAYER_INFO_INIT;
    assert_ok(moe_model_get_layer(o.m, 0, &l));
    assert_int_equal(l.ffn_kind, MOE_FFN_DENSE);
    assert_int_equal(l.n_experts, 0);
    assert_int_equal(l.dim_ff, TINY_FF);
    assert_ok(moe_model_get_layer(o.m, 1, &l));
    assert_int_equal(l.ffn_kind, MOE_FFN_MOE);
    assert_int_equal(l.n_experts, TINY_EXPERTS);
    assert_int_equal(l.dim_ff, TINY_DIM);
    assert_int_equal(l.n_heads, 2);
    assert_refused(moe_model_get_layer(o.m, 2, &l), MOE_E_RANGE, "0 to 1");

    moe_route_spec r = MOE_ROUTE_SPEC_INIT;
    assert_ok(moe_model_get_route(o.m, 1, &r));
    assert_int_equal(r.score, MOE_SCORE_SOFTMAX);
    assert_int_equal(r.select, MOE_SELECT_TOPK);
    assert_int_equal(r.weight, MOE_WEIGHT_SUM_TO_ONE);
    assert_int_equal(r.top_k, 2);
    assert_true(r.scale == 1.0f);
    assert_refused(moe_model_get_route(o.m, 0, &r), MOE_E_NOTFOUND, "dense");
    assert_refused(moe_model_get_route(o.m, UINT32_MAX, &r), MOE_E_RANGE, "layer");

    /* an old program's smaller struct is filled as far as it goes */
    struct {
        moe_model_info i;
        char after[16];
    } old;
    memset(&old, 0x5a, sizeof old);
    old.i.size = offsetof(moe_model_info, n_layers);
    assert_ok(moe_model_get_info(o.m, &old.i));
    assert_string_equal(old.i.arch, "qwen3moe");
    assert_int_equal(old.i.n_layers, 0x5a5a5a5a);
    old.i.size = 3;
    assert_refused(moe_model_get_info(o.m, &old.i), MOE_E_INVALID, "size");
    close_tiny(&o);
}

static void references_are_counted(void **state)
{
    (void)state;
    opened o;
    assert_ok(open_tiny(&o, &sound, with_flags(0), 0));
    assert_ptr_equal(moe_model_retain(o.m), o.m);
    moe_session *s;
    assert_ok(moe_session_create(&s, o.m, NULL));
    assert_ptr_equal(moe_session_model(s), o.m);
    moe_model_release(o.m);
    moe_model_release(o.m);
    assert_true(atomic_load(&o.f.n_live) > 0); /* the session holds its own */
    const moe_token id[3] = {1, 2, 3};
    assert_ok(moe_session_eval(s, id, 3));
    moe_session_free(s);
    o.m = NULL;
    close_tiny(&o);
    moe_model_release(NULL);
}

/* ---- metadata ---- */

static moe_meta found(const moe_model *m, const char *key, int type)
{
    moe_meta x = MOE_META_INIT;
    assert_ok(moe_model_meta_find(m, key, &x));
    assert_string_equal(x.key, key);
    assert_int_equal(x.type, type);
    return x;
}

static void metadata_of_every_kind(void **state)
{
    (void)state;
    opened o;
    assert_ok(open_tiny(&o, &sound, with_flags(0), 0));
    assert_int_equal(found(o.m, "t.u8", MOE_META_U8).u64, 200);
    assert_true(found(o.m, "t.u8", MOE_META_U8).f64 == 200.0);
    assert_int_equal(found(o.m, "t.i8", MOE_META_I8).i64, -3);
    assert_int_equal(found(o.m, "t.u16", MOE_META_U16).u64, 65535);
    assert_int_equal(found(o.m, "t.i16", MOE_META_I16).i64, -30000);
    assert_int_equal(found(o.m, "t.u32", MOE_META_U32).i64, 4000000000);
    assert_int_equal(found(o.m, "t.i32", MOE_META_I32).i64, -2000000000);
    assert_true(found(o.m, "t.i32", MOE_META_I32).f64 == -2000000000.0);
    assert_true(found(o.m, "t.u64", MOE_META_U64).u64 == UINT64_MAX);
    assert_int_equal(found(o.m, "t.u64", MOE_META_U64).i64, -1); /* wraps, as documented */
    assert_true(found(o.m, "t.i64", MOE_META_I64).i64 == INT64_MIN);
    assert_true(found(o.m, "t.f32", MOE_META_F32).f64 == -0.75);
    assert_true(found(o.m, "t.f64", MOE_META_F64).f64 == 1.0 / 3.0);
    assert_int_equal(found(o.m, "t.bool", MOE_META_BOOL).u64, 1);
    const moe_meta name = found(o.m, "general.name", MOE_META_STRING);
    assert_string_equal(name.str, "tiny");
    assert_int_equal(name.n, 4);
    close_tiny(&o);
}

static void metadata_arrays_and_order(void **state)
{
    (void)state;
    opened o;
    moe_meta x = MOE_META_INIT;
    assert_ok(open_tiny(&o, &sound, with_flags(0), 1));
    x = found(o.m, "t.ints", MOE_META_ARRAY);
    assert_int_equal(x.elem_type, MOE_META_I16);
    assert_int_equal(x.n, 3);
    static const int64_t ints[3] = {1, -2, 300};
    static const char *const words[3] = {"one", "", "zw\xc3\xb6lf"};
    for (uint64_t j = 0; j < 3; j++) {
        assert_ok(moe_model_meta_elem(o.m, "t.ints", j, &x));
        assert_null(x.key);
        assert_int_equal(x.type, MOE_META_I16);
        assert_int_equal(x.i64, ints[j]);
        assert_ok(moe_model_meta_elem(o.m, "t.words", j, &x));
        assert_string_equal(x.str, words[j]);
        assert_int_equal(x.n, strlen(words[j]));
    }
    assert_int_equal(found(o.m, "t.none", MOE_META_ARRAY).n, 0);
    assert_refused(moe_model_meta_elem(o.m, "t.ints", 3, &x), MOE_E_RANGE, "t.ints");
    assert_refused(moe_model_meta_elem(o.m, "t.none", 0, &x), MOE_E_RANGE, "t.none");
    assert_refused(moe_model_meta_elem(o.m, "t.u8", 0, &x), MOE_E_INVALID, "t.u8");
    assert_refused(moe_model_meta_elem(o.m, "t.nowhere", 0, &x), MOE_E_NOTFOUND, "t.nowhere");
    assert_refused(moe_model_meta_find(o.m, "t.nowhere", &x), MOE_E_NOTFOUND, "t.nowhere");
    const size_t n = moe_model_meta_count(o.m);
    assert_int_equal(n, 2 + 10 + 1 + 14);
    assert_ok(moe_model_meta_at(o.m, 0, &x));
    assert_string_equal(x.key, "general.architecture");
    assert_ok(moe_model_meta_at(o.m, n - 1, &x));
    assert_string_equal(x.key, "t.none");
    assert_refused(moe_model_meta_at(o.m, n, &x), MOE_E_RANGE, "");
    assert_true(strlen(moe_last_error()) > 0);
    close_tiny(&o);
}

/* ---- tensors ---- */

static void tensors_as_they_were_written(void **state)
{
    (void)state;
    for (int mapped = 0; mapped <= 1; mapped++) {
        opened o;
        assert_ok(open_tiny(&o, &sound, with_flags(0), mapped));
        assert_int_equal(moe_model_tensor_count(o.m), TINY_TENSORS);
        static float all[TINY_DIM * TINY_DIM * TINY_EXPERTS], part[100];
        for (size_t t = 0; t < TINY_TENSORS; t++) {
            moe_tensor_info i = MOE_TENSOR_INFO_INIT;
            size_t at;
            assert_ok(moe_model_tensor_at(o.m, t, &i));
            assert_string_equal(i.name, tiny_tensors[t].name);
            assert_int_equal(i.type, tiny_tensors[t].type);
            assert_int_equal(i.n_dims, tiny_tensors[t].n_dims);
            uint64_t n = 1;
            for (uint32_t d = 0; d < 4; d++) {
                assert_int_equal(i.dim[d], d < i.n_dims ? tiny_tensors[t].dim[d] : 1);
                n *= i.dim[d];
            }
            assert_int_equal(i.bytes, tiny_bytes(tiny_tensors[t].type, n));
            assert_ok(moe_model_tensor_find(o.m, i.name, &at));
            assert_int_equal(at, t);
            assert_ok(moe_model_tensor_read(o.m, t, 0, (size_t)n, all));
            for (uint64_t j = 0; j < n; j++) assert_true(all[j] == tiny_value(t, j));
            /* pieces that begin and end inside blocks */
            for (uint64_t first = 0; first < n; first += 13) {
                const size_t take = n - first < 70 ? (size_t)(n - first) : 70;
                assert_ok(moe_model_tensor_read(o.m, t, first, take, part));
                assert_memory_equal(part, all + first, take * sizeof(float));
            }
            assert_ok(moe_model_tensor_read(o.m, t, n, 0, NULL));
            assert_refused(moe_model_tensor_read(o.m, t, n, 1, part), MOE_E_RANGE, i.name);
            assert_refused(moe_model_tensor_read(o.m, t, 1, (size_t)n, part), MOE_E_RANGE, i.name);
            assert_refused(moe_model_tensor_read(o.m, t, UINT64_MAX, 2, part), MOE_E_RANGE, i.name);
        }
        size_t at;
        moe_tensor_info i = MOE_TENSOR_INFO_INIT;
        assert_refused(moe_model_tensor_find(o.m, "blk.7.none", &at), MOE_E_NOTFOUND, "blk.7.none");
        assert_refused(moe_model_tensor_at(o.m, TINY_TENSORS, &i), MOE_E_RANGE, "25");
        close_tiny(&o);
    }
}

/* ---- callers' files ---- */

static size_t n_closed;

static void count_close(void *user)
{
    (void)user;
    n_closed++;
}

/* The same bytes one byte further: nothing is aligned. */
static unsigned char *shifted;

static const void *map_shifted(void *user, uint64_t off, size_t n)
{
    (void)user;
    (void)n;
    return shifted + 1 + off;
}

static void eval_logits(moe_model *m, float *dst)
{
    moe_session *s;
    const float *x;
    const moe_token id[5] = {3, 1, 4, 1, 5};
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_threads = 2;
    assert_ok(moe_session_create(&s, m, &o));
    assert_ok(moe_session_eval(s, id, 5));
    assert_ok(moe_session_logits(s, 0, &x, NULL));
    memcpy(dst, x, TINY_VOCAB * sizeof *x);
    moe_session_free(s);
}

static void files_with_and_without_maps_compute_the_same(void **state)
{
    (void)state;
    bytes b = tiny_model(&sound);
    shifted = malloc(b.n + 1);
    assert_non_null(shifted);
    memcpy(shifted + 1, b.p, b.n);
    float want[TINY_VOCAB], got[TINY_VOCAB];
    static const uint32_t flags[] = {0, MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT, MOE_OPEN_CHECK_DATA};
    int n = 0;
    for (int kind = 0; kind < 3; kind++) /* read, mapped, mapped at an odd address */
        for (size_t i = 0; i < 4; i++, n++) {
            moe_file file = bytes_file(kind > 0);
            if (kind == 2) file.map = map_shifted;
            file.close = count_close;
            n_closed = 0;
            moe_model *m;
            moe_model_options o = with_flags(flags[i]);
            assert_ok(moe_model_open_file(&m, &file, &b, &o));
            eval_logits(m, n ? got : want);
            if (n) assert_memory_equal(got, want, sizeof want);
            assert_int_equal(n_closed, 0);
            moe_model_release(m);
            assert_int_equal(n_closed, 1);
        }
    for (int i = 0; i < TINY_VOCAB; i++) assert_true(isfinite(want[i]));
    assert_true(want[0] != want[1]);
    free(shifted);
    bytes_free(&b);
}

static uint64_t broken_from;
static int broken_status;

static int read_until(void *user, uint64_t off, void *dst, size_t n)
{
    return off + n > broken_from ? broken_status : bytes_read_at(user, off, dst, n);
}

static void a_read_error_comes_out_unchanged(void **state)
{
    (void)state;
    bytes b = tiny_model(&sound);
    faulty f;
    faulty_init(&f);
    moe_model_options o = with_flags(0);
    o.allocator = &f.hook;
    moe_file file = bytes_file(0);
    file.read_at = read_until;
    file.close = count_close;
    for (broken_from = 0; broken_from < b.n; broken_from += 97) {
        static const int statuses[] = {-4711, MOE_E_NOTFOUND, MOE_E_IO, MOE_E_NOMEM};
        moe_model *m = (moe_model *)&f;
        n_closed = 0;
        broken_status = statuses[broken_from / 97 % 4];
        assert_refused(moe_model_open_file(&m, &file, &b, &o), broken_status, "test.gguf");
        assert_null(m);
        assert_int_equal(n_closed, 1);
        assert_int_equal(atomic_load(&f.n_live), 0);
    }
    bytes_free(&b);
}

static void truncated_files(void **state)
{
    (void)state;
    bytes b = tiny_model(&sound);
    const size_t n = b.n;
    for (int mapped = 0; mapped <= 1; mapped++) {
        const moe_file file = bytes_file(mapped);
        for (b.n = 0; b.n < n; b.n += b.n < 64 ? 1 : 53) {
            moe_model *m;
            assert_refused(moe_model_open_file(&m, &file, &b, NULL), MOE_E_FORMAT, "test.gguf");
        }
    }
    bytes_free(&b);
}

static void bad_file_structs(void **state)
{
    (void)state;
    moe_model *m = (moe_model *)&m;
    moe_file file = MOE_FILE_INIT;
    file.close = count_close;
    n_closed = 0;
    assert_refused(moe_model_open_file(&m, &file, NULL, NULL), MOE_E_INVALID, "read_at");
    assert_null(m);
    assert_int_equal(n_closed, 1);
    assert_refused(moe_model_open_file(&m, NULL, NULL, NULL), MOE_E_INVALID, "file");
    assert_refused(moe_model_open_file(NULL, &file, NULL, NULL), MOE_E_INVALID, "out");
    assert_refused(moe_model_open(&m, NULL, NULL), MOE_E_INVALID, "path");
    assert_true(moe_model_open(&m, "tests/api/no-such-model.gguf", NULL) < 0);
    assert_non_null(strstr(moe_last_error(), "no-such-model.gguf"));
    assert_null(m);
    moe_model_options o = with_flags(0x100);
    assert_refused(moe_model_open(&m, test_models[0], &o), MOE_E_INVALID, "flags");
    o = with_flags(0);
    o.isa_max = "mmx";
    assert_refused(moe_model_open(&m, test_models[0], &o), MOE_E_INVALID, "mmx");
    o = with_flags(0);
    o.n_threads = -1;
    assert_refused(moe_model_open(&m, test_models[0], &o), MOE_E_INVALID, "n_threads");
    struct {
        moe_model_options o;
        char later[8];
    } newer = {MOE_MODEL_OPTIONS_INIT, {0, 0, 1}};
    newer.o.size = sizeof newer;
    assert_refused(moe_model_open(&m, test_models[0], &newer.o), MOE_E_VERSION, "byte");
    newer.later[2] = 0; /* fields that a newer program leaves at their default are fine */
    assert_ok(moe_model_open(&m, test_models[0], &newer.o));
    moe_model_release(m);
}

/* ---- metadata only ---- */

static void metadata_only(void **state)
{
    (void)state;
    bytes b = tiny_model(&sound);
    moe_model *m;
    moe_session *s;
    float x;
    moe_meta meta = MOE_META_INIT;
    const moe_model_options o = with_flags(MOE_OPEN_METADATA_ONLY);
    const moe_file file = bytes_file(0);
    b.n -= 5000; /* the weights need not be there */
    assert_ok(moe_model_open_file(&m, &file, &b, &o));
    moe_model_info i = MOE_MODEL_INFO_INIT;
    assert_ok(moe_model_get_info(m, &i));
    assert_int_equal(i.n_experts, TINY_EXPERTS);
    assert_ok(moe_model_meta_find(m, "t.words", &meta));
    assert_int_equal(moe_model_tensor_count(m), TINY_TENSORS);
    assert_refused(moe_model_tensor_read(m, 0, 0, 1, &x), MOE_E_STATE, "METADATA_ONLY");
    assert_refused(moe_session_create(&s, m, NULL), MOE_E_STATE, "METADATA_ONLY");
    const moe_tokenizer *t;
    assert_refused(moe_model_tokenizer(m, &t), MOE_E_NOTFOUND, "no tokenizer");
    assert_null(t);
    moe_model_release(m);
    bytes_free(&b);
}

/* The plan of a file that cannot be mapped, or not where its data would be aligned, is that of an open. */
static void plans_of_files_without_maps(void **state)
{
    (void)state;
    bytes b = tiny_model(&sound);
    shifted = malloc(b.n + 1);
    assert_non_null(shifted);
    memcpy(shifted + 1, b.p, b.n);
    uint64_t bytes_of[3];
    for (int kind = 0; kind < 3; kind++) { /* read, mapped at an odd address, mapped */
        moe_memory plan = MOE_MEMORY_INIT, real = MOE_MEMORY_INIT;
        moe_file file = bytes_file(kind > 0);
        if (kind == 1) file.map = map_shifted;
        for (int i = 0; i < 2; i++) {
            const moe_model_options o = with_flags(i ? MOE_OPEN_METADATA_ONLY : 0);
            moe_model *m;
            assert_ok(moe_model_open_file(&m, &file, &b, &o));
            assert_ok(moe_model_get_memory(m, NULL, i ? &plan : &real));
            moe_model_release(m);
        }
        assert_int_equal(plan.private_bytes, real.private_bytes);
        bytes_of[kind] = real.private_bytes;
    }
    assert_true(bytes_of[0] > bytes_of[2] && bytes_of[0] == bytes_of[1]);
    free(shifted);
    bytes_free(&b);
}

/* A factor alone scales linearly: the format's default. */
static void linear_scaling_by_default(void **state)
{
    (void)state;
    static const char key[] = "granitemoe.rope.scaling.type";
    static unsigned char data[1 << 20];
    bytes b = {.p = data};
    float *logits[2];
    size_t n_vocab = 0, at = 0;
    FILE *f = fopen("tests/golden/data/granitemoe-linear.gguf", "rb");
    assert_non_null(f);
    b.n = fread(data, 1, sizeof data, f);
    fclose(f);
    while (at + sizeof key < b.n && memcmp(data + at, key, sizeof key - 1) != 0) at++;
    assert_true(at + sizeof key < b.n);
    for (int i = 0; i < 2; i++) {
        moe_model *m;
        moe_token id[20];
        const float *x;
        const moe_file file = bytes_file(1);
        assert_ok(moe_model_open_file(&m, &file, &b, NULL));
        fill_tokens(m, id, 20, 5);
        moe_session *s = make_session(m, (moe_session_options)MOE_SESSION_OPTIONS_INIT);
        assert_ok(moe_session_eval(s, id, 20));
        assert_ok(moe_session_logits(s, 0, &x, &n_vocab));
        logits[i] = malloc(n_vocab * sizeof *x);
        assert_non_null(logits[i]);
        memcpy(logits[i], x, n_vocab * sizeof *x);
        moe_session_free(s);
        moe_model_release(m);
        data[at + sizeof key - 2] = 'x'; /* another key: the type is not said */
    }
    assert_memory_equal(logits[0], logits[1], n_vocab * sizeof(float));
    free(logits[0]);
    free(logits[1]);
}

/* ---- refusals ---- */

static void weights_that_are_no_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *tensor;
        uint32_t at;
        const char *where;
    } plant[] = {
        {"blk.1.ffn_gate_exps.weight", 0, "element 0"},
        {"blk.1.ffn_gate_exps.weight", TINY_DIM * TINY_DIM * TINY_EXPERTS - 1, "element 4095"},
        {"blk.1.ffn_up_exps.weight", 1234, "element 1234"},
        {"token_embd.weight", 700, "element 700"},
    };
    for (size_t i = 0; i < sizeof plant / sizeof plant[0]; i++) {
        const tiny_fault f = {.nan_tensor = plant[i].tensor, .nan_at = plant[i].at};
        const char *const words[3] = {plant[i].tensor, plant[i].where, "finite"};
        refused(&f, MOE_OPEN_CHECK_DATA, MOE_E_NUMERIC, words);
        opened o; /* without the flag nobody looks */
        assert_ok(open_tiny(&o, &f, with_flags(0), 1));
        close_tiny(&o);
    }
    const tiny_fault f = {.nan_tensor = "blk.1.attn_k_norm.weight", .nan_at = 3};
    const char *const words[3] = {"blk.1.attn_k_norm.weight", "element 3", "finite"};
    refused(&f, 0, MOE_E_FORMAT, words);
}

static void files_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        tiny_fault f;
        int status;
        const char *words[3];
    } row[] = {
        {{.arch = "mamba"}, MOE_E_UNSUPPORTED, {"mamba", "supported: qwen3moe", "granitemoe"}},
        {{.odd_type = "blk.0.attn_q.weight"}, MOE_E_UNSUPPORTED, {"blk.0.attn_q.weight", "77", "Q4_K"}},
        {{.extra = "blk.0.secret.weight"}, MOE_E_UNSUPPORTED, {"blk.0.secret.weight", "no role", "qwen3moe"}},
        {{.extra = "blk.0.attn_sinks.weight"},
         MOE_E_FORMAT,
         {"blk.0.attn_sinks.weight", "expected 2, found 32"}},
        {{.extra = "blk.1.ffn_gate.weight"},
         MOE_E_UNSUPPORTED,
         {"blk.1.ffn_gate.weight", "beside the experts of layer 1"}},
        {{.extra = "blk.0.ffn_up_exps.weight"}, MOE_E_FORMAT, {"blk.0.ffn_up_exps.weight", "no router"}},
        {{.extra = "blk.2.attn_norm.weight"}, MOE_E_UNSUPPORTED, {"blk.2.attn_norm.weight", "no role"}},
        {{.no_tensor = "token_embd.weight"}, MOE_E_FORMAT, {"token_embd.weight", "missing"}},
        {{.no_tensor = "blk.1.ffn_up_exps.weight"}, MOE_E_FORMAT, {"blk.1.ffn_up_exps.weight", "missing"}},
        {{.no_tensor = "blk.0.ffn_down.weight"}, MOE_E_FORMAT, {"blk.0.ffn_down.weight", "missing"}},
        {{.no_tensor = "blk.1.attn_q_norm.weight"}, MOE_E_FORMAT, {"blk.1.attn_q_norm.weight", "missing"}},
        /* without its router the layer counts as dense */
        {{.no_tensor = "blk.1.ffn_gate_inp.weight"},
         MOE_E_FORMAT,
         {"blk.1.ffn_gate_exps.weight", "no router"}},
        {{.wide = "blk.0.attn_q.weight"}, MOE_E_FORMAT, {"blk.0.attn_q.weight", "expected 32", "found 33"}},
        {{.wide = "blk.0.ffn_norm.weight"},
         MOE_E_FORMAT,
         {"blk.0.ffn_norm.weight", "expected 32", "found 33"}},
        {{.wide = "blk.1.ffn_gate_inp.weight"},
         MOE_E_FORMAT,
         {"ffn_gate_inp.weight", "expected 4", "found 5"}},
        {{.no_key = "block_count"}, MOE_E_FORMAT, {"qwen3moe.block_count", "missing"}},
        {{.no_key = "embedding_length"}, MOE_E_FORMAT, {"qwen3moe.embedding_length", "missing"}},
        {{.no_key = "expert_count"}, MOE_E_UNSUPPORTED, {"qwen3moe.expert_count", "dense"}},
        {{.no_key = "expert_used_count"}, MOE_E_FORMAT, {"qwen3moe.expert_used_count", "1 to 4"}},
        {{.top_k = 5}, MOE_E_FORMAT, {"qwen3moe.expert_used_count", "found 5"}},
    };
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        refused(&row[i].f, 0, row[i].status, row[i].words);
}

/* ---- budget and progress ---- */

static void the_budget_is_exact(void **state)
{
    (void)state;
    static const uint32_t flags[] = {0, MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT};
    for (size_t i = 0; i < 3; i++) {
        opened o;
        moe_model_options mo = with_flags(flags[i]);
        mo.memory_budget = 1;
        assert_refused(open_tiny(&o, &sound, mo, 1), MOE_E_FULL, "at least ");
        const char *need = strstr(moe_last_error(), "at least ") + strlen("at least ");
        const uint64_t n = strtoull(need, NULL, 10);
        close_tiny(&o);
        assert_true(n > 1000);
        mo.memory_budget = n - 1;
        assert_refused(open_tiny(&o, &sound, mo, 1), MOE_E_FULL, "at least ");
        close_tiny(&o);
        mo.memory_budget = n;
        assert_ok(open_tiny(&o, &sound, mo, 1));
        close_tiny(&o);
    }
}

typedef struct patience {
    int left;
    uint64_t done, total;
} patience;

static int run_out(const moe_progress *p, void *user)
{
    patience *x = user;
    assert_int_equal(p->stage, MOE_PROGRESS_LOAD);
    assert_true(p->done <= p->total);
    assert_int_equal(p->size, sizeof *p);
    return x->left-- == 0;
}

static void loading_can_be_stopped(void **state)
{
    (void)state;
    static const uint32_t flags[] = {MOE_OPEN_RESIDENT, MOE_OPEN_NO_MMAP};
    for (size_t i = 0; i < 2; i++) {
        int st = MOE_E_ABORTED, n = 0;
        for (; st != MOE_OK; n++) {
            opened o;
            patience x = {n, 0, 0};
            moe_model_options mo = with_flags(flags[i]);
            mo.n_threads = 1; /* of several, those that have reports to make may get no work */
            mo.progress = run_out;
            mo.progress_user = &x;
            st = open_tiny(&o, &sound, mo, 1);
            if (st != MOE_OK) {
                assert_int_equal(st, MOE_E_ABORTED);
                assert_null(o.m);
                assert_non_null(strstr(moe_last_error(), "progress"));
            }
            close_tiny(&o);
            assert_true(n < 1000);
        }
        assert_true(n > 2); /* it was asked more than once */
    }
}

/* ---- the library about itself ---- */

static void the_library_describes_itself(void **state)
{
    (void)state;
    assert_int_equal(moe_version(), MOE_VERSION);
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", MOE_VERSION_MAJOR, MOE_VERSION_MINOR, MOE_VERSION_PATCH);
    assert_string_equal(moe_version_string(), text);
    assert_true(strlen(moe_build_info()) > 10);
    assert_int_equal(moe_has_feature("openmp") + moe_has_feature("pool") + moe_has_feature("serial"), 1);
    assert_int_equal(moe_has_feature("antigravity"), 0);
    assert_int_equal(moe_has_feature(NULL), 0);
    assert_true(moe_arch_count() >= 5);
    assert_string_equal(moe_arch_name(0), "qwen3moe");
    assert_null(moe_arch_name(moe_arch_count()));
    assert_int_equal(moe_type_count(), 16);
    for (size_t i = 0; i < moe_type_count(); i++) assert_non_null(moe_type_name(moe_type_at(i)));
    assert_int_equal(moe_type_at(moe_type_count()), -1);
    assert_string_equal(moe_type_name(MOE_TYPE_Q4_K), "Q4_K");
    assert_null(moe_type_name(-1));
    const char *name, *isa;
    for (size_t i = 0; i < moe_kernel_count(); i++) {
        assert_ok(moe_kernel_at(i, &name, &isa));
        assert_true(strlen(name) > 0 && strlen(isa) > 0);
    }
    assert_refused(moe_kernel_at(moe_kernel_count(), &name, &isa), MOE_E_RANGE, "kernel");
    assert_non_null(moe_cpu_isa());
    assert_string_equal(moe_status_name(MOE_E_FORMAT), "MOE_E_FORMAT");
    assert_string_equal(moe_status_name(-1000), "unknown status");
    /* a call that succeeds clears the message */
    assert_true(strlen(moe_last_error()) > 0);
    assert_ok(moe_kernel_at(0, &name, &isa));
    assert_string_equal(moe_last_error(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_layers_and_routes),
        cmocka_unit_test(references_are_counted),
        cmocka_unit_test(metadata_of_every_kind),
        cmocka_unit_test(metadata_arrays_and_order),
        cmocka_unit_test(tensors_as_they_were_written),
        cmocka_unit_test(files_with_and_without_maps_compute_the_same),
        cmocka_unit_test(a_read_error_comes_out_unchanged),
        cmocka_unit_test(truncated_files),
        cmocka_unit_test(bad_file_structs),
        cmocka_unit_test(metadata_only),
        cmocka_unit_test(linear_scaling_by_default),
        cmocka_unit_test(plans_of_files_without_maps),
        cmocka_unit_test(weights_that_are_no_numbers),
        cmocka_unit_test(files_that_do_not_fit),
        cmocka_unit_test(the_budget_is_exact),
        cmocka_unit_test(loading_can_be_stopped),
        cmocka_unit_test(the_library_describes_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
