/* SPDX-License-Identifier: MIT */
/* os_thread.h over Win32 threads. */
#include "base/os_thread.h"

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601
#endif
#include <process.h>
#include <windows.h>

_Static_assert(sizeof(moe__lock) == sizeof(SRWLOCK), "an SRWLOCK is one pointer");
_Static_assert(sizeof(moe__cond) == sizeof(CONDITION_VARIABLE), "a CONDITION_VARIABLE is one pointer");

static SRWLOCK *lock_of(moe__lock *l) { return (SRWLOCK *)(void *)l; }
static CONDITION_VARIABLE *cond_of(moe__cond *c) { return (CONDITION_VARIABLE *)(void *)c; }

int moe__lock_init(moe__lock *l) { InitializeSRWLock(lock_of(l)); return 0; }
int moe__cond_init(moe__cond *c) { InitializeConditionVariable(cond_of(c)); return 0; }
void moe__lock_destroy(moe__lock *l) { (void)l; }
void moe__cond_destroy(moe__cond *c) { (void)c; }
void moe__lock_enter(moe__lock *l) { AcquireSRWLockExclusive(lock_of(l)); }
void moe__lock_leave(moe__lock *l) { ReleaseSRWLockExclusive(lock_of(l)); }
void moe__cond_wait(moe__cond *c, moe__lock *l)
{
    SleepConditionVariableSRW(cond_of(c), lock_of(l), INFINITE, 0);
}
void moe__cond_wake_all(moe__cond *c) { WakeAllConditionVariable(cond_of(c)); }

static unsigned __stdcall thread_main(void *p)
{
    moe__thread *t = p;
    t->main(t->arg);
    return 0;
}

int moe__thread_start(moe__thread *t, void (*main)(void *arg), void *arg)
{
    t->main = main;
    t->arg = arg;
    const uintptr_t h = _beginthreadex(NULL, 0, thread_main, t, 0, NULL);
    if (h == 0) return -1;
    t->handle = (void *)h;
    return 0;
}

void moe__thread_join(moe__thread *t)
{
    WaitForSingleObject(t->handle, INFINITE);
    CloseHandle(t->handle);
}

void moe__thread_give_way(void) { SetThreadPriority(GetCurrentThread(), THREAD_PRIORITY_BELOW_NORMAL); }

uint32_t moe__os_cpu_count(void)
{
    DWORD_PTR mine = 0, all = 0;
    uint32_t n = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &mine, &all))
        for (; mine != 0; mine &= mine - 1) n++;
    /* A process that spans processor groups has no single mask: then (mask 0) all active processors count. */
    if (n == 0) n = (uint32_t)GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return n > 0 ? n : 1;
}

uint64_t moe__os_process_id(void) { return GetCurrentProcessId(); }

int moe__os_allow_amx(void) { return 0; } /* nobody has tried it here */
