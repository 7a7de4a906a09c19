/* SPDX-License-Identifier: MIT */
/**
 * @file moe.h
 * libmoe: load and run Mixture-of-Experts language models on the CPU. Everything an application needs.
 *
 * Conventions that hold for every function:
 *  - `int` results are a status: 0 (#MOE_OK) or a negative `MOE_E_*` code. moe_last_error() then tells what,
 *    where, expected and found. The library never exits, aborts or prints. Every status-returning function
 *    answers #MOE_E_INVALID for a NULL handle or a NULL pointer that is not allowed to be NULL; this is not
 *    repeated below.
 *  - Structs start with `size`; write `moe_x o = MOE_X_INIT;`. A field left at zero means its default. The
 *    library reads `min(size, known)` bytes and refuses non-zero bytes that it does not know
 *    (#MOE_E_VERSION); a size that was never set is #MOE_E_INVALID.
 *  - Output structs: set `size` (MOE_X_INIT does); only that many bytes are written.
 *  - Strings are UTF-8 and zero-terminated unless a length goes with them.
 *  - Text output: `(dst, cap, &len)`. `len` receives the full length in bytes without terminator; if it does
 *    not fit the result is #MOE_E_BUFFER and nothing useful is in dst. `(NULL, 0, &len)` asks for the length
 *    (and answers #MOE_E_BUFFER unless it is 0).
 *  - Threads: a model and its tokenizer are immutable and may be used from any number of threads. A session
 *    and a sampler belong to one thread at a time; only moe_session_interrupt() may be called from elsewhere.
 *  - Ownership: what a function named open, create or clone hands out is freed with the function named in its
 *    text. Everything else is borrowed and lives as long as the text says.
 */
#ifndef MOE_H
#define MOE_H

#include <stddef.h>
#include <stdint.h>
#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* -------------------------------------------------------------------------------------------- basic types */
/** @defgroup basics Basic types and statuses
 * Handles, numbers, status codes, tensor types.
 * @{ */

typedef struct moe_model moe_model;         /**< an opened model: immutable, shared, counted */
typedef struct moe_tokenizer moe_tokenizer; /**< text <-> tokens: immutable */
typedef struct moe_session moe_session;     /**< KV cache, positions, logits: all that changes */
typedef struct moe_router moe_router;       /**< one layer's router in one session, or all of a session's */
typedef struct moe_expert moe_expert;       /**< one expert in one session, or the same one in all layers */
typedef struct moe_weights moe_weights;     /**< weights of an expert that a program brought: counted */
typedef struct moe_sampler moe_sampler;     /**< a chain of sampling stages with its own state */

typedef int32_t moe_token; /**< index into the vocabulary */
typedef int32_t moe_pos;   /**< position in a sequence, from 0 */
typedef int32_t moe_seq;   /**< sequence of a session, 0 .. n_seq_max-1 */

#define MOE_TOKEN_NONE ((moe_token)-1) /**< "no token" */
#define MOE_EXPERT_NONE UINT32_MAX     /**< "no expert" in routing results */
#define MOE_ALL_LAYERS UINT32_MAX      /**< every layer that has a router */
#define MOE_ALL_SEQS ((moe_seq)-1)     /**< every sequence */

/** Writes n bytes somewhere; 0 on success, a negative value to stop (handed out unchanged). */
typedef int (*moe_write_fn)(const void *data, size_t n, void *user);
/** Reads exactly n bytes; 0 on success, a negative value (end of data included) to stop. */
typedef int (*moe_read_fn)(void *data, size_t n, void *user);

/* Status codes. Values are pinned; new ones are added at the end. docs/errors.md says when each appears. */
#define MOE_OK 0                /**< success */
#define MOE_E_INVALID (-1)      /**< a wrong argument */
#define MOE_E_NOMEM (-2)        /**< an allocation failed */
#define MOE_E_IO (-3)           /**< the operating system refused a file operation */
#define MOE_E_FORMAT (-4)       /**< a damaged or self-contradictory file */
#define MOE_E_UNSUPPORTED (-5)  /**< a sound file or request that this build cannot serve */
#define MOE_E_VERSION (-6)      /**< struct, file or library versions do not go together */
#define MOE_E_RANGE (-7)        /**< an index, token or position out of range */
#define MOE_E_STATE (-8)        /**< the call is not legal now (e.g. from a callback of the same session) */
#define MOE_E_FULL (-9)         /**< no room left: KV cache, sequences, output rows, memory budget, threads */
#define MOE_E_BUFFER (-10)      /**< the caller's buffer is too small; the needed size is reported */
#define MOE_E_NOTFOUND (-11)    /**< no such file, key, tensor, token or name */
#define MOE_E_ABORTED (-12)     /**< interrupted, or a callback said stop */
#define MOE_E_CALLBACK (-13)    /**< a callback broke its contract */
#define MOE_E_POLICY (-14)      /**< a routing policy returned an illegal result */
#define MOE_E_NUMERIC (-15)     /**< infinite or not-a-number values where finite ones are needed */
#define MOE_E_INTERNAL (-16)    /**< a fault of the library itself; please report it */

/* Element types of tensors; the values are those of GGUF and pinned. Layouts: docs/formats/blocks.md. */
#define MOE_TYPE_F32 0     /**< 32-bit float */
#define MOE_TYPE_F16 1     /**< 16-bit IEEE float */
#define MOE_TYPE_Q4_0 2    /**< 4 bits, blocks of 32, scale */
#define MOE_TYPE_Q4_1 3    /**< 4 bits, blocks of 32, scale and minimum */
#define MOE_TYPE_Q5_0 6    /**< 5 bits, blocks of 32, scale */
#define MOE_TYPE_Q5_1 7    /**< 5 bits, blocks of 32, scale and minimum */
#define MOE_TYPE_Q8_0 8    /**< 8 bits, blocks of 32, scale */
#define MOE_TYPE_Q2_K 10   /**< 2 bits, blocks of 256, 16 scales and minima */
#define MOE_TYPE_Q3_K 11   /**< 3 bits, blocks of 256, 16 scales */
#define MOE_TYPE_Q4_K 12   /**< 4 bits, blocks of 256, 8 scales and minima */
#define MOE_TYPE_Q5_K 13   /**< 5 bits, blocks of 256, 8 scales and minima */
#define MOE_TYPE_Q6_K 14   /**< 6 bits, blocks of 256, 16 scales */
#define MOE_TYPE_IQ4_NL 20 /**< 4 bits, blocks of 32, uneven levels */
#define MOE_TYPE_IQ4_XS 23 /**< 4 bits, blocks of 256, uneven levels, 8 scales */
#define MOE_TYPE_BF16 30   /**< 16-bit float with the exponent of f32 */
#define MOE_TYPE_MXFP4 39  /**< 4-bit float, blocks of 32, exponent scale (OCP MX) */

/** @} */

/* ------------------------------------------------------------------------------------------------ library */
/** @defgroup library Library
 * What this build and this CPU can do; memory, log and progress hooks. All functions may be called from any
 * thread.
 * @{ */

/**
 * Version of the library in use.
 * @return a number comparable with #MOE_VERSION
 * @since 0.1.0
 */
MOE_API uint32_t moe_version(void);
/**
 * Version of the library in use as text.
 * @return e.g. "0.1.0"; static
 * @since 0.1.0
 */
MOE_API const char *moe_version_string(void);
/**
 * Compiler, build type, thread layer, compiled instruction sets, on one line.
 * @return static text
 * @since 0.1.0
 */
MOE_API const char *moe_build_info(void);
/**
 * Asks for a feature of the build.
 * @param name "openmp", "pool", "serial" (the thread layer), "mmap", "avx2", "avx512", "vnni",
 *        "amx", "neon", "dotprod", "i8mm"
 * @return 1 if the build has it, else 0
 * @since 0.1.0
 */
MOE_API int moe_has_feature(const char *name);
/**
 * The best instruction-set level of this CPU that the build has kernels for.
 * @return "ref", "avx2", "avxvnni", "avx512", "avx512vnni", "amx", "neon", "dotprod" or
 *         "i8mm"; static
 * @since 0.1.0
 */
MOE_API const char *moe_cpu_isa(void);
/**
 * Name of a status code.
 * @param status any number
 * @return e.g. "MOE_E_FORMAT"; "unknown status" for others; never NULL
 * @since 0.1.0
 */
MOE_API const char *moe_status_name(int status);
/**
 * Message of this thread's last failed call.
 * @return never NULL; empty after a call that succeeded; valid until this thread's next status-returning call
 * @since 0.1.0
 */
MOE_API const char *moe_last_error(void);
/**
 * Number of supported model architectures.
 * @return their number
 * @since 0.1.0
 */
MOE_API size_t moe_arch_count(void);
/**
 * Name of an architecture as in the key `general.architecture` of model files.
 * @param i 0 .. moe_arch_count()-1
 * @return static text; NULL past the end
 * @since 0.1.0
 */
MOE_API const char *moe_arch_name(size_t i);
/**
 * Number of supported tensor types.
 * @return their number
 * @since 0.1.0
 */
MOE_API size_t moe_type_count(void);
/**
 * The i-th supported tensor type.
 * @param i 0 .. moe_type_count()-1
 * @return MOE_TYPE_*, or -1 past the end
 * @since 0.1.0
 */
MOE_API int moe_type_at(size_t i);
/**
 * Name of a tensor type.
 * @param type MOE_TYPE_*
 * @return e.g. "Q4_K"; static; NULL if the type is not supported
 * @since 0.1.0
 */
MOE_API const char *moe_type_name(int type);
/**
 * Number of compute kernels.
 * @return their number
 * @since 0.1.0
 */
MOE_API size_t moe_kernel_count(void);
/**
 * Tells which version of a kernel runs on this CPU.
 * @param i 0 .. moe_kernel_count()-1
 * @param name receives the kernel's name; static
 * @param isa receives the instruction-set level of the version chosen; static
 * @return #MOE_OK; #MOE_E_RANGE past the end
 * @since 0.1.0
 */
MOE_API int moe_kernel_at(size_t i, const char **name, const char **isa);

/**
 * Memory hook. Both functions may be called from several threads at once. Set both or neither. The struct is
 * copied; `user` must live until everything made with the hook is freed.
 */
typedef struct moe_allocator {
    size_t size; /**< sizeof(moe_allocator) */
    /** Returns n > 0 bytes aligned to `align` (a power of two), or NULL when out of memory. Not zeroed. */
    void *(*alloc)(size_t n, size_t align, void *user);
    /** Takes back a block: n is the number that alloc was given, p is never NULL. */
    void (*free)(void *p, size_t n, void *user);
    void *user; /**< handed to both */
} moe_allocator;
/** Start value of moe_allocator. */
#define MOE_ALLOCATOR_INIT {sizeof(moe_allocator), NULL, NULL, NULL}

/* Log levels: a logger gets messages up to its level. */
#define MOE_LOG_ERROR 1 /**< something failed */
#define MOE_LOG_WARN 2  /**< something is odd */
#define MOE_LOG_INFO 3  /**< what is being done */
#define MOE_LOG_DEBUG 4 /**< details */

/**
 * Receives log lines (no line end). May be called from several threads at once. Without a logger nothing is
 * said. The library says little, and nothing that a program needs: what fails is told by moe_last_error()
 * alone.
 */
typedef struct moe_logger {
    size_t size;      /**< sizeof(moe_logger) */
    int32_t level;    /**< MOE_LOG_*; 0 = #MOE_LOG_INFO */
    int32_t reserved; /**< 0 */
    /** Receives one line. `area` names the part of the library; both texts are valid during the call only. */
    void (*write)(int level, const char *area, const char *msg, void *user);
    void *user; /**< handed to write */
} moe_logger;
/** Start value of moe_logger. */
#define MOE_LOGGER_INIT {sizeof(moe_logger), 0, 0, NULL, NULL}

/* Stages that report progress. */
#define MOE_PROGRESS_LOAD 1     /**< done/total in bytes of weights read; mapped ones do not count */
#define MOE_PROGRESS_PREFILL 2  /**< done/total in tokens of one eval, reported between its sub-batches */
#define MOE_PROGRESS_QUANTIZE 3 /**< done/total in bytes of source weights */
#define MOE_PROGRESS_WARM_UP 4  /**< done/total in bytes of weights touched */

/** One progress report. `done` rises towards `total`, which may be 0 (a mapped model has nothing to read). */
typedef struct moe_progress {
    size_t size;      /**< sizeof(moe_progress) of the library */
    int32_t stage;    /**< MOE_PROGRESS_* */
    int32_t reserved; /**< 0 */
    uint64_t done;    /**< units finished */
    uint64_t total;   /**< units in all */
} moe_progress;
/** Called on the thread that called the library. Return 0 to go on, non-zero to stop (#MOE_E_ABORTED). */
typedef int (*moe_progress_fn)(const moe_progress *p, void *user);

/** @} */

/* -------------------------------------------------------------------------------------------------- model */
/** @defgroup model Model
 * A model file and its weights: immutable, shared by any number of sessions and threads.
 * @{ */

