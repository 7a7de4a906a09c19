/* SPDX-License-Identifier: MIT */
/*
 * libmoe stats: texts and profile files to one profile, which is then shown and saved. Classes are the files'
 * names, or those of --names, to which files belong by their name.
 */
#include "interrupt.h"
#include "out.h"
#include "study.h"
#include "term.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_BYTES (64u << 20) /* memory for counts by token */

struct gatherer {
    const struct settings *s;
    struct corpus corpus;
    moe_profile *profile;
    moe_trace *trace;
    struct classes classes;
    uint32_t cls, request;
};

/* ------------------------------------------------------------------------------------------------ classes */

uint32_t class_find(const struct classes *c, const char *name)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (strcmp(c->name[i], name) == 0) return i;
    return UINT32_MAX;
}

bool class_add(struct classes *c, const char *name)
{
    void *grown;
    if (class_find(c, name) != UINT32_MAX) return true;
    if (c->n == CLASS_MAX) {
        complain("more than %d classes", CLASS_MAX);
        return false;
    }
    grown = realloc(c->name, (c->n + 1) * sizeof *c->name);
    if (!grown) {
        complain("out of memory");
        return false;
    }
    c->name = grown;
    memset(c->name[c->n], 0, CLASS_NAME);
    strncpy(c->name[c->n++], name, CLASS_NAME - 1);
    return true;
}

bool class_add_list(struct classes *c, const char *list)
{
    char name[CLASS_NAME];
    for (;; list++) {
        const size_t n = strcspn(list, ",");
        if (n == 0 || n >= sizeof name) {
            complain("--names: `%.*s` is no name", (int)n, list);
            return false;
        }
        memcpy(name, list, n);
        name[n] = '\0';
        if (!class_add(c, name)) return false;
        list += n;
        if (!*list) return true;
    }
}

void classes_free(struct classes *c)
{
    free(c->name);
    c->name = NULL;
    c->n = 0;
}

/* ---------------------------------------------------------------------------------------------- gathering */

static int begin_window(void *user)
{
    struct gatherer *g = user;
    const int status = moe_profile_begin(g->profile, g->cls);
    return status == MOE_OK && g->trace ? moe_trace_begin(g->trace, g->request++) : status;
}

/* How many different tokens can be counted apart within TOKEN_BYTES. */
static uint32_t token_limit(const moe_model_info *info)
{
    const uint64_t row = (uint64_t)info->n_moe_layers * (info->n_experts ? info->n_experts : 1) * 8u;
    const uint64_t n = row ? TOKEN_BYTES / row : 0;
    return n < info->n_vocab ? (uint32_t)n : info->n_vocab;
}

static int make_profile(struct gatherer *g)
{
    moe_profile_options o = MOE_PROFILE_OPTIONS_INIT;
    moe_model_info info = MOE_MODEL_INFO_INIT;
    int status = moe_model_get_info(g->corpus.model, &info);
    o.flags = MOE_PROFILE_PAIRS | (g->s->outputs ? MOE_PROFILE_OUTPUTS : 0);
    o.n_classes = g->classes.n;
    o.n_tokens_max = token_limit(&info);
    if (status == MOE_OK) status = moe_profile_create(&g->profile, g->corpus.model, &o);
    return status == MOE_OK ? CODE_OK : report(status, "cannot make a profile");
}

/* Adds the profile files; the first one becomes the profile if there is none. */
static int load_profiles(struct gatherer *g)
{
    for (size_t i = 0; i < g->s->load.n; i++) {
        moe_profile *p = NULL;
        int status = moe_profile_load_file(&p, g->corpus.model, g->s->load.v[i]);
        if (status == MOE_OK && g->profile) {
            status = moe_profile_merge(g->profile, p);
            moe_profile_free(p);
        } else if (status == MOE_OK) {
            g->profile = p;
        }
        if (status != MOE_OK) return report(status, "cannot use the profile %s", g->s->load.v[i]);
    }
    return CODE_OK;
}

static int read_one(struct gatherer *g, const char *path)
{
    char name[CLASS_NAME];
    text_name(name, sizeof name, path);
    g->cls = class_find(&g->classes, name);
    if (g->cls == UINT32_MAX) {
        complain("%s: --names has no class %s", path, name);
        return CODE_USAGE;
    }
    return corpus_file(&g->corpus, path, false);
}

static int read_texts(struct gatherer *g)
{
    const struct settings *s = g->s;
    int status = moe_session_set_profile(g->corpus.session, g->profile), code = CODE_OK;
    if (status == MOE_OK && (s->html || s->json)) {
        status = moe_trace_create(&g->trace, g->corpus.model, 0, NULL);
        if (status == MOE_OK) status = moe_session_observe(g->corpus.session, moe_trace_observe, g->trace);
    }
    if (status != MOE_OK) return report(status, "cannot gather statistics");
    g->corpus.begin = begin_window;
    g->corpus.user = g;
    for (int i = 0; i < s->n_args && code == CODE_OK; i++) code = read_one(g, s->args[i]);
    return code;
}

