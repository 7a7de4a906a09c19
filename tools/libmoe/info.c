/* SPDX-License-Identifier: MIT */
/* libmoe info: what a model file is. Opens without weights. */
#include "info.h"
#include "out.h"
#include "setup.h"
#include "term.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define META_ELEMENTS 8 /* array elements shown in the table */

static const char *name_of(const char *const *names, size_t n, int32_t i)
{
    return i >= 0 && (size_t)i < n && names[i] ? names[i] : "?";
}

const char *score_name(int32_t i)
{
    static const char *const name[] = {NULL, "softmax", "identity", "sigmoid", "sqrt-softplus", "entmax-1.5"};
    return name_of(name, sizeof name / sizeof *name, i);
}

const char *select_name(int32_t i)
{
    static const char *const name[] = {NULL,    "top-k",  "top-p",       "threshold",
                                       "ranks", "random", "sparsemixer", "hash",
                                       "table", "all",    "fixed",       "expert-choice"};
    return name_of(name, sizeof name / sizeof *name, i);
}

const char *weight_name(int32_t i)
{
    static const char *const name[] = {NULL,      "raw", "sum-to-one", "softmax-selected",
                                       "sigmoid", "one", "of-the-rule"};
    return name_of(name, sizeof name / sizeof *name, i);
}

const char *norm_name(int32_t i)
{
    static const char *const name[] = {"none", "sum", "clamped-sum", "p-norm"};
    return name_of(name, sizeof name / sizeof *name, i);
}

static bool same_float(float a, float b) { return memcmp(&a, &b, sizeof a) == 0; }

static bool same_route(const moe_route_spec *a, const moe_route_spec *b)
{
    return a->score == b->score && a->select == b->select && a->weight == b->weight && a->top_k == b->top_k &&
           a->norm == b->norm && a->flags == b->flags && a->n_groups == b->n_groups &&
           a->top_groups == b->top_groups && a->group_score == b->group_score && a->n_null == b->n_null &&
           same_float(a->scale, b->scale) && same_float(a->temperature, b->temperature) &&
           same_float(a->norm_eps, b->norm_eps) && same_float(a->epsilon, b->epsilon);
}

/* Last layer, from `first` on, whose recipe is the one of `first`. */
uint32_t route_run(const moe_model *m, uint32_t n_layers, uint32_t first, const moe_route_spec *spec)
{
    uint32_t last = first;
    for (uint32_t i = first + 1; i < n_layers; i++) {
        moe_route_spec other = MOE_ROUTE_SPEC_INIT;
        if (moe_model_get_route(m, i, &other) != MOE_OK || !same_route(spec, &other)) break;
        last = i;
    }
    return last;
}

const char *meta_text(const moe_model *m, const char *key, const char *none)
{
    moe_meta v = MOE_META_INIT;
    return moe_model_meta_find(m, key, &v) == MOE_OK && v.type == MOE_META_STRING ? v.str : none;
}

/* --------------------------------------------------------------------------------------------------- text */

/* What most recipes do not have. */
static void print_rest(const moe_route_spec *r)
{
    if (r->norm) out_format(", norm %s", norm_name(r->norm));
    if (r->n_groups > 1)
        out_format(", the best %lu of %lu groups by %s", (unsigned long)r->top_groups,
                   (unsigned long)r->n_groups,
                   r->group_score == MOE_GROUP_TOP2_SUM ? "their two best" : "their best");
    if (r->n_null) out_format(", %lu null experts", (unsigned long)r->n_null);
    if (r->temperature > 0.0f && !same_float(r->temperature, 1.0f))
        out_format(", temperature %.6g", (double)r->temperature);
    if (r->flags & MOE_ROUTE_ON_INPUT) out_text(", applied to the input");
    out_text("\n");
}

static void print_routes(const moe_model *m, uint32_t n_layers)
{
    for (uint32_t i = 0; i < n_layers; i++) {
        moe_route_spec r = MOE_ROUTE_SPEC_INIT;
        uint32_t last;
        if (moe_model_get_route(m, i, &r) != MOE_OK) continue;
        last = route_run(m, n_layers, i, &r);
        out_format("%-16slayers %lu-%lu: score %s, select %s of %lu, weight %s, scale %.6g", "router",
                   (unsigned long)i, (unsigned long)last, score_name(r.score), select_name(r.select),
                   (unsigned long)r.top_k, weight_name(r.weight), (double)r.scale);
        print_rest(&r);
        i = last;
    }
}

