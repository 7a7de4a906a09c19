/* SPDX-License-Identifier: MIT */
/*
 * The weight types that are computed alike, and the choice that their products begin with. For files of kernels: each
 * gives GEMM(type) its own two ways and its own limit between them.
 */
#define EACH_TYPE_32(X)  X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(iq4_nl) X(mxfp4)
#define EACH_TYPE_256(X) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k) X(iq4_xs)

/* Fewer columns than `min` go one way, others the other. */
#define GEMM_BY_COLUMNS(type, min, few, many) \
    void MOE_FN(gemm_##type)(const moe__gemm *g) \
    { \
        if (g->n_cols < (min)) \
            few(g); \
        else \
            many(g); \
    }
