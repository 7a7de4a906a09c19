/* SPDX-License-Identifier: MIT */
/*
 * The least that continues a text:  00_hello MODEL.gguf
 *
 * The same lines as in the README. 01_generate.c does it with messages that say what failed.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <string.h>

static int hello(const char *path, const char *prompt)
{
    moe_model *model = NULL;
    moe_session *session = NULL;
    moe_sampler *sampler = NULL;
    const moe_tokenizer *tok;
    moe_token ids[256], id;
    const char *piece;
    size_t n, len;

    int st = moe_model_open(&model, path, NULL);
    if (st == 0) st = moe_model_tokenizer(model, &tok);
    if (st == 0) st = moe_session_create(&session, model, NULL);
    if (st == 0) st = moe_sampler_create(&sampler, NULL);
    if (st == 0) st = moe_sampler_add_named(sampler, "top-k:k=40;temp:t=0.8;dist:seed=1");
    if (st == 0) st = moe_tokenizer_encode(tok, prompt, strlen(prompt), MOE_ENCODE_BOS, ids, 256, &n);
    if (st == 0) st = moe_session_eval(session, ids, n);
    for (int i = 0; i < 50 && st == 0; i++) {
        st = moe_sampler_pick(sampler, session, 0, &id);
        if (st == 0 && moe_tokenizer_attr(tok, id) & MOE_ATTR_END) break;
        if (st == 0) st = moe_tokenizer_piece(tok, id, &piece, &len);
        if (st == 0) fwrite(piece, 1, len, stdout);
        if (st == 0) st = moe_session_eval(session, &id, 1);
    }
    if (st != 0) fprintf(stderr, "%s\n", moe_last_error());

    moe_sampler_free(sampler);
    moe_session_free(session);
    moe_model_release(model);
    return st;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    return hello(argv[1], "Once upon a time") == 0 ? 0 : 1;
}
