/* SPDX-License-Identifier: MIT */
/* Speech bubbles: wrapping and drawing. */
#ifndef GAME_BUBBLE_H
#define GAME_BUBBLE_H

#include "font.h"

typedef struct bubble {
    const char *name, *note; /* label; note may be NULL */
    uint32_t color;          /* of label and border, 0xRRGGBB */
    const char *text;
    size_t n;     /* bytes of text to show */
    int x, y;     /* where the tail points to */
    int alpha;    /* 0 .. 255 */
    int thinking; /* show that more is to come: 0, or 1 and up for dots that walk */
    SDL_Rect box; /* set by bubble_place(): paper and label */
} bubble;

/* Calculates the box: above (x, y), a little towards the middle of the view, and above the `n` boxes `taken`.
 */
void bubble_place(bubble *b, const SDL_Rect *taken, int n);
void bubble_draw(const bubble *b, const font *f, SDL_Renderer *r);

#endif
