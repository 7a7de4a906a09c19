/* SPDX-License-Identifier: MIT */
/*
 * The map's data, its geometry and what pointer and keys do. Colours and marks are drawn in paint.c, which
 * the legend shares. Everything here runs on the main thread.
 */
#include "heatmap.h"
#include "paint.h"

#include <moe/moe.h>

#define LEFT 30.0 /* room for the layers' numbers */
#define TOP  18.0 /* room for the experts' numbers */
#define CELL 8.0  /* a cell is at least so wide; wider ones fill the area */
#define MANY 16   /* from so many layers on, rows are low */

struct heatmap {
    uint32_t n_rows, n_experts;
    uint32_t *layer;      /* [n_rows] */
    float *share;         /* [2][n_rows][n_experts]: of late, and of the last token */
    uint8_t *use;         /* [n_rows][n_experts] of MOE_USE_* */
    uint32_t row, expert; /* where the keys are */
    heatmap_pressed_fn pressed;
    void *user;
};

static struct heatmap *of(GtkWidget *map) { return g_object_get_data(G_OBJECT(map), "heatmap"); }

static void heatmap_free(void *p)
{
    struct heatmap *h = p;
    g_free(h->layer);
    g_free(h->share);
    g_free(h->use);
    g_free(h);
}

/* --------------------------------------------------------------------------------------------- geometry */

static double cell_height(const struct heatmap *h) { return h->n_rows > MANY ? 12.0 : 21.0; }

static double cell_width(const struct heatmap *h, int width)
{
    const double w = h->n_experts ? (width - LEFT - 1.0) / h->n_experts : CELL;
    return w < CELL ? CELL : w;
}

/* The cell at a place; false if there is none. */
static bool find_cell(GtkWidget *map, double x, double y, uint32_t *row, uint32_t *expert)
{
    const struct heatmap *h = of(map);
    const double w = cell_width(h, gtk_widget_get_width(map));
    if (x < LEFT || y < TOP || x >= LEFT + w * h->n_experts || y >= TOP + cell_height(h) * h->n_rows)
        return false;
    *row = (uint32_t)((y - TOP) / cell_height(h));
    *expert = (uint32_t)((x - LEFT) / w);
    return *row < h->n_rows && *expert < h->n_experts;
}

static float *cell(const struct heatmap *h, uint32_t row, uint32_t expert, bool last_token)
{
    return h->share + ((size_t)(last_token ? h->n_rows : 0) + row) * h->n_experts + expert;
}

/* Shares sum to less than 1 while few tokens were seen; what is shown always sums to 1. */
static double row_sum(const struct heatmap *h, uint32_t row)
{
    double sum = 0.0;
    for (uint32_t e = 0; e < h->n_experts; e++) sum += *cell(h, row, e, false);
    return sum;
}

/* ---------------------------------------------------------------------------------------------- drawing */

static void draw_numbers(GtkWidget *map, const struct heatmap *h, cairo_t *cr, double w)
{
    const uint32_t step = w >= 17.0 ? 1 : w >= 10.0 ? 4 : 8;
    char text[16];
    for (uint32_t e = 0; e < h->n_experts; e += step) {
        g_snprintf(text, sizeof text, "%u", e);
        paint_text(map, cr, LEFT + w * (e + 0.5), TOP / 2.0, 0.5, text);
    }
    for (uint32_t row = 0; row < h->n_rows; row++) {
        g_snprintf(text, sizeof text, "%u", h->layer[row]);
        paint_text(map, cr, LEFT - 8.0, TOP + cell_height(h) * (row + 0.5), 1.0, text);
    }
}

