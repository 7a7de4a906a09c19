/* SPDX-License-Identifier: MIT */
/* Sky, hills, houses, cobbles, lamps, the cook's stall, the well: back to front into a surface of 32-bit
 * pixels. */
#include "background.h"
#include <math.h>

typedef struct canvas {
    uint32_t *pixel; /* [VIEW_HEIGHT][VIEW_WIDTH] 0xRRGGBB */
} canvas;

/* Chance that is always the same: a hash of two numbers. */
static uint32_t noise(uint32_t a, uint32_t b)
{
    uint32_t h = a * 0x9e3779b1u ^ b * 0x85ebca77u;
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    return h ^ (h >> 15);
}

/* Colour between a and b; t from 0 to 256. */
static uint32_t mix(uint32_t a, uint32_t b, int t)
{
    uint32_t out = 0;
    for (int shift = 0; shift < 24; shift += 8) {
        int ca = (int)(a >> shift & 255), cb = (int)(b >> shift & 255);
        out |= (uint32_t)(ca + (cb - ca) * t / 256) << shift;
    }
    return out;
}

static uint32_t add(uint32_t a, uint32_t light, double strength)
{
    uint32_t out = 0;
    for (int shift = 0; shift < 24; shift += 8) {
        int c = (int)(a >> shift & 255) + (int)(strength * (double)(light >> shift & 255));
        out |= (uint32_t)(c > 255 ? 255 : c) << shift;
    }
    return out;
}

static void put(canvas *c, int x, int y, uint32_t color)
{
    if (x >= 0 && y >= 0 && x < VIEW_WIDTH && y < VIEW_HEIGHT) c->pixel[y * VIEW_WIDTH + x] = color;
}

static void box(canvas *c, int x, int y, int w, int h, uint32_t color)
{
    for (int j = y; j < y + h; j++)
        for (int i = x; i < x + w; i++) put(c, i, j, color);
}

/* A filled ellipse. */
static void disc(canvas *c, int x, int y, int rx, int ry, uint32_t color)
{
    for (int j = -ry; j <= ry; j++)
        for (int i = -rx; i <= rx; i++)
            if (i * i * ry * ry + j * j * rx * rx <= rx * rx * ry * ry) put(c, x + i, y + j, color);
}

/* Light that fades towards the edge of an ellipse. */
static void glow(canvas *c, int x, int y, int rx, int ry, uint32_t light, double strength)
{
    for (int j = -ry; j <= ry; j++)
        for (int i = -rx; i <= rx; i++) {
            double u = (double)i / rx, v = (double)j / ry, d = 1.0 - sqrt(u * u + v * v);
            int px = x + i, py = y + j;
            if (d > 0 && px >= 0 && py >= 0 && px < VIEW_WIDTH && py < VIEW_HEIGHT)
                put(c, px, py, add(c->pixel[py * VIEW_WIDTH + px], light, strength * d * d));
        }
}

static void paint_sky(canvas *c)
{
    static const uint32_t stop[] = {0x16143a, 0x2c2258, 0x5b3070, 0xa8486f, 0xe2765c, 0xf6b26b};
    const int band = GROUND_Y / 5 + 1;
    for (int y = 0; y < GROUND_Y; y++)
        for (int x = 0; x < VIEW_WIDTH; x++) {
            int t =
                y % band * 256 / band + (int)(noise((uint32_t)x, (uint32_t)y) % 13) - 6; /* against bands */
            put(c, x, y, mix(stop[y / band], stop[y / band + 1], t < 0 ? 0 : t > 256 ? 256 : t));
        }
    for (uint32_t i = 0; i < 110; i++) {
        int x = (int)(noise(i, 1) % VIEW_WIDTH), y = (int)(noise(i, 2) % 90);
        put(c, x, y, mix(c->pixel[y * VIEW_WIDTH + x], 0xfff6d8, 90 + (int)(noise(i, 3) % 160) - y));
    }
    glow(c, 500, 46, 70, 70, 0xfff0c0, 0.45);
    disc(c, 500, 46, 17, 17, 0xfdf3cf);
    disc(c, 494, 41, 4, 4, 0xeadfb6);
    disc(c, 506, 51, 3, 3, 0xeadfb6);
    disc(c, 503, 38, 2, 2, 0xeadfb6);
    for (int x = 0; x < VIEW_WIDTH; x++) { /* hills */
        int far = 132 + (int)(9 * sin(x * 0.013) + 5 * sin(x * 0.041 + 1)),
            near = far + 16 + (int)(6 * sin(x * 0.027 + 2));
        for (int y = far; y < GROUND_Y; y++) put(c, x, y, y < near ? 0x6d3a6b : 0x4a2a58);
    }
}

