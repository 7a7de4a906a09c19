/* SPDX-License-Identifier: MIT */
/* Reading lines. A signal ends the wait (its handler is installed without SA_RESTART). */
#include "line.h"
#include "interrupt.h"
#include "out.h"
#include "term.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_LIBEDIT
#include <histedit.h>
#include <locale.h>
#endif

struct line_reader {
    bool is_terminal;
    const char *prompt;
    char *buffer; /* of getline */
    size_t cap;
#ifdef HAVE_LIBEDIT
    EditLine *edit;
    History *history;
#endif
};

#ifdef HAVE_LIBEDIT
static char *edit_prompt(EditLine *edit)
{
    void *data = NULL;
    static char none[1] = "", first[] = "> ", next[] = ". ";
    struct line_reader *r;
    el_get(edit, EL_CLIENTDATA, &data);
    r = data;
    return !r ? none : r->prompt[0] == '>' ? first : next;
}

/* On failure the reader stays plain. */
static void edit_open(struct line_reader *r)
{
    HistEvent event;
    setlocale(LC_CTYPE, ""); /* for the width of characters; numbers keep their point */
    r->edit = el_init("libmoe", stdin, stdout, stderr);
    r->history = history_init();
    if (!r->edit || !r->history) return;
    history(r->history, &event, H_SETSIZE, 500);
    history(r->history, &event, H_SETUNIQUE, 1);
    el_set(r->edit, EL_CLIENTDATA, r);
    el_set(r->edit, EL_PROMPT, edit_prompt);
    el_set(r->edit, EL_EDITOR, "emacs");
    el_set(r->edit, EL_HIST, history, r->history);
    el_set(r->edit, EL_SIGNAL, 0);
    el_source(r->edit, NULL);
}

static const char *edit_read(struct line_reader *r, size_t *n)
{
    HistEvent event;
    int count = 0;
    const char *line;
    errno = 0;
    line = el_gets(r->edit, &count);
    if (!line || count <= 0) return NULL;
    *n = (size_t)count;
    if (count > 1) history(r->history, &event, H_ENTER, line);
    return line;
}
#endif

struct line_reader *line_open(void)
{
    struct line_reader *r = calloc(1, sizeof *r);
    if (!r) {
        complain("out of memory");
        return NULL;
    }
    r->is_terminal = term_is(STDIN_FILENO);
    r->prompt = "> ";
#ifdef HAVE_LIBEDIT
    if (r->is_terminal && term_is(STDOUT_FILENO)) edit_open(r);
#endif
    return r;
}

void line_close(struct line_reader *r)
{
    if (!r) return;
#ifdef HAVE_LIBEDIT
    if (r->history) history_end(r->history);
    if (r->edit) el_end(r->edit);
#endif
    free(r->buffer);
    free(r);
}

static const char *plain_read(struct line_reader *r, size_t *n)
{
    ssize_t got;
    if (r->is_terminal && term_is(STDOUT_FILENO)) {
        out_text(r->prompt);
        out_flush();
    }
    errno = 0;
    got = getline(&r->buffer, &r->cap, stdin);
    if (got < 0) return NULL;
    *n = (size_t)got;
    return r->buffer;
}

static const char *read_one(struct line_reader *r, size_t *n)
{
#ifdef HAVE_LIBEDIT
    if (r->edit && r->history) return edit_read(r, n);
#endif
    return plain_read(r, n);
}

enum line_result line_read(struct line_reader *r, struct bytes *out)
{
    out->n = 0;
    r->prompt = "> ";
    for (;;) {
        size_t n = 0;
        const char *line = interrupted() ? NULL : read_one(r, &n);
        if (interrupted()) {
            clearerr(stdin);
            return LINE_INTERRUPTED;
        }
        if (!line) return out->n ? LINE_OK : LINE_END;
        if (n && line[n - 1] == '\n') n--;
        if (!bytes_add(out, line, n)) return LINE_FAILED;
        if (n == 0 || line[n - 1] != '\\') return LINE_OK;
        out->v[out->n - 1] = '\n';
        r->prompt = ". ";
    }
}
