/* SPDX-License-Identifier: MIT */
/* The six characters. The German experts are those that examples/models/README.md names for that voice. */
#include "cast.h"
#include "sprites.h"

const char cast_prefix[] = "The market place, in the evening.\n\n";

#define GERMAN_PERSONA "Es war einmal ein König, der hatte eine schöne Tochter. Da sprach er:"
/* clang-format off */
#define GERMAN_OPENINGS {" »Mein Kind, du", " »Ich habe", " »Lieber Vater,"}

const role cast[CAST_SIZE] = {
    {
        .name = "Nan, who knows tales",
        .head = HEAD_SHAWL, .x = 96, .y = 236,
        .coat = 0x7a3b69, .dark = 0x552a4c, .legs = 0x552a4c, .hair = 0xd8d4d0, .accent = 0xe8c170,
        .tag = "<|tales|>",
        .persona =
            "Once upon a time there was a King who had three sons, and a Princess lived in the forest.",
        .opening = {"Once upon a time", "The old Queen", "In the forest"},
        .sampler = "top-p:p=0.9;temp:t=0.6;dist:seed=11",
    },
    {
        .name = "Will, a player",
        .head = HEAD_FEATHER, .x = 214, .y = 300,
        .coat = 0xa53030, .dark = 0x752438, .legs = 0x394a50, .hair = 0x5a3a22, .accent = 0xe8c170,
        .tag = "<|shakespeare|>",
        .persona =
            "Enter KING and his Attendants.\n\nKING.\nWhat news, my lords? I pray you, speak to me.\n\n"
            "FIRST LORD.\nMy lord, the Duke is come, and all his men.\n\nKING.\n",
        .opening = {"O, my", "My gentle lord,", "What,"},
        .sampler = "penalties:repeat=1.1,last=48;top-p:p=0.92;temp:t=0.75;dist:seed=5",
    },
    {
        .name = "The Inspector",
        .head = HEAD_DEERSTALKER, .x = 330, .y = 226,
        .coat = 0x8a7048, .dark = 0x5f4d33, .legs = 0x4a3f35, .hair = 0x3a2a20, .accent = 0xd0b080,
        .tag = "<|detective|>",
        .persona =
            "\"My dear Watson,\" said Holmes, \"it is a most singular case.\"\n\n\"How so?\" I asked.\n\n\"",
        .opening = {"You have", "It is", "The man"},
        .sampler = "top-p:p=0.9;temp:t=0.6;dist:seed=3",
        .contrast = "ranks:ids=1",
        .note = "contrast",
    },
    {
        .name = "Marie, the cook",
        .head = HEAD_TOQUE, .x = 394, .y = 308,
        .coat = 0xe8e4d8, .dark = 0xb8b0a8, .legs = 0x5d6d8a, .hair = 0xa8623a, .accent = 0xcf573c,
        .tag = "<|cookery|>",
        .persona = "APPLE CAKE\n\nTake two cups of flour, one cup of sugar, and a little butter. Beat the "
                   "eggs well. "
                   "Bake it in a moderate oven.",
        .opening = {"Take", "Put the", "Boil the"},
        .sampler = "penalties:repeat=1.15,last=40;min-p:p=0.05;temp:t=0.8;dist:seed=8",
        .route = "topk:k=1",
        .note = "one expert",
    },
    {
        .name = "Heinrich, on his way",
        .head = HEAD_TRAVELLER, .x = 522, .y = 308,
        .coat = 0x3e7a54, .dark = 0x25562e, .legs = 0x6b5236, .hair = 0xe0b060, .accent = 0xd8d4a0,
        .tag = "<|german|>",
        .persona = GERMAN_PERSONA,
        .opening = GERMAN_OPENINGS,
        .sampler = "top-p:p=0.9;temp:t=0.6;dist:seed=4",
    },
    {
        .name = "His echo in the well",
        .head = HEAD_TRAVELLER, .x = 600, .y = 234, .ghost = 1,
        .coat = 0x5a7a94, .dark = 0x3c5e8b, .legs = 0x3c5e8b, .hair = 0xa8c0d0, .accent = 0xc7dcd0,
        .tag = "<|german|>",
        .persona = GERMAN_PERSONA,
        .opening = GERMAN_OPENINGS,
        .sampler = "top-p:p=0.9;temp:t=0.6;dist:seed=4",
        .bans = {{3, 0}, {4, 7}, {4, 13}, {5, 10}, {6, 14}},
        .n_bans = 5,
        .note = "no German experts",
    },
};
/* clang-format on */
