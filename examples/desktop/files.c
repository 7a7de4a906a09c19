/* SPDX-License-Identifier: MIT */
/* Dialogs that ask for files, and reading and writing the text. Failures are shown in the window. */
#include "window.h"

#include <string.h>

static void failure(struct window *w, const char *what, const char *path, const char *why)
{
    char *text = g_strdup_printf("%s %s: %s", what, path, why);
    window_error(w, text);
    g_free(text);
}

static void set_file(struct window *w, const char *path)
{
    char *copy = g_strdup(path); /* path may be w->file itself */
    g_free(w->file);
    w->file = copy;
    gtk_text_buffer_set_modified(w->text, FALSE);
    window_update(w);
}

bool files_open_text(struct window *w, const char *path)
{
    char *text = NULL;
    gsize len = 0;
    GError *e = NULL;
    GtkTextIter end;
    if (w->busy) return false;
    if (!g_file_get_contents(path, &text, &len, &e)) {
        failure(w, "Cannot open", path, e->message);
        g_error_free(e);
        return false;
    }
    if (len > G_MAXINT || !g_utf8_validate(text, (gssize)len, NULL)) { /* zero bytes are not valid either */
        failure(w, "Cannot open", path, "it is not a text in UTF-8");
        g_free(text);
        return false;
    }
    g_array_set_size(w->continuations, 0);
    gtk_text_buffer_set_text(w->text, text, (int)len);
    gtk_text_buffer_get_end_iter(w->text, &end);
    gtk_text_buffer_place_cursor(w->text, &end);
    set_file(w, path);
    g_free(text);
    return true;
}

bool files_save_text(struct window *w, const char *path)
{
    GtkTextIter a, b;
    GError *e = NULL;
    char *text;
    bool good;
    gtk_text_buffer_get_bounds(w->text, &a, &b);
    text = gtk_text_buffer_get_text(w->text, &a, &b, FALSE);
    good = g_file_set_contents(path, text, -1, &e); /* the old file stays until the new one is whole */
    g_free(text);
    if (good) {
        set_file(w, path);
        window_state(w, "Saved");
    } else {
        failure(w, "Cannot save", path, e->message);
        g_error_free(e);
    }
    return good;
}

void files_load_steering(struct window *w, const char *path)
{
    w->asked++;
    worker_load_steering(w->worker, path);
}

void files_save_steering(struct window *w, const char *path)
{
    w->asked++;
    worker_save_steering(w->worker, path);
}

bool files_screenshot(struct window *w, const char *path)
{
    const int width = gtk_widget_get_width(w->win), height = gtk_widget_get_height(w->win);
    GdkPaintable *paintable = gtk_widget_paintable_new(w->win);
    GtkSnapshot *snapshot = gtk_snapshot_new();
    GskRenderer *renderer = gtk_native_get_renderer(GTK_NATIVE(w->win));
    GskRenderNode *node;
    GdkTexture *texture = NULL;
    bool good = false;
    gdk_paintable_snapshot(paintable, snapshot, width, height);
    node = gtk_snapshot_free_to_node(snapshot);
    if (node && renderer) texture = gsk_renderer_render_texture(renderer, node, NULL);
    if (texture) good = gdk_texture_save_to_png(texture, path);
    g_clear_object(&texture);
    g_clear_pointer(&node, gsk_render_node_unref);
    g_object_unref(paintable);
    return good;
}

/* ---------------------------------------------------------------------------------------------- dialogs */

static void open_text(struct window *w, const char *path) { (void)files_open_text(w, path); }
static void save_text(struct window *w, const char *path) { (void)files_save_text(w, path); }

static const struct dialog {
    const char *action, *title, *button, *pattern, *name;
    GtkFileChooserAction kind;
    void (*use)(struct window *w, const char *path);
} dialogs[] = {
    {"open", "Open a text", "Open", NULL, NULL, GTK_FILE_CHOOSER_ACTION_OPEN, open_text},
    {"save-as", "Save the text", "Save", NULL, "text.txt", GTK_FILE_CHOOSER_ACTION_SAVE, save_text},
    {"open-model", "Open a model", "Open", "*.gguf", NULL, GTK_FILE_CHOOSER_ACTION_OPEN, window_open_model},
    {"load-steering", "Load steering", "Load", "*.json", NULL, GTK_FILE_CHOOSER_ACTION_OPEN,
     files_load_steering},
    {"save-steering", "Save steering", "Save", "*.json", "steering.json", GTK_FILE_CHOOSER_ACTION_SAVE,
     files_save_steering},
};

static void chosen(GtkNativeDialog *native, int answer, void *user)
{
    struct window *w = user;
    const struct dialog *d = g_object_get_data(G_OBJECT(native), "dialog");
    if (answer == GTK_RESPONSE_ACCEPT && w->worker) {
        GFile *file = gtk_file_chooser_get_file(GTK_FILE_CHOOSER(native));
        char *path = file ? g_file_get_path(file) : NULL;
        if (path)
            d->use(w, path);
        else
            window_error(w, "Only files of this computer can be used.");
        g_free(path);
        g_clear_object(&file);
    }
    files_ask_no_more(w);
}

void files_ask_no_more(struct window *w)
{
    GtkNativeDialog *d = w->dialog;
    w->dialog = NULL;
    if (d) gtk_native_dialog_destroy(d);
    g_clear_object(&d);
}

/* Asks for the file that an action wants. */
void files_ask(struct window *w, const char *action)
{
    const struct dialog *d = dialogs;
    GtkFileChooserNative *native;
    while (strcmp(d->action, action) != 0) d++;
    files_ask_no_more(w);
    native = gtk_file_chooser_native_new(d->title, GTK_WINDOW(w->win), d->kind, d->button, NULL);
    gtk_native_dialog_set_modal(GTK_NATIVE_DIALOG(native), TRUE);
    if (d->name) gtk_file_chooser_set_current_name(GTK_FILE_CHOOSER(native), d->name);
    if (d->pattern) {
        GtkFileFilter *filter = gtk_file_filter_new();
        gtk_file_filter_add_pattern(filter, d->pattern);
        gtk_file_filter_set_name(filter, d->pattern);
        gtk_file_chooser_add_filter(GTK_FILE_CHOOSER(native), filter);
        g_object_unref(filter);
    }
    g_object_set_data(G_OBJECT(native), "dialog", (void *)(uintptr_t)d);
    g_signal_connect(native, "response", G_CALLBACK(chosen), w);
    w->dialog = GTK_NATIVE_DIALOG(native);
    gtk_native_dialog_show(GTK_NATIVE_DIALOG(native));
}
