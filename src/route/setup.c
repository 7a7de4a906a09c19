/* SPDX-License-Identifier: MIT */
/* Making, changing and copying routers. Whatever can fail is made beside the old state, then put in its
 * place. */
#include <string.h>

#include "base/opts.h"
#include "base/status.h"
#include "route/router.h"

static moe__steer_shape steer_shape(const moe__router *r)
{
    return (moe__steer_shape){r->alloc, r->shape.layer, r->shape.n, r->shape.n_seq_max};
}

/* Rules that take experts whose choice is +infinity first, whatever else they do. */
static int honours_force(int select)
{
    static const uint8_t yes[] = {[MOE_SELECT_TOPK] = 1,   [MOE_SELECT_TOPP] = 1, [MOE_SELECT_THRESHOLD] = 1,
                                  [MOE_SELECT_RANDOM] = 1, [MOE_SELECT_HASH] = 1, [MOE_SELECT_ALL] = 1};
    return select >= 0 && (size_t)select < sizeof yes && yes[select];
}

static int check_forced(const moe__router *r, const moe__steer *s, const moe__recipe *recipe, int custom,
                        uint32_t max_k)
{
    uint32_t forced = 0;
    for (uint32_t e = 0; s->use && e < r->shape.n; e++) forced += s->use[e] == MOE_USE_FORCE;
    if (!forced) return MOE_OK;
    if (!custom && !honours_force(recipe->spec.select))
        return MOE_FAIL(INVALID, "layer %u: forced experts do not go with the selection rule %s",
                        r->shape.layer, recipe->rule->name);
    if (forced > max_k)
        return MOE_FAIL(INVALID, "layer %u: %u experts are forced, a token gets %u at most", r->shape.layer,
                        forced, max_k);
    return MOE_OK;
}

/* What follows from recipe, policy and steering. */
static void update(moe__router *r)
{
    const moe_policy *p = r->policy.route ? &r->policy : r->recipe.rule;
    r->n_cols = r->shape.n + r->recipe.spec.n_null;
    r->max_k = r->recipe.max_k;
    if (r->policy.route) r->max_k = p->max_k && p->max_k < r->shape.n ? p->max_k : r->shape.n;
    r->coupled = (p->flags & MOE_POLICY_BATCH_COUPLED) || r->recipe.coupled;
    r->serial = r->coupled || (r->policy.route && !(p->flags & MOE_POLICY_PARALLEL));
    r->whole = !r->policy.route && r->recipe.spec.select == MOE_SELECT_EXPERT_CHOICE &&
               !(r->recipe.spec.flags & MOE_ROUTE_NONCAUSAL);
    r->steered = r->steer.use || r->steer.limit || r->steer.n_override ||
                 r->steer.value[MOE_EDIT_LOGIT_BIAS - 1] || r->steer.value[MOE_EDIT_SELECT_BIAS - 1];
}

int moe__router_init(moe__router *r, const moe__allocator *a, const moe__kernels *k,
                     const moe__router_shape *shape, const moe_route_spec *native)
{
    *r = (moe__router){.alloc = a, .k = k, .shape = *shape, .native = *native};
    MOE_TRY(moe__router_make_recipe(r, native, &r->own));
    r->recipe = r->own;
    update(r);
    return MOE_OK;
}

void moe__router_drop_policy(const moe__router *r, moe_policy *p, void *state)
{
    if (p->route && p->create && p->destroy) p->destroy(state);
    moe__free(r->alloc, (void *)(uintptr_t)p->name);
    *p = (moe_policy){0};
}

void moe__router_finish(moe__router *r)
{
    if (!r->alloc) return; /* never made */
    const moe__steer_shape shape = steer_shape(r);
    moe__router_drop_policy(r, &r->policy, r->state);
    moe__recipe_finish(&r->recipe, r->alloc);
    moe__steer_finish(&r->steer, &shape);
}

int moe__router_make_recipe(const moe__router *r, const moe_route_spec *spec, moe__recipe *out)
{
    moe__recipe recipe = {0};
    MOE_TRY(moe__recipe_init(&recipe, r->alloc, r->k, spec, r->shape.n, r->shape.n_null, r->shape.n_vocab,
                             r->shape.layer));
    const int st = check_forced(r, &r->steer, &recipe, 0, recipe.max_k);
    if (st < 0) {
        moe__recipe_finish(&recipe, r->alloc);
        return st;
    }
    *out = recipe;
    return MOE_OK;
}

void moe__router_take_recipe(moe__router *r, moe__recipe *recipe)
{
    moe__router_drop_policy(r, &r->policy, r->state);
    r->state = r->user = NULL;
    moe__recipe_finish(&r->recipe, r->alloc);
    r->recipe = *recipe;
    *recipe = (moe__recipe){0};
    update(r);
}

int moe__router_set_spec(moe__router *r, const moe_route_spec *spec)
{
    moe__recipe recipe;
    MOE_TRY(moe__router_make_recipe(r, spec, &recipe));
    moe__router_take_recipe(r, &recipe);
    return MOE_OK;
}

