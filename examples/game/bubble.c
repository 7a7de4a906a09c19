/* SPDX-License-Identifier: MIT */
/* Word by word into lines; the box grows with them, and scrolls when it is full. */
#include "bubble.h"
#include "background.h"
#include <string.h>

#define TEXT_WIDTH 182
#define LINES_MAX  7 /* lines shown */
#define LINES_CAP  64
#define PADDING    7
#define LABEL      12 /* height of the name's label */
#define MARGIN     4  /* to the edge of the view */

typedef struct text_line {
    size_t at, n;
} text_line;

void bubble_tidy(char *text)
{
    char *out = text, last = ' ';
    for (const char *p = text; *p; p++) {
        char c = *p == '\r' || *p == '\t' ? ' ' : *p;
        if (c == '_' || (c == ' ' && (last == ' ' || last == '\n'))) continue;
        if (c == '\n' && (last == '\n' || out == text)) continue;
        last = *out++ = c;
    }
    *out = '\0';
}

/* Breaks text into lines at blanks and line ends. Returns their number. */
static int wrap(const char *text, size_t n, text_line *line)
{
    int count = 0;
    size_t at = 0;
    while (at < n && count < LINES_CAP) {
        size_t end = at, next = at; /* the line so far, the beginning of the one that follows */
        while (next < n) {
            size_t word = next;
            while (word < n && text[word] != ' ' && text[word] != '\n') word++;
            if (font_width(text + at, word - at) > TEXT_WIDTH && end > at) break;
            end = word;
            next = word < n ? word + 1 : word;
            if (word < n && text[word] == '\n') break;
        }
        line[count].at = at;
        line[count++].n = end - at;
        at = next;
    }
    return count;
}

static void fill(SDL_Renderer *r, int x, int y, int w, int h, uint32_t color, int alpha)
{
    SDL_Rect rect = {x, y, w, h};
    SDL_SetRenderDrawColor(r, (uint8_t)(color >> 16), (uint8_t)(color >> 8), (uint8_t)color, (uint8_t)alpha);
    SDL_RenderFillRect(r, &rect);
}

/* A box with corners cut by two pixels; the parts do not overlap, so that it may be translucent. */
static void rounded(SDL_Renderer *r, int x, int y, int w, int h, uint32_t color, int alpha)
{
    fill(r, x + 2, y, w - 4, 1, color, alpha);
    fill(r, x + 1, y + 1, w - 2, 1, color, alpha);
    fill(r, x, y + 2, w, h - 4, color, alpha);
    fill(r, x + 1, y + h - 2, w - 2, 1, color, alpha);
    fill(r, x + 2, y + h - 1, w - 4, 1, color, alpha);
}

static int clamp(int v, int low, int high) { return v < low ? low : v > high ? high : v; }

static void draw_label(const bubble *b, const font *f, SDL_Renderer *r, int x, int y)
{
    const SDL_Color light = {255, 250, 235, (uint8_t)b->alpha},
                    faint = {255, 236, 200, (uint8_t)(b->alpha * 3 / 4)};
    int name = font_width(b->name, strlen(b->name)),
        note = b->note ? font_width(b->note, strlen(b->note)) + 8 : 0;
    rounded(r, x, y, name + note + 10, LABEL, b->color, b->alpha);
    font_draw(f, r, x + 5, y + 3, light, b->name, strlen(b->name));
    if (b->note) font_draw(f, r, x + 5 + name + 8, y + 3, faint, b->note, strlen(b->note));
}

void bubble_draw(const bubble *b, const font *f, SDL_Renderer *r)
{
    const SDL_Color ink = {0x2a, 0x22, 0x38, (uint8_t)b->alpha};
    text_line line[LINES_CAP];
    int n = wrap(b->text, b->n, line), first = n > LINES_MAX ? n - LINES_MAX : 0, width = 24, x, y, w, h;
    int label =
        font_width(b->name, strlen(b->name)) + (b->note ? font_width(b->note, strlen(b->note)) + 8 : 0);
    for (int i = first; i < n; i++) {
        int lw = font_width(b->text + line[i].at, line[i].n);
        if (lw > width) width = lw;
    }
    if (width < label + 10) width = label + 10;
    w = width + 2 * PADDING;
    h = (n - first > 0 ? n - first : 1) * FONT_LINE + 2 * PADDING - 3;
    x = clamp(b->x - w / 2, MARGIN, VIEW_WIDTH - MARGIN - w);
    y = clamp(b->y - 8 - h, MARGIN + LABEL, VIEW_HEIGHT);
    rounded(r, x + 2, y + 3, w, h, 0x120e20, b->alpha / 4); /* shadow */
    rounded(r, x - 1, y - 1, w + 2, h + 2, b->color, b->alpha);
    rounded(r, x, y, w, h, 0xfaf4e3, b->alpha);
    for (int i = 0; i < 7; i++) { /* the tail */
        int tx = clamp(b->x, x + 12, x + w - 12);
        fill(r, tx - 6 + i / 2, y + h + i, 12 - 2 * (i / 2) - i, 1, b->color, b->alpha);
        if (i < 6) fill(r, tx - 5 + i / 2, y + h + i, 10 - 2 * (i / 2) - i, 1, 0xfaf4e3, b->alpha);
    }
    for (int i = first; i < n; i++)
        font_draw(f, r, x + PADDING, y + PADDING + (i - first) * FONT_LINE, ink, b->text + line[i].at,
                  line[i].n);
    if (b->thinking)
        for (int i = 0; i < 3; i++)
            fill(r, x + w - 16 + 4 * i, y + h - 5 - (b->thinking / 8 % 3 == i), 2, 2, b->color, b->alpha);
    draw_label(b, f, r, x + 4, y - LABEL + 2);
}
