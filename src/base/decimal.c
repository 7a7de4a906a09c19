/* SPDX-License-Identifier: MIT */
/*
 * See decimal.h. A number is num / den with whole numbers of up to BIG_WORDS * 32 bits. Reading: num / den is
 * divided by the unit in the last place, bit by bit, and rounded by the remainder. Writing: digits come out
 * of num / den one by one; the fewest are taken that read back, rounded down or up.
 */
#include "base/decimal.h"

#include <stdint.h>
#include <string.h>

/*
 * Sizes: a midpoint between two doubles has at most 767 digits, so digits beyond DIGITS only matter by being
 * there or not. Then num < 10^(DIGITS + 1) * 2^1074 and den <= 10^(DIGITS + 1 + 330) * 2^54: below 2^4500.
 */
enum { DIGITS = 780, BIG_WORDS = 144 };

typedef struct big {
    uint32_t word[BIG_WORDS]; /* the lowest first */
    int n;                    /* words in use; the highest is not 0 */
} big;

/* b = b * m + a */
static void big_mul_add(big *b, uint32_t m, uint32_t a)
{
    uint64_t carry = a;
    for (int i = 0; i < b->n; i++) {
        carry += (uint64_t)b->word[i] * m;
        b->word[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) b->word[b->n++] = (uint32_t)carry;
}

static void big_mul_pow10(big *b, int e)
{
    for (; e >= 9; e -= 9) big_mul_add(b, 1000000000u, 0);
    for (; e > 0; e--) big_mul_add(b, 10, 0);
}

static void big_shift_left(big *b, int bits)
{
    const int words = bits / 32, rest = bits % 32;
    if (b->n == 0 || bits == 0) return;
    memmove(b->word + words, b->word, (size_t)b->n * sizeof *b->word);
    memset(b->word, 0, (size_t)words * sizeof *b->word);
    b->n += words;
    if (rest) big_mul_add(b, (uint32_t)1 << rest, 0);
}

static int big_compare(const big *a, const big *b)
{
    if (a->n != b->n) return a->n < b->n ? -1 : 1;
    for (int i = a->n; i-- > 0;)
        if (a->word[i] != b->word[i]) return a->word[i] < b->word[i] ? -1 : 1;
    return 0;
}

/* a -= b; a >= b */
static void big_subtract(big *a, const big *b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < a->n; i++) {
        const uint64_t take = (i < b->n ? b->word[i] : 0) + borrow;
        borrow = a->word[i] < take;
        a->word[i] = (uint32_t)(a->word[i] - take);
    }
    while (a->n > 0 && a->word[a->n - 1] == 0) a->n--;
}

static int big_bits(const big *b)
{
    int bits = 0;
    if (b->n == 0) return 0;
    for (uint32_t top = b->word[b->n - 1]; top; top >>= 1) bits++;
    return 32 * (b->n - 1) + bits;
}

/* A binary floating-point format: bits of the significand, exponents of the smallest and largest unit. */
typedef struct format {
    int bits, min_unit, max_unit, digits; /* digits: as many always read back */
} format;
static const format format_f32 = {24, -149, 104, 9}, format_f64 = {53, -1074, 971, 17};

/* num / den, rounded to m * 2^unit; 0 if it is too large. num and den are used up. num is not 0. */
static int round_quotient(big *num, big *den, const format *f, uint64_t *m, int *unit)
{
    const int lead = big_bits(num) - big_bits(den); /* 2^(lead-1) < num / den < 2^(lead+1) */
    int u = lead - f->bits;                         /* so the quotient has bits or bits + 1 bits */
    if (u < f->min_unit) u = f->min_unit;
    uint64_t q = 0;
    if (u > 0)
        big_shift_left(den, u);
    else
        big_shift_left(num, -u);
    big_shift_left(den, f->bits + 1);
    for (int i = f->bits + 1; i >= 0; i--) { /* num < 2 den here */
        q <<= 1;
        if (big_compare(num, den) >= 0) {
            big_subtract(num, den);
            q |= 1;
        }
        if (i > 0) big_shift_left(num, 1);
    }
    /* What is left is num / den of a unit, halved once more if the quotient is one bit too long. */
    int up;
    if (q >> f->bits) {
        up = (q & 1) && (num->n > 0 || (q & 2));
        q >>= 1;
        u++;
    } else {
        big_shift_left(num, 1);
        const int half = big_compare(num, den);
        up = half > 0 || (half == 0 && (q & 1));
    }
    q += (uint64_t)up;
    if (q >> f->bits) {
        q >>= 1;
        u++;
    }
    *m = q;
    *unit = u;
    return u <= f->max_unit;
}

/* ---- reading */

static int digit_at(const char *s, size_t i, size_t n) { return i < n && s[i] >= '0' && s[i] <= '9'; }

