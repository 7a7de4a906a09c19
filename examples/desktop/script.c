/* SPDX-License-Identifier: MIT */
/*
 * Runs a script in the main loop: every few milliseconds the line at hand is tried, until it is done. Lines
 * go the way of a user: by the window's actions, the text's cursor, coordinates in the heat map. See
 * script.h.
 */
#include "script.h"
#include "heatmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS   15
#define LIMIT_MS  120000 /* a line that takes longer has failed */
#define SETTLE_MS 400    /* before a screenshot: buttons and revealers have stopped moving */

enum result { DONE, LATER, FAILED };

struct script {
    struct window *w;
    char **lines;
    size_t at;
    gint64 since;     /* when the line was begun, in microseconds */
    gint64 took_ms;   /* the line before */
    char *screenshot; /* for the end, or NULL */
    int *status;
    guint source;
};

static gint64 waited_ms(const struct script *s) { return (g_get_monotonic_time() - s->since) / 1000; }
static bool idle(const struct window *w) { return !w->busy && w->asked == w->answered; }

/* "ROW EXPERT" */
static bool parse_cell(const char *arg, uint32_t *row, uint32_t *expert)
{
    char *end;
    *row = (uint32_t)g_ascii_strtoull(arg, &end, 10);
    *expert = (uint32_t)g_ascii_strtoull(end, NULL, 10);
    return *end == ' ';
}

/* ---------------------------------------------------------------------------------------------- actions */

static enum result do_action(struct script *s, const char *arg)
{
    GAction *a = g_action_map_lookup_action(G_ACTION_MAP(s->w->win), arg);
    if (!a) return FAILED;
    if (!g_action_get_enabled(a)) return LATER; /* as a grey button: not now */
    g_action_activate(a, NULL);
    return DONE;
}

/* The same, but a grey button is let be: what was to be stopped may have ended by itself. */
static enum result do_try(struct script *s, const char *arg)
{
    const enum result r = do_action(s, arg);
    return r == LATER ? DONE : r;
}

static enum result do_type(struct script *s, const char *arg)
{
    char *text = g_strcompress(arg); /* \n and the like */
    const bool good = gtk_text_buffer_insert_interactive_at_cursor(
        s->w->text, text, -1, gtk_text_view_get_editable(GTK_TEXT_VIEW(s->w->view)));
    g_free(text);
    return good ? DONE : FAILED;
}

static enum result do_wait(struct script *s, const char *arg)
{
    (void)arg;
    return idle(s->w) ? DONE : LATER;
}

static enum result do_tokens(struct script *s, const char *arg)
{
    return s->w->n_tokens >= g_ascii_strtoull(arg, NULL, 10) || !s->w->busy ? DONE : LATER;
}

static enum result do_pause(struct script *s, const char *arg)
{
    return waited_ms(s) >= g_ascii_strtoll(arg, NULL, 10) ? DONE : LATER;
}

static enum result do_voice(struct script *s, const char *arg)
{
    return panel_set_voice(&s->w->panel, arg) ? DONE : FAILED;
}

static enum result do_press(struct script *s, const char *arg)
{
    uint32_t row, expert;
    return parse_cell(arg, &row, &expert) && heatmap_press(s->w->panel.map, row, expert, false) ? DONE
                                                                                                : FAILED;
}

static enum result do_free(struct script *s, const char *arg)
{
    uint32_t row, expert;
    return parse_cell(arg, &row, &expert) && heatmap_press(s->w->panel.map, row, expert, true) ? DONE
                                                                                               : FAILED;
}

static enum result do_routing(struct script *s, const char *arg)
{
    g_action_change_state(g_action_map_lookup_action(G_ACTION_MAP(s->w->win), "routing"),
                          g_variant_new_string(arg));
    return DONE;
}

static enum result do_dark(struct script *s, const char *arg)
{
    g_action_change_state(g_action_map_lookup_action(G_ACTION_MAP(s->w->win), "dark"),
                          g_variant_new_boolean(strcmp(arg, "on") == 0));
    return DONE;
}

/* The text view's own editing, as by keys: "undo", "redo". */
static enum result do_edit(struct script *s, const char *arg)
{
    char *name = g_strconcat("text.", arg, NULL);
    const bool good = gtk_widget_activate_action(s->w->view, name, NULL);
    g_free(name);
    return good ? DONE : FAILED;
}

/* "temperature 0.7" and so on */
static enum result do_set(struct script *s, const char *arg)
{
    const struct panel *p = &s->w->panel;
    const char *space = strchr(arg, ' ');
    const double value = space ? g_ascii_strtod(space, NULL) : 0.0;
    if (g_str_has_prefix(arg, "temperature "))
        gtk_range_set_value(GTK_RANGE(p->temperature), value);
    else if (g_str_has_prefix(arg, "top-p "))
        gtk_range_set_value(GTK_RANGE(p->top_p), value);
    else if (g_str_has_prefix(arg, "seed "))
        gtk_spin_button_set_value(GTK_SPIN_BUTTON(p->seed), value);
    else if (g_str_has_prefix(arg, "length "))
        gtk_spin_button_set_value(GTK_SPIN_BUTTON(p->length), value);
    else
        return FAILED;
    return DONE;
}

static enum result do_open_text(struct script *s, const char *arg)
{
    (void)files_open_text(s->w, arg); /* what goes wrong is shown: see `print` */
    return DONE;
}

static enum result do_save_text(struct script *s, const char *arg)
{
    (void)files_save_text(s->w, arg);
    return DONE;
}

static enum result do_open_model(struct script *s, const char *arg)
{
    window_open_model(s->w, arg);
    return DONE;
}

static enum result do_load_steering(struct script *s, const char *arg)
{
    files_load_steering(s->w, arg);
    return DONE;
}

