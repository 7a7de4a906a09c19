/* SPDX-License-Identifier: MIT */
/*
 * Sequences of calls decoded from bytes, against a model of what a session holds: tokens of each sequence.
 * Arguments are legal and illegal. Promises: a call that succeeds does what it says; one that fails changes
 * nothing; no order of calls crashes; all is freed in the end.
 */
#include "fuzz.h"

#define N_SESSIONS 2
#define N_SEQS     3
#define N_CTX      64u
#define ROOM       (N_CTX * N_SEQS) /* pages for one sequence at most */
#define MAX_CALLS  48

typedef struct shadow {
    moe_session *s;
    moe_token token[N_SEQS][ROOM];
    size_t len[N_SEQS];
    int observe_stop; /* the observer stops after that many calls; 0 = never */
} shadow;

typedef struct saved {
    uint8_t p[65536];
    size_t n, at;
    moe_token token[N_SEQS][ROOM];
    size_t len[N_SEQS];
} saved;

static fuzz_heap heap = {0, 0, (size_t)64 << 20};
static moe_model *model;
static size_t n_vocab;
static uint32_t n_experts, n_layers;
static saved slot, single; /* a session; one sequence, as number 0 */

/* ----------------------------------------------------------------------------------------------- sessions */

static void prepare(void)
{
    const moe_allocator hook = fuzz_allocator(&heap);
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    o.allocator = &hook;
    o.n_threads = 1;
    if (moe_model_open(&model, FUZZ_MODEL, &o) != MOE_OK) {
        fprintf(stderr, "%s: %s\n", FUZZ_MODEL, moe_last_error());
        exit(2);
    }
    FUZZ_CHECK(moe_model_get_info(model, &info) == MOE_OK);
    n_vocab = info.n_vocab;
    n_experts = info.n_experts;
    n_layers = info.n_layers;
}

static void create(shadow *w, uint32_t choice)
{
    moe_session_options so = MOE_SESSION_OPTIONS_INIT;
    so.n_ctx = N_CTX;
    so.n_seq_max = N_SEQS;
    so.n_output_max = 4;
    so.n_batch_max = 1 + (choice & 7);
    so.n_threads = 1;
    so.kv_type_k = choice & 8 ? MOE_KV_F32 : 0;
    so.kv_type_v = so.kv_type_k;
    memset(w, 0, sizeof *w);
    FUZZ_CHECK(moe_session_create(&w->s, model, &so) == MOE_OK);
}

static void check(const shadow *w)
{
    moe_token ids[ROOM];
    for (moe_seq q = 0; q < N_SEQS; q++) {
        size_t n = 0;
        FUZZ_CHECK(moe_session_seq_len(w->s, q) == w->len[q]);
        FUZZ_CHECK(moe_session_seq_tokens(w->s, q, ids, ROOM, &n) == MOE_OK && n == w->len[q]);
        FUZZ_CHECK(memcmp(ids, w->token[q], n * sizeof *ids) == 0);
    }
}

static moe_token a_token(fuzz_input *in)
{
    const uint32_t b = fuzz_u8(in);
    return b == 255 ? (moe_token)fuzz_u32(in) : (moe_token)(b % n_vocab); /* now and then one out of range */
}

static void push(shadow *w, moe_seq q, moe_token id)
{
    FUZZ_CHECK(w->len[q] < ROOM);
    w->token[q][w->len[q]++] = id;
}

/* ---------------------------------------------------------------------------------------------- the calls */

static void call_eval(shadow *w, fuzz_input *in)
{
    moe_token ids[24] = {0};
    const size_t n = fuzz_u8(in) % 24;
    for (size_t i = 0; i < n; i++) ids[i] = a_token(in);
    const int st = moe_session_eval(w->s, ids, n);
    if (st != MOE_OK) return;
    for (size_t i = 0; i < n; i++) push(w, 0, ids[i]);
}

