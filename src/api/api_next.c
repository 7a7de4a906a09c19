/* SPDX-License-Identifier: MIT */
/* One step of a generation: eval, pick, accept and decode in one call. The steps are the public calls; this
 * keeps account of which are done, so that a failed call can be made again. */
#include "api/api.h"
#include "base/opts.h"
#include "base/status.h"
#include "model/model.h"
#include "run/session.h"

/* How far a step came when it failed: bits of moe_next.flags. */
#define NEXT_PICKED 0x10000u /* id is picked, not yet accepted */
#define NEXT_TAKEN  0x20000u /* id is accepted, its text is not out */

static int next_eval(moe_session *s, moe_next *n)
{
    moe_batch b = MOE_BATCH_INIT;
    b.n_tokens = 1;
    b.token = &n->id;
    b.seq = &n->seq;
    MOE_TRY(moe_session_eval_batch(s, &b));
    n->id = MOE_TOKEN_NONE;
    return MOE_OK;
}

static int next_text(const moe_tokenizer *t, moe_next *n)
{
    const size_t room = n->cap > 0 ? n->cap - 1 : 0;
    n->len = 0;
    if (n->stream && !(n->attr & MOE_ATTR_END))
        MOE_TRY(moe_tokenizer_stream(t, n->stream, n->id, room ? n->text : NULL, room, &n->len));
    if (n->cap > 0) n->text[n->len] = '\0';
    return MOE_OK;
}

static int next_step(moe_session *s, moe_sampler *p, moe_next *n)
{
    const moe_tokenizer *t = s->m->tokenizer;
    if (n->stream) MOE_TRY(moe_model_tokenizer(s->m, &t));
    if (!(n->flags & (NEXT_PICKED | NEXT_TAKEN))) {
        if (n->id != MOE_TOKEN_NONE) MOE_TRY(next_eval(s, n));
        MOE_TRY(moe_sampler_pick(p, s, 0, &n->id));
        n->flags |= NEXT_PICKED;
    }
    if (n->flags & NEXT_PICKED) {
        MOE_TRY(moe_sampler_accept(p, n->id));
        n->flags ^= NEXT_PICKED | NEXT_TAKEN;
    }
    n->attr = moe_tokenizer_attr(t, n->id);
    MOE_TRY(next_text(t, n));
    n->flags &= ~NEXT_TAKEN;
    return MOE_OK;
}

int moe_session_next(moe_session *s, moe_sampler *p, moe_next *io)
{
    moe__clear_error();
    MOE_ARG(s != NULL && p != NULL && io != NULL);
    MOE_IDLE(s);
    moe_next n = MOE_NEXT_INIT;
    MOE_TRY(moe__opts_copy(&n, sizeof n, io, "moe_next"));
    MOE_ARG(io->size >= sizeof *io);
    MOE_ARG((n.flags & ~(NEXT_PICKED | NEXT_TAKEN)) == 0);
    MOE_ARG(n.text != NULL || n.cap == 0);
    MOE_ARG(!n.stream || n.stream->size >= sizeof(moe_stream));
    const int status = next_step(s, p, &n);
    const int told = moe__opts_fill(io, &n, sizeof n, "moe_next");
    return status != MOE_OK ? status : told;
}
