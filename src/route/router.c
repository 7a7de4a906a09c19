/* SPDX-License-Identifier: MIT */
/* See router.h: one row from logits to weighted experts, and all rows for policies that want them together.
 */
#include "route/router.h"

#include <math.h>
#include <string.h>

#include "base/status.h"

/* Rows on their way: what a policy sees of one or more rows. Pointers may alias where nothing changes. */
typedef struct view {
    const float *z, *s, *q;
} view;

static const float *edit(const moe__router *r, int kind) { return r->steer.value[kind - 1]; }
static int is_null(const moe__router *r, uint32_t id) { return id >= r->shape.n; }
static const moe_policy *policy_of(const moe__router *r)
{
    return r->policy.route ? &r->policy : r->recipe.rule;
}

static void add_row(float *y, const float *x, uint32_t n)
{
    for (uint32_t e = 0; x && e < n; e++) y[e] += x[e];
}

/* Banned before scoring: by use or by the sequence's limit. */
static void ban(const moe__router *r, moe_seq seq, float *y, int also_scored)
{
    const uint8_t *limit = moe__steer_limit(&r->steer, seq), *use = r->steer.use;
    for (uint32_t e = 0; e < r->shape.n; e++)
        if ((limit && !limit[e]) ||
            (use && (use[e] == MOE_USE_BAN || (also_scored && use[e] == MOE_USE_BAN_SCORED))))
            y[e] = -INFINITY;
}

/* z of one row into buf, or the model's own logits where nothing changes them. */
static const float *make_logits(const moe__router *r, const float *logits, const moe__route_at *at,
                                float *buf)
{
    const uint32_t n = r->shape.n, own = n + r->shape.n_null;
    const float t = r->recipe.spec.temperature;
    if (!r->steered && r->n_cols == own && (t == 0 || t == 1) && !r->logit_bias) return logits;
    memcpy(buf, logits, own * sizeof *buf);
    for (uint32_t e = own; e < r->n_cols; e++) buf[e] = r->recipe.spec.null_bias;
    add_row(buf, r->logit_bias, n);
    add_row(buf, edit(r, MOE_EDIT_LOGIT_BIAS), n);
    const float *row = moe__steer_override(&r->steer, MOE_OVERRIDE_LOGITS, at->seq, at->pos);
    if (row) memcpy(buf, row, n * sizeof *buf);
    if (r->steered) ban(r, at->seq, buf, 0);
    for (uint32_t e = 0; t != 0 && t != 1 && e < r->n_cols; e++) buf[e] /= t;
    return buf;
}

/* q of one row into buf, or s itself where nothing changes it. */
static const float *make_choice(const moe__router *r, const float *z, const float *s, const moe__route_at *at,
                                float *buf, float *scratch)
{
    const int groups = r->recipe.spec.n_groups > 1;
    if (!r->steered && !r->select_bias && !groups) return s;
    memcpy(buf, s, r->n_cols * sizeof *buf);
    add_row(buf, r->select_bias, r->shape.n);
    add_row(buf, edit(r, MOE_EDIT_SELECT_BIAS), r->shape.n);
    for (uint32_t e = 0; r->steered && e < r->n_cols; e++)
        if (isinf(z[e]) && z[e] < 0) buf[e] = -INFINITY; /* banned, or so said an override */
    if (r->steered) ban(r, at->seq, buf, 1);
    if (groups) moe__recipe_groups(&r->recipe, buf, scratch);
    for (uint32_t e = 0; r->steer.use && e < r->shape.n; e++)
        if (r->steer.use[e] == MOE_USE_FORCE && z[e] != -INFINITY)
            buf[e] = INFINITY; /* limits are stronger */
    return buf;
}

static uint32_t cols_max(uint32_t n) { return 2 * n; } /* n_null never exceeds n */

size_t moe__router_scratch(uint32_t n_experts) { return 4 * (size_t)cols_max(n_experts); }

/* z, s, q of one row; each buffer [n_cols]. */
static view prepare_row(const moe__router *r, const float *logits, const moe__route_at *at, float *z,
                        float *s, float *q, float *scratch)
{
    view v;
    v.z = make_logits(r, logits, at, z);
    r->recipe.score(r->k, s, v.z, r->n_cols, scratch);
    const float *row =
        r->steered ? moe__steer_override(&r->steer, MOE_OVERRIDE_SCORES, at->seq, at->pos) : NULL;
    if (row) memcpy(s, row, r->shape.n * sizeof *s);
    v.s = s;
    v.q = make_choice(r, v.z, s, at, q, scratch);
    return v;
}

