/* SPDX-License-Identifier: MIT */
/* Builds the side panel and reads its controls. See panel.h. */
#include "panel.h"
#include "heatmap.h"

#include <string.h>

#define NO_VOICE "none"

static const struct {
    const char *name, *label, *tip;
} presets[N_PRESETS] = {
    {"native", "Native", "The rule of the model's file"},
    {"top1", "Top 1", "Only the best expert speaks"},
    {"topp", "Top-p ½", "The best experts until they have half of the router's probability"},
    {"all", "All", "All experts speak, by their weights"},
};

const char *panel_preset_name(enum preset p) { return p < N_PRESETS ? presets[p].name : "custom"; }

enum preset panel_preset_find(const char *name)
{
    size_t i = 0;
    while (i < N_PRESETS && strcmp(presets[i].name, name) != 0) i++;
    return (enum preset)i;
}

/* --------------------------------------------------------------------------------------------- building */

static GtkWidget *heading(const char *text)
{
    GtkWidget *label = gtk_label_new(text);
    gtk_widget_add_css_class(label, "heading");
    gtk_label_set_xalign(GTK_LABEL(label), 0.0f);
    gtk_widget_set_hexpand(label, TRUE);
    return label;
}

static GtkWidget *section(const struct panel *p)
{
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_VERTICAL, 8);
    gtk_box_append(GTK_BOX(p->root), box);
    return box;
}

static GtkWidget *row_of(GtkWidget *first, GtkWidget *second)
{
    GtkWidget *row = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 12);
    gtk_box_append(GTK_BOX(row), first);
    gtk_box_append(GTK_BOX(row), second);
    return row;
}

static void build_voice(struct panel *p)
{
    GtkWidget *box = section(p);
    const char *const none[] = {NO_VOICE, NULL};
    p->voice = gtk_drop_down_new_from_strings(none);
    gtk_widget_set_size_request(p->voice, 170, -1);
    gtk_widget_set_tooltip_text(p->voice, "The voice in which the model goes on");
    gtk_box_append(GTK_BOX(box), row_of(heading("Voice"), p->voice));
}

static void build_map(struct panel *p, heatmap_pressed_fn pressed, void *user)
{
    GtkWidget *box = section(p), *scroll = gtk_scrolled_window_new();
    GtkWidget *reset = gtk_button_new_with_label("Reset"), *hint;
    gtk_actionable_set_action_name(GTK_ACTIONABLE(reset), "win.reset");
    gtk_widget_set_tooltip_text(reset, "All experts free, and the model's own routing");
    gtk_box_append(GTK_BOX(box), row_of(heading("Who speaks: layers × experts"), reset));
    p->map = heatmap_new(pressed, user);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(scroll), p->map);
    gtk_scrolled_window_set_propagate_natural_height(GTK_SCROLLED_WINDOW(scroll), TRUE);
    gtk_scrolled_window_set_max_content_height(GTK_SCROLLED_WINDOW(scroll), 400);
    gtk_box_append(GTK_BOX(box), scroll);
    gtk_box_append(GTK_BOX(box), heatmap_legend_new());
    hint = gtk_label_new("Shares of the last tokens. Click: ban, force, drop, free.");
    gtk_widget_add_css_class(hint, "hint");
    gtk_label_set_xalign(GTK_LABEL(hint), 0.0f);
    gtk_label_set_wrap(GTK_LABEL(hint), TRUE);
    gtk_box_append(GTK_BOX(box), hint);
}

static void build_routing(struct panel *p)
{
    GtkWidget *box = section(p), *row = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 0);
    p->rule = gtk_label_new(NULL);
    gtk_widget_add_css_class(p->rule, "hint");
    gtk_box_append(GTK_BOX(box), row_of(heading("Routing"), p->rule));
    gtk_widget_add_css_class(row, "linked");
    gtk_box_set_homogeneous(GTK_BOX(row), TRUE);
    for (size_t i = 0; i < N_PRESETS; i++) {
        GtkWidget *b = gtk_toggle_button_new_with_label(presets[i].label);
        gtk_widget_set_tooltip_text(b, presets[i].tip);
        gtk_actionable_set_action_name(GTK_ACTIONABLE(b), "win.routing");
        gtk_actionable_set_action_target(GTK_ACTIONABLE(b), "s", presets[i].name);
        gtk_box_append(GTK_BOX(row), b);
    }
    gtk_box_append(GTK_BOX(box), row);
}

static void attach(GtkWidget *grid, int row, const char *text, GtkWidget *w)
{
    GtkWidget *label = gtk_label_new(text);
    gtk_label_set_xalign(GTK_LABEL(label), 0.0f);
    gtk_widget_set_hexpand(w, TRUE);
    gtk_grid_attach(GTK_GRID(grid), label, 0, row, 1, 1);
    gtk_grid_attach(GTK_GRID(grid), w, 1, row, 1, 1);
}

