/* SPDX-License-Identifier: MIT */
/* --help, from the tables of subcommands and options. */
#include "options.h"
#include "out.h"
#include "term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OPTION_COLUMN 26

static int help_width(void)
{
    const int w = term_is(STDOUT_FILENO) ? term_width(STDOUT_FILENO) : 80;
    return w > 100 ? 100 : w;
}

static void print_examples(const char *text)
{
    for (const char *p = text; *p;) {
        const size_t len = strcspn(p, "\n");
        out_format("  %.*s\n", (int)len, p);
        p += len;
        if (*p) p++;
        if (*p == '#') out_text("\n");
    }
}

static void print_option(const struct option *o, int width)
{
    char left[64], help[400];
    int column;
    snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
             o->letter ? "," : " ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    column = (int)strlen(left) + 2;
    snprintf(help, sizeof help, "%s%s%s%s%s%s", o->help, o->choices ? ": " : "", o->choices ? o->choices : "",
             o->def ? " (default " : "", o->def ? o->def : "", o->def ? ")" : "");
    out_format("  %s", left);
    if (column + 2 > OPTION_COLUMN)
        out_format("\n%*s", OPTION_COLUMN, "");
    else
        out_format("%*s", OPTION_COLUMN - column, "");
    print_wrapped(help, OPTION_COLUMN, width);
}

void help_command(const struct command *c)
{
    const int width = help_width();
    const char *group = NULL;
    out_format("Usage: libmoe %s [options] %s\n\n", c->name, c->args);
    print_wrapped(c->text, 0, width);
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        if (!(o->commands & c->bit)) continue;
        if (o->group != group) out_format("\n%s:\n", o->group);
        group = o->group;
        print_option(o, width);
    }
    out_text("\nExamples:\n");
    print_examples(c->examples);
}

void help_tool(void)
{
    out_text("Usage: libmoe COMMAND [options] ...\n\n"
             "Runs Mixture-of-Experts language models on the CPU.\n\nCommands:\n");
    for (size_t i = 0; i < n_commands; i++) out_format("  %-12s %s\n", commands[i].name, commands[i].summary);
    out_text("\n  libmoe COMMAND --help   options and examples of a command\n"
             "  libmoe --version        version and build of the library\n\n"
             "Examples:\n");
    for (size_t i = 0; i < 3; i++) {
        const char *line = strchr(commands[i].examples, '\n') + 1;
        out_format("  %.*s\n", (int)strcspn(line, "\n"), line);
    }
    out_text(
        "\nExit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 reader of the output gone.\n");
}
