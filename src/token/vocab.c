/* SPDX-License-Identifier: MIT */
/*
 * Vocabulary and merges from the `tokenizer.ggml.*` arrays of a file into the tables of a tokenizer. Every
 * size, type, id and spelling is checked; messages name file and key. Of two tokens with the same bytes the
 * first is found (a NORMAL one before others), of two merges of the same pair the first counts. Source: GGUF
 * specification, "Tokenizer"; the byte alphabet is that of GPT-2's encoder.
 */
#include "token/vocab.h"

#include <math.h>
#include <string.h>

#include "base/status.h"
#include "token/unicode.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES  "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"
#define KEY_MERGES "tokenizer.ggml.merges"
#define MAX_PROBES 4096u /* a table that needs more was built to make the reader slow */

/* An array that may be missing (then n = 0) of elements that `fits` accepts. */
static int find_array(const moe__file *f, const char *key, int (*fits)(int), const char *kind,
                      moe__array *out)
{
    memset(out, 0, sizeof *out);
    const int st = moe__file_get_array(f, key, out);
    if (st == MOE_E_NOTFOUND) {
        memset(out, 0, sizeof *out);
        moe__clear_error();
        return MOE_OK;
    }
    MOE_TRY(st);
    if (!fits(out->elem_type))
        return MOE_FAIL(FORMAT, "%s: key %s: expected an array of %s, found elements of kind %d",
                        moe__file_name(f), key, kind, out->elem_type);
    return MOE_OK;
}

static int is_string(int kind) { return kind == MOE_META_STRING; }
static int is_float(int kind) { return kind == MOE_META_F32 || kind == MOE_META_F64; }
static int is_integer_kind(int kind)
{
    return kind <= MOE_META_I32 || kind == MOE_META_BOOL || kind == MOE_META_U64 || kind == MOE_META_I64;
}

/* Slots of a hash table for n entries: at most three quarters full. */
static size_t slots_for(size_t n)
{
    size_t slots = 16;
    while (slots / 4 * 3 < n) slots *= 2;
    return slots;
}

static int same_length(const moe__file *f, const char *key, const moe__array *a, uint64_t n)
{
    if (a->n == 0 || a->n == n) return MOE_OK;
    return MOE_FAIL(FORMAT, "%s: key %s: expected %llu elements, one per token, found %llu",
                    moe__file_name(f), key, (unsigned long long)n, (unsigned long long)a->n);
}

/* MOE_ATTR_* of token i, or 0 for a kind that GGUF does not know. */
static uint8_t attr_of(const moe__vocab_source *v, uint64_t i)
{
    static const uint8_t attrs[7] = {0,
                                     MOE_ATTR_NORMAL,
                                     MOE_ATTR_UNKNOWN,
                                     MOE_ATTR_CONTROL,
                                     MOE_ATTR_USER,
                                     MOE_ATTR_UNUSED,
                                     MOE_ATTR_BYTE};
    if (v->types.n == 0) return MOE_ATTR_NORMAL;
    const int64_t type = moe__array_int(&v->types, i);
    return type >= 0 && type < 7 ? attrs[type] : 0;
}

#define WHOLE_ATTRS (MOE_ATTR_UNKNOWN | MOE_ATTR_CONTROL | MOE_ATTR_USER)

enum { WHOLE_MAX = 4096 }; /* bytes of an added token */

