/* SPDX-License-Identifier: MIT */
/* Files that appear under their name only when they are whole. */
#ifndef WHOLE_H
#define WHOLE_H

#include "text.h"

#include <stdio.h>

struct whole {
    const char *path;
    FILE *f;
    struct bytes part; /* name while it is written; empty if it is written in place (a device, a pipe) */
    int error;         /* errno of the first failure */
};

/* "-" is standard output. On failure (told by whole_end) the rest does nothing. */
void whole_begin(struct whole *w, const char *path);
void whole_write(struct whole *w, const void *data, size_t n);
/* As a moe_write_fn; user is the struct whole. */
int whole_write_fn(const void *data, size_t n, void *user);
/* Gives the file its name if `ok` and nothing failed, else removes it and, unless !ok, says why. */
bool whole_end(struct whole *w, bool ok);

#endif
