/* SPDX-License-Identifier: MIT */
/* See os.h: files, mappings and the clock on Windows. Paths come in as UTF-8 and go to the wide-character
 * calls. */
#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0601 /* Windows 7 */
#endif
#include <windows.h>

#include "base/os.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"

#define CALL_MAX       ((size_t)1 << 30) /* one ReadFile or WriteFile takes 32 bits */
#define TMP_TRIES      100u
#define PATH_MAX_CHARS 32767 /* what the system itself allows */

static HANDLE handle_of(intptr_t h) { return (HANDLE)h; }

/* Errors worth words; the system's own text comes in the language of the user. */
static const struct {
    DWORD err;
    const char *text;
} reasons[] = {
    {ERROR_FILE_NOT_FOUND, "No such file"},
    {ERROR_PATH_NOT_FOUND, "No such directory"},
    {ERROR_INVALID_NAME, "Not a possible name"},
    {ERROR_ACCESS_DENIED, "Access denied"},
    {ERROR_SHARING_VIOLATION, "In use by another program"},
    {ERROR_USER_MAPPED_FILE, "In use as a mapped file"},
    {ERROR_WRITE_PROTECT, "Write-protected"},
    {ERROR_DISK_FULL, "Disk full"},
    {ERROR_HANDLE_DISK_FULL, "Disk full"},
    {ERROR_NOT_ENOUGH_MEMORY, "Out of memory"},
    {ERROR_COMMITMENT_LIMIT, "Out of memory"},
};

static const char *reason(DWORD err)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].err == err) return reasons[i].text;
    return "Refused by the system";
}

static int io_fail(const char *path, const char *what, DWORD err)
{
    const int missing = err == ERROR_FILE_NOT_FOUND || err == ERROR_PATH_NOT_FOUND;
    return moe__fail(missing ? MOE_E_NOTFOUND : MOE_E_IO, "%s: %s: %s (Windows error %lu)", path, what,
                     reason(err), (unsigned long)err);
}

static int map_fail(const char *path, DWORD err)
{
    return MOE_FAIL(UNSUPPORTED, "%s: cannot map: %s (Windows error %lu)", path, reason(err),
                    (unsigned long)err);
}

/* *out = the path as wide characters; free with moe__free. */
static int widen(const moe__allocator *a, const char *path, WCHAR **out)
{
    void *p;
    *out = NULL;
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    if (n <= 0 || n > PATH_MAX_CHARS) return MOE_FAIL(IO, "%s: not a valid UTF-8 path", path);
    MOE_TRY(moe__alloc_array(a, &p, (size_t)n, sizeof(WCHAR), "path"));
    *out = p;
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, *out, n) == n) return MOE_OK;
    moe__free(a, *out);
    *out = NULL;
    return MOE_FAIL(IO, "%s: not a valid UTF-8 path", path);
}

int moe__os_open(moe__os_file *out, const char *path)
{
    moe__allocator system;
    WCHAR *wide;
    LARGE_INTEGER size;
    out->handle = (intptr_t)INVALID_HANDLE_VALUE;
    out->length = 0;
    MOE_TRY(moe__allocator_init(&system, NULL));
    MOE_TRY(widen(&system, path, &wide));
    const HANDLE h = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, OPEN_EXISTING,
                                 FILE_ATTRIBUTE_NORMAL, NULL);
    const DWORD err = GetLastError();
    const DWORD attr = h == INVALID_HANDLE_VALUE ? GetFileAttributesW(wide) : 0;
    moe__free(&system, wide);
    if (attr != INVALID_FILE_ATTRIBUTES && (attr & FILE_ATTRIBUTE_DIRECTORY))
        return MOE_FAIL(IO, "%s: expected a regular file, found a directory", path);
    if (h == INVALID_HANDLE_VALUE) return io_fail(path, "cannot open", err);
    if (GetFileType(h) != FILE_TYPE_DISK) {
        CloseHandle(h);
        return MOE_FAIL(IO, "%s: expected a regular file, found a device or pipe", path);
    }
    if (!GetFileSizeEx(h, &size) || size.QuadPart < 0) {
        const DWORD why = GetLastError();
        CloseHandle(h);
        return io_fail(path, "cannot tell the size", why);
    }
    out->handle = (intptr_t)h;
    out->length = (uint64_t)size.QuadPart;
    return MOE_OK;
}

