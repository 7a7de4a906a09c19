/* SPDX-License-Identifier: MIT */
/*
 * libmoe steer: the experts behind something, and a steering file that uses them.
 *
 * Class 0 is what is looked for: the texts in FILE, or the tokens of --mark wherever they come. Class 1 is
 * the rest: the texts in --against, or all other tokens. Experts of all layers are ranked by the library:
 * mutual information (RICE), choices per prompt (MoTE) or per token, less those of class 1. A prompt is a
 * window of a text, or with --lines a line.
 */
#include "corpus.h"
#include "interrupt.h"
#include "json.h"
#include "out.h"
#include "routing.h"

#include <moe/study.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct finder {
    const struct settings *s;
    struct corpus corpus;
    moe_profile *profile;
    uint32_t cls; /* of the text that is read */
    int by;       /* MOE_RANK_* */
    moe_expert_find *found;
    size_t n; /* experts taken */
};

static const struct {
    const char *name, *title;
    int by;
} measures[] = {
    {"npmi", "nPMI", MOE_RANK_NPMI},
    {"diff", "per prompt", MOE_RANK_DIFF},
    {"rate", "per token", MOE_RANK_RATE},
};

static int begin_prompt(void *user)
{
    struct finder *f = user;
    return moe_profile_begin(f->profile, f->cls);
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Marks a text if it is one token. A status of the library; *marked counts. */
static int mark_token(struct finder *f, const char *text, size_t *marked)
{
    moe_token ids[4];
    size_t n = 0;
    const int status =
        moe_tokenizer_encode(f->corpus.tok, text, strlen(text), MOE_ENCODE_SPECIAL, ids, 4, &n);
    if (status == MOE_E_BUFFER || (status == MOE_OK && n != 1)) return MOE_OK;
    if (status != MOE_OK) return status;
    ++*marked;
    return moe_profile_mark(f->profile, 0, ids, 1);
}

/* Each --mark, as it stands and after a blank, as it comes within a line. */
static int mark_all(struct finder *f)
{
    for (size_t i = 0; i < f->s->marks.n; i++) {
        const char *text = f->s->marks.v[i];
        struct bytes spaced = {NULL, 0, 0};
        size_t marked = 0;
        int status = bytes_add(&spaced, " ", 1) && bytes_add_text(&spaced, text) ? MOE_OK : MOE_E_NOMEM;
        if (status == MOE_OK) status = mark_token(f, text, &marked);
        if (status == MOE_OK) status = mark_token(f, spaced.v, &marked);
        bytes_free(&spaced);
        if (status != MOE_OK) return report(status, "--mark %s", text);
        if (marked == 0) {
            complain("--mark %s: this is no single token of the model (see `libmoe tokenize`)", text);
            return CODE_FAIL;
        }
    }
    return CODE_OK;
}

/* Every line that is not empty as a text of its own. */
static int read_lines(struct finder *f, const char *path)
{
    struct bytes all = {NULL, 0, 0};
    int code = read_file(&all, path) ? CODE_OK : interrupted() ? CODE_INTERRUPTED : CODE_FAIL;
    for (size_t at = 0, end; code == CODE_OK && at < all.n; at = end + 1) {
        const char *stop = memchr(all.v + at, '\n', all.n - at);
        struct bytes line = {NULL, 0, 0};
        end = stop ? (size_t)(stop - all.v) : all.n;
        if (end == at) continue;
        code = bytes_add(&line, all.v + at, end - at) ? corpus_text(&f->corpus, path, path, &line, false)
                                                      : CODE_FAIL;
        bytes_free(&line);
    }
    bytes_free(&all);
    return code;
}

static int read_texts(struct finder *f)
{
    const struct settings *s = f->s;
    int code = CODE_OK;
    for (int i = 0; i < s->n_args && code == CODE_OK; i++) {
        f->cls = s->marks.n ? 1 : 0;
        code = s->lines ? read_lines(f, s->args[i]) : corpus_file(&f->corpus, s->args[i], false);
    }
    for (size_t i = 0; i < s->against.n && code == CODE_OK; i++) {
        f->cls = 1;
        code = s->lines ? read_lines(f, s->against.v[i]) : corpus_file(&f->corpus, s->against.v[i], false);
    }
    return code;
}

static int gather(struct finder *f)
{
    moe_profile_options o = MOE_PROFILE_OPTIONS_INIT;
    int status, code = corpus_open(&f->corpus, f->s, 0);
    if (code != CODE_OK) return code;
    o.n_classes = 2;
    status = moe_profile_create(&f->profile, f->corpus.model, &o);
    if (status == MOE_OK) status = moe_session_set_profile(f->corpus.session, f->profile);
    if (status != MOE_OK) return report(status, "cannot count");
    f->corpus.begin = begin_prompt;
    f->corpus.user = f;
    code = mark_all(f);
    return code == CODE_OK ? read_texts(f) : code;
}

/* ------------------------------------------------------------------------------------------------ finding */

static int rank(struct finder *f)
{
    size_t found = 0;
    int status;
    f->n = (size_t)f->s->top;
    f->found = calloc(f->n, sizeof *f->found);
    if (!f->found) {
        complain("out of memory");
        return CODE_FAIL;
    }
    f->found[0].size = sizeof *f->found;
    status = moe_profile_rank(f->profile, f->by, 0, 1, f->found, f->n, &found);
    if (status == MOE_E_NOTFOUND && f->s->marks.n) {
        complain("none of the marked tokens is in the texts, or nothing else is");
        return CODE_FAIL;
    }
    if (status != MOE_OK) return report(status, "cannot rank the experts");
    if (found < f->n) f->n = found;
    return CODE_OK;
}

/* Pseudo-random numbers (splitmix64). */
static uint64_t draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool is_taken(const moe_expert_find *v, size_t n, uint32_t layer, uint32_t index)
{
    for (size_t i = 0; i < n; i++)
        if (v[i].layer == layer && v[i].index == index) return true;
    return false;
}

/* Each expert found gives way to one of the same layer that was neither found nor drawn. */
static int draw_control(struct finder *f)
{
    moe_expert_find *other = calloc(f->n ? f->n : 1, sizeof *other);
    uint64_t state = f->s->control;
    size_t n = 0;
    if (!other) {
        complain("out of memory");
        return CODE_FAIL;
    }
    for (size_t i = 0; i < f->n; i++) {
        const uint32_t layer = f->found[i].layer;
        moe_layer_info info = MOE_LAYER_INFO_INIT;
        uint32_t left = 0, pick;
        if (moe_model_get_layer(f->corpus.model, layer, &info) != MOE_OK) continue;
        for (uint32_t e = 0; e < info.n_experts; e++)
            left += !is_taken(f->found, f->n, layer, e) && !is_taken(other, n, layer, e);
        if (left == 0) continue;
        pick = (uint32_t)(draw(&state) % left);
        for (uint32_t e = 0; e < info.n_experts; e++) {
            if (is_taken(f->found, f->n, layer, e) || is_taken(other, n, layer, e) || pick--) continue;
            other[n].layer = layer;
            other[n++].index = e;
            break;
        }
    }
    if (n < f->n) note("only %zu others are left in these layers", n);
    free(f->found);
    f->found = other;
    f->n = n;
    return CODE_OK;
}

/* ---------------------------------------------------------------------------------------------- the result
 */

/* Choices of an expert per token of a class. */
static double per_token(const struct finder *f, const moe_expert_find *e, uint32_t cls)
{
    moe_profile_info info = MOE_PROFILE_INFO_INIT;
    double *count = NULL, tokens[2] = {0.0, 0.0}, result = 0.0;
    size_t n;
    if (moe_profile_get_info(f->profile, &info) == MOE_OK) count = malloc(2 * info.n_experts * sizeof *count);
    if (count &&
        moe_profile_read(f->profile, e->layer, MOE_PROFILE_CLASS_COUNT, count, 2 * (size_t)info.n_experts,
                         &n) == MOE_OK &&
        moe_profile_read(f->profile, e->layer, MOE_PROFILE_CLASS_TOKENS, tokens, 2, &n) == MOE_OK &&
        tokens[cls] > 0.0)
        result = count[cls * info.n_experts + e->index] / tokens[cls];
    free(count);
    return result;
}

static void show(const struct finder *f)
{
    const struct settings *s = f->s;
    size_t m = 0;
    struct json j = JSON_INIT;
    while (measures[m].by != f->by) m++;
    if (s->json) {
        json_open(&j, NULL, '{');
        json_text(&j, "by", measures[m].name);
        json_bool(&j, "control", s->has_control);
        json_open(&j, "experts", '[');
    } else {
        out_format("%4s  %-8s %12s %14s %14s\n", "rank", "expert",
                   s->has_control ? "(at random)" : measures[m].title, "tokens there", "elsewhere");
    }
    for (size_t i = 0; i < f->n; i++) {
        const moe_expert_find *e = &f->found[i];
        const double there = per_token(f, e, 0), elsewhere = per_token(f, e, 1);
        char name[32];
        if (s->json) {
            json_open_row(&j, NULL, '{');
            json_uint(&j, "layer", e->layer);
            json_uint(&j, "expert", e->index);
            if (!s->has_control) json_real(&j, "value", e->value);
            json_real(&j, "per_token", there);
            json_real(&j, "per_token_elsewhere", elsewhere);
            json_close(&j);
            continue;
        }
        snprintf(name, sizeof name, "%lu:%lu", (unsigned long)e->layer, (unsigned long)e->index);
        out_format("%4zu  %-8s ", i + 1, name);
        if (s->has_control)
            out_format("%12s", "");
        else
            out_format("%12.4f", e->value);
        out_format(" %12.2f %% %12.2f %%\n", 100.0 * there, 100.0 * elsewhere);
    }
    if (s->json) {
        json_close(&j);
        json_close(&j);
    }
}

static int write_steering(struct finder *f, const struct edit *e)
{
    int status = moe_session_set_profile(f->corpus.session, NULL);
    for (size_t i = 0; i < f->n && status == MOE_OK; i++) {
        status = edit_apply(f->corpus.session, f->found[i].layer, f->found[i].index, e);
        if (status != MOE_OK)
            return report(status, "--set %s for expert %lu:%lu", f->s->set, (unsigned long)f->found[i].layer,
                          (unsigned long)f->found[i].index);
    }
    if (status == MOE_OK) status = moe_session_save_steering_file(f->corpus.session, f->s->output);
    if (status != MOE_OK) return report(status, "cannot write %s", f->s->output);
    note("%s: %zu expert%s set to %s", f->s->output, f->n, f->n == 1 ? "" : "s", f->s->set);
    return CODE_OK;
}

static int check_usage(const struct settings *s, struct edit *e)
{
    if (!edit_parse(s->set, e))
        return usage_error(
            s->command,
            "--set takes free, ban, ban-scored, drop, drop-renorm, force, or a number as logit:X, "
            "select:X, pre:X, post:X, gain:X; not `%s`",
            s->set);
    if (s->n_args == 0) return usage_error(s->command, "name the texts to look into");
    if (s->marks.n && s->against.n)
        return usage_error(s->command, "of --mark and --against only one can be used");
    if (!s->marks.n && !s->against.n)
        return usage_error(s->command, "nothing to compare with: --against FILE, or --mark TEXT");
    return CODE_OK;
}

int cmd_steer(const struct settings *s)
{
    struct finder f;
    struct edit e;
    int code = check_usage(s, &e);
    if (code != CODE_OK) return code;
    memset(&f, 0, sizeof f);
    f.s = s;
    f.by = s->marks.n ? MOE_RANK_NPMI : MOE_RANK_RATE;
    for (size_t i = 0; s->by && i < sizeof measures / sizeof *measures; i++)
        if (strcmp(measures[i].name, s->by) == 0) f.by = measures[i].by;
    code = gather(&f);
    if (code == CODE_OK) code = rank(&f);
    if (code == CODE_OK && s->has_control) code = draw_control(&f);
    if (code == CODE_OK) show(&f);
    if (code == CODE_OK && s->output) code = write_steering(&f, &e);
    corpus_close(&f.corpus); /* before the profile: the session points to it */
    moe_profile_free(f.profile);
    free(f.found);
    return code;
}
