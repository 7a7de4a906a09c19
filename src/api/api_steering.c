/* SPDX-License-Identifier: MIT */
/* Entry points of steering files: arguments are checked here, the work is in run/steer_*.c. */
#include "api/api.h"
#include "base/rounding.h"
#include "base/os.h"
#include "run/steer_io.h"

int moe_session_save_steering(const moe_session *s, moe_write_fn fn, void *user)
{
    moe__clear_error();
    MOE_ARG(s != NULL && fn != NULL);
    MOE_IDLE(s);
    MOE_RETURN_ROUNDED(moe__steering_save(s, fn, user));
}

int moe_session_load_steering(moe_session *s, const char *text, size_t n)
{
    moe__clear_error();
    MOE_ARG(s != NULL && (text != NULL || n == 0));
    MOE_IDLE(s);
    MOE_RETURN_ROUNDED(moe__steering_load(s, "steering", text ? text : "", n));
}

static int write_steering(const void *data, size_t n, void *user) { return moe__os_write(user, data, n); }

int moe_session_save_steering_file(const moe_session *s, const char *path)
{
    moe__clear_error();
    MOE_ARG(s != NULL && path != NULL);
    MOE_IDLE(s);
    moe__os_writer w = {0};
    MOE_TRY(moe__os_writer_open(&w, path, &s->m->alloc));
    const int st = moe__steering_save(s, write_steering, &w);
    if (st < 0) {
        moe__os_writer_cancel(&w);
        return st;
    }
    return moe__os_writer_commit(&w);
}

static int load_steering(moe_session *s, const moe__os_file *f, const char *path)
{
    char *text;
    if (f->length > MOE_JSON_BYTES_MAX)
        return MOE_FAIL(FORMAT, "%s: expected at most %zu bytes, found %llu", path, MOE_JSON_BYTES_MAX,
                        (unsigned long long)f->length);
    const size_t n = (size_t)f->length;
    MOE_TRY(moe__alloc(&s->m->alloc, (void **)&text, n, "steering file"));
    int st = moe__os_read_at(f, 0, text, n, path);
    if (st >= 0) st = moe__steering_load(s, path, text, n);
    moe__free(&s->m->alloc, text);
    return st;
}

int moe_session_load_steering_file(moe_session *s, const char *path)
{
    moe__clear_error();
    MOE_ARG(s != NULL && path != NULL);
    MOE_IDLE(s);
    moe__os_file f;
    MOE_TRY(moe__os_open(&f, path));
    const int st = load_steering(s, &f, path);
    moe__os_close(&f);
    return st;
}
