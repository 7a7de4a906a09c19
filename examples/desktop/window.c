/* SPDX-License-Identifier: MIT */
/* The window's layout, its actions, and what becomes of the worker's news. See window.h. */
#include "window.h"
#include "heatmap.h"

#include <string.h>

/* ----------------------------------------------------------------------------------------------- saying */

void window_state(struct window *w, const char *text) { gtk_label_set_text(GTK_LABEL(w->state), text); }

void window_error(struct window *w, const char *text)
{
    gtk_label_set_text(GTK_LABEL(w->banner_text), text ? text : "");
    gtk_revealer_set_reveal_child(GTK_REVEALER(w->banner), text != NULL);
}

static void enable(struct window *w, const char *name, bool on)
{
    GAction *a = g_action_map_lookup_action(G_ACTION_MAP(w->win), name);
    g_simple_action_set_enabled(G_SIMPLE_ACTION(a), on);
}

void window_update(struct window *w)
{
    const bool undo = !w->busy && w->continuations->len > 0;
    char *name = w->file ? g_path_get_basename(w->file) : g_strdup("Untitled");
    char *title = g_strdup_printf("%s%s", gtk_text_buffer_get_modified(w->text) ? "• " : "", name);
    gtk_window_set_title(GTK_WINDOW(w->win), title);
    g_free(title);
    g_free(name);
    enable(w, "continue", w->ready && !w->busy);
    enable(w, "stop", w->busy && !w->stopping);
    enable(w, "undo", undo);
    enable(w, "again", undo && w->ready);
    enable(w, "open", !w->busy);
    enable(w, "reset", w->ready);
    enable(w, "routing", w->ready);
    enable(w, "load-steering", w->ready);
    enable(w, "save-steering", w->ready);
    gtk_spinner_set_spinning(GTK_SPINNER(w->spinner), w->busy || w->asked != w->answered);
}

static void show_rate(struct window *w, double rate)
{
    char *text = rate > 0.0 ? g_strdup_printf("%.*f tokens/s", rate < 10.0 ? 1 : 0, rate) : g_strdup("");
    gtk_label_set_text(GTK_LABEL(w->rate), text);
    g_free(text);
}

static void show_count(struct window *w, const struct news *n, bool done)
{
    char *text;
    w->n_tokens = n->n_tokens;
    if (!done)
        text = g_strdup_printf("Writing: %u of %u tokens", n->n_tokens, w->n_wanted);
    else if (n->text)
        text = g_strdup_printf("%u tokens: %s", n->n_tokens, n->text);
    else
        text = g_strdup_printf("%s %u tokens", w->stopping ? "Stopped after" : "Wrote", n->n_tokens);
    window_state(w, text);
    show_rate(w, n->rate);
    g_free(text);
}

/* ------------------------------------------------------------------------------------------------- news */

static void show_model(struct window *w, const struct shape *s)
{
    char *text = g_strdup_printf("%s · %s · %u of %u experts in %u layers · %.1f M parameters, %.1f M active",
                                 s->name, s->arch, s->top_k, s->n_experts, s->n_rows,
                                 (double)s->n_params / 1e6, (double)s->n_active / 1e6);
    gtk_label_set_text(GTK_LABEL(w->model), text);
    gtk_widget_set_tooltip_text(w->model, s->path);
    g_free(text);
    panel_set_shape(&w->panel, s);
    w->ready = true;
    window_error(w, NULL);
    window_state(w, "Ready");
    show_rate(w, 0.0);
}

static void show_steering(struct window *w, const struct news *n)
{
    GAction *routing = g_action_map_lookup_action(G_ACTION_MAP(w->win), "routing");
    heatmap_set_uses(w->panel.map, n->uses);
    g_simple_action_set_state(G_SIMPLE_ACTION(routing), g_variant_new_string(panel_preset_name(n->preset)));
    gtk_label_set_text(GTK_LABEL(w->panel.rule), n->preset == PRESET_CUSTOM ? "as in the steering file" : "");
    w->answered++;
}

static void receive(struct news *n, void *user)
{
    struct window *w = user;
    switch (n->kind) {
    case NEWS_MODEL: show_model(w, n->shape); break;
    case NEWS_NO_MODEL:
        window_error(w, n->text);
        window_state(w, w->ready ? "Ready" : "No model");
        w->answered++;
        break;
    case NEWS_TEXT:
        page_add(w, n->text);
        show_count(w, n, false);
        break;
    case NEWS_DONE:
        page_done(w);
        show_count(w, n, true);
        break;
    case NEWS_STEERING: show_steering(w, n); break;
    case NEWS_NOTE: window_state(w, n->text); break;
    case NEWS_ERROR: window_error(w, n->text); break;
    }
    if (n->heat) heatmap_set_heat(w->panel.map, n->heat);
    window_update(w);
}

/* ---------------------------------------------------------------------------------------------- actions */

static void stop(struct window *w)
{
    w->stopping = true;
    worker_stop(w->worker);
    window_update(w);
}

static void reset(struct window *w)
{
    w->asked++;
    worker_reset(w->worker);
}

static void save(struct window *w)
{
    if (w->file)
        (void)files_save_text(w, w->file);
    else
        files_ask(w, "save-as");
}

static void close_window(struct window *w) { gtk_window_close(GTK_WINDOW(w->win)); }

/* Actions without a value; those without a function ask for a file. */
static const struct {
    const char *name;
    void (*run)(struct window *w);
} actions[] = {{"continue", page_continue}, {"stop", stop},          {"undo", page_undo},
               {"again", page_again},       {"reset", reset},        {"save", save},
               {"close", close_window},     {"open", NULL},          {"save-as", NULL},
               {"open-model", NULL},        {"load-steering", NULL}, {"save-steering", NULL}};

