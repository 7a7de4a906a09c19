/* SPDX-License-Identifier: MIT */
/*
 * Routing options to a session's routers and experts.
 *
 * Sets of experts are written LAYER:EXPERT with more experts behind commas; either side is a number, a range
 * `0-5` or `*`, and a part with a colon begins with new layers: "3:7,9,0-2:*" is experts 7 and 9 of layer 3
 * and all of layers 0 to 2. A file of --route-file has lines "LAYERS: RULE", LAYERS being such parts behind
 * commas. Ranges and `*` pass over dense layers; a dense layer named by its number is a mistake that the
 * library tells.
 */
#include "routing.h"
#include "text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SET_MAX   64
#define EVERY     UINT32_MAX /* `last` of a range that is all there are */
#define WORD_SIZE 48

struct range {
    uint32_t first, last;
};

struct expert_set {
    size_t n;
    struct range layers[SET_MAX], experts[SET_MAX];
};

/* ------------------------------------------------------------------------------------------------ reading */

/* "7", "0-5" or "*" in text[0..n). */
static bool parse_range(const char *text, size_t n, struct range *r)
{
    uint64_t v[2] = {0, 0};
    size_t i = 0, k = 0;
    if (n == 1 && *text == '*') {
        r->first = 0;
        r->last = EVERY;
        return true;
    }
    for (; k < 2; k++) {
        const size_t start = i;
        for (; i < n && text[i] >= '0' && text[i] <= '9'; i++)
            if ((v[k] = 10 * v[k] + (uint64_t)(text[i] - '0')) >= EVERY) return false;
        if (i == start) return false;
        if (i == n) break;
        if (k == 1 || text[i] != '-') return false;
        i++;
    }
    if (k == 0) v[1] = v[0];
    if (k == 2 || v[1] < v[0]) return false;
    r->first = (uint32_t)v[0];
    r->last = (uint32_t)v[1];
    return true;
}

static bool parse_set(const char *text, size_t n, struct expert_set *set)
{
    struct range layers = {0, 0};
    bool have_layers = false;
    size_t at = 0;
    set->n = 0;
    for (;;) {
        size_t end = at, colon = n;
        for (; end < n && text[end] != ','; end++)
            if (text[end] == ':') colon = end;
        if (colon < end) {
            if (!parse_range(text + at, colon - at, &layers)) return false;
            have_layers = true;
            at = colon + 1;
        }
        if (!have_layers || set->n == SET_MAX) return false;
        set->layers[set->n] = layers;
        if (!parse_range(text + at, end - at, &set->experts[set->n++])) return false;
        if (end == n) return true;
        at = end + 1;
    }
}

static const struct {
    const char *name;
    bool number;
    int kind;
} verbs[] = {
    {"free", false, MOE_USE_FREE},
    {"ban", false, MOE_USE_BAN},
    {"ban-scored", false, MOE_USE_BAN_SCORED},
    {"drop", false, MOE_USE_DROP},
    {"drop-renorm", false, MOE_USE_DROP_RENORM},
    {"force", false, MOE_USE_FORCE},
    {"logit", true, MOE_EDIT_LOGIT_BIAS},
    {"select", true, MOE_EDIT_SELECT_BIAS},
    {"pre", true, MOE_EDIT_PRE},
    {"post", true, MOE_EDIT_POST},
    {"gain", true, MOE_EDIT_GAIN},
};

bool edit_parse(const char *text, struct edit *out)
{
    const size_t len = strcspn(text, ":");
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        char *end;
        double v = 0.0;
        if (strlen(verbs[i].name) != len || memcmp(verbs[i].name, text, len) != 0) continue;
        if (verbs[i].number != (text[len] == ':')) return false;
        if (verbs[i].number) {
            v = strtod(text + len + 1, &end);
            if (end == text + len + 1 || *end || !isfinite((float)v)) return false;
        }
        out->number = verbs[i].number;
        out->kind = verbs[i].kind;
        out->value = (float)v;
        return true;
    }
    return false;
}

/* ----------------------------------------------------------------------------------------------- applying */

int edit_apply(moe_session *s, uint32_t layer, uint32_t index, const struct edit *e)
{
    moe_router *router;
    moe_expert *expert;
    int status = moe_session_router(s, layer, &router);
    if (status == MOE_OK) status = moe_router_expert(router, index, &expert);
    if (status != MOE_OK) return status;
    return e->number ? moe_expert_set_value(expert, e->kind, e->value) : moe_expert_set_use(expert, e->kind);
}

