/* SPDX-License-Identifier: MIT */
/* What entry points share. */
#ifndef MOE_API_API_H
#define MOE_API_API_H

#include "base/status.h"
#include "run/session.h"

/* Callbacks run inside an eval; they may look at the session but not change it. Nor may anybody between the
 * slices of one. */
#define MOE_IDLE(s)                                                                                          \
    do {                                                                                                     \
        if ((s)->busy)                                                                                       \
            return MOE_FAIL(STATE,                                                                           \
                            (s)->busy == MOE_BUSY_BETWEEN                                                    \
                                ? "%s: an eval in slices is under way; finish or cancel it"                  \
                                : "%s: the session is being evaluated; callbacks may only read it",          \
                            __func__);                                                                       \
    } while (0)

/* Getters answer for one layer. */
#define MOE_ONE_LAYER(r)                                                                                     \
    do {                                                                                                     \
        if ((r)->layer == MOE_ALL_LAYERS)                                                                    \
            return MOE_FAIL(STATE, "%s: the handle stands for all layers; ask one of them", __func__);       \
    } while (0)

/* api_router.c: edits the steering of each layer that r stands for: all or none. */
int moe__steer_layers(moe_router *r, moe__steer_fn fn, const void *arg);

#endif
