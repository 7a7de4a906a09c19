/* SPDX-License-Identifier: MIT */
/* The command line. */
#ifndef GAME_OPTIONS_H
#define GAME_OPTIONS_H

#include <stdint.h>

typedef struct options {
    const char *model, *screenshot; /* screenshot NULL = none */
    uint64_t budget;                /* bytes */
    double slice_ms;                /* 0 = a worker thread */
    double pace;                    /* words a second */
    long frames;                    /* 0 = until the window is closed */
    int headless, script, zoom, help;
} options;

/* 0, or -1 with a message on stderr. */
int options_read(options *o, int argc, char **argv);
void options_usage(const char *program);

#endif
