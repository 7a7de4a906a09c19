/* SPDX-License-Identifier: MIT */
/*
 * A small proportional bitmap font, drawn for this example: capitals are 7 pixels high, small letters 5, one
 * row below the line. ASCII, the letters of German and French, and their quotation marks. Text is UTF-8.
 */
#ifndef GAME_FONT_H
#define GAME_FONT_H

#include <SDL.h>

#define FONT_HEIGHT 8  /* pixels from the top of a capital to the lowest pixel */
#define FONT_LINE   11 /* from one line of text to the next */

/* One character: 8 rows from top to bottom, bit 7 is the leftmost pixel. Accents are glyphs of two rows. */
typedef struct glyph {
    uint16_t code; /* Unicode */
    uint8_t width; /* in pixels, without the gap that follows */
    uint8_t row[8];
} glyph;
extern const glyph font_glyphs[]; /* sorted by code */
extern const size_t font_n_glyphs;

typedef struct font {
    SDL_Texture *atlas; /* all glyphs in white, 8 x 8 pixels each, in a row */
} font;

/* Makes the atlas. 0, or -1 with SDL_GetError(). */
int font_create(font *f, SDL_Renderer *r);
void font_free(font *f);

/* Width in pixels of n bytes of text. */
int font_width(const char *text, size_t n);
/* Draws n bytes of text with the upper left corner of the first capital at (x, y). */
void font_draw(const font *f, SDL_Renderer *r, int x, int y, SDL_Color color, const char *text, size_t n);

#endif