static GtkWidget *slider(double max, double value, const char *tip)
{
    GtkWidget *w = gtk_scale_new_with_range(GTK_ORIENTATION_HORIZONTAL, 0.0, max, 0.05);
    gtk_scale_set_draw_value(GTK_SCALE(w), TRUE);
    gtk_scale_set_value_pos(GTK_SCALE(w), GTK_POS_RIGHT);
    gtk_scale_set_digits(GTK_SCALE(w), 2);
    gtk_range_set_value(GTK_RANGE(w), value);
    gtk_widget_set_tooltip_text(w, tip);
    return w;
}

static void build_sampling(struct panel *p)
{
    GtkWidget *box = section(p), *grid = gtk_grid_new(), *seeds;
    gtk_box_append(GTK_BOX(box), heading("Sampling"));
    gtk_grid_set_column_spacing(GTK_GRID(grid), 12);
    gtk_grid_set_row_spacing(GTK_GRID(grid), 4);
    p->temperature = slider(2.0, 0.8, "0: always the most probable token");
    p->top_p = slider(1.0, 0.95, "The most probable tokens that together have this probability; 1: all");
    p->seed = gtk_spin_button_new_with_range(0.0, 999999.0, 1.0);
    p->vary = gtk_check_button_new_with_label("vary");
    p->length = gtk_spin_button_new_with_range(1.0, 2000.0, 10.0);
    gtk_spin_button_set_value(GTK_SPIN_BUTTON(p->seed), 1.0);
    gtk_spin_button_set_value(GTK_SPIN_BUTTON(p->length), 120.0);
    gtk_check_button_set_active(GTK_CHECK_BUTTON(p->vary), TRUE);
    gtk_widget_set_tooltip_text(p->vary, "Another seed for each continuation");
    gtk_widget_set_tooltip_text(p->seed, "The same text, settings and seed give the same continuation");
    gtk_widget_set_tooltip_text(p->length, "A continuation has at most so many tokens");
    gtk_widget_set_hexpand(p->seed, TRUE);
    seeds = row_of(p->seed, p->vary);
    attach(grid, 0, "Temperature", p->temperature);
    attach(grid, 1, "Top-p", p->top_p);
    attach(grid, 2, "Seed", seeds);
    attach(grid, 3, "Length", p->length);
    gtk_box_append(GTK_BOX(box), grid);
}

void panel_build(struct panel *p, heatmap_pressed_fn pressed, void *user)
{
    p->root = gtk_box_new(GTK_ORIENTATION_VERTICAL, 18);
    gtk_widget_add_css_class(p->root, "panel");
    build_voice(p);
    build_map(p, pressed, user);
    build_routing(p);
    build_sampling(p);
}

/* ---------------------------------------------------------------------------------------------- reading */

bool panel_set_voice(struct panel *p, const char *name)
{
    GListModel *list = gtk_drop_down_get_model(GTK_DROP_DOWN(p->voice));
    for (guint i = 0; i < g_list_model_get_n_items(list); i++) {
        if (strcmp(gtk_string_list_get_string(GTK_STRING_LIST(list), i), name) != 0) continue;
        gtk_drop_down_set_selected(GTK_DROP_DOWN(p->voice), i);
        return true;
    }
    return false;
}

const char *panel_voice(const struct panel *p)
{
    GListModel *list = gtk_drop_down_get_model(GTK_DROP_DOWN(p->voice));
    const guint i = gtk_drop_down_get_selected(GTK_DROP_DOWN(p->voice));
    return i > 0 && i != GTK_INVALID_LIST_POSITION ? gtk_string_list_get_string(GTK_STRING_LIST(list), i)
                                                   : NULL;
}

void panel_set_shape(struct panel *p, const struct shape *s)
{
    const char *const none[] = {NO_VOICE, NULL};
    GtkStringList *list = gtk_string_list_new(none);
    for (char **v = s->voices; *v; v++) gtk_string_list_append(list, *v);
    gtk_drop_down_set_model(GTK_DROP_DOWN(p->voice), G_LIST_MODEL(list));
    gtk_widget_set_sensitive(p->voice, s->voices[0] != NULL);
    if (s->voice_default) (void)panel_set_voice(p, s->voice_default);
    g_object_unref(list);
    heatmap_set_shape(p->map, s->n_rows, s->n_experts, s->layer);
}

void panel_ask(const struct panel *p, struct ask *a)
{
    a->voice = g_strdup(panel_voice(p));
    a->temperature = gtk_range_get_value(GTK_RANGE(p->temperature));
    a->top_p = gtk_range_get_value(GTK_RANGE(p->top_p));
    a->seed = (uint64_t)gtk_spin_button_get_value(GTK_SPIN_BUTTON(p->seed));
    a->n_tokens = (uint32_t)gtk_spin_button_get_value(GTK_SPIN_BUTTON(p->length));
}

void panel_next_seed(struct panel *p)
{
    if (gtk_check_button_get_active(GTK_CHECK_BUTTON(p->vary)))
        gtk_spin_button_spin(GTK_SPIN_BUTTON(p->seed), GTK_SPIN_STEP_FORWARD, 1.0);
}