int moe__vocab_scan(moe__vocab_source *v, const moe__file *f)
{
    const char *name = moe__file_name(f), *model;
    size_t len;
    memset(v, 0, sizeof *v);
    v->f = f;
    MOE_TRY(moe__file_get_str(f, "tokenizer.ggml.model", &model, &len));
    if (strcmp(model, "none") == 0 || strcmp(model, "no_vocab") == 0)
        return MOE_FAIL(NOTFOUND, "%s: the file has no tokenizer", name);
    v->spm = strcmp(model, "llama") == 0;
    if (!v->spm && strcmp(model, "gpt2") != 0)
        return MOE_FAIL(UNSUPPORTED, "%s: tokenizer model '%.64s' is not supported; known are gpt2 and llama",
                        name, model);
    MOE_TRY(find_array(f, KEY_TOKENS, is_string, "strings", &v->tokens));
    MOE_TRY(find_array(f, KEY_TYPES, is_integer_kind, "integers", &v->types));
    MOE_TRY(find_array(f, KEY_SCORES, is_float, "floats", &v->scores));
    MOE_TRY(find_array(f, KEY_MERGES, is_string, "strings", &v->merges));
    const uint64_t n = v->tokens.n;
    if (n == 0)
        return MOE_FAIL(FORMAT, "%s: key %s: expected at least one token, found none", name, KEY_TOKENS);
    if (n >= INT32_MAX)
        return MOE_FAIL(UNSUPPORTED, "%s: key %s: %llu tokens are too many", name, KEY_TOKENS,
                        (unsigned long long)n);
    MOE_TRY(same_length(f, KEY_TYPES, &v->types, n));
    MOE_TRY(same_length(f, KEY_SCORES, &v->scores, n));
    if (v->spm && v->scores.n == 0)
        return MOE_FAIL(FORMAT, "%s: key %s is missing or empty: a llama tokenizer needs scores", name,
                        KEY_SCORES);
    if (!v->spm && v->merges.n == 0)
        return MOE_FAIL(FORMAT, "%s: key %s is missing or empty: a gpt2 tokenizer needs merges", name,
                        KEY_MERGES);
    if (v->merges.n >= INT32_MAX)
        return MOE_FAIL(UNSUPPORTED, "%s: key %s: %llu merges are too many", name, KEY_MERGES,
                        (unsigned long long)v->merges.n);
    uint64_t bytes = 0;
    for (uint64_t i = 0; i < n; i++) {
        moe__array_str(&v->tokens, i, &len);
        bytes += (uint64_t)len + 1;
        if (len > v->longest) v->longest = len;
        if ((attr_of(v, i) & WHOLE_ATTRS) != 0) {
            if (len > WHOLE_MAX) /* each is compared at each place of a text */
                return MOE_FAIL(
                    UNSUPPORTED,
                    "%s: key %s: token %llu is added whole and has %zu bytes; at most %d are supported", name,
                    KEY_TOKENS, (unsigned long long)i, len, WHOLE_MAX);
            v->n_whole++;
        }
        if (bytes > UINT32_MAX)
            return MOE_FAIL(UNSUPPORTED, "%s: key %s: more than 4 GiB of text", name, KEY_TOKENS);
    }
    v->text_bytes = (size_t)bytes;
    v->n_slots = slots_for((size_t)n);
    v->n_merge_slots = v->spm ? 0 : slots_for((size_t)v->merges.n);
    return MOE_OK;
}

/* ---------------------------------------- spelling */

/* The byte that a character of GPT-2's printable alphabet stands for, or -1: printable Latin-1 is itself, the
 * other 68 bytes are U+0100 onwards in rising order. */
static int alphabet_byte(uint32_t cp)
{
    if ((cp >= 33 && cp <= 126) || (cp >= 161 && cp <= 172) || (cp >= 174 && cp <= 255)) return (int)cp;
    if (cp < 256 || cp > 256 + 67) return -1;
    const int k = (int)cp - 256;
    return k <= 32 ? k : k == 33 ? 127 : k <= 66 ? k + 94 : 173;
}

size_t moe__spelling_bpe(const char *s, size_t len, uint8_t *dst)
{
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        uint32_t cp;
        i += moe__utf8_next((const uint8_t *)s + i, len - i, &cp);
        const int byte = alphabet_byte(cp);
        if (byte < 0) { /* a token spelled in plain text, as Hugging Face's decoder has it */
            memcpy(dst, s, len);
            return len;
        }
        dst[out++] = (uint8_t)byte;
    }
    return out;
}

