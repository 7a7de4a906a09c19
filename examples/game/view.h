/* SPDX-License-Identifier: MIT */
/* Draws the scene: background, people from back to front, bubbles, the line of figures below. */
#ifndef GAME_VIEW_H
#define GAME_VIEW_H

#include "font.h"
#include "meter.h"
#include "scene.h"

typedef struct view {
    SDL_Renderer *r; /* not owned */
    font font;
    SDL_Texture *background, *people[CAST_SIZE + 1]; /* the last one is the player */
} view;

/* 0, or -1 with SDL_GetError(); view_free() in either case. */
int view_create(view *v, SDL_Renderer *r);
void view_free(view *v);
/* `figures` is the text of the line below, `error` NULL or what to say instead. */
void view_draw(const view *v, const scene *s, const meter *m, const char *figures, const char *error);
/* Writes what was drawn to a BMP file. 0, or -1 with SDL_GetError(). */
int view_save(const view *v, const char *path);

#endif
