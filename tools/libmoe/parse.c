/* SPDX-License-Identifier: MIT */
/* Command line to settings, by the table of options. Numbers are read in full or refused; unknown names get a
 * suggestion. */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_LENGTH 32

/* Damerau-Levenshtein distance (adjacent swaps count one) of two short words; a large number for long ones.
 */
static unsigned distance(const char *a, const char *b)
{
    unsigned d[NAME_MAX_LENGTH + 1][NAME_MAX_LENGTH + 1];
    const size_t na = strlen(a), nb = strlen(b);
    if (na > NAME_MAX_LENGTH || nb > NAME_MAX_LENGTH) return 1000;
    for (size_t i = 0; i <= na; i++) d[i][0] = (unsigned)i;
    for (size_t j = 0; j <= nb; j++) d[0][j] = (unsigned)j;
    for (size_t i = 1; i <= na; i++) {
        for (size_t j = 1; j <= nb; j++) {
            unsigned best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best) best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best) best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[na][nb];
}

const char *nearest(const char *word, size_t n, const char *(*at)(size_t i, const void *user),
                    const void *user)
{
    const char *found = NULL;
    unsigned best = (unsigned)(strlen(word) / 3 + 1);
    for (size_t i = 0; i < n; i++) {
        const char *name = at(i, user);
        const unsigned d = name ? distance(word, name) : 1000;
        /* A beginning of at least three letters is as good as one slip. */
        const unsigned cost = name && strlen(word) >= 3 && strncmp(word, name, strlen(word)) == 0 ? 1 : d;
        if (cost < best || (cost == best && !found)) {
            best = cost;
            found = name;
        }
    }
    return found;
}

static const char *option_name(size_t i, const void *user)
{
    const struct command *c = user;
    return options[i].commands & c->bit ? options[i].name : NULL;
}

static const struct option *find_long(const struct command *c, const char *name, size_t len)
{
    for (size_t i = 0; i < n_options; i++)
        if ((options[i].commands & c->bit) && strlen(options[i].name) == len &&
            memcmp(options[i].name, name, len) == 0)
            return &options[i];
    return NULL;
}

static const struct option *find_letter(const struct command *c, char letter)
{
    for (size_t i = 0; i < n_options; i++)
        if ((options[i].commands & c->bit) && options[i].letter == letter) return &options[i];
    return NULL;
}

static int unknown_long(const struct command *c, const char *name, size_t len)
{
    char word[NAME_MAX_LENGTH + 1];
    const char *near;
    snprintf(word, sizeof word, "%.*s", (int)(len > NAME_MAX_LENGTH ? NAME_MAX_LENGTH : len), name);
    near = nearest(word, n_options, option_name, c);
    if (near) return usage_error(c, "unknown option --%s; did you mean --%s?", word, near);
    for (size_t i = 0; i < n_options; i++) {
        if (strcmp(options[i].name, word) != 0) continue;
        for (size_t k = 0; k < n_commands; k++)
            if (commands[k].bit & options[i].commands)
                return usage_error(c, "%s has no option --%s (%s has)", c->name, word, commands[k].name);
    }
    return usage_error(c, "unknown option --%s", word);
}

static bool parse_int(const char *text, long long *out)
{
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0';
}

static int bad_value(const struct command *c, const struct option *o, const char *value)
{
    switch (o->kind) {
    case KIND_CHOICE: return usage_error(c, "--%s takes one of: %s; not `%s`", o->name, o->choices, value);
    case KIND_PAIR:
        return usage_error(c, "--%s takes one of: %s; or two with a comma; not `%s`", o->name, o->choices, value);
    case KIND_INT:
    case KIND_INTS:
    case KIND_REAL:
        return usage_error(c, "--%s takes %s from %.6g to %.6g%s; not `%s`", o->name,
                           o->kind == KIND_REAL ? "a number" : "a whole number", o->lo, o->hi,
                           o->kind == KIND_INTS ? ", or several with commas" : "", value);
    case KIND_TEXTS:
    case KIND_FILES: return usage_error(c, "--%s can be given %d times", o->name, LIST_MAX);
    case KIND_BYTES: return usage_error(c, "--%s takes a size such as 500M or 2G; not `%s`", o->name, value);
    default: return usage_error(c, "--%s: wrong value `%s`", o->name, value);
    }
}

static bool parse_u64(const char *text, uint64_t *out, char **end)
{
    errno = 0;
    *out = strtoull(text, end, 10);
    return errno == 0 && *end != text && *text >= '0' && *text <= '9';
}

static bool parse_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    char *end;
    const char *unit;
    unsigned shift = 0;
    if (!parse_u64(text, out, &end)) return false;
    if (*end && (unit = strchr(units, *end)) != NULL) {
        shift = 10 * (unsigned)(unit - units + 1);
        end++;
        if (*end == 'i') end++;
    }
    if (*end == 'B') end++;
    if (*end || (*out << shift) >> shift != *out) return false;
    *out <<= shift;
    return true;
}

