/* SPDX-License-Identifier: MIT */
/*
 * Stages from text:
 *     text  = stage *(";" stage)        stage = name [":" item *("," item)]
 *     item  = key "=" number            keys: those of the kind's fields (kinds.c), "seed"
 *           | "ids=" token *("+" token)     of kinds that take ids (DRY's breakers)
 *           | token "=" number              of kinds that take values (logit bias)
 * Spaces around parts are ignored, so is an empty stage. Numbers do not depend on the locale.
 */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/status.h"
#include "sample/sampler.h"

/* A part of the text: [at, end). */
typedef struct span { const char *at, *end; } span;

typedef struct parser {
    moe_sampler *s;
    const char *text;
    moe_token *ids; /* of the stage under way, [n_data] */
    float *values;
    size_t n_data;
} parser;

#define AT(p, where) ((size_t)((where).at - (p)->text))
#define SHOW(x) ((int)((x).end - (x).at < 40 ? (x).end - (x).at : 40)), (x).at

static span trim(span x)
{
    while (x.at < x.end && *x.at == ' ') x.at++;
    while (x.at < x.end && x.end[-1] == ' ') x.end--;
    return x;
}

/*
 * Cuts x at the first `mark`: returns what is before it; *rest is what follows, *found tells whether there
 * was one.
 */
static span cut(span x, char mark, span *rest, int *found)
{
    const char *p = memchr(x.at, mark, (size_t)(x.end - x.at));
    *found = p != NULL;
    *rest = (span){p ? p + 1 : x.end, x.end};
    return trim((span){x.at, p ? p : x.end});
}

static int equal(span x, const char *word)
{
    const size_t n = strlen(word);
    return (size_t)(x.end - x.at) == n && memcmp(x.at, word, n) == 0;
}

static int digits(span *x, uint64_t *out, int *n_digits)
{
    *n_digits = 0;
    for (; x->at < x->end && *x->at >= '0' && *x->at <= '9'; x->at++, ++*n_digits) {
        const uint64_t d = (uint64_t)(*x->at - '0');
        if (*out > (UINT64_MAX - d) / 10) return 0;
        *out = *out * 10 + d;
    }
    return 1;
}

static int parse_u64(span x, uint64_t *out)
{
    int n;
    *out = 0;
    return digits(&x, out, &n) && n > 0 && x.at == x.end;
}

/*
 * [-+] digits [. digits] [e [-+] digits], or inf. The digits must fit 64 bits; one rounding per power of ten.
 */
static int parse_number(span x, double *out)
{
    int n_whole, n_frac = 0, exp10 = 0;
    uint64_t m = 0;
    const int minus = x.at < x.end && *x.at == '-';
    if (x.at < x.end && (*x.at == '-' || *x.at == '+')) x.at++;
    if (equal(x, "inf")) {
        *out = minus ? -INFINITY : INFINITY;
        return 1;
    }
    if (!digits(&x, &m, &n_whole)) return 0;
    if (x.at < x.end && *x.at == '.') {
        x.at++;
        if (!digits(&x, &m, &n_frac)) return 0;
    }
    if (n_whole + n_frac == 0) return 0;
    if (x.at < x.end && (*x.at == 'e' || *x.at == 'E')) {
        uint64_t e = 0;
        int n_exp;
        const int down = ++x.at < x.end && *x.at == '-';
        if (x.at < x.end && (*x.at == '-' || *x.at == '+')) x.at++;
        if (!digits(&x, &e, &n_exp) || n_exp == 0 || e > 300) return 0;
        exp10 = down ? -(int)e : (int)e;
    }
    double value = (double)m, scale = 1;
    exp10 -= n_frac;
    for (int i = exp10 < 0 ? -exp10 : exp10; i > 0; i--) scale *= 10;
    value = exp10 < 0 ? value / scale : value * scale;
    *out = minus ? -value : value;
    return x.at == x.end;
}

static int bad_number(const parser *p, span value)
{
    return MOE_FAIL(INVALID, "sampler text, byte %zu: '%.*s' is no number that fits here", AT(p, value),
                    SHOW(value));
}

/* ids=1+2+3, or token=value. */
static int parse_data(parser *p, const moe__kind *k, span key, span value)
{
    uint64_t id;
    double x;
    if (k->flags & MOE_KIND_VALUES) {
        if (!parse_u64(key, &id) || id > INT32_MAX) return bad_number(p, key);
        if (!parse_number(value, &x)) return bad_number(p, value);
        p->ids[p->n_data] = (moe_token)id;
        if (x == INFINITY) return bad_number(p, value);
        p->values[p->n_data++] = x == -INFINITY ? -INFINITY : moe__finite(x);
        return MOE_OK;
    }
    for (int more = 1; more;) {
        const span one = cut(value, '+', &value, &more);
        if (!parse_u64(one, &id) || id > INT32_MAX) return bad_number(p, one);
        p->ids[p->n_data++] = (moe_token)id;
    }
    return MOE_OK;
}

