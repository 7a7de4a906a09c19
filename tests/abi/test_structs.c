/* SPDX-License-Identifier: MIT */
/*
 * Every public struct meets a library that knows more of it, or less. The list comes from the headers
 * (gen_structs.py); each struct says here what it is and which call takes it:
 *
 *   GIVEN   the caller fills it: bytes that the library does not know must be zero (MOE_E_VERSION), a
 *           shorter one counts as if the rest had its start value, and not a byte behind it is read
 *   FILLED  the library fills it: any size gets exactly its bytes
 *   SHOWN   the library makes it for a callback: its size is the library's
 *
 * "Unknown to the library" is what today's library sees of tomorrow's program. Blocks end where the struct
 * ends, so that the address sanitizer notices what reads or writes too far.
 */
#include "../api/support.h"
#include "moe/study.h"
#include "structs.h"

#include <stdio.h>

enum { GIVEN, FILLED, SHOWN };
enum { MORE = 40 }; /* bytes that structs are larger by at most */

static moe_model *model, *talker;
static moe_session *session;
static moe_router *router;
static moe_profile *profile;
static moe_trace *trace;
static const moe_tokenizer *tok;
static moe_token id[16];
static const char *talker_path; /* a model with a chat template */
static float *hidden, *row;
static uint32_t dim, n_experts;

static char said[512]; /* the message of the call under test, which clean-up would wipe out */

static int note(int st)
{
    snprintf(said, sizeof said, "%s", moe_last_error());
    return st;
}

/* ---- structs that the caller fills: make_X gives a sound one, use_X hands it to the library ---- */

static void *plain_alloc(size_t n, size_t align, void *user)
{
    (void)user;
    return aligned_alloc(align, (n + align - 1) / align * align);
}
static void plain_free(void *p, size_t n, void *user)
{
    (void)n;
    (void)user;
    free(p);
}
static void make_moe_allocator(void *p)
{
    const moe_allocator a = {sizeof a, plain_alloc, plain_free, NULL};
    memcpy(p, &a, sizeof a);
}
static int use_moe_allocator(void *p)
{
    moe_sampler *s = NULL;
    const int st = moe_sampler_create(&s, p);
    moe_sampler_free(s);
    return st;
}

static int open_with(const moe_model_options *o)
{
    moe_model *m = NULL;
    const int st = moe_model_open(&m, test_models[0], o);
    moe_model_release(m);
    return st;
}
static void quiet(int level, const char *area, const char *msg, void *user)
{
    (void)level;
    (void)area;
    (void)msg;
    (void)user;
}
static void make_moe_logger(void *p)
{
    const moe_logger l = {sizeof l, MOE_LOG_ERROR, 0, quiet, NULL};
    memcpy(p, &l, sizeof l);
}
static int use_moe_logger(void *p)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.logger = p;
    return open_with(&o);
}
static void make_moe_model_options(void *p)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.isa_max = "ref";
    memcpy(p, &o, sizeof o);
}
static int use_moe_model_options(void *p) { return open_with(p); }

static uint64_t file_length(void *f)
{
    (void)f;
    return 0;
}
static int file_read(void *f, uint64_t off, void *dst, size_t n)
{
    (void)f;
    (void)off;
    memset(dst, 0, n);
    return 0;
}
static void make_moe_file(void *p)
{
    moe_file f = MOE_FILE_INIT;
    f.name = "nothing";
    f.length = file_length;
    f.read_at = file_read;
    memcpy(p, &f, sizeof f);
}
static int use_moe_file(void *p)
{
    moe_model *m = NULL;
    const int st = moe_model_open_file(&m, p, NULL, NULL);
    moe_model_release(m);
    return st;
}

static int create_with(const moe_session_options *o)
{
    moe_session *s = NULL;
    const int st = moe_session_create(&s, model, o);
    moe_session_free(s);
    return st;
}
static void make_moe_session_options(void *p)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 64;
    o.n_threads = 1;
    memcpy(p, &o, sizeof o);
}
static int use_moe_session_options(void *p) { return create_with(p); }
static int run_here(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user)
{
    (void)user;
    for (uint32_t i = 0; i < n; i++) task(arg, i);
    return 0;
}
static void make_moe_executor(void *p)
{
    const moe_executor e = {sizeof e, run_here, NULL};
    memcpy(p, &e, sizeof e);
}
static int use_moe_executor(void *p)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    o.n_ctx = 64;
    o.n_threads = 1;
    o.executor = p;
    return create_with(&o);
}

