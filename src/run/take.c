/* SPDX-License-Identifier: MIT */
/* Replacing all of a session's routing at once: see steer_io.h. What can fail comes first. */
#include "base/status.h"
#include "run/steer_io.h"

int moe__routing_take(moe_session *s, moe__router *next, moe__slots *slots)
{
    const moe_model *m = s->m;
    int serial = 0, on_input = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        if (!m->layers[l].is_moe) continue;
        serial |= next[l].serial;
        on_input |= (next[l].recipe.spec.flags & MOE_ROUTE_ON_INPUT) != 0;
    }
    if (serial) MOE_TRY(moe__session_serial(s));
    if (on_input) MOE_TRY(moe__experts_reserve(s, 0, 1));
    MOE_TRY(moe__experts_take(s, slots));
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        if (!m->layers[l].is_moe) continue;
        moe__router_finish(&s->router[l]);
        s->router[l] = next[l];
    }
    moe__park_update(s);
    return MOE_OK;
}
