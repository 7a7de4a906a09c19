/* SPDX-License-Identifier: MIT */
/*
 * Profile files (docs/formats/profile.md). The head tells the length of everything, which is compared with
 * the file's before memory is taken; numbers are checked against each other, the sum last.
 */
#include <math.h>
#include <string.h>

#include "study/profile.h"
#include "study/stream.h"

#define PROF_MAGIC      "MOEPROF\n"
#define PROF_VERSION    1u
#define PROF_HEAD       60u /* bytes */
#define PROF_LAYERS_MAX 65536u

/* ---- save ---- */

static uint32_t count_marks(const moe_profile *p)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->marks.n; i++) n += p->mark_class[i] != UINT32_MAX;
    return n;
}

static int save_prof_head(moe__out *o, const moe_profile *p)
{
    const moe_profile_info *i = &p->info;
    const uint32_t word[] = {PROF_VERSION,
                             i->flags,
                             i->n_layers,
                             p->n_routers,
                             i->n_experts,
                             i->n_classes,
                             i->n_tokens_max,
                             i->n_pos_max,
                             count_marks(p),
                             p->tracked.n,
                             0};
    MOE_TRY(moe__out_data(o, PROF_MAGIC, MOE_STREAM_MAGIC));
    MOE_TRY(moe__out_u64(o, i->fingerprint));
    return moe__out_array(o, word, sizeof word / sizeof word[0], sizeof word[0]);
}

static int save_prof_all(moe__out *o, const moe_profile *p)
{
    MOE_TRY(save_prof_head(o, p));
    for (uint32_t r = 0; r < p->n_routers; r++) MOE_TRY(moe__out_u32(o, p->layer[r].number));
    for (uint32_t i = 0; i < p->marks.n; i++)
        if (p->mark_class[i] != UINT32_MAX) {
            MOE_TRY(moe__out_u32(o, p->marks.key[i]));
            MOE_TRY(moe__out_u32(o, p->mark_class[i]));
        }
    MOE_TRY(moe__out_array(o, p->tracked.key, p->tracked.n, sizeof *p->tracked.key));
    MOE_TRY(moe__out_array(o, p->prompts, p->info.n_classes, sizeof *p->prompts));
    for (uint32_t r = 0; r < p->n_routers; r++)
        for (int a = 0; a < N_PROF; a++)
            MOE_TRY(moe__out_array(o, p->layer[r].a[a].n, (size_t)moe__profile_size(&p->info, a),
                                   sizeof(uint64_t)));
    return moe__out_array(o, p->tracked_count, (size_t)p->tracked.n * p->n_routers * p->info.n_experts,
                          sizeof *p->tracked_count);
}

int moe__profile_save(const moe_profile *p, const char *path)
{
    moe__out o;
    MOE_TRY(moe__out_open(&o, path, &p->alloc));
    return moe__out_close(&o, save_prof_all(&o, p));
}

/* ---- load ---- */

typedef struct prof_head {
    moe_profile_info info;
    uint32_t n_routers, n_marks, n_tracked;
} prof_head;

static int load_prof_head(moe__in *f, prof_head *h)
{
    uint32_t word[11];
    h->info = (moe_profile_info)MOE_PROFILE_INFO_INIT;
    MOE_TRY(moe__in_u64(f, &h->info.fingerprint));
    MOE_TRY(moe__in_array(f, word, sizeof word / sizeof word[0], sizeof word[0]));
    if (word[0] != PROF_VERSION)
        return MOE_FAIL(VERSION, "%s: profile format version: expected %u, found %u", f->path, PROF_VERSION,
                        word[0]);
    h->info.flags = word[1];
    h->info.n_layers = word[2];
    h->n_routers = word[3];
    h->info.n_experts = word[4];
    h->info.n_classes = word[5];
    h->info.n_tokens_max = word[6];
    h->info.n_pos_max = word[7];
    h->n_marks = word[8];
    h->n_tracked = word[9];
    if ((h->info.flags & ~MOE_PROFILE_KNOWN_FLAGS) || h->info.n_layers > PROF_LAYERS_MAX ||
        h->n_routers > h->info.n_layers || h->info.n_experts > 65536 || h->info.n_classes == 0 ||
        h->n_tracked > h->info.n_tokens_max || (h->n_routers && h->info.n_experts == 0) || word[10] != 0)
        return MOE_FAIL(
            FORMAT,
            "%s: a profile of flags %#x, %u layers, %u routers, %u experts, %u classes, %u of %u tokens",
            f->path, h->info.flags, h->info.n_layers, h->n_routers, h->info.n_experts, h->info.n_classes,
            h->n_tracked, h->info.n_tokens_max);
    return MOE_OK;
}

