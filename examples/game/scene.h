/* SPDX-License-Identifier: MIT */
/* What happens on the square: the player walks, those who are near begin to speak. No drawing here. */
#ifndef GAME_SCENE_H
#define GAME_SCENE_H

#include "speech.h"
#include <stdio.h>

/* One character as the player meets it. */
typedef struct talk {
    int near;                  /* the player is in earshot */
    char text[VOICE_TEXT_MAX]; /* what is said, ready for the bubble */
    size_t shown;              /* bytes of it in the bubble: whole words */
    int more;                  /* there is more to come */
    double next_word;          /* seconds until the next word is shown */
    double pause;              /* seconds until the next utterance */
    double fade;               /* 1 = bubble is there, 0 = gone */
} talk;

typedef struct scene {
    talk talk[CAST_SIZE];
    double x, y;  /* the player's feet */
    int walking;  /* moved in this frame */
    int facing;   /* -1 left, 1 right */
    double time;  /* seconds since the beginning */
    double pace;  /* words shown per second; 0 = as fast as they come */
    int waypoint; /* of the script */
    double wait;
    FILE *transcript; /* every utterance when it ends; NULL = nowhere */
} scene;

void scene_init(scene *s, double pace, FILE *transcript);
/* Where the script goes: a direction as from the keys. */
void scene_script(scene *s, double dt, double *dx, double *dy);
/* dt seconds go by; the player walks in direction (dx, dy), each -1 .. 1. */
void scene_update(scene *s, speech *sp, double dt, double dx, double dy);
/* The end: notes down what is being said. */
void scene_finish(scene *s);

#endif