static void make_moe_batch(void *p)
{
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 2;
    b.token = id;
    memcpy(p, &b, sizeof b);
}
static int use_moe_batch(void *p)
{
    const int begun = note(moe_session_eval_begin(session, p));
    if (begun == MOE_OK) assert_ok(moe_session_eval_cancel(session));
    const int st = moe_session_eval_batch(session, p);
    assert_int_equal(begun, st);
    assert_ok(moe_session_seq_truncate(session, 0, 0));
    return st;
}

static void make_moe_route_spec(void *p)
{
    moe_route_spec s = MOE_ROUTE_SPEC_INIT;
    assert_ok(moe_router_get_spec(router, MOE_SPEC_NATIVE, &s));
    memcpy(p, &s, sizeof s);
}
static int use_moe_route_spec(void *p)
{
    uint32_t expert[256];
    float weight[256];
    size_t n = 256;
    const int set = note(moe_router_set_spec(router, p));
    assert_ok(moe_router_reset(router));
    const int st = moe_route_row(p, row, n_experts, 0, 0, expert, weight, &n);
    assert_int_equal(st == MOE_E_VERSION, set == MOE_E_VERSION);
    return set;
}
static void make_moe_route_override(void *p)
{
    moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
    o.kind = MOE_OVERRIDE_LOGITS;
    o.row = row;
    memcpy(p, &o, sizeof o);
}
static int use_moe_route_override(void *p)
{
    const int st = note(moe_router_add_override(router, p));
    assert_ok(moe_router_clear_overrides(router));
    return st;
}
static int first_experts(void *state, const moe_route_input *in, moe_route_output *out)
{
    (void)state;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        out->expert[t] = 0;
        out->offset[t + 1] = t + 1;
    }
    return 0;
}
static void make_moe_policy(void *p)
{
    moe_policy y = MOE_POLICY_INIT;
    y.name = "first";
    y.route = first_experts;
    memcpy(p, &y, sizeof y);
}
static int use_moe_policy(void *p)
{
    const int st = note(moe_router_set_policy(router, p, NULL));
    assert_ok(moe_router_reset(router));
    return st;
}
static void make_moe_expert_weights(void *p)
{
    static float zero[1 << 16];
    moe_expert_weights w = MOE_EXPERT_WEIGHTS_INIT;
    moe_expert *e;
    moe_expert_info info = MOE_EXPERT_INFO_INIT;
    assert_ok(moe_router_expert(router, 0, &e));
    assert_ok(moe_expert_get_info(e, &info));
    w.dim = info.dim;
    w.dim_ff = info.dim_ff;
    w.gate_bytes = w.up_bytes = w.down_bytes = (uint64_t)info.dim * info.dim_ff * sizeof *zero;
    assert_true(w.gate_bytes <= sizeof zero);
    w.gate = w.up = w.down = zero;
    memcpy(p, &w, sizeof w);
}
static int use_moe_expert_weights(void *p)
{
    moe_weights *w = NULL;
    const int st = moe_weights_create(&w, model, p);
    moe_weights_release(w);
    return st;
}

