/* SPDX-License-Identifier: MIT */
/*
 * See recipe.h. The mixes follow common practice for GGUF files: the output matrix in 6 bits, and more bits
 * for the value projections and down projections of some layers, which lose most when they are coarse.
 */
#include "model/recipe.h"

#include <string.h>

#include "base/status.h"

/* Which layers an exception is for. */
typedef enum which {
    ALL,
    SOME,   /* the first and the last eighth, and every third between */
    EIGHTH, /* the first eighth */
    SIXTEENTH,
    FOUR, /* the first four */
    TWO
} which;

typedef struct exception {
    const char *pattern;
    int type;
    which layers;
} exception;

#define MAX_EXCEPTIONS 6

struct moe__quant_recipe {
    const char *name;
    uint32_t file_type;               /* of the GGUF key general.file_type */
    int type;                         /* of every matrix, but for: */
    exception except[MAX_EXCEPTIONS]; /* the first that matches wins; ends with a NULL pattern */
};

/* clang-format off */
#define OUTPUT {"output.weight", MOE_TYPE_Q6_K, ALL}
#define V "blk.*.attn_v.weight"
#define O "blk.*.attn_output.weight"
#define DOWN "blk.*.ffn_down*"

static const moe__quant_recipe recipes[] = {
    {"F32", 0, MOE_TYPE_F32, {{0}}},
    {"F16", 1, MOE_TYPE_F16, {{0}}},
    {"BF16", 32, MOE_TYPE_BF16, {{0}}},
    {"Q8_0", 7, MOE_TYPE_Q8_0, {{0}}},
    {"Q6_K", 18, MOE_TYPE_Q6_K, {{0}}},
    {"Q5_K_M", 17, MOE_TYPE_Q5_K, {OUTPUT, {V, MOE_TYPE_Q6_K, SOME}, {DOWN, MOE_TYPE_Q6_K, SOME}}},
    {"Q5_K_S", 16, MOE_TYPE_Q5_K, {OUTPUT}},
    {"Q5_K", 16, MOE_TYPE_Q5_K, {{0}}},
    {"Q5_1", 9, MOE_TYPE_Q5_1, {OUTPUT}},
    {"Q5_0", 8, MOE_TYPE_Q5_0, {OUTPUT}},
    {"Q4_K_M", 15, MOE_TYPE_Q4_K, {OUTPUT, {V, MOE_TYPE_Q6_K, SOME}, {DOWN, MOE_TYPE_Q6_K, SOME}}},
    {"Q4_K_S", 14, MOE_TYPE_Q4_K, {OUTPUT, {V, MOE_TYPE_Q5_K, FOUR}, {DOWN, MOE_TYPE_Q5_K, EIGHTH}}},
    {"Q4_K", 14, MOE_TYPE_Q4_K, {{0}}},
    {"Q4_1", 3, MOE_TYPE_Q4_1, {OUTPUT}},
    {"Q4_0", 2, MOE_TYPE_Q4_0, {OUTPUT}},
    {"IQ4_NL", 25, MOE_TYPE_IQ4_NL, {OUTPUT, {V, MOE_TYPE_Q5_K, ALL}, {DOWN, MOE_TYPE_Q5_K, EIGHTH}}},
    {"IQ4_XS", 30, MOE_TYPE_IQ4_XS, {OUTPUT, {V, MOE_TYPE_Q5_K, ALL}, {DOWN, MOE_TYPE_Q5_K, EIGHTH}}},
    {"MXFP4", 38, MOE_TYPE_Q8_0, {{"blk.*_exps.weight", MOE_TYPE_MXFP4, ALL}}},
    {"Q3_K_M", 12, MOE_TYPE_Q3_K, {OUTPUT, {V, MOE_TYPE_Q5_K, TWO}, {V, MOE_TYPE_Q4_K, ALL},
                                   {O, MOE_TYPE_Q4_K, ALL}, {DOWN, MOE_TYPE_Q5_K, SIXTEENTH},
                                   {DOWN, MOE_TYPE_Q4_K, SOME}}},
    {"Q3_K_S", 11, MOE_TYPE_Q3_K, {OUTPUT}},
    {"Q3_K", 11, MOE_TYPE_Q3_K, {{0}}},
    {"Q2_K", 10, MOE_TYPE_Q2_K, {OUTPUT, {V, MOE_TYPE_Q4_K, ALL}, {O, MOE_TYPE_Q3_K, ALL},
                                 {DOWN, MOE_TYPE_Q3_K, ALL}}},
};
/* clang-format on */

enum { N_RECIPES = sizeof recipes / sizeof recipes[0] };

const char *moe__recipe_name(size_t i) { return i < N_RECIPES ? recipes[i].name : NULL; }

uint32_t moe__recipe_file_type(const moe__quant_recipe *r) { return r->file_type; }

static char upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

static int same_name(const char *a, const char *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] == '\0' || upper(a[i]) != upper(b[i])) return 0;
    return a[n] == '\0';
}

const moe__quant_recipe *moe__recipe_find(const char *name)
{
    for (size_t i = 0; i < N_RECIPES; i++)
        if (same_name(recipes[i].name, name, strlen(name))) return &recipes[i];
    return NULL;
}

/* -------------------------------------------------------------------------------------------------- rules */

