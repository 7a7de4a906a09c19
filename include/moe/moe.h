/* SPDX-License-Identifier: MIT */
/**
 * @file moe.h
 * libmoe: load and run Mixture-of-Experts language models on the CPU. Everything an application needs.
 *
 * Conventions that hold for every function:
 *  - `int` results are a status: 0 (MOE_OK) or a negative MOE_E_* code. moe_last_error() then tells what, where, expected
 *    and found. The library never exits, aborts or prints.
 *  - Structs start with `size`; write `moe_x o = MOE_X_INIT;`. A field left at zero means its default. The library reads
 *    `min(size, known)` bytes and refuses non-zero bytes that it does not know (MOE_E_VERSION).
 *  - Output structs: set `size` (MOE_X_INIT does); only that many bytes are written.
 *  - Strings are UTF-8 and zero-terminated unless a length goes with them.
 *  - Text output: `(dst, cap, &len)`. `len` always receives the full length in bytes without terminator; if it does not fit
 *    the result is MOE_E_BUFFER and nothing useful is in dst. `(NULL, 0, &len)` asks for the length.
 *  - A model and its tokenizer are immutable and may be used from any number of threads. A session and a sampler belong to
 *    one thread at a time; only moe_session_interrupt() may be called from elsewhere.
 */
#ifndef MOE_H
#define MOE_H

#include <stddef.h>
#include <stdint.h>
#include "version.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------ basic types */

typedef struct moe_model moe_model;         /**< an opened model: immutable, shared, counted */
typedef struct moe_tokenizer moe_tokenizer; /**< text <-> tokens: immutable */
typedef struct moe_session moe_session;     /**< KV cache, positions, logits: all that changes */
typedef struct moe_sampler moe_sampler;     /**< a chain of sampling stages with its own state */

typedef int32_t moe_token; /**< index into the vocabulary */
typedef int32_t moe_pos;   /**< position in a sequence, from 0 */
typedef int32_t moe_seq;   /**< sequence of a session, 0 .. n_seq_max-1 */

#define MOE_TOKEN_NONE ((moe_token)-1)
#define MOE_EXPERT_NONE UINT32_MAX /**< "no expert" in routing results */
#define MOE_ALL_LAYERS UINT32_MAX

/** Writes n bytes somewhere; 0 on success, a negative value to stop (handed out unchanged). */
typedef int (*moe_write_fn)(const void *data, size_t n, void *user);
/** Reads exactly n bytes; 0 on success, a negative value (end of data included) to stop. */
typedef int (*moe_read_fn)(void *data, size_t n, void *user);

/** Status codes. Values are pinned; new ones are added at the end. */
#define MOE_OK 0
#define MOE_E_INVALID (-1)      /**< a wrong argument */
#define MOE_E_NOMEM (-2)        /**< an allocation failed */
#define MOE_E_IO (-3)           /**< the operating system refused a file operation */
#define MOE_E_FORMAT (-4)       /**< a damaged or self-contradictory file */
#define MOE_E_UNSUPPORTED (-5)  /**< a sound file or request that this build cannot serve */
#define MOE_E_VERSION (-6)      /**< struct, file or library versions do not go together */
#define MOE_E_RANGE (-7)        /**< an index, token or position out of range */
#define MOE_E_STATE (-8)        /**< the call is not legal now (e.g. no logits yet) */
#define MOE_E_FULL (-9)         /**< no room left: KV cache, sequences, output rows, memory budget */
#define MOE_E_BUFFER (-10)      /**< the caller's buffer is too small; the needed size is reported */
#define MOE_E_NOTFOUND (-11)    /**< no such key, tensor, token or name */
#define MOE_E_ABORTED (-12)     /**< interrupted, or a progress callback said stop */
#define MOE_E_CALLBACK (-13)    /**< a callback broke its contract */
#define MOE_E_POLICY (-14)      /**< a routing policy returned an illegal result */
#define MOE_E_NUMERIC (-15)     /**< infinite or not-a-number values where finite ones are needed */
#define MOE_E_INTERNAL (-16)    /**< a fault of the library itself; please report it */

/** Element types of tensors; the values are those of the GGUF format and pinned. */
#define MOE_TYPE_F32 0
#define MOE_TYPE_F16 1
#define MOE_TYPE_Q4_0 2
#define MOE_TYPE_Q4_1 3
#define MOE_TYPE_Q5_0 6
#define MOE_TYPE_Q5_1 7
#define MOE_TYPE_Q8_0 8
#define MOE_TYPE_Q2_K 10
#define MOE_TYPE_Q3_K 11
#define MOE_TYPE_Q4_K 12
#define MOE_TYPE_Q5_K 13
#define MOE_TYPE_Q6_K 14
#define MOE_TYPE_IQ4_NL 20
#define MOE_TYPE_IQ4_XS 23
#define MOE_TYPE_BF16 30
#define MOE_TYPE_MXFP4 39

/* ---------------------------------------------------------------------------------------------------- library */

