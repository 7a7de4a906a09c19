/* SPDX-License-Identifier: MIT */
/*
 * Life of a tokenizer: reads a file's `tokenizer.*` keys, finds special tokens by key and by well-known name,
 * and keeps the list of tokens that are matched whole. After creation nothing changes, so any number of
 * threads may use it.
 */
#include "token/token.h"

#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "token/chat.h"
#include "token/vocab.h"

#define KEY(name) "tokenizer.ggml." name
#define KEY_NORMALIZER "libmoe.tokenizer.normalizer"

/* Names that end a turn or the text whatever the file's keys say, in order of preference as "end of turn". */
static const char *const end_names[] = {
    "<|eot_id|>", "<|im_end|>",  "<|end|>",       "<end_of_turn>",   "<|end_of_turn|>",
    "<|return|>", "<|eom_id|>",  "<|endoftext|>", "<|end_of_text|>", "<|END_OF_TURN_TOKEN|>",
    "<EOT>",      "<|fim_end|>", "</s>",          "<eos>",
};
#define N_EOT_NAMES 5 /* the first of them end a turn, the others the text */

/* Keys of special tokens. */
static const struct {
    const char *key;
    int which;
} special_keys[] = {
    {KEY("bos_token_id"), MOE_TOKEN_BOS},     {KEY("eos_token_id"), MOE_TOKEN_EOS},
    {KEY("eot_token_id"), MOE_TOKEN_EOT},     {KEY("unknown_token_id"), MOE_TOKEN_UNK},
    {KEY("padding_token_id"), MOE_TOKEN_PAD},
};
#define N_SPECIAL_KEYS (sizeof special_keys / sizeof special_keys[0])

static int optional(int st)
{
    if (st != MOE_E_NOTFOUND) return st;
    moe__clear_error();
    return MOE_OK;
}

/* Look-ups that leave *out alone if the key is missing. */
static int optional_bool(const moe__file *f, const char *key, int *out)
{
    int value;
    const int st = moe__file_get_bool(f, key, &value);
    if (st >= 0) *out = value;
    return optional(st);
}

static int optional_str(const moe__file *f, const char *key, const char **out)
{
    const char *value;
    size_t len;
    const int st = moe__file_get_str(f, key, &value, &len);
    if (st >= 0) *out = value;
    return optional(st);
}

static int load_special_ids(moe_tokenizer *t, const moe__file *f)
{
    for (size_t i = 0; i < sizeof t->special / sizeof t->special[0]; i++) t->special[i] = MOE_TOKEN_NONE;
    for (size_t i = 0; i < N_SPECIAL_KEYS; i++) {
        uint32_t id = UINT32_MAX;
        const int st = moe__file_get_u32(f, special_keys[i].key, &id);
        MOE_TRY(optional(st));
        if (st < 0) continue;
        if (id >= t->n)
            return MOE_FAIL(FORMAT, "%s: key %s: expected a token below %zu, found %u", t->name,
                            special_keys[i].key, t->n, id);
        t->special[special_keys[i].which] = (moe_token)id;
    }
    if (t->spm) { /* SentencePiece's own order, where a file says nothing */
        static const struct {
            int which;
            moe_token id;
        } order[] = {{MOE_TOKEN_UNK, 0}, {MOE_TOKEN_BOS, 1}, {MOE_TOKEN_EOS, 2}};
        for (size_t i = 0; i < 3; i++)
            if (t->special[order[i].which] < 0 && (size_t)order[i].id < t->n &&
                (t->attr[order[i].id] & (MOE_ATTR_CONTROL | MOE_ATTR_UNKNOWN)) != 0)
                t->special[order[i].which] = order[i].id;
    }
    return MOE_OK;
}

/* Marks the tokens that end generation and finds those that have a name but no key. */
static void find_named(moe_tokenizer *t)
{
    for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
        const moe_token id = moe__token_find(t, (const uint8_t *)end_names[i], strlen(end_names[i]));
        if (id < 0 || (t->attr[id] & (MOE_ATTR_CONTROL | MOE_ATTR_USER)) == 0) continue;
        t->attr[id] |= MOE_ATTR_END;
        if (i < N_EOT_NAMES && t->special[MOE_TOKEN_EOT] < 0) t->special[MOE_TOKEN_EOT] = id;
    }
    if (t->special[MOE_TOKEN_EOS] >= 0) t->attr[t->special[MOE_TOKEN_EOS]] |= MOE_ATTR_END;
    if (t->special[MOE_TOKEN_EOT] >= 0) t->attr[t->special[MOE_TOKEN_EOT]] |= MOE_ATTR_END;
    const moe_token line = moe__token_find(t, (const uint8_t *)"\n", 1);
    t->special[MOE_TOKEN_NEWLINE] =
        line >= 0 && (t->attr[line] & MOE_ATTR_NORMAL) != 0 ? line : t->byte_token['\n'];
}