#define MOE_OPEN_NO_MMAP 1u       /**< read the file instead of mapping it */
#define MOE_OPEN_METADATA_ONLY 2u /**< no weights: info, metadata and tokenizer only; sessions are refused */
#define MOE_OPEN_CHECK_DATA 4u    /**< also scan all weights for infinities and NaN (reads the whole file) */
#define MOE_OPEN_RESIDENT 8u      /**< experts are copied into private memory at open (resident store) */

/** Options of moe_model_open(). What it points to may be gone after the call, except `user` pointers. */
typedef struct moe_model_options {
    size_t size;                    /**< sizeof(moe_model_options) */
    uint32_t flags;                 /**< MOE_OPEN_* */
    int32_t n_threads;              /**< threads that read weights; 0 = one per usable CPU; at most 1024 */
    uint64_t memory_budget;         /**< most bytes that opening may allocate; 0 = no limit. Less than
                                         needed is refused with #MOE_E_FULL and the need in the message */
    const char *isa_max;            /**< highest level, e.g. "avx2" or "ref"; NULL = best of this CPU */
    const moe_allocator *allocator; /**< for the model and its sessions; copied; NULL = malloc */
    const moe_logger *logger;       /**< copied; NULL = silent */
    moe_progress_fn progress;       /**< load progress; may be NULL */
    void *progress_user;            /**< handed to progress */
} moe_model_options;
/** Start value of moe_model_options. */
#define MOE_MODEL_OPTIONS_INIT {sizeof(moe_model_options), 0, 0, 0, NULL, NULL, NULL, NULL, NULL}

