/* SPDX-License-Identifier: MIT */
/* See meter.h. Every frame is kept: percentiles are exact. */
#include "meter.h"
#include <stdlib.h>
#include <string.h>

#define FRAME_MS (1000.0f / 60.0f)

int meter_add(meter *m, float work, float interval, int generating)
{
    meter_list *l = &m->list[generating != 0];
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 1024;
        float *w = realloc(l->work, cap * sizeof *w), *i;
        if (!w) return -1;
        l->work = w;
        i = realloc(l->interval, cap * sizeof *i);
        if (!i) return -1;
        l->interval = i;
        l->cap = cap;
    }
    l->work[l->n] = work;
    l->interval[l->n++] = interval;
    m->recent[m->n++ % METER_RECENT] = generating ? -work : work;
    return 0;
}

static int by_size(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int meter_figure(const meter *m, int generating, int interval, meter_figures *out)
{
    const meter_list *l = &m->list[generating];
    const float *from = interval ? l->interval : l->work;
    float *sorted;
    memset(out, 0, sizeof *out);
    out->n = l->n;
    if (l->n == 0) return 0;
    sorted = malloc(l->n * sizeof *sorted);
    if (!sorted) return -1;
    memcpy(sorted, from, l->n * sizeof *sorted);
    qsort(sorted, l->n, sizeof *sorted, by_size);
    out->median = sorted[l->n / 2];
    out->p99 = sorted[(l->n * 99 + 99) / 100 - 1]; /* nearest rank: 99 % of frames take at most this */
    out->max = sorted[l->n - 1];
    for (size_t i = 0; i < l->n; i++) out->late += l->work[i] > FRAME_MS;
    free(sorted);
    return 0;
}

int meter_print(const meter *m, FILE *to)
{
    static const char *const kind[] = {"quiet", "with generation"};
    fprintf(to, "%-16s %7s  %24s  %24s  %s\n", "", "", "work of a frame, ms", "from frame to frame, ms",
            "work over");
    fprintf(to, "%-16s %7s  %8s%8s%8s  %8s%8s%8s  %s\n", "frames", "number", "median", "p99", "max", "median",
            "p99", "max", "1/60 s");
    for (int g = 0; g < 2; g++) {
        meter_figures w, i;
        if (meter_figure(m, g, 0, &w) != 0 || meter_figure(m, g, 1, &i) != 0) return -1;
        fprintf(to, "%-16s %7zu  %8.2f%8.2f%8.2f  %8.2f%8.2f%8.2f  %zu\n", kind[g], w.n, (double)w.median,
                (double)w.p99, (double)w.max, (double)i.median, (double)i.p99, (double)i.max, w.late);
    }
    fflush(to);
    return 0;
}

void meter_free(meter *m)
{
    for (int g = 0; g < 2; g++) {
        free(m->list[g].work);
        free(m->list[g].interval);
    }
}
