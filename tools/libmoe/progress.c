/* SPDX-License-Identifier: MIT */
/* Progress bar. Drawn at most ten times a second, first after 0.3 s. */
#include "progress.h"
#include "interrupt.h"
#include "term.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIRST_NS 300000000u
#define STEP_NS  100000000u
#define BAR_MAX  40

static struct {
    bool enabled, bytes, shown;
    const char *label;
    uint64_t start, last;
} bar = {true, false, false, NULL, 0, 0};

void progress_enable(bool on) { bar.enabled = on; }

void progress_begin(const char *label, bool bytes)
{
    progress_clear();
    bar.label = label;
    bar.bytes = bytes;
    bar.start = clock_ns();
    bar.last = 0;
}

static void draw(uint64_t done, uint64_t total, uint64_t elapsed)
{
    char a[TEXT_SIZE], b[TEXT_SIZE], left[TEXT_SIZE];
    const double part = total ? (double)done / (double)total : 0.0;
    const int width = term_width(STDERR_FILENO) - (int)strlen(bar.label) - 48;
    const int cells = width < 8 ? 8 : width > BAR_MAX ? BAR_MAX : width;
    const int full = (int)(part * cells + 0.5);
    fprintf(stderr, "\r%s [", bar.label);
    for (int i = 0; i < cells; i++) fputc(i < full ? '#' : '.', stderr);
    fprintf(stderr, "] %3.0f%%  ", part * 100.0);
    if (bar.bytes)
        fprintf(stderr, "%s of %s", readable_bytes(a, done), readable_bytes(b, total));
    else
        fprintf(stderr, "%s of %s", readable_count(a, done), readable_count(b, total));
    if (part > 0.02 && part < 1.0)
        fprintf(stderr, ", %s left", readable_time(left, (uint64_t)((double)elapsed * (1.0 - part) / part)));
    fputs("\033[K", stderr);
    fflush(stderr);
    bar.shown = true;
}

void progress_update(uint64_t done, uint64_t total)
{
    const uint64_t now = clock_ns();
    if (!bar.enabled || !bar.label || now - bar.start < FIRST_NS || now - bar.last < STEP_NS) return;
    if (!term_is(STDERR_FILENO)) {
        bar.enabled = false;
        return;
    }
    bar.last = now;
    draw(done > total ? total : done, total, now - bar.start);
}

void progress_clear(void)
{
    if (!bar.shown) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    bar.shown = false;
}

void progress_end(void)
{
    progress_clear();
    bar.label = NULL;
}

int progress_callback(const moe_progress *p, void *user)
{
    (void)user;
    progress_update(p->done, p->total);
    return interrupted() ? 1 : 0;
}