/** Version of the library in use, comparable with MOE_VERSION. @since 0.1.0 */
MOE_API uint32_t moe_version(void);
/** Same as text, e.g. "0.1.0". Static. @since 0.1.0 */
MOE_API const char *moe_version_string(void);
/** Compiler, build type, thread layer, compiled instruction sets, on one line. Static. @since 0.1.0 */
MOE_API const char *moe_build_info(void);
/** 1 if the build has the named feature ("openmp", "pool", "mmap", "avx2", "avx512", "vnni"), else 0. @since 0.1.0 */
MOE_API int moe_has_feature(const char *name);
/** The best instruction-set level of this CPU that the build has kernels for ("ref", "avx2", "avx512", ...). @since 0.1.0 */
MOE_API const char *moe_cpu_isa(void);
/** Name of a status code, e.g. "MOE_E_FORMAT"; "unknown status" for others. Never NULL. @since 0.1.0 */
MOE_API const char *moe_status_name(int status);
/**
 * Message of this thread's last failed call. Never NULL; empty after a call that succeeded. Valid until this thread's next
 * status-returning call. @since 0.1.0
 */
MOE_API const char *moe_last_error(void);
/** Number of supported model architectures. @since 0.1.0 */
MOE_API size_t moe_arch_count(void);
/** Name of architecture i as in `general.architecture`; NULL past the end. @since 0.1.0 */
MOE_API const char *moe_arch_name(size_t i);
/** Number of supported tensor types. @since 0.1.0 */
MOE_API size_t moe_type_count(void);
/** The i-th supported tensor type (MOE_TYPE_*), or -1 past the end. @since 0.1.0 */
MOE_API int moe_type_at(size_t i);
/** Name of a tensor type, e.g. "Q4_K"; NULL if unsupported. @since 0.1.0 */
MOE_API const char *moe_type_name(int type);
/** Number of compute kernels. @since 0.1.0 */
MOE_API size_t moe_kernel_count(void);
/** Name of kernel i and the instruction set chosen for it here; both static. MOE_E_RANGE past the end. @since 0.1.0 */
MOE_API int moe_kernel_at(size_t i, const char **name, const char **isa);

/** Memory hook. Both functions may be called from several threads at once. */
typedef struct moe_allocator {
    size_t size;
    void *(*alloc)(size_t n, size_t align, void *user); /**< n > 0, align a power of two; NULL when out of memory */
    void (*free)(void *p, size_t n, void *user);        /**< n as given to alloc; p is never NULL */
    void *user;
} moe_allocator;
#define MOE_ALLOCATOR_INIT {sizeof(moe_allocator), NULL, NULL, NULL}

/** Log levels: a logger gets messages up to its level. */
#define MOE_LOG_ERROR 1
#define MOE_LOG_WARN 2
#define MOE_LOG_INFO 3
#define MOE_LOG_DEBUG 4

/** Receives log lines (no line end). May be called from several threads at once. Without a logger nothing is said. */
typedef struct moe_logger {
    size_t size;
    int32_t level; /**< MOE_LOG_*; 0 = MOE_LOG_INFO */
    int32_t reserved;
    void (*write)(int level, const char *area, const char *msg, void *user);
    void *user;
} moe_logger;
#define MOE_LOGGER_INIT {sizeof(moe_logger), 0, 0, NULL, NULL}

/** Stages that report progress. */
#define MOE_PROGRESS_LOAD 1     /**< done/total in bytes of weights */
#define MOE_PROGRESS_PREFILL 2  /**< done/total in tokens of one eval, reported after each sub-batch */
#define MOE_PROGRESS_QUANTIZE 3 /**< done/total in bytes of weights */

/** One progress report. */
typedef struct moe_progress {
    size_t size;
    int32_t stage; /**< MOE_PROGRESS_* */
    int32_t reserved;
    uint64_t done, total;
} moe_progress;
/** Called on the thread that called the library. Return 0 to go on, non-zero to stop (MOE_E_ABORTED). */
typedef int (*moe_progress_fn)(const moe_progress *p, void *user);

/* ------------------------------------------------------------------------------------------------------ model */

#define MOE_OPEN_NO_MMAP 1u       /**< read the file instead of mapping it */
#define MOE_OPEN_METADATA_ONLY 2u /**< no weights: info, metadata and tokenizer only; sessions are refused */
#define MOE_OPEN_CHECK_DATA 4u    /**< also scan all weights for infinities and NaN (reads the whole file) */
#define MOE_OPEN_RESIDENT 8u      /**< experts are copied into private memory at open (resident store) */

/** Options of moe_model_open(). */
typedef struct moe_model_options {
    size_t size;
    uint32_t flags;         /**< MOE_OPEN_* */
    int32_t n_threads;      /**< threads for loading; 0 = one per CPU that this process may use */
    uint64_t memory_budget; /**< bytes that weights (as far as they are private) may take; 0 = no limit. Below the need: MOE_E_FULL */
    const char *isa_max;    /**< highest instruction set, e.g. "avx2" or "ref"; NULL = best of this CPU */
    const moe_allocator *allocator; /**< copied; NULL = malloc */
    const moe_logger *logger;       /**< copied; NULL = silent */
    moe_progress_fn progress;       /**< load progress; may be NULL */
    void *progress_user;
} moe_model_options;
#define MOE_MODEL_OPTIONS_INIT {sizeof(moe_model_options), 0, 0, 0, NULL, NULL, NULL, NULL, NULL}

