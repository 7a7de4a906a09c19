/* SPDX-License-Identifier: MIT */
/*
 * libmoe perplexity: how well a model predicts texts.
 *
 * A text of N tokens is cut into windows. Each window opens with the voice or begin-of-text token, if there
 * is one, and holds up to --ctx tokens in all; the next one begins --stride tokens later. A token is scored
 * once, in the first window that reaches it; in the very first window without an opening token, the first
 * token has nothing before it and is not scored. Reported: mean negative log-likelihood (nats), its standard
 * error (tokens taken as independent), exp of it, bits per byte.
 */
#include "corpus.h"
#include "interrupt.h"
#include "json.h"
#include "out.h"
#include "progress.h"
#include "term.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROWS_BYTES (16u << 20) /* memory for logits */
#define ROWS_MAX   256u

/* Running mean and variance (Welford). */
struct tally {
    uint64_t n, bytes;
    double mean, m2;
};

struct scorer {
    const struct settings *s;
    moe_model *model;
    moe_session *session;
    const moe_tokenizer *tok;
    size_t window, stride, rows;
    uint8_t *want; /* [rows] */
    struct tally total;
    struct json json;
    size_t n_done, n_files;
    bool header;
};

static void tally_add(struct tally *t, double nll, uint64_t bytes)
{
    const double d = nll - t->mean;
    t->n++;
    t->mean += d / (double)t->n;
    t->m2 += d * (nll - t->mean);
    t->bytes += bytes;
}

static void tally_merge(struct tally *a, const struct tally *b)
{
    const double n = (double)a->n + (double)b->n, d = b->mean - a->mean;
    if (b->n == 0) return;
    a->m2 += b->m2 + d * d * (double)a->n * (double)b->n / n;
    a->mean += d * (double)b->n / n;
    a->n += b->n;
    a->bytes += b->bytes;
}

static double std_error(const struct tally *t)
{
    return t->n > 1 ? sqrt(t->m2 / (double)(t->n - 1) / (double)t->n) : NAN;
}

static double bits_per_byte(const struct tally *t)
{
    return t->bytes ? t->mean * (double)t->n / log(2.0) / (double)t->bytes : NAN;
}

/* --------------------------------------------------------------------------------------------- evaluation */

static int add_score(struct scorer *p, struct tally *t, size_t row, moe_token id)
{
    const char *piece;
    size_t len = 0;
    float lp = 0.0f;
    const int status = moe_session_logprob(p->session, row, id, &lp);
    if (status != MOE_OK) return status;
    (void)moe_tokenizer_piece(p->tok, id, &piece, &len);
    tally_add(t, -(double)lp, len);
    return MOE_OK;
}

/*
 * Evaluates ids[0..n) as one sequence and scores those from `first` on (first >= 1), each from the row before
 * it. The last token is only scored, not evaluated.
 */
static int score_window(struct scorer *p, const moe_token *ids, size_t n, size_t first, struct tally *t)
{
    moe_session_reset(p->session);
    for (size_t at = 0; at + 1 < n;) {
        const size_t rows = n - 1 - at < p->rows ? n - 1 - at : p->rows;
        moe_batch b = MOE_BATCH_INIT;
        size_t row = 0;
        int status;
        for (size_t i = 0; i < rows; i++) p->want[i] = at + i + 1 >= first ? MOE_WANT_LOGITS : 0;
        b.n_tokens = rows;
        b.token = ids + at;
        b.want = p->want;
        status = eval_batch(p->session, &b);
        for (size_t i = 0; status == MOE_OK && i < rows; i++)
            if (p->want[i]) status = add_score(p, t, row++, ids[at + i + 1]);
        if (status != MOE_OK) return status;
        at += rows;
    }
    return MOE_OK;
}

/* The whole text, `open` (if any) before each window. */
static int score_text(struct scorer *p, const struct tokens *text, moe_token open, struct tally *t)
{
    const size_t lead = open != MOE_TOKEN_NONE, room = p->window - lead;
    moe_token *ids = malloc(p->window * sizeof *ids);
    size_t scored = 0;
    int status = ids ? MOE_OK : MOE_E_NOMEM;
    for (size_t start = 0; status == MOE_OK && scored < text->n; start += p->stride) {
        const size_t n = text->n - start < room ? text->n - start : room;
        size_t first = lead + scored - start;
        if (first == 0) first = 1;
        if (lead) ids[0] = open;
        memcpy(ids + lead, text->v + start, n * sizeof *ids);
        status = score_window(p, ids, lead + n, first, t);
        scored = start + n;
        progress_update(scored, text->n);
    }
    free(ids);
    return status;
}

/* ------------------------------------------------------------------------------------------------- output */

