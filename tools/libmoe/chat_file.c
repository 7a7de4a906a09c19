/* SPDX-License-Identifier: MIT */
/*
 * Conversations in memory and as files. Format, little endian: "moechat1"; u32 number of messages; per
 * message u32 length and bytes of role, then of text; u32 number of history tokens, i32 each; the stream of
 * moe_session_save(). Every length is checked against a limit before memory is taken.
 */
#include "chat.h"
#include "whole.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC        "moechat1"
#define MESSAGES_MAX 100000u
#define TEXT_MAX     (16u << 20)
#define HISTORY_MAX  (16u << 20)

bool talk_add(struct talk *t, const char *role, const char *text)
{
    struct said *grown = t->said;
    if (t->n == t->cap) {
        const size_t cap = t->cap ? 2 * t->cap : 8;
        grown = realloc(t->said, cap * sizeof *grown);
        if (!grown) goto full;
        t->said = grown;
        t->cap = cap;
    }
    grown[t->n].role = strdup(role);
    grown[t->n].text = strdup(text);
    if (!grown[t->n].role || !grown[t->n].text) {
        free(grown[t->n].role);
        free(grown[t->n].text);
        goto full;
    }
    t->n++;
    return true;
full:
    complain("out of memory");
    return false;
}

void talk_drop(struct talk *t)
{
    if (t->n == 0) return;
    t->n--;
    free(t->said[t->n].role);
    free(t->said[t->n].text);
}

void talk_clear(struct talk *t)
{
    while (t->n) talk_drop(t);
    free(t->said);
    t->said = NULL;
    t->cap = 0;
    tokens_free(&t->history);
}

/* ------------------------------------------------------------------------------------------------ writing */

static void write_u32(struct whole *w, size_t v)
{
    const unsigned char b[4] = {v & 255, (v >> 8) & 255, (v >> 16) & 255, (v >> 24) & 255};
    whole_write(w, b, 4);
}

static void write_text(struct whole *w, const char *text)
{
    const size_t n = strlen(text);
    write_u32(w, n);
    whole_write(w, text, n);
}

bool talk_save(const struct talk *t, const moe_session *s, const char *path)
{
    struct whole w;
    int status;
    whole_begin(&w, path);
    whole_write(&w, MAGIC, 8);
    write_u32(&w, t->n);
    for (size_t i = 0; i < t->n; i++) {
        write_text(&w, t->said[i].role);
        write_text(&w, t->said[i].text);
    }
    write_u32(&w, t->history.n);
    for (size_t i = 0; i < t->history.n; i++) write_u32(&w, (size_t)(uint32_t)t->history.v[i]);
    status = w.error ? MOE_OK : moe_session_save(s, whole_write_fn, &w);
    if (status != MOE_OK && !w.error) report(status, "cannot save to %s", path);
    return whole_end(&w, status == MOE_OK || w.error);
}

/* ------------------------------------------------------------------------------------------------ reading */

static int read_bytes(void *data, size_t n, void *user)
{
    return fread(data, 1, n, user) == n ? 0 : MOE_E_IO;
}

static bool read_u32(FILE *f, uint32_t max, uint32_t *out)
{
    unsigned char b[4];
    if (fread(b, 1, 4, f) != 4) return false;
    *out = (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    return *out <= max;
}

static bool read_text(FILE *f, struct bytes *b)
{
    char part[4096];
    uint32_t n;
    b->n = 0;
    if (!read_u32(f, TEXT_MAX, &n) || !bytes_add(b, "", 0)) return false;
    while (n) {
        const size_t want = n < sizeof part ? n : sizeof part;
        if (fread(part, 1, want, f) != want || memchr(part, 0, want) || !bytes_add(b, part, want))
            return false;
        n -= (uint32_t)want;
    }
    return true;
}

static bool read_talk(FILE *f, struct talk *t)
{
    struct bytes role = {NULL, 0, 0}, text = {NULL, 0, 0};
    char magic[8];
    uint32_t n = 0, v;
    bool ok = fread(magic, 1, 8, f) == 8 && memcmp(magic, MAGIC, 8) == 0 && read_u32(f, MESSAGES_MAX, &n);
    while (ok && n--) ok = read_text(f, &role) && read_text(f, &text) && talk_add(t, role.v, text.v);
    ok = ok && read_u32(f, HISTORY_MAX, &n);
    while (ok && n--) {
        moe_token id;
        ok = read_u32(f, INT32_MAX, &v);
        id = ok ? (moe_token)v : 0;
        ok = ok && tokens_add(&t->history, &id, 1);
    }
    bytes_free(&role);
    bytes_free(&text);
    return ok;
}

bool talk_load(struct talk *t, moe_session *s, const char *path)
{
    struct talk fresh = {NULL, 0, 0, {NULL, 0, 0}};
    FILE *f = fopen(path, "rb");
    int status;
    if (!f) {
        complain("cannot load %s: %s", path, strerror(errno));
        return false;
    }
    if (!read_talk(f, &fresh)) {
        complain("cannot load %s: it is no conversation, or a damaged one", path);
        goto fail;
    }
    status = moe_session_load(s, read_bytes, f);
    if (status != MOE_OK) {
        report(status, "cannot load %s", path);
        goto fail;
    }
    fclose(f);
    talk_clear(t);
    *t = fresh;
    return true;
fail:
    fclose(f);
    talk_clear(&fresh);
    return false;
}
