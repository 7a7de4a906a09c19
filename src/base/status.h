/* SPDX-License-Identifier: MIT */
/*
 * Statuses and the thread's last message. A function that can fail returns a status; the place that notices
 * the fault writes the message with MOE_FAIL, everybody above passes the status on with MOE_TRY and leaves
 * the message alone.
 */
#ifndef MOE_BASE_STATUS_H
#define MOE_BASE_STATUS_H

#include <stddef.h>
#include "moe/moe.h"

#if defined(__MINGW32__) /* whose plain "printf" means the system's, without %zu */
#define MOE_PRINTF(fmt, args) __attribute__((format(gnu_printf, fmt, args)))
#elif defined(__GNUC__)
#define MOE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define MOE_PRINTF(fmt, args)
#endif

/* Every status with its one-line meaning: the single list that names are made from. */
#define MOE_STATUS_LIST(X)                                                                                   \
    X(OK, "success")                                                                                         \
    X(E_INVALID, "invalid argument") X(E_NOMEM, "out of memory") X(E_IO, "input/output error")               \
        X(E_FORMAT, "damaged file") X(E_UNSUPPORTED, "not supported") X(E_VERSION, "versions do not match")  \
            X(E_RANGE, "out of range") X(E_STATE, "not allowed now") X(E_FULL, "no room left")               \
                X(E_BUFFER, "buffer too small") X(E_NOTFOUND, "not found") X(E_ABORTED, "stopped")           \
                    X(E_CALLBACK, "callback fault") X(E_POLICY, "routing policy fault")                      \
                        X(E_NUMERIC, "not a finite number") X(E_INTERNAL, "internal fault")

/* Writes the thread's message and returns `status`. */
int moe__fail(int status, const char *fmt, ...) MOE_PRINTF(2, 3);
/* Empties the thread's message: first thing in every public function that returns a status. */
void moe__clear_error(void);
const char *moe__last_error(void);
const char *moe__status_name(int status);

#define MOE_FAIL(code, ...) moe__fail(MOE_E_##code, __VA_ARGS__)
#define MOE_TRY(expr)                                                                                        \
    do {                                                                                                     \
        const int try_ = (expr);                                                                             \
        if (try_ < 0) return try_;                                                                           \
    } while (0)
/* For functions with one cleanup label: needs a variable `int st`. */
#define MOE_TRY_GOTO(expr, label)                                                                            \
    do {                                                                                                     \
        st = (expr);                                                                                         \
        if (st < 0) goto label;                                                                              \
    } while (0)
/* Argument checks of public functions. */
#define MOE_ARG(cond)                                                                                        \
    do {                                                                                                     \
        if (!(cond)) return moe__fail(MOE_E_INVALID, "%s: argument check failed: %s", __func__, #cond);      \
    } while (0)

#endif
