/* SPDX-License-Identifier: MIT */
/* The generation loop: pick, accept, show, evaluate. */
#include "answer.h"
#include "interrupt.h"
#include "out.h"
#include "shift.h"

#include <stdlib.h>

void answer_free(struct answer *a)
{
    free(a->row);
    a->row = NULL;
    tokens_free(&a->tokens);
    bytes_free(&a->text);
}

const char *stop_name(enum stop stop)
{
    static const char *const name[] = {"end", "length", "context", "interrupted", "output", "failed"};
    return name[stop];
}

/* Appends the text of a token and shows what is new. */
static bool show(struct answer *a, moe_stream *stream, moe_token id)
{
    const size_t before = a->text.n;
    if (!bytes_add_token(&a->text, a->tok, stream, id)) return false;
    if (a->show) {
        out_bytes(a->text.v + before, a->text.n - before);
        out_flush();
    }
    return true;
}

/* The sampler's choice from the session's logits or, with a weak session, from both. */
static int pick(struct answer *a, moe_token *id)
{
    const float *logits;
    size_t n;
    int status;
    if (!a->weak) return moe_sampler_pick(a->sampler, a->session, 0, id);
    status = moe_session_logits(a->session, 0, &logits, &n);
    if (status == MOE_OK && !a->row && (a->row = malloc(n * sizeof *a->row)) == NULL) return MOE_E_NOMEM;
    if (status == MOE_OK) status = moe_session_contrast(a->session, a->weak, 0, &a->contrast, a->row, n);
    return status == MOE_OK ? moe_sampler_pick_logits(a->sampler, a->row, n, id) : status;
}

/* The next token, chosen and recorded; false when generation stops. */
static bool choose(struct answer *a, moe_stream *stream, moe_token *id)
{
    a->status = pick(a, id);
    if (a->status == MOE_OK) a->status = moe_sampler_accept(a->sampler, *id);
    if (a->status != MOE_OK) {
        report(a->status, "cannot choose a token");
        a->stop = STOP_FAILED;
        return false;
    }
    if (!tokens_add(&a->tokens, id, 1)) {
        a->stop = STOP_FAILED;
        return false;
    }
    if (!a->ignore_end && (moe_tokenizer_attr(a->tok, *id) & MOE_ATTR_END)) {
        a->stop = STOP_END;
        return false;
    }
    if (!show(a, stream, *id)) {
        a->stop = STOP_FAILED;
        return false;
    }
    return true;
}

/* Evaluates a token; false when generation stops. */
static bool advance(struct answer *a, moe_token id)
{
    a->status = a->weak ? eval_shifting(a->weak, &id, 1, a->shift, &a->weak_gone) : MOE_OK;
    if (a->status == MOE_OK) a->status = eval_shifting(a->session, &id, 1, a->shift, &a->gone);
    if (a->status == MOE_OK) return true;
    if (a->status == MOE_E_ABORTED) {
        a->stop = STOP_INTERRUPTED;
    } else if (a->status == MOE_E_FULL) {
        a->stop = STOP_CONTEXT;
    } else {
        report(a->status, "cannot evaluate token %zu", a->tokens.n);
        a->stop = STOP_FAILED;
    }
    return false;
}

void answer_run(struct answer *a)
{
    moe_stream stream = MOE_STREAM_INIT;
    moe_token id;
    for (;;) {
        if (interrupted())
            a->stop = STOP_INTERRUPTED;
        else if (out_failed())
            a->stop = STOP_OUTPUT;
        else if (a->tokens.n >= (size_t)a->max_tokens)
            a->stop = STOP_LENGTH;
        else if (choose(a, &stream, &id)) {
            /* The last token needs no evaluation: nothing is chosen after it. */
            if (a->tokens.n >= (size_t)a->max_tokens || advance(a, id)) continue;
        }
        break;
    }
    if (a->stop != STOP_FAILED && !show(a, &stream, MOE_TOKEN_NONE)) a->stop = STOP_FAILED;
}
