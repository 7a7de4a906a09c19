/* SPDX-License-Identifier: MIT */
/* Statistics as JSON: for programs, and as the data of the report's page. */
#include "study.h"
#include "trace.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void numbers(struct json *j, const char *key, const double *v, size_t n)
{
    json_open_row(j, key, '[');
    for (size_t i = 0; i < n; i++) {
        if (v[i] < floor(v[i]) || v[i] > floor(v[i]) || fabs(v[i]) > 1e15)
            json_short(j, NULL, v[i]);
        else
            json_int(j, NULL, (int64_t)v[i]);
    }
    json_close(j);
}

static void array(struct json *j, const struct stats *st, uint32_t layer, const char *key, int what)
{
    size_t n;
    double *v = profile_array(st->profile, layer, what, &n);
    if (v) numbers(j, key, v, n);
    free(v);
}

/* [n_rows][n_experts]; `above`: only what lies above the diagonal of a symmetric one. */
static void matrix(struct json *j, const struct stats *st, uint32_t layer, const char *key, int what,
                   bool above)
{
    const size_t width = st->info.n_experts;
    size_t n;
    double *v = profile_array(st->profile, layer, what, &n);
    if (v) {
        json_open_row(j, key, '[');
        for (size_t r = 0; (r + 1) * width <= n; r++)
            numbers(j, NULL, v + r * width + (above ? r + 1 : 0), above ? width - r - 1 : width);
        json_close(j);
    }
    free(v);
}

static void one_layer(struct json *j, const struct stats *st, uint32_t layer)
{
    static const struct {
        const char *key;
        int what;
    } arrays[] = {
        {"count", MOE_PROFILE_COUNT},
        {"weight", MOE_PROFILE_WEIGHT},
        {"prob", MOE_PROFILE_PROB},
        {"best", MOE_PROFILE_TOP1},
        {"k", MOE_PROFILE_K},
        {"saliency", MOE_PROFILE_SALIENCY},
        {"norm", MOE_PROFILE_NORM},
        {"max", MOE_PROFILE_MAX},
        {"max_channel", MOE_PROFILE_MAX_CHANNEL},
        {"drops", MOE_PROFILE_DROPS},
    };
    moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
    if (moe_profile_router(st->profile, layer, &r) != MOE_OK) return;
    json_open(j, NULL, '{');
    json_uint(j, "layer", layer);
    json_uint(j, "tokens", r.tokens);
    json_uint(j, "pairs", r.pairs);
    json_uint(j, "nulls", r.nulls);
    json_uint(j, "dropped", r.dropped);
    json_uint(j, "micro_batches", r.micro_batches);
    json_short(j, "entropy", r.entropy);
    json_short(j, "top1", r.top1);
    json_short(j, "mean_k", r.mean_k);
    json_short(j, "balance_micro", r.lbl_micro);
    json_short(j, "balance_global", r.lbl_global);
    json_short(j, "mutual_info", r.mutual_info);
    json_short(j, "token_entropy", r.token_entropy);
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        array(j, st, layer, arrays[i].key, arrays[i].what);
    matrix(j, st, layer, "class_count", MOE_PROFILE_CLASS_COUNT, false);
    matrix(j, st, layer, "class_npmi", MOE_PROFILE_NPMI, false);
    matrix(j, st, layer, "together", MOE_PROFILE_TOGETHER, true);
    json_close(j);
}

static void json_model(struct json *j, const struct stats *st)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    char mark[24];
    if (!st->model || moe_model_get_info(st->model, &info) != MOE_OK) {
        json_null(j, "model");
        return;
    }
    json_open_row(j, "model", '{');
    json_text(j, "name", *info.name ? info.name : info.arch);
    json_text(j, "family", info.arch);
    json_text(j, "file_type", info.file_type);
    json_uint(j, "parameters", info.n_params);
    json_uint(j, "active_parameters", info.n_active);
    json_uint(j, "top_k", info.top_k);
    json_uint(j, "shared_experts", info.n_shared);
    snprintf(mark, sizeof mark, "%016llx", (unsigned long long)st->info.fingerprint);
    json_text(j, "fingerprint", mark);
    json_close(j);
}

static void json_classes(struct json *j, const struct stats *st)
{
    size_t n_tokens = 0, n_prompts = 0;
    double *tokens = NULL, *prompts = NULL;
    if (st->n_layers) {
        tokens = profile_array(st->profile, st->layers[0], MOE_PROFILE_CLASS_TOKENS, &n_tokens);
        prompts = profile_array(st->profile, st->layers[0], MOE_PROFILE_CLASS_PROMPTS, &n_prompts);
    }
    json_open(j, "classes", '[');
    for (uint32_t c = 0; c < st->info.n_classes; c++) {
        json_open_row(j, NULL, '{');
        json_text(j, "name", st->classes.name[c]);
        json_uint(j, "tokens", c < n_tokens ? (uint64_t)tokens[c] : 0);
        json_uint(j, "prompts", c < n_prompts ? (uint64_t)prompts[c] : 0);
        json_close(j);
    }
    json_close(j);
    free(tokens);
    free(prompts);
}

static void json_super(struct json *j, const struct stats *st)
{
    moe_expert_find *find;
    size_t n = 0;
    const int status = moe_profile_super(st->profile, NULL, 0, &n);
    if (!(st->info.flags & MOE_PROFILE_OUTPUTS) || (status != MOE_OK && status != MOE_E_BUFFER)) return;
    find = calloc(n + 1, sizeof *find);
    if (!find) return;
    find[0].size = sizeof find[0];
    if (n && moe_profile_super(st->profile, find, n, &n) != MOE_OK) n = 0;
    json_open(j, "super_experts", '[');
    for (size_t i = 0; i < n; i++) {
        json_open_row(j, NULL, '{');
        json_uint(j, "layer", find[i].layer);
        json_uint(j, "expert", find[i].index);
        json_short(j, "value", find[i].value);
        json_uint(j, "channel", find[i].channel);
        json_close(j);
    }
    json_close(j);
    free(find);
}

void stats_json(struct json *j, const struct stats *st, bool fine)
{
    json_text(j, "libmoe", moe_version_string());
    json_model(j, st);
    json_uint(j, "tokens", st->info.n_tokens);
    json_uint(j, "experts", st->info.n_experts);
    json_classes(j, st);
    json_open(j, "layers", '[');
    for (uint32_t i = 0; i < st->n_layers; i++) one_layer(j, st, st->layers[i]);
    json_close(j);
    json_super(j, st);
    if (st->trace) {
        json_open(j, "trace", '{');
        analysis_json(j, st->trace, fine);
        json_close(j);
    }
}
