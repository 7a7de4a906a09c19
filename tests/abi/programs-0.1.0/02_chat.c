/* SPDX-License-Identifier: MIT */
/*
 * A conversation:  02_chat MODEL.gguf  (lines from standard input, an empty one ends it)
 *
 * Needs a model with one of the built-in chat templates. In each turn the conversation is written in the
 * model's format; what the session has evaluated of it already is kept, so that only the new part costs time.
 */
#include <moe/moe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TURNS_MAX  64
#define TEXT_MAX   65536
#define CONTEXT    4096
#define ANSWER_MAX 200 /* tokens */

struct chat {
    moe_session *session;
    moe_sampler *sampler;
    const moe_tokenizer *tok;
    moe_message said[TURNS_MAX];
    size_t n_said;
};

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

/* Keeps a copy of the text; the conversation owns it. */
static int say(struct chat *c, const char *role, const char *text)
{
    char *copy = c->n_said < TURNS_MAX ? malloc(strlen(text) + 1) : NULL;
    if (!copy) {
        fputs("the conversation is too long\n", stderr);
        return -1;
    }
    c->said[c->n_said].size = sizeof(moe_message);
    c->said[c->n_said].role = role;
    c->said[c->n_said++].text = strcpy(copy, text);
    return 0;
}

/* Brings the session to the end of the conversation: cuts it where they differ, evaluates the rest. */
static int read_conversation(struct chat *c)
{
    static char text[TEXT_MAX];
    static moe_token want[CONTEXT], have[CONTEXT];
    size_t len, n, n_have, same = 0;
    if (moe_tokenizer_chat(c->tok, c->said, c->n_said, MOE_CHAT_ADD_ASSISTANT, text, sizeof text, &len) !=
        MOE_OK)
        return failed("writing the conversation in the model's format");
    if (moe_tokenizer_encode(c->tok, text, len, MOE_ENCODE_SPECIAL, want, CONTEXT, &n) != MOE_OK)
        return failed("encoding the conversation");
    if (moe_session_seq_tokens(c->session, 0, have, CONTEXT, &n_have) != MOE_OK)
        return failed("reading the session");
    while (same < n_have && same + 1 < n && have[same] == want[same]) same++;
    if (moe_session_seq_truncate(c->session, 0, (moe_pos)same) != MOE_OK ||
        moe_session_eval(c->session, want + same, n - same) != MOE_OK)
        return failed("evaluating the conversation");
    return 0;
}

/* Streams the answer and adds it to the conversation. */
static int answer(struct chat *c)
{
    static char text[TEXT_MAX];
    moe_stream stream = MOE_STREAM_INIT;
    size_t n = 0, len;
    moe_token id;
    for (int i = 0; i < ANSWER_MAX && n + 512 < sizeof text; i++) {
        if (moe_sampler_pick(c->sampler, c->session, 0, &id) != MOE_OK ||
            moe_sampler_accept(c->sampler, id) != MOE_OK)
            return failed("choosing a token");
        if (moe_tokenizer_attr(c->tok, id) & MOE_ATTR_END) break;
        if (moe_tokenizer_stream(c->tok, &stream, id, text + n, sizeof text - n - 1, &len) != MOE_OK)
            return failed("decoding a token");
        fwrite(text + n, 1, len, stdout);
        fflush(stdout);
        n += len;
        if (moe_session_eval(c->session, &id, 1) != MOE_OK) /* for instance: the context is full */
            break;
    }
    putchar('\n');
    text[n] = '\0';
    return say(c, "assistant", text);
}

static int converse(struct chat *c)
{
    char line[4096];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '\0') break;
        if (say(c, "user", line) != 0 || read_conversation(c) != 0 || answer(c) != 0) return -1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct chat c = {NULL, NULL, NULL, {{0, NULL, NULL}}, 0};
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_model *model = NULL;
    int result = -1;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    o.n_ctx = CONTEXT;
    if (moe_model_open(&model, argv[1], NULL) != MOE_OK || moe_model_tokenizer(model, &c.tok) != MOE_OK)
        failed(argv[1]);
    else if (moe_tokenizer_chat_name(c.tok) == NULL)
        fputs("this model has no chat template that is built in\n", stderr);
    else if (moe_session_create(&c.session, model, &o) != MOE_OK)
        failed("making a session");
    else if (moe_sampler_create(&c.sampler, NULL) != MOE_OK ||
             moe_sampler_add_named(c.sampler, "min-p:p=0.05;temp:t=0.7;dist:seed=1") != MOE_OK)
        failed("making a sampler");
    else
        result = converse(&c);
    for (size_t i = 0; i < c.n_said; i++) free((char *)c.said[i].text);
    moe_sampler_free(c.sampler);
    moe_session_free(c.session);
    moe_model_release(model);
    return result == 0 ? 0 : 1;
}
