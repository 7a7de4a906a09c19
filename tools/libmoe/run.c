/* SPDX-License-Identifier: MIT */
/* libmoe run: continue a prompt. */
#include "answer.h"
#include "interrupt.h"
#include "json.h"
#include "out.h"
#include "progress.h"
#include "setup.h"
#include "shift.h"
#include "term.h"

#include <stdio.h>
#include <string.h>

struct job {
    const struct settings *s;
    moe_model *model;
    struct bytes prompt;
    struct tokens ids; /* what the prompt became */
    struct answer answer;
    uint64_t seed;
};

/* [voice] or [begin of text], then the prompt. */
static int encode_prompt(struct job *j)
{
    const uint32_t special = j->s->special ? MOE_ENCODE_SPECIAL : 0;
    moe_token voice;
    const int code = voice_token(j->model, j->s->voice, &voice);
    if (code != CODE_OK) return code;
    if (voice != MOE_TOKEN_NONE && !tokens_add(&j->ids, &voice, 1)) return CODE_FAIL;
    if (!tokens_add_text(&j->ids, j->answer.tok, j->prompt.v, j->prompt.n,
                         special | (voice == MOE_TOKEN_NONE ? MOE_ENCODE_BOS : 0)))
        return CODE_FAIL;
    if (j->ids.n == 0)
        return usage_error(j->s->command,
                           "the prompt is empty, and this model has no token to begin a text with");
    return CODE_OK;
}

static int prefill(struct job *j)
{
    struct answer *a = &j->answer;
    int status;
    for (size_t i = 0; i < j->ids.n; i++) {
        status = moe_sampler_accept(j->answer.sampler, j->ids.v[i]); /* penalties know the prompt */
        if (status != MOE_OK) return report(status, "cannot use the prompt");
    }
    progress_begin("reading the prompt", false);
    status = eval_shifting(a->session, j->ids.v, j->ids.n, a->shift, &a->gone);
    if (status == MOE_OK && a->weak)
        status = eval_shifting(a->weak, j->ids.v, j->ids.n, a->shift, &a->weak_gone);
    progress_end();
    if (status == MOE_E_FULL)
        return report(status, "the prompt (%zu tokens) does not fit the context", j->ids.n);
    return status == MOE_OK ? CODE_OK : report(status, "reading the prompt (%zu tokens)", j->ids.n);
}

static double rate(uint64_t tokens, uint64_t ns) { return ns ? (double)tokens * 1e9 / (double)ns : 0.0; }

static void print_stats(const moe_stats *st, uint64_t seed)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    note("prompt %llu tokens in %s (%.1f tokens/s), answer %llu tokens in %s (%.1f tokens/s), seed %llu",
         (unsigned long long)st->tokens_prefill, readable_time(a, st->ns_prefill),
         rate(st->tokens_prefill, st->ns_prefill), (unsigned long long)st->tokens_decode,
         readable_time(b, st->ns_decode), rate(st->tokens_decode, st->ns_decode), (unsigned long long)seed);
}

static void print_json(const struct job *j, const moe_stats *st)
{
    struct json w = JSON_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    const struct answer *a = &j->answer;
    json_open(&w, NULL, '{');
    if (moe_model_get_info(j->model, &info) == MOE_OK) json_text(&w, "model", info.name);
    json_bytes(&w, "prompt", j->prompt.v, j->prompt.n);
    json_uint(&w, "prompt_tokens", j->ids.n);
    json_bytes(&w, "text", a->text.v ? a->text.v : "", a->text.n);
    json_open_row(&w, "tokens", '[');
    for (size_t i = 0; i < a->tokens.n; i++) json_int(&w, NULL, a->tokens.v[i]);
    json_close(&w);
    json_text(&w, "stop", stop_name(a->stop));
    json_uint(&w, "tokens_taken_out", a->gone);
    json_uint(&w, "seed", j->seed);
    json_open(&w, "stats", '{');
    json_uint(&w, "tokens_prefill", st->tokens_prefill);
    json_uint(&w, "ns_prefill", st->ns_prefill);
    json_uint(&w, "tokens_decode", st->tokens_decode);
    json_uint(&w, "ns_decode", st->ns_decode);
    json_close(&w);
    json_close(&w);
}

/* What happened, in words and as an exit code. */
static int conclude(const struct job *j)
{
    const struct answer *a = &j->answer;
    switch (a->stop) {
    case STOP_CONTEXT:
        note("the context is full with %zu tokens; --ctx makes a longer one, --shift goes on",
             moe_session_seq_len(a->session, 0));
        return CODE_OK;
    case STOP_INTERRUPTED: complain("interrupted after %zu tokens", a->tokens.n); return CODE_INTERRUPTED;
    case STOP_FAILED: return CODE_FAIL;
    default: return CODE_OK;
    }
}

static int generate(struct job *j)
{
    const struct settings *s = j->s;
    moe_stats st = MOE_STATS_INIT;
    int code = prefill(j);
    if (code != CODE_OK) return code;
    j->answer.max_tokens = s->max_tokens;
    j->answer.ignore_end = s->ignore_end;
    j->answer.show = !s->json;
    if (!s->json && !s->no_echo) {
        out_bytes(j->prompt.v, j->prompt.n);
        out_flush();
    }
    answer_run(&j->answer);
    (void)moe_session_get_stats(j->answer.session, &st);
    if (s->json)
        print_json(j, &st);
    else
        out_text("\n");
    out_flush();
    code = conclude(j);
    if (s->stats) print_stats(&st, j->seed);
    if (s->stats && j->answer.gone) note("%zu tokens were taken out of the context", j->answer.gone);
    return code;
}

int cmd_run(const struct settings *s)
{
    struct job j;
    moe_session_options o;
    int code;
    memset(&j, 0, sizeof j);
    j.s = s;
    session_options(s, &o);
    code = read_prompt(&j.prompt, s) ? CODE_OK : interrupted() ? CODE_INTERRUPTED : CODE_FAIL;
    if (code == CODE_OK) code = open_sampler(s, &j.answer.sampler, &j.seed);
    if (code == CODE_OK) code = open_model(s, 0, &j.model);
    if (code == CODE_OK && (j.answer.tok = tokenizer_of(j.model)) == NULL) code = CODE_FAIL;
    if (code == CODE_OK) code = encode_prompt(&j);
    if (code == CODE_OK) code = open_session(s, j.model, &o, &j.answer.session);
    if (code == CODE_OK) code = open_weak(s, j.answer.session, &o, &j.answer.weak);
    j.answer.contrast = contrast_settings(s);
    j.answer.shift = s->shift;
    if (code == CODE_OK && !shift_fits(s, j.answer.session)) code = CODE_USAGE;
    if (code == CODE_OK) code = generate(&j);
    interrupt_target(NULL);
    moe_session_free(j.answer.weak);
    moe_session_free(j.answer.session);
    moe_sampler_free(j.answer.sampler);
    moe_model_release(j.model);
    answer_free(&j.answer);
    tokens_free(&j.ids);
    bytes_free(&j.prompt);
    return code;
}
