/* SPDX-License-Identifier: MIT */
/*
 * Results on stdout. Errors are remembered: once the reader is gone (closed pipe, full disk) out_failed()
 * says so, and long work should end; out_finish() turns it into the exit code.
 */
#ifndef OUT_H
#define OUT_H

#include "tool.h"

void out_bytes(const char *data, size_t n);
void out_text(const char *text);
void out_format(const char *fmt, ...) PRINTF_LIKE(1, 2);
void out_flush(void);
bool out_failed(void);
int out_finish(int code);

#endif
