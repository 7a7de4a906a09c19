/* SPDX-License-Identifier: MIT */
/* Entry points of several sessions' logits and of the calculators: arguments and vocabularies are checked
 * here, the work is in sample/, token/ and model/. */
#include "base/opts.h"
#include "base/rounding.h"
#include "base/status.h"
#include "file/reader.h"
#include "model/shape.h"
#include "run/session.h"
#include "sample/mix.h"
#include "token/token.h"

int moe_tokenizer_same(const moe_tokenizer *a, const moe_tokenizer *b, moe_token *first)
{
    moe_token differs = MOE_TOKEN_NONE;
    if (a && b) differs = moe__vocab_differs(a, b);
    if (first) *first = differs;
    return a && b && differs == MOE_TOKEN_NONE;
}

static int different_vocab(const moe_tokenizer *a, const moe_tokenizer *b, size_t i)
{
    const moe_token id = moe__vocab_differs(a, b);
    if (id == MOE_TOKEN_NONE) return MOE_OK;
    if ((size_t)id == a->n || (size_t)id == b->n)
        return MOE_FAIL(STATE, "sessions 0 and %zu have different vocabularies: %zu and %zu tokens", i, a->n,
                        b->n);
    char pa[48], pb[48];
    size_t a_len, b_len;
    const char *sa = (const char *)moe__token_bytes(a, id, &a_len),
               *sb = (const char *)moe__token_bytes(b, id, &b_len);
    return MOE_FAIL(STATE,
                    "sessions 0 and %zu have different vocabularies: token %d is \"%s\" (kind 0x%x) in one "
                    "and \"%s\" (kind 0x%x) in the other",
                    i, (int)id, moe__printable(pa, sizeof pa, sa, a_len), (unsigned)a->attr[id],
                    moe__printable(pb, sizeof pb, sb, b_len), (unsigned)b->attr[id]);
}

/* Do rows of logits of session i mean the same as those of session 0? Costs two comparisons, unless not. */
static int same_vocab(const moe_session *a, const moe_session *b, size_t i)
{
    const moe_model *ma = a->m, *mb = b->m;
    if (ma == mb) return MOE_OK;
    if (ma->hp.n_vocab != mb->hp.n_vocab)
        return MOE_FAIL(STATE, "sessions 0 and %zu have different vocabularies: %u and %u logits a row", i,
                        ma->hp.n_vocab, mb->hp.n_vocab);
    if (ma->tokenizer && mb->tokenizer)
        return ma->tokenizer->hash == mb->tokenizer->hash ? MOE_OK
                                                          : different_vocab(ma->tokenizer, mb->tokenizer, i);
    if (!ma->tokenizer && !mb->tokenizer && ma->fingerprint == mb->fingerprint)
        return MOE_OK; /* one file without a tokenizer, opened twice */
    return MOE_FAIL(
        STATE, "sessions 0 and %zu: the vocabularies of two models cannot be compared: %s has no tokenizer",
        i, moe__file_name((ma->tokenizer ? mb : ma)->file));
}

static int row_of(const moe_session *s, size_t i, size_t row, const float **out)
{
    if (row >= s->n_logits)
        return MOE_FAIL(RANGE, "session %zu, row %zu: the last evaluation left logits of %u rows", i, row,
                        s->n_logits);
    *out = s->logits + row * s->m->hp.n_vocab;
    return MOE_OK;
}

static int check_room(size_t cap, const moe_session *s)
{
    if (cap < s->m->hp.n_vocab)
        return MOE_FAIL(BUFFER, "out has room for %zu floats, needed %u", cap, s->m->hp.n_vocab);
    return MOE_OK;
}

static int copy_contrast(moe_contrast *out, const moe_contrast *o)
{
    *out = (moe_contrast)MOE_CONTRAST_INIT;
    return o ? moe__opts_copy(out, sizeof *out, o, "moe_contrast") : MOE_OK;
}

int moe_contrast_logits(const float *strong, const float *weak, size_t n, const moe_contrast *o, float *out)
{
    moe_contrast copy;
    moe__clear_error();
    MOE_ARG(strong != NULL && weak != NULL && out != NULL);
    MOE_ARG(n >= 1);
    MOE_TRY(copy_contrast(&copy, o));
    MOE_RETURN_ROUNDED(moe__contrast_logits(strong, weak, n, &copy, out));
}

int moe_session_contrast(const moe_session *strong, const moe_session *weak, size_t row,
                         const moe_contrast *o, float *out, size_t cap)
{
    moe_contrast copy;
    const float *a = NULL, *b = NULL;
    moe__clear_error();
    MOE_ARG(strong != NULL && weak != NULL && out != NULL);
    MOE_TRY(copy_contrast(&copy, o));
    MOE_TRY(same_vocab(strong, weak, 1));
    MOE_TRY(check_room(cap, strong));
    MOE_TRY(row_of(strong, 0, row, &a));
    MOE_TRY(row_of(weak, 1, row, &b));
    MOE_RETURN_ROUNDED(moe__contrast_logits(a, b, strong->m->hp.n_vocab, &copy, out));
}

int moe_mix_logits(int mode, const float *const *logits, const float *weights, size_t n, size_t n_vocab,
                   float *out)
{
    moe__clear_error();
    MOE_ARG(logits != NULL && out != NULL);
    MOE_ARG(n_vocab >= 1);
    for (size_t i = 0; i < n; i++) MOE_ARG(logits[i] != NULL);
    MOE_RETURN_ROUNDED(moe__mix_logits(mode, logits, weights, n, n_vocab, out));
}

int moe_session_mix(int mode, const moe_session *const *s, const float *weights, size_t n, size_t row,
                    float *out, size_t cap)
{
    const float *rows[MOE_MIX_MAX];
    moe__clear_error();
    MOE_ARG(s != NULL && out != NULL);
    MOE_ARG(n >= 1 && n <= MOE_MIX_MAX);
    for (size_t i = 0; i < n; i++) {
        MOE_ARG(s[i] != NULL);
        MOE_TRY(same_vocab(s[0], s[i], i));
        MOE_TRY(row_of(s[i], i, row, &rows[i]));
    }
    MOE_TRY(check_room(cap, s[0]));
    MOE_RETURN_ROUNDED(moe__mix_logits(mode, rows, weights, n, s[0]->m->hp.n_vocab, out));
}

int moe_shape_measure(const moe_shape *shape, moe_shape_info *out)
{
    moe_shape copy = MOE_SHAPE_INIT;
    moe_shape_info info;
    moe__clear_error();
    MOE_ARG(shape != NULL && out != NULL);
    MOE_TRY(moe__opts_copy(&copy, sizeof copy, shape, "moe_shape"));
    int st;
    MOE_ROUNDED(st = moe__shape_measure(&copy, &info));
    return st < 0 ? st : moe__opts_fill(out, &info, sizeof info, "moe_shape_info");
}
