/* SPDX-License-Identifier: MIT */
/*
 * Tokenizers made by hand: which files are refused and why, whole tokens, unknown bytes, streaming, buffers
 * too small, failing allocations, long words. Equality with Hugging Face's libraries is tested in
 * tests/token.
 */
#include "token_file.h"

#include <math.h>

#include "token/nfc.h"
#include "token/pretok.h"

/* ---------------------------------------- byte-level BPE ---------------------------------------- */

/* "Ġ" (U+0120) is the alphabet's space, "Ċ" (U+010A) its line end. */
static const char *const bpe_tokens[] = {
    "a", "b",        "c",        "\xc4\xa0", "\xc4\x8a", "ab",       "bc",  "abc", "\xc4\xa0\x61", "'",
    "s", "\xc3\xa9", "\xc3\x83", "\xc2\xa9", "<|end|>",  "<|end|>x", "<t>", "  ",  "[PAD]",        "abab",
};
enum {
    A,
    B,
    C,
    SPACE,
    LINE,
    AB,
    BC,
    ABC,
    SPACE_A,
    QUOTE,
    S,
    E_BYTE,
    C3,
    A9,
    END,
    END_X,
    TAG,
    TWO_SPACES,
    PAD,
    ABAB,
    N_BPE
};
/* Token "é" spells the byte 0xe9; C3 and A9 spell the bytes of é in UTF-8. */
static const char bpe_types[] = "11111111111111334451";
static const char *const bpe_merges[] = {"b c", "a b", "a bc", "\xc4\xa0 a", "ab c", "ab ab"};

static const vocab bpe = {.model = "gpt2",
                          .pre = "gpt-2",
                          .tokens = bpe_tokens,
                          .n_tokens = N_BPE,
                          .types = bpe_types,
                          .merges = bpe_merges,
                          .n_merges = 6,
                          .eos = END + 1};

static void merges_by_rank(void **state)
{
    (void)state;
    moe_tokenizer *t = tokenizer_of(&bpe);
    assert_int_equal(moe_tokenizer_size(t), N_BPE);
    encodes(t, "", 0, IDS(-1));
    encodes(t, "abc", 0, IDS(ABC));
    encodes(t, "ab", 0, IDS(AB));
    encodes(t, "aab", 0, IDS(A, AB));
    encodes(t, "abab", 0, IDS(ABAB));
    encodes(t, "ababc", 0, IDS(AB, ABC));     /* "b c" has the lowest rank, so "abab" does not come about */
    encodes(t, "a ab", 0, IDS(A, SPACE, AB)); /* "a b" ranks before space + a */
    encodes(t, "a a", 0, IDS(A, SPACE_A));
    encodes(t, "a\nb", 0, IDS(A, LINE, B));
    encodes(t, "\xe9\xc3\xa9", 0, IDS(E_BYTE, C3, A9));
    decodes(t, IDS(ABC, SPACE_A, LINE, E_BYTE, C3, A9), 0, "abc a\n\xe9\xc3\xa9");
    moe_tokenizer_free(t);
}

static void whole_tokens_come_first(void **state)
{
    (void)state;
    moe_tokenizer *t = tokenizer_of(&bpe);
    encodes(t, "a<|end|>b", MOE_ENCODE_SPECIAL, IDS(A, END, B));
    encodes(t, "<|end|>x<|end|><|end|>", MOE_ENCODE_SPECIAL, IDS(END_X, END, END)); /* the longest wins */
    encodes(t, "<t>a<t>", 0, IDS(TAG, A, TAG)); /* added tokens need no flag */
    encodes(t, "a  b", 0, IDS(A, TWO_SPACES, B));
    encodes(t, "   a", 0, IDS(TWO_SPACES, SPACE_A));
    moe_token ids[32];
    size_t n;
    assert_int_equal(moe_tokenizer_encode(t, "<|end|>", 7, 0, ids, 32, &n),
                     MOE_E_UNSUPPORTED); /* no token for "<" */
    assert_non_null(strstr(moe_last_error(), "0x3c"));
    assert_int_equal(n, 0);
    decodes(t, IDS(A, END, B, TAG, PAD), 0, "ab<t>");
    decodes(t, IDS(A, END, B, TAG, PAD), MOE_DECODE_SPECIAL, "a<|end|>b<t>[PAD]");
    moe_tokenizer_free(t);
}

