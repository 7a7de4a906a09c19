/* SPDX-License-Identifier: MIT */
/*
 * A tokenizer: vocabulary, merges and special tokens of one GGUF file, immutable once made and independent of
 * the file. Two models of text: byte-level BPE (`gpt2`: ranked merges of token pairs) and SentencePiece-style
 * BPE (`llama`: the pair whose concatenation has the best score). Both keep tokens as the bytes that they
 * decode to.
 */
#ifndef MOE_TOKEN_TOKEN_H
#define MOE_TOKEN_TOKEN_H

#include <stddef.h>
#include <stdint.h>

#include "base/alloc.h"
#include "file/file.h"
#include "moe/moe.h"
#include "token/pretok.h"
#include "token/tokenizer.h"

#define MOE_NO_KEY UINT32_MAX /* rank of a pair that does not merge */

/* One merge: tokens left and right become `merged`; the pair with the lowest rank goes first. Empty slot:
 * merged < 0. */
typedef struct moe__merge {
    moe_token left, right, merged;
    uint32_t rank;
} moe__merge;

typedef struct moe__chat_template moe__chat_template;

struct moe_tokenizer {
    moe__allocator alloc;
    int spm;        /* 1: llama, 0: gpt2 */
    size_t n;       /* tokens */
    uint8_t *text;  /* all tokens' bytes, each followed by a zero byte */
    uint32_t *at;   /* [n+1] where they start in text */
    uint8_t *attr;  /* [n] MOE_ATTR_* */
    float *score;   /* [n], spm only */
    size_t longest; /* bytes of the longest token */
    uint32_t *slot; /* [slot_mask+1] bytes -> token + 1; 0 = empty */
    size_t slot_mask;
    moe__merge *merge; /* [merge_mask+1], gpt2 only */
    size_t merge_mask;
    moe_token byte_token[256]; /* the token of one byte, or MOE_TOKEN_NONE */
    moe_token *whole; /* [n_whole] tokens that are matched in the text before anything else, sorted by bytes,
                         then id */
    size_t n_whole;
    uint32_t whole_first[257]; /* those that begin with byte b: whole_first[b] .. whole_first[b+1]-1 */
    moe_token special[8];      /* by MOE_TOKEN_* */
    int add_bos;
    int space_prefix;       /* spm: text begins with a space of its own, taken away again by decoding */
    int spaces_lead;        /* spm: no token has a space behind another character */
    int trim_spaces;        /* spm: runs of spaces become one, none at the ends */
    int nfc;                /* text is brought into normal form C first */
    const moe__pretok *pre; /* gpt2 only */
    const moe__chat_template *chat; /* recognised template, or NULL */
    int has_template;
    uint64_t hash; /* of the vocabulary: moe__vocab_hash */
    char *name;    /* of the file, for messages */
};

static inline const uint8_t *moe__token_bytes(const moe_tokenizer *t, moe_token id, size_t *len)
{
    *len = t->at[id + 1] - t->at[id] - 1;
    return t->text + t->at[id];
}

/* The token with these bytes, NORMAL ones before others, lower ids before higher; or MOE_TOKEN_NONE. BYTE
 * tokens are not found. */
moe_token moe__token_find(const moe_tokenizer *t, const uint8_t *s, size_t len);
/* The merge of two tokens, or NULL. */
const moe__merge *moe__merge_find(const moe_tokenizer *t, moe_token left, moe_token right);

/* A growing list of tokens, with what encoding needs to report faults. */
typedef struct moe__ids {
    const moe__allocator *alloc;
    moe_token *v;
    size_t n, cap;
} moe__ids;
int moe__ids_reserve(moe__ids *ids, size_t more);

/* Longest token of t->whole at the start of s[0..n); returns its length (0: none) and *id. special: control
 * tokens count too. */
size_t moe__whole_match(const moe_tokenizer *t, const uint8_t *s, size_t n, int special, moe_token *id);

/* Text without whole tokens -> tokens, appended to ids. */
int moe__bpe_encode(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids);
int moe__spm_encode(const moe_tokenizer *t, const uint8_t *s, size_t n, moe__ids *ids);
/* A byte that no token stands for: the unknown token, or MOE_E_UNSUPPORTED. */
int moe__unknown_byte(const moe_tokenizer *t, uint8_t byte, moe__ids *ids);

/* same.c: bytes and kinds of all tokens. The hash is for quick comparison within one process (it depends on the
 * machine's byte order); the other gives the first token that differs, which is the smaller number of tokens
 * if one vocabulary goes on, or MOE_TOKEN_NONE. */
uint64_t moe__vocab_hash(const moe_tokenizer *t);
moe_token moe__vocab_differs(const moe_tokenizer *a, const moe_tokenizer *b);

#endif
