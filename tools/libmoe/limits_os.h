/* SPDX-License-Identifier: MIT */
/* What limits.c wants of the system: limits_os.c, and windows/limits_os.c in its place there. */
#ifndef LIMITS_OS_H
#define LIMITS_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Free memory in bytes; UINT64_MAX where the system does not tell. */
uint64_t os_free_memory(void);

/* Zeros, in large pages if the system is ready to give them; NULL if there are not so many. */
void *os_buffer(size_t n);
void os_buffer_free(void *p, size_t n);

/* Runs work(arg, 0 .. n-1), each in a thread of its own, 0 in the calling one. false: not so many threads. */
#define OS_THREADS_MAX 256
bool os_run_team(void (*work)(void *arg, size_t i), void *arg, size_t n);

/* Asks for the tile registers of AMX. */
bool os_allow_amx(void);

#endif
