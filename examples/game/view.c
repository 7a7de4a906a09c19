/* SPDX-License-Identifier: MIT */
/* See view.h. */
#include "view.h"
#include "background.h"
#include "bubble.h"
#include "sprites.h"
#include <math.h>
#include <string.h>

#define ZOOM 2  /* people are drawn with pixels of this size */
#define BAR  16 /* height of the line below */

static const sprite_look player_look = {HEAD_PLAYER, 0x3c5e8b, 0x253a5e, 0x4a3f5a, 0x7a4a2a, 0x73bed3};

int view_create(view *v, SDL_Renderer *r)
{
    memset(v, 0, sizeof *v);
    v->r = r;
    SDL_SetRenderDrawBlendMode(r, SDL_BLENDMODE_BLEND);
    if (font_create(&v->font, r) != 0) return -1;
    v->background = background_create(r);
    if (!v->background) return -1;
    for (int i = 0; i <= CAST_SIZE; i++) {
        sprite_look look = player_look;
        if (i < CAST_SIZE) {
            const role *c = &cast[i];
            look = (sprite_look){c->head, c->coat, c->dark, c->legs, c->hair, c->accent};
        }
        v->people[i] = sprite_create(r, &look);
        if (!v->people[i]) return -1;
        if (i < CAST_SIZE && cast[i].ghost) SDL_SetTextureAlphaMod(v->people[i], 170);
    }
    return 0;
}

void view_free(view *v)
{
    font_free(&v->font);
    if (v->background) SDL_DestroyTexture(v->background);
    for (int i = 0; i <= CAST_SIZE; i++)
        if (v->people[i]) SDL_DestroyTexture(v->people[i]);
    memset(v, 0, sizeof *v);
}

static void fill(SDL_Renderer *r, int x, int y, int w, int h, uint32_t rgb, int alpha)
{
    SDL_Rect rect = {x, y, w, h};
    SDL_SetRenderDrawColor(r, (uint8_t)(rgb >> 16), (uint8_t)(rgb >> 8), (uint8_t)rgb, (uint8_t)alpha);
    SDL_RenderFillRect(r, &rect);
}

/* A person with the feet at (x, y), `lift` pixels above the ground. */
static void draw_person(const view *v, int i, double x, double y, int step, int lift, int left)
{
    SDL_Rect from = {step * SPRITE_WIDTH, 0, SPRITE_WIDTH, SPRITE_HEIGHT};
    SDL_Rect to = {(int)x - SPRITE_WIDTH * ZOOM / 2, (int)y - SPRITE_HEIGHT * ZOOM - lift,
                   SPRITE_WIDTH * ZOOM, SPRITE_HEIGHT * ZOOM};
    for (int j = 0; j < 3; j++) /* shadow */
        fill(v->r, (int)x - 13 + 2 * j, (int)y - 3 + j, 26 - 4 * j, 5 - 2 * j, 0x0c0a1a, 50);
    SDL_RenderCopyEx(v->r, v->people[i], &from, &to, 0, NULL, left ? SDL_FLIP_HORIZONTAL : SDL_FLIP_NONE);
}

/* Everybody, the player included, from back to front: insertion sort by y. */
static void sort_people(const scene *s, int order[CAST_SIZE + 1])
{
    double y[CAST_SIZE + 1];
    for (int i = 0; i <= CAST_SIZE; i++) {
        int j = i;
        y[i] = i < CAST_SIZE ? cast[i].y : s->y;
        for (; j > 0 && y[order[j - 1]] > y[i]; j--) order[j] = order[j - 1];
        order[j] = i;
    }
}

static void draw_people(const view *v, const scene *s, const int order[CAST_SIZE + 1])
{
    for (int k = 0; k <= CAST_SIZE; k++) {
        int i = order[k];
        if (i == CAST_SIZE) {
            draw_person(v, i, s->x, s->y, s->walking && (int)(s->time * 7) % 2, 0, s->facing < 0);
        } else {
            const talk *t = &s->talk[i];
            int nod = t->near && (t->more || t->shown < strlen(t->text)) && (int)(s->time * 6 + i) % 2;
            draw_person(v, i, cast[i].x, cast[i].y, 0, nod, s->x < cast[i].x);
        }
    }
}

