/* SPDX-License-Identifier: MIT */
/*
 * The text. A continuation goes in at the cursor, as one step of the text view's own undo; the page is
 * read-only while it comes. Two marks remember where each continuation stands, so that it can be taken back
 * later, after the user has written elsewhere.
 */
#include "window.h"

static void continuation_clear(void *p)
{
    struct continuation *c = p;
    GtkTextBuffer *text = gtk_text_mark_get_buffer(c->begin);
    gtk_text_buffer_delete_mark(text, c->begin);
    gtk_text_buffer_delete_mark(text, c->end);
}

static void fresh_colour(struct window *w, bool on)
{
    GtkTextIter a, b;
    gtk_text_buffer_get_bounds(w->text, &a, &b);
    if (on) gtk_text_buffer_get_iter_at_offset(w->text, &a, w->begin);
    if (on) gtk_text_buffer_get_iter_at_mark(w->text, &b, w->at);
    if (on)
        gtk_text_buffer_apply_tag_by_name(w->text, "fresh", &a, &b);
    else
        gtk_text_buffer_remove_tag_by_name(w->text, "fresh", &a, &b);
}

void page_continue(struct window *w)
{
    struct ask a = {0};
    GtkTextIter start, cursor;
    if (!w->ready || w->busy) return;
    gtk_text_buffer_get_start_iter(w->text, &start);
    gtk_text_buffer_get_iter_at_mark(w->text, &cursor, gtk_text_buffer_get_insert(w->text));
    panel_ask(&w->panel, &a);
    a.text = gtk_text_buffer_get_text(w->text, &start, &cursor, FALSE);
    fresh_colour(w, false);
    gtk_text_buffer_place_cursor(w->text, &cursor); /* nothing stays selected */
    gtk_text_buffer_move_mark(w->text, w->at, &cursor);
    w->begin = gtk_text_iter_get_offset(&cursor);
    w->n_tokens = 0;
    w->n_wanted = a.n_tokens;
    w->busy = true;
    w->stopping = false;
    gtk_text_view_set_editable(GTK_TEXT_VIEW(w->view), FALSE);
    gtk_text_buffer_begin_user_action(w->text);
    worker_generate(w->worker, &a); /* text and voice are its own now */
    window_state(w, "Reading the text…");
    window_update(w);
}

void page_add(struct window *w, const char *text)
{
    GtkTextIter at;
    char *valid = g_utf8_make_valid(text, -1);
    gtk_text_buffer_get_iter_at_mark(w->text, &at, w->at);
    gtk_text_buffer_insert_with_tags_by_name(w->text, &at, valid, -1, "fresh", NULL);
    gtk_text_view_scroll_to_mark(GTK_TEXT_VIEW(w->view), w->at, 0.05, FALSE, 0.0, 0.0);
    g_free(valid);
}

void page_done(struct window *w)
{
    GtkTextIter begin, end;
    gtk_text_view_set_editable(GTK_TEXT_VIEW(w->view), TRUE); /* first: undo looks at it */
    gtk_text_buffer_end_user_action(w->text);
    gtk_text_buffer_get_iter_at_offset(w->text, &begin, w->begin);
    gtk_text_buffer_get_iter_at_mark(w->text, &end, w->at);
    if (gtk_text_iter_compare(&begin, &end) < 0) {
        /* What is written before or behind it is not part of it: the marks move away from the text between.
         */
        const struct continuation c = {gtk_text_buffer_create_mark(w->text, NULL, &begin, FALSE),
                                       gtk_text_buffer_create_mark(w->text, NULL, &end, TRUE)};
        g_array_append_val(w->continuations, c);
        panel_next_seed(&w->panel);
    }
    w->busy = false;
}

