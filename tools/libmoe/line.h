/* SPDX-License-Identifier: MIT */
/* Lines from the user: with editing and history (libedit, where the build has it) on a terminal, plain
 * otherwise. */
#ifndef LINE_H
#define LINE_H

#include "text.h"

enum line_result { LINE_OK, LINE_END, LINE_INTERRUPTED, LINE_FAILED };

struct line_reader;

struct line_reader *line_open(void); /* NULL after a message */
void line_close(struct line_reader *r);
/* Replaces *out by one line without its line end. A line that ends in a backslash goes on in the next one. */
enum line_result line_read(struct line_reader *r, struct bytes *out);

#endif
