/* SPDX-License-Identifier: MIT */
/*
 * Counting one sub-batch of one layer, and the outputs of experts. Sums are kept in double, in the order of
 * rows and pairs; exp and log are the library's own, so that the same routing gives the same bits on every
 * machine.
 */
#include "study/profile.h"

#include <math.h>
#include <string.h>

#include "base/mathx.h"

#define LOG2E 1.4426950408889634 /* bits of a nat */

/* ---- one row ---- */

/*
 * Softmax of the logits into p->row; 0 if there is none, as with logits that are not numbers. Entropy in
 * bits: log sum - sum p (z - max), over ln 2.
 */
static int row_probs(moe_profile *p, const float *z, double *entropy, double *top)
{
    const uint32_t n = p->info.n_experts;
    double max = -INFINITY, sum = 0, dot = 0;
    for (uint32_t e = 0; e < n; e++)
        if (z[e] > max) max = z[e];
    if (!(max > -INFINITY && max < INFINITY)) return 0;
    for (uint32_t e = 0; e < n; e++) {
        const double d = z[e] - max;
        p->row[e] = moe__math_exp(d);
        sum += p->row[e];
        if (p->row[e] > 0) dot += p->row[e] * d;
    }
    if (!(sum < INFINITY)) return 0; /* a NaN among them */
    for (uint32_t e = 0; e < n; e++) p->row[e] /= sum;
    *entropy = (moe__math_log(sum) - dot / sum) * LOG2E;
    *top = 1 / sum;
    return 1;
}

static void add_probs(moe_profile *p, moe__prof_layer *l, const float *z, uint32_t *n_probs)
{
    double entropy, top;
    if (!row_probs(p, z, &entropy, &top)) return;
    for (uint32_t e = 0; e < p->info.n_experts; e++) {
        l->a[PROF_PROB].x[e] += p->row[e];
        p->batch_prob[e] += p->row[e];
    }
    l->a[PROF_SUM].x[PROF_SUM_ENTROPY] += entropy;
    l->a[PROF_SUM].x[PROF_SUM_TOP1] += top;
    (*n_probs)++;
}

static uint32_t class_of_token(const moe_profile *p, moe_token token)
{
    if (token < 0 || p->marks.n == 0) return p->cls;
    const uint32_t i = moe__idmap_get(&p->marks, (uint32_t)token);
    return i == MOE_IDMAP_NONE || p->mark_class[i] == UINT32_MAX ? p->cls : p->mark_class[i];
}

/* Where the token's experts are counted, or NULL. */
static uint32_t *tracked_row(moe_profile *p, moe_token token, uint32_t r)
{
    if (p->n_tracked_max == 0 || token < 0) return NULL;
    if (p->tracked.n == p->n_tracked_max && moe__idmap_get(&p->tracked, (uint32_t)token) == MOE_IDMAP_NONE)
        return NULL;
    return moe__profile_tracked(p, moe__idmap_put(&p->tracked, (uint32_t)token), r);
}

/* A pair that is no null expert; j is its rank. */
static void add_pair(moe_profile *p, moe__prof_layer *l, uint32_t cls, uint32_t e, double w,
                     uint32_t *tracked)
{
    const size_t at = (size_t)cls * p->info.n_experts + e;
    l->a[PROF_COUNT].n[e]++;
    l->a[PROF_WEIGHT].x[e] += w;
    l->a[PROF_CLASS_COUNT].n[at]++;
    l->a[PROF_CLASS_WEIGHT].x[at] += w;
    p->batch_count[e]++;
    if (tracked && tracked[e] < UINT32_MAX) tracked[e]++;
}

/* Which experts were chosen together: all orders of two different ones, and each with itself. */
static void add_together(const moe_profile *p, moe__prof_layer *l, const uint32_t *id, uint32_t k)
{
    const size_t n = p->info.n_experts;
    for (uint32_t i = 0; i < k; i++)
        for (uint32_t j = 0; j < k; j++)
            if (id[i] != MOE_EXPERT_NONE && id[j] != MOE_EXPERT_NONE && (i == j || id[i] != id[j]))
                l->a[PROF_PAIRS].n[id[i] * n + id[j]]++;
}

static void add_routed_row(moe_profile *p, moe__prof_layer *l, const moe_route_view *v, uint32_t row)
{
    const moe_token token = v->token ? v->token[row] : MOE_TOKEN_NONE;
    const uint32_t cls = class_of_token(p, token), n = p->info.n_experts;
    uint32_t *tracked = tracked_row(p, token, (uint32_t)(l - p->layer));
    uint64_t *count = l->a[PROF_N].n;
    uint32_t real = 0, chosen = 0;
    for (uint32_t j = v->offset[row]; j < v->offset[row + 1]; j++) {
        const uint32_t e = v->expert[j];
        if (e == MOE_EXPERT_NONE) {
            count[PROF_N_NULLS]++;
            continue;
        }
        if (chosen++ == 0) l->a[PROF_TOP1].n[e]++;
        add_pair(p, l, cls, e, v->weight ? (double)v->weight[j] : 0, tracked);
        if (!v->weight || v->weight[j] != 0) {
            real++;
            continue;
        }
        count[PROF_N_DROPPED]++;
        if (v->pos && (uint32_t)v->pos[row] < p->info.n_pos_max) l->a[PROF_DROPS].n[v->pos[row]]++;
    }
    if (p->info.flags & MOE_PROFILE_PAIRS)
        add_together(p, l, v->expert + v->offset[row], v->offset[row + 1] - v->offset[row]);
    count[PROF_N_TOKENS]++;
    count[PROF_N_PAIRS] += chosen;
    l->a[PROF_K].n[real < n ? real : n]++;
    l->a[PROF_CLASS_TOKENS].n[cls]++;
}

