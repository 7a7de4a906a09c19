/* SPDX-License-Identifier: MIT */
/*
 * Files made from the tables at build time: `libmoe --generate man|bash|zsh|fish` prints the manual page or a
 * shell's completions.
 */
#include "options.h"
#include "out.h"

#include <stdio.h>
#include <string.h>

/* Prints text with each character of `special` preceded by `escape`. */
static void escaped(const char *text, const char *special, const char *escape)
{
    for (; *text; text++) {
        if (strchr(special, *text)) out_text(escape);
        out_bytes(text, 1);
    }
}

/* ------------------------------------------------------------------------------------------------- manual */

/* Roff: a dash is a minus sign, a backslash is written \e, a point or quote must not begin a line. */
static void roff(const char *text)
{
    bool line_start = true;
    for (; *text; text++) {
        if (line_start && (*text == '.' || *text == '\'')) out_text("\\&");
        line_start = *text == '\n';
        if (*text == '-')
            out_text("\\-");
        else if (*text == '\\')
            out_text("\\e");
        else if (*text == '`')
            out_text("\\(ga");
        else
            out_bytes(text, 1);
    }
}

static void roff_paragraphs(const char *text)
{
    for (;;) {
        const char *end = strstr(text, "\n\n");
        char part[1200];
        snprintf(part, sizeof part, "%.*s", (int)(end ? (size_t)(end - text) : strlen(text)), text);
        roff(part);
        out_text("\n");
        if (!end) return;
        out_text(".PP\n");
        text = end + 2;
    }
}

static void roff_option(const struct option *o)
{
    out_text(".TP\n");
    if (o->letter) out_format("\\fB\\-%c\\fR, ", o->letter);
    out_text("\\fB\\-\\-");
    roff(o->name);
    out_text("\\fR");
    if (o->arg) {
        out_text(" \\fI");
        roff(o->arg);
        out_text("\\fR");
    }
    out_text("\n");
    roff(o->help);
    if (o->choices) {
        out_text(": ");
        roff(o->choices);
    }
    if (o->def) {
        out_text(" (default ");
        roff(o->def);
        out_text(")");
    }
    out_text(".\n");
}

static void roff_examples(const char *text)
{
    for (const char *p = text; *p;) {
        char line[400];
        const size_t len = strcspn(p, "\n");
        snprintf(line, sizeof line, "%.*s", (int)len, *p == '#' ? p + 2 : p);
        if (*p == '#') {
            out_text(".PP\n");
            roff(line);
            out_text(":\n");
        } else {
            out_text(".IP\n.nf\n");
            roff(line);
            out_text("\n.fi\n");
        }
        p += len + (p[len] != '\0');
    }
}

static void man_command(const struct command *c)
{
    out_format(".SH LIBMOE %s\n.B libmoe %s\n[\\fIoptions\\fR] ", c->name, c->name);
    roff(c->args);
    out_text("\n.PP\n");
    roff_paragraphs(c->text);
    for (size_t i = 0; i < n_options; i++)
        if (options[i].commands & c->bit) roff_option(&options[i]);
    out_text(".PP\nExamples:\n");
    roff_examples(c->examples);
}

static int man(void)
{
    out_format(".\\\" Made from the tables of the program; do not edit.\n.TH LIBMOE 1 \"\" \"libmoe %s\" "
               "\"User commands\"\n"
               ".SH NAME\nlibmoe \\- run Mixture\\-of\\-Experts language models on the CPU\n.SH SYNOPSIS\n"
               ".B libmoe\n\\fIcommand\\fR [\\fIoptions\\fR] ...\n.SH DESCRIPTION\n"
               "The program of the library libmoe: it generates text with language models of the "
               "Mixture\\-of\\-Experts kind "
               "from GGUF files,\nand describes, measures and converts them.\n"
               "Results go to standard output, messages and progress to standard error.\n",
               moe_version_string());
    for (size_t i = 0; i < n_commands; i++) {
        out_format(".TP\n.B %s\n", commands[i].name);
        roff(commands[i].summary);
        out_text("\n");
    }
    for (size_t i = 0; i < n_commands; i++) man_command(&commands[i]);
    out_text(".SH ENVIRONMENT\n.TP\n.B LIBMOE_MODEL\nModel file to use when none is named.\n"
             ".SH EXIT STATUS\n.TP\n.B 0\nDone.\n.TP\n.B 1\nFailed; standard error says why.\n.TP\n.B "
             "2\nWrong usage.\n"
             ".TP\n.B 130\nInterrupted by a signal. What was done until then is said on standard error.\n"
             ".TP\n.B 141\nThe reader of standard output went away.\n"
             ".SH SEE ALSO\nThe documentation of the library, in moe.h.\n");
    return CODE_OK;
}

/* ------------------------------------------------------------------------------------------------- shells */

/* What a shell offers behind an option: its choices, or the names of routing rules. */
static void print_choices(const struct option *o)
{
    const char *name;
    if (o->choices) out_text(o->choices);
    for (size_t i = 0; is_rule(o) && (name = moe_policy_name(i, NULL)) != NULL; i++)
        out_format("%s%s", i ? " " : "", name);
}

