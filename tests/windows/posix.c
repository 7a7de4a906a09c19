/* SPDX-License-Identifier: MIT */
/* See posix.h and include/sys/mman.h. */
#include "posix.h"

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "../../src/base/fma.h"

void *posix_aligned_alloc(size_t align, size_t n) { return _aligned_malloc(n ? n : 1, align); }
void *posix_malloc(size_t n) { return posix_aligned_alloc(16, n); }
void *posix_realloc(void *p, size_t n) { return _aligned_realloc(p, n, 16); }
void posix_free(void *p) { _aligned_free(p); }

void *posix_calloc(size_t count, size_t size)
{
    if (size && count > SIZE_MAX / size) return NULL;
    void *p = posix_malloc(count * size);
    return p ? memset(p, 0, count * size) : NULL;
}

float posix_fmaf(float x, float y, float z) { return moe__fmaf_by_double(x, y, z); }

char *mkdtemp(char *path)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    char *end = path + strlen(path) - 6;
    ULONGLONG salt = GetTickCount64() * 2654435761u + GetCurrentProcessId();
    for (int i = 0; i < 100; i++, salt = salt * 6364136223846793005u + 1) {
        ULONGLONG x = salt >> 20;
        for (int k = 0; k < 6; k++, x /= 36) end[k] = letters[x % 36];
        if (_mkdir(path) == 0) return path;
        if (errno != EEXIST) break;
    }
    return NULL;
}

int posix_mkdir(const char *path, int mode)
{
    (void)mode;
    return _mkdir(path);
}

long sysconf(int name)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return name == _SC_PAGESIZE ? (long)info.dwPageSize : -1;
}

static DWORD page_access(int protection)
{
    if (protection & PROT_WRITE) return PAGE_READWRITE;
    return protection & PROT_READ ? PAGE_READONLY : PAGE_NOACCESS;
}

void *mmap(void *address, size_t n, int protection, int flags, int file, long long offset)
{
    if (address || !(flags & MAP_ANONYMOUS) || file != -1 || offset != 0) return MAP_FAILED;
    void *p = VirtualAlloc(NULL, n, MEM_RESERVE | MEM_COMMIT, page_access(protection));
    return p ? p : MAP_FAILED;
}

int mprotect(void *p, size_t n, int protection)
{
    DWORD old;
    return VirtualProtect(p, n, page_access(protection), &old) ? 0 : -1;
}
