/* SPDX-License-Identifier: MIT */
/*
 * JSON lines to a trace: one object a line. Read are "layers" (required: an array of arrays of ids, -1 for
 * "no expert"), "weights", "logits", "token", "request", "pos" and, of the first line, "experts" and
 * "model_layers"; other members are passed over, "tok" among them. Lines without "request" are one request,
 * their positions count from 0. The whole text is read twice: first for the number of experts, then into the
 * trace.
 */
#include "trace.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX  32
#define LAYERS_MAX 1024
#define K_MAX      65536

/* Numbers of an array of arrays, one after the other; row i is v[at[i]] .. v[at[i+1]-1]. */
struct rows {
    double *v;
    size_t n, cap, n_rows, at[LAYERS_MAX + 1];
};

struct line {
    const char *p; /* what comes next */
    const char *why;
    struct rows layers, weights, logits, model_layers;
    double token, request, pos, experts;
    bool has_pos;
};

/* ---------------------------------------------------------------------------------------------- JSON text */

static void skip_blanks(struct line *l) { l->p += strspn(l->p, " \t\r"); }

static bool wrong(struct line *l, const char *why)
{
    if (!l->why) l->why = why;
    return false;
}

static bool take(struct line *l, char c)
{
    skip_blanks(l);
    if (*l->p != c) return false;
    l->p++;
    return true;
}

/* A string; its bytes as they stand between the quotes, escapes unresolved. */
static bool take_string(struct line *l, const char **text, size_t *n)
{
    if (!take(l, '"')) return wrong(l, "a string is missing");
    *text = l->p;
    for (; *l->p && *l->p != '"' && *l->p != '\n'; l->p++)
        if (*l->p == '\\' && l->p[1]) l->p++;
    if (*l->p != '"') return wrong(l, "a string has no end");
    *n = (size_t)(l->p++ - *text);
    return true;
}

static bool take_number(struct line *l, double *out)
{
    char *end;
    skip_blanks(l);
    if (*l->p != '-' && (*l->p < '0' || *l->p > '9')) return wrong(l, "a number is missing");
    *out = strtod(l->p, &end);
    if (end == l->p || !isfinite(*out)) return wrong(l, "a number is missing");
    l->p = end;
    return true;
}

/* Any value. Braces and brackets are paired by `depth` levels at most. */
static bool pass_over(struct line *l, int depth)
{
    const char *text;
    size_t n;
    double v;
    char close;
    skip_blanks(l);
    if (depth == 0) return wrong(l, "it is nested too deep");
    if (*l->p == '"') return take_string(l, &text, &n);
    if (*l->p != '{' && *l->p != '[') {
        static const char *const words[] = {"true", "false", "null"};
        for (size_t i = 0; i < 3; i++) {
            if (strncmp(l->p, words[i], strlen(words[i])) != 0) continue;
            l->p += strlen(words[i]);
            return true;
        }
        return take_number(l, &v);
    }
    close = *l->p++ == '{' ? '}' : ']';
    if (take(l, close)) return true;
    do {
        if (close == '}' && (!take_string(l, &text, &n) || !take(l, ':')))
            return wrong(l, "a key is missing");
        if (!pass_over(l, depth - 1)) return false;
    } while (take(l, ','));
    return take(l, close) || wrong(l, "a bracket is missing");
}

static bool add(struct rows *r, double v)
{
    if (r->n == r->cap) {
        const size_t cap = r->cap ? 2 * r->cap : 256;
        double *grown = realloc(r->v, cap * sizeof *grown);
        if (!grown) return false;
        r->v = grown;
        r->cap = cap;
    }
    r->v[r->n++] = v;
    return true;
}

/* [1, 2] added to the rows as one row. */
static bool take_row(struct line *l, struct rows *r)
{
    double v;
    if (!take(l, '[')) return wrong(l, "an array of numbers is missing");
    if (r->n_rows == LAYERS_MAX) return wrong(l, "it has more than 1024 layers");
    r->at[r->n_rows++] = r->n;
    if (!take(l, ']')) {
        do {
            if (!take_number(l, &v)) return false;
            if (!add(r, v)) return wrong(l, "out of memory");
        } while (take(l, ','));
        if (!take(l, ']')) return wrong(l, "a bracket is missing");
    }
    r->at[r->n_rows] = r->n;
    return true;
}

static bool take_rows(struct line *l, struct rows *r)
{
    r->n = r->n_rows = 0;
    if (!take(l, '[')) return wrong(l, "an array of arrays is missing");
    if (take(l, ']')) return true;
    do {
        if (!take_row(l, r)) return false;
    } while (take(l, ','));
    return take(l, ']') || wrong(l, "a bracket is missing");
}

/* ------------------------------------------------------------------------------------------------- a line */

