/* SPDX-License-Identifier: MIT */
/*
 * moe_quantize from end to end on small files: which tensor gets which type, the bytes of each against the
 * type's own encoder run over the whole tensor, independence of threads, splits merged, and that failed or
 * stopped runs leave nothing.
 */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/half.h"
#include "base/status.h"
#include "file/file.h"
#include "file/reader.h"
#include "gguf_bytes.h"
#include "model/recipe.h"

static moe__allocator heap;
static char dir[64], src[96], dst[96];

static int make_dir(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/libmoe-quantize-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    snprintf(src, sizeof src, "%s/src.gguf", dir);
    snprintf(dst, sizeof dst, "%s/dst.gguf", dir);
    return moe__allocator_init(&heap, NULL);
}

static int count_files(void)
{
    DIR *d = opendir(dir);
    int n = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int remove_dir(void **state)
{
    (void)state;
    DIR *d = opendir(dir);
    char path[400];
    if (!d) return -1;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    closedir(d);
    return rmdir(dir);
}

static void save(const bytes *b, const char *path)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->p, 1, b->n, f), b->n);
    assert_int_equal(fclose(f), 0);
}

static bytes load(const char *path)
{
    bytes b = {0};
    unsigned char buf[4096];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;) put(&b, buf, n);
    fclose(f);
    return b;
}

/* ------------------------------------------------------------------------------------------- source files */

typedef struct tensor_spec {
    const char *name;
    uint32_t type, n_dims;
    uint64_t dim[3];
} tensor_spec;

/* As many elements as need several units and batches of the writer, rows that are no multiple of 256 or 32,
 * ... */
static const tensor_spec model[] = {
    {"token_embd.weight", MOE_TYPE_F32, 2, {512, 40, 1}},
    {"output.weight", MOE_TYPE_F32, 2, {512, 40, 1}},
    {"output_norm.weight", MOE_TYPE_F32, 1, {512, 1, 1}},
    {"blk.0.attn_v.weight", MOE_TYPE_F16, 2, {512, 64, 1}},
    {"blk.0.attn_v.bias", MOE_TYPE_F32, 1, {64, 1, 1}},
    {"blk.0.attn_norm.weight", MOE_TYPE_F32, 2, {512, 1, 1}},
    {"blk.0.ffn_gate_inp.weight", MOE_TYPE_F32, 2, {512, 8, 1}},
    {"blk.0.ffn_gate_exps.weight", MOE_TYPE_BF16, 3, {512, 70, 2}},
    {"blk.0.ffn_up_exps.weight", MOE_TYPE_F32, 3, {96, 10, 8}},
    {"blk.0.ffn_down_exps.weight", MOE_TYPE_F32, 3, {256, 10, 8}},
    {"blk.1.ffn_down_exps.weight", MOE_TYPE_F32, 3, {40, 10, 8}},
    {"blk.1.ffn_up_exps.weight", MOE_TYPE_Q8_0, 3, {64, 2, 8}},
    {"blk.2.ffn_down_exps.weight", MOE_TYPE_F32, 3, {256, 10, 8}},
};
enum { N_TENSORS = sizeof model / sizeof model[0] };

static float value(size_t t, uint64_t i)
{
    const uint32_t h = (uint32_t)(i * 2654435761u + t * 40503u + 12345u);
    return ((float)(h >> 8 & 0xffff) / 65536.0f - 0.5f) * (1.0f + (float)(i % 7));
}

static uint64_t elements(const tensor_spec *t) { return t->dim[0] * t->dim[1] * t->dim[2]; }

static void put_value(bytes *b, const tensor_spec *t, size_t k, uint64_t i)
{
    const float x = value(k, i);
    if (t->type == MOE_TYPE_F32)
        put_u32(b, moe__f32_bits(x));
    else
        put_int(b, t->type == MOE_TYPE_F16 ? moe__f32_to_f16(x) : moe__f32_to_bf16(x), 2);
}

