/* SPDX-License-Identifier: MIT */
/*
 * Continues a prompt:  01_generate MODEL.gguf "Once upon a time" [TOKENS]
 *
 * The whole way: open a model, make a session and a sampler, turn the prompt into tokens, evaluate them, then
 * pick one token after the other and evaluate it in turn.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROMPT_MAX 1024

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

/* The prompt as tokens, opened by the model's begin-of-text token if it wants one. */
static int read_prompt(moe_session *s, const moe_tokenizer *tok, const char *prompt)
{
    moe_token ids[PROMPT_MAX];
    size_t n;
    if (moe_tokenizer_encode(tok, prompt, strlen(prompt), MOE_ENCODE_BOS, ids, PROMPT_MAX, &n) != MOE_OK)
        return failed("encoding the prompt");
    if (moe_session_eval(s, ids, n) != MOE_OK) return failed("evaluating the prompt");
    return 0;
}

static int continue_text(moe_session *s, moe_sampler *p, const moe_tokenizer *tok, int n_tokens)
{
    moe_stream stream = MOE_STREAM_INIT; /* keeps the bytes of a character that is not complete yet */
    char text[512];
    size_t len;
    moe_token id;
    for (int i = 0; i < n_tokens; i++) {
        if (moe_sampler_pick(p, s, 0, &id) != MOE_OK || moe_sampler_accept(p, id) != MOE_OK)
            return failed("choosing a token");
        if (moe_tokenizer_attr(tok, id) & MOE_ATTR_END) break;
        if (moe_tokenizer_stream(tok, &stream, id, text, sizeof text, &len) != MOE_OK)
            return failed("decoding a token");
        fwrite(text, 1, len, stdout);
        fflush(stdout);
        if (moe_session_eval(s, &id, 1) != MOE_OK) return failed("evaluating a token");
    }
    putchar('\n');
    return 0;
}

int main(int argc, char **argv)
{
    moe_model *model = NULL;
    moe_session *session = NULL;
    moe_sampler *sampler = NULL;
    const moe_tokenizer *tok;
    int result = -1;
    if (argc < 3) {
        fprintf(stderr, "usage: %s MODEL.gguf PROMPT [TOKENS]\n", argv[0]);
        return 2;
    }
    if (moe_model_open(&model, argv[1], NULL) != MOE_OK || moe_model_tokenizer(model, &tok) != MOE_OK)
        failed(argv[1]);
    else if (moe_session_create(&session, model, NULL) != MOE_OK)
        failed("making a session");
    else if (moe_sampler_create(&sampler, NULL) != MOE_OK ||
             moe_sampler_add_named(sampler, "top-k:k=40;top-p:p=0.95;temp:t=0.8;dist:seed=7") != MOE_OK)
        failed("making a sampler");
    else if (read_prompt(session, tok, argv[2]) == 0) {
        fputs(argv[2], stdout);
        result = continue_text(session, sampler, tok, argc > 3 ? atoi(argv[3]) : 100);
    }
    moe_sampler_free(sampler); /* all of these take NULL */
    moe_session_free(session);
    moe_model_release(model);
    return result == 0 ? 0 : 1;
}
