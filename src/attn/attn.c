/* SPDX-License-Identifier: MIT */
/* See attn.h. */
#include "attn/attn.h"

#include <string.h>

#include "base/mathx.h"

void moe__attn_turn(const moe__attn *a, size_t i)
{
    const uint32_t n = a->m->hp.n_rot / 2;
    float *cs = a->turn + i * n * 2;
    for (uint32_t j = 0; j < n; j++) {
        const float angle = (float)a->place[i].pos *
                            a->m->inv_freq[j]; /* rounded to f32, as the reference implementations do */
        double s, c;
        moe__math_sincos((double)angle, &s, &c);
        cs[2 * j] = (float)c * a->m->rope_gain;
        cs[2 * j + 1] = (float)s * a->m->rope_gain;
    }
}

/* Bias, clamp, norm and rotation of one of q and k; a norm as wide as the row spans all heads. */
static void finish(const moe__attn *a, float *x, uint32_t n_heads, const float *bias, const float *norm,
                   uint32_t norm_n, const float *cs)
{
    const moe__kernels *k = &a->m->k;
    const moe__hparams *h = &a->m->hp;
    const uint32_t dim = h->dim_head_k, n = n_heads * dim;
    if (bias) k->add(x, bias, n);
    if (norm && norm_n == n) k->rms_norm(x, x, norm, h->eps, n);
    if (h->clamp_qkv > 0)
        for (uint32_t j = 0; j < n; j++)
            x[j] = x[j] > h->clamp_qkv ? h->clamp_qkv : x[j] < -h->clamp_qkv ? -h->clamp_qkv : x[j];
    for (uint32_t j = 0; j < n_heads; j++) {
        if (norm && norm_n != n) k->rms_norm(x + j * dim, x + j * dim, norm, h->eps, dim);
        k->rope(x + j * dim, cs, h->n_rot, a->m->arch->rope_half);
    }
}

static void store(const moe__kernels *k, void *dst, const float *x, size_t n, int type)
{
    if (type == MOE_TYPE_F32)
        memcpy(dst, x, n * sizeof *x);
    else
        k->to_f16(dst, x, n);
}

void moe__attn_prepare(const moe__attn *a, uint32_t layer, size_t i)
{
    const moe__hparams *h = &a->m->hp;
    const moe__layer *l = &a->m->layers[layer];
    const moe__place at = a->place[i];
    const float *cs = a->turn + i * h->n_rot;
    float *q = a->q + i * h->n_heads * h->dim_head_k, *k = a->k + i * a->kv->width_k,
          *v = a->v + i * a->kv->width_v;
    finish(a, q, h->n_heads, l->vec[ROLE_ATTN_Q_BIAS], l->vec[ROLE_ATTN_Q_NORM], l->vec_n[ROLE_ATTN_Q_NORM],
           cs);
    finish(a, k, h->n_heads_kv, l->vec[ROLE_ATTN_K_BIAS], l->vec[ROLE_ATTN_K_NORM],
           l->vec_n[ROLE_ATTN_K_NORM], cs);
    if (l->vec[ROLE_ATTN_V_BIAS]) a->m->k.add(v, l->vec[ROLE_ATTN_V_BIAS], a->kv->width_v);
    if (h->clamp_qkv > 0)
        for (uint32_t j = 0; j < a->kv->width_v; j++)
            v[j] = v[j] > h->clamp_qkv ? h->clamp_qkv : v[j] < -h->clamp_qkv ? -h->clamp_qkv : v[j];
    store(&a->m->k, moe__kv_k(a->kv, layer, at.seq, at.pos), k, a->kv->width_k, a->kv->type_k);
    store(&a->m->k, moe__kv_v(a->kv, layer, at.seq, at.pos), v, a->kv->width_v, a->kv->type_v);
}

size_t moe__attn_scratch(const moe__hparams *h)
{
    return (size_t)(h->n_heads / h->n_heads_kv) * (MOE_ATTN_CHUNK + 2) + h->dim_head_v;
}

/* One (row, KV head): the query heads of the group with their running softmax. */
typedef struct group {
    const moe__attn *a;
    uint32_t layer, seq, kv_head, n; /* n query heads */
    const float *q;                  /* [n][dim_head_k] */
    float *score;                    /* [n][MOE_ATTN_CHUNK] of the chunk at hand */
    float *acc;                      /* [n][dim_head_v] weighted values so far */
    float *max, *sum;                /* [n] */
    float *part;                     /* [dim_head_v] values of the chunk at hand */
} group;

