/* SPDX-License-Identifier: MIT */
/*
 * libmoe chat. Each turn writes the whole conversation as tokens, keeps of the session what agrees with them
 * and evaluates the rest: only what is new. Without a chat template the text is one document that user and
 * model continue in turns.
 */
#include "chat.h"
#include "interrupt.h"
#include "line.h"
#include "out.h"
#include "progress.h"
#include "setup.h"
#include "shift.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_CHAT  1024
#define ANSWER_PLAIN 100

struct chat {
    const struct settings *s;
    moe_model *model;
    moe_session *session, *weak; /* weak: of --contrast, or NULL */
    size_t gone, weak_gone;      /* tokens of the conversation behind the first --shift that they lack */
    moe_sampler *sampler;
    const moe_tokenizer *tok;
    bool templated, quit;
    struct talk talk;
};

/* ------------------------------------------------------------------------------------------- conversation */

static bool begin(struct chat *c)
{
    const struct settings *s = c->s;
    moe_token voice;
    talk_clear(&c->talk);
    moe_session_reset(c->session);
    moe_session_reset(c->weak);
    c->gone = c->weak_gone = 0;
    (void)moe_sampler_reset(c->sampler);
    if (c->templated) return !s->system || talk_add(&c->talk, "system", s->system);
    if (voice_token(c->model, s->voice, &voice) != CODE_OK) return false;
    if (voice != MOE_TOKEN_NONE) return tokens_add(&c->talk.history, &voice, 1);
    return tokens_add_text(&c->talk.history, c->tok, "", 0, MOE_ENCODE_BOS);
}

/* The conversation as its template writes it, up to the opening of the answer. */
static bool render(struct chat *c, struct tokens *out)
{
    moe_message *msg = calloc(c->talk.n, sizeof *msg);
    char *text = NULL;
    size_t len = 0;
    int status = MOE_E_NOMEM;
    bool ok = false;
    for (size_t i = 0; msg && i < c->talk.n; i++) {
        msg[i].size = sizeof *msg;
        msg[i].role = c->talk.said[i].role;
        msg[i].text = c->talk.said[i].text;
    }
    if (msg) status = moe_tokenizer_chat(c->tok, msg, c->talk.n, MOE_CHAT_ADD_ASSISTANT, NULL, 0, &len);
    if (status == MOE_E_BUFFER || status == MOE_OK) {
        text = malloc(len + 1);
        status = text
                     ? moe_tokenizer_chat(c->tok, msg, c->talk.n, MOE_CHAT_ADD_ASSISTANT, text, len + 1, &len)
                     : MOE_E_NOMEM;
    }
    if (status == MOE_OK)
        ok = tokens_add_text(out, c->tok, text, len, MOE_ENCODE_SPECIAL);
    else
        report(status, "cannot write the conversation in the model's format");
    free(text);
    free(msg);
    return ok;
}

/* Which token of the conversation stands at a position of a session that lacks `gone` behind the first ones.
 */
static size_t token_at(const struct chat *c, size_t pos, size_t gone)
{
    return pos < (size_t)c->s->shift ? pos : pos + gone;
}

/* How many tokens of `want` a session has evaluated already; at least one is left, for its logits. */
static size_t agreed(const struct chat *c, const moe_session *s, const struct tokens *want, size_t gone)
{
    size_t n = moe_session_seq_len(s, 0), same = 0;
    moe_token *have = malloc((n + 1) * sizeof *have);
    if (have && moe_session_seq_tokens(s, 0, have, n, &n) == MOE_OK)
        while (same < n && token_at(c, same, gone) + 1 < want->n &&
               have[same] == want->v[token_at(c, same, gone)])
            same++;
    free(have);
    return same;
}

/* Brings a session to `want`: cuts back what differs, evaluates what is new, from token *from on. */
static int catch_up(const struct chat *c, moe_session *s, const struct tokens *want, size_t *gone,
                    size_t *from)
{
    size_t keep = agreed(c, s, want, *gone);
    int status = moe_session_seq_truncate(s, 0, (moe_pos)keep);
    if (status == MOE_E_STATE) { /* windows that have moved on: all of it anew */
        keep = 0;
        status = moe_session_seq_truncate(s, 0, 0);
    }
    if (keep <= (size_t)c->s->shift) *gone = 0; /* all that was moved is cut off */
    *from = token_at(c, keep, *gone);
    return status == MOE_OK ? eval_shifting(s, want->v + *from, want->n - *from, c->s->shift, gone) : status;
}

