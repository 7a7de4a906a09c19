/* SPDX-License-Identifier: MIT */
/* libmoe info --json: the same facts as the text, and all elements of arrays. */
#include "info.h"
#include "json.h"
#include "out.h"
#include "setup.h"

static void json_routes(struct json *j, const moe_model *m, uint32_t n_layers)
{
    json_open(j, "routers", '[');
    for (uint32_t i = 0; i < n_layers; i++) {
        moe_route_spec r = MOE_ROUTE_SPEC_INIT;
        if (moe_model_get_route(m, i, &r) != MOE_OK) continue;
        json_open_row(j, NULL, '{');
        json_uint(j, "first_layer", i);
        i = route_run(m, n_layers, i, &r);
        json_uint(j, "last_layer", i);
        json_text(j, "score", score_name(r.score));
        json_text(j, "select", select_name(r.select));
        json_uint(j, "top_k", r.top_k);
        json_text(j, "weight", weight_name(r.weight));
        json_real(j, "scale", (double)r.scale);
        json_text(j, "norm", norm_name(r.norm));
        json_uint(j, "groups", r.n_groups);
        json_uint(j, "top_groups", r.top_groups);
        json_uint(j, "null_experts", r.n_null);
        json_bool(j, "on_input", (r.flags & MOE_ROUTE_ON_INPUT) != 0);
        json_close(j);
    }
    json_close(j);
}

static void json_text_or_null(struct json *j, const char *key, const char *text)
{
    if (text)
        json_text(j, key, text);
    else
        json_null(j, key);
}

static void json_words(struct json *j, const moe_model *m)
{
    const moe_tokenizer *t = NULL;
    if (moe_model_tokenizer(m, &t) == MOE_OK) {
        json_open(j, "tokenizer", '{');
        json_text(j, "model", meta_text(m, "tokenizer.ggml.model", ""));
        json_text_or_null(j, "pre", meta_text(m, "tokenizer.ggml.pre", NULL));
        json_uint(j, "tokens", moe_tokenizer_size(t));
        json_text_or_null(j, "chat_template", moe_tokenizer_chat_name(t));
        json_close(j);
    } else {
        json_null(j, "tokenizer");
    }
    json_open_row(j, "voices", '[');
    for (uint64_t i = 0; i < voice_count(m); i++) json_text_or_null(j, NULL, voice_name(m, i));
    json_close(j);
    json_text_or_null(j, "default_voice", voice_default(m));
}

static void json_summary(struct json *j, const moe_model *m, const moe_model_info *i, const char *path)
{
    const struct {
        const char *key;
        uint64_t value;
    } number[] = {
        {"bytes", i->bytes},
        {"tensor_count", moe_model_tensor_count(m)},
        {"parameters", i->n_params},
        {"active_parameters", i->n_active},
        {"layer_count", i->n_layers},
        {"moe_layers", i->n_moe_layers},
        {"experts", i->n_experts},
        {"shared_experts", i->n_shared},
        {"top_k", i->top_k},
        {"dim", i->dim},
        {"dim_ff_expert", i->dim_ff_expert},
        {"dim_ff_dense", i->dim_ff_dense},
        {"dim_ff_shared", i->dim_ff_shared},
        {"heads", i->n_heads},
        {"kv_heads", i->n_heads_kv},
        {"dim_head", i->dim_head},
        {"vocabulary", i->n_vocab},
        {"training_context", i->n_ctx_train},
    };
    json_text(j, "file", path);
    json_text(j, "name", i->name);
    json_text(j, "family", i->arch);
    json_text(j, "file_type", i->file_type);
    for (size_t k = 0; k < sizeof number / sizeof *number; k++) json_uint(j, number[k].key, number[k].value);
    json_routes(j, m, i->n_layers);
    json_words(j, m);
}

