/* SPDX-License-Identifier: MIT */
/*
 * Recipes as text:
 *     text  = name [":" item *("," item)]       names: names.c
 *     item  = key "=" value                     keys: fields.c; those of other rules are unknown here
 *           | list                              of rules that take ids: short for ids=list
 *     value = number | word | list
 *     list  = entry *("+" entry)                entry = number | "none" (MOE_EXPERT_NONE)
 * Spaces around parts are ignored. Numbers do not depend on the locale.
 */
#include <string.h>

#include "base/decimal.h"
#include "base/status.h"
#include "route/fields.h"
#include "route/names.h"
#include "route/recipe.h"

/* A part of the text: [at, end). */
typedef struct piece {
    const char *at, *end;
} piece;

typedef struct reading {
    const char *text;
    const moe__allocator *alloc;
    const moe__spec_row *row;
    moe_route_spec spec;
    uint32_t *ids; /* owned until the end, where the caller takes them */
    uint32_t seen; /* bits of the fields that were given */
} reading;

#define PLACE(r, where) ((size_t)((where).at - (r)->text))
#define SHOWN_PIECE(x)  ((int)((x).end - (x).at < 40 ? (x).end - (x).at : 40)), (x).at
#define BYTE            "routing text, byte %zu: "

static piece strip(piece x)
{
    while (x.at < x.end && *x.at == ' ') x.at++;
    while (x.at < x.end && x.end[-1] == ' ') x.end--;
    return x;
}

/* What is before the first `mark`, stripped; *rest: what follows; *found: whether there was one. */
static piece cut_piece(piece x, char mark, piece *rest, int *found)
{
    const char *p = memchr(x.at, mark, (size_t)(x.end - x.at));
    *found = p != NULL;
    *rest = (piece){p ? p + 1 : x.end, x.end};
    return strip((piece){x.at, p ? p : x.end});
}

static int is_word(piece x, const char *word)
{
    const size_t n = strlen(word);
    return (size_t)(x.end - x.at) == n && memcmp(x.at, word, n) == 0;
}

static int whole_of(piece x, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    if (x.at == x.end) return 0;
    for (; x.at < x.end; x.at++) {
        if (*x.at < '0' || *x.at > '9') return 0;
        const uint64_t d = (uint64_t)(*x.at - '0');
        if (d > max || v > (max - d) / 10) return 0;
        v = v * 10 + d;
    }
    *out = v;
    return 1;
}

/* --------------------------------------------------------------------------------------- where it starts */

/* Rules' own members, which another rule does not take over. */
static void forget_rule(moe_route_spec *s)
{
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++)
        if (moe__spec_fields[i].readers) moe__field_set(s, &moe__spec_fields[i], 0);
    if (!(s->capacity > 0 && s->capacity_order == MOE_CAPACITY_RANDOM)) s->seed = 0;
}

/*
 * The recipe `s` with another rule. Rules that compare parts of a whole take the softmax where the recipe has
 * raw logits (which gives the same weights, if those are normalised). Sparsemixer makes its own weights.
 */
static void take_rule(moe_route_spec *s, int select, const moe_route_spec *native)
{
    const int parts =
        select == MOE_SELECT_TOPP || select == MOE_SELECT_THRESHOLD || select == MOE_SELECT_EXPERT_CHOICE;
    forget_rule(s);
    s->select = select;
    if (parts && s->score == MOE_SCORE_IDENTITY) s->score = MOE_SCORE_SOFTMAX;
    if (select == MOE_SELECT_SPARSEMIXER && s->weight != MOE_WEIGHT_RULE) {
        s->weight = MOE_WEIGHT_RULE;
        s->norm = MOE_NORM_NONE;
        s->norm_eps = s->norm_p = 0;
    } else if (select != MOE_SELECT_SPARSEMIXER && s->weight == MOE_WEIGHT_RULE) {
        const int own = native->weight != MOE_WEIGHT_RULE;
        s->weight = own ? native->weight : MOE_WEIGHT_SOFTMAX_SELECTED;
        s->norm = own ? native->norm : MOE_NORM_NONE;
        s->norm_eps = own ? native->norm_eps : 0;
        s->norm_p = own ? native->norm_p : 0;
    }
}