static bool take_member(struct line *l)
{
    const char *key;
    size_t n;
    struct {
        const char *name;
        struct rows *rows;
        double *number;
    } const member[] = {
        {"layers", &l->layers, NULL},   {"weights", &l->weights, NULL}, {"logits", &l->logits, NULL},
        {"token", NULL, &l->token},     {"request", NULL, &l->request}, {"pos", NULL, &l->pos},
        {"experts", NULL, &l->experts},
    };
    if (!take_string(l, &key, &n) || !take(l, ':')) return wrong(l, "a key is missing");
    if (n == 12 && memcmp(key, "model_layers", n) == 0) {
        l->model_layers.n = l->model_layers.n_rows = 0;
        return take_row(l, &l->model_layers);
    }
    for (size_t i = 0; i < sizeof member / sizeof *member; i++) {
        if (strlen(member[i].name) != n || memcmp(member[i].name, key, n) != 0) continue;
        if (member[i].rows) return take_rows(l, member[i].rows);
        l->has_pos = l->has_pos || member[i].number == &l->pos;
        return take_number(l, member[i].number);
    }
    return pass_over(l, DEPTH_MAX);
}

/* Numbers between lo and hi without a fraction. */
static bool all_whole(const struct rows *r, double lo, double hi)
{
    for (size_t i = 0; i < r->n; i++)
        if (!(r->v[i] >= lo && r->v[i] <= hi) || r->v[i] > floor(r->v[i])) return false;
    return true;
}

static bool same_shape(const struct rows *a, const struct rows *b)
{
    return a->n_rows == b->n_rows && memcmp(a->at, b->at, (a->n_rows + 1) * sizeof *a->at) == 0;
}

static bool is_whole(double v, double lo, double hi) { return v >= lo && v <= hi && v <= floor(v); }

/* The object at *l->p, up to its line's end. */
static bool parse_line(struct line *l)
{
    l->layers.n = l->layers.n_rows = l->weights.n = l->weights.n_rows = l->logits.n = l->logits.n_rows = 0;
    l->token = -1.0;
    l->request = 0.0;
    l->has_pos = false;
    if (!take(l, '{')) return wrong(l, "there is no object");
    if (!take(l, '}')) {
        do {
            if (!take_member(l)) return false;
        } while (take(l, ','));
        if (!take(l, '}')) return wrong(l, "a bracket is missing");
    }
    skip_blanks(l);
    if (*l->p && *l->p != '\n') return wrong(l, "something follows the object");
    if (l->layers.n_rows == 0) return wrong(l, "it has no \"layers\"");
    if (!all_whole(&l->layers, -1.0, K_MAX - 1))
        return wrong(l, "an expert's number is none from 0 to 65535");
    for (size_t i = 0; i < l->layers.n_rows; i++)
        if (l->layers.at[i + 1] - l->layers.at[i] > K_MAX) return wrong(l, "it has too many experts");
    if (l->weights.n_rows && !same_shape(&l->layers, &l->weights))
        return wrong(l, "\"weights\" and \"layers\" are not of the same shape");
    if (!is_whole(l->token, -1.0, 2147483647.0)) return wrong(l, "\"token\" is no token");
    if (!is_whole(l->request, 0.0, 4294967295.0)) return wrong(l, "\"request\" is no number of a request");
    if (l->has_pos && !is_whole(l->pos, 0.0, 2147483647.0)) return wrong(l, "\"pos\" is no position");
    return true;
}

/* -------------------------------------------------------------------------------------------------- trace */

struct reader {
    struct line line;
    moe_trace *trace;
    uint32_t n_layers, n_experts, flags;
    double request, next_pos;
    bool any;
};