/* Tensors first .. end-1 of the model as one file; n_split > 0: part `no` of a set. */
static bytes build(size_t first, size_t end, int no, int n_split)
{
    bytes b = {0};
    uint64_t offset = 0;
    put_header(&b, 3, end - first, n_split ? (no == 0 ? 8 : 3) : 5);
    if (n_split) {
        put_key(&b, "split.no", MOE_META_U16), put_int(&b, (uint64_t)no, 2);
        put_key(&b, "split.count", MOE_META_U16), put_int(&b, (uint64_t)n_split, 2);
        put_key(&b, "split.tensors.count", MOE_META_I32), put_int(&b, N_TENSORS, 4);
    }
    if (no == 0) {
        put_kv_str(&b, "general.architecture", "test");
        put_kv_u32(&b, "general.file_type", 0);
        put_key(&b, "tokens", MOE_META_ARRAY), put_u32(&b, MOE_META_STRING), put_u64(&b, 2);
        put_str(&b, "a"), put_str(&b, "bc");
        put_key(&b, "ints", MOE_META_ARRAY), put_u32(&b, MOE_META_I16), put_u64(&b, 3),
            put(&b, "\1\2\3\4\5\6", 6);
        put_key(&b, "flag", MOE_META_BOOL), put_int(&b, 1, 1);
    }
    for (size_t k = first; k < end; k++) {
        const tensor_spec *t = &model[k];
        const moe__type *type = moe__type_get((int)t->type);
        put_tensor(&b, t->name, t->n_dims, t->dim, t->type, offset);
        offset += (moe__type_bytes(type, elements(t)) + 31) / 32 * 32;
    }
    put_padding(&b, 32);
    for (size_t k = first; k < end; k++) {
        const tensor_spec *t = &model[k];
        if (t->type == MOE_TYPE_Q8_0)
            for (uint64_t i = 0; i < elements(t) / 32 * 34; i++) put_int(&b, i % 34 == 1 ? 0x2c : i % 50, 1);
        else
            for (uint64_t i = 0; i < elements(t); i++) put_value(&b, t, k, i);
        put_padding(&b, 32);
    }
    return b;
}

static void save_model(void)
{
    bytes b = build(0, N_TENSORS, 0, 0);
    save(&b, src);
    bytes_free(&b);
}

static int quantize(const char *recipe, const char *rules, int n_threads)
{
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    o.recipe = recipe;
    o.rules = rules;
    o.n_threads = n_threads;
    return moe_quantize(src, dst, &o);
}

/* Type of a tensor of dst. */
static const char *type_in(const moe__file *f, const char *name)
{
    const moe__tensor *t = moe__file_tensor_find(f, name);
    assert_non_null(t);
    return t->type->name;
}

/* Every tensor of dst holds what the encoder of its type makes of the whole source tensor at once. */
static void check_data(const moe__file *f)
{
    assert_int_equal(moe__file_tensor_count(f), N_TENSORS);
    for (size_t k = 0; k < N_TENSORS; k++) {
        const moe__tensor *t = moe__file_tensor_at(f, k);
        const size_t n = (size_t)elements(&model[k]);
        assert_string_equal(t->name, model[k].name);
        assert_true(t->n == n && t->n_dims == model[k].n_dims && t->dim[0] == model[k].dim[0]);
        if (model[k].type == MOE_TYPE_Q8_0) continue;
        float *x = malloc(n * sizeof *x);
        unsigned char *want = malloc((size_t)t->bytes), *got = malloc((size_t)t->bytes);
        assert_true(x && want && got);
        for (size_t i = 0; i < n; i++) {
            x[i] = value(k, i);
            if (model[k].type == MOE_TYPE_F16) x[i] = moe__f16_to_f32(moe__f32_to_f16(x[i]));
            if (model[k].type == MOE_TYPE_BF16) x[i] = moe__bf16_to_f32(moe__f32_to_bf16(x[i]));
        }
        t->type->quantize(x, want, n, NULL);
        assert_int_equal(moe__file_tensor_read(f, t, 0, got, (size_t)t->bytes), MOE_OK);
        assert_memory_equal(got, want, (size_t)t->bytes);
        free(x), free(want), free(got);
    }
}

/* -------------------------------------------------------------------------------------------------- tests */

