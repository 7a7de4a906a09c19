/* SPDX-License-Identifier: MIT */
/*
 * Text of the bitmap font: UTF-8 to glyphs, widths, drawing. A letter with an accent is drawn as its base
 * letter and the accent's glyph; what the font lacks comes out as a box.
 */
#include "font.h"
#include <string.h>

#define CELL 8 /* pixels of the atlas that one glyph takes, in both directions */

/* Letters with accents. Capitals carry theirs above the line of capitals. */
typedef struct accented {
    uint16_t code, base, mark;
} accented;
/* clang-format off */
static const accented accents[] = {
    {0xc0, 'A', 0x300}, {0xc2, 'A', 0x302}, {0xc4, 'A', 0x308}, {0xc7, 'C', 0x327}, {0xc8, 'E', 0x300},
    {0xc9, 'E', 0x301}, {0xca, 'E', 0x302}, {0xcb, 'E', 0x308}, {0xce, 'I', 0x302}, {0xd4, 'O', 0x302},
    {0xd6, 'O', 0x308}, {0xd9, 'U', 0x300}, {0xdb, 'U', 0x302}, {0xdc, 'U', 0x308}, {0xe0, 'a', 0x300},
    {0xe1, 'a', 0x301}, {0xe2, 'a', 0x302}, {0xe4, 'a', 0x308}, {0xe7, 'c', 0x327}, {0xe8, 'e', 0x300},
    {0xe9, 'e', 0x301}, {0xea, 'e', 0x302}, {0xeb, 'e', 0x308}, {0xed, 0x131, 0x301}, {0xee, 0x131, 0x302},
    {0xef, 0x131, 0x308}, {0xf1, 'n', 0x303}, {0xf3, 'o', 0x301}, {0xf4, 'o', 0x302}, {0xf6, 'o', 0x308},
    {0xf9, 'u', 0x300}, {0xfa, 'u', 0x301}, {0xfb, 'u', 0x302}, {0xfc, 'u', 0x308},
};
/* clang-format on */

/* The next character of UTF-8 text, and *i moved behind it; bytes that are none come out as U+FFFD. */
static uint32_t next_code(const char *text, size_t n, size_t *i)
{
    const unsigned char *s = (const unsigned char *)text;
    unsigned char first = s[(*i)++];
    int more = first < 0x80 ? 0 : first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : first >= 0xc0 ? 1 : -1;
    uint32_t code = more <= 0 ? first : first & (0x3fu >> more);
    if (more < 0) return 0xfffd;
    for (; more > 0; more--) {
        if (*i >= n || (s[*i] & 0xc0) != 0x80) return 0xfffd;
        code = code << 6 | (s[(*i)++] & 0x3fu);
    }
    return code;
}

/* Place of a character in the table, that of U+FFFD for one which is not there. */
static size_t find_glyph(uint32_t code)
{
    size_t low = 0, high = font_n_glyphs;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (font_glyphs[middle].code == code) return middle;
        if (font_glyphs[middle].code < code)
            low = middle + 1;
        else
            high = middle;
    }
    return font_n_glyphs - 1;
}

/* Splits an accented letter; mark is 0 for all others. */
static uint32_t split(uint32_t code, uint32_t *mark)
{
    *mark = 0;
    for (size_t i = 0; i < sizeof accents / sizeof *accents; i++)
        if (accents[i].code == code) {
            *mark = accents[i].mark;
            return accents[i].base;
        }
    return code == 0xa0 ? ' ' : code;
}

int font_create(font *f, SDL_Renderer *r)
{
    SDL_Surface *s =
        SDL_CreateRGBSurfaceWithFormat(0, (int)font_n_glyphs * CELL, CELL, 32, SDL_PIXELFORMAT_ARGB8888);
    f->atlas = NULL;
    if (!s) return -1;
    for (size_t g = 0; g < font_n_glyphs; g++)
        for (int y = 0; y < CELL; y++) {
            uint32_t *pixel = (uint32_t *)((char *)s->pixels + y * s->pitch) + g * CELL;
            for (int x = 0; x < CELL; x++)
                pixel[x] = font_glyphs[g].row[y] & (0x80u >> x) ? 0xffffffffu : 0x00ffffffu;
        }
    f->atlas = SDL_CreateTextureFromSurface(r, s);
    SDL_FreeSurface(s);
    if (!f->atlas) return -1;
    return SDL_SetTextureBlendMode(f->atlas, SDL_BLENDMODE_BLEND);
}

void font_free(font *f)
{
    if (f->atlas) SDL_DestroyTexture(f->atlas);
    f->atlas = NULL;
}

int font_width(const char *text, size_t n)
{
    int width = 0;
    uint32_t mark;
    for (size_t i = 0; i < n;)
        width += font_glyphs[find_glyph(split(next_code(text, n, &i), &mark))].width + 1;
    return width > 0 ? width - 1 : 0;
}

static void draw_glyph(const font *f, SDL_Renderer *r, size_t g, int x, int y)
{
    SDL_Rect from = {(int)g * CELL, 0, font_glyphs[g].width, CELL};
    SDL_Rect to = {x, y, font_glyphs[g].width, CELL};
    SDL_RenderCopy(r, f->atlas, &from, &to);
}

void font_draw(const font *f, SDL_Renderer *r, int x, int y, SDL_Color color, const char *text, size_t n)
{
    SDL_SetTextureColorMod(f->atlas, color.r, color.g, color.b);
    SDL_SetTextureAlphaMod(f->atlas, color.a);
    for (size_t i = 0; i < n;) {
        uint32_t mark, code = split(next_code(text, n, &i), &mark);
        size_t g = find_glyph(code);
        if (code != ' ') draw_glyph(f, r, g, x, y);
        if (mark) {
            size_t m = find_glyph(mark);
            int rise = mark == 0x327 ? 7 : code < 'a' ? -3 : 0; /* a cedilla hangs below */
            draw_glyph(f, r, m, x + (font_glyphs[g].width - font_glyphs[m].width + 1) / 2, y + rise);
        }
        x += font_glyphs[g].width + 1;
    }
}
