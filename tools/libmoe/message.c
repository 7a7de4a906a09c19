/* SPDX-License-Identifier: MIT */
/* Messages to the user, on stderr. A progress bar that is on the screen is wiped first. */
#include "out.h"
#include "progress.h"
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>

static bool notes_wanted = true;

static void say(const char *fmt, va_list args, const char *tail)
{
    progress_clear();
    out_flush(); /* before it on a terminal, and its errors are not lost */
    fputs("libmoe: ", stderr);
    vfprintf(stderr, fmt, args);
    if (tail) fprintf(stderr, ": %s", tail);
    fputc('\n', stderr);
}

void complain(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(fmt, args, NULL);
    va_end(args);
}

int report(int status, const char *fmt, ...)
{
    const char *why = moe_last_error();
    va_list args;
    va_start(args, fmt);
    say(fmt, args, status == MOE_E_ABORTED ? "interrupted" : *why ? why : moe_status_name(status));
    va_end(args);
    return status == MOE_E_ABORTED ? CODE_INTERRUPTED : CODE_FAIL;
}

void notes_off(void) { notes_wanted = false; }

void note(const char *fmt, ...)
{
    va_list args;
    if (!notes_wanted) return;
    va_start(args, fmt);
    say(fmt, args, NULL);
    va_end(args);
}

int usage_error(const struct command *c, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(fmt, args, NULL);
    va_end(args);
    if (c)
        fprintf(stderr, "Try `libmoe %s --help`.\n", c->name);
    else
        fputs("Try `libmoe --help`.\n", stderr);
    return CODE_USAGE;
}
