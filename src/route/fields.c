/* SPDX-License-Identifier: MIT */
/* See fields.h. */
#include "route/fields.h"

#include <float.h>
#include <string.h>

static const char *const score_words[] = {NULL,           "softmax",  "identity", "sigmoid",
                                          "sqrtsoftplus", "entmax15", ""};
static const char *const weight_words[] = {NULL, "raw", "sum", "selected", "sigmoid", "one", "rule", ""};
static const char *const norm_words[] = {"none", "sum", "clamp", "p", ""};
static const char *const group_words[] = {"max", "top2", ""};
static const char *const round_words[] = {"floor", "ceil", "even", ""};
static const char *const order_words[] = {"position", "prob", "random", ""};

/* clang-format off */
#define AT(member) offsetof(moe_route_spec, member)
#define BY(rule) (1u << MOE_SELECT_##rule)
#define NUMBER 0, FLT_MAX, NULL
#define SIGNED -FLT_MAX, FLT_MAX, NULL
#define COUNT 0, UINT32_MAX, NULL

const moe__spec_field moe__spec_fields[MOE_N_SPEC_FIELDS] = {
    {"k", "top_k", MOE_FIELD_U32, 0, AT(top_k), 0, COUNT},
    {"p", "top_p", MOE_FIELD_F32, 1, AT(top_p), BY(TOPP), NUMBER},
    {"t", "threshold", MOE_FIELD_F32, 0, AT(threshold), BY(THRESHOLD), 0, 1, NULL},
    {"kmin", "k_min", MOE_FIELD_U32, 0, AT(k_min), BY(TOPP) | BY(THRESHOLD), COUNT},
    {"kmax", "k_max", MOE_FIELD_U32, 0, AT(k_max), BY(TOPP) | BY(THRESHOLD), COUNT},
    {"inclusive", "MOE_ROUTE_INCLUSIVE", MOE_FIELD_FLAG, 0, MOE_ROUTE_INCLUSIVE, BY(TOPP), 0, 1, NULL},
    {"jitter", "epsilon", MOE_FIELD_F32, 0, AT(epsilon), BY(SPARSEMIXER), 0, 1, NULL},
    {"c", "choice", MOE_FIELD_F32, 1, AT(choice), BY(EXPERT_CHOICE), NUMBER},
    {"noncausal", "MOE_ROUTE_NONCAUSAL", MOE_FIELD_FLAG, 0, MOE_ROUTE_NONCAUSAL,
     BY(EXPERT_CHOICE), 0, 1, NULL},
    {"perseq", "MOE_ROUTE_PER_SEQUENCE", MOE_FIELD_FLAG, 0, MOE_ROUTE_PER_SEQUENCE,
     BY(RANDOM) | BY(EXPERT_CHOICE), 0, 1, NULL},
    {"ids", "ids", MOE_FIELD_IDS, 0, AT(ids), BY(RANKS) | BY(FIXED) | BY(TABLE), COUNT},
    {"seed", "seed", MOE_FIELD_U64, 0, AT(seed), 0, 0, 0, NULL},
    {"score", "score", MOE_FIELD_ENUM, 0, AT(score), 0, 0, 0, score_words},
    {"temp", "temperature", MOE_FIELD_F32, 0, AT(temperature), 0, NUMBER},
    {"weight", "weight", MOE_FIELD_ENUM, 0, AT(weight), 0, 0, 0, weight_words},
    {"norm", "norm", MOE_FIELD_ENUM, 0, AT(norm), 0, 0, 0, norm_words},
    {"eps", "norm_eps", MOE_FIELD_F32, 0, AT(norm_eps), 0, NUMBER},
    {"normp", "norm_p", MOE_FIELD_F32, 0, AT(norm_p), 0, NUMBER},
    {"scale", "scale", MOE_FIELD_F32, 0, AT(scale), 0, SIGNED},
    {"input", "MOE_ROUTE_ON_INPUT", MOE_FIELD_FLAG, 0, MOE_ROUTE_ON_INPUT, 0, 0, 1, NULL},
    {"groups", "n_groups", MOE_FIELD_U32, 0, AT(n_groups), 0, COUNT},
    {"topgroups", "top_groups", MOE_FIELD_U32, 0, AT(top_groups), 0, COUNT},
    {"groupscore", "group_score", MOE_FIELD_ENUM, 0, AT(group_score), 0, 0, 0, group_words},
    {"null", "n_null", MOE_FIELD_U32, 0, AT(n_null), 0, COUNT},
    {"nullbias", "null_bias", MOE_FIELD_F32, 0, AT(null_bias), 0, SIGNED},
    {"capacity", "capacity", MOE_FIELD_F32, 0, AT(capacity), 0, NUMBER},
    {"capmin", "capacity_min", MOE_FIELD_U32, 0, AT(capacity_min), 0, COUNT},
    {"capround", "capacity_round", MOE_FIELD_ENUM, 0, AT(capacity_round), 0, 0, 0, round_words},
    {"caporder", "capacity_order", MOE_FIELD_ENUM, 0, AT(capacity_order), 0, 0, 0, order_words},
    {"choicemajor", "MOE_ROUTE_CHOICE_MAJOR", MOE_FIELD_FLAG, 0, MOE_ROUTE_CHOICE_MAJOR, 0, 0, 1, NULL},
    {"dropfirst", "MOE_ROUTE_DROP_FIRST", MOE_FIELD_FLAG, 0, MOE_ROUTE_DROP_FIRST, 0, 0, 1, NULL},
};
#undef AT
#undef BY
#undef NUMBER
#undef SIGNED
#undef COUNT
/* clang-format on */

