/* SPDX-License-Identifier: MIT */
/* Asking a parsed JSON text for what is expected of it: see json.h. */
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"
#include "file/json.h"
#include "file/reader.h"

static const char *const json_kinds[] = {"null",     "false",    "true",     "a number",
                                         "a string", "an array", "an object"};

int moe__json_want(const moe__json *j, const moe__json_value *v, moe__json_kind kind, const char *what)
{
    if (v->kind == (uint32_t)kind) return MOE_OK;
    return moe__json_fail(j, v, MOE_E_FORMAT, "%s: expected %s, found %s", what, json_kinds[kind],
                          json_kinds[v->kind]);
}

int moe__json_is(const moe__json_value *v, const char *text)
{
    const size_t n = strlen(text);
    return v->kind == JSON_STRING && v->n == n && memcmp(v->str, text, n) == 0;
}

const moe__json_value *moe__json_find(const moe__json *j, const moe__json_value *object, const char *key)
{
    const moe__json_value *k = moe__json_first(object);
    for (uint32_t i = 0; i < object->n; i++, k = moe__json_next(j, moe__json_next(j, k)))
        if (moe__json_is(k, key)) return moe__json_next(j, k);
    return NULL;
}

static int unknown_member(const moe__json *j, const moe__json_value *key, const char *what,
                          const char *const *names)
{
    char found[64], known[192] = "";
    size_t used = 0;
    for (size_t i = 0; names[i] && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
    return moe__json_fail(j, key, MOE_E_FORMAT, "%s: the key \"%s\" is not known here; known are: %s", what,
                          moe__printable(found, sizeof found, key->str, key->n), known);
}

int moe__json_members(const moe__json *j, const moe__json_value *v, const char *what,
                      const char *const *names, const moe__json_value **out)
{
    MOE_TRY(moe__json_want(j, v, JSON_OBJECT, what));
    for (size_t i = 0; names[i]; i++) out[i] = NULL;
    const moe__json_value *key = moe__json_first(v);
    for (uint32_t m = 0; m < v->n; m++, key = moe__json_next(j, moe__json_next(j, key))) {
        size_t i = 0;
        while (names[i] && !moe__json_is(key, names[i])) i++;
        if (!names[i]) return unknown_member(j, key, what, names);
        out[i] = moe__json_next(j, key);
    }
    return MOE_OK;
}

/* ---- numbers */

static const char *json_shown(char *dst, size_t cap, const moe__json_value *v)
{
    return moe__printable(dst, cap, v->str, v->n < 40 ? v->n : 40);
}

/* A whole number without fraction and exponent: its sign and size; 0 if it is none or beyond 64 bits. */
static int whole_number(const moe__json_value *v, int *minus, uint64_t *size)
{
    uint32_t i = v->str[0] == '-';
    *minus = i != 0;
    *size = 0;
    for (; i < v->n; i++) {
        const uint64_t digit = (uint64_t)(v->str[i] - '0');
        if (v->str[i] < '0' || v->str[i] > '9' || *size > (UINT64_MAX - digit) / 10) return 0;
        *size = *size * 10 + digit;
    }
    return 1;
}

int moe__json_u64(const moe__json *j, const moe__json_value *v, const char *what, uint64_t max, uint64_t *out)
{
    char text[48];
    uint64_t size;
    int minus;
    MOE_TRY(moe__json_want(j, v, JSON_NUMBER, what));
    if (!whole_number(v, &minus, &size) || (minus && size > 0) || size > max)
        return moe__json_fail(j, v, MOE_E_FORMAT, "%s: expected a whole number, 0 to %llu; found %s", what,
                              (unsigned long long)max, json_shown(text, sizeof text, v));
    *out = size;
    return MOE_OK;
}

int moe__json_u32(const moe__json *j, const moe__json_value *v, const char *what, uint32_t max, uint32_t *out)
{
    uint64_t x;
    MOE_TRY(moe__json_u64(j, v, what, max, &x));
    *out = (uint32_t)x;
    return MOE_OK;
}

int moe__json_i64(const moe__json *j, const moe__json_value *v, const char *what, int64_t min, int64_t max,
                  int64_t *out)
{
    char text[48];
    uint64_t size;
    int minus;
    MOE_TRY(moe__json_want(j, v, JSON_NUMBER, what));
    const int fits = whole_number(v, &minus, &size) && size <= (uint64_t)INT64_MAX + (uint64_t)minus;
    const int64_t x = !fits ? 0 : minus && size > 0 ? -(int64_t)(size - 1) - 1 : (int64_t)size;
    if (!fits || x < min || x > max)
        return moe__json_fail(j, v, MOE_E_FORMAT, "%s: expected a whole number, %lld to %lld; found %s", what,
                              (long long)min, (long long)max, json_shown(text, sizeof text, v));
    *out = x;
    return MOE_OK;
}

int moe__json_f32(const moe__json *j, const moe__json_value *v, const char *what, float *out)
{
    char text[48];
    MOE_TRY(moe__json_want(j, v, JSON_NUMBER, what));
    if (moe__decimal_to_f32(v->str, v->n, out)) return MOE_OK;
    return moe__json_fail(j, v, MOE_E_FORMAT, "%s: %s is beyond the largest number of 32 bits", what,
                          json_shown(text, sizeof text, v));
}

int moe__json_f64(const moe__json *j, const moe__json_value *v, const char *what, double *out)
{
    char text[48];
    MOE_TRY(moe__json_want(j, v, JSON_NUMBER, what));
    if (moe__decimal_to_f64(v->str, v->n, out)) return MOE_OK;
    return moe__json_fail(j, v, MOE_E_FORMAT, "%s: %s is beyond the largest number of 64 bits", what,
                          json_shown(text, sizeof text, v));
}

int moe__json_bool(const moe__json *j, const moe__json_value *v, const char *what, int *out)
{
    if (v->kind != JSON_TRUE && v->kind != JSON_FALSE)
        return moe__json_fail(j, v, MOE_E_FORMAT, "%s: expected true or false, found %s", what,
                              json_kinds[v->kind]);
    *out = v->kind == JSON_TRUE;
    return MOE_OK;
}
