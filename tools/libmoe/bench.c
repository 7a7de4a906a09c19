/* SPDX-License-Identifier: MIT */
/*
 * libmoe bench: prefill and decode speed. For every context depth and thread count: fill the context, then
 * time each kind of work, one unmeasured round first; between rounds the context is cut back to its depth.
 * Several sequences decoded together have different texts and share nothing but the weights.
 * Decoding reads all active weights and the KV cache once per token, hence bytes per second; experts count by
 * how many the session's routing really used.
 */
#include "bench.h"

#include "interrupt.h"
#include "out.h"
#include "progress.h"
#include "setup.h"
#include "term.h"

#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------------------------------------- the model */

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/*
 * Bytes of weights used for one token: of the experts the selected share, of a table of embeddings one row
 * unless it is the output matrix as well, of everything else all.
 */
static void count_bytes(struct bench *b, const moe_model_info *info)
{
    const moe_model *m = b->model;
    size_t head;
    const bool tied = moe_model_tensor_find(m, "output.weight", &head) != MOE_OK;
    b->pairs = (double)info->n_moe_layers * (double)info->top_k;
    for (size_t i = 0; i < moe_model_tensor_count(m); i++) {
        moe_tensor_info t = MOE_TENSOR_INFO_INIT;
        if (moe_model_tensor_at(m, i, &t) != MOE_OK) continue;
        const double values = (double)t.dim[0] * (double)t.dim[1] * (double)t.dim[2] * (double)t.dim[3];
        const double share = info->n_experts ? (double)info->top_k / (double)info->n_experts : 1.0;
        const bool table = strcmp(t.name, "token_embd.weight") == 0;
        const bool expert = ends_with(t.name, "_exps.weight");
        if (expert || ends_with(t.name, "_exps.bias"))
            b->experts += (double)t.bytes * share;
        else if (table && !tied)
            b->dense += (double)t.bytes / (info->n_vocab ? (double)info->n_vocab : 1.0);
        else
            b->dense += (double)t.bytes;
        if (t.n_dims > 1 && !table && strcmp(t.name, "output.weight") != 0)
            b->products += values * (expert ? share : 1.0);
    }
}

/* Bytes of the KV cache that hold n positions. The cache itself is planned in pages, hence the share. */
static double kv_bytes(const struct bench *b, size_t n)
{
    moe_session_options o;
    moe_memory memory = MOE_MEMORY_INIT;
    const size_t planned = (n + 4095) / 4096 * 4096;
    session_options(b->s, &o);
    o.n_ctx = (uint32_t)planned;
    if (!n || moe_model_get_memory(b->model, &o, &memory) != MOE_OK) return 0.0;
    return (double)memory.kv * (double)n / (double)planned;
}

/* The same as the session routes: experts in proportion to those computed since the counters were reset. */
static double bytes_per_token(const struct bench *b)
{
    moe_stats st = MOE_STATS_INIT;
    double tokens, share = 1.0;
    if (moe_session_get_stats(b->session, &st) == MOE_OK) {
        tokens = (double)st.tokens_prefill + (double)st.tokens_decode;
        if (tokens > 0.0 && b->pairs > 0.0) share = (double)st.pairs / tokens / b->pairs;
    }
    return b->dense + b->experts * share;
}

/* The same for a step of several sequences: dense weights once, experts as they were fetched. */
static double bytes_per_step(const struct bench *b, size_t n_seq)
{
    moe_stats st = MOE_STATS_INIT;
    if (moe_session_get_stats(b->session, &st) != MOE_OK || st.tokens_decode < n_seq) return b->dense;
    return b->dense + (double)st.expert_bytes / ((double)st.tokens_decode / (double)n_seq);
}

