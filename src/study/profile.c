/* SPDX-License-Identifier: MIT */
/* See profile.h: memory of a profile, marks, reset and merge. */
#include "study/profile.h"

#include <string.h>

#include "base/carve.h"
#include "base/opts.h"

/* ---- the table of arrays ---- */

typedef enum prof_count { PER_FIX, PER_N, PER_N_PLUS, PER_CLASS, PER_CLASS_N, PER_POS, PER_N_N } prof_count;

typedef struct prof_row {
    uint8_t count; /* prof_count */
    uint8_t fix;   /* elements with PER_FIX */
    uint8_t sum;   /* doubles */
    uint8_t flag;  /* MOE_PROFILE_* that it needs */
} prof_row;

static const prof_row prof_table[N_PROF] = {
    [PROF_N] = {PER_FIX, N_PROF_N, 0, 0},
    [PROF_SUM] = {PER_FIX, N_PROF_SUM, 1, 0},
    [PROF_COUNT] = {PER_N, 0, 0, 0},
    [PROF_WEIGHT] = {PER_N, 0, 1, 0},
    [PROF_PROB] = {PER_N, 0, 1, 0},
    [PROF_TOP1] = {PER_N, 0, 0, 0},
    [PROF_K] = {PER_N_PLUS, 0, 0, 0},
    [PROF_CLASS_COUNT] = {PER_CLASS_N, 0, 0, 0},
    [PROF_CLASS_WEIGHT] = {PER_CLASS_N, 0, 1, 0},
    [PROF_CLASS_TOKENS] = {PER_CLASS, 0, 0, 0},
    [PROF_DROPS] = {PER_POS, 0, 0, 0},
    [PROF_PAIRS] = {PER_N_N, 0, 0, MOE_PROFILE_PAIRS},
    [PROF_OUT_N] = {PER_N, 0, 0, MOE_PROFILE_OUTPUTS},
    [PROF_OUT_NORM] = {PER_N, 0, 1, MOE_PROFILE_OUTPUTS},
    [PROF_OUT_SALIENCY] = {PER_N, 0, 1, MOE_PROFILE_OUTPUTS},
    [PROF_OUT_MAX] = {PER_N, 0, 1, MOE_PROFILE_OUTPUTS},
    [PROF_OUT_CHANNEL] = {PER_N, 0, 0, MOE_PROFILE_OUTPUTS},
};

uint64_t moe__profile_size(const moe_profile_info *i, int array)
{
    const prof_row *r = &prof_table[array];
    const uint64_t n = i->n_experts, c = i->n_classes;
    if (r->flag && !(i->flags & r->flag)) return 0;
    switch ((prof_count)r->count) {
    case PER_FIX: return r->fix;
    case PER_N: return n;
    case PER_N_PLUS: return n + 1;
    case PER_CLASS: return c;
    case PER_CLASS_N: return c * n; /* n <= 65536: no overflow */
    case PER_POS: return i->n_pos_max;
    case PER_N_N: return n * n;
    }
    return 0;
}

int moe__profile_is_sum(int array) { return prof_table[array].sum; }

/* ---- memory ---- */

static void carve_profile(moe_profile *p, moe__carve *c)
{
    const moe_profile_info *i = &p->info;
    MOE_CARVE(c, p->prompts, i->n_classes);
    MOE_CARVE(c, p->row, i->n_experts);
    MOE_CARVE(c, p->batch_prob, i->n_experts);
    MOE_CARVE(c, p->batch_count, i->n_experts);
    for (uint32_t r = 0; r < p->n_routers; r++)
        for (int a = 0; a < N_PROF; a++) MOE_CARVE(c, p->layer[r].a[a].n, moe__profile_size(i, a));
}

int moe__profile_room(moe_profile *p, uint64_t n)
{
    if (n > p->info.n_tokens_max) n = p->info.n_tokens_max;
    if (n <= p->n_tracked_max) return MOE_OK;
    const uint64_t more = (uint64_t)p->n_tracked_max + p->n_tracked_max / 2;
    if (n < more) n = more < p->info.n_tokens_max ? more : p->info.n_tokens_max;
    const uint64_t row = (uint64_t)p->n_routers * p->info.n_experts * sizeof *p->tracked_count;
    MOE_TRY(moe__idmap_reserve(&p->tracked, &p->alloc, n));
    MOE_TRY(moe__realloc_array(&p->alloc, (void **)&p->tracked_count, (size_t)n, (size_t)row,
                               "tokens of a profile"));
    p->n_tracked_max = (uint32_t)n;
    return MOE_OK;
}

