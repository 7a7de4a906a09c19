/* SPDX-License-Identifier: MIT */
/* libmoe quantize: a smaller copy of a model. The library writes it whole or not at all; Ctrl-C stops through
 * the progress call. */
#include "interrupt.h"
#include "options.h"
#include "out.h"
#include "progress.h"
#include "term.h"
#include "text.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

static uint64_t file_size(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

static int list_recipes(void)
{
    const char *name;
    for (size_t i = 0; (name = moe_recipe_name(i)) != NULL; i++) out_format("%s\n", name);
    return CODE_OK;
}

static const char *recipe_at(size_t i, const void *user)
{
    (void)user;
    return moe_recipe_name(i);
}

/* CODE_OK if the recipe exists; its name in any case of letters is found. */
static int check_recipe(const struct settings *s, const char **name)
{
    char upper[32];
    size_t n = 0;
    const char *near;
    for (; s->type[n] && n + 1 < sizeof upper; n++)
        upper[n] = (char)(s->type[n] >= 'a' && s->type[n] <= 'z' ? s->type[n] - 'a' + 'A' : s->type[n]);
    upper[n] = '\0';
    for (n = 0; (*name = moe_recipe_name(n)) != NULL; n++)
        if (strcmp(*name, upper) == 0) return CODE_OK;
    near = nearest(upper, n, recipe_at, NULL);
    return usage_error(s->command, "unknown type `%s`%s%s%s --list names all", s->type,
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : ";");
}

static bool join_rules(const struct settings *s, struct bytes *b)
{
    for (size_t i = 0; i < s->rules.n; i++)
        if ((i && !bytes_add(b, ",", 1)) || !bytes_add_text(b, s->rules.v[i])) return false;
    return true;
}

static int check_files(const struct settings *s, const char *src, const char *dst)
{
    struct stat a, b;
    if (stat(dst, &b) != 0) return CODE_OK;
    if (stat(src, &a) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return usage_error(s->command, "input and output are the same file");
    if (s->force) return CODE_OK;
    complain("%s exists; --force replaces it", dst);
    return CODE_FAIL;
}

static void tell_sizes(const struct settings *s, uint64_t ns)
{
    const uint64_t before = file_size(s->args[0]), after = file_size(s->args[1]);
    char from[TEXT_SIZE], to[TEXT_SIZE], took[TEXT_SIZE];
    note("%s: %s, from %s, in %s", s->args[1], readable_bytes(to, after), readable_bytes(from, before),
         readable_time(took, ns));
    if (after > before - before / 64)
        note("hardly smaller: what is quantised already stays as it is; begin with F16, BF16 or F32");
}

int cmd_quantize(const struct settings *s)
{
    moe_quantize_options o = MOE_QUANTIZE_OPTIONS_INIT;
    struct bytes rules = {NULL, 0, 0};
    const uint64_t start = clock_ns();
    int status, code;
    if (s->list) return list_recipes();
    if (s->n_args != 2) return usage_error(s->command, "quantize needs an input and an output file");
    code = check_recipe(s, &o.recipe);
    if (code == CODE_OK) code = check_files(s, s->args[0], s->args[1]);
    if (code != CODE_OK) return code;
    if (!join_rules(s, &rules)) return CODE_FAIL;
    o.rules = rules.v;
    o.n_threads = s->threads;
    o.progress = progress_callback;
    progress_begin("quantising", true);
    status = moe_quantize(s->args[0], s->args[1], &o);
    progress_end();
    if (status == MOE_E_ABORTED)
        complain("interrupted; %s was not written", s->args[1]);
    else if (status != MOE_OK)
        report(status, "cannot quantise %s", s->args[0]);
    else
        tell_sizes(s, clock_ns() - start);
    bytes_free(&rules);
    return status == MOE_OK ? CODE_OK : status == MOE_E_ABORTED ? CODE_INTERRUPTED : CODE_FAIL;
}
