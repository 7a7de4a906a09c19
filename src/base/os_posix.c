/* SPDX-License-Identifier: MIT */
/* See os.h: files, mappings and the clock on POSIX systems. */
#define _FILE_OFFSET_BITS 64
#define _DEFAULT_SOURCE   /* madvise */
#define _DARWIN_C_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/status.h"

#define CALL_MAX  ((size_t)1 << 30) /* one read or write; some systems refuse 2 GiB and more */
#define TMP_TRIES 100u

/* strerror_r comes in two kinds: the POSIX one returns 0 and fills buf, the GNU one returns the text. */
static const char *reason_posix(int failed, int err, char *buf, size_t cap)
{
    if (failed) snprintf(buf, cap, "error %d", err);
    return buf;
}

static const char *reason_gnu(const char *text, int err, char *buf, size_t cap)
{
    (void)err;
    (void)buf;
    (void)cap;
    return text;
}

/* The message of an errno value, at most in the caller's buffer (strerror is not thread-safe). */
static const char *reason(int err, char *buf, size_t cap)
{
    return _Generic(strerror_r(err, buf, cap), int
                    : reason_posix, default
                    : reason_gnu)(strerror_r(err, buf, cap), err, buf, cap);
}

static int io_fail(const char *path, const char *what, int err)
{
    char buf[128];
    return moe__fail(err == ENOENT || err == ENOTDIR ? MOE_E_NOTFOUND : MOE_E_IO, "%s: %s: %s", path, what,
                     reason(err, buf, sizeof buf));
}

int moe__os_open(moe__os_file *out, const char *path)
{
    struct stat sb;
    int fd;
    out->handle = -1;
    out->length = 0;
    do
        fd = open(path, O_RDONLY | O_CLOEXEC |
                            O_NONBLOCK); /* non-blocking: opening a pipe must not wait for a writer */
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return io_fail(path, "cannot open", errno);
    if (fstat(fd, &sb) != 0) {
        const int err = errno;
        close(fd);
        return io_fail(path, "cannot stat", err);
    }
    if (!S_ISREG(sb.st_mode)) {
        close(fd);
        return MOE_FAIL(IO, "%s: expected a regular file, found %s", path,
                        S_ISDIR(sb.st_mode) ? "a directory" : "a device or pipe");
    }
    out->handle = fd;
    out->length = (uint64_t)sb.st_size;
    return MOE_OK;
}

void moe__os_close(moe__os_file *f)
{
    if (f->handle >= 0) close((int)f->handle);
    f->handle = -1;
}

int moe__os_read_at(const moe__os_file *f, uint64_t off, void *dst, size_t n, const char *path)
{
    char *p = dst;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return MOE_FAIL(IO, "%s: offset %llu cannot be read", path, (unsigned long long)off);
    while (n > 0) {
        const ssize_t got = pread((int)f->handle, p, n < CALL_MAX ? n : CALL_MAX, (off_t)off);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return io_fail(path, "cannot read", errno);
        if (got == 0)
            return MOE_FAIL(IO, "%s: the file ends at offset %llu, expected %zu bytes more", path,
                            (unsigned long long)off, n);
        p += got;
        off += (uint64_t)got;
        n -= (size_t)got;
    }
    return MOE_OK;
}

/*
 * Asks for large pages: what is not in memory yet then comes from the disk 2 MiB at a time, and where the
 * file system has large folios it is mapped so too. Not for a file that takes more than 7/8 of memory: parts
 * that are not needed would push out others that are.
 */
static void map_large(void *p, size_t n)
{
#if defined MADV_HUGEPAGE && defined _SC_PHYS_PAGES
    const long pages = sysconf(_SC_PHYS_PAGES);
    if (pages > 0 && n / moe__os_page_size() < (size_t)pages / 8 * 7) (void)madvise(p, n, MADV_HUGEPAGE);
#else
    (void)p, (void)n;
#endif
}

int moe__os_map(const moe__os_file *f, const void **out, const char *path)
{
    *out = NULL;
    if (f->length == 0 || f->length > SIZE_MAX)
        return MOE_FAIL(UNSUPPORTED, "%s: %llu bytes cannot be mapped", path, (unsigned long long)f->length);
    void *p = mmap(NULL, (size_t)f->length, PROT_READ, MAP_SHARED, (int)f->handle, 0);
    if (p == MAP_FAILED) {
        const int err = errno;
        char buf[128];
        return MOE_FAIL(UNSUPPORTED, "%s: cannot map: %s", path, reason(err, buf, sizeof buf));
    }
    map_large(p, (size_t)f->length);
    *out = p;
    return MOE_OK;
}

void moe__os_unmap(const void *p, uint64_t length)
{
    /* munmap takes a pointer to non-const; the pages are not written. */
    if (p) munmap((void *)(uintptr_t)p, (size_t)length);
}

