/* SPDX-License-Identifier: MIT */
/* Colours and marks of the heat map, light and dark. */
#ifndef DESKTOP_PAINT_H
#define DESKTOP_PAINT_H

#include <gtk/gtk.h>
#include <stdbool.h>

struct paint_cell {
    double x, y, w, h; /* its place; a gap is left at the right and below */
    double share;      /* 0..1 */
    int use;           /* MOE_USE_* */
    bool speaks;       /* chosen for the last token */
    bool focus;        /* the keyboard is here */
};

/* Shares from here on all have the last colour. */
#define PAINT_FULL 0.6

bool paint_is_dark(GtkWidget *w); /* the theme's text is bright */
void paint_cell(cairo_t *cr, bool dark, const struct paint_cell *c);
/* Small text at (x, y), vertically centred; align 0: begins there, 0.5: centred, 1: ends there. Its width. */
double paint_text(GtkWidget *w, cairo_t *cr, double x, double y, double align, const char *text);

#endif
