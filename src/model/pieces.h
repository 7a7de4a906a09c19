/* SPDX-License-Identifier: MIT */
/*
 * Going through many tensors in pieces, with several threads: loading private copies, checking data. Progress
 * is reported on the calling thread only; a callback or a failing piece stops all.
 */
#ifndef MOE_MODEL_PIECES_H
#define MOE_MODEL_PIECES_H

#include "model/model.h"

/* What is done with elements that start at byte `off` of a tensor: n bytes, whole blocks. `dst` is the
 * tensor's place. */
typedef int (*moe__piece_fn)(const moe_model *m, const moe__tensor *t, uint64_t off, size_t n, uint8_t *dst);

typedef struct moe__piece_list {
    const moe__tensor **tensor; /* [n] */
    uint8_t **dst;              /* [n] where each tensor goes, or NULL if fn writes nothing */
    size_t n;
} moe__piece_list;

/* Progress is reported as `before` plus the bytes done so far, of `total`. */
int moe__pieces_run(const moe_model *m, const moe_model_options *o, const moe__piece_list *list,
                    moe__piece_fn fn, uint64_t before, uint64_t total);
/* One progress report; MOE_E_ABORTED if the callback says stop. */
int moe__load_report(const moe_model_options *o, uint64_t done, uint64_t total);

/* Piece functions: read into place; check that all values are finite (MOE_E_NUMERIC names the element). */
int moe__piece_read(const moe_model *m, const moe__tensor *t, uint64_t off, size_t n, uint8_t *dst);
int moe__piece_check(const moe_model *m, const moe__tensor *t, uint64_t off, size_t n, uint8_t *dst);

#endif