/* A family's recipe; the model's own null experts stay, and what the family leaves open. */
static void take_family(moe_route_spec *s, const moe_route_spec *family, const moe_route_spec *native)
{
    const moe_route_spec was = *s;
    *s = *family;
    s->n_null = native->n_null;
    if (s->top_k == 0) s->top_k = was.top_k;
    if (s->scale == 0) s->scale = was.scale;
}

static void begin(moe_route_spec *s, const moe__spec_row *row, const moe_route_spec *base,
                  const moe_route_spec *native)
{
    *s = row->kind == MOE_NAME_CURRENT ? *base : *native;
    if (row->kind == MOE_NAME_RULE) take_rule(s, row->spec.select, native);
    if (row->kind == MOE_NAME_FAMILY) take_family(s, &row->spec, native);
    s->size = sizeof *s;
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Whether a text of this recipe may set f. */
static int settable(const moe_route_spec *s, const moe__spec_field *f)
{
    return !f->readers || (1u << s->select & f->readers);
}

/* The member that a key means; in "minp" p is the threshold. */
static const moe__spec_field *field_named(const reading *r, piece key)
{
    const int minp = strcmp(r->row->name, "minp") == 0;
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        const char *name = minp && f->offset == offsetof(moe_route_spec, threshold) ? "p" : f->key;
        if (settable(&r->spec, f) && is_word(key, name)) return f;
    }
    return NULL;
}

static void add_word(char *list, size_t room, const char *word)
{
    const size_t n = strlen(list);
    if (n + strlen(word) + 3 > room) return;
    if (n > 0) strcat(list, ", ");
    strcat(list, word);
}

static int no_such_key(const reading *r, piece key)
{
    char known[400] = "";
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        const int p = strcmp(r->row->name, "minp") == 0 && f->offset == offsetof(moe_route_spec, threshold);
        if (settable(&r->spec, f)) add_word(known, sizeof known, p ? "p" : f->key);
    }
    return MOE_FAIL(INVALID, BYTE "'%s' has no key '%.*s', expected one of: %s", PLACE(r, key), r->row->name,
                    SHOWN_PIECE(key), known);
}

static int no_number(const reading *r, piece x)
{
    return MOE_FAIL(INVALID, BYTE "'%.*s' is no number that fits here", PLACE(r, x), SHOWN_PIECE(x));
}

static int read_choice(reading *r, const moe__spec_field *f, piece x)
{
    char known[200] = "";
    for (int i = 0; i < moe__field_words(f); i++) {
        if (!f->words[i]) continue;
        if (is_word(x, f->words[i])) {
            moe__field_set(&r->spec, f, i);
            return MOE_OK;
        }
        add_word(known, sizeof known, f->words[i]);
    }
    return MOE_FAIL(INVALID, BYTE "%s is '%.*s', expected one of: %s", PLACE(r, x), f->key, SHOWN_PIECE(x),
                    known);
}

static int read_ids(reading *r, piece x)
{
    size_t n = 0;
    uint64_t v;
    moe__free(r->alloc, r->ids);
    r->ids = NULL;
    MOE_TRY(MOE_NEW(r->alloc, &r->ids, (size_t)(x.end - x.at) / 2 + 1, "routing text"));
    for (int more = 1; more;) {
        const piece one = cut_piece(x, '+', &x, &more);
        if (is_word(one, "none"))
            v = MOE_EXPERT_NONE;
        else if (!whole_of(one, UINT32_MAX - 1, &v))
            return no_number(r, one);
        r->ids[n++] = (uint32_t)v;
    }
    r->spec.ids = r->ids;
    r->spec.n_ids = n;
    return MOE_OK;
}