static void draw(GtkDrawingArea *area, cairo_t *cr, int width, int height, void *user)
{
    GtkWidget *map = GTK_WIDGET(area);
    const struct heatmap *h = of(map);
    const double w = cell_width(h, width);
    const bool dark = paint_is_dark(map);
    (void)height;
    (void)user;
    draw_numbers(map, h, cr, w);
    for (uint32_t row = 0; row < h->n_rows; row++) {
        const double sum = row_sum(h, row);
        for (uint32_t e = 0; e < h->n_experts; e++) {
            struct paint_cell c = {LEFT + w * e, TOP + cell_height(h) * row, w, cell_height(h), 0.0, 0, false,
                                   false};
            c.share = sum > 0.0 ? *cell(h, row, e, false) / sum : 0.0;
            c.use = h->use[(size_t)row * h->n_experts + e];
            c.speaks = *cell(h, row, e, true) > 0.0f;
            c.focus = gtk_widget_has_focus(map) &&
                      gtk_window_get_focus_visible(GTK_WINDOW(gtk_widget_get_root(map))) && row == h->row &&
                      e == h->expert;
            paint_cell(cr, dark, &c);
        }
    }
}

/* ------------------------------------------------------------------------------------- pointer and keys */

static const char *use_text(int use)
{
    switch (use) {
    case MOE_USE_BAN: return "banned: others take its place";
    case MOE_USE_BAN_SCORED: return "banned after scoring: others take its place";
    case MOE_USE_DROP: return "dropped: chosen, but silent";
    case MOE_USE_DROP_RENORM: return "dropped: the others speak louder";
    case MOE_USE_FORCE: return "forced: always chosen";
    default: return "free";
    }
}

static gboolean tooltip(GtkWidget *map, int x, int y, gboolean keyboard, GtkTooltip *tip, void *user)
{
    const struct heatmap *h = of(map);
    uint32_t row = h->row, expert = h->expert;
    char *text;
    float now;
    (void)user;
    if (!(keyboard ? row < h->n_rows && expert < h->n_experts : find_cell(map, x, y, &row, &expert)))
        return FALSE;
    now = *cell(h, row, expert, true);
    text = g_strdup_printf("<b>Layer %u, expert %u</b>\n%.1f %% of the last tokens%s\n%s", h->layer[row],
                           expert, 100.0 * heatmap_share(map, row, expert),
                           now > 0.0f ? ", and speaking now" : "", use_text(heatmap_use(map, row, expert)));
    gtk_tooltip_set_markup(tip, text);
    g_free(text);
    return TRUE;
}

static void press_at(GtkWidget *map, double x, double y, bool free)
{
    struct heatmap *h = of(map);
    uint32_t row, expert;
    if (!find_cell(map, x, y, &row, &expert)) return;
    h->row = row;
    h->expert = expert;
    h->pressed(row, expert, free, h->user);
    gtk_widget_queue_draw(map);
}

static void clicked(GtkGestureClick *click, int n, double x, double y, void *user)
{
    GtkWidget *map = gtk_event_controller_get_widget(GTK_EVENT_CONTROLLER(click));
    const guint button = gtk_gesture_single_get_current_button(GTK_GESTURE_SINGLE(click));
    (void)n;
    (void)user;
    if (button == GDK_BUTTON_PRIMARY || button == GDK_BUTTON_SECONDARY)
        press_at(map, x, y, button == GDK_BUTTON_SECONDARY);
}

/* Arrows move, space or Enter presses, Delete lets go free. */
static gboolean key(GtkEventControllerKey *keys, guint value, guint code, GdkModifierType state, void *user)
{
    GtkWidget *map = gtk_event_controller_get_widget(GTK_EVENT_CONTROLLER(keys));
    struct heatmap *h = of(map);
    (void)code;
    (void)user;
    if (h->n_rows == 0 || h->n_experts == 0 || (state & (GDK_CONTROL_MASK | GDK_ALT_MASK))) return FALSE;
    switch (value) {
    case GDK_KEY_Left: h->expert -= h->expert > 0; break;
    case GDK_KEY_Right: h->expert += h->expert + 1 < h->n_experts; break;
    case GDK_KEY_Up: h->row -= h->row > 0; break;
    case GDK_KEY_Down: h->row += h->row + 1 < h->n_rows; break;
    case GDK_KEY_space:
    case GDK_KEY_Return: h->pressed(h->row, h->expert, false, h->user); break;
    case GDK_KEY_Delete: h->pressed(h->row, h->expert, true, h->user); break;
    default: return FALSE;
    }
    gtk_widget_queue_draw(map);
    gtk_widget_trigger_tooltip_query(map);
    return TRUE;
}

