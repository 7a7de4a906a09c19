/* SPDX-License-Identifier: MIT */
/* See unicode.h. */
#include "token/unicode.h"

uint32_t moe__unicode_flags(uint32_t cp)
{
    if (cp < 128) return moe__unicode_ascii[cp];
    if (cp > 0x10ffff) return 0;
    /* The last range that starts at or below cp. */
    size_t lo = 0, hi = moe__unicode_n_ranges;
    while (hi - lo > 1) {
        const size_t mid = lo + (hi - lo) / 2;
        if (moe__unicode_ranges[mid] >> 8 <= cp) lo = mid;
        else hi = mid;
    }
    return moe__unicode_ranges[lo] & 0xffu;
}

/* Number of bytes that the lead byte announces (0: no lead byte) and the legal range of the second byte. */
static int lead(uint8_t c, uint8_t *lo, uint8_t *hi)
{
    *lo = 0x80;
    *hi = 0xbf;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0; /* continuation bytes, and overlong forms of ASCII */
    if (c < 0xe0) return 2;
    if (c < 0xf0) {
        if (c == 0xe0) *lo = 0xa0; /* overlong below */
        if (c == 0xed) *hi = 0x9f; /* surrogates above */
        return 3;
    }
    if (c > 0xf4) return 0;
    if (c == 0xf0) *lo = 0x90;
    if (c == 0xf4) *hi = 0x8f; /* above U+10FFFF */
    return 4;
}

int moe__utf8_scan(const uint8_t *s, size_t n, uint32_t *cp)
{
    static const uint8_t lead_mask[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint8_t lo, hi;
    const int len = lead(s[0], &lo, &hi);
    if (len == 0) return -1;
    uint32_t c = s[0] & lead_mask[len];
    for (int i = 1; i < len; i++) {
        if ((size_t)i >= n) return 0;
        if (s[i] < lo || s[i] > hi) return -i;
        c = c << 6 | (s[i] & 0x3fu);
        lo = 0x80;
        hi = 0xbf;
    }
    *cp = c;
    return len;
}

size_t moe__utf8_next(const uint8_t *s, size_t n, uint32_t *cp)
{
    const int len = moe__utf8_scan(s, n, cp);
    if (len > 0) return (size_t)len;
    *cp = MOE_CP_INVALID;
    return 1;
}

size_t moe__utf8_put(uint32_t cp, uint8_t *dst)
{
    if (cp < 0x80) {
        dst[0] = (uint8_t)cp;
        return 1;
    }
    const size_t len = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    static const uint8_t lead_bits[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--, cp >>= 6) dst[i] = (uint8_t)(0x80u | (cp & 0x3fu));
    dst[0] = (uint8_t)(lead_bits[len] | cp);
    return len;
}
