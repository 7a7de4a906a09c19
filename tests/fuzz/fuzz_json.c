/* SPDX-License-Identifier: MIT */
/*
 * The JSON reader and writer. The input is a text. Promises: what is refused leaves nothing behind and tells
 * the place; what is taken can be walked, asked for numbers, and written again; the new text is taken, says
 * the same, and writing it once more changes nothing.
 */
#include "base/alloc.h"
#include "file/json.h"
#include "fuzz.h"

typedef struct text_out {
    char *p;
    size_t n, cap;
} text_out;

static fuzz_heap heap = {0, 0, (size_t)64 << 20};

static int keep_text(const void *data, size_t n, void *user)
{
    text_out *o = user;
    if (n > o->cap - o->n) {
        o->cap = 2 * (o->cap + n);
        o->p = realloc(o->p, o->cap);
        if (!o->p) exit(2);
    }
    memcpy(o->p + o->n, data, n);
    o->n += n;
    return 0;
}

/* Writes a value with all that is in it; recursion is bounded by the reader. */
static const moe__json_value *write_value(const moe__json *j, const moe__json_value *v, moe__json_writer *w)
{
    const int object = v->kind == JSON_OBJECT;
    char key[4096];
    double x;
    switch (v->kind) {
    case JSON_NULL: moe__json_put_word(w, "null"); break;
    case JSON_FALSE: moe__json_put_word(w, "false"); break;
    case JSON_TRUE: moe__json_put_word(w, "true"); break;
    case JSON_STRING: moe__json_put_string(w, v->str, v->n); break;
    case JSON_NUMBER:
        if (moe__json_f64(j, v, "x", &x) == MOE_OK)
            moe__json_put_f64(w, x);
        else
            moe__json_put_word(w, "false");
        break;
    default: {
        const moe__json_value *in = moe__json_first(v);
        moe__json_begin(w, object ? '{' : '[');
        for (uint32_t i = 0; i < v->n; i++) {
            if (object) {
                /* keys with zero bytes and long ones are numbered instead */
                if (in->n >= sizeof key - 32 || memchr(in->str, 0, in->n)) {
                    snprintf(key, sizeof key, "\x7f%u", i);
                } else {
                    memcpy(key, in->str, in->n);
                    key[in->n] = 0;
                }
                moe__json_key(w, key);
                in = moe__json_next(j, in);
            }
            in = write_value(j, in, w);
        }
        FUZZ_CHECK(in == j->value + v->next);
        moe__json_end(w, object ? '}' : ']');
    }
    }
    return moe__json_next(j, v);
}

static text_out write_all(const moe__json *j, int lines)
{
    text_out o = {NULL, 0, 0};
    moe__json_writer w;
    moe__json_writer_init(&w, keep_text, &o, lines);
    FUZZ_CHECK(write_value(j, j->value, &w) == j->value + j->n_values);
    FUZZ_CHECK(moe__json_finish(&w) == MOE_OK);
    return o;
}

static void ask_all(const moe__json *j)
{
    for (uint32_t i = 0; i < j->n_values; i++) {
        const moe__json_value *v = &j->value[i];
        uint64_t u = 0;
        int64_t k = 0;
        float f = 0;
        double d = 0;
        int b;
        const int is_u = moe__json_u64(j, v, "x", UINT64_MAX, &u) == MOE_OK;
        const int is_i = moe__json_i64(j, v, "x", INT64_MIN, INT64_MAX, &k) == MOE_OK;
        const int is_f = moe__json_f32(j, v, "x", &f) == MOE_OK,
                  is_d = moe__json_f64(j, v, "x", &d) == MOE_OK;
        FUZZ_CHECK(!(is_u && is_i) || u == (uint64_t)k);
        FUZZ_CHECK(!is_u || (is_d && is_f)); /* 64-bit numbers fit both floats */
        FUZZ_CHECK(!is_f || is_d);
        FUZZ_CHECK(v->kind == JSON_NUMBER || !(is_u || is_i || is_f || is_d));
        (void)moe__json_bool(j, v, "x", &b);
        if (v->kind == JSON_OBJECT) FUZZ_CHECK(!moe__json_find(j, v, "no such key, surely") || v->n > 0);
        FUZZ_CHECK(v->next > i && v->next <= j->n_values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const moe_allocator hook = fuzz_allocator(&heap);
    moe__allocator a;
    moe__json j, k;
    FUZZ_CHECK(moe__allocator_init(&a, &hook) == MOE_OK);
    const int st = moe__json_open(&j, &a, "fuzz", (const char *)data, n);
    if (st != MOE_OK) {
        FUZZ_CHECK(st == MOE_E_NOMEM || (st == MOE_E_FORMAT && strstr(moe_last_error(), "line ")));
        FUZZ_CHECK(heap.now == 0);
        return 0;
    }
    ask_all(&j);
    text_out once = write_all(&j, (int)(n % 5));
    FUZZ_CHECK(moe__json_open(&k, &a, "again", once.p, once.n) == MOE_OK ||
               strstr(moe_last_error(), "second time"));
    if (k.value) {
        FUZZ_CHECK(k.n_values == j.n_values);
        for (uint32_t i = 0; i < k.n_values; i++)
            FUZZ_CHECK(k.value[i].kind == j.value[i].kind ||
                       (j.value[i].kind == JSON_NUMBER && k.value[i].kind == JSON_FALSE));
        text_out twice = write_all(&k, (int)(n % 5));
        FUZZ_CHECK(once.n == twice.n && memcmp(once.p, twice.p, once.n) == 0);
        free(twice.p);
        moe__json_close(&k);
    }
    free(once.p);
    moe__json_close(&j);
    FUZZ_CHECK(heap.now == 0);
    return 0;
}