/** What a model is. Strings live as long as the model. */
typedef struct moe_model_info {
    size_t size;
    const char *arch;      /**< e.g. "qwen3moe" */
    const char *name;      /**< general.name, or "" */
    const char *file_type; /**< the type most weight bytes have, e.g. "Q4_K" */
    uint32_t n_layers, n_moe_layers;
    uint32_t n_experts, n_shared, top_k; /**< of the MoE layers */
    uint32_t dim, dim_ff_expert, dim_ff_dense, dim_ff_shared;
    uint32_t n_heads, n_heads_kv, dim_head;
    uint32_t n_vocab, n_ctx_train;
    uint64_t n_params, n_active; /**< parameters in all, and used for one token */
    uint64_t bytes;              /**< of all tensors */
} moe_model_info;
#define MOE_MODEL_INFO_INIT {sizeof(moe_model_info), NULL, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

#define MOE_FFN_DENSE 1
#define MOE_FFN_MOE 2

/** What one layer is. */
typedef struct moe_layer_info {
    size_t size;
    int32_t ffn_kind;                  /**< MOE_FFN_* */
    uint32_t n_experts, n_shared;      /**< 0 in dense layers */
    uint32_t dim_ff, dim_ff_shared;    /**< width of an expert (or of the dense FFN), of the shared expert */
    uint32_t n_heads, n_heads_kv, dim_head;
} moe_layer_info;
#define MOE_LAYER_INFO_INIT {sizeof(moe_layer_info), 0, 0, 0, 0, 0, 0, 0, 0}

#define MOE_SCORE_SOFTMAX 1  /**< softmax over all experts */
#define MOE_SCORE_IDENTITY 2 /**< the raw logits */
#define MOE_SELECT_TOPK 1    /**< the k best, ties to the lower index */
#define MOE_WEIGHT_RAW 1              /**< the selected scores as they are */
#define MOE_WEIGHT_SUM_TO_ONE 2       /**< divided by their sum */
#define MOE_WEIGHT_SOFTMAX_SELECTED 3 /**< softmax over the selected scores */

/** A router's recipe: score -> select -> weight -> scale. */
typedef struct moe_route_spec {
    size_t size;
    int32_t score, select, weight; /**< MOE_SCORE_*, MOE_SELECT_*, MOE_WEIGHT_* */
    uint32_t top_k;
    float scale;
    uint32_t flags;
} moe_route_spec;
#define MOE_ROUTE_SPEC_INIT {sizeof(moe_route_spec), 0, 0, 0, 0, 0.0f, 0}

/** Metadata value kinds, as in GGUF. */
#define MOE_META_U8 0
#define MOE_META_I8 1
#define MOE_META_U16 2
#define MOE_META_I16 3
#define MOE_META_U32 4
#define MOE_META_I32 5
#define MOE_META_F32 6
#define MOE_META_BOOL 7
#define MOE_META_STRING 8
#define MOE_META_ARRAY 9
#define MOE_META_U64 10
#define MOE_META_I64 11
#define MOE_META_F64 12

/** One metadata value or array element. Pointers live as long as the model. */
typedef struct moe_meta {
    size_t size;
    const char *key;   /**< NULL for an array element */
    int32_t type;      /**< MOE_META_* */
    int32_t elem_type; /**< of an array's elements */
    uint64_t n;        /**< elements of an array, bytes of a string, else 1 */
    uint64_t u64;      /**< value of unsigned types and bool */
    int64_t i64;       /**< value of all integer types and bool (wraps for huge u64) */
    double f64;        /**< value of every number */
    const char *str;   /**< value of a string, zero-terminated (may contain zero bytes; see n) */
} moe_meta;
#define MOE_META_INIT {sizeof(moe_meta), NULL, 0, 0, 0, 0, 0, 0.0, NULL}

/** One tensor of the file. */
typedef struct moe_tensor_info {
    size_t size;
    const char *name;
    int32_t type; /**< MOE_TYPE_* */
    uint32_t n_dims;
    uint64_t dim[4]; /**< dim[0] is the contiguous one; unused ones are 1 */
    uint64_t bytes;
} moe_tensor_info;
#define MOE_TENSOR_INFO_INIT {sizeof(moe_tensor_info), NULL, 0, 0, {0, 0, 0, 0}, 0}

/**
 * Opens a model file (GGUF v2/v3; the first file of a split set opens all). @param out receives the model, NULL on failure.
 * @return MOE_OK; E_IO, E_FORMAT, E_UNSUPPORTED (names what is supported), E_NOMEM, E_FULL (memory_budget), E_ABORTED (progress),
 * E_INVALID, E_VERSION. Release with moe_model_release(). @since 0.1.0
 */
