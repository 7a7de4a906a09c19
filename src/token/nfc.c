/* SPDX-License-Identifier: MIT */
/*
 * See nfc.h. The text is cut before every character that normalisation cannot touch from behind (class 0); a
 * piece of one such character is copied, any other piece is decomposed, sorted by combining class and
 * composed. Linear time for any text.
 */
#include "token/nfc.h"

#include <string.h>

#include "base/status.h"
#include "token/unicode.h"

#define CLASS_SHIFT 24 /* characters of a piece: class << 24 | code point */
#define CP_MASK 0xffffffu

/* Hangul syllables are composed by arithmetic: Unicode Standard, 3.12. */
enum {
    HANGUL_S = 0xac00,
    HANGUL_L = 0x1100,
    HANGUL_V = 0x1161,
    HANGUL_T = 0x11a7,
    N_L = 19,
    N_V = 21,
    N_T = 28
};

typedef struct nfc_work {
    const moe__allocator *alloc;
    uint8_t *out; /* the result, owned */
    size_t n_out, cap_out;
    uint32_t *ch; /* a piece, owned */
    size_t n_ch, cap_ch;
} nfc_work;

static uint32_t class_of(uint32_t cp)
{
    if (cp < 0x300 || cp > 0x10ffff) return 0;
    size_t lo = 0, hi = moe__nfc_n_ranges;
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (moe__nfc_ranges[mid] >> 8 <= cp) lo = mid;
        else hi = mid;
    }
    return moe__nfc_ranges[lo] & 0xffu;
}

/* Row of the decomposition of cp, or NULL. */
static const uint32_t *parts_of(uint32_t cp)
{
    size_t lo = 0, hi = moe__nfc_n_parts;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        if (moe__nfc_parts[mid][0] == cp) return moe__nfc_parts[mid];
        if (moe__nfc_parts[mid][0] < cp) lo = mid + 1;
        else hi = mid;
    }
    return NULL;
}

/* What a and b compose to, or 0. */
static uint32_t compose(uint32_t a, uint32_t b)
{
    if (a >= HANGUL_L && a < HANGUL_L + N_L && b >= HANGUL_V && b < HANGUL_V + N_V)
        return HANGUL_S + ((a - HANGUL_L) * N_V + (b - HANGUL_V)) * N_T;
    if (a >= HANGUL_S && a < HANGUL_S + N_L * N_V * N_T && (a - HANGUL_S) % N_T == 0 && b > HANGUL_T &&
        b < HANGUL_T + N_T)
        return a + (b - HANGUL_T);
    size_t lo = 0, hi = moe__nfc_n_pairs;
    while (lo < hi) {
        const size_t mid = lo + (hi - lo) / 2;
        const uint32_t *row = moe__nfc_parts[moe__nfc_pairs[mid]];
        if (row[1] == a && row[2] == b) return row[0];
        if (row[1] < a || (row[1] == a && row[2] < b)) lo = mid + 1;
        else hi = mid;
    }
    return 0;
}

static int add_char(nfc_work *w, uint32_t cp)
{
    if (w->n_ch == w->cap_ch) {
        const size_t cap = w->cap_ch ? 2 * w->cap_ch : 64;
        MOE_TRY(moe__realloc_array(w->alloc, (void **)&w->ch, cap, sizeof *w->ch, "normalising text"));
        w->cap_ch = cap;
    }
    const uint32_t c = class_of(cp);
    w->ch[w->n_ch++] = (c == MOE_NFC_MAYBE ? 0 : c) << CLASS_SHIFT | cp;
    return MOE_OK;
}

/* Adds the full decomposition of cp. Second parts do not decompose further, so a short stack of them does. */
static int add_decomposed(nfc_work *w, uint32_t cp)
{
    uint32_t rest[8];
    size_t n = 0;
    if (cp >= HANGUL_S && cp < HANGUL_S + N_L * N_V * N_T) {
        const uint32_t k = cp - HANGUL_S;
        MOE_TRY(add_char(w, HANGUL_L + k / (N_V * N_T)));
        MOE_TRY(add_char(w, HANGUL_V + k % (N_V * N_T) / N_T));
        return k % N_T ? add_char(w, HANGUL_T + k % N_T) : MOE_OK;
    }
    for (const uint32_t *row; n < sizeof rest / sizeof rest[0] && (row = parts_of(cp)) != NULL; cp = row[1])
        if (row[2]) rest[n++] = row[2];
    MOE_TRY(add_char(w, cp));
    while (n > 0) MOE_TRY(add_char(w, rest[--n]));
    return MOE_OK;
}

