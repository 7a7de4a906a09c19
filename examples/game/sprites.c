/* SPDX-License-Identifier: MIT */
/*
 * Drawn here as text: o outline, s skin, e eye, h hair, c coat, d its dark side, t legs, a accent, w white.
 */
#include "sprites.h"

#define HEAD_ROWS 9
#define BODY_ROWS 9

typedef const char picture_row[SPRITE_WIDTH + 1];

/* clang-format off */
static picture_row heads[HEAD_COUNT][HEAD_ROWS] = {
    {"............", "...oooooo...", "..ohhhhhho..", "..ohhhhhho..", "..ohsshhho..", "..ohesseho..",
     "..osssssso..", "...osssso...", "....oooo...."},
    {"....oooo....", "...occcco...", "..occcccco..", "..occhhcco..", "..ochsshco..", "..ocesseco..",
     "..ocssssco..", "..occsscco..", "...occcco..."},
    {".......oaao.", "...oooaaao..", "..occcaaoo..", ".occcccccco.", "..ohssssho..", "..ohesseho..",
     "..osssssso..", "...oshhso...", "....ohho...."},
    {".....oo.....", "....occo....", "...occcdo...", ".ooccccddoo.", ".odohssoddo.", "..ohesseho..",
     "..osssssso..", "...ossssoao.", "....ooooao.."},
    {"...owwwwo...", "..owwwwwwo..", "..owwwwwwo..", "...owwwwo...", "..ohwwwwho..", "..ohesseho..",
     "..osssssso..", "..hosssoh...", "....oooo...."},
    {"....oooo....", "...occcco...", "...oaaaao...", ".oocccccdoo.", "..ohssssho..", "..ohesseho..",
     "..osssssso..", "...osssso...", "....oooo...."},
};
/* With trousers, and in a long robe. */
static picture_row bodies[2][BODY_ROWS] = {
    {"...occcco...", "..occaacco..", ".occcaaccco.", ".ocdccccdco.", ".ocdccccdco.", ".osddccddso.",
     "..oddddddo..", "..otto.otto.", "..ooo..ooo.."},
    {"...ocaaco...", "..ocaaaaco..", ".occcaaccco.", ".ocdccccdco.", ".ocdccccdco.", ".osdccccdso.",
     "..odccccdo..", ".odccccccdo.", ".oooooooooo."},
};
/* The last two rows in the middle of a step. */
static picture_row strides[2][2] = {
    {".ottoo.otto.", ".ooo....ooo."},
    {"..odccccddo.", "..ooooooooo."},
};
/* clang-format on */
static const char robed[HEAD_COUNT] = {0, 1, 0, 0, 1, 0};

static uint32_t color_of(const sprite_look *look, char c)
{
    switch (c) {
    case 'o': return 0xff1a1628;
    case 's': return 0xffe8b796;
    case 'e': return 0xff2a2238;
    case 'w': return 0xfff4f0e4;
    case 'h': return 0xff000000 | look->hair;
    case 'c': return 0xff000000 | look->coat;
    case 'd': return 0xff000000 | look->dark;
    case 't': return 0xff000000 | look->legs;
    case 'a': return 0xff000000 | look->accent;
    default: return 0;
    }
}

SDL_Texture *sprite_create(SDL_Renderer *r, const sprite_look *look)
{
    SDL_Surface *s = SDL_CreateRGBSurfaceWithFormat(0, SPRITE_STEPS * SPRITE_WIDTH, SPRITE_HEIGHT, 32,
                                                    SDL_PIXELFORMAT_ARGB8888);
    SDL_Texture *t;
    int robe = robed[look->head];
    if (!s) return NULL;
    for (int step = 0; step < SPRITE_STEPS; step++)
        for (int y = 0; y < SPRITE_HEIGHT; y++) {
            uint32_t *pixel = (uint32_t *)(void *)((char *)s->pixels + y * s->pitch) + step * SPRITE_WIDTH;
            const char *row = y < HEAD_ROWS                         ? heads[look->head][y]
                              : step == 1 && y >= SPRITE_HEIGHT - 2 ? strides[robe][y - (SPRITE_HEIGHT - 2)]
                                                                    : bodies[robe][y - HEAD_ROWS];
            for (int x = 0; x < SPRITE_WIDTH; x++) pixel[x] = color_of(look, row[x]);
        }
    t = SDL_CreateTextureFromSurface(r, s);
    SDL_FreeSurface(s);
    if (t) SDL_SetTextureBlendMode(t, SDL_BLENDMODE_BLEND);
    return t;
}
