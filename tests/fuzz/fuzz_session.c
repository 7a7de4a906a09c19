/* SPDX-License-Identifier: MIT */
/*
 * Loading a saved session. The input is a script that damages a sound one: byte 0 says whether the checksum
 * is put right afterwards (so that the checks behind it are reached) or whether the rest is taken as the
 * stream itself; then changes {u16 position, u8 value}, position 0xffff meaning: cut to u16 bytes. With bit 2
 * of byte 0 it is one sequence, loaded into sequence 1. Promises: a refused load leaves the session as it
 * was, to the bit; an accepted one can be saved again, unchanged, and evaluated; nothing leaked.
 */
#include "base/hash.h"
#include "fuzz.h"

#define MAX_STREAM 65536u
#define N_SEQS     3

static fuzz_heap heap = {0, 0, (size_t)64 << 20};
static moe_model *model;
static moe_session *session;
static uint8_t sound[MAX_STREAM], single[MAX_STREAM], stream[MAX_STREAM], copy[MAX_STREAM];
static size_t n_sound, n_single;
static size_t n_vocab;

typedef struct pipe {
    uint8_t *p;
    size_t n, cap;
} pipe;

static int write_pipe(const void *data, size_t n, void *user)
{
    pipe *w = user;
    if (n > w->cap - w->n) return MOE_E_FULL;
    memcpy(w->p + w->n, data, n);
    w->n += n;
    return 0;
}

static int read_pipe(void *data, size_t n, void *user)
{
    pipe *r = user;
    if (n > r->cap - r->n) return MOE_E_IO;
    memcpy(data, r->p + r->n, n);
    r->n += n;
    return 0;
}

static size_t save(uint8_t *dst)
{
    pipe w = {dst, 0, MAX_STREAM};
    FUZZ_CHECK(moe_session_save(session, write_pipe, &w) == MOE_OK);
    return w.n;
}

/* A model, a session with two sequences, and its saved form. */
static void prepare(void)
{
    static const moe_token ids[] = {1, 2, 3, 4, 5};
    const moe_allocator hook = fuzz_allocator(&heap);
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    o.allocator = &hook;
    o.n_threads = 1;
    so.n_ctx = 128;
    so.n_seq_max = N_SEQS;
    so.n_threads = 1;
    if (moe_model_open(&model, FUZZ_MODEL, &o) != MOE_OK ||
        moe_session_create(&session, model, &so) != MOE_OK) {
        fprintf(stderr, "%s: %s\n", FUZZ_MODEL, moe_last_error());
        exit(2);
    }
    FUZZ_CHECK(moe_model_get_info(model, &info) == MOE_OK);
    n_vocab = info.n_vocab;
    FUZZ_CHECK(moe_session_eval(session, ids, 3) == MOE_OK);
    FUZZ_CHECK(moe_session_seq_copy(session, 0, 2) == MOE_OK);
    FUZZ_CHECK(moe_session_eval(session, ids + 3, 2) == MOE_OK);
    n_sound = save(sound);
    pipe w = {single, 0, MAX_STREAM};
    FUZZ_CHECK(moe_session_seq_save(session, 0, write_pipe, &w) == MOE_OK);
    n_single = w.n;
}

static void load_sound(void)
{
    pipe r = {sound, 0, n_sound};
    FUZZ_CHECK(moe_session_load(session, read_pipe, &r) == MOE_OK);
}

static size_t damage(fuzz_input *in, const uint8_t *from, size_t n_from, int fix)
{
    size_t n = n_from;
    memcpy(stream, from, n);
    while (in->n >= 3) {
        const uint32_t at = fuzz_u16(in);
        if (at == 0xffff) {
            const uint32_t cut = fuzz_u16(in);
            n = cut < n ? cut : n;
        } else {
            stream[at % n_from] = (uint8_t)fuzz_u8(in);
        }
    }
    if (fix && n >= 8) {
        moe__hash h;
        moe__hash_init(&h);
        moe__hash_add(&h, stream, n - 8);
        const uint64_t sum = moe__hash_get(&h);
        for (size_t i = 0; i < 8; i++) stream[n - 8 + i] = (uint8_t)(sum >> (8 * i));
    }
    return n;
}

static void check_untouched(void)
{
    FUZZ_CHECK(*moe_last_error());
    const size_t n = save(copy);
    FUZZ_CHECK(n == n_sound && memcmp(copy, sound, n) == 0);
}

/* As loaded: the same stream again, up to the number of the sequence and the sum behind it. */
static void check_single(size_t used)
{
    pipe w = {copy, 0, MAX_STREAM};
    FUZZ_CHECK(moe_session_seq_save(session, 1, write_pipe, &w) == MOE_OK && w.n == used);
    FUZZ_CHECK(memcmp(copy, stream, 60) == 0);
    if (used > 72) FUZZ_CHECK(memcmp(copy + 64, stream + 64, used - 72) == 0);
}

static void check_usable(size_t used, int one)
{
    size_t len = 0, total = 0;
    moe_token ids[256];
    const float *logits;
    for (moe_seq q = 0; q < N_SEQS; q++) {
        const size_t n = moe_session_seq_len(session, q);
        FUZZ_CHECK(moe_session_seq_tokens(session, q, ids, 256, &len) == MOE_OK && len == n);
        for (size_t i = 0; i < n; i++) FUZZ_CHECK(ids[i] >= 0 && (size_t)ids[i] < n_vocab);
        total += n;
    }
    FUZZ_CHECK(total <= 128 * N_SEQS);
    if (one) {
        check_single(used);
    } else {
        const size_t n = save(copy);
        FUZZ_CHECK(n == used && memcmp(copy, stream, n) == 0);
    }
    if (moe_session_eval(session, &(moe_token){7}, 1) == MOE_OK)
        FUZZ_CHECK(moe_session_logits(session, 0, &logits, &len) == MOE_OK && len == n_vocab);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_input in = {data, n};
    if (!model) prepare();
    load_sound();
    const size_t before = heap.now;
    const uint32_t mode = fuzz_u8(&in);
    const int one = (mode & 4) != 0;
    size_t n_stream;
    if (mode & 2) {
        n_stream = in.n < MAX_STREAM ? in.n : MAX_STREAM;
        if (n_stream) memcpy(stream, in.p, n_stream);
    } else {
        n_stream = one ? damage(&in, single, n_single, mode & 1) : damage(&in, sound, n_sound, mode & 1);
    }
    pipe r = {stream, 0, n_stream};
    heap.peak = heap.now;
    if ((one ? moe_session_seq_load(session, 1, read_pipe, &r) : moe_session_load(session, read_pipe, &r)) ==
        MOE_OK)
        check_usable(r.n, one);
    else
        check_untouched();
    FUZZ_CHECK(heap.now == before && heap.peak - before < ((size_t)1 << 20));
    return 0;
}
