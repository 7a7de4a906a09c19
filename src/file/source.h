/* SPDX-License-Identifier: MIT */
/*
 * Where the bytes of a model file come from: a mapped file, a file that is read, or the caller's functions.
 * One struct for all; the rest of the folder sees a length, maybe a mapping, and moe__source_read.
 */
#ifndef MOE_FILE_SOURCE_H
#define MOE_FILE_SOURCE_H

#include "base/alloc.h"
#include "base/os.h"
#include "moe/ext.h"

typedef struct moe__source moe__source;

/* What differs between kinds of sources. */
typedef struct moe__source_ops {
    int (*read_at)(const moe__source *s, uint64_t off, void *dst, size_t n); /* range already checked */
    void (*close)(moe__source *s);
} moe__source_ops;

struct moe__source {
    const moe__source_ops *ops; /* NULL: closed */
    const char *name;           /* for messages; borrowed, must outlive the source */
    uint64_t length;
    const unsigned char *map; /* the whole file, or NULL */
    moe__os_file os;
    moe_file user;
    void *user_data;
};

/* use_map = 0: never mapped; 1: mapped if the system can, else read. */
int moe__source_open_path(moe__source *s, const char *path, int use_map);
/* Takes the caller's functions over: close is called by moe__source_close, and on failure at once. f is a
 * full struct. */
int moe__source_open_user(moe__source *s, const moe_file *f, void *user, const char *name, int use_map);
void moe__source_close(moe__source *s);
/* Exactly n bytes; a range past the end is MOE_E_FORMAT. */
int moe__source_read(const moe__source *s, uint64_t off, void *dst, size_t n);

#endif