static void show(struct scorer *p, const char *key, const char *name, const struct tally *t)
{
    const double se = std_error(t), ppl = exp(t->mean);
    if (p->s->json) {
        json_open(&p->json, key, '{');
        if (!key) json_text(&p->json, "file", name);
        json_uint(&p->json, "tokens", t->n);
        json_uint(&p->json, "bytes", t->bytes);
        json_real(&p->json, "nll", t->mean);
        json_real(&p->json, "nll_stderr", se);
        json_real(&p->json, "perplexity", ppl);
        json_real(&p->json, "perplexity_stderr", ppl * se);
        json_real(&p->json, "bits_per_byte", bits_per_byte(t));
        json_close(&p->json);
        return;
    }
    if (!p->header)
        out_format("%-28s %9s %18s %20s %9s\n", "text", "tokens", "nll +- s.e.", "perplexity +- s.e.",
                   "bits/byte");
    p->header = true;
    out_format("%-28s %9llu %9.4f +- %.4f %11.3f +- %5.3f %9.4f\n", name, (unsigned long long)t->n, t->mean,
               se, ppl, ppl * se, bits_per_byte(t));
    out_flush();
}

static int score_file(struct scorer *p, const char *path)
{
    struct bytes text = {NULL, 0, 0};
    struct tokens ids = {NULL, 0, 0};
    struct tally t = {0, 0, 0.0, 0.0};
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    moe_token open = MOE_TOKEN_NONE;
    int status = MOE_OK, code = CODE_FAIL;
    if (read_file(&text, path) &&
        tokens_add_text(&ids, p->tok, text.v, text.n, p->s->special ? MOE_ENCODE_SPECIAL : 0))
        code = text_opening(p->s, p->model, path, &open);
    else if (interrupted())
        code = CODE_INTERRUPTED;
    if (code == CODE_OK) {
        progress_begin(name, false);
        status = score_text(p, &ids, open, &t);
        progress_end();
    }
    if (status == MOE_E_ABORTED) {
        complain("interrupted in %s; the figures are for the %llu tokens scored", name,
                 (unsigned long long)t.n);
        code = CODE_INTERRUPTED;
    } else if (status != MOE_OK) {
        code = report(status, "%s", name);
    } else if (code == CODE_OK && t.n == 0) {
        complain("%s: too short to score", name);
        code = CODE_FAIL;
    }
    if (t.n && (status == MOE_OK || status == MOE_E_ABORTED)) {
        show(p, NULL, name, &t);
        tally_merge(&p->total, &t);
        p->n_done++;
    }
    tokens_free(&ids);
    bytes_free(&text);
    return code;
}

static int score_all(struct scorer *p)
{
    static const char *const input[] = {"-"};
    const char *const *path = p->s->n_args ? p->s->args : input;
    int code = CODE_OK;
    if (p->s->json) {
        json_open(&p->json, NULL, '{');
        json_uint(&p->json, "window", p->window);
        json_uint(&p->json, "stride", p->stride);
        json_open(&p->json, "texts", '[');
    }
    for (size_t i = 0; i < p->n_files && code == CODE_OK && !out_failed(); i++) code = score_file(p, path[i]);
    if (p->s->json) {
        json_close(&p->json);
        json_bool(&p->json, "complete", code == CODE_OK);
    }
    if (p->n_done && (p->n_done > 1 || p->s->json)) show(p, "total", "all", &p->total);
    if (p->s->json) json_close(&p->json);
    return code;
}

static int make_session(struct scorer *p)
{
    const struct settings *s = p->s;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_session_options o;
    const int status = moe_model_get_info(p->model, &info);
    if (status != MOE_OK) return report(status, "cannot describe the model");
    p->window = text_window(s, &info);
    p->stride = s->stride ? (size_t)s->stride : p->window / 2;
    if (p->window < 2 || p->stride == 0 || p->stride >= p->window)
        return usage_error(s->command, "--stride must be smaller than the window of %zu tokens", p->window);
    p->rows = ROWS_BYTES / sizeof(float) / (info.n_vocab ? info.n_vocab : 1);
    p->rows = p->rows < 16 ? 16 : p->rows > ROWS_MAX ? ROWS_MAX : p->rows;
    p->want = malloc(p->rows);
    if (!p->want) {
        complain("out of memory");
        return CODE_FAIL;
    }
    session_options(s, &o);
    o.n_ctx = (uint32_t)p->window;
    o.n_output_max = (uint32_t)p->rows;
    o.progress = NULL; /* the bar shows the text, not one batch */
    return open_session(s, p->model, &o, &p->session);
}

int cmd_perplexity(const struct settings *s)
{
    struct scorer p;
    int code;
    memset(&p, 0, sizeof p);
    p.s = s;
    p.n_files = s->n_args ? (size_t)s->n_args : 1;
    if (s->n_args == 0 && term_is(STDIN_FILENO))
        return usage_error(s->command, "name a file, or give the text on standard input");
    code = open_model(s, 0, &p.model);
    if (code == CODE_OK && (p.tok = tokenizer_of(p.model)) == NULL) code = CODE_FAIL;
    if (code == CODE_OK) code = make_session(&p);
    if (code == CODE_OK) code = score_all(&p);
    interrupt_target(NULL);
    moe_session_free(p.session);
    moe_model_release(p.model);
    free(p.want);
    return code;
}
