/* SPDX-License-Identifier: MIT */
/* The narrow layer to the operating system: files, mappings, clock. os_posix.c and os_win32.c implement it;
 * paths are UTF-8. */
#ifndef MOE_BASE_OS_H
#define MOE_BASE_OS_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

typedef struct moe__os_file {
    intptr_t handle;
    uint64_t length;
} moe__os_file;

/* Opens for reading. MOE_E_IO / MOE_E_NOTFOUND with path and reason; directories and other non-files are
 * refused. */
int moe__os_open(moe__os_file *out, const char *path);
void moe__os_close(moe__os_file *f);
/* Reads exactly n bytes at off, whatever the system's limits per call. */
int moe__os_read_at(const moe__os_file *f, uint64_t off, void *dst, size_t n, const char *path);
/* Maps the whole file read-only, in large pages where the system has them and the file leaves an eighth of
 * memory free; *out NULL and MOE_E_UNSUPPORTED where there is no mapping. */
int moe__os_map(const moe__os_file *f, const void **out, const char *path);
void moe__os_unmap(const void *p, uint64_t length);
#define MOE_ADVISE_WILLNEED 1
#define MOE_ADVISE_RANDOM   2
#define MOE_ADVISE_DONTNEED 3
#define MOE_ADVISE_HUGE     4 /* large pages, for private memory that is about to be filled */
/* A hint about a part of a mapping or a large private block; never fails. */
void moe__os_advise(const void *p, size_t n, int advice);

/*
 * A file being written that appears under its name only when whole: a temporary sibling, then fsync and
 * rename. An existing regular file is replaced; anything else under that name is refused. A zeroed writer may
 * be cancelled.
 */
typedef struct moe__os_writer {
    intptr_t handle;
    char *tmp;                   /* owned; NULL when no file is under way */
    const char *path;            /* borrowed */
    const moe__allocator *alloc; /* borrowed */
} moe__os_writer;
int moe__os_writer_open(moe__os_writer *w, const char *path, const moe__allocator *a);
int moe__os_write(moe__os_writer *w, const void *data, size_t n);
int moe__os_write_at(moe__os_writer *w, uint64_t off, const void *data,
                     size_t n);                /* leaves the position of moe__os_write alone */
int moe__os_writer_commit(moe__os_writer *w);  /* on failure the temporary is gone */
void moe__os_writer_cancel(moe__os_writer *w); /* harmless after commit */

size_t moe__os_page_size(void);
uint64_t moe__os_now_ns(void); /* monotonic */

#endif