static void make_moe_contrast(void *p)
{
    const moe_contrast c = MOE_CONTRAST_INIT;
    memcpy(p, &c, sizeof c);
}
static int use_moe_contrast(void *p)
{
    const float a[4] = {1, 2, 3, 4}, b[4] = {4, 3, 2, 1};
    float out[4];
    return moe_contrast_logits(a, b, 4, p, out);
}
static void make_moe_shape(void *p)
{
    const moe_shape s = {sizeof s, 64, 32, 0, 8, 2, 0};
    memcpy(p, &s, sizeof s);
}
static int use_moe_shape(void *p)
{
    moe_shape_info info = MOE_SHAPE_INFO_INIT;
    return moe_shape_measure(p, &info);
}
static void make_moe_sample_stage(void *p)
{
    moe_sample_stage s = MOE_SAMPLE_STAGE_INIT;
    s.kind = MOE_SAMPLE_TOP_K;
    s.n = 5;
    memcpy(p, &s, sizeof s);
}
static int use_moe_sample_stage(void *p)
{
    moe_sampler *s;
    assert_ok(moe_sampler_create(&s, NULL));
    const int st = moe_sampler_add(s, p);
    moe_sampler_free(s);
    return st;
}
static void make_moe_candidates(void *p)
{
    static moe_token ids[3];
    static float logits[3];
    for (int i = 0; i < 3; i++) ids[i] = i, logits[i] = (float)i;
    const moe_candidates c = {sizeof c, 3, ids, logits, -1, 0, 0};
    memcpy(p, &c, sizeof c);
}
static int use_moe_candidates(void *p)
{
    moe_sampler *s;
    assert_ok(moe_sampler_create(&s, NULL));
    const int st = moe_sampler_apply(s, p);
    moe_sampler_free(s);
    return st;
}
static void make_moe_quantize_options(void *p)
{
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    o.recipe = "Q8_0";
    memcpy(p, &o, sizeof o);
}
static int use_moe_quantize_options(void *p) { return moe_quantize("no such file", "out.gguf", p); }
static void make_moe_profile_options(void *p)
{
    moe_profile_options o = MOE_PROFILE_OPTIONS_INIT;
    o.n_classes = 2;
    memcpy(p, &o, sizeof o);
}
static int use_moe_profile_options(void *p)
{
    moe_profile *made = NULL;
    const int st = moe_profile_create(&made, model, p);
    moe_profile_free(made);
    return st;
}
static void make_moe_route_view(void *p)
{
    static const uint32_t offset[2] = {0, 1}, expert[1] = {1};
    moe_route_view v = MOE_ROUTE_VIEW_INIT;
    moe_router_info info = MOE_ROUTER_INFO_INIT;
    assert_ok(moe_router_get_info(router, &info));
    v.layer = info.layer;
    v.n_rows = 1;
    v.n_experts = v.n_logits = info.n_experts;
    v.offset = offset;
    v.expert = expert;
    memcpy(p, &v, sizeof v);
}
static int use_moe_route_view(void *p)
{
    moe_profile *into;
    moe_trace *t;
    assert_ok(moe_profile_create(&into, model, NULL));
    assert_ok(moe_trace_create(&t, model, 0, NULL));
    const int st = note(moe_profile_add(into, p)), st2 = moe_trace_observe(p, t);
    moe_profile_free(into);
    moe_trace_free(t);
    assert_int_equal(st == MOE_E_VERSION, st2 == MOE_E_VERSION);
    return st;
}
static void make_moe_message(void *p)
{
    const moe_message m = {sizeof m, "user", "hello"};
    memcpy(p, &m, sizeof m);
}
static int use_moe_message(void *p)
{
    const moe_tokenizer *t;
    char text[256];
    size_t len;
    assert_ok(moe_model_tokenizer(talker, &t));
    return moe_tokenizer_chat(t, p, 1, 0, text, sizeof text, &len);
}
static void make_moe_stream(void *p)
{
    const moe_stream s = MOE_STREAM_INIT;
    memcpy(p, &s, sizeof s);
}
static int use_moe_stream(void *p)
{
    char text[256];
    size_t len;
    return moe_tokenizer_stream(tok, p, id[0], text, sizeof text, &len);
}
static void make_moe_next(void *p)
{
    const moe_next n = MOE_NEXT_INIT;
    memcpy(p, &n, sizeof n);
}
static int use_moe_next(void *p)
{
    moe_sampler *s;
    assert_ok(moe_sampler_create(&s, NULL));
    const int st = note(moe_session_next(session, s, p));
    moe_sampler_free(s);
    return st;
}

/* ---- structs that the library fills ---- */

#define FILLS(type, call)                                                                                    \
    static int use_##type(void *p) { return call; }
