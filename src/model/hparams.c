/* SPDX-License-Identifier: MIT */
/* Metadata keys -> hyper-parameters, by the family's table. Values are range-checked here, so that products
 * of widths cannot overflow. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"
#include "model/model.h"

static int read_key(moe__hparams *h, const moe__file *f, const moe__arch *arch, const moe__key *key)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s", arch->name, key->suffix);
    void *dst = (char *)h + key->offset;
    moe_meta meta = MOE_META_INIT;
    int st = moe__file_meta_find(f, name, &meta);
    double value = key->fallback;
    if (st == MOE_E_NOTFOUND && key->required)
        return MOE_FAIL(FORMAT, "%s: key %s is missing, which %s models need", moe__file_name(f), name,
                        arch->title);
    if (st != MOE_E_NOTFOUND) {
        MOE_TRY(st);
        uint32_t u = 0;
        float x = 0;
        int b = 0;
        if (key->kind == KEY_U32) MOE_TRY(moe__file_get_u32(f, name, &u));
        if (key->kind == KEY_F32) MOE_TRY(moe__file_get_f32(f, name, &x));
        if (key->kind == KEY_BOOL) MOE_TRY(moe__file_get_bool(f, name, &b));
        value = key->kind == KEY_U32 ? u : key->kind == KEY_F32 ? (double)x : b;
        if (!(value >= key->min && value <= key->max))
            return MOE_FAIL(FORMAT, "%s: key %s: expected %g to %g, found %g", moe__file_name(f), name,
                            key->min, key->max, value);
    }
    moe__clear_error();
    const uint32_t as_u32 = key->kind == KEY_F32 ? 0 : (uint32_t)value; /* a negative float has none */
    const float as_f32 = (float)value;
    if (key->kind == KEY_F32)
        memcpy(dst, &as_f32, sizeof as_f32);
    else
        memcpy(dst, &as_u32, sizeof as_u32);
    return MOE_OK;
}

static int read_scaling(moe__hparams *h, const moe__file *f, const moe__arch *arch)
{
    static const char *const names[] = {[ROPE_NONE] = "none", [ROPE_LINEAR] = "linear", [ROPE_YARN] = "yarn"};
    char name[128];
    const char *text;
    size_t len;
    snprintf(name, sizeof name, "%s.rope.scaling.type", arch->name);
    const int st = moe__file_get_str(f, name, &text, &len);
    if (st == MOE_E_NOTFOUND) {
        moe__clear_error();
        h->rope_scaling = ROPE_LINEAR; /* the format's default; without a factor it is 1 */
        return MOE_OK;
    }
    MOE_TRY(st);
    for (uint32_t i = 0; i < MOE_COUNT(names); i++)
        if (strcmp(text, names[i]) == 0) {
            h->rope_scaling = i;
            return MOE_OK;
        }
    return MOE_FAIL(UNSUPPORTED, "%s: key %s: \"%.40s\" is not supported; supported: none, linear, yarn",
                    moe__file_name(f), name, text);
}

/* Values that the file leaves out follow from others. */
static void fill_in(moe__hparams *h)
{
    if (!h->n_heads_kv) h->n_heads_kv = h->n_heads;
    if (!h->dim_head_k) h->dim_head_k = h->dim / h->n_heads;
    if (!h->dim_head_v) h->dim_head_v = h->dim_head_k;
    if (!h->n_rot) h->n_rot = h->dim_head_k;
    if (!h->dim_ff_expert) h->dim_ff_expert = h->dim_ff;
    if (!h->rope_ctx_orig) h->rope_ctx_orig = h->n_ctx_train;
    if (h->embed_scale == 0) h->embed_scale = 1;
    if (h->residual_scale == 0) h->residual_scale = 1;
    if (h->logit_scale == 0) h->logit_scale = 1;
    if (h->expert_scale == 0) h->expert_scale = 1;
    if (h->rope_attn_factor == 0) h->rope_attn_factor = 1;
}