static void multiply(float *w, const uint32_t *id, uint32_t n, const moe__router *r, int kind)
{
    const float *factor = edit(r, kind);
    for (uint32_t i = 0; factor && i < n; i++)
        if (!is_null(r, id[i])) w[i] *= factor[id[i]];
}

/* Dropped experts lose their weight; with DROP_RENORM the others grow to the old sum. */
static void drop(const moe__router *r, const uint32_t *id, float *w, uint32_t n)
{
    const uint8_t *use = r->steer.use;
    float before = 0, after = 0;
    int renorm = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (is_null(r, id[i])) continue;
        if (use[id[i]] == MOE_USE_DROP) w[i] = 0;
        before += w[i];
        if (use[id[i]] == MOE_USE_DROP_RENORM) {
            w[i] = 0;
            renorm = 1;
        }
        after += w[i];
    }
    for (uint32_t i = 0; renorm && after > 0 && i < n; i++) w[i] *= before / after;
}

/* The first half of the weights of one row: source, multipliers before norm. */
static void weigh(const moe__router *r, const view *v, const uint32_t *id, float *w, uint32_t n)
{
    if (!(policy_of(r)->flags & MOE_POLICY_WEIGHTS)) moe__recipe_weights(&r->recipe, id, w, n, v->z, v->s);
    multiply(w, id, n, r, MOE_EDIT_PRE);
}

/* The second half: norm and scale, multipliers behind them, drops; null experts become nobody. */
static int settle_row(const moe__router *r, uint32_t *id, float *w, uint32_t n)
{
    moe__recipe_norm(&r->recipe, id, w, n);
    multiply(w, id, n, r, MOE_EDIT_POST);
    if (r->steer.use) drop(r, id, w, n);
    float sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (is_null(r, id[i])) {
            id[i] = MOE_EXPERT_NONE;
            w[i] = 0;
        }
        sum += w[i];
    }
    return isfinite(sum) ? MOE_OK : MOE_E_NUMERIC;
}

static int call_policy(const moe__router *r, const moe_route_input *in, moe_route_output *out)
{
    if (!r->policy.route) return r->recipe.rule->route((void *)(uintptr_t)&r->recipe, in, out);
    const int st = r->policy.route(r->state, in, out);
    if (st > 0)
        return MOE_FAIL(ABORTED, "layer %u: policy %s stopped the evaluation", r->shape.layer,
                        r->policy.name);
    if (st < 0 && !*moe__last_error())
        return moe__fail(st, "layer %u: policy %s failed with status %d", r->shape.layer, r->policy.name, st);
    if (st < 0) return st;
    return moe__router_check(r, out->offset, out->expert, out->weight, in->choice, in->stride, in->n_rows);
}

static moe_route_input input_of(const moe__router *r, uint32_t n_rows)
{
    return (moe_route_input){.size = sizeof(moe_route_input),
                             .layer = r->shape.layer,
                             .n_rows = n_rows,
                             .n_experts = r->shape.n,
                             .n_null = r->n_cols - r->shape.n,
                             .top_k = r->recipe.spec.top_k,
                             .dim = r->shape.dim,
                             .stride = r->n_cols};
}

int moe__router_row(const moe__router *r, const float *logits, const float *hidden, const moe__route_at *at,
                    uint32_t *id, float *w, uint32_t *n, float *scratch)
{
    const size_t cols = cols_max(r->shape.n);
    const view v =
        prepare_row(r, logits, at, scratch, scratch + cols, scratch + 2 * cols, scratch + 3 * cols);
    uint32_t offset[2] = {0, 0};
    moe_route_input in = input_of(r, 1);
    in.logits = v.z;
    in.score = v.s;
    in.choice = v.q;
    in.hidden = r->policy.flags & MOE_POLICY_HIDDEN ? hidden : NULL;
    in.token = &at->token;
    in.pos = &at->pos;
    in.seq = &at->seq;
    moe_route_output out = {sizeof out, r->max_k, offset, id, w};
    MOE_TRY(call_policy(r, &in, &out));
    *n = offset[1];
    weigh(r, &v, id, w, *n);
    return settle_row(r, id, w, *n);
}

