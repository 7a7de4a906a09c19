/* SPDX-License-Identifier: MIT */
/* Growing buffers and input. Text is bytes: nothing is checked or changed on the way to the tokenizer. */
#include "text.h"
#include "interrupt.h"
#include "term.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Room for `more` further elements of `size` bytes in *v; false after a message. */
static bool grow(void **v, size_t n, size_t *cap, size_t more, size_t size)
{
    size_t want = *cap ? *cap : 64;
    void *p;
    if (more <= *cap - n) return true;
    if (more > SIZE_MAX / size / 4 - n) goto full;
    while (want < n + more) want *= 2;
    p = realloc(*v, want * size);
    if (!p) goto full;
    *v = p;
    *cap = want;
    return true;
full:
    complain("out of memory");
    return false;
}

void bytes_free(struct bytes *b)
{
    free(b->v);
    b->v = NULL;
    b->n = b->cap = 0;
}

bool bytes_add(struct bytes *b, const char *data, size_t n)
{
    void *v = b->v;
    if (!grow(&v, b->n, &b->cap, n + 1, 1)) return false;
    b->v = v;
    if (n) memcpy(b->v + b->n, data, n);
    b->n += n;
    b->v[b->n] = '\0';
    return true;
}

bool bytes_add_text(struct bytes *b, const char *text) { return bytes_add(b, text, strlen(text)); }

void tokens_free(struct tokens *t)
{
    free(t->v);
    t->v = NULL;
    t->n = t->cap = 0;
}

static bool tokens_room(struct tokens *t, size_t n)
{
    void *v = t->v;
    if (!grow(&v, t->n, &t->cap, n, sizeof *t->v)) return false;
    t->v = v;
    return true;
}

bool tokens_add(struct tokens *t, const moe_token *ids, size_t n)
{
    if (!tokens_room(t, n)) return false;
    if (n) memcpy(t->v + t->n, ids, n * sizeof *ids);
    t->n += n;
    return true;
}

bool tokens_add_text(struct tokens *t, const moe_tokenizer *tok, const char *text, size_t n, uint32_t flags)
{
    size_t need = n / 3 + 16;
    int status;
    do {
        if (!tokens_room(t, need)) return false;
        status = moe_tokenizer_encode(tok, text ? text : "", n, flags, t->v + t->n, t->cap - t->n, &need);
    } while (status == MOE_E_BUFFER && need > t->cap - t->n);
    if (status != MOE_OK) {
        report(status, "cannot turn the text into tokens");
        return false;
    }
    t->n += need;
    return true;
}

bool bytes_add_token(struct bytes *b, const moe_tokenizer *tok, moe_stream *stream, moe_token id)
{
    size_t need = 64;
    int status;
    do {
        void *v = b->v;
        if (!grow(&v, b->n, &b->cap, need + 1, 1)) return false;
        b->v = v;
        status = moe_tokenizer_stream(tok, stream, id, b->v + b->n, b->cap - b->n - 1, &need);
    } while (status == MOE_E_BUFFER && need > b->cap - b->n - 1);
    if (status != MOE_OK) {
        report(status, "cannot turn token %ld into text", (long)id);
        return false;
    }
    b->n += need;
    b->v[b->n] = '\0';
    return true;
}

bool read_file(struct bytes *b, const char *path)
{
    const bool is_input = strcmp(path, "-") == 0;
    FILE *f = is_input ? stdin : fopen(path, "rb");
    bool ok = f != NULL;
    char part[16384];
    size_t n;
    errno = 0;
    while (ok && !interrupted() && (n = fread(part, 1, sizeof part, f)) > 0) ok = bytes_add(b, part, n);
    if (interrupted())
        complain("interrupted while reading");
    else if (!f || ferror(f))
        complain("cannot read %s: %s", is_input ? "standard input" : path, strerror(errno));
    ok = ok && !ferror(f) && !interrupted() && bytes_add(b, "", 0);
    if (f && !is_input) fclose(f);
    return ok;
}

bool read_prompt(struct bytes *b, const struct settings *s)
{
    if (s->file && s->n_args) {
        complain("a text and --file do not go together");
        return false;
    }
    if (s->file) return read_file(b, s->file);
    if (s->n_args == 0) return term_is(STDIN_FILENO) ? bytes_add(b, "", 0) : read_file(b, "-");
    if (s->n_args == 1 && strcmp(s->args[0], "-") == 0) return read_file(b, "-");
    for (int i = 0; i < s->n_args; i++)
        if ((i && !bytes_add(b, " ", 1)) || !bytes_add_text(b, s->args[i])) return false;
    return true;
}