MOE_API MOE_NODISCARD int moe_model_open(moe_model **out, const char *path, const moe_model_options *o);
/** Adds a reference (atomic); returns m. @since 0.1.0 */
MOE_API moe_model *moe_model_retain(moe_model *m);
/** Drops a reference (atomic); the last one frees. NULL is fine. Sessions hold their own. @since 0.1.0 */
MOE_API void moe_model_release(moe_model *m);
/** Fills *out. @since 0.1.0 */
MOE_API int moe_model_get_info(const moe_model *m, moe_model_info *out);
/** Fills *out for one layer; MOE_E_RANGE past the end. @since 0.1.0 */
MOE_API int moe_model_get_layer(const moe_model *m, uint32_t layer, moe_layer_info *out);
/** The router recipe that the file prescribes for a layer; MOE_E_NOTFOUND for dense layers. @since 0.1.0 */
MOE_API int moe_model_get_route(const moe_model *m, uint32_t layer, moe_route_spec *out);
/** Number of metadata entries. @since 0.1.0 */
MOE_API size_t moe_model_meta_count(const moe_model *m);
/** Entry i in file order. MOE_E_RANGE past the end. @since 0.1.0 */
MOE_API int moe_model_meta_at(const moe_model *m, size_t i, moe_meta *out);
/** Entry by key; MOE_E_NOTFOUND. @since 0.1.0 */
MOE_API int moe_model_meta_find(const moe_model *m, const char *key, moe_meta *out);
/** Element j of the array under key. E_NOTFOUND, E_RANGE, E_INVALID if it is no array. @since 0.1.0 */
MOE_API int moe_model_meta_elem(const moe_model *m, const char *key, uint64_t j, moe_meta *out);
/** Number of tensors. @since 0.1.0 */
MOE_API size_t moe_model_tensor_count(const moe_model *m);
/** Tensor i in file order. MOE_E_RANGE past the end. @since 0.1.0 */
MOE_API int moe_model_tensor_at(const moe_model *m, size_t i, moe_tensor_info *out);
/** Index of a tensor by name; MOE_E_NOTFOUND. @since 0.1.0 */
MOE_API int moe_model_tensor_find(const moe_model *m, const char *name, size_t *i);
/**
 * Reads n elements of tensor i from element `first` on, converted to f32. @return E_RANGE past the end, E_STATE for a model
 * opened METADATA_ONLY. @since 0.1.0
 */
MOE_API int moe_model_tensor_read(const moe_model *m, size_t i, uint64_t first, size_t n, float *dst);
/** The model's tokenizer, borrowed: lives as long as the model. MOE_E_NOTFOUND if the file has none. @since 0.1.0 */
MOE_API int moe_model_tokenizer(const moe_model *m, const moe_tokenizer **out);

/* -------------------------------------------------------------------------------------------------- tokenizer */

#define MOE_ENCODE_BOS 1u     /**< put the begin-of-text token first if the model asks for it */
#define MOE_ENCODE_SPECIAL 2u /**< text such as "<|im_start|>" becomes its special token (else plain text) */
#define MOE_DECODE_SPECIAL 1u /**< show special tokens as text (else they are left out) */

#define MOE_TOKEN_BOS 1 /**< `which` of moe_tokenizer_special() */
#define MOE_TOKEN_EOS 2
#define MOE_TOKEN_EOT 3 /**< end of turn */
#define MOE_TOKEN_UNK 4
#define MOE_TOKEN_PAD 5
#define MOE_TOKEN_NEWLINE 6

#define MOE_ATTR_NORMAL 1u
#define MOE_ATTR_UNKNOWN 2u
#define MOE_ATTR_CONTROL 4u /**< special token without text of its own */
#define MOE_ATTR_USER 8u    /**< added token, always matched whole */
#define MOE_ATTR_UNUSED 16u
#define MOE_ATTR_BYTE 32u
#define MOE_ATTR_END 64u /**< generation should stop here */

/** One chat message. */
typedef struct moe_message {
    size_t size;
    const char *role; /**< "system", "user", "assistant", ... */
    const char *text;
} moe_message;

#define MOE_CHAT_ADD_ASSISTANT 1u /**< end with the opening of the assistant's turn */

/** State of a streaming decode, owned by the caller. Zero `n` and `flags` to start anew. */
typedef struct moe_stream {
    size_t size;
    uint32_t flags; /**< MOE_DECODE_*; internal bits above 0xffff */
    uint32_t n;     /**< pending bytes */
    uint8_t bytes[8];
} moe_stream;
#define MOE_STREAM_INIT {sizeof(moe_stream), 0, 0, {0, 0, 0, 0, 0, 0, 0, 0}}

/** Opens only the tokenizer of a GGUF file. Free with moe_tokenizer_free(). Errors as moe_model_open(). @since 0.1.0 */
MOE_API MOE_NODISCARD int moe_tokenizer_open(moe_tokenizer **out, const char *path, const moe_allocator *a);
/** Frees a tokenizer made by moe_tokenizer_open(); never one borrowed from a model. NULL is fine. @since 0.1.0 */
MOE_API void moe_tokenizer_free(moe_tokenizer *t);
/** Number of tokens. @since 0.1.0 */
MOE_API size_t moe_tokenizer_size(const moe_tokenizer *t);
/**
 * Text to tokens. `len` bytes, zero bytes and invalid UTF-8 included, nothing is lost. @param n receives the number of tokens
 * needed even with MOE_E_BUFFER. @since 0.1.0
 */
