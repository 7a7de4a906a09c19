/* SPDX-License-Identifier: MIT */
/* Status names and the thread-local message behind moe_last_error(). The message buffer is the library's only
 * per-thread state. */
#include "base/status.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#define MESSAGE_BYTES 768

#if defined(__MINGW32__) && !defined(__clang__)
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winternl.h>

/* Thread-local variables of GCC for Windows take memory from malloc() at their first use and abort when there
 * is none. This one is the loader's: of all that lies in sections .tls*, from the C library's _tls_start on,
 * each thread has a copy (PE format, "The .tls Section"), which is there before the thread runs. */
extern ULONG _tls_index;
extern char *_tls_start;
static char message_image[MESSAGE_BYTES] __attribute__((section(".tls$MOE")));

/* GCC 12 takes an address in the thread's own segment for one below all objects (its bug 99578). */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Warray-bounds"
static char *message(void)
{
    char *const *blocks = NtCurrentTeb()->Reserved1[11]; /* ThreadLocalStoragePointer: one for each module */
    return blocks[_tls_index] + ((uintptr_t)message_image - (uintptr_t)&_tls_start);
}
#pragma GCC diagnostic pop
#else
static char *message(void)
{
    static _Thread_local char text[MESSAGE_BYTES];
    return text;
}
#endif

int moe__fail(int status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (vsnprintf(message(), MESSAGE_BYTES, fmt, ap) < 0) message()[0] = '\0';
    va_end(ap);
    return status;
}

void moe__clear_error(void) { message()[0] = '\0'; }

const char *moe__last_error(void) { return message(); }

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
