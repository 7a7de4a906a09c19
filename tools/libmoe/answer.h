/* SPDX-License-Identifier: MIT */
/* Token by token generation, shared by run and chat. */
#ifndef ANSWER_H
#define ANSWER_H

#include "text.h"

enum stop { STOP_END, STOP_LENGTH, STOP_CONTEXT, STOP_INTERRUPTED, STOP_OUTPUT, STOP_FAILED };

struct answer {
    moe_session *session;
    moe_session *weak;     /* of contrastive decoding: evaluates the same text; NULL without */
    moe_contrast contrast; /* its settings */
    float *row;            /* scratch of the two, [n_vocab]; made and freed here */
    moe_sampler *sampler;
    const moe_tokenizer *tok;
    int32_t max_tokens;
    int32_t shift; /* tokens to keep when the context is full; 0 = stop there */
    bool ignore_end;
    bool show;              /* write the text to stdout as it comes */
    struct tokens tokens;   /* results: what was chosen, a final end token included */
    struct bytes text;      /* whole UTF-8 sequences only */
    size_t gone, weak_gone; /* tokens that were taken out of the sessions to make room */
    enum stop stop;
    int status; /* of the library, for STOP_FAILED */
};

void answer_free(struct answer *a);
/*
 * Goes on from the session's logits until something stops it. Every token shown has been evaluated, except
 * the last one, so that the session can be continued with it. A failure has been reported.
 */
void answer_run(struct answer *a);
const char *stop_name(enum stop stop);

#endif
