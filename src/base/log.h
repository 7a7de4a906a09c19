/* SPDX-License-Identifier: MIT */
/* Log lines to the caller's logger. Without one nothing is formatted and nothing is said. */
#ifndef MOE_BASE_LOG_H
#define MOE_BASE_LOG_H

#include "base/status.h"

/* A copy of the caller's hook; write is NULL when silent. */
typedef struct moe__logger {
    int level;
    void (*write)(int level, const char *area, const char *msg, void *user);
    void *user;
} moe__logger;

/* Copies *l; NULL means silent. Level 0 is MOE_LOG_INFO. E_INVALID, E_VERSION. */
int moe__logger_init(moe__logger *out, const moe_logger *l);
/* Lines over 500 bytes are cut. */
void moe__log(const moe__logger *l, int level, const char *area, const char *fmt, ...) MOE_PRINTF(4, 5);

/* MOE_LOG(&logger, WARN, "gguf", "tensor %s ...", name): arguments are evaluated only if someone listens. */
#define MOE_LOG(l, LEVEL, area, ...) \
    do { \
        if ((l)->write && MOE_LOG_##LEVEL <= (l)->level) moe__log((l), MOE_LOG_##LEVEL, (area), __VA_ARGS__); \
    } while (0)

#endif
