/* SPDX-License-Identifier: MIT */
/* Status names and the thread-local message behind moe_last_error(). The message buffer is the library's only
 * per-thread state. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

static _Thread_local char message[768];

int moe__fail(int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(message, sizeof message, fmt, ap) < 0) message[0] = '\0';
    va_end(ap);
    return status;
}

void moe__clear_error(void) { message[0] = '\0'; }

const char *moe__last_error(void) { return message; }

const char *moe__status_name(int status)
{
    switch (status) {
#define NAME(id, text)                                                                                       \
    case MOE_##id: return "MOE_" #id;
        MOE_STATUS_LIST(NAME)
#undef NAME
    default: return "unknown status";
    }
}
