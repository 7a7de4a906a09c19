/* SPDX-License-Identifier: MIT */
/*
 * Characters: strict UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF) and the four classes
 * that pre-tokenizers ask for. A byte that starts no valid sequence is a character of its own, of length 1
 * and of no class, so that no text is lost. Source: Unicode Standard, chapter 3, table 3-7 (well-formed
 * UTF-8); tables from tools/make_unicode_tables.py.
 */
#ifndef MOE_TOKEN_UNICODE_H
#define MOE_TOKEN_UNICODE_H

#include <stddef.h>
#include <stdint.h>

#define MOE_UC_LETTER 1u /* categories L* */
#define MOE_UC_NUMBER 2u /* categories N* */
#define MOE_UC_SPACE 4u  /* property White_Space */
#define MOE_UC_PUNCT 8u  /* categories P* */

#define MOE_CP_INVALID UINT32_MAX

extern const char moe__unicode_version[];
/* Classes change at these code points, rising: code point << 8 | flags. */
extern const uint32_t moe__unicode_ranges[];
extern const size_t moe__unicode_n_ranges;
extern const uint8_t moe__unicode_ascii[128];

/* Classes of a code point; 0 for MOE_CP_INVALID and everything past the last range. */
uint32_t moe__unicode_flags(uint32_t cp);

/*
 * Looks at the sequence at s[0..n), n >= 1. Returns its length 1..4 and *cp if it is valid; 0 if it is the
 * beginning of one that more bytes could complete; otherwise minus the number of bytes (1..3) that one U+FFFD
 * should stand for.
 */
int moe__utf8_scan(const uint8_t *s, size_t n, uint32_t *cp);

/* Length of the character at s[0..n), n >= 1; invalid and unfinished bytes: 1 and MOE_CP_INVALID. */
size_t moe__utf8_next(const uint8_t *s, size_t n, uint32_t *cp);

/* Writes a valid code point (1..4 bytes) and returns its length. */
size_t moe__utf8_put(uint32_t cp, uint8_t *dst);

#endif