static void every_recipe_writes_a_sound_file(void **state)
{
    (void)state;
    save_model();
    for (size_t i = 0; moe_recipe_name(i); i++) {
        moe__file *f;
        moe_meta m = MOE_META_INIT;
        assert_int_equal(quantize(moe_recipe_name(i), NULL, 2), MOE_OK);
        assert_int_equal(count_files(), 2);
        assert_int_equal(moe__file_open(&f, dst, &heap, 0), MOE_OK);
        check_data(f);
        static const char *const kept[] = {"output_norm.weight", "blk.0.attn_v.bias",
                                           "blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight"};
        for (size_t k = 0; k < 4; k++) assert_string_equal(type_in(f, kept[k]), "F32");
        assert_string_equal(type_in(f, "blk.1.ffn_up_exps.weight"), "Q8_0");
        assert_int_equal(moe__file_meta_find(f, "general.quantization_version", &m), MOE_OK);
        assert_int_equal(m.u64, 2);
        assert_int_equal(moe__file_meta_find(f, "general.file_type", &m), MOE_OK);
        assert_int_equal(m.u64, moe__recipe_file_type(moe__recipe_find(moe_recipe_name(i))));
        moe__file_close(f);
    }
}

static void mixes_give_each_tensor_its_type(void **state)
{
    static const struct {
        const char *recipe, *tensor, *type;
    } want[] = {
        {"Q8_0", "output.weight", "Q8_0"},
        {"Q8_0", "blk.1.ffn_down_exps.weight", "F16"}, /* rows of 40 */
        {"F16", "blk.0.ffn_gate_exps.weight", "F16"},
        {"F32", "blk.0.ffn_gate_exps.weight", "F32"},
        {"Q4_0", "output.weight", "Q6_K"},
        {"Q4_0", "token_embd.weight", "Q4_0"},
        {"Q4_K_M", "token_embd.weight", "Q4_K"},
        {"Q4_K_M", "output.weight", "Q6_K"},
        {"Q4_K_M", "blk.0.attn_v.weight", "Q4_K"}, /* of 3 layers only the last one is in the better part */
        {"Q4_K_M", "blk.0.ffn_down_exps.weight", "Q4_K"},
        {"Q4_K_M", "blk.2.ffn_down_exps.weight", "Q6_K"},
        {"Q4_K_M", "blk.0.ffn_up_exps.weight", "Q5_0"}, /* rows of 96 */
        {"Q5_K_M", "blk.0.ffn_up_exps.weight", "Q5_1"},
        {"Q6_K", "blk.0.ffn_up_exps.weight", "Q8_0"},
        {"Q3_K_M", "blk.0.ffn_up_exps.weight", "IQ4_NL"},
        {"Q4_K_S", "blk.0.attn_v.weight", "Q5_K"},
        {"Q2_K", "blk.0.ffn_gate_exps.weight", "Q2_K"},
        {"Q2_K", "blk.0.ffn_down_exps.weight", "Q3_K"},
        {"MXFP4", "blk.0.ffn_gate_exps.weight", "MXFP4"},
        {"MXFP4", "blk.0.attn_v.weight", "Q8_0"},
        {"mxfp4", "output.weight", "Q8_0"},
    };
    (void)state;
    save_model();
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        moe__file *f;
        assert_int_equal(quantize(want[i].recipe, NULL, 1), MOE_OK);
        assert_int_equal(moe__file_open(&f, dst, &heap, 0), MOE_OK);
        if (strcmp(type_in(f, want[i].tensor), want[i].type) != 0)
            print_error("%s %s\n", want[i].recipe, want[i].tensor);
        assert_string_equal(type_in(f, want[i].tensor), want[i].type);
        moe__file_close(f);
    }
}

static void tied_embeddings_count_as_output(void **state)
{
    (void)state;
    const moe__quant_recipe *r = moe__recipe_find("q4_k_m");
    const moe__recipe_model own = {8, 0}, tied = {8, 1};
    moe__tensor t = {
        .name = "token_embd.weight", .type = moe__type_get(MOE_TYPE_F16), .n_dims = 2, .dim = {256, 9, 1, 1}};
    assert_string_equal(moe__recipe_type(r, NULL, &own, &t)->name, "Q4_K");
    assert_string_equal(moe__recipe_type(r, NULL, &tied, &t)->name, "Q6_K");
    char name[32];
    for (int i = 0; i < 8; i++) { /* first eighth, last eighth, every third between */
        snprintf(name, sizeof name, "blk.%d.attn_v.weight", i);
        t.name = name;
        const int six = moe__recipe_type(r, NULL, &own, &t)->id == MOE_TYPE_Q6_K;
        assert_int_equal(six, i == 0 || i == 3 || i == 6 || i == 7);
    }
}