/* The classes' names: --names, else the files', else numbers. */
static int name_classes(struct gatherer *g)
{
    const struct settings *s = g->s;
    char name[CLASS_NAME];
    if (s->names) return class_add_list(&g->classes, s->names) ? CODE_OK : CODE_USAGE;
    for (int i = 0; i < s->n_args; i++) {
        text_name(name, sizeof name, s->args[i]);
        if (!class_add(&g->classes, name)) return CODE_FAIL;
    }
    return CODE_OK;
}

/* ------------------------------------------------------------------------------------------------ showing */

double *profile_array(const moe_profile *p, uint32_t layer, int what, size_t *n)
{
    double *v = NULL;
    *n = 0;
    if (moe_profile_read(p, layer, what, NULL, 0, n) == MOE_E_BUFFER && *n) v = malloc(*n * sizeof *v);
    if (v && moe_profile_read(p, layer, what, v, *n, n) == MOE_OK) return v;
    free(v);
    *n = 0;
    return NULL;
}

static int show(struct gatherer *g)
{
    struct stats st;
    int status, code = CODE_OK;
    memset(&st, 0, sizeof st);
    st.s = g->s;
    st.model = g->corpus.model;
    st.profile = g->profile;
    st.trace = g->trace;
    st.info.size = sizeof st.info;
    status = moe_profile_get_info(g->profile, &st.info);
    for (uint32_t i = g->classes.n; i < st.info.n_classes && code == CODE_OK; i++) {
        char name[CLASS_NAME] = "class ";
        snprintf(name + 6, sizeof name - 6, "%lu", (unsigned long)i);
        if (!class_add(&g->classes, name)) code = CODE_FAIL;
    }
    st.classes = g->classes;
    st.layers = malloc((st.info.n_layers + 1u) * sizeof *st.layers);
    if (!st.layers) status = MOE_E_NOMEM;
    for (uint32_t l = 0; status == MOE_OK && l < st.info.n_layers; l++) {
        moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
        if (moe_profile_router(g->profile, l, &r) == MOE_OK && r.tokens) st.layers[st.n_layers++] = l;
    }
    if (status != MOE_OK) code = report(status, "cannot read the profile");
    if (code == CODE_OK && g->s->html) code = stats_html(&st, g->s->html);
    if (code == CODE_OK && g->s->json) {
        struct json j = JSON_INIT;
        json_open(&j, NULL, '{');
        stats_json(&j, &st, false);
        json_close(&j);
    } else if (code == CODE_OK && !(g->s->html && strcmp(g->s->html, "-") == 0)) {
        stats_text(&st);
    }
    free(st.layers);
    return code;
}

static int gather(struct gatherer *g)
{
    const struct settings *s = g->s;
    moe_profile_info info = MOE_PROFILE_INFO_INIT;
    int status, code = name_classes(g);
    if (code == CODE_OK && s->n_args) {
        code = corpus_open(&g->corpus, s, 0);
        if (code == CODE_OK) code = make_profile(g);
    }
    if (code == CODE_OK) code = load_profiles(g);
    if (code == CODE_OK) {
        status = moe_profile_get_info(g->profile, &info);
        if (status != MOE_OK) return report(status, "cannot read the profile");
        if (g->classes.n > info.n_classes) {
            complain("--names has %lu names, the profile %lu classes", (unsigned long)g->classes.n,
                     (unsigned long)info.n_classes);
            return CODE_USAGE;
        }
    }
    if (code == CODE_OK && s->n_args) code = read_texts(g);
    if (code == CODE_OK && s->save) {
        status = moe_profile_save_file(g->profile, s->save);
        if (status != MOE_OK) code = report(status, "cannot write %s", s->save);
    }
    return code == CODE_OK ? show(g) : code;
}

int cmd_stats(const struct settings *s)
{
    static const char *input[] = {"-"};
    struct settings given = *s;
    struct gatherer g;
    int code;
    if (s->n_args == 0 && s->load.n == 0) {
        if (term_is(STDIN_FILENO))
            return usage_error(s->command, "name a file, or give the text on standard input");
        given.args = input;
        given.n_args = 1;
    }
    if (s->html && strcmp(s->html, "-") == 0 && s->json)
        return usage_error(s->command, "of --html - and --json only one can be used");
    memset(&g, 0, sizeof g);
    g.s = &given;
    code = gather(&g);
    corpus_close(&g.corpus); /* before what the session points to */
    moe_trace_free(g.trace);
    moe_profile_free(g.profile);
    classes_free(&g.classes);
    return code;
}
