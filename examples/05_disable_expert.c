/* SPDX-License-Identifier: MIT */
/*
 * Switches experts off and measures what it does:  05_disable_expert MODEL.gguf
 *
 * In the bundled model some experts lean to one language. The program finds, for each layer, the expert that
 * a German text uses most often compared with an English one, and takes these away: once by a ban (another
 * expert steps in), once by a drop (nothing steps in). The loss of the German text rises far more than that
 * of the English one. Afterwards everything is put back, to the bit.
 */
#include <math.h>
#include <moe/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 512

static const char german[] =
    "Es war einmal ein König, der hatte eine Tochter, die war so schön, dass die Sonne selber, die doch so "
    "vieles gesehen hat, sich verwunderte, so oft sie ihr ins Gesicht schien. Nahe bei dem Schlosse lag ein "
    "großer dunkler Wald, und in dem Walde unter einer alten Linde war ein Brunnen.";
static const char english[] = "Once upon a time there was a king who had a daughter, and she was so "
                              "beautiful that the sun himself, who "
                              "had seen so many things, was astonished whenever he shone upon her face. "
                              "Close by the castle lay a great "
                              "dark forest, and in the forest, under an old lime tree, was a well.";

typedef struct bench {
    moe_session *session;
    const moe_tokenizer *tok;
    uint32_t n_layers, n_experts;
    unsigned *count; /* [n_layers][n_experts]; NULL: do not count */
} bench;

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

static int count_experts(const moe_route_view *v, void *user)
{
    const bench *b = user;
    for (uint32_t p = 0; b->count && p < v->offset[v->n_rows]; p++)
        if (v->expert[p] != MOE_EXPERT_NONE) b->count[v->layer * b->n_experts + v->expert[p]]++;
    return 0;
}

/* Mean loss of a text in bits per token; each token's logits are asked for. */
static int loss_of(bench *b, const char *text, double *loss)
{
    static uint8_t want[IDS_MAX];
    moe_token ids[IDS_MAX];
    moe_batch batch = MOE_BATCH_INIT;
    float logprob;
    size_t n;
    if (moe_tokenizer_encode(b->tok, text, strlen(text), MOE_ENCODE_BOS, ids, IDS_MAX, &n) != MOE_OK)
        return failed("encoding");
    memset(want, MOE_WANT_LOGITS, sizeof want);
    batch.n_tokens = n;
    batch.token = ids;
    batch.want = want;
    moe_session_reset(b->session);
    if (moe_session_eval_batch(b->session, &batch) != MOE_OK) return failed("evaluating");
    *loss = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        if (moe_session_logprob(b->session, i, ids[i + 1], &logprob) != MOE_OK) return failed("a token");
        *loss -= logprob / log(2.0) / (double)(n - 1);
    }
    return 0;
}

static int measure(bench *b, const char *what, double loss[2])
{
    if (loss_of(b, german, &loss[0]) != 0 || loss_of(b, english, &loss[1]) != 0) return -1;
    printf("%-28s German %.4f, English %.4f bits per token\n", what, loss[0], loss[1]);
    return 0;
}

/* In each layer the expert that stands out most in the first text. */
static int find_experts(bench *b, uint32_t *found)
{
    const size_t size = (size_t)b->n_layers * b->n_experts;
    unsigned *one = calloc(size, sizeof *one), *two = calloc(size, sizeof *two);
    double unused;
    int bad = !one || !two;
    b->count = one;
    if (!bad) bad = loss_of(b, german, &unused) != 0;
    b->count = two;
    if (!bad) bad = loss_of(b, english, &unused) != 0;
    b->count = NULL;
    for (uint32_t l = 0; !bad && l < b->n_layers; l++) {
        const unsigned *x = one + l * b->n_experts, *y = two + l * b->n_experts;
        found[l] = 0;
        for (uint32_t e = 1; e < b->n_experts; e++)
            if ((int)x[e] - (int)y[e] > (int)x[found[l]] - (int)y[found[l]]) found[l] = e;
        if (x[found[l]] > 0)
            printf("layer %u: expert %2u, used %3u times in the German text, %3u times in the English one\n",
                   l, found[l], x[found[l]], y[found[l]]);
    }
    free(one);
    free(two);
    return bad ? -1 : 0;
}

static int set_all(bench *b, const uint32_t *found, int use)
{
    moe_router *r;
    moe_expert *e;
    for (uint32_t l = 0; l < b->n_layers; l++) {
        const int st = moe_session_router(b->session, l, &r);
        if (st == MOE_E_NOTFOUND) continue; /* a dense layer */
        if (st != MOE_OK || moe_router_expert(r, found[l], &e) != MOE_OK ||
            moe_expert_set_use(e, use) != MOE_OK)
            return failed("switching an expert off");
    }
    return 0;
}

static int demonstrate(bench *b, uint32_t *found)
{
    double before[2], banned[2], dropped[2], after[2];
    if (moe_session_observe(b->session, count_experts, b) != MOE_OK) return failed("observing");
    if (find_experts(b, found) != 0 || measure(b, "all experts:", before) != 0) return -1;
    if (set_all(b, found, MOE_USE_BAN) != 0 || measure(b, "banned, others step in:", banned) != 0) return -1;
    if (set_all(b, found, MOE_USE_DROP) != 0 || measure(b, "dropped, nothing steps in:", dropped) != 0)
        return -1;
    if (set_all(b, found, MOE_USE_FREE) != 0 || measure(b, "free again:", after) != 0) return -1;
    printf("the ban costs the German text %+.2f bits per token, the English one %+.2f\n",
           banned[0] - before[0], banned[1] - before[1]);
    if (memcmp(before, after, sizeof before) != 0) {
        puts("and something of it stayed");
        return -1;
    }
    puts("and nothing of it stays");
    return 0;
}

int main(int argc, char **argv)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_model *m = NULL;
    bench b = {NULL, NULL, 0, 0, NULL};
    uint32_t *found = NULL;
    int bad = -1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    o.n_ctx = o.n_output_max = IDS_MAX;
    if (moe_model_open(&m, argv[1], NULL) != MOE_OK || moe_model_tokenizer(m, &b.tok) != MOE_OK ||
        moe_model_get_info(m, &info) != MOE_OK || moe_session_create(&b.session, m, &o) != MOE_OK) {
        failed(argv[1]);
    } else {
        b.n_layers = info.n_layers;
        b.n_experts = info.n_experts;
        found = calloc(info.n_layers, sizeof *found);
        bad = found ? demonstrate(&b, found) : -1;
    }
    free(found);
    moe_session_free(b.session);
    moe_model_release(m);
    return bad == 0 ? 0 : 1;
}