static void rules_go_before_the_recipe(void **state)
{
    (void)state;
    moe__file *f;
    save_model();
    assert_int_equal(quantize("Q4_K_M", "blk.0.*_exps.weight=q8_0,blk.?.ffn_down*=Q5_1,*=F16", 1), MOE_OK);
    assert_int_equal(moe__file_open(&f, dst, &heap, 0), MOE_OK);
    check_data(f);
    assert_string_equal(type_in(f, "blk.0.ffn_down_exps.weight"), "Q8_0");
    assert_string_equal(type_in(f, "blk.2.ffn_down_exps.weight"), "Q5_1");
    assert_string_equal(type_in(f, "output.weight"), "F16");
    assert_string_equal(type_in(f, "blk.0.ffn_gate_inp.weight"), "F32");
    moe__file_close(f);
    static const char *const bad[] = {"=Q8_0", "a", "a=Q9", "a=Q8_0,,b=F16", "a=", "a=Q8_0,b", "a=Q8_"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(quantize("Q8_0", bad[i], 1), MOE_E_INVALID);
        assert_non_null(strstr(moe_last_error(), "rules"));
    }
}

static void patterns_match(void **state)
{
    static const struct {
        const char *pattern, *text;
        int yes;
    } cases[] = {
        {"", "", 1},
        {"", "a", 0},
        {"*", "", 1},
        {"*", "abc", 1},
        {"a*c", "abbc", 1},
        {"a*c", "abcd", 0},
        {"a?c", "abc", 1},
        {"a?c", "ac", 0},
        {"*b*", "abc", 1},
        {"*bc", "abcbc", 1},
        {"**", "x", 1},
        {"a", "ab", 0},
        {"*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(moe__glob(cases[i].pattern, strlen(cases[i].pattern), cases[i].text), cases[i].yes);
}

static void threads_do_not_change_a_byte(void **state)
{
    (void)state;
    save_model();
    assert_int_equal(quantize("Q4_K_M", NULL, 1), MOE_OK);
    bytes one = load(dst);
    for (int n = 2; n <= 5; n++) {
        assert_int_equal(quantize("Q4_K_M", NULL, n), MOE_OK);
        bytes b = load(dst);
        assert_int_equal(b.n, one.n);
        assert_memory_equal(b.p, one.p, b.n);
        bytes_free(&b);
    }
    bytes_free(&one);
}

/* More elements than one batch of the writer, the last unit not full. */
static void large_tensors_go_in_batches(void **state)
{
    (void)state;
    static const uint64_t dim[2] = {32, 40007};
    const size_t n = 32 * 40007;
    bytes b = {0};
    put_header(&b, 3, 1, 0);
    put_tensor(&b, "big.weight", 2, dim, MOE_TYPE_F16, 0);
    put_padding(&b, 32);
    uint16_t *half = malloc(n * sizeof *half);
    float *x = malloc(n * sizeof *x);
    unsigned char *want = malloc(n / 32 * 34), *got = malloc(n / 32 * 34);
    assert_true(half && x && want && got);
    for (size_t i = 0; i < n; i++) {
        half[i] = (uint16_t)(i * 7919u & 0x7bffu); /* any finite half */
        x[i] = moe__f16_to_f32(half[i]);
    }
    put(&b, half, n * sizeof *half);
    save(&b, src);
    moe__type_get(MOE_TYPE_Q8_0)->quantize(x, want, n, NULL);
    for (int threads = 1; threads <= 3; threads += 2) {
        moe__file *f;
        assert_int_equal(quantize("Q8_0", NULL, threads), MOE_OK);
        assert_int_equal(moe__file_open(&f, dst, &heap, 0), MOE_OK);
        assert_int_equal(moe__file_tensor_read(f, moe__file_tensor_at(f, 0), 0, got, n / 32 * 34), MOE_OK);
        assert_memory_equal(got, want, n / 32 * 34);
        moe__file_close(f);
    }
    free(half), free(x), free(want), free(got);
    bytes_free(&b);
}

static void keys_are_copied_as_they_are(void **state)
{
    (void)state;
    moe__file *f;
    moe__array a;
    int yes;
    save_model();
    assert_int_equal(quantize("Q8_0", NULL, 1), MOE_OK);
    assert_int_equal(moe__file_open(&f, dst, &heap, 0), MOE_OK);
    assert_int_equal(moe__file_meta_count(f), 6);
    assert_int_equal(moe__file_get_array(f, "tokens", &a), MOE_OK);
    assert_string_equal(moe__array_str(&a, 1, NULL), "bc");
    assert_int_equal(moe__file_get_array(f, "ints", &a), MOE_OK);
    assert_int_equal(moe__array_int(&a, 2), 0x0605);
    assert_int_equal(moe__file_get_bool(f, "flag", &yes), MOE_OK);
    assert_int_equal(yes, 1);
    moe__file_close(f);
}

static void split_sources_become_one_file(void **state)
{
    (void)state;
    char path[2][128], whole[96];
    save_model();
    assert_int_equal(quantize("Q5_K_M", NULL, 2), MOE_OK);
    bytes want = load(dst);
    strcpy(whole, src);
    for (int i = 0; i < 2; i++) {
        bytes b = build(i ? 5 : 0, i ? N_TENSORS : 5, i, 2);
        snprintf(path[i], sizeof path[i], "%s/set-%05d-of-00002.gguf", dir, i + 1);
        save(&b, path[i]);
        bytes_free(&b);
    }
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    o.recipe = "Q5_K_M";
    assert_int_equal(moe_quantize(path[0], dst, &o), MOE_OK);
    bytes got = load(dst);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, got.n);
    bytes_free(&got);
    bytes_free(&want);
    unlink(path[0]), unlink(path[1]);
}

/* ----------------------------------------------------------------------------------------------- failures */

typedef struct watch {
    int calls, stop_at;
    uint64_t done, total;
} watch;

static int on_progress(const moe_progress *p, void *user)
{
    watch *w = user;
    assert_int_equal(p->stage, MOE_PROGRESS_QUANTIZE);
    assert_true(p->done > w->done && p->done <= p->total);
    w->done = p->done;
    w->total = p->total;
    return ++w->calls == w->stop_at;
}

static void progress_reports_and_stops(void **state)
{
    (void)state;
    watch w = {0};
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    save_model();
    unlink(dst);
    o.recipe = "Q8_0";
    o.progress = on_progress;
    o.progress_user = &w;
    assert_int_equal(moe_quantize(src, dst, &o), MOE_OK);
    assert_true(w.calls >= N_TENSORS && w.done == w.total);
    const int calls = w.calls;
    bytes old = load(dst);
    for (int stop = 1; stop <= calls; stop += calls - 1) {
        w = (watch){0, stop, 0, 0};
        assert_int_equal(moe_quantize(src, dst, &o), MOE_E_ABORTED);
        assert_int_equal(count_files(), 2);
        bytes now = load(dst); /* what stood there is untouched */
        assert_memory_equal(now.p, old.p, old.n);
        bytes_free(&now);
    }
    unlink(dst);
    w = (watch){0, 2, 0, 0};
    assert_int_equal(moe_quantize(src, dst, &o), MOE_E_ABORTED);
    assert_int_equal(count_files(), 1);
    bytes_free(&old);
}

static void numbers_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        uint32_t bits;
        const char *recipe;
        int status;
    } cases[] = {
        {0x7f800000u, "Q8_0", MOE_E_NUMERIC},
        {0x7fc00000u, "Q4_K", MOE_E_NUMERIC},
        {0xff800000u, "F16", MOE_E_NUMERIC},
        {0x477ff000u, "F16", MOE_E_NUMERIC}, /* 65520 rounds to infinity */
        {0x477fefffu, "F16", MOE_OK},        /* the float below does not */
        {0x477ff000u, "BF16", MOE_OK},
        {0x7f7f7fffu, "BF16", MOE_OK},
        {0x7f7f8000u, "BF16", MOE_E_NUMERIC},
        {0x7f7fffffu, "F32", MOE_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes b = build(0, N_TENSORS, 0, 0);
        size_t data = 0;
        for (size_t k = 0; k + 8 < b.n && !data; k += 32) /* the first data: value(0, 0), value(0, 1) */
            if (moe__f32_bits(value(0, 0)) == moe__le32(b.p + k)) data = k;
        assert_true(data > 0);
        for (size_t k = 0; k < 4; k++) b.p[data + 4 * 17001 + k] = (unsigned char)(cases[i].bits >> (8 * k));
        save(&b, src);
        bytes_free(&b);
        unlink(dst);
        const int st = quantize(cases[i].recipe, NULL, 2);
        assert_int_equal(st, cases[i].status);
        assert_int_equal(count_files(), st == MOE_OK ? 2 : 1);
        if (st != MOE_OK) assert_non_null(strstr(moe_last_error(), "'token_embd.weight': element 17001"));
    }
}

