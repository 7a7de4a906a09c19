/* SPDX-License-Identifier: MIT */
/**
 * @file study.h
 * For those who look into routing: profiles (statistics of every expert), traces (what was chosen, token by
 * token), their analysis, and finding the experts that stand for something. Conventions as in moe.h.
 */
#ifndef MOE_STUDY_H
#define MOE_STUDY_H

#include "moe.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ profile */
/** @defgroup profile Profile
 * Statistics of a model's routers and experts, gathered while sessions run. Tokens are counted in classes of
 * the caller's choice (domains, behaviours, marked tokens). All memory is taken when a profile is made. One
 * thread at a time; docs/studying-routing.md.
 * @{ */

typedef struct moe_profile moe_profile; /**< statistics of routers and experts */

#define MOE_PROFILE_OUTPUTS 1u /**< also norms and maxima of the experts' outputs: costs some time */
#define MOE_PROFILE_PAIRS 2u   /**< also which experts were chosen together, [n_experts][n_experts] */

/** Options of moe_profile_create(). */
typedef struct moe_profile_options {
    size_t size;           /**< sizeof(moe_profile_options) */
    uint32_t flags;        /**< MOE_PROFILE_* */
    uint32_t n_classes;    /**< classes of tokens; 0 = 1 */
    uint32_t n_tokens_max; /**< different tokens whose experts are counted, first come, first served, at most
                                the vocabulary; 0 = none */
    uint32_t n_pos_max;    /**< positions whose dropped choices are counted apart; 0 = none */
} moe_profile_options;
/** Start value of moe_profile_options. */
#define MOE_PROFILE_OPTIONS_INIT {sizeof(moe_profile_options), 0, 0, 0, 0}

/** What a profile is and holds. */
typedef struct moe_profile_info {
    size_t size;           /**< sizeof(moe_profile_info) */
    uint32_t flags;        /**< MOE_PROFILE_* */
    uint32_t n_layers;     /**< of the model, dense ones included */
    uint32_t n_experts;    /**< routed experts of a layer */
    uint32_t n_classes;    /**< classes */
    uint32_t n_tokens_max; /**< as made, at most the vocabulary */
    uint32_t n_pos_max;    /**< as made */
    uint64_t n_tokens;     /**< tokens seen */
    uint64_t fingerprint;  /**< of the model */
} moe_profile_info;
/** Start value of moe_profile_info. */
#define MOE_PROFILE_INFO_INIT {sizeof(moe_profile_info), 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Statistics of one router. Probabilities are the softmax of the logits of real experts, whatever the recipe;
 * rows without finite logits do not count in what is made of probabilities.
 */
typedef struct moe_router_profile {
    size_t size;            /**< sizeof(moe_router_profile) */
    uint64_t tokens;        /**< tokens routed */
    uint64_t pairs;         /**< experts chosen, dropped ones included, null ones not */
    uint64_t nulls;         /**< null experts chosen */
    uint64_t dropped;       /**< chosen, but of weight 0 */
    uint64_t micro_batches; /**< sub-batches */
    double entropy;         /**< mean entropy of the probabilities, in bits */
    double top1;            /**< mean probability of the best expert */
    double mean_k;          /**< mean number of real experts of a token, dropped ones not counted */
    double lbl_micro;       /**< load balance n * sum(f p), mean over the sub-batches (Qiu et al. 2025) */
    double lbl_global;      /**< the same over all tokens at once; 1 = perfect balance */
    double mutual_info;     /**< of token and expert, in bits (OpenMoE); 0 without n_tokens_max */
    double token_entropy;   /**< entropy of the experts, in bits, over the same tokens: its upper bound */
} moe_router_profile;
/** Start value of moe_router_profile. */
#define MOE_ROUTER_PROFILE_INIT \
    {sizeof(moe_router_profile), 0, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}

/* Arrays of a router that moe_profile_read() gives, as doubles. n = n_experts. */
#define MOE_PROFILE_COUNT 1       /**< [n] how often each expert was chosen, dropped or not */
#define MOE_PROFILE_WEIGHT 2      /**< [n] sum of its weights */
#define MOE_PROFILE_PROB 3        /**< [n] sum of its probabilities over all tokens */
#define MOE_PROFILE_TOP1 4        /**< [n] how often it was chosen first, by rank */
#define MOE_PROFILE_SALIENCY 5    /**< [n] mean of weight * |output| over its tokens (REAP); with _OUTPUTS */
#define MOE_PROFILE_NORM 6        /**< [n] mean of |output| over its tokens; with _OUTPUTS */
#define MOE_PROFILE_MAX 7         /**< [n] largest |element| of its output (Super Experts); with _OUTPUTS */
#define MOE_PROFILE_MAX_CHANNEL 8 /**< [n] where that was; with _OUTPUTS */
#define MOE_PROFILE_TOGETHER 9    /**< [n][n] how often two were chosen together; diagonal: chosen;
                                       with _PAIRS */