FILLS(moe_model_info, moe_model_get_info(model, p))
FILLS(moe_layer_info, moe_model_get_layer(model, 0, p))
FILLS(moe_meta, moe_model_meta_at(model, 0, p))
FILLS(moe_tensor_info, moe_model_tensor_at(model, 0, p))
FILLS(moe_session_info, moe_session_get_info(session, p))
FILLS(moe_memory, moe_model_get_memory(model, NULL, p))
FILLS(moe_stats, moe_session_get_stats(session, p))
FILLS(moe_router_info, moe_router_get_info(router, p))
FILLS(moe_profile_info, moe_profile_get_info(profile, p))
FILLS(moe_router_profile, moe_profile_router(profile, 0, p))
FILLS(moe_trace_info, moe_trace_get_info(trace, p))
FILLS(moe_trace_row, moe_trace_at(trace, 0, 0, p))
static int use_moe_expert_info(void *p)
{
    moe_expert *e;
    assert_ok(moe_router_expert(router, 1, &e));
    return moe_expert_get_info(e, p);
}
static int use_moe_shape_info(void *p)
{
    const moe_shape s = {sizeof s, 64, 32, 0, 8, 2, 0};
    return moe_shape_measure(&s, p);
}
static int use_moe_expert_find(void *p)
{
    size_t n;
    return moe_profile_rank(profile, MOE_RANK_RATE, 0, UINT32_MAX, p, 1, &n);
}

/* ---- structs that callbacks are shown: what size was seen ---- */

static size_t seen;

static int show_progress(const moe_progress *p, void *user)
{
    (void)user;
    seen = p->size;
    return 0;
}
static int use_moe_progress(void *p)
{
    (void)p;
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    o.progress = show_progress;
    o.flags = MOE_OPEN_NO_MMAP;
    return open_with(&o);
}
static int which; /* 1: input, 2: output, 3: info */
static int show_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    if (which == 1) seen = in->size;
    if (which == 2) seen = out->size;
    return first_experts(state, in, out);
}
static int show_create(void **state, const moe_policy_info *info, void *user)
{
    *state = user;
    if (which == 3) seen = info->size;
    return 0;
}
static int with_policy(int what)
{
    moe_policy y = MOE_POLICY_INIT;
    y.name = "shown";
    y.create = show_create;
    y.route = show_route;
    which = what;
    assert_ok(moe_router_set_policy(router, &y, NULL));
    const int st = moe_session_eval(session, id, 2);
    assert_ok(moe_router_reset(router));
    assert_ok(moe_session_seq_truncate(session, 0, 0));
    return st;
}
static int use_moe_route_input(void *p)
{
    (void)p;
    return with_policy(1);
}
static int use_moe_route_output(void *p)
{
    (void)p;
    return with_policy(2);
}
static int use_moe_policy_info(void *p)
{
    (void)p;
    return with_policy(3);
}
static int show_expert(const moe_expert_call *c, void *user)
{
    (void)user;
    seen = c->size;
    memset(c->y, 0, (size_t)c->n_rows * c->dim * sizeof *c->y);
    return 0;
}
static int use_moe_expert_call(void *p)
{
    (void)p;
    int st = MOE_OK;
    for (uint32_t i = 0; i < n_experts; i++) {
        moe_expert *e;
        assert_ok(moe_router_expert(router, i, &e));
        assert_ok(moe_expert_replace_fn(e, show_expert, NULL));
    }
    st = moe_session_eval(session, id, 2);
    assert_ok(moe_router_reset(router));
    assert_ok(moe_session_seq_truncate(session, 0, 0));
    return st;
}
static int show_layer(const moe_layer_event *e, void *user)
{
    (void)user;
    seen = e->size;
    return 0;
}
static int use_moe_layer_event(void *p)
{
    (void)p;
    assert_ok(moe_session_on_layer(session, 0, MOE_AT_OUTPUT, show_layer, NULL));
    const int st = moe_session_eval(session, id, 2);
    assert_ok(moe_session_on_layer(session, 0, MOE_AT_OUTPUT, NULL, NULL));
    assert_ok(moe_session_seq_truncate(session, 0, 0));
    return st;
}

/* ---- the table ---- */