MOE_API int moe_tokenizer_encode(const moe_tokenizer *t, const char *text, size_t len, uint32_t flags,
                                 moe_token *dst, size_t cap, size_t *n);
/** Tokens to bytes (not zero-terminated; the bytes may be a part of a UTF-8 sequence). @since 0.1.0 */
MOE_API int moe_tokenizer_decode(const moe_tokenizer *t, const moe_token *ids, size_t n, uint32_t flags,
                                 char *dst, size_t cap, size_t *len);
/**
 * Decodes one more token of a stream and hands out whole UTF-8 sequences only; what is unfinished waits in *st.
 * MOE_TOKEN_NONE flushes: pending bytes that never became a character come out as U+FFFD. On MOE_E_BUFFER *st is unchanged.
 * 16 bytes more than the longest token always suffice. @since 0.1.0
 */
MOE_API int moe_tokenizer_stream(const moe_tokenizer *t, moe_stream *st, moe_token id, char *dst, size_t cap, size_t *len);
/** The token's bytes as decode would give them (special tokens: their name). Lives as long as t. @since 0.1.0 */
MOE_API int moe_tokenizer_piece(const moe_tokenizer *t, moe_token id, const char **piece, size_t *len);
/** MOE_ATTR_* bits; 0 out of range. @since 0.1.0 */
MOE_API uint32_t moe_tokenizer_attr(const moe_tokenizer *t, moe_token id);
/** A special token (`which` = MOE_TOKEN_BOS ...), or MOE_TOKEN_NONE. @since 0.1.0 */
MOE_API moe_token moe_tokenizer_special(const moe_tokenizer *t, int which);
/** The token with exactly these bytes (or this special name); MOE_E_NOTFOUND. @since 0.1.0 */
MOE_API int moe_tokenizer_find(const moe_tokenizer *t, const char *piece, size_t len, moe_token *out);
/**
 * Formats a conversation with the file's chat template if it is one of the built-in ones (ChatML, Llama-3, Mistral, Granite,
 * OLMo). MOE_E_UNSUPPORTED names those; MOE_E_NOTFOUND if the file has no template. Encode the result with MOE_ENCODE_SPECIAL.
 * @since 0.1.0
 */
MOE_API int moe_tokenizer_chat(const moe_tokenizer *t, const moe_message *msg, size_t n, uint32_t flags,
                               char *dst, size_t cap, size_t *len);
/** Name of the recognised chat template ("chatml", ...), or NULL. @since 0.1.0 */
MOE_API const char *moe_tokenizer_chat_name(const moe_tokenizer *t);

/* ---------------------------------------------------------------------------------------------------- session */

#define MOE_SESSION_KEEP_PARTIAL 1u /**< an interrupted eval keeps the sub-batches that are done */
#define MOE_SESSION_EXACT_ACT 2u    /**< f32 activations against dequantised weights: slow, an oracle for tests */

/** Runs tasks of a session on the caller's own threads (a game's job system). */
typedef struct moe_executor {
    size_t size;
    /**
     * Calls task(arg, i) once for every i < n, on any threads, at the same time (all n must be running or done before it
     * returns: they wait for one another), and returns 0 when all have returned. Negative: no call was made.
     */
    int (*run)(uint32_t n, void (*task)(void *arg, uint32_t i), void *arg, void *user);
    void *user;
} moe_executor;

/** Options of moe_session_create(). */
typedef struct moe_session_options {
    size_t size;
    uint32_t flags;        /**< MOE_SESSION_* */
    uint32_t n_ctx;        /**< KV cells, shared by all sequences; 0 = the training context, at most 4096 */
    uint32_t n_seq_max;    /**< sequences; 0 = 1 */
    uint32_t n_batch_max;  /**< rows computed at once (longer batches are split); 0 = 512 */
    uint32_t n_output_max; /**< rows of logits one eval may ask for; 0 = n_seq_max */
    int32_t n_threads;     /**< 0 = one per CPU that this process may use */
    int32_t kv_type_k;     /**< MOE_TYPE_F16 or -1 for F32; 0 = F16 */
    int32_t kv_type_v;     /**< likewise */
    uint64_t seed;         /**< for stochastic policies */
    const moe_executor *executor; /**< copied; NULL = own threads */
    moe_progress_fn progress;     /**< prefill progress, called between sub-batches; may be NULL */
    void *progress_user;
} moe_session_options;
#define MOE_KV_F32 (-1)
#define MOE_SESSION_OPTIONS_INIT {sizeof(moe_session_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL}

/** What a session was made with, defaults filled in. */
typedef struct moe_session_info {
    size_t size;
    uint32_t flags, n_ctx, n_seq_max, n_batch_max, n_output_max;
    uint32_t n_threads, kv_type_k, kv_type_v; /**< types as MOE_TYPE_* */
    uint32_t n_cells_used;                    /**< KV cells taken now, rounded up to pages */
    uint32_t n_outputs;                       /**< rows of logits of the last eval */
} moe_session_info;
#define MOE_SESSION_INFO_INIT {sizeof(moe_session_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