#define MOE_PROFILE_K 10          /**< [n+1] tokens by number of real experts, dropped ones not counted */
#define MOE_PROFILE_CLASS_COUNT 11   /**< [n_classes][n] choices by class */
#define MOE_PROFILE_CLASS_WEIGHT 12 /**< [n_classes][n] sums of weights by class */
#define MOE_PROFILE_CLASS_TOKENS 13 /**< [n_classes] tokens of each class (the same in all routers) */
#define MOE_PROFILE_CLASS_PROMPTS 14 /**< [n_classes] prompts of each class: moe_profile_begin() */
#define MOE_PROFILE_DROPS 15      /**< [n_pos_max] dropped choices by position */
#define MOE_PROFILE_NPMI 16       /**< [n_classes][n] normalised pointwise mutual information of class and
                                       expert, -1 .. 1 (RICE) */

/** An expert found by moe_profile_super() or moe_profile_rank(). */
typedef struct moe_expert_find {
    size_t size;       /**< sizeof(moe_expert_find) */
    uint32_t layer;    /**< its layer */
    uint32_t index;    /**< its number */
    double value;      /**< what it was found by */
    uint32_t channel;  /**< moe_profile_super(): channel of the maximum */
    uint32_t reserved; /**< 0 */
} moe_expert_find;
/** Start value of moe_expert_find. */
#define MOE_EXPERT_FIND_INIT {sizeof(moe_expert_find), 0, 0, 0.0, 0, 0}

/**
 * Makes an empty profile for a model.
 * @param out receives it, NULL on failure; freed with moe_profile_free()
 * @param m model: its shape and memory hook; retained
 * @param o options, or NULL for defaults
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_VERSION, #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API MOE_NODISCARD int moe_profile_create(moe_profile **out, moe_model *m, const moe_profile_options *o);
/**
 * Frees a profile. Not while a session gathers into it.
 * @param p NULL is fine
 * @since 0.2.0
 */
MOE_API void moe_profile_free(moe_profile *p);
/**
 * Has a session gather into a profile. Costs nothing when not set; results do not change. What a failed eval
 * has counted stays counted.
 * @param s session
 * @param p profile of the same model, in use by one thread at a time; NULL ends it
 * @return #MOE_OK; #MOE_E_STATE (another model, or from a callback)
 * @since 0.2.0
 */
MOE_API int moe_session_set_profile(moe_session *s, moe_profile *p);
/**
 * Begins a prompt: tokens that follow are of this class.
 * @param p profile
 * @param cls 0 .. n_classes-1
 * @return #MOE_OK; #MOE_E_RANGE
 * @since 0.2.0
 */
MOE_API int moe_profile_begin(moe_profile *p, uint32_t cls);
/**
 * Marks tokens of the vocabulary: wherever they come, they are of this class, whatever moe_profile_begin()
 * said.
 * @param p profile
 * @param cls class; UINT32_MAX takes marks away
 * @param ids [n] tokens
 * @param n number of ids
 * @return #MOE_OK; #MOE_E_RANGE; #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_profile_mark(moe_profile *p, uint32_t cls, const moe_token *ids, size_t n);
/**
 * Counts routing that comes from elsewhere: a view of moe_session_observe(), moe_router_route(), a trace.
 * @param p profile
 * @param v routing of the same shape; logits may be NULL (probabilities then are not counted), and weight
 *        (then nothing is dropped), token, pos, seq
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_INVALID; #MOE_E_NOMEM (only for one loaded without a model)
 * @since 0.2.0
 */
MOE_API int moe_profile_add(moe_profile *p, const moe_route_view *v);
/**
 * Forgets all counts; options and marks stay.
 * @param p NULL is fine
 * @since 0.2.0
 */
MOE_API void moe_profile_reset(moe_profile *p);
/**
 * Adds the counts of another profile. Tokens whose experts it counts and for which there is no more room here
 * are left out.
 * @param dst profile that grows
 * @param src profile of the same shape and options
 * @return #MOE_OK; #MOE_E_STATE (another model or shape: the message says what); #MOE_E_NOMEM, and nothing
 *         has changed (only for profiles that were loaded without a model)
 * @since 0.2.0
 */
