/* SPDX-License-Identifier: MIT */
/*
 * Reading of test vectors (docs/formats/golden.md): a whole file in memory and a cursor that walks over its
 * words. Anything unexpected fails the running test, so callers need not check. Header only, because two test
 * programs share it.
 */
#ifndef MOE_TESTS_VEC_FILE_H
#define MOE_TESTS_VEC_FILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct vec_file {
    char *text; /* zero-terminated, owned */
    char *at;   /* next word of the current line, or its end */
    char *next; /* first byte of the next line */
    char path[512];
    int line;
} vec_file;

/* Frees the text; afterwards the file may be opened again. */
static inline void vec_close(vec_file *f)
{
    free(f->text);
    f->text = NULL;
}

/* Moves to the next line that is no comment; 0 at the end of the text. */
static inline int vec_line(vec_file *f)
{
    do {
        if (!*f->next) return 0;
        f->at = f->next;
        char *end = strchr(f->at, '\n');
        f->next = end ? end + 1 : f->at + strlen(f->at);
        if (end) *end = '\0';
        f->line++;
    } while (*f->at == '#');
    return 1;
}

/* The next word of the line, cut out in place; "" when there is none. */
static inline char *vec_word(vec_file *f)
{
    char *word = f->at;
    char *end = word + strcspn(word, " ");
    f->at = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static inline long vec_int(vec_file *f)
{
    char *word = vec_word(f), *end;
    const long v = strtol(word, &end, 10);
    if (!*word || *end) fail_msg("%s:%d: expected a number, found '%s'", f->path, f->line, word);
    return v;
}

static inline float vec_float(vec_file *f)
{
    char *word = vec_word(f), *end;
    const float v = strtof(word, &end);
    if (!*word || *end) fail_msg("%s:%d: expected a number, found '%s'", f->path, f->line, word);
    return v;
}

/* Loads folder/name and checks the first line. */
static inline void vec_open(vec_file *f, const char *folder, const char *name, const char *kind)
{
    memset(f, 0, sizeof *f);
    snprintf(f->path, sizeof f->path, "%s/%s.vec", folder, name);
    FILE *in = fopen(f->path, "rb");
    if (!in)
        fail_msg("%s: cannot be opened (run from the root of the source tree, or name the folder)", f->path);
    size_t n = 0, cap = 1u << 16;
    f->text = malloc(cap);
    while (f->text) {
        n += fread(f->text + n, 1, cap - n - 1, in);
        if (n < cap - 1) break;
        cap *= 2;
        f->text = realloc(f->text, cap);
    }
    fclose(in);
    assert_non_null(f->text);
    f->text[n] = '\0';
    f->at = f->next = f->text;
    assert_true(vec_line(f));
    if (strcmp(f->at, kind) != 0)
        fail_msg("%s: expected '%s' in the first line, found '%s'", f->path, kind, f->at);
}

#endif