static void unknown_bytes_become_the_unknown_token(void **state)
{
    (void)state;
    vocab v = bpe;
    v.unk = PAD + 1;
    moe_tokenizer *t = tokenizer_of(&v);
    encodes(t, "abxxab", 0, IDS(AB, PAD, PAD, AB));
    moe_tokenizer_free(t);
}

static void tokens_can_be_asked(void **state)
{
    (void)state;
    moe_tokenizer *t = tokenizer_of(&bpe);
    const char *piece;
    size_t len;
    moe_token id;
    assert_int_equal(moe_tokenizer_piece(t, SPACE_A, &piece, &len), MOE_OK);
    assert_string_equal(piece, " a");
    assert_int_equal(len, 2);
    assert_int_equal(moe_tokenizer_piece(t, END, &piece, &len), MOE_OK);
    assert_string_equal(piece, "<|end|>");
    assert_int_equal(moe_tokenizer_piece(t, N_BPE, &piece, &len), MOE_E_RANGE);
    assert_null(piece);
    assert_int_equal(moe_tokenizer_piece(t, -1, &piece, &len), MOE_E_RANGE);
    assert_int_equal(moe_tokenizer_attr(t, A), MOE_ATTR_NORMAL);
    assert_int_equal(moe_tokenizer_attr(t, END), MOE_ATTR_CONTROL | MOE_ATTR_END);
    assert_int_equal(moe_tokenizer_attr(t, TAG), MOE_ATTR_USER);
    assert_int_equal(moe_tokenizer_attr(t, PAD), MOE_ATTR_UNUSED);
    assert_int_equal(moe_tokenizer_attr(t, N_BPE), 0);
    assert_int_equal(moe_tokenizer_attr(NULL, 0), 0);
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_EOS), END);
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_EOT), END);
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_BOS), MOE_TOKEN_NONE);
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_NEWLINE), LINE);
    assert_int_equal(moe_tokenizer_special(t, 0), MOE_TOKEN_NONE);
    assert_int_equal(moe_tokenizer_special(t, 7), MOE_TOKEN_NONE);
    for (moe_token i = 0; i < N_BPE; i++) {
        assert_int_equal(moe_tokenizer_piece(t, i, &piece, &len), MOE_OK);
        assert_int_equal(moe_tokenizer_find(t, piece, len, &id), MOE_OK);
        assert_int_equal(id, i);
    }
    assert_int_equal(moe_tokenizer_find(t, "nothing", 7, &id), MOE_E_NOTFOUND);
    assert_int_equal(id, MOE_TOKEN_NONE);
    assert_int_equal(moe_tokenizer_find(t, NULL, 0, &id), MOE_E_NOTFOUND);
    moe_tokenizer_free(t);
    moe_tokenizer_free(NULL);
}