/* Adds count * size bytes to *sum; 0 on overflow. */
static int add_bytes(uint64_t *sum, uint64_t count, uint64_t size)
{
    uint64_t n;
    return moe__mul_ok(count, size, &n) && moe__add_ok(*sum, n, sum);
}

/* What follows the head must be exactly as long as the head says. */
static int check_prof_length(const moe__in *f, const prof_head *h)
{
    uint64_t layer = 0, all = 0, row;
    int ok = 1;
    for (int a = 0; a < N_PROF; a++)
        ok &= add_bytes(&layer, moe__profile_size(&h->info, a), sizeof(uint64_t));
    ok &= add_bytes(&all, h->n_routers, 4) && add_bytes(&all, h->n_marks, 8) &&
          add_bytes(&all, h->n_tracked, 4);
    ok &= add_bytes(&all, h->info.n_classes, 8) && add_bytes(&all, h->n_routers, layer);
    ok &= moe__mul_ok((uint64_t)h->n_routers * h->info.n_experts, 4, &row) &&
          add_bytes(&all, h->n_tracked, row);
    if (ok && all == moe__in_left(f)) return MOE_OK;
    return MOE_FAIL(FORMAT, "%s: the profile's head does not fit the file's %llu bytes", f->path,
                    (unsigned long long)f->file.length);
}

static int check_prof_model(const moe__in *f, const moe_model *m, const prof_head *h)
{
    if (!m) return MOE_OK;
    if (m->fingerprint != h->info.fingerprint)
        return MOE_FAIL(
            STATE, "%s: the profile belongs to another model (fingerprint %016llx, this model has %016llx)",
            f->path, (unsigned long long)h->info.fingerprint, (unsigned long long)m->fingerprint);
    uint32_t n = 0;
    for (uint32_t l = 0; l < m->hp.n_layers; l++) n += m->layers[l].is_moe != 0;
    if (m->hp.n_layers != h->info.n_layers || m->hp.n_experts != h->info.n_experts || n != h->n_routers ||
        h->info.n_tokens_max > m->hp.n_vocab)
        return MOE_FAIL(FORMAT, "%s: the profile has another shape than its model", f->path);
    return MOE_OK;
}

static int load_prof_layers(moe__in *f, const moe_model *m, const prof_head *h, uint32_t *layers)
{
    MOE_TRY(moe__in_array(f, layers, h->n_routers, sizeof *layers));
    for (uint32_t r = 0; r < h->n_routers; r++) {
        if (layers[r] >= h->info.n_layers || (r && layers[r] <= layers[r - 1]))
            return MOE_FAIL(FORMAT, "%s: router %u in layer %u", f->path, r, layers[r]);
        if (m && !m->layers[layers[r]].is_moe)
            return MOE_FAIL(FORMAT, "%s: layer %u of the model has no router", f->path, layers[r]);
    }
    return MOE_OK;
}

static int load_prof_marks(moe__in *f, moe_profile *p, const prof_head *h)
{
    const uint32_t n_vocab = p->m ? p->m->hp.n_vocab : INT32_MAX;
    for (uint32_t i = 0; i < h->n_marks; i++) {
        uint32_t x[2];
        MOE_TRY(moe__in_array(f, x, 2, sizeof x[0]));
        if (x[0] >= n_vocab || x[1] >= h->info.n_classes || moe__idmap_get(&p->marks, x[0]) != MOE_IDMAP_NONE)
            return MOE_FAIL(FORMAT, "%s: mark of token %u, class %u", f->path, x[0], x[1]);
        const moe_token id = (moe_token)x[0];
        MOE_TRY(moe__profile_mark(p, x[1], &id, 1));
    }
    return MOE_OK;
}

