/* SPDX-License-Identifier: MIT */
/* The side panel: voice, heat map, rules of routing, sampling. */
#ifndef DESKTOP_PANEL_H
#define DESKTOP_PANEL_H

#include "engine.h"
#include "heatmap.h"

struct panel {
    GtkWidget *root;
    GtkWidget *voice; /* drop-down; its first entry is "none" */
    GtkWidget *map;   /* heatmap.h */
    GtkWidget *rule;  /* says so when a file brought a rule that has no button */
    GtkWidget *temperature, *top_p, *seed, *vary, *length;
};

/* Builds it. Buttons send the window's actions; cells of the map call `pressed` (heatmap.h) with `user`. */
void panel_build(struct panel *p, heatmap_pressed_fn pressed, void *user);
void panel_set_shape(struct panel *p, const struct shape *s);
/* The name of the voice chosen, NULL for none; lives until the model changes. */
const char *panel_voice(const struct panel *p);
bool panel_set_voice(struct panel *p, const char *name); /* false: no such voice */
/* Fills in what the panel decides: all but the text. */
void panel_ask(const struct panel *p, struct ask *a);
/* After a continuation: another seed for the next one, if that is wanted. */
void panel_next_seed(struct panel *p);

/* Names of presets as the action `win.routing` has them; "custom" for PRESET_CUSTOM. */
const char *panel_preset_name(enum preset p);
enum preset panel_preset_find(const char *name);

#endif
