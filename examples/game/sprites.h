/* SPDX-License-Identifier: MIT */
/* People of 12 x 18 pixels, put together from a head and a body, and coloured for each one. */
#ifndef GAME_SPRITES_H
#define GAME_SPRITES_H

#include <SDL.h>

enum { HEAD_PLAYER, HEAD_SHAWL, HEAD_FEATHER, HEAD_DEERSTALKER, HEAD_TOQUE, HEAD_TRAVELLER, HEAD_COUNT };

#define SPRITE_WIDTH  12
#define SPRITE_HEIGHT 18
#define SPRITE_STEPS  2 /* pictures in a row: standing, striding */

typedef struct sprite_look {
    int head;
    uint32_t coat, dark, legs, hair, accent; /* 0xRRGGBB */
} sprite_look;

/* A texture with both pictures side by side; NULL with SDL_GetError(). */
SDL_Texture *sprite_create(SDL_Renderer *r, const sprite_look *look);

#endif
