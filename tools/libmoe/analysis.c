/* SPDX-License-Identifier: MIT */
/*
 * What a trace tells: next-token reuse beside what chance would give, segment routing (SRP), and hit rates of
 * caches of experts. A cache holds experts of all layers ("shared") or of one layer alone ("layer"; the rates
 * of all layers are averaged by their uses).
 */
#include "interrupt.h"
#include "out.h"
#include "trace.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT_CACHE 16 /* window of the segment cache that is shown */
#define SIZES_MAX     32

static const uint32_t windows[] = {4, 16, 64, 256};
#define N_WINDOWS (sizeof windows / sizeof *windows)

static const struct {
    const char *key, *title;
    int policy;
    uint32_t window;
} caches[] = {
    {"lru", "LRU", MOE_CACHE_LRU, 0},
    {"lfu", "LFU", MOE_CACHE_LFU, 0},
    {"sch", "segment", MOE_CACHE_SCH, SEGMENT_CACHE},
    {"belady", "optimum", MOE_CACHE_BELADY, 0},
};
#define N_CACHES (sizeof caches / sizeof *caches)

struct uses {
    uint64_t *layer; /* [n_layers] experts chosen */
    uint64_t all;
};

static bool count_uses(const moe_trace *t, const moe_trace_info *info, struct uses *u)
{
    u->all = 0;
    u->layer = calloc(info->n_layers ? info->n_layers : 1, sizeof *u->layer);
    if (!u->layer) return false;
    for (uint64_t i = 0; i < info->n_tokens; i++)
        for (uint32_t l = 0; l < info->n_layers; l++) {
            moe_trace_row r = MOE_TRACE_ROW_INIT;
            if (moe_trace_at(t, i, l, &r) != MOE_OK) continue;
            u->layer[l] += r.k;
            u->all += r.k;
        }
    return true;
}

/* Cache sizes of n experts in all: eighths and finer below, or in n/steps. */
static size_t cache_sizes(uint32_t n, bool fine, uint32_t *dst)
{
    static const double parts[] = {0.03125, 0.0625, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.75, 1.0};
    const size_t n_parts = fine ? SIZES_MAX : sizeof parts / sizeof *parts;
    size_t count = 0;
    for (size_t i = 0; i < n_parts; i++) {
        const double part = fine ? (double)(i + 1) / SIZES_MAX : parts[i];
        const uint32_t size = (uint32_t)(part * (double)n + 0.5);
        if (size && (count == 0 || size > dst[count - 1])) dst[count++] = size;
    }
    return count;
}

/* Rates of one policy; `shared`: one cache for all layers, else the mean over layers by their uses. */
static int hit_rates(const moe_trace *t, const moe_trace_info *info, const struct uses *u, size_t which,
                     bool shared, const uint32_t *size, size_t n, double *rate)
{
    const uint32_t window = caches[which].window;
    double one[SIZES_MAX];
    int status = MOE_OK;
    if (shared) return moe_trace_cache(t, caches[which].policy, MOE_ALL_LAYERS, window, size, n, rate);
    memset(rate, 0, n * sizeof *rate);
    for (uint32_t l = 0; l < info->n_layers && status == MOE_OK; l++) {
        if (interrupted()) return MOE_E_ABORTED;
        status = moe_trace_cache(t, caches[which].policy, l, window, size, n, one);
        for (size_t i = 0; status == MOE_OK && i < n && u->all; i++)
            rate[i] += one[i] * (double)u->layer[l] / (double)u->all;
    }
    return status;
}

/* Share of experts that would agree by chance: experts of a token over all experts. */
static double chance(const moe_trace_info *info, const struct uses *u)
{
    const double cells = (double)info->n_tokens * (double)info->n_layers * (double)info->n_experts;
    return cells > 0.0 ? (double)u->all / cells : 0.0;
}

/* --------------------------------------------------------------------------------------------------- text */

