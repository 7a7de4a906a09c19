/* SPDX-License-Identifier: MIT */
/* Frame times, kept apart for frames in which speech was worked on and those in which it was not. */
#ifndef GAME_METER_H
#define GAME_METER_H

#include <stddef.h>
#include <stdio.h>

#define METER_RECENT 120 /* frames of the graph */

typedef struct meter_list {
    float *work, *interval; /* milliseconds */
    size_t n, cap;
} meter_list;

typedef struct meter {
    meter_list list[2];         /* [0] quiet frames, [1] those with generation */
    float recent[METER_RECENT]; /* work of the last frames; negative = with generation */
    size_t n;                   /* frames in all */
} meter;

typedef struct meter_figures {
    size_t n, late; /* frames; those that worked longer than 1/60 s */
    float median, p99, max;
} meter_figures;

/*
 * One frame: `work` ms from its begin to the picture being handed over, `interval` ms since the last one
 * began. 0, or -1 without memory.
 */
int meter_add(meter *m, float work, float interval, int generating);
/* Figures of one kind of frame (0 or 1), of work or of intervals. 0, or -1 without memory. */
int meter_figure(const meter *m, int generating, int interval, meter_figures *out);
/* The table. */
int meter_print(const meter *m, FILE *to);
void meter_free(meter *m);

#endif
