/* SPDX-License-Identifier: MIT */
/* Statistics as tables. */
#include "out.h"
#include "study.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define LIST_SIZE 400

/* Experts in order of v, largest first (or smallest), as "6 (12.1 %), 3 (9.0 %)". */
static void name_experts(char *dst, size_t size, const double *v, size_t n, double whole, size_t top,
                         bool least)
{
    size_t at = 0;
    double last = least ? -INFINITY : INFINITY;
    size_t last_i = 0;
    dst[0] = '\0';
    for (size_t k = 0; k < top && k < n && at < size - 40; k++) {
        size_t best = n;
        for (size_t i = 0; i < n; i++) {
            const bool after = least ? v[i] > last || (k && !(v[i] < last) && i > last_i && !(v[i] > last))
                                     : v[i] < last || (k && !(v[i] > last) && i > last_i && !(v[i] < last));
            if (after && (best == n || (least ? v[i] < v[best] : v[i] > v[best]))) best = i;
        }
        if (best == n) break;
        at += (size_t)snprintf(dst + at, size - at, "%s%zu (%.1f %%)", k ? ", " : "", best,
                               whole > 0.0 ? 100.0 * v[best] / whole : 0.0);
        last = v[best];
        last_i = best;
    }
}

static void print_layers(const struct stats *st)
{
    const size_t top = (size_t)st->s->top;
    out_format("\n%5s %9s %6s %8s %6s %8s %8s %8s  %s\n", "layer", "tokens", "k", "entropy", "top-1",
               "balance", "global", "token", "busiest experts; laziest");
    for (uint32_t i = 0; i < st->n_layers; i++) {
        moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
        char busy[LIST_SIZE] = "", lazy[LIST_SIZE] = "";
        size_t n;
        double *count = profile_array(st->profile, st->layers[i], MOE_PROFILE_COUNT, &n);
        if (moe_profile_router(st->profile, st->layers[i], &r) == MOE_OK && count) {
            name_experts(busy, sizeof busy, count, n, (double)r.pairs, top, false);
            name_experts(lazy, sizeof lazy, count, n, (double)r.pairs, top, true);
            out_format("%5lu %9llu %6.2f %8.3f %6.3f %8.3f %8.3f %8.3f  %s; %s\n",
                       (unsigned long)st->layers[i], (unsigned long long)r.tokens, r.mean_k, r.entropy,
                       r.top1, r.lbl_micro, r.lbl_global, r.mutual_info, busy, lazy);
        }
        free(count);
    }
    out_text(
        "k: experts of a token. entropy (bits), top-1: of the router's probabilities. balance, global: the "
        "load-balancing\nvalue within sub-batches and over all (1 = even). token: what the token says about "
        "the expert (bits).\nShares are of all choices in the layer.\n");
}

/* Where choices went that were dropped, null experts. */
static void print_special(const struct stats *st)
{
    bool head = false;
    for (uint32_t i = 0; i < st->n_layers; i++) {
        moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
        if (moe_profile_router(st->profile, st->layers[i], &r) != MOE_OK || (!r.nulls && !r.dropped))
            continue;
        if (!head) out_text("\nChoices without an expert's work:\n");
        head = true;
        out_format("%5lu  null experts %llu, dropped %llu of %llu\n", (unsigned long)st->layers[i],
                   (unsigned long long)r.nulls, (unsigned long long)r.dropped, (unsigned long long)r.pairs);
    }
}

static void print_classes(const struct stats *st)
{
    const size_t top = (size_t)st->s->top;
    moe_expert_find *find = calloc(top, sizeof *find);
    double *tokens;
    size_t n;
    if (!find || st->info.n_classes < 2 || st->n_layers == 0) {
        free(find);
        return;
    }
    tokens = profile_array(st->profile, st->layers[0], MOE_PROFILE_CLASS_TOKENS, &n);
    out_format("\n%-20s %9s  %s\n", "class", "tokens", "experts tied to it most (layer:expert, nPMI)");
    for (uint32_t c = 0; c < st->info.n_classes; c++) {
        size_t found = 0;
        out_format("%-20s %9.0f ", st->classes.name[c], tokens && c < n ? tokens[c] : 0.0);
        find[0].size = sizeof find[0];
        if (moe_profile_rank(st->profile, MOE_RANK_NPMI, c, UINT32_MAX, find, top, &found) == MOE_OK)
            for (size_t k = 0; k < found && k < top; k++)
                out_format(" %lu:%lu %.2f%s", (unsigned long)find[k].layer, (unsigned long)find[k].index,
                           find[k].value, k + 1 < found && k + 1 < top ? "," : "");
        out_text("\n");
    }
    free(tokens);
    free(find);
}

static void print_super(const struct stats *st)
{
    moe_expert_find *find;
    size_t n = 0;
    int status;
    if (!(st->info.flags & MOE_PROFILE_OUTPUTS)) return;
    status = moe_profile_super(st->profile, NULL, 0, &n);
    if (status != MOE_OK && status != MOE_E_BUFFER) return;
    find = calloc(n + 1, sizeof *find);
    if (!find) return;
    find[0].size = sizeof find[0];
    if (n && moe_profile_super(st->profile, find, n, &n) != MOE_OK) n = 0;
    out_format("\nSuper experts: %s\n", n ? "" : "none");
    for (size_t i = 0; i < n; i++)
        out_format("  %lu:%lu, largest output %.4g in channel %lu\n", (unsigned long)find[i].layer,
                   (unsigned long)find[i].index, find[i].value, (unsigned long)find[i].channel);
    free(find);
}

void stats_text(const struct stats *st)
{
    out_format("%llu tokens in %lu class%s, %lu routers of %lu experts\n",
               (unsigned long long)st->info.n_tokens, (unsigned long)st->info.n_classes,
               st->info.n_classes == 1 ? "" : "es", (unsigned long)st->n_layers,
               (unsigned long)st->info.n_experts);
    print_layers(st);
    print_special(st);
    print_classes(st);
    print_super(st);
}