void moe__os_advise(const void *p, size_t n, int advice)
{
#ifdef MADV_HUGEPAGE
    static const int map[] = {0, MADV_WILLNEED, MADV_RANDOM, MADV_DONTNEED, MADV_HUGEPAGE};
#else
    static const int map[] = {0, MADV_WILLNEED, MADV_RANDOM, MADV_DONTNEED};
#endif
    const uintptr_t page = moe__os_page_size();
    uintptr_t lo = (uintptr_t)p, hi = lo + n;
    if (!p || n == 0 || advice < MOE_ADVISE_WILLNEED || (size_t)advice >= sizeof map / sizeof map[0]) return;
    if (advice >= MOE_ADVISE_DONTNEED) { /* whole pages only: the neighbours' bytes stay */
        lo = (lo + page - 1) & ~(page - 1);
        hi &= ~(page - 1);
    } else {
        lo &= ~(page - 1);
    }
    if (lo < hi) (void)madvise((void *)lo, hi - lo, map[advice]);
}

/* ------------------------------------------------------------------------------------------ atomic writer */

int moe__os_writer_open(moe__os_writer *w, const char *path, const moe__allocator *a)
{
    struct stat sb;
    void *p;
    memset(w, 0, sizeof *w);
    w->handle = -1;
    w->path = path;
    w->alloc = a;
    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode))
        return MOE_FAIL(IO, "%s: exists and is not a regular file", path);
    const size_t cap = strlen(path) + 48;
    MOE_TRY(moe__alloc(a, &p, cap, "temporary file name"));
    w->tmp = p;
    const unsigned long long salt = moe__os_now_ns();
    for (unsigned i = 0; i < TMP_TRIES; i++) {
        snprintf(w->tmp, cap, "%s.%lx-%llx.tmp", path, (unsigned long)getpid(), (salt + i) & 0xffffffffull);
        const int fd = open(w->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0) {
            w->handle = fd;
            return MOE_OK;
        }
        if (errno != EEXIST && errno != EINTR) break;
    }
    const int st = io_fail(path, "cannot create a temporary file beside it", errno);
    moe__free(a, w->tmp);
    w->tmp = NULL;
    return st;
}

int moe__os_write(moe__os_writer *w, const void *data, size_t n)
{
    const char *p = data;
    while (n > 0) {
        const ssize_t put = write((int)w->handle, p, n < CALL_MAX ? n : CALL_MAX);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return io_fail(w->path, "cannot write", put < 0 ? errno : EIO);
        p += put;
        n -= (size_t)put;
    }
    return MOE_OK;
}

int moe__os_write_at(moe__os_writer *w, uint64_t off, const void *data, size_t n)
{
    const char *p = data;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return MOE_FAIL(IO, "%s: offset %llu cannot be written", w->path, (unsigned long long)off);
    while (n > 0) {
        const ssize_t put = pwrite((int)w->handle, p, n < CALL_MAX ? n : CALL_MAX, (off_t)off);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return io_fail(w->path, "cannot write", put < 0 ? errno : EIO);
        p += put;
        off += (uint64_t)put;
        n -= (size_t)put;
    }
    return MOE_OK;
}

/* The rename itself reaches the disk only with the directory; a system that refuses this is no reason to
 * fail. */
static void sync_directory(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash && slash != path) *slash = '\0';
    const int fd = open(slash ? (slash == path ? "/" : path) : ".", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd);
    close(fd);
}

int moe__os_writer_commit(moe__os_writer *w)
{
    int err = 0;
    if (!w->tmp)
        return MOE_FAIL(INTERNAL, "%s: commit of a writer that is not open", w->path ? w->path : "?");
    if (fsync((int)w->handle) != 0 && errno != EINVAL && errno != ENOTSUP) err = errno;
    if (close((int)w->handle) != 0 && !err && errno != EINTR) err = errno;
    w->handle = -1;
    if (!err && rename(w->tmp, w->path) != 0) err = errno;
    if (err) {
        const int st = io_fail(w->path, "cannot finish writing", err);
        moe__os_writer_cancel(w);
        return st;
    }
    sync_directory(w->tmp);
    moe__free(w->alloc, w->tmp);
    w->tmp = NULL;
    return MOE_OK;
}

void moe__os_writer_cancel(moe__os_writer *w)
{
    if (!w->tmp) return;
    if (w->handle >= 0) close((int)w->handle);
    w->handle = -1;
    (void)unlink(w->tmp);
    moe__free(w->alloc, w->tmp);
    w->tmp = NULL;
}

/* -------------------------------------------------------------------------------------------- page, clock */

size_t moe__os_page_size(void)
{
    const long n = sysconf(_SC_PAGESIZE);
    return n > 0 ? (size_t)n : 4096;
}

uint64_t moe__os_now_ns(void)
{
    struct timespec ts;
    if (clock_gettime(CLOCK_MONOTONIC, &ts) != 0) return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}
