/* SPDX-License-Identifier: MIT */
/* Pages of memory with their protection, as the kernel tester wants them; see ../../posix.h. */
#ifndef TESTS_WINDOWS_MMAN_H
#define TESTS_WINDOWS_MMAN_H

#include <stddef.h>

#define PROT_NONE     0
#define PROT_READ     1
#define PROT_WRITE    2
#define MAP_PRIVATE   2
#define MAP_ANONYMOUS 0x20
#define MAP_FAILED    ((void *)-1)

/* Fresh pages alone: address and offset 0, no file. */
void *mmap(void *address, size_t n, int protection, int flags, int file, long long offset);
int mprotect(void *p, size_t n, int protection);

#endif