MOE_API int moe_profile_merge(moe_profile *dst, const moe_profile *src);
/**
 * Writes a profile to a file that appears under its name only when whole (docs/formats/profile.md).
 * @param p profile
 * @param path UTF-8
 * @return #MOE_OK; #MOE_E_IO, #MOE_E_NOTFOUND (no such folder), #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_profile_save_file(const moe_profile *p, const char *path);
/**
 * Reads a profile: versioned, checksummed.
 * @param out receives it, NULL on failure; freed with moe_profile_free()
 * @param m model it must belong to; NULL: any, and the profile can then not be given to a session
 * @param path UTF-8
 * @return #MOE_OK; #MOE_E_FORMAT, #MOE_E_VERSION, #MOE_E_STATE (another model), #MOE_E_NOTFOUND, #MOE_E_IO,
 *         #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API MOE_NODISCARD int moe_profile_load_file(moe_profile **out, moe_model *m, const char *path);
/**
 * Tells what a profile is.
 * @param p profile
 * @param out filled in
 * @return #MOE_OK
 * @since 0.2.0
 */
MOE_API int moe_profile_get_info(const moe_profile *p, moe_profile_info *out);
/**
 * Statistics of one router.
 * @param p profile
 * @param layer 0 .. n_layers-1
 * @param out filled in; all zero for a dense layer, or before anything was counted
 * @return #MOE_OK; #MOE_E_RANGE past the end
 * @since 0.2.0
 */
MOE_API int moe_profile_router(const moe_profile *p, uint32_t layer, moe_router_profile *out);
/**
 * An array of one router.
 * @param p profile
 * @param layer 0 .. n_layers-1
 * @param what MOE_PROFILE_COUNT ...
 * @param dst receives the numbers; NULL if cap is 0
 * @param cap room in dst
 * @param n receives their number, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER, #MOE_E_RANGE, #MOE_E_INVALID, #MOE_E_NOTFOUND (made without it)
 * @since 0.2.0
 */
MOE_API int moe_profile_read(const moe_profile *p, uint32_t layer, int what, double *dst, size_t cap,
                             size_t *n);
/**
 * Super Experts (Su et al. 2025): in the first three quarters of the layers, those whose largest output is
 * above the 99.5th percentile, above a tenth of the largest of all, and above 50 times the median. Experts
 * that never ran do not count. Needs #MOE_PROFILE_OUTPUTS.
 * @param p profile
 * @param dst receives them, largest first; NULL if cap is 0. dst[0].size must be set
 * @param cap room in dst
 * @param n receives their number, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER, #MOE_E_NOTFOUND (made without it), #MOE_E_NOMEM, #MOE_E_INVALID
 * @since 0.2.0
 */
MOE_API int moe_profile_super(const moe_profile *p, moe_expert_find *dst, size_t cap, size_t *n);

#define MOE_RANK_NPMI 1 /**< RICE: normalised pointwise mutual information of class and expert */
#define MOE_RANK_DIFF 2 /**< MoTE: choices per prompt in the class, minus those in `other` */
#define MOE_RANK_RATE 3 /**< choices per token in the class, minus those in `other` */

/**
 * Ranks all experts of all layers by what ties them to a class.
 * @param p profile
 * @param by MOE_RANK_*
 * @param cls class
 * @param other the class to compare with, UINT32_MAX: all others together; not read for #MOE_RANK_NPMI
 * @param dst receives the best, best first; dst[0].size must be set. Ties go to the lower layer and number
 * @param n how many, at most n_layers * n_experts
 * @param found receives how many there were; experts never chosen do not count
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_INVALID, #MOE_E_NOMEM; #MOE_E_NOTFOUND (a class without tokens or
 *         prompts)
 * @since 0.2.0
 */
MOE_API int moe_profile_rank(const moe_profile *p, int by, uint32_t cls, uint32_t other, moe_expert_find *dst,
                             size_t n, size_t *found);

/** @} */

/* -------------------------------------------------------------------------------------------------- trace */
/** @defgroup trace Trace
 * What routers chose, token by token, in memory or in a file (docs/formats/trace.md). One thread at a time.
 * @{ */

typedef struct moe_trace moe_trace; /**< recorded routing */

#define MOE_TRACE_LOGITS 1u  /**< with the routers' logits */
#define MOE_TRACE_WEIGHTS 2u /**< with the weights */

