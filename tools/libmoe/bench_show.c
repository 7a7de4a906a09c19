/* SPDX-License-Identifier: MIT */
/* libmoe bench: head, rows and limits as a table, as comma-separated values, as JSON. */
#include "bench.h"
#include "out.h"
#include "term.h"

static const struct {
    const char *key, *label;
} stages[N_STAGES] = {
    [STAGE_ATTN] = {"attention", "attention"},          [STAGE_ROUTE] = {"routers", "routers"},
    [STAGE_SELECT] = {"selection", "of it selection"},  [STAGE_EXPERT] = {"experts", "experts"},
    [STAGE_DENSE] = {"dense", "norms and dense parts"}, [STAGE_HEAD] = {"head", "output"},
};

void bench_head(struct bench *b, const moe_model_info *info)
{
    char a[TEXT_SIZE];
    if (b->s->json) {
        json_open(&b->json, NULL, '{');
        json_text(&b->json, "model", info->name);
        json_text(&b->json, "family", info->arch);
        json_text(&b->json, "file_type", info->file_type);
        json_uint(&b->json, "bytes", info->bytes);
        json_uint(&b->json, "active_bytes", (uint64_t)(b->dense + b->experts + 0.5));
        json_uint(&b->json, "products_per_token", (uint64_t)(b->products + 0.5));
        json_text(&b->json, "isa", b->s->isa ? b->s->isa : moe_cpu_isa());
        json_text(&b->json, "build", moe_build_info());
        json_open(&b->json, "results", '[');
    } else if (b->s->csv) {
        out_text("kind,tokens,context,threads,rounds,median_tokens_per_s,min_tokens_per_s,max_tokens_per_s,"
                 "bytes_per_s,select_share,sequences,ops_per_s");
        for (size_t i = 0; i < N_STAGES; i++) out_format(",%s_ns", stages[i].key);
        out_text("\n");
    } else {
        out_format("%s %s, %s active for a token, %s\n\n", *info->name ? info->name : info->arch,
                   info->file_type, readable_bytes(a, (uint64_t)(b->dense + b->experts + 0.5)),
                   moe_build_info());
        out_format("%-8s %8s %8s %9s %8s %12s %12s %12s %12s %9s\n", "kind", "tokens", "context", "sequences",
                   "threads", "tokens/s", "min", "max", "bytes/s", "selection");
    }
    out_flush();
}

/* Microseconds per token and shares, under the row of a table. */
static void show_stages(const struct result *r)
{
    for (size_t i = 0; i < N_STAGES && r->total > 0.0; i++)
        out_format("    %-22s %12.2f us %8.2f%%\n", stages[i].label, 1e-3 * r->stage[i],
                   100.0 * r->stage[i] / r->total);
}

void bench_show(struct bench *b, const struct result *r)
{
    char a[TEXT_SIZE];
    if (b->s->json) {
        json_open_row(&b->json, NULL, '{');
        json_text(&b->json, "kind", r->kind);
        json_uint(&b->json, "tokens", r->tokens);
        json_uint(&b->json, "context", r->context);
        json_uint(&b->json, "sequences", r->sequences);
        json_uint(&b->json, "threads", r->threads);
        json_uint(&b->json, "rounds", r->rounds);
        json_real(&b->json, "median", r->median);
        json_real(&b->json, "min", r->min);
        json_real(&b->json, "max", r->max);
        if (r->bytes > 0.0)
            json_real(&b->json, "bytes_per_s", r->bytes);
        else
            json_null(&b->json, "bytes_per_s");
        if (r->ops > 0.0)
            json_real(&b->json, "ops_per_s", r->ops);
        else
            json_null(&b->json, "ops_per_s");
        json_real(&b->json, "select_share", r->select);
        json_open_row(&b->json, "stage_ns", '{');
        for (size_t i = 0; i < N_STAGES; i++) json_short(&b->json, stages[i].key, r->stage[i]);
        json_close(&b->json);
        json_close(&b->json);
    } else if (b->s->csv) {
        out_format("%s,%lu,%lu,%lu,%lu,%.3f,%.3f,%.3f,", r->kind, (unsigned long)r->tokens,
                   (unsigned long)r->context, (unsigned long)r->threads, (unsigned long)r->rounds, r->median,
                   r->min, r->max);
        if (r->bytes > 0.0) out_format("%.0f", r->bytes);
        out_format(",%.6f,%lu,", r->select, (unsigned long)r->sequences);
        if (r->ops > 0.0) out_format("%.0f", r->ops);
        for (size_t i = 0; i < N_STAGES; i++) out_format(",%.0f", r->stage[i]);
        out_text("\n");
    } else {
        out_format("%-8s %8lu %8lu %9lu %8lu %12.2f %12.2f %12.2f %12s %8.3f%%\n", r->kind,
                   (unsigned long)r->tokens, (unsigned long)r->context, (unsigned long)r->sequences,
                   (unsigned long)r->threads, r->median, r->min, r->max,
                   r->bytes > 0.0 ? readable_bytes(a, (uint64_t)r->bytes) : "-", 100.0 * r->select);
        if (b->s->stages) show_stages(r);
    }
    out_flush();
}

void bench_limits_head(struct bench *b)
{
    if (b->s->json) {
        json_close(&b->json);
        json_open(&b->json, "limits", '[');
    } else if (!b->s->csv) {
        out_format("\n%-8s %22s  %s\n", "threads", "read from memory", "8-bit operations in 1e9/s");
    }
}

void bench_show_limits(struct bench *b, uint32_t threads, const struct limits *l)
{
    char a[TEXT_SIZE];
    if (b->s->json) {
        json_open_row(&b->json, NULL, '{');
        json_uint(&b->json, "threads", threads);
        json_real(&b->json, "read_bytes_per_s", l->read);
        json_open_row(&b->json, "int8_ops_per_s", '{');
        for (size_t i = 0; i < l->n_int8; i++) json_real(&b->json, l->int8[i].how, l->int8[i].ops);
        json_close(&b->json);
        json_close(&b->json);
    } else if (b->s->csv) {
        out_format("limit-read,,,%lu,,,,,%.0f,,,,,,,,,\n", (unsigned long)threads, l->read);
        for (size_t i = 0; i < l->n_int8; i++)
            out_format("limit-%s,,,%lu,,,,,,,,%.0f,,,,,,\n", l->int8[i].how, (unsigned long)threads,
                       l->int8[i].ops);
    } else {
        out_format("%-8lu %20s/s ", (unsigned long)threads, readable_bytes(a, (uint64_t)l->read));
        for (size_t i = 0; i < l->n_int8; i++) out_format(" %s %.0f", l->int8[i].how, 1e-9 * l->int8[i].ops);
        out_text("\n");
    }
    out_flush();
}

void bench_tail(struct bench *b, bool complete)
{
    if (!b->s->json) return;
    json_close(&b->json);
    json_bool(&b->json, "complete", complete);
    json_close(&b->json);
}