static void json_layers(struct json *j, const moe_model *m, uint32_t n)
{
    json_open(j, "layers", '[');
    for (uint32_t i = 0; i < n; i++) {
        moe_layer_info l = MOE_LAYER_INFO_INIT;
        if (moe_model_get_layer(m, i, &l) != MOE_OK) break;
        json_open_row(j, NULL, '{');
        json_text(j, "kind", l.ffn_kind == MOE_FFN_MOE ? "moe" : "dense");
        json_uint(j, "experts", l.n_experts);
        json_uint(j, "shared", l.n_shared);
        json_uint(j, "dim_ff", l.dim_ff);
        json_uint(j, "dim_ff_shared", l.dim_ff_shared);
        json_uint(j, "heads", l.n_heads);
        json_uint(j, "kv_heads", l.n_heads_kv);
        json_uint(j, "dim_head", l.dim_head);
        json_uint(j, "parameters", l.n_params);
        json_uint(j, "active_parameters", l.n_active);
        json_real(j, "activation", l.activation);
        json_real(j, "granularity", l.granularity);
        json_close(j);
    }
    json_close(j);
}

static void json_tensors(struct json *j, const moe_model *m)
{
    json_open(j, "tensors", '[');
    for (size_t i = 0; i < moe_model_tensor_count(m); i++) {
        moe_tensor_info t = MOE_TENSOR_INFO_INIT;
        if (moe_model_tensor_at(m, i, &t) != MOE_OK) break;
        json_open_row(j, NULL, '{');
        json_text(j, "name", t.name);
        json_text(j, "type", type_name(t.type));
        json_open_row(j, "shape", '[');
        for (uint32_t d = 0; d < t.n_dims && d < 4; d++) json_uint(j, NULL, t.dim[d]);
        json_close(j);
        json_uint(j, "bytes", t.bytes);
        json_close(j);
    }
    json_close(j);
}

static void json_meta_value(struct json *j, const char *key, const moe_meta *v)
{
    switch (v->type) {
    case MOE_META_STRING: json_bytes(j, key, v->str, (size_t)v->n); break;
    case MOE_META_BOOL: json_bool(j, key, v->u64 != 0); break;
    case MOE_META_F32:
    case MOE_META_F64: json_real(j, key, v->f64); break;
    case MOE_META_U64: json_uint(j, key, v->u64); break;
    default: json_int(j, key, v->i64);
    }
}

static void json_meta(struct json *j, const moe_model *m)
{
    json_open(j, "metadata", '{');
    for (size_t i = 0; i < moe_model_meta_count(m); i++) {
        moe_meta v = MOE_META_INIT, e = MOE_META_INIT;
        if (moe_model_meta_at(m, i, &v) != MOE_OK) break;
        if (v.type != MOE_META_ARRAY) {
            json_meta_value(j, v.key, &v);
            continue;
        }
        json_open_row(j, v.key, '[');
        for (uint64_t k = 0; k < v.n && !out_failed() && moe_model_meta_elem(m, v.key, k, &e) == MOE_OK; k++)
            json_meta_value(j, NULL, &e);
        json_close(j);
    }
    json_close(j);
}

static void json_kernels(struct json *j)
{
    json_text(j, "isa", moe_cpu_isa());
    json_open(j, "kernels", '{');
    for (size_t i = 0; i < moe_kernel_count(); i++) {
        const char *name, *isa;
        if (moe_kernel_at(i, &name, &isa) == MOE_OK) json_text(j, name, isa);
    }
    json_close(j);
}

static void json_policies(struct json *j)
{
    const char *name, *about;
    json_open(j, "policies", '{');
    for (size_t i = 0; (name = moe_policy_name(i, &about)) != NULL; i++) json_text(j, name, about);
    json_close(j);
}

void info_json(const struct settings *s, const moe_model *m, const moe_model_info *info, const char *path)
{
    struct json j = JSON_INIT;
    json_open(&j, NULL, '{');
    json_summary(&j, m, info, path);
    if (s->layers) json_layers(&j, m, info->n_layers);
    if (s->meta) json_meta(&j, m);
    if (s->tensors) json_tensors(&j, m);
    if (s->kernels) json_kernels(&j);
    if (s->policies) json_policies(&j);
    json_close(&j);
}