bool heatmap_press(GtkWidget *map, uint32_t row, uint32_t expert, bool free)
{
    const struct heatmap *h = of(map);
    if (row >= h->n_rows || expert >= h->n_experts) return false;
    press_at(map, LEFT + cell_width(h, gtk_widget_get_width(map)) * (expert + 0.5),
             TOP + cell_height(h) * (row + 0.5), free);
    return true;
}

/* ------------------------------------------------------------------------------------------------- data */

void heatmap_set_shape(GtkWidget *map, uint32_t n_rows, uint32_t n_experts, const uint32_t *layer)
{
    struct heatmap *h = of(map);
    const size_t n = (size_t)n_rows * n_experts;
    h->n_rows = n_rows;
    h->n_experts = n_experts;
    h->row = h->expert = 0;
    g_free(h->layer);
    g_free(h->share);
    g_free(h->use);
    h->layer = g_memdup2(layer, sizeof *layer * n_rows);
    h->share = g_new0(float, 2 * n + 1);
    h->use = g_new0(uint8_t, n + 1);
    gtk_drawing_area_set_content_width(GTK_DRAWING_AREA(map), (int)(LEFT + CELL * n_experts) + 1);
    gtk_drawing_area_set_content_height(GTK_DRAWING_AREA(map), (int)(TOP + cell_height(h) * n_rows) + 1);
    gtk_widget_queue_draw(map);
}

void heatmap_set_heat(GtkWidget *map, const float *heat)
{
    struct heatmap *h = of(map);
    memcpy(h->share, heat, 2 * sizeof *heat * h->n_rows * h->n_experts);
    gtk_widget_queue_draw(map);
}

void heatmap_set_uses(GtkWidget *map, const uint8_t *uses)
{
    struct heatmap *h = of(map);
    memcpy(h->use, uses, (size_t)h->n_rows * h->n_experts);
    gtk_widget_queue_draw(map);
}

double heatmap_share(GtkWidget *map, uint32_t row, uint32_t expert)
{
    const struct heatmap *h = of(map);
    const double sum = row < h->n_rows && expert < h->n_experts ? row_sum(h, row) : 0.0;
    return sum > 0.0 ? *cell(h, row, expert, false) / sum : 0.0;
}

int heatmap_use(GtkWidget *map, uint32_t row, uint32_t expert)
{
    const struct heatmap *h = of(map);
    return row < h->n_rows && expert < h->n_experts ? h->use[(size_t)row * h->n_experts + expert]
                                                    : MOE_USE_FREE;
}

GtkWidget *heatmap_new(heatmap_pressed_fn pressed, void *user)
{
    GtkWidget *map = gtk_drawing_area_new();
    GtkGesture *click = gtk_gesture_click_new();
    GtkEventController *keys = gtk_event_controller_key_new();
    struct heatmap *h = g_new0(struct heatmap, 1);
    h->pressed = pressed;
    h->user = user;
    g_object_set_data_full(G_OBJECT(map), "heatmap", h, heatmap_free);
    gtk_drawing_area_set_draw_func(GTK_DRAWING_AREA(map), draw, NULL, NULL);
    gtk_gesture_single_set_button(GTK_GESTURE_SINGLE(click), 0); /* any */
    g_signal_connect(click, "pressed", G_CALLBACK(clicked), NULL);
    g_signal_connect(keys, "key-pressed", G_CALLBACK(key), NULL);
    gtk_widget_add_controller(map, GTK_EVENT_CONTROLLER(click));
    gtk_widget_add_controller(map, keys);
    gtk_widget_set_focusable(map, TRUE);
    gtk_widget_set_has_tooltip(map, TRUE);
    g_signal_connect(map, "query-tooltip", G_CALLBACK(tooltip), NULL);
    g_signal_connect_swapped(map, "notify::has-focus", G_CALLBACK(gtk_widget_queue_draw), map);
    gtk_accessible_update_property(GTK_ACCESSIBLE(map), GTK_ACCESSIBLE_PROPERTY_LABEL,
                                   "Share of each expert in each layer", -1);
    return map;
}