void moe__os_close(moe__os_file *f)
{
    const HANDLE h = handle_of(f->handle);
    if (h != INVALID_HANDLE_VALUE && h != NULL) CloseHandle(h);
    f->handle = (intptr_t)INVALID_HANDLE_VALUE;
}

static OVERLAPPED at_offset(uint64_t off)
{
    OVERLAPPED o;
    memset(&o, 0, sizeof o);
    o.Offset = (DWORD)(off & 0xffffffffu);
    o.OffsetHigh = (DWORD)(off >> 32);
    return o;
}

int moe__os_read_at(const moe__os_file *f, uint64_t off, void *dst, size_t n, const char *path)
{
    char *p = dst;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return MOE_FAIL(IO, "%s: offset %llu cannot be read", path, (unsigned long long)off);
    while (n > 0) {
        OVERLAPPED o = at_offset(off);
        DWORD got = 0;
        const BOOL ok = ReadFile(handle_of(f->handle), p, (DWORD)(n < CALL_MAX ? n : CALL_MAX), &got, &o);
        const DWORD err = ok ? ERROR_SUCCESS : GetLastError();
        if (!ok && err != ERROR_HANDLE_EOF) return io_fail(path, "cannot read", err);
        if (got == 0)
            return MOE_FAIL(IO, "%s: the file ends at offset %llu, expected %llu bytes more", path,
                            (unsigned long long)off, (unsigned long long)n);
        p += got;
        off += got;
        n -= got;
    }
    return MOE_OK;
}

int moe__os_map(const moe__os_file *f, const void **out, const char *path)
{
    *out = NULL;
    if (f->length == 0 || f->length > SIZE_MAX)
        return MOE_FAIL(UNSUPPORTED, "%s: %llu bytes cannot be mapped", path, (unsigned long long)f->length);
    const HANDLE m = CreateFileMappingW(handle_of(f->handle), NULL, PAGE_READONLY, 0, 0, NULL);
    if (!m) return map_fail(path, GetLastError());
    const void *p = MapViewOfFile(m, FILE_MAP_READ, 0, 0, (SIZE_T)f->length);
    const DWORD err = GetLastError();
    CloseHandle(m); /* the view keeps the mapping */
    if (!p) return map_fail(path, err);
    *out = p;
    return MOE_OK;
}

void moe__os_unmap(const void *p, uint64_t length)
{
    (void)length;
    if (p) UnmapViewOfFile(p);
}

/* Windows has no advice for parts of a mapped file that is worth its cost. */
void moe__os_advise(const void *p, size_t n, int advice)
{
    (void)p;
    (void)n;
    (void)advice;
}

/* ------------------------------------------------------------------------------------------ atomic writer */

/* CreateFileW or 0 over a path in UTF-8; *err receives the reason of a failure. */
static int create_new(const moe__allocator *a, const char *path, HANDLE *out, DWORD *err)
{
    WCHAR *wide;
    MOE_TRY(widen(a, path, &wide));
    *out = CreateFileW(wide, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_DELETE, NULL, CREATE_NEW,
                       FILE_ATTRIBUTE_NORMAL, NULL);
    *err = GetLastError();
    moe__free(a, wide);
    return MOE_OK;
}

static int check_target(const moe__allocator *a, const char *path)
{
    WCHAR *wide;
    MOE_TRY(widen(a, path, &wide));
    const DWORD attr = GetFileAttributesW(wide);
    moe__free(a, wide);
    if (attr != INVALID_FILE_ATTRIBUTES && (attr & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_DEVICE)))
        return MOE_FAIL(IO, "%s: exists and is not a regular file", path);
    return MOE_OK;
}

int moe__os_writer_open(moe__os_writer *w, const char *path, const moe__allocator *a)
{
    void *p;
    DWORD err = 0;
    memset(w, 0, sizeof *w);
    w->handle = (intptr_t)INVALID_HANDLE_VALUE;
    w->path = path;
    w->alloc = a;
    MOE_TRY(check_target(a, path));
    const size_t cap = strlen(path) + 48;
    MOE_TRY(moe__alloc(a, &p, cap, "temporary file name"));
    w->tmp = p;
    const unsigned long long salt = moe__os_now_ns();
    int st = MOE_OK;
    for (unsigned i = 0; i < TMP_TRIES; i++) {
        HANDLE h = INVALID_HANDLE_VALUE;
        snprintf(w->tmp, cap, "%s.%lx-%llx.tmp", path, (unsigned long)GetCurrentProcessId(),
                 (salt + i) & 0xffffffffull);
        st = create_new(a, w->tmp, &h, &err);
        if (st < 0) break;
        if (h != INVALID_HANDLE_VALUE) {
            w->handle = (intptr_t)h;
            return MOE_OK;
        }
        if (err != ERROR_FILE_EXISTS) break;
    }
    if (st >= 0) st = io_fail(path, "cannot create a temporary file beside it", err);
    moe__free(a, w->tmp);
    w->tmp = NULL;
    return st;
}

