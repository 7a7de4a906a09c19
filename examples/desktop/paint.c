/* SPDX-License-Identifier: MIT */
/*
 * A cell is filled by its share, on a scale by square root so that small shares can be told from none. What
 * was done to an expert is a shape, not only a colour: a cross (banned), a triangle in a frame (forced), a
 * stroke (dropped). A dot says that the expert speaks now.
 */
#include "paint.h"
#include "heatmap.h"

#include <math.h>
#include <moe/moe.h>

#define GAP 2.0

struct rgb {
    double r, g, b;
};

/* Even steps of lightness, from the window's background to the strongest. */
static const struct rgb ramp[2][5] = {
    {{0.895, 0.912, 0.935},
     {0.700, 0.820, 0.930},
     {0.380, 0.620, 0.840},
     {0.130, 0.400, 0.700},
     {0.030, 0.170, 0.420}},
    {{0.262, 0.278, 0.305},
     {0.130, 0.310, 0.470},
     {0.130, 0.470, 0.690},
     {0.330, 0.680, 0.880},
     {0.790, 0.930, 1.000}},
};
static const struct rgb red[2] = {{0.75, 0.11, 0.16}, {1.00, 0.48, 0.42}};
static const struct rgb green[2] = {{0.10, 0.52, 0.26}, {0.40, 0.86, 0.50}};
static const struct rgb orange[2] = {{0.78, 0.38, 0.00}, {1.00, 0.69, 0.30}};
static const struct rgb ground[2] = {{1.0, 1.0, 1.0}, {0.13, 0.14, 0.16}};

bool paint_is_dark(GtkWidget *w)
{
    GdkRGBA text;
    gtk_style_context_get_color(gtk_widget_get_style_context(w), &text);
    return text.red + text.green + text.blue > 1.5f;
}

static void set(cairo_t *cr, struct rgb c) { cairo_set_source_rgb(cr, c.r, c.g, c.b); }

static struct rgb colour(bool dark, double share)
{
    const struct rgb *c = ramp[dark];
    const double at = 4.0 * sqrt(fmin(fmax(share, 0.0), PAINT_FULL) / PAINT_FULL);
    const int i = at >= 4.0 ? 3 : (int)at;
    const double f = at - i;
    const struct rgb out = {c[i].r + f * (c[i + 1].r - c[i].r), c[i].g + f * (c[i + 1].g - c[i].g),
                            c[i].b + f * (c[i + 1].b - c[i].b)};
    return out;
}

static void rounded(cairo_t *cr, double x, double y, double w, double h, double r)
{
    cairo_new_sub_path(cr);
    cairo_arc(cr, x + w - r, y + r, r, -G_PI / 2.0, 0.0);
    cairo_arc(cr, x + w - r, y + h - r, r, 0.0, G_PI / 2.0);
    cairo_arc(cr, x + r, y + h - r, r, G_PI / 2.0, G_PI);
    cairo_arc(cr, x + r, y + r, r, G_PI, 1.5 * G_PI);
    cairo_close_path(cr);
}

static void stroke(cairo_t *cr, struct rgb c, double width)
{
    set(cr, c);
    cairo_set_line_width(cr, width);
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
    cairo_stroke(cr);
}

static void mark(cairo_t *cr, bool dark, const struct paint_cell *c, double w, double h)
{
    const double mx = c->x + w / 2.0, my = c->y + h / 2.0, r = fmin(w, h) * 0.26;
    switch (c->use) {
    case MOE_USE_BAN:
    case MOE_USE_BAN_SCORED:
        cairo_move_to(cr, mx - r, my - r);
        cairo_line_to(cr, mx + r, my + r);
        cairo_move_to(cr, mx - r, my + r);
        cairo_line_to(cr, mx + r, my - r);
        stroke(cr, red[dark], 2.0);
        break;
    case MOE_USE_DROP:
    case MOE_USE_DROP_RENORM:
        cairo_move_to(cr, mx - r, my + r);
        cairo_line_to(cr, mx + r, my - r);
        stroke(cr, orange[dark], 2.2);
        break;
    case MOE_USE_FORCE:
        rounded(cr, c->x + 1.0, c->y + 1.0, w - 2.0, h - 2.0, 2.0);
        stroke(cr, green[dark], 2.0);
        cairo_move_to(cr, mx, my - r);
        cairo_line_to(cr, mx + r, my + 0.8 * r);
        cairo_line_to(cr, mx - r, my + 0.8 * r);
        cairo_close_path(cr);
        set(cr, green[dark]);
        cairo_fill_preserve(cr);
        stroke(cr, ground[dark], 0.8);
        break;
    default: break;
    }
}

