/* SPDX-License-Identifier: MIT */
/*
 * A writer of JSON to stdout, or to the end of a buffer. Nesting is checked by the caller's own symmetry:
 * each json_open is matched by one json_close. Keys are NULL inside arrays and at the top. Text that is no
 * UTF-8 comes out with U+FFFD in place of each bad byte.
 */
#ifndef JSON_H
#define JSON_H

#include "tool.h"

#define JSON_DEPTH 16

struct bytes;

struct json {
    unsigned depth;
    struct {
        char close;
        bool row; /* all on one line */
        bool non_empty;
    } level[JSON_DEPTH];
    struct bytes *to; /* NULL = stdout */
    bool in_html;     /* `<` is escaped: the text can stand inside an element of a page */
    bool failed;      /* out of memory; has been told */
};

#define JSON_INIT                                                                                            \
    {                                                                                                        \
        0, {{0, false, false}}, NULL, false, false                                                           \
    }

void json_open(struct json *j, const char *key, char bracket); /* '{' or '[' */
void json_open_row(struct json *j, const char *key, char bracket);
void json_close(struct json *j);
void json_text(struct json *j, const char *key, const char *text);
void json_bytes(struct json *j, const char *key, const char *text, size_t n);
void json_int(struct json *j, const char *key, int64_t v);
void json_uint(struct json *j, const char *key, uint64_t v);
void json_real(struct json *j, const char *key, double v);  /* null unless finite; 9 digits */
void json_short(struct json *j, const char *key, double v); /* likewise, 5 digits */
void json_bool(struct json *j, const char *key, bool v);
void json_null(struct json *j, const char *key);

/* Length of the UTF-8 sequence that p begins with, 0 if it is none (n bytes are there). */
size_t utf8_length(const unsigned char *p, size_t n);

#endif