/* Start values of those that are given, for what a shorter struct leaves out. */
#define START(type, ...) static const type start_##type = __VA_ARGS__;
/* clang-format off */
START(moe_allocator, MOE_ALLOCATOR_INIT)             START(moe_logger, MOE_LOGGER_INIT)
START(moe_model_options, MOE_MODEL_OPTIONS_INIT)     START(moe_file, MOE_FILE_INIT)
START(moe_session_options, MOE_SESSION_OPTIONS_INIT) START(moe_executor, {sizeof(moe_executor), NULL, NULL})
START(moe_batch, MOE_BATCH_INIT)                     START(moe_route_spec, MOE_ROUTE_SPEC_INIT)
START(moe_route_override, MOE_ROUTE_OVERRIDE_INIT)   START(moe_policy, MOE_POLICY_INIT)
START(moe_expert_weights, MOE_EXPERT_WEIGHTS_INIT)   START(moe_contrast, MOE_CONTRAST_INIT)
START(moe_shape, MOE_SHAPE_INIT)                     START(moe_sample_stage, MOE_SAMPLE_STAGE_INIT)
START(moe_candidates, MOE_CANDIDATES_INIT)           START(moe_quantize_options, MOE_QUANTIZE_OPTIONS_INIT)
START(moe_profile_options, MOE_PROFILE_OPTIONS_INIT) START(moe_route_view, MOE_ROUTE_VIEW_INIT)
START(moe_message, {sizeof(moe_message), NULL, NULL}) START(moe_stream, MOE_STREAM_INIT)
START(moe_next, MOE_NEXT_INIT)

#define IS_moe_allocator          GIVEN, make_moe_allocator, &start_moe_allocator
#define IS_moe_logger             GIVEN, make_moe_logger, &start_moe_logger
#define IS_moe_model_options      GIVEN, make_moe_model_options, &start_moe_model_options
#define IS_moe_file               GIVEN, make_moe_file, &start_moe_file
#define IS_moe_session_options    GIVEN, make_moe_session_options, &start_moe_session_options
#define IS_moe_executor           GIVEN, make_moe_executor, &start_moe_executor
#define IS_moe_batch              GIVEN, make_moe_batch, &start_moe_batch
#define IS_moe_route_spec         GIVEN, make_moe_route_spec, &start_moe_route_spec
#define IS_moe_route_override     GIVEN, make_moe_route_override, &start_moe_route_override
#define IS_moe_policy             GIVEN, make_moe_policy, &start_moe_policy
#define IS_moe_expert_weights     GIVEN, make_moe_expert_weights, &start_moe_expert_weights
#define IS_moe_contrast           GIVEN, make_moe_contrast, &start_moe_contrast
#define IS_moe_shape              GIVEN, make_moe_shape, &start_moe_shape
#define IS_moe_sample_stage       GIVEN, make_moe_sample_stage, &start_moe_sample_stage
#define IS_moe_candidates         GIVEN, make_moe_candidates, &start_moe_candidates
#define IS_moe_quantize_options   GIVEN, make_moe_quantize_options, &start_moe_quantize_options
#define IS_moe_profile_options    GIVEN, make_moe_profile_options, &start_moe_profile_options
#define IS_moe_route_view         GIVEN, make_moe_route_view, &start_moe_route_view
#define IS_moe_message            GIVEN, make_moe_message, &start_moe_message
#define IS_moe_stream             GIVEN, make_moe_stream, &start_moe_stream
#define IS_moe_next               GIVEN, make_moe_next, &start_moe_next
#define IS_moe_model_info         FILLED, NULL, NULL
#define IS_moe_layer_info         FILLED, NULL, NULL
#define IS_moe_meta               FILLED, NULL, NULL
#define IS_moe_tensor_info        FILLED, NULL, NULL
#define IS_moe_session_info       FILLED, NULL, NULL
#define IS_moe_memory             FILLED, NULL, NULL
#define IS_moe_stats              FILLED, NULL, NULL
#define IS_moe_router_info        FILLED, NULL, NULL
#define IS_moe_profile_info       FILLED, NULL, NULL
#define IS_moe_router_profile     FILLED, NULL, NULL
#define IS_moe_trace_info         FILLED, NULL, NULL
#define IS_moe_trace_row          FILLED, NULL, NULL
#define IS_moe_expert_info        FILLED, NULL, NULL
#define IS_moe_shape_info         FILLED, NULL, NULL
#define IS_moe_expert_find        FILLED, NULL, NULL
#define IS_moe_progress           SHOWN, NULL, NULL
#define IS_moe_route_input        SHOWN, NULL, NULL
#define IS_moe_route_output       SHOWN, NULL, NULL
#define IS_moe_policy_info        SHOWN, NULL, NULL
#define IS_moe_expert_call        SHOWN, NULL, NULL
#define IS_moe_layer_event        SHOWN, NULL, NULL
    /* clang-format on */

    /* Structs that go both ways are tested as FILLED too. */
    static int fill_moe_route_spec(void *p)
{
    return moe_router_get_spec(router, MOE_SPEC_NATIVE, p);
}
static int fill_moe_model_route(void *p) { return moe_model_get_route(model, 0, p); }
static int fill_moe_route_view(void *p) { return moe_router_route(router, hidden, 2, p); }
static int fill_moe_meta_elem(void *p) { return moe_model_meta_elem(model, "tokenizer.ggml.tokens", 3, p); }
static int fill_moe_plan(void *p) { return moe_plan(test_models[0], NULL, NULL, p); }
typedef struct row_of {
    const char *name;
    size_t size;
    int (*use)(void *p);
    int kind;
    void (*make)(void *p);
    const void *start;
} row_of;

