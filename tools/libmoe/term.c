/* SPDX-License-Identifier: MIT */
/* Terminal, clock, readable numbers. No locale: the decimal sign is always a point. */
#include "term.h"
#include "json.h"
#include "out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>

bool term_is(int fd) { return isatty(fd) == 1; }

int term_width(int fd)
{
#ifdef TIOCGWINSZ
    struct winsize w;
    if (ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 20) return w.ws_col;
#else
    (void)fd;
#endif
    return 80;
}

uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const char *scaled(char *dst, uint64_t n, double step, const char *const *unit, size_t n_units)
{
    double v = (double)n;
    size_t i = 0;
    while (v >= step && i + 1 < n_units) {
        v /= step;
        i++;
    }
    if (i == 0)
        snprintf(dst, TEXT_SIZE, "%.0f%s%s", v, *unit[0] ? " " : "", unit[0]);
    else
        snprintf(dst, TEXT_SIZE, v < 9.995 ? "%.2f %s" : v < 99.95 ? "%.1f %s" : "%.0f %s", v, unit[i]);
    return dst;
}

const char *readable_bytes(char *dst, uint64_t n)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    return scaled(dst, n, 1024.0, unit, sizeof unit / sizeof *unit);
}

const char *readable_count(char *dst, uint64_t n)
{
    static const char *const unit[] = {"", "k", "M", "G", "T", "P", "E"};
    return scaled(dst, n, 1000.0, unit, sizeof unit / sizeof *unit);
}

const char *readable_time(char *dst, uint64_t ns)
{
    const double s = (double)ns * 1e-9;
    if (s < 60.0)
        snprintf(dst, TEXT_SIZE, s < 1.0 ? "%.0f ms" : "%.2f s", s < 1.0 ? s * 1e3 : s);
    else
        snprintf(dst, TEXT_SIZE, "%lu:%02lu", (unsigned long)(s / 60.0), (unsigned long)s % 60);
    return dst;
}

void print_wrapped(const char *text, int indent, int width)
{
    int column = indent;
    while (*text) {
        const size_t len = strcspn(text, " \n");
        if (column > indent && column + 1 + (int)len > width) {
            out_format("\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            out_text(" ");
            column++;
        }
        out_bytes(text, len);
        column += (int)len;
        text += len;
        if (*text == '\n') {
            out_format("\n%*s", text[1] && text[1] != '\n' ? indent : 0, "");
            column = indent;
        }
        if (*text) text++;
    }
    out_text("\n");
}

void print_escaped(const char *text, size_t n, size_t max)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t shown = 0;
    for (size_t i = 0; i < n;) {
        const size_t len = utf8_length(p + i, n - i);
        if (shown++ >= max) {
            out_text("...");
            return;
        }
        if (p[i] == '\n' || p[i] == '\t' || p[i] == '\r' || p[i] == '\\')
            out_text(p[i] == '\n' ? "\\n" : p[i] == '\t' ? "\\t" : p[i] == '\r' ? "\\r" : "\\\\");
        else if (len == 0 || p[i] < 0x20 || p[i] == 0x7f || (len == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0))
            for (size_t k = 0; k < (len ? len : 1); k++) out_format("\\x%02x", (unsigned)p[i + k]);
        else
            out_bytes(text + i, len);
        i += len ? len : 1;
    }
}