/* GGUF has no word for normalisation: the rule's name implies it, and a key of our own may say otherwise. */
static int load_normalizer(moe_tokenizer *t, const moe__file *f)
{
    const char *name = t->pre && (t->pre->flags & MOE_PRE_NFC) != 0 ? "nfc" : "none";
    MOE_TRY(optional_str(f, KEY_NORMALIZER, &name));
    t->nfc = strcmp(name, "nfc") == 0;
    if (t->nfc || strcmp(name, "none") == 0) return MOE_OK;
    return MOE_FAIL(UNSUPPORTED, "%s: key %s: normaliser '%.64s' is not supported; known are nfc and none",
                    t->name, KEY_NORMALIZER, name);
}

/* Is every space of every token at its start? Then nothing merges across the beginning of a run of spaces. */
static int spaces_lead(const moe_tokenizer *t)
{
    for (size_t i = 0; i < t->n; i++) {
        size_t len;
        const uint8_t *s = moe__token_bytes(t, (moe_token)i, &len);
        if ((t->attr[i] & (MOE_ATTR_NORMAL | MOE_ATTR_USER)) == 0) continue;
        for (size_t k = 1; k < len; k++)
            if (s[k] == ' ' && s[k - 1] != ' ') return 0;
    }
    return 1;
}

static int load_flags(moe_tokenizer *t, const moe__file *f)
{
    const char *pre = "default", *jinja = NULL;
    t->add_bos = t->spm;
    t->space_prefix = t->spm;
    t->spaces_lead = t->spm && spaces_lead(t);
    if (!t->spm) {
        MOE_TRY(optional_str(f, KEY("pre"), &pre));
        t->pre = moe__pretok_find(pre);
        if (!t->pre) {
            char known[512] = "";
            for (size_t i = 0, used = 0; moe__pretok_name(i) && used < sizeof known; i++)
                used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                         moe__pretok_name(i));
            return MOE_FAIL(UNSUPPORTED, "%s: key %s: pre-tokenizer '%.64s' is not supported; known are %s",
                            t->name, KEY("pre"), pre, known);
        }
        t->add_bos = (t->pre->flags & MOE_PRE_ADD_BOS) != 0;
    } else {
        MOE_TRY(optional_bool(f, KEY("add_space_prefix"), &t->space_prefix));
        MOE_TRY(optional_bool(f, KEY("remove_extra_whitespaces"), &t->trim_spaces));
    }
    MOE_TRY(optional_bool(f, KEY("add_bos_token"), &t->add_bos));
    MOE_TRY(load_normalizer(t, f));
    MOE_TRY(optional_str(f, "tokenizer.chat_template", &jinja));
    t->has_template = jinja != NULL;
    t->chat = jinja ? moe__chat_recognise(jinja) : NULL;
    return MOE_OK;
}

/* ---------------------------------------- whole tokens */

static int whole_less(const moe_tokenizer *t, moe_token a, moe_token b)
{
    size_t a_len, b_len;
    const uint8_t *pa = moe__token_bytes(t, a, &a_len), *pb = moe__token_bytes(t, b, &b_len);
    const int c = memcmp(pa, pb, a_len < b_len ? a_len : b_len);
    return c != 0 ? c < 0 : a_len != b_len ? a_len < b_len : a < b;
}

/* Heap sort: no recursion, no bad case. */
static void sift_piece(const moe_tokenizer *t, moe_token *v, size_t i, size_t n)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && whole_less(t, v[child], v[child + 1])) child++;
        if (!whole_less(t, v[i], v[child])) return;
        const moe_token x = v[i];
        v[i] = v[child];
        v[child] = x;
    }
}

