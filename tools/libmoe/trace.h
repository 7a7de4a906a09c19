/* SPDX-License-Identifier: MIT */
/* Traces as text, and what is told about them. */
#ifndef TRACE_H
#define TRACE_H

#include "json.h"
#include "options.h"
#include "text.h"

#include <moe/study.h>

/* trace_text.c. Each gives a message when it fails. */
enum trace_form { TRACE_BINARY, TRACE_JSONL, TRACE_CSV };
/* What the name of a file, or --format if that is not NULL, says. */
enum trace_form trace_form_of(const char *format, const char *path);
int trace_write(const moe_trace *t, enum trace_form form, const char *path);
/* Binary or JSON lines, told apart by the content. `experts`: of a layer, 0 if not known. */
int trace_read(moe_trace **out, const char *path, uint32_t experts);

/* trace_lines.c: JSON lines to a trace. */
int trace_parse(moe_trace **out, const char *path, const struct bytes *text, uint32_t experts);

/* analysis.c: reuse, segment routing, caches; a trace without tokens gives an empty table. */
void analysis_print(const moe_trace *t);
/* Members of the object that is open; sizes of caches in fine steps for drawing, if `fine`. */
void analysis_json(struct json *j, const moe_trace *t, bool fine);

#endif
