/* SPDX-License-Identifier: MIT */
/* The market place at dusk: painted once, pixel by pixel, into one picture. */
#ifndef GAME_BACKGROUND_H
#define GAME_BACKGROUND_H

#include <SDL.h>

#define VIEW_WIDTH  640 /* the picture; the window shows it enlarged */
#define VIEW_HEIGHT 360
#define GROUND_Y    186 /* where the houses stand */

/* NULL with SDL_GetError(). */
SDL_Texture *background_create(SDL_Renderer *r);

#endif
