/* SPDX-License-Identifier: MIT */
/* See posix.h. Names that are no UTF-8 are not found; nothing here is used by several threads at once. */
#include "posix.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <shellapi.h>

#undef main

/* The wide form of a UTF-8 text, or NULL with errno; free() it. */
static wchar_t *widen(const char *text)
{
    const int n = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, NULL, 0);
    wchar_t *wide = n > 0 ? malloc((size_t)n * sizeof *wide) : NULL;
    if (wide && MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, text, -1, wide, n) == n) return wide;
    free(wide);
    errno = n > 0 ? ENOMEM : ENOENT;
    return NULL;
}

/* The UTF-8 form of n wide characters (-1: up to the zero), or NULL; free() it. */
static char *narrow(const wchar_t *wide, int n)
{
    const int size = WideCharToMultiByte(CP_UTF8, 0, wide, n, NULL, 0, NULL, NULL);
    char *text = size > 0 ? calloc((size_t)size + 1, 1) : NULL;
    if (text) WideCharToMultiByte(CP_UTF8, 0, wide, n, text, size, NULL, NULL);
    return text;
}

/* ---- files */

FILE *tool_fopen(const char *path, const char *mode)
{
    wchar_t *p = widen(path), *m = widen(mode);
    FILE *f = p && m ? _wfopen(p, m) : NULL;
    free(p);
    free(m);
    return f;
}

int tool_access(const char *path, int mode)
{
    wchar_t *p = widen(path);
    const int result = p ? _waccess(p, mode) : -1;
    free(p);
    return result;
}

int tool_remove(const char *path)
{
    wchar_t *p = widen(path);
    const int result = p ? _wremove(p) : -1;
    free(p);
    return result;
}

int tool_rename(const char *from, const char *to)
{
    wchar_t *a = widen(from), *b = widen(to);
    const int ok = a && b && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
    if (a && b && !ok) errno = EACCES;
    free(a);
    free(b);
    return ok ? 0 : -1;
}

