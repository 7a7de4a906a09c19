/* SPDX-License-Identifier: MIT */
/*
 * A whole model file of any bytes through the public interface: open, ask everything, make a session,
 * evaluate a few tokens. Promises: a status or a working model, no matter what the hyperparameters say;
 * nothing leaked; the heap limit is respected.
 */
#include "fuzz.h"

#define HEAP_LIMIT ((size_t)24 << 20)

static void ask(const moe_model *m)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_memory mem = MOE_MEMORY_INIT;
    moe_meta meta = MOE_META_INIT;
    moe_tensor_info ti = MOE_TENSOR_INFO_INIT;
    const moe_tokenizer *t = NULL;
    float x;
    FUZZ_CHECK(moe_model_get_info(m, &info) == MOE_OK);
    FUZZ_CHECK(info.arch && info.name);
    for (uint32_t l = 0; l < info.n_layers && l < 8; l++) {
        moe_layer_info li = MOE_LAYER_INFO_INIT;
        moe_route_spec spec = MOE_ROUTE_SPEC_INIT;
        FUZZ_CHECK(moe_model_get_layer(m, l, &li) == MOE_OK);
        (void)moe_model_get_route(m, l, &spec);
    }
    for (size_t i = 0; i < moe_model_meta_count(m); i++) FUZZ_CHECK(moe_model_meta_at(m, i, &meta) == MOE_OK);
    for (size_t i = 0; i < moe_model_tensor_count(m); i++) {
        FUZZ_CHECK(moe_model_tensor_at(m, i, &ti) == MOE_OK);
        (void)moe_model_tensor_read(m, i, 0, 1, &x);
    }
    (void)moe_model_get_memory(m, NULL, &mem);
    if (moe_model_tokenizer(m, &t) == MOE_OK) {
        moe_token ids[64];
        size_t n = 0;
        char text[4096];
        if (moe_tokenizer_encode(t, "Once upon a time \xff\xf0\x9f\x98\x80", 22, MOE_ENCODE_BOS, ids, 64,
                                 &n) == MOE_OK)
            (void)moe_tokenizer_decode(t, ids, n, MOE_DECODE_SPECIAL, text, sizeof text, &n);
    }
}

static void evaluate(moe_model *m)
{
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    moe_session *s = NULL;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    const float *logits;
    size_t n;
    so.n_ctx = 32;
    so.n_batch_max = 8;
    so.n_threads = 1;
    FUZZ_CHECK(moe_model_get_info(m, &info) == MOE_OK);
    const int st = moe_session_create(&s, m, &so);
    FUZZ_CHECK((st == MOE_OK) == (s != NULL));
    if (!s) return;
    const moe_token last = (moe_token)(info.n_vocab - 1);
    const moe_token ids[3] = {0, last, (moe_token)(info.n_vocab / 2)};
    if (moe_session_eval(s, ids, 3) == MOE_OK) {
        FUZZ_CHECK(moe_session_logits(s, 0, &logits, &n) == MOE_OK && n == info.n_vocab);
        FUZZ_CHECK(moe_session_seq_len(s, 0) == 3);
        (void)moe_session_eval(s, ids, 1);
    } else {
        FUZZ_CHECK(moe_session_seq_len(s, 0) == 0);
    }
    moe_session_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint32_t flags[] = {0, MOE_OPEN_NO_MMAP, MOE_OPEN_RESIDENT, MOE_OPEN_METADATA_ONLY,
                                     MOE_OPEN_CHECK_DATA};
    fuzz_bytes b = {data, n, 0};
    fuzz_heap heap = {0, 0, HEAP_LIMIT};
    const moe_allocator hook = fuzz_allocator(&heap);
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m = NULL;
    o.allocator = &hook;
    o.n_threads = 1;
    o.flags = flags[n % 5]; /* a length is as good as a random number */
    const moe_file mf = fuzz_file(&b, 1);
    const int st = moe_model_open_file(&m, &mf, &b, &o);
    FUZZ_CHECK((st == MOE_OK) == (m != NULL));
    FUZZ_CHECK(m || *moe_last_error());
    if (m) {
        ask(m);
        evaluate(m);
        moe_model_release(m);
    }
    FUZZ_CHECK(heap.now == 0 && b.open == 0);
    return 0;
}
