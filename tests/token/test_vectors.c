/* SPDX-License-Identifier: MIT */
/*
 * Tokenizer tests: small vocabularies of every kind against what Hugging Face `tokenizers` makes of
 * unpleasant strings (docs/formats/golden.md). Every record must give exactly the expected ids, and decoding
 * must give the bytes back: at once, token by token, and for byte strings that are not UTF-8.
 *
 * Usage: test_vectors [folder with the .vec and .gguf files]
 */
#include "../golden/vec_file.h"

#include <moe/moe.h>

#define MAX_BYTES 4096
#define MAX_IDS 4096

static const char *folder = "tests/token/data";

/* A string and its ids. */
typedef struct record {
    char kind[8];
    char bytes[MAX_BYTES];
    size_t n_bytes;
    moe_token id[MAX_IDS];
    size_t n_ids;
} record;

typedef struct suite {
    moe_tokenizer *t;
    const char *name;
    int spm;       /* puts a space in front of text */
    int n_records; /* checked */
} suite;

static void must(int status, const char *what)
{
    if (status != MOE_OK) fail_msg("%s: %s: %s", what, moe_status_name(status), moe_last_error());
}

static int nibble(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* Reads the rest of a record whose kind has been read. */
static void read_record(vec_file *f, record *r)
{
    const char *hex = vec_word(f);
    r->n_bytes = 0;
    for (const char *p = strcmp(hex, "-") ? hex : ""; *p; p += 2) {
        const int high = nibble(p[0]), low = nibble(p[1]);
        if (high < 0 || low < 0 || r->n_bytes == MAX_BYTES) fail_msg("%s:%d: bad bytes", f->path, f->line);
        r->bytes[r->n_bytes++] = (char)(high * 16 + low);
    }
    const long n = vec_int(f);
    if (n < 0 || n > MAX_IDS) fail_msg("%s:%d: bad count", f->path, f->line);
    r->n_ids = (size_t)n;
    for (size_t i = 0; i < r->n_ids; i++) r->id[i] = (moe_token)vec_int(f);
}

/* Prints bytes and both id lists, then fails. */
static void complain(const vec_file *f, const record *r, const moe_token *got, size_t n_got)
{
    print_error("%s:%d: %s, %zu bytes:", f->path, f->line, r->kind, r->n_bytes);
    for (size_t i = 0; i < r->n_bytes && i < 60; i++) print_error(" %02x", (unsigned)(uint8_t)r->bytes[i]);
    print_error("\n  expected %zu:", r->n_ids);
    for (size_t i = 0; i < r->n_ids && i < 40; i++) print_error(" %d", (int)r->id[i]);
    print_error("\n  found %zu:", n_got);
    for (size_t i = 0; i < n_got && i < 40; i++) print_error(" %d", (int)got[i]);
    print_error("\n");
    fail_msg("%s:%d: ids differ", f->path, f->line);
}

static void check_encode(const suite *s, const vec_file *f, const record *r, uint32_t flags)
{
    static moe_token got[MAX_IDS];
    size_t n = 0, needed = 0;
    must(moe_tokenizer_encode(s->t, r->bytes, r->n_bytes, flags, got, MAX_IDS, &n), "moe_tokenizer_encode");
    if (n != r->n_ids || memcmp(got, r->id, n * sizeof *got) != 0) complain(f, r, got, n);
    if (n > 0) {
        assert_int_equal(moe_tokenizer_encode(s->t, r->bytes, r->n_bytes, flags, got, n - 1, &needed),
                         MOE_E_BUFFER);
        assert_int_equal(needed, n);
    }
}

/* Decodes at once, checks that asking for the length works, returns the length. */
static size_t decode(const suite *s, const moe_token *id, size_t n, char *dst)
{
    size_t len = 0, asked = 0;
    must(moe_tokenizer_decode(s->t, id, n, MOE_DECODE_SPECIAL, dst, MAX_BYTES, &len), "moe_tokenizer_decode");
    const int status = moe_tokenizer_decode(s->t, id, n, MOE_DECODE_SPECIAL, NULL, 0, &asked);
    assert_true(status == MOE_E_BUFFER || (status == MOE_OK && len == 0));
    assert_int_equal(asked, len);
    return len;
}

/* Whether got is want; in SentencePiece vocabularies, which spell a space as U+2581, that character is a
 * space. */
static int matches(const suite *s, const char *got, size_t n_got, const char *want, size_t n_want)
{
    size_t at = 0;
    for (size_t i = 0; i < n_want; at++) {
        const int block = s->spm && n_want - i >= 3 && memcmp(want + i, "\xe2\x96\x81", 3) == 0;
        if (at >= n_got || got[at] != (block ? ' ' : want[i])) return 0;
        i += block ? 3 : 1;
    }
    return at == n_got;
}

/* The text of SentencePiece vocabularies comes back with the space that encoding put in front. */
static int same_text(const suite *s, const char *got, size_t n_got, const char *want, size_t n_want)
{
    if (s->spm && n_got > 0 && got[0] == ' ' && matches(s, got + 1, n_got - 1, want, n_want)) return 1;
    return matches(s, got, n_got, want, n_want);
}

static void check_decode(const suite *s, const vec_file *f, const record *r)
{
    char got[MAX_BYTES];
    const size_t n = decode(s, r->id, r->n_ids, got);
    if (!same_text(s, got, n, r->bytes, r->n_bytes)) fail_msg("%s:%d: decoding differs", f->path, f->line);
}

/* Token by token, with a flush at the end; dst has MAX_BYTES. Whole UTF-8 comes out as decode gives it. */
static size_t stream(const suite *s, const moe_token *id, size_t n, char *dst)
{
    moe_stream st = MOE_STREAM_INIT;
    st.flags = MOE_DECODE_SPECIAL;
    size_t total = 0;
    for (size_t i = 0; i <= n; i++) {
        size_t len = 0;
        const moe_token next = i < n ? id[i] : MOE_TOKEN_NONE;
        must(moe_tokenizer_stream(s->t, &st, next, dst + total, MAX_BYTES - total, &len),
             "moe_tokenizer_stream");
        total += len;
    }
    return total;
}

static void check_stream(const suite *s, const vec_file *f, const record *r)
{
    char whole[MAX_BYTES], parts[MAX_BYTES];
    const size_t n = decode(s, r->id, r->n_ids, whole), m = stream(s, r->id, r->n_ids, parts);
    if (!same_text(s, whole, n, parts, m))
        fail_msg("%s:%d: streaming differs from decoding", f->path, f->line);
}

/* One record. `same` says that the string has no special tokens in it, so both flags must give the same ids.
 */
static void check_record(suite *s, const vec_file *f, const record *r, int same)
{
    const uint32_t flags = strcmp(r->kind, "plain") == 0 ? 0 : MOE_ENCODE_SPECIAL;
    s->n_records++;
    if (strcmp(r->kind, "decode") == 0) {
        check_decode(s, f, r);
        return;
    }
    check_encode(s, f, r, flags);
    if (same) check_encode(s, f, r, 0);
    if (strcmp(r->kind, "nfc") != 0 && (same || !s->spm)) check_decode(s, f, r);
    check_stream(s, f, r);
}

static void open_suite(suite *s, vec_file *f, const char *name)
{
    char path[512];
    memset(s, 0, sizeof *s);
    s->name = name;
    s->spm = strcmp(name, "llama") == 0;
    snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
    must(moe_tokenizer_open(&s->t, path, NULL), path);
    vec_open(f, folder, name, "libmoe-tokens 1");
}

static void vectors(void **state)
{
    static record now, before;
    suite s;
    vec_file f;
    int pending = 0, ended = 0;
    open_suite(&s, &f, *state);
    while (!ended && vec_line(&f)) {
        const char *key = vec_word(&f);
        if (strcmp(key, "tokens") == 0) {
            assert_int_equal(vec_int(&f), moe_tokenizer_size(s.t));
            continue;
        }
        if (strcmp(key, "pre") == 0 || strcmp(key, "model") == 0) continue;
        /* Whether a "text" record has special tokens in it is known when the next line is read. */
        if (pending) check_record(&s, &f, &before, strcmp(key, "plain") != 0);
        ended = strcmp(key, "end") == 0;
        if (ended) break;
        snprintf(now.kind, sizeof now.kind, "%s", key);
        read_record(&f, &now);
        pending = strcmp(key, "text") == 0;
        if (pending) before = now;
        else check_record(&s, &f, &now, 0);
    }
    if (!ended) fail_msg("%s: truncated", f.path);
    printf("# %-10s %d records\n", s.name, s.n_records);
    vec_close(&f);
    moe_tokenizer_free(s.t);
}

static const char *const all_kinds[] = {"gpt-2", "llama-bpe", "dbrx",    "qwen2",
                                        "olmo",  "refact",    "default", "llama"};
#define N_KINDS (sizeof all_kinds / sizeof all_kinds[0])

/* Bytes that are no UTF-8 survive encoding and decoding; ASCII in between is not disturbed. */
static void invalid_utf8_is_not_lost(void **state)
{
    (void)state;
    static const char *const broken[] = {
        "\x80",
        "\xff",
        "\xfe\xff",
        "a\xc3",
        "\xc3(",
        "\xe2\x82",
        "\xe2\x28\xa1",
        "\xf0\x9f\x98",
        "x\xf0\x28\x8c\xbcy",
        "\xc0\x80",
        "\xed\xa0\x80",
        "\xf4\x90\x80\x80",
        "\xf8\x88\x80\x80\x80",
        "ab \xe9t\xe9 cd",
        "\xc3\xc3\xa9",
    };
    for (size_t k = 0; k < N_KINDS; k++) {
        suite s;
        vec_file f;
        char bytes[64], got[MAX_BYTES];
        moe_token id[256];
        uint32_t random = 12345;
        open_suite(&s, &f, all_kinds[k]);
        vec_close(&f);
        for (size_t i = 0; i < 400; i++) {
            size_t len = i % 24 + 1, n = 0;
            if (i < sizeof broken / sizeof broken[0]) {
                len = strlen(broken[i]);
                memcpy(bytes, broken[i], len);
            } else {
                /* Bytes of 0xf5 and more never occur in UTF-8, so no such string is changed by normalisation.
                 */
                for (size_t j = 0; j < len; j++) {
                    random = random * 1664525u + 1013904223u;
                    bytes[j] = (char)(random >> 24);
                    if (i % 2) bytes[j] = (char)((random >> 24) | 0xf5);
                    else if (random >> 31) bytes[j] = (char)(0x20 + (random >> 8) % 0x5f);
                }
            }
            must(moe_tokenizer_encode(s.t, bytes, len, 0, id, 256, &n), s.name);
            const size_t m = decode(&s, id, n, got);
            if (!same_text(&s, got, m, bytes, len))
                fail_msg("%s: byte string %zu comes back changed", s.name, i);
        }
        moe_tokenizer_free(s.t);
    }
}

static void begin_of_text_is_added_where_the_file_says_so(void **state)
{
    (void)state;
    for (size_t k = 0; k < N_KINDS; k++) {
        suite s;
        vec_file f;
        moe_token without[8], with[8];
        size_t n = 0, m = 0;
        open_suite(&s, &f, all_kinds[k]);
        vec_close(&f);
        must(moe_tokenizer_encode(s.t, "a b", 3, 0, without, 8, &n), s.name);
        must(moe_tokenizer_encode(s.t, "a b", 3, MOE_ENCODE_BOS, with, 8, &m), s.name);
        const int adds = strcmp(s.name, "llama-bpe") == 0 || s.spm;
        assert_int_equal(m, n + (size_t)adds);
        assert_memory_equal(with + adds, without, n * sizeof *with);
        if (adds) assert_int_equal(with[0], moe_tokenizer_special(s.t, MOE_TOKEN_BOS));
        moe_tokenizer_free(s.t);
    }
}

#define VECTORS(name) {"vectors " name, vectors, NULL, NULL, (void *)(uintptr_t)name}

int main(int argc, char **argv)
{
    if (argc > 1) folder = argv[1];
    const struct CMUnitTest tests[] = {
        VECTORS("gpt-2"),
        VECTORS("llama-bpe"),
        VECTORS("dbrx"),
        VECTORS("qwen2"),
        VECTORS("olmo"),
        VECTORS("refact"),
        VECTORS("default"),
        VECTORS("llama"),
        cmocka_unit_test(invalid_utf8_is_not_lost),
        cmocka_unit_test(begin_of_text_is_added_where_the_file_says_so),
    };
    return cmocka_run_group_tests_name("token vectors", tests, NULL, NULL);
}