#define MOE_WANT_LOGITS 1u
#define MOE_WANT_HIDDEN 2u /**< the final hidden state, after the last norm */

/** A batch of tokens, of one or more sequences. Within a sequence positions must continue where it ends. */
typedef struct moe_batch {
    size_t size;
    size_t n_tokens;
    const moe_token *token; /**< [n_tokens] */
    const moe_pos *pos;     /**< [n_tokens] or NULL: each sequence goes on */
    const moe_seq *seq;     /**< [n_tokens] or NULL: all sequence 0 */
    const uint8_t *want;    /**< [n_tokens] of MOE_WANT_* or NULL: logits of each sequence's last token */
} moe_batch;
#define MOE_BATCH_INIT {sizeof(moe_batch), 0, NULL, NULL, NULL, NULL}

/** Memory of a model and one session, in bytes. */
typedef struct moe_memory {
    size_t size;
    uint64_t dense;    /**< all weights but routed experts */
    uint64_t experts;  /**< routed experts */
    uint64_t kv;       /**< KV cache of the session */
    uint64_t scratch;  /**< activations, logits, thread stacks' share excluded */
    uint64_t overhead; /**< tables: metadata, vocabulary, handles */
    uint64_t private_bytes; /**< of all these, what is allocated (the rest is the mapped file) */
    uint64_t total;    /**< sum of the first five */
} moe_memory;
#define MOE_MEMORY_INIT {sizeof(moe_memory), 0, 0, 0, 0, 0, 0, 0}

/**
 * What a model and a session with these options would take, answered from the file's header: no weights are read.
 * Either options may be NULL. Errors as moe_model_open() and moe_session_create(). @since 0.1.0
 */
MOE_API int moe_plan(const char *path, const moe_model_options *mo, const moe_session_options *so, moe_memory *out);
/** The same for an opened model. @since 0.1.0 */
MOE_API int moe_model_get_memory(const moe_model *m, const moe_session_options *so, moe_memory *out);

/** Makes a session on m (which it retains). All its memory is taken here. Free with moe_session_free(). @since 0.1.0 */
MOE_API MOE_NODISCARD int moe_session_create(moe_session **out, moe_model *m, const moe_session_options *o);
/** Frees a session. NULL is fine. Not while another thread evaluates it. @since 0.1.0 */
MOE_API void moe_session_free(moe_session *s);
/** The session's model, borrowed. @since 0.1.0 */
MOE_API moe_model *moe_session_model(const moe_session *s);
/** Fills *out. @since 0.1.0 */
MOE_API int moe_session_get_info(const moe_session *s, moe_session_info *out);
/** Appends n tokens to sequence 0 and computes the logits of the last one. See moe_session_eval_batch(). @since 0.1.0 */
MOE_API int moe_session_eval(moe_session *s, const moe_token *ids, size_t n);
/**
 * Appends a batch and computes what it wants. Allocates nothing. On failure (E_FULL, E_RANGE for tokens or positions,
 * E_ABORTED, ...) the session is as before the call: KV, positions, logits; with MOE_SESSION_KEEP_PARTIAL an interrupted
 * eval keeps whole sub-batches (moe_session_seq_len() tells). @since 0.1.0
 */
MOE_API int moe_session_eval_batch(moe_session *s, const moe_batch *b);
/**
 * Logits of the row-th token of the last eval that wanted them (in batch order): n_vocab floats, valid until the next eval,
 * load or free. MOE_E_RANGE if there are fewer rows. @since 0.1.0
 */
MOE_API int moe_session_logits(const moe_session *s, size_t row, const float **out, size_t *n);
/** Final hidden state likewise, of the row-th token that wanted it: dim floats. @since 0.1.0 */
MOE_API int moe_session_hidden(const moe_session *s, size_t row, const float **out, size_t *n);
/** Empties all sequences; logits are gone. @since 0.1.0 */
MOE_API void moe_session_reset(moe_session *s);
/** Tokens in a sequence; 0 for one out of range. @since 0.1.0 */
MOE_API size_t moe_session_seq_len(const moe_session *s, moe_seq q);
/** Makes `to` a copy of `from` (shared until one of them grows). MOE_E_RANGE. @since 0.1.0 */
MOE_API int moe_session_seq_copy(moe_session *s, moe_seq from, moe_seq to);
/** Keeps the first `keep` tokens of q. MOE_E_RANGE if it has fewer. @since 0.1.0 */
MOE_API int moe_session_seq_truncate(moe_session *s, moe_seq q, moe_pos keep);
/** Tokens of a sequence as evaluated, `(dst, cap, &n)`. @since 0.1.0 */
MOE_API int moe_session_seq_tokens(const moe_session *s, moe_seq q, moe_token *dst, size_t cap, size_t *n);
/** Writes the session's sequences and last logits: versioned, checksummed (docs/formats/session.md). @since 0.1.0 */
MOE_API int moe_session_save(const moe_session *s, moe_write_fn fn, void *user);
/**
 * Replaces the session's content. E_FORMAT for a damaged stream, E_VERSION for another version, E_STATE for another model or
 * KV type, E_FULL if it does not fit; the session is then as before. @since 0.1.0
 */