static int read_value(reading *r, const moe__spec_field *f, piece x)
{
    uint64_t v = 0;
    float number;
    const size_t n = (size_t)(x.end - x.at);
    switch (f->kind) {
    case MOE_FIELD_ENUM: return read_choice(r, f, x);
    case MOE_FIELD_IDS: return read_ids(r, x);
    case MOE_FIELD_F32:
        if (moe__decimal_scan(x.at, n) != n || n == 0 || !moe__decimal_to_f32(x.at, n, &number))
            return no_number(r, x);
        moe__field_set(&r->spec, f, (double)number);
        return MOE_OK;
    case MOE_FIELD_U64: return whole_of(x, UINT64_MAX, &r->spec.seed) ? MOE_OK : no_number(r, x);
    default:
        if (!whole_of(x, f->kind == MOE_FIELD_FLAG ? 1 : UINT32_MAX, &v)) return no_number(r, x);
        moe__field_set(&r->spec, f, (double)v);
        return MOE_OK;
    }
}

/* What starts like a list of ids. */
static int is_list(piece x)
{
    const piece word = {x.at, x.end - x.at > 4 ? x.at + 4 : x.end};
    return x.at < x.end && ((*x.at >= '0' && *x.at <= '9') || is_word(word, "none"));
}

static int read_item(reading *r, piece item)
{
    piece value;
    int found;
    piece key = cut_piece(item, '=', &value, &found);
    value = strip(value);
    if (!found) { /* a list without its key */
        value = key;
        key.at = "ids";
        key.end = key.at + 3;
        if (!is_list(value) || !field_named(r, key))
            return MOE_FAIL(INVALID, BYTE "'%.*s' has no '='", PLACE(r, value), SHOWN_PIECE(value));
    }
    const moe__spec_field *f = field_named(r, key);
    if (!f) return no_such_key(r, key);
    const uint32_t bit = 1u << (f - moe__spec_fields);
    if (r->seen & bit) return MOE_FAIL(INVALID, BYTE "%s stands there twice", PLACE(r, value), f->key);
    r->seen |= bit;
    return read_value(r, f, value);
}

static int name_of(reading *r, piece name)
{
    for (size_t i = 0; i < MOE_N_SPEC_NAMES; i++)
        if (is_word(name, moe__spec_rows[i].name)) {
            r->row = &moe__spec_rows[i];
            return MOE_OK;
        }
    char known[640] = "";
    for (size_t i = 0; i < MOE_N_SPEC_NAMES; i++) add_word(known, sizeof known, moe__spec_rows[i].name);
    return MOE_FAIL(INVALID, BYTE "there is no recipe '%.*s', expected one of: %s", PLACE(r, name),
                    SHOWN_PIECE(name), known);
}

static int check_need(reading *r)
{
    if (!r->row->need) return MOE_OK;
    const piece key = {r->row->need, r->row->need + strlen(r->row->need)};
    const moe__spec_field *f = field_named(r, key);
    if (!f || r->seen & 1u << (f - moe__spec_fields) || moe__field_get(&r->spec, f) != 0) return MOE_OK;
    return MOE_FAIL(INVALID, "routing text: '%s' needs %s=...", r->row->name, r->row->need);
}

static int read_text(reading *r, const moe_route_spec *base, const moe_route_spec *native)
{
    piece rest = {r->text, r->text + strlen(r->text)};
    int more;
    const piece name = cut_piece(rest, ':', &rest, &more);
    MOE_TRY(name_of(r, name));
    begin(&r->spec, r->row, base, native);
    while (more) {
        const piece item = cut_piece(rest, ',', &rest, &more);
        MOE_TRY(read_item(r, item));
    }
    MOE_TRY(check_need(r));
    if (strcmp(r->row->name, "ser") == 0 && r->spec.k_max == 0) r->spec.k_max = r->spec.top_k;
    if (r->ids || r->spec.n_ids == 0) return MOE_OK;
    /* ids of the recipe that this one started from */
    MOE_TRY(MOE_NEW(r->alloc, &r->ids, r->spec.n_ids, "routing text"));
    memcpy(r->ids, r->spec.ids, r->spec.n_ids * sizeof *r->ids);
    r->spec.ids = r->ids;
    return MOE_OK;
}