static int allocations_left;

static void *few_allocations(size_t n, size_t align, void *user)
{
    (void)user;
    if (allocations_left == 0) return NULL;
    allocations_left--;
    return aligned_alloc(align, (n + align - 1) / align * align);
}

static void plain_free(void *p, size_t n, void *user)
{
    (void)n, (void)user;
    free(p);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    moe_allocator hook = MOE_ALLOCATOR_INIT;
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    int st = MOE_E_NOMEM, n = 0;
    hook.alloc = few_allocations;
    hook.free = plain_free;
    o.recipe = "Q4_0";
    o.n_threads = 2;
    o.allocator = &hook;
    save_model();
    unlink(dst);
    for (; st != MOE_OK; n++) {
        assert_true(n < 200);
        allocations_left = n;
        st = moe_quantize(src, dst, &o);
        if (st != MOE_OK) {
            assert_int_equal(st, MOE_E_NOMEM);
            assert_int_equal(count_files(), 1);
        }
    }
    assert_true(n > 8);
    assert_int_equal(count_files(), 2);
}

static void wrong_arguments_are_refused(void **state)
{
    (void)state;
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    save_model();
    unlink(dst);
    assert_int_equal(moe_quantize(src, dst, &o), MOE_E_INVALID);
    o.recipe = "Q4_K_XXL";
    assert_int_equal(moe_quantize(src, dst, &o), MOE_E_INVALID);
    assert_non_null(strstr(moe_last_error(), "Q4_K_XXL"));
    assert_non_null(strstr(moe_last_error(), " Q4_K_M"));
    assert_non_null(strstr(moe_last_error(), " Q2_K"));
    o.recipe = "Q8_0";
    assert_int_equal(moe_quantize(src, src, &o), MOE_E_INVALID);
    assert_int_equal(moe_quantize(NULL, dst, &o), MOE_E_INVALID);
    assert_int_equal(moe_quantize(src, NULL, &o), MOE_E_INVALID);
    assert_int_equal(moe_quantize(src, dst, NULL), MOE_E_INVALID);
    assert_int_equal(moe_quantize(dir, dst, &o), MOE_E_IO);
    assert_int_equal(moe_quantize(src, "/nowhere/at/all.gguf", &o), MOE_E_NOTFOUND);
    o.n_threads = -1;
    assert_int_equal(moe_quantize(src, dst, &o), MOE_E_INVALID);
    assert_int_equal(count_files(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recipe_writes_a_sound_file),
        cmocka_unit_test(mixes_give_each_tensor_its_type),
        cmocka_unit_test(tied_embeddings_count_as_output),
        cmocka_unit_test(rules_go_before_the_recipe),
        cmocka_unit_test(patterns_match),
        cmocka_unit_test(threads_do_not_change_a_byte),
        cmocka_unit_test(large_tensors_go_in_batches),
        cmocka_unit_test(keys_are_copied_as_they_are),
        cmocka_unit_test(split_sources_become_one_file),
        cmocka_unit_test(progress_reports_and_stops),
        cmocka_unit_test(numbers_that_do_not_fit_are_refused),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
