/* SPDX-License-Identifier: MIT */
/*
 * Tokenizers of every kind on any bytes: the first byte chooses the vocabulary, the second the flags, the
 * rest is text. Promises: the length asked for is the length given; ids are in range; decoding gives the text
 * back (ASCII to the byte; other text to its normal form, so that a second round changes nothing more); a
 * stream gives as much as one call.
 */
#include "fuzz.h"

#define MAX_TEXT 1500u
#define MAX_OUT  32768u

/* SentencePiece puts a space in front and spells spaces otherwise: its text comes back only up to that. */
static const struct {
    const char *file;
    int spm;
} kinds[] = {{"gpt-2", 0}, {"llama-bpe", 0}, {"dbrx", 0},    {"qwen2", 0},
             {"olmo", 0},  {"refact", 0},    {"default", 0}, {"llama", 1}};
enum { N_KINDS = sizeof kinds / sizeof kinds[0] };

static moe_tokenizer *tokenizers[N_KINDS];

static void open_all(void)
{
    for (size_t i = 0; i < N_KINDS; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/tests/token/data/%s.gguf", FUZZ_ROOT, kinds[i].file);
        if (moe_tokenizer_open(&tokenizers[i], path, NULL) != MOE_OK) {
            fprintf(stderr, "%s: %s\n", path, moe_last_error());
            exit(2);
        }
    }
}

static size_t encode(const moe_tokenizer *t, const char *text, size_t n, uint32_t flags, moe_token *ids)
{
    size_t asked = 0, got = 0;
    const int st = moe_tokenizer_encode(t, text, n, flags, NULL, 0, &asked);
    FUZZ_CHECK(st == (asked > 0 ? MOE_E_BUFFER : MOE_OK) && asked <= MAX_OUT);
    FUZZ_CHECK(moe_tokenizer_encode(t, text, n, flags, ids, asked, &got) == MOE_OK && got == asked);
    for (size_t i = 0; i < got; i++) FUZZ_CHECK(ids[i] >= 0 && (size_t)ids[i] < moe_tokenizer_size(t));
    return got;
}

static size_t decode(const moe_tokenizer *t, const moe_token *ids, size_t n, char *dst)
{
    size_t asked = 0, got = 0;
    const int st = moe_tokenizer_decode(t, ids, n, MOE_DECODE_SPECIAL, NULL, 0, &asked);
    FUZZ_CHECK(st == (asked > 0 ? MOE_E_BUFFER : MOE_OK) && asked <= MAX_OUT);
    FUZZ_CHECK(moe_tokenizer_decode(t, ids, n, MOE_DECODE_SPECIAL, dst, asked, &got) == MOE_OK &&
               got == asked);
    return got;
}

/* Token by token; what comes out is the decoded text, but for what is no UTF-8. */
static void stream(const moe_tokenizer *t, const moe_token *ids, size_t n, size_t n_text, int ascii)
{
    moe_stream st = MOE_STREAM_INIT;
    char part[512];
    size_t len = 0, total = 0;
    st.flags = MOE_DECODE_SPECIAL;
    for (size_t i = 0; i <= n; i++) {
        FUZZ_CHECK(moe_tokenizer_stream(t, &st, i < n ? ids[i] : MOE_TOKEN_NONE, part, sizeof part, &len) ==
                   MOE_OK);
        FUZZ_CHECK(len <= sizeof part);
        total += len;
    }
    FUZZ_CHECK(!ascii || total == n_text || total + 1 == n_text); /* a first space may be left out */
}

static int is_ascii(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] > 0x7f) return 0;
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static moe_token ids[MAX_OUT], again[MAX_OUT];
    static char back[MAX_OUT], twice[MAX_OUT];
    fuzz_input in = {data, n};
    if (!tokenizers[0]) open_all();
    if (n < 2) return 0;
    const size_t kind = fuzz_u8(&in) % N_KINDS;
    const uint32_t flags = fuzz_u8(&in) & MOE_ENCODE_SPECIAL;
    const moe_tokenizer *t = tokenizers[kind];
    const char *text = (const char *)in.p;
    const size_t len = in.n < MAX_TEXT ? in.n : MAX_TEXT;
    const size_t n_ids = encode(t, text, len, flags, ids);
    const size_t n_back = decode(t, ids, n_ids, back);
    const int ascii = is_ascii(text, len);
    stream(t, ids, n_ids, n_back, ascii);
    if (kinds[kind].spm) return 0;
    if (ascii) FUZZ_CHECK(n_back == len && memcmp(back, text, len) == 0);
    const size_t n_again = encode(t, back, n_back, flags, again);
    const size_t n_twice = decode(t, again, n_again, twice);
    FUZZ_CHECK(n_twice == n_back && memcmp(twice, back, n_back) == 0);
    return 0;
}
