/* SPDX-License-Identifier: MIT */
/*
 * Contrastive decoding with one model:  12_contrast MODEL.gguf [PROMPT]
 *
 * Self-contrast (SCMoE, Shi et al. 2024): two sessions on one model evaluate the same text, one with the
 * model's own routing, one with a weak one, here the second-best expert only. Tokens that the strong one
 * likes more than the weak one does are preferred. The program writes the greedy continuation of both
 * sessions alone and of the contrast, and shows that with beta 0 the contrast is the strong session's own
 * text.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_MAX 256
#define MORE    40

typedef struct pair {
    moe_session *strong, *weak;
    const moe_tokenizer *tok;
    float *z; /* [n_vocab] */
    size_t n_vocab;
} pair;

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

static int begin(moe_session *s, const moe_tokenizer *tok, const char *prompt)
{
    moe_token ids[IDS_MAX];
    size_t n;
    moe_session_reset(s);
    if (moe_tokenizer_encode(tok, prompt, strlen(prompt), MOE_ENCODE_BOS, ids, IDS_MAX, &n) != MOE_OK)
        return failed("encoding");
    return moe_session_eval(s, ids, n) == MOE_OK ? 0 : failed("evaluating");
}

static moe_token best_of(const float *z, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (z[i] > z[best]) best = i;
    return (moe_token)best;
}

/* The likeliest continuation of one session alone. */
static int continue_alone(moe_session *s, const moe_tokenizer *tok, const char *prompt, moe_token *ids)
{
    float unused;
    if (begin(s, tok, prompt) != 0) return -1;
    for (int i = 0; i < MORE; i++)
        if (moe_session_logprobs(s, 0, 1, &ids[i], &unused) != MOE_OK ||
            moe_session_eval(s, &ids[i], 1) != MOE_OK)
            return failed("continuing");
    return 0;
}

/* Both sessions evaluate every token; the contrast of their logits tells the next one. */
static int continue_both(pair *p, const char *prompt, float beta, moe_token *ids)
{
    moe_contrast o = MOE_CONTRAST_INIT;
    o.beta = beta;
    if (begin(p->strong, p->tok, prompt) != 0 || begin(p->weak, p->tok, prompt) != 0) return -1;
    for (int i = 0; i < MORE; i++) {
        if (moe_session_contrast(p->strong, p->weak, 0, &o, p->z, p->n_vocab) != MOE_OK)
            return failed("contrasting");
        ids[i] = best_of(p->z, p->n_vocab);
        if (moe_session_eval(p->strong, &ids[i], 1) != MOE_OK ||
            moe_session_eval(p->weak, &ids[i], 1) != MOE_OK)
            return failed("continuing");
    }
    return 0;
}

static int print(const pair *p, const char *what, const char *prompt, const moe_token *ids)
{
    char text[4096];
    size_t len;
    if (moe_tokenizer_decode(p->tok, ids, MORE, 0, text, sizeof text, &len) != MOE_OK)
        return failed("decoding");
    printf("%s\n  %s%.*s\n", what, prompt, (int)len, text);
    return 0;
}

static int demonstrate(pair *p, const char *prompt)
{
    moe_token strong[MORE], weak[MORE], both[MORE], none[MORE];
    moe_router *all;
    int differ = 0;
    if (moe_session_router(p->weak, MOE_ALL_LAYERS, &all) != MOE_OK ||
        moe_router_set_named(all, "ranks:1") != MOE_OK) /* the second best: ranks count from 0 */
        return failed("the weak routing");
    if (continue_alone(p->strong, p->tok, prompt, strong) != 0 || print(p, "strong:", prompt, strong) != 0 ||
        continue_alone(p->weak, p->tok, prompt, weak) != 0 || print(p, "weak:", prompt, weak) != 0 ||
        continue_both(p, prompt, 0.5f, both) != 0 || print(p, "contrast:", prompt, both) != 0 ||
        continue_both(p, prompt, 0.0f, none) != 0)
        return -1;
    for (int i = 0; i < MORE; i++) differ += both[i] != strong[i];
    printf("the contrast differs from the strong one in %d of %d tokens\n", differ, MORE);
    if (memcmp(none, strong, sizeof none) != 0) {
        puts("with beta 0 it is not the strong one");
        return -1;
    }
    puts("with beta 0 it is the strong one");
    return 0;
}

int main(int argc, char **argv)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_model *m = NULL;
    pair p = {NULL, NULL, NULL, NULL, 0};
    int bad = -1;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s MODEL.gguf [PROMPT]\n", argv[0]);
        return 2;
    }
    o.n_ctx = IDS_MAX + MORE;
    if (moe_model_open(&m, argv[1], NULL) != MOE_OK || moe_model_tokenizer(m, &p.tok) != MOE_OK ||
        moe_model_get_info(m, &info) != MOE_OK || moe_session_create(&p.strong, m, &o) != MOE_OK ||
        moe_session_create(&p.weak, m, &o) != MOE_OK) {
        failed(argv[1]);
    } else {
        p.n_vocab = info.n_vocab;
        p.z = malloc(p.n_vocab * sizeof *p.z);
        bad = p.z ? demonstrate(&p, argc > 2 ? argv[2] : "Once upon a time there was a king who") : -1;
    }
    free(p.z);
    moe_session_free(p.weak);
    moe_session_free(p.strong);
    moe_model_release(m);
    return bad == 0 ? 0 : 1;
}