static void call_batch(shadow *w, fuzz_input *in)
{
    moe_token ids[16];
    moe_seq seq[16];
    moe_pos pos[16];
    uint8_t want[16];
    moe_batch b = MOE_BATCH_INIT;
    const uint32_t with = fuzz_u8(in);
    b.n_tokens = fuzz_u8(in) % 16;
    for (size_t i = 0; i < b.n_tokens; i++) {
        const uint32_t r = fuzz_u8(in);
        ids[i] = a_token(in);
        seq[i] = (moe_seq)(r & 7) - (r & 64 ? 4 : 0);
        pos[i] = (moe_pos)(seq[i] >= 0 && seq[i] < N_SEQS ? w->len[seq[i]] : 0) + (moe_pos)(r >> 7);
        want[i] = (uint8_t)(r >> 3 & 3);
        if (with & 16) seq[i] = (moe_seq)((uint32_t)seq[i] % N_SEQS);
    }
    b.token = ids;
    b.seq = with & 1 ? seq : NULL;
    b.pos = with & 2 ? pos : NULL;
    b.want = with & 4 ? want : NULL;
    if (moe_session_eval_batch(w->s, &b) != MOE_OK) return;
    for (size_t i = 0; i < b.n_tokens; i++) push(w, b.seq ? seq[i] : 0, ids[i]);
}

static void call_copy(shadow *w, fuzz_input *in)
{
    const moe_seq from = (moe_seq)(fuzz_u8(in) % 5) - 1, to = (moe_seq)(fuzz_u8(in) % 5) - 1;
    if (moe_session_seq_copy(w->s, from, to) != MOE_OK) return;
    FUZZ_CHECK(from >= 0 && from < N_SEQS && to >= 0 && to < N_SEQS);
    if (from != to) memcpy(w->token[to], w->token[from], sizeof w->token[to]);
    w->len[to] = w->len[from];
}

static void call_truncate(shadow *w, fuzz_input *in)
{
    const moe_seq q = (moe_seq)(fuzz_u8(in) % 5) - 1;
    const moe_pos keep = (moe_pos)(fuzz_u8(in) % 32) - 1;
    const int st = moe_session_seq_truncate(w->s, q, keep);
    const int legal = q >= 0 && q < N_SEQS && keep >= 0 && (size_t)keep <= w->len[q];
    FUZZ_CHECK((st == MOE_OK) == legal);
    if (legal) w->len[q] = (size_t)keep;
}

static void call_remove(shadow *w, fuzz_input *in)
{
    const moe_seq q = (moe_seq)(fuzz_u8(in) % 5) - 1;
    const moe_pos first = (moe_pos)(fuzz_u8(in) % 80) - 1;
    const size_t n = fuzz_u8(in) % 80;
    const int legal = q >= 0 && q < N_SEQS && first >= 0 && (size_t)first + n <= w->len[q];
    const int st = moe_session_seq_remove(w->s, q, first, n);
    FUZZ_CHECK(legal ? st == MOE_OK || st == MOE_E_FULL : st == MOE_E_RANGE);
    if (st != MOE_OK) return;
    memmove(w->token[q] + first, w->token[q] + (size_t)first + n,
            (w->len[q] - (size_t)first - n) * sizeof(moe_token));
    w->len[q] -= n;
}

static void call_reset(shadow *w, fuzz_input *in)
{
    (void)in;
    moe_session_reset(w->s);
    memset(w->len, 0, sizeof w->len);
}

static int write_slot(const void *data, size_t n, void *user)
{
    saved *v = user;
    if (n > sizeof v->p - v->n) return MOE_E_FULL;
    memcpy(v->p + v->n, data, n);
    v->n += n;
    return 0;
}

static int read_slot(void *data, size_t n, void *user)
{
    saved *v = user;
    if (n > v->n - v->at) return MOE_E_IO;
    memcpy(data, v->p + v->at, n);
    v->at += n;
    return 0;
}

static void call_save(shadow *w, fuzz_input *in)
{
    (void)in;
    slot.n = 0;
    FUZZ_CHECK(moe_session_save(w->s, write_slot, &slot) == MOE_OK);
    memcpy(slot.token, w->token, sizeof slot.token);
    memcpy(slot.len, w->len, sizeof slot.len);
}

