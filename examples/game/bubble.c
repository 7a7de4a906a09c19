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
#define TAIL       8  /* from the paper to the speaker, at least */
#define NOTE_GAP   8  /* between name and note */
#define PAPER      0xfaf4e3

typedef struct text_line {
    size_t at, n;
} text_line;

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

static int label_width(const bubble *b)
{
    int note = b->note ? font_width(b->note, strlen(b->note)) + NOTE_GAP : 0;
    return font_width(b->name, strlen(b->name)) + note + 10;
}

/* The lines to show: all, or the last ones. */
static int visible(const bubble *b, text_line line[LINES_CAP], int *first)
{
    int n = wrap(b->text, b->n, line);
    *first = n > LINES_MAX ? n - LINES_MAX : 0;
    return n;
}

void bubble_place(bubble *b, const SDL_Rect *taken, int n_taken)
{
    text_line line[LINES_CAP];
    int first, n = visible(b, line, &first), width = label_width(b);
    for (int i = first; i < n; i++) {
        int w = font_width(b->text + line[i].at, line[i].n);
        if (w > width) width = w;
    }
    b->box.w = width + 2 * PADDING;
    b->box.h = (n > first ? n - first : 1) * FONT_LINE + 2 * PADDING - 3 + LABEL;
    b->box.x =
        clamp(b->x - b->box.w / 2 + (VIEW_WIDTH / 2 - b->x) / 5, MARGIN, VIEW_WIDTH - MARGIN - b->box.w);
    b->box.y = b->y - TAIL - b->box.h;
    for (int i = 0; i < n_taken; i++)
        if (SDL_HasIntersection(&b->box, &taken[i])) b->box.y = taken[i].y - b->box.h - 4;
    b->box.y = clamp(b->box.y, MARGIN, VIEW_HEIGHT);
}

static void draw_label(const bubble *b, const font *f, SDL_Renderer *r)
{
    const SDL_Color light = {255, 250, 235, (uint8_t)b->alpha};
    const SDL_Color faint = {255, 236, 200, (uint8_t)(b->alpha * 3 / 4)};
    size_t n = strlen(b->name);
    int x = b->box.x + 4, y = b->box.y + 2;
    rounded(r, x, y, label_width(b), LABEL, b->color, b->alpha);
    font_draw(f, r, x + 5, y + 3, light, b->name, n);
    if (b->note)
        font_draw(f, r, x + 5 + font_width(b->name, n) + NOTE_GAP, y + 3, faint, b->note, strlen(b->note));
}

/* From the lower edge of the paper to the speaker, row by row: border, and paper within. */
static void draw_tail(const bubble *b, SDL_Renderer *r)
{
    int top = b->box.y + b->box.h, rows = b->y - top,
        from = clamp(b->x, b->box.x + 14, b->box.x + b->box.w - 14);
    for (int i = 0; i < rows; i++) {
        int x = from + (b->x - from) * i / rows, half = 6 - 6 * i / rows;
        fill(r, x - half - 1, top + i, 2 * half + 2, 1, b->color, b->alpha);
        if (half > 0) fill(r, x - half, top + i, 2 * half, 1, PAPER, b->alpha);
    }
}

void bubble_draw(const bubble *b, const font *f, SDL_Renderer *r)
{
    const SDL_Color ink = {0x2a, 0x22, 0x38, (uint8_t)b->alpha};
    text_line line[LINES_CAP];
    int first, n = visible(b, line, &first);
    int x = b->box.x, y = b->box.y + LABEL, w = b->box.w, h = b->box.h - LABEL;
    rounded(r, x + 2, y + 3, w, h, 0x120e20, b->alpha / 4); /* shadow */
    rounded(r, x - 1, y - 1, w + 2, h + 2, b->color, b->alpha);
    rounded(r, x, y, w, h, PAPER, b->alpha);
    draw_tail(b, r);
    for (int i = first; i < n; i++)
        font_draw(f, r, x + PADDING, y + PADDING + (i - first) * FONT_LINE, ink, b->text + line[i].at,
                  line[i].n);
    if (b->thinking)
        for (int i = 0; i < 3; i++)
            fill(r, x + w - 16 + 4 * i, y + h - 5 - (b->thinking / 8 % 3 == i), 2, 2, b->color, b->alpha);
    draw_label(b, f, r);
}
