/* SPDX-License-Identifier: MIT */
/*
 * What all parts of the command-line tool share: exit codes, the table of subcommands, messages. The tool
 * uses nothing but the public headers. Results go to stdout (out.h), everything else to stderr.
 */
#ifndef TOOL_H
#define TOOL_H

#include <moe/moe.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit codes, documented in the manual page. */
#define CODE_OK          0
#define CODE_FAIL        1
#define CODE_USAGE       2
#define CODE_INTERRUPTED 130 /* 128 + SIGINT, whichever signal it was */
#define CODE_PIPE        141 /* 128 + SIGPIPE: the reader of stdout went away */

#if defined(__MINGW32__) /* whose plain "printf" means the system's, without %zu */
#define PRINTF_LIKE(fmt, first) __attribute__((format(gnu_printf, fmt, first)))
#elif defined(__GNUC__)
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))
#else
#define PRINTF_LIKE(fmt, first)
#endif

struct settings;

/* One bit per subcommand; an option names those it belongs to. */
#define CMD_RUN        1u
#define CMD_CHAT       2u
#define CMD_INFO       4u
#define CMD_PLAN       8u
#define CMD_BENCH      16u
#define CMD_TOKENIZE   32u
#define CMD_PERPLEXITY 64u
#define CMD_QUANTIZE   128u
#define CMD_TRACE      256u
#define CMD_STATS      512u
#define CMD_STEER      1024u

struct command {
    unsigned bit;
    const char *name, *args; /* args: synopsis of what follows the options */
    const char *summary;     /* half a line */
    const char *text;        /* what it does; paragraphs separated by empty lines */
    const char *examples;    /* pairs of lines: "# what" and the command */
    int min_args, max_args;  /* positional arguments; -1 = any number */
    int (*run)(const struct settings *s);
};

extern const struct command commands[];
extern const size_t n_commands;
const struct command *command_find(const char *name);

int cmd_run(const struct settings *s);
int cmd_chat(const struct settings *s);
int cmd_info(const struct settings *s);
int cmd_plan(const struct settings *s);
int cmd_bench(const struct settings *s);
int cmd_tokenize(const struct settings *s);
int cmd_perplexity(const struct settings *s);
int cmd_quantize(const struct settings *s);
int cmd_trace(const struct settings *s);
int cmd_stats(const struct settings *s);
int cmd_steer(const struct settings *s);

/* help.c and generate.c: texts made from the tables */
void help_tool(void);
void help_command(const struct command *c);
int generate_file(const char *kind);

/* message.c: one line each on stderr, "libmoe: ..." */
void complain(const char *fmt, ...) PRINTF_LIKE(1, 2);
/* "libmoe: <what>: <the library's message>"; returns the exit code that goes with the status. */
int report(int status, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A note that is no failure; silent with --quiet. */
void note(const char *fmt, ...) PRINTF_LIKE(1, 2);
void notes_off(void);
/* A mistake of the user's on the command line: message, hint at --help; returns CODE_USAGE. */
int usage_error(const struct command *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