/* Brings the sessions to `want`; MOE_OK or a status that has been reported (MOE_E_ABORTED has not). */
static int feed(struct chat *c, const struct tokens *want)
{
    size_t from, weak_from;
    int status;
    progress_begin("reading", false);
    status = catch_up(c, c->session, want, &c->gone, &from);
    if (status == MOE_OK && c->weak) status = catch_up(c, c->weak, want, &c->weak_gone, &weak_from);
    progress_end();
    for (size_t i = from; status == MOE_OK && i < want->n; i++)
        status = moe_sampler_accept(c->sampler, want->v[i]);
    if (status == MOE_E_FULL)
        complain("the context is full (%zu tokens would be needed): /reset begins anew, --shift would go on",
                 want->n);
    else if (status != MOE_OK && status != MOE_E_ABORTED)
        report(status, "cannot read what you wrote");
    return status;
}

static int32_t answer_limit(const struct chat *c)
{
    return c->s->max_tokens ? c->s->max_tokens : c->templated ? ANSWER_CHAT : ANSWER_PLAIN;
}

/* Generates and shows the answer, and adds it to the conversation. */
static bool reply(struct chat *c, struct tokens *want)
{
    struct answer a;
    bool ok;
    memset(&a, 0, sizeof a);
    a.session = c->session;
    a.weak = c->weak;
    a.contrast = contrast_settings(c->s);
    a.sampler = c->sampler;
    a.tok = c->tok;
    a.max_tokens = answer_limit(c);
    a.shift = c->s->shift;
    a.show = true;
    answer_run(&a);
    c->gone += a.gone;
    c->weak_gone += a.weak_gone;
    out_text("\n");
    out_flush();
    if (a.stop == STOP_INTERRUPTED && interrupted_by_user()) note("stopped after %zu tokens", a.tokens.n);
    if (a.stop == STOP_CONTEXT) note("the context is full: /reset begins anew");
    ok = a.stop != STOP_FAILED && talk_add(&c->talk, "assistant", a.text.v ? a.text.v : "");
    if (ok && !c->templated) ok = tokens_add(want, a.tokens.v, a.tokens.n - (a.stop == STOP_END));
    answer_free(&a);
    return ok;
}

static void print_stats(const struct chat *c)
{
    moe_stats st = MOE_STATS_INIT;
    if (moe_session_get_stats(c->session, &st) == MOE_OK)
        note("read %llu tokens (%.1f/s), wrote %llu (%.1f/s), %zu in the context",
             (unsigned long long)st.tokens_prefill,
             st.ns_prefill ? (double)st.tokens_prefill * 1e9 / (double)st.ns_prefill : 0.0,
             (unsigned long long)st.tokens_decode,
             st.ns_decode ? (double)st.tokens_decode * 1e9 / (double)st.ns_decode : 0.0,
             moe_session_seq_len(c->session, 0));
    moe_session_reset_stats(c->session);
}

/* What the model is to read in this turn. */
static bool compose(struct chat *c, const char *text, struct tokens *want)
{
    if (c->templated) return render(c, want);
    if (!tokens_add(want, c->talk.history.v, c->talk.history.n)) return false;
    if (c->talk.n > 1 && !tokens_add_text(want, c->tok, "\n", 1, 0)) return false;
    return tokens_add_text(want, c->tok, text, strlen(text), 0);
}

static void turn(struct chat *c, const char *text)
{
    struct tokens want = {NULL, 0, 0};
    int status = MOE_E_NOMEM;
    if (!talk_add(&c->talk, "user", text)) return;
    if (compose(c, text, &want) && want.n) status = feed(c, &want);
    if (status == MOE_OK && reply(c, &want)) {
        if (!c->templated) {
            tokens_free(&c->talk.history);
            c->talk.history = want;
            memset(&want, 0, sizeof want);
        }
    } else {
        talk_drop(&c->talk); /* as if it had not been said */
        if (status == MOE_E_ABORTED) note("stopped");
    }
    if (c->s->stats) print_stats(c);
    tokens_free(&want);
}

/* ----------------------------------------------------------------------------------------------- commands */

static void do_help(struct chat *c, const char *arg);

static void do_reset(struct chat *c, const char *arg)
{
    (void)arg;
    if (begin(c)) note("a new conversation");
}

static void do_save(struct chat *c, const char *arg)
{
    if (!*arg)
        complain("/save needs a file name");
    else if (talk_save(&c->talk, c->session, arg))
        note("saved %zu messages, %zu tokens to %s", c->talk.n, moe_session_seq_len(c->session, 0), arg);
}

static void do_load(struct chat *c, const char *arg)
{
    if (!*arg)
        complain("/load needs a file name");
    else if (talk_load(&c->talk, c->session, arg)) {
        c->gone = 0; /* what was taken out is read again */
        (void)moe_sampler_reset(c->sampler);
        note("loaded %zu messages, %zu tokens", c->talk.n, moe_session_seq_len(c->session, 0));
    }
}

