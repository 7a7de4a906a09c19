/* SPDX-License-Identifier: MIT */
/* See log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/opts.h"

int moe__logger_init(moe__logger *out, const moe_logger *l)
{
    moe_logger copy = MOE_LOGGER_INIT;
    *out = (moe__logger){0, NULL, NULL};
    if (!l) return MOE_OK;
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, l, "moe_logger"));
    if (!copy.write) return MOE_FAIL(INVALID, "moe_logger: write is NULL");
    if (copy.level < 0 || copy.level > MOE_LOG_DEBUG)
        return MOE_FAIL(INVALID, "moe_logger: level is %d, expected 0 to %d", (int)copy.level, MOE_LOG_DEBUG);
    *out = (moe__logger){copy.level ? copy.level : MOE_LOG_INFO, copy.write, copy.user};
    return MOE_OK;
}

void moe__log(const moe__logger *l, int level, const char *area, const char *fmt, ...)
{
    char msg[512];
    va_list ap;
    if (!l->write || level > l->level) return;
    va_start(ap, fmt);
    const int n = vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    if (n >= 0) l->write(level, area, msg, l->user);
}