/* One layer of a line as the trace wants to see it. */
static int observe(struct reader *r, size_t layer)
{
    const struct line *l = &r->line;
    const size_t at = l->layers.at[layer], k = l->layers.at[layer + 1] - at;
    const uint32_t offset[2] = {0, (uint32_t)k};
    const moe_token token = (moe_token)l->token;
    const moe_pos pos = (moe_pos)(l->has_pos ? l->pos : r->next_pos);
    const moe_seq seq = 0;
    uint32_t *ids = malloc((k + 1) * sizeof *ids);
    float *weight = malloc((k + 1) * sizeof *weight), *logits = malloc(r->n_experts * sizeof *logits);
    moe_route_view v = {sizeof v, 0, 1, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    int status = ids && weight && logits ? MOE_OK : MOE_E_NOMEM;
    for (size_t i = 0; status == MOE_OK && i < k; i++) {
        ids[i] = l->layers.v[at + i] < 0.0 ? MOE_EXPERT_NONE : (uint32_t)l->layers.v[at + i];
        weight[i] = l->weights.n_rows ? (float)l->weights.v[at + i] : 1.0f;
    }
    for (size_t i = 0; status == MOE_OK && i < r->n_experts; i++)
        logits[i] = l->logits.n_rows ? (float)l->logits.v[layer * r->n_experts + i] : 0.0f;
    v.layer = l->model_layers.n == r->n_layers ? (uint32_t)l->model_layers.v[layer] : (uint32_t)layer;
    v.n_experts = v.n_logits = r->n_experts;
    v.offset = offset;
    v.expert = ids;
    v.weight = weight;
    v.logits = l->logits.n_rows ? logits : NULL;
    v.token = &token;
    v.pos = &pos;
    v.seq = &seq;
    if (status == MOE_OK) status = moe_trace_observe(&v, r->trace);
    free(ids);
    free(weight);
    free(logits);
    return status;
}

static bool fits(struct reader *r)
{
    struct line *l = &r->line;
    if (l->layers.n_rows != r->n_layers)
        return wrong(l, "it has another number of layers than the first line");
    if (!all_whole(&l->layers, -1.0, (double)r->n_experts - 1.0))
        return wrong(l, "an expert's number is not below the number of experts");
    if (!l->weights.n_rows != !(r->flags & MOE_TRACE_WEIGHTS))
        return wrong(l, "not all lines have \"weights\"");
    if (!l->logits.n_rows != !(r->flags & MOE_TRACE_LOGITS)) return wrong(l, "not all lines have \"logits\"");
    if (!l->logits.n_rows) return true;
    for (size_t i = 0; i <= r->n_layers; i++)
        if (l->logits.n_rows != r->n_layers || l->logits.at[i] != i * r->n_experts)
            return wrong(l, "\"logits\" has not one number for each expert");
    return true;
}

static int add_token(struct reader *r)
{
    const struct line *l = &r->line;
    int status = MOE_OK;
    if (!r->any || l->request > r->request || l->request < r->request) {
        status = moe_trace_begin(r->trace, (uint32_t)l->request);
        r->next_pos = 0.0;
        r->request = l->request;
        r->any = true;
    }
    for (size_t i = 0; status == MOE_OK && i < r->n_layers; i++) status = observe(r, i);
    r->next_pos = (l->has_pos ? l->pos : r->next_pos) + 1.0;
    return status;
}

/* Both passes: `each` is done with every line that is not blank. */
static int every_line(struct reader *r, const char *path, const char *text, bool record)
{
    size_t number = 0;
    for (const char *at = text; *at; at += *at == '\n') {
        struct line *l = &r->line;
        int status = MOE_OK;
        number++;
        l->p = at;
        skip_blanks(l);
        if (*l->p && *l->p != '\n') {
            l->why = NULL;
            if (!parse_line(l) || (record && !fits(r))) {
                complain("%s:%zu: %s", path, number, l->why);
                return CODE_FAIL;
            }
            if (record) {
                status = add_token(r);
            } else {
                if (r->n_layers == 0) {
                    r->n_layers = (uint32_t)l->layers.n_rows;
                    r->flags = (l->weights.n_rows ? MOE_TRACE_WEIGHTS : 0) |
                               (l->logits.n_rows ? MOE_TRACE_LOGITS : 0);
                }
                if (l->logits.n_rows && l->logits.at[1] > r->n_experts && l->logits.at[1] <= K_MAX)
                    r->n_experts = (uint32_t)l->logits.at[1];
                for (size_t i = 0; i < l->layers.n; i++)
                    if (l->layers.v[i] >= (double)r->n_experts) r->n_experts = (uint32_t)l->layers.v[i] + 1;
            }
            if (status != MOE_OK) return report(status, "%s:%zu", path, number);
        }
        at = l->p + strcspn(l->p, "\n");
        if (!*at) break;
    }
    return CODE_OK;
}

static int make_trace(struct reader *r, const char *path, const char *text, uint32_t experts)
{
    int status, code = every_line(r, path, text, false);
    if (code != CODE_OK) return code;
    if (is_whole(r->line.experts, (double)r->n_experts, K_MAX)) r->n_experts = (uint32_t)r->line.experts;
    if (experts) r->n_experts = experts;
    if (!all_whole(&r->line.model_layers, 0.0, 4294967294.0)) r->line.model_layers.n = 0;
    status = moe_trace_create(&r->trace, NULL, r->flags, NULL);
    if (status == MOE_OK) status = moe_trace_set_shape(r->trace, r->n_layers, r->n_experts);
    if (status != MOE_OK) return report(status, "%s", path);
    return every_line(r, path, text, true);
}

int trace_parse(moe_trace **out, const char *path, const struct bytes *text, uint32_t experts)
{
    struct reader *r = calloc(1, sizeof *r);
    int code = CODE_FAIL;
    *out = NULL;
    if (!r)
        complain("out of memory");
    else if (strlen(text->v) != text->n)
        complain("%s: a zero byte in it: this is no text", path);
    else
        code = make_trace(r, path, text->v, experts);
    if (r) {
        free(r->line.layers.v);
        free(r->line.weights.v);
        free(r->line.logits.v);
        free(r->line.model_layers.v);
        if (code == CODE_OK)
            *out = r->trace;
        else
            moe_trace_free(r->trace);
    }
    free(r);
    return code;
}