static int fill_profile(moe_profile *p, const uint32_t *layers)
{
    const moe__allocator *a = &p->alloc;
    moe__carve c = {0};
    MOE_TRY(MOE_NEW(a, &p->layer, p->n_routers, "layers of a profile"));
    MOE_TRY(MOE_NEW(a, &p->layer_at, p->info.n_layers, "layers of a profile"));
    carve_profile(p, &c);
    if (c.used > SIZE_MAX / 2) return MOE_FAIL(NOMEM, "a profile of this shape is too large");
    MOE_TRY(moe__alloc(a, &p->block, (size_t)c.used, "profile"));
    c = (moe__carve){p->block, 0};
    carve_profile(p, &c);
    memset(p->layer_at, 0xff, p->info.n_layers * sizeof *p->layer_at);
    for (uint32_t r = 0; r < p->n_routers; r++) {
        p->layer[r].number = layers[r];
        p->layer_at[layers[r]] = r;
    }
    return MOE_OK;
}

int moe__profile_new(moe_profile **out, const moe__allocator *a, moe_model *m, const moe_profile_info *info,
                     const uint32_t *layers, uint32_t n_routers)
{
    moe_profile *p;
    MOE_TRY(MOE_NEW(a, &p, 1, "profile"));
    p->alloc = *a;
    p->info = *info;
    p->n_routers = n_routers;
    p->m = moe_model_retain(m);
    const int st = fill_profile(p, layers);
    if (st < 0)
        moe__profile_free(p);
    else
        *out = p;
    return st;
}

static int create_for_model(moe_profile **out, moe_model *m, const moe_profile_info *info, uint32_t *layers)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++)
        if (m->layers[l].is_moe) layers[n++] = l;
    MOE_TRY(moe__profile_new(out, &m->alloc, m, info, layers, n));
    const int st = moe__profile_room(*out, info->n_tokens_max);
    if (st < 0) {
        moe__profile_free(*out);
        *out = NULL;
    }
    return st;
}

int moe__profile_create(moe_profile **out, moe_model *m, const moe_profile_options *o)
{
    moe_profile_options opt = MOE_PROFILE_OPTIONS_INIT;
    if (o) MOE_TRY(moe__opts_copy(&opt, sizeof opt, o, "moe_profile_options"));
    if (opt.flags & ~MOE_PROFILE_KNOWN_FLAGS)
        return MOE_FAIL(INVALID, "moe_profile_options: flags %#x", opt.flags);
    const moe_profile_info info = {.size = sizeof info,
                                   .flags = opt.flags,
                                   .n_layers = m->hp.n_layers,
                                   .n_experts = m->hp.n_experts,
                                   .n_classes = opt.n_classes ? opt.n_classes : 1,
                                   .n_tokens_max =
                                       opt.n_tokens_max < m->hp.n_vocab ? opt.n_tokens_max : m->hp.n_vocab,
                                   .n_pos_max = opt.n_pos_max,
                                   .fingerprint = m->fingerprint};
    uint32_t *layers;
    MOE_TRY(MOE_NEW(&m->alloc, &layers, m->hp.n_layers, "layers of a profile"));
    const int st = create_for_model(out, m, &info, layers);
    moe__free(&m->alloc, layers);
    return st;
}

void moe__profile_free(moe_profile *p)
{
    if (!p) return;
    const moe__allocator a = p->alloc;
    moe_model *m = p->m;
    moe__idmap_free(&p->marks, &a);
    moe__idmap_free(&p->tracked, &a);
    moe__free(&a, p->mark_class);
    moe__free(&a, p->tracked_count);
    moe__free(&a, p->block);
    moe__free(&a, p->layer_at);
    moe__free(&a, p->layer);
    moe__free(&a, p);
    moe_model_release(m); /* last: the hook may be gone with the model */
}

void moe__profile_reset(moe_profile *p)
{
    const moe_profile_info *i = &p->info;
    memset(p->prompts, 0, i->n_classes * sizeof *p->prompts);
    for (uint32_t r = 0; r < p->n_routers; r++)
        for (int a = 0; a < N_PROF; a++)
            memset(p->layer[r].a[a].n, 0, (size_t)moe__profile_size(i, a) * sizeof(uint64_t));
    if (p->tracked.n)
        memset(p->tracked_count, 0,
               (size_t)p->tracked.n * p->n_routers * i->n_experts * sizeof *p->tracked_count);
    moe__idmap_clear(&p->tracked);
}

/* ---- marks ---- */