/* Nanoseconds per token that the parts of the work took since the counters were reset. */
static void get_stages(const struct bench *b, struct result *r)
{
    moe_stats st = MOE_STATS_INIT;
    if (moe_session_get_stats(b->session, &st) != MOE_OK) return;
    const double tokens = (double)st.tokens_prefill + (double)st.tokens_decode;
    const double ns = (double)st.ns_prefill + (double)st.ns_decode;
    const uint64_t part[N_STAGES] = {st.ns_attn,   st.ns_route, st.ns_select,
                                     st.ns_expert, st.ns_dense, st.ns_head};
    for (size_t i = 0; i < N_STAGES && tokens > 0.0; i++) r->stage[i] = (double)part[i] / tokens;
    r->total = tokens > 0.0 ? ns / tokens : 0.0;
    r->select = ns > 0.0 ? (double)st.ns_select / ns : 0.0;
}

static size_t largest(const struct int_list *list)
{
    size_t best = 0;
    for (size_t i = 0; i < list->n; i++)
        if ((size_t)list->v[i] > best) best = (size_t)list->v[i];
    return best;
}

static bool make_ids(struct bench *b, uint32_t n_vocab)
{
    uint64_t x = 88172645463325252u;
    b->ids = malloc((b->n_ids + 1) * sizeof *b->ids);
    b->seq = malloc(b->n_seq * sizeof *b->seq);
    b->row = malloc(b->n_seq * sizeof *b->row);
    if (!b->ids || !b->seq || !b->row) {
        complain("out of memory");
        return false;
    }
    for (size_t q = 0; q < b->n_seq; q++) b->seq[q] = (moe_seq)q;
    for (size_t i = 0; i < b->n_ids; i++) {
        x ^= x << 13; /* xorshift64: the same tokens each time */
        x ^= x >> 7;
        x ^= x << 17;
        b->ids[i] = (moe_token)(x % n_vocab);
    }
    return true;
}

/* -------------------------------------------------------------------------------------------- measurement */

/* Token i of a sequence; sequence 0 has the tokens in order. */
static moe_token token_of(const struct bench *b, size_t q, size_t i)
{
    return b->ids[(i + 37 * q) % b->n_ids];
}

/* A sequence back at `depth`. Sliding windows that have moved on are evaluated again. */
static int cut_one(struct bench *b, size_t q, size_t depth)
{
    moe_batch batch = MOE_BATCH_INIT;
    int status = moe_session_seq_truncate(b->session, (moe_seq)q, (moe_pos)depth);
    if (status != MOE_E_STATE) return status;
    status = moe_session_seq_truncate(b->session, (moe_seq)q, 0);
    batch.n_tokens = 1;
    batch.token = b->row;
    batch.seq = b->seq + q;
    for (size_t i = 0; i < depth && status == MOE_OK; i++) {
        b->row[0] = token_of(b, q, i);
        status = eval_batch(b->session, &batch);
    }
    return status;
}

static int cut(struct bench *b, size_t depth)
{
    int status = MOE_OK;
    if (!depth) moe_session_reset(b->session);
    for (size_t q = 0; depth && q < b->n_seq && status == MOE_OK; q++)
        if (moe_session_seq_len(b->session, (moe_seq)q) > depth) status = cut_one(b, q, depth);
    return status;
}

/* Fills sequences 1 .. n_seq-1 up to `depth`, one token of each in a step. */
static int fill(struct bench *b, size_t n_seq, size_t depth)
{
    moe_batch batch = MOE_BATCH_INIT;
    int status = MOE_OK;
    batch.token = b->row;
    batch.seq = b->seq + 1;
    batch.n_tokens = n_seq - 1;
    for (size_t q = 1; q < n_seq && status == MOE_OK; q++)
        status = moe_session_seq_truncate(b->session, (moe_seq)q, 0);
    for (size_t i = 0; n_seq > 1 && i < depth && status == MOE_OK; i++) {
        for (size_t q = 1; q < n_seq; q++) b->row[q - 1] = token_of(b, q, i);
        status = eval_batch(b->session, &batch);
    }
    return status;
}

