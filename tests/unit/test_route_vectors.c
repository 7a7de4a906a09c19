/* SPDX-License-Identifier: MIT */
/*
 * Whole routers against an independent implementation in NumPy: random cases over all combinations of recipe
 * and steering, whose lines tools/make_route_vectors.py explains. Ids must be equal and in order, weights
 * within 1e-6 (of the larger of the weight and 1). Rows go through a batch and, unless they depend on one
 * another, one by one.
 *
 * Usage: test_route_vectors [folder of route.vec]
 */
#include "route_rig.h"
#include "../golden/vec_file.h"

#define N_EDITS   5
#define TOLERANCE 1e-6
enum { MODEL_LOGIT = 11, MODEL_SELECT = 12 }; /* kinds of biases that the model itself has */

static const char *folder = "tests/unit/data";

typedef struct vector_case {
    int line;
    uint32_t n, n_null, n_rows;
    const char *recipe;
    float values[N_EDITS][MAX_N], model_logit[MAX_N], model_select[MAX_N];
    uint8_t has[N_EDITS], use[MAX_N], has_use, has_model_logit, has_model_select;
    uint32_t limit[4][MAX_N], n_limit[4];
    uint8_t limited[4];
    moe_route_override override[64];
    float override_row[64][MAX_N];
    uint32_t n_override;
    moe_token token[MAX_ROWS];
    moe_pos pos[MAX_ROWS];
    moe_seq seq[MAX_ROWS];
    float logits[MAX_ROWS * 128];
    uint32_t offset[MAX_ROWS + 1], id[MAX_ROWS * 128];
    float weight[MAX_ROWS * 128];
} vector_case;

static vector_case c;

/* What was seen, for the table at the end. */
static struct {
    int cases, rows, rules[16], scores[8], weights[8], steered, groups, nulls, capacities;
    double worst;
} seen;

static uint32_t read_values(vec_file *f, float *out)
{
    uint32_t n = 0;
    while (*f->at) {
        assert_true(n < MAX_N);
        out[n++] = (float)vec_int(f) / 1024;
    }
    return n;
}

static void read_biases(vec_file *f)
{
    const long kind = vec_int(f);
    if (kind == MODEL_LOGIT) {
        c.has_model_logit = 1;
        assert_int_equal(read_values(f, c.model_logit), c.n);
    } else if (kind == MODEL_SELECT) {
        c.has_model_select = 1;
        assert_int_equal(read_values(f, c.model_select), c.n);
    } else {
        assert_true(kind >= 1 && kind < N_EDITS);
        c.has[kind - 1] = 1;
        assert_int_equal(read_values(f, c.values[kind - 1]), c.n);
    }
}

static void read_override(vec_file *f)
{
    assert_true(c.n_override < 64);
    moe_route_override *o = &c.override[c.n_override];
    const moe_route_override start = MOE_ROUTE_OVERRIDE_INIT;
    *o = start;
    o->kind = (int32_t)vec_int(f);
    o->seq = (moe_seq)vec_int(f);
    o->first = (moe_pos)vec_int(f);
    o->last = (moe_pos)vec_int(f);
    o->row = c.override_row[c.n_override];
    assert_int_equal(read_values(f, c.override_row[c.n_override++]), c.n);
}

static void read_limit(vec_file *f)
{
    const long seq = vec_int(f);
    assert_true(seq >= 0 && seq < 4);
    c.limited[seq] = 1;
    while (*f->at) c.limit[seq][c.n_limit[seq]++] = (uint32_t)vec_int(f);
}

static void read_result(vec_file *f, uint32_t t)
{
    uint32_t n = c.offset[t];
    while (*f->at) {
        char *colon = strchr(f->at, ':');
        assert_non_null(colon);
        *colon = ' ';
        const char *id = vec_word(f);
        c.id[n] = *id == '-' ? MOE_EXPERT_NONE : (uint32_t)strtoul(id, NULL, 10);
        c.weight[n++] = vec_float(f);
    }
    c.offset[t + 1] = n;
}

/* The next case, whose first line was read before; 0 at the end of the file. */
static int read_case(vec_file *f)
{
    static int more;
    uint32_t rows = 0;
    if (!more && !vec_line(f)) return 0;
    assert_string_equal(vec_word(f), "C");
    memset(&c, 0, sizeof c);
    c.line = f->line;
    c.n = (uint32_t)vec_int(f);
    c.n_null = (uint32_t)vec_int(f);
    c.n_rows = (uint32_t)vec_int(f);
    c.recipe = f->at;
    assert_true(c.n + c.n_null <= 128 && c.n_rows <= MAX_ROWS);
    while ((more = vec_line(f)) && *f->at != 'C') {
        const char kind = *vec_word(f);
        switch (kind) {
        case 'B': read_biases(f); break;
        case 'U':
            c.has_use = 1;
            for (uint32_t e = 0; e < c.n; e++) c.use[e] = (uint8_t)(f->at[e] - '0');
            break;
        case 'S': read_limit(f); break;
        case 'O': read_override(f); break;
        case 'L':
            c.token[rows] = (moe_token)vec_int(f);
            c.pos[rows] = (moe_pos)vec_int(f);
            c.seq[rows] = (moe_seq)vec_int(f);
            assert_int_equal(read_values(f, c.logits + rows * (c.n + c.n_null)), c.n + c.n_null);
            break;
        case 'R': read_result(f, rows++); break;
        default: fail_msg("%s:%d: what is '%c'?", f->path, f->line, kind);
        }
    }
    assert_int_equal(rows, c.n_rows);
    return 1;
}