static int check(const moe__hparams *h, const moe__file *f, const moe__arch *arch)
{
    const char *file = moe__file_name(f), *a = arch->name;
    if (h->n_experts == 0)
        return MOE_FAIL(
            UNSUPPORTED,
            "%s: %s.expert_count is 0 or missing: libmoe runs Mixture-of-Experts models, this one is dense",
            file, a);
    if (h->top_k == 0 || h->top_k > h->n_experts)
        return MOE_FAIL(FORMAT, "%s: %s.expert_used_count: expected 1 to %u, found %u", file, a, h->n_experts,
                        h->top_k);
    if (h->dim_ff_expert == 0)
        return MOE_FAIL(FORMAT, "%s: %s.expert_feed_forward_length and feed_forward_length are missing", file,
                        a);
    if (h->n_heads % h->n_heads_kv != 0)
        return MOE_FAIL(FORMAT, "%s: %s.attention.head_count %u is no multiple of head_count_kv %u", file, a,
                        h->n_heads, h->n_heads_kv);
    if (h->dim_head_k == 0 || h->rot_at > h->dim_head_k || h->n_rot > h->dim_head_k - h->rot_at ||
        h->n_rot % 2)
        return MOE_FAIL(
            FORMAT, "%s: %s.rope.dimension_count: expected an even number up to the head width %u, found %u",
            file, a, h->dim_head_k - h->rot_at, h->n_rot);
    if (h->v_in_k && h->dim_head_v > h->dim_head_k)
        return MOE_FAIL(FORMAT, "%s: %s: values are part of their keys, but %u wide where keys have %u", file,
                        a, h->dim_head_v, h->dim_head_k);
    if (!isfinite(h->eps))
        return MOE_FAIL(FORMAT, "%s: %s.attention.layer_norm_rms_epsilon is not finite", file, a);
    return MOE_OK;
}

int moe__hparams_read(moe__hparams *h, const moe__file *f, const moe__arch *arch)
{
    memset(h, 0, sizeof *h);
    for (size_t i = 0; i < arch->n_keys; i++) MOE_TRY(read_key(h, f, arch, &arch->keys[i]));
    MOE_TRY(read_scaling(h, f, arch));
    fill_in(h);
    return check(h, f, arch);
}

/* Scores by expert_gating_func of the format; 0 is the family's own. */
static const struct gating {
    int32_t score, weight; /* weight 0: as it was */
} gatings[] = {[1] = {MOE_SCORE_SOFTMAX, 0},
               [2] = {MOE_SCORE_SIGMOID, 0},
               [3] = {MOE_SCORE_IDENTITY, MOE_WEIGHT_SOFTMAX_SELECTED},
               [4] = {MOE_SCORE_SQRT_SOFTPLUS, 0}};

int moe__route_read(moe_route_spec *out, const moe__file *f, const moe__arch *arch, const moe__hparams *h)
{
    *out = arch->route;
    out->top_k = h->top_k;
    out->scale = h->expert_scale;
    out->n_null = h->n_null;
    if (arch->route_norm_from_file && h->expert_norm <= 1)
        out->weight = h->expert_norm ? MOE_WEIGHT_SUM_TO_ONE : MOE_WEIGHT_RAW;
    if (h->gating >= MOE_COUNT(gatings))
        return MOE_FAIL(UNSUPPORTED,
                        "%s: %s.expert_gating_func %u is not supported; supported: 1 (softmax), 2 (sigmoid), "
                        "3 (softmax over the selected), 4 (square root of softplus)",
                        moe__file_name(f), arch->name, h->gating);
    if (h->gating) {
        out->score = gatings[h->gating].score;
        if (gatings[h->gating].weight) out->weight = gatings[h->gating].weight;
    }
    if (h->n_groups > 1) {
        out->n_groups = h->n_groups;
        out->top_groups = h->top_groups;
        out->group_score = out->score == MOE_SCORE_SIGMOID ? MOE_GROUP_TOP2_SUM : MOE_GROUP_MAX;
    }
    if (h->n_null > h->n_experts)
        return MOE_FAIL(FORMAT, "%s: %s.expert_null_count: expected at most expert_count %u, found %u",
                        moe__file_name(f), arch->name, h->n_experts, h->n_null);
    if (h->n_groups > 1 && (h->n_experts % h->n_groups || h->top_groups == 0 || h->top_groups > h->n_groups))
        return MOE_FAIL(FORMAT,
                        "%s: %s.expert_group_count %u, expert_group_used_count %u: do not fit %u experts",
                        moe__file_name(f), arch->name, h->n_groups, h->top_groups, h->n_experts);
    return MOE_OK;
}
