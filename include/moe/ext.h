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

/**
 * A file of the caller's own: from memory, from an archive. All functions may be called from several threads at once; the
 * struct is copied. `name` appears in messages.
 */
typedef struct moe_file {
    size_t size;
    const char *name;                                                   /**< for messages; may be NULL */
    uint64_t (*length)(void *f);                                        /**< bytes */
    int (*read_at)(void *f, uint64_t off, void *dst, size_t n);         /**< exactly n bytes; 0 or negative */
    const void *(*map)(void *f, uint64_t off, size_t n);                /**< stays valid until close; may be NULL or return NULL */
    int (*sibling)(void *f, const char *name, struct moe_file *out, void **out_user); /**< opens a file beside this one; may be NULL */
    void (*close)(void *f);                                             /**< called once, when the model is gone; may be NULL */
} moe_file;
#define MOE_FILE_INIT {sizeof(moe_file), NULL, NULL, NULL, NULL, NULL, NULL}

/** moe_model_open() from the caller's file; `user` is the `f` of its functions. On failure close has been called. @since 0.1.0 */
MOE_API MOE_NODISCARD int moe_model_open_file(moe_model **out, const moe_file *f, void *user, const moe_model_options *o);

#ifdef __cplusplus
}
#endif
#endif
