/* SPDX-License-Identifier: MIT */
/*
 * Weighted least squares over candidate scales. For given integers q the best scale (and minimum) is a
 * linear fit; for a given scale the best integers are the nearest ones. So: try scales that put the extreme
 * element on or near the ends of the range, fit each, keep the best, then alternate the two steps, which
 * never makes it worse. A block of 256 does so per group, rounds the groups' scales to their stored
 * integers, tries the neighbours of each, and refits the block's own scale.
 *
 * Sums run over eight partial sums in fixed order: deterministic, and the compiler may vectorise them.
 */
#include "quant/quantize_fit.h"

#include <math.h>
#include <string.h>

#define LARGEST 65504.0f /* the largest half */
#define TINY 1e-30f      /* scales below this are zero */
#define LEAST 1e-6f      /* least weight beside a block's largest: what has no importance stays sane */
enum { STEPS = 9, ROUNDS = 3, SUPER_ROUNDS = 2 };

/* A line x = d q + m and how well it does. */
typedef struct line {
    float d, m, err;
} line;


/* Nearest integer, ties to even, of |t| < 2^22. */
static float nearest_int(float t)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    return (t + magic) - magic;
}

static float clamp(float t, float lo, float hi) { return t < lo ? lo : t > hi ? hi : t; }

/* As stored: a fit may reach beyond the largest half. */
static float half(float x) { return moe__f16_to_f32(moe__f32_to_f16(clamp(x, -LARGEST, LARGEST))); }

static int clamp_int(float t, int lo, int hi) { return (int)nearest_int(clamp(t, (float)lo, (float)hi)); }

float moe__fit_prepare(const float *src, const float *importance, size_t n, float *x, float *w)
{
    float amax = 0.0f, top = 0.0f, mean = 0.0f;
    for (size_t i = 0; i < n; i++) {
        x[i] = src[i] == src[i] ? clamp(src[i], -LARGEST, LARGEST) : 0.0f;
        amax = fabsf(x[i]) > amax ? fabsf(x[i]) : amax;
        mean += x[i] * x[i];
        w[i] = importance && importance[i] > 0.0f && importance[i] <= 3.0e38f ? importance[i] : 0.0f;
        top = w[i] > top ? w[i] : top;
    }
    mean /= (float)n;
    for (size_t i = 0; i < n; i++) {
        const float share = top > 0.0f ? w[i] / top : 1.0f;
        w[i] = (share > LEAST ? share : LEAST) * sqrtf(mean + x[i] * x[i]);
    }
    return amax;
}

/* v[i] = the allowed integer nearest to (x[i] - m) * id. */
static void quantise(const moe__lattice *g, const float *x, size_t n, float id, float m, float *v)
{
    const float lo = (float)g->lo, hi = (float)g->hi;
    for (size_t i = 0; i < n; i++) v[i] = nearest_int(clamp((x[i] - m) * id, lo, hi));
    if (g->nearest)
        for (size_t i = 0; i < n; i++) v[i] = g->nearest[(int)v[i] - g->lo];
}

static float sum8(const float s[8])
{
    return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
}

static float dot3(const float *w, const float *a, const float *b, size_t n)
{
    float s[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t j = 0; j < 8; j++) s[j] += w[i + j] * a[i + j] * b[i + j];
    return sum8(s);
}

static float error_of(const float *x, const float *w, const float *v, size_t n, float d, float m)
{
    float s[8] = {0};
    for (size_t i = 0; i < n; i += 8)
        for (size_t j = 0; j < 8; j++) {
            const float e = x[i + j] - (d * v[i + j] + m);
            s[j] += w[i + j] * e * e;
        }
    return sum8(s);
}

/* Quantises with inverse scale id, fits d to the result and takes the line if it is better than *best. */
static void try_scale(const moe__lattice *g, const float *x, const float *w, size_t n, float id, line *best)
{
    float v[256];
    quantise(g, x, n, id, 0.0f, v);
    const float vv = dot3(w, v, v, n);
    if (!(vv > 0.0f)) return;
    const float d = dot3(w, x, v, n) / vv, err = error_of(x, w, v, n, d, 0.0f);
    if (err < best->err) *best = (line){d, 0.0f, err};
}