/** What a trace is and holds. */
typedef struct moe_trace_info {
    size_t size;          /**< sizeof(moe_trace_info) */
    uint32_t flags;       /**< MOE_TRACE_* */
    uint32_t n_layers;    /**< layers with routers: the trace counts these only, from 0 */
    uint32_t n_experts;   /**< experts of a layer */
    uint32_t max_k;       /**< most experts that a token has in one layer */
    uint64_t n_tokens;    /**< tokens recorded */
    uint64_t n_requests;  /**< requests they belong to */
    uint64_t fingerprint; /**< of the model; 0 if not known */
} moe_trace_info;
/** Start value of moe_trace_info. */
#define MOE_TRACE_INFO_INIT {sizeof(moe_trace_info), 0, 0, 0, 0, 0, 0, 0}

/** One token in one layer. Pointers are valid until the trace's next moe_trace_at(), or until it changes. */
typedef struct moe_trace_row {
    size_t size;            /**< sizeof(moe_trace_row) */
    uint32_t request;       /**< its request */
    moe_pos pos;            /**< its position there */
    moe_token token;        /**< the token; -1 if not known */
    uint32_t model_layer;   /**< the layer's number in the model */
    uint32_t k;             /**< experts */
    uint32_t reserved;      /**< 0 */
    const uint32_t *expert; /**< [k], best first; null experts are left out */
    const float *weight;    /**< [k] in half precision, 0: chosen, but dropped; NULL without weights, and
                                 dropped experts are left out then */
    const float *logits;    /**< [n_experts], or NULL */
} moe_trace_row;
/** Start value of moe_trace_row. */
#define MOE_TRACE_ROW_INIT {sizeof(moe_trace_row), 0, 0, 0, 0, 0, 0, NULL, NULL, NULL}

/**
 * Makes an empty trace.
 * @param out receives it, NULL on failure; freed with moe_trace_free()
 * @param m model it is for, or NULL: then the shape is told by moe_trace_set_shape()
 * @param flags MOE_TRACE_*
 * @param a memory hook, copied; NULL = the model's, or malloc
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NOMEM, #MOE_E_VERSION
 * @since 0.2.0
 */
MOE_API MOE_NODISCARD int moe_trace_create(moe_trace **out, const moe_model *m, uint32_t flags,
                                           const moe_allocator *a);
/**
 * Tells an empty trace without a model its shape.
 * @param t trace
 * @param n_layers layers with routers, 1 .. 1024
 * @param n_experts 1 .. 65536
 * @return #MOE_OK; #MOE_E_INVALID; #MOE_E_STATE if it has a model or tokens
 * @since 0.2.0
 */
MOE_API int moe_trace_set_shape(moe_trace *t, uint32_t n_layers, uint32_t n_experts);
/**
 * Frees a trace.
 * @param t NULL is fine
 * @since 0.2.0
 */
MOE_API void moe_trace_free(moe_trace *t);
/**
 * Begins a request, or goes on with one: what follows belongs to it. A new trace stands at request 0.
 * @param t trace
 * @param request its number
 * @return #MOE_OK
 * @since 0.2.0
 */
MOE_API int moe_trace_begin(moe_trace *t, uint32_t request);
/**
 * Records a layer's routing. Has the form of an observer: moe_session_observe(s, moe_trace_observe, t).
 * Layers must come in the order in which they run; a trace without a model takes their numbers from the first
 * sub-batch. Of several sequences each counts as a request: begin's number plus the sequence. Tokens appear
 * in the trace when their last layer has come: those that a failed eval leaves without it go when the next
 * sub-batch begins, or by moe_trace_trim().
 * @param v routing; token, pos and seq may be NULL: unknown, counted from moe_trace_begin() on, 0. weight and
 *        logits may be NULL if the trace does not record them
 * @param trace the moe_trace
 * @return #MOE_OK; #MOE_E_NOMEM; #MOE_E_STATE (layers out of order, no shape); #MOE_E_RANGE (expert,
 *         sequence, position, token, more than 65535 experts of a token), #MOE_E_INVALID (another shape,
 *         something missing, a weight that is not finite)
 * @since 0.2.0
 */
MOE_API int moe_trace_observe(const moe_route_view *v, void *trace);
/**
 * Forgets tokens that lack layers, which nothing else shows.
 * @param t trace
 * @return #MOE_OK
 * @since 0.2.0
 */
MOE_API int moe_trace_trim(moe_trace *t);
/**
 * Tells what a trace is.
 * @param t trace
 * @param out filled in
 * @return #MOE_OK
 * @since 0.2.0
 */