#define ROW(s) {#s, sizeof(s), use_##s, IS_##s},
static const row_of rows[] = {MOE_STRUCTS(ROW)};
#define N_ROWS (sizeof rows / sizeof rows[0])

/* ---- the rules ---- */

/* A block of exactly n bytes that begins with its size. */
static void *block_of(const void *from, size_t n, size_t size)
{
    void *p = malloc(n);
    assert_non_null(p);
    memcpy(p, from, n);
    memcpy(p, &size, sizeof size);
    return p;
}

static int try_block(const row_of *r, const void *from, size_t n)
{
    void *p = block_of(from, n, n);
    said[0] = 0;
    const int st = r->use(p);
    if (!said[0]) note(st);
    free(p);
    return st;
}

static void unknown_bytes_must_be_zero(void **state)
{
    (void)state;
    unsigned n = 0;
    for (size_t i = 0; i < N_ROWS; i++) {
        const row_of *r = &rows[i];
        unsigned char image[1024];
        char place[64];
        if (r->kind != GIVEN) continue;
        assert_true(r->size + MORE <= sizeof image);
        memset(image, 0, sizeof image);
        r->make(image);
        const int usual = try_block(r, image, r->size);
        assert_int_not_equal(usual, MOE_E_VERSION);
        for (size_t more = 1; more <= MORE; more++) {
            memset(image, 0, sizeof image);
            r->make(image); /* some calls edit what they are given */
            if (try_block(r, image, r->size + more) != usual)
                fail_msg("%s: %zu zero bytes more are refused: %s", r->name, more, moe_last_error());
            image[r->size + more - 1] = (unsigned char)(more == 1 ? 0x80 : 1);
            const int st = try_block(r, image, r->size + more);
            if (st != MOE_E_VERSION) fail_msg("%s: byte %zu passes: %d", r->name, r->size + more - 1, st);
            snprintf(place, sizeof place, "%s: byte %zu", r->name, r->size + more - 1);
            if (!strstr(said, place)) fail_msg("%s: message: %s", place, said);
        }
        n++;
    }
    assert_true(n >= 20);
}

static void sizes_never_set_are_refused(void **state)
{
    (void)state;
    static const size_t bad[] = {0, 1, sizeof(size_t) - 1, 65537, SIZE_MAX};
    for (size_t i = 0; i < N_ROWS; i++) {
        unsigned char image[1024];
        if (rows[i].kind == SHOWN) continue;
        for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
            memset(image, 0, sizeof image);
            if (rows[i].make) rows[i].make(image);
            memcpy(image, &bad[k], sizeof bad[k]);
            const int st = rows[i].use(image);
            if (st != MOE_E_INVALID) fail_msg("%s: size %zu: %d", rows[i].name, bad[k], st);
        }
    }
}