static void do_quit(struct chat *c, const char *arg)
{
    (void)arg;
    c->quit = true;
}

static const struct {
    const char *name, *arg, *help;
    void (*run)(struct chat *c, const char *arg);
} slash[] = {
    {"/help", "", "this list", do_help},
    {"/reset", "", "begin a new conversation", do_reset},
    {"/save", " FILE", "keep the conversation in a file", do_save},
    {"/load", " FILE", "go on with one from a file", do_load},
    {"/quit", "", "end (so does Ctrl-D; Ctrl-C stops an answer)", do_quit},
};

#define N_SLASH (sizeof slash / sizeof *slash)

static void do_help(struct chat *c, const char *arg)
{
    (void)c;
    (void)arg;
    for (size_t i = 0; i < N_SLASH; i++)
        out_format("  %s%-*s %s\n", slash[i].name, 12 - (int)strlen(slash[i].name), slash[i].arg,
                   slash[i].help);
    out_text("  A line that ends in a backslash goes on in the next one.\n");
}

static const char *slash_name(size_t i, const void *user)
{
    (void)user;
    return slash[i].name;
}

static void run_slash(struct chat *c, const char *line)
{
    const size_t len = strcspn(line, " ");
    char word[32];
    const char *near;
    for (size_t i = 0; i < N_SLASH; i++) {
        if (strlen(slash[i].name) == len && memcmp(slash[i].name, line, len) == 0) {
            slash[i].run(c, line + len + strspn(line + len, " "));
            return;
        }
    }
    memcpy(word, line, len < sizeof word - 1 ? len : sizeof word - 1);
    word[len < sizeof word - 1 ? len : sizeof word - 1] = '\0';
    near = nearest(word, N_SLASH, slash_name, NULL);
    complain("unknown command %s%s%s%s /help lists them", word, near ? "; did you mean " : "",
             near ? near : "", near ? "?" : ";");
}

/* --------------------------------------------------------------------------------------------------- loop */

static int converse(struct chat *c, struct line_reader *reader)
{
    struct bytes line = {NULL, 0, 0};
    int code = CODE_OK;
    while (!c->quit && !out_failed()) {
        const enum line_result r = line_read(reader, &line);
        if (r == LINE_INTERRUPTED && interrupted_by_user()) {
            interrupt_forget();
            out_text("\n");
            out_flush();
            continue;
        }
        if (r != LINE_OK) {
            if (r == LINE_END && isatty(STDIN_FILENO)) out_text("\n"); /* behind Ctrl-D */
            code = r == LINE_FAILED ? CODE_FAIL : r == LINE_INTERRUPTED ? CODE_INTERRUPTED : CODE_OK;
            break;
        }
        if (line.n == 0) continue;
        if (line.v[0] == '/')
            run_slash(c, line.v);
        else
            turn(c, line.v);
        if (interrupted() && !interrupted_by_user()) code = CODE_INTERRUPTED, c->quit = true;
        interrupt_forget();
        out_flush();
    }
    bytes_free(&line);
    return code;
}

/* The file's chat template, if it is one of the built-in ones. */
static void choose_format(struct chat *c)
{
    const char *name = moe_tokenizer_chat_name(c->tok);
    c->templated = name != NULL;
    if (!isatty(STDIN_FILENO)) return;
    if (name)
        note("chat template %s; /help lists the commands, Ctrl-C stops an answer, Ctrl-D ends", name);
    else
        note("this model has no chat template that is built in: it continues what you write; /help lists the "
             "commands");
}

int cmd_chat(const struct settings *s)
{
    struct chat c;
    struct line_reader *reader = NULL;
    moe_session_options o;
    uint64_t seed;
    int code;
    memset(&c, 0, sizeof c);
    c.s = s;
    session_options(s, &o);
    code = open_sampler(s, &c.sampler, &seed);
    if (code == CODE_OK) code = open_model(s, 0, &c.model);
    if (code == CODE_OK && (c.tok = tokenizer_of(c.model)) == NULL) code = CODE_FAIL;
    if (code == CODE_OK) code = open_session(s, c.model, &o, &c.session);
    if (code == CODE_OK) code = open_weak(s, c.session, &o, &c.weak);
    if (code == CODE_OK && !shift_fits(s, c.session)) code = CODE_USAGE;
    if (code == CODE_OK) {
        choose_format(&c);
        if (!begin(&c) || (reader = line_open()) == NULL) code = CODE_FAIL;
    }
    if (code == CODE_OK) code = converse(&c, reader);
    line_close(reader);
    talk_clear(&c.talk);
    interrupt_target(NULL);
    moe_session_free(c.weak);
    moe_session_free(c.session);
    moe_sampler_free(c.sampler);
    moe_model_release(c.model);
    return code;
}
