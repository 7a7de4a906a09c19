/* SPDX-License-Identifier: MIT */
/* How the window is made: header, banner for troubles, page, buttons, side panel, status bar. */
#include "window.h"
#include "heatmap.h"

static GtkWidget *button(const char *label, const char *action, const char *tip)
{
    GtkWidget *b = gtk_button_new_with_label(label);
    gtk_actionable_set_action_name(GTK_ACTIONABLE(b), action);
    gtk_widget_set_tooltip_text(b, tip);
    gtk_widget_set_focus_on_click(b, FALSE); /* the cursor stays in the text */
    return b;
}

static GtkWidget *header(void)
{
    GtkWidget *bar = gtk_header_bar_new(), *more = gtk_menu_button_new();
    GMenu *menu = g_menu_new(), *files = g_menu_new(), *look = g_menu_new();
    g_menu_append(files, "Open model…", "win.open-model");
    g_menu_append(files, "Load steering…", "win.load-steering");
    g_menu_append(files, "Save steering…", "win.save-steering");
    g_menu_append(look, "Save text as…", "win.save-as");
    g_menu_append(look, "Dark", "win.dark");
    g_menu_append_section(menu, NULL, G_MENU_MODEL(files));
    g_menu_append_section(menu, NULL, G_MENU_MODEL(look));
    gtk_menu_button_set_icon_name(GTK_MENU_BUTTON(more), "open-menu-symbolic");
    gtk_menu_button_set_menu_model(GTK_MENU_BUTTON(more), G_MENU_MODEL(menu));
    gtk_widget_set_tooltip_text(more, "Model, steering, look");
    gtk_header_bar_pack_start(GTK_HEADER_BAR(bar), button("Open", "win.open", "Open a text (Ctrl+O)"));
    gtk_header_bar_pack_start(GTK_HEADER_BAR(bar), button("Save", "win.save", "Save the text (Ctrl+S)"));
    gtk_header_bar_pack_end(GTK_HEADER_BAR(bar), more);
    g_object_unref(files);
    g_object_unref(look);
    g_object_unref(menu);
    return bar;
}

static void hide_banner(struct window *w) { window_error(w, NULL); }

static GtkWidget *banner(struct window *w)
{
    GtkWidget *box = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 12), *close = gtk_button_new_with_label("Close");
    w->banner = gtk_revealer_new();
    w->banner_text = gtk_label_new(NULL);
    gtk_label_set_wrap(GTK_LABEL(w->banner_text), TRUE);
    gtk_label_set_wrap_mode(GTK_LABEL(w->banner_text), PANGO_WRAP_WORD_CHAR);
    gtk_label_set_xalign(GTK_LABEL(w->banner_text), 0.0f);
    gtk_label_set_selectable(GTK_LABEL(w->banner_text), TRUE);
    gtk_widget_set_focusable(w->banner_text, FALSE);
    gtk_widget_set_hexpand(w->banner_text, TRUE);
    gtk_widget_set_valign(close, GTK_ALIGN_CENTER);
    g_signal_connect_swapped(close, "clicked", G_CALLBACK(hide_banner), w);
    gtk_box_append(GTK_BOX(box), w->banner_text);
    gtk_box_append(GTK_BOX(box), close);
    gtk_widget_add_css_class(box, "trouble");
    gtk_revealer_set_child(GTK_REVEALER(w->banner), box);
    return w->banner;
}

static GtkWidget *buttons(struct window *w)
{
    GtkWidget *bar = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 8);
    GtkWidget *go = button("Continue", "win.continue", "Have the model go on at the cursor (Ctrl+Enter)");
    w->spinner = gtk_spinner_new();
    gtk_widget_add_css_class(go, "suggested-action");
    gtk_widget_add_css_class(bar, "buttons");
    gtk_box_append(GTK_BOX(bar), go);
    gtk_box_append(GTK_BOX(bar), button("Stop", "win.stop", "Stop at once (Escape)"));
    gtk_box_append(GTK_BOX(bar),
                   button("Undo", "win.undo", "Take back the last continuation (Alt+Backspace)"));
    gtk_box_append(GTK_BOX(bar),
                   button("Try again", "win.again", "Another continuation in its place (Ctrl+Shift+Enter)"));
    gtk_box_append(GTK_BOX(bar), w->spinner);
    return bar;
}

static GtkWidget *status_bar(struct window *w)
{
    GtkWidget *bar = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 24);
    w->state = gtk_label_new("No model");
    w->model = gtk_label_new(NULL);
    w->rate = gtk_label_new(NULL);
    gtk_label_set_xalign(GTK_LABEL(w->state), 0.0f);
    gtk_label_set_ellipsize(GTK_LABEL(w->model), PANGO_ELLIPSIZE_END);
    gtk_label_set_ellipsize(GTK_LABEL(w->state), PANGO_ELLIPSIZE_END);
    gtk_widget_set_hexpand(w->state, TRUE);
    gtk_label_set_width_chars(GTK_LABEL(w->rate), 13);
    gtk_label_set_xalign(GTK_LABEL(w->rate), 1.0f);
    gtk_widget_add_css_class(bar, "status");
    gtk_box_append(GTK_BOX(bar), w->state);
    gtk_box_append(GTK_BOX(bar), w->model);
    gtk_box_append(GTK_BOX(bar), w->rate);
    return bar;
}

void layout_build(struct window *w, heatmap_pressed_fn pressed)
{
    GtkWidget *all = gtk_box_new(GTK_ORIENTATION_VERTICAL, 0),
              *left = gtk_box_new(GTK_ORIENTATION_VERTICAL, 0);
    GtkWidget *both = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 0), *side = gtk_scrolled_window_new();
    panel_build(&w->panel, pressed, w);
    gtk_box_append(GTK_BOX(left), banner(w));
    gtk_box_append(GTK_BOX(left), page_build(w));
    gtk_box_append(GTK_BOX(left), buttons(w));
    gtk_scrolled_window_set_policy(GTK_SCROLLED_WINDOW(side), GTK_POLICY_NEVER, GTK_POLICY_AUTOMATIC);
    gtk_scrolled_window_set_child(GTK_SCROLLED_WINDOW(side), w->panel.root);
    gtk_widget_set_size_request(side, 430, -1);
    gtk_widget_set_hexpand(side, FALSE); /* the page gets what is left */
    gtk_box_append(GTK_BOX(both), left);
    gtk_box_append(GTK_BOX(both), gtk_separator_new(GTK_ORIENTATION_VERTICAL));
    gtk_box_append(GTK_BOX(both), side);
    gtk_box_append(GTK_BOX(all), both);
    gtk_box_append(GTK_BOX(all), gtk_separator_new(GTK_ORIENTATION_HORIZONTAL));
    gtk_box_append(GTK_BOX(all), status_bar(w));
    gtk_window_set_child(GTK_WINDOW(w->win), all);
    gtk_window_set_titlebar(GTK_WINDOW(w->win), header());
}
