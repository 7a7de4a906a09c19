/* SPDX-License-Identifier: MIT */
/*
 * The table of stages: what each kind is called, which parameters it has and what carries it out. Structs,
 * texts, checks and the documentation (docs/sampling.md) follow this table; a new stage is one row and one
 * function.
 */
#include <math.h>

#include "base/status.h"
#include "sample/sampler.h"

#define N_MAX 2147483647.0
#define KEEP {"keep", MOE_SLOT_N, 1, N_MAX, 1, 1}
#define LAST(standard) {"last", MOE_SLOT_N, -1, N_MAX, standard, 1}
#define TEMPERATURE {"t", MOE_SLOT_A, 0, 1000, 0.8, 0}

static const moe__kind kinds[] = {
    {MOE_SAMPLE_GREEDY, "greedy", MOE_KIND_PICKS, moe__stage_greedy, {{0}}},
    {MOE_SAMPLE_DIST, "dist", MOE_KIND_PICKS | MOE_KIND_RANDOM, moe__stage_dist, {{0}}},
    {MOE_SAMPLE_TEMP, "temp", 0, moe__stage_temp, {TEMPERATURE}},
    {MOE_SAMPLE_TEMP_DYNAMIC, "temp-dynamic", 0, moe__stage_temp_dynamic,
     {TEMPERATURE, {"range", MOE_SLOT_B, 0, 1000, 0.5, 0}, {"exp", MOE_SLOT_C, 0.01, 100, 1, 1}}},
    {MOE_SAMPLE_TOP_K, "top-k", 0, moe__stage_top_k, {{"k", MOE_SLOT_N, 0, N_MAX, 40, 0}}},
    {MOE_SAMPLE_TOP_P, "top-p", 0, moe__stage_top_p, {{"p", MOE_SLOT_A, 0, 1, 0.95, 0}, KEEP}},
    {MOE_SAMPLE_MIN_P, "min-p", 0, moe__stage_min_p, {{"p", MOE_SLOT_A, 0, 1, 0.05, 0}, KEEP}},
    {MOE_SAMPLE_TYPICAL, "typical", 0, moe__stage_typical, {{"p", MOE_SLOT_A, 0, 1, 0.95, 0}, KEEP}},
    {MOE_SAMPLE_TOP_N_SIGMA, "top-n-sigma", 0, moe__stage_top_n_sigma, {{"n", MOE_SLOT_A, 0, 1000, 1, 0}}},
    {MOE_SAMPLE_XTC, "xtc", MOE_KIND_RANDOM, moe__stage_xtc,
     {{"p", MOE_SLOT_A, 0, 1, 0.5, 0}, {"t", MOE_SLOT_B, 0, 1, 0.1, 0}, KEEP}},
    {MOE_SAMPLE_PENALTIES, "penalties", MOE_KIND_HISTORY, moe__stage_penalties,
     {LAST(64), {"repeat", MOE_SLOT_A, 0.01, 100, 1, 1}, {"freq", MOE_SLOT_B, -100, 100, 0, 0},
      {"present", MOE_SLOT_C, -100, 100, 0, 0}}},
    {MOE_SAMPLE_DRY, "dry", MOE_KIND_HISTORY | MOE_KIND_IDS, moe__stage_dry,
     {LAST(-1), {"mult", MOE_SLOT_A, 0.001, 1000, 0.8, 1}, {"base", MOE_SLOT_B, 1, 100, 1.75, 1},
      {"allowed", MOE_SLOT_M, 1, N_MAX, 2, 1}}},
    {MOE_SAMPLE_MIROSTAT, "mirostat", MOE_KIND_PICKS | MOE_KIND_RANDOM, moe__stage_mirostat,
     {{"tau", MOE_SLOT_A, 0.001, 100, 5, 1}, {"eta", MOE_SLOT_B, 0.0001, 10, 0.1, 1}}},
    {MOE_SAMPLE_LOGIT_BIAS, "logit-bias", MOE_KIND_IDS | MOE_KIND_VALUES, moe__stage_logit_bias, {{0}}},
};

#define N_KINDS (sizeof kinds / sizeof kinds[0])
#define N_FIELDS (sizeof kinds[0].field / sizeof kinds[0].field[0])

const moe__kind *moe__kind_at(size_t i) { return i < N_KINDS ? &kinds[i] : NULL; }

