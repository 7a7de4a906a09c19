/* SPDX-License-Identifier: MIT */
/*
 * What is in a model file:  03_inspect MODEL.gguf
 *
 * Opens the file without its weights, so that it answers at once whatever the size, and prints the family,
 * the layers with their routers, the memory that a session would take, the metadata and the tensors.
 */
#include <inttypes.h>
#include <moe/moe.h>
#include <stdio.h>

static int failed(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, moe_last_error());
    return -1;
}

static int show_model(const moe_model *m)
{
    moe_model_info i = MOE_MODEL_INFO_INIT;
    if (moe_model_get_info(m, &i) != MOE_OK) return failed("info");
    printf("%s (%s, %s)\n", i.name, i.arch, i.file_type);
    printf("  %" PRIu64 " parameters, %" PRIu64 " of them used for a token, %" PRIu64 " bytes\n", i.n_params,
           i.n_active, i.bytes);
    printf("  %u layers, %u of them with %u experts of which %u are used\n", i.n_layers, i.n_moe_layers,
           i.n_experts, i.top_k);
    printf("  vocabulary %u, context %u\n", i.n_vocab, i.n_ctx_train);
    return 0;
}

/* A later library may know more than this program does. */
#define NAME(names, i) ((size_t)(i) < sizeof(names) / sizeof *(names) ? (names)[i] : "?")

static int show_layers(const moe_model *m)
{
    static const char *const score[] = {"?", "softmax", "logits", "sigmoid", "sqrt-softplus", "1.5-entmax"};
    static const char *const weight[] = {"?",       "raw", "sum to one", "softmax of the selected",
                                         "sigmoid", "one", "the rule's"};
    moe_layer_info l = MOE_LAYER_INFO_INIT;
    for (uint32_t i = 0; moe_model_get_layer(m, i, &l) == MOE_OK; i++) {
        moe_route_spec r = MOE_ROUTE_SPEC_INIT;
        if (l.ffn_kind == MOE_FFN_DENSE) {
            printf("  layer %2u: dense, width %u\n", i, l.dim_ff);
            continue;
        }
        if (moe_model_get_route(m, i, &r) != MOE_OK) return failed("route");
        printf("  layer %2u: %u experts of width %u; %s, best %u, weights: %s\n", i, l.n_experts, l.dim_ff,
               NAME(score, r.score), r.top_k, NAME(weight, r.weight));
    }
    return 0;
}

static int show_memory(const moe_model *m)
{
    moe_memory mem = MOE_MEMORY_INIT;
    if (moe_model_get_memory(m, NULL, &mem) != MOE_OK) return failed("memory");
    printf("  bytes: dense %" PRIu64 ", experts %" PRIu64 ", KV %" PRIu64 ", scratch %" PRIu64
           ", tables %" PRIu64 "; %" PRIu64 " of them allocated, the rest mapped\n",
           mem.dense, mem.experts, mem.kv, mem.scratch, mem.overhead, mem.private_bytes);
    return 0;
}

static void show_meta(const moe_meta *v)
{
    switch (v->type) {
    case MOE_META_STRING: printf("%.60s\n", v->str); break;
    case MOE_META_ARRAY: printf("array of %" PRIu64 "\n", v->n); break;
    case MOE_META_F32:
    case MOE_META_F64: printf("%g\n", v->f64); break;
    default: printf("%" PRId64 "\n", v->i64); break;
    }
}

static int show_contents(const moe_model *m)
{
    for (size_t i = 0; i < moe_model_meta_count(m); i++) {
        moe_meta v = MOE_META_INIT;
        if (moe_model_meta_at(m, i, &v) != MOE_OK) return failed("metadata");
        printf("  %s = ", v.key);
        show_meta(&v);
    }
    for (size_t i = 0; i < moe_model_tensor_count(m); i++) {
        moe_tensor_info t = MOE_TENSOR_INFO_INIT;
        if (moe_model_tensor_at(m, i, &t) != MOE_OK) return failed("tensors");
        printf("  %-36s %-6s", t.name, moe_type_name(t.type));
        for (uint32_t d = 0; d < t.n_dims; d++) printf(" %" PRIu64, t.dim[d]);
        putchar('\n');
    }
    return 0;
}

int main(int argc, char **argv)
{
    moe_model_options o = MOE_MODEL_OPTIONS_INIT;
    moe_model *m = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.gguf\n", argv[0]);
        return 2;
    }
    o.flags = MOE_OPEN_METADATA_ONLY;
    if (moe_model_open(&m, argv[1], &o) != MOE_OK) {
        failed("opening");
        return 1;
    }
    const int bad = show_model(m) || show_layers(m) || show_memory(m) || show_contents(m);
    moe_model_release(m);
    return bad ? 1 : 0;
}