size_t routed_layers(const moe_model *m, uint32_t *dst, size_t cap)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    size_t n = 0;
    if (moe_model_get_info(m, &info) != MOE_OK) return 0;
    for (uint32_t i = 0; i < info.n_layers; i++) {
        moe_layer_info l = MOE_LAYER_INFO_INIT;
        if (moe_model_get_layer(m, i, &l) != MOE_OK || l.ffn_kind != MOE_FFN_MOE) continue;
        if (n < cap) dst[n] = i;
        n++;
    }
    return n;
}

/* Layers of a range in turn: *layer is the next one from *layer on. False when there are no more. */
static bool next_layer(const moe_model *m, const struct range *r, uint32_t *layer)
{
    moe_layer_info l = MOE_LAYER_INFO_INIT;
    if (r->first == r->last) return *layer == r->first; /* named: the library says what is wrong with it */
    for (; *layer <= r->last; (*layer)++) {
        const int status = moe_model_get_layer(m, *layer, &l);
        if (status == MOE_E_RANGE) return r->last != EVERY; /* a range beyond the end is told as well */
        if (status == MOE_OK && l.ffn_kind == MOE_FFN_MOE) return true;
    }
    return false;
}

/* Uses of a layer's experts as the options leave them: set all at once, so that the order of options is free.
 */
struct use_row {
    bool touched;
    uint8_t *use; /* [n_experts] */
};

struct use_table {
    struct use_row *row; /* [n_layers] */
    uint32_t n_layers, n_experts;
};

static void uses_free(struct use_table *t)
{
    for (uint32_t l = 0; t->row && l < t->n_layers; l++) free(t->row[l].use);
    free(t->row);
}

/* Notes one use; the first one of a layer reads what the layer has. */
static int note_use(moe_session *s, struct use_table *t, uint32_t layer, uint32_t index, int use)
{
    moe_router *router;
    moe_expert *expert;
    int status = moe_session_router(s, layer, &router);
    if (status == MOE_OK) status = moe_router_expert(router, index, &expert); /* says what is out of range */
    if (status != MOE_OK) return status;
    struct use_row *row = &t->row[layer];
    if (!row->use) row->use = malloc(t->n_experts);
    if (!row->use) return MOE_E_NOMEM;
    if (!row->touched) status = moe_router_get_use(router, row->use, t->n_experts);
    row->touched = true;
    row->use[index] = (uint8_t)use;
    return status;
}

static int set_uses(const struct settings *s, moe_session *session, const struct use_table *t)
{
    for (uint32_t l = 0; l < t->n_layers; l++) {
        moe_router *router;
        if (!t->row[l].touched) continue;
        int status = moe_session_router(session, l, &router);
        if (status == MOE_OK) status = moe_router_set_use(router, t->row[l].use, t->n_experts);
        if (status != MOE_OK) return report(status, "%s", s->edits.n ? "--edit" : "--disable");
    }
    return CODE_OK;
}

static int apply_range(moe_session *s, struct use_table *t, const struct range *layers,
                       const struct range *experts, const struct edit *e)
{
    const moe_model *m = moe_session_model(s);
    int status = MOE_OK;
    for (uint32_t l = layers->first; status == MOE_OK && next_layer(m, layers, &l); l++) {
        moe_layer_info info = MOE_LAYER_INFO_INIT;
        uint32_t last = experts->last;
        if (moe_model_get_layer(m, l, &info) == MOE_OK && last == EVERY) last = info.n_experts - 1;
        for (uint32_t i = experts->first; status == MOE_OK && i <= last; i++)
            status = e->number ? edit_apply(s, l, i, e) : note_use(s, t, l, i, e->kind);
        if (l == EVERY) break;
    }
    return status;
}

/* One --disable or --edit. */
static int apply_option(const struct settings *s, moe_session *session, struct use_table *t,
                        const char *option, const char *text, const struct edit *ban)
{
    struct expert_set set;
    struct edit e;
    const char *equals = ban ? text + strlen(text) : strchr(text, '=');
    if (ban) e = *ban;
    if (!equals || (!ban && !edit_parse(equals + 1, &e)))
        return usage_error(
            s->command,
            "%s %s: after EXPERTS= comes free, ban, ban-scored, drop, drop-renorm, force, or a "
            "number as logit:X, select:X, pre:X, post:X, gain:X",
            option, text);
    if (!parse_set(text, (size_t)(equals - text), &set))
        return usage_error(s->command,
                           "%s %s: experts are given as LAYER:EXPERT, such as 3:7,9 or 0-3:5 or *:0", option,
                           text);
    for (size_t i = 0; i < set.n; i++) {
        const int status = apply_range(session, t, &set.layers[i], &set.experts[i], &e);
        if (status != MOE_OK) return report(status, "%s %s", option, text);
    }
    return CODE_OK;
}