int moe__spec_parse(moe_route_spec *spec, uint32_t **ids, const moe__allocator *a, const char *text,
                    const moe_route_spec *base, const moe_route_spec *native)
{
    reading r = {.text = text, .alloc = a};
    *ids = NULL;
    const int st = read_text(&r, base, native);
    if (st < 0) {
        moe__free(a, r.ids);
        return st;
    }
    *spec = r.spec;
    *ids = r.ids;
    return MOE_OK;
}

/* ------------------------------------------------------------------------------------------------ writing */

typedef struct writing {
    char *dst;
    size_t cap, n; /* n counts on where there is no room left */
} writing;

static void write_text(writing *w, const char *text)
{
    for (; *text; text++, w->n++)
        if (w->n < w->cap) w->dst[w->n] = *text;
}

static void write_whole(writing *w, uint64_t v)
{
    char text[21];
    size_t at = sizeof text - 1;
    text[at] = '\0';
    do text[--at] = (char)('0' + v % 10);
    while ((v /= 10) > 0);
    write_text(w, text + at);
}

static void write_ids(writing *w, const moe_route_spec *s)
{
    for (size_t i = 0; i < s->n_ids; i++) {
        if (i > 0) write_text(w, "+");
        if (s->ids[i] == MOE_EXPERT_NONE)
            write_text(w, "none");
        else
            write_whole(w, s->ids[i]);
    }
}

static void write_value(writing *w, const moe_route_spec *s, const moe__spec_field *f)
{
    char number[MOE_DECIMAL_TEXT];
    const double x = moe__field_get(s, f);
    switch (f->kind) {
    case MOE_FIELD_ENUM: write_text(w, f->words[(int)x]); break;
    case MOE_FIELD_IDS: write_ids(w, s); break;
    case MOE_FIELD_F32:
        moe__decimal_from_f32((float)x, number);
        write_text(w, number);
        break;
    case MOE_FIELD_U64: write_whole(w, s->seed); break;
    default: write_whole(w, (uint64_t)x);
    }
}

/* The row of a rule: the first name that means it. */
static const moe__spec_row *row_of_rule(int select)
{
    for (size_t i = 0; i < MOE_N_SPEC_NAMES; i++)
        if (moe__spec_rows[i].kind == MOE_NAME_RULE && moe__spec_rows[i].spec.select == select)
            return &moe__spec_rows[i];
    return &moe__spec_rows[0];
}

static int is_same(const moe_route_spec *a, const moe_route_spec *b)
{
    if (a->select != b->select) return 0;
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++)
        if (!moe__field_same(a, b, &moe__spec_fields[i])) return 0;
    return 1;
}

size_t moe__spec_format(const moe_route_spec *spec, const moe_route_spec *native, char *dst, size_t cap)
{
    writing w = {dst, cap, 0};
    moe_route_spec start;
    if (is_same(spec, native)) {
        write_text(&w, "native");
        return w.n;
    }
    const moe__spec_row *row = row_of_rule(spec->select);
    begin(&start, row, native, native);
    write_text(&w, row->name);
    char mark[2] = ":";
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        const int needed = row->need && strcmp(row->need, f->key) == 0;
        if (!needed && moe__field_same(spec, &start, f)) continue;
        write_text(&w, mark);
        if (f->kind != MOE_FIELD_IDS) {
            write_text(&w, f->key);
            write_text(&w, "=");
        }
        write_value(&w, spec, f);
        mark[0] = ',';
    }
    return w.n;
}

const char *moe__spec_name(size_t i, const char **summary)
{
    const moe__spec_row *row = i < MOE_N_SPEC_NAMES ? &moe__spec_rows[i] : NULL;
    if (summary) *summary = row ? row->summary : NULL;
    return row ? row->name : NULL;
}

#undef PLACE
#undef SHOWN_PIECE
#undef BYTE