void paint_cell(cairo_t *cr, bool dark, const struct paint_cell *c)
{
    const double w = c->w - (c->w > 6.0 ? GAP : 1.0), h = c->h - GAP;
    const bool out = c->use == MOE_USE_BAN || c->use == MOE_USE_BAN_SCORED;
    rounded(cr, c->x, c->y, w, h, 2.5);
    if (out)
        set(cr, ground[dark]); /* it says nothing, whatever it said before */
    else
        set(cr, colour(dark, c->share));
    cairo_fill(cr);
    if (out) {
        rounded(cr, c->x + 0.5, c->y + 0.5, w - 1.0, h - 1.0, 2.0);
        stroke(cr, ramp[dark][1], 1.0);
    }
    if (c->speaks && c->use == MOE_USE_FREE) {
        cairo_arc(cr, c->x + w / 2.0, c->y + h / 2.0, fmin(w, h) * 0.15, 0.0, 2.0 * G_PI);
        set(cr, c->share > 0.2 ? ground[dark] : ramp[dark][4]);
        cairo_fill(cr);
    }
    mark(cr, dark, c, w, h);
    if (c->focus) {
        rounded(cr, c->x - 0.5, c->y - 0.5, w + 1.0, h + 1.0, 3.0);
        stroke(cr, ramp[dark][4], 1.5);
    }
}

double paint_text(GtkWidget *w, cairo_t *cr, double x, double y, double align, const char *text)
{
    PangoLayout *layout = gtk_widget_create_pango_layout(w, text);
    PangoAttrList *small = pango_attr_list_new();
    GdkRGBA c;
    int width, height;
    pango_attr_list_insert(small, pango_attr_scale_new(0.78));
    pango_layout_set_attributes(layout, small);
    pango_attr_list_unref(small);
    pango_layout_get_pixel_size(layout, &width, &height);
    gtk_style_context_get_color(gtk_widget_get_style_context(w), &c);
    cairo_set_source_rgba(cr, c.red, c.green, c.blue, 0.72);
    cairo_move_to(cr, round(x - align * width), round(y - height / 2.0));
    pango_cairo_show_layout(cr, layout);
    g_object_unref(layout);
    return width;
}

/* ----------------------------------------------------------------------------------------------- legend */

#define RAMP_W 150.0
#define BOX    17.0

static void draw_ramp(GtkWidget *area, cairo_t *cr, bool dark)
{
    static const double tick[] = {0.0, 0.06, 0.25, 0.6};
    cairo_pattern_t *fill = cairo_pattern_create_linear(0.0, 0.0, RAMP_W, 0.0);
    char text[16];
    for (int i = 0; i <= 8; i++) { /* the colours are linear between fourths */
        const double at = i / 8.0;
        const struct rgb c = colour(dark, at * at * PAINT_FULL);
        cairo_pattern_add_color_stop_rgb(fill, at, c.r, c.g, c.b);
    }
    rounded(cr, 0.0, 2.0, RAMP_W, 12.0, 2.5);
    cairo_set_source(cr, fill);
    cairo_fill(cr);
    cairo_pattern_destroy(fill);
    for (size_t i = 0; i < G_N_ELEMENTS(tick); i++) {
        const double x = sqrt(tick[i] / PAINT_FULL) * RAMP_W;
        g_snprintf(text, sizeof text, "%.0f %%%s", 100.0 * tick[i], tick[i] >= PAINT_FULL ? "+" : "");
        paint_text(area, cr, x, 23.0, i == 0 ? 0.0 : i + 1 == G_N_ELEMENTS(tick) ? 0.7 : 0.5, text);
    }
}

static void draw_legend(GtkDrawingArea *area, cairo_t *cr, int width, int height, void *user)
{
    static const struct {
        const char *text;
        int use;
        bool speaks;
        double x, y; /* from the right half's corner */
    } sample[] = {{"speaks now", MOE_USE_FREE, true, 0.0, 0.0},
                  {"forced", MOE_USE_FORCE, false, 96.0, 0.0},
                  {"banned", MOE_USE_BAN, false, 0.0, 20.0},
                  {"dropped", MOE_USE_DROP, false, 96.0, 20.0}};
    const bool dark = paint_is_dark(GTK_WIDGET(area));
    const double left = width - 176.0;
    (void)height;
    (void)user;
    draw_ramp(GTK_WIDGET(area), cr, dark);
    for (size_t i = 0; i < G_N_ELEMENTS(sample); i++) {
        const double x = left + sample[i].x, y = sample[i].y;
        const struct paint_cell c = {x,    y, BOX + GAP, BOX + GAP, 0.02, sample[i].use, sample[i].speaks,
                                     false};
        paint_cell(cr, dark, &c);
        paint_text(GTK_WIDGET(area), cr, x + BOX + 6.0, y + BOX / 2.0, 0.0, sample[i].text);
    }
}

GtkWidget *heatmap_legend_new(void)
{
    GtkWidget *area = gtk_drawing_area_new();
    gtk_drawing_area_set_content_width(GTK_DRAWING_AREA(area), 330);
    gtk_drawing_area_set_content_height(GTK_DRAWING_AREA(area), 40);
    gtk_drawing_area_set_draw_func(GTK_DRAWING_AREA(area), draw_legend, NULL, NULL);
    return area;
}
