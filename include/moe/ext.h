/* SPDX-License-Identifier: MIT */
/**
 * @file ext.h
 * For programs that plug their own parts into libmoe. Append-only by `size`.
 */
#ifndef MOE_EXT_H
#define MOE_EXT_H

#include "moe.h"

#ifdef __cplusplus
extern "C" {
#endif

/** @defgroup ext Own parts
 * Interfaces that the caller implements (moe/ext.h).
 * @{ */

/**
 * A file of the caller's own: in memory, in an archive. `f` is the `user` pointer of moe_model_open_file().
 * All functions may be called from several threads at once, while the model is opened and until it is gone.
 * The struct is copied.
 */
typedef struct moe_file {
    size_t size;      /**< sizeof(moe_file) */
    const char *name; /**< for messages; copied; may be NULL */
    /** Bytes of the file. Required. */
    uint64_t (*length)(void *f);
    /** Reads exactly n bytes at `off`; 0, or a negative status that is handed out unchanged. Required. */
    int (*read_at)(void *f, uint64_t off, void *dst, size_t n);
    /**
     * Returns n bytes at `off` in place, valid until close, or NULL if there is no such view: then the file
     * is read. May be NULL. Asked for the whole file at once, and not with #MOE_OPEN_NO_MMAP. Weights are
     * used in place only if their addresses are multiples of 4.
     */
    const void *(*map)(void *f, uint64_t off, size_t n);
    /**
     * Opens another file of a split set, `name` being its name beside this one: fills *out and *out_user,
     * which are then closed like the first. 0, or a negative status. May be NULL: split sets are then
     * refused.
     */
    int (*sibling)(void *f, const char *name, struct moe_file *out, void **out_user);
    /** Called once, when the model is gone or could not be opened. May be NULL. */
    void (*close)(void *f);
} moe_file;
/** Start value of moe_file. */
#define MOE_FILE_INIT {sizeof(moe_file), NULL, NULL, NULL, NULL, NULL, NULL}

/**
 * moe_model_open() from the caller's file. Whatever the result, the file belongs to the library from the call
 * on: `close` is called exactly once, at once on failure, else when the last reference to the model is gone.
 * Only if the arguments are unusable (out or f is NULL, or f is no moe_file) nothing is called.
 * @param out receives the model, NULL on failure; released with moe_model_release()
 * @param f functions of the file; copied
 * @param user handed to them as `f`
 * @param o options, or NULL for defaults
 * @return as moe_model_open(); negative results of read_at and sibling unchanged
 * @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_model_open_file(moe_model **out, const moe_file *f, void *user,
                                              const moe_model_options *o);

/* What a policy wants, and what it is: moe_policy.flags. */
#define MOE_POLICY_WEIGHTS 1u       /**< route fills in weights (else the recipe's `weight` makes them) */
#define MOE_POLICY_HIDDEN 2u        /**< route reads the hidden rows */
#define MOE_POLICY_BATCH_COUPLED 4u /**< a row's result depends on the others: one call for a whole sub-batch */
#define MOE_POLICY_PARALLEL 8u      /**< route may run on several threads at once, for different rows */

/** Rows to route. Pointers are valid during the call only. */
typedef struct moe_route_input {
    size_t size;          /**< sizeof(moe_route_input) of the library */
    uint32_t layer;       /**< 0 .. n_layers-1 */
    uint32_t n_rows;      /**< rows of this call */
    uint32_t n_experts;   /**< real experts: 0 .. n_experts-1 */
    uint32_t n_null;      /**< null experts: n_experts .. n_experts+n_null-1 */
    uint32_t top_k;       /**< of the recipe */
    uint32_t dim;         /**< width of a hidden row */
    size_t stride;        /**< floats between rows of logits, score and choice: at least n_experts + n_null */
    const float *logits;  /**< [n_rows] rows: after bias, override, ban and temperature; -infinity: banned */
    const float *score;   /**< [n_rows] rows: score(logits) */
    const float *choice;  /**< [n_rows] rows to select by: score + selection bias; -infinity: not to be taken
                               (banned, or outside the best groups), +infinity: forced */
    const float *hidden;  /**< [n_rows][dim], with #MOE_POLICY_HIDDEN; else NULL */
    const moe_token *token; /**< [n_rows] */
    const moe_pos *pos;     /**< [n_rows] */
    const moe_seq *seq;     /**< [n_rows] */
} moe_route_input;

/**
 * Where route puts its choice: row t has pairs offset[t] .. offset[t+1]-1, best first. A pair may be a null
 * expert or #MOE_EXPERT_NONE (nothing is computed), and an expert may come twice. A row may have none.
 */
typedef struct moe_route_output {
    size_t size;      /**< sizeof(moe_route_output) of the library */
    size_t cap;       /**< room in expert and weight: n_rows * max_k */
    uint32_t *offset; /**< [n_rows+1]; offset[0] is 0 */
    uint32_t *expert; /**< [cap] */
    float *weight;    /**< [cap]; holds the scores of the experts if route leaves it alone */
} moe_route_output;

/** What a policy is made for. */
typedef struct moe_policy_info {
    size_t size;                /**< sizeof(moe_policy_info) of the library */
    uint32_t layer;             /**< its layer */
    uint32_t n_experts;         /**< real experts */
    uint32_t n_null;            /**< null experts */
    uint32_t n_seq_max;         /**< sequences of the session */
    const moe_route_spec *spec; /**< the recipe; valid during the call only */
} moe_policy_info;

/**
 * A selection rule. The library's own rules are such tables too, called at the same place: after bias,
 * override, ban, score and groups, before weight, norm, scale and multipliers (docs/routing.md). Results are
 * checked (#MOE_E_POLICY): offsets do not fall, ids are experts that may be taken, at most max_k a row,
 * weights are finite. Callbacks run on the thread that evaluates, unless #MOE_POLICY_PARALLEL is set; they
 * may read the session but not change it. A negative result stops the eval and comes out of it unchanged, a
 * positive one as #MOE_E_ABORTED. The struct is copied.
 */
typedef struct moe_policy {
    size_t size;      /**< sizeof(moe_policy) */
    const char *name; /**< for messages; copied */
    uint32_t flags;   /**< MOE_POLICY_* */
    uint32_t max_k;   /**< most pairs of a row; 0 = n_experts, and never more */
    /** Makes the state of one router; 0, or a negative status. NULL: `user` is the state of all of them. */
    int (*create)(void **state, const moe_policy_info *info, void *user);
    /** Ends a state made by create. May be NULL. */
    void (*destroy)(void *state);
    /** The sequence (or all: #MOE_ALL_SEQS) was emptied, or a saved session took its place. May be NULL. */
    void (*seq_reset)(void *state, moe_seq seq);
    /** `to` became a copy of `from`. May be NULL. */
    void (*seq_copy)(void *state, moe_seq from, moe_seq to);
    /** The sequence now has `keep` tokens; also called when a failed eval is undone. May be NULL. */
    void (*seq_truncate)(void *state, moe_seq seq, moe_pos keep);
    /** Chooses. Required. */
    int (*route)(void *state, const moe_route_input *in, moe_route_output *out);
    /** Tokens first .. first+n-1 were taken out of the sequence, those behind moved down. May be NULL. Since 0.2.0 */
    void (*seq_remove)(void *state, moe_seq seq, moe_pos first, moe_pos n);
} moe_policy;
/** Start value of moe_policy. */
#define MOE_POLICY_INIT {sizeof(moe_policy), NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL}

/**
 * Has a policy of the program's own select, until the router's recipe is set or reset.
 * @param r router; of all layers: create is called once for each
 * @param p policy; copied. NULL: the recipe's rule again
 * @param user handed to create, or the state
 * @return #MOE_OK; #MOE_E_INVALID (names the member), #MOE_E_VERSION, #MOE_E_NOMEM, #MOE_E_STATE; a negative
 *         result of create unchanged
 * @since 0.2.0
 */
MOE_API int moe_router_set_policy(moe_router *r, const moe_policy *p, void *user);

/** Rows for an expert of the program's own. Pointers are valid during the call only. */
typedef struct moe_expert_call {
    size_t size;       /**< sizeof(moe_expert_call) of the library */
    uint32_t layer;    /**< its layer */
    uint32_t index;    /**< its number */
    uint32_t n_rows;   /**< rows that were routed to it */
    uint32_t dim;      /**< their width */
    const float *x;    /**< [n_rows][dim] */
    float *y;          /**< [n_rows][dim] to be filled in with the expert's output, unweighted */
    const moe_token *token; /**< [n_rows] */
    const moe_pos *pos;     /**< [n_rows] */
    const moe_seq *seq;     /**< [n_rows] */
} moe_expert_call;
/** Computes an expert. 0; negative: stops the eval and comes out of it; positive: #MOE_E_ABORTED. */
typedef int (*moe_expert_fn)(const moe_expert_call *call, void *user);

/**
 * Has a function compute an expert, in this session, until moe_expert_restore(). It runs on the thread that
 * evaluates, at most once per layer and sub-batch; it may read the session but not change it. What it leaves
 * must be finite (#MOE_E_CALLBACK).
 * @param e expert
 * @param fn function
 * @param user handed to fn
 * @return #MOE_OK; #MOE_E_NOMEM (room for n_batch_max rows is taken here), #MOE_E_STATE
 * @since 0.2.0
 */
MOE_API int moe_expert_replace_fn(moe_expert *e, moe_expert_fn fn, void *user);

/* Places of a layer where a hook can look and edit: moe_layer_hook.where. */
#define MOE_AT_INPUT 1   /**< the residual stream that enters the layer */
#define MOE_AT_ATTN 2    /**< the attention block's result, before it is added */
#define MOE_AT_ROUTER 3  /**< the normed rows that router and experts read (dense layers: the FFN) */
#define MOE_AT_EXPERTS 4 /**< the MoE or FFN block's result, shared experts included, before it is added */
#define MOE_AT_OUTPUT 5  /**< the residual stream that leaves the layer */

/** Hidden states on their way. Pointers are valid during the call only. */
typedef struct moe_layer_event {
    size_t size;     /**< sizeof(moe_layer_event) of the library */
    uint32_t layer;  /**< 0 .. n_layers-1 */
    int32_t where;   /**< MOE_AT_* */
    uint32_t n_rows; /**< rows of the sub-batch */
    uint32_t dim;    /**< their width */
    float *hidden;   /**< [n_rows][dim]; what is written there is what the model goes on with */
    const moe_token *token; /**< [n_rows] */
    const moe_pos *pos;     /**< [n_rows] */
    const moe_seq *seq;     /**< [n_rows] */
} moe_layer_event;
/** Looks at hidden states or edits them. 0; negative: stops the eval and comes out of it; positive:
 *  #MOE_E_ABORTED. */
typedef int (*moe_layer_fn)(const moe_layer_event *event, void *user);

/**
 * Has a function called at a place of a layer, on the thread that evaluates. It may read the session but not
 * change it. One function per layer and place; costs nothing where none is set.
 * @param s session
 * @param layer 0 .. n_layers-1, or #MOE_ALL_LAYERS: every layer, dense ones too
 * @param where MOE_AT_*
 * @param fn function; NULL removes it
 * @param user handed to fn
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_INVALID, #MOE_E_NOMEM, #MOE_E_STATE
 * @since 0.2.0
 */
MOE_API int moe_session_on_layer(moe_session *s, uint32_t layer, int where, moe_layer_fn fn, void *user);

/** @} */

#ifdef __cplusplus
}
#endif
#endif
