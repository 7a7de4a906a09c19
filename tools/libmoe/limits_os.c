/* SPDX-License-Identifier: MIT */
/* See limits_os.h. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, MADV_HUGEPAGE, syscall */
#include "limits_os.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

uint64_t os_free_memory(void)
{
#if defined(_SC_AVPHYS_PAGES)
    const long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) return (uint64_t)pages * (uint64_t)page;
#endif
    return UINT64_MAX;
}

void *os_buffer(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
#if defined(MADV_HUGEPAGE)
    (void)madvise(p, n, MADV_HUGEPAGE);
#endif
    return p;
}

void os_buffer_free(void *p, size_t n) { munmap(p, n); }

struct member {
    void (*work)(void *arg, size_t i);
    void *arg;
    size_t i;
};

static void *start(void *arg)
{
    const struct member *m = arg;
    m->work(m->arg, m->i);
    return NULL;
}

bool os_run_team(void (*work)(void *arg, size_t i), void *arg, size_t n)
{
    pthread_t id[OS_THREADS_MAX];
    struct member member[OS_THREADS_MAX];
    size_t started = 1;
    for (; started < n; started++) {
        member[started] = (struct member){work, arg, started};
        if (pthread_create(&id[started], NULL, start, &member[started]) != 0) break;
    }
    work(arg, 0);
    for (size_t i = 1; i < started; i++) pthread_join(id[i], NULL);
    return started == n;
}

/* Linux lends the tile registers to processes that ask. */
bool os_allow_amx(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    return syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */) == 0;
#else
    return false;
#endif
}