size_t moe__spelling_spm(const char *s, size_t len, uint8_t *dst)
{
    size_t out = 0;
    for (size_t i = 0; i < len;) {
        if (len - i >= 3 && memcmp(s + i, "\xe2\x96\x81", 3) == 0) { /* U+2581 stands for a space */
            dst[out++] = ' ';
            i += 3;
        } else {
            dst[out++] = (uint8_t)s[i++];
        }
    }
    return out;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* The byte of a token spelled <0xHH>, or -1. */
static int byte_spelling(const char *s, size_t len)
{
    if (len != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    const int hi = hex_digit(s[3]), lo = hex_digit(s[4]);
    return hi < 0 || lo < 0 ? -1 : hi * 16 + lo;
}

/* ---------------------------------------- hash tables */

static uint64_t mix_bits(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    return x ^ x >> 32;
}

static uint64_t hash_bytes(const uint8_t *s, size_t len)
{
    uint64_t h = len;
    for (; len >= 8; s += 8, len -= 8) {
        uint64_t w;
        memcpy(&w, s, 8);
        h = mix_bits(h ^ w);
    }
    uint64_t w = 0;
    for (size_t i = 0; i < len; i++) w |= (uint64_t)s[i] << 8 * i;
    return mix_bits(h ^ w);
}

static uint64_t hash_pair(moe_token left, moe_token right)
{
    return mix_bits((uint64_t)(uint32_t)left << 32 | (uint32_t)right);
}

moe_token moe__token_find(const moe_tokenizer *t, const uint8_t *s, size_t len)
{
    if (len > t->longest) return MOE_TOKEN_NONE;
    for (size_t i = (size_t)hash_bytes(s, len) & t->slot_mask; t->slot[i] != 0; i = (i + 1) & t->slot_mask) {
        const moe_token id = (moe_token)(t->slot[i] - 1);
        size_t id_len;
        const uint8_t *bytes = moe__token_bytes(t, id, &id_len);
        if (id_len == len && memcmp(bytes, s, len) == 0) return id;
    }
    return MOE_TOKEN_NONE;
}

/* Adds a token unless its bytes are there; 0 if the table has become too slow. */
static int slot_add(moe_tokenizer *t, moe_token id)
{
    size_t len, probes = 0;
    const uint8_t *s = moe__token_bytes(t, id, &len);
    size_t i = (size_t)hash_bytes(s, len) & t->slot_mask;
    for (; t->slot[i] != 0; i = (i + 1) & t->slot_mask) {
        size_t other_len;
        const uint8_t *other = moe__token_bytes(t, (moe_token)(t->slot[i] - 1), &other_len);
        if (other_len == len && memcmp(other, s, len) == 0) return 1;
        if (++probes > MAX_PROBES) return 0;
    }
    t->slot[i] = (uint32_t)id + 1;
    return 1;
}

const moe__merge *moe__merge_find(const moe_tokenizer *t, moe_token left, moe_token right)
{
    for (size_t i = (size_t)hash_pair(left, right) & t->merge_mask; t->merge[i].merged >= 0;
         i = (i + 1) & t->merge_mask)
        if (t->merge[i].left == left && t->merge[i].right == right) return &t->merge[i];
    return NULL;
}

static int merge_add(moe_tokenizer *t, const moe__merge *m)
{
    size_t probes = 0, i = (size_t)hash_pair(m->left, m->right) & t->merge_mask;
    for (; t->merge[i].merged >= 0; i = (i + 1) & t->merge_mask) {
        if (t->merge[i].left == m->left && t->merge[i].right == m->right) return 1;
        if (++probes > MAX_PROBES) return 0;
    }
    t->merge[i] = *m;
    return 1;
}

/* ---------------------------------------- tables */

static int load_tokens(moe_tokenizer *t, const moe__vocab_source *v)
{
    size_t at = 0;
    for (size_t i = 0; i < t->n; i++) {
        size_t len;
        const char *s = moe__array_str(&v->tokens, i, &len);
        uint8_t attr = attr_of(v, i);
        if (attr == 0)
            return MOE_FAIL(FORMAT, "%s: key %s: token %zu: expected a type of 1 to 6, found %lld", t->name,
                            KEY_TYPES, i, (long long)moe__array_int(&v->types, i));
        const int byte = v->spm ? byte_spelling(s, len) : -1;
        if (v->types.n == 0 && byte >= 0) attr = MOE_ATTR_BYTE;
        t->at[i] = (uint32_t)at;
        uint8_t *dst = t->text + at;
        if (v->spm && attr == MOE_ATTR_BYTE) {
            if (byte < 0)
                return MOE_FAIL(FORMAT, "%s: key %s: byte token %zu is not spelled <0xHH>", t->name,
                                KEY_TOKENS, i);
            dst[0] = (uint8_t)byte;
            len = 1;
            if (t->byte_token[byte] == MOE_TOKEN_NONE) t->byte_token[byte] = (moe_token)i;
        } else if (v->spm) {
            len = moe__spelling_spm(s, len, dst);
        } else if (attr == MOE_ATTR_NORMAL || attr == MOE_ATTR_BYTE) {
            attr = MOE_ATTR_NORMAL;
            len = moe__spelling_bpe(s, len, dst);
        } else {
            memcpy(dst, s, len);
        }
        t->attr[i] = attr;
        if (len > t->longest) t->longest = len;
        at += len + 1;
        if (!v->spm) continue;
        t->score[i] = (float)moe__array_num(&v->scores, i);
        if (isnan(t->score[i]))
            return MOE_FAIL(FORMAT, "%s: key %s: the score of token %zu is not a number", t->name, KEY_SCORES,
                            i);
    }
    t->at[t->n] = (uint32_t)at;
    return MOE_OK;
}

static int load_slots(moe_tokenizer *t)
{
    static const uint32_t order[] = {MOE_ATTR_NORMAL, MOE_ATTR_USER, MOE_ATTR_CONTROL | MOE_ATTR_UNKNOWN,
                                     MOE_ATTR_UNUSED};
    for (size_t pass = 0; pass < sizeof order / sizeof order[0]; pass++)
        for (size_t i = 0; i < t->n; i++)
            if ((t->attr[i] & order[pass]) != 0 && !slot_add(t, (moe_token)i))
                return MOE_FAIL(UNSUPPORTED, "%s: key %s: too many tokens hash alike", t->name, KEY_TOKENS);
    return MOE_OK;
}

static int load_merges(moe_tokenizer *t, const moe__vocab_source *v, uint8_t *tmp)
{
    for (size_t i = 0; i <= t->merge_mask; i++) t->merge[i].merged = -1;
    for (size_t i = 0; i < (size_t)v->merges.n; i++) {
        size_t len, left_len, right_len, n_left, n_right;
        const char *s = moe__array_str(&v->merges, i, &len);
        /* The two halves are parted by a space; the first half has at least one byte, which may itself be a
         * space. */
        const char *gap = len > 2 ? memchr(s + 1, ' ', len - 2) : NULL;
        if (!gap)
            return MOE_FAIL(FORMAT, "%s: key %s: merge %zu: expected two tokens parted by a space", t->name,
                            KEY_MERGES, i);
        left_len = (size_t)(gap - s);
        right_len = len - left_len - 1;
        moe__merge m = {MOE_TOKEN_NONE, MOE_TOKEN_NONE, MOE_TOKEN_NONE, (uint32_t)i};
        if (left_len <= v->longest && right_len <= v->longest) {
            n_left = moe__spelling_bpe(s, left_len, tmp);
            n_right = moe__spelling_bpe(gap + 1, right_len, tmp + n_left);
            m.left = moe__token_find(t, tmp, n_left);
            m.right = moe__token_find(t, tmp + n_left, n_right);
            m.merged = moe__token_find(t, tmp, n_left + n_right);
        }
        if (m.left < 0 || m.right < 0 || m.merged < 0)
            return MOE_FAIL(
                FORMAT,
                "%s: key %s: merge %zu names a token or makes one that is not in the vocabulary: '%.64s'",
                t->name, KEY_MERGES, i, s);
        if (!merge_add(t, &m))
            return MOE_FAIL(UNSUPPORTED, "%s: key %s: too many merges hash alike", t->name, KEY_MERGES);
    }
    return MOE_OK;
}

int moe__vocab_load(moe_tokenizer *t, const moe__vocab_source *v)
{
    const moe__allocator *a = &t->alloc;
    t->spm = v->spm;
    t->n = (size_t)v->tokens.n;
    t->slot_mask = v->n_slots - 1;
    MOE_TRY(MOE_NEW(a, &t->text, v->text_bytes, "tokens"));
    MOE_TRY(MOE_NEW(a, &t->at, t->n + 1, "token offsets"));
    MOE_TRY(MOE_NEW(a, &t->attr, t->n, "token attributes"));
    MOE_TRY(MOE_NEW(a, &t->slot, v->n_slots, "token table"));
    for (size_t i = 0; i < 256; i++) t->byte_token[i] = MOE_TOKEN_NONE;
    if (v->spm) MOE_TRY(MOE_NEW(a, &t->score, t->n, "token scores"));
    MOE_TRY(load_tokens(t, v));
    MOE_TRY(load_slots(t));
    if (v->spm) return MOE_OK;
    for (size_t i = 0; i < 256; i++) {
        const uint8_t byte = (uint8_t)i;
        const moe_token id = moe__token_find(t, &byte, 1);
        if (id >= 0 && t->attr[id] == MOE_ATTR_NORMAL) t->byte_token[i] = id;
    }
    uint8_t *tmp;
    t->merge_mask = v->n_merge_slots - 1;
    MOE_TRY(MOE_NEW(a, &t->merge, v->n_merge_slots, "merges"));
    MOE_TRY(MOE_NEW(a, &tmp, 2 * v->longest + 1, "merge text"));
    const int st = load_merges(t, v, tmp);
    moe__free(a, tmp);
    return st;
}
