/* SPDX-License-Identifier: MIT */
/*
 * A selection rule of the program's own:  06_custom_policy MODEL.gguf
 *
 * Experts that lie in slow memory are best used twice in a row. This policy prefers those that the token
 * before had: their scores count (1 + stick) times when experts are chosen, though not when they are
 * weighted. The program shows how many experts are used again and what that costs in loss, for several values
 * of `stick`. With 0 it is the model's own rule, to the bit.
 *
 * The policy has a state, the last experts of each sequence, and so follows what becomes of sequences.
 */
#include <math.h>
#include <moe/ext.h>
#include <moe/study.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 512

static const char text[] = "Once upon a time there was a king who had a daughter, and she was so beautiful "
                           "that the sun himself, who "
                           "had seen so many things, was astonished whenever he shone upon her face. Close "
                           "by the castle lay a great "
                           "dark forest, and in the forest, under an old lime tree, was a well. When the day "
                           "was very warm, the king's "
                           "child went out into the forest and sat down by the side of the cool well.";

/* ---- the policy ---- */

typedef struct sticky {
    float stick;
    uint32_t n_seq, k;
    uint32_t *last; /* [n_seq][k] experts of the last token, MOE_EXPERT_NONE: none */
} sticky;

static void forget(sticky *p, moe_seq seq)
{
    for (uint32_t i = 0; i < p->n_seq * p->k; i++)
        if (seq == MOE_ALL_SEQS || i / p->k == (uint32_t)seq) p->last[i] = MOE_EXPERT_NONE;
}

/* One state for each layer; `user` is what moe_router_set_policy() was given. */
static int sticky_create(void **state, const moe_policy_info *info, void *user)
{
    sticky *p = calloc(1, sizeof *p);
    if (p) p->last = calloc((size_t)info->n_seq_max * info->spec->top_k, sizeof *p->last);
    if (!p || !p->last) {
        free(p);
        return MOE_E_NOMEM;
    }
    p->stick = *(const float *)user;
    p->n_seq = info->n_seq_max;
    p->k = info->spec->top_k;
    forget(p, MOE_ALL_SEQS);
    *state = p;
    return MOE_OK;
}

static void sticky_destroy(void *state)
{
    free(((sticky *)state)->last);
    free(state);
}

static void sticky_reset(void *state, moe_seq seq) { forget(state, seq); }

static void sticky_copy(void *state, moe_seq from, moe_seq to)
{
    const sticky *p = state;
    memmove(p->last + (size_t)to * p->k, p->last + (size_t)from * p->k, p->k * sizeof *p->last);
}

/* What the token at keep - 1 had is not known any more: the next one begins anew. (To go on exactly, a policy
 * would have to remember all positions.) */
static void sticky_truncate(void *state, moe_seq seq, moe_pos keep)
{
    (void)keep;
    forget(state, seq);
}

static int holds(const uint32_t *ids, uint32_t n, uint32_t e)
{
    for (uint32_t i = 0; i < n; i++)
        if (ids[i] == e) return 1;
    return 0;
}

/* The k best by choice, with a bonus for those of the token before. Ties go to the lower index. */
static uint32_t choose(const sticky *p, const float *choice, uint32_t n_experts, const uint32_t *last,
                       uint32_t *ids)
{
    uint32_t n = 0;
    for (; n < p->k; n++) {
        float best_value = -INFINITY;
        uint32_t best = MOE_EXPERT_NONE;
        for (uint32_t e = 0; e < n_experts; e++) {
            const float value = holds(last, p->k, e) ? choice[e] * (1 + p->stick) : choice[e];
            if (value > best_value && !holds(ids, n, e)) { /* banned ones are -infinity: never above */
                best_value = value;
                best = e;
            }
        }
        if (best == MOE_EXPERT_NONE) break; /* fewer than k may be taken */
        ids[n] = best;
    }
    return n;
}

/* Rows of a sequence come in order, so a long prompt is the same as one token after the other. */
static int sticky_route(void *state, const moe_route_input *in, moe_route_output *out)
{
    const sticky *p = state;
    out->offset[0] = 0;
    for (uint32_t t = 0; t < in->n_rows; t++) {
        uint32_t *last = p->last + (size_t)in->seq[t] * p->k, *ids = out->expert + out->offset[t];
        const uint32_t n = choose(p, in->choice + t * in->stride, in->n_experts, last, ids);
        for (uint32_t i = 0; i < p->k; i++) last[i] = i < n ? ids[i] : MOE_EXPERT_NONE;
        out->offset[t + 1] = out->offset[t] + n;
    }
    return 0; /* weights: the recipe makes them from the scores, as ever */
}