static void call_load(shadow *w, fuzz_input *in)
{
    (void)in;
    slot.at = 0;
    if (moe_session_load(w->s, read_slot, &slot) != MOE_OK)
        return; /* nothing saved, or another kind of cache */
    FUZZ_CHECK(slot.at == slot.n && slot.n > 0);
    memcpy(w->token, slot.token, sizeof slot.token);
    memcpy(w->len, slot.len, sizeof slot.len);
}

static void call_save_one(shadow *w, fuzz_input *in)
{
    const moe_seq q = (moe_seq)(fuzz_u8(in) % N_SEQS);
    single.n = 0;
    FUZZ_CHECK(moe_session_seq_save(w->s, q, write_slot, &single) == MOE_OK);
    memcpy(single.token[0], w->token[q], sizeof single.token[0]);
    single.len[0] = w->len[q];
}

/* Of this kind, or a whole session, which may have one sequence or none and no results. */
static void call_load_one(shadow *w, fuzz_input *in)
{
    const uint32_t which = fuzz_u8(in);
    const moe_seq q = (moe_seq)(which % N_SEQS);
    saved *from = which & 64 ? &slot : &single;
    moe_seq of = 0;
    from->at = 0;
    if (moe_session_seq_load(w->s, q, read_slot, from) != MOE_OK) return;
    FUZZ_CHECK(from->at == from->n && from->n > 0);
    for (moe_seq i = 0; from == &slot && i < N_SEQS; i++)
        if (slot.len[i]) of = i;
    memcpy(w->token[q], from->token[of], sizeof w->token[q]);
    w->len[q] = from->len[of];
}

static void call_results(shadow *w, fuzz_input *in)
{
    const float *x;
    size_t n = 0;
    moe_token ids[8];
    float lp[8];
    const size_t row = fuzz_u8(in) % 6;
    moe_session_info info = MOE_SESSION_INFO_INIT;
    moe_stats stats = MOE_STATS_INIT;
    FUZZ_CHECK(moe_session_get_info(w->s, &info) == MOE_OK);
    FUZZ_CHECK(moe_session_get_stats(w->s, &stats) == MOE_OK);
    const int st = moe_session_logits(w->s, row, &x, &n);
    FUZZ_CHECK((st == MOE_OK) == (row < info.n_outputs));
    if (st == MOE_OK) {
        FUZZ_CHECK(n == n_vocab && moe_session_logprobs(w->s, row, 8, ids, lp) == MOE_OK);
        for (int i = 0; i < 8; i++) FUZZ_CHECK(lp[i] <= 0.001f && (i == 0 || lp[i] <= lp[i - 1]));
        FUZZ_CHECK(moe_session_logprob(w->s, row, ids[0], lp + 1) == MOE_OK);
        FUZZ_CHECK(moe_session_logprob(w->s, row, (moe_token)n_vocab, lp + 1) != MOE_OK);
    }
    (void)moe_session_hidden(w->s, row, &x, &n);
}

static void call_interrupted(shadow *w, fuzz_input *in)
{
    moe_session_interrupt(w->s); /* what is refused before it runs leaves the request to the next one */
    FUZZ_CHECK(moe_session_eval(w->s, &(moe_token){(moe_token)(fuzz_u8(in) % 200)}, 1) != MOE_OK);
}

static int observer(const moe_route_view *v, void *user)
{
    shadow *w = user;
    for (uint32_t i = 0; i < v->offset[v->n_rows]; i++)
        FUZZ_CHECK(v->expert[i] < v->n_experts || (v->expert[i] == MOE_EXPERT_NONE && v->weight[i] == 0));
    return w->observe_stop && --w->observe_stop == 0 ? 1 : 0;
}

static void call_observe(shadow *w, fuzz_input *in)
{
    const uint32_t r = fuzz_u8(in);
    w->observe_stop = (int)(r >> 1 & 7);
    FUZZ_CHECK(moe_session_observe(w->s, r & 1 ? observer : NULL, w) == MOE_OK);
}