int moe__field_words(const moe__spec_field *f)
{
    int n = 0;
    while (!f->words[n] || *f->words[n]) n++;
    return n;
}

static void *member(moe_route_spec *spec, const moe__spec_field *f) { return (char *)spec + f->offset; }

double moe__field_get(const moe_route_spec *spec, const moe__spec_field *f)
{
    moe_route_spec copy = *spec;
    const void *p = member(&copy, f);
    switch (f->kind) {
    case MOE_FIELD_U32: return *(const uint32_t *)p;
    case MOE_FIELD_U64: return (double)*(const uint64_t *)p;
    case MOE_FIELD_F32: return (double)*(const float *)p;
    case MOE_FIELD_ENUM: return *(const int32_t *)p;
    case MOE_FIELD_FLAG: return (spec->flags & f->offset) != 0;
    default: return (double)spec->n_ids;
    }
}

void moe__field_set(moe_route_spec *spec, const moe__spec_field *f, double value)
{
    switch (f->kind) {
    case MOE_FIELD_U32: *(uint32_t *)member(spec, f) = (uint32_t)value; break;
    case MOE_FIELD_U64: *(uint64_t *)member(spec, f) = (uint64_t)value; break;
    case MOE_FIELD_F32: *(float *)member(spec, f) = (float)value; break;
    case MOE_FIELD_ENUM: *(int32_t *)member(spec, f) = (int32_t)value; break;
    case MOE_FIELD_FLAG:
        spec->flags = value != 0 ? spec->flags | (uint32_t)f->offset : spec->flags & ~(uint32_t)f->offset;
        break;
    default: spec->ids = NULL; spec->n_ids = (size_t)value;
    }
}

int moe__field_same(const moe_route_spec *a, const moe_route_spec *b, const moe__spec_field *f)
{
    if (f->kind == MOE_FIELD_U64) return a->seed == b->seed;
    if (f->kind == MOE_FIELD_IDS)
        return a->n_ids == b->n_ids &&
               (a->n_ids == 0 || memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) == 0);
    return moe__field_get(a, f) == moe__field_get(b, f);
}
