/* SPDX-License-Identifier: MIT */
/* Steering of an engine: what experts may do, rules of routing, files. See engine.h. */
#include "engine_private.h"

#include <string.h>

static const char *const presets[N_PRESETS] = {"native", "topk:k=1", "topp:p=0.5", "all"};

/* The router of a row of the heat map, or NULL. */
static moe_router *router_of(const engine *e, uint32_t row)
{
    moe_router *r = NULL;
    if (row < e->n_rows) (void)moe_session_router(e->session, e->layer[row], &r);
    return r;
}

static moe_router *all_routers(const engine *e)
{
    moe_router *r = NULL;
    (void)moe_session_router(e->session, MOE_ALL_LAYERS, &r);
    return r;
}

/* The rule of a router as text; NULL if it has none, or a very long one. */
static char *rule_text(const engine *e, uint32_t row)
{
    char text[1024];
    size_t len;
    if (moe_router_get_named(router_of(e, row), text, sizeof text, &len) != MOE_OK) return NULL;
    return g_strndup(text, len);
}

/* Asks the library how it would write down each preset, to recognise them in steering files. */
void engine_learn_presets(engine *e)
{
    moe_router *all = all_routers(e);
    e->preset_text = g_new0(char *, (size_t)N_PRESETS * e->n_rows + 1);
    for (size_t p = 0; p < N_PRESETS && all; p++) {
        if (moe_router_set_named(all, presets[p]) != MOE_OK) continue;
        for (uint32_t row = 0; row < e->n_rows; row++)
            e->preset_text[p * e->n_rows + row] = rule_text(e, row);
    }
    if (all) (void)moe_router_reset(all);
}

enum preset engine_preset(const engine *e)
{
    for (size_t p = 0; p < N_PRESETS; p++) {
        bool same = true;
        for (uint32_t row = 0; row < e->n_rows && same; row++) {
            char *text = rule_text(e, row);
            same = text && g_strcmp0(text, e->preset_text[p * e->n_rows + row]) == 0;
            g_free(text);
        }
        if (same) return (enum preset)p;
    }
    return PRESET_CUSTOM;
}

bool engine_set_preset(engine *e, enum preset p, char **why)
{
    if (p >= N_PRESETS || moe_router_set_named(all_routers(e), presets[p]) != MOE_OK) {
        engine_reason(why, "This routing is refused");
        return false;
    }
    e->stale = true;
    return true;
}

/* ---------------------------------------------------------------------------------------------- experts */

bool engine_set_use(engine *e, uint32_t row, uint32_t expert, int use, char **why)
{
    moe_expert *x = NULL;
    if (moe_router_expert(router_of(e, row), expert, &x) != MOE_OK || moe_expert_set_use(x, use) != MOE_OK) {
        engine_reason(why, "This is refused");
        return false;
    }
    e->stale = true;
    return true;
}

bool engine_cycle(engine *e, uint32_t row, uint32_t expert, char **why)
{
    static const int order[] = {MOE_USE_FREE, MOE_USE_BAN, MOE_USE_FORCE, MOE_USE_DROP};
    moe_expert_info info = MOE_EXPERT_INFO_INIT;
    moe_expert *x = NULL;
    size_t at = 0;
    if (moe_router_expert(router_of(e, row), expert, &x) != MOE_OK ||
        moe_expert_get_info(x, &info) != MOE_OK) {
        engine_reason(why, "There is no such expert");
        return false;
    }
    while (at < G_N_ELEMENTS(order) && order[at] != (int)info.use) at++;
    /* Forcing is refused where a token gets no more experts, banning where none is left: then the next one.
     */
    for (size_t i = 1; i < G_N_ELEMENTS(order); i++)
        if (engine_set_use(e, row, expert, order[(at + i) % G_N_ELEMENTS(order)], why)) return true;
    return false;
}

uint8_t *engine_uses(const engine *e)
{
    uint8_t *uses = g_new0(uint8_t, (size_t)e->n_rows * e->info.n_experts + 1);
    for (uint32_t row = 0; row < e->n_rows; row++)
        (void)moe_router_get_use(router_of(e, row), uses + (size_t)row * e->info.n_experts,
                                 e->info.n_experts);
    return uses;
}

bool engine_reset(engine *e, char **why)
{
    if (moe_router_reset(all_routers(e)) != MOE_OK) {
        engine_reason(why, "The routing cannot be put back");
        return false;
    }
    e->stale = true;
    return true;
}

/* ------------------------------------------------------------------------------------------------ files */

bool engine_save_steering(const engine *e, const char *path, char **why)
{
    if (moe_session_save_steering_file(e->session, path) == MOE_OK) return true;
    engine_reason(why, "The steering cannot be saved");
    return false;
}

bool engine_load_steering(engine *e, const char *path, char **why)
{
    if (moe_session_load_steering_file(e->session, path) != MOE_OK) {
        engine_reason(why, "The steering cannot be loaded");
        return false;
    }
    e->stale = true;
    return true;
}
