/* SPDX-License-Identifier: MIT */
/* libmoe trace: record routing, convert records, analyse them. */
#include "trace.h"
#include "answer.h"
#include "corpus.h"
#include "interrupt.h"
#include "out.h"
#include "term.h"

#include <string.h>
#include <unistd.h>

struct recorder {
    const struct settings *s;
    struct corpus corpus;
    moe_trace *trace;
    moe_sampler *sampler; /* with --max-tokens */
    uint64_t seed;
    uint32_t request; /* of the next window */
};

/* Every window is a request. */
static int next_request(void *user)
{
    struct recorder *r = user;
    return moe_trace_begin(r->trace, r->request++);
}

/* Goes on from the text just read; what is chosen is recorded as it is evaluated. */
static int go_on(struct recorder *r)
{
    struct answer a;
    int code;
    if (!r->sampler) return CODE_OK;
    memset(&a, 0, sizeof a);
    a.session = r->corpus.session;
    a.sampler = r->sampler;
    a.tok = r->corpus.tok;
    a.max_tokens = r->s->max_tokens;
    a.ignore_end = r->s->ignore_end;
    (void)moe_sampler_reset(r->sampler);
    answer_run(&a);
    code = a.stop == STOP_FAILED ? CODE_FAIL : a.stop == STOP_INTERRUPTED ? CODE_INTERRUPTED : CODE_OK;
    if (a.stop == STOP_INTERRUPTED) complain("interrupted");
    answer_free(&a);
    return code;
}

static int read_texts(struct recorder *r)
{
    const struct settings *s = r->s;
    int code = CODE_OK;
    for (int i = 0; i < s->n_args && code == CODE_OK; i++) {
        code = corpus_file(&r->corpus, s->args[i], r->sampler != NULL);
        if (code == CODE_OK) code = go_on(r);
    }
    for (size_t i = 0; i < s->texts.n && code == CODE_OK; i++) {
        struct bytes text = {NULL, 0, 0};
        code = bytes_add_text(&text, s->texts.v[i]) ? CODE_OK : CODE_FAIL;
        if (code == CODE_OK) code = corpus_text(&r->corpus, "--text", "text", &text, r->sampler != NULL);
        if (code == CODE_OK) code = go_on(r);
        bytes_free(&text);
    }
    if (s->n_args == 0 && s->texts.n == 0 && code == CODE_OK) {
        code = corpus_file(&r->corpus, "-", r->sampler != NULL);
        if (code == CODE_OK) code = go_on(r);
    }
    return code;
}

static int record(const struct settings *s, moe_trace **out)
{
    const uint32_t flags = (s->logits ? MOE_TRACE_LOGITS : 0) | (s->weights ? MOE_TRACE_WEIGHTS : 0);
    struct recorder r;
    int status, code;
    memset(&r, 0, sizeof r);
    r.s = s;
    code = corpus_open(&r.corpus, s, (size_t)s->max_tokens);
    if (code == CODE_OK && s->max_tokens) code = open_sampler(s, &r.sampler, &r.seed);
    if (code == CODE_OK) {
        status = moe_trace_create(&r.trace, r.corpus.model, flags, NULL);
        if (status == MOE_OK) status = moe_session_observe(r.corpus.session, moe_trace_observe, r.trace);
        if (status != MOE_OK) code = report(status, "cannot record");
        r.corpus.begin = next_request;
        r.corpus.user = &r;
    }
    if (code == CODE_OK) code = read_texts(&r);
    if (code == CODE_OK) {
        *out = r.trace;
        r.trace = NULL;
    }
    corpus_close(&r.corpus); /* before the trace: the session's observer points to it */
    moe_trace_free(r.trace);
    moe_sampler_free(r.sampler);
    return code;
}

static int write_trace(const struct settings *s, const moe_trace *t)
{
    const enum trace_form form = trace_form_of(s->format, s->output);
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    const int code = trace_write(t, form, s->output);
    if (code == CODE_OK && strcmp(s->output, "-") != 0 && moe_trace_get_info(t, &info) == MOE_OK)
        note("%s: %llu tokens, %lu layers, %llu request%s", s->output, (unsigned long long)info.n_tokens,
             (unsigned long)info.n_layers, (unsigned long long)info.n_requests,
             info.n_requests == 1 ? "" : "s");
    return code;
}

static int check_usage(const struct settings *s)
{
    if (s->from && (s->n_args || s->texts.n || s->model))
        return usage_error(s->command, "--from takes a recorded trace: no texts and no model beside it");
    if (s->experts && !s->from) return usage_error(s->command, "--experts goes with --from");
    if (s->analyse && s->output && strcmp(s->output, "-") == 0)
        return usage_error(s->command, "trace and analysis cannot both go to standard output");
    if (s->output && strcmp(s->output, "-") == 0 && trace_form_of(s->format, "-") == TRACE_BINARY)
        return usage_error(s->command, "a binary trace needs a file name");
    if (s->format && !s->output) return usage_error(s->command, "--format goes with --output");
    if (!s->from && s->n_args == 0 && s->texts.n == 0 && term_is(STDIN_FILENO))
        return usage_error(s->command, "name a file, or give a text with --text or on standard input");
    return CODE_OK;
}

int cmd_trace(const struct settings *s)
{
    moe_trace *t = NULL;
    int code = check_usage(s);
    if (code == CODE_OK) code = s->from ? trace_read(&t, s->from, (uint32_t)s->experts) : record(s, &t);
    if (code == CODE_OK && s->output) code = write_trace(s, t);
    if (code == CODE_OK && (!s->output || s->analyse)) {
        if (s->json) {
            struct json j = JSON_INIT;
            json_open(&j, NULL, '{');
            analysis_json(&j, t, false);
            json_close(&j);
        } else {
            analysis_print(t);
        }
        if (interrupted()) code = CODE_INTERRUPTED;
    }
    moe_trace_free(t);
    return code;
}
