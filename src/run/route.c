/* SPDX-License-Identifier: MIT */
/* The routing step: router logits of all rows, then each row's experts and weights. */
#include "run/steps.h"

void moe__op_route(moe_session *s, moe__worker *w, const moe__run_step *step)
{
    const uint32_t n = s->m->hp.n_experts, k = s->router.top_k;
    const moe__task t = {&s->m->layers[step->layer].mat[step->role], s->router_logits};
    moe__run_products(s, w, &s->buf[step->in], &t, 1);
    for (size_t i; (i = moe__work_take(w)) < s->n_rows;) {
        s->routes.offset[i + 1] = (uint32_t)(i + 1) * k;
        const int st =
            moe__router_row(&s->router, &s->m->k, s->router_logits + i * n, s->routes.expert + i * k,
                            s->routes.weight + i * k, moe__session_member(s, w));
        if (st < 0) moe__fault(s, st, step->layer);
    }
    moe__work_next(w);
}
