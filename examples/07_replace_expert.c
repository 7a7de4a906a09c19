/* SPDX-License-Identifier: MIT */
/*
 * Puts other things in an expert's place:  07_replace_expert MODEL.gguf
 *
 * Takes the two experts that a text uses most in one layer and measures the loss when the first is replaced:
 * by a copy of its own weights in f32, by a function that does nothing, by the second one (redirected), and
 * when both are replaced by their mean. The mean is made once and shared with a second session. At the end
 * the experts have their own weights again, and the loss is what it was, to the bit.
 */
#include <math.h>
#include <moe/ext.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 512

static const char text[] =
    "Es war einmal ein König, der hatte eine Tochter, die war so schön, dass die Sonne selber, die doch so "
    "vieles gesehen hat, sich verwunderte, so oft sie ihr ins Gesicht schien. Nahe bei dem Schlosse lag ein "
    "großer dunkler Wald, und in dem Walde unter einer alten Linde war ein Brunnen. Wenn nun der Tag recht "
    "heiß "
    "war, so ging das Königskind hinaus in den Wald und setzte sich an den Rand des kühlen Brunnens.";

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

static int loss_of(moe_session *s, double *loss)
{
    moe_token ids[IDS_MAX];
    uint8_t want[IDS_MAX];
    const moe_tokenizer *tok;
    moe_batch b = MOE_BATCH_INIT;
    float logprob;
    *loss = 0;
    memset(want, MOE_WANT_LOGITS, sizeof want);
    b.token = ids;
    b.want = want;
    if (moe_model_tokenizer(moe_session_model(s), &tok) != MOE_OK ||
        moe_tokenizer_encode(tok, text, strlen(text), MOE_ENCODE_BOS, ids, IDS_MAX, &b.n_tokens) != MOE_OK)
        return failed("encoding");
    moe_session_reset(s);
    if (moe_session_eval_batch(s, &b) != MOE_OK) return failed("evaluating");
    for (size_t i = 0; i + 1 < b.n_tokens; i++) {
        if (moe_session_logprob(s, i, ids[i + 1], &logprob) != MOE_OK) return failed("a token");
        *loss -= logprob / log(2.0) / (double)(b.n_tokens - 1);
    }
    return 0;
}

static int report(moe_session *s, const char *what, double *loss)
{
    if (loss_of(s, loss) != 0) return -1;
    printf("%-32s %.6f bits per token\n", what, *loss);
    return 0;
}

/* The two experts of a layer that the last eval used most (the session keeps its routing). */
static int find_two(moe_router *r, uint32_t n_experts, uint32_t two[2])
{
    moe_route_view v;
    memset(&v, 0, sizeof v);
    v.size = sizeof v;
    if (moe_router_last(r, &v) != MOE_OK) return failed("the routing");
    unsigned *count = calloc(n_experts, sizeof *count);
    for (uint32_t p = 0; count && p < v.offset[v.n_rows]; p++)
        if (v.expert[p] != MOE_EXPERT_NONE) count[v.expert[p]]++;
    for (int i = 0; count && i < 2; i++) {
        two[i] = 0;
        for (uint32_t e = 1; e < n_experts; e++)
            if (count[e] > count[two[i]]) two[i] = e;
        count[two[i]] = 0;
    }
    free(count);
    return count ? 0 : -1;
}

/* What a and b use, mixed half and half, as weights of their own; a alone if b is NULL. */
static int make_weights(moe_model *m, moe_expert *a, moe_expert *b, moe_weights **out)
{
    moe_expert_info info = MOE_EXPERT_INFO_INIT;
    moe_expert_weights w = MOE_EXPERT_WEIGHTS_INIT;
    if (moe_expert_get_info(a, &info) != MOE_OK) return failed("an expert");
    const size_t n = (size_t)info.dim * info.dim_ff;
    float *data = malloc(3 * n * sizeof *data), *other = malloc(n * sizeof *other);
    int st = data && other ? MOE_OK : MOE_E_NOMEM;
    for (int i = MOE_EXPERT_GATE; i <= MOE_EXPERT_DOWN && st == MOE_OK; i++) {
        float *x = data + (size_t)i * n;
        size_t len;
        st = moe_expert_read(a, i, x, n, &len); /* dequantised */
        if (b && st == MOE_OK) st = moe_expert_read(b, i, other, n, &len);
        for (size_t j = 0; b && st == MOE_OK && j < n; j++) x[j] = 0.5f * (x[j] + other[j]);
    }
    w.type_gate = w.type_up = w.type_down = MOE_TYPE_F32;
    w.dim = info.dim;
    w.dim_ff = info.dim_ff;
    w.gate = data;
    w.up = data + n;
    w.down = data + 2 * n;
    w.gate_bytes = w.up_bytes = w.down_bytes = n * sizeof *data;
    if (st == MOE_OK) st = moe_weights_create(out, m, &w); /* copied: data can go */
    free(data);
    free(other);
    return st == MOE_OK ? 0 : failed("making weights");
}

