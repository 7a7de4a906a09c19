/* SPDX-License-Identifier: MIT */
/*
 * structs MODEL: fills every struct that libmoe 0.1.0 fills, each between guards, and prints the members that
 * 0.1.0 knew, and how some options of 0.1.0 were taken. Uses nothing newer.
 */
#include <moe/ext.h>
#include <stdio.h>
#include <string.h>

#define GUARD 64
#define GUARDED(type, name, init)                                                                            \
    struct {                                                                                                 \
        unsigned char before[GUARD];                                                                         \
        type x;                                                                                              \
        unsigned char behind[GUARD];                                                                         \
    } name = {{0}, init, {0}};                                                                               \
    memset(name.before, 0x77, GUARD);                                                                        \
    memset(name.behind, 0x77, GUARD)
#define UNTOUCHED(name) (intact(name.before) && intact(name.behind))
#define FAULT(what)     (fprintf(stderr, "%s: %s\n", what, moe_last_error()), 1)

static const moe_model_info model_start = MOE_MODEL_INFO_INIT;
static const moe_layer_info layer_start = MOE_LAYER_INFO_INIT;
static const moe_route_spec spec_start = MOE_ROUTE_SPEC_INIT;
static const moe_meta meta_start = MOE_META_INIT;
static const moe_tensor_info tensor_start = MOE_TENSOR_INFO_INIT;
static const moe_session_info session_start = MOE_SESSION_INFO_INIT;
static const moe_memory memory_start = MOE_MEMORY_INIT;
static const moe_stats stats_start = MOE_STATS_INIT;

static int intact(const unsigned char *p)
{
    for (int i = 0; i < GUARD; i++)
        if (p[i] != 0x77) return 0;
    return 1;
}

static int print_model(const moe_model *m)
{
    GUARDED(moe_model_info, info, model_start);
    GUARDED(moe_layer_info, layer, layer_start);
    GUARDED(moe_route_spec, spec, spec_start);
    GUARDED(moe_meta, meta, meta_start);
    GUARDED(moe_tensor_info, tensor, tensor_start);
    if (moe_model_get_info(m, &info.x) < 0 || !UNTOUCHED(info)) return FAULT("info");
    printf("%s %s %s %u %u %u %u %u\n", info.x.arch, info.x.name, info.x.file_type, info.x.n_layers,
           info.x.n_moe_layers, info.x.n_experts, info.x.n_shared, info.x.top_k);
    printf("%u %u %u %u %u %u %u %u %u\n", info.x.dim, info.x.dim_ff_expert, info.x.dim_ff_dense,
           info.x.dim_ff_shared, info.x.n_heads, info.x.n_heads_kv, info.x.dim_head, info.x.n_vocab,
           info.x.n_ctx_train);
    printf("%llu %llu %llu\n", (unsigned long long)info.x.n_params, (unsigned long long)info.x.n_active,
           (unsigned long long)info.x.bytes);
    for (uint32_t i = 0; i < info.x.n_layers; i++) {
        if (moe_model_get_layer(m, i, &layer.x) < 0 || !UNTOUCHED(layer)) return FAULT("layer");
        printf("layer %u: %d %u %u %u %u %u %u %u\n", i, layer.x.ffn_kind, layer.x.n_experts,
               layer.x.n_shared, layer.x.dim_ff, layer.x.dim_ff_shared, layer.x.n_heads, layer.x.n_heads_kv,
               layer.x.dim_head);
        const int st = moe_model_get_route(m, i, &spec.x);
        if ((st < 0 && st != MOE_E_NOTFOUND) || !UNTOUCHED(spec)) return FAULT("route");
        if (st == MOE_OK)
            printf("route %u: %d %d %d %u %g %u\n", i, spec.x.score, spec.x.select, spec.x.weight,
                   spec.x.top_k, (double)spec.x.scale, spec.x.flags);
    }
    for (size_t i = 0; i < moe_model_meta_count(m); i++) {
        if (moe_model_meta_at(m, i, &meta.x) < 0 || !UNTOUCHED(meta)) return FAULT("metadata");
        printf("%s %d %d %llu %llu %lld %g %s\n", meta.x.key, meta.x.type, meta.x.elem_type,
               (unsigned long long)meta.x.n, (unsigned long long)meta.x.u64, (long long)meta.x.i64,
               meta.x.f64, meta.x.str ? meta.x.str : "-");
    }
    for (size_t i = 0; i < moe_model_tensor_count(m); i++) {
        if (moe_model_tensor_at(m, i, &tensor.x) < 0 || !UNTOUCHED(tensor)) return FAULT("tensor");
        printf("%s %d %u %llu %llu %llu %llu %llu\n", tensor.x.name, tensor.x.type, tensor.x.n_dims,
               (unsigned long long)tensor.x.dim[0], (unsigned long long)tensor.x.dim[1],
               (unsigned long long)tensor.x.dim[2], (unsigned long long)tensor.x.dim[3],
               (unsigned long long)tensor.x.bytes);
    }
    return 0;
}