static int load_prof_tracked(moe__in *f, moe_profile *p, const prof_head *h)
{
    MOE_TRY(moe__profile_room(p, p->m ? h->info.n_tokens_max : h->n_tracked));
    for (uint32_t i = 0; i < h->n_tracked; i++) {
        uint32_t id;
        MOE_TRY(moe__in_u32(f, &id));
        if (id > INT32_MAX || (p->m && id >= p->m->hp.n_vocab) || moe__idmap_put(&p->tracked, id) != i)
            return MOE_FAIL(FORMAT, "%s: counted token %u, number %u", f->path, i, id);
    }
    return MOE_OK;
}

/* Sums are numbers; counts go together, as far as nothing else depends on it. */
static int check_prof_layer(const moe__in *f, const moe_profile *p, const moe__prof_layer *l)
{
    const uint64_t *n = l->a[PROF_N].n;
    uint64_t pairs = 0, tokens = 0, by_class = 0;
    for (int a = 0; a < N_PROF; a++)
        for (uint64_t i = 0; moe__profile_is_sum(a) && i < moe__profile_size(&p->info, a); i++)
            if (l->a[a].x[i] != l->a[a].x[i])
                return MOE_FAIL(FORMAT, "%s: layer %u: a sum is not a number", f->path, l->number);
    for (uint32_t e = 0; e < p->info.n_experts; e++) pairs += l->a[PROF_COUNT].n[e];
    for (uint32_t k = 0; k <= p->info.n_experts; k++) tokens += l->a[PROF_K].n[k];
    for (uint32_t c = 0; c < p->info.n_classes; c++) by_class += l->a[PROF_CLASS_TOKENS].n[c];
    if (pairs != n[PROF_N_PAIRS] || tokens != n[PROF_N_TOKENS] || by_class != n[PROF_N_TOKENS] ||
        n[PROF_N_DROPPED] > pairs || n[PROF_N_PROBS] > tokens || n[PROF_N_LBL] > n[PROF_N_BATCHES])
        return MOE_FAIL(FORMAT, "%s: layer %u: counts do not add up", f->path, l->number);
    return MOE_OK;
}

static int load_prof_counts(moe__in *f, moe_profile *p, const prof_head *h)
{
    MOE_TRY(moe__in_array(f, p->prompts, h->info.n_classes, sizeof *p->prompts));
    for (uint32_t r = 0; r < p->n_routers; r++) {
        for (int a = 0; a < N_PROF; a++)
            MOE_TRY(moe__in_array(f, p->layer[r].a[a].n, (size_t)moe__profile_size(&p->info, a),
                                  sizeof(uint64_t)));
        MOE_TRY(check_prof_layer(f, p, &p->layer[r]));
    }
    MOE_TRY(moe__in_array(f, p->tracked_count, (size_t)h->n_tracked * p->n_routers * p->info.n_experts,
                          sizeof *p->tracked_count));
    return moe__in_sum(f);
}

static int load_prof_all(moe__in *f, moe_profile **out, moe_model *m, const moe__allocator *a,
                         uint32_t **layers)
{
    prof_head h;
    MOE_TRY(load_prof_head(f, &h));
    MOE_TRY(check_prof_length(f, &h));
    MOE_TRY(check_prof_model(f, m, &h));
    MOE_TRY(MOE_NEW(a, layers, h.n_routers, "layers of a profile"));
    MOE_TRY(load_prof_layers(f, m, &h, *layers));
    MOE_TRY(moe__profile_new(out, a, m, &h.info, *layers, h.n_routers));
    MOE_TRY(load_prof_marks(f, *out, &h));
    MOE_TRY(load_prof_tracked(f, *out, &h));
    return load_prof_counts(f, *out, &h);
}

int moe__profile_load(moe_profile **out, moe_model *m, const char *path)
{
    moe__in f;
    moe__allocator a;
    moe_profile *p = NULL;
    uint32_t *layers = NULL;
    MOE_TRY(moe__allocator_init(&a, NULL));
    if (m) a = m->alloc;
    MOE_TRY(moe__in_open(&f, path, "profile", PROF_MAGIC, PROF_HEAD));
    const int st = load_prof_all(&f, &p, m, &a, &layers);
    moe__in_close(&f);
    moe__free(&a, layers);
    if (st < 0)
        moe__profile_free(p);
    else
        *out = p;
    return st;
}
