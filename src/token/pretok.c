/* SPDX-License-Identifier: MIT */
/* See pretok.h. Stages first, then the table of rules. Patterns are quoted as the model families publish
 * them. */
#include "token/pretok.h"

#include <string.h>

#include "token/unicode.h"

#define WORD (MOE_UC_LETTER | MOE_UC_NUMBER | MOE_UC_SPACE) /* a character with none of these is a "symbol" \
                                                             */

/* Length and classes of the character at s[i]; 0 and no classes at the end. */
static inline size_t peek(const uint8_t *s, size_t n, size_t i, uint32_t *flags)
{
    *flags = 0;
    if (i >= n) return 0;
    if (s[i] < 128) {
        *flags = moe__unicode_ascii[s[i]];
        return 1;
    }
    uint32_t cp;
    const size_t len = moe__utf8_next(s + i, n - i, &cp);
    *flags = moe__unicode_flags(cp);
    return len;
}

/* End of the run of characters from i on that have one of the classes in mask. */
static size_t run_of(const uint8_t *s, size_t n, size_t i, uint32_t mask)
{
    uint32_t f;
    for (size_t len; (len = peek(s, n, i, &f)) != 0 && (f & mask) != 0; i += len) continue;
    return i;
}

/* End of the run of characters from i on that have none of them. */
static size_t run_not_of(const uint8_t *s, size_t n, size_t i, uint32_t mask)
{
    uint32_t f;
    for (size_t len; (len = peek(s, n, i, &f)) != 0 && (f & mask) == 0; i += len) continue;
    return i;
}

/* `\s+(?!\S)|\s+`: a run of white space leaves its last character to the word that follows, unless it has
 * only one. */
static size_t white_space(const uint8_t *s, size_t n)
{
    size_t end = 0, last = 0;
    uint32_t f;
    for (size_t len; (len = peek(s, n, end, &f)) != 0 && (f & MOE_UC_SPACE) != 0; end += len) last = end;
    return end < n && last > 0 ? last : end;
}

/* `'s|'t|'re|'ve|'m|'ll|'d`, in any case if fold is set. 0: none here. */
static size_t contraction(const uint8_t *s, size_t n, int fold)
{
    if (n < 2 || s[0] != '\'') return 0;
    /* U+017F, the long s, is an s without case. */
    if (fold && n >= 3 && s[1] == 0xc5 && s[2] == 0xbf) return 3;
    const uint8_t bit =
        fold ? 0x20 : 0; /* ASCII letters become small; no other byte becomes one of the letters below */
    const uint8_t a = s[1] | bit;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (n < 3) return 0;
    const uint8_t b = s[2] | bit;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 3;
    return 0;
}

/* `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+` */
static size_t stage_gpt2(const uint8_t *s, size_t n)
{
    const size_t c = contraction(s, n, 0);
    if (c) return c;
    uint32_t f, next;
    size_t i = peek(s, n, 0, &f);
    if (s[0] == ' ') {
        const size_t len = peek(s, n, i, &next);
        if (len == 0 || (next & MOE_UC_SPACE) != 0) return white_space(s, n);
        i += len;
        f = next;
    }
    if (f & MOE_UC_SPACE) return white_space(s, n);
    if (f & (MOE_UC_LETTER | MOE_UC_NUMBER)) return run_of(s, n, i, f & (MOE_UC_LETTER | MOE_UC_NUMBER));
    return run_not_of(s, n, i, WORD);
}

/* `\s*[\r\n]+|\s+(?!\S)|\s+`: up to the last line end of a run of white space, if it has one. */
static size_t white_space_lines(const uint8_t *s, size_t n)
{
    size_t end = 0, line = 0;
    uint32_t f;
    for (size_t len; (len = peek(s, n, end, &f)) != 0 && (f & MOE_UC_SPACE) != 0;) {
        const uint8_t c = s[end];
        end += len;
        if (c == '\r' || c == '\n') line = end;
    }
    return line ? line : white_space(s, n);
}

/*
 * `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,D}|
 * ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+` with D = max_digits.
 */
static size_t cl100k(const uint8_t *s, size_t n, int max_digits)
{
    const size_t c = contraction(s, n, 1);
    if (c) return c;
    uint32_t f, next;
    size_t i = peek(s, n, 0, &f);
    if (f & MOE_UC_LETTER) return run_of(s, n, i, MOE_UC_LETTER);
    if (f & MOE_UC_NUMBER) {
        for (int k = 1; k < max_digits; k++) {
            const size_t len = peek(s, n, i, &next);
            if ((next & MOE_UC_NUMBER) == 0) break;
            i += len;
        }
        return i;
    }
    const size_t len = peek(s, n, i, &next);
    if ((next & MOE_UC_LETTER) && s[0] != '\r' && s[0] != '\n') return run_of(s, n, i + len, MOE_UC_LETTER);
    if (f & MOE_UC_SPACE) {
        if (s[0] != ' ' || len == 0 || (next & WORD) != 0) return white_space_lines(s, n);
        i += len;
    }
    i = run_not_of(s, n, i, WORD);
    while (i < n && (s[i] == '\r' || s[i] == '\n')) i++;
    return i;
}

