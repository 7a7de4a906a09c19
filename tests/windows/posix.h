/* SPDX-License-Identifier: MIT */
/*
 * Included before the first line of every test program for Windows: the few POSIX calls that the tests make,
 * over what Windows has. Blocks of aligned_alloc() may be given to free() there, so the whole family is
 * exchanged; a member named free is renamed along with it, everywhere alike. Paths below /tmp lie on the
 * current drive.
 */
#ifndef TESTS_WINDOWS_POSIX_H
#define TESTS_WINDOWS_POSIX_H

#include <direct.h>
#include <io.h>
#include <malloc.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void *posix_malloc(size_t n);
void *posix_calloc(size_t count, size_t size);
void *posix_realloc(void *p, size_t n);
void *posix_aligned_alloc(size_t align, size_t n);
void posix_free(void *p);
#define malloc        posix_malloc
#define calloc        posix_calloc
#define realloc       posix_realloc
#define aligned_alloc posix_aligned_alloc
#define free          posix_free

/* Rounded once, as C wants it; that of mingw-w64 rounds twice. */
float posix_fmaf(float x, float y, float z);
#define fmaf posix_fmaf

/* The last six characters of the path, XXXXXX, become a name that was free. */
char *mkdtemp(char *path);
int posix_mkdir(const char *path, int mode);
#define mkdir posix_mkdir

#define _SC_PAGESIZE 1
long sysconf(int name);

#endif