int moe__router_make_policy(const moe__router *r, const moe_policy *p, void *user, moe_policy *out,
                            void **state)
{
    const uint32_t known =
        MOE_POLICY_WEIGHTS | MOE_POLICY_HIDDEN | MOE_POLICY_BATCH_COUPLED | MOE_POLICY_PARALLEL;
    if (!p->route) return MOE_FAIL(INVALID, "policy: route is NULL");
    if (p->flags & ~known) return MOE_FAIL(INVALID, "policy: flags 0x%x are unknown", p->flags);
    if (r->recipe.spec.capacity > 0 && !(p->flags & MOE_POLICY_BATCH_COUPLED))
        return MOE_FAIL(INVALID, "policy: the recipe has a capacity: the policy must be batch-coupled");
    const char *name = p->name && *p->name ? p->name : "custom";
    const uint32_t max_k = p->max_k && p->max_k < r->shape.n ? p->max_k : r->shape.n;
    MOE_TRY(check_forced(r, &r->steer, &r->recipe, 1, max_k));
    char *copy;
    MOE_TRY(moe__alloc(r->alloc, (void **)&copy, strlen(name) + 1, "policy"));
    memcpy(copy, name, strlen(name) + 1);
    *out = *p;
    out->name = copy;
    *state = user;
    if (!p->create) return MOE_OK;
    moe_policy_info info = {.size = sizeof info,
                            .layer = r->shape.layer,
                            .n_experts = r->shape.n,
                            .n_null = r->recipe.spec.n_null,
                            .n_seq_max = r->shape.n_seq_max,
                            .spec = &r->recipe.spec};
    *state = NULL;
    int st = p->create(state, &info, user);
    if (st > 0) st = MOE_FAIL(ABORTED, "layer %u: policy %s: create said stop", r->shape.layer, name);
    if (st < 0) {
        if (!*moe__last_error())
            st = moe__fail(st, "layer %u: policy %s: create failed", r->shape.layer, name);
        moe__free(r->alloc, copy);
        *out = (moe_policy){0};
    }
    return st;
}

void moe__router_take_policy(moe__router *r, const moe_policy *p, void *state, void *user)
{
    moe__router_drop_policy(r, &r->policy, r->state);
    r->policy = *p;
    r->state = state;
    r->user = user;
    update(r);
}

int moe__router_check_plain(const moe__router *r)
{
    return check_forced(r, &r->steer, &r->recipe, 0, r->recipe.max_k);
}

int moe__router_edit_steer(const moe__router *r, moe__steer_fn fn, const void *arg, moe__steer *out)
{
    const moe__steer_shape shape = steer_shape(r);
    MOE_TRY(moe__steer_copy(out, &shape, &r->steer, &shape));
    int st = fn(out, &shape, arg);
    if (st >= 0) st = moe__steer_check(out, &shape);
    if (st >= 0) st = check_forced(r, out, &r->recipe, r->policy.route != NULL, r->max_k);
    if (st < 0) moe__steer_finish(out, &shape);
    return st < 0 ? st : MOE_OK;
}

void moe__router_swap_steer(moe__router *r, moe__steer *s)
{
    const moe__steer old = r->steer;
    r->steer = *s;
    *s = old;
    update(r);
}

void moe__router_free_steer(const moe__router *r, moe__steer *s)
{
    const moe__steer_shape shape = steer_shape(r);
    moe__steer_finish(s, &shape);
}

void moe__router_reset(moe__router *r)
{
    const moe__steer_shape shape = steer_shape(r);
    moe__router_drop_policy(r, &r->policy, r->state);
    r->state = r->user = NULL;
    moe__steer_finish(&r->steer, &shape);
    moe__recipe_finish(&r->recipe, r->alloc);
    r->recipe = r->own;
    update(r);
}

int moe__router_duplicate(moe__router *out, const moe__router *like, const moe__router *src)
{
    const moe__steer_shape to = steer_shape(like), from = steer_shape(src);
    if (src->policy.route && !src->policy.create && src->user)
        return MOE_FAIL(STATE, "layer %u: policy %s has a state and no create: it cannot be shared",
                        src->shape.layer, src->policy.name);
    moe__router next = *like;
    next.recipe = (moe__recipe){0};
    next.steer = (moe__steer){0};
    next.policy = (moe_policy){0};
    next.state = NULL;
    next.user = src->user;
    int st = moe__recipe_copy(&next.recipe, &src->recipe, like->alloc);
    if (st >= 0) st = moe__steer_copy(&next.steer, &to, &src->steer, &from);
    if (st >= 0 && src->policy.route)
        st = moe__router_make_policy(&next, &src->policy, src->user, &next.policy, &next.state);
    if (st < 0) {
        moe__router_finish(&next);
        return st;
    }
    update(&next);
    *out = next;
    return MOE_OK;
}

float moe__router_value(const moe__router *r, int kind, uint32_t expert)
{
    const float *v = r->steer.value[kind - 1];
    return v ? v[expert] : moe__steer_neutral(kind);
}

static int same_spec(const moe_route_spec *a, const moe_route_spec *b)
{
    moe_route_spec x = *a, y = *b;
    x.ids = y.ids = NULL;
    return !x.n_ids && !y.n_ids && !memcmp(&x, &y, sizeof x);
}

int moe__router_is_native(const moe__router *r)
{
    return !r->policy.route && moe__steer_is_empty(&r->steer) && same_spec(&r->recipe.spec, &r->native);
}
