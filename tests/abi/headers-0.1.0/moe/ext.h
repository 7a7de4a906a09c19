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

/** @} */

#ifdef __cplusplus
}
#endif
#endif