static int load_whole(moe_tokenizer *t, size_t cap)
{
    MOE_TRY(MOE_NEW(&t->alloc, &t->whole, cap, "special tokens"));
    for (size_t i = 0; i < t->n && t->n_whole < cap; i++)
        if ((t->attr[i] & (MOE_ATTR_UNKNOWN | MOE_ATTR_CONTROL | MOE_ATTR_USER)) != 0 &&
            t->at[i + 1] - t->at[i] > 1)
            t->whole[t->n_whole++] = (moe_token)i;
    for (size_t i = t->n_whole / 2; i-- > 0;) sift_piece(t, t->whole, i, t->n_whole);
    for (size_t n = t->n_whole; n-- > 1;) {
        const moe_token x = t->whole[0];
        t->whole[0] = t->whole[n];
        t->whole[n] = x;
        sift_piece(t, t->whole, 0, n);
    }
    size_t i = 0;
    for (size_t b = 0; b < 257; b++) {
        while (i < t->n_whole && t->text[t->at[t->whole[i]]] < b) i++;
        t->whole_first[b] = (uint32_t)i;
    }
    return MOE_OK;
}

size_t moe__whole_match(const moe_tokenizer *t, const uint8_t *s, size_t n, int special, moe_token *id)
{
    size_t lo = t->whole_first[s[0]], hi = t->whole_first[s[0] + 1], best = 0;
    /* All of lo .. hi-1 begin with s[0..depth). */
    for (size_t depth = 1; lo < hi; depth++) {
        size_t len;
        for (; lo < hi && (moe__token_bytes(t, t->whole[lo], &len), len == depth); lo++) {
            if (best == depth || (!special && (t->attr[t->whole[lo]] & MOE_ATTR_USER) == 0)) continue;
            best = depth;
            *id = t->whole[lo];
        }
        if (depth >= n) break;
        /* Narrow to those whose next byte is s[depth]: first not below, then first above. */
        size_t a = lo, b = hi;
        while (a < b) {
            const size_t mid = a + (b - a) / 2;
            if (moe__token_bytes(t, t->whole[mid], &len)[depth] < s[depth]) a = mid + 1;
            else b = mid;
        }
        lo = a;
        b = hi;
        while (a < b) {
            const size_t mid = a + (b - a) / 2;
            if (moe__token_bytes(t, t->whole[mid], &len)[depth] <= s[depth]) a = mid + 1;
            else b = mid;
        }
        hi = a;
    }
    return best;
}

/* ---------------------------------------- life */

void moe__tokenizer_destroy(moe_tokenizer *t)
{
    if (!t) return;
    const moe__allocator a = t->alloc;
    moe__free(&a, t->text);
    moe__free(&a, t->at);
    moe__free(&a, t->attr);
    moe__free(&a, t->score);
    moe__free(&a, t->slot);
    moe__free(&a, t->merge);
    moe__free(&a, t->whole);
    moe__free(&a, t->name);
    moe__free(&a, t);
}

int moe__tokenizer_create(moe_tokenizer **out, const moe__file *f, const moe__allocator *a)
{
    moe__vocab_source v;
    moe_tokenizer *t = NULL;
    int st;
    *out = NULL;
    MOE_TRY(moe__vocab_scan(&v, f));
    MOE_TRY(MOE_NEW(a, &t, 1, "tokenizer"));
    t->alloc = *a;
    const size_t name_len = strlen(moe__file_name(f));
    MOE_TRY_GOTO(MOE_NEW(a, &t->name, name_len + 1, "tokenizer name"), fail);
    memcpy(t->name, moe__file_name(f), name_len);
    MOE_TRY_GOTO(moe__vocab_load(t, &v), fail);
    MOE_TRY_GOTO(load_special_ids(t, f), fail);
    MOE_TRY_GOTO(load_whole(t, v.n_whole), fail);
    MOE_TRY_GOTO(load_flags(t, f), fail);
    find_named(t);
    t->hash = moe__vocab_hash(t);
    *out = t;
    return MOE_OK;
fail:
    moe__tokenizer_destroy(t);
    return st;
}

size_t moe__tokenizer_overhead(const moe__file *f)
{
    moe__vocab_source v;
    if (moe__vocab_scan(&v, f) < 0) {
        moe__clear_error();
        return 0;
    }
    const uint64_t n = v.tokens.n;
    const uint64_t sizes[] = {
        sizeof(moe_tokenizer),
        strlen(moe__file_name(f)) + 1,
        v.text_bytes,
        (n + 1) * sizeof(uint32_t),
        n,
        n * sizeof(float),
        v.n_slots * sizeof(uint32_t),
        v.n_merge_slots * sizeof(moe__merge),
        v.n_whole * sizeof(moe_token),
        2 * v.longest + 1,
    };
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) sum += MOE_BLOCK_BYTES(sizes[i]);
    return sum > SIZE_MAX ? SIZE_MAX : (size_t)sum;
}