static void arguments_are_checked(void **state)
{
    (void)state;
    moe_tokenizer *t = tokenizer_of(&bpe);
    moe_token ids[8] = {A, B};
    char text[64];
    const char *piece;
    size_t n = 9;
    moe_stream st = MOE_STREAM_INIT;
    assert_int_equal(moe_tokenizer_encode(NULL, "a", 1, 0, ids, 8, &n), MOE_E_INVALID);
    assert_int_equal(n, 0);
    assert_int_equal(moe_tokenizer_encode(t, NULL, 1, 0, ids, 8, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_encode(t, "a", 1, 8, ids, 8, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_encode(t, "a", 1, 0, NULL, 8, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_encode(t, "a", 1, 0, ids, 8, NULL), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_encode(t, NULL, 0, 0, NULL, 0, &n), MOE_OK);
    assert_string_equal(moe_last_error(), "");
    assert_int_equal(moe_tokenizer_encode(t, "abc a", 5, 0, ids, 1, &n), MOE_E_BUFFER);
    assert_int_equal(n, 2);
    assert_int_equal(moe_tokenizer_encode(t, "abc a", 5, 0, NULL, 0, &n), MOE_E_BUFFER);
    assert_int_equal(n, 2);
    assert_int_equal(moe_tokenizer_decode(NULL, ids, 2, 0, text, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_decode(t, NULL, 2, 0, text, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_decode(t, ids, 2, 2, text, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_decode(t, ids, 2, 0, NULL, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_decode(t, ids, 2, 0, NULL, 0, &n), MOE_E_BUFFER);
    assert_int_equal(n, 2);
    ids[1] = N_BPE;
    assert_int_equal(moe_tokenizer_decode(t, ids, 2, 0, text, 64, &n), MOE_E_RANGE);
    ids[1] = MOE_TOKEN_NONE;
    assert_int_equal(moe_tokenizer_decode(t, ids, 2, 0, text, 64, &n), MOE_E_RANGE);
    assert_int_equal(moe_tokenizer_stream(NULL, &st, A, text, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_stream(t, NULL, A, text, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_stream(t, &st, N_BPE, text, 64, &n), MOE_E_RANGE);
    st.size = 3;
    assert_int_equal(moe_tokenizer_stream(t, &st, A, text, 64, &n), MOE_E_INVALID);
    st = (moe_stream)MOE_STREAM_INIT;
    st.n = 200;
    assert_int_equal(moe_tokenizer_stream(t, &st, A, text, 64, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_piece(t, A, NULL, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_piece(NULL, A, &piece, &n), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_find(t, NULL, 1, ids), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_find(NULL, "a", 1, ids), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_size(NULL), 0);
    assert_int_equal(moe_tokenizer_special(NULL, MOE_TOKEN_BOS), MOE_TOKEN_NONE);
    moe_tokenizer *other = t;
    assert_int_equal(moe_tokenizer_open(NULL, "x", NULL), MOE_E_INVALID);
    assert_int_equal(moe_tokenizer_open(&other, NULL, NULL), MOE_E_INVALID);
    assert_null(other);
    assert_true(moe_tokenizer_open(&other, "/nonexistent/file.gguf", NULL) < 0);
    moe_tokenizer_free(t);
}

/* Feeds ids (ended by -1) to a stream and gathers what comes out, with room for `cap` bytes per call. */
static void streams(const moe_tokenizer *t, uint32_t flags, const moe_token *ids, const char *expected)
{
    moe_stream st = MOE_STREAM_INIT;
    char text[256];
    size_t n = 0, len;
    st.flags = flags;
    for (size_t i = 0;; i++) {
        const moe_token id = ids[i];
        const moe_stream before = st;
        if (moe_tokenizer_stream(t, &st, id, NULL, 0, &len) == MOE_E_BUFFER) {
            assert_memory_equal(&st, &before, sizeof st); /* unchanged, so the call can be made again */
            const size_t need = len;
            assert_int_equal(moe_tokenizer_stream(t, &st, id, text + n, need - 1, &len), MOE_E_BUFFER);
            assert_memory_equal(&st, &before, sizeof st);
            assert_int_equal(moe_tokenizer_stream(t, &st, id, text + n, need, &len), MOE_OK);
            assert_int_equal(len, need);
        }
        n += len;
        if (id < 0) break;
    }
    text[n] = '\0';
    assert_string_equal(text, expected);
    assert_int_equal(st.n, 0);
}

static void streams_give_whole_characters(void **state)
{
    (void)state;
    moe_tokenizer *t = tokenizer_of(&bpe);
    streams(t, 0, IDS(-1), "");
    streams(t, 0, IDS(A, C3, A9, B),
            "a\xc3\xa9"
            "b");
    streams(t, 0, IDS(A, C3), "a\xef\xbf\xbd"); /* never finished */
    streams(t, 0, IDS(A, C3, B),
            "a\xef\xbf\xbd"
            "b"); /* broken off */
    streams(t, 0, IDS(C3, C3, A9), "\xef\xbf\xbd\xc3\xa9");
    streams(t, 0, IDS(A9, A),
            "\xef\xbf\xbd"
            "a");                                       /* no beginning */
    streams(t, 0, IDS(E_BYTE, A9, A9), "\xe9\xa9\xa9"); /* three bytes of one character */
    streams(t, 0, IDS(E_BYTE, A9, B),
            "\xef\xbf\xbd"
            "b"); /* one mark for a broken sequence */
    streams(t, 0, IDS(A, END, B), "ab");
    streams(t, MOE_DECODE_SPECIAL, IDS(A, END, B), "a<|end|>b");
    streams(t, 0, IDS(C3, END, A9), "\xc3\xa9"); /* hidden tokens do not part a character */
    streams(t, 0, IDS(SPACE_A, SPACE_A), " a a");
    moe_tokenizer_free(t);
}

/* ---------------------------------------- SentencePiece style ---------------------------------------- */

static const char *const spm_tokens[] = {
    "<unk>",
    "<s>",
    "</s>",
    "<0x0A>",
    "<0xC3>",
    "<0xA9>",
    "\xe2\x96\x81",
    "a",
    "b",
    "\xe2\x96\x81\x61",
    "ab",
    "ba",
    "\xe2\x96\x81\xe2\x96\x81",
    "<tag>",
    "aba",
    "<0x0a>",
};
enum { UNK, BOS, EOS, X0A, XC3, XA9, SP, SA, SB, SP_A, S_AB, S_BA, SPSP, S_TAG, S_ABA, X0A_AGAIN, N_SPM };
static const char spm_types[] = "2336661111111416";
static const float spm_scores[] = {0, 0, 0, 0, 0, 0, -1, -1, -1, -2, -3, -2.5f, -9, 0, -4, 0};
static const vocab spm = {
    .model = "llama", .tokens = spm_tokens, .n_tokens = N_SPM, .types = spm_types, .scores = spm_scores};

static void merges_by_score(void **state)
{
    (void)state;
    moe_tokenizer *t = tokenizer_of(&spm);
    encodes(t, "", 0, IDS(-1));
    encodes(t, "a", 0, IDS(SP_A));
    encodes(t, "ba", 0, IDS(SP, S_BA));
    encodes(t, "bab", 0, IDS(SP, S_BA, SB)); /* "ba" scores higher than "ab" */
    encodes(t, "aab", 0, IDS(SP_A, S_AB));
    encodes(t, "b  a", 0, IDS(SP, SB, SP, SP_A)); /* space + a scores higher than two spaces */
    encodes(t, "\n", 0, IDS(SP, X0A));
    encodes(t, "\xc3\xa9", 0, IDS(SP, XC3, XA9));
    encodes(t, "\xc3", 0, IDS(SP, XC3)); /* not UTF-8, not lost */
    encodes(t, "z", 0, IDS(SP, UNK));    /* no token, no byte token */
    encodes(t, "a", MOE_ENCODE_BOS, IDS(BOS, SP_A));
    encodes(t, "a<tag>a", 0, IDS(SP_A, S_TAG, SP_A)); /* each piece of text gets its space */
    encodes(t, "<s>a</s>", MOE_ENCODE_SPECIAL, IDS(BOS, SP_A, EOS));
    encodes(t,
            "\xe2\x96\x81"
            "a",
            0, IDS(SP, SP_A)); /* U+2581 is the model's space */
    decodes(t, IDS(SP_A, SP_A), 0, "a a");
    decodes(t, IDS(BOS, SP_A, EOS), 0, "a");
    decodes(t, IDS(BOS, SP_A, EOS), MOE_DECODE_SPECIAL, "<s> a</s>");
    decodes(t, IDS(SP, XC3, XA9, X0A), 0, "\xc3\xa9\n");
    decodes(t, IDS(SPSP, SA), 0, " a"); /* one space goes, no more */
    streams(t, 0, IDS(SP_A, SP_A, SP, XC3, XA9), "a a \xc3\xa9");
    streams(t, 0, IDS(BOS, SP, SP_A), " a");
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_NEWLINE), X0A);
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_BOS), BOS);
    assert_int_equal(moe_tokenizer_special(t, MOE_TOKEN_UNK), UNK);
    assert_int_equal(moe_tokenizer_attr(t, XC3), MOE_ATTR_BYTE);
    assert_int_equal(moe_tokenizer_attr(t, EOS), MOE_ATTR_CONTROL | MOE_ATTR_END);
    moe_token id;
    assert_int_equal(moe_tokenizer_find(t, "\n", 1, &id), MOE_OK);
    assert_int_equal(id, X0A);
    assert_int_equal(moe_tokenizer_find(t, " a", 2, &id), MOE_OK);
    assert_int_equal(id, SP_A);
    moe_tokenizer_free(t);
}

static void flags_of_the_file_count(void **state)
{
    (void)state;
    vocab v = spm;
    v.space_prefix = 1; /* false */
    v.add_bos = 1;
    moe_tokenizer *t = tokenizer_of(&v);
    encodes(t, "a", MOE_ENCODE_BOS, IDS(SA));
    decodes(t, IDS(SP_A), 0, " a");
    streams(t, 0, IDS(SP_A), " a");
    moe_tokenizer_free(t);
    v.space_prefix = 0;
    v.trim = 1;
    t = tokenizer_of(&v);
    encodes(t, "  b   a  ", 0, IDS(SP, SB, SP_A));
    encodes(t, "   ", 0, IDS(-1));
    moe_tokenizer_free(t);
    v = bpe;
    v.bos = END + 1;
    v.add_bos = 2; /* true */
    t = tokenizer_of(&v);
    encodes(t, "a", MOE_ENCODE_BOS, IDS(END, A));
    encodes(t, "a", 0, IDS(A));
    moe_tokenizer_free(t);
    t = tokenizer_of(&bpe);
    encodes(t, "\xc3\xa9", 0, IDS(C3, A9));
    moe_token ids[4];
    size_t n;
    const char sign[] = "\xe2\x84\xab"; /* ANGSTROM SIGN, which becomes A with ring, 0xc3 0x85 */
    assert_int_equal(moe_tokenizer_encode(t, sign, 3, 0, ids, 4, &n), MOE_E_UNSUPPORTED);
    assert_non_null(strstr(moe_last_error(), "0xe2"));
    moe_tokenizer_free(t);
    v = bpe;
    v.normalizer = "nfc";
    t = tokenizer_of(&v);
    assert_int_equal(moe_tokenizer_encode(t, sign, 3, 0, ids, 4, &n), MOE_E_UNSUPPORTED);
    assert_non_null(strstr(moe_last_error(), "0x85"));
    moe_tokenizer_free(t);
}

/* ---------------------------------------- refusals ---------------------------------------- */

/* The vocabulary is refused with this status, and the message has this text. */
static void refused(const vocab *v, int status, const char *text)
{
    moe_tokenizer *t;
    const int st = make_tokenizer(&t, v);
    assert_null(t);
    if (st != status)
        fail_msg("%s: expected %s, found %s", text, moe_status_name(status), moe_status_name(st));
    if (!strstr(moe_last_error(), text)) fail_msg("expected '%s' in: %s", text, moe_last_error());
    if (status != MOE_E_NOTFOUND) assert_non_null(strstr(moe_last_error(), "test.gguf"));
}
#define REFUSED(base, status, text, ...)    \
    do {                                    \
        vocab v_ = (base);                  \
        __VA_ARGS__;                        \
        refused(&v_, MOE_E_##status, text); \
    } while (0)

static void faulty_files_are_refused(void **state)
{
    (void)state;
    static const char *const no_gap[] = {"ab"}, *const short_gap[] = {" a"}, *const no_right[] = {"a "};
    static const char *const stranger[] = {"a x"}, *const no_result[] = {"a a"},
                             *const too_long[] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b"};
    static const float bad_score[N_SPM] = {0, NAN};
    static const char *const bad_byte[] = {"<unk>", "<s>", "</s>", "<0xZZ>"};
    REFUSED(bpe, NOTFOUND, "tokenizer.ggml.model", v_.model = NULL);
    REFUSED(bpe, NOTFOUND, "no tokenizer", v_.model = "none");
    REFUSED(bpe, UNSUPPORTED, "known are gpt2 and llama", v_.model = "t5");
    REFUSED(bpe, UNSUPPORTED, "qwen2", v_.pre = "strange");
    REFUSED(bpe, UNSUPPORTED, "known are nfc and none", v_.normalizer = "nfkc");
    REFUSED(bpe, FORMAT, "tokenizer.ggml.tokens", v_.tokens = NULL);
    REFUSED(bpe, FORMAT, "tokenizer.ggml.tokens", v_.n_tokens = 0);
    REFUSED(bpe, FORMAT, "tokenizer.ggml.merges", v_.merges = NULL);
    REFUSED(bpe, FORMAT, "tokenizer.ggml.token_type", v_.types = "111");
    REFUSED(bpe, FORMAT, "token 3: expected a type", v_.types = "11171111111111334451");
    REFUSED(bpe, FORMAT, "token 0: expected a type", v_.types = "01111111111111334451");
    REFUSED(bpe, FORMAT, "merge 0: expected two tokens", v_.merges = no_gap, v_.n_merges = 1);
    REFUSED(bpe, FORMAT, "merge 0: expected two tokens", v_.merges = short_gap, v_.n_merges = 1);
    REFUSED(bpe, FORMAT, "merge 0: expected two tokens", v_.merges = no_right, v_.n_merges = 1);
    REFUSED(bpe, FORMAT, "merge 0 names a token", v_.merges = stranger, v_.n_merges = 1);
    REFUSED(bpe, FORMAT, "merge 0 names a token", v_.merges = no_result, v_.n_merges = 1);
    REFUSED(bpe, FORMAT, "merge 0 names a token", v_.merges = too_long, v_.n_merges = 1);
    REFUSED(bpe, FORMAT, "tokenizer.ggml.eos_token_id", v_.eos = N_BPE + 1);
    REFUSED(bpe, FORMAT, "tokenizer.ggml.bos_token_id", v_.bos = INT32_MAX);
    REFUSED(spm, FORMAT, "tokenizer.ggml.scores", v_.scores = NULL);
    REFUSED(spm, FORMAT, "token 1 is not a number", v_.scores = bad_score);
    REFUSED(spm, FORMAT, "byte token 3", v_.tokens = bad_byte, v_.n_tokens = 4, v_.types = "2336");
}

static void keys_of_another_kind_are_refused(void **state)
{
    (void)state;
    static const char *const keys[] = {"tokenizer.ggml.tokens",        "tokenizer.ggml.token_type",
                                       "tokenizer.ggml.merges",        "tokenizer.ggml.pre",
                                       "tokenizer.ggml.add_bos_token", "tokenizer.ggml.eos_token_id",
                                       "tokenizer.chat_template"};
    moe__allocator a;
    moe__allocator_init(&a, NULL);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        vocab v = bpe;
        bytes meta = {NULL, 0, 0}, file = {NULL, 0, 0};
        uint64_t n_kv;
        moe_tokenizer *t;
        if (i == 0) v.tokens = NULL;
        if (i == 1) v.types = NULL;
        if (i == 2) v.merges = NULL;
        if (i == 3) v.pre = NULL;
        if (i == 5) v.eos = 0;
        put_vocab(&meta, &v, &n_kv);
        put_key(&meta, keys[i], MOE_META_ARRAY); /* of floats: fits no key */
        put_u32(&meta, MOE_META_F32);
        put_u64(&meta, 1);
        put_u32(&meta, 0);
        put_header(&file, 3, 0, n_kv + 1);
        put(&file, meta.p, meta.n);
        put_padding(&file, 32);
        assert_int_equal(read_tokenizer(&t, &file, &a), MOE_E_FORMAT);
        assert_non_null(strstr(moe_last_error(), keys[i]));
        bytes_free(&meta);
        bytes_free(&file);
    }
}

static void doubles_are_harmless(void **state)
{
    (void)state;
    static const char *const tokens[] = {"a", "b", "ab", "ab", "a", "<x>", "<x>"};
    static const char *const merges[] = {"a b", "a b"};
    const vocab v = {.model = "gpt2",
                     .tokens = tokens,
                     .n_tokens = 7,
                     .types = "1111133",
                     .merges = merges,
                     .n_merges = 2};
    moe_tokenizer *t = tokenizer_of(&v);
    encodes(t, "ab", 0, IDS(2));
    encodes(t, "a<x>", MOE_ENCODE_SPECIAL, IDS(0, 5));
    decodes(t, IDS(3, 4), 0, "aba");
    moe_tokenizer_free(t);
}

/* ---------------------------------------- memory ---------------------------------------- */

typedef struct counting {
    size_t left, in_use, peak;
} counting;

static void *count_alloc(size_t n, size_t align, void *user)
{
    counting *c = user;
    (void)align;
    if (c->left == 0) return NULL;
    c->left--;
    c->in_use += n;
    if (c->in_use > c->peak) c->peak = c->in_use;
    return aligned_alloc(64, (n + 63) / 64 * 64);
}

static void count_free(void *p, size_t n, void *user)
{
    ((counting *)user)->in_use -= n;
    free(p);
}

/* Fails the first, the second, ... allocation until all goes well; nothing may leak. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    const vocab *vocabs[] = {&bpe, &spm};
    for (size_t k = 0; k < 2; k++) {
        bytes file = {NULL, 0, 0};
        make_file(&file, vocabs[k]);
        char text[600];
        memset(text, 'a', sizeof text);
        memcpy(text + 300, "e\xcc\x81", 3);
        int done = 0;
        for (size_t fail = 0; !done; fail++) {
            counting c = {SIZE_MAX, 0, 0};
            const moe__allocator a = {count_alloc, count_free, &c};
            const moe_file mf = bytes_file(1);
            moe__file *f;
            moe_tokenizer *t;
            moe_token ids[1200];
            size_t n;
            assert_int_equal(moe__file_open_user(&f, &mf, &file, &a, MOE_OPEN_METADATA_ONLY), MOE_OK);
            const size_t base = c.in_use;
            c.peak = base;
            c.left = fail;
            int st = moe__tokenizer_create(&t, f, &a);
            if (st == MOE_OK) assert_true(c.peak - base <= moe__tokenizer_overhead(f));
            if (st == MOE_OK) {
                const size_t held = c.in_use;
                st = moe_tokenizer_encode(t, text, k ? 600 : 300, 0, ids, 1200, &n);
                assert_int_equal(c.in_use, held);
                done = st == MOE_OK;
            }
            if (st != MOE_OK) assert_int_equal(st, MOE_E_NOMEM);
            moe__tokenizer_destroy(t);
            assert_int_equal(c.in_use, base);
            moe__file_close(f);
            assert_int_equal(c.in_use, 0);
        }
        bytes_free(&file);
    }
}

/* ---------------------------------------- long texts ---------------------------------------- */

/* A megabyte without a gap must neither take long nor come out differently from short words. */
static void long_words_are_merged_alike(void **state)
{
    (void)state;
    const size_t n = 1u << 20;
    char *text = malloc(n);
    moe_token *ids = malloc(n * sizeof *ids);
    size_t n_ids, len;
    assert_non_null(text);
    assert_non_null(ids);
    for (size_t i = 0; i < n; i++) text[i] = "ab"[i % 2];
    moe_tokenizer *t = tokenizer_of(&bpe);
    assert_int_equal(moe_tokenizer_encode(t, text, n, 0, ids, n, &n_ids), MOE_OK);
    assert_int_equal(n_ids, n / 4);
    for (size_t i = 0; i < n_ids; i++) assert_int_equal(ids[i], ABAB);
    assert_int_equal(moe_tokenizer_decode(t, ids, n_ids, 0, text, n, &len), MOE_OK);
    assert_int_equal(len, n);
    /* Words of 30 to 70 letters: both ways of merging, against the plain definition. */
    uint32_t seed = 1;
    for (int round = 0; round < 400; round++) {
        moe_token plain[70], got[70];
        size_t n_plain = 30 + (size_t)round % 41, n_got;
        for (size_t i = 0; i < n_plain; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = "aabc"[seed >> 30];
            plain[i] = text[i] == 'a' ? A : text[i] == 'b' ? B : C;
        }
        assert_int_equal(moe_tokenizer_encode(t, text, n_plain, 0, got, 70, &n_got), MOE_OK);
        static const moe_token rules[5][3] = {
            {B, C, BC}, {A, B, AB}, {A, BC, ABC}, {AB, C, ABC}, {AB, AB, ABAB}};
        for (size_t r = 0; r < 5;) { /* the best rule at its first place, then from the start again */
            size_t i = 0;
            while (i + 1 < n_plain && (plain[i] != rules[r][0] || plain[i + 1] != rules[r][1])) i++;
            if (i + 1 >= n_plain) {
                r++;
                continue;
            }
            plain[i] = rules[r][2];
            memmove(plain + i + 1, plain + i + 2, (n_plain - i - 2) * sizeof *plain);
            n_plain--;
            r = 0;
        }
        assert_int_equal(n_got, n_plain);
        assert_memory_equal(got, plain, n_plain * sizeof *plain);
    }
    moe_tokenizer_free(t);
    memset(text, ' ', n);
    t = tokenizer_of(&spm);
    assert_int_equal(moe_tokenizer_encode(t, text, n - 1, 0, ids, n, &n_ids), MOE_OK);
    assert_int_equal(n_ids, n / 2);
    moe_tokenizer_free(t);
    free(ids);
    free(text);
}

/*
 * Texts of llama models are cut before spaces when no token has a space inside. A token that has one, of
 * letters that do not occur, must therefore change nothing but the speed.
 */
static void cutting_at_spaces_changes_nothing(void **state)
{
    (void)state;
    const char *tokens[N_SPM + 1];
    float scores[N_SPM + 1];
    memcpy(tokens, spm_tokens, sizeof spm_tokens);
    memcpy(scores, spm_scores, sizeof spm_scores);
    tokens[N_SPM] = "x\xe2\x96\x81y";
    scores[N_SPM] = -20;
    vocab v = spm;
    v.tokens = tokens;
    v.scores = scores;
    v.types = "23366611111114161";
    v.n_tokens = N_SPM + 1;
    moe_tokenizer *cut = tokenizer_of(&spm), *whole = tokenizer_of(&v);
    uint32_t seed = 3;
    for (int round = 0; round < 500; round++) {
        char text[700];
        moe_token a[800], b[800];
        size_t n_a, n_b;
        const size_t n = (size_t)round % sizeof text;
        for (size_t i = 0; i < n; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = "  aabb\n\xc3"[seed >> 29];
        }
        assert_int_equal(moe_tokenizer_encode(cut, text, n, 0, a, 800, &n_a), MOE_OK);
        assert_int_equal(moe_tokenizer_encode(whole, text, n, 0, b, 800, &n_b), MOE_OK);
        assert_int_equal(n_a, n_b);
        assert_memory_equal(a, b, n_a * sizeof *a);
    }
    moe_tokenizer_free(cut);
    moe_tokenizer_free(whole);
    /* A token with a space inside is used where it fits: space + y is made first, then x + that.
     */
    static const char *const inner[] = {"<unk>", "x", "\xe2\x96\x81", "y", "\xe2\x96\x81y", "x\xe2\x96\x81y"};
    static const float inner_scores[] = {0, -1, -1, -1, -2, -3};
    const vocab w = {.model = "llama",
                     .tokens = inner,
                     .n_tokens = 6,
                     .types = "211111",
                     .scores = inner_scores,
                     .space_prefix = 1};
    moe_tokenizer *t = tokenizer_of(&w);
    encodes(t, "x yx y", 0, IDS(5, 5));
    moe_tokenizer_free(t);
}

/* Pieces always cover the text, whatever its bytes, and cutting them again changes nothing for one-stage
 * rules. */
static void pieces_cover_any_bytes(void **state)
{
    (void)state;
    static const char some[] = " \t\r\n'sSaZ09.,!-\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\xff\x80\xc5\xbf";
    uint32_t seed = 7;
    for (size_t i = 0; moe__pretok_name(i); i++) {
        const moe__pretok *rule = moe__pretok_find(moe__pretok_name(i));
        assert_non_null(rule);
        for (int round = 0; round < 2000; round++) {
            uint8_t s[48];
            size_t n = 0, covered = 0, len;
            for (; n < sizeof s - (size_t)round % 40; n++) {
                seed = seed * 1664525u + 1013904223u;
                s[n] = round % 3 ? (uint8_t)some[(seed >> 16) % (sizeof some - 1)] : (uint8_t)(seed >> 24);
            }
            moe__pretok_iter it;
            const uint8_t *piece;
            moe__pretok_start(&it, rule, s, n);
            while (moe__pretok_next(&it, &piece, &len)) {
                assert_ptr_equal(piece, s + covered);
                assert_true(len > 0 && len <= n - covered);
                covered += len;
            }
            assert_int_equal(covered, n);
        }
    }
    assert_null(moe__pretok_find("gpt-3"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_by_rank),
        cmocka_unit_test(whole_tokens_come_first),
        cmocka_unit_test(unknown_bytes_become_the_unknown_token),
        cmocka_unit_test(tokens_can_be_asked),
        cmocka_unit_test(arguments_are_checked),
        cmocka_unit_test(streams_give_whole_characters),
        cmocka_unit_test(merges_by_score),
        cmocka_unit_test(flags_of_the_file_count),
        cmocka_unit_test(faulty_files_are_refused),
        cmocka_unit_test(keys_of_another_kind_are_refused),
        cmocka_unit_test(doubles_are_harmless),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(long_words_are_merged_alike),
        cmocka_unit_test(cutting_at_spaces_changes_nothing),
        cmocka_unit_test(pieces_cover_any_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