/* ------------------------------------------------------------------------------------------------ rules */

static int set_rule(moe_session *s, uint32_t layer, const char *rule)
{
    moe_router *router;
    const int status = moe_session_router(s, layer, &router);
    return status == MOE_OK ? moe_router_set_named(router, rule) : status;
}

/* The text without blanks at both ends; cut in place. */
static char *trimmed(char *text)
{
    size_t n;
    text += strspn(text, " \t\r");
    for (n = strlen(text); n && strchr(" \t\r", text[n - 1]); n--) text[n - 1] = '\0';
    return text;
}

/* "LAYERS: RULE" of a line; comments are gone. */
static int apply_line(moe_session *s, const char *path, size_t number, char *line)
{
    char *colon = strchr(line, ':'), *rule;
    const moe_model *m = moe_session_model(s);
    if (!colon) {
        complain("%s:%zu: a line has the form LAYERS: RULE, such as `0-5: topp:p=0.4`", path, number);
        return CODE_FAIL;
    }
    *colon = '\0';
    rule = trimmed(colon + 1);
    for (char *at = line, *end; at; at = end ? end + 1 : NULL) {
        struct range r;
        char *word;
        end = strchr(at, ',');
        if (end) *end = '\0';
        word = trimmed(at);
        if (!parse_range(word, strlen(word), &r)) {
            complain("%s:%zu: `%s` is no layer, range such as 0-5, or *", path, number, word);
            return CODE_FAIL;
        }
        for (uint32_t l = r.first; next_layer(m, &r, &l); l++) {
            const int status = set_rule(s, l, rule);
            if (status != MOE_OK) return report(status, "%s:%zu: layer %lu", path, number, (unsigned long)l);
            if (l == EVERY) break;
        }
    }
    return CODE_OK;
}

static int apply_file(moe_session *s, const char *path)
{
    struct bytes text = {NULL, 0, 0};
    int code = read_file(&text, path) ? CODE_OK : CODE_FAIL;
    size_t number = 0;
    if (code == CODE_OK && strlen(text.v) != text.n) {
        complain("%s: a zero byte in it: this is no text", path);
        code = CODE_FAIL;
    }
    for (char *at = text.v, *end; code == CODE_OK && at && *at; at = end) {
        char *line = at;
        end = at + strcspn(at, "\n");
        if (*end) *end++ = '\0';
        number++;
        line[strcspn(line, "#")] = '\0';
        line = trimmed(line);
        if (*line) code = apply_line(s, path, number, line);
    }
    bytes_free(&text);
    return code;
}

/* -------------------------------------------------------------------------------------------------------- */

bool routing_wanted(const struct settings *s)
{
    return s->steer || s->route || s->route_file || s->edits.n || s->disable.n;
}

static int apply_options(const struct settings *s, moe_session *session)
{
    static const struct edit ban = {false, MOE_USE_BAN, 0.0f};
    moe_model_info info = MOE_MODEL_INFO_INIT;
    struct use_table t = {NULL, 0, 0};
    int code = CODE_OK;
    if (!s->disable.n && !s->edits.n) return CODE_OK;
    if (moe_model_get_info(moe_session_model(session), &info) != MOE_OK) return CODE_FAIL;
    t.n_layers = info.n_layers;
    t.n_experts = info.n_experts;
    t.row = calloc(info.n_layers ? info.n_layers : 1, sizeof *t.row);
    if (!t.row) {
        complain("out of memory");
        return CODE_FAIL;
    }
    for (size_t i = 0; code == CODE_OK && i < s->disable.n; i++)
        code = apply_option(s, session, &t, "--disable", s->disable.v[i], &ban);
    for (size_t i = 0; code == CODE_OK && i < s->edits.n; i++)
        code = apply_option(s, session, &t, "--edit", s->edits.v[i], NULL);
    if (code == CODE_OK) code = set_uses(s, session, &t);
    uses_free(&t);
    return code;
}

int routing_apply(const struct settings *s, moe_session *session)
{
    int status, code = CODE_OK;
    if (s->steer) {
        status = moe_session_load_steering_file(session, s->steer);
        if (status != MOE_OK) return report(status, "--steer %s", s->steer);
    }
    if (s->route) {
        status = set_rule(session, MOE_ALL_LAYERS, s->route);
        if (status != MOE_OK) return report(status, "--route %s", s->route);
    }
    if (s->route_file) code = apply_file(session, s->route_file);
    if (code == CODE_OK) code = apply_options(s, session);
    if (code == CODE_OK && s->save_steering) {
        status = moe_session_save_steering_file(session, s->save_steering);
        if (status != MOE_OK) return report(status, "cannot write %s", s->save_steering);
    }
    return code;
}
