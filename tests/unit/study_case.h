/* SPDX-License-Identifier: MIT */
/*
 * The routing that tools/make_study_vectors.py draws and measures, drawn here by the same rule, and its
 * numbers in data/study.txt. Five layers, routers in 1, 2 and 4; 12 experts; three requests in turn, three
 * classes.
 */
#ifndef MOE_TESTS_UNIT_STUDY_CASE_H
#define MOE_TESTS_UNIT_STUDY_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "moe/study.h"

enum {
    CASE_LAYERS = 5,
    CASE_ROUTERS = 3,
    CASE_N = 12,
    CASE_TOKENS = 120,
    CASE_CLASSES = 3,
    CASE_VOCAB = 20,
    CASE_POS = 30,
    CASE_TRACKED = 15,
    CASE_K = 8
};
static const uint32_t case_router[CASE_ROUTERS] = {1, 2, 4};

typedef struct case_row {
    uint32_t k, id[CASE_K];
    float weight[CASE_K], logits[CASE_N];
} case_row;

typedef struct case_token {
    uint32_t cls;
    moe_seq request;
    moe_pos pos;
    moe_token id;
    case_row row[CASE_ROUTERS];
} case_token;

typedef struct study_case {
    case_token token[CASE_TOKENS];
    uint32_t batch[CASE_TOKENS + 1]; /* first tokens of sub-batches, then CASE_TOKENS */
    uint32_t n_batches;
} study_case;

static uint32_t case_draw(moe__rng *r, uint32_t n) { return (uint32_t)(moe__rng_next(r) % n); }

static void draw_case_row(moe__rng *r, uint32_t k, case_row *row)
{
    row->k = 0;
    while (row->k < k) {
        const uint32_t a = case_draw(r, CASE_N), b = case_draw(r, CASE_N), e = a < b ? a : b;
        int known = 0;
        for (uint32_t j = 0; j < row->k; j++) known |= row->id[j] == e;
        if (known) continue;
        row->id[row->k] = e;
        row->weight[row->k] = 0;
        if (case_draw(r, 10)) row->weight[row->k] = (float)case_draw(r, 1024) / 1024;
        row->k++;
    }
    for (uint32_t j = 0; j < k; j++)
        if (case_draw(r, 8) == 0) row->id[j] = MOE_EXPERT_NONE;
    for (uint32_t e = 0; e < CASE_N; e++) row->logits[e] = ((float)case_draw(r, 512) - 256) / 64;
}

static void draw_case(study_case *c)
{
    moe__rng r = {.seed = 7};
    moe_pos pos[3] = {0, 0, 0};
    for (uint32_t t = 0; t < CASE_TOKENS; t++) {
        case_token *tok = &c->token[t];
        tok->request = (moe_seq)case_draw(&r, 3);
        tok->pos = pos[tok->request]++;
        tok->id = (moe_token)case_draw(&r, CASE_VOCAB);
        tok->cls = t * CASE_CLASSES / CASE_TOKENS;
        for (uint32_t l = 0; l < CASE_ROUTERS; l++)
            draw_case_row(&r, l == 0 ? 3 : case_draw(&r, 6), &tok->row[l]);
    }
    c->n_batches = 0;
    for (uint32_t first = 0, n; first < CASE_TOKENS; first += n) {
        n = 1 + case_draw(&r, 7);
        if (n > 40 - first % 40) n = 40 - first % 40; /* prompts of 40 tokens */
        c->batch[c->n_batches++] = first;
    }
    c->batch[c->n_batches] = CASE_TOKENS;
}

/* Tokens [a, b) in one router's layer as a view; the memory is the caller's. */
typedef struct case_view {
    moe_route_view v;
    uint32_t offset[CASE_TOKENS + 1], expert[CASE_TOKENS * CASE_K];
    float weight[CASE_TOKENS * CASE_K], logits[CASE_TOKENS * CASE_N];
    moe_token token[CASE_TOKENS];
    moe_pos pos[CASE_TOKENS];
    moe_seq seq[CASE_TOKENS];
} case_view;

static const moe_route_view *view_case(const study_case *c, uint32_t a, uint32_t b, uint32_t router,
                                       case_view *d)
{
    uint32_t n = 0;
    d->offset[0] = 0;
    for (uint32_t t = a; t < b; t++) {
        const case_row *row = &c->token[t].row[router];
        for (uint32_t j = 0; j < row->k; j++, n++) {
            d->expert[n] = row->id[j];
            d->weight[n] = row->weight[j];
        }
        d->offset[t - a + 1] = n;
        memcpy(d->logits + (size_t)(t - a) * CASE_N, row->logits, sizeof row->logits);
        d->token[t - a] = c->token[t].id;
        d->pos[t - a] = c->token[t].pos;
        d->seq[t - a] = c->token[t].request;
    }
    d->v = (moe_route_view){sizeof d->v, case_router[router], b - a,     CASE_N,   CASE_N, d->offset,
                            d->expert,   d->weight,           d->logits, d->token, d->pos, d->seq};
    return &d->v;
}

/* The numbers behind a name in study.txt; fails if it is not there. Returns how many. */
static size_t case_numbers(const char *name, double *x, size_t cap)
{
    static char line[1 << 16];
    FILE *f = fopen("tests/unit/data/study.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        const size_t n = strlen(name);
        if (strncmp(line, name, n) != 0 || line[n] != ' ') continue;
        fclose(f);
        size_t m = 0;
        char *s = line + n, *end;
        for (double v; v = strtod(s, &end), end != s; s = end) {
            assert_true(m < cap);
            x[m++] = v;
        }
        return m;
    }
    fclose(f);
    fail_msg("%s: not in study.txt", name);
    return 0;
}

/* Numbers that come by different ways: 1e-12 of what is larger, 1 or the number. */
static void case_near(const char *name, size_t i, double found, double want)
{
    const double scale = fabs(want) > 1 ? fabs(want) : 1;
    if (!(fabs(found - want) <= 1e-12 * scale))
        fail_msg("%s, number %zu: expected %.17g, found %.17g", name, i, want, found);
}

#endif
