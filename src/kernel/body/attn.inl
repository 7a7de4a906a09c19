/* SPDX-License-Identifier: MIT */
/* Attention over a run of positions of one KV head; ref/attn.c is the definition. */

#define AV_STEP ((size_t)16 * V16_WIDE)

/* LD loads 16 elements of the KV cache as f32, LDN fewer. */
#define ATTN_QK(type, elem, LD, LDN) \
    static inline v16 qk_##type(const float *q, const elem *k, size_t dim) \
    { \
        v16 acc = v16_zero(); \
        size_t d = 0; \
        for (; d + 16 <= dim; d += 16) acc = v16_fma(v16_load(q + d), LD(k + d), acc); \
        if (d < dim) \
            acc = v16_pick_n(v16_fma(v16_load_n(q + d, dim - d), LDN(k + d, dim - d), acc), acc, dim - d); \
        return acc; \
    } \
    static inline v4 qk4_##type(const float *q, const elem *k, size_t stride, size_t dim) \
    { \
        v16 a = v16_zero(), b = a, c = a, e = a; \
        for (size_t d = 0; d < dim; d += 16) { \
            const v16 vq = v16_load(q + d); \
            a = v16_fma(vq, LD(k + d), a); \
            b = v16_fma(vq, LD(k + stride + d), b); \
            c = v16_fma(vq, LD(k + 2 * stride + d), c); \
            e = v16_fma(vq, LD(k + 3 * stride + d), e); \
        } \
        return v16_sum4(a, b, c, e); \
    } \
    void MOE_FN(attn_qk_##type)(float *s, const float *q, const elem *k, size_t stride, size_t n, \
                                size_t dim) \
    { \
        size_t i = 0; \
        if (dim % 16 == 0) \
            for (; i + 4 <= n; i += 4) v4_store(s + i, qk4_##type(q, k + i * stride, stride, dim)); \
        for (; i < n; i++) s[i] = v16_sum(qk_##type(q, k + i * stride, dim)); \
    }

/* A part of y stays in registers while all positions pass; positions ascend for every element. */
#define ATTN_AV(type, elem, LD, LDN) \
    static inline void av_wide_##type(float *y, const float *p, const elem *v, size_t stride, size_t n) \
    { \
        v16 acc[V16_WIDE]; \
        for (int j = 0; j < V16_WIDE; j++) acc[j] = v16_load(y + 16 * j); \
        for (size_t i = 0; i < n; i++, v += stride) { \
            const v16 vp = v16_set1(p[i]); \
            for (int j = 0; j < V16_WIDE; j++) acc[j] = v16_fma(vp, LD(v + 16 * j), acc[j]); \
        } \
        for (int j = 0; j < V16_WIDE; j++) v16_store(y + 16 * j, acc[j]); \
    } \
    void MOE_FN(attn_av_##type)(float *y, const float *p, const elem *v, size_t stride, size_t n, \
                                size_t dim) \
    { \
        size_t d = 0; \
        for (; d + AV_STEP <= dim; d += AV_STEP) av_wide_##type(y + d, p, v + d, stride, n); \
        for (; d + 16 <= dim; d += 16) { \
            v16 acc = v16_load(y + d); \
            for (size_t i = 0; i < n; i++) acc = v16_fma(v16_set1(p[i]), LD(v + i * stride + d), acc); \
            v16_store(y + d, acc); \
        } \
        if (d < dim) { \
            v16 acc = v16_load_n(y + d, dim - d); \
            for (size_t i = 0; i < n; i++) \
                acc = v16_fma(v16_set1(p[i]), LDN(v + i * stride + d, dim - d), acc); \
            v16_store_n(y + d, acc, dim - d); \
        } \
    }

ATTN_QK(f32, float, v16_load, v16_load_n)
ATTN_QK(f16, uint16_t, v16_load_f16, v16_load_f16_n)
ATTN_AV(f32, float, v16_load, v16_load_n)
ATTN_AV(f16, uint16_t, v16_load_f16, v16_load_f16_n)
