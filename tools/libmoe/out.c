/* SPDX-License-Identifier: MIT */
/* Writing results, with the first error kept. */
#include "out.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int first_error;

static void check(bool ok)
{
    if (!ok && !first_error) first_error = errno ? errno : EIO;
}

void out_bytes(const char *data, size_t n)
{
    if (!first_error) check(fwrite(data, 1, n, stdout) == n);
}

void out_text(const char *text) { out_bytes(text, strlen(text)); }

void out_format(const char *fmt, ...)
{
    va_list args;
    if (first_error) return;
    va_start(args, fmt);
    check(vfprintf(stdout, fmt, args) >= 0);
    va_end(args);
}

void out_flush(void)
{
    if (!first_error) check(fflush(stdout) == 0);
}

bool out_failed(void) { return first_error != 0; }

int out_finish(int code)
{
    out_flush();
    if (!first_error) return code;
    if (first_error == EPIPE) return CODE_PIPE;
    complain("cannot write the output: %s", strerror(first_error));
    return code ? code : CODE_FAIL;
}
