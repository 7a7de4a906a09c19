/* SPDX-License-Identifier: MIT */
/* Entry points of profiles: arguments are checked here, the work is in study/. */
#include <string.h>

#include "base/opts.h"
#include "base/rounding.h"
#include "study/profile.h"

int moe_profile_create(moe_profile **out, moe_model *m, const moe_profile_options *o)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(m != NULL);
    return moe__profile_create(out, m, o);
}

void moe_profile_free(moe_profile *p) { moe__profile_free(p); }

int moe_profile_begin(moe_profile *p, uint32_t cls)
{
    moe__clear_error();
    MOE_ARG(p != NULL);
    if (cls >= p->info.n_classes)
        return MOE_FAIL(RANGE, "moe_profile_begin: class %u of %u", cls, p->info.n_classes);
    p->cls = cls;
    p->prompts[cls]++;
    return MOE_OK;
}

int moe_profile_mark(moe_profile *p, uint32_t cls, const moe_token *ids, size_t n)
{
    moe__clear_error();
    MOE_ARG(p != NULL && (ids != NULL || n == 0));
    return moe__profile_mark(p, cls, ids, n);
}

int moe_profile_add(moe_profile *p, const moe_route_view *v)
{
    moe_route_view view = {.size = sizeof view};
    moe__clear_error();
    MOE_ARG(p != NULL && v != NULL);
    MOE_TRY(moe__opts_copy(&view, sizeof view, v, "moe_route_view"));
    MOE_ARG(view.offset != NULL && view.expert != NULL);
    MOE_RETURN_ROUNDED(moe__profile_add(p, &view));
}

void moe_profile_reset(moe_profile *p)
{
    if (p) moe__profile_reset(p);
}

int moe_profile_merge(moe_profile *dst, const moe_profile *src)
{
    moe__clear_error();
    MOE_ARG(dst != NULL && src != NULL);
    MOE_RETURN_ROUNDED(moe__profile_merge(dst, src));
}

int moe_profile_save_file(const moe_profile *p, const char *path)
{
    moe__clear_error();
    MOE_ARG(p != NULL && path != NULL);
    return moe__profile_save(p, path);
}

int moe_profile_load_file(moe_profile **out, moe_model *m, const char *path)
{
    moe__clear_error();
    MOE_ARG(out != NULL);
    *out = NULL;
    MOE_ARG(path != NULL);
    MOE_RETURN_ROUNDED(moe__profile_load(out, m, path));
}

int moe_profile_get_info(const moe_profile *p, moe_profile_info *out)
{
    moe__clear_error();
    MOE_ARG(p != NULL && out != NULL);
    moe_profile_info info = p->info;
    info.n_tokens = moe__profile_tokens(p);
    return moe__opts_fill(out, &info, sizeof info, "moe_profile_info");
}

static int check_profile_layer(const moe_profile *p, uint32_t layer)
{
    if (layer >= p->info.n_layers)
        return MOE_FAIL(RANGE, "layer %u: the model has %u", layer, p->info.n_layers);
    return MOE_OK;
}

int moe_profile_router(const moe_profile *p, uint32_t layer, moe_router_profile *out)
{
    moe_router_profile r = MOE_ROUTER_PROFILE_INIT;
    moe__clear_error();
    MOE_ARG(p != NULL && out != NULL);
    MOE_TRY(check_profile_layer(p, layer));
    if (p->layer_at[layer] != UINT32_MAX)
        MOE_ROUNDED(moe__profile_router(p, &p->layer[p->layer_at[layer]], &r));
    return moe__opts_fill(out, &r, sizeof r, "moe_router_profile");
}

int moe_profile_read(const moe_profile *p, uint32_t layer, int what, double *dst, size_t cap, size_t *n)
{
    moe__clear_error();
    MOE_ARG(p != NULL && n != NULL && (dst != NULL || cap == 0));
    MOE_TRY(check_profile_layer(p, layer));
    MOE_RETURN_ROUNDED(moe__profile_read(p, layer, what, dst, cap, n));
}

/* An array of structs of the caller's size. */
static int check_finds(const moe_expert_find *dst, size_t n)
{
    moe_expert_find probe = MOE_EXPERT_FIND_INIT;
    if (n == 0) return MOE_OK;
    memcpy(&probe.size, dst, sizeof probe.size);
    if (probe.size < offsetof(moe_expert_find, channel) || probe.size > 65536)
        return MOE_FAIL(INVALID, "moe_expert_find: size is %zu, expected sizeof(moe_expert_find)",
                        probe.size);
    return MOE_OK;
}

int moe_profile_super(const moe_profile *p, moe_expert_find *dst, size_t cap, size_t *n)
{
    moe__clear_error();
    MOE_ARG(p != NULL && n != NULL && (dst != NULL || cap == 0));
    MOE_TRY(check_finds(dst, cap));
    MOE_RETURN_ROUNDED(moe__profile_super(p, dst, cap, n));
}

int moe_profile_rank(const moe_profile *p, int by, uint32_t cls, uint32_t other, moe_expert_find *dst,
                     size_t n, size_t *found)
{
    moe__clear_error();
    MOE_ARG(p != NULL && found != NULL && (dst != NULL || n == 0));
    MOE_TRY(check_finds(dst, n));
    if (by < MOE_RANK_NPMI || by > MOE_RANK_RATE)
        return MOE_FAIL(INVALID, "moe_profile_rank: %d is no MOE_RANK_*", by);
    if (cls >= p->info.n_classes ||
        (by != MOE_RANK_NPMI && other != UINT32_MAX && other >= p->info.n_classes))
        return MOE_FAIL(RANGE, "moe_profile_rank: classes %u and %u of %u", cls, other, p->info.n_classes);
    MOE_RETURN_ROUNDED(moe__profile_rank(p, by, cls, other, dst, n, found));
}