/* A house: wall, gable, door, windows of which some are lit. */
static void paint_house(canvas *c, uint32_t id, int x, int w, int h)
{
    static const uint32_t walls[] = {0x3b2c50, 0x45314f, 0x33305a, 0x4d3550, 0x3a3a5c};
    static const uint32_t roofs[] = {0x241a38, 0x2d1c34, 0x1e1e3c};
    uint32_t wall = walls[noise(id, 7) % 5], roof = roofs[noise(id, 8) % 3];
    int top = GROUND_Y - h, rise = w / 2 - 4;
    box(c, x, top, w, h, wall);
    for (int j = 0; j < rise; j++) box(c, x + j - 3, top - j, w - 2 * j + 6, 1, roof);
    box(c, x + w - 14, top - rise + 2, 6, rise / 2 + 4, roof); /* chimney */
    box(c, x, top, w, 2, mix(wall, 0x000000, 90));
    for (int j = top + 3; j < GROUND_Y; j++) put(c, x, j, mix(wall, 0xf6b26b, 50)); /* the last light */
    for (int wy = top + 8, row = 0; wy + 12 < GROUND_Y - 14; wy += 20, row++)
        for (int wx = x + 8, col = 0; wx + 9 < x + w - 3; wx += 17, col++) {
            int lit = noise(id * 31 + (uint32_t)row, (uint32_t)col) % 5 < 3;
            uint32_t pane = lit ? 0xffd27a : 0x241f40;
            box(c, wx - 1, wy - 1, 11, 14, mix(wall, 0x000000, 110));
            box(c, wx, wy, 9, 12, pane);
            if (lit) box(c, wx, wy + 7, 9, 5, 0xf3ae56);
            box(c, wx + 4, wy, 1, 12, mix(wall, 0x000000, 110));
            box(c, wx, wy + 6, 9, 1, mix(wall, 0x000000, 110));
            if (lit) glow(c, wx + 4, wy + 6, 18, 18, 0xffb050, 0.22);
        }
    box(c, x + w / 2 - 5, GROUND_Y - 17, 11, 17, 0x1d1630);
    box(c, x + w / 2 - 4, GROUND_Y - 16, 9, 16, 0x5a3a2e);
    put(c, x + w / 2 + 2, GROUND_Y - 8, 0xe8c170);
}

static void paint_church(canvas *c, int x)
{
    box(c, x, 78, 34, GROUND_Y - 78, 0x372a52);
    box(c, x, 78, 2, GROUND_Y - 78, 0x7d4a62);
    for (int j = 0; j < 46; j++) box(c, x - 2 + j * 19 / 46, 78 - j, 38 - 2 * (j * 19 / 46), 1, 0x1f1936);
    box(c, x + 16, 22, 2, 12, 0xe8c170);
    box(c, x + 13, 26, 8, 2, 0xe8c170);
    disc(c, x + 17, 98, 9, 9, 0x1d1630);
    disc(c, x + 17, 98, 8, 8, 0xffe2a0);
    box(c, x + 17, 92, 1, 7, 0x3a2238);
    box(c, x + 17, 98, 5, 1, 0x3a2238);
    glow(c, x + 17, 98, 24, 24, 0xffc060, 0.25);
    box(c, x + 13, 124, 8, 18, 0xffc870);
    disc(c, x + 17, 124, 4, 4, 0xffc870);
    box(c, x + 17, 120, 1, 22, 0x372a52);
}

/* Cobbles: rows that grow towards the viewer, each stone a shade of its own. */
static void paint_ground(canvas *c)
{
    int row = 0;
    for (int y = GROUND_Y; y < VIEW_HEIGHT; row++) {
        int h = 4 + (y - GROUND_Y) / 26, w = 2 * h + 2, shift = row % 2 * w / 2;
        for (int j = 0; j < h; j++)
            for (int x = 0; x < VIEW_WIDTH; x++) {
                int in = (x + shift) % w;
                uint32_t stone = noise((uint32_t)row, (uint32_t)((x + shift) / w));
                uint32_t base = mix(0x3d3354, 0x575070, (y - GROUND_Y) * 256 / (VIEW_HEIGHT - GROUND_Y));
                uint32_t color = mix(base, stone & 1 ? 0x6b5a70 : 0x2f2a48, (int)(stone >> 8 & 63));
                if (j == 0) color = mix(color, 0xffffff, 18);
                if (j == h - 1 || in == 0) color = mix(base, 0x16122c, 110);
                put(c, x, y + j, color);
            }
        y += h;
    }
    for (int x = 0; x < VIEW_WIDTH; x++)
        for (int y = 0; y < 6; y++)
            put(c, x, GROUND_Y + y, mix(c->pixel[(GROUND_Y + y) * VIEW_WIDTH + x], 0x16122c, 150 - 25 * y));
}

