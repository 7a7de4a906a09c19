/* SPDX-License-Identifier: MIT */
/* See shape.h. Shared experts are counted in units of a routed one; they may be of any width. */
#include "model/shape.h"

#include "base/status.h"

static int check_fields(const moe_shape *s)
{
    const struct {
        const char *name;
        uint32_t value;
    } positive[] = {{"dim", s->dim},
                    {"dim_ff_expert", s->dim_ff_expert},
                    {"n_experts", s->n_experts},
                    {"top_k", s->top_k}};
    for (size_t i = 0; i < MOE_COUNT(positive); i++)
        if (positive[i].value == 0)
            return MOE_FAIL(INVALID, "shape: %s: expected 1 or more, found 0", positive[i].name);
    if (s->top_k > s->n_experts)
        return MOE_FAIL(INVALID, "shape: top_k: expected at most n_experts %u, found %u", s->n_experts,
                        s->top_k);
    return MOE_OK;
}

/* Parameters of the router, of `n` routed experts and of the shared ones; 0 on overflow. */
static int count_params(const moe_shape *s, uint32_t n, uint64_t *out)
{
    const uint64_t router = (uint64_t)s->n_experts * s->dim;
    const uint64_t n_matrices = s->n_matrices ? s->n_matrices : 3;
    const uint64_t width = (uint64_t)n * s->dim_ff_expert; /* of two 32-bit numbers: fits with another */
    uint64_t rows, params;
    return moe__add_ok(width, s->dim_ff_shared, &rows) && moe__mul_ok(rows, n_matrices, &rows) &&
           moe__mul_ok(rows, s->dim, &params) && moe__add_ok(params, router, out);
}

int moe__shape_measure(const moe_shape *s, moe_shape_info *out)
{
    moe_shape_info info = MOE_SHAPE_INFO_INIT;
    MOE_TRY(check_fields(s));
    const double shared = (double)s->dim_ff_shared / s->dim_ff_expert;
    info.activation = (s->top_k + shared) / (s->n_experts + shared);
    info.granularity = 2.0 * s->dim / s->dim_ff_expert;
    if (!count_params(s, s->n_experts, &info.n_params) || !count_params(s, s->top_k, &info.n_active))
        return MOE_FAIL(RANGE, "shape: the parameters of %u experts of %u x %u do not fit 64 bits",
                        s->n_experts, s->dim, s->dim_ff_expert);
    *out = info;
    return MOE_OK;
}

/* A MoE layer's measures; its widths were checked when the model was opened. */
static void measure_layer(const moe__hparams *h, moe_layer_info *out)
{
    const moe_shape shape = {.size = sizeof shape,
                             .dim = h->dim,
                             .dim_ff_expert = h->dim_ff_expert,
                             .dim_ff_shared = h->dim_ff_shared,
                             .n_experts = h->n_experts,
                             .top_k = h->top_k};
    moe_shape_info info = MOE_SHAPE_INFO_INIT;
    if (moe__shape_measure(&shape, &info) < 0) moe__clear_error();
    out->activation = info.activation;
    out->granularity = info.granularity;
}

void moe__layer_info(const moe_model *m, uint32_t layer, moe_layer_info *out)
{
    const moe__hparams *h = &m->hp;
    const moe__layer *l = &m->layers[layer];
    *out = (moe_layer_info){.size = sizeof *out,
                            .ffn_kind = l->is_moe ? MOE_FFN_MOE : MOE_FFN_DENSE,
                            .n_experts = l->is_moe ? h->n_experts : 0,
                            .n_shared = l->is_moe && h->dim_ff_shared,
                            .dim_ff = l->is_moe ? h->dim_ff_expert : h->dim_ff,
                            .dim_ff_shared = l->is_moe ? h->dim_ff_shared : 0,
                            .n_heads = h->n_heads,
                            .n_heads_kv = h->n_heads_kv,
                            .dim_head = h->dim_head_k,
                            .activation = 1};
    uint64_t idle = 0;
    for (int r = N_MODEL_ROLES; r < N_ROLES; r++) {
        if (!l->tensor[r]) continue;
        out->n_params += l->tensor[r]->n;
        if (moe__role_is_expert(r)) idle += l->tensor[r]->n / h->n_experts * (h->n_experts - h->top_k);
    }
    out->n_active = out->n_params - idle;
    if (l->is_moe) measure_layer(h, out);
}