static void print_voices(const moe_model *m)
{
    const char *usual = voice_default(m);
    if (voice_count(m) == 0) return;
    out_format("%-16s", "voices");
    for (uint64_t i = 0; i < voice_count(m); i++) {
        const char *name = voice_name(m, i);
        out_format("%s%s%s", i ? ", " : "", name ? name : "?",
                   name && usual && !strcmp(name, usual) ? " (default)" : "");
    }
    out_text("\n");
}

static void print_tokenizer(const moe_model *m, const moe_model_info *info)
{
    const moe_tokenizer *t = NULL;
    const char *pre = meta_text(m, "tokenizer.ggml.pre", NULL);
    if (moe_model_tokenizer(m, &t) != MOE_OK) {
        out_format("%-16snone, %lu tokens\n", "tokenizer", (unsigned long)info->n_vocab);
        return;
    }
    out_format("%-16s%s%s%s, %zu tokens\n", "tokenizer", meta_text(m, "tokenizer.ggml.model", "?"),
               pre ? " " : "", pre ? pre : "", moe_tokenizer_size(t));
    out_format("%-16s%s\n", "chat template",
               moe_tokenizer_chat_name(t)                     ? moe_tokenizer_chat_name(t)
               : *meta_text(m, "tokenizer.chat_template", "") ? "not a built-in one"
                                                              : "none");
}

/* Of the first MoE layer; --layers tells all. */
static void print_measures(const moe_model *m, uint32_t n_layers)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    for (uint32_t i = 0; i < n_layers; i++) {
        moe_layer_info l = MOE_LAYER_INFO_INIT;
        if (moe_model_get_layer(m, i, &l) != MOE_OK || l.ffn_kind != MOE_FFN_MOE) continue;
        out_format("%-16s%s in a layer, %s active; activation ratio %.2f %%, granularity %.3g\n", "sparsity",
                   readable_count(a, l.n_params), readable_count(b, l.n_active), 100.0 * l.activation,
                   l.granularity);
        return;
    }
}

static void print_summary(const moe_model *m, const moe_model_info *i, const char *path)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    out_format("%-16s%s\n", "file", path);
    if (*i->name) out_format("%-16s%s\n", "name", i->name);
    out_format("%-16s%s\n", "family", i->arch);
    out_format("%-16s%s, mostly %s, %zu tensors\n", "weights", readable_bytes(a, i->bytes), i->file_type,
               moe_model_tensor_count(m));
    out_format("%-16s%s, of which %s active for a token\n", "parameters", readable_count(a, i->n_params),
               readable_count(b, i->n_active));
    out_format("%-16s%lu, %lu of them with experts\n", "layers", (unsigned long)i->n_layers,
               (unsigned long)i->n_moe_layers);
    out_format("%-16s%lu of width %lu, %lu for a token", "experts", (unsigned long)i->n_experts,
               (unsigned long)i->dim_ff_expert, (unsigned long)i->top_k);
    if (i->n_shared)
        out_format(", and %lu shared of width %lu", (unsigned long)i->n_shared,
                   (unsigned long)i->dim_ff_shared);
    out_text("\n");
    if (i->n_moe_layers < i->n_layers)
        out_format("%-16s%lu\n", "dense width", (unsigned long)i->dim_ff_dense);
    out_format("%-16s%lu\n", "model width", (unsigned long)i->dim);
    out_format("%-16s%lu heads of %lu, %lu for keys and values\n", "attention", (unsigned long)i->n_heads,
               (unsigned long)i->dim_head, (unsigned long)i->n_heads_kv);
    out_format("%-16s%lu tokens in training\n", "context", (unsigned long)i->n_ctx_train);
    print_measures(m, i->n_layers);
    print_routes(m, i->n_layers);
    print_tokenizer(m, i);
    print_voices(m);
}

static void print_layers(const moe_model *m, uint32_t n)
{
    char a[TEXT_SIZE], b[TEXT_SIZE];
    out_format("\n%5s  %-5s %7s %6s %6s %8s %5s %8s %4s %10s %9s %10s %11s\n", "layer", "kind", "experts",
               "shared", "width", "shared w", "heads", "kv heads", "head", "parameters", "active",
               "activation", "granularity");
    for (uint32_t i = 0; i < n; i++) {
        moe_layer_info l = MOE_LAYER_INFO_INIT;
        if (moe_model_get_layer(m, i, &l) != MOE_OK) return;
        out_format("%5lu  %-5s %7lu %6lu %6lu %8lu %5lu %8lu %4lu %10s %9s", (unsigned long)i,
                   l.ffn_kind == MOE_FFN_MOE ? "moe" : "dense", (unsigned long)l.n_experts,
                   (unsigned long)l.n_shared, (unsigned long)l.dim_ff, (unsigned long)l.dim_ff_shared,
                   (unsigned long)l.n_heads, (unsigned long)l.n_heads_kv, (unsigned long)l.dim_head,
                   readable_count(a, l.n_params), readable_count(b, l.n_active));
        if (l.ffn_kind == MOE_FFN_MOE)
            out_format(" %8.2f %% %11.3g\n", 100.0 * l.activation, l.granularity);
        else
            out_format(" %10s %11s\n", "-", "-");
    }
    out_text("activation: experts that a token uses, of all; granularity: 2 x model width / expert width "
             "(Tian et al. 2025).\n");
}

