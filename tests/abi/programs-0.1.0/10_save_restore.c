/* SPDX-License-Identifier: MIT */
/*
 * Keeps evaluated text:  10_save_restore MODEL.gguf STATE.file
 *
 * Evaluates a beginning once and saves the session to a file. A second session loads it and goes on where the
 * first stopped, without evaluating anything again; both then say the same, to the bit.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <string.h>

#define IDS_MAX 256
#define MORE    24

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

/* The most probable continuation, as token ids. */
static int continue_greedily(moe_session *s, moe_token *ids, float *last)
{
    const float *logits;
    size_t n;
    for (int i = 0; i < MORE; i++) {
        float unused;
        if (moe_session_logprobs(s, 0, 1, &ids[i], &unused) != MOE_OK)
            return failed("finding the best token");
        if (moe_session_eval(s, &ids[i], 1) != MOE_OK) return failed("evaluating a token");
    }
    if (moe_session_logits(s, 0, &logits, &n) != MOE_OK) return failed("reading the logits");
    *last = logits[0];
    return 0;
}

static int begin(moe_session *s, const moe_tokenizer *tok, const char *text)
{
    moe_token ids[IDS_MAX];
    size_t n;
    if (moe_tokenizer_encode(tok, text, strlen(text), MOE_ENCODE_BOS, ids, IDS_MAX, &n) != MOE_OK)
        return failed("encoding");
    return moe_session_eval(s, ids, n) == MOE_OK ? 0 : failed("evaluating");
}

static int demonstrate(moe_session *first, moe_session *second, const moe_tokenizer *tok, const char *path)
{
    moe_token a[MORE], b[MORE];
    float last_a, last_b;
    if (begin(first, tok, "There was once a king who had a daughter, and") != 0) return -1;
    if (moe_session_save_file(first, path) != MOE_OK) /* the file appears only when it is whole */
        return failed("saving");
    if (moe_session_load_file(second, path) != MOE_OK) /* on failure the session is as before */
        return failed("loading");
    printf("saved and loaded %zu tokens\n", moe_session_seq_len(second, 0));
    if (continue_greedily(first, a, &last_a) != 0 || continue_greedily(second, b, &last_b) != 0) return -1;
    if (memcmp(a, b, sizeof a) != 0 || memcmp(&last_a, &last_b, sizeof last_a) != 0) {
        puts("the two sessions differ");
        return -1;
    }
    printf("both sessions went on with the same %d tokens\n", MORE);
    return 0;
}

int main(int argc, char **argv)
{
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model *model = NULL;
    moe_session *first = NULL, *second = NULL;
    const moe_tokenizer *tok;
    int result = -1;
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.gguf STATE.file\n", argv[0]);
        return 2;
    }
    o.n_ctx = IDS_MAX + MORE;
    if (moe_model_open(&model, argv[1], NULL) != MOE_OK || moe_model_tokenizer(model, &tok) != MOE_OK)
        failed(argv[1]);
    else if (moe_session_create(&first, model, &o) != MOE_OK ||
             moe_session_create(&second, model, &o) != MOE_OK)
        failed("making a session");
    else
        result = demonstrate(first, second, tok, argv[2]);
    moe_session_free(first);
    moe_session_free(second);
    moe_model_release(model);
    return result == 0 ? 0 : 1;
}