/* An expert of the program's own. Called with the rows that were routed to it. */
static int nothing(const moe_expert_call *call, void *user)
{
    unsigned long *rows = user;
    memset(call->y, 0, (size_t)call->n_rows * call->dim * sizeof *call->y);
    *rows += call->n_rows;
    return 0;
}

static int alone(moe_session *s, moe_expert *a, uint32_t second, double *loss)
{
    moe_weights *copy = NULL;
    unsigned long rows = 0;
    if (make_weights(moe_session_model(s), a, NULL, &copy) != 0) return -1;
    int st = moe_expert_replace(a, copy);
    moe_weights_release(copy); /* the expert holds a reference of its own */
    if (st != MOE_OK || report(s, "its own weights in f32:", loss) != 0) return failed("f32");
    if (moe_expert_replace_fn(a, nothing, &rows) != MOE_OK ||
        report(s, "a function that does nothing:", loss) != 0)
        return failed("a function");
    printf("    (it was called for %lu rows)\n", rows);
    if (moe_expert_redirect(a, MOE_ALL_LAYERS, second) != MOE_OK ||
        report(s, "the second in its place:", loss) != 0)
        return failed("redirecting");
    return moe_expert_restore(a) == MOE_OK ? 0 : failed("restoring");
}

static int both(moe_session *s, moe_session *other, moe_expert *a, moe_expert *b, double *loss)
{
    moe_weights *mean = NULL;
    double there;
    if (make_weights(moe_session_model(s), a, b, &mean) != 0) return -1;
    int st = moe_expert_replace(a, mean);
    if (st == MOE_OK) st = moe_expert_replace(b, mean);
    moe_weights_release(mean);
    if (st != MOE_OK || report(s, "their mean in the place of both:", loss) != 0) return failed("the mean");
    if (moe_session_copy_routing(other, s) != MOE_OK || loss_of(other, &there) != 0) return failed("sharing");
    printf("    (a second session with the same weights: %s)\n",
           memcmp(&there, loss, sizeof there) == 0 ? "the same" : "not the same");
    if (moe_expert_restore(a) != MOE_OK || moe_expert_restore(b) != MOE_OK) return failed("restoring");
    return memcmp(&there, loss, sizeof there) == 0 ? 0 : -1;
}

static int demonstrate(moe_session *s, moe_session *other)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_router *r;
    moe_expert *a, *b;
    uint32_t two[2], layer;
    double before, after, unused;
    if (moe_model_get_info(moe_session_model(s), &info) != MOE_OK) return failed("info");
    layer = info.n_layers / 2;
    if (moe_session_router(s, layer, &r) != MOE_OK) return failed("a router");
    if (report(s, "the model's own experts:", &before) != 0 || find_two(r, info.n_experts, two) != 0)
        return -1;
    printf("layer %u, expert %u, and expert %u as the second:\n", layer, two[0], two[1]);
    if (moe_router_expert(r, two[0], &a) != MOE_OK || moe_router_expert(r, two[1], &b) != MOE_OK)
        return failed("an expert");
    if (alone(s, a, two[1], &unused) != 0 || both(s, other, a, b, &unused) != 0) return -1;
    if (report(s, "restored:", &after) != 0) return -1;
    puts(memcmp(&before, &after, sizeof before) == 0 ? "as before, to the bit" : "not as before");
    return memcmp(&before, &after, sizeof before) == 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model *m = NULL;
    moe_session *s = NULL, *other = NULL;
    int bad = -1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    o.flags = MOE_SESSION_KEEP_ROUTES;
    o.n_ctx = o.n_output_max = IDS_MAX;
    if (moe_model_open(&m, argv[1], NULL) != MOE_OK || moe_session_create(&s, m, &o) != MOE_OK ||
        moe_session_create(&other, m, &o) != MOE_OK)
        failed(argv[1]);
    else
        bad = demonstrate(s, other);
    moe_session_free(other);
    moe_session_free(s);
    moe_model_release(m);
    return bad == 0 ? 0 : 1;
}