/* q . k for positions first .. end-1 of one chunk, page by page: each key serves all heads of the group. */
static void scores(const group *t, uint32_t first, uint32_t end)
{
    const moe__kv *kv = t->a->kv;
    const moe__kernels *k = &t->a->m->k;
    const uint32_t dim = t->a->m->hp.dim_head_k;
    for (uint32_t p = first; p < end; p += MOE_KV_PAGE) {
        const uint32_t n = end - p < MOE_KV_PAGE ? end - p : MOE_KV_PAGE;
        const void *keys =
            (const char *)moe__kv_k(kv, t->layer, t->seq, p) + (size_t)t->kv_head * dim * kv->size_k;
        for (uint32_t j = 0; j < t->n; j++) {
            float *s = t->score + (size_t)j * MOE_ATTN_CHUNK + (p - first);
            if (kv->type_k == MOE_TYPE_F32)
                k->attn_qk_f32(s, t->q + j * dim, keys, kv->width_k, n, dim);
            else
                k->attn_qk_f16(s, t->q + j * dim, keys, kv->width_k, n, dim);
        }
    }
}

/* part = sum over the chunk of exponential times value, for head j. */
static void values(const group *t, uint32_t first, uint32_t end, uint32_t j)
{
    const moe__kv *kv = t->a->kv;
    const moe__kernels *k = &t->a->m->k;
    const uint32_t dim = t->a->m->hp.dim_head_v;
    memset(t->part, 0, dim * sizeof *t->part);
    for (uint32_t p = first; p < end; p += MOE_KV_PAGE) {
        const uint32_t n = end - p < MOE_KV_PAGE ? end - p : MOE_KV_PAGE;
        const void *v =
            (const char *)moe__kv_v(kv, t->layer, t->seq, p) + (size_t)t->kv_head * dim * kv->size_v;
        const float *s = t->score + (size_t)j * MOE_ATTN_CHUNK + (p - first);
        if (kv->type_v == MOE_TYPE_F32)
            k->attn_av_f32(t->part, s, v, kv->width_v, n, dim);
        else
            k->attn_av_f16(t->part, s, v, kv->width_v, n, dim);
    }
}

/* Adds head j's chunk to what is there: both sides are brought to the larger maximum. */
static void merge(const group *t, uint32_t j, float max, float sum)
{
    const moe__kernels *k = &t->a->m->k;
    const uint32_t dim = t->a->m->hp.dim_head_v;
    const float top = max > t->max[j] ? max : t->max[j];
    const float from[2] = {t->max[j] - top, max - top};
    float by[2];
    k->exp(by, from, 2);
    k->scale(t->acc + (size_t)j * dim, by[0], dim);
    k->axpy(t->acc + (size_t)j * dim, by[1], t->part, dim);
    t->sum[j] = t->sum[j] * by[0] + sum * by[1];
    t->max[j] = top;
}

void moe__attn_row(const moe__attn *a, uint32_t layer, size_t i, uint32_t g, float *out, float *scratch)
{
    const moe__hparams *h = &a->m->hp;
    const uint32_t n = h->n_heads / h->n_heads_kv, dim = h->dim_head_v, n_pos = a->place[i].pos + 1;
    group t = {.a = a, .layer = layer, .seq = a->place[i].seq, .kv_head = g, .n = n};
    t.q = a->q + (i * h->n_heads + (size_t)g * n) * h->dim_head_k;
    t.score = scratch;
    t.acc = out;
    t.max = scratch + (size_t)n * MOE_ATTN_CHUNK;
    t.sum = t.max + n;
    t.part = t.sum + n;
    for (uint32_t first = 0; first < n_pos; first += MOE_ATTN_CHUNK) {
        const uint32_t end = n_pos - first < MOE_ATTN_CHUNK ? n_pos : first + MOE_ATTN_CHUNK;
        scores(&t, first, end);
        for (uint32_t j = 0; j < n; j++) {
            float sum;
            const float max =
                a->m->k.attn_exp(t.score + (size_t)j * MOE_ATTN_CHUNK, a->m->attn_scale, end - first, &sum);
            values(&t, first, end, j);
            if (first == 0) { /* the first chunk is the running state itself */
                memcpy(t.acc + (size_t)j * dim, t.part, dim * sizeof *t.part);
                t.max[j] = max;
                t.sum[j] = sum;
            } else {
                merge(&t, j, max, sum);
            }
        }
    }
    for (uint32_t j = 0; j < n; j++) a->m->k.scale(out + (size_t)j * dim, 1.0f / t.sum[j], dim);
}
