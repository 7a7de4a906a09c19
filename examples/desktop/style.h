/* SPDX-License-Identifier: MIT */
#ifndef DESKTOP_STYLE_H
#define DESKTOP_STYLE_H

#include <gtk/gtk.h>

void style_add(GdkDisplay *display); /* the window's own style sheet, on top of the theme */

#endif