size_t moe__decimal_scan(const char *s, size_t n)
{
    size_t i = n > 0 && s[0] == '-', end;
    if (!digit_at(s, i, n)) return 0;
    if (s[i++] != '0')
        while (digit_at(s, i, n)) i++;
    end = i;
    if (i < n && s[i] == '.' && digit_at(s, i + 1, n)) {
        for (i++; digit_at(s, i, n);) i++;
        end = i;
    }
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-')) i++;
        if (digit_at(s, i, n)) {
            while (digit_at(s, i, n)) i++;
            end = i;
        }
    }
    return end;
}

/* digits * 10^exp10 of the text; digits is 0 (n = 0), or its first DIGITS digits and a 1 for any that follow.
 */
static int read_digits(const char *s, size_t n, big *digits, int *exp10)
{
    int64_t exponent = 0, point = 0; /* as written; places behind the point, and digits left out */
    int used = 0, behind = 0, more = 0;
    size_t i = s[0] == '-';
    digits->n = 0;
    for (; i < n && s[i] != 'e' && s[i] != 'E'; i++) {
        if (s[i] == '.') {
            behind = 1;
            continue;
        }
        if (used < DIGITS) {
            big_mul_add(digits, 10, (uint32_t)(s[i] - '0'));
            used += used > 0 || s[i] != '0';
            point -= behind;
        } else {
            more |= s[i] != '0';
            point += !behind;
        }
    }
    if (i < n) {
        const int down = s[++i] == '-';
        if (s[i] == '-' || s[i] == '+') i++;
        for (; i < n; i++)
            if (exponent < INT64_C(1) << 40) exponent = exponent * 10 + (s[i] - '0');
        if (down) exponent = -exponent;
    }
    if (more) {
        big_mul_add(digits, 10, 1);
        used++;
        point--;
    }
    exponent += point;
    if (digits->n == 0) return 0;
    if (exponent + used > 400) return 1;  /* at least 10^400 */
    if (exponent + used < -400) return 0; /* below 10^-400 */
    *exp10 = (int)exponent;
    return 2;
}

/* |text| as m * 2^unit, 0 as m = 0; 0 if too large. */
static int read_number(const char *s, size_t n, const format *f, uint64_t *m, int *unit)
{
    big num, den = {{1}, 1};
    int exp10 = 0;
    *m = 0;
    *unit = f->min_unit;
    switch (read_digits(s, n, &num, &exp10)) {
    case 0: return 1;
    case 1: return 0;
    default: break;
    }
    if (exp10 >= 0)
        big_mul_pow10(&num, exp10);
    else
        big_mul_pow10(&den, -exp10);
    return round_quotient(&num, &den, f, m, unit);
}

/* The bits of a number of either format. */
static uint64_t to_bits_of(uint64_t m, int unit, const format *f, int minus)
{
    const int width = f->bits == 24 ? 32 : 64;
    const uint64_t hidden = UINT64_C(1) << (f->bits - 1);
    /* Numbers without the hidden bit have exponent 0 and the smallest unit. */
    const uint64_t exponent = m & hidden ? (uint64_t)(unit - f->min_unit + 1) : 0;
    return (uint64_t)minus << (width - 1) | exponent << (f->bits - 1) | (m & (hidden - 1));
}

int moe__decimal_to_f32(const char *s, size_t n, float *out)
{
    uint64_t m;
    int unit;
    if (!read_number(s, n, &format_f32, &m, &unit)) return 0;
    const uint32_t bits = (uint32_t)to_bits_of(m, unit, &format_f32, s[0] == '-');
    memcpy(out, &bits, sizeof *out);
    return 1;
}

int moe__decimal_to_f64(const char *s, size_t n, double *out)
{
    uint64_t m;
    int unit;
    if (!read_number(s, n, &format_f64, &m, &unit)) return 0;
    const uint64_t bits = to_bits_of(m, unit, &format_f64, s[0] == '-');
    memcpy(out, &bits, sizeof *out);
    return 1;
}

/* ---- writing */

/* The first n digits of m * 2^unit, cut off; returns k so that the number is d.ddd * 10^k. m is not 0. */
static int write_digits(uint64_t m, int unit, int n, char *digit)
{
    big num = {{(uint32_t)m, (uint32_t)(m >> 32)}, m >> 32 ? 2 : 1}, den = {{1}, 1}, ten;
    if (unit > 0)
        big_shift_left(&num, unit);
    else
        big_shift_left(&den, -unit);
    int k = (big_bits(&num) - big_bits(&den)) * 1233 / 4096; /* log10 2, low by at most one or so */
    if (k > 0)
        big_mul_pow10(&den, k);
    else
        big_mul_pow10(&num, -k);
    while (big_compare(&num, &den) < 0) {
        big_mul_add(&num, 10, 0);
        k--;
    }
    for (ten = den, big_mul_add(&ten, 10, 0); big_compare(&num, &ten) >= 0; k++) {
        den = ten;
        big_mul_add(&ten, 10, 0);
    }
    for (int i = 0; i < n; i++) {
        digit[i] = '0';
        for (; big_compare(&num, &den) >= 0; digit[i]++) big_subtract(&num, &den);
        big_mul_add(&num, 10, 0);
    }
    return k;
}