static line search_scale(const moe__lattice *g, const float *x, const float *w, size_t n)
{
    static const float zeros[256];
    line best = {0.0f, 0.0f, error_of(x, w, zeros, n, 0.0f, 0.0f)};
    float extreme = 0.0f;
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
    if (fabsf(extreme) < TINY) return best;
    const float step = g->nearest ? 1.0f : 0.1f;
    for (int k = -STEPS; k <= STEPS; k++) {
        try_scale(g, x, w, n, ((float)g->lo + step * (float)k) / extreme, &best);
        try_scale(g, x, w, n, ((float)g->hi + step * (float)k) / extreme, &best);
    }
    for (int k = 0; k < ROUNDS && fabsf(best.d) > TINY; k++) try_scale(g, x, w, n, 1.0f / best.d, &best);
    return best;
}

/*
 * Quantises (x - m) * id, fits d and m by the 2x2 normal equations, takes the line if it is better. With
 * m_le0 a positive minimum is replaced by none.
 */
static void try_line(const moe__lattice *g, const float *x, const float *w, size_t n, int m_le0, float id,
    float m, line *best)
{
    float v[256], one[256];
    quantise(g, x, n, id, m, v);
    for (size_t i = 0; i < n; i++) one[i] = 1.0f;
    const float sw = dot3(w, one, one, n), swx = dot3(w, x, one, n), swv = dot3(w, v, one, n);
    const float swvv = dot3(w, v, v, n), swxv = dot3(w, x, v, n);
    const float det = sw * swvv - swv * swv;
    line l;
    if (det > 1e-6f * sw * swvv)
        l = (line){(sw * swxv - swx * swv) / det, (swvv * swx - swv * swxv) / det, 0.0f};
    else if (m_le0 && swvv > 0.0f)
        l = (line){0.0f, 1.0f, 0.0f}; /* all elements alike: no minimum, see below */
    else
        return;
    if (m_le0 && l.m > 0.0f) {
        l.m = 0.0f;
        l.d = swxv / swvv;
    }
    l.err = error_of(x, w, v, n, l.d, l.m);
    if (l.d > 0.0f && l.err < best->err) *best = l;
}

static line search_line(const moe__lattice *g, const float *x, const float *w, size_t n, int m_le0)
{
    static const float zeros[256];
    float lo = x[0], hi = x[0];
    for (size_t i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (m_le0 && lo > 0.0f) lo = 0.0f;
    line best = {0.0f, lo, error_of(x, w, zeros, n, 0.0f, lo)};
    if (hi - lo < TINY) return best;
    for (int k = -STEPS; k <= STEPS; k++)
        try_line(g, x, w, n, m_le0, ((float)g->hi + 0.1f * (float)k) / (hi - lo), lo, &best);
    for (int k = 0; k < ROUNDS && best.d > TINY; k++)
        try_line(g, x, w, n, m_le0, 1.0f / best.d, best.m, &best);
    return best;
}

/* The integers for a line as it is stored. */
static void settle(const moe__lattice *g, const float *x, size_t n, float d, float m, int8_t *q)
{
    float v[256];
    quantise(g, x, n, fabsf(d) > TINY ? 1.0f / d : 0.0f, m, v);
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)v[i];
}

void moe__fit_scale(const moe__lattice *g, const float *x, const float *w, size_t n, float *d, int8_t *q)
{
    *d = half(search_scale(g, x, w, n).d);
    settle(g, x, n, *d, 0.0f, q);
}

void moe__fit_affine(int hi, const float *x, const float *w, size_t n, float *d, float *m, int8_t *q)
{
    const moe__lattice g = {0, hi, NULL};
    const line l = search_line(&g, x, w, n, 0);
    *d = half(l.d);
    *m = half(l.m);
    settle(&g, x, n, *d, *m, q);
}

/* One block of 256 under way: integers per group and element, and the error they leave. */
typedef struct super {
    float d, dmin, err;
    int scale[16], min[16]; /* per group */
    float v[256];
} super;

/*
 * Best stored scale and minimum of group j for the block's d and dmin: the rounded ideal ones and their
 * neighbours.
 */
