/* SPDX-License-Identifier: MIT */
/* See ../limits_os.h. Large pages take a right that few users have: the system's usual ones serve. */
#include "../limits_os.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

uint64_t os_free_memory(void)
{
    MEMORYSTATUSEX m = {.dwLength = sizeof m};
    return GlobalMemoryStatusEx(&m) ? m.ullAvailPhys : UINT64_MAX;
}

void *os_buffer(size_t n) { return VirtualAlloc(NULL, n, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE); }

void os_buffer_free(void *p, size_t n)
{
    (void)n;
    VirtualFree(p, 0, MEM_RELEASE);
}

struct member {
    void (*work)(void *arg, size_t i);
    void *arg;
    size_t i;
};

static unsigned __stdcall start(void *arg)
{
    const struct member *m = arg;
    m->work(m->arg, m->i);
    return 0;
}

bool os_run_team(void (*work)(void *arg, size_t i), void *arg, size_t n)
{
    HANDLE thread[OS_THREADS_MAX];
    struct member member[OS_THREADS_MAX];
    size_t started = 1;
    for (; started < n; started++) {
        member[started] = (struct member){work, arg, started};
        thread[started] = (HANDLE)_beginthreadex(NULL, 0, start, &member[started], 0, NULL);
        if (!thread[started]) break;
    }
    work(arg, 0);
    for (size_t i = 1; i < started; i++) {
        WaitForSingleObject(thread[i], INFINITE);
        CloseHandle(thread[i]);
    }
    return started == n;
}

/* The library has no tiles here either. */
bool os_allow_amx(void) { return false; }
