/* SPDX-License-Identifier: MIT */
/*
 * The narrow layer to the operating system's threads: start and join, a lock, a condition, a hint for spin
 * loops, and who may run where. os_thread_posix.c and os_thread_win32.c implement it. Only base/parallel*.c
 * and tests use it.
 */
#ifndef MOE_BASE_OS_THREAD_H
#define MOE_BASE_OS_THREAD_H

#include <stdint.h>

#ifdef _WIN32
typedef struct moe__lock { void *p; } moe__lock; /* an SRWLOCK */
typedef struct moe__cond { void *p; } moe__cond; /* a CONDITION_VARIABLE */
typedef struct moe__thread { void *handle; void (*main)(void *arg); void *arg; } moe__thread;
#else
#include <pthread.h>
typedef struct moe__lock { pthread_mutex_t m; } moe__lock;
typedef struct moe__cond { pthread_cond_t c; } moe__cond;
typedef struct moe__thread { pthread_t t; void (*main)(void *arg); void *arg; } moe__thread;
#endif

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#include <immintrin.h>
#define MOE_CPU_PAUSE() _mm_pause()
#elif defined(__aarch64__) && defined(__has_builtin)
#if __has_builtin(__builtin_arm_yield)
#define MOE_CPU_PAUSE() __builtin_arm_yield()
#endif
#endif
#ifndef MOE_CPU_PAUSE
#define MOE_CPU_PAUSE() ((void)0)
#endif

/* Both return 0, or -1 when the system has no room; destroy what was made. */
int moe__lock_init(moe__lock *l);
int moe__cond_init(moe__cond *c);
void moe__lock_destroy(moe__lock *l);
void moe__cond_destroy(moe__cond *c);
void moe__lock_enter(moe__lock *l);
void moe__lock_leave(moe__lock *l);
/* The lock is held before and after; may wake without cause. */
void moe__cond_wait(moe__cond *c, moe__lock *l);
void moe__cond_wake_all(moe__cond *c);

/*
 * Starts main(arg) on a thread that receives none of the process's signals; 0, or -1 when the system refuses.
 * *t must stay where it is until it is joined.
 */
int moe__thread_start(moe__thread *t, void (*main)(void *arg), void *arg);
void moe__thread_join(moe__thread *t);
/* Lowers the priority of the calling thread (Linux: nice + 10, Windows: below normal; elsewhere nothing). */
void moe__thread_give_way(void);

/* CPUs that this process may use: affinity mask and CPU quota respected, at least 1. */
uint32_t moe__os_cpu_count(void);
/*
 * May this process use the tile registers of AMX (MOE_CPU_AMX)? Linux wants to be asked, once per process and
 * for good; asking again is harmless. 0 where it refuses: an alternate signal stack may be too small for the
 * larger state.
 */
int moe__os_allow_amx(void);
/* Changes across fork, so that a child can tell that the parent's threads are not there. */
uint64_t moe__os_process_id(void);

#endif
