/* SPDX-License-Identifier: MIT */
/* What the terminal is like, the clock, and numbers made readable. */
#ifndef TERM_H
#define TERM_H

#include "tool.h"

#define TEXT_SIZE 32 /* enough for each readable number */

bool term_is(int fd);
int term_width(int fd); /* columns; 80 if unknown */
uint64_t clock_ns(void);

/* Each writes to dst[TEXT_SIZE] and returns it. */
const char *readable_bytes(char *dst, uint64_t n); /* 1.50 GiB */
const char *readable_count(char *dst, uint64_t n); /* 28.3 M */
const char *readable_time(char *dst, uint64_t ns); /* 1.25 s, 3:07 */

/* Prints text wrapped at `width` columns with every line but the first indented; returns nothing, ends with a
 * line end. */
void print_wrapped(const char *text, int indent, int width);
/* Text as it can be shown in a table: control characters and bad UTF-8 escaped; ends with "..." if longer
 * than max. */
void print_escaped(const char *text, size_t n, size_t max);

#endif