static void call_sampler(shadow *w, fuzz_input *in)
{
    char text[64];
    moe_sampler *p = NULL, *q = NULL;
    const size_t n = fuzz_u8(in) % 63;
    moe_token id = 0;
    for (size_t i = 0; i < n; i++) text[i] = (char)fuzz_u8(in);
    text[n] = '\0';
    FUZZ_CHECK(moe_sampler_create(&p, NULL) == MOE_OK);
    if (moe_sampler_add_named(p, text) == MOE_OK) {
        for (int i = 0; i < 3; i++) {
            const int st = moe_sampler_pick(p, w->s, 0, &id);
            if (st != MOE_OK) break;
            FUZZ_CHECK(id >= 0 && (size_t)id < n_vocab && moe_sampler_accept(p, id) == MOE_OK);
        }
        FUZZ_CHECK(moe_sampler_clone(&q, p) == MOE_OK);
        FUZZ_CHECK(moe_sampler_set_seed(q, 5) == MOE_OK && moe_sampler_reset(p) == MOE_OK);
    }
    moe_sampler_free(q);
    moe_sampler_free(p);
}

/* ---- routing ---- */

static moe_router *a_router(shadow *w, fuzz_input *in)
{
    moe_router *r = NULL;
    const uint32_t l = fuzz_u8(in) % (n_layers + 2);
    const int st = moe_session_router(w->s, l > n_layers ? MOE_ALL_LAYERS : l, &r);
    FUZZ_CHECK((st == MOE_OK) == (r != NULL));
    return r;
}

static void call_recipe(shadow *w, fuzz_input *in)
{
    static const char *const texts[] = {"native",
                                        "topk:k=1",
                                        "topp:p=0.5",
                                        "threshold:t=0.3,kmin=2",
                                        "random:k=2,perseq=1",
                                        "hash:k=1",
                                        "ranks:1+0",
                                        "fixed:ids=0+2",
                                        "all",
                                        "sparsemixer",
                                        "expertchoice:c=1",
                                        "topk:capacity=0.5,order=random",
                                        "topk:null=2,nullbias=0.5",
                                        "llama4",
                                        "deepseek-v3:k=2,groups=2,topgroups=1"};
    const uint32_t which = fuzz_u8(in);
    char text[80];
    moe_router *r = a_router(w, in);
    if (!r) return;
    if (which & 1) {
        (void)moe_router_set_named(r, texts[(which >> 1) % (sizeof texts / sizeof *texts)]);
        return;
    }
    const size_t n = fuzz_u8(in) % (sizeof text - 1);
    for (size_t i = 0; i < n; i++) text[i] = (char)fuzz_u8(in);
    text[n] = '\0';
    if (moe_router_set_named(r, text) != MOE_OK) return;
    size_t len = 0; /* what was understood can be said again */
    if (moe_router_get_named(r, text, sizeof text - 1, &len) != MOE_OK) return;
    text[len] = '\0';
    FUZZ_CHECK(moe_router_set_named(r, text) == MOE_OK);
}

static void call_steer(shadow *w, fuzz_input *in)
{
    moe_router *r = a_router(w, in);
    uint8_t use[64] = {0};
    float value[64];
    uint32_t id[8];
    if (!r) return;
    const uint32_t what = fuzz_u8(in);
    for (uint32_t e = 0; e < n_experts; e++) {
        use[e] = fuzz_u8(in) % 8;
        value[e] = ((float)use[e] - 3) * (what & 16 ? 1e30f : 0.5f);
    }
    for (int i = 0; i < 8; i++) id[i] = fuzz_u8(in) % (n_experts + 1);
    switch (what % 5) {
    case 0: (void)moe_router_set_use(r, use, n_experts); break;
    case 1: (void)moe_router_set_values(r, (int)(1 + (what >> 4) % 6), value, n_experts); break;
    case 2: (void)moe_router_set_limit(r, (moe_seq)(what >> 5) - 1, id, fuzz_u8(in) % 8); break;
    case 3: FUZZ_CHECK(moe_router_reset(r) == MOE_OK); break;
    default: {
        moe_route_override o = MOE_ROUTE_OVERRIDE_INIT;
        o.kind = 1 + (what >> 5) % 2;
        o.first = (moe_pos)(what >> 6);
        o.row = value;
        (void)moe_router_add_override(r, &o);
    }
    }
}