int moe__profile_mark(moe_profile *p, uint32_t cls, const moe_token *ids, size_t n)
{
    const uint32_t n_vocab = p->m ? p->m->hp.n_vocab : INT32_MAX;
    if (cls != UINT32_MAX && cls >= p->info.n_classes)
        return MOE_FAIL(RANGE, "moe_profile_mark: class %u of %u", cls, p->info.n_classes);
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= n_vocab)
            return MOE_FAIL(RANGE, "moe_profile_mark: token %d of %u", ids[i], n_vocab);
    MOE_TRY(moe__idmap_reserve(&p->marks, &p->alloc, (uint64_t)p->marks.n + n));
    if (p->marks.cap > p->n_mark_class) { /* also after a call that failed between the two */
        MOE_TRY(moe__realloc_array(&p->alloc, (void **)&p->mark_class, p->marks.cap, sizeof *p->mark_class,
                                   "marks of a profile"));
        p->n_mark_class = p->marks.cap;
    }
    for (size_t i = 0; i < n; i++) p->mark_class[moe__idmap_put(&p->marks, (uint32_t)ids[i])] = cls;
    return MOE_OK;
}

/* ---- merge ---- */

static int same_shape(const moe_profile *a, const moe_profile *b)
{
    const moe_profile_info *x = &a->info, *y = &b->info;
    const struct {
        const char *what;
        uint64_t x, y;
    } row[] = {{"the model's fingerprint", x->fingerprint, y->fingerprint},
               {"flags", x->flags, y->flags},
               {"layers", x->n_layers, y->n_layers},
               {"routers", a->n_routers, b->n_routers},
               {"experts", x->n_experts, y->n_experts},
               {"classes", x->n_classes, y->n_classes},
               {"tokens whose experts are counted", x->n_tokens_max, y->n_tokens_max},
               {"positions", x->n_pos_max, y->n_pos_max}};
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        if (row[i].x != row[i].y)
            return MOE_FAIL(STATE, "moe_profile_merge: %s: %llx and %llx do not go together", row[i].what,
                            (unsigned long long)row[i].x, (unsigned long long)row[i].y);
    for (uint32_t r = 0; r < a->n_routers; r++)
        if (a->layer[r].number != b->layer[r].number)
            return MOE_FAIL(STATE, "moe_profile_merge: routers in layers %u and %u", a->layer[r].number,
                            b->layer[r].number);
    return MOE_OK;
}

static void merge_layer(const moe_profile *p, moe__prof_layer *to, const moe__prof_layer *from)
{
    for (uint64_t e = 0; e < moe__profile_size(&p->info, PROF_OUT_MAX); e++)
        if (from->a[PROF_OUT_MAX].x[e] > to->a[PROF_OUT_MAX].x[e]) {
            to->a[PROF_OUT_MAX].x[e] = from->a[PROF_OUT_MAX].x[e];
            to->a[PROF_OUT_CHANNEL].n[e] = from->a[PROF_OUT_CHANNEL].n[e];
        }
    for (int a = 0; a < N_PROF; a++) {
        const uint64_t n = moe__profile_size(&p->info, a);
        if (a == PROF_OUT_MAX || a == PROF_OUT_CHANNEL) continue;
        for (uint64_t i = 0; i < n; i++) {
            if (prof_table[a].sum)
                to->a[a].x[i] += from->a[a].x[i];
            else
                to->a[a].n[i] += from->a[a].n[i];
        }
    }
}

/* Tokens that have no room in dst are left out, as if they had come too late there. */
static void merge_tracked(moe_profile *dst, const moe_profile *src)
{
    const size_t n = (size_t)src->n_routers * src->info.n_experts, n_src = src->tracked.n;
    for (uint32_t i = 0; i < n_src; i++) {
        if (dst->tracked.n == dst->n_tracked_max &&
            moe__idmap_get(&dst->tracked, src->tracked.key[i]) == MOE_IDMAP_NONE)
            continue;
        uint32_t *to = moe__profile_tracked(dst, moe__idmap_put(&dst->tracked, src->tracked.key[i]), 0);
        const uint32_t *from = moe__profile_tracked(src, i, 0);
        for (size_t j = 0; j < n; j++) to[j] = from[j] > UINT32_MAX - to[j] ? UINT32_MAX : to[j] + from[j];
    }
}

int moe__profile_merge(moe_profile *dst, const moe_profile *src)
{
    MOE_TRY(same_shape(dst, src));
    MOE_TRY(moe__profile_room(dst, (uint64_t)dst->tracked.n + src->tracked.n));
    for (uint32_t r = 0; r < dst->n_routers; r++) merge_layer(dst, &dst->layer[r], &src->layer[r]);
    for (uint32_t c = 0; c < dst->info.n_classes; c++) dst->prompts[c] += src->prompts[c];
    merge_tracked(dst, src);
    return MOE_OK;
}