static void settle_group(const moe__super_shape *s, const float *x, const float *w, const line *ideal, int j,
    super *p)
{
    const size_t n = (size_t)s->group;
    float v[32], best_err = INFINITY;
    const int c = p->d != 0.0f ? clamp_int(ideal->d / p->d, s->scale_lo, s->scale_hi) : 0;
    const int b = p->dmin != 0.0f ? clamp_int(-ideal->m / p->dmin, 0, s->min_hi) : 0;
    for (int scale = c - 1; scale <= c + 1; scale++) {
        for (int min = b - 1; min <= b + 1; min++) {
            if (scale < s->scale_lo || scale > s->scale_hi || min < 0 || min > s->min_hi) continue;
            const float d = p->d * (float)scale, m = -(p->dmin * (float)min);
            quantise(&s->q, x, n, fabsf(d) > TINY ? 1.0f / d : 0.0f, m, v);
            const float err = error_of(x, w, v, n, d, m);
            if (!(err < best_err)) continue;
            best_err = err;
            p->scale[j] = scale;
            p->min[j] = min;
            memcpy(&p->v[(size_t)j * n], v, n * sizeof *v);
        }
    }
    p->err += best_err;
}

static void settle_groups(const moe__super_shape *s, const float *x, const float *w, const line *ideal,
    super *p)
{
    p->err = 0.0f;
    for (int j = 0; j < 256 / s->group; j++)
        settle_group(s, x + j * s->group, w + j * s->group, &ideal[j], j, p);
}

/*
 * d and dmin that fit the whole block best, its integers given: x ~ d a - dmin b with a = scale q, b = min.
 */
static void refit(const moe__super_shape *s, const float *x, const float *w, super *p)
{
    float a[256], b[256];
    for (int i = 0; i < 256; i++) {
        a[i] = (float)p->scale[i / s->group] * p->v[i];
        b[i] = -(float)p->min[i / s->group];
    }
    const float aa = dot3(w, a, a, 256), ab = dot3(w, a, b, 256), bb = dot3(w, b, b, 256);
    const float xa = dot3(w, x, a, 256), xb = dot3(w, x, b, 256);
    const float det = aa * bb - ab * ab;
    if (bb > 0.0f && det > 1e-6f * aa * bb) {
        p->d = half((xa * bb - xb * ab) / det);
        p->dmin = half((aa * xb - ab * xa) / det);
    } else if (aa > 0.0f) {
        p->d = half((xa + p->dmin * -ab) / aa);
    }
}

void moe__fit_super(const moe__super_shape *s, const float *x, const float *w, moe__unpacked256 *u)
{
    const size_t n = (size_t)s->group;
    line ideal[16];
    super best = {0}, p;
    float scale = 0.0f, min = 0.0f;
    for (int j = 0; j < 256 / s->group; j++) {
        const float *xj = x + j * s->group, *wj = w + j * s->group;
        ideal[j] = s->min_hi ? search_line(&s->q, xj, wj, n, 1) : search_scale(&s->q, xj, wj, n);
        if (fabsf(ideal[j].d) > fabsf(scale)) scale = ideal[j].d;
        if (-ideal[j].m > min) min = -ideal[j].m;
    }
    /* Signed scales: the largest one takes the end of the range that reaches further. */
    best.d = half(scale / (float)(s->scale_lo < 0 ? s->scale_lo : s->scale_hi));
    best.dmin = s->min_hi ? half(min / (float)s->min_hi) : 0.0f;
    settle_groups(s, x, w, ideal, &best);
    for (int k = 0; k < SUPER_ROUNDS; k++) {
        p = best;
        refit(s, x, w, &p);
        settle_groups(s, x, w, ideal, &p);
        if (!(p.err < best.err)) break;
        best = p;
    }
    u->d = best.d;
    u->dmin = best.dmin;
    for (int i = 0; i < 16; i++) {
        u->scale[i] = (int8_t)best.scale[i * 16 / s->group];
        u->min[i] = (uint8_t)best.min[i * 16 / s->group];
    }
    for (int i = 0; i < 256; i++) u->q[i] = (int8_t)best.v[i];
}
