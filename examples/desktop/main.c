/* SPDX-License-Identifier: MIT */
/*
 * A writing window in which a Mixture-of-Experts model goes on with what the user writes:
 *
 *     desktop [MODEL.gguf] [--text FILE] [--dark] [--script FILE] [--screenshot FILE.png]
 *
 * Without a model the bundled one is taken. --script and --screenshot are for the tests: script.h.
 */
#include "script.h"
#include "style.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

struct program {
    char *text, *script, *screenshot; /* of the command line, or NULL */
    char **rest;
    gboolean dark;
    struct window *w;
    struct script *running;
    int status;
};

/* The bundled model: told by the environment, else where the build found it. */
static const char *default_model(void)
{
    const char *path = g_getenv("LIBMOE_MODEL");
    return path && *path ? path : DEMO_MODEL;
}

static void add_keys(GtkApplication *app)
{
    static const struct {
        const char *action, *keys[3];
    } keys[] = {{"win.continue", {"<Ctrl>Return", "<Ctrl>KP_Enter", NULL}},
                {"win.again", {"<Ctrl><Shift>Return", NULL}},
                {"win.stop", {"Escape", NULL}},
                {"win.undo", {"<Alt>BackSpace", NULL}},
                {"win.open", {"<Ctrl>o", NULL}},
                {"win.save", {"<Ctrl>s", NULL}},
                {"win.save-as", {"<Ctrl><Shift>s", NULL}},
                {"win.close", {"<Ctrl>w", "<Ctrl>q", NULL}}};
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        gtk_application_set_accels_for_action(app, keys[i].action, keys[i].keys);
}

static void activate(GtkApplication *app, void *user)
{
    struct program *p = user;
    char *script = NULL;
    GError *e = NULL;
    if (p->script && !g_file_get_contents(p->script, &script, NULL, &e)) {
        fprintf(stderr, "%s\n", e->message);
        g_error_free(e);
        p->status = 2;
        return; /* no window: the program ends */
    }
    style_add(gdk_display_get_default());
    add_keys(app);
    if (p->dark) g_object_set(gtk_settings_get_default(), "gtk-application-prefer-dark-theme", TRUE, NULL);
    p->w = window_new(app);
    gtk_window_present(GTK_WINDOW(p->w->win));
    window_open_model(p->w, p->rest && p->rest[0] ? p->rest[0] : default_model());
    if (p->text) (void)files_open_text(p->w, p->text);
    if (script || p->screenshot) p->running = script_start(p->w, script, p->screenshot, &p->status);
    g_free(script);
}

/* The command line; false: *code is the program's exit status. */
static bool read_options(struct program *p, int argc, char **argv, int *code)
{
    const GOptionEntry options[] = {
        {"text", 't', 0, G_OPTION_ARG_FILENAME, &p->text, "open a text", "FILE"},
        {"dark", 'd', 0, G_OPTION_ARG_NONE, &p->dark, "dark colours", NULL},
        {"script", 0, 0, G_OPTION_ARG_FILENAME, &p->script, "do what a file says, then end", "FILE"},
        {"screenshot", 0, 0, G_OPTION_ARG_FILENAME, &p->screenshot, "write a picture of the window, then end",
         "PNG"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &p->rest, NULL, "[MODEL.gguf]"},
        {0}};
    GOptionContext *context = g_option_context_new("- write with a Mixture-of-Experts model");
    GError *e = NULL;
    bool good;
    g_option_context_add_main_entries(context, options, NULL);
    good = g_option_context_parse(context, &argc, &argv, &e) && (!p->rest || !p->rest[0] || !p->rest[1]);
    if (!good) fprintf(stderr, "%s\n", e ? e->message : "one model at a time");
    g_clear_error(&e);
    g_option_context_free(context);
    if (good && !gtk_init_check()) {
        fprintf(stderr, "there is no display\n");
        good = false;
    }
    *code = 2;
    return good;
}

int main(int argc, char **argv)
{
    struct program p = {0};
    GtkApplication *app;
    int code;
    setlocale(LC_ALL, "");
    if (read_options(&p, argc, argv, &code)) {
        app = gtk_application_new(NULL, G_APPLICATION_NON_UNIQUE);
        g_signal_connect(app, "activate", G_CALLBACK(activate), &p);
        code = g_application_run(G_APPLICATION(app), 0, NULL);
        if (p.status) code = p.status;
        script_free(p.running);
        window_free(p.w);
        g_object_unref(app);
    }
    g_free(p.text);
    g_free(p.script);
    g_free(p.screenshot);
    g_strfreev(p.rest);
    return code;
}