/* Sums over the callback's view; the members of 0.1.0. */
typedef struct seen {
    unsigned long long calls, rows, pairs, experts;
    double weights, logits;
} seen;

static int observe(const moe_route_view *v, void *user)
{
    seen *s = user;
    s->calls++;
    s->rows += v->n_rows;
    s->pairs += v->offset[v->n_rows];
    for (uint32_t i = 0; i < v->offset[v->n_rows]; i++) {
        s->experts += v->expert[i];
        s->weights += (double)v->weight[i];
    }
    for (uint32_t i = 0; i < v->n_rows * v->n_experts; i++) s->logits += (double)v->logits[i];
    return v->token && v->pos && v->seq && v->n_experts ? 0 : -1;
}

static int print_session(moe_model *m)
{
    GUARDED(moe_session_info, info, session_start);
    GUARDED(moe_memory, memory, memory_start);
    GUARDED(moe_stats, stats, stats_start);
    moe_session_options o = MOE_SESSION_OPTIONS_INIT;
    moe_session *s;
    moe_token id[12];
    seen v = {0, 0, 0, 0, 0.0, 0.0};
    o.n_ctx = 128;
    o.n_batch_max = 5;
    o.n_threads = 2;
    o.kv_type_k = MOE_KV_F32;
    if (moe_model_get_memory(m, &o, &memory.x) < 0 || !UNTOUCHED(memory)) return FAULT("memory");
    printf("memory: %llu %llu %llu\n", (unsigned long long)memory.x.dense,
           (unsigned long long)memory.x.experts, (unsigned long long)memory.x.kv); /* the rest may change */
    if (moe_session_create(&s, m, &o) < 0) return FAULT("session");
    for (int i = 0; i < 12; i++) id[i] = 3 + 5 * i;
    if (moe_session_observe(s, observe, &v) < 0 || moe_session_eval(s, id, 12) < 0) return FAULT("eval");
    if (moe_session_get_info(s, &info.x) < 0 || !UNTOUCHED(info)) return FAULT("session info");
    if (moe_session_get_stats(s, &stats.x) < 0 || !UNTOUCHED(stats)) return FAULT("stats");
    printf("session: %u %u %u %u %u %u %u %u %u %u\n", info.x.flags, info.x.n_ctx, info.x.n_seq_max,
           info.x.n_batch_max, info.x.n_output_max, info.x.n_threads, info.x.kv_type_k, info.x.kv_type_v,
           info.x.n_cells_used, info.x.n_outputs);
    printf("stats: %llu %llu %llu %d\n", (unsigned long long)stats.x.tokens_prefill,
           (unsigned long long)stats.x.tokens_decode, (unsigned long long)stats.x.pairs,
           stats.x.ns_prefill > 0 && stats.x.ns_attn > 0 && stats.x.ns_expert > 0);
    printf("routing: %llu %llu %llu %llu %.6f %.4f\n", v.calls, v.rows, v.pairs, v.experts, v.weights,
           v.logits);
    moe_session_free(s);
    return 0;
}

static int print_sampler(void)
{
    moe_candidates c = MOE_CANDIDATES_INIT;
    moe_sample_stage stage = MOE_SAMPLE_STAGE_INIT;
    moe_token id[4] = {10, 11, 12, 13};
    float logit[4] = {0.5f, 2.0f, 1.0f, -1.0f};
    moe_sampler *p;
    stage.kind = MOE_SAMPLE_TOP_K;
    stage.n = 2;
    c.n = 4;
    c.id = id;
    c.logit = logit;
    if (moe_sampler_create(&p, NULL) < 0 || moe_sampler_add(p, &stage) < 0 || moe_sampler_apply(p, &c) < 0)
        return FAULT("sampler");
    printf("sampler: %d of", (int)c.n);
    for (size_t i = 0; i < c.n; i++) printf(" %d", (int)c.id[i]);
    printf(", picked %d\n", (int)c.picked);
    moe_sampler_free(p);
    return 0;
}

int main(int argc, char **argv)
{
    moe_model *m;
    if (argc != 2) return 2;
    if (moe_model_open(&m, argv[1], NULL) < 0) return FAULT(argv[1]);
    const int bad = print_model(m) || print_session(m) || print_sampler();
    moe_model_release(m);
    return bad;
}
