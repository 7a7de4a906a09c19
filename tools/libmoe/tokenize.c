/* SPDX-License-Identifier: MIT */
/* libmoe tokenize: text to tokens and back. Only the tokenizer of the file is opened. */
#include "interrupt.h"
#include "json.h"
#include "out.h"
#include "setup.h"
#include "term.h"
#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------- text to tokens */

static void print_table(const moe_tokenizer *t, const struct tokens *ids)
{
    for (size_t i = 0; i < ids->n && !out_failed(); i++) {
        const char *piece = "";
        size_t len = 0;
        (void)moe_tokenizer_piece(t, ids->v[i], &piece, &len);
        out_format("%8ld  ", (long)ids->v[i]);
        print_escaped(piece, len, 60);
        out_text(moe_tokenizer_attr(t, ids->v[i]) & (MOE_ATTR_CONTROL | MOE_ATTR_USER) ? "  (special)\n"
                                                                                       : "\n");
    }
}

static void print_ids(const struct tokens *ids)
{
    for (size_t i = 0; i < ids->n; i++) out_format("%s%ld", i ? " " : "", (long)ids->v[i]);
    out_text("\n");
}

static void json_tokens(const moe_tokenizer *t, const struct tokens *ids)
{
    struct json j = JSON_INIT;
    json_open(&j, NULL, '{');
    json_uint(&j, "count", ids->n);
    json_open(&j, "tokens", '[');
    for (size_t i = 0; i < ids->n && !out_failed(); i++) {
        const char *piece = "";
        size_t len = 0;
        (void)moe_tokenizer_piece(t, ids->v[i], &piece, &len);
        json_open_row(&j, NULL, '{');
        json_int(&j, "id", ids->v[i]);
        json_bytes(&j, "text", piece, len);
        json_open_row(&j, "bytes", '[');
        for (size_t k = 0; k < len; k++) json_uint(&j, NULL, (unsigned char)piece[k]);
        json_close(&j);
        json_close(&j);
    }
    json_close(&j);
    json_close(&j);
}

static int to_tokens(const struct settings *s, const moe_tokenizer *t, const struct bytes *text)
{
    struct tokens ids = {NULL, 0, 0};
    const uint32_t flags = (s->bos ? MOE_ENCODE_BOS : 0) | (s->special ? MOE_ENCODE_SPECIAL : 0);
    const bool ok = tokens_add_text(&ids, t, text->v, text->n, flags);
    if (!ok)
        ;
    else if (s->json)
        json_tokens(t, &ids);
    else if (s->count)
        out_format("%zu\n", ids.n);
    else if (s->ids)
        print_ids(&ids);
    else
        print_table(t, &ids);
    tokens_free(&ids);
    return ok ? CODE_OK : CODE_FAIL;
}

/* ----------------------------------------------------------------------------------------- tokens to text */

static bool parse_ids(const struct bytes *text, size_t n_vocab, struct tokens *ids)
{
    const char *p = text->v;
    while (*(p += strspn(p, " ,\t\r\n[]"))) {
        char *end;
        long v;
        moe_token id;
        errno = 0;
        v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || (unsigned long)v >= n_vocab) {
            complain("`%.*s` is no token id (0 to %zu)", (int)strcspn(p, " ,\t\r\n]"), p, n_vocab - 1);
            return false;
        }
        id = (moe_token)v;
        if (!tokens_add(ids, &id, 1)) return false;
        p = end;
    }
    return true;
}

static int to_text(const struct settings *s, const moe_tokenizer *t, const struct bytes *input)
{
    const uint32_t flags = MOE_DECODE_SPECIAL;
    struct tokens ids = {NULL, 0, 0};
    struct json j = JSON_INIT;
    char *text = NULL;
    size_t len = 0;
    int status = MOE_OK;
    bool ok = parse_ids(input, moe_tokenizer_size(t), &ids);
    if (ok) {
        status = moe_tokenizer_decode(t, ids.v, ids.n, flags, NULL, 0, &len);
        text = malloc(len + 1);
        if (text && (status == MOE_OK || status == MOE_E_BUFFER))
            status = moe_tokenizer_decode(t, ids.v, ids.n, flags, text, len + 1, &len);
        ok = text && status == MOE_OK;
        if (!text)
            complain("out of memory");
        else if (!ok)
            report(status, "cannot decode");
    }
    if (ok && s->json) {
        json_open(&j, NULL, '{');
        json_uint(&j, "count", ids.n);
        json_bytes(&j, "text", text, len);
        json_close(&j);
    } else if (ok) {
        out_bytes(text, len); /* the bytes themselves: no line end is added */
    }
    free(text);
    tokens_free(&ids);
    return ok ? CODE_OK : CODE_FAIL;
}

int cmd_tokenize(const struct settings *s)
{
    struct bytes text = {NULL, 0, 0};
    moe_tokenizer *t = NULL;
    const char *path;
    int status, code;
    if (s->ids + s->count + s->json > 1)
        return usage_error(s->command, "of --ids, --count and --json only one can be used");
    if (s->decode && (s->ids || s->count || s->special || s->bos))
        return usage_error(s->command, "--decode goes with --json and --file only");
    path = model_path(s);
    if (!path) return CODE_FAIL;
    status = moe_tokenizer_open(&t, path, NULL);
    if (status != MOE_OK) return report(status, "cannot open the tokenizer of %s", path);
    if (!read_prompt(&text, s))
        code = interrupted() ? CODE_INTERRUPTED : CODE_FAIL;
    else
        code = s->decode ? to_text(s, t, &text) : to_tokens(s, t, &text);
    bytes_free(&text);
    moe_tokenizer_free(t);
    return code;
}
