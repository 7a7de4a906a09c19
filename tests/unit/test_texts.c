/* SPDX-License-Identifier: MIT */
/*
 * docs/routing.md has everything that a routing text can say: names of recipes, keys, words; its table of
 * families agrees with the recipes. (Constants and blocks of C are checked by tools/check_docs.py.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe/moe.h"
#include "route/fields.h"
#include "route/names.h"

static char *page;

static int read_page(void **state)
{
    (void)state;
    FILE *f = fopen("docs/routing.md", "rb");
    page = calloc(1, 1 << 20);
    if (!f || !page) return -1;
    const size_t n = fread(page, 1, (1 << 20) - 1, f);
    fclose(f);
    return n > 0 ? 0 : -1;
}

static int free_page(void **state)
{
    (void)state;
    free(page);
    return 0;
}

/* Whether the page has `word` in backticks. */
static int has_word(const char *word)
{
    char quoted[80];
    snprintf(quoted, sizeof quoted, "`%s`", word);
    return strstr(page, quoted) != NULL;
}

static void every_name_is_there(void **state)
{
    (void)state;
    const char *name, *summary;
    size_t n = 0;
    for (; (name = moe_policy_name(n, &summary)) != NULL; n++) {
        if (!has_word(name)) fail_msg("docs/routing.md lacks the recipe `%s`", name);
        assert_true(strlen(summary) > 0);
    }
    assert_true(n > 20);
}

static void every_key_and_word_is_there(void **state)
{
    (void)state;
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++) {
        const moe__spec_field *f = &moe__spec_fields[i];
        if (!has_word(f->key)) fail_msg("docs/routing.md lacks the key `%s`", f->key);
        if (!has_word(f->name)) fail_msg("docs/routing.md lacks the member `%s`", f->name);
        for (int w = 0; f->words && w < moe__field_words(f); w++)
            if (f->words[w] && !has_word(f->words[w]))
                fail_msg("docs/routing.md lacks the word `%s` of `%s`", f->words[w], f->key);
    }
}

static const moe__spec_row *recipe_of(const char *name, size_t len)
{
    for (size_t i = 0; i < MOE_N_SPEC_NAMES; i++)
        if (strlen(moe__spec_rows[i].name) == len && memcmp(moe__spec_rows[i].name, name, len) == 0)
            return &moe__spec_rows[i];
    return NULL;
}

static const char *score_word(int score)
{
    for (size_t i = 0; i < MOE_N_SPEC_FIELDS; i++)
        if (strcmp(moe__spec_fields[i].key, "score") == 0) return moe__spec_fields[i].words[score];
    return "";
}

/* Rows are: | `name` | models | score | weights, k N | else | */
static void families_are_told_rightly(void **state)
{
    (void)state;
    const char *at = strstr(page, "| name | models |");
    size_t n = 0;
    assert_non_null(at);
    while ((at = strchr(at, '\n')) != NULL && *++at == '|') {
        char row[400], name[40], score[40], k[40], want[40];
        if (strncmp(at, "| `", 3) != 0) continue; /* the line below the heading */
        snprintf(row, sizeof row, "%.*s", (int)strcspn(at, "\n"), at);
        assert_int_equal(sscanf(row, "| `%39[^`]` | %*[^|]| %39s | %39[^|]|", name, score, k), 3);
        const moe__spec_row *r = recipe_of(name, strlen(name));
        if (!r) fail_msg("docs/routing.md: `%s` is no recipe", name);
        if (strcmp(score, score_word(r->spec.score)) != 0) fail_msg("docs/routing.md: score of `%s`", name);
        snprintf(want, sizeof want, "k %u ", r->spec.top_k);
        if (r->spec.top_k && !strstr(k, want)) fail_msg("docs/routing.md: k of `%s`", name);
        n++;
    }
    size_t families = 0;
    for (size_t i = 0; i < MOE_N_SPEC_NAMES; i++) families += moe__spec_rows[i].kind == MOE_NAME_FAMILY;
    assert_int_equal(n, families);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_there),
        cmocka_unit_test(every_key_and_word_is_there),
        cmocka_unit_test(families_are_told_rightly),
    };
    return cmocka_run_group_tests(tests, read_page, free_page);
}