/* ---- a sub-batch ---- */

/* n * sum of f p: f shares of the choices, p mean probabilities. */
static double balance(const uint64_t *count, const double *prob, uint32_t n, uint64_t n_pairs,
                      uint64_t n_probs)
{
    double sum = 0;
    for (uint32_t e = 0; e < n; e++) sum += (double)count[e] * prob[e];
    return n * sum / ((double)n_pairs * (double)n_probs);
}

void moe__profile_route(moe_profile *p, const moe_route_view *v)
{
    const uint32_t n = p->info.n_experts;
    const size_t stride = v->n_logits ? v->n_logits : n;
    moe__prof_layer *l = &p->layer[p->layer_at[v->layer]];
    const uint64_t before = l->a[PROF_N].n[PROF_N_PAIRS];
    uint32_t n_probs = 0;
    memset(p->batch_count, 0, n * sizeof *p->batch_count);
    memset(p->batch_prob, 0, n * sizeof *p->batch_prob);
    for (uint32_t r = 0; r < v->n_rows; r++) {
        add_routed_row(p, l, v, r);
        if (v->logits) add_probs(p, l, v->logits + r * stride, &n_probs);
    }
    uint64_t *count = l->a[PROF_N].n;
    count[PROF_N_BATCHES]++;
    count[PROF_N_PROBS] += n_probs;
    if (n_probs == 0 || count[PROF_N_PAIRS] == before) return;
    count[PROF_N_LBL]++;
    l->a[PROF_SUM].x[PROF_SUM_LBL] +=
        balance(p->batch_count, p->batch_prob, n, count[PROF_N_PAIRS] - before, n_probs);
}

/* ---- a view from elsewhere ---- */

static int check_view(const moe_profile *p, const moe_route_view *v)
{
    if (v->layer >= p->info.n_layers || p->layer_at[v->layer] == UINT32_MAX)
        return MOE_FAIL(RANGE, "moe_profile_add: layer %u has no router", v->layer);
    if (v->n_experts != p->info.n_experts || (v->n_logits && v->n_logits < v->n_experts))
        return MOE_FAIL(INVALID,
                        "moe_profile_add: layer %u: %u experts, %u logits: the profile has %u experts",
                        v->layer, v->n_experts, v->n_logits, p->info.n_experts);
    if (v->n_rows == 0 || v->offset[0] != 0)
        return MOE_FAIL(INVALID, "moe_profile_add: layer %u: no rows, or a first offset that is not 0",
                        v->layer);
    for (uint32_t r = 0; r < v->n_rows; r++) {
        if (v->offset[r + 1] < v->offset[r])
            return MOE_FAIL(INVALID, "moe_profile_add: layer %u, row %u: falling offsets", v->layer, r);
        for (uint32_t j = v->offset[r]; j < v->offset[r + 1]; j++) {
            if (v->expert[j] != MOE_EXPERT_NONE && v->expert[j] >= v->n_experts)
                return MOE_FAIL(RANGE, "moe_profile_add: layer %u, row %u: expert %u of %u", v->layer, r,
                                v->expert[j], v->n_experts);
            if (v->weight && !isfinite(v->weight[j]))
                return MOE_FAIL(INVALID, "moe_profile_add: layer %u, row %u: a weight is not finite",
                                v->layer, r);
        }
    }
    return MOE_OK;
}

int moe__profile_add(moe_profile *p, const moe_route_view *v)
{
    MOE_TRY(check_view(p, v));
    if (v->token) MOE_TRY(moe__profile_room(p, (uint64_t)p->tracked.n + v->n_rows));
    moe__profile_route(p, v);
    return MOE_OK;
}

/* ---- outputs ---- */

void moe__profile_measure(const float *y, size_t n, float *norm, float *max, uint32_t *channel)
{
    double sum[8] = {0};
    float most = 0;
    size_t at = 0;
    for (size_t i = 0; i < n; i++) sum[i % 8] += (double)y[i] * y[i];
    for (size_t i = 0; i < n; i++) {
        const float a = fabsf(y[i]);
        if (a > most) {
            most = a;
            at = i;
        }
    }
    *norm = (float)sqrt(((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7])));
    *max = most;
    *channel = (uint32_t)at;
}

void moe__profile_outputs(moe_profile *p, uint32_t layer, const moe__outputs *o)
{
    moe__prof_layer *l = &p->layer[p->layer_at[layer]];
    for (uint32_t i = 0; i < o->n; i++) {
        const uint32_t e = o->expert[i];
        if (o->max[i] > l->a[PROF_OUT_MAX].x[e]) {
            l->a[PROF_OUT_MAX].x[e] = o->max[i];
            l->a[PROF_OUT_CHANNEL].n[e] = o->channel[i];
        }
        const double norm = o->norm[i], saliency = norm * o->weight[i];
        if (!isfinite(saliency)) continue; /* one bad row must not spoil the means */
        l->a[PROF_OUT_N].n[e]++;
        l->a[PROF_OUT_NORM].x[e] += norm;
        l->a[PROF_OUT_SALIENCY].x[e] += saliency;
    }
}