MOE_API int moe_trace_get_info(const moe_trace *t, moe_trace_info *out);
/**
 * One token in one layer.
 * @param t trace
 * @param i token, 0 .. n_tokens-1, in the order recorded
 * @param layer 0 .. n_layers-1 of the trace
 * @param out filled in
 * @return #MOE_OK; #MOE_E_RANGE
 * @since 0.2.0
 */
MOE_API int moe_trace_at(const moe_trace *t, uint64_t i, uint32_t layer, moe_trace_row *out);
/**
 * Writes a trace to a file that appears under its name only when whole (docs/formats/trace.md).
 * @param t trace
 * @param path UTF-8
 * @return #MOE_OK; #MOE_E_IO, #MOE_E_NOTFOUND (no such folder), #MOE_E_NOMEM, #MOE_E_STATE (no shape)
 * @since 0.2.0
 */
MOE_API int moe_trace_save_file(const moe_trace *t, const char *path);
/**
 * Reads a trace: versioned, checksummed, every id checked.
 * @param out receives it, NULL on failure; freed with moe_trace_free()
 * @param path UTF-8
 * @param a memory hook, copied; NULL = malloc
 * @return #MOE_OK; #MOE_E_FORMAT, #MOE_E_VERSION, #MOE_E_NOTFOUND, #MOE_E_IO, #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API MOE_NODISCARD int moe_trace_load_file(moe_trace **out, const char *path, const moe_allocator *a);

/* Analysis looks at the experts that were used, each once a token and layer: dropped ones are left out. */

/**
 * Share of a token's experts that the token before it (of the same request) had too.
 * @param t trace
 * @param layer 0 .. n_layers-1 of the trace, or #MOE_ALL_LAYERS: the mean over layers
 * @param out receives the share
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_NOMEM; #MOE_E_NOTFOUND if no request has two tokens
 * @since 0.2.0
 */
MOE_API int moe_trace_reuse(const moe_trace *t, uint32_t layer, double *out);

#define MOE_SRP_EXPERT 1 /**< one threshold for each expert, mean over the experts that are used */
#define MOE_SRP_LAYER 2  /**< one threshold for each layer, mean over layers */
#define MOE_SRP_MODEL 3  /**< one threshold for all */

/**
 * Segment routing best performance (Liang et al. 2026): how well the experts of `window` tokens in a row are
 * told by a set chosen for the whole window; 1 = the same experts for every token. Windows do not reach from
 * one request into the next.
 * @param t trace
 * @param layer 0 .. n_layers-1 of the trace, or #MOE_ALL_LAYERS
 * @param window tokens, at least 1
 * @param level MOE_SRP_*
 * @param srp receives the value, an F1 score
 * @param rho receives the size of the set in units of the experts used; may be NULL
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_INVALID; #MOE_E_NOTFOUND if no request is that long; #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_trace_srp(const moe_trace *t, uint32_t layer, uint32_t window, int level, double *srp,
                          double *rho);

#define MOE_CACHE_LRU 1      /**< the expert unused for longest goes */
#define MOE_CACHE_LFU 2      /**< the least used so far goes, ties to the longest unused */
#define MOE_CACHE_BELADY 3   /**< the one whose next use is farthest goes: knows the future, upper bound */
#define MOE_CACHE_SCH 4      /**< segment cache: the least used in the `window` tokens from this one on goes,
                                  ties to the longest unused (Liang et al. 2026); always #MOE_CACHE_WARM */
#define MOE_CACHE_WARM 0x100 /**< added to a policy: an expert's first use counts as a hit if there was still
                                  room for it, as if it had been there before */

/**
 * Hit rates of a cache of experts for many sizes. A token's experts in a layer are looked up together, then
 * taken in, in order of rank; none of them goes before all are there. Tokens count in the order recorded, the
 * cache is kept from one request to the next. docs/studying-routing.md has the rules, and what the time grows
 * with.
 * @param t trace
 * @param policy MOE_CACHE_*, plus #MOE_CACHE_WARM if wanted
 * @param layer 0 .. n_layers-1 of the trace: a cache for this layer alone; #MOE_ALL_LAYERS: one cache for all
 *        layers
 * @param window for #MOE_CACHE_SCH, else 0
 * @param capacity [n] sizes in experts, at least 1
 * @param n sizes
 * @param hit_rate receives [n] shares of uses that hit
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_INVALID, #MOE_E_NOMEM; #MOE_E_NOTFOUND for an empty trace
 * @since 0.2.0
 */
MOE_API int moe_trace_cache(const moe_trace *t, int policy, uint32_t layer, uint32_t window,
                            const uint32_t *capacity, size_t n, double *hit_rate);

/** @} */

#ifdef __cplusplus
}
#endif
#endif
