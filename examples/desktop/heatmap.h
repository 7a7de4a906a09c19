/* SPDX-License-Identifier: MIT */
/* A drawing area that shows who speaks: a row for each layer with a router, a column for each expert. */
#ifndef DESKTOP_HEATMAP_H
#define DESKTOP_HEATMAP_H

#include <gtk/gtk.h>
#include <stdbool.h>
#include <stdint.h>

/* Somebody pressed a cell; `free`: with the secondary button or Delete, meaning "let it go free". */
typedef void (*heatmap_pressed_fn)(uint32_t row, uint32_t expert, bool free, void *user);

GtkWidget *heatmap_new(heatmap_pressed_fn pressed, void *user);
/* Size and the layers' numbers [n_rows] (copied). Empties the map. */
void heatmap_set_shape(GtkWidget *map, uint32_t n_rows, uint32_t n_experts, const uint32_t *layer);
/* [2][n_rows][n_experts] as from engine_heat(); [n_rows][n_experts] as from engine_uses(). Copied. */
void heatmap_set_heat(GtkWidget *map, const float *heat);
void heatmap_set_uses(GtkWidget *map, const uint8_t *uses);
/* Part of a row's choices that went to an expert lately, 0..1, and what it may do. */
double heatmap_share(GtkWidget *map, uint32_t row, uint32_t expert);
int heatmap_use(GtkWidget *map, uint32_t row, uint32_t expert);
/* Presses the middle of a cell, by way of the coordinates, as a pointer would. false: no such cell. */
bool heatmap_press(GtkWidget *map, uint32_t row, uint32_t expert, bool free);
/* Colours and marks explained, to be put below the map. */
GtkWidget *heatmap_legend_new(void);

#endif
