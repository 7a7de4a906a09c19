/* SPDX-License-Identifier: MIT */
/* Who stands on the market place: looks, place, and how each one speaks. */
#ifndef GAME_CAST_H
#define GAME_CAST_H

#include <stdint.h>

#define CAST_SIZE     6
#define CAST_OPENINGS 3
#define CAST_BANS     8

typedef struct ban {
    uint32_t layer, expert;
} ban;

typedef struct role {
    const char *name;
    /* Looks: a head of sprites.h, colours 0xRRGGBB, and the place of the feet on the square. */
    int head, x, y, ghost; /* ghost: one sees through them */
    uint32_t coat, dark, legs, hair, accent;
    /* Speech. The tag chooses the voice of the model; the persona is a text in that voice which is never
       shown and which the character goes on from; each utterance begins with the next of the openings. */
    const char *tag, *persona, *opening[CAST_OPENINGS];
    const char *sampler;  /* moe_sampler_add_named() */
    const char *route;    /* rule for all layers, moe_router_set_named(); NULL = the model's own */
    const char *contrast; /* rule of a second, weak session that the choice leans away from; NULL = none */
    ban bans[CAST_BANS];  /* experts taken out, ended by n_bans */
    int n_bans;
    const char *note; /* the routing in a few words, for the label under the name; NULL = none */
} role;

extern const role cast[CAST_SIZE];

/* What all of them have in front of their own text: evaluated once, handed to every session. */
extern const char cast_prefix[];

#endif