/* Writes at the file's position, or at *off. */
static int write_all(moe__os_writer *w, const char *p, size_t n, const uint64_t *off)
{
    uint64_t at = off ? *off : 0;
    while (n > 0) {
        OVERLAPPED o = at_offset(at);
        DWORD done = 0;
        if (!WriteFile(handle_of(w->handle), p, (DWORD)(n < CALL_MAX ? n : CALL_MAX), &done, off ? &o : NULL))
            return io_fail(w->path, "cannot write", GetLastError());
        if (done == 0) return io_fail(w->path, "cannot write", ERROR_DISK_FULL);
        p += done;
        at += done;
        n -= done;
    }
    return MOE_OK;
}

int moe__os_write(moe__os_writer *w, const void *data, size_t n) { return write_all(w, data, n, NULL); }

int moe__os_write_at(moe__os_writer *w, uint64_t off, const void *data, size_t n)
{
    LARGE_INTEGER zero, here;
    zero.QuadPart = 0;
    if (off > INT64_MAX || n > INT64_MAX - off)
        return MOE_FAIL(IO, "%s: offset %llu cannot be written", w->path, (unsigned long long)off);
    /* A write at an offset moves the position of a synchronous handle: it is put back. */
    if (!SetFilePointerEx(handle_of(w->handle), zero, &here, FILE_CURRENT))
        return io_fail(w->path, "cannot tell the position", GetLastError());
    MOE_TRY(write_all(w, data, n, &off));
    if (!SetFilePointerEx(handle_of(w->handle), here, NULL, FILE_BEGIN))
        return io_fail(w->path, "cannot set the position", GetLastError());
    return MOE_OK;
}

static int replace(moe__os_writer *w)
{
    WCHAR *from = NULL, *to = NULL;
    int st = widen(w->alloc, w->tmp, &from);
    if (st >= 0) st = widen(w->alloc, w->path, &to);
    if (st >= 0 && !MoveFileExW(from, to, MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH))
        st = io_fail(w->path, "cannot finish writing", GetLastError());
    moe__free(w->alloc, from);
    moe__free(w->alloc, to);
    return st;
}

int moe__os_writer_commit(moe__os_writer *w)
{
    int st = MOE_OK;
    if (!w->tmp)
        return MOE_FAIL(INTERNAL, "%s: commit of a writer that is not open", w->path ? w->path : "?");
    if (!FlushFileBuffers(handle_of(w->handle)))
        st = io_fail(w->path, "cannot finish writing", GetLastError());
    CloseHandle(handle_of(w->handle));
    w->handle = (intptr_t)INVALID_HANDLE_VALUE;
    if (st >= 0) st = replace(w);
    if (st < 0) {
        moe__os_writer_cancel(w);
        return st;
    }
    moe__free(w->alloc, w->tmp);
    w->tmp = NULL;
    return MOE_OK;
}

void moe__os_writer_cancel(moe__os_writer *w)
{
    WCHAR *wide;
    moe__allocator system;
    if (!w->tmp) return;
    if (handle_of(w->handle) != INVALID_HANDLE_VALUE) CloseHandle(handle_of(w->handle));
    w->handle = (intptr_t)INVALID_HANDLE_VALUE;
    /* The caller's memory may be what failed: the name is widened with the system's. */
    if (moe__allocator_init(&system, NULL) >= 0 && widen(&system, w->tmp, &wide) >= 0) {
        DeleteFileW(wide);
        moe__free(&system, wide);
    }
    moe__free(w->alloc, w->tmp);
    w->tmp = NULL;
}

/* -------------------------------------------------------------------------------------------- page, clock */

size_t moe__os_page_size(void)
{
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return info.dwPageSize;
}

uint64_t moe__os_now_ns(void)
{
    LARGE_INTEGER now, frequency;
    if (!QueryPerformanceCounter(&now) || !QueryPerformanceFrequency(&frequency)) return 0;
    const uint64_t t = (uint64_t)now.QuadPart, f = (uint64_t)frequency.QuadPart;
    return t / f * 1000000000u + t % f * 1000000000u / f;
}