/* Stable sort of ch[0..n), all of class > 0, by class: insertion for the usual few, counting for many. */
static int sort_marks(nfc_work *w, uint32_t *ch, size_t n)
{
    if (n <= 24) {
        for (size_t i = 1; i < n; i++) {
            const uint32_t x = ch[i];
            size_t k = i;
            for (; k > 0 && ch[k - 1] >> CLASS_SHIFT > x >> CLASS_SHIFT; k--) ch[k] = ch[k - 1];
            ch[k] = x;
        }
        return MOE_OK;
    }
    size_t at[257] = {0};
    uint32_t *copy;
    MOE_TRY(MOE_NEW(w->alloc, &copy, n, "sorting combining marks"));
    memcpy(copy, ch, n * sizeof *ch);
    for (size_t i = 0; i < n; i++) at[(ch[i] >> CLASS_SHIFT) + 1]++;
    for (size_t c = 1; c < 257; c++) at[c] += at[c - 1];
    for (size_t i = 0; i < n; i++) ch[at[copy[i] >> CLASS_SHIFT]++] = copy[i];
    moe__free(w->alloc, copy);
    return MOE_OK;
}

static int sort_piece(nfc_work *w)
{
    for (size_t i = 0; i < w->n_ch;) {
        size_t end = i;
        while (end < w->n_ch && w->ch[end] >> CLASS_SHIFT != 0) end++;
        if (end > i + 1) MOE_TRY(sort_marks(w, w->ch + i, end - i));
        i = end + 1;
    }
    return MOE_OK;
}

/* Joins each mark with the last starter before it unless one of the same or a higher class stands between
 * them (UAX 15, D117). */
static void compose_piece(nfc_work *w)
{
    size_t n = 0, starter = SIZE_MAX;
    uint32_t last = 0; /* class of the character before, if it stayed behind the starter */
    for (size_t i = 0; i < w->n_ch; i++) {
        const uint32_t cp = w->ch[i] & CP_MASK, c = w->ch[i] >> CLASS_SHIFT;
        if (starter != SIZE_MAX && (n == starter + 1 || (last != 0 && last < c))) {
            const uint32_t joined = compose(w->ch[starter], cp);
            if (joined) {
                w->ch[starter] = joined;
                continue;
            }
        }
        if (c == 0) starter = n;
        last = c;
        w->ch[n++] = cp;
    }
    w->n_ch = n;
}

static int append(nfc_work *w, const uint8_t *s, size_t n)
{
    if (n > w->cap_out - w->n_out) {
        size_t cap = w->cap_out;
        while (cap - w->n_out < n) cap = cap + cap / 2 + 64;
        MOE_TRY(moe__realloc_array(w->alloc, (void **)&w->out, cap, 1, "normalised text"));
        w->cap_out = cap;
    }
    memcpy(w->out + w->n_out, s, n);
    w->n_out += n;
    return MOE_OK;
}

/* Class of the character at s, and its length. Bytes that are no character are of class 0. */
static uint32_t look(const uint8_t *s, size_t n, size_t *len, uint32_t *cp)
{
    *len = moe__utf8_next(s, n, cp);
    return *cp == MOE_CP_INVALID ? 0 : class_of(*cp);
}

/* One piece: s[0..n) begins with a character of any class, the others are not of class 0. */
static int normalise_piece(nfc_work *w, const uint8_t *s, size_t n)
{
    uint32_t cp;
    w->n_ch = 0;
    for (size_t i = 0, len; i < n; i += len) {
        len = moe__utf8_next(s + i, n - i, &cp);
        if (cp == MOE_CP_INVALID) { /* only ever the first: it joins nothing */
            MOE_TRY(append(w, s, 1));
            continue;
        }
        MOE_TRY(add_decomposed(w, cp));
    }
    MOE_TRY(sort_piece(w));
    compose_piece(w);
    for (size_t i = 0; i < w->n_ch; i++) {
        uint8_t utf8[4];
        MOE_TRY(append(w, utf8, moe__utf8_put(w->ch[i] & CP_MASK, utf8)));
    }
    return MOE_OK;
}

static int normalise(nfc_work *w, const uint8_t *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t len, next;
        uint32_t cp;
        int inert = look(s + i, n - i, &len, &cp) == 0;
        size_t end = i + len;
        for (; end < n && s[end] >= 0x80 && look(s + end, n - end, &next, &cp) != 0; end += next) inert = 0;
        MOE_TRY(inert ? append(w, s + i, end - i) : normalise_piece(w, s + i, end - i));
        i = end;
    }
    return MOE_OK;
}

int moe__nfc(const moe__allocator *a, const uint8_t *s, size_t n, uint8_t **out, size_t *out_len)
{
    size_t i = 0, before = 0; /* before: start of the last inert character */
    *out = NULL;
    *out_len = 0;
    while (i < n) {
        size_t len = 1;
        uint32_t cp;
        if (s[i] >= 0x80 && look(s + i, n - i, &len, &cp) != 0) break;
        before = i;
        i += len;
    }
    if (i >= n) return MOE_OK;
    nfc_work w = {a, NULL, 0, 0, NULL, 0, 0};
    int st;
    MOE_TRY_GOTO(MOE_NEW(a, &w.out, n + 64, "normalised text"), done);
    w.cap_out = n + 64;
    memcpy(w.out, s, before);
    w.n_out = before;
    st = normalise(&w, s + before, n - before);
done:
    moe__free(a, w.ch);
    if (st < 0) {
        moe__free(a, w.out);
        return st;
    }
    *out = w.out;
    *out_len = w.n_out;
    return MOE_OK;
}