static enum result do_save_steering(struct script *s, const char *arg)
{
    files_save_steering(s->w, arg);
    return DONE;
}

static enum result do_screenshot(struct script *s, const char *arg)
{
    if (waited_ms(s) < SETTLE_MS) return LATER;
    return files_screenshot(s->w, arg) ? DONE : FAILED;
}

/* What the window shows, one line each. */
static enum result do_print(struct script *s, const char *arg)
{
    const struct window *w = s->w;
    const bool trouble = gtk_revealer_get_reveal_child(GTK_REVEALER(w->banner));
    GVariant *rule = g_action_get_state(g_action_map_lookup_action(G_ACTION_MAP(w->win), "routing"));
    GtkTextIter a, b;
    char *text, *line;
    gtk_text_buffer_get_bounds(w->text, &a, &b);
    text = gtk_text_buffer_get_text(w->text, &a, &b, FALSE);
    line = g_strescape(text, "\"");
    printf("%s title: %s\n", arg, gtk_window_get_title(GTK_WINDOW(w->win)));
    printf("%s model: %s\n", arg, gtk_label_get_text(GTK_LABEL(w->model)));
    printf("%s state: %s\n", arg, gtk_label_get_text(GTK_LABEL(w->state)));
    printf("%s rate: %s\n", arg, gtk_label_get_text(GTK_LABEL(w->rate)));
    printf("%s trouble: %s\n", arg, trouble ? gtk_label_get_text(GTK_LABEL(w->banner_text)) : "none");
    printf("%s routing: %s\n", arg, g_variant_get_string(rule, NULL));
    printf("%s text: %s\n", arg, line);
    fflush(stdout);
    g_variant_unref(rule);
    g_free(line);
    g_free(text);
    return DONE;
}

/* "ROW EXPERT": what it may do, and its share. */
static enum result do_cell(struct script *s, const char *arg)
{
    static const char *const uses[] = {"free", "ban", "ban", "drop", "drop", "force"};
    uint32_t row, expert;
    if (!parse_cell(arg, &row, &expert)) return FAILED;
    printf("cell %u %u: %s %.1f\n", row, expert, uses[heatmap_use(s->w->panel.map, row, expert)],
           100.0 * heatmap_share(s->w->panel.map, row, expert));
    fflush(stdout);
    return DONE;
}

/* How long the line before took. */
static enum result do_time(struct script *s, const char *arg)
{
    printf("%s took: %" G_GINT64_FORMAT " ms\n", arg, s->took_ms);
    fflush(stdout);
    return DONE;
}

static const struct {
    const char *name;
    enum result (*run)(struct script *s, const char *arg);
} commands[] = {
    {"action", do_action},
    {"type", do_type},
    {"try", do_try},
    {"wait", do_wait},
    {"tokens", do_tokens},
    {"pause", do_pause},
    {"voice", do_voice},
    {"press", do_press},
    {"free", do_free},
    {"routing", do_routing},
    {"dark", do_dark},
    {"set", do_set},
    {"open-text", do_open_text},
    {"save-text", do_save_text},
    {"open-model", do_open_model},
    {"load-steering", do_load_steering},
    {"save-steering", do_save_steering},
    {"screenshot", do_screenshot},
    {"print", do_print},
    {"cell", do_cell},
    {"edit", do_edit},
    {"time", do_time},
};

/* ---------------------------------------------------------------------------------------------- running */

static enum result run_line(struct script *s, const char *line)
{
    const char *space = strchr(line, ' ');
    const size_t len = space ? (size_t)(space - line) : strlen(line);
    if (len == 0 || line[0] == '#') return DONE;
    for (size_t i = 0; i < G_N_ELEMENTS(commands); i++)
        if (strlen(commands[i].name) == len && strncmp(commands[i].name, line, len) == 0)
            return commands[i].run(s, space ? space + 1 : "");
    return FAILED;
}

static gboolean end(struct script *s)
{
    s->source = 0;
    s->w->sure = true;
    gtk_window_close(GTK_WINDOW(s->w->win));
    return G_SOURCE_REMOVE;
}

static gboolean tick(void *user)
{
    struct script *s = user;
    const char *line = s->lines[s->at];
    enum result r;
    if (!s->w->win) { /* somebody closed it */
        s->source = 0;
        return G_SOURCE_REMOVE;
    }
    if (!line && s->screenshot) {
        r = do_screenshot(s, s->screenshot);
        if (r == LATER) return G_SOURCE_CONTINUE;
        if (r == FAILED) *s->status = 1;
        return end(s);
    }
    if (!line) return end(s);
    r = run_line(s, line);
    if (r == LATER && waited_ms(s) < LIMIT_MS) return G_SOURCE_CONTINUE;
    if (r != DONE) {
        fprintf(stderr, "script, line %zu: %s: %s\n", s->at + 1,
                r == LATER ? "takes too long" : "cannot be done", line);
        *s->status = 1;
        return end(s);
    }
    s->at++;
    s->took_ms = waited_ms(s);
    s->since = g_get_monotonic_time();
    return G_SOURCE_CONTINUE;
}

struct script *script_start(struct window *w, const char *text, const char *screenshot, int *status)
{
    struct script *s = g_new0(struct script, 1);
    s->w = w;
    s->lines = g_strsplit(text ? text : "wait", "\n", -1);
    s->screenshot = g_strdup(screenshot);
    s->status = status;
    s->since = g_get_monotonic_time();
    s->source = g_timeout_add(TICK_MS, tick, s);
    return s;
}

void script_free(struct script *s)
{
    if (!s) return;
    if (s->source) g_source_remove(s->source);
    g_strfreev(s->lines);
    g_free(s->screenshot);
    g_free(s);
}
