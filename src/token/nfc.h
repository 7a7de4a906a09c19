/* SPDX-License-Identifier: MIT */
/*
 * Unicode normal form C, which some tokenizers apply before anything else (the rule of tokenizer.ggml.pre
 * says which). Bytes that are not UTF-8 pass unchanged. Source: Unicode Standard Annex 15; tables from
 * tools/make_unicode_tables.py.
 */
#ifndef MOE_TOKEN_NFC_H
#define MOE_TOKEN_NFC_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"

/*
 * Combining classes by range: code point << 8 | class. MOE_NFC_MAYBE is a character of class 0 that
 * normalisation changes or that may join the one before it; characters of class 0 proper are left alone by it
 * whatever stands before them.
 */
#define MOE_NFC_MAYBE 255u
extern const uint32_t moe__nfc_ranges[];
extern const size_t moe__nfc_n_ranges;
/* Canonical decompositions, one step: code point, first part, second part (0: none); by rising code point. */
extern const uint32_t moe__nfc_parts[][3];
extern const size_t moe__nfc_n_parts;
/* Rows of moe__nfc_parts that compose again, by rising (first, second). */
extern const uint16_t moe__nfc_pairs[];
extern const size_t moe__nfc_n_pairs;

/* *out = the normal form of s[0..n), owned by the caller, or NULL if s is its own normal form for all that a
 * quick look shows. */
int moe__nfc(const moe__allocator *a, const uint8_t *s, size_t n, uint8_t **out, size_t *out_len);

#endif
