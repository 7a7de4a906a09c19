/* SPDX-License-Identifier: MIT */
/*
 * Expert stores: where the weights of routed experts are while a layer runs. The forward pass acquires what a
 * tile of rows needs, computes, and releases; it never holds two sets at once. The implementations are in
 * expert/store_*.c; a store belongs to a model and serves all its sessions, so its functions may be called
 * from several threads at once.
 */
#ifndef MOE_MODEL_STORE_H
#define MOE_MODEL_STORE_H

#include <stdint.h>

#include "moe/moe.h"

typedef struct moe__store moe__store;

/* What is wanted, and why (for stores that must choose what to keep). */
typedef struct moe__expert_request {
    uint32_t layer, expert;
    uint32_t n_rows; /* rows of the tile that were routed to it */
    uint32_t rank;   /* best rank among those rows */
    float weight;    /* largest gate weight among those rows */
} moe__expert_request;

/* What is lent: three matrices in the types and shapes of the layer, valid until release. */
typedef struct moe__expert_view {
    const void *gate, *up, *down;
    uint64_t lease; /* the store's own */
} moe__expert_view;

typedef struct moe__store_ops {
    const char *name;
    /* Bytes open() will take: of handles, and of private weights. */
    uint64_t (*overhead)(const moe_model *m);
    uint64_t (*resident)(const moe_model *m);
    int (*open)(moe__store **out, const moe_model *m, const moe_model_options *o);
    void (*close)(moe__store *s);
    /* May block. After a failure nothing is lent. */
    int (*acquire)(moe__store *s, const moe__expert_request *want, moe__expert_view *out);
    void (*release)(moe__store *s, const moe__expert_view *view);
} moe__store_ops;

/* First member of every store. */
struct moe__store {
    const moe__store_ops *ops;
};

extern const moe__store_ops moe__store_map; /* views into the mapped file: no copy */
extern const moe__store_ops moe__store_ram; /* private copy of all experts, made at open */

/* Which store a model takes: experts stay mapped unless the file is not mapped or MOE_OPEN_RESIDENT asks for
 * a copy. */
const moe__store_ops *moe__store_choose(const moe_model *m);

#endif
