/* SPDX-License-Identifier: MIT */
/*
 * The program of a model: embed; every layer's attention steps and its MoE or dense steps; collect. For each
 * step that writes a row buffer it also notes in which formats later steps read it, so that rows are packed
 * once, by the step that makes them.
 */
#include "run/session.h"

/* Weights that an operation multiplies with its input (besides the step's own role). */
static const uint8_t reads[N_OPS][3] = {
    [OP_QKV] = {ROLE_ATTN_Q, ROLE_ATTN_K, ROLE_ATTN_V},
    [OP_EXPERTS] = {ROLE_GATE_EXPS, ROLE_UP_EXPS},
    [OP_SHARED] = {ROLE_GATE_SHEXP, ROLE_UP_SHEXP, ROLE_SHARED_GATE},
    [OP_FFN] = {ROLE_FFN_GATE, ROLE_FFN_UP},
};

static size_t emit_steps(moe__run_step *dst, const moe__step *steps, size_t n, uint32_t layer)
{
    for (size_t i = 0; i < n && dst; i++)
        dst[i] = (moe__run_step){steps[i].op, steps[i].in, steps[i].out, steps[i].role, layer, 0};
    return n;
}

/* Writes the steps, or with dst NULL counts them. */
static size_t list_steps(const moe_model *m, moe__run_step *dst)
{
    static const moe__step embed = {OP_EMBED, BUF_NONE, BUF_X, ROLE_NONE},
                           collect = {OP_COLLECT, BUF_X, BUF_NONE, ROLE_NONE};
    const moe__arch *a = m->arch;
    size_t n = emit_steps(dst, &embed, 1, 0);
    for (uint32_t l = 0; l < m->hp.n_layers; l++) {
        n += emit_steps(dst ? dst + n : NULL, a->attn_steps, a->n_attn_steps, l);
        if (m->layers[l].is_moe)
            n += emit_steps(dst ? dst + n : NULL, a->moe_steps, a->n_moe_steps, l);
        else
            n += emit_steps(dst ? dst + n : NULL, a->dense_steps, a->n_dense_steps, l);
    }
    return n + emit_steps(dst ? dst + n : NULL, &collect, 1, 0);
}

size_t moe__program_size(const moe_model *m) { return list_steps(m, NULL); }

static uint32_t formats_read(const moe_model *m, const moe__run_step *step, int exact)
{
    const moe__layer *l = &m->layers[step->layer];
    uint32_t formats =
        step->role && l->mat[step->role].type ? MOE_ACT_BIT(moe__matrix_act(&l->mat[step->role], exact)) : 0;
    for (int i = 0; i < 3; i++)
        if (reads[step->op][i] && l->mat[reads[step->op][i]].type)
            formats |= MOE_ACT_BIT(moe__matrix_act(&l->mat[reads[step->op][i]], exact));
    return formats;
}

uint32_t moe__program_formats(const moe_model *m, const moe__run_step *step, size_t n, size_t i, uint8_t buf,
                              int exact)
{
    uint32_t formats = 0;
    for (size_t j = i + 1; j < n; j++) {
        if (step[j].in == buf) formats |= formats_read(m, &step[j], exact);
        if (step[j].out == buf) break;
    }
    return formats;
}

void moe__program_build(moe_session *s)
{
    s->n_steps = list_steps(s->m, s->step);
    for (size_t i = 0; i < s->n_steps; i++)
        if (s->step[i].out != BUF_NONE)
            s->step[i].formats =
                moe__program_formats(s->m, s->step, s->n_steps, i, s->step[i].out, moe__session_exact(s));
}
