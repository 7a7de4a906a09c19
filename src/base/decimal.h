/* SPDX-License-Identifier: MIT */
/*
 * Numbers as decimal text and back: exact, without the locale. Reading rounds correctly (to nearest, ties to
 * even) however many digits there are; writing gives the shortest text that reads back to the same number.
 * Whole numbers of any size stand behind both, so that no case is special; a conversion takes about a
 * microsecond.
 */
#ifndef MOE_BASE_DECIMAL_H
#define MOE_BASE_DECIMAL_H

#include <stddef.h>

#define MOE_DECIMAL_TEXT 32 /* room for any number's text */

/*
 * Bytes of the number at the start of s[0..n), by the grammar of RFC 8259 section 6: [-] digits [. digits] [e
 * [+-] digits], no zero in front of other digits; 0 if there is none. The longest prefix counts: "1.x" has
 * "1".
 */
size_t moe__decimal_scan(const char *s, size_t n);
/* Value of a whole text that moe__decimal_scan accepts. 1; 0 if it is beyond the largest finite number. */
int moe__decimal_to_f32(const char *s, size_t n, float *out);
int moe__decimal_to_f64(const char *s, size_t n, double *out);
/* Shortest text of a finite number, zero-terminated; returns its length, below MOE_DECIMAL_TEXT. -0 is "-0".
 */
size_t moe__decimal_from_f32(float x, char dst[MOE_DECIMAL_TEXT]);
size_t moe__decimal_from_f64(double x, char dst[MOE_DECIMAL_TEXT]);

#endif