static void call_expert(shadow *w, fuzz_input *in)
{
    moe_router *r = a_router(w, in);
    moe_expert *e = NULL;
    if (!r || moe_router_expert(r, fuzz_u8(in) % n_experts, &e) != MOE_OK) return;
    const uint32_t to = fuzz_u8(in);
    if (to & 1)
        (void)moe_expert_redirect(e, to & 2 ? MOE_ALL_LAYERS : fuzz_u8(in) % (n_layers + 1),
                                  (to >> 2) % (n_experts + 1));
    else
        FUZZ_CHECK(moe_expert_restore(e) == MOE_OK);
}

/* A policy whose results are the fuzzer's: what it returns must be found legal or refused, never used as it
 * is. */
static uint8_t policy_bytes[64];

static int fuzzed_policy(void *state, const moe_route_input *in, moe_route_output *out)
{
    const uint8_t *p = policy_bytes;
    (void)state;
    uint32_t at = 0;
    size_t i = 0;
    for (uint32_t t = 0; t <= in->n_rows; t++) {
        const uint8_t c = p[i++ % sizeof policy_bytes];
        out->offset[t] = c == 255 ? UINT32_MAX : at;
        for (uint32_t k = 0; t < in->n_rows && k < c % 4u && at < out->cap; k++, at++) {
            const uint8_t e = p[i++ % sizeof policy_bytes];
            out->expert[at] = e == 254 ? MOE_EXPERT_NONE : e % (in->n_experts + 2);
            out->weight[at] = e == 253 ? 1e38f * 10 : (float)e / 64;
        }
    }
    return p[0] == 250 ? -42 : 0;
}

static void call_policy(shadow *w, fuzz_input *in)
{
    moe_router *r = a_router(w, in);
    moe_policy p = MOE_POLICY_INIT;
    if (!r) return;
    p.flags = fuzz_u8(in) % 16;
    p.max_k = 3;
    p.route = fuzzed_policy;
    for (size_t i = 0; i < sizeof policy_bytes; i++) policy_bytes[i] = (uint8_t)fuzz_u8(in);
    (void)moe_router_set_policy(r, &p, NULL);
}

static shadow *other_of; /* the session that routing is copied from */

static void call_copy_routing(shadow *w, fuzz_input *in)
{
    (void)in;
    FUZZ_CHECK(moe_session_copy_routing(w->s, other_of->s) == MOE_OK);
}

static void call_recreate(shadow *w, fuzz_input *in)
{
    moe_session_free(w->s);
    create(w, fuzz_u8(in));
}

static void (*const calls[])(shadow *w, fuzz_input *in) = {
    call_eval,     call_batch,  call_copy,         call_truncate,    call_reset,    call_save,
    call_load,     call_batch,  call_results,      call_interrupted, call_observe,  call_sampler,
    call_recreate, call_eval,   call_recipe,       call_recipe,      call_steer,    call_steer,
    call_expert,   call_policy, call_copy_routing, call_remove,      call_save_one, call_load_one};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    shadow w[N_SESSIONS];
    fuzz_input in = {data, n};
    if (!model) prepare();
    const size_t before = heap.now;
    slot.n = slot.at = 0;
    single.n = single.at = 0;
    for (int i = 0; i < N_SESSIONS; i++) create(&w[i], fuzz_u8(&in));
    for (int i = 0; i < MAX_CALLS && in.n > 0; i++) {
        const uint32_t r = fuzz_u8(&in);
        other_of = &w[~r & 1];
        calls[(r >> 1) % (sizeof calls / sizeof *calls)](&w[r & 1], &in);
        check(&w[0]);
        check(&w[1]);
    }
    for (int i = 0; i < N_SESSIONS; i++) moe_session_free(w[i].s);
    FUZZ_CHECK(heap.now == before);
    return 0;
}
