/* SPDX-License-Identifier: MIT */
/* Making and ending sessions, and their teams of threads. */
#include "run/session.h"

#include <string.h>

#include "base/opts.h"
#include "base/status.h"

static int make_team(const moe_session *s, uint32_t n, moe__team **team, float **scratch)
{
    const moe__allocator *a = &s->m->alloc;
    if (s->o.flags & MOE_SESSION_LOW_PRIORITY && !s->o.executor)
        MOE_TRY(moe__team_create_low(team, a, n));
    else
        MOE_TRY(moe__team_create(team, a, n, s->o.executor ? &s->executor : NULL));
    const int st = moe__alloc_array(a, (void **)scratch, moe__team_size(*team),
                                    s->scratch_floats * sizeof(float), "thread scratch");
    if (st < 0) moe__team_free(*team);
    return st;
}

int moe__session_threads(moe_session *s, uint32_t n)
{
    moe__team *team;
    float *scratch;
    MOE_TRY(make_team(s, n, &team, &scratch));
    moe__team_free(s->team);
    moe__free(&s->m->alloc, s->scratch);
    s->team = team;
    s->scratch = scratch;
    s->n_threads = moe__team_size(team);
    return MOE_OK;
}

static moe__router_shape router_shape(const moe_session *s, uint32_t layer)
{
    const moe__hparams *h = &s->m->hp;
    return (moe__router_shape){.layer = layer,
                               .n = h->n_experts,
                               .n_null = h->n_null,
                               .n_seq_max = s->o.n_seq_max,
                               .n_vocab = h->n_vocab,
                               .dim = h->dim,
                               .n_shared = h->dim_ff_shared ? 1 : 0};
}

/* Routers of all MoE layers, and the handles that the caller sees. */
static int make_routers(moe_session *s)
{
    const uint32_t n_layers = s->m->hp.n_layers, n = s->m->hp.n_experts;
    for (uint32_t l = 0; l <= n_layers; l++) {
        moe_router *handle = &s->handle[l];
        const int all = l == n_layers;
        *handle =
            (moe_router){s, all ? MOE_ALL_LAYERS : l, all ? NULL : &s->router[l], s->expert + (size_t)l * n};
        for (uint32_t e = 0; e < n; e++) handle->expert[e] = (moe_expert){handle, e};
        if (all || !s->m->layers[l].is_moe) continue;
        const moe__router_shape shape = router_shape(s, l);
        MOE_TRY(moe__router_init(&s->router[l], &s->m->alloc, &s->m->k, &shape, &s->m->route));
        s->router[l].logit_bias = s->m->layers[l].vec[ROLE_ROUTER_BIAS];
        s->router[l].select_bias = s->m->layers[l].vec[ROLE_SELECT_BIAS];
    }
    return MOE_OK;
}

static int fill(moe_session *s)
{
    moe__carve kv = {0}, rest = {0};
    MOE_TRY(moe__session_layout(s, &kv, &rest));
    s->arena_bytes = kv.used + rest.used;
    s->kv_bytes = kv.used;
    MOE_TRY(moe__alloc_raw(&s->m->alloc, &s->arena, (size_t)s->arena_bytes, "session"));
    memset((char *)s->arena + s->kv_bytes, 0, (size_t)(s->arena_bytes - s->kv_bytes));
    kv = (moe__carve){s->arena, 0};
    rest = (moe__carve){(char *)s->arena + s->kv_bytes, 0};
    MOE_TRY(moe__session_layout(s, &kv, &rest));
    moe__kv_reset(&s->kv);
    moe__kv_reset(&s->win);
    s->attn.m = s->m;
    s->attn.kv = &s->kv;
    s->attn.win = &s->win;
    s->attn.place = s->place;
    MOE_TRY(make_routers(s));
    moe__program_build(s);
    MOE_TRY(moe__experts_init(s));
    moe__park_update(s);
    s->scratch_floats = moe__session_scratch(s);
    return moe__session_threads(s, (uint32_t)s->o.n_threads);
}

int moe__session_create(moe_session **out, moe_model *m, const moe_session_options *o)
{
    if (m->flags & MOE_OPEN_METADATA_ONLY)
        return MOE_FAIL(STATE, "the model was opened with MOE_OPEN_METADATA_ONLY: it has no weights");
    moe_session_options opts;
    MOE_TRY(moe__session_options(&opts, o, m));
    moe_executor executor = {.size = sizeof executor};
    if (opts.executor) MOE_TRY(moe__opts_copy(&executor, sizeof executor, opts.executor, "moe_executor"));
    moe_session *s;
    MOE_TRY(MOE_NEW(&m->alloc, &s, 1, "session"));
    s->m = moe_model_retain(m);
    s->o = opts;
    s->executor = executor;
    if (opts.executor) s->o.executor = &s->executor;
    s->stats.size = sizeof s->stats;
    const int st = fill(s);
    if (st < 0) {
        moe__session_free(s);
        return st;
    }
    *out = s;
    return MOE_OK;
}

void moe__session_free(moe_session *s)
{
    if (!s) return;
    moe_model *m = s->m;
    moe__team_free(s->team);
    for (uint32_t l = 0; s->router && l < m->hp.n_layers; l++) moe__router_finish(&s->router[l]);
    moe__experts_finish(s);
    moe__free(&m->alloc, s->hook);
    moe__free(&m->alloc, s->serial);
    moe__free(&m->alloc, s->scratch);
    moe__free(&m->alloc, s->arena);
    moe__free(&m->alloc, s);
    moe_model_release(m);
}