/* Scores that pairs of a caller's policy start from, for those that leave weights alone. */
static void fill_scores(const moe__route_batch *b, const moe__router *r)
{
    for (uint32_t t = 0; t < b->n_rows; t++)
        for (uint32_t p = b->offset[t]; p < b->offset[t + 1]; p++)
            b->weight[p] = b->expert[p] < r->n_cols ? b->s[(size_t)t * r->n_cols + b->expert[p]] : 0;
}

int moe__router_batch(const moe__router *r, const moe__route_batch *b)
{
    const size_t cols = r->n_cols, own = r->shape.n + r->shape.n_null;
    for (uint32_t t = 0; t < b->n_rows; t++) {
        const moe__route_at at = {b->token[t], b->pos[t], b->seq[t]};
        float *z = b->z + t * cols, *s = b->s + t * cols, *q = b->q + t * cols;
        const view v = prepare_row(r, b->logits + t * own, &at, z, s, q, b->scratch);
        if (v.z != z) memcpy(z, v.z, cols * sizeof *z);
        if (v.q != q) memcpy(q, v.q, cols * sizeof *q);
    }
    moe_route_input in = input_of(r, b->n_rows);
    in.logits = b->z;
    in.score = b->s;
    in.choice = b->q;
    in.hidden = r->policy.flags & MOE_POLICY_HIDDEN ? b->hidden : NULL;
    in.token = b->token;
    in.pos = b->pos;
    in.seq = b->seq;
    moe_route_output out = {sizeof out, (size_t)b->n_rows * r->max_k, b->offset, b->expert, b->weight};
    MOE_TRY(call_policy(r, &in, &out));
    if (r->policy.route && !(r->policy.flags & MOE_POLICY_WEIGHTS)) fill_scores(b, r);
    const moe_route_spec *spec = &r->recipe.spec;
    const int capacity = spec->capacity > 0, first = (spec->flags & MOE_ROUTE_DROP_FIRST) != 0;
    for (uint32_t t = 0; t < b->n_rows; t++) {
        const view v = {b->z + t * cols, b->s + t * cols, b->q + t * cols};
        const uint32_t p = b->offset[t], n = b->offset[t + 1] - p;
        weigh(r, &v, b->expert + p, b->weight + p, n);
    }
    if (capacity && first)
        moe__recipe_capacity(&r->recipe, b->offset, b->expert, b->weight, b->n_rows, b->order,
                             b->order + r->shape.n);
    for (uint32_t t = 0; t < b->n_rows; t++) {
        const uint32_t p = b->offset[t];
        if (settle_row(r, b->expert + p, b->weight + p, b->offset[t + 1] - p) < 0)
            return MOE_FAIL(NUMERIC, "layer %u, row %u: the router's weights are not finite", r->shape.layer,
                            t);
    }
    if (capacity && !first)
        moe__recipe_capacity(&r->recipe, b->offset, b->expert, b->weight, b->n_rows, b->order,
                             b->order + r->shape.n);
    return MOE_OK;
}

static int bad(const moe__router *r, uint32_t row, const char *what, uint32_t id)
{
    return MOE_FAIL(POLICY, "layer %u: policy %s, row %u: %s (%u)", r->shape.layer, policy_of(r)->name, row,
                    what, id);
}

int moe__router_check(const moe__router *r, const uint32_t *offset, const uint32_t *expert,
                      const float *weight, const float *q, size_t stride, uint32_t n_rows)
{
    if (offset[0] != 0) return bad(r, 0, "offsets do not start at 0", offset[0]);
    for (uint32_t t = 0; t < n_rows; t++) {
        if (offset[t + 1] < offset[t]) return bad(r, t, "offsets fall", offset[t + 1]);
        if (offset[t + 1] - offset[t] > r->max_k)
            return bad(r, t, "more experts than max_k", offset[t + 1] - offset[t]);
        for (uint32_t p = offset[t]; p < offset[t + 1]; p++) {
            const uint32_t id = expert[p];
            if (id == MOE_EXPERT_NONE) continue;
            if (id >= r->n_cols) return bad(r, t, "no such expert", id);
            const float x = q[t * stride + id];
            if (isinf(x) && x < 0) return bad(r, t, "a banned expert was chosen", id);
            if ((policy_of(r)->flags & MOE_POLICY_WEIGHTS) && !isfinite(weight[p]))
                return bad(r, t, "a weight is not finite for expert", id);
        }
    }
    return MOE_OK;
}
