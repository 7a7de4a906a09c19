/* SPDX-License-Identifier: MIT */
/* The writing window. Its parts: window.c (actions, news, end), layout.c, page.c (the
 * text), files.c (dialogs). */
#ifndef DESKTOP_WINDOW_H
#define DESKTOP_WINDOW_H

#include "heatmap.h"
#include "panel.h"
#include "worker.h"

struct window {
    GtkWidget *win; /* GtkApplicationWindow; NULL once it is destroyed */
    GtkWidget *view;
    GtkTextBuffer *text;
    GtkWidget *banner, *banner_text;
    GtkWidget *model, *state, *rate, *spinner; /* status bar */
    struct panel panel;
    worker *worker; /* NULL once the window is closing */

    char *file;                  /* path of the text, or NULL */
    bool ready;                  /* a model is open */
    bool busy, stopping;         /* a continuation is under way; it was told to stop */
    bool sure;                   /* do not ask before closing */
    uint32_t asked, answered;    /* commands about model and steering, and how many of them were served */
    uint32_t n_tokens, n_wanted; /* of the continuation */

    GtkNativeDialog *dialog; /* asks for a file just now, or NULL */
    GtkWidget *hint;         /* on the empty page */

    GtkTextMark *at;       /* where its text goes */
    int begin;             /* where it began, in characters */
    GArray *continuations; /* of struct continuation: those that can be undone */
};

struct continuation {
    GtkTextMark *begin, *end;
};

struct window *window_new(GtkApplication *app);
void window_free(struct window *w); /* ends the worker */
void window_open_model(struct window *w, const char *path);
void window_error(struct window *w, const char *text);
void window_state(struct window *w, const char *text);
void window_update(struct window *w); /* title, and which actions are possible */

/* layout.c: everything in the window; cells of the heat map call `pressed` */
void layout_build(struct window *w, heatmap_pressed_fn pressed);

/* page.c: the text and its continuations */
GtkWidget *page_build(struct window *w);
void page_continue(struct window *w);
void page_add(struct window *w, const char *text);
void page_done(struct window *w);
void page_undo(struct window *w); /* the last continuation goes; the cursor stands where it began */
void page_again(struct window *w);
void page_free(struct window *w);
void page_colours(struct window *w); /* for a light or a dark theme */

/* files.c: asking for names, reading and writing. Failures are shown in the window. */
void files_ask(struct window *w, const char *action);
void files_ask_no_more(struct window *w); /* closes the dialog, if there is one */
bool files_open_text(struct window *w, const char *path);
bool files_save_text(struct window *w, const char *path);
void files_load_steering(struct window *w, const char *path);
void files_save_steering(struct window *w, const char *path);
bool files_screenshot(struct window *w, const char *path);

#endif
