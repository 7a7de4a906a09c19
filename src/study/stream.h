/* SPDX-License-Identifier: MIT */
/*
 * Bytes of profile and trace files: little-endian numbers, XXH64 over everything before the last 8 bytes.
 * Writing goes to a temporary sibling that takes the name when whole; reading checks every length against
 * what the file still has before memory is taken for it.
 */
#ifndef MOE_STUDY_STREAM_H
#define MOE_STUDY_STREAM_H

#include "base/hash.h"
#include "base/os.h"

#define MOE_STREAM_MAGIC 8u /* bytes */

typedef struct moe__out {
    moe__os_writer file;
    moe__hash hash;
} moe__out;

int moe__out_open(moe__out *o, const char *path, const moe__allocator *a);
int moe__out_data(moe__out *o, const void *data, size_t n);
/* Elements of 1, 2, 4 or 8 bytes in the file's order. */
int moe__out_array(moe__out *o, const void *data, size_t n, size_t size);
int moe__out_u32(moe__out *o, uint32_t x);
int moe__out_u64(moe__out *o, uint64_t x);
/* Ends the file: st < 0 removes what was written and returns st, else the sum is added. */
int moe__out_close(moe__out *o, int st);

typedef struct moe__in {
    moe__os_file file;
    const char *path; /* borrowed */
    const char *kind; /* "trace", "profile": for messages */
    uint64_t at;
    moe__hash hash;
} moe__in;

/* Opens and checks the first 8 bytes and the length that a head of `head` bytes and the sum need. */
int moe__in_open(moe__in *f, const char *path, const char *kind, const char *magic, uint64_t head);
/* Bytes left before the sum. */
uint64_t moe__in_left(const moe__in *f);
/* E_FORMAT unless count * size bytes are left. */
int moe__in_need(const moe__in *f, uint64_t count, uint64_t size, const char *what);
/* E_FORMAT if less is left. */
int moe__in_array(moe__in *f, void *dst, size_t n, size_t size);
int moe__in_u32(moe__in *f, uint32_t *x);
int moe__in_u64(moe__in *f, uint64_t *x);
/* Everything was read: the sum. */
int moe__in_sum(moe__in *f);
void moe__in_close(moe__in *f);

#endif
