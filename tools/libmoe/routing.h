/* SPDX-License-Identifier: MIT */
/* The options of the group "Routing" and what they do to a session. */
#ifndef ROUTING_H
#define ROUTING_H

#include "options.h"

/* What is done to an expert: a use, or one of its numbers. */
struct edit {
    bool number;
    int kind; /* MOE_EDIT_* of a number, else MOE_USE_* */
    float value;
};

/* "drop", "pre:64", ...; false for anything else. */
bool edit_parse(const char *text, struct edit *out);
/* Does it to one expert (layer may be MOE_ALL_LAYERS); a status of the library. */
int edit_apply(moe_session *s, uint32_t layer, uint32_t index, const struct edit *e);

/*
 * All options of the group, in this order: --steer, --route, --route-file, then --disable and --edit in the
 * order given; then writes --save-steering. Returns an exit code; a failure has been told.
 */
int routing_apply(const struct settings *s, moe_session *session);
/* Whether any of them was given: the session may then route otherwise than the model. */
bool routing_wanted(const struct settings *s);

/* Layers of a session that have routers: writes at most cap numbers, returns how many there are. */
size_t routed_layers(const moe_model *m, uint32_t *dst, size_t cap);

#endif