static int bash(void)
{
    out_text("# bash completion for libmoe, made from the tables of the program; do not edit.\n"
             "_libmoe()\n{\n    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
             "    COMPREPLY=()\n    if [[ $COMP_CWORD -eq 1 ]]; then\n        words=\"--help --version help");
    for (size_t i = 0; i < n_commands; i++) out_format(" %s", commands[i].name);
    out_text("\"\n        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n        return\n    fi\n"
             "    case ${COMP_WORDS[1]}:$prev in\n");
    for (size_t i = 0; i < n_options; i++) {
        const struct option *o = &options[i];
        for (size_t k = 0; k < n_commands && o->arg; k++) {
            if (!(commands[k].bit & o->commands)) continue;
            out_format("    %s:--%s", commands[k].name, o->name);
            if (o->letter) out_format("|%s:-%c", commands[k].name, o->letter);
            if (takes_file(o))
                out_text(") COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n");
            else {
                out_text(") COMPREPLY=($(compgen -W \"");
                print_choices(o);
                out_text("\" -- \"$cur\")); return ;;\n");
            }
        }
    }
    out_text("    esac\n    case ${COMP_WORDS[1]} in\n    help) words=\"");
    for (size_t i = 0; i < n_commands; i++) out_format("%s%s", i ? " " : "", commands[i].name);
    out_text("\" ;;\n");
    for (size_t k = 0; k < n_commands; k++) {
        out_format("    %s) words=\"", commands[k].name);
        for (size_t i = 0, n = 0; i < n_options; i++)
            if (options[i].commands & commands[k].bit) out_format("%s--%s", n++ ? " " : "", options[i].name);
        out_text("\" ;;\n");
    }
    out_text("    esac\n    if [[ $cur == -* || ${COMP_WORDS[1]} == help ]]; then\n"
             "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n    else\n"
             "        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\ncomplete -o filenames -F _libmoe "
             "libmoe\n");
    return CODE_OK;
}

/* Inside '...' with [help]: quotes, brackets and colons are escaped. */
static void zsh_help(const char *text)
{
    for (; *text; text++) {
        if (*text == '\'')
            out_text("'\\''");
        else if (strchr("[]:\\", *text))
            out_format("\\%c", *text);
        else
            out_bytes(text, 1);
    }
}

static void zsh_option(const struct option *o)
{
    if (o->letter)
        out_format("            '(-%c --%s)'{-%c,--%s}'", o->letter, o->name, o->letter, o->name);
    else
        out_format("            '%s--%s", may_repeat(o) ? "*" : "", o->name);
    out_text("[");
    zsh_help(o->help);
    out_text("]");
    if (o->arg) {
        out_text(":");
        zsh_help(o->arg);
        if (takes_file(o))
            out_text(":_files");
        else {
            out_text(":(");
            print_choices(o);
            out_text(")");
        }
    }
    out_text("' \\\n");
}

static int zsh(void)
{
    out_text(
        "#compdef libmoe\n# zsh completion for libmoe, made from the tables of the program; do not edit.\n"
        "_libmoe() {\n    local -a commands=(\n");
    for (size_t i = 0; i < n_commands; i++)
        out_format("        '%s:%s'\n", commands[i].name, commands[i].summary);
    out_text(
        "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
        "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n"
        "        help) _describe command commands ;;\n");
    for (size_t k = 0; k < n_commands; k++) {
        out_format("        %s) _arguments -s \\\n", commands[k].name);
        for (size_t i = 0; i < n_options; i++)
            if (options[i].commands & commands[k].bit) zsh_option(&options[i]);
        out_text("            '*:file:_files' ;;\n");
    }
    out_text("    esac\n}\n_libmoe \"$@\"\n");
    return CODE_OK;
}

static int fish(void)
{
    out_text("# fish completion for libmoe, made from the tables of the program; do not edit.\n"
             "complete -c libmoe -n __fish_use_subcommand -l help -d 'help'\n"
             "complete -c libmoe -n __fish_use_subcommand -l version -d 'version and build'\n");
    for (size_t k = 0; k < n_commands; k++) {
        const struct command *c = &commands[k];
        out_format("complete -c libmoe -f -n __fish_use_subcommand -a %s -d '%s'\n", c->name, c->summary);
        for (size_t i = 0; i < n_options; i++) {
            const struct option *o = &options[i];
            if (!(o->commands & c->bit)) continue;
            out_format("complete -c libmoe -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
            if (o->letter) out_format(" -s %c", o->letter);
            if (o->arg) out_text(takes_file(o) ? " -r" : " -x");
            if (o->choices || is_rule(o)) {
                out_text(" -a '");
                print_choices(o);
                out_text("'");
            }
            out_text(" -d '");
            escaped(o->help, "'\\", "\\");
            out_text("'\n");
        }
    }
    return CODE_OK;
}

int generate_file(const char *kind)
{
    static const struct {
        const char *name;
        int (*make)(void);
    } table[] = {{"man", man}, {"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(kind, table[i].name) == 0) return table[i].make();
    return usage_error(NULL, "--generate takes man, bash, zsh or fish");
}