MOE_API int moe_session_load(moe_session *s, moe_read_fn fn, void *user);
/** moe_session_save() to a file that appears only when whole. @since 0.1.0 */
MOE_API int moe_session_save_file(const moe_session *s, const char *path);
/** moe_session_load() from a file. @since 0.1.0 */
MOE_API int moe_session_load_file(moe_session *s, const char *path);
/** Changes the thread count; 0 = one per CPU. Results stay the same to the bit. @since 0.1.0 */
MOE_API int moe_session_set_threads(moe_session *s, int n);
/**
 * Stops the eval that runs, or if none runs the next one, with MOE_E_ABORTED; that eval takes the request with it. May be
 * called from any thread and from a signal handler. @since 0.1.0
 */
MOE_API void moe_session_interrupt(moe_session *s);

/* ------------------------------------------------------------------------------------------------- observation */

/** One layer's routing of some rows: compressed rows (CSR). Pointers are valid during the callback only. */
typedef struct moe_route_view {
    size_t size;
    uint32_t layer, n_rows, n_experts, reserved;
    const uint32_t *offset; /**< [n_rows+1]: row t has pairs offset[t] .. offset[t+1]-1, in order of rank */
    const uint32_t *expert; /**< [offset[n_rows]] */
    const float *weight;    /**< [offset[n_rows]] as applied */
    const float *logits;    /**< [n_rows][n_experts] of the router */
    const moe_token *token; /**< [n_rows] */
    const moe_pos *pos;     /**< [n_rows] */
    const moe_seq *seq;     /**< [n_rows] */
} moe_route_view;

/**
 * Calls fn with every MoE layer's decisions, on the thread that evaluates, per sub-batch and layer; NULL ends it. A non-zero
 * result stops the eval: negative values come out of it unchanged, positive ones as MOE_E_ABORTED. fn may read the session
 * but not change it. @since 0.1.0
 */
MOE_API int moe_session_observe(moe_session *s, int (*fn)(const moe_route_view *v, void *user), void *user);

/** Counters of a session since its creation or the last reset. Times are of the calling thread. */
typedef struct moe_stats {
    size_t size;
    uint64_t tokens_prefill, tokens_decode; /**< rows evaluated in batches of several rows per sequence, and one by one */
    uint64_t ns_prefill, ns_decode;
    uint64_t ns_attn, ns_route, ns_expert, ns_dense, ns_head;
    uint64_t pairs;        /**< (row, expert) pairs computed */
    uint64_t expert_bytes; /**< bytes of expert weights acquired from the store */
} moe_stats;
#define MOE_STATS_INIT {sizeof(moe_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
/** Fills *out. @since 0.1.0 */
MOE_API int moe_session_get_stats(const moe_session *s, moe_stats *out);
/** Sets all counters to zero. @since 0.1.0 */
MOE_API void moe_session_reset_stats(moe_session *s);

/* ---------------------------------------------------------------------------------------------------- sampler */

/** Kinds of sampling stages; the fields of moe_sample_stage that each reads are in docs/sampling.md. */
#define MOE_SAMPLE_GREEDY 1       /**< the best candidate, ties to the lower id */
#define MOE_SAMPLE_DIST 2         /**< a draw from what is left (seed) */
#define MOE_SAMPLE_TEMP 3         /**< a = temperature; below 1e-5 greedy */
#define MOE_SAMPLE_TEMP_DYNAMIC 4 /**< a = temperature, b = range, c = exponent of the normalised entropy */
#define MOE_SAMPLE_TOP_K 5        /**< n; 0 keeps all */
#define MOE_SAMPLE_TOP_P 6        /**< a = p, n = keep at least */
#define MOE_SAMPLE_MIN_P 7        /**< a = p, n = keep at least */
#define MOE_SAMPLE_TYPICAL 8      /**< a = p, n = keep at least */
#define MOE_SAMPLE_TOP_N_SIGMA 9  /**< a = number of standard deviations */
#define MOE_SAMPLE_XTC 10         /**< a = probability, b = threshold, n = keep at least (seed) */
#define MOE_SAMPLE_PENALTIES 11   /**< n = window (0 = 64, -1 = all), a = repetition, b = frequency, c = presence */
#define MOE_SAMPLE_DRY 12         /**< n = window (-1 = all), a = multiplier, b = base, m = allowed length; ids = breakers */
#define MOE_SAMPLE_MIROSTAT 13    /**< version 2: a = tau, b = eta (seed) */
#define MOE_SAMPLE_LOGIT_BIAS 14  /**< ids/values of n_data entries are added to the logits */

/** One stage. Unused fields must be zero; zero means the standard value where it is not legal. Arrays are copied. */
typedef struct moe_sample_stage {
    size_t size;
    int32_t kind; /**< MOE_SAMPLE_* */
    int32_t n, m;
    float a, b, c;
    uint64_t seed; /**< of random stages; 0 is a seed like any other */
    const moe_token *ids; /**< [n_data] */
    const float *values;  /**< [n_data] */
    size_t n_data;
} moe_sample_stage;
#define MOE_SAMPLE_STAGE_INIT {sizeof(moe_sample_stage), 0, 0, 0, 0.0f, 0.0f, 0.0f, 0, NULL, NULL, 0}

