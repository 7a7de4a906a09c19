/* SPDX-License-Identifier: MIT */
/*
 * The tool on Windows: included before the first line of each of its files. Gives the POSIX calls that the
 * tool makes over the wide-character ones of Windows, so that arguments, file names, the environment and the
 * console are UTF-8 everywhere in it. posix.c has the program's real main().
 */
#ifndef TOOL_WINDOWS_POSIX_H
#define TOOL_WINDOWS_POSIX_H

#include <io.h>
#include <process.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define main tool_main
int tool_main(int argc, char **argv);

FILE *tool_fopen(const char *path, const char *mode);
int tool_access(const char *path, int mode);
int tool_rename(const char *from, const char *to); /* replaces what is there */
int tool_remove(const char *path);
char *tool_getenv(const char *name); /* valid until the next call */
#define fopen  tool_fopen
#define access tool_access
#define rename tool_rename
#define remove tool_remove
#define getenv tool_getenv
#define fsync  _commit

/* What the tool looks at; st_dev and st_ino tell files apart. */
struct tool_stat {
    unsigned st_mode;
    int64_t st_size;
    uint64_t st_dev, st_ino;
};
int tool_stat(const char *path, struct tool_stat *out);
#undef stat /* of headers that know 64-bit sizes under another name */
#define stat tool_stat

/* The program's own path, whatever link is asked for; slashes lean forward. */
ssize_t tool_readlink(const char *link, char *dst, size_t size);
#define readlink tool_readlink

/* Lines end in "\n"; those of a console arrive as UTF-8. */
ssize_t tool_getline(char **line, size_t *cap, FILE *f);
#define getline tool_getline

int tool_isatty(int fd);
#define isatty tool_isatty

int tool_clock_gettime(int clock, struct timespec *t);
#define clock_gettime tool_clock_gettime

/* Ctrl-C and Ctrl-Break come as SIGINT; the signals that Windows lacks never come. */
#define SIGHUP  1
#define SIGPIPE 13
struct tool_sigaction {
    void (*sa_handler)(int number);
    int sa_mask;
};
int tool_sigaction(int number, const struct tool_sigaction *now, struct tool_sigaction *old);
#define sigaction         tool_sigaction
#define sigemptyset(mask) (*(mask) = 0)

#endif
