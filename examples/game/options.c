/* SPDX-License-Identifier: MIT */
/* See options.h. */
#include "options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void options_usage(const char *program)
{
    printf(
        "usage: %s [options] MODEL.gguf\n"
        "A market place where six people speak in voices of the bundled model "
        "(examples/models/demo.gguf).\n\n"
        "  --budget MIB       memory that speech may take, weights included (default 48; 0 = no limit)\n"
        "  --slices           evaluate on the main thread, 2 ms a frame, instead of a worker thread\n"
        "  --slice-ms MS      the same with another time\n"
        "  --pace WORDS       words shown per second (default 7; 0 = as fast as they come, without pauses)\n"
        "  --script           the player walks by himself\n"
        "  --headless         no window: --script, software renderer; needs --frames\n"
        "  --frames N         end after N frames\n"
        "  --screenshot FILE  write the last frame to a BMP file\n"
        "  --zoom N           size of a pixel (default 2)\n"
        "  --help             this text\n\n"
        "Keys: arrows or WASD walk, F prints frame times, Esc leaves.\n",
        program);
}

/* A number from low to high that is all of the text. */
static int number(const char *name, const char *text, double low, double high, double *out)
{
    char *end = NULL;
    double v = text ? strtod(text, &end) : 0;
    if (!text || end == text || *end || !(v >= low && v <= high)) {
        fprintf(stderr, "%s needs a number from %g to %g\n", name, low, high);
        return -1;
    }
    *out = v;
    return 0;
}

int options_read(options *o, int argc, char **argv)
{
    double budget = 48, frames = 0, zoom = 2;
    memset(o, 0, sizeof *o);
    o->pace = 7;
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i], *next = argv[i + 1]; /* argv ends with NULL */
        const struct {
            const char *name;
            double low, high, *to;
        } numbers[] = {{"--budget", 0, 1e6, &budget},
                       {"--slice-ms", 0.1, 100, &o->slice_ms},
                       {"--pace", 0, 1000, &o->pace},
                       {"--frames", 1, 1e7, &frames},
                       {"--zoom", 1, 8, &zoom}};
        const struct {
            const char *name;
            int *to;
        } flags[] = {{"--script", &o->script}, {"--headless", &o->headless}, {"--help", &o->help}};
        int known = 0;
        for (size_t k = 0; k < sizeof flags / sizeof *flags; k++)
            if (strcmp(a, flags[k].name) == 0) known = *flags[k].to = 1;
        for (size_t k = 0; k < sizeof numbers / sizeof *numbers && !known; k++) {
            if (strcmp(a, numbers[k].name) != 0) continue;
            if (number(a, next, numbers[k].low, numbers[k].high, numbers[k].to) != 0) return -1;
            known = 1;
            i++;
        }
        if (known) continue;
        if (strcmp(a, "--slices") == 0) {
            o->slice_ms = 2;
        } else if (strcmp(a, "--screenshot") == 0 && next) {
            o->screenshot = next;
            i++;
        } else if (a[0] != '-' && !o->model) {
            o->model = a;
        } else {
            fprintf(stderr, "what is \"%s\"? --help lists the options\n", a);
            return -1;
        }
    }
    o->budget = (uint64_t)(budget * 1048576.0);
    o->frames = (long)frames;
    o->zoom = (int)zoom;
    if (!o->model && !o->help) {
        fprintf(stderr, "name a model file, e.g. examples/models/demo.gguf; --help lists the options\n");
        return -1;
    }
    if (o->headless && o->frames == 0) {
        fprintf(stderr, "--headless needs --frames: there is no window to close\n");
        return -1;
    }
    return 0;
}
