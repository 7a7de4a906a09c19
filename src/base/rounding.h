/* SPDX-License-Identifier: MIT */
/*
 * The default floating-point environment (nearest, subnormals kept, no traps) for as long as the library
 * computes, and the host's again afterwards. On Windows fesetenv(FE_DFL_ENV) leaves the control register of
 * SSE as it is, or some of its bits.
 */
#ifndef MOE_BASE_ROUNDING_H
#define MOE_BASE_ROUNDING_H

#include <fenv.h>

#if defined(_WIN32) && (defined(__x86_64__) || defined(_M_X64))
#include <immintrin.h>
#define MOE_MXCSR_DEFAULT 0x1f80u /* all exceptions masked, nothing else */
#define MOE_MXCSR_GET()   _mm_getcsr()
#define MOE_MXCSR_SET(x)  _mm_setcsr(x)
#else
#define MOE_MXCSR_DEFAULT 0u
#define MOE_MXCSR_GET()   0u
#define MOE_MXCSR_SET(x)  ((void)(x))
#endif

typedef struct moe__rounding {
    fenv_t env;
    unsigned mxcsr;
} moe__rounding;

static inline void moe__rounding_default(moe__rounding *host)
{
    fegetenv(&host->env);
    host->mxcsr = MOE_MXCSR_GET();
    fesetenv(FE_DFL_ENV);
    MOE_MXCSR_SET(MOE_MXCSR_DEFAULT);
}

static inline void moe__rounding_restore(const moe__rounding *host)
{
    fesetenv(&host->env);
    MOE_MXCSR_SET(host->mxcsr);
}

/* A statement in the default environment, and the same for `return call;`. */
#define MOE_ROUNDED(statement)                                                                               \
    do {                                                                                                     \
        moe__rounding host_;                                                                                 \
        moe__rounding_default(&host_);                                                                       \
        statement;                                                                                           \
        moe__rounding_restore(&host_);                                                                       \
    } while (0)
#define MOE_RETURN_ROUNDED(call)                                                                             \
    do {                                                                                                     \
        int status_;                                                                                         \
        MOE_ROUNDED(status_ = (call));                                                                       \
        return status_;                                                                                      \
    } while (0)

#endif