static void act(GSimpleAction *action, GVariant *value, void *user)
{
    struct window *w = user;
    const char *name = g_action_get_name(G_ACTION(action));
    size_t i = 0;
    (void)value;
    while (strcmp(actions[i].name, name) != 0) i++;
    window_error(w, NULL);
    if (actions[i].run)
        actions[i].run(w);
    else
        files_ask(w, name);
}

/* The state follows when the worker has said that it was done: see show_steering(). */
static void set_routing(GSimpleAction *action, GVariant *value, void *user)
{
    struct window *w = user;
    (void)action;
    w->asked++;
    worker_set_preset(w->worker, panel_preset_find(g_variant_get_string(value, NULL)));
}

static void set_dark(GSimpleAction *action, GVariant *value, void *user)
{
    struct window *w = user;
    g_object_set(gtk_settings_get_default(), "gtk-application-prefer-dark-theme",
                 g_variant_get_boolean(value), NULL);
    g_simple_action_set_state(action, value);
    page_colours(w);
    gtk_widget_queue_draw(w->win);
}

/* A cell of the heat map. */
static void pressed(uint32_t row, uint32_t expert, bool free, void *user)
{
    struct window *w = user;
    window_error(w, NULL);
    w->asked++;
    if (free)
        worker_set_use(w->worker, row, expert, MOE_USE_FREE);
    else
        worker_cycle(w->worker, row, expert);
}

static void add_actions(struct window *w)
{
    GSimpleAction *a;
    gboolean dark;
    for (size_t i = 0; i < G_N_ELEMENTS(actions); i++) {
        a = g_simple_action_new(actions[i].name, NULL);
        g_signal_connect(a, "activate", G_CALLBACK(act), w);
        g_action_map_add_action(G_ACTION_MAP(w->win), G_ACTION(a));
        g_object_unref(a);
    }
    a = g_simple_action_new_stateful("routing", G_VARIANT_TYPE_STRING, g_variant_new_string("native"));
    g_signal_connect(a, "change-state", G_CALLBACK(set_routing), w);
    g_action_map_add_action(G_ACTION_MAP(w->win), G_ACTION(a));
    g_object_unref(a);
    g_object_get(gtk_settings_get_default(), "gtk-application-prefer-dark-theme", &dark, NULL);
    a = g_simple_action_new_stateful("dark", NULL, g_variant_new_boolean(dark));
    g_signal_connect(a, "change-state", G_CALLBACK(set_dark), w);
    g_action_map_add_action(G_ACTION_MAP(w->win), G_ACTION(a));
    g_object_unref(a);
}

/* ----------------------------------------------------------------------------------------- life and end */

static void answered(GtkDialog *dialog, int answer, void *user)
{
    struct window *w = user;
    gtk_window_destroy(GTK_WINDOW(dialog));
    w->sure = answer == GTK_RESPONSE_ACCEPT;
    if (w->sure) gtk_window_close(GTK_WINDOW(w->win));
}

/* The user wants the window to go. From here on no news come; the thread has ended when this returns. */
static gboolean closing(GtkWindow *win, void *user)
{
    struct window *w = user;
    GtkWidget *dialog;
    if (w->sure || !gtk_text_buffer_get_modified(w->text)) {
        worker_free(w->worker);
        w->worker = NULL;
        files_ask_no_more(w);
        return FALSE;
    }
    dialog = gtk_message_dialog_new(win, GTK_DIALOG_MODAL | GTK_DIALOG_DESTROY_WITH_PARENT,
                                    GTK_MESSAGE_QUESTION, GTK_BUTTONS_NONE, "Close without saving the text?");
    gtk_dialog_add_buttons(GTK_DIALOG(dialog), "Keep writing", GTK_RESPONSE_CANCEL, "Close without saving",
                           GTK_RESPONSE_ACCEPT, NULL);
    g_signal_connect(dialog, "response", G_CALLBACK(answered), w);
    gtk_window_present(GTK_WINDOW(dialog));
    return TRUE;
}

void window_open_model(struct window *w, const char *path)
{
    char *name = g_path_get_basename(path), *text = g_strdup_printf("Opening %s…", name);
    if (w->busy) stop(w);
    w->asked++;
    worker_open(w->worker, path);
    window_state(w, text);
    window_update(w);
    g_free(text);
    g_free(name);
}

struct window *window_new(GtkApplication *app)
{
    struct window *w = g_new0(struct window, 1);
    w->worker = worker_new(receive, w);
    w->win = gtk_application_window_new(app);
    add_actions(w);
    layout_build(w, pressed);
    g_object_add_weak_pointer(G_OBJECT(w->win), (void **)&w->win);
    g_signal_connect(w->win, "close-request", G_CALLBACK(closing), w);
    g_signal_connect_swapped(w->text, "modified-changed", G_CALLBACK(window_update), w);
    gtk_window_set_default_size(GTK_WINDOW(w->win), 1180, 780);
    gtk_widget_grab_focus(w->view);
    window_update(w);
    return w;
}

void window_free(struct window *w)
{
    if (!w) return;
    worker_free(w->worker); /* if the window was not closed by closing() */
    files_ask_no_more(w);
    if (w->win) {
        g_object_remove_weak_pointer(G_OBJECT(w->win), (void **)&w->win);
        gtk_window_destroy(GTK_WINDOW(w->win));
    }
    g_signal_handlers_disconnect_by_data(w->text, w);
    page_free(w);
    g_free(w->file);
    g_free(w);
}