/* n tokens behind `depth`, one by one, of n_seq sequences together. */
static int decode_steps(struct bench *b, size_t n_seq, size_t n, size_t depth)
{
    moe_batch batch = MOE_BATCH_INIT;
    int status = MOE_OK;
    batch.token = b->row;
    batch.seq = b->seq;
    batch.n_tokens = n_seq;
    for (size_t i = 0; i < n && status == MOE_OK; i++) {
        for (size_t q = 0; q < n_seq; q++) b->row[q] = token_of(b, q, depth + i);
        status = eval_batch(b->session, &batch);
    }
    return status;
}

/* One round: n tokens behind `depth`, all at once (n_seq = 0) or step by step. */
static int round_of(struct bench *b, size_t n_seq, size_t n, size_t depth, uint64_t *ns)
{
    int status = cut(b, depth);
    const uint64_t start = clock_ns();
    if (status == MOE_OK)
        status = n_seq ? decode_steps(b, n_seq, n, depth) : eval_tokens(b->session, b->ids + depth, n);
    *ns = clock_ns() - start;
    return status;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* n_seq = 0: prefill. */
static int measure(struct bench *b, size_t n_seq, size_t n, size_t depth, struct result *r)
{
    const size_t rounds = (size_t)b->s->repetitions, per_round = n_seq ? n_seq * n : n;
    uint64_t ns;
    int status = MOE_OK;
    r->kind = n_seq ? "decode" : "prefill";
    r->tokens = (uint32_t)n;
    r->context = (uint32_t)depth;
    r->rounds = (uint32_t)rounds;
    r->sequences = n_seq ? (uint32_t)n_seq : 1;
    progress_begin(r->kind, false);
    status = fill(b, n_seq ? n_seq : 1, depth);
    for (size_t i = 0; i <= rounds && status == MOE_OK; i++) {
        progress_update(i, rounds + 1);
        status = round_of(b, n_seq, n, depth, &ns);
        if (i == 0)
            moe_session_reset_stats(b->session);
        else if (status == MOE_OK)
            b->speed[i - 1] = (double)per_round * 1e9 / (double)(ns ? ns : 1);
    }
    progress_end();
    if (status != MOE_OK) return status;
    qsort(b->speed, rounds, sizeof *b->speed, by_value);
    r->min = b->speed[0];
    r->max = b->speed[rounds - 1];
    r->median = rounds % 2 ? b->speed[rounds / 2] : 0.5 * (b->speed[rounds / 2 - 1] + b->speed[rounds / 2]);
    if (n_seq) {
        const double weights = n_seq > 1 ? bytes_per_step(b, n_seq) : bytes_per_token(b);
        const double kv = kv_bytes(b, depth + n / 2) * (double)n_seq;
        r->bytes = r->median / (double)n_seq * (weights + kv);
    } else {
        r->ops = r->median * 2.0 * b->products;
    }
    get_stages(b, r);
    return MOE_OK;
}

/* -------------------------------------------------------------------------------------------------- loops */

/* All kinds of work at one depth with the session's threads. */
static int measure_kinds(struct bench *b, size_t depth, uint32_t threads)
{
    const struct settings *s = b->s;
    int status = MOE_OK;
    for (size_t i = 0; i < s->prompts.n + s->sequences.n && status == MOE_OK && !out_failed(); i++) {
        const bool decode = i >= s->prompts.n;
        const int32_t n = decode ? s->generate : s->prompts.v[i];
        const size_t n_seq = decode ? (size_t)s->sequences.v[i - s->prompts.n] : 0;
        struct result r = {.threads = threads};
        if (n <= 0) continue;
        status = measure(b, n_seq, (size_t)n, depth, &r);
        if (status == MOE_OK) bench_show(b, &r);
    }
    return status;
}

static const struct int_list *thread_counts(const struct bench *b)
{
    static const struct int_list all = {1, {0}};
    return b->s->thread_list.n ? &b->s->thread_list : &all;
}

static int measure_depth(struct bench *b, size_t depth)
{
    const struct int_list *list = thread_counts(b);
    int status = cut(b, 0);
    if (status == MOE_OK && depth) status = eval_tokens(b->session, b->ids, depth);
    for (size_t i = 0; i < list->n && status == MOE_OK; i++) {
        moe_session_info info = MOE_SESSION_INFO_INIT;
        status = moe_session_set_threads(b->session, list->v[i]);
        if (status == MOE_OK) status = moe_session_get_info(b->session, &info);
        if (status == MOE_OK) status = measure_kinds(b, depth, info.n_threads);
        /* Leave the context filled for the next thread count. */
        if (status == MOE_OK && moe_session_seq_len(b->session, 0) < depth)
            status = eval_tokens(b->session, b->ids, depth);
    }
    return status;
}

/* What the machine can do, with each thread count. */
static int measure_limits(struct bench *b)
{
    const struct int_list *list = thread_counts(b);
    int status = MOE_OK;
    bench_limits_head(b);
    for (size_t i = 0; i < list->n && status == MOE_OK && !out_failed(); i++) {
        moe_session_info info = MOE_SESSION_INFO_INIT;
        status = moe_session_set_threads(b->session, list->v[i]);
        if (status == MOE_OK) status = moe_session_get_info(b->session, &info);
        if (status != MOE_OK) break;
        const struct limits limits = limits_measure(info.n_threads, b->s->isa);
        bench_show_limits(b, info.n_threads, &limits);
    }
    return status;
}

static int measure_all(struct bench *b, const moe_model_info *info)
{
    int status = MOE_OK, code = CODE_OK;
    bench_head(b, info);
    for (size_t i = 0; i < b->s->contexts.n && status == MOE_OK; i++)
        status = measure_depth(b, (size_t)b->s->contexts.v[i]);
    if (b->s->limits && status == MOE_OK) status = measure_limits(b);
    bench_tail(b, status == MOE_OK);
    if (status == MOE_E_ABORTED) {
        complain("interrupted; what is shown was measured in full");
        code = CODE_INTERRUPTED;
    } else if (status != MOE_OK) {
        code = report(status, "measuring");
    }
    return code;
}

int cmd_bench(const struct settings *s)
{
    static struct bench b;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_session_options o;
    size_t n;
    int status, code;
    if (s->json && s->csv) return usage_error(s->command, "of --json and --csv only one can be used");
    b.s = s;
    n = largest(&s->prompts) > (size_t)s->generate ? largest(&s->prompts) : (size_t)s->generate;
    b.n_ids = largest(&s->contexts) + n;
    b.n_seq = largest(&s->sequences);
    if (n == 0 && !s->limits)
        return usage_error(s->command, "nothing to measure: --prompt and --generate are both 0");
    if ((uint64_t)b.n_seq * (largest(&s->contexts) + (size_t)s->generate) > 1u << 30)
        return usage_error(s->command, "%zu sequences of that length are too much", b.n_seq);
    code = open_model(s, 0, &b.model);
    if (code != CODE_OK) return code;
    status = moe_model_get_info(b.model, &info);
    if (status != MOE_OK) code = report(status, "cannot describe the model");
    session_options(s, &o);
    n = largest(&s->contexts) + (size_t)s->generate; /* of each sequence */
    o.n_ctx = (uint32_t)(n * b.n_seq > b.n_ids ? n * b.n_seq : b.n_ids);
    o.n_seq_max = (uint32_t)b.n_seq;
    o.progress = NULL; /* the bar counts rounds */
    if (code == CODE_OK) code = open_session(s, b.model, &o, &b.session);
    if (code == CODE_OK && !make_ids(&b, info.n_vocab ? info.n_vocab : 1)) code = CODE_FAIL;
    if (code == CODE_OK) {
        count_bytes(&b, &info);
        code = measure_all(&b, &info);
    }
    interrupt_target(NULL);
    moe_session_free(b.session);
    moe_model_release(b.model);
    free(b.ids);
    free(b.seq);
    free(b.row);
    return code;
}
