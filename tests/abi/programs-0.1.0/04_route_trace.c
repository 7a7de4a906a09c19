/* SPDX-License-Identifier: MIT */
/*
 * Which experts a text goes to:  04_route_trace MODEL.gguf "TEXT"
 *
 * An observer sees every MoE layer's decisions while the text is evaluated. The program prints, for each
 * token, the experts of the first such layer with their weights, and then how often each layer chose each
 * expert.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 1024

typedef struct trace {
    const moe_tokenizer *tok;
    uint32_t first_layer; /* whose rows are printed; UINT32_MAX before the first call */
    uint32_t n_experts;
    unsigned long *count; /* [n_layers][n_experts] */
} trace;

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

static void print_row(const trace *t, const moe_route_view *v, uint32_t row)
{
    const char *piece = "";
    size_t len = 0;
    if (moe_tokenizer_piece(t->tok, v->token[row], &piece, &len) != MOE_OK) len = 0;
    printf("%4d  %-16.*s", (int)v->pos[row], (int)len, piece);
    for (uint32_t p = v->offset[row]; p < v->offset[row + 1]; p++)
        printf("  %3u %.3f", v->expert[p], v->weight[p]);
    putchar('\n');
}

/* Called once for every MoE layer and sub-batch. The arrays are the library's: valid during the call only. */
static int observe(const moe_route_view *v, void *user)
{
    trace *t = user;
    if (t->first_layer == UINT32_MAX) t->first_layer = v->layer;
    for (uint32_t row = 0; row < v->n_rows; row++) {
        if (v->layer == t->first_layer) print_row(t, v, row);
        for (uint32_t p = v->offset[row]; p < v->offset[row + 1]; p++)
            if (v->expert[p] != MOE_EXPERT_NONE) t->count[v->layer * t->n_experts + v->expert[p]]++;
    }
    return 0; /* anything else would stop the eval */
}

static int run(moe_session *s, trace *t, const char *text)
{
    moe_token ids[IDS_MAX];
    size_t n;
    if (moe_tokenizer_encode(t->tok, text, strlen(text), MOE_ENCODE_BOS, ids, IDS_MAX, &n) != MOE_OK)
        return failed("encoding");
    if (moe_session_observe(s, observe, t) != MOE_OK) return failed("observing");
    return moe_session_eval(s, ids, n) == MOE_OK ? 0 : failed("evaluating");
}

static void print_counts(const trace *t, uint32_t n_layers)
{
    for (uint32_t l = 0; l < n_layers; l++) {
        printf("layer %2u:", l);
        for (uint32_t e = 0; e < t->n_experts; e++) printf(" %lu", t->count[l * t->n_experts + e]);
        putchar('\n');
    }
}

int main(int argc, char **argv)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_model *m = NULL;
    moe_session *s = NULL;
    trace t = {NULL, UINT32_MAX, 0, NULL};
    int bad = 1;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.gguf TEXT\n", argv[0]);
        return 2;
    }
    if (moe_model_open(&m, argv[1], NULL) != MOE_OK || moe_model_tokenizer(m, &t.tok) != MOE_OK ||
        moe_model_get_info(m, &info) != MOE_OK || moe_session_create(&s, m, NULL) != MOE_OK) {
        failed(argv[1]);
    } else {
        t.n_experts = info.n_experts;
        t.count = calloc((size_t)info.n_layers * info.n_experts, sizeof *t.count);
        bad = t.count == NULL || run(s, &t, argv[2]) != 0;
        if (!bad) print_counts(&t, info.n_layers);
    }
    free(t.count);
    moe_session_free(s);
    moe_model_release(m);
    return bad;
}
