/* SPDX-License-Identifier: MIT */
/*
 * Cutting text into words before byte-pair merging. `tokenizer.ggml.pre` names a rule; a rule is a list of
 * stages, each cutting the pieces that the stage before left. Stages are hand-written equivalents of the
 * published regular expressions (docs/adding-a-tokenizer.md lists them side by side). Text that a pattern
 * does not match is a piece too, so pieces always cover the text.
 */
#ifndef MOE_TOKEN_PRETOK_H
#define MOE_TOKEN_PRETOK_H

#include <stddef.h>
#include <stdint.h>

#define MOE_PRE_MAX_STAGES 4
#define MOE_PRE_IGNORE_MERGES 1u /* a word that is a token is taken whole */
#define MOE_PRE_ADD_BOS 2u       /* the default of tokenizer.ggml.add_bos_token */
#define MOE_PRE_NFC 4u           /* the models with this rule normalise text to NFC first */

/* Length of the first piece of s[0..n), n >= 1: at least 1. Only what follows decides, never what went
 * before. */
typedef size_t (*moe__pretok_stage)(const uint8_t *s, size_t n);

typedef struct moe__pretok {
    const char *name;
    moe__pretok_stage stage[MOE_PRE_MAX_STAGES]; /* NULL after the last */
    uint32_t flags;
} moe__pretok;

/* The rule of that name, or NULL. */
const moe__pretok *moe__pretok_find(const char *name);
/* Name of the i-th rule, NULL past the end. */
const char *moe__pretok_name(size_t i);

/* Walks through the pieces of a text. */
typedef struct moe__pretok_iter {
    const moe__pretok *rule;
    const uint8_t *s;
    size_t n, pos;
    size_t end[MOE_PRE_MAX_STAGES]; /* end of each stage's present piece */
} moe__pretok_iter;

void moe__pretok_start(moe__pretok_iter *it, const moe__pretok *rule, const uint8_t *s, size_t n);
/* Next piece: 1, *piece and *len; 0 at the end. */
int moe__pretok_next(moe__pretok_iter *it, const uint8_t **piece, size_t *len);

#endif