/* A program of an older interface: its struct ends earlier. Some have never been shorter and must be whole.
 */
static void shorter_ones_count_as_start_values(void **state)
{
    (void)state;
    static const char *const whole_ones = "moe_message moe_stream moe_next";
    for (size_t i = 0; i < N_ROWS; i++) {
        const row_of *r = &rows[i];
        if (r->kind != GIVEN || strstr(whole_ones, r->name)) continue;
        for (size_t n = sizeof(size_t); n < r->size; n += sizeof(void *)) { /* whole pointers */
            unsigned char image[1024] = {0}, whole[1024];
            r->make(image);
            memcpy(whole, r->start, r->size);
            memcpy(whole, image, n);
            const int want = try_block(r, whole, r->size), got = try_block(r, image, n);
            if (got != want)
                fail_msg("%s of %zu bytes: %d instead of %d: %s", r->name, n, got, want, moe_last_error());
        }
    }
}

static void check_filled(const char *name, size_t known, int (*use)(void *p))
{
    unsigned char want[1024], zero[MORE] = {0};
    memset(want, 0xa5, sizeof want);
    void *whole = block_of(want, known, known);
    int st = use(whole);
    if (st != MOE_OK) fail_msg("%s: %d: %s", name, st, moe_last_error());
    memcpy(want, whole, known);
    free(whole);
    /* what is found must at least say where it is */
    const size_t least =
        strncmp(name, "moe_expert_find", 15) ? sizeof(size_t) : offsetof(moe_expert_find, channel);
    for (size_t n = least; n <= known + MORE; n++) {
        unsigned char dirt[1024];
        memset(dirt, 0x5a, sizeof dirt);
        unsigned char *p = block_of(dirt, n, n);
        size_t size;
        st = use(p);
        if (st != MOE_OK) fail_msg("%s of %zu bytes: %d: %s", name, n, st, moe_last_error());
        memcpy(&size, p, sizeof size);
        assert_int_equal(size, n);
        const size_t both = n < known ? n : known;
        if (memcmp(p + sizeof size, want + sizeof size, both - sizeof size) != 0)
            fail_msg("%s of %zu bytes: another content", name, n);
        if (n > known) assert_memory_equal(p + known, zero, n - known);
        free(p);
        p = block_of(dirt, sizeof dirt, n); /* and not a byte behind it */
        assert_ok(use(p));
        assert_memory_equal(p + n, dirt + n, sizeof dirt - n);
        free(p);
    }
}

static void every_size_is_filled(void **state)
{
    (void)state;
    unsigned n = 0;
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].kind == FILLED) {
            check_filled(rows[i].name, rows[i].size, rows[i].use);
            n++;
        }
    assert_true(n >= 15);
    check_filled("moe_route_spec (router)", sizeof(moe_route_spec), fill_moe_route_spec);
    check_filled("moe_route_spec (model)", sizeof(moe_route_spec), fill_moe_model_route);
    check_filled("moe_route_view", sizeof(moe_route_view), fill_moe_route_view);
    check_filled("moe_meta (element)", sizeof(moe_meta), fill_moe_meta_elem);
    check_filled("moe_memory (plan)", sizeof(moe_memory), fill_moe_plan);
}

static void callbacks_are_told_the_size(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS; i++) {
        if (rows[i].kind != SHOWN) continue;
        seen = 0;
        assert_ok(rows[i].use(NULL));
        if (seen != rows[i].size) fail_msg("%s: size %zu", rows[i].name, seen);
    }
}

