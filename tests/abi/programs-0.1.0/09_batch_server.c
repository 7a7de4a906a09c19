/* SPDX-License-Identifier: MIT */
/*
 * Many requests in one session:  09_batch_server MODEL.gguf [TOKENS]
 *
 * The heart of a server, without the network. All requests begin with the same text. It is evaluated once, in
 * sequence 0; a request takes a free sequence, copies sequence 0 (which costs nothing: the KV pages are
 * shared), adds its own words and generates. Each step evaluates one token of every running request in a
 * single batch, so that weights are read once for all. When a request is done its sequence goes to the next
 * one in the queue.
 *
 * Results do not depend on the company: each request gets what it would get alone, which main() checks for
 * the first.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS      3 /* requests under way at once; sequence 0 holds the common beginning */
#define IDS_MAX    128
#define TOKENS_MAX 64
#define SAMPLER    "top-k:k=20;temp:t=0.7;dist:seed=%u"

static const char beginning[] = "There was once a king who had three daughters. ";
static const char *const requests[] = {"The eldest", "The second", "The youngest", "One day the king",
                                       "In winter"};
#define N_REQUESTS (sizeof requests / sizeof requests[0])

typedef struct slot {
    int request; /* index, or -1: free */
    moe_sampler *sampler;
    moe_token next; /* picked, not yet evaluated */
} slot;

typedef struct server {
    moe_session *session;
    const moe_tokenizer *tok;
    slot slot[SLOTS]; /* slot i uses sequence i + 1 */
    int n_tokens;     /* wanted of each request */
    moe_token said[N_REQUESTS][TOKENS_MAX];
    int n_said[N_REQUESTS];
} server;

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

static int encode(const server *v, const char *text, uint32_t flags, moe_token *ids, size_t *n)
{
    return moe_tokenizer_encode(v->tok, text, strlen(text), flags, ids, IDS_MAX, n) == MOE_OK
               ? 0
               : failed("encoding");
}

/* Evaluates tokens of one sequence; row 0 of the results is the last token's. */
static int eval_one(server *v, moe_seq q, const moe_token *ids, size_t n)
{
    moe_seq seq[IDS_MAX];
    moe_batch b = MOE_BATCH_INIT;
    for (size_t i = 0; i < n; i++) seq[i] = q;
    b.n_tokens = n;
    b.token = ids;
    b.seq = seq;
    return moe_session_eval_batch(v->session, &b) == MOE_OK ? 0 : failed("evaluating");
}

/* Picks the next token of a slot from a row of results; a request that is done gives its slot back. */
static int pick(server *v, slot *s, size_t row)
{
    const int r = s->request;
    if (moe_sampler_pick(s->sampler, v->session, row, &s->next) != MOE_OK ||
        moe_sampler_accept(s->sampler, s->next) != MOE_OK)
        return failed("choosing a token");
    v->said[r][v->n_said[r]++] = s->next;
    if (v->n_said[r] == v->n_tokens || moe_tokenizer_attr(v->tok, s->next) & MOE_ATTR_END) s->request = -1;
    return 0;
}

static int start(server *v, int i, int request)
{
    moe_token ids[IDS_MAX];
    char stages[64];
    size_t n;
    slot *s = &v->slot[i];
    s->request = request;
    moe_sampler_free(s->sampler);
    s->sampler = NULL;
    snprintf(stages, sizeof stages, SAMPLER, (unsigned)request);
    if (moe_sampler_create(&s->sampler, NULL) != MOE_OK ||
        moe_sampler_add_named(s->sampler, stages) != MOE_OK)
        return failed("making a sampler");
    if (moe_session_seq_copy(v->session, 0, i + 1) != MOE_OK) return failed("copying the beginning");
    if (encode(v, requests[request], 0, ids, &n) != 0 || eval_one(v, i + 1, ids, n) != 0) return -1;
    return pick(v, s, 0);
}

