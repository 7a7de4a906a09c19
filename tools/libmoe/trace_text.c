/* SPDX-License-Identifier: MIT */
/*
 * Traces to files and back. JSON lines, one token each: {"tok": its place in the trace, "request", "pos",
 * "token" (if known), "layers": [[ids of the first layer with a router, best first], ...]}, and "weights" and
 * "logits" of the same shape if recorded. The first line also has "experts" and "model_layers", so that
 * nothing is lost on the way back. CSV has one row per token, layer and expert, and no logits.
 */
#include "out.h"
#include "trace.h"
#include "whole.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum trace_form trace_form_of(const char *format, const char *path)
{
    const size_t n = strlen(path);
    if (!format && strcmp(path, "-") == 0) return TRACE_JSONL;
    if (format) return *format == 'j' ? TRACE_JSONL : *format == 'c' ? TRACE_CSV : TRACE_BINARY;
    if (n >= 6 && strcmp(path + n - 6, ".jsonl") == 0) return TRACE_JSONL;
    return n >= 4 && strcmp(path + n - 4, ".csv") == 0 ? TRACE_CSV : TRACE_BINARY;
}

/* ------------------------------------------------------------------------------------------------ writing */

static bool add_number(struct bytes *b, const char *before, double v, int digits)
{
    char text[48];
    const int n = snprintf(text, sizeof text, "%s%.*g", before, digits, v);
    return bytes_add(b, text, (size_t)n);
}

static bool add_whole(struct bytes *b, const char *before, int64_t v)
{
    char text[64];
    const int n = snprintf(text, sizeof text, "%s%" PRId64, before, v);
    return bytes_add(b, text, (size_t)n);
}

/* [[..], ..] of one token: ids, weights or logits ('e', 'w', 'l'). */
static bool add_layers(struct bytes *b, const moe_trace *t, const moe_trace_info *info, uint64_t i, char what)
{
    bool ok = true;
    for (uint32_t l = 0; ok && l < info->n_layers; l++) {
        moe_trace_row r = MOE_TRACE_ROW_INIT;
        uint32_t n;
        if (moe_trace_at(t, i, l, &r) != MOE_OK) return false;
        n = what == 'l' ? info->n_experts : r.k;
        ok = bytes_add_text(b, l ? ", [" : "[");
        for (uint32_t k = 0; ok && k < n; k++) {
            const char *comma = k ? ", " : "";
            if (what == 'e' && r.expert[k] == MOE_EXPERT_NONE)
                ok = add_whole(b, comma, -1);
            else if (what == 'e')
                ok = add_whole(b, comma, r.expert[k]);
            else
                ok = add_number(b, comma, (double)(what == 'w' ? r.weight : r.logits)[k], 9);
        }
        ok = ok && bytes_add_text(b, "]");
    }
    return ok;
}

static bool add_shape(struct bytes *b, const moe_trace *t, const moe_trace_info *info)
{
    bool ok = add_whole(b, ", \"experts\": ", info->n_experts) && bytes_add_text(b, ", \"model_layers\": [");
    for (uint32_t l = 0; ok && l < info->n_layers; l++) {
        moe_trace_row r = MOE_TRACE_ROW_INIT;
        ok = moe_trace_at(t, 0, l, &r) == MOE_OK && add_whole(b, l ? ", " : "", r.model_layer);
    }
    return ok && bytes_add_text(b, "]");
}

static bool jsonl_line(struct bytes *b, const moe_trace *t, const moe_trace_info *info, uint64_t i)
{
    moe_trace_row r = MOE_TRACE_ROW_INIT;
    bool ok = moe_trace_at(t, i, 0, &r) == MOE_OK && add_whole(b, "{\"tok\": ", (int64_t)i) &&
              add_whole(b, ", \"request\": ", r.request) && add_whole(b, ", \"pos\": ", r.pos);
    if (ok && r.token >= 0) ok = add_whole(b, ", \"token\": ", r.token);
    if (ok && i == 0) ok = add_shape(b, t, info);
    ok = ok && bytes_add_text(b, ", \"layers\": [") && add_layers(b, t, info, i, 'e') &&
         bytes_add_text(b, "]");
    if (ok && (info->flags & MOE_TRACE_WEIGHTS))
        ok =
            bytes_add_text(b, ", \"weights\": [") && add_layers(b, t, info, i, 'w') && bytes_add_text(b, "]");
    if (ok && (info->flags & MOE_TRACE_LOGITS))
        ok = bytes_add_text(b, ", \"logits\": [") && add_layers(b, t, info, i, 'l') && bytes_add_text(b, "]");
    return ok && bytes_add_text(b, "}\n");
}

static bool csv_rows(struct bytes *b, const moe_trace *t, const moe_trace_info *info, uint64_t i)
{
    bool ok = i || bytes_add_text(b, "index,request,pos,token,layer,rank,expert,weight\n");
    for (uint32_t l = 0; ok && l < info->n_layers; l++) {
        moe_trace_row r = MOE_TRACE_ROW_INIT;
        ok = moe_trace_at(t, i, l, &r) == MOE_OK;
        for (uint32_t k = 0; ok && k < r.k; k++) {
            char row[160];
            const int n =
                snprintf(row, sizeof row, "%" PRIu64 ",%lu,%ld,%ld,%lu,%lu,", i, (unsigned long)r.request,
                         (long)r.pos, (long)r.token, (unsigned long)r.model_layer, (unsigned long)k);
            ok = bytes_add(b, row, (size_t)n);
            if (ok && r.expert[k] != MOE_EXPERT_NONE) ok = add_whole(b, "", r.expert[k]);
            ok = ok && bytes_add_text(b, ",");
            if (ok && r.weight) ok = add_number(b, "", (double)r.weight[k], 9);
            ok = ok && bytes_add_text(b, "\n");
        }
    }
    return ok;
}

static int write_text(const moe_trace *t, enum trace_form form, const char *path)
{
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    struct bytes b = {NULL, 0, 0};
    struct whole w;
    bool ok = moe_trace_get_info(t, &info) == MOE_OK;
    whole_begin(&w, path);
    for (uint64_t i = 0; ok && i < info.n_tokens && !w.error && !out_failed(); i++) {
        b.n = 0;
        ok = form == TRACE_CSV ? csv_rows(&b, t, &info, i) : jsonl_line(&b, t, &info, i);
        if (ok) whole_write(&w, b.v, b.n);
    }
    bytes_free(&b);
    return whole_end(&w, ok) ? CODE_OK : CODE_FAIL;
}

int trace_write(const moe_trace *t, enum trace_form form, const char *path)
{
    int status;
    if (form != TRACE_BINARY) return write_text(t, form, path);
    status = moe_trace_save_file(t, path);
    return status == MOE_OK ? CODE_OK : report(status, "cannot write %s", path);
}

/* ------------------------------------------------------------------------------------------------ reading */

int trace_read(moe_trace **out, const char *path, uint32_t experts)
{
    struct bytes text = {NULL, 0, 0};
    size_t first;
    int status, code = CODE_FAIL;
    *out = NULL;
    if (!read_file(&text, path)) return CODE_FAIL;
    first = strspn(text.v, " \t\r\n");
    if (text.v[first] == '{') {
        code = trace_parse(out, path, &text, experts);
    } else {
        status = moe_trace_load_file(out, path, NULL);
        code = status == MOE_OK ? CODE_OK : report(status, "cannot read the trace %s", path);
    }
    bytes_free(&text);
    return code;
}