/** Candidates under way through the chain. A user stage may reorder, edit, shrink (to n >= 1) and pick, in place. */
typedef struct moe_candidates {
    size_t size;
    size_t n;
    moe_token *id; /**< [n] */
    float *logit;  /**< [n] */
    int64_t picked; /**< index of the chosen candidate, or -1 */
    uint32_t sorted; /**< 1 if logits fall, ties by rising id; found out anew after user stages */
    uint32_t reserved;
} moe_candidates;
#define MOE_CANDIDATES_INIT {sizeof(moe_candidates), 0, NULL, NULL, -1, 0, 0}

/** Makes an empty chain; without a picking stage pick() takes the best. @since 0.1.0 */
MOE_API MOE_NODISCARD int moe_sampler_create(moe_sampler **out, const moe_allocator *a);
/** A copy with the same stages and state (custom stages keep their user pointer). @since 0.1.0 */
MOE_API MOE_NODISCARD int moe_sampler_clone(moe_sampler **out, const moe_sampler *p);
/** NULL is fine. @since 0.1.0 */
MOE_API void moe_sampler_free(moe_sampler *p);
/** Appends a stage; E_INVALID names the bad field. Nothing can follow a stage that always picks. @since 0.1.0 */
MOE_API int moe_sampler_add(moe_sampler *p, const moe_sample_stage *stage);
/**
 * Appends stages from text: `name` or `name:key=value,...`, several separated by `;`, e.g.
 * "penalties:repeat=1.1;top-k:k=40;top-p:p=0.95;temp:t=0.8;dist:seed=7". E_INVALID says what is wrong where; nothing is then
 * added. @since 0.1.0
 */
MOE_API int moe_sampler_add_named(moe_sampler *p, const char *text);
/**
 * Appends a user stage: non-zero stops the pick (negative values come out unchanged, positive ones as E_ABORTED). What it leaves
 * is checked (E_CALLBACK). @since 0.1.0
 */
MOE_API int moe_sampler_add_custom(moe_sampler *p, int (*apply)(moe_candidates *c, void *user), void *user);
/** Forgets accepted tokens and restarts the random numbers; the stages stay. @since 0.1.0 */
MOE_API int moe_sampler_reset(moe_sampler *p);
/** Sets the seed of every random stage (their draws differ nevertheless) and restarts them. @since 0.1.0 */
MOE_API int moe_sampler_set_seed(moe_sampler *p, uint64_t seed);
/** Tells the chain that a token was taken (history of penalties and DRY; mirostat, if it picked it). @since 0.1.0 */
MOE_API int moe_sampler_accept(moe_sampler *p, moe_token id);
/**
 * Runs the chain over the caller's candidates and leaves the result in them; those without a finite logit go. E_NUMERIC if none
 * is left, E_RANGE for negative ids. @since 0.1.0
 */
MOE_API int moe_sampler_apply(moe_sampler *p, moe_candidates *c);
/** Runs the chain over a row of logits and returns the token; does not accept it. E_NUMERIC if no logit is finite. @since 0.1.0 */
MOE_API int moe_sampler_pick_logits(moe_sampler *p, const float *logits, size_t n_vocab, moe_token *out);
/** The same over a row of a session's logits. @since 0.1.0 */
MOE_API int moe_sampler_pick(moe_sampler *p, const moe_session *s, size_t row, moe_token *out);
/** The k most probable tokens of a row with their natural-log probabilities, best first. E_RANGE, E_NUMERIC. @since 0.1.0 */
MOE_API int moe_session_logprobs(const moe_session *s, size_t row, size_t k, moe_token *ids, float *logprob);
/** Natural-log probability of one token in a row. @since 0.1.0 */
MOE_API int moe_session_logprob(const moe_session *s, size_t row, moe_token id, float *logprob);

/* --------------------------------------------------------------------------------------------------- quantise */

/** Options of moe_quantize(). */
typedef struct moe_quantize_options {
    size_t size;
    const char *recipe;  /**< a type name ("Q8_0") or a mix ("Q4_K_M"); moe_recipe_name() lists them */
    const char *rules;   /**< per-tensor rules "pattern=TYPE,...": `*` and `?` match, the first match wins; may be NULL */
    uint32_t flags;
    int32_t n_threads;
    moe_progress_fn progress;
    void *progress_user;
    const moe_allocator *allocator;
} moe_quantize_options;
#define MOE_QUANTIZE_OPTIONS_INIT {sizeof(moe_quantize_options), NULL, NULL, 0, 0, NULL, NULL, NULL}

/**
 * Writes a quantised copy of a GGUF model. Atomic: dst appears only when whole; an interrupted or failed run leaves nothing.
 * Sources other than F32/F16/BF16 tensors are kept as they are unless their type already is the target. @since 0.1.0
 */
MOE_API int moe_quantize(const char *src, const char *dst, const moe_quantize_options *o);
/** Name of the i-th recipe, or NULL past the end. @since 0.1.0 */
MOE_API const char *moe_recipe_name(size_t i);

#ifdef __cplusplus
}
#endif
#endif