void page_undo(struct window *w)
{
    GtkTextIter a, b;
    const guint n = w->continuations->len;
    if (w->busy || n == 0) return;
    const struct continuation c = g_array_index(w->continuations, struct continuation, n - 1);
    gtk_text_buffer_get_iter_at_mark(w->text, &a, c.begin);
    gtk_text_buffer_get_iter_at_mark(w->text, &b, c.end);
    if (gtk_text_iter_compare(&a, &b) < 0) {
        gtk_text_buffer_begin_user_action(w->text);
        gtk_text_buffer_delete(w->text, &a, &b);
        gtk_text_buffer_end_user_action(w->text);
        gtk_text_buffer_place_cursor(w->text, &a);
    }
    g_array_set_size(w->continuations, n - 1); /* deletes its marks */
    window_update(w);
}

void page_again(struct window *w)
{
    if (w->busy || w->continuations->len == 0) return;
    page_undo(w);
    page_continue(w);
}

void page_colours(struct window *w)
{
    GtkTextTag *fresh = gtk_text_tag_table_lookup(gtk_text_buffer_get_tag_table(w->text), "fresh");
    gboolean dark;
    g_object_get(gtk_settings_get_default(), "gtk-application-prefer-dark-theme", &dark, NULL);
    g_object_set(fresh, "foreground", dark ? "#8fcbff" : "#14508f", NULL);
}

static void show_hint(struct window *w)
{
    gtk_widget_set_visible(w->hint, gtk_text_buffer_get_char_count(w->text) == 0);
}

GtkWidget *page_build(struct window *w)
{
    GtkWidget *scroll = gtk_scrolled_window_new(), *overlay = gtk_overlay_new();
    GtkTextIter start;
    w->text = gtk_text_buffer_new(NULL);
    w->view = gtk_text_view_new_with_buffer(w->text);
    gtk_text_buffer_create_tag(w->text, "fresh", NULL);
    gtk_text_buffer_get_start_iter(w->text, &start);
    w->at = gtk_text_buffer_create_mark(w->text, NULL, &start, FALSE);
    w->continuations = g_array_new(FALSE, FALSE, sizeof(struct continuation));
    g_array_set_clear_func(w->continuations, continuation_clear);
    page_colours(w);
    gtk_widget_add_css_class(w->view, "page");
    gtk_text_view_set_wrap_mode(GTK_TEXT_VIEW(w->view), GTK_WRAP_WORD_CHAR);
    gtk_text_view_set_left_margin(GTK_TEXT_VIEW(w->view), 44);
    gtk_text_view_set_right_margin(GTK_TEXT_VIEW(w->view), 44);
    gtk_text_view_set_top_margin(GTK_TEXT_VIEW(w->view), 32);
    gtk_text_view_set_bottom_margin(GTK_TEXT_VIEW(w->view), 32);
    gtk_text_view_set_pixels_inside_wrap(GTK_TEXT_VIEW(w->view), 5);
    gtk_text_view_set_pixels_below_lines(GTK_TEXT_VIEW(w->view), 5);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scroll), w->view);
    w->hint = gtk_label_new("Write the beginning of something, then press Ctrl+Enter.");
    gtk_widget_add_css_class(w->hint, "hint");
    gtk_widget_set_halign(w->hint, GTK_ALIGN_START);
    gtk_widget_set_valign(w->hint, GTK_ALIGN_START);
    gtk_widget_set_can_target(w->hint, FALSE); /* clicks reach the page */
    gtk_label_set_wrap(GTK_LABEL(w->hint), TRUE);
    g_signal_connect_swapped(w->text, "changed", G_CALLBACK(show_hint), w);
    gtk_overlay_set_child(GTK_OVERLAY(overlay), scroll);
    gtk_overlay_add_overlay(GTK_OVERLAY(overlay), w->hint);
    gtk_widget_set_hexpand(overlay, TRUE);
    gtk_widget_set_vexpand(overlay, TRUE);
    return overlay;
}

void page_free(struct window *w)
{
    g_array_unref(w->continuations);
    g_object_unref(w->text); /* the marks go with it */
}