static void print_reuse(const moe_trace *t, const moe_trace_info *info, const struct uses *u)
{
    double mean;
    if (moe_trace_reuse(t, MOE_ALL_LAYERS, &mean) != MOE_OK) {
        out_text("\nNo request has two tokens: nothing to say about reuse.\n");
        return;
    }
    out_format(
        "\nShare of a token's experts that the token before had as well: %.1f %% (by chance %.1f %%)\n",
        100.0 * mean, 100.0 * chance(info, u));
    for (uint32_t l = 0; l < info->n_layers; l++) {
        moe_trace_row r = MOE_TRACE_ROW_INIT;
        double v = 0.0;
        if (moe_trace_at(t, 0, l, &r) != MOE_OK || moe_trace_reuse(t, l, &v) != MOE_OK) continue;
        out_format("%s  layer %3lu %5.1f %%",
                   l % 4 ? " "
                   : l   ? "\n"
                         : "",
                   (unsigned long)r.model_layer, 100.0 * v);
    }
    out_text("\n");
}

static void print_segments(const moe_trace *t)
{
    bool head = false;
    for (size_t i = 0; i < N_WINDOWS; i++) {
        double v[3], rho = 0.0;
        bool ok = true;
        for (int level = MOE_SRP_EXPERT; level <= MOE_SRP_MODEL; level++)
            ok = ok && moe_trace_srp(t, MOE_ALL_LAYERS, windows[i], level, &v[level - 1], &rho) == MOE_OK;
        if (!ok) continue;
        if (!head)
            out_format("\nHow well one set of experts does for a whole segment (SRP, 1 = perfectly):\n"
                       "%10s %12s %12s %12s %14s\n",
                       "segment", "per expert", "per layer", "one for all", "set size / k");
        head = true;
        out_format("%10lu %12.3f %12.3f %12.3f %14.2f\n", (unsigned long)windows[i], v[0], v[1], v[2], rho);
    }
}

static void print_caches(const moe_trace *t, const moe_trace_info *info, const struct uses *u, bool shared)
{
    const uint32_t all = shared ? info->n_layers * info->n_experts : info->n_experts;
    uint32_t size[SIZES_MAX];
    double rate[N_CACHES][SIZES_MAX];
    const size_t n = cache_sizes(all, false, size);
    for (size_t c = 0; c < N_CACHES; c++)
        if (hit_rates(t, info, u, c, shared, size, n, rate[c]) != MOE_OK) return;
    out_format("\nUses that hit a cache %s:\n%10s %7s", shared ? "shared by all layers" : "in each layer",
               "experts", "of all");
    for (size_t c = 0; c < N_CACHES; c++) out_format(" %9s", caches[c].title);
    out_text("\n");
    for (size_t i = 0; i < n; i++) {
        out_format("%10lu %5.1f %%", (unsigned long)size[i], 100.0 * (double)size[i] / (double)all);
        for (size_t c = 0; c < N_CACHES; c++) out_format("  %6.1f %%", 100.0 * rate[c][i]);
        out_text("\n");
    }
}

void analysis_print(const moe_trace *t)
{
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    struct uses u = {NULL, 0};
    if (moe_trace_get_info(t, &info) != MOE_OK || !count_uses(t, &info, &u)) return;
    out_format("%llu tokens of %llu request%s, %lu layers of %lu experts, %.2f for a token\n",
               (unsigned long long)info.n_tokens, (unsigned long long)info.n_requests,
               info.n_requests == 1 ? "" : "s", (unsigned long)info.n_layers, (unsigned long)info.n_experts,
               info.n_tokens ? (double)u.all / (double)info.n_tokens / (double)info.n_layers : 0.0);
    if (info.n_tokens) {
        print_reuse(t, &info, &u);
        print_segments(t);
        print_caches(t, &info, &u, false);
        print_caches(t, &info, &u, true);
        out_format(
            "segment: the cache knows the next %d tokens, and first uses hit while it has room (Liang et "
            "al. 2026). optimum: knows\nthe future (Belady).\n",
            SEGMENT_CACHE);
    }
    free(u.layer);
}