static bool is_choice(const char *choices, const char *value, size_t len)
{
    for (const char *p = choices; len && (p = strchr(p, value[0])) != NULL; p++)
        if ((p == choices || p[-1] == ' ') && strncmp(p, value, len) == 0 && (p[len] == ' ' || p[len] == '\0'))
            return true;
    return false;
}

static bool parse_ints(const struct option *o, const char *value, struct int_list *list)
{
    list->n = 0;
    for (;;) {
        char word[24];
        const size_t len = strcspn(value, ",");
        long long v;
        if (len >= sizeof word || list->n == LIST_MAX) return false;
        memcpy(word, value, len);
        word[len] = '\0';
        if (!parse_int(word, &v) || (double)v < o->lo || (double)v > o->hi) return false;
        list->v[list->n++] = (int32_t)v;
        if (value[len] == '\0') return true;
        value += len + 1;
    }
}

/* Stores one value in its field; false if it is not of the option's kind. */
static bool store(struct settings *s, const struct option *o, const char *value)
{
    void *field = (char *)s + o->field;
    struct text_list *texts = field;
    long long i;
    char *end;
    switch (o->kind) {
    case KIND_FLAG: *(bool *)field = true; return true;
    case KIND_INT:
        if (!parse_int(value, &i) || (double)i < o->lo || (double)i > o->hi) return false;
        *(int32_t *)field = (int32_t)i;
        return true;
    case KIND_U64: return parse_u64(value, field, &end) && *end == '\0';
    case KIND_BYTES: return parse_bytes(value, field);
    case KIND_REAL: {
        const double v = strtod(value, &end);
        if (end == value || *end || !isfinite(v) || v < o->lo || v > o->hi) return false;
        *(double *)field = v;
        return true;
    }
    case KIND_CHOICE:
        if (!is_choice(o->choices, value, strlen(value))) return false;
        *(const char **)field = value;
        return true;
    case KIND_PAIR: {
        const size_t len = strcspn(value, ",");
        if (!is_choice(o->choices, value, len)) return false;
        if (value[len] && !is_choice(o->choices, value + len + 1, strlen(value + len + 1))) return false;
        *(const char **)field = value;
        return true;
    }
    case KIND_TEXT:
    case KIND_FILE: *(const char **)field = value; return true;
    case KIND_INTS: return parse_ints(o, value, field);
    case KIND_TEXTS:
    case KIND_FILES:
        if (texts->n == LIST_MAX) return false;
        texts->v[texts->n++] = value;
        return true;
    }
    return false;
}

static int take(struct settings *s, const struct option *o, const char *value)
{
    if (!store(s, o, value)) return bad_value(s->command, o, value);
    if (o->given) *(bool *)((char *)s + o->given) = true;
    return CODE_OK;
}

/* One word that starts with two dashes; *used counts a separate value. */
static int take_long(struct settings *s, const char *word, const char *next, int *used)
{
    const size_t len = strcspn(word, "=");
    const struct option *o = find_long(s->command, word, len);
    const char *value = word[len] == '=' ? word + len + 1 : NULL;
    if (!o) return unknown_long(s->command, word, len);
    if (o->kind == KIND_FLAG && value) return usage_error(s->command, "--%s takes no value", o->name);
    if (o->kind != KIND_FLAG && !value) {
        if (!next) return usage_error(s->command, "--%s needs a value (%s)", o->name, o->arg);
        value = next;
        *used = 1;
    }
    return take(s, o, value);
}

/* Letters behind one dash: flags may be joined, a value may follow at once. */
static int take_letters(struct settings *s, const char *word, const char *next, int *used)
{
    for (; *word; word++) {
        const struct option *o = find_letter(s->command, *word);
        int code;
        if (!o) return usage_error(s->command, "unknown option -%c", *word);
        if (o->kind != KIND_FLAG) {
            if (!word[1] && !next) return usage_error(s->command, "-%c needs a value (%s)", *word, o->arg);
            *used = !word[1];
            return take(s, o, word[1] ? word + 1 : next);
        }
        if ((code = take(s, o, NULL)) != CODE_OK) return code;
    }
    return CODE_OK;
}

int options_parse(struct settings *s, const struct command *c, int argc, char **argv)
{
    memset(s, 0, sizeof *s);
    s->command = c;
    s->args = (const char **)argv;
    for (size_t i = 0; i < n_options; i++)
        if ((options[i].commands & c->bit) && options[i].def) (void)store(s, &options[i], options[i].def);
    for (int i = 0; i < argc; i++) {
        const char *word = argv[i], *next = i + 1 < argc ? argv[i + 1] : NULL;
        int used = 0, code;
        if (strcmp(word, "--") == 0) {
            while (++i < argc) argv[s->n_args++] = argv[i];
            break;
        }
        if (word[0] != '-' || word[1] == '\0') {
            argv[s->n_args++] = argv[i];
            continue;
        }
        code = word[1] == '-' ? take_long(s, word + 2, next, &used) : take_letters(s, word + 1, next, &used);
        if (code != CODE_OK) return code;
        i += used;
    }
    if (s->help) return CODE_OK;
    if (c->max_args >= 0 && s->n_args > c->max_args)
        return usage_error(c, "%s: `%s` is one argument too many", c->name, s->args[c->max_args]);
    return CODE_OK;
}
