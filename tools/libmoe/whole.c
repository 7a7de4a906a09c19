/* SPDX-License-Identifier: MIT */
/* Written as NAME.part beside the goal and renamed at the end. */
#include "whole.h"
#include "out.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(struct whole *w, bool ok)
{
    if (!ok && !w->error) w->error = errno ? errno : EIO;
}

void whole_begin(struct whole *w, const char *path)
{
    struct stat st;
    memset(w, 0, sizeof *w);
    w->path = path;
    errno = 0;
    if (strcmp(path, "-") == 0) return;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        w->f = fopen(path, "wb");
    } else if (bytes_add_text(&w->part, path) && bytes_add_text(&w->part, ".part")) {
        w->f = fopen(w->part.v, "wb");
    }
    check(w, w->f != NULL);
}

void whole_write(struct whole *w, const void *data, size_t n)
{
    if (w->error) return;
    errno = 0;
    if (w->f)
        check(w, fwrite(data, 1, n, w->f) == n);
    else
        out_bytes(data, n);
}

int whole_write_fn(const void *data, size_t n, void *user)
{
    struct whole *w = user;
    whole_write(w, data, n);
    return w->error ? MOE_E_IO : 0;
}

bool whole_end(struct whole *w, bool ok)
{
    errno = 0;
    if (w->f) {
        if (ok) check(w, fflush(w->f) == 0 && (w->part.n == 0 || fsync(fileno(w->f)) == 0));
        check(w, fclose(w->f) == 0);
        if (w->part.n && ok && !w->error) check(w, rename(w->part.v, w->path) == 0);
        if (w->part.n && (!ok || w->error)) remove(w->part.v);
    }
    if (ok && w->error) complain("cannot write %s: %s", w->path, strerror(w->error));
    bytes_free(&w->part);
    w->f = NULL;
    return ok && !w->error;
}
