/* SPDX-License-Identifier: MIT */
/* The window's own style sheet. Colours are those of the theme, so that it suits light and dark ones. */
#include "style.h"

static const char sheet[] =
    "textview.page { font-family: serif; font-size: 13.5pt; }"
    "label.hint { opacity: 0.6; }"
    "overlay > label.hint { font-family: serif; font-style: italic; font-size: 13.5pt; margin: 34px 46px; }"
    ".panel { padding: 18px; }"
    ".panel .heading { font-weight: bold; }"
    ".panel label.hint { font-size: 90%; opacity: 0.72; }"
    ".panel scale { padding-top: 2px; padding-bottom: 2px; }"
    ".buttons { padding: 10px 16px; border-top: 1px solid @borders; }"
    ".buttons button { padding-left: 14px; padding-right: 14px; }"
    ".status { padding: 5px 16px; font-size: 92%; font-feature-settings: 'tnum'; }"
    ".trouble { padding: 8px 16px; background-color: alpha(@error_color, 0.18);"
    "           border-bottom: 1px solid alpha(@error_color, 0.5); }";

void style_add(GdkDisplay *display)
{
    GtkCssProvider *css = gtk_css_provider_new();
    gtk_css_provider_load_from_data(css, sheet, -1);
    gtk_style_context_add_provider_for_display(display, GTK_STYLE_PROVIDER(css),
                                               GTK_STYLE_PROVIDER_PRIORITY_APPLICATION);
    g_object_unref(css);
}