/* Bubbles of those nearest to the viewer are placed first; others make room above. Those that fade come last.
 */
static void draw_bubbles(const view *v, const scene *s, const int order[CAST_SIZE + 1])
{
    SDL_Rect taken[CAST_SIZE];
    bubble b[CAST_SIZE];
    int n = 0;
    for (int near = 1; near >= 0; near--)
        for (int k = CAST_SIZE; k >= 0; k--) {
            int i = order[k];
            const talk *t = &s->talk[i];
            if (i == CAST_SIZE || t->near != near || t->fade <= 0) continue;
            memset(&b[n], 0, sizeof b[n]);
            b[n].name = cast[i].name;
            b[n].note = cast[i].note;
            b[n].color = cast[i].dark;
            b[n].text = t->text;
            b[n].n = t->shown;
            b[n].x = cast[i].x;
            b[n].y = cast[i].y - SPRITE_HEIGHT * ZOOM - 2;
            b[n].alpha = (int)(255 * t->fade);
            if (near && (t->more || t->shown < strlen(t->text))) b[n].thinking = 1 + (int)(s->time * 60);
            bubble_place(&b[n], taken, n);
            taken[n] = b[n].box;
            n++;
        }
    while (n-- > 0) bubble_draw(&b[n], &v->font, v->r);
}

/* Bars of the last frames: height is the work, the line is 1/60 s; orange ones had speech in them. */
static void draw_graph(const view *v, const meter *m, int x, int y, int h)
{
    fill(v->r, x - 1, y, METER_RECENT + 2, h, 0x000000, 90);
    for (int i = 0; i < METER_RECENT && (size_t)i < m->n; i++) {
        float ms = m->recent[(m->n + METER_RECENT - 1 - (size_t)i) % METER_RECENT];
        int height = (int)(fabsf(ms) * (float)h / (1000.0f / 60.0f) + 0.999f);
        if (height > h) height = h;
        fill(v->r, x + METER_RECENT - 1 - i, y + h - height, 1, height, ms < 0 ? 0xf6a04d : 0x6fb3b8, 255);
    }
}

void view_draw(const view *v, const scene *s, const meter *m, const char *figures, const char *error)
{
    const SDL_Color light = {0xe8, 0xe0, 0xf0, 255}, warn = {0xff, 0xb0, 0x90, 255};
    const char *text = error ? error : figures;
    int order[CAST_SIZE + 1];
    SDL_RenderCopy(v->r, v->background, NULL, NULL);
    sort_people(s, order);
    draw_people(v, s, order);
    draw_bubbles(v, s, order);
    fill(v->r, 0, VIEW_HEIGHT - BAR, VIEW_WIDTH, BAR, 0x120e20, 200);
    font_draw(&v->font, v->r, 8, VIEW_HEIGHT - BAR + 5, error ? warn : light, text, strlen(text));
    draw_graph(v, m, VIEW_WIDTH - METER_RECENT - 8, VIEW_HEIGHT - BAR + 2, BAR - 4);
    SDL_RenderPresent(v->r);
}

int view_save(const view *v, const char *path)
{
    int w, h, bad;
    SDL_Surface *s;
    if (SDL_GetRendererOutputSize(v->r, &w, &h) != 0) return -1;
    s = SDL_CreateRGBSurfaceWithFormat(0, w, h, 24, SDL_PIXELFORMAT_BGR24);
    if (!s) return -1;
    bad = SDL_RenderReadPixels(v->r, NULL, SDL_PIXELFORMAT_BGR24, s->pixels, s->pitch) != 0 ||
          SDL_SaveBMP(s, path) != 0;
    SDL_FreeSurface(s);
    return bad ? -1 : 0;
}
