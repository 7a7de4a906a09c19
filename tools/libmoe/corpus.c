/* SPDX-License-Identifier: MIT */
/* Reading texts through a model, window by window. */
#include "corpus.h"
#include "interrupt.h"
#include "progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_MAX 4096 /* without --ctx */

size_t text_window(const struct settings *s, const moe_model_info *info)
{
    if (s->ctx) return (size_t)s->ctx;
    return info->n_ctx_train && info->n_ctx_train < WINDOW_MAX ? info->n_ctx_train : WINDOW_MAX;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void text_name(char *dst, size_t n, const char *path)
{
    const char *base = strcmp(path, "-") == 0 ? "input" : base_name(path), *dot = strrchr(base, '.');
    snprintf(dst, n, "%.*s", (int)(dot && dot != base ? (size_t)(dot - base) : strlen(base)), base);
}

/* ------------------------------------------------------------------------------------------------- voices */

/* The voice named by a file's name without directory and ending, or by what follows its last dash-separated
 * prefix. */
static const char *voice_of_file(const moe_model *m, const char *path)
{
    const char *base = base_name(path);
    for (;;) {
        const size_t len = strcspn(base, ".");
        for (uint64_t i = 0; i < voice_count(m); i++) {
            const char *name = voice_name(m, i);
            if (name && strlen(name) == len && memcmp(name, base, len) == 0) return name;
        }
        base = strchr(base, '-');
        if (!base) return NULL;
        base++;
    }
}

int text_opening(const struct settings *s, const moe_model *m, const char *path, moe_token *out)
{
    const moe_tokenizer *tok = NULL;
    const char *name = s->voice;
    moe_token first[8]; /* one, in every tokenizer known */
    size_t n = 0;
    int code;
    *out = MOE_TOKEN_NONE;
    if (name && strcmp(name, "auto") == 0) {
        name = voice_of_file(m, path);
        if (!name) {
            complain("no voice goes with the file name %s; --voice NAME or none", path);
            return CODE_FAIL;
        }
    }
    if (name) {
        code = voice_token(m, name, out);
        if (code != CODE_OK || *out != MOE_TOKEN_NONE) return code;
    }
    /* Does the model want a token at the beginning of a text? */
    if (moe_model_tokenizer(m, &tok) == MOE_OK &&
        moe_tokenizer_encode(tok, "", 0, MOE_ENCODE_BOS, first, 8, &n) == MOE_OK && n == 1)
        *out = first[0];
    return CODE_OK;
}

/* ------------------------------------------------------------------------------------------------- corpus */

int corpus_open(struct corpus *c, const struct settings *s, size_t extra)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_session_options o;
    int status, code;
    memset(c, 0, sizeof *c);
    c->s = s;
    code = open_model(s, 0, &c->model);
    if (code != CODE_OK) return code;
    if ((c->tok = tokenizer_of(c->model)) == NULL) return CODE_FAIL;
    status = moe_model_get_info(c->model, &info);
    if (status != MOE_OK) return report(status, "cannot describe the model");
    c->window = text_window(s, &info);
    c->no_logits = calloc(c->window, 1);
    if (!c->no_logits) {
        complain("out of memory");
        return CODE_FAIL;
    }
    session_options(s, &o);
    o.n_ctx = (uint32_t)(c->window + extra);
    o.progress = NULL; /* the bar shows the text, not one batch */
    return open_session(s, c->model, &o, &c->session);
}

void corpus_close(struct corpus *c)
{
    interrupt_target(NULL);
    moe_session_free(c->session);
    moe_model_release(c->model);
    free(c->no_logits);
    memset(c, 0, sizeof *c);
}

/* One window, from an empty session. */
static int run_window(struct corpus *c, const moe_token *ids, size_t n, bool logits)
{
    moe_batch b = MOE_BATCH_INIT;
    int status = MOE_OK;
    moe_session_reset(c->session);
    if (c->begin) status = c->begin(c->user);
    b.n_tokens = n;
    b.token = ids;
    b.want = logits ? NULL : c->no_logits;
    return status == MOE_OK ? eval_batch(c->session, &b) : status;
}

static int run_text(struct corpus *c, const struct tokens *text, moe_token open, bool logits)
{
    const size_t lead = open != MOE_TOKEN_NONE, room = c->window - lead;
    moe_token *ids = malloc(c->window * sizeof *ids);
    int status = ids ? MOE_OK : MOE_E_NOMEM;
    for (size_t at = 0, n; status == MOE_OK && at < text->n; at += n) {
        n = text->n - at < room ? text->n - at : room;
        if (lead) ids[0] = open;
        memcpy(ids + lead, text->v + at, n * sizeof *ids);
        status = run_window(c, ids, lead + n, logits && at + n == text->n);
        progress_update(at + n, text->n);
    }
    free(ids);
    return status;
}

int corpus_text(struct corpus *c, const char *name, const char *path, const struct bytes *text, bool logits)
{
    struct tokens ids = {NULL, 0, 0};
    moe_token open = MOE_TOKEN_NONE;
    int status = MOE_OK, code = text_opening(c->s, c->model, path, &open);
    if (code == CODE_OK &&
        !tokens_add_text(&ids, c->tok, text->v, text->n, c->s->special ? MOE_ENCODE_SPECIAL : 0))
        code = CODE_FAIL;
    if (code == CODE_OK && ids.n == 0) {
        complain("%s: there is nothing in it", name);
        code = CODE_FAIL;
    }
    if (code == CODE_OK) {
        progress_begin(name, false);
        status = run_text(c, &ids, open, logits);
        progress_end();
        if (status != MOE_OK) code = report(status, "%s", name);
    }
    tokens_free(&ids);
    return code;
}

int corpus_file(struct corpus *c, const char *path, bool logits)
{
    struct bytes text = {NULL, 0, 0};
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    int code = CODE_OK;
    if (!read_file(&text, path)) code = interrupted() ? CODE_INTERRUPTED : CODE_FAIL;
    if (code == CODE_OK) code = corpus_text(c, name, path, &text, logits);
    bytes_free(&text);
    return code;
}