const moe__kind *moe__kind_find(int32_t kind)
{
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds[i].kind == kind) return &kinds[i];
    return NULL;
}

double moe__slot_get(const moe_sample_stage *spec, moe__slot slot)
{
    switch (slot) {
    case MOE_SLOT_N: return spec->n;
    case MOE_SLOT_M: return spec->m;
    case MOE_SLOT_A: return (double)spec->a;
    case MOE_SLOT_B: return (double)spec->b;
    case MOE_SLOT_C: return (double)spec->c;
    case MOE_SLOT_NONE: break;
    }
    return 0;
}

void moe__slot_set(moe_sample_stage *spec, moe__slot slot, double x)
{
    switch (slot) {
    case MOE_SLOT_N: spec->n = (int32_t)x; break;
    case MOE_SLOT_M: spec->m = (int32_t)x; break;
    case MOE_SLOT_A: spec->a = (float)x; break;
    case MOE_SLOT_B: spec->b = (float)x; break;
    case MOE_SLOT_C: spec->c = (float)x; break;
    case MOE_SLOT_NONE: break;
    }
}

const char *moe__slot_name(moe__slot slot)
{
    static const char *const name[] = {"", "n", "m", "a", "b", "c"};
    return name[slot];
}

static const moe__field *field_in(const moe__kind *k, moe__slot slot)
{
    for (size_t i = 0; i < N_FIELDS; i++)
        if (k->field[i].slot == slot) return &k->field[i];
    return NULL;
}

static int check_slot(const moe__kind *k, moe_sample_stage *spec, moe__slot slot)
{
    const moe__field *f = field_in(k, slot);
    double x = moe__slot_get(spec, slot);
    if (!f) {
        if (x == 0) return MOE_OK;
        return MOE_FAIL(INVALID, "sampler stage '%s': field %s is set, but this kind has none such", k->name,
                        moe__slot_name(slot));
    }
    if (x == 0 && f->zero_is_standard) {
        moe__slot_set(spec, slot, f->standard);
        return MOE_OK;
    }
    /* Bounds as stored: 0.1 as a float is not below 0.1. */
    moe_sample_stage low = MOE_SAMPLE_STAGE_INIT, high = MOE_SAMPLE_STAGE_INIT;
    moe__slot_set(&low, slot, f->min);
    moe__slot_set(&high, slot, f->max);
    if (x >= moe__slot_get(&low, slot) && x <= moe__slot_get(&high, slot)) return MOE_OK;
    return MOE_FAIL(INVALID, "sampler stage '%s': %s (field %s) is %g, expected %g to %g", k->name, f->key,
                    moe__slot_name(slot), x, f->min, f->max);
}

static int check_arrays(const moe__kind *k, const moe_sample_stage *spec)
{
    const int ids = (k->flags & MOE_KIND_IDS) != 0, values = (k->flags & MOE_KIND_VALUES) != 0;
    if (spec->n_data == 0) return MOE_OK;
    if (!ids)
        return MOE_FAIL(INVALID, "sampler stage '%s': field n_data is set, but it takes no data", k->name);
    if (!spec->ids) return MOE_FAIL(INVALID, "sampler stage '%s': ids is NULL, n_data is not 0", k->name);
    if (values && !spec->values)
        return MOE_FAIL(INVALID, "sampler stage '%s': values is NULL, n_data is not 0", k->name);
    if (spec->n_data > INT32_MAX)
        return MOE_FAIL(INVALID, "sampler stage '%s': n_data is %zu", k->name, spec->n_data);
    for (size_t i = 0; i < spec->n_data; i++) {
        if (spec->ids[i] < 0)
            return MOE_FAIL(INVALID, "sampler stage '%s': ids[%zu] is %d, expected a token", k->name, i,
                            (int)spec->ids[i]);
        if (values && !(spec->values[i] < INFINITY))
            return MOE_FAIL(INVALID, "sampler stage '%s': values[%zu] is %g, expected finite or -inf",
                            k->name, i, (double)spec->values[i]);
    }
    return MOE_OK;
}

int moe__kind_complete(const moe__kind *k, moe_sample_stage *spec)
{
    for (int slot = MOE_SLOT_N; slot <= MOE_SLOT_C; slot++) MOE_TRY(check_slot(k, spec, (moe__slot)slot));
    return check_arrays(k, spec);
}