static int set_sticky(moe_session *s, float stick)
{
    moe_policy policy = MOE_POLICY_INIT;
    moe_router *all;
    policy.name = "sticky";
    policy.create = sticky_create;
    policy.destroy = sticky_destroy;
    policy.seq_reset = sticky_reset;
    policy.seq_copy = sticky_copy;
    policy.seq_truncate = sticky_truncate;
    policy.route = sticky_route;
    const int st = moe_session_router(s, MOE_ALL_LAYERS, &all);
    return st == MOE_OK ? moe_router_set_policy(all, &policy, &stick) : st; /* the table is copied */
}

/* ---- what it does ---- */

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

/* Evaluates the text `step` tokens at a time: loss in bits per token, share of experts that are used again.
 */
static int measure(moe_session *s, size_t step, double *loss, double *reuse)
{
    moe_token ids[IDS_MAX];
    uint8_t want[IDS_MAX];
    const moe_tokenizer *tok;
    moe_trace *trace = NULL;
    float logprob;
    size_t n;
    *loss = 0;
    moe_session_reset(s);
    memset(want, MOE_WANT_LOGITS, sizeof want);
    if (moe_model_tokenizer(moe_session_model(s), &tok) != MOE_OK ||
        moe_tokenizer_encode(tok, text, strlen(text), MOE_ENCODE_BOS, ids, IDS_MAX, &n) != MOE_OK)
        return failed("encoding");
    int st = moe_trace_create(&trace, moe_session_model(s), 0, NULL);
    if (st == MOE_OK) st = moe_session_observe(s, moe_trace_observe, trace);
    for (size_t i = 0; i < n && st == MOE_OK; i += step) {
        moe_batch b = MOE_BATCH_INIT;
        b.n_tokens = n - i < step ? n - i : step;
        b.token = ids + i;
        b.want = want;
        st = moe_session_eval_batch(s, &b);
        for (size_t j = i; j < i + b.n_tokens && j + 1 < n && st == MOE_OK; j++) {
            st = moe_session_logprob(s, j - i, ids[j + 1], &logprob);
            *loss -= logprob / log(2.0) / (double)(n - 1);
        }
    }
    if (st == MOE_OK) st = moe_trace_reuse(trace, MOE_ALL_LAYERS, reuse);
    if (st != MOE_OK) failed("measuring");
    moe_session_observe(s, NULL, NULL);
    moe_trace_free(trace);
    return st == MOE_OK ? 0 : -1;
}

static int demonstrate(moe_session *s)
{
    static const float stick[] = {0.0f, 0.5f, 1.0f, 2.0f, 4.0f};
    double native, loss, single, reuse;
    if (measure(s, IDS_MAX, &native, &reuse) != 0) return -1;
    printf("the model's own rule: %4.1f %% of the experts are used again, %.4f bits per token\n", 100 * reuse,
           native);
    for (size_t i = 0; i < sizeof stick / sizeof *stick; i++) {
        if (set_sticky(s, stick[i]) != MOE_OK) return failed("setting the policy");
        if (measure(s, IDS_MAX, &loss, &reuse) != 0 || measure(s, 1, &single, &reuse) != 0) return -1;
        printf("sticky by %.1f:        %4.1f %% of the experts are used again, %.4f bits per token%s\n",
               (double)stick[i], 100 * reuse, loss,
               memcmp(&loss, &native, sizeof loss) == 0 ? ", the same" : "");
        if (memcmp(&loss, &single, sizeof loss) != 0) {
            puts("token by token it is not the same");
            return -1;
        }
    }
    puts("token by token the results are those of the whole text at once");
    return 0;
}

int main(int argc, char **argv)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model *m = NULL;
    moe_session *s = NULL;
    int bad = -1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    o.n_ctx = o.n_output_max = IDS_MAX;
    if (moe_model_open(&m, argv[1], NULL) != MOE_OK || moe_session_create(&s, m, &o) != MOE_OK)
        failed(argv[1]);
    else
        bad = demonstrate(s);
    moe_session_free(s); /* ends the policy's states */
    moe_model_release(m);
    return bad == 0 ? 0 : 1;
}
