/* SPDX-License-Identifier: MIT */
/*
 * What a trace tells: reuse, segment routing (SRP), caches. All of it looks at uses: the experts that a token
 * has in a layer, each once, those of weight 0 (chosen, dropped, never computed) left out where weights are
 * recorded. docs/studying-routing.md has the formulas.
 */
#ifndef MOE_STUDY_ANALYSIS_H
#define MOE_STUDY_ANALYSIS_H

#include "study/trace.h"

/* Walks the tokens of one layer, in any order, fastest forwards. */
typedef struct moe__uses {
    const moe_trace *t;
    const moe__trace_layer *l;
    uint32_t *mark; /* [n_experts] last round in which an expert was seen */
    uint32_t round;
    uint32_t *id;   /* [max_k] uses of the token asked for last, in order of rank */
    uint32_t token; /* the one behind it */
    uint64_t first; /* its first pair */
} moe__uses;

int moe__uses_init(moe__uses *u, const moe_trace *t);
void moe__uses_finish(moe__uses *u);
/* From here on layer l of the trace. */
void moe__uses_layer(moe__uses *u, uint32_t l);
/* Uses of token i into u->id; returns their number. */
uint32_t moe__uses_of(moe__uses *u, uint32_t i);

/*
 * Tokens by request: order [n_tokens] holds their numbers, request r's from first[r] to first[r + 1], in the
 * order recorded; first [n_requests + 1]. The caller frees both.
 */
int moe__trace_order(const moe_trace *t, uint32_t **order, uint32_t **first);

int moe__trace_reuse(const moe_trace *t, uint32_t layer, double *out);
int moe__trace_srp(const moe_trace *t, uint32_t layer, uint32_t window, int level, double *srp, double *rho);
/* warm: a first use that finds room counts as a hit. */
int moe__trace_lru(const moe_trace *t, uint32_t layer, int warm, const uint32_t *capacity, size_t n,
                   double *hit_rate);
int moe__trace_cache(const moe_trace *t, int policy, uint32_t layer, uint32_t window, int warm,
                     const uint32_t *capacity, size_t n, double *hit_rate);

#endif