/* --------------------------------------------------------------------------------------------------- JSON */

static void json_reuse(struct json *j, const moe_trace *t, const moe_trace_info *info, const struct uses *u)
{
    double v;
    json_open_row(j, "model_layers", '[');
    for (uint32_t l = 0; l < info->n_layers; l++) {
        moe_trace_row r = MOE_TRACE_ROW_INIT;
        if (moe_trace_at(t, 0, l, &r) == MOE_OK) json_uint(j, NULL, r.model_layer);
    }
    json_close(j);
    json_open_row(j, "reuse", '[');
    for (uint32_t l = 0; l < info->n_layers; l++)
        if (moe_trace_reuse(t, l, &v) == MOE_OK) json_short(j, NULL, v);
    json_close(j);
    if (moe_trace_reuse(t, MOE_ALL_LAYERS, &v) == MOE_OK)
        json_short(j, "reuse_mean", v);
    else
        json_null(j, "reuse_mean");
    json_short(j, "reuse_by_chance", chance(info, u));
}

static void json_segments(struct json *j, const moe_trace *t)
{
    static const char *const key[] = {"expert", "layer", "model"};
    json_open(j, "srp", '[');
    for (size_t i = 0; i < N_WINDOWS; i++) {
        double v, rho = 0.0;
        if (moe_trace_srp(t, MOE_ALL_LAYERS, windows[i], MOE_SRP_MODEL, &v, &rho) != MOE_OK) continue;
        json_open_row(j, NULL, '{');
        json_uint(j, "window", windows[i]);
        for (int level = MOE_SRP_EXPERT; level <= MOE_SRP_MODEL; level++)
            if (moe_trace_srp(t, MOE_ALL_LAYERS, windows[i], level, &v, &rho) == MOE_OK)
                json_short(j, key[level - 1], v);
        json_short(j, "rho", rho);
        json_close(j);
    }
    json_close(j);
}

static void json_caches(struct json *j, const char *key, const moe_trace *t, const moe_trace_info *info,
                        const struct uses *u, bool shared, bool fine)
{
    const uint32_t all = shared ? info->n_layers * info->n_experts : info->n_experts;
    uint32_t size[SIZES_MAX];
    double rate[SIZES_MAX];
    const size_t n = cache_sizes(all, fine, size);
    json_open(j, key, '{');
    json_uint(j, "experts", all);
    json_open_row(j, "capacity", '[');
    for (size_t i = 0; i < n; i++) json_uint(j, NULL, size[i]);
    json_close(j);
    for (size_t c = 0; c < N_CACHES; c++) {
        if (hit_rates(t, info, u, c, shared, size, n, rate) != MOE_OK) continue;
        json_open_row(j, caches[c].key, '[');
        for (size_t i = 0; i < n; i++) json_short(j, NULL, rate[i]);
        json_close(j);
    }
    json_uint(j, "sch_window", SEGMENT_CACHE);
    json_close(j);
}

void analysis_json(struct json *j, const moe_trace *t, bool fine)
{
    moe_trace_info info = MOE_TRACE_INFO_INIT;
    struct uses u = {NULL, 0};
    if (moe_trace_get_info(t, &info) != MOE_OK || !count_uses(t, &info, &u)) return;
    json_uint(j, "tokens", info.n_tokens);
    json_uint(j, "requests", info.n_requests);
    json_uint(j, "layers", info.n_layers);
    json_uint(j, "experts", info.n_experts);
    json_uint(j, "max_k", info.max_k);
    json_short(j, "mean_k",
               info.n_tokens ? (double)u.all / (double)info.n_tokens / (double)info.n_layers : 0.0);
    if (info.n_tokens) {
        json_reuse(j, t, &info, &u);
        json_segments(j, t);
        json_caches(j, "layer_cache", t, &info, &u, false, fine);
        json_caches(j, "shared_cache", t, &info, &u, true, fine);
    }
    free(u.layer);
}