/** What a model is. Strings live as long as the model. */
typedef struct moe_model_info {
    size_t size;            /**< sizeof(moe_model_info) */
    const char *arch;       /**< e.g. "qwen3moe" */
    const char *name;       /**< general.name, or "" */
    const char *file_type;  /**< the type most weight bytes have, e.g. "Q4_K" */
    uint32_t n_layers;      /**< layers in all */
    uint32_t n_moe_layers;  /**< layers with a router */
    uint32_t n_experts;     /**< routed experts of a MoE layer */
    uint32_t n_shared;      /**< shared experts of a MoE layer: 0 or 1 */
    uint32_t top_k;         /**< routed experts that a token uses */
    uint32_t dim;           /**< width of the residual stream */
    uint32_t dim_ff_expert; /**< width of a routed expert */
    uint32_t dim_ff_dense;  /**< width of the dense layers' FFN, 0 without such layers */
    uint32_t dim_ff_shared; /**< width of the shared expert, 0 without */
    uint32_t n_heads;       /**< query heads */
    uint32_t n_heads_kv;    /**< key and value heads */
    uint32_t dim_head;      /**< width of a query or key head */
    uint32_t n_vocab;       /**< rows of logits: tokens of the output matrix */
    uint32_t n_ctx_train;   /**< context length of the training */
    uint64_t n_params;      /**< parameters in all */
    uint64_t n_active;      /**< parameters used for one token */
    uint64_t bytes;         /**< of all tensors */
    uint64_t fingerprint;   /**< tells models apart: of tensor names, shapes and samples of their data. 0
                                 with #MOE_OPEN_METADATA_ONLY */
    uint32_t n_null;        /**< null experts that the file's routers have */
    uint32_t reserved;      /**< 0 */
} moe_model_info;
/** Start value of moe_model_info. */
#define MOE_MODEL_INFO_INIT \
    {sizeof(moe_model_info), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

#define MOE_FFN_DENSE 1 /**< one feed-forward block for every token */
#define MOE_FFN_MOE 2   /**< a router and experts */

/** What one layer is. */
typedef struct moe_layer_info {
    size_t size;            /**< sizeof(moe_layer_info) */
    int32_t ffn_kind;       /**< MOE_FFN_* */
    uint32_t n_experts;     /**< routed experts, 0 in dense layers */
    uint32_t n_shared;      /**< shared experts, 0 in dense layers */
    uint32_t dim_ff;        /**< width of an expert, or of the dense FFN */
    uint32_t dim_ff_shared; /**< width of the shared expert, 0 without */
    uint32_t n_heads;       /**< query heads */
    uint32_t n_heads_kv;    /**< key and value heads */
    uint32_t dim_head;      /**< width of a query or key head */
    uint64_t n_params;      /**< parameters of the layer, attention and norms included */
    uint64_t n_active;      /**< of these, used for one token */
    double activation;      /**< moe_shape_info.activation; 1 in dense layers */
    double granularity;     /**< moe_shape_info.granularity; 0 in dense layers */
} moe_layer_info;
/** Start value of moe_layer_info. */
#define MOE_LAYER_INFO_INIT {sizeof(moe_layer_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0}

/* `score` of a recipe: router logits to scores. */
#define MOE_SCORE_SOFTMAX 1       /**< softmax over all experts */
#define MOE_SCORE_IDENTITY 2      /**< the raw logits */
#define MOE_SCORE_SIGMOID 3       /**< 1 / (1 + exp(-z)) */
#define MOE_SCORE_SQRT_SOFTPLUS 4 /**< sqrt(log(1 + exp(z))) */
#define MOE_SCORE_ENTMAX15 5      /**< 1.5-entmax over all experts: sparse, sums to 1 */

/* `select` of a recipe: which experts a token gets, best first. Ties go to the lower index, NaN comes last. */
#define MOE_SELECT_TOPK 1          /**< the top_k best */
#define MOE_SELECT_TOPP 2          /**< the best ones until their scores add up to more than top_p */
#define MOE_SELECT_THRESHOLD 3     /**< the k_min best, and others that reach threshold * the best score */
#define MOE_SELECT_RANKS 4         /**< those that stand at the ranks `ids` (0 = best) */
#define MOE_SELECT_RANDOM 5        /**< top_k drawn uniformly, for each token or sequence */
#define MOE_SELECT_SPARSEMIXER 6   /**< argmax top_k times, with weights of its own (Phi-3.5-MoE) */
#define MOE_SELECT_HASH 7          /**< top_k by a hash of the token */
#define MOE_SELECT_TABLE 8         /**< row `token` of the table `ids` [n_vocab][top_k] */
#define MOE_SELECT_ALL 9           /**< every expert */
#define MOE_SELECT_FIXED 10        /**< the set `ids`, or the sequence's own: moe_router_set_limit() */
#define MOE_SELECT_EXPERT_CHOICE 11 /**< every expert takes the tokens that like it best: looks ahead */

/* `weight` of a recipe: what the weights are made from. */
#define MOE_WEIGHT_RAW 1              /**< the selected scores as they are */
#define MOE_WEIGHT_SUM_TO_ONE 2       /**< divided by their sum: #MOE_WEIGHT_RAW with #MOE_NORM_SUM */
#define MOE_WEIGHT_SOFTMAX_SELECTED 3 /**< softmax over the selected logits */
#define MOE_WEIGHT_SIGMOID 4          /**< sigmoid of the selected logits */
#define MOE_WEIGHT_ONE 5              /**< 1 */
#define MOE_WEIGHT_RULE 6             /**< those that the selection rule makes itself */

/* `norm` of a recipe: how the weights of a token are made comparable; null experts do not count. */
#define MOE_NORM_NONE 0  /**< not at all (but see #MOE_WEIGHT_SUM_TO_ONE) */
#define MOE_NORM_SUM 1   /**< w / (sum + norm_eps) */
#define MOE_NORM_CLAMP 2 /**< w / max(sum, norm_eps) */
#define MOE_NORM_P 3     /**< w / (sum of |w|^norm_p)^(1/norm_p) */

/* `group_score` of a recipe: how groups of experts are compared. */
#define MOE_GROUP_MAX 0      /**< by their best expert */
#define MOE_GROUP_TOP2_SUM 1 /**< by the sum of their two best */

/* `flags` of a recipe. */
#define MOE_ROUTE_ON_INPUT 1u      /**< weights scale the experts' input, not their output (Llama 4) */
#define MOE_ROUTE_INCLUSIVE 2u     /**< TOPP: stop when the sum reaches top_p (else: exceeds it) */
#define MOE_ROUTE_PER_SEQUENCE 4u  /**< RANDOM: one draw for a whole sequence. EXPERT_CHOICE: experts choose
                                        among the tokens of each sequence (else: of the sub-batch) */
#define MOE_ROUTE_NONCAUSAL 8u     /**< EXPERT_CHOICE is meant, also where earlier tokens cannot take part */
#define MOE_ROUTE_CHOICE_MAJOR 16u /**< capacity: all first choices are placed before all second ones */
#define MOE_ROUTE_DROP_FIRST 32u   /**< capacity: `norm` sees the weights after dropping (else: before) */

/* `capacity_round` and `capacity_order` of a recipe. */
#define MOE_CAPACITY_FLOOR 0    /**< round down */
#define MOE_CAPACITY_CEIL 1     /**< round up */
#define MOE_CAPACITY_EVEN 2     /**< round down, then up to an even number */
#define MOE_CAPACITY_POSITION 0 /**< earlier rows take the places */
#define MOE_CAPACITY_PROB 1     /**< higher scores take the places */
#define MOE_CAPACITY_RANDOM 2   /**< places are drawn (seed) */

/**
 * A router's recipe (docs/routing.md has every rule with its formula and source). In order: z = logits / temperature;
 * s = score(z); q = s + selection bias; groups; select by q; weight; norm; scale; capacity. Get one, edit it,
 * set it: a field left at zero is off, or neutral.
 */
typedef struct moe_route_spec {
    size_t size;    /**< sizeof(moe_route_spec) */
    int32_t score;  /**< MOE_SCORE_* */
    int32_t select; /**< MOE_SELECT_* */
    int32_t weight; /**< MOE_WEIGHT_* */
    uint32_t top_k; /**< experts of one token (null experts included) */
    float scale;    /**< factor on every weight, after norm; 0 = 1 */
    uint32_t flags; /**< MOE_ROUTE_* */

    int32_t norm;         /**< MOE_NORM_* */
    int32_t group_score;  /**< MOE_GROUP_* */
    uint32_t n_groups;    /**< groups of equal size that the experts stand in; 0 or 1 = none */
    uint32_t top_groups;  /**< groups that experts may come from */
    uint32_t n_null;      /**< experts that do nothing, after the real ones; at most as many. The model's own
                               come first */
    uint32_t k_min;       /**< TOPP, THRESHOLD: at least so many; 0 = 1 */
    uint32_t k_max;       /**< TOPP, THRESHOLD: at most so many; 0 = all */
    float temperature;    /**< divides the logits; 0 = 1 */
    float top_p;          /**< TOPP: p */
    float threshold;      /**< THRESHOLD: part of the best score */
    float epsilon;        /**< SPARSEMIXER: jitter noise; 0 = 0.01 */
    float choice;         /**< EXPERT_CHOICE: experts per token on average */
    float null_bias;      /**< logit of null experts that the model lacks */
    float norm_eps;       /**< see MOE_NORM_* */
    float norm_p;         /**< see MOE_NORM_* */
    float capacity;       /**< places of an expert = capacity * top_k * rows / experts; 0 = no limit */
    uint32_t capacity_min;  /**< places at least */
    int32_t capacity_round; /**< MOE_CAPACITY_FLOOR, _CEIL, _EVEN */
    int32_t capacity_order; /**< MOE_CAPACITY_POSITION, _PROB, _RANDOM */
    uint32_t reserved;      /**< 0 */
    uint64_t seed;          /**< RANDOM, HASH, random places */
    const uint32_t *ids;    /**< RANKS, FIXED, TABLE; copied when set. In a spec that was got: valid until the
                                 router's next change */
    size_t n_ids;           /**< entries of ids */
} moe_route_spec;
/** Start value of moe_route_spec. */
#define MOE_ROUTE_SPEC_INIT                                                                                  \
    {sizeof(moe_route_spec), 0,    0,    0,    0,    0.0f, 0,    0,    0,    0, 0, 0, 0, 0, 0.0f,            \
     0.0f,                   0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0,    0, 0, 0, 0, NULL, 0}

/* Metadata value kinds, as in GGUF. */
#define MOE_META_U8 0     /**< unsigned, 8 bits */
#define MOE_META_I8 1     /**< signed, 8 bits */
#define MOE_META_U16 2    /**< unsigned, 16 bits */
#define MOE_META_I16 3    /**< signed, 16 bits */
#define MOE_META_U32 4    /**< unsigned, 32 bits */
#define MOE_META_I32 5    /**< signed, 32 bits */
#define MOE_META_F32 6    /**< float, 32 bits */
#define MOE_META_BOOL 7   /**< 0 or 1 */
#define MOE_META_STRING 8 /**< text */
#define MOE_META_ARRAY 9  /**< elements of one kind; see moe_model_meta_elem() */
#define MOE_META_U64 10   /**< unsigned, 64 bits */
#define MOE_META_I64 11   /**< signed, 64 bits */
#define MOE_META_F64 12   /**< float, 64 bits */

/** One metadata value or array element. Pointers live as long as the model. */
typedef struct moe_meta {
    size_t size;       /**< sizeof(moe_meta) */
    const char *key;   /**< NULL for an array element */
    int32_t type;      /**< MOE_META_* */
    int32_t elem_type; /**< of an array's elements */
    uint64_t n;        /**< elements of an array, bytes of a string, else 1 */
    uint64_t u64;      /**< value of unsigned types and bool */
    int64_t i64;       /**< value of all integer types and bool (wraps for huge u64) */
    double f64;        /**< value of every number */
    const char *str;   /**< value of a string, zero-terminated (may contain zero bytes; see n) */
} moe_meta;
/** Start value of moe_meta. */
#define MOE_META_INIT {sizeof(moe_meta), NULL, 0, 0, 0, 0, 0, 0.0, NULL}

/** One tensor of the file. `name` lives as long as the model. */
typedef struct moe_tensor_info {
    size_t size;      /**< sizeof(moe_tensor_info) */
    const char *name; /**< as in the file */
    int32_t type;     /**< MOE_TYPE_* */
    uint32_t n_dims;  /**< dimensions in the file */
    uint64_t dim[4];  /**< dim[0] is the contiguous one; unused ones are 1 */
    uint64_t bytes;   /**< of its data */
} moe_tensor_info;
/** Start value of moe_tensor_info. */
#define MOE_TENSOR_INFO_INIT {sizeof(moe_tensor_info), NULL, 0, 0, {0, 0, 0, 0}, 0}

/**
 * Opens a model file (GGUF v2/v3; the first file of a split set opens all).
 * @param out receives the model, NULL on failure; released with moe_model_release()
 * @param path UTF-8
 * @param o options, or NULL for defaults
 * @return #MOE_OK; #MOE_E_NOTFOUND (no such file, or no architecture in it), #MOE_E_IO, #MOE_E_FORMAT,
 *         #MOE_E_UNSUPPORTED (names what is supported), #MOE_E_NOMEM, #MOE_E_FULL (memory_budget),
 *         #MOE_E_ABORTED (progress), #MOE_E_NUMERIC (#MOE_OPEN_CHECK_DATA), #MOE_E_INVALID, #MOE_E_VERSION
 *         (options)
 * @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_model_open(moe_model **out, const char *path, const moe_model_options *o);
/**
 * Adds a reference (atomic).
 * @param m model; NULL is fine
 * @return m
 * @since 0.1.0
 */
MOE_API moe_model *moe_model_retain(moe_model *m);
/**
 * Drops a reference (atomic); the last one frees. Sessions hold one of their own.
 * @param m model; NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_model_release(moe_model *m);
/**
 * Tells what a model is.
 * @param m model
 * @param out filled in
 * @return #MOE_OK
 * @since 0.1.0
 */
MOE_API int moe_model_get_info(const moe_model *m, moe_model_info *out);
/**
 * Tells what one layer is.
 * @param m model
 * @param layer 0 .. n_layers-1
 * @param out filled in
 * @return #MOE_OK; #MOE_E_RANGE past the end
 * @since 0.1.0
 */
MOE_API int moe_model_get_layer(const moe_model *m, uint32_t layer, moe_layer_info *out);
/**
 * The router recipe that the file prescribes for a layer, and that sessions follow.
 * @param m model
 * @param layer 0 .. n_layers-1
 * @param out filled in
 * @return #MOE_OK; #MOE_E_RANGE past the end; #MOE_E_NOTFOUND for dense layers
 * @since 0.1.0
 */
MOE_API int moe_model_get_route(const moe_model *m, uint32_t layer, moe_route_spec *out);
/**
 * Number of metadata entries.
 * @param m model
 * @return their number; 0 for NULL
 * @since 0.1.0
 */
MOE_API size_t moe_model_meta_count(const moe_model *m);
/**
 * Metadata entry by place in the file.
 * @param m model
 * @param i 0 .. moe_model_meta_count()-1
 * @param out filled in
 * @return #MOE_OK; #MOE_E_RANGE past the end
 * @since 0.1.0
 */
MOE_API int moe_model_meta_at(const moe_model *m, size_t i, moe_meta *out);
/**
 * Metadata entry by key.
 * @param m model
 * @param key e.g. "general.name"
 * @param out filled in
 * @return #MOE_OK; #MOE_E_NOTFOUND
 * @since 0.1.0
 */
MOE_API int moe_model_meta_find(const moe_model *m, const char *key, moe_meta *out);
/**
 * One element of an array in the metadata.
 * @param m model
 * @param key of the array
 * @param j element, 0 .. n-1
 * @param out filled in; its key is NULL
 * @return #MOE_OK; #MOE_E_NOTFOUND; #MOE_E_RANGE past the end; #MOE_E_INVALID if it is no array
 * @since 0.1.0
 */
MOE_API int moe_model_meta_elem(const moe_model *m, const char *key, uint64_t j, moe_meta *out);
/**
 * Number of tensors.
 * @param m model
 * @return their number; 0 for NULL
 * @since 0.1.0
 */
MOE_API size_t moe_model_tensor_count(const moe_model *m);
/**
 * Tensor by place in the file.
 * @param m model
 * @param i 0 .. moe_model_tensor_count()-1
 * @param out filled in
 * @return #MOE_OK; #MOE_E_RANGE past the end
 * @since 0.1.0
 */
MOE_API int moe_model_tensor_at(const moe_model *m, size_t i, moe_tensor_info *out);
/**
 * Place of a tensor by name.
 * @param m model
 * @param name e.g. "token_embd.weight"
 * @param i receives the place
 * @return #MOE_OK; #MOE_E_NOTFOUND
 * @since 0.1.0
 */
MOE_API int moe_model_tensor_find(const moe_model *m, const char *name, size_t *i);
/**
 * Reads elements of a tensor, converted to f32.
 * @param m model
 * @param i tensor, 0 .. moe_model_tensor_count()-1
 * @param first first element
 * @param n elements
 * @param dst receives them
 * @return #MOE_OK; #MOE_E_RANGE past the end; #MOE_E_STATE for a model opened with #MOE_OPEN_METADATA_ONLY;
 *         #MOE_E_IO
 * @since 0.1.0
 */
MOE_API int moe_model_tensor_read(const moe_model *m, size_t i, uint64_t first, size_t n, float *dst);
/**
 * The model's tokenizer.
 * @param m model
 * @param out receives it, borrowed: lives as long as the model; NULL on failure
 * @return #MOE_OK; #MOE_E_NOTFOUND if the file has none
 * @since 0.1.0
 */
MOE_API int moe_model_tokenizer(const moe_model *m, const moe_tokenizer **out);

/** @} */

/* ---------------------------------------------------------------------------------------------- tokenizer */
/** @defgroup tokenizer Tokenizer
 * Text to tokens and back. Immutable: any thread may use one at any time.
 * @{ */

#define MOE_ENCODE_BOS 1u     /**< put the begin-of-text token first if the model asks for it */
#define MOE_ENCODE_SPECIAL 2u /**< text such as "<|im_start|>" becomes its special token (else plain text) */
#define MOE_DECODE_SPECIAL 1u /**< show special tokens as text (else they are left out) */

/* `which` of moe_tokenizer_special(). */
#define MOE_TOKEN_BOS 1     /**< begin of text */
#define MOE_TOKEN_EOS 2     /**< end of text */
#define MOE_TOKEN_EOT 3     /**< end of turn */
#define MOE_TOKEN_UNK 4     /**< unknown */
#define MOE_TOKEN_PAD 5     /**< padding */
#define MOE_TOKEN_NEWLINE 6 /**< line end */

/* Bits of moe_tokenizer_attr(). */
#define MOE_ATTR_NORMAL 1u  /**< text */
#define MOE_ATTR_UNKNOWN 2u /**< stands for what the vocabulary lacks */
#define MOE_ATTR_CONTROL 4u /**< special token without text of its own */
#define MOE_ATTR_USER 8u    /**< added token, always matched whole */
#define MOE_ATTR_UNUSED 16u /**< a hole in the vocabulary */
#define MOE_ATTR_BYTE 32u   /**< one byte */
#define MOE_ATTR_END 64u    /**< generation should stop here */

/** One chat message. */
typedef struct moe_message {
    size_t size;      /**< sizeof(moe_message): that of the first is the distance of all */
    const char *role; /**< "system", "user", "assistant", ... */
    const char *text; /**< what was said */
} moe_message;

#define MOE_CHAT_ADD_ASSISTANT 1u /**< end with the opening of the assistant's turn */

/** State of a streaming decode, owned by the caller. Zero `n` and `flags` to start anew. */
typedef struct moe_stream {
    size_t size;      /**< sizeof(moe_stream) */
    uint32_t flags;   /**< MOE_DECODE_*; internal bits above 0xffff */
    uint32_t n;       /**< pending bytes */
    uint8_t bytes[8]; /**< the pending bytes */
} moe_stream;
/** Start value of moe_stream. */
#define MOE_STREAM_INIT {sizeof(moe_stream), 0, 0, {0, 0, 0, 0, 0, 0, 0, 0}}

/**
 * Opens only the tokenizer of a GGUF file.
 * @param out receives it, NULL on failure; freed with moe_tokenizer_free()
 * @param path UTF-8
 * @param a memory hook, copied; NULL = malloc
 * @return #MOE_OK; #MOE_E_NOTFOUND (no file, or no tokenizer in it), #MOE_E_IO, #MOE_E_FORMAT,
 *         #MOE_E_UNSUPPORTED, #MOE_E_NOMEM, #MOE_E_INVALID, #MOE_E_VERSION (allocator)
 * @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_tokenizer_open(moe_tokenizer **out, const char *path, const moe_allocator *a);
/**
 * Frees a tokenizer made by moe_tokenizer_open(); never one borrowed from a model.
 * @param t NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_tokenizer_free(moe_tokenizer *t);
/**
 * Number of tokens.
 * @param t tokenizer
 * @return their number; 0 for NULL
 * @since 0.1.0
 */
MOE_API size_t moe_tokenizer_size(const moe_tokenizer *t);
/**
 * Text to tokens. Zero bytes and invalid UTF-8 are kept: nothing is lost, except where the model's own
 * tokenizer normalises the text first.
 * @param t tokenizer
 * @param text `len` bytes; NULL if len is 0
 * @param len bytes of text
 * @param flags MOE_ENCODE_*
 * @param dst receives the tokens; NULL if cap is 0
 * @param cap room in dst
 * @param n receives the number of tokens, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER; #MOE_E_RANGE for 2 GiB of text or more; #MOE_E_UNSUPPORTED (a byte that the
 *         vocabulary cannot express); #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_encode(const moe_tokenizer *t, const char *text, size_t len, uint32_t flags,
                                 moe_token *dst, size_t cap, size_t *n);
/**
 * Tokens to bytes (not zero-terminated; the bytes may end within a UTF-8 sequence).
 * @param t tokenizer
 * @param ids tokens; NULL if n is 0
 * @param n tokens
 * @param flags MOE_DECODE_*
 * @param dst receives the bytes; NULL if cap is 0
 * @param cap room in dst
 * @param len receives the number of bytes, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER; #MOE_E_RANGE for a token out of range
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_decode(const moe_tokenizer *t, const moe_token *ids, size_t n, uint32_t flags,
                                 char *dst, size_t cap, size_t *len);
/**
 * Decodes one more token of a stream and hands out whole UTF-8 sequences only; what is unfinished waits in
 * *st. Bytes that can never become a character come out as U+FFFD. 16 bytes more than three times the longest
 * token always suffice; a token of valid UTF-8 needs its own length and at most 9 bytes more.
 * @param t tokenizer
 * @param st state, begun with #MOE_STREAM_INIT; unchanged on failure
 * @param id next token; #MOE_TOKEN_NONE ends the text: pending bytes come out as U+FFFD
 * @param dst receives the bytes, not zero-terminated; NULL if cap is 0
 * @param cap room in dst
 * @param len receives the number of bytes, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER; #MOE_E_RANGE for a token out of range; #MOE_E_VERSION (state)
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_stream(const moe_tokenizer *t, moe_stream *st, moe_token id, char *dst, size_t cap,
                                 size_t *len);
/**
 * The bytes of a token as decode would give them (special tokens: their name).
 * @param t tokenizer
 * @param id token
 * @param piece receives the bytes; lives as long as t
 * @param len receives their number
 * @return #MOE_OK; #MOE_E_RANGE
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_piece(const moe_tokenizer *t, moe_token id, const char **piece, size_t *len);
/**
 * What kind of token it is.
 * @param t tokenizer
 * @param id token
 * @return MOE_ATTR_* bits; 0 out of range
 * @since 0.1.0
 */
MOE_API uint32_t moe_tokenizer_attr(const moe_tokenizer *t, moe_token id);
/**
 * A special token.
 * @param t tokenizer
 * @param which #MOE_TOKEN_BOS ... #MOE_TOKEN_NEWLINE
 * @return the token, or #MOE_TOKEN_NONE
 * @since 0.1.0
 */
MOE_API moe_token moe_tokenizer_special(const moe_tokenizer *t, int which);
/**
 * The token with exactly these bytes (or this special name).
 * @param t tokenizer
 * @param piece its bytes; NULL if len is 0
 * @param len their number
 * @param out receives the token; #MOE_TOKEN_NONE on failure
 * @return #MOE_OK; #MOE_E_NOTFOUND
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_find(const moe_tokenizer *t, const char *piece, size_t len, moe_token *out);
/**
 * Formats a conversation with the file's chat template if it is one of the built-in ones
 * (docs/chat-templates.md). Encode the result with #MOE_ENCODE_SPECIAL and without #MOE_ENCODE_BOS: the text
 * has the opening token in it where the template wants one.
 * @param t tokenizer
 * @param msg messages, oldest first; NULL if n is 0
 * @param n messages
 * @param flags MOE_CHAT_*
 * @param dst receives the text, not zero-terminated; NULL if cap is 0
 * @param cap room in dst
 * @param len receives the number of bytes, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_UNSUPPORTED for another template (the message names those that are known);
 *         #MOE_E_NOTFOUND if the file has none; #MOE_E_INVALID for messages that the template cannot express;
 *         #MOE_E_BUFFER; #MOE_E_VERSION and #MOE_E_NOMEM for messages of a newer interface
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_chat(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags,
                               char *dst, size_t cap, size_t *len);
/**
 * Name of the recognised chat template.
 * @param t tokenizer
 * @return e.g. "chatml"; static; NULL if there is none or it is not known
 * @since 0.1.0
 */
MOE_API const char *moe_tokenizer_chat_name(const moe_tokenizer *t);

/** @} */

/* ------------------------------------------------------------------------------------------------ session */
/** @defgroup session Session
 * All that changes while a model runs. One thread at a time; many sessions per model in parallel. While an
 * eval runs, its callbacks may read the session; what would change it answers #MOE_E_STATE.
 * @{ */

#define MOE_SESSION_KEEP_PARTIAL 1u /**< a stopped eval keeps the sub-batches that are done */
#define MOE_SESSION_EXACT_ACT 2u    /**< f32 activations against dequantised weights: slow, for tests */
#define MOE_SESSION_KEEP_ROUTES 4u  /**< every layer's last routing is kept, for moe_router_last() */
#define MOE_SESSION_LOW_PRIORITY 8u /**< the own pool's threads give way to others (docs/threading.md); results
                                         are the same. Not for an executor, OpenMP or the calling thread */

/** Runs tasks of a session on the caller's own threads (a game's job system). */
typedef struct moe_executor {
    size_t size; /**< sizeof(moe_executor) */
    /**
     * Calls task(arg, i) once for every i < n, on any threads, at the same time (all n must be running or
     * done before it returns: they wait for one another), and returns 0 when all have returned. Anything
     * else: no call was made; the eval then fails with #MOE_E_CALLBACK.
     */
    int (*run)(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user);
    void *user; /**< handed to run */
} moe_executor;

/** Options of moe_session_create(). What it points to may be gone after the call, except `user` pointers. */
typedef struct moe_session_options {
    size_t size;                  /**< sizeof(moe_session_options) */
    uint32_t flags;               /**< MOE_SESSION_* */
    uint32_t n_ctx;               /**< KV cells, in pages of 64, of all sequences; 0: as trained, <= 4096 */
    uint32_t n_seq_max;           /**< sequences; 0 = 1; at most 65536 */
    uint32_t n_batch_max;         /**< rows computed at once (longer batches are split); 0 = 512 */
    uint32_t n_output_max;        /**< rows of results one eval may ask for; 0 = n_seq_max */
    int32_t n_threads;            /**< 0 = one per CPU that this process may use; at most 1024 */
    int32_t kv_type_k;            /**< type of cached keys: #MOE_TYPE_F16 (0 = this), #MOE_KV_F32, #MOE_TYPE_BF16,
                                       #MOE_TYPE_Q8_0 or #MOE_TYPE_Q4_0; the last two need heads of a multiple of 32
                                       elements (else #MOE_E_UNSUPPORTED); @since 0.2.0: other than F16 and F32 */
    int32_t kv_type_v;            /**< type of cached values, likewise */
    const moe_executor *executor; /**< copied; NULL = own threads */
    moe_progress_fn progress;     /**< prefill progress, called between sub-batches, and that of
                                       moe_session_warm_up(); may be NULL */
    void *progress_user;          /**< handed to progress */
} moe_session_options;
#define MOE_KV_F32 (-1) /**< KV cache in f32, since #MOE_TYPE_F32 is 0 and 0 means the default */
/** Start value of moe_session_options. */
#define MOE_SESSION_OPTIONS_INIT {sizeof(moe_session_options), 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL}

/** What a session was made with, defaults filled in. */
typedef struct moe_session_info {
    size_t size;           /**< sizeof(moe_session_info) */
    uint32_t flags;        /**< MOE_SESSION_* */
    uint32_t n_ctx;        /**< KV cells */
    uint32_t n_seq_max;    /**< sequences */
    uint32_t n_batch_max;  /**< rows computed at once */
    uint32_t n_output_max; /**< rows of results of one eval */
    uint32_t n_threads;    /**< threads in use */
    uint32_t kv_type_k;    /**< MOE_TYPE_* of cached keys */
    uint32_t kv_type_v;    /**< MOE_TYPE_* of cached values */
    uint32_t n_cells_used; /**< KV cells taken now, rounded up to pages */
    uint32_t n_outputs;    /**< rows of logits of the last eval */
} moe_session_info;
/** Start value of moe_session_info. */
#define MOE_SESSION_INFO_INIT {sizeof(moe_session_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

#define MOE_WANT_LOGITS 1u /**< logits over the vocabulary */
#define MOE_WANT_HIDDEN 2u /**< the final hidden state, after the last norm */

/**
 * A batch of tokens, of one or more sequences. The tokens of a sequence stand in order, each at the position
 * where the sequence ends; sequences may be mixed.
 */
typedef struct moe_batch {
    size_t size;            /**< sizeof(moe_batch) */
    size_t n_tokens;        /**< at least 1 */
    const moe_token *token; /**< [n_tokens] */
    const moe_pos *pos;     /**< [n_tokens] or NULL: each sequence goes on */
    const moe_seq *seq;     /**< [n_tokens] or NULL: all sequence 0 */
    const uint8_t *want;    /**< [n_tokens] of MOE_WANT_* or NULL: logits of each sequence's last token */
} moe_batch;
/** Start value of moe_batch. */
#define MOE_BATCH_INIT {sizeof(moe_batch), 0, NULL, NULL, NULL, NULL}

/** Memory of a model and one session, in bytes. */
typedef struct moe_memory {
    size_t size;            /**< sizeof(moe_memory) */
    uint64_t dense;         /**< all weights but routed experts */
    uint64_t experts;       /**< routed experts */
    uint64_t kv;            /**< KV cache of the session */
    uint64_t scratch;       /**< activations, results, thread scratch (not the threads' stacks) */
    uint64_t overhead;      /**< tables: metadata, vocabulary, norms, handles */
    uint64_t private_bytes; /**< of all these, what is allocated (the rest is the mapped file) */
    uint64_t total;         /**< sum of the first five */
} moe_memory;
/** Start value of moe_memory. */
#define MOE_MEMORY_INIT {sizeof(moe_memory), 0, 0, 0, 0, 0, 0, 0}

/**
 * What a model and a session with these options would take, answered from the file's header: no weights are
 * read.
 * @param path UTF-8
 * @param mo options as for moe_model_open(), or NULL
 * @param so options as for moe_session_create(), or NULL
 * @param out filled in
 * @return #MOE_OK; failures as moe_model_open() and moe_session_create()
 * @since 0.1.0
 */
MOE_API int moe_plan(const char *path, const moe_model_options *mo, const moe_session_options *so,
                     moe_memory *out);
/**
 * The same for an opened model.
 * @param m model
 * @param so options as for moe_session_create(), or NULL
 * @param out filled in
 * @return #MOE_OK; failures as moe_session_create()
 * @since 0.1.0
 */
MOE_API int moe_model_get_memory(const moe_model *m, const moe_session_options *so, moe_memory *out);

/**
 * Makes a session on a model. All its memory is taken here.
 * @param out receives the session, NULL on failure; freed with moe_session_free()
 * @param m model; the session retains it
 * @param o options, or NULL for defaults
 * @return #MOE_OK; #MOE_E_INVALID (names the option), #MOE_E_UNSUPPORTED (a KV type that the model's heads do not
 *         divide into), #MOE_E_VERSION (options), #MOE_E_NOMEM, #MOE_E_FULL (the system refuses threads),
 *         #MOE_E_STATE for a model opened with #MOE_OPEN_METADATA_ONLY
 * @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_session_create(moe_session **out, moe_model *m, const moe_session_options *o);
/**
 * Frees a session. Not while another thread evaluates it.
 * @param s NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_session_free(moe_session *s);
/**
 * The session's model.
 * @param s session
 * @return borrowed: lives at least as long as the session; NULL for NULL
 * @since 0.1.0
 */
MOE_API moe_model *moe_session_model(const moe_session *s);
/**
 * Tells what a session was made with.
 * @param s session
 * @param out filled in
 * @return #MOE_OK
 * @since 0.1.0
 */
MOE_API int moe_session_get_info(const moe_session *s, moe_session_info *out);
/**
 * Appends tokens to sequence 0 and computes the logits of the last one. Short for moe_session_eval_batch().
 * @param s session
 * @param ids tokens
 * @param n tokens, at least 1
 * @return as moe_session_eval_batch()
 * @since 0.1.0
 */
MOE_API int moe_session_eval(moe_session *s, const moe_token *ids, size_t n);
/**
 * Appends a batch and computes what it wants. Allocates nothing. On failure the session is as before the
 * call: KV, positions, results; with #MOE_SESSION_KEEP_PARTIAL a stopped eval (#MOE_E_ABORTED) keeps whole
 * sub-batches (moe_session_seq_len() tells how many tokens) and its results are gone.
 * @param s session
 * @param b batch; read during the call only
 * @return #MOE_OK; #MOE_E_RANGE (token, sequence or position), #MOE_E_FULL (KV cache, or more results wanted
 *         than n_output_max), #MOE_E_ABORTED (interrupt, progress, observer), #MOE_E_NUMERIC (a router's
 *         weights are not finite), #MOE_E_CALLBACK (executor), #MOE_E_INVALID, #MOE_E_VERSION (batch),
 *         #MOE_E_STATE (called from a callback of this session, or in a forked child), #MOE_E_IO; a negative
 *         result of the observer unchanged
 * @since 0.1.0
 */
MOE_API int moe_session_eval_batch(moe_session *s, const moe_batch *b);
/**
 * Begins an eval that is done in slices, for a host that has a few milliseconds at a time: a game's main loop, a
 * cooperative scheduler. Checks the batch and reserves room; nothing is computed yet. Until it is finished or
 * cancelled the session can be read, but what would change it answers #MOE_E_STATE; moe_session_reset() cancels
 * it, moe_session_interrupt() stops it at the next slice.
 * @param s session
 * @param b batch; its arrays are read until the last slice
 * @return #MOE_OK; failures as moe_session_eval_batch(), and nothing was begun
 * @since 0.2.0
 */
MOE_API int moe_session_eval_begin(moe_session *s, const moe_batch *b);
/**
 * Goes on with an eval for about max_ns. Stops between steps of a layer, the last one being the logits: a slice
 * takes at least one step of at most n_batch_max rows, so that a smaller n_batch_max makes slices finer. The
 * result is the same to the bit, however it was cut.
 * @param s session
 * @param max_ns nanoseconds of wall-clock time; 0 = one step
 * @param more receives 1 if there is something left to do, 0 if the eval is finished or has failed
 * @return #MOE_OK; failures as moe_session_eval_batch(): the session is then as before moe_session_eval_begin();
 *         #MOE_E_STATE if no eval was begun
 * @since 0.2.0
 */
MOE_API int moe_session_eval_slice(moe_session *s, uint64_t max_ns, int *more);
/**
 * Gives up an eval in slices. The session is as before it; with #MOE_SESSION_KEEP_PARTIAL whole sub-batches stay.
 * @param s session
 * @return #MOE_OK; #MOE_E_STATE if no eval was begun, or from a callback
 * @since 0.2.0
 */
MOE_API int moe_session_eval_cancel(moe_session *s);
/**
 * Makes the first eval as fast as later ones: reads every page of the model's weights once, with all threads, so
 * that the system has them in memory as far as there is room, and wakes the threads. Changes nothing and
 * allocates nothing. Can be interrupted like an eval; reports #MOE_PROGRESS_WARM_UP about every 32 MiB.
 * @param s session
 * @return #MOE_OK; #MOE_E_ABORTED (interrupt, progress), #MOE_E_CALLBACK (executor), #MOE_E_STATE (from a
 *         callback, between slices, or in a forked child)
 * @since 0.2.0
 */
MOE_API int moe_session_warm_up(moe_session *s);
/**
 * Logits of the row-th token of the last eval that wanted them (in batch order).
 * @param s session
 * @param row 0 .. n_outputs-1
 * @param out receives n_vocab floats, valid until the next eval, load, reset or free; NULL on failure
 * @param n receives n_vocab; may be NULL
 * @return #MOE_OK; #MOE_E_RANGE if there are fewer rows
 * @since 0.1.0
 */
MOE_API int moe_session_logits(const moe_session *s, size_t row, const float **out, size_t *n);
/**
 * Final hidden state of the row-th token of the last eval that wanted it (in batch order).
 * @param s session
 * @param row 0 .. number of those tokens - 1
 * @param out receives dim floats, valid until the next eval, load, reset or free; NULL on failure
 * @param n receives dim; may be NULL
 * @return #MOE_OK; #MOE_E_RANGE if there are fewer rows
 * @since 0.1.0
 */
MOE_API int moe_session_hidden(const moe_session *s, size_t row, const float **out, size_t *n);
/**
 * Empties all sequences; results are gone. Does nothing from a callback of this session.
 * @param s NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_session_reset(moe_session *s);
/**
 * Tokens in a sequence.
 * @param s session
 * @param q sequence
 * @return their number; 0 for one out of range
 * @since 0.1.0
 */
MOE_API size_t moe_session_seq_len(const moe_session *s, moe_seq q);
/**
 * Makes `to` a copy of `from`. Costs next to nothing: both share their cells until one of them writes.
 * @param s session
 * @param from sequence to copy
 * @param to sequence that is replaced
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_STATE
 * @since 0.1.0
 */
MOE_API int moe_session_seq_copy(moe_session *s, moe_seq from, moe_seq to);
/**
 * Keeps the first tokens of a sequence; 0 empties it. Results of the last eval stay.
 * @param s session
 * @param q sequence
 * @param keep tokens to keep
 * @return #MOE_OK; #MOE_E_RANGE if it has fewer; #MOE_E_STATE, also if the model has layers with a sliding window that
 *         have given back what the next token would see (docs/sessions.md): keep 0 and evaluate again
 * @since 0.1.0
 */
MOE_API int moe_session_seq_truncate(moe_session *s, moe_seq q, moe_pos keep);
/**
 * Takes tokens out of a sequence; those behind move down to their places, their keys turned by the difference of
 * positions. For a context that is full: keep the beginning, take out what follows it, go on. Nothing is
 * evaluated again, so what the moved tokens had seen of the removed ones stays in them: the results are not those of
 * a sequence that never had them (docs/determinism.md). Uses all threads and allocates nothing. Results of the
 * last eval stay.
 * @param s session
 * @param q sequence
 * @param first position of the first token to take out
 * @param n number of tokens to take out
 * @return #MOE_OK; #MOE_E_RANGE if it has not all of them; #MOE_E_FULL if pages that it shares with other sequences
 *         would have to be copied and there is no room; #MOE_E_CALLBACK (executor), #MOE_E_STATE. On failure
 *         everything is as before
 * @since 0.2.0
 */
MOE_API int moe_session_seq_remove(moe_session *s, moe_seq q, moe_pos first, size_t n);
/**
 * Tokens of a sequence as evaluated.
 * @param s session
 * @param q sequence
 * @param dst receives the tokens; NULL asks for their number (and answers #MOE_OK)
 * @param cap room in dst
 * @param n receives the number of tokens
 * @return #MOE_OK; #MOE_E_BUFFER, #MOE_E_RANGE
 * @since 0.1.0
 */
MOE_API int moe_session_seq_tokens(const moe_session *s, moe_seq q, moe_token *dst, size_t cap, size_t *n);
/**
 * Writes the session's sequences and last results: versioned, checksummed (docs/formats/session.md). What sequences
 * share is written for each of them, so a session full of shared prefixes may not have room for all it saved.
 * @param s session
 * @param fn receives the bytes in order, in pieces
 * @param user handed to fn
 * @return #MOE_OK; a negative result of fn unchanged; #MOE_E_CALLBACK for a positive one; #MOE_E_STATE
 * @since 0.1.0
 */
MOE_API int moe_session_save(const moe_session *s, moe_write_fn fn, void *user);
/**
 * Replaces the session's content with a saved one. On failure the session is as before.
 * @param s session
 * @param fn asked for the bytes in order, in pieces
 * @param user handed to fn
 * @return #MOE_OK; #MOE_E_FORMAT for a damaged stream, #MOE_E_VERSION for another version, #MOE_E_STATE for
 *         another model or KV type (or from a callback), #MOE_E_FULL if it does not fit, #MOE_E_NOMEM,
 *         #MOE_E_CALLBACK for a positive result of fn; a negative one unchanged
 * @since 0.1.0
 */
MOE_API int moe_session_load(moe_session *s, moe_read_fn fn, void *user);
/**
 * moe_session_save() to a file that appears under its name only when whole.
 * @param s session
 * @param path UTF-8; an existing regular file is replaced
 * @return #MOE_OK; #MOE_E_IO, #MOE_E_NOTFOUND (no such folder), #MOE_E_NOMEM, #MOE_E_STATE
 * @since 0.1.0
 */
MOE_API int moe_session_save_file(const moe_session *s, const char *path);
/**
 * moe_session_load() from a file.
 * @param s session
 * @param path UTF-8
 * @return as moe_session_load(); #MOE_E_NOTFOUND, #MOE_E_IO
 * @since 0.1.0
 */
MOE_API int moe_session_load_file(moe_session *s, const char *path);
/**
 * Writes one sequence, its keys and values, and nothing else: what moe_session_save() would write of a session that
 * has this one only, and no results (docs/formats/session.md).
 * @param s session
 * @param q sequence; may be empty
 * @param fn receives the bytes in order, in pieces
 * @param user handed to fn
 * @return as moe_session_save(); #MOE_E_RANGE
 * @since 0.2.0
 */
MOE_API int moe_session_seq_save(const moe_session *s, moe_seq q, moe_write_fn fn, void *user);
/**
 * Replaces one sequence by a saved one, of the same or another session of this model with the same KV types,
 * whatever its number was. Other sequences and the results of the last eval stay. On failure the session is as
 * before.
 * @param s session
 * @param q sequence to replace
 * @param fn asked for the bytes in order, in pieces
 * @param user handed to fn
 * @return as moe_session_load(), #MOE_E_STATE also for a stream of moe_session_save() with more than one sequence or
 *         results; #MOE_E_RANGE
 * @since 0.2.0
 */
MOE_API int moe_session_seq_load(moe_session *s, moe_seq q, moe_read_fn fn, void *user);
/**
 * moe_session_seq_save() to a file that appears under its name only when whole.
 * @param s session
 * @param q sequence
 * @param path UTF-8; an existing regular file is replaced
 * @return as moe_session_save_file(); #MOE_E_RANGE
 * @since 0.2.0
 */
MOE_API int moe_session_seq_save_file(const moe_session *s, moe_seq q, const char *path);
/**
 * moe_session_seq_load() from a file.
 * @param s session
 * @param q sequence to replace
 * @param path UTF-8
 * @return as moe_session_seq_load(); #MOE_E_NOTFOUND, #MOE_E_IO
 * @since 0.2.0
 */
MOE_API int moe_session_seq_load_file(moe_session *s, moe_seq q, const char *path);
/**
 * Changes the thread count. Results stay the same to the bit.
 * @param s session
 * @param n 0 = one per CPU that this process may use; at most 1024
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NOMEM, #MOE_E_FULL (the system refuses threads), #MOE_E_STATE; the
 *         old threads then stay
 * @since 0.1.0
 */
MOE_API int moe_session_set_threads(moe_session *s, int n);
/**
 * Stops the eval that runs, or if none runs (or it is as good as done) the next one, with #MOE_E_ABORTED;
 * that eval takes the request with it. May be called from any thread and from a signal handler.
 * @param s NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_session_interrupt(moe_session *s);

/** @} */

/* -------------------------------------------------------------------------------------------- observation */
/** @defgroup observation Observation
 * What the routers decide, and what the time goes to.
 * @{ */

/** One layer's routing of some rows: compressed rows (CSR). Pointers are valid during the callback only. */
typedef struct moe_route_view {
    size_t size;            /**< sizeof(moe_route_view) of the library */
    uint32_t layer;         /**< 0 .. n_layers-1 */
    uint32_t n_rows;        /**< rows of the sub-batch */
    uint32_t n_experts;     /**< experts to choose from */
    uint32_t n_logits;      /**< floats of a row of logits: n_experts, and the model's null experts */
    const uint32_t *offset; /**< [n_rows+1]: row t has pairs offset[t] .. offset[t+1]-1, in order of rank */
    const uint32_t *expert; /**< [offset[n_rows]]; #MOE_EXPERT_NONE where a null expert was chosen */
    const float *weight;    /**< [offset[n_rows]] as applied; 0: chosen, but dropped and not computed */
    const float *logits;    /**< [n_rows][n_logits] of the router, before biases and bans */
    const moe_token *token; /**< [n_rows] */
    const moe_pos *pos;     /**< [n_rows] */
    const moe_seq *seq;     /**< [n_rows] */
} moe_route_view;
/** Start value of moe_route_view, for functions that fill one in. */
#define MOE_ROUTE_VIEW_INIT \
    {sizeof(moe_route_view), 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL}

/**
 * Has every MoE layer's decisions shown, on the thread that evaluates, per sub-batch and layer. Costs nothing
 * when not set. The results do not change.
 * @param s session
 * @param fn called before the experts run; NULL ends it. A non-zero result stops the eval: negative values
 *        come out of it unchanged, positive ones as #MOE_E_ABORTED. It may read the session but not change it
 * @param user handed to fn
 * @return #MOE_OK; #MOE_E_STATE from a callback of this session
 * @since 0.1.0
 */
MOE_API int moe_session_observe(moe_session *s, int (*fn)(const moe_route_view *v, void *user), void *user);

/**
 * Counters of a session since its creation or the last reset. Times are wall-clock nanoseconds as seen by one
 * thread of the team. A batch of one token per sequence is a decode step, any other is prefill.
 */
typedef struct moe_stats {
    size_t size;             /**< sizeof(moe_stats) */
    uint64_t tokens_prefill; /**< tokens of prefill batches */
    uint64_t tokens_decode;  /**< tokens of decode steps */
    uint64_t ns_prefill;     /**< time of prefill batches */
    uint64_t ns_decode;      /**< time of decode steps */
    uint64_t ns_attn;        /**< projections and attention */
    uint64_t ns_route;       /**< routers */
    uint64_t ns_expert;      /**< routed and shared experts */
    uint64_t ns_dense;       /**< embedding, norms, additions, dense feed-forward */
    uint64_t ns_head;        /**< final norm and logits */
    uint64_t pairs;          /**< (row, expert) pairs computed */
    uint64_t expert_bytes;   /**< bytes of expert weights acquired from the store */
    uint64_t experts;        /**< experts acquired from the store: one that no row uses is never touched */
    uint64_t ns_select;      /**< part of ns_route behind the routers' matrix products: from logits to weights */
} moe_stats;
/** Start value of moe_stats. */
#define MOE_STATS_INIT {sizeof(moe_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
/**
 * Reads the counters.
 * @param s session
 * @param out filled in
 * @return #MOE_OK
 * @since 0.1.0
 */
MOE_API int moe_session_get_stats(const moe_session *s, moe_stats *out);
/**
 * Sets all counters to zero.
 * @param s NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_session_reset_stats(moe_session *s);

/** @} */

/* ------------------------------------------------------------------------------------------------ routing */
/** @defgroup routing Routers and experts
 * Routing belongs to the session: two sessions on one model may route differently, and share all weights. The
 * order in which everything here acts stands in docs/routing.md. Handles are borrowed: they live as long as
 * the session, and follow its thread rules. Setters answer #MOE_E_STATE from a callback of the session. They
 * allocate what they must remember; an eval never does. On failure nothing has changed.
 *
 * The handle for #MOE_ALL_LAYERS stands for every router of the session: setters reach all or, on failure,
 * none; getters answer #MOE_E_STATE. Its experts stand for the experts of that index in all layers.
 * @{ */

/** What a router is. */
typedef struct moe_router_info {
    size_t size;        /**< sizeof(moe_router_info) */
    uint32_t layer;     /**< its layer */
    uint32_t n_experts; /**< routed experts */
    uint32_t n_null;    /**< null experts in use */
    uint32_t n_shared;  /**< shared experts beside it */
    uint32_t dim;       /**< width of its input */
    uint32_t max_k;     /**< most experts that a token can get now, null experts included */
    uint32_t flags;     /**< MOE_ROUTER_* */
    uint32_t reserved;  /**< 0 */
    const char *policy; /**< name of the selection rule or policy in use; valid until the next change */
} moe_router_info;
/** Start value of moe_router_info. */
#define MOE_ROUTER_INFO_INIT {sizeof(moe_router_info), 0, 0, 0, 0, 0, 0, 0, 0, NULL}

#define MOE_ROUTER_NATIVE 1u        /**< nothing was changed: it routes as the file says */
#define MOE_ROUTER_BATCH_COUPLED 2u /**< a token's result depends on the rows computed with it */
#define MOE_ROUTER_CUSTOM 4u        /**< a policy of the program's own selects (moe/ext.h) */

#define MOE_SPEC_CURRENT 0 /**< the recipe in use */
#define MOE_SPEC_NATIVE 1  /**< the model's own */

/* Kinds of numbers that a router keeps for each expert. */
#define MOE_EDIT_LOGIT_BIAS 1  /**< added to the logit (neutral: 0) */
#define MOE_EDIT_SELECT_BIAS 2 /**< added to the score, for selection only (0) */
#define MOE_EDIT_PRE 3         /**< factor on the weight before norm (1) */
#define MOE_EDIT_POST 4        /**< factor on the weight after norm and scale (1) */
#define MOE_EDIT_GAIN 5        /**< factor on the expert's output, whatever chose it (1) */

/* What an expert may do; values of moe_router_set_use(). */
#define MOE_USE_FREE 0        /**< chosen or not, as the scores say */
#define MOE_USE_BAN 1         /**< refill: taken out before scoring, as if the router had no such row */
#define MOE_USE_BAN_SCORED 2  /**< refill: taken out after scoring; the others' scores keep their size */
#define MOE_USE_DROP 3        /**< drop: may be chosen, but its weight is 0 and nothing steps in */
#define MOE_USE_DROP_RENORM 4 /**< drop, and the other weights grow to the sum that they had with it */
#define MOE_USE_FORCE 5       /**< always chosen, before any other */

#define MOE_OVERRIDE_LOGITS 1 /**< the row takes the place of the logits */
#define MOE_OVERRIDE_SCORES 2 /**< the row takes the place of the scores (C3PO) */

/** Puts a row of the program's own in the place of what the router says about some tokens. */
typedef struct moe_route_override {
    size_t size;      /**< sizeof(moe_route_override) */
    int32_t kind;     /**< MOE_OVERRIDE_* */
    moe_seq seq;      /**< its sequence, or #MOE_ALL_SEQS */
    moe_pos first;    /**< first position */
    moe_pos last;     /**< last position; -1 = all that follow */
    const float *row; /**< [n_experts]; copied */
} moe_route_override;
/** Start value of moe_route_override. */
#define MOE_ROUTE_OVERRIDE_INIT {sizeof(moe_route_override), 0, MOE_ALL_SEQS, 0, -1, NULL}

/**
 * The router of a layer.
 * @param s session
 * @param layer 0 .. n_layers-1, or #MOE_ALL_LAYERS
 * @param out receives it, borrowed; NULL on failure
 * @return #MOE_OK; #MOE_E_RANGE past the end; #MOE_E_NOTFOUND for a dense layer
 * @since 0.2.0
 */
MOE_API int moe_session_router(moe_session *s, uint32_t layer, moe_router **out);
/**
 * Makes the routing of one session that of another: recipes, policies, steering, replaced experts.
 * Sequences' limits and overrides are copied for those that both have.
 * @param dst session to change
 * @param src session to copy; of the same model
 * @return #MOE_OK; #MOE_E_STATE for another model, or a policy that cannot be shared (one with a state and
 *         no `create`); #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_session_copy_routing(moe_session *dst, const moe_session *src);
/**
 * Tells what a router is.
 * @param r router
 * @param out filled in
 * @return #MOE_OK; #MOE_E_STATE for all layers
 * @since 0.2.0
 */
MOE_API int moe_router_get_info(const moe_router *r, moe_router_info *out);
/**
 * A router's recipe.
 * @param r router
 * @param which #MOE_SPEC_CURRENT or #MOE_SPEC_NATIVE
 * @param out filled in
 * @return #MOE_OK; #MOE_E_STATE for all layers
 * @since 0.2.0
 */
MOE_API int moe_router_get_spec(const moe_router *r, int which, moe_route_spec *out);
/**
 * Changes the recipe. Steering stays. A policy of the program's own goes.
 * @param r router
 * @param spec read during the call only
 * @return #MOE_OK; #MOE_E_INVALID says which field, or which combination, is illegal and why;
 *         #MOE_E_UNSUPPORTED; #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_router_set_spec(moe_router *r, const moe_route_spec *spec);
/**
 * Changes the recipe by text: `name` or `name:key=value,...`, e.g. "topp:p=0.4,kmin=1", "topk:k=2",
 * "deepseek-v3:k=8,groups=8,topgroups=4,scale=2.5", "native", "current:k=3". Rules start from the model's own
 * recipe and change what they name, so that a text always means the same ("current" starts from the recipe in
 * use); recipes of model families replace all of it. docs/routing.md lists names and keys.
 * @param r router
 * @param text see there
 * @return as moe_router_set_spec(); the message tells the place in the text
 * @since 0.2.0
 */
MOE_API int moe_router_set_named(moe_router *r, const char *text);
/**
 * The current recipe as text that moe_router_set_named() takes.
 * @param r router
 * @param dst receives the text, not zero-terminated; NULL if cap is 0
 * @param cap room in dst
 * @param len receives the number of bytes, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER; #MOE_E_STATE for all layers; #MOE_E_UNSUPPORTED for a custom policy
 * @since 0.2.0
 */
MOE_API int moe_router_get_named(const moe_router *r, char *dst, size_t cap, size_t *len);
/**
 * Name of a rule or family recipe that moe_router_set_named() knows.
 * @param i 0 and up
 * @param summary receives one line about it, static; may be NULL
 * @return static text; NULL past the end
 * @since 0.2.0
 */
MOE_API const char *moe_policy_name(size_t i, const char **summary);
/**
 * Back to the model's own routing: recipe, steering, limits, overrides, experts.
 * @param r router
 * @return #MOE_OK; #MOE_E_STATE
 * @since 0.2.0
 */
MOE_API int moe_router_reset(moe_router *r);
/**
 * Says for every expert what it may do.
 * @param r router
 * @param use [n] of MOE_USE_*
 * @param n n_experts
 * @return #MOE_OK; #MOE_E_INVALID (wrong n, unknown value, more forced experts than a token gets, no expert
 *         left, forced experts with a rule that cannot honour them), #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_router_set_use(moe_router *r, const uint8_t *use, size_t n);
/**
 * What every expert may do.
 * @param r router
 * @param use receives [n] of MOE_USE_*
 * @param n n_experts
 * @return #MOE_OK; #MOE_E_INVALID (wrong n); #MOE_E_STATE for all layers
 * @since 0.2.0
 */
MOE_API int moe_router_get_use(const moe_router *r, uint8_t *use, size_t n);
/**
 * Sets a number for every expert.
 * @param r router
 * @param kind MOE_EDIT_*
 * @param values [n]; finite. NULL (with n = 0): the neutral value for all
 * @param n n_experts
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NUMERIC, #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_router_set_values(moe_router *r, int kind, const float *values, size_t n);
/**
 * A number of every expert.
 * @param r router
 * @param kind MOE_EDIT_*
 * @param values receives [n]
 * @param n n_experts
 * @return #MOE_OK; #MOE_E_INVALID; #MOE_E_STATE for all layers
 * @since 0.2.0
 */
MOE_API int moe_router_get_values(const moe_router *r, int kind, float *values, size_t n);
/**
 * Limits a sequence to some experts; for its tokens the others are banned as by #MOE_USE_BAN.
 * @param r router
 * @param seq sequence, or #MOE_ALL_SEQS
 * @param ids [n] experts; NULL (with n = 0): no limit
 * @param n number of ids
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_INVALID (no expert left), #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_router_set_limit(moe_router *r, moe_seq seq, const uint32_t *ids, size_t n);
/**
 * Adds an override row. Of several that fit a token the one added last counts.
 * @param r router
 * @param o read during the call only
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_RANGE, #MOE_E_NUMERIC (a NaN, or nothing above -infinity),
 *         #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_router_add_override(moe_router *r, const moe_route_override *o);
/**
 * Removes all override rows.
 * @param r router
 * @return #MOE_OK; #MOE_E_STATE
 * @since 0.2.0
 */
MOE_API int moe_router_clear_overrides(moe_router *r);
/**
 * The routing of the rows computed last (the last sub-batch of the last eval). Needs a session made with
 * #MOE_SESSION_KEEP_ROUTES.
 * @param r router
 * @param out filled in; pointers are valid until the next eval, load, reset or free
 * @return #MOE_OK; #MOE_E_STATE for all layers, without the flag, or before the first eval
 * @since 0.2.0
 */
MOE_API int moe_router_last(const moe_router *r, moe_route_view *out);
/**
 * Routes rows of the program's own, at positions 0 and up of sequence 0. Stateful policies see them too.
 * @param r router
 * @param hidden [n_rows][dim]: the router's input, i.e. after the norm
 * @param n_rows 1 .. n_batch_max
 * @param out filled in; pointers are valid until the next call on this session. token is -1
 * @return #MOE_OK; #MOE_E_INVALID; failures as moe_session_eval_batch(); #MOE_E_STATE for all layers
 * @since 0.2.0
 */
MOE_API int moe_router_route(moe_router *r, const float *hidden, size_t n_rows, moe_route_view *out);
/**
 * The bias of runtime null experts with which `n_rows` rows of logits use `target` real experts on average
 * (AdaMoE): set it as null_bias. Found by bisection.
 * @param spec recipe with n_null > 0
 * @param logits [n_rows][n_experts]
 * @param n_rows at least 1
 * @param n_experts at least 1
 * @param target above 0, below the recipe's top_k
 * @param bias receives the bias
 * @param reached receives the average with that bias: the nearest that can be had; may be NULL
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NUMERIC, #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_route_null_bias(const moe_route_spec *spec, const float *logits, size_t n_rows,
                                size_t n_experts, double target, float *bias, double *reached);
/**
 * Routes one row of logits by a recipe, outside of any session: for experiments and tests.
 * @param spec recipe; not EXPERT_CHOICE, no capacity
 * @param logits [n_experts + n_null]: null experts' logits stand here, null_bias is not read
 * @param n_experts 1 .. 65536
 * @param token for HASH and TABLE
 * @param pos for RANDOM
 * @param expert receives the experts, best first; room for max(n_experts, top_k)
 * @param weight receives their weights
 * @param n receives their number
 * @return #MOE_OK; failures as moe_router_set_spec(); #MOE_E_NUMERIC
 * @since 0.2.0
 */
MOE_API int moe_route_row(const moe_route_spec *spec, const float *logits, size_t n_experts, moe_token token,
                          moe_pos pos, uint32_t *expert, float *weight, size_t *n);

/** What an expert is now. */
typedef struct moe_expert_info {
    size_t size;         /**< sizeof(moe_expert_info) */
    uint32_t layer;      /**< its layer */
    uint32_t index;      /**< its number there */
    int32_t type_gate;   /**< MOE_TYPE_* of the matrices in use */
    int32_t type_up;     /**< likewise */
    int32_t type_down;   /**< likewise */
    uint32_t dim;        /**< width of input and output */
    uint32_t dim_ff;     /**< width inside */
    uint32_t use;        /**< MOE_USE_* */
    uint32_t source;     /**< MOE_SOURCE_*: whose weights it uses */
    uint32_t src_layer;  /**< redirected: layer of the expert used instead */
    uint32_t src_index;  /**< redirected: its number */
    uint32_t reserved;   /**< 0 */
    uint64_t bytes;      /**< of the weights in use; 0 for a function */
    float logit_bias;    /**< #MOE_EDIT_LOGIT_BIAS */
    float select_bias;   /**< #MOE_EDIT_SELECT_BIAS */
    float pre;           /**< #MOE_EDIT_PRE */
    float post;          /**< #MOE_EDIT_POST */
    float gain;          /**< #MOE_EDIT_GAIN */
    float reserved_f;    /**< 0 */
} moe_expert_info;
/** Start value of moe_expert_info. */
#define MOE_EXPERT_INFO_INIT                                                                                 \
    {sizeof(moe_expert_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f}

#define MOE_SOURCE_OWN 0      /**< the model's */
#define MOE_SOURCE_REDIRECT 1 /**< another expert's: moe_expert_redirect() */
#define MOE_SOURCE_WEIGHTS 2  /**< brought ones: moe_expert_replace() */
#define MOE_SOURCE_FUNCTION 3 /**< a function: moe_expert_replace_fn() */

#define MOE_EXPERT_GATE 0 /**< gate matrix [dim_ff][dim] */
#define MOE_EXPERT_UP 1   /**< up matrix [dim_ff][dim] */
#define MOE_EXPERT_DOWN 2 /**< down matrix [dim][dim_ff] */

#define MOE_WEIGHTS_BORROW 1u /**< the data is used where it lies: it must outlive the weights */

/** Weights for an expert: rows of the matrices one after the other, in the blocks of their types. */
typedef struct moe_expert_weights {
    size_t size;         /**< sizeof(moe_expert_weights) */
    uint32_t flags;      /**< MOE_WEIGHTS_* */
    int32_t type_gate;   /**< MOE_TYPE_* */
    int32_t type_up;     /**< MOE_TYPE_* */
    int32_t type_down;   /**< MOE_TYPE_* */
    uint32_t dim;        /**< width of input and output: the model's */
    uint32_t dim_ff;     /**< width inside: the model's */
    const void *gate;    /**< [dim_ff][dim]; aligned to 4 bytes if borrowed */
    const void *up;      /**< [dim_ff][dim] */
    const void *down;    /**< [dim][dim_ff] */
    uint64_t gate_bytes; /**< must be what type and shape make it */
    uint64_t up_bytes;   /**< likewise */
    uint64_t down_bytes; /**< likewise */
} moe_expert_weights;
/** Start value of moe_expert_weights. */
#define MOE_EXPERT_WEIGHTS_INIT {sizeof(moe_expert_weights), 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, 0, 0, 0}

/**
 * Makes weights for experts of a model. They can be given to any number of experts and sessions.
 * @param out receives them, NULL on failure; released with moe_weights_release()
 * @param m model: its memory hook and widths
 * @param w read during the call only; with #MOE_WEIGHTS_BORROW its data lives on
 * @return #MOE_OK; #MOE_E_INVALID (names the member), #MOE_E_UNSUPPORTED (type), #MOE_E_NUMERIC (a weight is
 *         not finite), #MOE_E_VERSION, #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API MOE_NODISCARD int moe_weights_create(moe_weights **out, moe_model *m, const moe_expert_weights *w);
/**
 * Adds a reference (atomic).
 * @param w weights; NULL is fine
 * @return w
 * @since 0.2.0
 */
MOE_API moe_weights *moe_weights_retain(moe_weights *w);
/**
 * Drops a reference (atomic); the last one frees. Experts that use them hold one of their own.
 * @param w weights; NULL is fine
 * @since 0.2.0
 */
MOE_API void moe_weights_release(moe_weights *w);

/**
 * An expert of a router.
 * @param r router; of all layers: the expert of that index in every layer
 * @param index 0 .. n_experts-1
 * @param out receives it, borrowed: lives as long as the session; NULL on failure
 * @return #MOE_OK; #MOE_E_RANGE past the end
 * @since 0.2.0
 */
MOE_API int moe_router_expert(moe_router *r, uint32_t index, moe_expert **out);
/**
 * Tells what an expert is now.
 * @param e expert
 * @param out filled in
 * @return #MOE_OK; #MOE_E_STATE for all layers
 * @since 0.2.0
 */
MOE_API int moe_expert_get_info(const moe_expert *e, moe_expert_info *out);
/**
 * Says what one expert may do.
 * @param e expert
 * @param use MOE_USE_*
 * @return as moe_router_set_use()
 * @since 0.2.0
 */
MOE_API int moe_expert_set_use(moe_expert *e, int use);
/**
 * Sets one of an expert's numbers.
 * @param e expert
 * @param kind MOE_EDIT_*
 * @param value finite
 * @return as moe_router_set_values()
 * @since 0.2.0
 */
MOE_API int moe_expert_set_value(moe_expert *e, int kind, float value);
/**
 * Reads a matrix of the weights in use, converted to f32.
 * @param e expert
 * @param which #MOE_EXPERT_GATE, #MOE_EXPERT_UP, #MOE_EXPERT_DOWN
 * @param dst receives the rows; NULL if cap is 0
 * @param cap room in dst, in floats
 * @param n receives the number of floats, needed ones with #MOE_E_BUFFER
 * @return #MOE_OK; #MOE_E_BUFFER; #MOE_E_STATE for all layers; #MOE_E_NOTFOUND for a function; #MOE_E_IO
 * @since 0.2.0
 */
MOE_API int moe_expert_read(const moe_expert *e, int which, float *dst, size_t cap, size_t *n);
/**
 * Has an expert use brought weights, in this session.
 * @param e expert
 * @param w weights; the session retains them
 * @return #MOE_OK; #MOE_E_INVALID (widths), #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_expert_replace(moe_expert *e, moe_weights *w);
/**
 * Has an expert use another expert's own weights, in this session: for merging and pruning studies.
 * @param e expert
 * @param layer layer of the other; #MOE_ALL_LAYERS: the same as e's
 * @param index number of the other
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_NOTFOUND (a dense layer), #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_expert_redirect(moe_expert *e, uint32_t layer, uint32_t index);
/**
 * Has an expert use its own weights again. Uses and numbers stay.
 * @param e expert
 * @return #MOE_OK; #MOE_E_STATE
 * @since 0.2.0
 */
MOE_API int moe_expert_restore(moe_expert *e);
/**
 * Runs one expert on rows of the program's own: no routing weight, no gain.
 * @param e expert
 * @param x [n_rows][dim]
 * @param n_rows 1 .. n_batch_max
 * @param y receives [n_rows][dim]; may be x
 * @return #MOE_OK; #MOE_E_INVALID; #MOE_E_STATE for all layers; failures of the store or the function
 * @since 0.2.0
 */
MOE_API int moe_expert_apply(moe_expert *e, const float *x, size_t n_rows, float *y);

/**
 * Writes the session's steering as JSON (docs/formats/steering.md): every router's recipe, uses, numbers,
 * limits, overrides and redirections that differ from the model's own, and the model's fingerprint.
 * @param s session
 * @param fn receives the bytes in order, in pieces
 * @param user handed to fn
 * @return #MOE_OK; #MOE_E_UNSUPPORTED if there is something that a file cannot hold (a policy of the
 *         program's own, brought weights, a function: the message says where); a negative result of fn
 *         unchanged; #MOE_E_CALLBACK for a positive one; #MOE_E_NOMEM, #MOE_E_STATE
 * @since 0.2.0
 */
MOE_API int moe_session_save_steering(const moe_session *s, moe_write_fn fn, void *user);
/**
 * Replaces the session's steering by that of a text. On failure the session is as before.
 * @param s session
 * @param text JSON, UTF-8
 * @param n bytes of text
 * @return #MOE_OK; #MOE_E_FORMAT (says line and place), #MOE_E_STATE (made for another model), #MOE_E_VERSION,
 *         #MOE_E_INVALID (a combination that the setters would refuse), #MOE_E_RANGE, #MOE_E_NUMERIC, #MOE_E_NOMEM
 * @since 0.2.0
 */
MOE_API int moe_session_load_steering(moe_session *s, const char *text, size_t n);
/**
 * moe_session_save_steering() to a file that appears under its name only when whole.
 * @param s session
 * @param path UTF-8; an existing regular file is replaced
 * @return as moe_session_save_steering(); #MOE_E_IO, #MOE_E_NOTFOUND (no such folder)
 * @since 0.2.0
 */
MOE_API int moe_session_save_steering_file(const moe_session *s, const char *path);
/**
 * moe_session_load_steering() from a file.
 * @param s session
 * @param path UTF-8
 * @return as moe_session_load_steering(); #MOE_E_NOTFOUND, #MOE_E_IO
 * @since 0.2.0
 */
MOE_API int moe_session_load_steering_file(moe_session *s, const char *path);

/** @} */

/* ----------------------------------------------------------------------------------------- several sessions */
/** @defgroup mixing Several sessions, one token
 * Logits of several sessions made into one row, for the sampler.
 * @{ */

/** SCMoE contrastive decoding (Shi et al. 2024): a strong and a weak routing of the same text. */
typedef struct moe_contrast {
    size_t size;     /**< sizeof(moe_contrast) */
    float alpha;     /**< tokens below max(strong) + ln(alpha) are out: above 0, at most 1; 0 = 0.1 */
    float beta;      /**< strength: (1 + beta) * strong - beta * weak; at least 0 */
    float temp;      /**< divides the strong logits first; 0 = 1 */
    float temp_weak; /**< divides the weak ones; 0 = 1 */
} moe_contrast;
/** Start value of moe_contrast: the paper's settings. */
#define MOE_CONTRAST_INIT {sizeof(moe_contrast), 0.1f, 0.5f, 1.0f, 1.0f}

/**
 * z[v] = (1 + beta) strong[v] - beta weak[v] where strong[v] >= max(strong) + ln(alpha), else -infinity.
 * @param strong [n]
 * @param weak [n]
 * @param n at least 1
 * @param o settings, or NULL for the paper's
 * @param out receives [n]; may be strong or weak
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NUMERIC (a NaN, +infinity, or a row of -infinity), #MOE_E_VERSION
 * @since 0.2.0
 */
MOE_API int moe_contrast_logits(const float *strong, const float *weak, size_t n, const moe_contrast *o,
                                float *out);
/**
 * The same for a row of logits of two sessions.
 * @param strong session with the ordinary routing
 * @param weak session with the weak one, at the same text; of the same vocabulary
 * @param row as for moe_session_logits()
 * @param o settings, or NULL for the paper's
 * @param out receives [n_vocab]
 * @param cap room in out
 * @return as moe_contrast_logits(); #MOE_E_STATE (vocabularies differ), #MOE_E_RANGE, #MOE_E_BUFFER
 * @since 0.2.0
 */
MOE_API int moe_session_contrast(const moe_session *strong, const moe_session *weak, size_t row,
                                 const moe_contrast *o, float *out, size_t cap);

#define MOE_MIX_LOGITS 1 /**< weighted mean of logits: a product of experts */
#define MOE_MIX_PROBS 2  /**< logarithm of the weighted mean of probabilities */
#define MOE_MIX_LSE 3    /**< log of the weighted sum of exp(logit) */

/**
 * Mixes rows of logits.
 * @param mode MOE_MIX_*
 * @param logits [n] rows of [n_vocab]
 * @param weights [n], at least 0, not all 0; divided by their sum (not for #MOE_MIX_LSE). NULL = all 1
 * @param n 1 .. 256
 * @param n_vocab at least 1
 * @param out receives [n_vocab]; may be one of the rows
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NUMERIC (a NaN, +infinity, a row of -infinity, or with
 *         #MOE_MIX_LOGITS no token that is possible in all rows)
 * @since 0.2.0
 */
MOE_API int moe_mix_logits(int mode, const float *const *logits, const float *weights, size_t n,
                           size_t n_vocab, float *out);
/**
 * The same for a row of logits of several sessions, of one or several models.
 * @param mode MOE_MIX_*
 * @param s [n] sessions
 * @param weights as for moe_mix_logits()
 * @param n 1 .. 256
 * @param row as for moe_session_logits()
 * @param out receives [n_vocab]
 * @param cap room in out
 * @return as moe_mix_logits(); #MOE_E_STATE (vocabularies differ: the message says where), #MOE_E_RANGE,
 *         #MOE_E_BUFFER
 * @since 0.2.0
 */
MOE_API int moe_session_mix(int mode, const moe_session *const *s, const float *weights, size_t n, size_t row,
                            float *out, size_t cap);
/**
 * Whether two tokenizers have the same vocabulary: as many tokens, each with the same bytes and kind
 * (#MOE_ATTR_END aside: a base model and its chat model may end differently).
 * @param a tokenizer
 * @param b tokenizer
 * @param first receives the first token that differs, #MOE_TOKEN_NONE if none does; may be NULL
 * @return 1 or 0; 0 if one is NULL
 * @since 0.2.0
 */
MOE_API int moe_tokenizer_same(const moe_tokenizer *a, const moe_tokenizer *b, moe_token *first);

/** The shape of a MoE layer, for moe_shape_measure(). */
typedef struct moe_shape {
    size_t size;            /**< sizeof(moe_shape) */
    uint32_t dim;           /**< width of the residual stream */
    uint32_t dim_ff_expert; /**< width of a routed expert */
    uint32_t dim_ff_shared; /**< width of all shared experts together */
    uint32_t n_experts;     /**< routed experts */
    uint32_t top_k;         /**< of these, used by a token */
    uint32_t n_matrices;    /**< matrices of an expert; 0 = 3 (gate, up, down) */
} moe_shape;
/** Start value of moe_shape. */
#define MOE_SHAPE_INIT {sizeof(moe_shape), 0, 0, 0, 0, 0, 0}

/** Measures of a MoE layer (Tian et al. 2025, "Towards Greater Leverage"). */
typedef struct moe_shape_info {
    size_t size;        /**< sizeof(moe_shape_info) */
    double activation;  /**< (top_k + shared) / (n_experts + shared), shared in units of a routed expert */
    double granularity; /**< 2 dim / dim_ff_expert */
    uint64_t n_params;  /**< of router, routed and shared experts */
    uint64_t n_active;  /**< of these, used for one token */
} moe_shape_info;
/** Start value of moe_shape_info. */
#define MOE_SHAPE_INFO_INIT {sizeof(moe_shape_info), 0.0, 0.0, 0, 0}

/**
 * Calculates the measures of a layer's shape.
 * @param shape shape
 * @param out filled in
 * @return #MOE_OK; #MOE_E_INVALID (names the field), #MOE_E_VERSION, #MOE_E_RANGE (does not fit 64 bits)
 * @since 0.2.0
 */
MOE_API int moe_shape_measure(const moe_shape *shape, moe_shape_info *out);

/** @} */

/* ------------------------------------------------------------------------------------------------ sampler */
/** @defgroup sampler Sampler
 * A chain of stages from a row of logits to a token (docs/sampling.md). One thread at a time.
 * @{ */

/* Kinds of sampling stages; the fields of moe_sample_stage that each reads are in docs/sampling.md. */
#define MOE_SAMPLE_GREEDY 1       /**< the best candidate, ties to the lower id */
#define MOE_SAMPLE_DIST 2         /**< a draw from what is left (seed) */
#define MOE_SAMPLE_TEMP 3         /**< a = temperature; 0 = greedy */
#define MOE_SAMPLE_TEMP_DYNAMIC 4 /**< a = temperature, b = range, c = exponent of the normalised entropy */
#define MOE_SAMPLE_TOP_K 5        /**< n */
#define MOE_SAMPLE_TOP_P 6        /**< a = p, n = keep at least */
#define MOE_SAMPLE_MIN_P 7        /**< a = p, n = keep at least */
#define MOE_SAMPLE_TYPICAL 8      /**< a = p, n = keep at least */
#define MOE_SAMPLE_TOP_N_SIGMA 9  /**< a = number of standard deviations */
#define MOE_SAMPLE_XTC 10         /**< a = probability, b = threshold, n = keep at least (seed) */
#define MOE_SAMPLE_PENALTIES 11   /**< n = window (-1 = all), a = repetition, b = frequency, c = presence */
#define MOE_SAMPLE_DRY 12         /**< n = window, a = multiplier, b = base, m = allowed; ids = breakers */
#define MOE_SAMPLE_MIROSTAT 13    /**< version 2: a = tau, b = eta (seed) */
#define MOE_SAMPLE_LOGIT_BIAS 14  /**< values[i] is added to the logit of ids[i] */

/** One stage. Arrays are copied. A field that the kind does not read must be zero. */
typedef struct moe_sample_stage {
    size_t size;          /**< sizeof(moe_sample_stage) */
    int32_t kind;         /**< MOE_SAMPLE_* */
    int32_t n;            /**< see the kind */
    int32_t m;            /**< see the kind */
    float a;              /**< see the kind */
    float b;              /**< see the kind */
    float c;              /**< see the kind */
    uint64_t seed;        /**< of kinds that draw random numbers */
    const moe_token *ids; /**< [n_data] */
    const float *values;  /**< [n_data] */
    size_t n_data;        /**< entries of ids and values */
} moe_sample_stage;
/** Start value of moe_sample_stage. */
#define MOE_SAMPLE_STAGE_INIT {sizeof(moe_sample_stage), 0, 0, 0, 0.0f, 0.0f, 0.0f, 0, NULL, NULL, 0}

/** Candidates under way through the chain. A user stage may reorder, edit and shrink them (to n >= 1). */
typedef struct moe_candidates {
    size_t size;       /**< sizeof(moe_candidates) */
    size_t n;          /**< candidates left */
    moe_token *id;     /**< [n] */
    float *logit;      /**< [n] */
    int64_t picked;    /**< index of the chosen candidate, or -1 */
    uint32_t sorted;   /**< 1 if logits fall */
    uint32_t reserved; /**< 0 */
} moe_candidates;
/** Start value of moe_candidates. */
#define MOE_CANDIDATES_INIT {sizeof(moe_candidates), 0, NULL, NULL, -1, 0, 0}

/**
 * Makes an empty chain; without a picking stage the best candidate is picked.
 * @param out receives the sampler, NULL on failure; freed with moe_sampler_free()
 * @param a memory hook, copied; NULL = malloc
 * @return #MOE_OK; #MOE_E_NOMEM, #MOE_E_INVALID, #MOE_E_VERSION (allocator)
 * @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_sampler_create(moe_sampler **out, const moe_allocator *a);
/**
 * A copy with the same stages and state (custom stages keep their user pointer).
 * @param out receives the copy, NULL on failure; freed with moe_sampler_free()
 * @param p sampler to copy
 * @return #MOE_OK; #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_sampler_clone(moe_sampler **out, const moe_sampler *p);
/**
 * Frees a sampler.
 * @param p NULL is fine
 * @since 0.1.0
 */
MOE_API void moe_sampler_free(moe_sampler *p);
/**
 * Appends a stage. Nothing can follow a stage that picks (#MOE_SAMPLE_GREEDY, #MOE_SAMPLE_DIST,
 * #MOE_SAMPLE_MIROSTAT).
 * @param p sampler
 * @param stage read during the call only
 * @return #MOE_OK; #MOE_E_INVALID (names stage and field), #MOE_E_VERSION, #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API int moe_sampler_add(moe_sampler *p, const moe_sample_stage *stage);
/**
 * Appends stages from text: `name` or `name:key=value,...`, several separated by `;`, e.g.
 * "penalties:repeat=1.1;top-k:k=40;top-p:p=0.95;temp:t=0.8;dist:seed=7".
 * @param p sampler
 * @param text see docs/sampling.md for names and keys
 * @return #MOE_OK; #MOE_E_INVALID says what is wrong where, and nothing is added; #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API int moe_sampler_add_named(moe_sampler *p, const char *text);
/**
 * Appends a user stage.
 * @param p sampler
 * @param apply called with the candidates; non-zero stops the pick: negative values come out unchanged,
 *        positive ones as #MOE_E_ABORTED. May set `picked`. What it leaves is checked (#MOE_E_CALLBACK)
 * @param user handed to apply
 * @return #MOE_OK; #MOE_E_INVALID, #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API int moe_sampler_add_custom(moe_sampler *p, int (*apply)(moe_candidates *c, void *user), void *user);
/**
 * Forgets accepted tokens and restarts the random numbers; the stages stay.
 * @param p sampler
 * @return #MOE_OK
 * @since 0.1.0
 */
MOE_API int moe_sampler_reset(moe_sampler *p);
/**
 * Sets the seed of every stochastic stage (each draws a stream of its own from it) and restarts them.
 * @param p sampler
 * @param seed any number
 * @return #MOE_OK
 * @since 0.1.0
 */
MOE_API int moe_sampler_set_seed(moe_sampler *p, uint64_t seed);
/**
 * Tells the chain that a token was taken (history of penalties and DRY; state of mirostat).
 * @param p sampler
 * @param id token
 * @return #MOE_OK; #MOE_E_RANGE for a negative token, #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API int moe_sampler_accept(moe_sampler *p, moe_token id);
/**
 * Runs the chain over the caller's candidates. Those without a finite logit are dropped first.
 * @param p sampler
 * @param c edited in place; `picked` tells the choice, -1 if no stage picks
 * @return #MOE_OK; #MOE_E_NUMERIC if no logit is finite, #MOE_E_RANGE for a negative token, #MOE_E_ABORTED
 *         and #MOE_E_CALLBACK (user stages), #MOE_E_INVALID, #MOE_E_VERSION, #MOE_E_NOMEM
 * @since 0.1.0
 */
MOE_API int moe_sampler_apply(moe_sampler *p, moe_candidates *c);
/**
 * Runs the chain over a row of logits; does not accept the token.
 * @param p sampler
 * @param logits [n_vocab]
 * @param n_vocab at least 1
 * @param out receives the token, #MOE_TOKEN_NONE on failure
 * @return as moe_sampler_apply()
 * @since 0.1.0
 */
MOE_API int moe_sampler_pick_logits(moe_sampler *p, const float *logits, size_t n_vocab, moe_token *out);
/**
 * Runs the chain over a row of a session's logits; does not accept the token.
 * @param p sampler
 * @param s session
 * @param row as for moe_session_logits()
 * @param out receives the token, #MOE_TOKEN_NONE on failure
 * @return as moe_sampler_apply(); #MOE_E_RANGE if there are fewer rows
 * @since 0.1.0
 */
MOE_API int moe_sampler_pick(moe_sampler *p, const moe_session *s, size_t row, moe_token *out);
/**
 * One step of a generation: what goes in, what comes out, where it stands. Begin with #MOE_NEXT_INIT, set `stream`
 * and `text` if text is wanted, and leave the rest to moe_session_next().
 */
typedef struct moe_next {
    size_t size;        /**< sizeof(moe_next) */
    moe_token id;       /**< in: evaluated first, #MOE_TOKEN_NONE: nothing is; out: the token that was picked */
    moe_seq seq;        /**< the sequence that goes on */
    uint32_t flags;     /**< 0; internal bits above 0xffff */
    uint32_t attr;      /**< out: MOE_ATTR_* of id; #MOE_ATTR_END: the generation should stop here */
    moe_stream *stream; /**< as for moe_tokenizer_stream(); NULL: no text is wanted */
    char *text;         /**< [cap] out: the text that id completes, and a zero behind it; NULL if cap is 0 */
    size_t cap;         /**< room in text; the zero takes 1 */
    size_t len;         /**< out: bytes of text, the zero not counted; needed ones with #MOE_E_BUFFER */
} moe_next;
/** Start value of moe_next: nothing to evaluate, sequence 0, no text. */
#define MOE_NEXT_INIT {sizeof(moe_next), MOE_TOKEN_NONE, 0, 0, 0, NULL, NULL, 0, 0}

/**
 * Makes the next token: evaluates the one before (`io->id`), picks from row 0 of the logits, accepts the token and
 * decodes its text. It is moe_session_eval_batch(), moe_sampler_pick(), moe_sampler_accept(), moe_tokenizer_attr()
 * and moe_tokenizer_stream() in one call, with the same results; an end token gets no text. Nothing is lost on
 * failure: *io says how far it came, and the next call goes on from there (with more room in `text`, say). The last
 * token is not evaluated; moe_session_eval() does that where a text is to go on.
 * @param s session; its last eval left the logits of one sequence
 * @param p sampler
 * @param io where the generation stands; moved on
 * @return #MOE_OK; as moe_session_eval_batch(), moe_sampler_pick() and moe_sampler_accept(); #MOE_E_BUFFER (text);
 *         #MOE_E_INVALID (arguments), #MOE_E_VERSION (*io, its stream)
 * @since 0.2.0
 */
MOE_API MOE_NODISCARD int moe_session_next(moe_session *s, moe_sampler *p, moe_next *io);
/**
 * The most probable tokens of a row with their natural-log probabilities, best first.
 * @param s session
 * @param row as for moe_session_logits()
 * @param k at most n_vocab
 * @param ids receives k tokens
 * @param logprob receives k logarithms
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_NUMERIC
 * @since 0.1.0
 */
MOE_API int moe_session_logprobs(const moe_session *s, size_t row, size_t k, moe_token *ids, float *logprob);
/**
 * Natural-log probability of one token in a row.
 * @param s session
 * @param row as for moe_session_logits()
 * @param id token
 * @param logprob receives the logarithm
 * @return #MOE_OK; #MOE_E_RANGE, #MOE_E_NUMERIC
 * @since 0.1.0
 */
MOE_API int moe_session_logprob(const moe_session *s, size_t row, moe_token id, float *logprob);

/** @} */

/* ----------------------------------------------------------------------------------------------- quantise */
/** @defgroup quantise Quantise
 * Smaller copies of model files.
 * @{ */

/** Options of moe_quantize(). */
typedef struct moe_quantize_options {
    size_t size;                    /**< sizeof(moe_quantize_options) */
    const char *recipe;             /**< a type name ("Q8_0") or a mix ("Q4_K_M"); see moe_recipe_name() */
    const char *rules;              /**< "pattern=TYPE,...": `*`, `?` match, the first match wins; or NULL */
    uint32_t flags;                 /**< 0 */
    int32_t n_threads;              /**< 0 = one per usable CPU. Does not change the result */
    moe_progress_fn progress;       /**< may be NULL */
    void *progress_user;            /**< handed to progress */
    const moe_allocator *allocator; /**< NULL = malloc */
} moe_quantize_options;
/** Start value of moe_quantize_options. */
#define MOE_QUANTIZE_OPTIONS_INIT {sizeof(moe_quantize_options), NULL, NULL, 0, 0, NULL, NULL, NULL}

/**
 * Writes a quantised copy of a GGUF model. Atomic: dst appears only when whole; an interrupted or failed run
 * leaves nothing. Tensors that are not F32, F16 or BF16, and norms, biases and routers, are kept as they are.
 * @param src file to read, or the first of a split set
 * @param dst file to write, one file; not src
 * @param o options; the recipe is required
 * @return #MOE_OK; #MOE_E_INVALID (recipe, rules), #MOE_E_VERSION (options), #MOE_E_NOTFOUND, #MOE_E_IO,
 *         #MOE_E_FORMAT, #MOE_E_UNSUPPORTED, #MOE_E_NOMEM, #MOE_E_NUMERIC (a weight is not finite, or does
 *         not fit), #MOE_E_ABORTED (progress), #MOE_E_FULL (threads)
 * @since 0.1.0
 */
MOE_API int moe_quantize(const char *src, const char *dst, const moe_quantize_options *o);
/**
 * Name of a recipe.
 * @param i 0 and up
 * @return static text; NULL past the end
 * @since 0.1.0
 */
MOE_API const char *moe_recipe_name(size_t i);

/** @} */

#ifdef __cplusplus
}
#endif
#endif