/* On a mismatch only the last `*` is tried again, one character later: time is at most n * text. */
int moe__glob(const char *pattern, size_t n, const char *text)
{
    size_t p = 0, star = SIZE_MAX;
    const char *t = text, *from = text;
    while (*t) {
        if (p < n && pattern[p] == '*') {
            star = p++;
            from = t;
        } else if (p < n && (pattern[p] == '?' || pattern[p] == *t)) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++from;
        } else {
            return 0;
        }
    }
    while (p < n && pattern[p] == '*') p++;
    return p == n;
}

typedef struct rule {
    const char *pattern;
    size_t n;
    const moe__type *type;
} rule;

static const moe__type *type_named(const char *name, size_t n)
{
    for (size_t i = 0; i < moe__type_count(); i++)
        if (same_name(moe__type_at(i)->name, name, n)) return moe__type_at(i);
    return NULL;
}

/* Takes one rule from *text and moves on. 0 at the end, -1 if it is none (then *text stands at it). */
static int next_rule(const char **text, rule *out)
{
    const char *s = *text;
    if (*s == '\0') return 0;
    const size_t len = strcspn(s, ",");
    const char *eq = memchr(s, '=', len);
    if (!eq || eq == s) return -1;
    out->pattern = s;
    out->n = (size_t)(eq - s);
    out->type = type_named(eq + 1, len - out->n - 1);
    if (!out->type) return -1;
    *text = s + len + (s[len] == ',');
    return 1;
}

int moe__rules_check(const char *rules)
{
    rule r;
    int got = 1;
    if (!rules) return MOE_OK;
    while (got > 0) got = next_rule(&rules, &r);
    if (got == 0) return MOE_OK;
    return MOE_FAIL(INVALID,
                    "rules: expected \"pattern=TYPE,...\" with a tensor type such as Q8_0, found \"%.80s\"",
                    rules);
}

/* ------------------------------------------------------------------------------------------------- choice */

/* The layer of "blk.12.x", or UINT32_MAX. */
static uint32_t layer_of(const char *name)
{
    uint32_t v = 0;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return UINT32_MAX;
    for (name += 4; *name >= '0' && *name <= '9'; name++) {
        if (v > 1000000) return UINT32_MAX;
        v = v * 10 + (uint32_t)(*name - '0');
    }
    return v;
}

moe__recipe_model moe__recipe_look(const moe__file *f)
{
    moe__recipe_model m = {0, moe__file_tensor_find(f, "output.weight") == NULL};
    for (size_t i = 0; i < moe__file_tensor_count(f); i++) {
        const uint32_t layer = layer_of(moe__file_tensor_at(f, i)->name);
        if (layer != UINT32_MAX && layer >= m.n_layers) m.n_layers = layer + 1;
    }
    return m;
}

static int in_layers(which w, uint32_t i, uint32_t n)
{
    switch (w) {
    case SOME: return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    case EIGHTH: return i < n / 8;
    case SIXTEENTH: return i < n / 16;
    case FOUR: return i < 4;
    case TWO: return i < 2;
    default: return 1;
    }
}

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* Norms, biases, routers and vectors: small, and every token goes through them. */
static int keeps(const moe__tensor *t)
{
    const int id = t->type->id;
    return (id != MOE_TYPE_F32 && id != MOE_TYPE_F16 && id != MOE_TYPE_BF16) || t->n_dims < 2 ||
           !ends_with(t->name, ".weight") || strstr(t->name, "norm") || strstr(t->name, "ffn_gate_inp");
}

/* The next coarser demand on the row length: 256 -> 32 -> 1. */
static const moe__type *fitting(const moe__type *type, uint64_t row)
{
    static const int smaller[][2] = {
        {MOE_TYPE_Q2_K, MOE_TYPE_IQ4_NL},   {MOE_TYPE_Q3_K, MOE_TYPE_IQ4_NL},
        {MOE_TYPE_IQ4_XS, MOE_TYPE_IQ4_NL}, {MOE_TYPE_Q4_K, MOE_TYPE_Q5_0},
        {MOE_TYPE_Q5_K, MOE_TYPE_Q5_1},     {MOE_TYPE_Q6_K, MOE_TYPE_Q8_0},
    };
    while (row % type->block != 0) {
        int id = MOE_TYPE_F16;
        for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
            if (smaller[i][0] == type->id) id = smaller[i][1];
        type = moe__type_get(id);
    }
    return type;
}

const moe__type *moe__recipe_type(const moe__quant_recipe *r, const char *rules, const moe__recipe_model *m,
                                  const moe__tensor *t)
{
    rule ru;
    if (keeps(t)) return t->type;
    for (const char *rest = rules ? rules : ""; next_rule(&rest, &ru) > 0;)
        if (moe__glob(ru.pattern, ru.n, t->name)) return fitting(ru.type, t->dim[0]);
    const char *name = m->tied && strcmp(t->name, "token_embd.weight") == 0 ? "output.weight" : t->name;
    const uint32_t layer = layer_of(name);
    for (const exception *e = r->except; e < r->except + MAX_EXCEPTIONS && e->pattern; e++)
        if (moe__glob(e->pattern, strlen(e->pattern), name) && in_layers(e->layers, layer, m->n_layers))
            return fitting(moe__type_get(e->type), t->dim[0]);
    return fitting(moe__type_get(r->type), t->dim[0]);
}