const char *type_name(int32_t type)
{
    const char *name = moe_type_name(type);
    return name ? name : "?";
}

static void print_tensors(const moe_model *m)
{
    out_format("\n%-36s %-7s %-24s %14s\n", "tensor", "type", "shape", "bytes");
    for (size_t i = 0; i < moe_model_tensor_count(m); i++) {
        moe_tensor_info t = MOE_TENSOR_INFO_INIT;
        char shape[96];
        size_t n = 0;
        if (moe_model_tensor_at(m, i, &t) != MOE_OK) return;
        for (uint32_t d = 0; d < t.n_dims && d < 4; d++)
            n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%" PRIu64, d ? " x " : "", t.dim[d]);
        out_format("%-36s %-7s %-24s %14" PRIu64 "\n", t.name, type_name(t.type), n ? shape : "", t.bytes);
    }
}

static void print_meta_value(const moe_meta *v)
{
    switch (v->type) {
    case MOE_META_STRING: print_escaped(v->str, (size_t)v->n, 100); break;
    case MOE_META_BOOL: out_text(v->u64 ? "true" : "false"); break;
    case MOE_META_F32:
    case MOE_META_F64: out_format("%.9g", v->f64); break;
    case MOE_META_U64: out_format("%" PRIu64, v->u64); break;
    default: out_format("%" PRId64, v->i64);
    }
}

static void print_meta(const moe_model *m)
{
    out_format("\n%-44s value\n", "metadata");
    for (size_t i = 0; i < moe_model_meta_count(m); i++) {
        moe_meta v = MOE_META_INIT, e = MOE_META_INIT;
        if (moe_model_meta_at(m, i, &v) != MOE_OK) return;
        out_format("%-44s ", v.key);
        if (v.type != MOE_META_ARRAY) {
            print_meta_value(&v);
        } else {
            out_text("[");
            for (uint64_t k = 0;
                 k < v.n && k < META_ELEMENTS && moe_model_meta_elem(m, v.key, k, &e) == MOE_OK; k++) {
                if (k) out_text(", ");
                print_meta_value(&e);
            }
            if (v.n > META_ELEMENTS) out_format(", ... %" PRIu64 " in all", v.n);
            out_text("]");
        }
        out_text("\n");
    }
}

static void print_kernels(void)
{
    out_format("\n%-24s instruction set (best of this machine: %s)\n", "kernel", moe_cpu_isa());
    for (size_t i = 0; i < moe_kernel_count(); i++) {
        const char *name, *isa;
        if (moe_kernel_at(i, &name, &isa) == MOE_OK) out_format("%-24s %s\n", name, isa);
    }
}

/* -------------------------------------------------------------------------------------------------------- */

static void print_policies(void)
{
    const char *name, *about;
    out_format("\n%-16s what it does (keys: docs/routing.md)\n", "--route");
    for (size_t i = 0; (name = moe_policy_name(i, &about)) != NULL; i++)
        out_format("%-16s %s\n", name, about);
}

static void show_text(const struct settings *s, const moe_model *m, const moe_model_info *info,
                      const char *path)
{
    print_summary(m, info, path);
    if (s->layers) print_layers(m, info->n_layers);
    if (s->meta) print_meta(m);
    if (s->tensors) print_tensors(m);
    if (s->kernels) print_kernels();
    if (s->policies) print_policies();
}

int cmd_info(const struct settings *s)
{
    moe_model_info info = MOE_MODEL_INFO_INIT;
    moe_model *m = NULL;
    int status, code;
    if (s->model && s->n_args) return usage_error(s->command, "--model and a file name do not go together");
    if (s->policies && !s->model && !s->n_args && !s->json) {
        print_policies(); /* needs no model */
        return CODE_OK;
    }
    code = open_model(s, MOE_OPEN_METADATA_ONLY, &m);
    if (code != CODE_OK) return code;
    status = moe_model_get_info(m, &info);
    if (status != MOE_OK)
        code = report(status, "cannot describe the model");
    else
        (s->json ? info_json : show_text)(s, m, &info, model_path(s));
    moe_model_release(m);
    return code;
}