/* One up in the last place: 199 -> 2; returns 1 where the number gained a place (99 -> 1, k + 1). */
static int count_up(char *digit, int n)
{
    while (n > 0 && digit[n - 1] == '9') digit[--n] = '0';
    if (n == 0) {
        digit[0] = '1';
        return 1;
    }
    digit[n - 1]++;
    return 0;
}

/* d.ddd * 10^k as text: plain where that is short, else with an exponent. Returns its length. */
static size_t lay_out(const char *digit, int n, int k, int minus, char *dst)
{
    size_t at = 0;
    while (n > 1 && digit[n - 1] == '0') n--;
    if (minus) dst[at++] = '-';
    const int plain = k >= -5 && k <= 14, whole = plain && k >= 0 ? k + 1 : plain ? 0 : 1;
    if (whole == 0) {
        dst[at++] = '0';
        dst[at++] = '.';
        for (int i = -1; i > k; i--) dst[at++] = '0';
    }
    for (int i = 0; i < n || i < whole; i++) {
        if (i == whole && whole > 0) dst[at++] = '.';
        dst[at++] = i < n ? digit[i] : '0';
    }
    if (!plain) {
        dst[at++] = 'e';
        if (k < 0) dst[at++] = '-';
        const int e = k < 0 ? -k : k;
        if (e >= 100) dst[at++] = (char)('0' + e / 100);
        if (e >= 10) dst[at++] = (char)('0' + e / 10 % 10);
        dst[at++] = (char)('0' + e % 10);
    }
    dst[at] = 0;
    return at;
}

/* Does this text stand for m * 2^unit? */
static int reads_back(const char *s, size_t n, uint64_t m, int unit, const format *f)
{
    uint64_t m2;
    int unit2;
    return read_number(s, n, f, &m2, &unit2) && m2 == m && unit2 == unit;
}

/* Text with n of the digits, rounded to the nearer side first; 0 if neither reads back. */
static size_t try_digits(const char *digit, int n, int k, int minus, uint64_t m, int unit, const format *f,
                         char *dst)
{
    char part[20];
    for (int pass = 0; pass < 2; pass++) {
        const int up = (digit[n] >= '5') != pass;
        memcpy(part, digit, (size_t)n);
        const int carry = up && count_up(part, n);
        const size_t len = lay_out(part, n, k + carry, minus, dst);
        if (reads_back(dst, len, m, unit, f)) return len;
    }
    return 0;
}

static size_t write_number(uint64_t m, int unit, int minus, const format *f, char *dst)
{
    char digit[20];
    if (m == 0) return lay_out("0", 1, 0, minus, dst);
    const int k = write_digits(m, unit, f->digits + 1, digit);
    int low = 1, high = f->digits; /* high is enough; fewer than low are not */
    while (low < high) {
        const int mid = (low + high) / 2;
        if (try_digits(digit, mid, k, minus, m, unit, f, dst))
            high = mid;
        else
            low = mid + 1;
    }
    return try_digits(digit, high, k, minus, m, unit, f, dst);
}

/* Takes the bits of a finite number apart, as to_bits_of() puts them together. */
static void from_bits_of(uint64_t bits, const format *f, uint64_t *m, int *unit)
{
    const uint64_t hidden = UINT64_C(1) << (f->bits - 1);
    const int exponent = (int)(bits >> (f->bits - 1) & (f->bits == 24 ? 0xffu : 0x7ffu));
    *m = (bits & (hidden - 1)) | (exponent ? hidden : 0);
    *unit = f->min_unit + (exponent ? exponent - 1 : 0);
}

size_t moe__decimal_from_f32(float x, char dst[MOE_DECIMAL_TEXT])
{
    uint32_t bits;
    uint64_t m;
    int unit;
    memcpy(&bits, &x, sizeof bits);
    from_bits_of(bits, &format_f32, &m, &unit);
    return write_number(m, unit, (int)(bits >> 31), &format_f32, dst);
}

size_t moe__decimal_from_f64(double x, char dst[MOE_DECIMAL_TEXT])
{
    uint64_t bits, m;
    int unit;
    memcpy(&bits, &x, sizeof bits);
    from_bits_of(bits, &format_f64, &m, &unit);
    return write_number(m, unit, (int)(bits >> 63), &format_f64, dst);
}
