/* SPDX-License-Identifier: MIT */
/*
 * JSON as in RFC 8259, strictly: UTF-8 (checked, no byte order mark), no comments, no trailing commas, no
 * duplicate keys, no lone surrogates, at most MOE_JSON_DEPTH containers inside one another. The reader turns
 * a text into a flat array of values in the order of the text (a value, then what is in it), so that walking
 * is adding; numbers stay text until someone asks for a type and are then exact. The writer makes text that
 * this reader takes.
 *
 * Messages begin with "name: line L, column C (byte B): ". Memory comes from the hook.
 */
#ifndef MOE_FILE_JSON_H
#define MOE_FILE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/status.h"

#define MOE_JSON_DEPTH     64
#define MOE_JSON_BYTES_MAX ((size_t)1 << 31) /* of a text */

typedef enum moe__json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
} moe__json_kind;

typedef struct moe__json_value {
    uint32_t kind;   /* moe__json_kind */
    uint32_t at;     /* place in the text */
    uint32_t n;      /* bytes of a string or number; elements of an array; members of an object */
    uint32_t next;   /* number of the value behind this one and all that is in it */
    const char *str; /* string: its bytes, escapes resolved; number: its text. Not zero-terminated */
} moe__json_value;

typedef struct moe__json {
    const moe__allocator *a;
    const char *name; /* for messages; borrowed */
    const char *text; /* borrowed */
    size_t n_text;
    moe__json_value *value; /* value[0] is the whole */
    uint32_t n_values, cap;
    char *strings; /* strings that had escapes */
    uint32_t n_strings;
} moe__json;

/*
 * Parses. name and text must outlive *j. E_FORMAT tells the place; on failure nothing is to be freed.
 */
int moe__json_open(moe__json *j, const moe__allocator *a, const char *name, const char *text, size_t n);
void moe__json_close(moe__json *j);

/* The message about a value: place, then the text. Returns status. */
int moe__json_fail(const moe__json *j, const moe__json_value *v, int status, const char *fmt, ...)
    MOE_PRINTF(4, 5);

/*
 * Elements and members: for (v = moe__json_first(a), i = 0; i < a->n; i++, v = moe__json_next(j, v)).
 * Members of an object are key, value, key, value: moe__json_next of a key is its value.
 */
static inline const moe__json_value *moe__json_first(const moe__json_value *container)
{
    return container + 1;
}
static inline const moe__json_value *moe__json_next(const moe__json *j, const moe__json_value *v)
{
    return j->value + v->next;
}

int moe__json_is(const moe__json_value *v, const char *text); /* a string with these bytes? */
/* Bytes of the UTF-8 sequence at text[0..n), n > 0; 0 if it is none. */
size_t moe__json_utf8(const char *text, size_t n);

/*
 * Takes an object apart: out[i] receives the value of names[i] (names ends with NULL), or NULL. E_FORMAT if v
 * is no object (`what` says what it should be) or has another key.
 */
int moe__json_members(const moe__json *j, const moe__json_value *v, const char *what,
                      const char *const *names, const moe__json_value **out);
/* The same for keys that the caller does not know: NULL if there is none. */
const moe__json_value *moe__json_find(const moe__json *j, const moe__json_value *object, const char *key);

/* E_FORMAT, with `what` in the message, unless it is of the kind (and for numbers: a whole number up to max;
 * one that fits). */
int moe__json_want(const moe__json *j, const moe__json_value *v, moe__json_kind kind, const char *what);
int moe__json_u64(const moe__json *j, const moe__json_value *v, const char *what, uint64_t max,
                  uint64_t *out);
int moe__json_u32(const moe__json *j, const moe__json_value *v, const char *what, uint32_t max,
                  uint32_t *out);
int moe__json_i64(const moe__json *j, const moe__json_value *v, const char *what, int64_t min, int64_t max,
                  int64_t *out);
int moe__json_f32(const moe__json *j, const moe__json_value *v, const char *what, float *out);
int moe__json_f64(const moe__json *j, const moe__json_value *v, const char *what, double *out);
int moe__json_bool(const moe__json *j, const moe__json_value *v, const char *what, int *out);

/*
 * Writer. Containers down to depth `lines` have their elements on lines of their own, deeper ones are one
 * line. Each call returns the first failure of `put`, and after one does nothing. Keys go before values
 * inside objects. Text is ASCII and UTF-8; bytes that are not UTF-8 become U+FFFD.
 */
typedef struct moe__json_writer {
    int (*put)(const void *data, size_t n, void *user); /* 0, or a negative status */
    void *user;
    int lines;
    int depth, status;
    uint8_t empty[MOE_JSON_DEPTH + 1]; /* nothing is in the container at this depth yet */
    uint8_t after_key;
    size_t used;
    char buf[1024];
} moe__json_writer;

void moe__json_writer_init(moe__json_writer *w, int (*put)(const void *data, size_t n, void *user),
                           void *user, int lines);
int moe__json_begin(moe__json_writer *w, char open); /* '{' or '[' */
int moe__json_end(moe__json_writer *w, char close);  /* '}' or ']' */
int moe__json_key(moe__json_writer *w, const char *key);
int moe__json_put_string(moe__json_writer *w, const char *s, size_t n);
int moe__json_put_u64(moe__json_writer *w, uint64_t x);
int moe__json_put_i64(moe__json_writer *w, int64_t x);
int moe__json_put_f32(moe__json_writer *w, float x);           /* null if not finite */
int moe__json_put_f64(moe__json_writer *w, double x);          /* null if not finite */
int moe__json_put_word(moe__json_writer *w, const char *word); /* true, false, null */
/* Hands over what is still in the buffer; a line end comes first. */
int moe__json_finish(moe__json_writer *w);

#endif