static void paint_lamp(canvas *c, int x, int y)
{
    disc(c, x, y, 5, 2, 0x14102a);
    box(c, x - 1, y - 62, 3, 62, 0x1c1830);
    box(c, x - 3, y - 4, 7, 4, 0x1c1830);
    box(c, x - 4, y - 74, 9, 12, 0x1c1830);
    box(c, x - 3, y - 73, 7, 10, 0xffe9a8);
    box(c, x - 5, y - 76, 11, 2, 0x1c1830);
    box(c, x - 2, y - 78, 5, 2, 0x1c1830);
    glow(c, x, y - 68, 60, 60, 0xffb858, 0.55);
    glow(c, x, y + 2, 96, 34, 0xffa850, 0.42);
}

static void paint_stall(canvas *c, int x, int y)
{
    disc(c, x + 42, y + 1, 48, 5, 0x2a2442);
    box(c, x, y - 56, 3, 56, 0x5a3a2e);
    box(c, x + 82, y - 56, 3, 56, 0x5a3a2e);
    box(c, x + 2, y - 22, 81, 20, 0x6b4632);
    box(c, x - 2, y - 24, 89, 4, 0x8f6244);
    for (int i = 0; i < 9; i++) {
        uint32_t color = i % 2 ? 0xf2e6cf : 0xb8434a;
        for (int j = 0; j < 16; j++)
            box(c, x - 4 + i * 93 / 9 - (j < 12 ? 0 : 0), y - 66 + j, 93 / 9 + 1, 1,
                mix(color, 0x2a2040, 70 - 4 * j));
        disc(c, x - 4 + i * 93 / 9 + 5, y - 50, 5, 4, mix(color, 0x2a2040, 20));
    }
    for (int i = 0; i < 12; i++)
        disc(c, x + 8 + i * 6, y - 27 - i % 2, 3, 3, i < 4 ? 0xd8574a : i < 8 ? 0xe9b85a : 0x8fb35a);
}

static void paint_well(canvas *c, int x, int y)
{
    disc(c, x, y + 3, 27, 9, 0x262040);
    disc(c, x, y, 24, 9, 0x6d6a86);
    box(c, x - 24, y - 14, 49, 14, 0x6d6a86);
    for (int i = -24; i <= 24; i += 8) box(c, x + i, y - 12 + (i & 8 ? 4 : 0), 1, 14, 0x4a4666);
    box(c, x - 24, y - 5, 49, 1, 0x4a4666);
    disc(c, x, y - 14, 24, 8, 0x8d8aa6);
    disc(c, x, y - 14, 19, 6, 0x1a2c4a);
    disc(c, x + 4, y - 13, 8, 2, 0x4f7ea0);
    glow(c, x, y - 16, 46, 26, 0x60a0d0, 0.35);
}

SDL_Texture *background_create(SDL_Renderer *r)
{
    static const short houses[][3] = {{-14, 74, 62}, {62, 58, 78},  {122, 82, 58},
                                      {206, 60, 70}, {330, 66, 60}, {398, 84, 74},
                                      {486, 62, 56}, {550, 58, 82}, {610, 60, 62}};
    SDL_Surface *s = SDL_CreateRGBSurfaceWithFormat(0, VIEW_WIDTH, VIEW_HEIGHT, 32, SDL_PIXELFORMAT_XRGB8888);
    SDL_Texture *t;
    canvas c;
    if (!s) return NULL;
    c.pixel = s->pixels; /* rows of 640 pixels need no padding */
    paint_sky(&c);
    paint_church(&c, 282);
    for (uint32_t i = 0; i < sizeof houses / sizeof *houses; i++)
        paint_house(&c, i, houses[i][0], houses[i][1], houses[i][2]);
    paint_ground(&c);
    paint_stall(&c, 352, 284);
    paint_well(&c, 600, 250);
    paint_lamp(&c, 160, 218);
    paint_lamp(&c, 470, 216);
    paint_lamp(&c, 290, 340);
    t = SDL_CreateTextureFromSurface(r, s);
    SDL_FreeSurface(s);
    return t;
}