static size_t stage_cl100k_digits3(const uint8_t *s, size_t n) { return cl100k(s, n, 3); }
static size_t stage_cl100k_digits1(const uint8_t *s, size_t n) { return cl100k(s, n, 1); }

/* `\p{N}`: every number character alone. */
static size_t stage_number(const uint8_t *s, size_t n)
{
    uint32_t f;
    const size_t len = peek(s, n, 0, &f);
    return f & MOE_UC_NUMBER ? len : run_not_of(s, n, len, MOE_UC_NUMBER);
}

/* `\p{N}+` */
static size_t stage_numbers(const uint8_t *s, size_t n)
{
    uint32_t f;
    const size_t len = peek(s, n, 0, &f);
    return f & MOE_UC_NUMBER ? run_of(s, n, len, MOE_UC_NUMBER) : run_not_of(s, n, len, MOE_UC_NUMBER);
}

/* `[0-9][0-9][0-9]` */
static size_t stage_three_digits(const uint8_t *s, size_t n)
{
    size_t digits = 0;
    for (size_t i = 0; i < n; i++) {
        digits = s[i] >= '0' && s[i] <= '9' ? digits + 1 : 0;
        if (digits == 3) return i == 2 ? 3 : i - 2;
    }
    return n;
}

/* A character of `[\p{P}\$\+<=>\^~\|]`. */
static int is_punctuation(const uint8_t *s, size_t i, uint32_t f)
{
    return (f & MOE_UC_PUNCT) != 0 || (s[i] < 128 && s[i] != 0 && strchr("$+<=>^~|", s[i]) != NULL);
}

/* `[\p{P}\$\+<=>\^~\|]+` */
static size_t stage_punctuation(const uint8_t *s, size_t n)
{
    uint32_t f;
    size_t i = peek(s, n, 0, &f);
    const int first = is_punctuation(s, 0, f);
    for (size_t len; (len = peek(s, n, i, &f)) != 0 && is_punctuation(s, i, f) == first; i += len) continue;
    return i;
}

#define GPT2       \
    {              \
        stage_gpt2 \
    }
#define DIGIT_GPT2               \
    {                            \
        stage_number, stage_gpt2 \
    }
#define CL100K               \
    {                        \
        stage_cl100k_digits3 \
    }
#define QWEN2                \
    {                        \
        stage_cl100k_digits1 \
    }

/* Names as files have them; several names may share a rule. */
static const moe__pretok rules[] = {
    {"default", {stage_punctuation, stage_gpt2, stage_numbers, stage_three_digits}, 0},
    {"gpt-2", GPT2, 0},
    {"olmo", GPT2, MOE_PRE_NFC},
    {"phi-2", GPT2, 0},
    {"llama-bpe", CL100K, MOE_PRE_IGNORE_MERGES | MOE_PRE_ADD_BOS},
    {"llama3", CL100K, MOE_PRE_IGNORE_MERGES | MOE_PRE_ADD_BOS},
    {"llama-v3", CL100K, MOE_PRE_IGNORE_MERGES | MOE_PRE_ADD_BOS},
    {"dbrx", CL100K, 0},
    {"smaug-bpe", CL100K, 0},
    {"qwen2", QWEN2, MOE_PRE_NFC},
    {"deepseek-r1-qwen", QWEN2, 0},
    {"refact", DIGIT_GPT2, 0},
    {"starcoder", DIGIT_GPT2, 0},
    {"smollm", DIGIT_GPT2, 0},
};
#define N_RULES (sizeof rules / sizeof rules[0])

const moe__pretok *moe__pretok_find(const char *name)
{
    for (size_t i = 0; i < N_RULES; i++)
        if (strcmp(rules[i].name, name) == 0) return &rules[i];
    return NULL;
}

const char *moe__pretok_name(size_t i) { return i < N_RULES ? rules[i].name : NULL; }

void moe__pretok_start(moe__pretok_iter *it, const moe__pretok *rule, const uint8_t *s, size_t n)
{
    memset(it, 0, sizeof *it);
    it->rule = rule;
    it->s = s;
    it->n = n;
}

int moe__pretok_next(moe__pretok_iter *it, const uint8_t **piece, size_t *len)
{
    if (it->pos >= it->n) return 0;
    size_t end = it->n;
    for (int k = 0; k < MOE_PRE_MAX_STAGES && it->rule->stage[k]; k++) {
        if (it->pos >= it->end[k]) it->end[k] = it->pos + it->rule->stage[k](it->s + it->pos, end - it->pos);
        end = it->end[k];
    }
    *piece = it->s + it->pos;
    *len = end - it->pos;
    it->pos = end;
    return 1;
}
