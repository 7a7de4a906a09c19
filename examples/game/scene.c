/* SPDX-License-Identifier: MIT */
/* See scene.h. Times are those of the scene: a scripted run does the same however fast the machine is. */
#include "scene.h"
#include "background.h"
#include <math.h>
#include <string.h>

#define EARSHOT    76.0  /* pixels at which somebody begins to speak ... */
#define OUT_OF_IT  98.0  /* ... and at which they stop */
#define SPEED      100.0 /* pixels a second */
#define PAUSE      3.0   /* seconds between utterances */
#define FADE       0.5   /* seconds in which a bubble goes */
#define FIRST_Y    (GROUND_Y + 28)
#define LAST_Y     (VIEW_HEIGHT - 26)
#define KEEP_APART 22.0

typedef struct waypoint {
    short x, y;
    float wait; /* seconds there */
} waypoint;

/* A round over the square; it leaves some before they have finished. */
static const waypoint script[] = {{122, 256, 2.5f}, {238, 322, 1.0f}, {330, 258, 3.5f}, {416, 330, 0.6f},
                                  {592, 288, 6.0f}, {420, 262, 0.3f}, {256, 320, 3.0f}, {150, 330, 0.2f}};

void scene_init(scene *s, double pace, FILE *transcript)
{
    memset(s, 0, sizeof *s);
    s->x = 160;
    s->y = 320;
    s->facing = 1;
    s->pace = pace;
    s->transcript = transcript;
}

/* Distance on the ground, which is seen at an angle: up and down count more. */
static double distance(double x, double y, const role *r) { return hypot(x - r->x, 1.3 * (y - r->y)); }

void scene_script(scene *s, double dt, double *dx, double *dy)
{
    const waypoint *w = &script[s->waypoint];
    double to_x = w->x - s->x, to_y = w->y - s->y, d = hypot(to_x, to_y);
    *dx = *dy = 0;
    if (d > 2) {
        *dx = to_x / d;
        *dy = to_y / d;
    } else if ((s->wait += dt) >= (double)w->wait) {
        s->wait = 0;
        s->waypoint = (s->waypoint + 1) % (int)(sizeof script / sizeof *script);
    }
}

static void walk(scene *s, double dt, double dx, double dy)
{
    double length = hypot(dx, dy);
    s->walking = length > 0;
    if (!s->walking) return;
    if (length > 1) {
        dx /= length;
        dy /= length;
    }
    s->x = fmin(fmax(s->x + SPEED * dt * dx, 12), VIEW_WIDTH - 12);
    s->y = fmin(fmax(s->y + SPEED * dt * dy, FIRST_Y), LAST_Y);
    if (dx != 0) s->facing = dx < 0 ? -1 : 1;
    for (int i = 0; i < CAST_SIZE; i++) { /* nobody walks through others */
        double d = distance(s->x, s->y, &cast[i]);
        if (d >= KEEP_APART) continue;
        if (d < 1) d = 1;
        s->x = cast[i].x + (s->x - cast[i].x) * KEEP_APART / d;
        s->y = cast[i].y + (s->y - cast[i].y) * KEEP_APART / d;
    }
}

/* Where the word ends that begins at `at`; as far as the text is complete, n if no word is. */
static size_t word_end(const talk *t, size_t at)
{
    size_t n = strlen(t->text), end = at;
    while (end < n && (t->text[end] == ' ' || t->text[end] == '\n')) end++;
    while (end < n && t->text[end] != ' ' && t->text[end] != '\n') end++;
    return end < n || !t->more ? end : at;
}

static void show_words(talk *t, double pace, double dt)
{
    t->next_word -= dt;
    while (t->next_word <= 0) {
        size_t end = word_end(t, t->shown);
        if (end == t->shown) { /* the voice is behind the reader */
            t->next_word = 0;
            return;
        }
        t->shown = end;
        if (pace > 0) t->next_word += 1 / pace;
    }
}

static void note_down(const scene *s, int i, const char *how)
{
    if (!s->transcript || s->talk[i].text[0] == '\0') return;
    fprintf(s->transcript, "%s%s: ", cast[i].name, how);
    for (const char *p = s->talk[i].text; *p; p++) fputc(*p == '\n' ? '/' : *p, s->transcript);
    fputc('\n', s->transcript);
}

static void begin(scene *s, speech *sp, int i)
{
    talk *t = &s->talk[i];
    t->shown = 0;
    t->text[0] = '\0';
    t->more = 1;
    t->next_word = 0;
    t->pause = s->pace > 0 ? PAUSE : 0;
    t->fade = 1;
    speech_say(sp, i);
}

static void cut_short(scene *s, speech *sp, int i)
{
    talk *t = &s->talk[i];
    speech_hush(sp, i);
    t->text[t->shown] = '\0';
    if (t->more) note_down(s, i, " (interrupted)");
    t->more = 0;
}

static void listen(scene *s, speech *sp, int i, double dt)
{
    talk *t = &s->talk[i];
    int was_more = t->more;
    speech_read(sp, i, t->text, &t->more);
    if (was_more && !t->more) note_down(s, i, "");
    show_words(t, s->pace, dt);
    speech_shown(sp, i, t->shown);
    if (!t->more && t->shown == strlen(t->text) && (t->pause -= dt) <= 0) begin(s, sp, i);
}

void scene_update(scene *s, speech *sp, double dt, double dx, double dy)
{
    s->time += dt;
    walk(s, dt, dx, dy);
    for (int i = 0; i < CAST_SIZE; i++) {
        talk *t = &s->talk[i];
        double d = distance(s->x, s->y, &cast[i]);
        if (!t->near && d < EARSHOT) {
            t->near = 1;
            begin(s, sp, i);
        } else if (t->near && d > OUT_OF_IT) {
            t->near = 0;
            cut_short(s, sp, i);
        }
        if (t->near)
            listen(s, sp, i, dt);
        else
            t->fade = fmax(0, t->fade - dt / FADE);
    }
}

void scene_finish(scene *s)
{
    for (int i = 0; i < CAST_SIZE; i++)
        if (s->talk[i].near && s->talk[i].more) note_down(s, i, " (still speaking)");
}