int tool_stat(const char *path, struct tool_stat *out)
{
    BY_HANDLE_FILE_INFORMATION info;
    wchar_t *p = widen(path);
    if (!p) return -1;
    const HANDLE h = CreateFileW(p, 0, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL,
                                 OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    free(p);
    errno = ENOENT;
    if (h == INVALID_HANDLE_VALUE) return -1;
    const int is_disk = GetFileType(h) == FILE_TYPE_DISK,
              ok = is_disk && GetFileInformationByHandle(h, &info);
    CloseHandle(h);
    memset(out, 0, sizeof *out);
    out->st_mode = S_IFCHR;
    if (!is_disk) return 0;
    if (!ok) return -1;
    out->st_mode = info.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? S_IFDIR : S_IFREG;
    out->st_size = (int64_t)((uint64_t)info.nFileSizeHigh << 32 | info.nFileSizeLow);
    out->st_dev = info.dwVolumeSerialNumber;
    out->st_ino = (uint64_t)info.nFileIndexHigh << 32 | info.nFileIndexLow;
    return 0;
}

ssize_t tool_readlink(const char *link, char *dst, size_t size)
{
    static wchar_t path[32768];
    (void)link;
    const DWORD n = GetModuleFileNameW(NULL, path, sizeof path / sizeof *path);
    if (n == 0 || n >= sizeof path / sizeof *path) return -1;
    const int len = WideCharToMultiByte(CP_UTF8, 0, path, (int)n, dst, (int)size, NULL, NULL);
    for (int i = 0; i < len; i++)
        if (dst[i] == '\\') dst[i] = '/';
    return len > 0 ? len : -1;
}

char *tool_getenv(const char *name)
{
    static char *value;
    wchar_t *wide = widen(name);
    const wchar_t *found = wide ? _wgetenv(wide) : NULL;
    free(wide);
    free(value);
    value = found ? narrow(found, -1) : NULL;
    return value;
}

/* ---- console */

static HANDLE console_of(int fd) { return (HANDLE)_get_osfhandle(fd); }

int tool_isatty(int fd)
{
    DWORD mode;
    return GetConsoleMode(console_of(fd), &mode) != 0;
}

int ioctl(int fd, int request, struct winsize *out)
{
    CONSOLE_SCREEN_BUFFER_INFO info;
    if (request != TIOCGWINSZ || !GetConsoleScreenBufferInfo(console_of(fd), &info)) return -1;
    out->ws_col = info.srWindow.Right - info.srWindow.Left + 1;
    return 0;
}

/* A line of the console, up to 4095 characters; NULL at the end (Ctrl-Z) or when Ctrl-C ended the wait. */
static char *console_line(int fd)
{
    wchar_t wide[4096];
    DWORD n = 0;
    if (!ReadConsoleW(console_of(fd), wide, sizeof wide / sizeof *wide, &n, NULL) || n == 0 ||
        wide[0] == 0x1a)
        return NULL;
    return narrow(wide, (int)n);
}

static char *stream_line(FILE *f)
{
    size_t n = 0, cap = 0;
    char *line = NULL;
    for (int c; (c = getc(f)) != EOF;) {
        if (n + 1 >= cap) {
            char *more = realloc(line, cap = cap ? 2 * cap : 256);
            if (!more) break;
            line = more;
        }
        line[n++] = (char)c;
        line[n] = '\0';
        if (c == '\n') break;
    }
    return line;
}

ssize_t tool_getline(char **line, size_t *cap, FILE *f)
{
    free(*line);
    *line = tool_isatty(_fileno(f)) ? console_line(_fileno(f)) : stream_line(f);
    *cap = 0;
    if (!*line) return -1;
    size_t n = strlen(*line);
    if (n > 1 && (*line)[n - 2] == '\r') { /* before the '\n' */
        (*line)[n - 2] = '\n';
        (*line)[--n] = '\0';
    }
    return (ssize_t)n;
}

/* ---- clock, signals, start */

int tool_clock_gettime(int clock, struct timespec *t)
{
    LARGE_INTEGER now, frequency;
    if (clock == CLOCK_MONOTONIC) {
        QueryPerformanceCounter(&now);
        QueryPerformanceFrequency(&frequency);
        t->tv_sec = now.QuadPart / frequency.QuadPart;
        t->tv_nsec = (long)(now.QuadPart % frequency.QuadPart * 1000000000 / frequency.QuadPart);
        return 0;
    }
    FILETIME ft; /* units of 100 ns since 1601 */
    GetSystemTimeAsFileTime(&ft);
    const uint64_t units =
        ((uint64_t)ft.dwHighDateTime << 32 | ft.dwLowDateTime) - UINT64_C(116444736000000000);
    t->tv_sec = (time_t)(units / 10000000u);
    t->tv_nsec = (long)(units % 10000000u * 100u);
    return 0;
}

static void (*on_break)(int number);

static BOOL WINAPI console_event(DWORD event)
{
    if ((event != CTRL_C_EVENT && event != CTRL_BREAK_EVENT) || !on_break) return FALSE;
    on_break(SIGINT);
    return TRUE;
}

int tool_sigaction(int number, const struct tool_sigaction *now, struct tool_sigaction *old)
{
    if (old) old->sa_handler = SIG_DFL;
    if (now && number == SIGINT) {
        on_break = now->sa_handler;
        SetConsoleCtrlHandler(console_event, TRUE);
    } else if (now && number == SIGTERM) {
        signal(SIGTERM, now->sa_handler);
    }
    return 0;
}

/* Output goes out as it is made: UTF-8, line ends of one character, and sequences that erase a line. */
static void set_up_streams(void)
{
    DWORD mode;
    for (int fd = 0; fd <= 2; fd++) _setmode(fd, _O_BINARY);
    for (int fd = 1; fd <= 2; fd++)
        if (GetConsoleMode(console_of(fd), &mode)) {
            SetConsoleOutputCP(CP_UTF8);
            SetConsoleMode(console_of(fd), mode | ENABLE_VIRTUAL_TERMINAL_PROCESSING);
        }
}

int main(void)
{
    int argc = 0;
    wchar_t **wide = CommandLineToArgvW(GetCommandLineW(), &argc);
    char **argv = wide ? calloc((size_t)argc + 1, sizeof *argv) : NULL;
    if (!argv) return 1;
    for (int i = 0; i < argc; i++)
        if (!(argv[i] = narrow(wide[i], -1))) return 1;
    LocalFree(wide);
    set_up_streams();
    const int code = tool_main(argc, argv);
    fflush(NULL);
    for (int i = 0; i < argc; i++) free(argv[i]);
    free(argv);
    return code;
}