static int unknown_key(const parser *p, const moe__kind *k, span key)
{
    char known[160] = "";
    for (size_t i = 0; i < 4 && k->field[i].key; i++) {
        strcat(known, k->field[i].key);
        strcat(known, ", ");
    }
    strcat(known, k->flags & MOE_KIND_VALUES ? "TOKEN, " : k->flags & MOE_KIND_IDS ? "ids, " : "");
    return MOE_FAIL(INVALID, "sampler text, byte %zu: '%s' has no key '%.*s', expected one of: %sseed",
                    AT(p, key), k->name, SHOW(key), known);
}

static int parse_item(parser *p, const moe__kind *k, moe_sample_stage *spec, span item)
{
    span value;
    int found;
    const span key = cut(item, '=', &value, &found);
    value = trim(value);
    if (!found)
        return MOE_FAIL(INVALID, "sampler text, byte %zu: '%.*s' has no '='", AT(p, key), SHOW(key));
    if (equal(key, "seed")) return parse_u64(value, &spec->seed) ? MOE_OK : bad_number(p, value);
    if (k->flags & MOE_KIND_VALUES || (k->flags & MOE_KIND_IDS && equal(key, "ids")))
        return parse_data(p, k, key, value);
    for (size_t i = 0; i < 4 && k->field[i].key; i++) {
        const moe__field *f = &k->field[i];
        double x;
        if (!equal(key, f->key)) continue;
        const int whole = f->slot == MOE_SLOT_N || f->slot == MOE_SLOT_M;
        if (!parse_number(value, &x) || (whole && x != floor(x))) return bad_number(p, value);
        if (x < f->min || x > f->max || (x == 0 && f->zero_is_standard))
            return MOE_FAIL(INVALID, "sampler text, byte %zu: %s of '%s' is %.*s, expected %g to %g%s",
                            AT(p, value), f->key, k->name, SHOW(value), f->min, f->max,
                            f->min < 0 && f->zero_is_standard ? ", not 0" : "");
        moe__slot_set(spec, f->slot, x);
        return MOE_OK;
    }
    return unknown_key(p, k, key);
}

static const moe__kind *kind_named(span name)
{
    for (size_t i = 0; moe__kind_at(i); i++)
        if (equal(name, moe__kind_at(i)->name)) return moe__kind_at(i);
    return NULL;
}

static int unknown_stage(const parser *p, span name)
{
    char known[320] = "";
    for (size_t i = 0; moe__kind_at(i); i++) {
        if (i > 0) strcat(known, ", ");
        strcat(known, moe__kind_at(i)->name);
    }
    return MOE_FAIL(INVALID, "sampler text, byte %zu: there is no stage '%.*s', expected one of: %s",
                    AT(p, name), SHOW(name), known);
}

static int parse_stage(parser *p, span stage)
{
    span items;
    int more;
    const span name = cut(stage, ':', &items, &more);
    const moe__kind *k = kind_named(name);
    if (!k) return unknown_stage(p, name);
    moe_sample_stage spec = MOE_SAMPLE_STAGE_INIT;
    spec.kind = k->kind;
    for (size_t i = 0; i < 4 && k->field[i].key; i++)
        moe__slot_set(&spec, k->field[i].slot, k->field[i].standard);
    p->n_data = 0;
    while (more) {
        const span item = cut(items, ',', &items, &more);
        MOE_TRY(parse_item(p, k, &spec, item));
    }
    spec.ids = p->n_data ? p->ids : NULL;
    spec.values = p->n_data && k->flags & MOE_KIND_VALUES ? p->values : NULL;
    spec.n_data = p->n_data;
    return moe__sampler_add(p->s, &spec);
}

int moe__sampler_add_named(moe_sampler *s, const char *text)
{
    const size_t n_before = s->n_stages, len = strlen(text);
    parser p = {s, text, NULL, NULL, 0};
    span rest = {text, text + len};
    int more = 1, st;
    /* A datum takes two bytes of text at least. */
    MOE_TRY_GOTO(MOE_NEW(&s->alloc, &p.ids, len / 2 + 1, "sampler text"), end);
    MOE_TRY_GOTO(MOE_NEW(&s->alloc, &p.values, len / 2 + 1, "sampler text"), end);
    while (more) {
        const span stage = cut(rest, ';', &rest, &more);
        if (stage.at == stage.end) continue;
        MOE_TRY_GOTO(parse_stage(&p, stage), end);
    }
    st = MOE_OK;
end:
    if (st < 0) moe__sampler_truncate(s, n_before);
    moe__free(&s->alloc, p.ids);
    moe__free(&s->alloc, p.values);
    return st;
}