static int steer_all(moe__steer *s, const moe__steer_shape *shape, const void *arg)
{
    (void)arg;
    if (c.has_use) MOE_TRY(moe__steer_set_use(s, shape, c.use));
    for (int i = 0; i < N_EDITS; i++)
        if (c.has[i]) MOE_TRY(moe__steer_set_values(s, shape, i + 1, c.values[i]));
    for (int q = 0; q < 4; q++)
        if (c.limited[q]) MOE_TRY(moe__steer_set_limit(s, shape, q, c.limit[q], c.n_limit[q]));
    for (uint32_t i = 0; i < c.n_override; i++) MOE_TRY(moe__steer_add_override(s, shape, &c.override[i]));
    return MOE_OK;
}

static void set_up(void)
{
    rig_model(c.n, c.n_null);
    if (c.has_model_logit) g.router.logit_bias = c.model_logit;
    if (c.has_model_select) g.router.select_bias = c.model_select;
    if (rig_try(c.recipe) != MOE_OK) fail_msg("line %d: %s: %s", c.line, c.recipe, moe__last_error());
    if (rig_steer(steer_all, NULL) != MOE_OK) fail_msg("line %d: %s", c.line, moe__last_error());
}

static void compare_row(const char *way, uint32_t t, uint32_t n, const uint32_t *id, const float *w)
{
    const uint32_t at = c.offset[t];
    if (n != c.offset[t + 1] - at)
        fail_msg("line %d, row %u, %s: expected %u experts, found %u", c.line, t, way, c.offset[t + 1] - at,
                 n);
    for (uint32_t i = 0; i < n; i++) {
        const double want = (double)c.weight[at + i], off = fabs((double)w[i] - want) / fmax(1, fabs(want));
        if (id[i] != c.id[at + i])
            fail_msg("line %d, row %u, %s: rank %u: expected expert %u, found %u", c.line, t, way, i,
                     c.id[at + i], id[i]);
        if (!(off <= TOLERANCE))
            fail_msg("line %d, row %u, %s: expert %u: expected %.9g, found %.9g", c.line, t, way, id[i], want,
                     (double)w[i]);
        seen.worst = off > seen.worst ? off : seen.worst;
    }
}

static void run_rows(void)
{
    for (uint32_t t = 0; t < c.n_rows; t++) {
        const float *l = c.logits + t * (c.n + c.n_null);
        if (rig_row_at(l, c.token[t], c.pos[t], c.seq[t]) != MOE_OK)
            fail_msg("line %d, row %u fails", c.line, t);
        compare_row("alone", t, g.n, g.id, g.w);
    }
}

static void run_batch(void)
{
    rig_batch b;
    if (rig_rows_at(&b, c.logits, c.n_rows, c.token, c.pos, c.seq) != MOE_OK)
        fail_msg("line %d: %s", c.line, moe__last_error());
    for (uint32_t t = 0; t < c.n_rows; t++)
        compare_row("together", t, b.offset[t + 1] - b.offset[t], b.id + b.offset[t], b.w + b.offset[t]);
    rig_batch_free(&b);
}

static void count(void)
{
    const moe_route_spec *s = &g.router.recipe.spec;
    seen.cases++;
    seen.rows += (int)c.n_rows;
    seen.rules[s->select]++;
    seen.scores[s->score]++;
    seen.weights[s->weight]++;
    seen.steered += !moe__steer_is_empty(&g.router.steer) || c.has_model_logit || c.has_model_select;
    seen.groups += s->n_groups > 1;
    seen.nulls += s->n_null > 0;
    seen.capacities += s->capacity > 0;
}

static void routers_agree_with_numpy(void **state)
{
    (void)state;
    vec_file f;
    vec_open(&f, folder, "route", "libmoe-routes 1");
    while (read_case(&f)) {
        set_up();
        run_batch();
        if (!g.router.coupled) run_rows();
        count();
    }
    vec_close(&f);
    print_message("# %d cases, %d rows: %d steered, %d with groups, %d with null experts, %d with capacity\n",
                  seen.cases, seen.rows, seen.steered, seen.groups, seen.nulls, seen.capacities);
    print_message("# largest error of a weight: %.2g\n", seen.worst);
    assert_true(seen.cases >= 1000);
    for (int i = 1; i <= MOE_SELECT_EXPERT_CHOICE; i++) assert_true(seen.rules[i] > 0);
    for (int i = 1; i <= MOE_SCORE_ENTMAX15; i++) assert_true(seen.scores[i] > 0);
    for (int i = 1; i <= MOE_WEIGHT_RULE; i++) assert_true(seen.weights[i] > 0);
    assert_true(seen.steered && seen.groups && seen.nulls && seen.capacities);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(routers_agree_with_numpy)};
    if (argc > 1) folder = argv[1];
    return cmocka_run_group_tests(tests, rig_setup, rig_teardown);
}
