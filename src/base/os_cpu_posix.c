/* SPDX-License-Identifier: MIT */
/*
 * moe__os_cpu_count and moe__os_allow_amx on POSIX. The count: the affinity mask of the calling thread (Linux; elsewhere the CPUs on line),
 * lowered to the CPU quota of the control groups the process is in. Sources: sched_setaffinity(2),
 * cgroups(7), the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max) and scheduler/sched-bwc.rst
 * (cpu.cfs_quota_us), arch/x86/xstate.rst.
 */
#ifdef __linux__
#define _GNU_SOURCE /* sched_getaffinity, syscall */
#elif defined(__APPLE__)
#define _DARWIN_C_SOURCE /* _SC_NPROCESSORS_ONLN */
#endif
#include "base/os_thread.h"

#include <unistd.h>

static uint32_t online_cpus(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n < 65536 ? (uint32_t)n : 1;
}

#ifdef __linux__
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define PATH_BYTES 1024
#define NO_LIMIT UINT32_MAX

/* Decimal number at s; 0 when there is none (then no limit follows from it). */
static uint64_t number(const char *s)
{
    uint64_t x = 0;
    while (*s == ' ') s++;
    for (; *s >= '0' && *s <= '9' && x < UINT64_MAX / 16; s++) x = 10 * x + (uint64_t)(*s - '0');
    return x;
}

/* First line of dir + path + file without its end; 0 when it cannot be read. */
static int read_line(char *line, size_t cap, const char *dir, const char *path, const char *file)
{
    char name[PATH_BYTES + 128];
    const int len = snprintf(name, sizeof name, "%s%s/%s", dir, path, file);
    if (len < 0 || (size_t)len >= sizeof name) return 0;
    FILE *f = fopen(name, "r");
    if (!f) return 0;
    const int ok = fgets(line, (int)cap, f) != NULL;
    fclose(f);
    if (ok) line[strcspn(line, "\n")] = '\0';
    return ok;
}

/* CPUs of one group's quota: microseconds of CPU per period, rounded up. */
static uint32_t quota_cpus(uint64_t quota, uint64_t period)
{
    if (quota == 0 || period == 0) return NO_LIMIT;
    const uint64_t n = quota / period + (quota % period != 0);
    return n < NO_LIMIT ? (uint32_t)n : NO_LIMIT;
}

static uint32_t group_v2(const char *path)
{
    char line[128]; /* "max 100000" or "150000 100000" */
    if (!read_line(line, sizeof line, "/sys/fs/cgroup", path, "cpu.max")) return NO_LIMIT;
    const char *gap = strchr(line, ' ');
    return gap && line[0] != 'm' ? quota_cpus(number(line), number(gap)) : NO_LIMIT;
}

static uint32_t group_v1(const char *path)
{
    char quota[64], period[64];
    if (!read_line(quota, sizeof quota, "/sys/fs/cgroup/cpu", path, "cpu.cfs_quota_us") || quota[0] == '-' ||
        !read_line(period, sizeof period, "/sys/fs/cgroup/cpu", path, "cpu.cfs_period_us"))
        return NO_LIMIT;
    return quota_cpus(number(quota), number(period));
}

/*
 * The tightest quota from the group up to the root. Inside a container the path may be the host's and not
 * exist here; the walk then still ends at the container's own root.
 */
static uint32_t walk(char *path, uint32_t (*group)(const char *path))
{
    uint32_t best = NO_LIMIT;
    for (;;) {
        const uint32_t n = group(path);
        if (n < best) best = n;
        char *slash = strrchr(path, '/');
        if (!slash) return best;
        *slash = '\0';
    }
}

/* Is `cpu` one of the comma-separated controllers? */
static int has_cpu(const char *list)
{
    for (const char *s = list; *s;) {
        const size_t n = strcspn(s, ",");
        if (n == 3 && memcmp(s, "cpu", 3) == 0) return 1;
        s += n + (s[n] == ',');
    }
    return 0;
}

/* Lines of /proc/self/cgroup are id:controllers:path; version 2 has id 0 and no controllers. */
static uint32_t cgroup_limit(void)
{
    char line[PATH_BYTES];
    uint32_t best = NO_LIMIT;
    FILE *f = fopen("/proc/self/cgroup", "r");
    if (!f) return best;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *list = strchr(line, ':');
        char *path = list ? strchr(list + 1, ':') : NULL;
        if (!path) continue;
        *path++ = '\0';
        list++;
        uint32_t n = NO_LIMIT;
        if (*list == '\0') n = walk(path, group_v2);
        else if (has_cpu(list)) n = walk(path, group_v1);
        if (n < best) best = n;
    }
    fclose(f);
    return best;
}

static uint32_t affinity_cpus(void)
{
    cpu_set_t set[64]; /* 65536 CPUs; the kernel refuses a mask smaller than its own */
    const int n = sched_getaffinity(0, sizeof set, set) == 0 ? CPU_COUNT_S(sizeof set, set) : 0;
    return n > 0 ? (uint32_t)n : online_cpus();
}

uint32_t moe__os_cpu_count(void)
{
    const uint32_t mine = affinity_cpus(), limit = cgroup_limit();
    return limit < mine ? limit : mine;
}
#else
uint32_t moe__os_cpu_count(void) { return online_cpus(); }
#endif

#if defined(__linux__) && defined(__x86_64__) && defined(__LP64__)
#include <sys/syscall.h>

#define ARCH_REQ_XCOMP_PERM 0x1023 /* asm/prctl.h, which may be older */
#define XFEATURE_XTILEDATA  18

int moe__os_allow_amx(void) { return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0; }
#else
int moe__os_allow_amx(void) { return 0; }
#endif