/* Lists of structs: the distance is the size of the first. */
static void lists_have_the_callers_distance(void **state)
{
    (void)state;
    struct wide {
        moe_message m;
        uint64_t later[2];
    } wide[3];
    moe_message plain[3];
    static const char *const role[] = {"system", "user", "assistant"};
    const moe_tokenizer *t;
    char want[256], got[256];
    size_t n, n_got, n_found;
    memset(wide, 0, sizeof wide);
    for (int i = 0; i < 3; i++) {
        plain[i] = (moe_message){sizeof plain[i], role[i], "Hello"};
        wide[i].m = (moe_message){sizeof wide[i], role[i], "Hello"};
    }
    assert_ok(moe_model_tokenizer(talker, &t));
    assert_ok(moe_tokenizer_chat(t, plain, 3, 0, want, sizeof want, &n));
    assert_ok(moe_tokenizer_chat(t, &wide[0].m, 3, 0, got, sizeof got, &n_got));
    assert_int_equal(n, n_got);
    assert_memory_equal(want, got, n);
    wide[2].later[1] = 1;
    assert_refused(moe_tokenizer_chat(t, &wide[0].m, 3, 0, got, sizeof got, &n), MOE_E_VERSION, "byte");
    wide[2].later[1] = 0;
    wide[1].m.size = sizeof(moe_message);
    assert_refused(moe_tokenizer_chat(t, &wide[0].m, 3, 0, got, sizeof got, &n), MOE_E_INVALID, "message 1");

    struct wide_find {
        moe_expert_find f;
        uint64_t later;
    } find[4];
    moe_expert_find known[4];
    memset(find, 0x5a, sizeof find);
    find[0].f.size = sizeof find[0];
    known[0].size = sizeof known[0];
    assert_ok(moe_profile_rank(profile, MOE_RANK_RATE, 0, UINT32_MAX, &find[0].f, 4, &n_found));
    assert_ok(moe_profile_rank(profile, MOE_RANK_RATE, 0, UINT32_MAX, known, 4, &n_found));
    assert_true(n_found >= 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(find[i].f.size, sizeof find[i]);
        assert_int_equal(find[i].f.index, known[i].index);
        assert_int_equal(find[i].f.layer, known[i].layer);
        assert_int_equal(find[i].later, 0);
    }
}

/* ---- what all need ---- */

static int setup(void **state)
{
    (void)state;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_profile_options po = MOE_PROFILE_OPTIONS_INIT;
    moe_router_info info = MOE_ROUTER_INFO_INIT;
    model = open_model("tests/golden/data/qwen3moe.gguf", 0);
    talker = open_model(talker_path, MOE_OPEN_METADATA_ONLY);
    o.n_threads = 1;
    session = make_session(model, o);
    fill_tokens(model, id, 16, 1);
    assert_ok(moe_model_tokenizer(model, &tok));
    assert_ok(moe_session_router(session, 0, &router));
    assert_ok(moe_router_get_info(router, &info));
    dim = info.dim;
    n_experts = info.n_experts;
    hidden = calloc((size_t)dim * 2, sizeof *hidden);
    row = calloc(n_experts, sizeof *row);
    assert_true(hidden && row);
    for (uint32_t i = 0; i < 2 * dim; i++) hidden[i] = (float)(i % 7) - 3.0f;
    po.flags = MOE_PROFILE_OUTPUTS;
    po.n_classes = 2;
    assert_ok(moe_profile_create(&profile, model, &po));
    assert_ok(moe_trace_create(&trace, model, MOE_TRACE_WEIGHTS, NULL));
    assert_ok(moe_session_set_profile(session, profile));
    assert_ok(moe_session_observe(session, moe_trace_observe, trace));
    assert_ok(moe_session_eval(session, id, 8));
    assert_ok(moe_profile_begin(profile, 1));
    assert_ok(moe_session_eval(session, id + 8, 8));
    assert_ok(moe_session_set_profile(session, NULL));
    assert_ok(moe_session_observe(session, NULL, NULL));
    assert_ok(moe_session_seq_truncate(session, 0, 0));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    moe_trace_free(trace);
    moe_profile_free(profile);
    moe_session_free(session);
    moe_model_release(model);
    moe_model_release(talker);
    free(hidden);
    free(row);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    talker_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_bytes_must_be_zero),
        cmocka_unit_test(sizes_never_set_are_refused),
        cmocka_unit_test(shorter_ones_count_as_start_values),
        cmocka_unit_test(every_size_is_filled),
        cmocka_unit_test(callbacks_are_told_the_size),
        cmocka_unit_test(lists_have_the_callers_distance),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