/* One token of every running request in one batch. Row k of the results belongs to the k-th of them. */
static int step(server *v)
{
    moe_token ids[SLOTS];
    moe_seq seq[SLOTS];
    slot *running[SLOTS];
    moe_batch b = MOE_BATCH_INIT;
    for (int i = 0; i < SLOTS; i++) {
        if (v->slot[i].request < 0) continue;
        running[b.n_tokens] = &v->slot[i];
        ids[b.n_tokens] = v->slot[i].next;
        seq[b.n_tokens++] = i + 1;
    }
    if (b.n_tokens == 0) return 0;
    b.token = ids;
    b.seq = seq;
    if (moe_session_eval_batch(v->session, &b) != MOE_OK) return failed("evaluating a step");
    for (size_t k = 0; k < b.n_tokens; k++)
        if (pick(v, running[k], k) != 0) return -1;
    return 0;
}

/* Serves requests first .. end-1. */
static int serve(server *v, int first, int end)
{
    int waiting = first, running = 1;
    memset(v->n_said, 0, sizeof v->n_said);
    for (int i = 0; i < SLOTS; i++) v->slot[i].request = -1;
    while (running) {
        for (int i = 0; i < SLOTS && waiting < end; i++)
            if (v->slot[i].request < 0 && start(v, i, waiting++) != 0) return -1;
        if (step(v) != 0) return -1;
        running = waiting < end;
        for (int i = 0; i < SLOTS; i++) running |= v->slot[i].request >= 0;
    }
    return 0;
}

static int print(const server *v, int request)
{
    char text[4096];
    size_t len;
    if (moe_tokenizer_decode(v->tok, v->said[request], (size_t)v->n_said[request], 0, text, sizeof text,
                             &len) != MOE_OK)
        return failed("decoding");
    printf("%s%s%.*s\n\n", beginning, requests[request], (int)len, text);
    return 0;
}

static int demonstrate(server *v)
{
    moe_token ids[IDS_MAX], together[TOKENS_MAX];
    size_t n;
    if (encode(v, beginning, MOE_ENCODE_BOS, ids, &n) != 0 || eval_one(v, 0, ids, n) != 0) return -1;
    if (serve(v, 0, (int)N_REQUESTS) != 0) return -1;
    for (int r = 0; r < (int)N_REQUESTS; r++)
        if (print(v, r) != 0) return -1;
    const int n_together = v->n_said[0];
    memcpy(together, v->said[0], sizeof together);
    if (serve(v, 0, 1) != 0) return -1;
    if (v->n_said[0] != n_together ||
        memcmp(together, v->said[0], (size_t)n_together * sizeof *together) != 0) {
        puts("alone the first request says something else");
        return -1;
    }
    puts("alone the first request says the same");
    return 0;
}

int main(int argc, char **argv)
{
    static server v;
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model *m = NULL;
    int bad = -1;
    if (argc < 2) {
        fprintf(stderr, "usage: %s MODEL.gguf [TOKENS]\n", argv[0]);
        return 2;
    }
    v.n_tokens = argc > 2 ? atoi(argv[2]) : 24;
    if (v.n_tokens < 1 || v.n_tokens > TOKENS_MAX) v.n_tokens = TOKENS_MAX;
    o.n_seq_max = SLOTS + 1; /* n_output_max follows: one row for each */
    o.n_ctx = (SLOTS + 1) * (IDS_MAX + TOKENS_MAX);
    if (moe_model_open(&m, argv[1], NULL) != MOE_OK || moe_model_tokenizer(m, &v.tok) != MOE_OK)
        failed(argv[1]);
    else if (moe_session_create(&v.session, m, &o) != MOE_OK)
        failed("making a session");
    else
        bad = demonstrate(&v);
    for (int i = 0; i < SLOTS; i++) moe_sampler_free(v.slot[i].sampler);
    moe_session_free(v.session);
    moe_model_release(m);
    return bad == 0 ? 0 : 1;
}
